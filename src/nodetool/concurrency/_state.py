"""The state of one pool, and the pieces that its steps are made of.

Every field says what it counts and which pieces move it. The steps themselves, and the laws that
they keep, are in ``_machine``.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeAlias, TypeVar

from ._counts import Counts, Floor, Limits, Phase, closing_complete, creations_to_start, prunable
from ._errors import ResourcePoolClosedError
from ._records import NEVER, Place, Record, Waiter

T = TypeVar("T")

Acquired: TypeAlias = Record[T] | Waiter[T] | None

OPEN, OFF = Phase.OPEN, Floor.OFF
IDLE, HANDED, HELD, WAITING = Place.IDLE, Place.HANDED, Place.HELD, Place.WAITING
CHECKING, CREATING, CLOSING, GONE = Place.CHECKING, Place.CREATING, Place.CLOSING, Place.GONE

STATISTICS = (
    "acquired",
    "released",
    "discarded",
    "detached",
    "created",
    "creation_failures",
    "expired",
    "pruned",
    "check_failures",
    "reset_failures",
    "timeouts",
    "cancelled",
    "rejected",
)


class PoolState(Generic[T]):
    """Who is where, in numbers and in order."""

    __slots__ = (
        "_ages",
        "_early",
        "_epoch",
        "_off_queue",
        "_off_shelf",
        "_queue",
        "_shelf",
        "_tickets",
        "alive",
        "check_after_idle",
        "closing",
        "creating",
        "deadline",
        "doomed",
        "floor",
        "forgotten",
        "generation",
        "leased",
        "limits",
        "max_idle_time",
        "name",
        "pending",
        "phase",
        "resets",
        "size",
        "woken",
        "work",
        *(name for name in STATISTICS if name != "released"),
    )

    def __init__(
        self,
        name: str,
        limits: Limits,
        *,
        max_idle_time: float = NEVER,
        check_after_idle: float | None = None,
        resets: bool = False,
    ) -> None:
        self.name = name
        self.limits = limits
        self.max_idle_time = max_idle_time
        self.check_after_idle = check_after_idle  # None: there is no check
        self.resets = resets

        self.phase = OPEN  # moved by _shut and _settle
        self.floor = OFF  # moved by open, acquire, _shut and the ends of creations
        self.generation = 0  # raised by _retire: retire_all, close and terminate
        self.size = 0  # records that exist: raised by _settle, lowered by _free
        self.creating = 0  # raised by _settle, lowered by the ends of creations
        self.doomed = 0  # creations of an old generation: all of them at _retire
        self.closing = 0  # raised by _close, lowered by closer_ended
        self.pending = 0  # in use, not held: raised by _hand_over, _grant, release; then lowered
        self.deadline = NEVER  # no idle resource is overdue before: a lower bound
        self.leased: dict[int, Record[T]] = {}  # each record with a resource, by its identity
        self.alive: dict[int, int] = {}  # how many records of each generation, oldest first

        self._shelf: deque[Record[T]] = deque()  # idle records, last returned at the right
        self._off_shelf = 0  # how many of its entries are idle no more: left there by _sweep
        self._queue: deque[Waiter[T]] = deque()  # waiters, by their tickets; the first one waits
        self._off_queue = 0  # how many of the others have left
        self._tickets = 0  # how many acquires had to wait or to check
        self._ages: deque[Record[T]] = deque()  # records in the order in which max_age passes
        self._early: list[tuple[float, int, Record[T]]] = []  # heap: those out of that order
        self._epoch = 0  # how many checks failed: what was known before is doubted

        self.woken: list[Waiter[T]] = []  # decided, for the shell to wake
        self.work: list[Record[T]] = []  # for the shell to create or close

        # Statistics, each raised by the step that it counts; `released` is what is left.
        self.acquired = self.discarded = self.detached = self.forgotten = 0
        self.created = self.creation_failures = self.expired = self.pruned = 0
        self.check_failures = self.reset_failures = 0
        self.timeouts = self.cancelled = self.rejected = 0

    @property
    def idle(self) -> int:
        """How many resources are idle."""
        return len(self._shelf) - self._off_shelf

    @property
    def in_use(self) -> int:
        """How many resources are handed over, checked, held or reset."""
        return self.size - self.creating - self.idle - self.closing

    @property
    def held(self) -> int:
        """How many resources their holders have."""
        return self.in_use - self.pending

    @property
    def released(self) -> int:
        """How many leases have ended in a release: all that ended, but those that did otherwise."""
        return self.acquired - self.held - self.discarded - self.detached - self.forgotten

    @property
    def waiting(self) -> int:
        """How many acquirers wait."""
        return len(self._queue) - self._off_queue

    def counts(self) -> Counts:
        """The state in numbers."""
        return Counts(
            self.creating,
            self.doomed,
            self.idle,
            self.in_use,
            self.closing,
            self.waiting,
            self.phase,
            self.floor,
        )

    def statistics(self) -> dict[str, int]:
        """All that is counted."""
        return {name: getattr(self, name) for name in STATISTICS}

    def gauges(self) -> dict[str, Any]:
        """The state and the statistics, by the names of ``PoolStats``."""
        return self.statistics() | {
            "size": self.size,
            "idle": self.idle,
            "in_use": self.in_use,
            "creating": self.creating,
            "closing": self.closing,
            "waiting": self.waiting,
            "min_size": self.limits.min_size,
            "max_size": self.limits.max_size,
            "closed": self.phase is Phase.CLOSED,
        }

    def out(self) -> list[Record[T]]:
        """What acquirers have, that being checked or reset included."""
        places = (HELD, CHECKING, Place.RESETTING)
        return [record for record in self.leased.values() if record.place in places]

    def holder(self, record: Record[T]) -> str:
        """Who has the record, or had it last, for messages: known in debug mode only."""
        return ""

    def holders(self) -> str:
        """Who has what, for messages: known in debug mode only."""
        return ""

    # Pieces of steps.

    def _settle(self) -> None:
        """Start the creations that are called for, and see whether that was the end."""
        if self.phase is OPEN:
            # Not to ask saves most: while nobody waits and there is no floor, nothing is to start.
            if self.size < self.limits.max_size and (self._queue or self.limits.min_size):
                for _ in range(creations_to_start(self.limits, self.counts())):
                    record: Record[T] = Record(self.generation)
                    self.size += 1
                    self.creating += 1
                    self.alive[self.generation] = self.alive.get(self.generation, 0) + 1
                    self.work.append(record)
        elif closing_complete(self.counts()):
            self.phase = Phase.CLOSED

    def _close(self, *records: Record[T]) -> None:
        for record in records:
            record.place = CLOSING
        self.closing += len(records)
        self.work += records

    def _free(self, record: Record[T]) -> None:
        """The slot is free; nothing refers to the resource any more."""
        created, record.place = record.place is not CREATING, GONE
        self.size -= 1
        left = self.alive[record.generation] - 1
        if left:
            self.alive[record.generation] = left
        else:
            del self.alive[record.generation]
        if created:  # its destructor may look at the pool
            del self.leased[id(record.resource)]
            del record.resource

    def _hand_over(self, record: Record[T], now: float) -> None:
        """Give a record that is fit to the head of the queue, or put it on the shelf."""
        if self._queue:
            waiter = self._head()
            waiter.place = record.place = HANDED
            self.pending += 1
            waiter.record = record
            record.busy = waiter
            self.woken.append(waiter)
        else:
            record.place = IDLE
            self._shelf.append(record)
            record.stale_at = now + self.max_idle_time
            if record.stale_at < self.deadline:
                self.deadline = record.stale_at

    def _head(self) -> Waiter[T]:
        """Take the longest-waiting acquirer out of the queue."""
        waiter = self._queue.popleft()
        if self._off_queue:
            self._trim()
        return waiter

    def _trim(self) -> None:
        """Drop who has left from the head of the queue."""
        while self._off_queue and self._queue[0].place is not WAITING:
            self._queue.popleft()
            self._off_queue -= 1

    def _give_back(self, record: Record[T], now: float) -> None:
        """Hand the record on if it is fit, else close it."""
        if record.generation == self.generation and now < record.expires_at:
            self._hand_over(record, now)
        else:
            if record.generation == self.generation:
                self.expired += 1
            self._close(record)
            self._settle()

    def _used(self, record: Record[T], now: float) -> None:
        """The record was used until now, which shows that it is well."""
        if self.check_after_idle is not None:
            record.used_at = now
            record.epoch = self._epoch

    def _grant(self, record: Record[T], ticket: int, now: float) -> Record[T]:
        """The acquirer has the record, once it is checked if there is doubt."""
        limit = self.check_after_idle
        if limit is None or (record.epoch == self._epoch and now - record.used_at < limit):
            return self._hold(record)
        record.place = CHECKING
        self.pending += 1
        record.ticket = ticket
        return record

    def _hold(self, record: Record[T]) -> Record[T]:
        record.place = HELD
        self.acquired += 1
        return record

    def _seek(self, now: float, ticket: int) -> Record[T] | Waiter[T]:
        """The idle record returned last, or a place in the queue, in the order of tickets."""
        if now >= self.deadline:
            self._sweep(now)
        while self._shelf:
            record = self._shelf.pop()
            if record.place is IDLE:
                return self._grant(record, ticket, now)
            self._off_shelf -= 1
        waiter: Waiter[T] = Waiter()
        waiter.place, waiter.ticket = WAITING, ticket
        waiter.record = waiter.error = None
        queue = self._queue
        if queue and queue[-1].ticket > ticket:  # it came earlier, and has to wait again
            behind = next(i for i, later in enumerate(queue) if later.ticket > ticket)
            queue.insert(behind, waiter)
        else:
            queue.append(waiter)
        return waiter

    def _again(self, record: Record[T], ticket: int, now: float) -> Acquired[T]:
        """What an acquirer was given is unfit: close it, and look again ahead of who came later."""
        self._close(record)
        got = self._seek(now, ticket) if self.phase is OPEN else None
        self._settle()
        return got

    def _leave(self, waiter: Waiter[T]) -> None:
        """A waiter leaves the queue unserved. Its entry stays until it surfaces."""
        waiter.place = GONE
        if waiter is self._queue[0]:
            self._queue.popleft()
            self._trim()
            return
        self._off_queue += 1
        if len(self._queue) > 64 and len(self._queue) < 2 * self._off_queue:
            waiting = [waiter for waiter in self._queue if waiter.place is WAITING]
            self._queue.clear()
            self._queue.extend(waiting)
            self._off_queue = 0

    def _tell(self, waiter: Waiter[T], error: BaseException) -> None:
        """The waiter, out of the queue already, ends in an error."""
        waiter.place = GONE
        waiter.error = error
        self.woken.append(waiter)

    def _sweep(self, now: float) -> list[Record[T]]:
        """Close the overdue: all the old, and the longest idle as far as the floor allows."""
        ages, early, shelf = self._ages, self._early, self._shelf
        aged, unused = [], []
        while ages and ages[0].expires_at <= now:
            aged.append(ages.popleft())
        while early and early[0][0] <= now:
            aged.append(heappop(early)[2])
        old = [record for record in aged if record.place is IDLE]
        self._off_shelf += len(old)
        self.expired += len(old)
        self._close(*old)
        spare = prunable(self.limits, self.counts()) if shelf else 0
        while spare and shelf[0].stale_at <= now:
            record = shelf.popleft()
            if record.place is IDLE:
                spare -= 1
                unused.append(record)
            else:
                self._off_shelf -= 1
        self.pruned += len(unused)
        self._close(*unused)
        if len(shelf) > 64 and self._off_shelf > self.idle:
            kept = [record for record in shelf if record.place is IDLE]
            shelf.clear()
            shelf.extend(kept)
            self._off_shelf = 0
        self.deadline = min(
            ages[0].expires_at if ages else NEVER,
            early[0][0] if early else NEVER,
            shelf[0].stale_at if spare else NEVER,
        )
        return old + unused

    def _watch_age(self, record: Record[T]) -> None:
        if record.expires_at < NEVER:
            ages, early = self._ages, self._early
            watched = len(ages) + len(early)
            if watched > 64 and watched > 2 * self.size:
                ages = self._ages = deque(one for one in ages if one.place is not GONE)
                early[:] = [entry for entry in early if entry[2].place is not GONE]
                heapify(early)
            if ages and record.expires_at < ages[-1].expires_at:
                heappush(early, (record.expires_at, self.created, record))
            else:
                ages.append(record)
            self.deadline = min(self.deadline, record.expires_at)

    def _retire(self) -> None:
        """Make everything old: what is idle is closed now, the rest when it comes back."""
        self.generation += 1
        self.doomed = self.creating
        idle = [record for record in self._shelf if record.place is IDLE]
        self._shelf.clear()
        self._off_shelf = 0
        self._close(*idle)

    def _shut(self) -> None:
        self.phase = Phase.CLOSING
        self.floor = OFF
        self._retire()
        for waiter in self._queue:
            if waiter.place is WAITING:
                self._tell(waiter, self.closed_error())
        self._queue.clear()
        self._off_queue = 0

    def closed_error(self) -> ResourcePoolClosedError:
        return ResourcePoolClosedError(
            f"pool {self.name!r} is {self.phase.value}: acquire from a new pool"
        )
