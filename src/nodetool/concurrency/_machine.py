"""The pool's state machine, sans I/O: it decides everything and performs nothing.

Laws
    1. Every step is synchronous: guard, new state, effects, in this order.
    2. A refused step raises the pool's error and changes nothing.
    3. An idle resource exists only while nobody waits, and both only while the pool is open.
    4. A waiter is in the queue or decided, never both; only who came first of them is served.
    5. Whatever is of an old generation goes to its closer; closing makes everything old.
    6. How many to create, whom to tell and when it is over, ``_counts`` decides, and nobody else.

Theory of operation
    There is one method per action of ``spec/AsyncResourcePool.tla``, in its order and of its name;
    ``_state`` has the pieces they are made of. The machine's transition graph equals the
    specification's, edge for edge, at the bounds of the models (``tests/spec``).

    A step leaves what the shell has to do in two lists: ``woken``, waiters that were decided, and
    ``work``, records whose factory (place CREATING) or closer (place CLOSING) has to run. The
    shell empties both before it does anything else, and reports the end of each piece of work by
    another step. An acquire is a walk: a step answers with a Waiter (wait for it, then `resume`),
    with a Record (CHECKING: check it, HELD: done) or with None (the pool closes).

    Time is passed in; `deadline` says when the next `sweep` can find something. Deques and heaps
    keep entries of the departed until they surface, or are rebuilt once these are the majority:
    every step is O(1), amortized, but those that deal with many resources (the sweep, retire_all,
    close, terminate), and that an acquirer which has to wait again looks for its place.
"""

from __future__ import annotations

from typing import TypeVar

from ._counts import Floor, Phase, may_wait, staying, tells_waiter
from ._errors import DuplicateResourceError, InvalidReleaseError, ResourcePoolExhaustedError
from ._records import NEVER, Place, Record, Waiter
from ._state import Acquired, PoolState

T = TypeVar("T")

OPEN, OFF, ON, BACKOFF = Phase.OPEN, Floor.OFF, Floor.ON, Floor.BACKOFF
IDLE, HANDED, HELD, WAITING = Place.IDLE, Place.HANDED, Place.HELD, Place.WAITING
CHECKING, RESETTING, CLOSING = Place.CHECKING, Place.RESETTING, Place.CLOSING
CREATING, GONE = Place.CREATING, Place.GONE


