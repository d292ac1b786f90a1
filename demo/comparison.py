"""The gain of the pool in numbers: the same tasks run over one connection that they share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random
from typing import TypeAlias

import aiosqlite

from nodetool.concurrency import AsyncResourcePool

from .bank import ACCOUNTS, Bank
from .load import MAX_SIZE

Lease: TypeAlias = Callable[[], AbstractAsyncContextManager[aiosqlite.Connection]]

CLIENTS = 50
READS = 0.9  # share of reads in the mixed load
TRANSFERS, WORK, REPORTS = "transfers only", "mixed: reads and transfers", "mixed: slow reports"
COMPARED = f"""\
This compares {CLIENTS} tasks over a pool of {MAX_SIZE} connections with the same tasks over one
connection behind a lock, without faults. SQLite has one writer at a time, so transfers take
turns either way. Over the pool, reads do not wait for a slow report. In the mixed load
{READS:.0%} of the work is reads of one row. One more task makes one slow report after another."""


@asynccontextmanager
async def over_pool(bank: Bank) -> AsyncIterator[Lease]:
    """Lease connections from a pool."""
    async with AsyncResourcePool(
        bank.connect, bank.disconnect, max_size=MAX_SIZE, reset=bank.tidy, name="comparison"
    ) as pool:
        yield pool.acquire_context


@asynccontextmanager
async def over_one(bank: Bank) -> AsyncIterator[Lease]:
    """Lease one connection behind a lock."""
    db = await bank.connect()
    lock = asyncio.Lock()

    @asynccontextmanager
    async def lease() -> AsyncIterator[aiosqlite.Connection]:
        async with lock:
            try:
                yield db
            finally:
                await bank.tidy(db)

    try:
        yield lease
    finally:
        await bank.disconnect(db)


SIDES = (over_pool, "the pool"), (over_one, "one shared connection")


class Comparison:
    """The work per second with the pool and without it."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        self.now = ""  # name of the current measurement
        self._random = Random(seed)
        self._done: Counter[tuple[str, str]] = Counter()  # by work and side
        self._seconds = 0.0  # duration of each measurement

    async def run(self, seconds: float) -> None:
        """Measure the sides forwards and backwards, so that a drift of the machine cancels out."""
        self._seconds = seconds / 4
        for mixed in (False, True):
            for over, side in (*SIDES, *reversed(SIDES)):
                self.now = f"comparison, {'mixed load' if mixed else 'transfers'} over {side}"
                async with over(self.bank) as lease:
                    await self._measure(lease, side, seconds / 8, mixed)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the work per second of each side, and the factor between them."""
        table: list[tuple[str, ...]] = []
        for work in (TRANSFERS, WORK, REPORTS):
            pool, one = (self._done[work, side] / self._seconds for _, side in SIDES)
            factor = f"{pool / one:.1f}" if one else "-"
            table.append((work, f"{pool:,.0f}", f"{one:,.0f}", factor))
        return table

    async def _measure(self, lease: Lease, side: str, seconds: float, mixed: bool) -> None:
        bank, random = self.bank, self._random
        clock = asyncio.get_running_loop().time
        until = clock() + seconds

        async def client() -> None:
            while clock() < until:
                async with lease() as db:
                    if mixed and random.random() < READS:
                        await bank.balance(db, random.randrange(ACCOUNTS))
                    else:
                        with suppress(sqlite3.IntegrityError):
                            await bank.transfer(db, bank.order(most=10))
                self._done[WORK if mixed else TRANSFERS, side] += clock() < until

        async def reporter() -> None:
            while clock() < until:
                async with lease() as db:
                    await bank.report(db)
                self._done[REPORTS, side] += clock() < until

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(client())
            if mixed:
                tasks.create_task(reporter())
