"""The pool's own work: creations, checks, resets and closings, each with a time limit.

Each piece of work is a `Run`. A run waits in a queue, and starts in a later turn of the event loop
than the step that asked for it. So a call of the pool runs none of these functions. Each turn
starts at most `BATCH` runs, so that other tasks can run in between.

A run calls the user's function with empty context variables. If the result is awaitable, a task
awaits it. If this task exceeds its limit, the pool cancels it once. A creation, a check or a reset
keeps its slot until it ends. The pool abandons a closer at its limit, because otherwise a closer
that hangs would keep its slot for ever.

Nothing can interrupt a plain function. If a plain function takes longer than its limit, the pool
uses its result as usual, because a resource that exists can be used. Then a warning says which
function has blocked the loop, and for how long.

Each run has exactly one end. The driver takes the step of the machine that belongs to this end. An
error of the function ends the run. KeyboardInterrupt and SystemExit also stop the loop, as in a
task. Runs that are still in the queue start when the loop runs again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from enum import Enum
from functools import partial
from inspect import CO_ITERABLE_COROUTINE
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from nodetool.concurrency._errors import ResourcePoolError, ResourcePoolTimeoutError
from nodetool.concurrency._habits import refuse_answer
from nodetool.concurrency._machine.slots import NEVER, Slot, SlotState
from nodetool.concurrency._messages import LIMITS

from .callbacks import ignore, log, stops_program
from .deadlines import Deadlines

if TYPE_CHECKING:
    from asyncio import Future, Task

    from .binding import Binding

T = TypeVar("T")

BATCH = 64  # runs that start in one turn of the loop

CREATING, CLOSING = SlotState.CREATING, SlotState.CLOSING

CLOSED_LOOP = "the event loop was closed before it ended"


class Reports(Protocol):
    """The receiver of reports: the driver."""

    def run(self, step: Callable[[], object]) -> None:
        """Run a step inside the gate."""

    def work_succeeded(self, run: Run, result: Any) -> None:
        """Take the result of a run."""

    def work_failed(self, run: Run, error: BaseException) -> None:
        """Take the error of a run."""

    def limits_exceeded(self) -> None:
        """Call `Work.cancel_overdue`, because runs have exceeded their limit."""


class RunState(Enum):
    """The states of a run."""

    GOING = "going"  # it waits for its start, or its function runs
    ENDED = "ended"


class Run:
    """One piece of work: a call of the factory, the check, the reset or the closer."""

    __slots__ = (
        "awaitable",
        "calls",
        "cancelled",
        "expires_at",
        "has_begun",
        "kind",
        "late",
        "since",
        "slot",
        "state",
        "task",
    )

    def __init__(self, slot: Slot[Any], calls: Calls, since: float) -> None:
        self.slot = slot
        self.kind = slot.state
        self.calls = calls
        self.since = since  # when the machine asked for the work
        self.state = RunState.GOING
        self.has_begun = False  # whether the call of the function has begun
        self.task: Task[None] | None = None
        self.awaitable: Any = None  # the result of the function until the task begins to await it
        self.expires_at = NEVER
        self.late = False  # whether it has exceeded its limit
        self.cancelled = False  # whether it was cancelled for another reason than its limit

    def cancel(self) -> None:
        """Cancel the task, or the task that the call of the function is about to get."""
        self.cancelled = True
        if self.task is not None:
            cancel(self.task)

    def take_awaitable(self) -> Any:
        """Return the awaitable, and drop the reference to it."""
        awaitable, self.awaitable = self.awaitable, None
        return awaitable


class Calls:
    """The calls of one of the user's functions."""

    __slots__ = ("function", "limit", "runs")

    def __init__(self, function: Callable[..., Any] | None, limit: float) -> None:
        self.function = function
        self.limit = limit  # how long one call may take, in seconds
        self.runs: dict[Run, None] = {}  # the runs that have not ended, the oldest one first


