"""A bank in a SQLite file: its connections, its transactions, and its audit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeAlias

import aiosqlite

ACCOUNTS, DEPOSIT = 100, 1_000
MONEY = ACCOUNTS * DEPOSIT

SCHEMA = """
pragma journal_mode = wal;
create table account (id integer primary key, balance integer not null check (balance >= 0));
create table journal (id integer primary key, source integer, target integer, amount integer);
"""
PRAGMAS = """
pragma busy_timeout = 5000;
pragma journal_mode = wal;
pragma synchronous = normal;
"""
REPORT = """
select count(*) from account a, account b, account c where a.balance + b.balance > c.balance
"""


Midway: TypeAlias = Callable[[aiosqlite.Connection], Awaitable[object]]


class Census:
    """The number of connections that SQLite has open. It is safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.opened = self.closed = self.peak = 0

    @property
    def open(self) -> int:
        """Number of open connections."""
        return self.opened - self.closed

    def add(self) -> None:
        """Count a connection before it opens."""
        with self._lock:
            self.opened += 1
            self.peak = max(self.peak, self.open)

    def remove(self) -> None:
        """Count a connection after it has closed."""
        with self._lock:
            self.closed += 1


class Counted(sqlite3.Connection):
    """A connection that reports to the census, before it opens and after it has closed."""

    def __init__(self, census: Census, *args: Any, **options: Any) -> None:
        self._census = census
        self._ended = False
        census.add()
        super().__init__(*args, **options)

    def close(self) -> None:
        super().close()
        if not self._ended:
            self._ended = True
            self._census.remove()


class Order(NamedTuple):
    """An order to move `amount` from the account `source` to the account `target`."""

    id: int
    source: int
    target: int
    amount: int


class Audit(NamedTuple):
    """The contents of the file after everything is closed."""

    money: int
    journal: frozenset[int]


class Bank:
    """The accounts, and the facts about them that are kept outside the database."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.is_away = False  # during an outage
        self.census = Census()
        self.connections: set[aiosqlite.Connection] = set()  # created and not closed yet
        self.in_use: set[aiosqlite.Connection] = set()
        self.shared = 0  # number of times that a connection had two users at once
        self.committing: set[int] = set()  # orders whose commit was started and not confirmed
        self.confirmed: set[int] = set()
        self._random = Random(seed)
        self._orders = 0
        with closing(sqlite3.connect(path)) as db, db:
            db.executescript(SCHEMA)
            db.executemany(
                "insert into account values (?, ?)", [(i, DEPOSIT) for i in range(ACCOUNTS)]
            )

    # The functions of the pool.

    async def connect(self) -> aiosqlite.Connection:
        """Open a connection: the pool's factory."""
        if self.is_away:
            sqlite3.connect(self.path.parent / "away" / self.path.name)  # raises SQLite's error
        counted = partial(Counted, self.census)
        db = await aiosqlite.connect(self.path, isolation_level=None, factory=counted)
        try:
            await db.executescript(PRAGMAS)
            if self.is_away:  # the outage has begun since this call opened the connection
                await self.cut(db)
        except BaseException:
            await db.close()
            raise
        self.connections.add(db)
        return db

    async def disconnect(self, db: aiosqlite.Connection) -> None:
        """Close a connection: the pool's closer."""
        self.connections.discard(db)
        await db.close()

    async def ping(self, db: aiosqlite.Connection) -> None:
        """Check a connection: the pool's check."""
        await db.execute_fetchall("select 1")

    async def tidy(self, db: aiosqlite.Connection) -> None:
        """Roll back an open transaction: the pool's reset."""
        if db.in_transaction:
            await db.rollback()

    # The work of the users.

    @contextmanager
    def using(self, db: aiosqlite.Connection) -> Iterator[None]:
        """Count the connection if it has two users at once."""
        self.shared += db in self.in_use
        self.in_use.add(db)
        try:
            yield
        finally:
            self.in_use.discard(db)

    def order(self, most: int = DEPOSIT // 2) -> Order:
        """Make the next random order."""
        self._orders += 1
        source, target = self._random.sample(range(ACCOUNTS), 2)
        return Order(self._orders, source, target, self._random.randint(1, most))

    async def transfer(
        self, db: aiosqlite.Connection, order: Order, midway: Midway | None = None
    ) -> None:
        """Run one transaction. Without enough money it raises, and the reset rolls it back."""
        _, source, target, amount = order
        await db.execute("begin immediate")
        await db.execute("update account set balance = balance - ? where id = ?", (amount, source))
        if midway is not None:
            await midway(db)
        await db.execute("update account set balance = balance + ? where id = ?", (amount, target))
        await db.execute("insert into journal values (?, ?, ?, ?)", order)
        self.committing.add(order.id)
        await db.execute("commit")
        self.committing.remove(order.id)
        self.confirmed.add(order.id)

    async def balance(self, db: aiosqlite.Connection, account: int) -> None:
        """Read one row by its key."""
        await db.execute_fetchall("select balance from account where id = ?", (account,))

    async def report(self, db: aiosqlite.Connection) -> None:
        """Run a slow query."""
        await db.execute_fetchall(REPORT)

    # Faults, and the audit.

    async def cut(self, db: aiosqlite.Connection) -> None:
        """Break a connection: close SQLite's own connection, on the only thread that may use it."""
        await db._execute(db._conn.close)  # type: ignore[no-untyped-call]

    def audit(self) -> Audit:
        """Read the file over a connection of its own."""
        with closing(sqlite3.connect(self.path)) as db:
            [(money,)] = db.execute("select sum(balance) from account")
            journal = db.execute("select id from journal")
            return Audit(money, frozenset(order for (order,) in journal))
