"""Users who keep a pool busy."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from nodetool.concurrency import AsyncResourcePool


async def connect() -> object:
    """Create a resource in 10 ms."""
    await asyncio.sleep(0.01)
    return object()


async def use(pool: AsyncResourcePool[object], seconds: float) -> None:
    """Let eight users use the pool, with and without patience."""

    async def user() -> None:
        while True:
            with suppress(TimeoutError):
                async with pool.acquire_context(timeout=random.choice([0, 0.02, 1])):
                    await asyncio.sleep(0.02 * random.random())
            await asyncio.sleep(0.02 * random.random())

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as users:
            for _ in range(8):
                users.create_task(user())
