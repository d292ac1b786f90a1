"""The pool's state machine. It decides everything and performs nothing.

Laws
    1. Each step is synchronous. It checks its guard, changes the state, and asks for effects.
    2. A step that is not possible raises one of the pool's errors, or does nothing. A step that
       raises changes at most the statistic `rejected`.
    3. While an acquirer waits, no resource is ready. Waiters and idle resources exist only while
       the pool is open.
    4. A waiter is either in the queue, or the machine has decided about it. The machine serves only
       the waiter that has waited longest.
    5. The machine neither hands out nor keeps idle a resource of an old generation. Closing makes
       every generation old.
    6. ``counts`` decides how much work to start, whether a waiter gets an error, how much to prune
       or to shrink, and when closing is complete. No other module repeats these rules.

Theory of operation
    Each action of ``spec/AsyncResourcePool.tla`` that the pool performs has one method. The
    decorator ``@action`` registers it under the action's name, in the specification's order.

    A step leaves its effects in the `Outbox`: waiters to wake, and slots whose work has to start.
    The state of such a slot names the work: CREATING, CHECKING, RESETTING or CLOSING. The runtime
    performs the effects, and reports the end of each piece of work by another step.

    Idle resources are in two queues: the unchecked ones and the ready ones. Each queue is in the
    order in which its resources became idle. All resources in the first queue became idle before
    those in the second, because trust expires in this order.

    Time is an argument of the steps. Until ``outbox.sweep_at`` no idle resource is overdue, so the
    runtime needs no earlier `sweep`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Generic, TypeVar

from nodetool.concurrency._errors import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
)

from . import counts as rules
from .containers import ExpiryQueue, LazyDeque
from .counts import Counts, Floor, Limits, Phase
from .observe import action
from .slots import NEVER, Outbox, Slot, SlotState, Waiter, WaiterState

T = TypeVar("T")

ticket_of = attrgetter("ticket")

OPEN, CLOSED = Phase.OPEN, Phase.CLOSED
OFF, ON, BACKOFF = Floor.OFF, Floor.ON, Floor.BACKOFF
CREATING, CHECKING, IDLE, HANDED = (
    SlotState.CREATING,
    SlotState.CHECKING,
    SlotState.IDLE,
    SlotState.HANDED,
)
HELD, RESETTING, CLOSING, FREE = (
    SlotState.HELD,
    SlotState.RESETTING,
    SlotState.CLOSING,
    SlotState.FREE,
)
WAITING, WAITER_HANDED, DONE = WaiterState.WAITING, WaiterState.HANDED, WaiterState.DONE

REASONS = (
    "late",
    "expired",
    "pruned",
    "surplus",
    "discarded",
    "interrupted",
    "check failed",
    "reset failed",
    "retired",
    "closed down",
)
"""The reasons for which a resource is closed. Each closing has exactly one of them."""


class PoolMachine(Generic[T]):
    """The state of one pool, and one step for each action of the specification."""

    __slots__ = (
        "_acquired",
        "_ages",
        "_alive",
        "_cancelled",
        "_check_after_idle",
        "_checking",
        "_checks",
        "_closed_for",
        "_closing",
        "_created",
        "_creating",
        "_creation_failures",
        "_deadline",
        "_detached",
        "_disowned",
        "_fifo",
        "_floor",
        "_forgotten",
        "_full_size",
        "_generation",
        "_handed",
        "_is_plain",
        "_limits",
        "_max_idle_time",
        "_max_size",
        "_min_size",
        "_name",
        "_outbox",
        "_phase",
        "_prunes",
        "_queue",
        "_ready",
        "_rejected",
        "_resets",
        "_resetting",
        "_retired_checks",
        "_retired_creations",
        "_size",
        "_slots",
        "_tickets",
        "_timeouts",
        "_unchecked",
    )

    def __init__(
        self,
        name: str,
        limits: Limits,
        *,
        max_size: int,
        min_size: int = 0,
        max_idle_time: float = NEVER,
        check_after_idle: float | None = None,
        resets: bool = False,
        fifo: bool = False,
        outbox: Outbox[T] | None = None,
    ) -> None:
        self._name = name
        self._limits = limits
        self._max_size = max_size
        self._min_size = min_size
        # At this size `acquire` queues a waiter at once, because no creation can start. It is -1 if
        # there is a `max_waiting`, which may refuse the waiter.
        self._full_size = max_size if limits.max_waiting is None else -1
        self._max_idle_time = max_idle_time
        self._prunes = max_idle_time < NEVER
        self._checks = check_after_idle is not None
        # How long a resource is trusted, in seconds. Without a check it is trusted for ever.
        self._check_after_idle = NEVER if check_after_idle is None else check_after_idle
        self._resets = resets
        self._fifo = fifo  # whether to use the resource next that was idle for longest
        self._is_plain = not (self._checks or resets or fifo)
        self._outbox: Outbox[T] = Outbox() if outbox is None else outbox

        self._phase = OPEN
        self._floor = OFF
        self._generation = 0  # incremented by retire_all, close and terminate
        self._tickets = 0  # the ticket of the waiter that joined the queue last
        self._deadline = NEVER  # no idle resource is overdue before this time
        self._disowned = 0  # creations and checks in flight that no waiter relies on

        self._slots: dict[int, Slot[T]] = {}  # slots with a resource, by the resource's identity
        self._unchecked: LazyDeque[Slot[T]] = LazyDeque((), IDLE)  # the unchecked ones
        self._ready: LazyDeque[Slot[T]] = LazyDeque((), IDLE)  # the ready ones
        # The first entry of the queue is never a removed one.
        self._queue: LazyDeque[Waiter[T]] = LazyDeque((), WAITING)
        self._ages: ExpiryQueue[Slot[T]] = ExpiryQueue(FREE)  # slots with a finite max_age

        self._size = 0  # slots that are not free
        self._creating = self._retired_creations = 0
        self._checking = self._retired_checks = 0
        self._resetting = 0
        self._closing = 0
        self._handed = 0
        self._alive: dict[int, int] = {}  # how many slots each generation has, oldest first

        # The statistics. `statistics` computes `released` from the others.
        self._acquired = self._detached = self._forgotten = 0
        self._created = self._creation_failures = 0
        self._timeouts = self._cancelled = self._rejected = 0
        self._closed_for = dict.fromkeys(REASONS, 0)

    # Questions. They change nothing.

    @property
    def name(self) -> str:
        """The pool's name, for messages."""
        return self._name

    @property
    def limits(self) -> Limits:
        """The limits that never change."""
        return self._limits

    @property
    def outbox(self) -> Outbox[T]:
        """The effects that the runtime has to perform."""
        return self._outbox

    def counts(self) -> Counts:
        """Return the state in numbers."""
        ready = len(self._ready) - self._ready.removed
        unchecked = len(self._unchecked) - self._unchecked.removed
        others = self._creating + self._checking + self._resetting + self._closing
        return Counts(
            self._creating,
            self._retired_creations,
            self._checking,
            self._retired_checks,
            ready,
            unchecked,
            self._size - ready - unchecked - others,
            self._resetting,
            self._closing,
            len(self._queue) - self._queue.removed,
            self._disowned,
            self._max_size,
            self._min_size,
            self._phase,
            self._floor,
        )

    def size(self) -> int:
        """Count the slots that are not free."""
        return self._size

    def held(self) -> int:
        """Count the slots that are held."""
        return self.counts().in_use - self._handed

    def statistics(self) -> dict[str, int]:
        """Return all statistics by name."""
        discarded = self._closed_for["discarded"] + self._closed_for["interrupted"]
        ended = discarded + self._detached + self._forgotten
        return {
            "waits": self._tickets,
            "acquired": self._acquired,
            "released": self._acquired - self.held() - ended,
            "detached": self._detached,
            "forgotten": self._forgotten,
            "created": self._created,
            "creation_failures": self._creation_failures,
            "timeouts": self._timeouts,
            "cancelled": self._cancelled,
            "rejected": self._rejected,
            **{reason.replace(" ", "_"): n for reason, n in self._closed_for.items()},
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

    def lent(self) -> list[Slot[T]]:
        """List the slots that are held."""
        # Iterate over a copy, because a nested call may change the table meanwhile.
        return [slot for slot in list(self._slots.values()) if slot.state is HELD]

    def finder(self) -> Callable[[int], Slot[T] | None]:
        """Return a function that finds the slot of a resource by the resource's identity."""
        return self._slots.get

    def options(self) -> dict[str, Any]:
        """Return the arguments that make an unused machine with the same options."""
        return {
            "name": self._name,
            "limits": self._limits,
            "max_size": self._max_size,
            "min_size": self._min_size,
            "max_idle_time": self._max_idle_time,
            "check_after_idle": self._check_after_idle if self._checks else None,
            "resets": self._resets,
            "fifo": self._fifo,
        }

    def slots(self) -> list[Slot[T]]:
        """List the slots with a resource."""
        return list(self._slots.values())

    def idle(self) -> list[Slot[T]]:
        """List the idle slots, the one idle for longest first."""
        return [*self._unchecked.members(), *self._ready.members()]

    def waiters(self) -> list[Waiter[T]]:
        """List the waiters in the queue, the longest-waiting one first."""
        return self._queue.members()

    def closed_error(self) -> ResourcePoolClosedError:
        """Make the error of a call to a pool that is closing or closed."""
        return ResourcePoolClosedError(
            f"pool {self._name!r} is {self._phase.value}: acquire from a new pool"
        )

    def invalid_release(self, state: SlotState) -> InvalidReleaseError:
        """Make the error of a release of a slot that is in this state."""
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

    def _exhausted(self) -> ResourcePoolExhaustedError:
        """Make the error of an acquirer that may not wait. Advise on what it would wait for."""
        c, max_creating = self.counts(), self._limits.max_creating
        is_full = self._size >= self._max_size
        found = [f"{c.in_use} in use"] if c.in_use else []
        advice = ["acquire less at once"]
        if is_full and c.in_use:
            advice.append("give back sooner or raise max_size")
        if not is_full:
            advice.append("raise max_creating")
        for function, number, done in (
            ("factory", c.creating, "created"),
            ("check", c.checking, "checked"),
            ("reset", c.resetting, "reset"),
            ("closer", c.closing, "closed"),
        ):
            if number:
                found.append(f"{number} being {done}")
                if is_full or function == "factory":
                    advice.append(f"see why the {function} takes so long")
        return ResourcePoolExhaustedError(
            f"pool {self._name!r}: max_waiting={self._limits.max_waiting} acquirers wait already, "
            f"and no work is in flight for them; max_size={self._max_size}, "
            f"max_creating={max_creating}: {', '.join(found)}. "
            f"To avoid this, {'; '.join(advice)}; or raise max_waiting"
        )

    # Steps of acquirers and holders.

    @action("Acquire")
    def acquire(self, now: float) -> Slot[T] | Waiter[T]:
        """Take a ready resource, or join the queue."""
        # The two common cases come first, because they need neither `_sweep` nor `_settle`.
        ready = self._ready
        if ready:
            if now < self._deadline and (self._is_plain or self._uses_last(now)):
                slot = ready.pop()
                if slot.state is IDLE:
                    slot.state = HELD
                    self._acquired += 1
                    return slot
                ready.removed -= 1
        elif self._size == self._full_size and not self._unchecked and self._phase is OPEN:
            waiter: Waiter[T] = Waiter()
            waiter.state = WAITING
            waiter.ticket = self._tickets = self._tickets + 1
            waiter.slot = waiter.error = None
            self._queue.append(waiter)
            return waiter
        return self._take_or_wait(now)

    def _take_or_wait(self, now: float) -> Slot[T] | Waiter[T]:
        """Acquire in all cases, not only in the common ones."""
        if self._phase is not OPEN:
            raise self.closed_error()
        self._expire_trust(now)
        has_ready = len(self._ready) > self._ready.removed
        is_limited = self._limits.max_waiting is not None
        if is_limited and not has_ready and not rules.may_wait(self._limits, self.counts()):
            self._rejected += 1
            raise self._exhausted()
        if self._floor is OFF:
            self._floor = ON
        if now >= self._deadline:
            self._sweep(now)
        slot = self._take(self._ready)
        if slot is not None:
            slot.state = HELD
            self._acquired += 1
            self._settle()
            return slot
        waiter: Waiter[T] = Waiter()
        waiter.ticket = self._tickets = self._tickets + 1
        self._wait(waiter)
        self._settle()
        return waiter

    @action("Resume")
    def resume(self, waiter: Waiter[T], now: float) -> Slot[T] | Waiter[T] | None:
        """Let an acquirer hold the slot that it was handed, and return the slot.

        If the slot was retired meanwhile, the acquirer waits again, and the result is the waiter.
        If the pool is closing, the acquire fails, and the result is None.
        """
        slot = waiter.slot
        if waiter.state is not WAITER_HANDED or slot is None:
            raise self._refusal("resume", waiter)
        waiter.slot = slot.waiter = None
        self._handed -= 1
        if slot.generation == self._generation:
            waiter.state = DONE
            slot.state = HELD
            self._acquired += 1
            return slot
        self._close((slot,), "retired")
        if self._phase is OPEN:
            self._expire_trust(now)
            if now >= self._deadline:
                self._sweep(now)
            self._wait(waiter)
            self._settle()
            return waiter
        waiter.state = DONE
        self._settle()
        return None

    @action("Timeout")
    def timeout(self, waiter: Waiter[T], error: BaseException | None = None) -> None:
        """End an acquire at its deadline. Wake it with the error, if there is one."""
        if waiter.state is not WAITING:
            raise self._refusal("timeout", waiter)
        self._timeouts += 1
        self._leave(waiter)
        if error is not None:
            self._fail(waiter, error)
        self._settle()

    @action("Cancel")
    def cancel(self, waiter: Waiter[T], now: float) -> None:
        """End a cancelled acquire. If it was handed a slot, the resource comes back."""
        if waiter.state is DONE:
            raise self._refusal("cancel", waiter)
        self._cancelled += 1
        slot = waiter.slot
        if slot is None:
            self._leave(waiter)
        else:
            waiter.slot = slot.waiter = None
            waiter.state = DONE
            self._handed -= 1
            self._return(slot, now)
        self._settle()

    @action("Release")
    def release(self, slot: Slot[T], now: float) -> bool:
        """Reset the resource, hand it over, make it idle, or close it if it is unfit.

        Return whether the runtime has something to do: to perform effects, or to sweep earlier.
        """
        if slot.state is not HELD:
            raise self.invalid_release(slot.state)
        slot.context = None
        # The two common cases come first, because they need neither `_return` nor `_settle`.
        if (
            now < slot.expires_at
            and slot.generation == self._generation
            and self._size <= self._max_size
            and (self._is_plain or self._renews_trust(slot, now))
        ):
            queue = self._queue
            if queue:
                self._hand_to(queue.take_first() if queue.removed else queue.popleft(), slot)
                return True
            slot.state = IDLE
            self._ready.append(slot)
            if self._prunes:
                stale_at = slot.stale_at = now + self._max_idle_time
                if stale_at < self._deadline:
                    self._deadline = self._outbox.sweep_at = stale_at
                    return True
            return False
        if self._resets:
            slot.state = RESETTING
            self._resetting += 1
            self._outbox.work.append(slot)
        else:
            self._return(slot, now)
        self._settle()
        return True

    @action("Discard")
    def discard(
        self, slot: Slot[T], reason: str = "discarded", error: BaseException | None = None
    ) -> None:
        """Close the resource instead of keeping it. The reason may also be ``interrupted``.

        Only observers use the error.
        """
        if slot.state is not HELD:
            raise self.invalid_release(slot.state)
        slot.context = None
        self._close((slot,), reason)
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

    # Steps of the pool's work.

    @action("CreateSucceeded")
    def create_succeeded(
        self, slot: Slot[T], resource: T, now: float, expires_at: float = NEVER
    ) -> None:
        """Hand the new resource over, make it idle, or close it if it was retired."""
        if slot.state is not CREATING:
            raise self._refusal("create_succeeded", slot)
        self._accept(slot, resource)
        if slot.generation != self._generation:
            self._creating -= 1
            self._retired_creations -= 1
            self._close((slot,), "retired")
        else:
            self._floor = ON
            slot.expires_at = expires_at
            if expires_at < NEVER:
                self._ages.add(slot)
                self._lower_deadline(expires_at)
            self._creating -= 1
            self._deliver(slot, now)
        self._cap_disowned()
        self._settle()

    @action("CreateFailed")
    def create_failed(self, slot: Slot[T], error: BaseException) -> bool:
        """Free the slot. Fail the longest-waiting acquirer if the other work cannot serve all.

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
            failed = self._lose(error)
        self._settle()
        return failed

    @action("CreateLate")
    def create_late(self, slot: Slot[T], resource: T, error: BaseException) -> bool:
        """Close a resource that came after the limit, and treat its creation as failed.

        Return whether an acquirer got the error.
        """
        if slot.state is not CREATING or slot.generation != self._generation:
            raise self._refusal("create_late", slot)
        self._accept(slot, resource)
        self._creating -= 1
        self._creation_failures += 1
        self._close((slot,), "late")
        failed = self._lose(error)
        self._settle()
        return failed

    @action("CheckPassed")
    def check_passed(self, slot: Slot[T], now: float) -> None:
        """Hand the resource over, make it idle, or close it if it became unfit meanwhile."""
        if slot.state is not CHECKING:
            raise self._refusal("check_passed", slot)
        self._end_check(slot)
        self._deliver(slot, now)
        self._cap_disowned()
        self._settle()

    @action("CheckFailed")
    def check_failed(self, slot: Slot[T], error: BaseException | None = None) -> None:
        """Close the resource, and withdraw the trust in all idle resources.

        Only observers use the error.
        """
        if slot.state is not CHECKING:
            raise self._refusal("check_failed", slot)
        self._end_check(slot)
        self._close((slot,), "check failed")
        for ready in self._ready.members():
            ready.ready = False
            self._unchecked.append(ready)
        self._ready.clear()
        self._cap_disowned()
        self._settle(failed=True)

    @action("ResetPassed")
    def reset_passed(self, slot: Slot[T], now: float) -> None:
        """Hand the resource over, make it idle, or close it if it is unfit."""
        if slot.state is not RESETTING:
            raise self._refusal("reset_passed", slot)
        self._return(slot, now)
        self._settle()

    @action("ResetFailed")
    def reset_failed(self, slot: Slot[T], error: BaseException | None = None) -> None:
        """Close the resource. Only observers use the error."""
        if slot.state is not RESETTING:
            raise self._refusal("reset_failed", slot)
        self._resetting -= 1
        self._close((slot,), "reset failed")
        self._settle()

    @action("CloserEnded")
    def closer_ended(self, slot: Slot[T], error: BaseException | None = None) -> None:
        """Free the slot. Only observers use the error."""
        if slot.state is not CLOSING:
            raise self._refusal("closer_ended", slot)
        self._closing -= 1
        self._free(slot)
        self._settle()

    # Steps of the pool as a whole.

    @action("Open")
    def open(self) -> None:
        """Start the upkeep of the minimum size."""
        if self._phase is not OPEN:
            raise self.closed_error()
        if self._floor is OFF:
            self._floor = ON
            self._settle()

    @action("Sweep")
    def sweep(self, now: float) -> list[Slot[T]]:
        """Close the overdue idle resources. Return their slots."""
        self._expire_trust(now)
        overdue = self._sweep(now)
        self._settle()
        return overdue

    @action("RetryFloor")
    def retry_floor(self) -> None:
        """End the back-off of the upkeep."""
        if self._floor is BACKOFF:
            self._floor = ON
            self._settle()

    @action("Resize")
    def resize(self, max_size: int, min_size: int) -> list[Slot[T]]:
        """Change the limits. Return the slots of the idle resources that are closed."""
        if self._phase is not OPEN:
            raise self.closed_error()
        self._max_size, self._min_size = max_size, min_size
        if self._limits.max_waiting is None:
            self._full_size = max_size
        closed: list[Slot[T]] = []
        for _ in range(rules.surplus(self.counts())):
            queue = self._unchecked if self._unchecked.live else self._ready
            queue.trim()
            closed.append(queue.take_first())
        self._close(closed, "surplus")
        self._unchecked.trim()
        self._ready.trim()
        if idle := self._unchecked or self._ready:
            # The minimum size may have kept the first one although it is stale. A lower minimum
            # size may no longer keep it, so a sweep must look at it.
            self._lower_deadline(idle[0].stale_at)
        self._settle()
        return closed

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
        """Fail the waiters. Close idle resources now, and the others when they come back."""
        if self._phase is OPEN:
            self._begin_closing()
            self._settle()

    @action("Terminate")
    def terminate(self) -> None:
        """Close, and forget the resources that users hold."""
        if self._phase is OPEN:
            self._begin_closing()
        for slot in list(self._slots.values()):
            if slot.state is HELD:
                slot.context = None
                self._forgotten += 1
                # Keep the resource, because an acquire that has just got it still returns it.
                self._free(slot, keep=True)
        self._settle()

    def grow_old(self, slot: Slot[T], now: float) -> None:
        """Let the age of a resource end now, so that the pool never hands it out again.

        This is the action GrowOld of the specification. If the resource is idle, the next `sweep`
        closes it. Otherwise the pool closes it when it comes back.
        """
        if slot.state is not FREE and slot.state is not CLOSING and slot.expires_at > now:
            slot.expires_at = now
            self._ages.hasten(slot)
            self._lower_deadline(now)

    # Pieces of steps.

    def _refusal(self, step: str, subject: Slot[T] | Waiter[T]) -> InvalidReleaseError:
        state = subject.state.value
        return InvalidReleaseError(f"pool {self._name!r}: {step} is impossible in state {state}")

    def _settle(self, failed: bool = False) -> None:
        """Hand over, start the work that is needed, and see whether closing is complete."""
        if self._phase is OPEN:
            queue = self._queue
            while queue and self._ready and (slot := self._take(self._ready)) is not None:
                self._hand_to(queue.take_first(), slot)
            if queue and self._unchecked:
                for _ in range(rules.checks_to_start(self._limits, self.counts(), failed)):
                    slot = self._take(self._unchecked)
                    assert slot is not None
                    slot.state = CHECKING
                    self._checking += 1
                    self._outbox.work.append(slot)
            if self._size < self._max_size and (queue or self._min_size):
                for _ in range(rules.creations_to_start(self._limits, self.counts())):
                    self._create()
        elif rules.closing_complete(self.counts()):
            self._phase = CLOSED

    def _accept(self, slot: Slot[T], resource: T) -> None:
        """Put a new resource into its slot, and into the table of slots."""
        if id(resource) in self._slots:
            raise DuplicateResourceError(
                f"pool {self._name!r}: the factory returned an object that is in the pool already; "
                "it must return a new one each time"
            )
        self._slots[id(resource)] = slot
        slot.resource = resource
        self._created += 1

    def _lose(self, error: BaseException) -> bool:
        """Note that a creation is lost. Return whether an acquirer fails with its error.

        If the minimum size lacks the creation, the upkeep backs off.
        """
        self._cap_disowned()
        failed = rules.fails_waiter(self.counts())
        if failed:
            self._fail(self._queue.take_first(), error)
        if rules.usable_size(self.counts()) < self._min_size:
            self._floor = BACKOFF
        return failed

    def _create(self) -> None:
        """Make a slot, and ask the runtime for its creation."""
        slot: Slot[T] = Slot(self._generation)
        self._size += 1
        self._creating += 1
        self._alive[self._generation] = self._alive.get(self._generation, 0) + 1
        self._outbox.work.append(slot)

    def _close(self, slots: Iterable[Slot[T]], reason: str) -> None:
        """Ask the runtime for the closers of these slots."""
        for slot in slots:
            slot.state = CLOSING
            if reason == "retired" and self._phase is not OPEN:
                slot.reason = "closed down"
            else:
                slot.reason = reason
            self._closed_for[slot.reason] += 1
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

    def _take(self, queue: LazyDeque[Slot[T]]) -> Slot[T] | None:
        """Take out of a queue the slot that `reuse` names, if there is one."""
        if not self._fifo:
            return queue.take_last()
        queue.trim()
        return queue.take_first() if queue else None

    def _hand_to(self, waiter: Waiter[T], slot: Slot[T]) -> None:
        """Hand a slot over to a waiter that the caller has taken out of the queue."""
        waiter.state = WAITER_HANDED
        slot.state = HANDED
        self._handed += 1
        waiter.slot = slot
        slot.waiter = waiter
        self._outbox.woken.append(waiter)

    def _return(self, slot: Slot[T], now: float) -> None:
        """Make a resource without a holder idle, or close it if it is unfit."""
        if slot.state is RESETTING:
            self._resetting -= 1
        if not self._keeps(slot, now):
            return
        slot.state = IDLE
        slot.stale_at = now + self._max_idle_time
        self._lower_deadline(slot.stale_at)
        self._expire_trust(now)
        slot.ready = self._check_after_idle > 0
        slot.trusted_until = now + self._check_after_idle
        (self._ready if slot.ready else self._unchecked).append(slot)

    def _deliver(self, slot: Slot[T], now: float) -> None:
        """Hand a new or checked resource over, make it idle, or close it if it is unfit."""
        if not self._queue:
            self._return(slot, now)
        elif self._keeps(slot, now):
            self._hand_to(self._queue.take_first(), slot)

    def _keeps(self, slot: Slot[T], now: float) -> bool:
        """Tell whether the pool keeps a resource that comes back. If not, close it."""
        if slot.generation != self._generation:
            reason = "retired"
        elif now >= slot.expires_at:
            reason = "expired"
        elif self._size > self._max_size and rules.is_surplus(self.counts()):
            reason = "surplus"
        else:
            return True
        self._close((slot,), reason)
        return False

    def _end_check(self, slot: Slot[T]) -> None:
        self._checking -= 1
        self._retired_checks -= slot.generation != self._generation

    def _cap_disowned(self) -> None:
        if self._disowned:
            self._disowned = rules.capped(self.counts())

    def _distrusts(self, now: float) -> bool:
        """Tell whether the trust in a ready resource has expired, or the pool never trusts.

        Only a pool with a check asks this.
        """
        first = self._ready[0].trusted_until if self._ready else NEVER
        return self._check_after_idle == 0 or first <= now

    def _uses_last(self, now: float) -> bool:
        """Tell whether an acquire uses the ready resource that came last, without a check."""
        return not self._fifo and not (self._checks and self._distrusts(now))

    def _renews_trust(self, slot: Slot[T], now: float) -> bool:
        """Trust a resource that comes back, unless it needs a reset.

        Return False also if the trust in another ready resource has expired.
        """
        if self._resets or (self._checks and self._distrusts(now)):
            return False
        slot.trusted_until = now + self._check_after_idle
        slot.ready = True
        return True

    def _expire_trust(self, now: float) -> None:
        """Move the ready resources whose trust has expired to the unchecked ones."""
        if self._checks:
            ready = self._ready
            while slot := ready.take_first_if(lambda first: first.trusted_until <= now):
                slot.ready = False
                self._unchecked.append(slot)

    def _lower_deadline(self, time: float) -> None:
        if time < self._deadline:
            self._deadline = self._outbox.sweep_at = time

    def _wait(self, waiter: Waiter[T]) -> None:
        """Let an acquirer join the queue at the position of its ticket."""
        waiter.state = WAITING
        waiter.slot = waiter.error = None
        queue = self._queue
        if queue and queue[-1].ticket > waiter.ticket:  # it waits again
            queue.insert(bisect_left(queue, waiter.ticket, key=ticket_of), waiter)
            queue.trim()
        else:
            queue.append(waiter)

    def _leave(self, waiter: Waiter[T]) -> None:
        """Remove an unserved waiter from the queue."""
        waiter.state = DONE
        queue = self._queue
        if waiter is queue[0]:
            queue.take_first()
        else:
            queue.note_removed()
        if self._creating or self._checking:  # otherwise there is no work to disown
            self._disowned = rules.disown(self.counts())

    def _fail(self, waiter: Waiter[T], error: BaseException) -> None:
        """End an acquire with an error. The caller has taken the waiter out of the queue."""
        waiter.state = DONE
        waiter.error = error
        self._outbox.woken.append(waiter)

    def _sweep(self, now: float) -> list[Slot[T]]:
        """Close all expired idle resources, then the stale ones above the minimum size."""
        ages = self._ages
        expired: list[Slot[T]] = []
        unused: list[Slot[T]] = []
        while (slot := ages.take_expired(now)) is not None:
            if slot.state is IDLE:
                expired.append(slot)
        self._close(expired, "expired")
        # Note all of them at once, because a compaction drops also those that are not noted yet.
        ready = sum(slot.ready for slot in expired)
        self._ready.note_removed(ready)
        self._unchecked.note_removed(len(expired) - ready)
        spare = rules.prunable(self.counts()) if self._prunes else 0
        for queue in (self._unchecked, self._ready):
            while spare > len(unused):
                slot = queue.take_first_if(lambda first: first.stale_at <= now)
                if slot is None:
                    break
                unused.append(slot)
        self._close(unused, "pruned")
        idle = self._unchecked or self._ready  # `take_first_if` has dropped removed entries
        stale_at = idle[0].stale_at if idle and spare > len(unused) else NEVER
        self._deadline = self._outbox.sweep_at = min(ages.next_at(), stale_at)
        return expired + unused

    def _retire(self) -> None:
        """Begin a new generation, and close the idle resources."""
        self._generation += 1
        self._retired_creations = self._creating
        self._retired_checks = self._checking
        self._disowned = 0
        idle = self.idle()
        self._unchecked.clear()
        self._ready.clear()
        self._close(idle, "retired")

    def _begin_closing(self) -> None:
        """Begin to close: fail the waiters and retire everything."""
        self._phase = Phase.CLOSING
        self._floor = OFF
        self._retire()
        self._ages.clear()
        self._deadline = self._outbox.sweep_at = NEVER
        waiters = self._queue.members()
        self._queue.clear()
        for waiter in waiters:
            self._fail(waiter, self.closed_error())
