"""One acquire from its first step to its last, and one resource's way back.

Cancellation becomes a step of the machine in three places, one for each thing of its own that a
caller can await here: `_wait`, `_checked` and `_reset_resource`.
"""

from __future__ import annotations

import logging
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from . import _options
from ._call import LimitPassedError, call, log
from ._errors import ResourcePoolClosedError, ResourcePoolTimeoutError
from ._records import NEVER, Place, Record, Waiter
from ._view import PoolView

if TYPE_CHECKING:
    from types import TracebackType

    from ._options import Seconds
    from ._state import Acquired

T = TypeVar("T")

OF_THE_WAIT = (ResourcePoolClosedError, ResourcePoolTimeoutError)  # not a failed creation's

HELD, CHECKING, RESETTING = Place.HELD, Place.CHECKING, Place.RESETTING


class Leasing(PoolView[T]):
    """How resources are acquired and given back."""

    __slots__ = ("_acquisition_timeout", "_check", "_discard_on", "_reset")

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

    def _begin(self, timeout: Seconds | None) -> Record[T] | Waiter[T]:
        """The first step of an acquire: mostly it is the last as well."""
        if timeout is not None:
            _options.duration("timeout", timeout)
        running = _get_running_loop()
        if running is None or running is not self._loop:
            self._bind()
        machine = self._machine
        got = machine.acquire(self._clock() if self._timed else 0.0)
        if machine.work:
            self._perform()
        return got

    async def _finish(self, got: Acquired[T], timeout: Seconds | None) -> Record[T]:
        """The rest of an acquire that has to wait or to check, in the caller's own task."""
        machine = self._machine
        limit = self._acquisition_timeout
        if timeout is not None:
            limit = _options.duration("timeout", timeout)
        since = self._clock()
        deadline = since + limit
        while True:
            if isinstance(got, Waiter):
                if limit == 0:
                    machine.timeout(got)
                    self._perform()
                    raise self._timeout_error(since, deadline)
                got = await self._wait(got, since, deadline)
            elif got is None:
                raise machine.closed_error()
            elif got.place is CHECKING:
                until = deadline if limit else since + self._acquisition_timeout
                got = await self._checked(got, since, until)
            else:
                return got

    async def _wait(self, waiter: Waiter[T], since: float, deadline: float) -> Acquired[T]:
        machine = self._machine
        assert self._loop is not None
        waiter.future = self._loop.create_future()
        waiter.since = since
        waiter.deadline = deadline
        if deadline < NEVER:
            self._overdue_waiters.add(waiter)
        try:
            await waiter.future
        except BaseException:
            if waiter.place is not Place.GONE:  # not told an error meanwhile
                machine.cancel(waiter, self._now())
                self._overdue_waiters.tidy(machine.waiting)
                self._perform()
            elif waiter.error is not None and not isinstance(waiter.error, OF_THE_WAIT):
                self._log_untold(waiter.error)  # it was told to one who does not listen any more
            raise
        if waiter.error is not None:
            raise waiter.error
        got = machine.resume(waiter, self._now())
        self._perform()
        return got

    async def _checked(self, record: Record[T], since: float, deadline: float) -> Acquired[T]:
        machine = self._machine
        assert self._check is not None
        got: Acquired[T]
        failure: Exception | None = None
        try:
            passed = await call(deadline - self._clock(), self._check, record.resource)
        except LimitPassedError as passed_limit:
            machine.timeout(record)
            self._perform()
            error = self._timeout_error(since, deadline)
            raise error from error.__cause__ or passed_limit.__cause__
        except Exception as error:
            got, failure = machine.check_failed(record, self._now()), error
        except BaseException:
            self._interrupt(record, CHECKING)
            raise
        else:
            step = machine.check_failed if passed is False else machine.check_passed
            got = step(record, self._now())
        self._perform()
        if failure is not None:
            log(logging.INFO, "pool %r: a check failed: %r", machine.name, failure)
        return got

    def _interrupt(self, record: Record[T], place: Place) -> None:
        """Cancelled while a callback of the user was busy with the record."""
        if record.place is place:  # terminate() on a closed loop may have been faster
            self._machine.cancel(record, self._now())
            self._perform()

    def _record_of(self, resource: T) -> Record[T]:
        running = _get_running_loop()
        if running is None or running is not self._loop:
            self._bind()
        record = self._leased.get(id(resource))
        if record is None:
            raise self._machine.invalid_release(Place.GONE)
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


class AcquireContext(Generic[T]):
    """What `AsyncResourcePool.acquire_context` returns: a lease of its own."""

    __slots__ = ("_entered", "_lease", "_pool", "_record", "_timeout")

    def __init__(self, pool: Leasing[T], timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._entered = False  # or being entered: one context is one lease
        self._record: Record[T] | None = None
        self._lease = 0

    async def __aenter__(self) -> T:
        if self._entered:
            raise RuntimeError("this context is entered already: call acquire_context() again")
        self._entered = True
        try:
            got = self._pool._begin(self._timeout)
            if got.place is not HELD:
                got = await self._pool._finish(got, self._timeout)
        except BaseException:
            self._entered = False
            raise
        record = self._record = cast("Record[T]", got)
        self._lease = record.lease
        return record.resource

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pool, record = self._pool, self._record
        if record is None:
            raise RuntimeError("this context is not entered")
        self._record = None
        self._entered = False
        if pool._forked:  # the lease is the parent's
            if exc_type is None:
                pool._bind()
            return
        if record.place is not HELD or record.lease != self._lease:
            return  # given back already, and perhaps another's by now; or forgotten
        if exc_type is not None and issubclass(exc_type, pool._discard_on):
            pool._machine.discard(record)
            pool._perform()
        else:
            machine = pool._machine
            machine.release(record, pool._clock() if pool._timed else 0.0)
            if (rest := pool._after_release(record)) is not None:
                await rest
