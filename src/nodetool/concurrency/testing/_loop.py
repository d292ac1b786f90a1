"""An event loop that does nothing by itself: whoever explores says what happens next.

Handles run as in CPython's own loop: one *iteration* first appends what arrived from outside to the
ready queue, then the timers that are due, and then runs exactly what is ready now, in that order;
what these callbacks schedule runs in the next iteration. The clock stands still until it is moved.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from heapq import heappop, heappush
from threading import get_ident
from typing import Any, TypeVarTuple

__all__ = [
    "START",
    "ControlledLoop",
    "RealIOError",
    "TaskFactory",
    "controlled_loop",
    "listed_in_order",
    "owner",
]

Ts = TypeVarTuple("Ts")

START = 1000.0  # of the virtual clock
RESOLUTION = time.get_clock_info("monotonic").resolution  # as the stock loop has it


class RealIOError(RuntimeError):
    """An explored scenario has asked its loop for something that it cannot control."""


def owner(callback: object) -> Any:
    """The task that a callback is a step or a wake-up of, or whatever object it is a method of."""
    return getattr(callback, "__self__", None)


class AlikeTask(asyncio.Task[Any]):
    """All have one hash: the order of a set of them comes from what was done to that set alone."""

    def __hash__(self) -> int:
        return 0


class TaskFactory:
    """Makes tasks that hash alike; as a loop's task factory, too."""

    def __init__(self) -> None:
        self.made = 0
        self.tasks: dict[asyncio.Task[Any], None] = {}  # that ever were, in order

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, *, name: object = None, **options: Any
    ) -> asyncio.Task[Any]:
        self.made += 1
        task_name: Any = f"Task-{self.made}" if name is None else name
        task = AlikeTask(coro, loop=loop, name=task_name, **options)
        self.tasks[task] = None
        return task


@contextmanager
def listed_in_order(tasks: Iterable[asyncio.Task[Any]]) -> Iterator[None]:
    """Let ``asyncio.all_tasks`` find these first, in their order.

    Up to Python 3.13 it goes over a set, whose order comes from what other runs did to it.
    """
    name = "_all_tasks" if sys.version_info < (3, 12) else "_scheduled_tasks"
    registered = getattr(asyncio.tasks, name)

    class Listed:
        def __iter__(self) -> Iterator[asyncio.Task[Any]]:
            yield from [*tasks, *registered]

    setattr(asyncio.tasks, name, Listed())
    try:
        yield
    finally:
        setattr(asyncio.tasks, name, registered)


class ControlledLoop(asyncio.AbstractEventLoop):
    """Keeps a ready queue and timers, and lets itself be told what to run."""

    def __init__(self) -> None:
        self.now = START
        self._ready: deque[asyncio.Handle] = deque()
        self._scheduled: list[asyncio.TimerHandle] = []  # heap, with the same ties as the stock's
        self._alike = TaskFactory()
        self.tasks = self._alike.tasks  # and those that others have made
        self.futures: list[asyncio.Future[Any]] = []
        self.errors: list[dict[str, Any]] = []  # what the exception handler was called with
        self.refused: list[RealIOError] = []  # also those that somebody has caught
        self._generators: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], None]
        self._generators = weakref.WeakKeyDictionary()  # that were begun, in order
        self._factory: Callable[..., Any] | None = None
        self._handler: Callable[..., Any] | None = None
        self._thread_id: int | None = None  # as of the stock loop: while it runs
        self._closed = False
        self._debug = False

    # What asyncio calls.

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        task = owner(callback)
        if isinstance(task, asyncio.Task) and task not in self.tasks:
            self.tasks[task] = None
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._scheduled, timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a timer that is cancelled; it is dropped as it surfaces."""

    def create_future(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.Future(loop=self)
        self.futures.append(future)
        return future

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        if context is not None:
            options["context"] = context
        task: asyncio.Task[Any] = (self._factory or self._alike)(self, coro, **options)
        self.tasks[task] = None
        if name is not None:
            task.set_name(name)
        return task

    def set_task_factory(self, factory: Callable[..., Any] | None) -> None:
        self._factory = factory

    def get_task_factory(self) -> Callable[..., Any] | None:
        return self._factory

    def set_exception_handler(self, handler: Callable[..., Any] | None) -> None:
        self._handler = handler

    def get_exception_handler(self) -> Callable[..., Any] | None:
        return self._handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._handler is None:
            self.default_exception_handler(context)
        else:
            self._handler(self, context)

    def get_debug(self) -> bool:
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        self._debug = enabled

    def is_running(self) -> bool:
        return self._thread_id is not None

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._ready.clear()
        self._scheduled.clear()

    async def shutdown_asyncgens(self) -> None:
        generators = list(self._generators)
        self._generators.clear()
        if generators:
            closing = [generator.aclose() for generator in generators]
            await asyncio.gather(*closing, return_exceptions=True)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    # What the explorer calls.

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running loop, as inside of ``run_forever``."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._generators.setdefault, self._finalize)
        asyncio._set_running_loop(self)
        self._thread_id = get_ident()
        try:
            with listed_in_order(self.tasks):
                yield
        finally:
            self._thread_id = None
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators.pop(generator, None)
        if not self._closed:
            self.call_soon(self.create_task, generator.aclose())

    def next_timer(self) -> float | None:
        """When the next timer fires, if there is one that ever does."""
        timers = self._scheduled
        while timers and timers[0].cancelled():
            heappop(timers)
        return timers[0].when() if timers and timers[0].when() < math.inf else None

    def is_due(self, when: float | None) -> bool:
        return when is not None and when < self.now + RESOLUTION

    def collect_due(self) -> None:
        """Append the timers that are due to the ready queue, as an iteration begins."""
        while self._scheduled and self.is_due(self._scheduled[0].when()):
            self._ready.append(heappop(self._scheduled))

    def drop_cancelled(self) -> None:
        """Forget the handles that would do nothing."""
        self._ready = deque(handle for handle in self._ready if not handle.cancelled())

    def run_handle(self, index: int = 0) -> None:
        """Run one of the handles that are ready."""
        handle = self._ready[index]
        del self._ready[index]
        if not handle.cancelled():
            handle._run()


def _refused(name: str) -> Callable[..., Any]:
    def refuse(self: ControlledLoop, *args: Any, **options: Any) -> Any:
        error = RealIOError(
            f"loop.{name}: an explored scenario must do no real I/O and start no thread or "
            "process: use `events.call(...)` for what happens outside"
        )
        self.refused.append(error)
        raise error

    return refuse


for _name in vars(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(ControlledLoop):
        setattr(ControlledLoop, _name, _refused(_name))


def controlled_loop() -> ControlledLoop:
    """A new loop. (What it refuses looks abstract to a type checker.)"""
    make: Any = ControlledLoop
    loop: ControlledLoop = make()
    return loop
