"""Nothing that the pool keeps keeps a user's frame alive."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from tests.virtual_time import run, turns


class Local:
    """A local variable of a caller."""


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch the collector off, so that only reference counts free objects."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def fail() -> None:
    raise OSError("down")


async def refuse(pool: AsyncResourcePool[Any], alive: list[weakref.ref[Local]], **how: Any) -> None:
    """Fail to acquire, in a frame with a local variable."""
    local = Local()
    alive.append(weakref.ref(local))
    with suppress(OSError, TimeoutError):
        await pool.acquire(**how)


@pytest.mark.parametrize(
    ("factory", "how"),
    [(fail, {}), (object, {"timeout": 1}), (object, {"timeout": 0})],
    ids=["failed", "timed out", "refused"],
)
def test_a_failed_acquire_keeps_no_frame_and_makes_no_cycle(
    factory: Any, how: dict[str, Any]
) -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(factory, max_size=1)
        if factory is object:
            await pool.acquire()
        alive: list[weakref.ref[Local]] = []
        with without_collector():
            for _ in range(20):
                await refuse(pool, alive, **how)
            left = sum(local() is not None for local in alive)
        assert left == 0
        pool.terminate()
        await turns()

    run(main())


def test_a_creation_that_fails_for_nobody_keeps_no_frame_of_the_factory() -> None:
    alive: list[weakref.ref[Local]] = []

    async def factory() -> None:
        local = Local()
        alive.append(weakref.ref(local))
        await asyncio.sleep(1)
        raise OSError("down")

    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(factory, min_size=1)
        await pool.open()
        with without_collector():
            await asyncio.sleep(1.05)
            left = [local() for local in alive]
        assert left == [None]
        with pytest.raises(OSError, match="down"):
            await pool.open(wait=True, timeout=2)
        pool.terminate()
        await turns()

    run(main())