class Work(Generic[T]):
    """The runs of a pool, from the request of the machine to the report of their end."""

    __slots__ = (
        "_abandoned",
        "_binding",
        "_calls",
        "_deadlines",
        "_is_scheduled",
        "_queue",
        "has_closer",
    )

    def __init__(
        self,
        binding: Binding,
        functions: dict[SlotState, tuple[Callable[..., Any] | None, float]],
    ) -> None:
        self._binding = binding
        # The runs keep their tasks alive, because the loop does not.
        self._calls = {kind: Calls(*function) for kind, function in functions.items()}
        self.has_closer = self._calls[CLOSING].function is not None
        self._queue: deque[Run] = deque()  # runs that have not started
        self._abandoned: set[Task[None]] = set()  # closers that exceeded their limit and still run
        self._is_scheduled = False  # whether the loop is going to start a batch
        self._deadlines: Deadlines[Run] | None = None

    def limit_of(self, kind: SlotState) -> float:
        """Return how long one call of the function may take."""
        return self._calls[kind].limit

    def runs(self, kind: SlotState) -> list[Run]:
        """List the runs of one kind, the oldest one first."""
        return list(self._calls[kind].runs)

    def oldest(self) -> list[Run]:
        """List the oldest run of each kind."""
        return [next(iter(calls.runs)) for calls in self._calls.values() if calls.runs]

    def abandoned(self) -> int:
        """Count the closers that exceeded their limit and still run."""
        return len(self._abandoned)

    def request(self, slot: Slot[T], reports: Reports) -> None:
        """Queue the work that a slot needs."""
        calls = self._calls[slot.state]
        run = slot.run = Run(slot, calls, self._binding.clock())
        calls.runs[run] = None
        self._queue.append(run)
        self._schedule(reports)

    def end(self, run: Run) -> bool:
        """Note the end of a run. Return False if the run had ended before."""
        if run.state is RunState.ENDED:
            return False
        run.state = RunState.ENDED
        if run.awaitable is not None:
            drop(run)
        run.slot.run = run.task = None
        del run.calls.runs[run]
        return True

    def cancel_all(self) -> list[Run]:
        """Cancel all runs but the closers. Return those that cannot end by themselves."""
        over = self._binding.is_over()
        stuck: list[Run] = []
        for run in [run for calls in self._calls.values() for run in calls.runs]:
            if over or (not run.has_begun and run.kind is not CLOSING):
                stuck.append(run)
            elif run.kind is not CLOSING and not run.cancelled:
                run.cancel()
        if over:
            self._queue.clear()
            self._abandoned.clear()
        return stuck

    def cancel_overdue(self, now: float) -> list[Run]:
        """Cancel the runs that exceeded their limit. Return the closers, which are abandoned."""
        closers: list[Run] = []
        assert self._deadlines is not None
        try:
            while (run := self._deadlines.take_expired(now)) is not None:
                task = run.task
                assert task is not None
                if task.done():
                    continue  # the report of its end comes in this turn
                if run.awaitable is not None:
                    # The loop is late, and the task has not begun. A cancellation now would prevent
                    # the awaitable of a closer from running at all, so give it more time.
                    run.expires_at = now + run.calls.limit
                    self._deadlines.add(run)
                    continue
                run.late = True
                if run.kind is CLOSING:
                    self.end(run)
                    self._abandoned.add(task)
                    closers.append(run)
                cancel(task)
        finally:
            self._deadlines.arm()
        return closers

    def call_closer(self, slot: Slot[T]) -> BaseException | str | None:
        """Call the closer without a loop. Only a sync closer can run to its end.

        Return the problem, if there was one.
        """
        closer = self._calls[CLOSING].function
        assert closer is not None
        error, result, is_awaitable = attempt(Context(), closer, slot.resource)
        if error is None and is_awaitable:
            dismiss(result)
            return "it is asynchronous and the event loop is closed"
        return error

    def late_error(self, kind: SlotState) -> ResourcePoolTimeoutError:
        """Make the error of a run that exceeded its limit."""
        function, limit = LIMITS[kind]
        return ResourcePoolTimeoutError(
            f"pool {self._binding.name!r}: the {function} did not finish within "
            f"{limit}={self.limit_of(kind):g} s: see why it takes so long, or allow more time"
        )

    def stop(self) -> None:
        """Drop the timer, because nothing is left to do."""
        if self._deadlines is not None:
            self._deadlines.stop()

    # The start of runs.

    def _schedule(self, reports: Reports) -> None:
        loop = self._binding.loop  # None in a child that was forked in the middle of a step
        if self._queue and not self._is_scheduled and loop is not None:
            loop.call_soon(partial(self._start_batch, reports), context=Context())
            self._is_scheduled = True

    def _start_batch(self, reports: Reports) -> None:
        self._is_scheduled = False
        try:
            # Start only the runs that are in the queue now. New runs start in a later turn.
            for _ in range(min(BATCH, len(self._queue))):
                self._start(self._queue.popleft(), reports)
        finally:
            if self._queue:
                reports.run(partial(self._schedule, reports))
            del self, reports  # an error of a function keeps this frame, as in `_start`

    def _start(self, run: Run, reports: Reports) -> None:
        """Call the function. The gate is open, because the function is user code."""
        # A nested call of `terminate` may come at any moment here. If `has_begun` is not set, it
        # ends the run itself. Otherwise it cancels the task that the call gets.
        run.has_begun = True
        if run.state is RunState.ENDED:
            return
        function = run.calls.function
        assert function is not None
        arguments = () if run.kind is CREATING else (run.slot.resource,)
        context = Context()
        called_at = self._binding.clock()
        error, result, is_awaitable = attempt(context, function, *arguments)
        took = self._binding.clock() - called_at
        try:
            if error is None and is_awaitable:
                run.awaitable = result
                reports.run(partial(self._launch, run, context, reports))
            elif error is None:
                reports.work_succeeded(run, result)
            elif issubclass(type(error), asyncio.CancelledError):
                reports.work_failed(run, self._cancellation_error(run, False))
            else:
                reports.work_failed(run, error)
            if took > run.calls.limit:
                self._warn_of_block(run, took)
            if stops_program(error):
                raise error
        finally:
            # The error keeps this frame, and the frame must not keep the error or the pool.
            del self, run, reports, function, arguments, context, error, result

    def _warn_of_block(self, run: Run, took: float) -> None:
        """Log that a function blocked the loop for longer than its limit."""
        function, limit = LIMITS[run.kind]
        log(
            logging.WARNING,
            "pool %r: the %s blocked the event loop for %.3f s, longer than %s=%g s. Nothing can "
            "interrupt a plain function, and no task runs meanwhile. Make it asynchronous, or call "
            "what blocks with asyncio.to_thread",
            self._binding.name,
            f"{function}{name_of_function(run.calls.function)}",
            took,
            limit,
            run.calls.limit,
        )

    def _launch(self, run: Run, context: Context, reports: Reports) -> None:
        """Let a task await the result of the function."""
        # An eager task factory would run the awaitable inside a step, so do not use create_task.
        run.task = asyncio.Task(
            awaited(run, partial(reports.work_succeeded, run)),
            loop=self._binding.loop,
            name=f"{self._binding.name}: {LIMITS[run.kind][0]}",
            context=context,
        )
        run.task.add_done_callback(partial(self._task_done, run, reports), context=Context())
        if run.cancelled:
            run.task.cancel()
        limit = run.calls.limit
        if limit < NEVER:
            run.expires_at = self._binding.clock() + limit
            if self._deadlines is None:
                self._deadlines = Deadlines(self._binding, RunState.ENDED, reports.limits_exceeded)
            self._deadlines.add(run)

    def _task_done(self, run: Run, reports: Reports, task: Task[None]) -> None:
        if task in self._abandoned:
            self._abandoned.remove(task)
            if not task.cancelled():
                task.exception()  # take the error, because otherwise asyncio logs it
        elif run.state is not RunState.ENDED:
            if task.cancelling() and not run.late:
                run.cancelled = True
            reports.work_failed(run, self._error_of(run, task))

    def _error_of(self, run: Run, task: Task[None]) -> BaseException:
        # Take the error in any case, because asyncio logs each error that nobody takes.
        error = None if task.cancelled() else task.exception()
        if run.late:
            return self.late_error(run.kind)
        return self._cancellation_error(run, run.cancelled) if error is None else error

    def _cancellation_error(self, run: Run, requested: bool) -> ResourcePoolError:
        if requested:
            how = "was cancelled: see which code cancels the pool's task"
        else:
            how = "ended in a cancellation of its own: see what it awaits, and who cancels that"
        return ResourcePoolError(f"pool {self._binding.name!r}: the {LIMITS[run.kind][0]} {how}")


