"""This example shows two pools for one SQLite file: four readers, and one writer.

SQLite has one writer at a time. So writers wait in the queue of a pool with one connection, in
order and within a time limit. In WAL mode readers do not wait for the writer. Needs `aiosqlite`.

Output:
    4 readers during a transaction: [0, 0, 0, 0], and after it: [1, 1, 1, 1]
"""

import asyncio
import sqlite3
import tempfile

import aiosqlite

from nodetool.concurrency import AsyncResourcePool, is_interruption

Pool = AsyncResourcePool[aiosqlite.Connection]
FATAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN}


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this connection."""
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF  # SQLITE_BUSY and others harm nothing
    return is_interruption(error) or kind in FATAL


def make_pool(path: str, size: int) -> Pool:
    return AsyncResourcePool(
        # `timeout` limits the wait for other programs that write to the file.
        lambda: aiosqlite.connect(path, timeout=5, isolation_level=None),
        aiosqlite.Connection.close,
        max_size=size,  # each connection is a thread
        max_waiting=100,
        acquisition_timeout=5,
        creation_timeout=10,
        reset=aiosqlite.Connection.rollback,  # an open transaction would stop other users
        discard_on=is_fatal,
    )


async def count(pool: Pool) -> int:
    async with pool.acquire_context() as db:
        return len(list(await db.execute_fetchall("select * from item")))


async def main(path: str) -> None:
    async with make_pool(path, 1) as writer, make_pool(path, 4) as readers:
        async with writer.acquire_context() as db:
            await db.executescript("pragma journal_mode = wal; create table item (name text)")
            await db.execute("begin immediate")
            await db.execute("insert into item values ('tea')")
            during = await asyncio.gather(*(count(readers) for _ in range(4)))
            await db.commit()
        after = await asyncio.gather(*(count(readers) for _ in range(4)))
        print(f"4 readers during a transaction: {during}, and after it: {after}")


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(f"{folder}/items.sqlite"))
