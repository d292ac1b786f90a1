"""The pool's own work: creations and closings. Each runs in a task and has a time limit.

Each piece of work has exactly one end. The task itself reports a success, which saves one turn of
the loop. The task's done callback reports a failure or a cancellation. The task cannot do this,
because a task that is cancelled before it starts never runs its own code. The driver ends closers
that exceed their limit, and all work of a closed loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from enum import Enum
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from nodetool.concurrency._errors import ResourcePoolError, ResourcePoolTimeoutError
from nodetool.concurrency._machine.slots import NEVER, Slot

from .callbacks import LimitExceededError, call, log
from .deadlines import Deadlines

if TYPE_CHECKING:
    from asyncio import Handle, Task

    from .binding import Binding

T = TypeVar("T")

BATCH = 64  # closers that start in one turn of the loop

CLOSED_LOOP = "the event loop was closed before it ended"


class Reports(Protocol[T]):
    """The receiver of reports: the driver."""

    def run(self, step: Callable[[], object]) -> None:
        """Run a step inside the gate."""

    def creation_succeeded(self, slot: Slot[T], resource: T) -> None:
        """Take a new resource."""

    def creation_failed(self, slot: Slot[T], error: BaseException, cancelled: bool) -> None:
        """Take a failed creation."""

    def closing_ended(self, slot: Slot[T]) -> None:
        """Take the end of a closer."""

    def closings_exceeded(self) -> None:
        """Call `Work.abandon_overdue`, because closers have exceeded their limit."""


class RunState(Enum):
    """Whether a piece of work goes on."""

    RUNNING = "running"
    ENDED = "ended"


class Run:
    """One creation or closing in progress."""

    __slots__ = ("expires_at", "slot", "state", "task")

    def __init__(self, slot: Slot[Any], task: Task[None]) -> None:
        self.slot = slot
        self.task = task
        self.state = RunState.RUNNING
        self.expires_at = NEVER


class Work(Generic[T]):
    """Creations and closings, from their start to the report of their end."""

    __slots__ = (
        "_abandoned",
        "_binding",
        "_close_name",
        "_closer",
        "_closer_timeout",
        "_create_name",
        "_creation_timeout",
        "_creations",
        "_deadlines",
        "_factory",
        "_next_batch",
        "_to_close",
        "closer_failures",
    )

    def __init__(
        self,
        binding: Binding,
        factory: Callable[[], T | Awaitable[T]],
        closer: Callable[[T], Any] | None,
        creation_timeout: float,
        closer_timeout: float,
    ) -> None:
        self._binding = binding
        self._factory = factory
        self._closer = closer
        self._creation_timeout = creation_timeout
        self._closer_timeout = closer_timeout
        self._create_name = f"{binding.name}: create"  # of tasks
        self._close_name = f"{binding.name}: close"
        self._creations: set[Run] = set()  # the loop itself keeps no task alive
        self._abandoned: set[Task[None]] = set()  # closers that exceeded their limit and still run
        self._to_close: deque[Slot[T]] = deque()  # slots whose closer was not called yet
        self._next_batch: Handle | None = None
        self._deadlines: Deadlines[Run] | None = None
        self.closer_failures = 0

    @property
    def has_closer(self) -> bool:
        """Whether there is a closer."""
        return self._closer is not None

    def creating(self) -> list[Slot[T]]:
        """List the slots whose creation is in flight."""
        return [run.slot for run in self._creations]

    def abandoned(self) -> int:
        """Count the closers that exceeded their limit and still run."""
        return len(self._abandoned)

    def create(self, slot: Slot[T], reports: Reports[T]) -> None:
        """Start a creation."""
        work = self._create(slot, reports)
        run = self._start(slot, work, self._create_name)
        self._creations.add(run)
        run.task.add_done_callback(partial(self._creation_done, run, reports), context=Context())

    def close(self, slot: Slot[T]) -> None:
        """Queue a closing. `start_closers` starts it."""
        self._to_close.append(slot)

    def start_closers(self, reports: Reports[T]) -> None:
        """Start the queued closings in batches, so that other tasks can run in between."""
        if self._next_batch is None and self._to_close:
            self._start_batch(reports)

    def cancel_creations(self) -> list[Slot[T]]:
        """Cancel the creations in flight. Return those that a closed loop cannot end."""
        ended: list[Slot[T]] = []
        for run in list(self._creations):
            if run.task.get_loop().is_closed():
                self._end_creation(run)
                ended.append(run.slot)
            else:
                run.task.cancel()
        return ended

    def abandon_overdue(self, now: float) -> list[Slot[T]]:
        """Cancel the closers that exceeded their limit. Return their slots.

        S1 no longer counts the resources, although they may still exist.
        """
        slots: list[Slot[T]] = []
        assert self._deadlines is not None
        try:
            while (run := self._deadlines.take_expired(now)) is not None:
                self._end(run)
                self._abandoned.add(run.task)
                slots.append(run.slot)
                run.task.cancel()
        finally:
            self._deadlines.arm()
        return slots

    def report_overdue(self) -> None:
        """Log and count one closer that exceeded its limit."""
        self._note_failure(f"it did not end within closer_timeout={self._closer_timeout:g} s")

    def end_closing(self, slot: Slot[T]) -> None:
        """End a closing that cannot end by itself, because the loop is closed."""
        if slot in self._to_close:
            self._to_close.remove(slot)
            self.call_closer(slot)
        else:
            self._end(slot.run)
            self._note_failure(CLOSED_LOOP)

    def call_closer(self, slot: Slot[T]) -> None:
        """Call the closer without a loop. Only a sync closer can run to its end."""
        assert self._closer is not None
        try:
            result = self._closer(slot.resource)
        except Exception as error:
            self._note_failure(error)
            return
        if isawaitable(result):
            if asyncio.iscoroutine(result):
                result.close()
            self._note_failure("it is asynchronous and the event loop is closed")

    def stop(self) -> None:
        """Drop the timer, because nothing is left to close."""
        if self._deadlines is not None:
            self._deadlines.stop()

    # Tasks.

    def _start(self, slot: Slot[T], work: Coroutine[Any, Any, None], name: str) -> Run:
        """Start a task with empty context variables."""
        # An eager task factory would run the callback inside a step, so do not use create_task.
        task = asyncio.Task(work, loop=self._binding.loop, name=name, context=Context())
        run = slot.run = Run(slot, task)
        return run

    def _end(self, run: Run) -> None:
        run.state = RunState.ENDED
        run.slot.run = None

    def _end_creation(self, run: Run) -> None:
        self._end(run)
        self._creations.discard(run)

    async def _create(self, slot: Slot[T], reports: Reports[T]) -> None:
        try:
            resource = await call(self._creation_timeout, self._factory)
        except BaseException:
            # The pool keeps the error, and the error its traceback, which must not keep the pool.
            del self, slot, reports
            raise
        self._end_creation(slot.run)
        reports.creation_succeeded(slot, resource)

    def _creation_done(self, run: Run, reports: Reports[T], task: Task[None]) -> None:
        if run.state is RunState.ENDED:
            return  # the task reported its success itself
        self._end_creation(run)
        name = self._binding.name
        error: BaseException | None
        if task.cancelled():
            error = ResourcePoolError(f"pool {name!r}: the creation was cancelled")
        else:
            error = task.exception()
            assert error is not None
        if isinstance(error, LimitExceededError):
            # The cause's traceback would keep alive a resource that the factory has half made.
            error.__cause__ = error.__context__ = None
            error = ResourcePoolTimeoutError(
                f"pool {name!r}: the factory did not finish within "
                f"creation_timeout={self._creation_timeout:g} s"
            )
        reports.creation_failed(run.slot, error, task.cancelled())

    def _start_batch(self, reports: Reports[T]) -> None:
        self._next_batch = None
        loop = self._binding.loop
        assert loop is not None
        started = 0
        while self._to_close and started < BATCH:
            self._start_closer(self._to_close.popleft(), reports)
            started += 1
        if self._to_close:
            # The batch starts inside the gate, because a nested call may start closers, too.
            step = partial(self._start_batch, reports)
            self._next_batch = loop.call_soon(reports.run, step, context=Context())

    def _start_closer(self, slot: Slot[T], reports: Reports[T]) -> None:
        run = self._start(slot, self._close(slot, reports), self._close_name)
        run.task.add_done_callback(partial(self._closing_done, run, reports), context=Context())
        if self._closer_timeout < NEVER:
            run.expires_at = self._binding.clock() + self._closer_timeout
            if self._deadlines is None:
                self._deadlines = Deadlines(
                    self._binding, RunState.ENDED, reports.closings_exceeded
                )
            self._deadlines.add(run)

    async def _close(self, slot: Slot[T], reports: Reports[T]) -> None:
        try:
            assert self._closer is not None
            await call(NEVER, self._closer, slot.resource)
        except BaseException:
            # A logging handler may keep the error, which must not keep the pool.
            del self, slot, reports
            raise
        if (run := slot.run) is not None:  # it was not abandoned
            self._end(run)
            reports.closing_ended(slot)

    def _closing_done(self, run: Run, reports: Reports[T], task: Task[None]) -> None:
        if run.state is RunState.RUNNING:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            assert error is not None
            self._end(run)
            reports.closing_ended(run.slot)
            self._note_failure(error)
        elif task in self._abandoned:
            self._abandoned.remove(task)
            if not task.cancelled():
                task.exception()  # nobody needs the error, and asyncio must not log it

    def _note_failure(self, error: BaseException | str) -> None:
        self.closer_failures += 1
        error = ResourcePoolError(error) if isinstance(error, str) else error
        log(
            logging.WARNING,
            "pool %r: a closer failed, its resource is abandoned: %r",
            self._binding.name,
            error,
            exc_info=error,
        )
