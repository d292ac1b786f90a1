"""One lease as an asynchronous context manager."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._records import Place, Record

if TYPE_CHECKING:
    from types import TracebackType

    from ._leasing import Leasing

T = TypeVar("T")

IDLE, HELD = Place.IDLE, Place.HELD

ENTERING: Record[Any] = Record(0)  # what a context has that waits for its record


class AcquireContext(Generic[T]):
    """What `AsyncResourcePool.acquire_context` returns: a lease of its own."""

    __slots__ = ("_pool", "_record", "_timeout")

    # Set by who makes it, since a constructor costs a third of a lease:
    _pool: Leasing[T]
    _timeout: float | None
    _record: Record[T] | None  # while entered; whose `lease` is this context, until it is over

    async def __aenter__(self) -> T:
        if self._record is not None:
            raise RuntimeError("this context is entered already: call acquire_context() again")
        pool = self._pool
        machine, clock = pool._machine, pool._age_clock
        if (
            pool._shelf
            and pool._home._thread_id == get_ident()
            and (clock is None or clock() < machine.deadline)
        ):
            # As in acquire, whatever the timeout: nobody waits.
            record = pool._shelf.pop()
            if record.place is IDLE:
                record.place = HELD
                record.lease = self
                self._record = record
                machine.acquired += 1
                return record.resource
            machine._off_shelf -= 1
        self._record = ENTERING
        try:
            resource = await pool.acquire(self._timeout)
        except BaseException:
            self._record = None
            raise
        self._record = record = pool._leased[id(resource)]
        record.lease = self
        return resource

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        record, pool = self._record, self._pool
        if record is None or record is ENTERING:
            raise RuntimeError("this context is not entered")
        self._record = None
        if record.lease is not self:
            return  # given back already, and perhaps another's by now; or forgotten
        if pool._direct and exc_type is None:
            # As in release; a body may end when its loop is closed, and nobody can be woken.
            clock = pool._age_clock
            if not pool._queue:
                if clock is None:
                    record.place = IDLE
                    record.lease = None
                    pool._shelf.append(record)
                    return
                if (now := clock()) < record.expires_at:
                    machine = pool._machine
                    deadline, stale_at = machine.deadline, now + machine.max_idle_time
                    if stale_at >= deadline and deadline >= pool._sweep_at:
                        record.place = IDLE
                        record.lease = None
                        record.stale_at = stale_at
                        pool._shelf.append(record)
                        return
            elif pool._home._thread_id == get_ident() and (
                clock is None or clock() < record.expires_at
            ):
                pool._hand_over(record)
                return
        if pool._forked and exc_type is not None:
            return  # the lease is the parent's
        if exc_type is None and pool._is_elsewhere():
            self._record = record
            pool._bind()  # says where it belongs
        machine = pool._machine
        if exc_type is not None and issubclass(exc_type, pool._discard_on):
            machine.discard(record)
            pool._perform()
        else:
            machine.release(record, pool._now())
            if (rest := pool._after_release(record)) is not None:
                await rest
