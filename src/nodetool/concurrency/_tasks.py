"""What the pool does in tasks of its own: creations and closers.

Each ends in exactly one step of the machine: a creation in `_created` or `_creation_failed`, a
closer in `_closer_ended` or `_closers_overdue`. What succeeds takes its step in its own task, which
saves a turn of the loop; the rest is for the task's done-callback, since a task that is cancelled
before it started never runs its own code.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._call import LimitPassedError, call, log
from ._counts import Phase
from ._deadlines import Deadlines
from ._errors import (
    DuplicateResourceError,
    ResourcePoolError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from ._home import AtHome
from ._machine import PoolMachine
from ._records import NEVER, Record

if TYPE_CHECKING:
    from asyncio import Handle, Task

T = TypeVar("T")

OPEN = Phase.OPEN

BATCH = 64  # closers that are started at once


class PoolTasks(AtHome, Generic[T]):
    """Creations and closers, from the machine's wish to the step that ends them."""

    __slots__ = (
        "_abandoned",
        "_age_clock",
        "_close_name",
        "_closer",
        "_closer_failures",
        "_closer_timeout",
        "_create_name",
        "_creation_timeout",
        "_creations",
        "_factory",
        "_failure",
        "_machine",
        "_max_age",
        "_max_age_jitter",
        "_next_batch",
        "_overdue_closers",
        "_timed",
        "_to_close",
    )

    _machine: PoolMachine[T]
    _overdue_closers: Deadlines[Record[T]]

    def __init__(
        self,
        name: str,
        factory: Callable[[], T | Awaitable[T]],
        closer: Callable[[T], Any] | None,
        *,
        max_age: float,
        max_age_jitter: float,
        creation_timeout: float,
        closer_timeout: float,
        timed: bool,
    ) -> None:
        super().__init__()
        self._factory = factory
        self._closer = closer
        self._max_age = max_age
        self._max_age_jitter = max_age_jitter
        self._creation_timeout = creation_timeout
        self._closer_timeout = closer_timeout
        self._timed = timed  # whether the machine looks at the time at all
        # The clock for that, once there is one. Direct steps call it by a local name, since to call
        # what is in a slot costs twice as much.
        self._age_clock: Callable[[], float] | None = None
        self._create_name = f"{name}: create"  # of tasks
        self._close_name = f"{name}: close"

        # A record holds the task that creates or closes it; the loop itself keeps no task alive.
        self._creations: set[Record[T]] = set()  # in flight
        self._abandoned: set[Task[None]] = set()  # closers that were given up and still run
        self._to_close: deque[Record[T]] = deque()  # closing, but the closer was not called yet
        self._next_batch: Handle | None = None  # for more of them
        self._failure: tuple[float, BaseException] | None = None  # of the last creation, if failed
        self._closer_failures = 0

    def _perform(self) -> None:
        """Do what the last steps left to do."""

    def _recovered(self) -> None:
        """A creation has succeeded."""

    def _now(self) -> float:
        return self._clock() if self._timed else 0.0

    def _start(
        self,
        record: Record[T],
        work: Coroutine[Any, Any, None],
        name: str,
        done: Callable[[Record[T], Task[None]], None],
    ) -> None:
        """Begin a piece of work in a task of its own, with none of the caller's variables."""
        # Not create_task: with an eager task factory it would run inside a step.
        task = asyncio.Task(work, loop=self._loop, name=name, context=Context())
        task.add_done_callback(partial(done, record), context=Context())
        record.busy = task

    def _start_creation(self, record: Record[T]) -> None:
        assert self._loop is not None
        if self._loop.is_closed():
            self._machine.create_failed(record, ResourcePoolLoopError("the event loop is closed"))
            return
        self._creations.add(record)
        self._start(record, self._create(record), self._create_name, self._creation_done)

    async def _create(self, record: Record[T]) -> None:
        try:
            resource = await call(self._creation_timeout, self._factory)
        except BaseException:
            del self, record  # the pool keeps the error, whose traceback must not keep the pool
            raise
        self._leave_creation(record)
        self._created(record, resource)

    def _creation_done(self, record: Record[T], task: Task[None]) -> None:
        if record.busy is not task:
            return  # it took its step
        self._leave_creation(record)
        error: BaseException | None
        if task.cancelled():
            error = ResourcePoolError(f"pool {self._machine.name!r}: the creation was cancelled")
        else:
            error = task.exception()
            assert error is not None
        if isinstance(error, LimitPassedError):
            # Its traceback would keep alive what the factory had half made.
            error.__cause__ = error.__context__ = None
            error = ResourcePoolTimeoutError(
                f"pool {self._machine.name!r}: the factory did not finish within "
                f"creation_timeout={self._creation_timeout:g} s"
            )
        # A cancellation while the pool closes is its own, or the program's end.
        expected = task.cancelled() and self._machine.phase is not OPEN
        self._creation_failed(record, error, expected)

    def _leave_creation(self, record: Record[T]) -> None:
        record.busy = None
        self._creations.remove(record)

    def _created(self, record: Record[T], resource: T) -> None:
        now, age = self._now(), self._max_age
        if self._max_age_jitter:
            from random import uniform

            age -= uniform(0.0, self._max_age_jitter)
        try:
            self._machine.create_succeeded(record, resource, now, now + age)
        except DuplicateResourceError as error:
            self._creation_failed(record, error)
            return
        self._recovered()
        self._perform()

    def _creation_failed(
        self, record: Record[T], error: BaseException, expected: bool = False
    ) -> None:
        self._failure = self._clock(), error
        told = self._machine.create_failed(record, error)
        self._perform()
        if not told and not expected:
            self._log_untold(error)

    def _log_untold(self, error: BaseException) -> None:
        log(
            logging.WARNING,
            "pool %r: a creation failed, and no acquirer was told: %r",
            self._machine.name,
            error,
            exc_info=error,
        )

    def _start_closers(self) -> None:
        """Start some closers, and the rest in the next turns: the loop has others to serve."""
        assert self._loop is not None
        assert self._closer is not None
        self._next_batch = None
        started = 0
        while self._to_close and (started < BATCH or self._loop.is_closed()):
            self._start_closer(self._to_close.popleft(), self._closer)
            started += 1
        if self._to_close:
            self._next_batch = self._loop.call_soon(self._start_closers, context=Context())

    def _start_closer(self, record: Record[T], closer: Callable[[T], Any]) -> None:
        assert self._loop is not None
        if self._loop.is_closed():
            self._close_without_loop(record, closer)
            return
        self._start(record, self._close(record, closer), self._close_name, self._closer_done)
        if self._closer_timeout < NEVER:
            record.deadline = self._clock() + self._closer_timeout
            self._overdue_closers.add(record)

    async def _close(self, record: Record[T], closer: Callable[[T], Any]) -> None:
        try:
            await call(NEVER, closer, record.resource)
        except BaseException:
            del self, record, closer  # who logs the error may keep it, but not the pool by it
            raise
        if record.busy is not None:  # it was not given up
            self._closer_ended(record)

    def _closer_done(self, record: Record[T], task: Task[None]) -> None:
        if record.busy is task:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            assert error is not None
            self._closer_ended(record)
            self._closer_failed(error)
        elif task in self._abandoned:
            self._abandoned.remove(task)
            if not task.cancelled():
                task.exception()  # no longer of interest to anybody: asyncio need not log it

    def _closer_ended(self, record: Record[T]) -> None:
        record.busy = None
        self._machine.closer_ended(record)
        self._perform()

    def _closers_overdue(self, records: list[Record[T]]) -> None:
        """Give up closers: the one exception to S1, since the resources may live on."""
        for record in records:
            task, record.busy = record.busy, None
            self._abandoned.add(task)
            task.cancel()
            self._machine.closer_ended(record)
        self._perform()
        for _ in records:
            self._closer_failed(f"it did not end within closer_timeout={self._closer_timeout:g} s")

    def _close_without_loop(self, record: Record[T], closer: Callable[[T], Any]) -> None:
        """The loop is closed: a sync closer can still run, an async one cannot."""
        failure: Exception | str | None = None
        try:
            result = closer(record.resource)
        except Exception as error:
            failure = error
        else:
            if isawaitable(result):
                failure = "it is asynchronous and the event loop is closed"
                if asyncio.iscoroutine(result):
                    result.close()
        self._machine.closer_ended(record)
        if failure is not None:
            self._closer_failed(failure)

    def _closer_failed(self, error: BaseException | str) -> None:
        self._closer_failures += 1
        error = ResourcePoolError(error) if isinstance(error, str) else error
        log(
            logging.WARNING,
            "pool %r: a closer failed, its resource is abandoned: %r",
            self._machine.name,
            error,
            exc_info=error,
        )
