"""The load of the pool: hundreds of tasks, and every kind of fault."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import suppress
from enum import Enum
from itertools import count
from random import Random
from typing import TypeAlias

import aiosqlite

from nodetool.concurrency import AsyncResourcePool, PoolListener
from nodetool.concurrency.trace import TraceFile

from .bank import Bank

Pool: TypeAlias = AsyncResourcePool[aiosqlite.Connection]

MAX_SIZE, MIN_SIZE = 5, 2
WAVE = 300  # concurrent tasks, one transfer each
LULL = 0.1  # seconds between two waves


class Fault(Enum):
    """A fault that is injected into a transfer."""

    CANCEL = "cancelled in the middle of its transaction"
    CUT = "its connection is broken in the middle of its transaction"
    HURRY = "acquires with a short timeout"
    LIMIT = "a time limit over everything, which may strike anywhere"


WEIGHTS: dict[Fault | None, int] = {
    None: 94,
    Fault.CANCEL: 1,
    Fault.CUT: 1,
    Fault.HURRY: 2,
    Fault.LIMIT: 2,
}


def demo_pool(bank: Bank, listener: PoolListener | None, trace: TraceFile) -> Pool:
    """Make the pool under load. Its connections expire fast, and have a check and a reset."""
    return AsyncResourcePool(
        bank.connect,
        bank.disconnect,
        max_size=MAX_SIZE,
        min_size=MIN_SIZE,
        max_age=0.5,
        max_age_jitter=0.3,
        acquisition_timeout=20,
        creation_timeout=20,
        check=bank.ping,
        check_after_idle=LULL / 2,  # so a connection that breaks in a lull is found
        reset=bank.tidy,
        name="bank",
        listener=listener,
        trace=trace,
    )


async def cancel(_: aiosqlite.Connection) -> None:
    """Cancel the calling task, so that its next await raises."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


class Load:
    """Waves of transfers, some with faults, over a pool whose connections break."""

    def __init__(self, bank: Bank, pool: Pool, seed: int) -> None:
        self.bank = bank
        self.pool = pool
        self.outcomes: Counter[str] = Counter()
        self.errors: list[Exception] = []  # errors that no injected fault explains
        self.broken = 0
        self.retired: set[aiosqlite.Connection] = (
            set()
        )  # connections that retire_all had to replace
        self.survivors: set[aiosqlite.Connection] = set()  # those of them that were left afterwards
        self._random = Random(seed)

    async def run(self, seconds: float) -> None:
        """Run waves until the time is up. Call retire_all once, in the middle of a wave."""
        clock = asyncio.get_running_loop().time
        start = clock()
        for number in count():
            done = (clock() - start) / seconds
            if done >= 1 and number > 1:
                break
            async with asyncio.TaskGroup() as wave:
                for client in range(WAVE):
                    wave.create_task(self._client())
                    if client == WAVE // 2 and not self.retired and (done >= 0.5 or number == 1):
                        wave.create_task(self._retire())
            await self._lull()

    async def _client(self) -> None:
        """Run one transfer and count its outcome."""
        bank, random = self.bank, self._random
        order = bank.order()
        [fault] = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        patience = random.uniform(0.0, 0.2)
        midway = cancel if fault is Fault.CANCEL else self._cut if fault is Fault.CUT else None
        try:
            async with (
                asyncio.timeout(patience if fault is Fault.LIMIT else None),
                self.pool.acquire_context(patience if fault is Fault.HURRY else None) as db,
            ):
                with bank.using(db):
                    await bank.transfer(db, order, midway)
            outcome = "confirmed"
        except sqlite3.IntegrityError:
            outcome = "refused"
        except TimeoutError:
            outcome = "timed out"
        except asyncio.CancelledError:
            self.outcomes["cancelled"] += 1
            raise
        except Exception as error:
            if fault is Fault.CUT and isinstance(error, sqlite3.ProgrammingError):
                outcome = "connection lost"
            elif getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                outcome = "locked out"
            else:
                outcome = "failed"
                self.errors.append(error)
        self.outcomes[outcome] += 1

    async def _cut(self, db: aiosqlite.Connection) -> None:
        self.broken += 1
        await self.bank.cut(db)

    async def _retire(self) -> None:
        async with self.pool.acquire_context():  # ensures that there is a connection to retire
            self.retired = set(self.bank.connections)
        await self.pool.retire_all(wait=True)
        self.survivors = self.retired & self.bank.connections

    async def _lull(self) -> None:
        """Break one connection between two waves, and let others expire."""
        for db in list(self.bank.connections)[:1]:
            with suppress(ValueError):  # the pool may be closing it at the same time
                await self._cut(db)
        await asyncio.sleep(LULL)
