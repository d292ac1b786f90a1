"""Telling a listener what a pool does: a machine that also says when each phase ended.

It sees everything in the machine's steps, as debug mode does; the shell does not know of it, and a
pool that nobody listens to has none of this.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from ._call import log
from ._counts import Phase
from ._errors import ResourcePoolError, acquire_timeout
from ._home import clock_of
from ._machine import PoolMachine
from ._records import NEVER, Place, Record, Waiter
from ._state import Acquired

__all__ = ["PoolEvent", "PoolGauges", "PoolListener"]

T = TypeVar("T")


class PoolEvent(NamedTuple):
    """Something that took its time in a pool and is over now.

    ``start`` and ``end`` are seconds of the pool's clock: the event loop's, which is
    `time.monotonic` in the standard library's loops. A lease is told when it ends, so what is held
    now was not told yet.
    """

    kind: Literal["creation", "wait", "use", "close"]
    """A call of the factory; an acquire, however short; a lease; a call of the closer."""
    resource: int | None
    """The resource's number, from 1, in the order of creations. None: an acquire that got none."""
    start: float
    """When it began."""
    end: float
    """When it was over."""
    outcome: str
    """How it ended.

    Of a creation: ``created``, ``failed``, or ``retired`` if it came too late. Of a wait:
    ``acquired``, ``timed out``, ``cancelled``, ``failed``, ``closed`` or ``rejected``. Of a use:
    ``released``, ``discarded``, ``detached``, or ``forgotten`` by ``terminate``. Of a close, its
    reason: ``expired``, ``pruned``, ``discarded``, ``retired``, ``closed``, ``check failed``,
    ``reset failed``, or ``interrupted`` (in a check or a reset)."""
    task: str
    """The name of the task that acquired; empty for creations and closers."""
    error: BaseException | None
    """What the factory raised, or what an acquire was told; of a time limit, one like it."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


PoolListener: TypeAlias = Callable[[PoolEvent], object]
"""Called with each event, in the pool's loop, when the step that ended it is complete. It should be
quick and must not wait. What it raises is logged and disturbs nothing. It may look at the pool but
not use it, which is refused: let the loop do that afterwards, by ``call_soon(pool.terminate)``."""


class PoolGauges(NamedTuple):
    """What is in a pool now: some numbers of ``PoolStats``.

    With a listener any thread may ask the pool for them.
    """

    idle: int
    """Resources that nobody uses."""
    in_use: int
    """Resources handed over, being checked, held, or being reset."""
    creating: int
    """Factory calls in flight."""
    closing: int
    """Closer calls in flight."""
    waiting: int
    """Acquirers in the queue."""
    timeouts: int
    """Acquires that ran out of time, since the pool was made."""


def measured(machine: PoolMachine[Any]) -> PoolGauges:
    """The machine's numbers of the moment."""
    return PoolGauges(
        machine.idle,
        machine.in_use,
        machine.creating,
        machine.closing,
        machine.waiting,
        machine.timeouts,
    )


def gauges(machine: PoolMachine[Any]) -> PoolGauges:
    """The machine's numbers; a listening one's are those after its last step."""
    return machine.published if isinstance(machine, Listening) else measured(machine)


def stop(error: BaseException) -> None:
    """Stop the program, but not before what the step has left to do is done."""

    def stopping(error: BaseException) -> None:
        raise error

    loop = _get_running_loop()
    if loop is None:
        raise error
    loop.call_soon(stopping, error)


REASONS = {  # the statistics that a step raises before it has the closer called
    "expired": "expired",
    "pruned": "pruned",
    "discarded": "discarded",
    "check_failures": "check failed",
    "reset_failures": "reset failed",
}


class Track:
    """One record's past, as far as it is needed."""

    __slots__ = ("number", "reason", "since", "task")

    def __init__(self, number: int, since: float) -> None:
        self.number = number
        self.since = since  # when its present phase began
        self.task = ""  # of its lease
        self.reason = ""  # of its closing


