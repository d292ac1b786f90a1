"""SQLite connections of aiosqlite in two pools: several that read in parallel, and one that writes.

SQLite has one writer at a time. Writers that queue in a pool of one are served in order and within
a deadline; writers that meet in SQLite itself poll for the lock, and some are unlucky. In WAL mode
readers never wait for the writer, nor it for them. Needs `aiosqlite`.

Output:
    4 readers during a transaction: [0, 0, 0, 0], and after it: [3, 3, 3, 3]
    a writer forgot to commit: rolled back, 3 rows
    a reader cannot write: attempt to write a readonly database
    20 writers in order: True, 23 rows
    another program has the lock: waited for it, 24 rows
    a reader is cut off in the middle of a statement: 1 connection closed
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiosqlite

from nodetool.concurrency import AsyncResourcePool, is_interruption

Pool = AsyncResourcePool[aiosqlite.Connection]

# The file cannot be read, is damaged, cannot be opened or locked, or is no database.
FATAL = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this connection."""
    # The low byte is the kind of error. SQLITE_BUSY, SQLITE_CONSTRAINT and others harm nothing.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return is_interruption(error) or kind in FATAL


def readers(path: Path) -> Pool:
    """Connections that cannot write."""
    return AsyncResourcePool(
        lambda: connect(path, "pragma query_only = on"),
        aiosqlite.Connection.close,
        max_size=4,  # each is a thread; more than there are cores gains little
        max_idle_time=60,
        acquisition_timeout=5,
        reset=rollback,  # a read transaction that stays open keeps the log from being written back
        discard_on=is_fatal,
        name="readers",
    )


def writer(path: Path) -> Pool:
    """The connection that writes."""
    return AsyncResourcePool(
        # In WAL mode this can lose the last transactions with the power, but never the database.
        lambda: connect(path, "pragma synchronous = normal"),
        aiosqlite.Connection.close,
        max_size=1,  # as many as SQLite lets write
        max_waiting=100,  # whoever would be behind so many is told so at once
        acquisition_timeout=5,
        reset=rollback,
        discard_on=is_fatal,
        name="writer",
    )


async def connect(path: Path, pragma: str) -> aiosqlite.Connection:
    """Open and set up; what fails or is cancelled on the way closes what it has opened."""
    # timeout is SQLite's busy_timeout, here for other programs that write. Transactions are begun
    # in so many words: with isolation_level=None sqlite3 begins none by itself.
    connection = await aiosqlite.connect(path, timeout=5, isolation_level=None)
    try:
        await connection.execute("pragma journal_mode = wal")
        await connection.execute(pragma)
    except BaseException:
        await connection.close()
        raise
    return connection


async def rollback(connection: aiosqlite.Connection) -> None:
    """Whatever was left open."""
    if connection.in_transaction:
        await connection.rollback()


async def rows(pool: Pool) -> int:
    """How many there are."""
    async with pool.acquire_context() as connection:
        [(found,)] = await connection.execute_fetchall("select count(*) from item")
        return int(found)


async def add(pool: Pool, name: str) -> None:
    """One more row, in a transaction; `immediate`, since it will write."""
    async with pool.acquire_context() as connection:
        await connection.execute("begin immediate")
        await connection.execute("insert into item (name) values (?)", (name,))
        await connection.commit()


async def main(path: Path) -> None:
    """Use it, and let things go wrong."""
    async with readers(path) as reading, writer(path) as writing:
        async with writing.acquire_context() as connection:
            await connection.execute("create table item (id integer primary key, name text)")
            await connection.execute("begin immediate")
            await connection.execute("insert into item (name) values ('a'), ('b'), ('c')")
            during = await asyncio.gather(*(rows(reading) for _ in range(4)))
            await connection.commit()
        after = await asyncio.gather(*(rows(reading) for _ in range(4)))
        print(f"4 readers during a transaction: {during}, and after it: {after}")

        async with writing.acquire_context() as connection:
            await connection.execute("begin immediate")
            await connection.execute("insert into item (name) values ('lost')")
        print(f"a writer forgot to commit: rolled back, {await rows(reading)} rows")

        try:
            await add(reading, "wrong pool")
        except sqlite3.OperationalError as error:
            print(f"a reader cannot write: {error}")

        await asyncio.gather(*(add(writing, f"{number:02}") for number in range(20)))
        async with reading.acquire_context() as connection:
            query = "select name from item where id > 3 order by id"
            names = [name for (name,) in await connection.execute_fetchall(query)]
        print(f"20 writers in order: {names == sorted(names)}, {await rows(reading)} rows")

        with other_program(path) as other:
            other.execute("begin immediate")
            asyncio.get_running_loop().call_later(0.05, other.rollback)
            await add(writing, "patient")
        print(f"another program has the lock: waited for it, {await rows(reading)} rows")

        try:
            # aiosqlite cannot stop the statement: its thread is busy until the statement ends.
            async with asyncio.timeout(0.01), reading.acquire_context() as connection:
                await connection.execute_fetchall(SLOW)
        except TimeoutError:
            closed = f"{reading.stats().interrupted} connection closed"
            print(f"a reader is cut off in the middle of a statement: {closed}")


# ------------------------------------------------------------------------ only for this example


SLOW = """
    with recursive number(n) as (select 1 union all select n + 1 from number where n < 1000000)
    select count(*) from number
"""


@contextmanager
def other_program(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else who uses the same file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


if __name__ == "__main__":
    with TemporaryDirectory(prefix="sqlite-") as folder:
        asyncio.run(main(Path(folder, "items.sqlite")))
