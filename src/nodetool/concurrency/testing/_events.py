"""What a scenario is given: its tasks, and what may happen to it from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ._arguments import exceptions, how_often, listed, plain
from ._lasting import is_constant
from ._story import shown

if TYPE_CHECKING:
    from ._registry import Monitor

T = TypeVar("T")
R = TypeVar("R")

ATOMS = (type(None), bool, int, float, complex, str, bytes)  # whose objects cannot change

Fault: TypeAlias = BaseException | type[BaseException]
Option: TypeAlias = tuple[str, int, int]  # what happens next, to which, how


class Call:
    """A call of something outside, which ends when, and as, the explorer says."""

    __slots__ = ("faults", "future", "name", "number", "raised", "results")

    def __init__(
        self,
        name: str,
        number: int,
        future: asyncio.Future[Any],
        results: tuple[Any, ...],
        faults: tuple[Fault, ...],
    ) -> None:
        self.name = name
        self.number = number  # its place among all calls
        self.future = future
        self.results = results
        self.faults = faults
        self.raised: BaseException | None = None

    def end(self, how: int) -> None:
        """Complete it, if nobody has cancelled it since."""
        if self.future.done():
            return
        if how < len(self.results):
            self.future.set_result(self.results[how])
            return
        fault = self.faults[how - len(self.results)]
        self.raised = fault() if isinstance(fault, type) else fault
        self.future.set_exception(self.raised)

    def forget(self) -> None:
        """One exception may serve in many runs: remove the traces of having been raised."""
        for fault in self.faults:
            if isinstance(fault, BaseException):
                fault.__traceback__ = fault.__context__ = None

    def outcome(self, how: int) -> str:
        """In words."""
        if how < len(self.results):
            result = self.results[how]
            return "returns" if result is None else f"returns {shown(result)}"
        return f"fails with {shown(self.faults[how - len(self.results)])}"


class Events:
    """A scenario's tasks and outside calls. The explorer makes one for every run.

    It keeps nothing of the scenario's own: that would be no part of the state.
    """

    __slots__ = (
        "_calls",
        "_cancels",
        "_checks",
        "_loop",
        "_monitors",
        "_open",
        "_tasks",
        "_watched",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: list[Call] = []  # all there ever were, for messages
        self._open: list[Call] = []  # those that can still be ended
        self._tasks: list[asyncio.Task[Any]] = []
        self._cancels: list[int] = []  # how often each task may still be cancelled from outside
        self._checks: list[Callable[[], object]] = []
        self._watched: list[object] = []
        self._monitors: list[Monitor] = []

    def task(
        self,
        coro: Coroutine[Any, Any, R],
        *,
        name: str | None = None,
        cancellable: bool | int = False,
    ) -> asyncio.Task[R]:
        """Start a task.

        Args:
            coro: What it runs.
            name: What to call it in schedules.
            cancellable: Whether it may be cancelled from outside, at any moment; a number says how
                often.

        Returns:
            The task. An exception that nobody retrieves from it fails the run.

        Raises:
            ValueError: `cancellable` is neither.
        """
        try:
            times = how_often("cancellable", cancellable)
        except ValueError:
            coro.close()
            raise
        task = self._loop.create_task(coro, name=name)
        self._tasks.append(task)
        self._cancels.append(times)
        return task

    async def join(self) -> None:
        """Wait for all other tasks started by `task`; their exceptions stay theirs."""
        me = asyncio.current_task()
        for task in self._tasks:
            if not (task.done() or task is me):
                over = self._loop.create_future()
                task.add_done_callback(partial(_wake, over))
                await over

    async def call(
        self,
        name: str,
        *,
        result: T = None,  # type: ignore[assignment]  # None is what most outside calls return
        results: Sequence[T] = (),
        faults: Sequence[Fault] = (),
    ) -> T:
        """Call something outside: when it ends, and how, is the explorer's choice.

        Args:
            name: What to call it in schedules.
            result: What it returns.
            results: What else it may return.
            faults: What it may raise: exceptions, or classes of them to be called without
                arguments.

        Returns:
            One of the results.

        Raises:
            BaseException: One of the faults.
            TypeError: `results` or `faults` are not what they must be; a StopIteration is no fault.
        """
        ways = (result, *listed("results", results)), exceptions("faults", faults)
        future = self._loop.create_future()
        call = Call(name, len(self._calls), future, *ways)
        self._calls.append(call)
        self._open.append(call)
        answer: T = await call.future
        return answer

    def check(self, invariant: Callable[[], object]) -> None:
        """Call `invariant` after every callback of the loop.

        Args:
            invariant: A plain function. It fails the run by raising, or by returning ``False``
                (that object, not what is merely falsy).

        Raises:
            TypeError: It cannot be called, or is an async function, which would never run.
        """
        plain("an invariant", invariant)
        self._checks.append(invariant)

    def watch(self, *objects: object) -> None:
        """Make objects part of the state, which no task refers to: what only globals refer to.

        Args:
            objects: Those that change. What a class, a module, a function or a member of an
                enumeration keeps is found in its ``vars(...)``.

        Raises:
            TypeError: One of them counts as a constant, so watching it would do nothing.
        """
        for one in objects:
            if type(one) in ATOMS or is_constant(one):
                raise TypeError(
                    f"{shown(one)} counts as a constant: watch the object that changes, such as a "
                    "list that it has, or vars(...) of it"
                )
        self._watched.extend(objects)

    def add_monitor(self, monitor: Monitor) -> None:
        """Check an object of the scenario by a monitor, and make it part of the state.

        Args:
            monitor: The checks of one object, see `Monitor`.
        """
        self._monitors.append(monitor)

    def time(self) -> float:
        """Return the time of the scenario's clock, which is virtual."""
        return self._loop.time()

    # What the explorer asks.

    def _options(self) -> list[Option]:
        """How each outside call may end now."""
        self._open = [call for call in self._open if not call.future.done()]
        return [
            ("call", call.number, how)
            for call in self._open
            for how in range(len(call.results) + len(call.faults))
        ]

    def _cancellations(self) -> list[Option]:
        """Which tasks may be cancelled now."""
        return [
            ("cancel", number, 0)
            for number, left in enumerate(self._cancels)
            if left and not self._tasks[number].done()
        ]

    def _happen(self, option: Option) -> Callable[[], object]:
        """Take note that one of the above happens; what it returns is to be called by the loop."""
        kind, number, how = option
        if kind == "cancel":
            self._cancels[number] -= 1
            return self._tasks[number].cancel
        call = self._calls[number]
        self._open.remove(call)
        return partial(call.end, how)

    def _words(self, option: Option) -> str:
        kind, number, how = option
        if kind == "cancel":
            return f"cancel {self._tasks[number].get_name()!r}"
        call = self._calls[number]
        return f"{self._call_name(call)} {call.outcome(how)}"

    def _call_name(self, call: Call) -> str:
        """Which call of that name it is."""
        before = self._calls[: call.number]
        return f"{call.name} #{1 + sum(other.name == call.name for other in before)}"

    def _state(self) -> list[object]:
        """What of this decides what can happen."""
        undone = [
            (task, left)
            for task, left in zip(self._tasks, self._cancels, strict=True)
            if not task.done()
        ]
        subjects = [monitor.subject for monitor in self._monitors]
        return [undone, self._open, self._checks, self._watched, subjects]


def _wake(future: asyncio.Future[None], _: object) -> None:
    if not future.done():
        future.set_result(None)
