"""The tasks and outside calls of one run of a scenario."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeAlias, TypeVar

from ._arguments import read_count, read_faults, read_list, require_function
from ._constants import is_constant
from ._registry import Monitor
from ._story import show

__all__ = ["Call", "EventLog", "Events", "Option"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

ATOMS = (type(None), bool, int, float, complex, str, bytes)  # types of immutable objects

Fault: TypeAlias = BaseException | type[BaseException]
Option: TypeAlias = tuple[str, int, int]
"""A possible next event: its kind, the number of its subject, and the way in which it happens."""


Chooser: TypeAlias = Callable[[tuple[Option, ...]], int]


class Call:
    """An outside call. The explorer decides when and how it ends."""

    __slots__ = ("error", "faults", "future", "name", "number", "results", "work")

    def __init__(
        self,
        name: str,
        number: int,
        future: asyncio.Future[Any],
        results: tuple[Any, ...],
        faults: tuple[Fault, ...],
    ) -> None:
        self.name: str = name
        self.number: int = number  # its position among all calls of the run
        self.future: asyncio.Future[Any] = future
        self.results: tuple[Any, ...] = results
        self.faults: tuple[Fault, ...] = faults
        self.error: BaseException | None = None  # the fault with which it ended
        self.work: Callable[[], Any] | None = None  # what a thread has to do first

    @property
    def is_open(self) -> bool:
        """Return whether it still has to end. A thread goes on if nobody waits for it any more."""
        return self.work is not None or not self.future.done()

    def options(self, kind: str) -> list[Option]:
        """List the ways in which it can end, as options of a kind."""
        ways = range(len(self.results) + len(self.faults))
        return [(kind, self.number, way) for way in ways]

    def do_work(self) -> None:
        """Let its thread do its work, if it has one. The outcome becomes the only way to end."""
        if self.work is not None:
            work, self.work = self.work, None
            try:
                self.results = (work(),)
            except Exception as error:
                self.results, self.faults = (), (error,)

    def end(self, way: int) -> None:
        """End the call in one of its ways, unless it was cancelled."""
        if self.future.done():
            return
        if way < len(self.results):
            self.future.set_result(self.results[way])
            return
        fault = self.faults[way - len(self.results)]
        self.error = fault() if isinstance(fault, type) else fault
        self.future.set_exception(self.error)

    def clear_faults(self) -> None:
        """Remove the traceback and context of each fault, because later runs raise it again."""
        for fault in self.faults:
            if isinstance(fault, BaseException):
                fault.__traceback__ = fault.__context__ = None

    def outcome(self, way: int) -> str:
        """Describe one of its ways to end."""
        if self.work is not None:
            return "runs in its thread"
        if way < len(self.results):
            result = self.results[way]
            return "returns" if result is None else f"returns {show(result)}"
        return f"fails with {show(self.faults[way - len(self.results)])}"


class EventLog:
    """The record of one run behind its `Events`: all tasks, calls, checks and monitors."""

    def __init__(self, loop: asyncio.AbstractEventLoop, choose: Chooser) -> None:
        self.loop = loop
        self.choose = choose  # chooses between options inside of a callback
        self.calls: list[Call] = []  # all calls of the run, for messages
        self.open_calls: list[Call] = []  # the calls that did not end yet
        self.tasks: list[asyncio.Task[Any]] = []
        self.cancellations: list[int] = []  # how often the explorer may still cancel each task
        self.checks: list[Callable[[], object]] = []
        self.watched: list[object] = []
        self.monitors: list[Monitor] = []

    def begin_call(self, name: str, results: tuple[Any, ...], faults: tuple[Fault, ...]) -> Call:
        """Add an outside call."""
        call = Call(name, len(self.calls), self.loop.create_future(), results, faults)
        self.calls.append(call)
        self.open_calls.append(call)
        return call

    def call_options(self) -> list[Option]:
        """List each way in which each open call can end now."""
        self.open_calls = [call for call in self.open_calls if call.is_open]
        return [option for call in self.open_calls for option in call.options("call")]

    def may_end(self, call: Call) -> None:
        """Let the explorer choose whether a call that has just begun ends at once, and how."""
        options = [("wait", call.number, 0), *call.options("at once")]
        if index := self.choose(tuple(options)):
            self.record(options[index])()

    def cancel_options(self) -> list[Option]:
        """List the tasks that can be cancelled now."""
        return [
            ("cancel", number, 0)
            for number, count in enumerate(self.cancellations)
            if count and not self.tasks[number].done()
        ]

    def record(self, option: Option) -> Callable[[], object]:
        """Record that an option was chosen. Return the callback with which the loop performs it."""
        kind, number, way = option
        if kind == "cancel":
            self.cancellations[number] -= 1
            return self.tasks[number].cancel
        call = self.calls[number]
        self.open_calls.remove(call)
        call.do_work()
        return partial(call.end, way)

    def describe(self, option: Option) -> str:
        """Describe an option for the story of a failure."""
        kind, number, way = option
        if kind == "cancel":
            return f"cancel {self.tasks[number].get_name()!r}"
        call = self.calls[number]
        words = f"{self.call_name(call)} {call.outcome(way)}"
        return words if kind == "call" else f"{words} {kind}"

    def call_name(self, call: Call) -> str:
        """Return the name of a call, with its number among the calls of that name."""
        earlier = self.calls[: call.number]
        return f"{call.name} #{1 + sum(other.name == call.name for other in earlier)}"

    def state(self) -> list[object]:
        """List everything here that decides what can happen."""
        undone = [
            (task, count)
            for task, count in zip(self.tasks, self.cancellations, strict=True)
            if not task.done()
        ]
        subjects = [monitor.subject for monitor in self.monitors]
        return [undone, self.open_calls, self.checks, self.watched, subjects]


class Events:
    """Tasks and outside calls of a scenario. The explorer creates one object for every run.

    A scenario cannot set attributes here, because the explorer would not see them in the state.

    Since version 0.1.0.
    """

    __slots__ = ("_log",)

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def task(
        self,
        coro: Coroutine[Any, Any, R],
        *,
        name: str | None = None,
        cancellable: bool | int = False,
    ) -> asyncio.Task[R]:
        """Start a task.

        Args:
            coro: The coroutine that it runs.
            name: Its name in schedules.
            cancellable: Whether the explorer may cancel it, at any moment. A number limits how
                often.

        Returns:
            The task. If nobody retrieves its exception, the run fails.

        Raises:
            ValueError: `cancellable` is no boolean and no number.
        """
        try:
            count = read_count("cancellable", cancellable)
        except ValueError:
            coro.close()
            raise
        log = self._log
        task = log.loop.create_task(coro, name=name)
        log.tasks.append(task)
        log.cancellations.append(count)
        return task

    async def join(self) -> None:
        """Wait until all other tasks of `task` have ended. Do not retrieve their exceptions."""
        current = asyncio.current_task()
        for task in self._log.tasks:
            if not (task.done() or task is current):
                end = self._log.loop.create_future()
                task.add_done_callback(partial(_resolve, end))
                await end

    async def call(
        self,
        name: str,
        *,
        result: T = None,  # type: ignore[assignment]  # most outside calls return None
        results: Sequence[T] = (),
        faults: Sequence[Fault] = (),
        may_end_at_once: bool = False,
    ) -> T:
        """Call something outside. The explorer chooses when and how the call ends.

        Args:
            name: Its name in schedules.
            result: A value that it may return.
            results: Further values that it may return.
            faults: Exceptions that it may raise, or classes that need no arguments.
            may_end_at_once: Whether it may also end without an interruption of the caller, as a
                call does that finds its answer in a cache or a buffer.

        Returns:
            One of the results.

        Raises:
            BaseException: One of the faults.
            TypeError: `results` is no list, or `faults` is no list of exceptions that a coroutine
                can raise.
        """
        values = (result, *read_list("results", results))
        errors = read_faults("faults", faults)
        call = self._log.begin_call(name, values, errors)
        if may_end_at_once:
            self._log.may_end(call)
        answer: T = await call.future
        return answer

    async def thread(self, function: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
        """Call a function as ``asyncio.to_thread`` does, but in the thread of the scenario.

        The explorer chooses a moment between two callbacks of the loop. Then the whole function
        runs. So the steps of the function are not mixed with those of the scenario.

        Args:
            function: A plain function. Its name stands in schedules.
            *args: Its arguments.
            **options: Its arguments with names.

        Returns:
            The result of the function.

        Raises:
            Exception: The function raised it.
            TypeError: `function` cannot be called, or it is an async function.

        Cancellation:
            The function runs all the same, or never, as in a real thread.

        Since version 0.2.0.
        """
        require_function("the work of a thread", function)
        call = self._log.begin_call(getattr(function, "__name__", "thread"), (None,), ())
        call.work = partial(copy_context().run, function, *args, **options)
        answer: R = await call.future
        return answer

    def check(self, invariant: Callable[[], object]) -> None:
        """Call `invariant` after every callback of the loop.

        Args:
            invariant: A plain function. The run fails if it raises or returns the object ``False``.

        Raises:
            TypeError: `invariant` cannot be called, or it is an async function, which would never
                run.
        """
        require_function("an invariant", invariant)
        self._log.checks.append(invariant)

    def watch(self, *objects: object) -> None:
        """Make objects part of the state that no task refers to, for example a global list.

        Args:
            objects: The objects that change. If a class, a module, a function or a member of an
                enumeration changes, pass its ``vars(...)``.

        Raises:
            TypeError: An object counts as a constant, so watching it would have no effect.
        """
        for one in objects:
            if type(one) in ATOMS or is_constant(one):
                raise TypeError(
                    f"{show(one)} counts as a constant: watch the object that changes, such as a "
                    "list that it has, or vars(...) of it"
                )
        self._log.watched.extend(objects)

    def add_monitor(self, monitor: Monitor) -> None:
        """Check an object of the scenario by a monitor, and make the object part of the state.

        Args:
            monitor: The checks of one object: see `nodetool.concurrency.testing.plugins.Monitor`.

        Since version 0.2.0.
        """
        self._log.monitors.append(monitor)

    def time(self) -> float:
        """Return the time of the scenario's clock, which is virtual.

        Since version 0.2.0.
        """
        return self._log.loop.time()


def _resolve(future: asyncio.Future[None], _: object) -> None:
    if not future.done():
        future.set_result(None)
