"""The pool's own work: creations, checks, resets and closings, each with a time limit.

Each piece of work is a `Run`. A run waits in a queue, because work starts in a later turn of the
event loop than the step that asked for it. So no user code runs inside a user's call. Each turn
starts at most `BATCH` runs, so that other tasks can run in between.

A run calls the user's function with empty context variables. If the result is awaitable, a task
awaits it. A run that exceeds its limit is cancelled once. A creation, a check or a reset keeps its
slot until it ends. A closer is abandoned at once, because otherwise a closer that hangs would keep
its slot for ever.

Each run has exactly one end. The driver takes the step of the machine that belongs to this end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from enum import Enum
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from nodetool.concurrency._errors import ResourcePoolError, ResourcePoolTimeoutError
from nodetool.concurrency._machine.slots import NEVER
from nodetool.concurrency._runtime.deadlines import Deadlines

from .slots import Slot, SlotState

if TYPE_CHECKING:
    from asyncio import Handle, Task

    from nodetool.concurrency._runtime.binding import Binding

T = TypeVar("T")

BATCH = 64  # runs that start in one turn of the loop

CREATING, CLOSING = SlotState.CREATING, SlotState.CLOSING

CLOSED_LOOP = "the event loop was closed before it ended"

LIMITS = {
    SlotState.CREATING: ("factory", "creation_timeout"),
    SlotState.CHECKING: ("check", "check_timeout"),
    SlotState.RESETTING: ("reset", "reset_timeout"),
    SlotState.CLOSING: ("closer", "closer_timeout"),
}
"""The function and the limit of each kind of work, by their argument names."""


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
    """The progress of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Run:
    """One piece of work: a call of the factory, the check, the reset or the closer."""

    __slots__ = ("cancelled", "expires_at", "kind", "late", "since", "slot", "state", "task")

    def __init__(self, slot: Slot[Any], since: float) -> None:
        self.slot = slot
        self.kind = slot.state
        self.since = since  # when the machine asked for it
        self.state = RunState.QUEUED
        self.task: Task[None] | None = None
        self.expires_at = NEVER
        self.late = False  # whether it has exceeded its limit
        self.cancelled = False  # whether the pool has cancelled it because the pool terminates

    def cancel(self) -> None:
        """Cancel the task, or the task that the call of the function is about to get."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()


class Work(Generic[T]):
    """The runs of a pool, from the request of the machine to the report of their end."""

    __slots__ = (
        "_abandoned",
        "_binding",
        "_deadlines",
        "_functions",
        "_next_batch",
        "_queue",
        "_runs",
    )

    def __init__(
        self,
        binding: Binding,
        functions: dict[SlotState, tuple[Callable[..., Any] | None, float]],
    ) -> None:
        self._binding = binding
        self._functions = functions  # the function of each kind of work, and its limit in seconds
        self._queue: deque[Run] = deque()  # runs that have not started
        self._runs: dict[Run, None] = {}  # runs that have not ended; the loop keeps no task alive
        self._abandoned: set[Task[None]] = set()  # closers that exceeded their limit and still run
        self._next_batch: Handle | None = None
        self._deadlines: Deadlines[Run] | None = None

    @property
    def has_closer(self) -> bool:
        """Whether there is a closer."""
        return self._functions[CLOSING][0] is not None

    def limit_of(self, kind: SlotState) -> float:
        """Return how long one call of the function may take."""
        return self._functions[kind][1]

    def runs(self, kind: SlotState) -> list[Run]:
        """List the runs of one kind, the oldest one first."""
        return [run for run in self._runs if run.kind is kind]

    def abandoned(self) -> int:
        """Count the closers that exceeded their limit and still run."""
        return len(self._abandoned)

    def request(self, slot: Slot[T], reports: Reports) -> None:
        """Queue the work that a slot needs."""
        run = slot.run = Run(slot, self._binding.clock())
        self._runs[run] = None
        self._queue.append(run)
        self._schedule(reports)

    def end(self, run: Run) -> bool:
        """Note the end of a run. Return False if it had ended before."""
        if run.state is RunState.ENDED:
            return False
        run.state = RunState.ENDED
        run.slot.run = None
        del self._runs[run]
        return True

    def cancel_all(self) -> list[Run]:
        """Cancel all runs but the closers. Return those that cannot end by themselves."""
        over = self._binding.is_over()
        stuck: list[Run] = []
        for run in list(self._runs):
            if over or (run.state is RunState.QUEUED and run.kind is not CLOSING):
                stuck.append(run)
            elif run.kind is not CLOSING:
                run.cancel()
        return stuck

    def cancel_overdue(self, now: float) -> list[Run]:
        """Cancel the runs that exceeded their limit. Return the closers, which are abandoned."""
        closers: list[Run] = []
        assert self._deadlines is not None
        try:
            while (run := self._deadlines.take_expired(now)) is not None:
                run.late = True
                assert run.task is not None
                if run.kind is CLOSING:
                    self.end(run)
                    self._abandoned.add(run.task)
                    closers.append(run)
                run.task.cancel()
        finally:
            self._deadlines.arm()
        return closers

    def call_closer(self, slot: Slot[T]) -> BaseException | str | None:
        """Call the closer without a loop. Only a sync closer can run to its end.

        Return what went wrong, if anything did.
        """
        closer, _ = self._functions[CLOSING]
        assert closer is not None
        succeeded, result = attempt(Context(), closer, slot.resource)
        if not succeeded:
            return result  # type: ignore[no-any-return]
        if isawaitable(result):
            if asyncio.iscoroutine(result):
                result.close()
            return "it is asynchronous and the event loop is closed"
        return None

    def late_error(self, kind: SlotState) -> ResourcePoolTimeoutError:
        """Make the error of a run that exceeded its limit."""
        function, limit = LIMITS[kind]
        return ResourcePoolTimeoutError(
            f"pool {self._binding.name!r}: the {function} did not finish within "
            f"{limit}={self.limit_of(kind):g} s"
        )

    def stop(self) -> None:
        """Drop the timer, because nothing is left to do."""
        if self._deadlines is not None:
            self._deadlines.stop()

    # The start of runs.

    def _schedule(self, reports: Reports) -> None:
        if self._next_batch is None and self._queue:
            loop = self._binding.loop
            assert loop is not None
            start = partial(self._start_batch, reports)
            self._next_batch = loop.call_soon(start, context=Context())

    def _start_batch(self, reports: Reports) -> None:
        self._next_batch = None
        try:
            for _ in range(min(BATCH, len(self._queue))):
                self._start(self._queue.popleft(), reports)
        finally:
            self._schedule(reports)

    def _start(self, run: Run, reports: Reports) -> None:
        """Call the function. The gate is open, because the function is user code."""
        reports.run(partial(self._begin, run))
        if run.state is RunState.ENDED:
            return  # it was cancelled before its start
        function, _ = self._functions[run.kind]
        assert function is not None
        arguments = () if run.kind is CREATING else (run.slot.resource,)
        context = Context()
        succeeded, result = attempt(context, function, *arguments)
        if not succeeded:
            reports.work_failed(run, result)
            if not isinstance(result, Exception):
                raise result
        elif isawaitable(result):
            reports.run(partial(self._launch, run, result, context, reports))
        else:
            reports.work_succeeded(run, result)

    def _begin(self, run: Run) -> None:
        """Mark a run as running. A step does this, so `terminate` comes before or after it."""
        if run.state is RunState.QUEUED:
            run.state = RunState.RUNNING

    def _launch(self, run: Run, result: Any, context: Context, reports: Reports) -> None:
        """Let a task await the result of the function."""
        name = f"{self._binding.name}: {LIMITS[run.kind][0]}"
        # An eager task factory would run the awaitable inside a step, so do not use create_task.
        run.task = asyncio.Task(
            awaited(result, partial(reports.work_succeeded, run)),
            loop=self._binding.loop,
            name=name,
            context=context,
        )
        run.task.add_done_callback(partial(self._task_done, run, reports), context=Context())
        if run.cancelled:
            run.task.cancel()
        limit = self.limit_of(run.kind)
        if limit < NEVER:
            run.expires_at = self._binding.clock() + limit
            if self._deadlines is None:
                self._deadlines = Deadlines(self._binding, RunState.ENDED, reports.limits_exceeded)
            self._deadlines.add(run)

    def _task_done(self, run: Run, reports: Reports, task: Task[None]) -> None:
        if task in self._abandoned:
            self._abandoned.remove(task)
            if not task.cancelled():
                task.exception()  # nobody needs the error, and asyncio must not log it
        elif run.state is not RunState.ENDED:
            reports.work_failed(run, self._error_of(run, task))

    def _error_of(self, run: Run, task: Task[None]) -> BaseException:
        # Look at the error in any case, because asyncio logs an error that nobody has looked at.
        error = None if task.cancelled() else task.exception()
        if run.late:
            late = self.late_error(run.kind)
            late.__cause__ = error
            return late
        if error is not None:
            return error
        function, _ = LIMITS[run.kind]
        how = "was cancelled" if task.cancelling() else "ended in a cancellation of its own"
        return ResourcePoolError(f"pool {self._binding.name!r}: the {function} {how}")


async def awaited(result: Any, report: Callable[[Any], None]) -> None:
    """Await the result of a user's function, and report what comes of it.

    The report of a success by the task itself saves one turn of the loop. The task's done callback
    reports a failure: a task that is cancelled before it starts never runs this code.
    """
    try:
        value = await result
    except BaseException:
        # The pool keeps the error, and the error its traceback, which must not keep the pool.
        del result, report
        raise
    report(value)


def attempt(context: Context, function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
    """Call a user's function. Return whether it succeeded, and its result or its error."""
    try:
        return True, context.run(function, *arguments)
    except BaseException as error:
        # The pool may keep the error, and the traceback must not keep the resource.
        here: Any = error.__traceback__
        return False, error.with_traceback(here.tb_next)
