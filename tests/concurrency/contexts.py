"""Contexts of a world's things: entering one creates a thing, leaving it closes the thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nodetool.concurrency import AsyncResourcePool
from tests.concurrency.world import Thing, World

Pool = AsyncResourcePool[Thing]


class Contexts:
    """A maker of contexts, and of pools of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tasks: list[asyncio.Task[Any]] = []  # that entered them, by their numbers

    @asynccontextmanager
    async def context(self) -> AsyncIterator[Thing]:
        thing = await self.world.create()
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        try:
            yield thing
        finally:
            assert asyncio.current_task() is task
            await self.world.close(thing)

    def pool(self, **options: Any) -> Pool:
        pool: Pool = AsyncResourcePool.from_context(self.context, **options)
        self.world.pools.append(pool)
        return pool

    def end(self, thing: Thing) -> None:
        """Let the context of this thing end by itself."""
        self.tasks[thing.number].cancel()
