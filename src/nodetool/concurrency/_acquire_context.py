"""One lease as an asynchronous context manager."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Generic, TypeVar

from ._records import Place, Record

if TYPE_CHECKING:
    from types import TracebackType

    from ._leasing import Leasing

T = TypeVar("T")

OUTSIDE, ENTERING = 0, -1  # no lease yet

IDLE, HELD = Place.IDLE, Place.HELD


class AcquireContext(Generic[T]):
    """What `AsyncResourcePool.acquire_context` returns: a lease of its own."""

    __slots__ = ("_lease", "_pool", "_record", "_timeout")

    # Set by who makes it, since a constructor costs a third of a lease:
    _pool: Leasing[T]
    _timeout: float | None
    _lease: int  # OUTSIDE, ENTERING, or the record's: one context is one lease

    _record: Record[T]  # while entered

    async def __aenter__(self) -> T:
        if self._lease:
            raise RuntimeError("this context is entered already: call acquire_context() again")
        pool = self._pool
        machine = pool._machine
        if (
            pool._shelf
            and pool._home._thread_id == get_ident()
            and (not pool._timed or pool._clock() < machine.deadline)
        ):
            # As in acquire, whatever the timeout: nobody waits.
            record = pool._shelf.pop()
            if record.place is IDLE:
                record.place = HELD
                self._lease = record.lease = machine.acquired = machine.acquired + 1
                self._record = record
                return record.resource
            machine._off_shelf -= 1
        self._lease = ENTERING
        try:
            resource = await pool.acquire(self._timeout)
        except BaseException:
            self._lease = OUTSIDE
            raise
        self._record = pool._leased[id(resource)]
        self._lease = self._record.lease
        return resource

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lease, pool = self._lease, self._pool
        if lease <= 0:
            raise RuntimeError("this context is not entered")
        self._lease = OUTSIDE
        record, machine = self._record, pool._machine
        if record.lease != lease or record.place is not HELD:
            return  # given back already, and perhaps another's by now; or forgotten
        if pool._direct and exc_type is None:
            # As in release; a body may end when its loop is closed, and nobody can be woken.
            if not machine._queue:
                if not pool._timed:
                    record.place = IDLE
                    pool._shelf.append(record)
                    return
                if (now := pool._clock()) < record.expires_at:
                    stale_at = now + machine.max_idle_time
                    if stale_at >= machine.deadline and machine.deadline >= pool._sweep_at:
                        record.place = IDLE
                        record.stale_at = stale_at
                        pool._shelf.append(record)
                        return
            elif pool._home._thread_id == get_ident() and (
                not pool._timed or pool._clock() < record.expires_at
            ):
                pool._hand_over(record)
                return
        if pool._forked:  # the lease is the parent's
            if exc_type is None:
                pool._bind()
            return
        if exc_type is not None and issubclass(exc_type, pool._discard_on):
            machine.discard(record)
            pool._perform()
        else:
            machine.release(record, pool._clock() if pool._timed else 0.0)
            if (rest := pool._after_release(record)) is not None:
                await rest
