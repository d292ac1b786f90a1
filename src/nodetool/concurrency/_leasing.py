"""How resources are acquired and given back: one acquire from its first step to its last, and one
resource's way back.

Cancellation becomes a step of the machine in three places, one for each thing of its own that a
caller can await here: a waiter's future, `_checked` and `_reset_resource`.
"""

from __future__ import annotations

import logging
from asyncio import InvalidStateError
from collections.abc import Callable, Coroutine
from contextvars import Context
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from . import _options
from ._acquire_context import AcquireContext
from ._call import LimitPassedError, call, log
from ._counts import Phase
from ._errors import (
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
    acquire_timeout,
)
from ._records import NEVER, Place, Record, Waiter
from ._view import PoolView

if TYPE_CHECKING:
    from ._options import Seconds
    from ._state import Acquired

T = TypeVar("T")

OF_THE_WAIT = (ResourcePoolClosedError, ResourcePoolTimeoutError)  # not a failed creation's

OPEN = Phase.OPEN
IDLE, HANDED, HELD, WAITING = Place.IDLE, Place.HANDED, Place.HELD, Place.WAITING
CHECKING, RESETTING, GONE = Place.CHECKING, Place.RESETTING, Place.GONE


class Leasing(PoolView[T]):
    """How resources are acquired and given back."""

    __slots__ = ("_acquisition_timeout", "_check", "_detachable", "_discard_on", "_reset")

    def __init__(
        self,
        *args: Any,
        check: Callable[[T], Any] | None,
        reset: Callable[[T], Any] | None,
        discard_on: tuple[type[BaseException], ...],
        acquisition_timeout: float,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._check = check
        self._reset = reset
        self._discard_on = discard_on
        self._acquisition_timeout = acquisition_timeout
        self._detachable = True  # unless something else is to be left with each resource

    async def acquire(self, timeout: Seconds | None = None) -> T:
        """Get a resource for exclusive use; give it back with `release`, `discard` or `detach`.

        Args:
            timeout: One deadline over waiting, checks and retries. ``None``: the pool's
                `acquisition_timeout`; ``math.inf``: no limit; ``0``: only an idle resource, whose
                check may take up to `acquisition_timeout`; if there is none a creation is started.

        Returns:
            The resource.

        Raises:
            ResourcePoolTimeoutError: The deadline passed. Also a ``TimeoutError``.
            ResourcePoolClosedError: The pool is closing or closed, or began to close meanwhile.
            ResourcePoolExhaustedError: `max_waiting` acquirers wait already.
            ValueError: The timeout is negative or not a number.
            Exception: Whatever `factory` raised, unchanged, if this acquire waited longest.

        Cancellation:
            Nothing is held and nothing lost: what was handed over already goes to the next, what
            was being checked is closed, and a creation that was started goes on.

        Spec:
            Acquire, Resume, CheckPassed, CheckFailed, Timeout, Cancel; FifoService,
            OnlyFitHandedOut, OneOutcome, WaiterServed, DeadlineKept.
        """
        machine = self._machine
        limit, clock = self._acquisition_timeout, self._age_clock
        got: Acquired[T] = None
        if (
            timeout is None
            and self._home._thread_id == get_ident()
            and (clock is None or clock() < machine.deadline)
        ):
            # The machine's step, taken directly: see `_run_on`.
            if self._shelf:
                record = self._shelf.pop()
                if record.place is IDLE:
                    record.place = HELD
                    machine.acquired += 1
                    return record.resource
                machine._off_shelf -= 1
            elif machine.size == self._full and machine.phase is OPEN:
                # The same: all there may be exist, and are in use.
                waiter: Waiter[T] = Waiter()
                got = waiter
                waiter.place = WAITING
                waiter.ticket = machine._tickets = machine._tickets + 1
                waiter.record = waiter.error = None
                create_future = self._create_future
                waiter.future = create_future()
                self._queue.append(waiter)
                clock = self._clock
                deadline = clock() + limit if limit < NEVER else NEVER
        if got is None:
            if timeout is not None:
                limit = _options.duration("timeout", timeout)
            self._check_loop()
            got = machine.acquire(self._clock() if self._timed else 0.0)
            self._can_be_woken(got)
            if machine.work:
                self._perform()
            deadline = NEVER if got.place is HELD else self._clock() + limit
        while True:  # in this coroutine and no other, since each one more costs every waiter
            if isinstance(got, Waiter):
                waiter = got
                if deadline < NEVER:
                    if limit == 0:
                        self._turn_away(waiter, deadline)
                    waiter.limit = limit
                    waiter.deadline = deadline
                    line = self._line
                    if line and line[0].place is WAITING and line[-1].deadline <= deadline:
                        line.append(waiter)  # the timer is armed for the head, at least
                    else:
                        self._overdue_waiters.add(waiter)
                try:
                    record = await waiter.future
                except BaseException:
                    self._left(waiter)
                    raise
                if record is not None and self._direct:
                    # It was handed over directly: so is this step.
                    machine.pending -= 1
                    waiter.record = record.busy = None
                    waiter.place = GONE
                    record.place = HELD
                    machine.acquired += 1
                    return record.resource
                got = self._resumed(waiter)
            elif got is None:
                raise machine.closed_error()
            elif got.place is CHECKING:
                got = await self._checked(got, deadline, limit)
            else:
                return got.resource

    async def release(self, resource: T) -> None:
        """Give a resource back. Without `reset` this never suspends, so nothing can interrupt it.

        Args:
            resource: What `acquire` returned.

        Raises:
            InvalidReleaseError: It is not leased from this pool; nothing has changed. Also a
                ``ValueError``.

        Cancellation:
            Cancelled during `reset`, the resource is closed.

        Spec:
            Release, ResetPassed, ResetFailed, Cancel; NoDoubleRelease, SingleHolder.
        """
        try:
            record = self._leased[id(resource)]
        except KeyError:
            self._check_loop()
            raise self._machine.invalid_release(GONE) from None
        if record.place is HELD and self._direct and self._home._thread_id == get_ident():
            # The machine's step, taken directly: see `_run_on`.
            clock = self._age_clock
            if clock is None:
                if self._queue:
                    self._hand_over(record)
                else:
                    record.place = IDLE
                    record.lease = None
                    self._shelf.append(record)
                return
            if (now := clock()) < record.expires_at:
                if self._queue:
                    self._hand_over(record)
                    return
                machine = self._machine
                deadline, stale_at = machine.deadline, now + machine.max_idle_time
                if stale_at >= deadline and deadline >= self._sweep_at:
                    record.place = IDLE
                    record.lease = None
                    record.stale_at = stale_at
                    self._shelf.append(record)
                    return
        self._check_loop()
        self._machine.release(record, self._now())
        if (rest := self._after_release(record)) is not None:
            await rest

    async def discard(self, resource: T) -> None:
        """Give a resource back to be closed: broken, dirty, or simply enough of it.

        Returns at once; the closer runs in a task of the pool's own.

        Args:
            resource: What `acquire` returned.

        Raises:
            InvalidReleaseError: It is not leased from this pool; nothing has changed.

        Cancellation:
            Never suspends.

        Spec:
            Discard; NoDoubleRelease, ClosedExactlyOnce, WaiterServed.
        """
        self._machine.discard(self._record_of(resource))
        self._perform()

    async def detach(self, resource: T) -> None:
        """Take a resource out of the pool for good, without closing it; it is yours now.

        Args:
            resource: What `acquire` returned.

        Raises:
            InvalidReleaseError: It is not leased from this pool; nothing has changed.
            ResourcePoolError: The pool is one of contexts (`from_context`); nothing has changed.

        Cancellation:
            Never suspends.

        Spec:
            Detach; NoDoubleRelease, NothingLost, WaiterServed.
        """
        record = self._record_of(resource)
        if not self._detachable:
            raise ResourcePoolError(
                f"pool {self._machine.name!r}: cannot detach a context, which only the pool's own "
                "task can leave: release or discard it"
            )
        self._machine.detach(record)
        self._perform()

    def acquire_context(self, timeout: Seconds | None = None) -> AcquireContext[T]:
        """Acquire as ``async with pool.acquire_context() as resource``, and give back at its end.

        The context has a lease of its own: if the body gave the resource back already, leaving
        does nothing, whoever has the resource by then. If the body ends in one of `discard_on` the
        resource is closed instead. The body's exception is never masked.

        Args:
            timeout: As for `acquire`.

        Returns:
            An asynchronous context manager.

        Raises:
            ValueError: The timeout is negative or not a number. Entering raises what `acquire`
                raises, and ``RuntimeError`` if it is entered already; so does leaving if it is not.

        Cancellation:
            Entering is as safe as `acquire`; leaving as `release`.

        Spec:
            Acquire, Release, Discard; NoDoubleRelease, OneOutcome.
        """
        if timeout is not None:
            timeout = _options.duration("timeout", timeout)
        context: AcquireContext[T] = AcquireContext()
        context._pool = self
        context._timeout = timeout
        context._record = None
        return context

    def _hand_over(self, record: Record[T]) -> None:
        """Give a record to the head of the queue. The machine's piece of a step, taken directly."""
        machine, line = self._machine, self._line
        waiter = self._queue.popleft()
        if machine._off_queue:
            machine._trim()
        machine.pending += 1
        record.lease = None
        waiter.place = record.place = HANDED
        waiter.record = record
        record.busy = waiter
        if line and line[0] is waiter:
            line.popleft()
        try:
            waiter.future.set_result(record)
        except (InvalidStateError, AttributeError):
            return  # it is cancelled, and will give the record back; or see `_can_be_woken`

    def _left(self, waiter: Waiter[T]) -> None:
        """Cancelled while waiting, or when it was over already."""
        machine = self._machine
        if waiter.place is not GONE:  # not told an error meanwhile
            machine.cancel(waiter, self._clock() if self._timed else 0.0)
            if not machine.cancelled % 64:  # often enough
                self._overdue_waiters.tidy(machine.waiting)
            if machine.work or machine.woken or machine.deadline < self._sweep_at:
                self._perform()
        elif waiter.error is not None and not isinstance(waiter.error, OF_THE_WAIT):
            self._log_untold(waiter.error)  # it was told to one who does not listen any more

    def _resumed(self, waiter: Waiter[T]) -> Acquired[T]:
        """What the waiter was decided to get."""
        if waiter.error is not None:
            raise waiter.error
        machine = self._machine
        got = machine.resume(waiter, self._clock() if self._timed else 0.0)
        self._can_be_woken(got)
        if machine.work or machine.woken:
            self._perform()
        return got

    async def _checked(self, record: Record[T], deadline: float, limit: float) -> Acquired[T]:
        machine = self._machine
        assert self._check is not None
        if limit == 0:  # not to wait is one thing, a check is another
            limit = self._acquisition_timeout
            deadline += limit
        got: Acquired[T]
        failure: Exception | None = None
        try:
            passed = await call(deadline - self._clock(), self._check, record.resource)
        except LimitPassedError as passed_limit:
            machine.timeout(record)
            self._perform()
            error = self._with_cause(acquire_timeout(machine, limit), deadline - limit)
            raise error from error.__cause__ or passed_limit.__cause__
        except Exception as error:
            got, failure = machine.check_failed(record, self._now()), error
            self._can_be_woken(got)
        except BaseException:
            self._interrupt(record, CHECKING)
            raise
        else:
            step = machine.check_failed if passed is False else machine.check_passed
            got = step(record, self._now())
            self._can_be_woken(got)
        if failure is not None:
            # In a turn of its own: what a handler does or raises must not meet this acquire.
            assert self._loop is not None
            told = (logging.INFO, "pool %r: a check failed: %r", machine.name, failure)
            self._loop.call_soon(log, *told, context=Context())
        self._perform()
        return got

    def _interrupt(self, record: Record[T], place: Place) -> None:
        """Cancelled while a callback of the user was busy with the record."""
        if record.place is place:  # terminate() on a closed loop may have been faster
            self._machine.cancel(record, self._now())
            self._perform()

    def _record_of(self, resource: T) -> Record[T]:
        self._check_loop()
        record = self._leased.get(id(resource))
        if record is None:
            raise self._machine.invalid_release(GONE)
        return record

    def _after_release(self, record: Record[T]) -> Coroutine[Any, Any, None] | None:
        """What is left to do when a record was released: something to await, or nothing."""
        machine = self._machine
        if record.place is RESETTING:
            return self._reset_resource(record)
        if machine.woken or machine.work or machine.deadline < self._sweep_at:
            self._perform()
        return None

    async def _reset_resource(self, record: Record[T]) -> None:
        machine = self._machine
        assert self._reset is not None
        try:
            await call(self._closer_timeout, self._reset, record.resource)
        except Exception as error:
            machine.reset_failed(record)
            self._perform()
            log(logging.WARNING, "pool %r: a reset failed: %r", machine.name, error)
            return
        except BaseException:
            self._interrupt(record, RESETTING)
            raise
        else:
            machine.reset_passed(record, self._now())
        self._perform()
