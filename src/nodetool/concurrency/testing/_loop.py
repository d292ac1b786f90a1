"""An event loop that does nothing by itself: the explorer chooses what happens next.

Handles run as on CPython's own loop. One *iteration* appends the arrivals from outside to the ready
queue, and then the timers that are due. Then it runs all handles that are in the queue at this
moment, in this order. Handles that these callbacks schedule run in the next iteration. The clock
stands still until the explorer moves it.
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

from ._virtual import VirtualClock

__all__ = [
    "THREAD",
    "ControlledLoop",
    "RealIOError",
    "TaskFactory",
    "fix_task_order",
    "make_controlled_loop",
    "owner",
]

Ts = TypeVarTuple("Ts")

THREAD = (
    "the scenario waits for a thread, which the explorer cannot control: use `await "
    "events.thread(function, ...)` for a call in a thread"
)
RESOLUTION = time.get_clock_info("monotonic").resolution  # the same as the stock loop's


class RealIOError(RuntimeError):
    """A request for real I/O, a thread or a process, which the explorer cannot control.

    Since version 0.1.0.
    """


def owner(callback: object) -> Any:
    """Return the object whose method a callback is, for example the task whose step it is."""
    return getattr(callback, "__self__", None)


class EqualHashTask(asyncio.Task[Any]):
    """A task whose hash equals that of all others.

    So the order of a set of tasks depends only on the insertions into that set, and not on
    addresses.
    """

    def __hash__(self) -> int:
        return 0


class TaskFactory:
    """A factory of tasks with equal hashes. It can be the task factory of a loop."""

    def __init__(self) -> None:
        self.count = 0  # how many tasks it made
        self.tasks: dict[asyncio.Task[Any], None] = {}  # all tasks, oldest first

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, *, name: object = None, **options: Any
    ) -> asyncio.Task[Any]:
        self.count += 1
        task_name: Any = f"Task-{self.count}" if name is None else name
        task = EqualHashTask(coro, loop=loop, name=task_name, **options)
        self.tasks[task] = None
        return task


@contextmanager
def fix_task_order(tasks: Iterable[asyncio.Task[Any]]) -> Iterator[None]:
    """Let ``asyncio.all_tasks`` find these tasks first, in their order.

    Up to Python 3.13 it iterates over a set, whose order depends on earlier runs.
    """
    name = "_all_tasks" if sys.version_info < (3, 12) else "_scheduled_tasks"
    registered = getattr(asyncio.tasks, name)

    class OrderedRegistry:
        def __iter__(self) -> Iterator[asyncio.Task[Any]]:
            yield from [*tasks, *registered]

    setattr(asyncio.tasks, name, OrderedRegistry())
    try:
        yield
    finally:
        setattr(asyncio.tasks, name, registered)


class ControlledLoop(VirtualClock, asyncio.AbstractEventLoop):
    """A loop whose handles the explorer runs one by one."""

    def __init__(self) -> None:
        self.ready: deque[asyncio.Handle] = deque()
        self.timers: list[
            asyncio.TimerHandle
        ] = []  # a heap, with the same ties as the stock loop's
        self._equal_hash_factory = TaskFactory()
        self.tasks = self._equal_hash_factory.tasks  # also those of other factories
        self.futures: list[asyncio.Future[Any]] = []
        self.errors: list[dict[str, Any]] = []  # contexts that the exception handler got
        self.refusals: list[RealIOError] = []  # also those that the scenario caught
        self._generators: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], None]
        self._generators = weakref.WeakKeyDictionary()  # those that were started, oldest first
        self._factory: Callable[..., Any] | None = None
        self._handler: Callable[..., Any] | None = None
        self._maker_id = get_ident()
        self._thread_id: int | None = None  # as on the stock loop: set while it runs
        self._closed = False
        self._debug = False

    # The methods that asyncio calls.

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
        self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if get_ident() != self._maker_id:
            self.refusals.append(RealIOError(THREAD))
            return asyncio.Handle(callback, args, self, context)
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
        heappush(self.timers, timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Ignore a cancelled timer until it is the next one."""

    def create_future(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.Future(loop=self)
        self.futures.append(future)
        return future

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        if context is not None:
            options["context"] = context
        task: asyncio.Task[Any] = (self._factory or self._equal_hash_factory)(self, coro, **options)
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
        self.ready.clear()
        self.timers.clear()

    async def shutdown_asyncgens(self) -> None:
        generators = list(self._generators)
        self._generators.clear()
        if generators:
            closing = [generator.aclose() for generator in generators]
            await asyncio.gather(*closing, return_exceptions=True)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do nothing, because there is no executor."""

    # The methods that the explorer calls.

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Make this the running loop, as ``run_forever`` does."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._generators.setdefault, self._finalize)
        asyncio._set_running_loop(self)
        self._thread_id = get_ident()
        try:
            with fix_task_order(self.tasks):
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
        """Return when the next timer fires, or None if no timer ever fires."""
        timers = self.timers
        while timers and timers[0].cancelled():
            heappop(timers)
        return timers[0].when() if timers and timers[0].when() < math.inf else None

    def is_due(self, when: float | None) -> bool:
        """Return whether a timer of this time fires in the next iteration."""
        return when is not None and when < self.now + RESOLUTION

    def collect_due(self) -> None:
        """Append the timers that are due to the ready queue, as at the start of an iteration."""
        while self.timers and self.is_due(self.timers[0].when()):
            self.ready.append(heappop(self.timers))

    def drop_cancelled(self) -> None:
        """Remove the handles that were cancelled from the ready queue."""
        self.ready = deque(handle for handle in self.ready if not handle.cancelled())

    def run_handle(self, index: int = 0) -> None:
        """Run one handle of the ready queue."""
        handle = self.ready[index]
        del self.ready[index]
        self.begin_callback()
        if not handle.cancelled():
            handle._run()

    def state(self) -> list[object]:
        """List everything here that decides what can happen."""
        return [
            self.now,
            list(self.ready),
            list(self.timers),
            [task for task in self.tasks if not task.done() or task._log_traceback],
            [future for future in self.futures if future._log_traceback],
            self._handler,
            self._factory,
            self._debug,
            self._generators,
            self.luck(),
        ]


def _make_refusal(name: str) -> Callable[..., Any]:
    """Make a method that refuses to do what the stock loop's method of this name does."""

    def refuse(self: ControlledLoop, *args: Any, **options: Any) -> Any:
        error = RealIOError(
            f"loop.{name}: an explored scenario must do no real I/O and start no thread or "
            "process: use `events.call(...)` for an outside call"
        )
        self.refusals.append(error)
        raise error

    return refuse


for _name in vars(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(ControlledLoop):
        setattr(ControlledLoop, _name, _make_refusal(_name))


def make_controlled_loop() -> ControlledLoop:
    """Make a loop. A type checker takes the refused methods for abstract ones, hence `Any`."""
    make: Any = ControlledLoop
    loop: ControlledLoop = make()
    return loop
