"""Kinds of work, the ways to get resources for them, and the timing of one run."""

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
    """A result of the work that is wrong."""


class Source(Generic[T]):
    """A source of resources of one kind. It opens, closes and counts them."""

    def __init__(self, opener: Callable[[], Awaitable[T]], closer: Callable[[T], Awaitable[None]]):
        self._opener = opener
        self._closer = closer
        self.opened = self.closed = self.most = 0

    async def open(self) -> T:
        """Open a resource and count it."""
        self.opened += 1
        self.most = max(self.most, self.opened - self.closed)
        try:
            return await self._opener()
        except BaseException:
            self.closed += 1
            raise

    async def close(self, resource: T) -> None:
        """Close a resource and count it."""
        await self._closer(resource)
        self.closed += 1


Lease = Callable[[], AbstractAsyncContextManager[T]]
Way = Callable[[Source[T]], AbstractAsyncContextManager[Lease[T]]]


def new_each_time(at_once: int | None = None) -> Way[Any]:
    """Open a new resource for each use, with or without a limit on the number at once."""

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
    """Share one resource, by all tasks at once or by one after another."""

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
    """Take resources from a pool with a maximum size."""

    @asynccontextmanager
    async def way(source: Source[T]) -> AsyncIterator[Lease[T]]:
        async with AsyncResourcePool(source.open, source.close, max_size=max_size) as pool:
            yield pool.acquire_context

    return way


@dataclass(frozen=True)
class Measured:
    """The result of one run."""

    seconds: float
    uses: int
    opened: int
    most: int  # highest number of resources open at once


async def timed(
    source: Source[T],
    way: Way[T],
    tasks: int,
    rounds: int,
    use: Callable[[T, int], Awaitable[None]],
) -> Measured:
    """Time tasks that each use a resource several times. Each use has its own number.

    The time includes the resources that are opened in advance and closed at the end.
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
    """A kind of work, the ways to do it, and the way that the others are compared with."""

    name: str
    title: str
    measure: Measure
    ways: Mapping[str, Way[Any]]
    against: str
    lacks: Callable[[], str]  # returns the reason why it cannot be measured here, or an empty text
    throughput: bool = False  # compare the work per second instead of the time

    @property
    def figure(self) -> str:
        """Description of the factors."""
        if self.throughput:
            return f"throughput ÷ that of the {self.against}"
        return f"time ÷ that of the {self.against}"

    def factor(self, one: float, other: float) -> float:
        """Compute the factor from the seconds of a way and of the reference."""
        return other / one if self.throughput else one / other


def nothing_lacks() -> str:
    """Say that nothing is missing, for work that needs only Python."""
    return ""


def not_installed(module: str) -> str:
    """Say whether a module is missing. Otherwise import it now, before any timing."""
    try:
        import_module(module)
    except ImportError:
        return f"{module} is not installed"
    return ""
