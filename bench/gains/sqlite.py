"""Connections to a SQLite file: each has a thread, and only one may write at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.gains.work import (
    Measured,
    Source,
    Way,
    Work,
    WrongError,
    new_each_time,
    not_installed,
    pooled,
    shared,
    timed,
)
from bench.size import Size

if TYPE_CHECKING:
    from aiosqlite import Connection


MAX_SIZE = 5
SIZES = (1, 2, 4, 8)  # sizes of the pools for large reads
BUSY = 60.0  # seconds for which a connection waits until it may write
SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
create table item (id integer primary key, name text not null, weight real not null);
create table account (id integer primary key, balance integer not null);
create table journal (id integer primary key);
insert into account values (0, 0);
"""

Item = tuple[int, str, float]


def item(number: int) -> Item:
    """Return the row with a number."""
    return number, f"item {number}", number / 8


@contextmanager
def database(rows: int) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Create a file with some items, and keep one extra connection open.

    The last connection to close must write the log back into the file. The extra connection
    ensures that no measured connection is the last one.
    """
    with TemporaryDirectory(prefix="bench-gains-") as folder:
        path = Path(folder, "items.sqlite")
        with closing(sqlite3.connect(path)) as db:
            db.executescript(SCHEMA)
            with db:
                db.executemany("insert into item values (?, ?, ?)", map(item, range(rows)))
            yield path, db


def connections(path: Path) -> Source[Connection]:
    """Return a source of connections with typical settings."""
    from aiosqlite import connect

    async def opener() -> Connection:
        db = await connect(path, isolation_level=None, timeout=BUSY)
        try:
            await db.execute("pragma synchronous = normal")
        except BaseException:
            await db.close()
            raise
        return db

    async def closer(db: Connection) -> None:
        await db.close()

    return Source(opener, closer)


async def short_reads(way: Way[Connection], size: Size) -> Measured:
    """Measure short reads: each use reads one row by its key."""
    rows = size.count(1_000)

    async def read(db: Connection, number: int) -> None:
        key = number % rows
        found = await db.execute_fetchall("select * from item where id = ?", (key,))
        if list(found) != [item(key)]:
            raise WrongError(f"item {key}: {found}")

    with database(rows) as (path, _):
        tasks, rounds = size.count(50, least=8), size.count(20)
        return await timed(connections(path), way, tasks, rounds, read)


async def short_writes(way: Way[Connection], size: Size) -> Measured:
    """Measure short writes: each use is a transaction that changes one row and adds another."""

    async def write(db: Connection, number: int) -> None:
        await db.execute("begin immediate")
        await db.execute("update account set balance = balance + ?", (number,))
        await db.execute("insert into journal values (?)", (number,))
        await db.execute("commit")

    with database(0) as (path, keeper):
        tasks, rounds = size.count(50, least=8), size.count(10)
        measured = await timed(connections(path), way, tasks, rounds, write)
        numbers = range(tasks * rounds)
        journal = [number for (number,) in keeper.execute("select id from journal order by id")]
        [(balance,)] = keeper.execute("select balance from account")
    if journal != list(numbers) or balance != sum(numbers):
        raise WrongError(f"{len(journal)} of {len(numbers)} writes, balance {balance}")
    return measured


async def large_reads(way: Way[Connection], size: Size) -> Measured:
    """Measure large reads: each use fetches the whole table. Each row needs the GIL."""
    rows = size.count(20_000)
    expected = [item(number) for number in range(rows)]

    async def read(db: Connection, _: int) -> None:
        found: object = await db.execute_fetchall("select * from item order by id")
        if found != expected:
            raise WrongError("not the items that are there")

    with database(rows) as (path, _):
        tasks, rounds = size.count(16, least=10), size.count(3)
        return await timed(connections(path), way, tasks, rounds, read)


def lacks() -> str:
    """Say whether the asyncio front end is missing. SQLite itself comes with Python."""
    return not_installed("aiosqlite")


POOL = f"pool of {MAX_SIZE}"

SHORT_READS = Work(
    "SQLite reads",
    "1,000 reads of one row by 50 tasks",
    short_reads,
    {
        "a new connection for each": new_each_time(),
        "one connection": shared(),
        POOL: pooled(MAX_SIZE),
    },
    POOL,
    lacks,
)
SHORT_WRITES = Work(
    "SQLite writes",
    "500 short transactions by 50 tasks; SQLite has one writer at a time",
    short_writes,
    {
        "a new connection for each": new_each_time(),
        "one connection, in turns": shared(in_turns=True),
        POOL: pooled(MAX_SIZE),
    },
    POOL,
    lacks,
)
LARGE_READS = Work(
    "SQLite large reads",
    "48 reads of 20,000 rows by 16 tasks; making the rows holds Python's lock",
    large_reads,
    {f"pool of {max_size}": pooled(max_size) for max_size in SIZES},
    f"pool of {SIZES[0]}",
    lacks,
    throughput=True,
)
