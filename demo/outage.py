"""An outage: the database goes away for a while and comes back, and the pool goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from time import monotonic

from .bank import Bank
from .load import Load

CLIENTS = 10
PAUSE = 0.05  # seconds between two transfers of a client
PATIENCE = 5.0  # seconds to wait for the first transfer after the outage
COUNTED = "transfers", "errors", "opened", "not opened"
PARTS = "before", *["away"] * 4, "after"
EXPLAINED = """\
During the outage no connection can be opened, and the open ones are broken. The pool closes the
broken connections. Each task gets the error of the database at once, and tries again."""


class Outage:
    """Clients that go on during an outage, and what they and the pool did in each part of it."""

    def __init__(self, bank: Bank, load: Load) -> None:
        self.bank = bank
        self.load = load
        self.now = False
        self.recovered: float | None = None  # seconds from the return to the first transfer
        self.rows: list[tuple[str, ...]] = []
        self._served = self._failed = 0
        self._served_again = asyncio.Event()
        self._returned: float | None = None  # time when the database came back

    async def run(self, seconds: float) -> None:
        """Let the database go away and come back. Each part takes an equal time."""
        self.now = True
        part = seconds / len(PARTS)
        async with asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(self._client()) for _ in range(CLIENTS)]
            for number, name in enumerate(PARTS):
                if name == "away" and not self.bank.is_away:
                    await self._go_away()
                elif name == "after":
                    self.bank.is_away = False
                    self._returned = monotonic()
                await self._measure(f"{number * part:.1f} s to {(number + 1) * part:.1f} s", part)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._served_again.wait(), PATIENCE)
            self.now = False
            await asyncio.gather(*clients)

    async def _go_away(self) -> None:
        self.bank.is_away = True
        for db in list(self.bank.connections):
            with suppress(ValueError):  # the pool may be closing it at the same time
                await self.bank.cut(db)

    async def _measure(self, times: str, part: float) -> None:
        stats = self.load.pool.stats()
        served, failed = self._served, self._failed
        await asyncio.sleep(part)
        after = self.load.pool.stats()
        numbers = (
            self._served - served,
            self._failed - failed,
            after.created - stats.created,
            after.creation_failures - stats.creation_failures,
        )
        state = "is away" if self.bank.is_away else "is there"
        self.rows.append((times, state, *(f"{number:,}" for number in numbers)))

    async def _client(self) -> None:
        while self.now:
            order = self.bank.order(most=10)
            try:
                async with self.load.pool.acquire_context() as db:
                    # The database refuses a transfer from an account with too little money.
                    with self.bank.using(db), suppress(sqlite3.IntegrityError):
                        await self.bank.transfer(db, order)
            except sqlite3.Error as error:
                self._failed += 1
                if not is_of_outage(error):
                    self.load.errors.append(error)
            else:
                self._served += 1
                if self.recovered is None and self._returned is not None:
                    self.recovered = monotonic() - self._returned
                    self._served_again.set()
            await asyncio.sleep(PAUSE)


def is_of_outage(error: sqlite3.Error) -> bool:
    """Tell whether the error is of a broken connection, or of one that cannot be opened."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.ProgrammingError) or code == sqlite3.SQLITE_CANTOPEN
