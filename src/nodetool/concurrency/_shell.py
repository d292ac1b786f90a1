"""Performs what the machine decided: tasks, timers, futures. Decides nothing itself.

Whatever it does on behalf of the pool ends in exactly one step of the machine: a creation in
`_creation_done`, a closer in `_closer_done` or `_closers_overdue`, a wait in `resume`, `timeout` or
`cancel`. These are done-callbacks where they can be, since a task that is cancelled before it
started never runs its own code.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from inspect import isawaitable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._call import LimitPassedError, call, log
from ._counts import Floor, Phase
from ._deadlines import Deadlines, weakly
from ._errors import (
    DuplicateResourceError,
    ResourcePoolError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
    acquire_timeout,
)
from ._home import AtHome
from ._machine import PoolMachine
from ._records import NEVER, Place, Record, Waiter

if TYPE_CHECKING:
    from asyncio import Future, Handle, Task, TimerHandle

T = TypeVar("T")


OPEN, BACKOFF = Phase.OPEN, Floor.BACKOFF
CREATING, CLOSING, HANDED, WAITING = Place.CREATING, Place.CLOSING, Place.HANDED, Place.WAITING

NOTHING: deque[Any] = deque()  # the shelf of a pool that takes no steps itself: always empty

BATCH = 64  # closers that are started at once

FIRST_BACKOFF, LAST_BACKOFF = 0.1, 30.0  # seconds between attempts to refill the floor: doubled


class PoolShell(AtHome, Generic[T]):
    """The part of the pool that its users do not see."""

    __slots__ = (
        "_backoff",
        "_closer",
        "_closer_failures",
        "_closer_timeout",
        "_closings",
        "_creation_timeout",
        "_creations",
        "_direct",
        "_factory",
        "_failure",
        "_leased",
        "_machine",
        "_max_age",
        "_max_age_jitter",
        "_next_batch",
        "_overdue_closers",
        "_overdue_waiters",
        "_retry_timer",
        "_shelf",
        "_sweep_at",
        "_sweep_timer",
        "_timed",
        "_to_close",
        "_watchers",
    )

    def __init__(
        self,
        machine: PoolMachine[T],
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
        self._run_on(machine)
        self._factory = factory
        self._closer = closer
        self._max_age = max_age
        self._max_age_jitter = max_age_jitter
        self._creation_timeout = creation_timeout
        self._closer_timeout = closer_timeout
        self._timed = timed  # whether the machine looks at the time at all

        self._creations: dict[Task[T], Record[T]] = {}  # in flight; the only strong references
        self._closings: set[Task[Any]] = set()
        self._to_close: deque[Record[T]] = deque()  # closing, but the closer was not called yet
        self._next_batch: Handle | None = None  # for more of them
        self._watchers: list[tuple[Callable[[], bool], Future[bool]]] = []
        self._sweep_at = NEVER  # when the sweep timer will fire
        self._sweep_timer: TimerHandle | None = None
        self._retry_timer: TimerHandle | None = None
        self._backoff = FIRST_BACKOFF
        self._failure: tuple[float, BaseException] | None = None  # of the last creation, if failed
        self._closer_failures = 0

    def _run_on(self, machine: PoolMachine[T]) -> None:
        """Take the steps of this machine."""
        self._machine = machine
        self._leased = machine.leased
        # With nothing to check or reset, most leases are two steps that only move a record from
        # the shelf and back. The shell takes these itself, if the machine is as it is in the files
        # (tests/concurrency/test_direct_steps.py shows that they are the machine's, and all else).
        plain = type(machine) is PoolMachine
        self._direct = plain and machine.check_after_idle is None and not machine.resets
        self._shelf = machine._shelf if self._direct else NOTHING

    def _check_loop(self) -> None:
        """Refuse any loop but the pool's, which is the one of its first use."""
        if self._home._thread_id != get_ident():
            self._bind()

    def _bind(self) -> None:
        self._settle_in(self._machine.name)
        assert self._loop is not None
        self._overdue_waiters: Deadlines[Waiter[T]] = Deadlines(
            self._loop, self._clock, WAITING, self._waiters_overdue
        )
        self._overdue_closers: Deadlines[Record[T]] = Deadlines(
            self._loop, self._clock, CLOSING, self._closers_overdue
        )

    def _now(self) -> float:
        return self._clock() if self._timed else 0.0

    # Effects.

    def _perform(self) -> None:
        """Do what the last steps left to do."""
        machine = self._machine
        while machine.woken or machine.work:
            woken, machine.woken = machine.woken, []
            for waiter in woken:
                # One that is cancelled already runs as well, and takes the step that gives back.
                _resolve(waiter.future, None)
            if not machine.work:
                continue
            work, machine.work = machine.work, []
            for record in work:
                if record.place is CREATING:
                    self._start_creation(record)
                elif self._closer is None:
                    machine.closer_ended(record)
                else:
                    self._to_close.append(record)
            if self._to_close and self._next_batch is None:
                self._start_closers()
        if self._watchers:
            for done, future in self._watchers:
                if done():
                    _resolve(future, True)
        if machine.deadline < self._sweep_at:
            self._arm_sweep()
        if machine.floor is BACKOFF and self._retry_timer is None:
            self._arm_retry()
        if machine.phase is not OPEN:
            self._stop_timers()

    def _task(self, coroutine: Any, what: str) -> Task[Any]:
        """A task of the pool's own, with none of the caller's context variables."""
        assert self._loop is not None
        name = f"{self._machine.name}: {what}"
        # Not create_task: with an eager task factory the callback would run inside a step.
        return asyncio.Task(coroutine, loop=self._loop, name=name, context=Context())

    def _start_creation(self, record: Record[T]) -> None:
        assert self._loop is not None
        if self._loop.is_closed():
            self._machine.create_failed(record, ResourcePoolLoopError("the event loop is closed"))
            return
        task = self._task(call(self._creation_timeout, self._factory), "create")
        self._creations[task] = record
        task.add_done_callback(self._creation_done, context=Context())

    def _creation_done(self, task: Task[T]) -> None:
        machine, record = self._machine, self._creations.pop(task)
        now = self._now()
        error: BaseException | None
        if task.cancelled():
            error = ResourcePoolError(f"pool {machine.name!r}: the creation was cancelled")
        else:
            error = task.exception()
        if isinstance(error, LimitPassedError):
            # Its traceback would keep alive what the factory had half made.
            error.__cause__ = error.__context__ = None
            error = ResourcePoolTimeoutError(
                f"pool {machine.name!r}: the factory did not finish within "
                f"creation_timeout={self._creation_timeout:g} s"
            )
        if error is None:
            age = self._max_age
            if self._max_age_jitter:
                from random import uniform

                age -= uniform(0.0, self._max_age_jitter)
            try:
                machine.create_succeeded(record, task.result(), now, now + age)
                self._failure = None
                self._backoff = FIRST_BACKOFF
                if self._retry_timer is not None:
                    self._retry_timer.cancel()
                    self._retry_timer = None
            except DuplicateResourceError as duplicate:
                error = duplicate
        if error is None:
            self._perform()
            return
        self._failure = self._clock(), error
        told = machine.create_failed(record, error)
        self._perform()
        # A cancellation while the pool closes is its own, or the program's end.
        if not told and not (task.cancelled() and machine.phase is not OPEN):
            self._log_untold(error)

    def _log_untold(self, error: BaseException) -> None:
        log(
            logging.WARNING,
            "pool %r: a creation failed, and no acquirer was told: %r",
            self._machine.name,
            error,
            exc_info=error,
        )

    def _cut_short(self) -> None:
        """Cancel the creations in flight; if the loop is closed, nothing else in flight ends."""
        for task, record in list(self._creations.items()):
            if task.get_loop().is_closed():
                del self._creations[task]
                error = ResourcePoolLoopError("the event loop is closed")
                self._machine.create_failed(record, error)
            else:
                task.cancel()
        self._perform()
        if self._loop is not None and self._loop.is_closed():
            machine = self._machine
            if self._to_close:
                self._start_closers()
            for record in list(machine.leased.values()):
                if record.place is CLOSING:
                    machine.closer_ended(record)
                    self._closer_failed("the event loop was closed before it ended")
                elif record.place is HANDED:
                    machine.cancel(record.busy, self._now())
                else:
                    machine.cancel(record, self._now())
            self._perform()

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
        task = record.busy = self._task(call(NEVER, closer, record.resource), "close")
        self._closings.add(task)
        task.add_done_callback(partial(self._closer_done, record), context=Context())
        if self._closer_timeout < NEVER:
            record.deadline = self._clock() + self._closer_timeout
            self._overdue_closers.add(record)

    def _closer_done(self, record: Record[T], task: Task[Any]) -> None:
        self._closings.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if record.busy is not task:
            return  # it was given up before
        record.busy = None
        self._machine.closer_ended(record)
        self._perform()
        if error is not None:
            self._closer_failed(error)

    def _closers_overdue(self, records: list[Record[T]]) -> None:
        """Give up closers: the one exception to S1, since the resources may live on."""
        for record in records:
            task, record.busy = record.busy, None
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

    # Time.

    def _later(self, delay: float, method: Callable[[], None]) -> TimerHandle | None:
        """A timer that keeps neither the pool nor the caller's context variables alive."""
        if self._loop is None or self._loop.is_closed():
            return None
        return self._loop.call_later(delay, weakly(method), context=Context())

    def _arm_sweep(self) -> None:
        machine = self._machine
        if machine.idle:
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()
            self._sweep_at = machine.deadline
            self._sweep_timer = self._later(machine.deadline - self._clock(), self._sweep_due)

    def _sweep_due(self) -> None:
        self._sweep_timer = None
        self._sweep_at = NEVER
        self._machine.sweep(self._clock())
        self._perform()

    def _arm_retry(self) -> None:
        self._retry_timer = self._later(self._backoff, self._retry_due)
        self._backoff = min(2 * self._backoff, LAST_BACKOFF)

    def _retry_due(self) -> None:
        self._retry_timer = None
        self._machine.retry_floor()
        self._perform()

    def _stop_timers(self) -> None:
        for timer in (self._sweep_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self._sweep_timer = self._retry_timer = None
        self._sweep_at = -NEVER  # nothing is idle any more: never arm again
        self._failure = None
        if self._loop is not None:
            self._overdue_waiters.stop()
            if self._machine.phase is Phase.CLOSED:
                self._overdue_closers.stop()

    def _waiters_overdue(self, waiters: list[Waiter[T]]) -> None:
        """Their time is over: for all of them at once, so all are told the same."""
        machine = self._machine
        told = {limit: str(acquire_timeout(machine, limit)) for limit in {w.limit for w in waiters}}
        for waiter in waiters:
            error = ResourcePoolTimeoutError(told[waiter.limit])
            machine.timeout(waiter, self._with_cause(error, waiter.deadline - waiter.limit))
        self._perform()

    def _with_cause(self, error: ResourcePoolTimeoutError, since: float) -> BaseException:
        """The error, because of the last creation's if that has failed since."""
        if self._failure is not None and self._failure[0] >= since:
            error.__cause__ = self._failure[1]
        return error

    async def _until(self, done: Callable[[], bool], limit: float = NEVER) -> bool:
        """Wait until something has come true, or `limit` seconds; cancelling stops the waiting."""
        if done():
            return True
        loop = self._loop
        assert loop is not None  # who waits has used the pool just now
        future: Future[bool] = loop.create_future()
        watcher = (done, future)
        self._watchers.append(watcher)
        timer = None
        if limit < NEVER:
            timer = loop.call_later(limit, _resolve, future, False)
        try:
            return await future
        finally:
            self._watchers.remove(watcher)
            if timer is not None:
                timer.cancel()


def _resolve(future: Future[Any], result: bool | None) -> None:
    """Wake whoever awaits the future, unless it was cancelled or its loop is closed."""
    if not future.done():
        try:
            future.set_result(result)
        except RuntimeError:  # what a closed loop says of the callbacks
            assert future.get_loop().is_closed()