class Outcome(NamedTuple):
    """The outcome of a call of a user's function."""

    error: BaseException | None
    result: Any = None
    is_awaitable: bool = False


def name_of_function(function: Any) -> str:
    """Return the qualified name of a user's function in brackets, or nothing if it has none.

    Do not use `__repr__`, because that of a callable object is user code.
    """
    while type(function) is partial:
        function = function.func
    try:
        name = function.__qualname__
    except BaseException as error:
        ignore(error)
        return ""
    return f" ({name})" if type(name) is str else ""


def attempt(context: Context, function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a user's function, and look at its result."""
    try:
        result = context.run(function, *arguments)
        return Outcome(None, result, is_awaitable(result))
    except BaseException as error:
        del context, function, arguments  # the error keeps this frame, as in `Work._start`
        # Call the method of the base class, because a user's class may override it.
        BaseException.with_traceback(error, error.__traceback__.tb_next)  # type: ignore[union-attr]
        return Outcome(error)


def is_awaitable(result: Any) -> bool:
    """Tell whether ``await`` takes the result. Only its type decides, as ``await`` itself does.

    `inspect.isawaitable` also reads the attribute `__class__`, which runs code of a user's proxy.
    """
    kind = type(result)
    if kind is GeneratorType:
        return bool(result.gi_code.co_flags & CO_ITERABLE_COROUTINE)
    return hasattr(kind, "__await__")


def truth_of(name: str, answer: Any) -> bool:
    """Return the truth of a plain function's answer. Refuse an awaitable, which is always true."""
    refuse_pending(name, answer, awaitable=is_awaitable(answer))
    return bool(answer)


def refuse_pending(name: str, answer: Any, *, awaitable: bool = False) -> None:
    """Refuse the answer of a plain function that has done nothing.

    Args:
        name: The name of the argument.
        answer: The answer. A task is no mistake of a listener, because it runs by itself.
        awaitable: Whether the answer is an awaitable, and that is a mistake.
    """
    is_coroutine = type(answer) is CoroutineType
    if is_coroutine:
        dismiss(answer)
    refuse_answer(name, answer, awaitable or is_coroutine)


async def awaited(run: Run, report: Callable[[Any], None]) -> None:
    """Await the result of a user's function, and report the value.

    The task itself reports a success, because that saves one turn of the loop. The task's done
    callback reports a failure, because a task that is cancelled before its start runs no code here.
    """
    try:
        value = await run.take_awaitable()
    except BaseException:
        # The pool may keep the error. The error keeps this frame, which must not keep the pool.
        del run, report
        raise
    report(value)


def drop(run: Run) -> None:
    """Drop the awaitable of a run whose task never started."""
    dismiss(run.take_awaitable())
    assert run.task is not None
    coroutine: Any = run.task.get_coro()
    coroutine.close()  # a closed loop never starts the task


def dismiss(awaitable: Any) -> None:
    """End an awaitable that nobody is going to await. Its methods may be user code."""
    try:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()  # otherwise Python warns that nobody has awaited it
        elif asyncio.isfuture(awaitable):
            cancel(awaitable)  # otherwise its work goes on
    except BaseException as error:
        ignore(error)


def cancel(future: Future[Any]) -> None:
    """Cancel a future or a task. If user code fails meanwhile, report that to the loop."""
    try:
        future.cancel()
    except BaseException as error:
        ignore(error)
        context = {"message": "a cancellation failed", "exception": error, "future": future}
        future.get_loop().call_exception_handler(context)
