"""The users of a pool, and its operator, who retires, resizes and prunes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import TypeAlias

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)

from .server import LIMIT, Connection, Server

USERS = 24
MAX_SIZE, MIN_SIZE = 8, 2
PATIENCE = 2.0  # seconds that a user waits

Use: TypeAlias = Callable[[], Awaitable[None]]


class Traffic:
    """Users that share one pool, and its server.

    Args:
        chance: Decides about faults, and about what the users and the operator do.
    """

    def __init__(self, chance: Random) -> None:
        self.leases = 0
        self.server = Server(chance)
        self._chance = chance
        self._goal = 0
        self._enough = asyncio.Event()
        self._rush = asyncio.Event()  # unset in a lull
        self._rush.set()
        self._uses: tuple[tuple[Use, int], ...] = (
            (self._in_context, 55),
            (self._in_pair, 20),
            (self._for_some_time, 4),
            (self._interrupted, 3),
            (self._discard, 3),
            (self._detach, 1),
            (self._at_once, 5),
            (self._impatient, 5),
            (self._cancelled, 4),
        )
        self.pool: AsyncResourcePool[Connection] = AsyncResourcePool(
            self.server.connect,
            self.server.close,
            max_size=MAX_SIZE,
            min_size=MIN_SIZE,
            max_age=0.1,
            max_age_jitter=0.05,
            max_idle_time=0.02,
            acquisition_timeout=PATIENCE,
            creation_timeout=LIMIT,
            closer_timeout=LIMIT,
            check=self.server.check,
            check_after_idle=0.001,
            reset=self.server.reset,
            name="soak",
        )

    async def run(self, leases: int) -> None:
        """Let the users take so many leases."""
        await self._run(leases)
        await self.pool.resize(MAX_SIZE, MIN_SIZE)

    async def run_and_close(self, leases: int) -> None:
        """Do the same, and close the pool while the users go on."""

        async def close() -> None:
            await self._enough.wait()
            await self.pool.close()

        await self._run(leases, close())

    async def _run(self, leases: int, end: Coroutine[None, None, None] | None = None) -> None:
        self._goal = self.leases + leases
        self._enough.clear()
        operator = asyncio.create_task(self._operate())
        users = [self._user(until_closed=end is not None) for _ in range(USERS)]
        try:
            await asyncio.gather(*users, *([end] if end else []))
        finally:
            operator.cancel()
            await asyncio.wait([operator])
            self._rush.set()

    async def _user(self, until_closed: bool) -> None:
        uses = [use for use, _ in self._uses]
        weights = [weight for _, weight in self._uses]
        while until_closed or not self._enough.is_set():
            for use in self._chance.choices(uses, weights, k=10):
                await self._rush.wait()
                try:
                    await use()
                except (ConnectionError, ResourcePoolTimeoutError):
                    await asyncio.sleep(0)
                except ResourcePoolClosedError:
                    return
            if self.leases >= self._goal:
                self._enough.set()

    async def _in_context(self) -> None:
        async with self.pool.acquire_context():
            self.leases += 1
            if self._chance.random() < 0.3:
                await asyncio.sleep(0)

    async def _in_pair(self) -> None:
        connection = await self.pool.acquire()
        self.leases += 1
        await asyncio.sleep(0)
        await self.pool.release(connection)

    async def _for_some_time(self) -> None:
        async with self.pool.acquire_context():
            self.leases += 1
            await asyncio.sleep(0.001 * self._chance.random())

    async def _interrupted(self) -> None:
        """End the body by an exception after which the connection must be closed."""
        with suppress(TimeoutError):
            async with self.pool.acquire_context():
                self.leases += 1
                raise TimeoutError

    async def _discard(self) -> None:
        connection = await self.pool.acquire()
        self.leases += 1
        await self.pool.discard(connection)

    async def _detach(self) -> None:
        connection = await self.pool.acquire()
        self.leases += 1
        await self.pool.detach(connection)
        with suppress(ConnectionError):
            await self.server.close(connection)

    async def _at_once(self) -> None:
        connection = await self.pool.acquire(0)
        self.leases += 1
        await self.pool.release(connection)

    async def _impatient(self) -> None:
        async with self.pool.acquire_context(0.0005 * self._chance.random()):
            self.leases += 1
            await asyncio.sleep(0)

    async def _cancelled(self) -> None:
        """Cancel a use at a random moment."""
        task = asyncio.create_task(self._in_context())
        for _ in range(self._chance.randrange(6)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _operate(self) -> None:
        chance, pool = self._chance, self.pool
        with suppress(ResourcePoolClosedError):
            while True:
                await asyncio.sleep(0.05 * chance.random())
                match chance.randrange(7):
                    case 0:
                        await pool.retire_all()
                    case 1:
                        await pool.retire_all(wait=True)
                    case 2:
                        await pool.prune()
                    case 3 | 4:
                        self._rush.clear()  # so that resources become idle
                        await asyncio.sleep(0.05 * chance.random())
                        self._rush.set()
                    case _:
                        size = chance.randint(1, 2 * MAX_SIZE)
                        await pool.resize(size, min(size, chance.randint(0, MAX_SIZE)))
