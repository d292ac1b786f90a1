"""The pool's state machine. It decides everything and performs nothing.

Laws
    1. Each step is synchronous. It checks its guard, changes the state, and leaves effects.
    2. A refused step raises one of the pool's errors. It changes at most the statistic `rejected`.
    3. While an acquirer waits, no resource is idle. Waiters and idle resources exist only while the
       pool is open.
    4. A waiter is either in the queue or decided. Only the longest-waiting acquirer is served.
    5. No resource of an old generation is handed out or becomes idle. Closing makes every
       generation old.
    6. ``counts`` decides how many creations to start, whether a waiter gets an error, how much to
       prune and when closing is complete. No other module repeats these rules.

Theory of operation
    Each action of ``spec/AsyncResourcePool.tla`` that the pool performs has one method. The
    decorator ``@action`` registers it under the action's name, in the specification's order. At the
    bounds of the models, the machine's transition graph has all states of the specification's and
    no other edges. It lacks a recorded number of edges on which time passes (``tests/spec``).

    A step leaves its effects in the `Outbox`: waiters to wake, and slots whose factory (CREATING)
    or closer (CLOSING) has to run. The runtime performs the effects before another task runs. It
    reports the end of each creation and closing by another step.

    The steps of an acquire return an answer. A Waiter is awaited, and then `resume` is called. A
    Slot is checked if it is CHECKING, and ends the acquire if it is HELD. None means that the pool
    is closing.

    Time is an argument of the steps. Before the outbox's `sweep_at`, a `sweep` closes nothing.

    Each step is O(1) amortized, with three exceptions. Sweep, retire_all, close and terminate deal
    with many resources. An acquirer that has to wait again must find its position in the queue. A
    resource that expires before an older one enters a heap.

    `acquire` and `release` handle the common case first, with fewer calls. The general case below
    would take the same edge of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

from nodetool.concurrency._errors import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
)

from .containers import ExpiryQueue, LazyDeque
from .counts import (
    Counts,
    Floor,
    Limits,
    Phase,
    closing_complete,
    creations_to_start,
    fails_waiter,
    may_wait,
    prunable,
    usable_size,
)
from .observe import action
from .slots import NEVER, Outbox, Slot, SlotState, Waiter, WaiterState

T = TypeVar("T")

Answer: TypeAlias = Slot[T] | Waiter[T] | None

OPEN, CLOSED = Phase.OPEN, Phase.CLOSED
OFF, ON, BACKOFF = Floor.OFF, Floor.ON, Floor.BACKOFF
CREATING, IDLE, HANDED, CHECKING = (
    SlotState.CREATING,
    SlotState.IDLE,
    SlotState.HANDED,
    SlotState.CHECKING,
)
HELD, RESETTING, CLOSING, FREE = (
    SlotState.HELD,
    SlotState.RESETTING,
    SlotState.CLOSING,
    SlotState.FREE,
)
WAITING, WAITER_HANDED, DONE = WaiterState.WAITING, WaiterState.HANDED, WaiterState.DONE

REPLACED_REASONS = ("expired", "interrupted", "retired")
"""Reasons that become "retired" or "closed" if the slot is of an old generation."""


class PoolMachine(Generic[T]):
    """The state of one pool, and one step for each action of the specification."""

    __slots__ = (
        "_acquired",
        "_ages",
        "_alive",
        "_cancelled",
        "_check_after_idle",
        "_check_failures",
        "_closing",
        "_created",
        "_creating",
        "_creation_failures",
        "_deadline",
        "_detached",
        "_discarded",
        "_epoch",
        "_expired",
        "_floor",
        "_forgotten",
        "_full_size",
        "_generation",
        "_idle",
        "_limits",
        "_max_idle_time",
        "_name",
        "_outbox",
        "_pending",
        "_phase",
        "_pruned",
        "_queue",
        "_rejected",
        "_reset_failures",
        "_resets",
        "_retired_creations",
        "_size",
        "_slots",
        "_tickets",
        "_timeouts",
    )

    def __init__(
        self,
        name: str,
        limits: Limits,
        *,
        max_idle_time: float = NEVER,
        check_after_idle: float | None = None,
        resets: bool = False,
        outbox: Outbox[T] | None = None,
    ) -> None:
        self._name = name
        self._limits = limits
        self._max_idle_time = max_idle_time
        self._check_after_idle = check_after_idle  # None: there is no check
        self._resets = resets
        # At this size, an acquirer that finds nothing idle joins the queue.
        self._full_size = limits.max_size if limits.max_waiting is None else NEVER
        self._outbox: Outbox[T] = Outbox() if outbox is None else outbox

        self._phase = OPEN
        self._floor = OFF
        self._generation = 0  # incremented by retire_all, close and terminate
        self._epoch = 0  # how many checks have failed; a use in an earlier epoch gives no trust
        self._tickets = 0  # the last ticket; the common case of an acquire takes none
        self._deadline = NEVER  # no idle resource is overdue before this time

        self._slots: dict[int, Slot[T]] = {}  # slots with a resource, by the resource's identity
        self._idle: LazyDeque[Slot[T]] = LazyDeque((), IDLE)  # the resource used last is last
        self._queue: LazyDeque[Waiter[T]] = LazyDeque((), WAITING)  # its first entry counts
        self._ages: ExpiryQueue[Slot[T]] = ExpiryQueue(FREE)  # slots that expire

        self._size = 0  # slots that are not free
        self._creating = 0
        self._retired_creations = 0
        self._closing = 0
        self._pending = 0  # slots in use that are not held: handed over, checking or resetting
        self._alive: dict[int, int] = {}  # how many slots each generation has, oldest first

        # The statistics. `released` follows from them.
        self._acquired = self._discarded = self._detached = self._forgotten = 0
        self._created = self._creation_failures = self._expired = self._pruned = 0
        self._check_failures = self._reset_failures = 0
        self._timeouts = self._cancelled = self._rejected = 0

    # Queries. They change nothing.

    @property
    def name(self) -> str:
        """The pool's name, for messages."""
        return self._name

    @property
    def limits(self) -> Limits:
        """The limits on the numbers."""
        return self._limits

    @property
    def outbox(self) -> Outbox[T]:
        """The effects that the runtime has to perform."""
        return self._outbox

    def options(self) -> dict[str, Any]:
        """Return the arguments that make an equal, unused machine."""
        return {
            "name": self._name,
            "limits": self._limits,
            "max_idle_time": self._max_idle_time,
            "check_after_idle": self._check_after_idle,
            "resets": self._resets,
        }

    def counts(self) -> Counts:
        """Return the state in numbers."""
        idle = len(self._idle) - self._idle.removed
        return Counts(
            self._creating,
            self._retired_creations,
            idle,
            self._size - self._creating - idle - self._closing,
            self._closing,
            len(self._queue) - self._queue.removed,
            self._phase,
            self._floor,
        )

    def size(self) -> int:
        """Count the slots that are not free."""
        return self._size

    def held(self) -> int:
        """Count the slots that are held."""
        idle = len(self._idle) - self._idle.removed
        return self._size - self._creating - idle - self._closing - self._pending

    def released(self) -> int:
        """Count the leases that ended in a release: all leases that ended in no other way."""
        others = self._discarded + self._detached + self._forgotten
        return self._acquired - self.held() - others

    def statistics(self) -> dict[str, int]:
        """Return all statistics by name."""
        return {
            "acquired": self._acquired,
            "released": self.released(),
            "discarded": self._discarded,
            "detached": self._detached,
            "created": self._created,
            "creation_failures": self._creation_failures,
            "expired": self._expired,
            "pruned": self._pruned,
            "check_failures": self._check_failures,
            "reset_failures": self._reset_failures,
            "timeouts": self._timeouts,
            "cancelled": self._cancelled,
            "rejected": self._rejected,
        }

    def is_unused(self) -> bool:
        """Tell whether the machine is in the specification's initial state."""
        return self._phase is OPEN and self._floor is OFF and not (self._size or self._acquired)

    def has_retired(self, generation: int) -> bool:
        """Tell whether a slot of an older generation is left."""
        return next(iter(self._alive), generation) < generation

    def is_retired(self, slot: Slot[T]) -> bool:
        """Tell whether a slot is of an old generation."""
        return slot.generation != self._generation

    def has_idle(self) -> bool:
        """Tell whether a resource is idle."""
        return len(self._idle) > self._idle.removed

    def slots(self) -> list[Slot[T]]:
        """List the slots that have a resource."""
        return list(self._slots.values())

    def lent(self) -> list[Slot[T]]:
        """List the slots that are held, checking or resetting."""
        return [s for s in self.slots() if s.state in (HELD, CHECKING, RESETTING)]

    def finder(self) -> Callable[[int], Slot[T] | None]:
        """Return a function that finds the slot of a resource by the resource's identity."""
        return self._slots.get

    def closed_error(self) -> ResourcePoolClosedError:
        """Make the error of a call that finds the pool closing or closed."""
        return ResourcePoolClosedError(
            f"pool {self._name!r} is {self._phase.value}: acquire from a new pool"
        )

    def invalid_release(self, state: SlotState) -> InvalidReleaseError:
        """Make the error of a release that finds the slot in this state."""
        reason = {
            FREE: "it is not of this pool: never acquired here, or closed, discarded, detached "
            "or forgotten by terminate() since",
            IDLE: "it was released already and is idle now",
            CLOSING: "it was given back already and is being closed",
        }.get(state, "it was released already and the pool is busy with it")
        return InvalidReleaseError(
            f"pool {self._name!r}: cannot release this resource: {reason}; "
            "release each acquired resource exactly once"
        )

    # Steps of acquirers and holders.

    @action("Acquire")
    def acquire(self, now: float) -> Slot[T] | Waiter[T]:
        """Take the idle resource used last, or join the queue."""
        if self._idle:
            if now < self._deadline and self._check_after_idle is None:
                slot = self._idle.pop()
                if slot.state is IDLE:
                    slot.state = HELD
                    self._acquired += 1
                    return slot
                self._idle.removed -= 1
        elif self._size == self._full_size and self._phase is OPEN:
            waiter: Waiter[T] = Waiter()
            waiter.state = WAITING
            waiter.ticket = self._tickets = self._tickets + 1
            waiter.slot = waiter.error = None
            self._queue.append(waiter)
            return waiter
        if self._phase is not OPEN:
            raise self.closed_error()
        limits = self._limits
        limited = limits.max_waiting is not None
        if limited and not self.has_idle() and not may_wait(limits, self.counts()):
            self._rejected += 1
            raise ResourcePoolExhaustedError(
                f"pool {self._name!r}: max_waiting={limits.max_waiting} acquirers wait already "
                f"without a creation; the size is {self._size} of max_size={limits.max_size}; "
                "acquire less at once, give back sooner, or raise max_size or max_waiting"
            )
        if self._floor is OFF:
            self._floor = ON
        self._tickets += 1
        got = self._take_or_wait(now, self._tickets)
        if self._size < limits.max_size:
            self._settle()
        return got

    @action("Resume")
    def resume(self, waiter: Waiter[T], now: float) -> Answer[T]:
        """Let an acquirer hold, check or replace the slot that it was handed."""
        slot = waiter.slot
        if waiter.state is not WAITER_HANDED or slot is None:
            raise self._refusal("resume", waiter)
        waiter.slot = slot.waiter = None
        waiter.state = DONE
        self._pending -= 1
        if slot.generation == self._generation:
            if self._check_after_idle is None or (slot.trusted and slot.epoch == self._epoch):
                slot.state = HELD
                self._acquired += 1
                return slot
            return self._check(slot, waiter.ticket)
        return self._close_and_retry(slot, waiter.ticket, now)

    @action("CheckPassed")
    def check_passed(self, slot: Slot[T], now: float) -> Answer[T]:
        """Give the acquirer its resource, unless it was retired or expired during the check."""
        if slot.state is not CHECKING:
            raise self._refusal("check_passed", slot)
        self._pending -= 1
        if slot.generation != self._generation or now >= slot.expires_at:
            self._expired += slot.generation == self._generation
            return self._close_and_retry(slot, slot.ticket, now)
        slot.state = HELD
        self._acquired += 1
        return slot

    @action("CheckFailed")
    def check_failed(self, slot: Slot[T], now: float) -> Answer[T]:
        """Close the resource, withdraw all trust, and let the acquirer try again."""
        if slot.state is not CHECKING:
            raise self._refusal("check_failed", slot)
        self._pending -= 1
        self._epoch += 1
        self._check_failures += 1
        return self._close_and_retry(slot, slot.ticket, now, "check failed")

    @action("Timeout")
    def timeout(self, subject: Waiter[T] | Slot[T], error: BaseException | None = None) -> None:
        """End an acquire at its deadline: fail the waiter, or close the slot in a check."""
        if subject.state is not WAITING and subject.state is not CHECKING:
            raise self._refusal("timeout", subject)
        self._timeouts += 1
        if isinstance(subject, Waiter):
            self._leave_queue(subject)
            if error is not None:
                self._fail(subject, error)
        else:
            self._pending -= 1
            self._close((subject,), "interrupted")
            self._settle()

    @action("Cancel")
    def cancel(self, subject: Waiter[T] | Slot[T], now: float) -> None:
        """End a cancelled acquire or reset: give back a handed slot, close one in a callback."""
        if isinstance(subject, Waiter):
            if subject.state is DONE:
                raise self._refusal("cancel", subject)
            self._cancelled += 1
            slot = subject.slot
            if slot is None:
                self._leave_queue(subject)
            else:
                subject.slot = slot.waiter = None
                subject.state = DONE
                self._pending -= 1
                self._give_back(slot, now)
        else:
            if subject.state is not CHECKING and subject.state is not RESETTING:
                raise self._refusal("cancel", subject)
            self._cancelled += 1
            self._pending -= 1
            self._close((subject,), "interrupted")
            self._settle()

    @action("Release")
    def release(self, slot: Slot[T], now: float) -> bool:
        """Start the reset if there is one. Else hand the resource over, make it idle, or close it.

        Return whether the runtime has something to do: effects, a reset, or an earlier sweep.
        """
        if slot.state is not HELD:
            raise self.invalid_release(slot.state)
        slot.context = None
        if self._resets:
            slot.state = RESETTING
            self._pending += 1
            return True
        if now < slot.expires_at and slot.generation == self._generation:
            if self._check_after_idle is not None:
                slot.used_at = now
                slot.epoch = self._epoch
            queue = self._queue
            if queue:
                waiter = queue.popleft()
                if queue.removed:
                    queue.trim()
                self._hand_to(waiter, slot, now)
                return True
            slot.state = IDLE
            self._idle.append(slot)
            stale_at = slot.stale_at = now + self._max_idle_time
            if stale_at < self._deadline:
                self._deadline = self._outbox.sweep_at = stale_at
                return True
            return False
        self._give_back(slot, now)
        return True

    @action("ResetPassed")
    def reset_passed(self, slot: Slot[T], now: float) -> None:
        """Hand the resource over, make it idle, or close it if it is unfit."""
        if slot.state is not RESETTING:
            raise self._refusal("reset_passed", slot)
        self._pending -= 1
        self._note_use(slot, now)
        self._give_back(slot, now)

    @action("ResetFailed")
    def reset_failed(self, slot: Slot[T]) -> None:
        """Close the resource."""
        if slot.state is not RESETTING:
            raise self._refusal("reset_failed", slot)
        self._pending -= 1
        self._reset_failures += 1
        self._close((slot,), "reset failed")
        self._settle()

    @action("Discard")
    def discard(self, slot: Slot[T]) -> None:
        """Close the resource instead of keeping it."""
        if slot.state is not HELD:
            raise self.invalid_release(slot.state)
        slot.context = None
        self._discarded += 1
        self._close((slot,), "discarded")
        self._settle()

    @action("Detach")
    def detach(self, slot: Slot[T]) -> None:
        """Let the resource leave the pool for good, unclosed."""
        if slot.state is not HELD:
            raise self.invalid_release(slot.state)
        slot.context = None
        self._detached += 1
        self._free(slot)
        self._settle()

    # Steps of the pool.

    @action("Open")
    def open(self) -> None:
        """Start the upkeep of the minimum size."""
        if self._phase is not OPEN:
            raise self.closed_error()
        if self._floor is OFF:
            self._floor = ON
            self._settle()

    @action("CreateSucceeded")
    def create_succeeded(
        self, slot: Slot[T], resource: T, now: float, expires_at: float = NEVER
    ) -> None:
        """Hand the new resource over, make it idle, or close it if it was retired."""
        if slot.state is not CREATING:
            raise self._refusal("create_succeeded", slot)
        if id(resource) in self._slots:
            raise DuplicateResourceError(
                f"pool {self._name!r}: the factory returned an object that is in the pool already; "
                "it must return a new one each time"
            )
        self._slots[id(resource)] = slot
        slot.resource = resource
        self._creating -= 1
        self._created += 1
        if slot.generation != self._generation:
            self._retired_creations -= 1
            self._close((slot,))
            self._settle()
            return
        self._floor = ON
        slot.expires_at = expires_at
        if expires_at < NEVER:
            self._ages.add(slot)
            self._lower_deadline(expires_at)
        self._note_use(slot, now)
        self._hand_over(slot, now, fresh=True)
        self._settle()

    @action("CreateFailed")
    def create_failed(self, slot: Slot[T], error: BaseException) -> bool:
        """Free the slot. Fail the longest-waiting acquirer if the other creations cannot serve all.

        Return whether an acquirer got the error.
        """
        if slot.state is not CREATING:
            raise self._refusal("create_failed", slot)
        self._creating -= 1
        self._creation_failures += 1
        self._free(slot)
        failed = False
        if slot.generation != self._generation:
            self._retired_creations -= 1
        else:
            failed = fails_waiter(self.counts())
            if failed:
                self._fail(self._queue.take_first(), error)
            if usable_size(self.counts()) < self._limits.min_size:
                self._floor = BACKOFF
        self._settle()
        return failed

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[T]) -> None:
        """Free the slot."""
        if slot.state is not CLOSING:
            raise self._refusal("closer_ended", slot)
        self._closing -= 1
        self._free(slot)
        self._settle()

    @action("Sweep")
    def sweep(self, now: float) -> list[Slot[T]]:
        """Close the overdue idle resources. Return their slots."""
        overdue = self._sweep(now)
        self._settle()
        return overdue

    @action("RetryFloor")
    def retry_floor(self) -> None:
        """End the back-off of the upkeep."""
        if self._floor is BACKOFF:
            self._floor = ON
            self._settle()

    @action("RetireAll")
    def retire_all(self) -> int:
        """Retire everything that exists or is being created. Return the new generation."""
        if self._phase is not OPEN:
            raise self.closed_error()
        self._retire()
        self._settle()
        return self._generation

    @action("Close")
    def close(self) -> None:
        """Fail the waiters, and close idle resources now, the others when they come back."""
        if self._phase is OPEN:
            self._begin_closing()
            self._settle()

    @action("Terminate")
    def terminate(self) -> None:
        """Start to close, and forget the resources that users hold."""
        if self._phase is OPEN:
            self._begin_closing()
        for slot in list(self._slots.values()):
            if slot.state is HELD:
                slot.context = None
                self._forgotten += 1
                # An acquire whose step has just granted the slot still returns the resource.
                self._free(slot, keep=True)
        self._settle()

    # Pieces of steps.

    def _refusal(self, step: str, subject: Slot[T] | Waiter[T]) -> InvalidReleaseError:
        state = subject.state.value
        return InvalidReleaseError(f"pool {self._name!r}: {step} is impossible in state {state}")

    def _settle(self) -> None:
        """Start the creations that are needed, and see whether closing is complete."""
        if self._phase is OPEN:
            # If nobody waits and there is no minimum size, no creation is needed. The condition
            # comes first, because it is cheaper than the rule.
            limits = self._limits
            if self._size < limits.max_size and (self._queue or limits.min_size):
                for _ in range(creations_to_start(limits, self.counts())):
                    slot: Slot[T] = Slot(self._generation)
                    self._size += 1
                    self._creating += 1
                    self._alive[self._generation] = self._alive.get(self._generation, 0) + 1
                    self._outbox.work.append(slot)
        elif closing_complete(self.counts()):
            self._phase = CLOSED

    def _close(self, slots: Iterable[Slot[T]], reason: str = "retired") -> None:
        """Let the runtime run the closers of these slots."""
        for slot in slots:
            slot.state = CLOSING
            if slot.generation != self._generation and reason in REPLACED_REASONS:
                slot.reason = "retired" if self._phase is OPEN else "closed"
            else:
                slot.reason = reason
            self._closing += 1
            self._outbox.work.append(slot)

    def _free(self, slot: Slot[T], keep: bool = False) -> None:
        """Free the slot, and drop its resource unless `keep` is true."""
        had_resource, slot.state = slot.state is not CREATING, FREE
        self._size -= 1
        left = self._alive[slot.generation] - 1
        if left:
            self._alive[slot.generation] = left
        else:
            del self._alive[slot.generation]
        if had_resource:
            del self._slots[id(slot.resource)]
            if not keep:
                del slot.resource

    def _hand_to(self, waiter: Waiter[T], slot: Slot[T], now: float) -> None:
        """Hand a fit slot over to a waiter that has just left the queue."""
        waiter.state = WAITER_HANDED
        slot.state = HANDED
        self._pending += 1
        waiter.slot = slot
        slot.waiter = waiter
        if self._check_after_idle is not None:
            slot.trusted = self._trusts(slot, now)
        self._outbox.woken.append(waiter)

    def _hand_over(self, slot: Slot[T], now: float, fresh: bool = False) -> None:
        """Hand a fit slot over to the longest-waiting acquirer, or make it idle."""
        if self._queue:
            self._hand_to(self._queue.take_first(), slot, now)
            slot.trusted |= fresh  # a fresh resource needs no check if it is handed over at once
            return
        slot.state = IDLE
        self._idle.append(slot)
        slot.stale_at = now + self._max_idle_time
        self._lower_deadline(slot.stale_at)

    def _lower_deadline(self, time: float) -> None:
        if time < self._deadline:
            self._deadline = self._outbox.sweep_at = time

    def _give_back(self, slot: Slot[T], now: float) -> None:
        """Hand over a fit resource that came back or make it idle. Close an unfit one."""
        current = slot.generation == self._generation
        if current and now < slot.expires_at:
            self._hand_over(slot, now)
        else:
            self._expired += current
            self._close((slot,), "expired")
            self._settle()

    def _note_use(self, slot: Slot[T], now: float) -> None:
        """Record that the resource was used until now, which is a reason for trust."""
        if self._check_after_idle is not None:
            slot.used_at = now
            slot.epoch = self._epoch

    def _trusts(self, slot: Slot[T], now: float) -> bool:
        """Tell whether the resource needs no check now."""
        limit = self._check_after_idle
        return limit is None or (slot.epoch == self._epoch and now - slot.used_at < limit)

    def _check(self, slot: Slot[T], ticket: int) -> Slot[T]:
        """Let the acquirer check the resource."""
        slot.state = CHECKING
        self._pending += 1
        slot.ticket = ticket
        return slot

    def _take_or_wait(self, now: float, ticket: int) -> Slot[T] | Waiter[T]:
        """Take the idle resource used last, or join the queue in the order of tickets."""
        if now >= self._deadline:
            self._sweep(now)
        slot = self._idle.take_last()
        if slot is not None:
            if self._trusts(slot, now):
                slot.state = HELD
                self._acquired += 1
                return slot
            return self._check(slot, ticket)
        return self._wait(ticket)

    def _wait(self, ticket: int) -> Waiter[T]:
        """Let an acquirer join the queue at the position of its ticket."""
        waiter: Waiter[T] = Waiter()
        waiter.state = WAITING
        waiter.ticket = ticket
        waiter.slot = waiter.error = None
        queue = self._queue
        if queue and queue[-1].ticket > ticket:  # the acquirer has to wait again
            position = next(i for i, later in enumerate(queue) if later.ticket > ticket)
            queue.insert(position, waiter)
            queue.trim()
        else:
            queue.append(waiter)
        return waiter

    def _close_and_retry(
        self, slot: Slot[T], ticket: int, now: float, reason: str = "expired"
    ) -> Answer[T]:
        """Close an acquirer's unfit resource, and let the acquirer try again."""
        self._close((slot,), reason)
        got = self._take_or_wait(now, ticket) if self._phase is OPEN else None
        self._settle()
        return got

    def _leave_queue(self, waiter: Waiter[T]) -> None:
        """Remove a waiter that was not served from the queue."""
        waiter.state = DONE
        queue = self._queue
        if waiter is queue[0]:
            queue.take_first()
        else:
            queue.note_removed()

    def _fail(self, waiter: Waiter[T], error: BaseException) -> None:
        """End the acquire of a waiter with an error. The waiter has left the queue already."""
        waiter.state = DONE
        waiter.error = error
        self._outbox.woken.append(waiter)

    def _sweep(self, now: float) -> list[Slot[T]]:
        """Close all expired idle resources, then the stale ones above the minimum size."""
        idle, ages = self._idle, self._ages
        expired: list[Slot[T]] = []
        unused: list[Slot[T]] = []
        while (slot := ages.take_expired(now)) is not None:
            if slot.state is IDLE:
                expired.append(slot)
        self._expired += len(expired)
        self._close(expired, "expired")
        idle.note_removed(len(expired))
        spare = prunable(self._limits, self.counts()) if idle else 0
        while spare > len(unused):
            slot = idle.take_first_if(lambda first: first.stale_at <= now)
            if slot is None:
                break
            unused.append(slot)
        self._pruned += len(unused)
        self._close(unused, "pruned")
        stale_at = idle[0].stale_at if idle and spare > len(unused) else NEVER
        self._deadline = self._outbox.sweep_at = min(ages.next_at(), stale_at)
        return expired + unused

    def _retire(self) -> None:
        """Begin a new generation, and close the idle resources."""
        self._generation += 1
        self._retired_creations = self._creating
        idle = self._idle.members()
        self._idle.clear()
        self._close(idle)

    def _begin_closing(self) -> None:
        """Start to close: fail the waiters and retire everything."""
        self._phase = Phase.CLOSING
        self._floor = OFF
        self._retire()
        self._ages.clear()
        self._deadline = self._outbox.sweep_at = NEVER
        waiters = self._queue.members()
        self._queue.clear()
        for waiter in waiters:
            self._fail(waiter, self.closed_error())
