"""The contenders: pools of many makers behind one interface."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol


class Resource:
    """An empty resource, for pools that accept any object."""

    __slots__ = ("__weakref__",)


async def create() -> Resource:
    """Create a resource at no cost."""
    return Resource()


async def close(_: object) -> None:
    """Close a resource at no cost."""


@dataclass(frozen=True)
class Wanted:
    """The options of a pool that a workload needs."""

    max_size: int = 10
    timeout: float | None = 30.0  # of every acquire
    create: Callable[[], Any] = create  # returns an awaitable, except for our pool
    close: Callable[[Any], Any] = close  # as well
    check: Callable[[Any], Awaitable[Any]] | None = None  # of an idle resource, before its use
    checks_every_use: bool = False  # instead of those that the pool chooses
    expired_by_use: bool = False  # each resource expires with its first use
    max_idle_time: float | None = None
    max_age: float | None = None  # only our pool supports it without restrictions


class LacksError(Exception):
    """A feature that the workload needs and the contender lacks."""


@dataclass(frozen=True)
class Pool:
    """An open pool. Its functions are the pool's bound methods if possible, for speed.

    The object that `acquire` returns is passed to `release`.
    """

    acquire: Callable[[], Awaitable[Any]]
    release: Callable[[Any], Awaitable[Any]]
    context: Callable[[], AbstractAsyncContextManager[Any]]
    close: Callable[[], Awaitable[Any]] | None = None
    prune: Callable[[], Awaitable[Any]] | None = None
    acquire_within: Callable[[float], Awaitable[Any]] | None = None  # with a timeout in seconds


class Contender(Protocol):
    """A way to get a pool."""

    @property
    def name(self) -> str: ...

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that must be importable. The last one is the module that users import."""

    @property
    def timeouts(self) -> tuple[type[BaseException], ...]:
        """Exceptions that an acquire raises when it times out."""

    async def make(self, wanted: Wanted) -> Pool: ...


def missing(contender: Contender) -> str | None:
    """Return the first of the contender's modules that is not installed."""
    for module in contender.modules:
        try:
            importlib.import_module(module)
        except ImportError:
            return module
    return None


async def filled(contender: Contender, wanted: Wanted) -> Pool:
    """Make a pool, and fill it with idle resources."""
    pool = await contender.make(wanted)
    held = await asyncio.gather(*(pool.acquire() for _ in range(wanted.max_size)))
    for resource in held:
        await pool.release(resource)
    await asyncio.sleep(0)  # lets the tasks end before the measurement
    return pool


async def end(pool: Pool) -> None:
    """Close a pool if possible, so that it leaves no tasks or timers."""
    if pool.close is not None:
        await pool.close()
