"""What is measured: pools of many makers behind one form."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol


class Resource:
    """What is pooled where a pool permits any object: nothing of its own."""

    __slots__ = ("__weakref__",)


async def create() -> Resource:
    """A factory that costs nothing."""
    return Resource()


async def close(_: object) -> None:
    """A closer that costs nothing."""


@dataclass(frozen=True)
class Wanted:
    """What a workload wants of a pool."""

    max_size: int = 10
    timeout: float | None = 30.0  # of every acquire
    create: Callable[[], Awaitable[Any]] = create
    close: Callable[[Any], Awaitable[Any]] = close
    expired_by_use: bool = False  # every resource is used once
    max_idle_time: float | None = None
    max_age: float | None = None  # only our pool has it without restrictions


class LacksError(Exception):
    """The contender has nothing of the kind that the workload wants."""


@dataclass(frozen=True)
class Pool:
    """An open pool: its own bound methods wherever possible, so that nothing is added to them.

    All that `acquire` returns is passed to `release`.
    """

    acquire: Callable[[], Awaitable[Any]]
    release: Callable[[Any], Awaitable[Any]]
    context: Callable[[], AbstractAsyncContextManager[Any]]
    close: Callable[[], Awaitable[Any]] | None = None
    prune: Callable[[], Awaitable[Any]] | None = None


class Contender(Protocol):
    """A way to get a pool."""

    @property
    def name(self) -> str: ...

    @property
    def modules(self) -> tuple[str, ...]:
        """What must be importable; the last one is what its users import."""

    @property
    def timeouts(self) -> tuple[type[BaseException], ...]:
        """What an acquire raises whose time is up."""

    async def make(self, wanted: Wanted) -> Pool: ...


def missing(contender: Contender) -> str | None:
    """The first of its modules that is not installed."""
    for module in contender.modules:
        try:
            importlib.import_module(module)
        except ImportError:
            return module
    return None


async def filled(contender: Contender, wanted: Wanted) -> Pool:
    """A pool that has created all its resources, and all are idle."""
    pool = await contender.make(wanted)
    held = await asyncio.gather(*(pool.acquire() for _ in range(wanted.max_size)))
    for resource in held:
        await pool.release(resource)
    await asyncio.sleep(0)  # the tasks are gone, too, before anything is measured
    return pool


async def end(pool: Pool) -> None:
    """Close a pool that can be closed, so that it leaves no tasks or timers."""
    if pool.close is not None:
        await pool.close()
