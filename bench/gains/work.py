"""A kind of work, the ways to get the resources for it, and how one run of it is timed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any, Generic, TypeVar

from bench.size import Size
from nodetool.concurrency import AsyncResourcePool

T = TypeVar("T")


class WrongError(Exception):
    """The work was not done as it must be."""


class Source(Generic[T]):
    """Opens and closes resources of one kind, and counts them."""

    def __init__(self, opener: Callable[[], Awaitable[T]], closer: Callable[[T], Awaitable[None]]):
        self._opener = opener
        self._closer = closer
        self.opened = self.closed = self.most = 0

    async def open(self) -> T:
        """One more."""
        self.opened += 1
        self.most = max(self.most, self.opened - self.closed)
        try:
            return await self._opener()
        except BaseException:
            self.closed += 1
            raise

    async def close(self, resource: T) -> None:
        """One less."""
        await self._closer(resource)
        self.closed += 1


Lease = Callable[[], AbstractAsyncContextManager[T]]
Way = Callable[[Source[T]], AbstractAsyncContextManager[Lease[T]]]


def anew(at_once: int | None = None) -> Way[Any]:
    """A new one for each use, any number of them at once or only so many."""

    @asynccontextmanager
    async def way(source: Source[T]) -> AsyncIterator[Lease[T]]:
        turn = nullcontext() if at_once is None else asyncio.Semaphore(at_once)

        @asynccontextmanager
        async def lease() -> AsyncIterator[T]:
            async with turn:
                resource = await source.open()
                try:
                    yield resource
                finally:
                    await source.close(resource)

        yield lease

    return way


def shared(in_turns: bool = False) -> Way[Any]:
    """One for all, used by all at once or by one after another."""

    @asynccontextmanager
    async def way(source: Source[T]) -> AsyncIterator[Lease[T]]:
        turn = asyncio.Lock() if in_turns else nullcontext()
        resource = await source.open()

        @asynccontextmanager
        async def lease() -> AsyncIterator[T]:
            async with turn:
                yield resource

        try:
            yield lease
        finally:
            await source.close(resource)

    return way


def pooled(max_size: int) -> Way[Any]:
    """From a pool of at most so many."""

    @asynccontextmanager
    async def way(source: Source[T]) -> AsyncIterator[Lease[T]]:
        async with AsyncResourcePool(source.open, source.close, max_size=max_size) as pool:
            yield pool.acquire_context

    return way


@dataclass(frozen=True)
class Measured:
    """What one run came to."""

    seconds: float
    uses: int
    opened: int
    most: int  # open at once


async def timed(
    source: Source[T],
    way: Way[T],
    tasks: int,
    rounds: int,
    use: Callable[[T, int], Awaitable[None]],
) -> Measured:
    """Every task uses a resource so many times, each use with a number of its own.

    The time is that of all of it: what is opened beforehand and closed at the end included.
    """
    uses = 0

    async def user(lease: Lease[T], first: int) -> None:
        nonlocal uses
        for number in range(first, first + rounds):
            async with lease() as resource:
                await use(resource, number)
            uses += 1

    began = perf_counter()
    async with way(source) as lease, asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(user(lease, task * rounds))
    seconds = perf_counter() - began
    if source.opened != source.closed:
        raise WrongError(f"{source.opened} opened, {source.closed} closed")
    return Measured(seconds, uses, source.opened, source.most)


Measure = Callable[[Way[Any], Size], Coroutine[Any, Any, Measured]]


@dataclass(frozen=True)
class Work:
    """Some work, the ways to do it, and which of them the others are compared with."""

    name: str
    title: str
    measure: Measure
    ways: Mapping[str, Way[Any]]
    against: str
    lacks: Callable[[], str]  # why it cannot be measured here, if so
    throughput: bool = False  # compared by what is done in a time, not by the time it takes

    @property
    def figure(self) -> str:
        """What the factors are."""
        if self.throughput:
            return f"throughput ÷ that of the {self.against}"
        return f"time ÷ that of the {self.against}"

    def factor(self, one: float, other: float) -> float:
        """From the seconds of a way, and those of the one that it is compared with."""
        return other / one if self.throughput else one / other


def nothing_lacks() -> str:
    """For work that needs nothing but Python."""
    return ""


def not_installed(module: str) -> str:
    """Whether a module cannot be imported, in words; else it is imported now, before any timing."""
    try:
        import_module(module)
    except ImportError:
        return f"{module} is not installed"
    return ""
