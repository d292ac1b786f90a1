"""Floors: the lowest cost of the same work in plain asyncio. Other figures are divided by them."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from .contenders import LacksError, Pool, Wanted, create

T = TypeVar("T")


async def takes() -> object:
    """Do nothing, as one half of floor (a)."""
    return None


async def gives(_: object) -> None:
    """Do nothing, as the other half."""


class Shelf:
    """Floor (b): an `async with` that pops from a deque and appends to it."""

    __slots__ = ("idle", "taken")

    def __init__(self, idle: deque[Any]) -> None:
        self.idle = idle

    async def __aenter__(self) -> Any:
        self.taken = taken = self.idle.pop()
        return taken

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.idle.append(self.taken)


class Line:
    """Floor (c): one future for each waiter, in order. This is its state; its code is inline."""

    __slots__ = ("idle", "waiting")

    def __init__(self, resources: int) -> None:
        self.idle: deque[Any] = deque(object() for _ in range(resources))
        self.waiting: deque[Future[Any]] = deque()


class TimedLine:
    """Floor (d): like (c), with one timer for each waiter, and with coroutines."""

    def __init__(self, resources: int, timeout: float | None) -> None:
        self.idle: deque[Any] = deque(object() for _ in range(resources))
        self.waiting: deque[Future[Any]] = deque()
        self.loop = asyncio.get_running_loop()
        self.timeout = timeout

    async def acquire(self) -> Any:
        if self.idle:
            return self.idle.pop()
        future: Future[Any] = self.loop.create_future()
        self.waiting.append(future)
        if self.timeout is None:
            return await future
        timer = self.loop.call_later(self.timeout, _overdue, future)
        try:
            return await future
        finally:
            timer.cancel()

    async def release(self, resource: Any) -> None:
        waiting = self.waiting
        while waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(resource)
                return
        self.idle.append(resource)


def _overdue(future: Future[Any]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


async def run_in_task(call: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Floor (e): run one call to its end, in a bare task with a done callback."""
    task = asyncio.get_running_loop().create_task(call(*args))
    task.add_done_callback(_notice)
    return await task


def _notice(_: asyncio.Task[Any]) -> None:
    """Do nothing. A pool would learn here that the call has ended."""


async def run_in_tasks(
    call: Callable[[Any], Coroutine[Any, Any, None]], subjects: Sequence[Any]
) -> None:
    """Floor (e) for many calls at once: each has a bare task, and a done callback counts them."""
    loop = asyncio.get_running_loop()
    all_done: Future[None] = loop.create_future()
    left = len(subjects)

    def count(_: asyncio.Task[None]) -> None:
        nonlocal left
        left -= 1
        if not left:
            all_done.set_result(None)

    for subject in subjects:
        loop.create_task(call(subject)).add_done_callback(count)
    await all_done


def run_directly(call: Callable[[Any], None], subjects: Sequence[Any]) -> None:
    """Floor (f): call a plain function for each subject."""
    for subject in subjects:
        call(subject)


class Floor:
    """Floor (d) as a contender. Its ratio to itself shows the noise of the machine."""

    name = "floor"
    modules: tuple[str, ...] = ()
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        if wanted.create is not create:
            raise LacksError("it creates nothing")
        if wanted.max_idle_time is not None:
            raise LacksError("no limits")
        line = TimedLine(wanted.max_size, wanted.timeout)
        return Pool(line.acquire, line.release, lambda: Shelf(line.idle))