class Listening(PoolMachine[T]):
    """What comes before a machine's own steps to make a listening machine of it."""

    def __init__(self, *args: Any, listener: PoolListener, **options: Any) -> None:
        self._listener = listener
        self._clock: Callable[[], float] | None = None
        self._now = 0.0
        self._events: deque[PoolEvent] = deque()  # to be told at the end of the step
        self._telling = False  # the listener runs, perhaps amid what the shell has left to do
        self._numbers = 0  # how many records there were
        self._tracks: dict[Record[T], Track] = {}  # of each record that exists
        self._came: dict[Waiter[T] | Record[T], tuple[float, str]] = {}  # acquires under way
        self._counted = dict.fromkeys(REASONS, 0)  # at the last closing
        super().__init__(*args, **options)
        self.published = measured(self)

    def begin(self) -> None:
        """A step begins. All of it happens at one time."""
        if self._telling:
            raise ResourcePoolError(
                f"pool {self.name!r}: its listener must not use it: let the loop do that afterwards"
            )
        if self._clock is None:
            loop = _get_running_loop()
            if loop is None:  # terminate() before the first use
                return
            self._clock = clock_of(loop)
        self._now = self._clock()

    def announce(self) -> None:
        """A step is complete: publish the numbers, and tell what it has ended."""
        self.published = measured(self)
        self._telling = True
        try:
            while self._events:
                try:
                    self._listener(self._events.popleft())
                except (KeyboardInterrupt, SystemExit) as error:
                    stop(error)
                except BaseException as error:
                    log(
                        logging.ERROR,
                        "pool %r: its listener failed: %r",
                        self.name,
                        error,
                        exc_info=error,
                    )
        finally:
            self._telling = False

    def _tell_event(
        self,
        kind: Literal["creation", "wait", "use", "close"],
        resource: int | None,
        start: float,
        outcome: str,
        task: str = "",
        error: BaseException | None = None,
    ) -> None:
        event = PoolEvent(kind, resource, start, self._now, outcome, task, error)
        self._events.append(event)

    # Acquires.

    def _got(self, came: tuple[float, str], got: Acquired[T]) -> Acquired[T]:
        """Where an acquire has come to."""
        if isinstance(got, Record) and got.place is Place.HELD:
            track = self._tracks[got]
            start, task = came
            self._tell_event("wait", track.number, start, "acquired", task)
            track.since, track.task = self._now, task
        elif got is None:
            start, task = came
            self._tell_event("wait", None, start, "closed", task, self.closed_error())
        else:
            self._came[got] = came
        return got

    def _unserved(
        self, subject: Waiter[T] | Record[T], outcome: str, error: BaseException | None
    ) -> None:
        """An acquire ends with nothing."""
        if subject in self._came:
            start, task = self._came.pop(subject)
            self._tell_event("wait", None, start, outcome, task, error)

    def acquire(self, now: float) -> Record[T] | Waiter[T]:
        task = asyncio.current_task()
        came = self._now, "" if task is None else task.get_name()
        try:
            got = super().acquire(now)
        except Exception as error:
            outcome = "rejected" if self.phase is Phase.OPEN else "closed"
            self._tell_event("wait", None, came[0], outcome, came[1], error)
            raise
        self._got(came, got)
        return got

    def resume(self, waiter: Waiter[T], now: float) -> Acquired[T]:
        got = super().resume(waiter, now)
        return self._got(self._came.pop(waiter), got)

    def check_passed(self, record: Record[T], now: float) -> Acquired[T]:
        got = super().check_passed(record, now)
        return self._got(self._came.pop(record), got)

    def check_failed(self, record: Record[T], now: float) -> Acquired[T]:
        got = super().check_failed(record, now)
        return self._got(self._came.pop(record), got)

    def timeout(self, subject: Waiter[T] | Record[T], error: BaseException | None = None) -> None:
        under_way = subject.place in (Place.WAITING, Place.CHECKING)
        start, task = self._came.pop(subject) if under_way else (0.0, "")
        super().timeout(subject, error)
        told = error or acquire_timeout(self, self._now - start)  # as the shell says
        self._tell_event("wait", None, start, "timed out", task, told)

    def cancel(self, subject: Waiter[T] | Record[T], now: float) -> None:
        super().cancel(subject, now)
        self._unserved(subject, "cancelled", None)

    def _tell(self, waiter: Waiter[T], error: BaseException) -> None:
        super()._tell(waiter, error)
        self._unserved(waiter, "failed" if self.phase is Phase.OPEN else "closed", error)

    # Leases.

    def _lease(self, record: Record[T]) -> tuple[int, float, str]:
        """Of what is held: its number, since when it is, and by which task."""
        track = self._tracks.get(record, NO_TRACK)
        return track.number, track.since, track.task

    def _used_by(self, lease: tuple[int, float, str], outcome: str) -> None:
        number, since, task = lease
        self._tell_event("use", number, since, outcome, task)

    def release(self, record: Record[T], now: float) -> None:
        lease = self._lease(record)
        super().release(record, now)
        self._used_by(lease, "released")

    def discard(self, record: Record[T]) -> None:
        lease = self._lease(record)
        super().discard(record)
        self._used_by(lease, "discarded")

    def detach(self, record: Record[T]) -> None:
        lease = self._lease(record)
        super().detach(record)
        self._used_by(lease, "detached")

    def terminate(self) -> None:
        held = [self._lease(record) for record in self.out() if record.place is Place.HELD]
        super().terminate()
        for lease in held:
            self._used_by(lease, "forgotten")

    # Creations and closers.

    def _settle(self) -> None:
        before = len(self.work)
        super()._settle()
        for record in self.work[before:]:
            self._numbers += 1
            self._tracks[record] = Track(self._numbers, self._now)

    def create_succeeded(
        self, record: Record[T], resource: T, now: float, expires_at: float = NEVER
    ) -> None:
        track = self._tracks.get(record, NO_TRACK)
        start = track.since
        doomed = record.generation != self.generation
        super().create_succeeded(record, resource, now, expires_at)
        self._tell_event("creation", track.number, start, "retired" if doomed else "created")

    def create_failed(self, record: Record[T], error: BaseException) -> bool:
        track = self._tracks.get(record, NO_TRACK)
        told = super().create_failed(record, error)
        self._tell_event("creation", track.number, track.since, "failed", error=error)
        return told

    def _close(self, *records: Record[T]) -> None:
        counted = {name: getattr(self, name) for name in REASONS}
        because = [why for name, why in REASONS.items() if counted[name] > self._counted[name]]
        for record in records:
            retired = record.generation != self.generation
            closing = self.phase is not Phase.OPEN
            otherwise = "closed" if closing else "retired" if retired else "interrupted"
            track = self._tracks[record]
            track.since = self._now
            track.reason = because[-1] if because else otherwise
        self._counted = counted
        super()._close(*records)

    def _free(self, record: Record[T]) -> None:
        track = self._tracks.pop(record)
        if record.place is Place.CLOSING:
            self._tell_event("close", track.number, track.since, track.reason)
        super()._free(record)


NO_TRACK = Track(0, 0.0)

STEPS = (
    *("acquire", "resume", "check_passed", "check_failed", "timeout", "cancel", "release"),
    *("reset_passed", "reset_failed", "discard", "detach", "open", "create_succeeded"),
    *("create_failed", "closer_ended", "sweep", "retry_floor", "retire_all", "close", "terminate"),
)


def announcing(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, and when it is complete what is to be told of it."""

    @functools.wraps(step)
    def announced(self: Listening[Any], *args: Any, **options: Any) -> Any:
        self.begin()
        try:
            return step(self, *args, **options)
        finally:
            self.announce()

    return announced


@cache
def listening(machine: type[PoolMachine[Any]]) -> type[Listening[Any]]:
    """The same machine, with a listener."""
    combined: type[Listening[Any]] = type(f"Listening{machine.__name__}", (Listening, machine), {})
    for step in STEPS:
        setattr(combined, step, announcing(getattr(combined, step)))
    return combined
