"""Our pool, and two pools as one would write them by hand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from nodetool.concurrency import AsyncResourcePool

from .contenders import LacksError, Pool, Wanted, create

HOUR = 3600.0


class Ours:
    """`AsyncResourcePool`, with or without a maximum age and a maximum idle time."""

    modules: tuple[str, ...] = ("nodetool.concurrency",)
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    def __init__(self, name: str = "ours", limits: bool = False, debug: bool | None = None) -> None:
        self.name = name
        self.limits = limits
        self.debug = debug
        if debug:
            self.modules = ("icontract", *self.modules)

    async def make(self, wanted: Wanted) -> Pool:
        max_idle_time = HOUR if self.limits else None
        max_age = 1e-9 if wanted.expired_by_use else wanted.max_age or max_idle_time
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            wanted.create,
            wanted.close,
            max_size=wanted.max_size,
            max_age=max_age,
            max_idle_time=wanted.max_idle_time or max_idle_time,
            acquisition_timeout=wanted.timeout,
            check=wanted.check,
            check_after_idle=0 if wanted.checks_every_use else 0.5,
            debug=self.debug,
        )
        return Pool(
            pool.acquire,
            pool.release,
            pool.acquire_context,
            pool.close,
            pool.prune,
            pool.acquire,
        )


def timed(
    acquire: Callable[[], Awaitable[Any]], timeout: float | None
) -> Callable[[], Awaitable[Any]]:
    """Add a timeout to every acquire from outside. Without a timeout, return the same function."""
    if timeout is None:
        return acquire

    async def within() -> Any:
        async with asyncio.timeout(timeout):
            return await acquire()

    return within


def context(
    acquire: Callable[[], Awaitable[Any]], release: Callable[[Any], Awaitable[Any]]
) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """Make a context manager from a pair of functions."""

    @asynccontextmanager
    async def lease() -> AsyncIterator[Any]:
        resource = await acquire()
        try:
            yield resource
        finally:
            await release(resource)

    return lease


def without_limits(wanted: Wanted) -> None:
    """Raise an error for workloads that need limits, because this pool has none."""
    if wanted.expired_by_use or wanted.max_idle_time is not None:
        raise LacksError("no limits")


def without_check(wanted: Wanted) -> None:
    """Raise an error for workloads that need a check before a use: this pool makes none."""
    if wanted.check is not None:
        raise LacksError("no check before a use")


class QueuePool:
    """A hand-written pool: an `asyncio.Queue` that has all resources from the start."""

    name = "queue"
    modules: tuple[str, ...] = ()
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        without_limits(wanted)
        without_check(wanted)
        if wanted.create is not create:
            raise LacksError("it creates everything beforehand")
        queue: asyncio.Queue[Any] = asyncio.LifoQueue()
        for resource in await asyncio.gather(*(wanted.create() for _ in range(wanted.max_size))):
            queue.put_nowait(resource)

        async def release(resource: Any) -> None:
            queue.put_nowait(resource)

        acquire = timed(queue.get, wanted.timeout)
        return Pool(acquire, release, context(acquire, release))


class SemaphorePool:
    """A hand-written pool: a semaphore, and a deque of idle resources. It creates on demand."""

    name = "semaphore"
    modules: tuple[str, ...] = ()
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        without_limits(wanted)
        without_check(wanted)
        semaphore = asyncio.Semaphore(wanted.max_size)
        idle: deque[Any] = deque()

        async def get() -> Any:
            await semaphore.acquire()
            if idle:
                return idle.pop()
            try:
                return await wanted.create()
            except BaseException:
                semaphore.release()
                raise

        async def release(resource: Any) -> None:
            idle.append(resource)
            semaphore.release()

        acquire = timed(get, wanted.timeout)
        return Pool(acquire, release, context(acquire, release))


OURS = (Ours(), Ours("ours, limits", limits=True))
DEBUG = (Ours("ours, debug off", debug=False), Ours("ours, debug on", debug=True))
HAND_ROLLED = (QueuePool(), SemaphorePool())
