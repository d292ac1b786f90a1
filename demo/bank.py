"""A bank in a SQLite file: its connections, what can be done over one, and what must be true."""

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
    """How many connections SQLite has open, whoever opened and closes them; of any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.opened = self.closed = self.peak = 0

    @property
    def open(self) -> int:
        """How many are open now."""
        return self.opened - self.closed

    def add(self) -> None:
        """One is about to open."""
        with self._lock:
            self.opened += 1
            self.peak = max(self.peak, self.open)

    def remove(self) -> None:
        """One has closed."""
        with self._lock:
            self.closed += 1


class Counted(sqlite3.Connection):
    """A connection that reports to the census: before it opens, and once it is closed."""

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
    """Move `amount` from the account `source` to the account `target`."""

    id: int
    source: int
    target: int
    amount: int


class Audit(NamedTuple):
    """What the file says once everything is closed."""

    money: int
    journal: frozenset[int]


class Bank:
    """The accounts, and everything about them that is known outside the database."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.census = Census()
        self.connections: set[aiosqlite.Connection] = set()  # from the factory to the closer
        self.in_use: set[aiosqlite.Connection] = set()
        self.shared = 0  # how often a connection had two users at once
        self.committing: set[int] = set()  # orders whose commit was begun and never confirmed
        self.confirmed: set[int] = set()
        self._random = Random(seed)
        self._orders = 0
        with closing(sqlite3.connect(path)) as db, db:
            db.executescript(SCHEMA)
            db.executemany(
                "insert into account values (?, ?)", [(i, DEPOSIT) for i in range(ACCOUNTS)]
            )

    # What a pool is made from.

    async def connect(self) -> aiosqlite.Connection:
        """The factory."""
        counted = partial(Counted, self.census)
        db = await aiosqlite.connect(self.path, isolation_level=None, factory=counted)
        try:
            await db.executescript(PRAGMAS)
        except BaseException:
            await db.close()
            raise
        self.connections.add(db)
        return db

    async def disconnect(self, db: aiosqlite.Connection) -> None:
        """The closer."""
        self.connections.discard(db)
        await db.close()

    async def ping(self, db: aiosqlite.Connection) -> None:
        """The check."""
        await db.execute_fetchall("select 1")

    async def tidy(self, db: aiosqlite.Connection) -> None:
        """The reset: nobody inherits a transaction."""
        if db.in_transaction:
            await db.rollback()

    # What its users do.

    @contextmanager
    def using(self, db: aiosqlite.Connection) -> Iterator[None]:
        """Notice if a connection has two users at once."""
        self.shared += db in self.in_use
        self.in_use.add(db)
        try:
            yield
        finally:
            self.in_use.discard(db)

    def order(self, most: int = DEPOSIT // 2) -> Order:
        """The next of the orders that the seed determines."""
        self._orders += 1
        source, target = self._random.sample(range(ACCOUNTS), 2)
        return Order(self._orders, source, target, self._random.randint(1, most))

    async def transfer(
        self, db: aiosqlite.Connection, order: Order, midway: Midway | None = None
    ) -> None:
        """One transaction. Without the money it raises in the middle, for the reset to end."""
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
        """One point read."""
        await db.execute_fetchall("select balance from account where id = ?", (account,))

    async def report(self, db: aiosqlite.Connection) -> None:
        """A slow query."""
        await db.execute_fetchall(REPORT)

    # What happens to it, and what remains.

    async def cut(self, db: aiosqlite.Connection) -> None:
        """Break a connection: close SQLite's own, on the one thread that may touch it."""
        await db._execute(db._conn.close)  # type: ignore[no-untyped-call]

    def audit(self) -> Audit:
        """Read the file over a connection of its own."""
        with closing(sqlite3.connect(self.path)) as db:
            [(money,)] = db.execute("select sum(balance) from account")
            journal = db.execute("select id from journal")
            return Audit(money, frozenset(order for (order,) in journal))