class PoolMachine(PoolState[T]):
    """One step for each action of the specification."""

    __slots__ = ()

    def _refusal(self, step: str, subject: Record[T] | Waiter[T]) -> InvalidReleaseError:
        return InvalidReleaseError(
            f"pool {self.name!r}: no {step} of what is {subject.place.value}"
        )

    # What acquirers and holders do.

    def acquire(self, now: float) -> Record[T] | Waiter[T]:
        """Acquire: take the idle resource returned last, or wait."""
        # The common case of _seek and _grant, without a call: the same edge of the graph.
        if self._shelf and now < self.deadline and self.check_after_idle is None:
            record = self._shelf.pop()
            if record.place is IDLE:
                record.place = HELD
                self.acquired += 1
                return record
            self._off_shelf -= 1
        if self.phase is not OPEN:
            raise self.closed_error()
        limited = self.limits.max_waiting is not None
        if limited and not self.idle and not may_wait(self.limits, self.counts()):
            self.rejected += 1
            raise ResourcePoolExhaustedError(
                f"pool {self.name!r}: max_waiting={self.limits.max_waiting} acquirers wait already "
                f"for {self.size} of max_size={self.limits.max_size} resources; acquire less "
                "at once, give back sooner, or raise max_size or max_waiting"
            )
        if self.floor is OFF:
            self.floor = ON
        self._tickets += 1
        got = self._seek(now, self._tickets)
        if self.size < self.limits.max_size:
            self._settle()
        return got

    def resume(self, waiter: Waiter[T], now: float) -> Acquired[T]:
        """Resume: the acquirer that was handed a record runs again."""
        if waiter.place is not HANDED:
            raise self._refusal("resume", waiter)
        record, waiter.record = waiter.record, None
        assert record is not None
        record.busy = None
        waiter.place = GONE
        self.pending -= 1
        if record.generation != self.generation:
            return self._again(record, waiter.ticket, now)
        if self.check_after_idle is None:
            return self._hold(record)
        return self._grant(record, waiter.ticket, now)

    def check_passed(self, record: Record[T], now: float) -> Acquired[T]:
        """CheckPassed: the acquirer has it, unless it was retired or grew old meanwhile."""
        if record.place is not CHECKING:
            raise self._refusal("check_passed", record)
        self.pending -= 1
        if record.generation != self.generation or now >= record.expires_at:
            self.expired += record.generation == self.generation
            return self._again(record, record.ticket, now)
        return self._hold(record)

    def check_failed(self, record: Record[T], now: float) -> Acquired[T]:
        """CheckFailed: close it, trust nothing, and look again ahead of who came later."""
        if record.place is not CHECKING:
            raise self._refusal("check_failed", record)
        self.pending -= 1
        self._epoch += 1
        self.check_failures += 1
        return self._again(record, record.ticket, now)

    def timeout(self, subject: Waiter[T] | Record[T], error: BaseException | None = None) -> None:
        """Timeout: a waiter leaves and is told; what is being checked is closed."""
        if subject.place not in (WAITING, CHECKING):
            raise self._refusal("timeout", subject)
        self.timeouts += 1
        if isinstance(subject, Waiter):
            self._leave(subject)
            if error is not None:
                self._tell(subject, error)
        else:
            self.pending -= 1
            self._close(subject)
            self._settle()

    def cancel(self, subject: Waiter[T] | Record[T], now: float) -> None:
        """Cancel: a waiter leaves; what it was handed goes on; what is half done is closed."""
        if isinstance(subject, Waiter):
            if subject.place not in (WAITING, HANDED):
                raise self._refusal("cancel", subject)
            self.cancelled += 1
            record, subject.record = subject.record, None
            if record is None:
                self._leave(subject)
            else:
                record.busy = None
                subject.place = GONE
                self.pending -= 1
                record.used_at = min(record.used_at, now)  # it was not used since
                self._give_back(record, now)
        else:
            if subject.place not in (CHECKING, RESETTING):
                raise self._refusal("cancel", subject)
            self.cancelled += 1
            self.pending -= 1
            self._close(subject)
            self._settle()

    def release(self, record: Record[T], now: float) -> None:
        """Release: hand it on, shelve it, or close it if it is no longer fit."""
        if record.place is not HELD:
            raise self.invalid_release(record.place, self.holder(record))
        record.lease = None
        if self.resets:
            record.place = RESETTING
            self.pending += 1
            return
        self._used(record, now)
        self._give_back(record, now)

    def reset_passed(self, record: Record[T], now: float) -> None:
        """ResetPassed: the release goes on."""
        if record.place is not RESETTING:
            raise self._refusal("reset_passed", record)
        self.pending -= 1
        self._used(record, now)
        self._give_back(record, now)

    def reset_failed(self, record: Record[T]) -> None:
        """ResetFailed: close it."""
        if record.place is not RESETTING:
            raise self._refusal("reset_failed", record)
        self.pending -= 1
        self.reset_failures += 1
        self._close(record)
        self._settle()

    def discard(self, record: Record[T]) -> None:
        """Discard: close it instead of giving it back."""
        if record.place is not HELD:
            raise self.invalid_release(record.place, self.holder(record))
        record.lease = None
        self.discarded += 1
        self._close(record)
        self._settle()

    def detach(self, record: Record[T]) -> None:
        """Detach: it leaves the pool for good, unclosed."""
        if record.place is not HELD:
            raise self.invalid_release(record.place, self.holder(record))
        record.lease = None
        self.detached += 1
        self._free(record)
        self._settle()

    def invalid_release(self, place: Place, holder: str = "") -> InvalidReleaseError:
        """What to raise when something at `place` is given back."""
        what = {
            GONE: "it is not of this pool: never acquired here, or closed, discarded, detached "
            "or forgotten by terminate() since",
            IDLE: "it was released already and is idle now",
            CLOSING: "it was given back already and is being closed",
        }.get(place, "it was released already and the pool is busy with it")
        return InvalidReleaseError(
            f"pool {self.name!r}: cannot release this resource: {what}; "
            f"release each acquired resource exactly once{holder}"
        )

    # What the pool does, or what is done to it.

    def open(self) -> None:
        """Open: from now on the floor is kept."""
        if self.phase is not OPEN:
            raise self.closed_error()
        if self.floor is OFF:
            self.floor = ON
            self._settle()

    def create_succeeded(
        self, record: Record[T], resource: T, now: float, expires_at: float = NEVER
    ) -> None:
        """CreateSucceeded: hand it to the head of the queue, shelve it, or close a doomed one."""
        if record.place is not CREATING:
            raise self._refusal("create_succeeded", record)
        if id(resource) in self.leased:
            raise DuplicateResourceError(
                f"pool {self.name!r}: the factory returned an object that is in the pool already; "
                "it must return a new one each time"
            )
        self.leased[id(resource)] = record
        record.resource = resource
        self.creating -= 1
        self.created += 1
        if record.generation != self.generation:
            self.doomed -= 1
            self._close(record)
            self._settle()
            return
        self.floor = ON
        record.expires_at = expires_at
        self._watch_age(record)
        self._used(record, NEVER if self._queue else now)
        self._hand_over(record, now)
        self._settle()

    def create_failed(self, record: Record[T], error: BaseException) -> bool:
        """CreateFailed: pass the slot on, and tell a waiter unless all can be served yet.

        Returns whether somebody was told.
        """
        if record.place is not CREATING:
            raise self._refusal("create_failed", record)
        self.creating -= 1
        self.creation_failures += 1
        self._free(record)
        told = False
        if record.generation != self.generation:
            self.doomed -= 1
        else:
            told = tells_waiter(self.counts())
            if told:
                self._tell(self._head(), error)
            if staying(self.counts()) < self.limits.min_size:
                self.floor = BACKOFF
        self._settle()
        return told

    def closer_ended(self, record: Record[T]) -> None:
        """CloserEnded: the slot is free."""
        if record.place is not CLOSING:
            raise self._refusal("closer_ended", record)
        self.closing -= 1
        self._free(record)
        self._settle()

    def sweep(self, now: float) -> list[Record[T]]:
        """Sweep: close what is overdue, and say what that was."""
        swept = self._sweep(now)
        self._settle()
        return swept

    def retry_floor(self) -> None:
        """RetryFloor: the back-off is over."""
        if self.floor is BACKOFF:
            self.floor = ON
            self._settle()

    def retire_all(self) -> None:
        """RetireAll: nothing that exists or is being created will be handed out again."""
        if self.phase is not OPEN:
            raise self.closed_error()
        self._retire()
        self._settle()

    def close(self) -> None:
        """Close: waiters are told; what is idle is closed now, the rest when it comes back."""
        if self.phase is OPEN:
            self._shut()
            self._settle()

    def terminate(self) -> None:
        """Terminate: like close, and what users hold is forgotten."""
        if self.phase is OPEN:
            self._shut()
        for record in list(self.leased.values()):
            if record.place is HELD:
                record.lease = None
                self.forgotten += 1
                self._free(record)
        self._settle()
