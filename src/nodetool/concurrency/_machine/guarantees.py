"""The guarantees of the pool: their codes, names, words and predicates.

The names are those of ``spec``. S1 to S12 are about safety, and L1 to L8 about liveness. R1 to R10
are rules, which belong to no guarantee alone.

A predicate is about a state of the machine or about one step. It counts by brute force, and does
not trust the numbers that the machine keeps. It calls only public methods, and changes nothing. A
predicate of a step compares the state before the step (`Before`) with the state after it, with the
step's answer and with its effects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from . import counts as rules
from .counts import Counts, Event, Floor, Phase
from .machine import REASONS, PoolMachine
from .slots import NEVER, Slot, SlotState, Waiter, WaiterState

Machine: TypeAlias = PoolMachine[Any]


class Guarantee(NamedTuple):
    """A promise of the pool."""

    code: str
    name: str
    words: str


GUARANTEES = (
    Guarantee(
        "S1",
        "SizeWithinLimit",
        "the size never grows beyond the limit in force; what exceeds a lowered limit is in use, "
        "in work or closing",
    ),
    Guarantee("S2", "SingleHolder", "a resource is in one place, with at most one holder"),
    Guarantee("S3", "NothingLost", "every slot belongs to a live operation or a tracked resource"),
    Guarantee("S4", "OnlyFitHandedOut", "nothing expired, unchecked or retired is handed out"),
    Guarantee("S5", "NothingAfterClose", "once closing starts no acquire succeeds"),
    Guarantee(
        "S6",
        "ClosedExactlyOnce",
        "the closer runs once for each resource, never while it is in use",
    ),
    Guarantee("S7", "OneOutcome", "an acquire ends in a resource, an error or a cancellation"),
    Guarantee(
        "S8",
        "NoDoubleRelease",
        "a release of a resource that nobody holds changes nothing and raises; a release by "
        "another task cannot be told from the holder's",
    ),
    Guarantee("S9", "FifoService", "no acquirer is served before an earlier waiter"),
    Guarantee(
        "S10",
        "FaultIsolation",
        "a failing callback changes only its own resource; the longest-waiting acquirer may get "
        "the error of a creation",
    ),
    Guarantee("S11", "CountsAgree", "every step moves the numbers as the counting module says"),
    Guarantee("S12", "CloseWaits", "closed means that nothing is left"),
    Guarantee(
        "L1",
        "WaiterServed",
        "nobody waits beside a ready resource; nobody waits beside an unchecked one or free room "
        "unless work that is not disowned is in flight for it",
    ),
    Guarantee("L2", "FailureFreesSlot", "a failed creation's slot goes to a waiter without work"),
    Guarantee("L3", "CloseCompletes", "closing ends after all users have given back"),
    Guarantee(
        "L4", "FloorRestored", "below `min_size` leads to `min_size` once the factory recovers"
    ),
    Guarantee("L5", "WaitersFailAtClose", "every waiter gets an error at once when closing starts"),
    Guarantee("L6", "DeadlineKept", "a deadline ends an acquire even if nothing else ever happens"),
    Guarantee("L7", "RetireAllCompletes", "all retired resources are closed in the end"),
    Guarantee("L8", "ShrinkCompletes", "once users give back, the size is within the limit"),
)

RULES = (
    Guarantee(
        "R1", "ReuseOrder", "the resource used last is used next, or with fifo the longest idle"
    ),
    Guarantee(
        "R2",
        "CreationAfterFailedCheck",
        "a waiter gets a check before a creation, and after a failed check a creation first",
    ),
    Guarantee("R3", "PruningKeepsFloor", "pruning closes the longest idle above `min_size`"),
    Guarantee("R4", "FitIsReused", "a fit resource that comes back is reused and not closed"),
    Guarantee("R5", "TerminateForgets", "terminate forgets what users hold, unclosed"),
    Guarantee(
        "R6",
        "FailedCheckWithdrawsTrust",
        "a failed check withdraws the trust in idle resources, and in no others",
    ),
    Guarantee(
        "R7",
        "DirtyIsClosed",
        "a resource is closed if it is discarded or its check or reset fails; none is reused "
        "without its reset",
    ),
    Guarantee("R8", "RetiredStaysRetired", "a slot keeps the generation of its creation"),
    Guarantee("R9", "ReadyAreLast", "idle resources stay in the order in which they became idle"),
    Guarantee("R10", "OneReason", "each closing has exactly one reason, which is true"),
)

IN_USE = (SlotState.HANDED, SlotState.HELD)
OFFERED = (SlotState.IDLE, SlotState.HANDED)  # where a resource goes that came back and is kept

TIME_AT = {
    "Acquire": 0,
    "Resume": 1,
    "Cancel": 1,
    "Release": 1,
    "CreateSucceeded": 2,
    "CheckPassed": 1,
    "ResetPassed": 1,
    "Sweep": 0,
}
"""The position of the time among an action's arguments."""

EVENTS: dict[str, tuple[Event | None, ...]] = {
    "Acquire": (Event.ACQUIRE,),
    "Resume": (None, Event.DISCARD, Event.REQUEUE),
    "Timeout": (Event.LEAVE,),
    "Cancel": (Event.LEAVE, Event.RETURN, Event.DISCARD),
    "Release": (Event.RETURN, Event.RESET, Event.DISCARD),
    "Discard": (Event.DISCARD,),
    "Detach": (Event.DETACH,),
    "CreateSucceeded": (Event.CREATE_SUCCEEDED, Event.RETIRED_CREATE_SUCCEEDED),
    "CreateFailed": (Event.CREATE_FAILED, Event.RETIRED_CREATE_FAILED),
    "CreateLate": (Event.CREATE_LATE,),
    "CheckPassed": (Event.CHECK_PASSED, Event.CHECK_UNFIT, Event.RETIRED_CHECK_UNFIT),
    "CheckFailed": (Event.CHECK_FAILED, Event.RETIRED_CHECK_FAILED),
    "ResetPassed": (Event.RESET_PASSED, Event.RESET_UNFIT),
    "ResetFailed": (Event.RESET_UNFIT,),
    "CloserEnded": (Event.CLOSER_ENDED,),
    "Open": (None, Event.OPEN),
    "Sweep": (None, Event.SWEEP),
    "RetryFloor": (None, Event.RETRY_FLOOR),
    "Resize": (None, Event.RESIZE),
    "RetireAll": (None, Event.RETIRE_ALL),
    "Close": (None, Event.CLOSE),
    "Terminate": (None, Event.TERMINATE),
}
"""The events of the counting model that an action may cause. None: the numbers do not change."""

STATISTIC_OF = {
    "Timeout": "timeouts",
    "Cancel": "cancelled",
    "Release": "released",
    "Detach": "detached",
    "CreateSucceeded": "created",
    "CreateFailed": "creation_failures",
    "CreateLate": "creation_failures",
}
"""The statistic that counts an action. Other statistics count reasons and outcomes."""

GIVEN_REASONS = {
    "Discard": ("discarded", "interrupted"),
    "CreateLate": ("late",),
    "CheckFailed": ("check failed",),
    "ResetFailed": ("reset failed",),
}
"""The possible reasons of a closing, for actions that close their own resource."""


def slots_in(m: Machine, *states: SlotState) -> list[Slot[Any]]:
    """List the slots with a resource that are in one of these states."""
    return [slot for slot in m.slots() if slot.state in states]


class Before(NamedTuple):
    """The state before a step, as far as the predicates need it."""

    action: str
    args: tuple[Any, ...]
    now: float  # the time of the step, or the earliest time if the step gets none
    subject: Slot[Any] | Waiter[Any] | None  # the slot or the waiter that the step gets
    slot: Slot[Any] | None  # this slot, or the slot that this waiter was handed
    slot_state: SlotState | None
    slot_retired: bool
    counts: Counts
    statistics: dict[str, int]
    places: dict[Slot[Any], SlotState]  # the states of the slots with a resource
    owners: dict[Slot[Any], Waiter[Any] | None]  # the waiters of slots in use
    contexts: dict[Slot[Any], object]  # the contexts of held slots
    generations: dict[Slot[Any], int]
    ages: dict[Slot[Any], float]
    idle: list[Slot[Any]]  # the one idle for longest first
    trusted: set[Slot[Any]]  # idle, and trusted at the time of the step
    lapsed: int  # ready slots whose trust has expired at the time of the step
    waiters: list[Waiter[Any]]
    work: int  # slots in the outbox
    woken: int  # waiters in the outbox
    sweep_at: float  # when the runtime sweeps next

    def requested(self, m: Machine, state: SlotState) -> list[Slot[Any]]:
        """List the slots in this state that the step has put into the outbox."""
        return [slot for slot in list(m.outbox.work)[self.work :] if slot.state is state]

    def decided(self, m: Machine) -> list[Waiter[Any]]:
        """List the waiters that the step has put into the outbox."""
        return list(m.outbox.woken)[self.woken :]

    def began(self, m: Machine, state: SlotState) -> list[Slot[Any]]:
        """List the slots with a resource that are in this state now, and were not."""
        return [slot for slot in slots_in(m, state) if self.places.get(slot) is not state]

    def given(self, m: Machine) -> list[Slot[Any]]:
        """List the slots that the step has given to an acquirer."""
        return [
            slot
            for slot in slots_in(m, *IN_USE)
            if self.places.get(slot) not in IN_USE
            or (slot.state is SlotState.HANDED and slot.waiter is not self.owners[slot])
        ]

    def comes_back(self) -> bool:
        """Tell whether a resource that may be kept comes back in the step."""
        if self.action in ("CreateSucceeded", "CheckPassed", "ResetPassed", "Cancel"):
            return self.slot is not None
        return self.action == "Release"

    def over_limit(self, m: Machine) -> bool:
        """Tell whether more existed than the present limit allows, closing resources aside."""
        return rules.lasting(self.counts) > m.counts().max_size


def before(m: Machine, action: str, args: tuple[Any, ...]) -> Before:
    """Record the state before a step."""
    subject = args[0] if args and isinstance(args[0], (Slot, Waiter)) else None
    slot = subject.slot if isinstance(subject, Waiter) else subject
    now = args[TIME_AT[action]] if action in TIME_AT else -NEVER
    slots, idle = m.slots(), m.idle()
    ready = [slot for slot in idle if slot.ready]
    trusted = {slot for slot in ready if now < slot.trusted_until}
    return Before(
        action=action,
        args=args,
        now=now,
        subject=subject,
        slot=slot,
        slot_state=None if slot is None else slot.state,
        slot_retired=slot is not None and m.is_retired(slot),
        counts=m.counts(),
        statistics=m.statistics(),
        places={slot: slot.state for slot in slots},
        owners={slot: slot.waiter for slot in slots if slot.state in IN_USE},
        contexts={slot: slot.context for slot in slots if slot.state is SlotState.HELD},
        generations={slot: slot.generation for slot in slots},
        ages={slot: slot.expires_at for slot in slots},
        idle=idle,
        trusted=trusted,
        lapsed=len(ready) - len(trusted),
        waiters=m.waiters(),
        work=len(m.outbox.work),
        woken=len(m.outbox.woken),
        sweep_at=m.outbox.sweep_at,
    )


# Predicates of a state.


def size_within_limit(m: Machine) -> bool:
    """Check S1: nothing is idle beyond the limit, and there are not too many creations."""
    c = m.counts()
    lasting = c.creating + len(m.slots()) - len(slots_in(m, SlotState.CLOSING))
    fits = lasting <= c.max_size or not slots_in(m, SlotState.IDLE)
    return fits and rules.creating_within_limit(m.limits, c)


def single_holder(m: Machine) -> bool:
    """Check S2: each resource is in one place, and each resource in use has one holder."""
    slots, idle = m.slots(), m.idle()
    return (
        len({id(slot.resource) for slot in slots}) == len(set(slots)) == len(slots)
        and set(idle) == set(slots_in(m, SlotState.IDLE))
        and len(idle) == len(set(idle)) == rules.idle(m.counts())
        and all((slot.waiter is not None) == (slot.state is SlotState.HANDED) for slot in slots)
    )


def nothing_lost(m: Machine) -> bool:
    """Check S3: each slot is creating or in the table, and each handed slot has a waiter."""
    return m.size() == m.counts().creating + len(m.slots()) and all(
        slot.waiter is not None
        and slot.waiter.state is WaiterState.HANDED
        and slot.waiter.slot is slot
        for slot in slots_in(m, SlotState.HANDED)
    )


def ages_are_watched(m: Machine) -> bool:
    """Check S4: no idle resource is overdue before the time of the next sweep."""
    idle = m.idle()
    spare = rules.prunable(m.counts())
    return m.outbox.sweep_at <= min(
        [NEVER, *(slot.expires_at for slot in idle), *(slot.stale_at for slot in idle if spare)]
    )


def nothing_after_close(m: Machine) -> bool:
    """Check S5: once closing starts, nothing is idle, nobody waits, and all work is retired."""
    return rules.nothing_after_close(m.limits, m.counts())


def one_outcome(m: Machine) -> bool:
    """Check S7: each waiter is in the queue once, has no slot, and has no outcome yet."""
    queue = m.waiters()
    return m.counts().waiting == len(queue) == len(set(queue)) and all(
        waiter.slot is None and waiter.error is None and waiter not in m.outbox.woken
        for waiter in queue
    )


def in_order_of_arrival(m: Machine) -> bool:
    """Check S9: the queue is in the order of arrival."""
    tickets = [waiter.ticket for waiter in m.waiters()]
    return all(a < b for a, b in pairwise(tickets))


def counts_agree(m: Machine) -> bool:
    """Check S11: the numbers equal those counted from the slots."""
    c = m.counts()
    found = Counter(slot.state for slot in m.slots())
    ready = sum(slot.ready for slot in m.idle())
    checks = slots_in(m, SlotState.CHECKING)
    return (
        rules.type_ok(m.limits, c)
        and (c.ready, c.unchecked) == (ready, found[SlotState.IDLE] - ready)
        and c.checking == len(checks)
        and c.retired_checks == sum(map(m.is_retired, checks))
        and c.in_use == found[SlotState.HANDED] + found[SlotState.HELD]
        and m.held() == found[SlotState.HELD]
        and c.resetting == found[SlotState.RESETTING]
        and c.closing == found[SlotState.CLOSING]
    )


def statistics_agree(m: Machine) -> bool:
    """Check S11: each resource that was created exists, or has left in exactly one way."""
    found = m.statistics()
    exist = len(m.slots()) - len(slots_in(m, SlotState.CLOSING))
    closed = sum(found[reason.replace(" ", "_")] for reason in REASONS)
    return (
        found["created"] == exist + closed + found["detached"] + found["forgotten"]
        and min(found.values()) >= 0
    )


def close_waits(m: Machine) -> bool:
    """Check S12: a closed pool has nothing left, and a closing one has something left."""
    return rules.close_waits(m.limits, m.counts())


def no_lost_wakeup(m: Machine) -> bool:
    """Check L1: nobody waits beside a ready resource, and no work is missing for a waiter."""
    return rules.no_lost_wakeup(m.limits, m.counts())


def close_completes(m: Machine) -> bool:
    """Check L3: a closing pool has something left to close."""
    return m.counts().phase is not Phase.CLOSING or m.size() > 0


def floor_kept(m: Machine) -> bool:
    """Check L4: during upkeep, creations fill the minimum size if there is room."""
    return rules.floor_kept(m.limits, m.counts())


def retired_are_leaving(m: Machine) -> bool:
    """Check L7: no retired resource is idle. So each is closed when its use or work ends."""
    return not any(map(m.is_retired, m.idle()))


STATE_PREDICATES: tuple[tuple[str, Callable[[Machine], bool]], ...] = (
    ("SizeWithinLimit", size_within_limit),
    ("SingleHolder", single_holder),
    ("NothingLost", nothing_lost),
    ("OnlyFitHandedOut", ages_are_watched),
    ("NothingAfterClose", nothing_after_close),
    ("OneOutcome", one_outcome),
    ("FifoService", in_order_of_arrival),
    ("CountsAgree", counts_agree),
    ("CountsAgree", statistics_agree),
    ("CloseWaits", close_waits),
    ("WaiterServed", no_lost_wakeup),
    ("CloseCompletes", close_completes),
    ("FloorRestored", floor_kept),
    ("RetireAllCompletes", retired_are_leaving),
)
"""Predicates that hold before and after every step."""


# Predicates of every step.


def growth_is_limited(m: Machine, before: Before, result: Any) -> bool:
    """Check S1: the size does not grow beyond the limit in force."""
    size = m.counts().creating + len(m.slots())
    return size <= max(rules.size(before.counts), m.counts().max_size)


def slots_are_freed_by_their_ends(m: Machine, before: Before, result: Any) -> bool:
    """Check S3: only an ended closer, a detach or terminate frees a slot with a resource."""
    left = set(before.places) - set(m.slots())
    match before.action:
        case "CloserEnded" | "Detach":
            return left == {before.slot}
        case "Terminate":
            return all(before.places[slot] is SlotState.HELD for slot in left)
        case _:
            return not left


def only_fit_given(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: each resource that is given is neither retired nor overdue, and needs no check."""
    returned = before.action in ("Cancel", "Release", "ResetPassed")
    spare = rules.usable_size(m.counts()) > m.counts().min_size
    for slot in before.given(m):
        fit = not m.is_retired(slot) and before.now < slot.expires_at
        if before.places.get(slot) is SlotState.IDLE:
            stale = slot.stale_at <= before.now
            fit = fit and slot in before.trusted and not (stale and spare)
        elif returned:
            fit = fit and before.now < slot.trusted_until
        if not fit:
            return False
    return True


def ages_stay(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: only its creation decides when a resource expires."""
    return all(slot.expires_at == at for slot, at in before.ages.items())


def idle_limits_are_set(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: the idle time and the trust of a resource that becomes idle end as configured."""
    options = m.options()
    trust = options["check_after_idle"]
    return all(
        slot.stale_at == before.now + options["max_idle_time"]
        and slot.trusted_until == before.now + (NEVER if trust is None else trust)
        and slot.ready == (before.now < slot.trusted_until)
        for slot in before.began(m, SlotState.IDLE)
    )


def phase_goes_forward(m: Machine, before: Before, result: Any) -> bool:
    """Check S5: the phases only go forward."""
    phases = list(Phase)
    return phases.index(m.counts().phase) >= phases.index(before.counts.phase)


def closed_exactly_once(m: Machine, before: Before, result: Any) -> bool:
    """Check S6: each closer is asked for once, runs to its end, and runs for nothing in use."""
    requested = before.requested(m, SlotState.CLOSING)
    began = before.began(m, SlotState.CLOSING)
    ended = before.slot if before.action == "CloserEnded" else None
    return (
        len(requested) == len(began)
        and set(requested) == set(began)
        and all(
            slot.state is (SlotState.FREE if slot is ended else SlotState.CLOSING)
            for slot, state in before.places.items()
            if state is SlotState.CLOSING
        )
        and all(slot is before.slot or slot in before.idle for slot in began)
    )


def decided_are_woken(m: Machine, before: Before, result: Any) -> bool:
    """Check S7: the step wakes exactly the waiters that it decided, each with an outcome.

    A step may queue a waiter and decide about it at once.
    """
    queued = [result] if isinstance(result, Waiter) else []
    decided = [
        waiter
        for waiter in (*before.waiters, *queued)
        if waiter.state is WaiterState.HANDED
        or (waiter.state is WaiterState.DONE and waiter.error is not None)
    ]
    woken = before.decided(m)
    return (
        sorted(map(id, woken)) == sorted(map(id, decided))
        and all(w.slot is not None for w in woken if w.state is WaiterState.HANDED)
        and all(
            waiter.error is not None or waiter is before.subject
            for waiter in before.waiters
            if waiter.state is WaiterState.DONE
        )
    )


def leases_last(m: Machine, before: Before, result: Any) -> bool:
    """Check S8: no step takes a resource from its holder, except a step of this holder.

    Only terminate ends the leases of all holders.
    """
    return all(
        slot is before.slot
        or (slot.state is before.places[slot] and slot.waiter is owner)
        or (before.action == "Terminate" and before.places[slot] is SlotState.HELD)
        for slot, owner in before.owners.items()
    ) and all(
        slot.context is context
        for slot, context in before.contexts.items()
        if slot.state is SlotState.HELD
    )


def fifo_service(m: Machine, before: Before, result: Any) -> bool:
    """Check S9: the step served the first waiters, and nobody overtook them."""
    queued = [result] if isinstance(result, Waiter) else []
    queue = sorted((*before.waiters, *queued), key=lambda waiter: waiter.ticket)
    served = [w for w in before.decided(m) if w.state is WaiterState.HANDED]
    passed = before.action == "Acquire" and isinstance(result, Slot) and bool(before.waiters)
    return served == queue[: len(served)] and not passed


def moves(m: Machine, before: Before) -> Iterator[tuple[Counts, Event | None, tuple[int, ...]]]:
    """Yield the numbers from which the step may have started, with its events and their choices.

    A step may notice that trust has expired. Until then the machine counts the resource as ready.
    """
    closed = [slot for slot in before.idle if slot.state is SlotState.CLOSING]
    c = before.counts
    noticed = c._replace(ready=c.ready - before.lapsed, unchecked=c.unchecked + before.lapsed)
    for start in {c, noticed}:
        ready = sum(slot in before.trusted or (start is c and slot.ready) for slot in closed)
        for event in EVENTS[before.action]:
            match event:
                case Event.ACQUIRE | Event.REQUEUE | Event.SWEEP:
                    yield start, event, (ready, len(closed) - ready)
                case Event.RESIZE:
                    yield start, event, (*before.args, ready)
                case Event.TERMINATE:
                    yield start, event, (len(before.contexts),)
                case _:  # if the event has a choice, it is whether a resource is ready
                    yield start, event, (0,)
                    yield start, event, (1,)


def counts_moved(m: Machine, before: Before, result: Any) -> bool:
    """Check S11: the numbers moved as the counting model says."""
    after = m.counts()
    return any(
        after == start
        if event is None
        else rules.allowed(m.limits, start, event, *choices)
        and after == rules.transition(m.limits, start, event, *choices)
        for start, event, choices in moves(m, before)
    )


def statistics_moved(m: Machine, before: Before, result: Any) -> bool:
    """Check S11: each statistic counts the results of the step, and nothing else."""
    did = Counter(slot.reason.replace(" ", "_") for slot in before.began(m, SlotState.CLOSING))
    did[STATISTIC_OF.get(before.action, "")] += 1
    did["created"] += before.action == "CreateLate"
    did["acquired"] += isinstance(result, Slot)
    did["waits"] += before.action == "Acquire" and isinstance(result, Waiter)
    did["forgotten"] += len(before.contexts) if before.action == "Terminate" else 0
    return all(n - before.statistics[name] == did[name] for name, n in m.statistics().items())


def work_is_asked_for(m: Machine, before: Before, result: Any) -> bool:
    """Check S11: the step asks for exactly the creations, checks and resets that it began."""
    requested = before.requested(m, SlotState.CREATING)
    ended = before.action in ("CreateSucceeded", "CreateFailed", "CreateLate")
    return (
        len(requested) == m.counts().creating - before.counts.creating + ended
        and len(set(requested)) == len(requested)
        and not any(map(m.is_retired, requested))
        and all(
            sorted(map(id, before.requested(m, state))) == sorted(map(id, before.began(m, state)))
            for state in (SlotState.CHECKING, SlotState.RESETTING)
        )
    )


def nothing_starts_beyond_limit(m: Machine, before: Before, result: Any) -> bool:
    """Check L8: while more exists than the limit allows, nothing is created.

    Resources that come back meanwhile are closed.
    """
    over = before.over_limit(m)
    created = bool(before.requested(m, SlotState.CREATING))
    kept = before.slot is not None and before.slot.state in OFFERED
    return not (over and created) and not (over and before.comes_back() and kept)


def reuse_order(m: Machine, before: Before, result: Any) -> bool:
    """Check R1: each resource taken from the idle ones was next in the order of reuse."""
    came_back = before.comes_back() and before.slot is not None
    order = [*before.idle, *([before.slot] if came_back and before.slot else [])]
    at = {slot: place for place, slot in enumerate(order)}
    idle = [slot for slot in m.idle() if slot in at]
    sign = 1 if m.options()["fifo"] else -1
    for states, ready in (((SlotState.CHECKING,), False), (IN_USE, True)):
        taken = [sign * at[slot] for slot in before.idle if slot.state in states]
        left = [sign * at[slot] for slot in idle if slot.ready is ready]
        if taken and left and max(taken) > min(left):
            return False
    return True


def check_comes_first(m: Machine, before: Before, result: Any) -> bool:
    """Check R2: no creation starts for a waiter while an idle resource could be checked.

    After a failed check no other check starts while there is room for a creation.
    """
    c = m.counts()
    if before.action == "CheckFailed":
        return not before.requested(m, SlotState.CHECKING) or rules.room(m.limits, c) == 0
    needed = rules.usable_size(c) <= c.min_size
    return not before.requested(m, SlotState.CREATING) or c.unchecked == 0 or needed


def generations_stay(m: Machine, before: Before, result: Any) -> bool:
    """Check R8: no slot changes its generation, and a retired creation stays retired."""
    same = all(slot.generation == number for slot, number in before.generations.items())
    slot = before.slot
    return same and not (before.slot_retired and slot is not None and not m.is_retired(slot))


def idle_order_stays(m: Machine, before: Before, result: Any) -> bool:
    """Check R9: idle resources keep their order, and new idle ones come last."""
    now = m.idle()
    stayed = [slot for slot in before.idle if slot.state is SlotState.IDLE]
    return now[: len(stayed)] == stayed


def is_true(m: Machine, before: Before, slot: Slot[Any]) -> bool:
    """Tell whether the reason for which the step closes this slot is true."""
    own = slot is before.slot
    fit = not m.is_retired(slot) and before.now < slot.expires_at
    if own and before.action in GIVEN_REASONS:
        return slot.reason in GIVEN_REASONS[before.action]
    match slot.reason:
        case "retired":
            return m.is_retired(slot) and m.counts().phase is Phase.OPEN
        case "closed down":
            return m.is_retired(slot) and m.counts().phase is not Phase.OPEN
        case "expired":
            return not m.is_retired(slot) and slot.expires_at <= before.now
        case "pruned":
            return not own and fit and slot.stale_at <= before.now
        case _:
            return slot.reason == "surplus" and fit and before.over_limit(m)


def reasons_are_true(m: Machine, before: Before, result: Any) -> bool:
    """Check R10: each closing has one reason, which is true."""
    return all(is_true(m, before, slot) for slot in before.began(m, SlotState.CLOSING))


# Predicates of the steps of some actions.


def held_is_current(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: the acquire returns no resource that was retired meanwhile."""
    return not isinstance(result, Slot) or not m.is_retired(result)


def age_is_kept(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: a new resource expires at the runtime's time."""
    expires_at = before.args[3] if len(before.args) > 3 else NEVER
    slot = before.slot
    return slot is None or slot.state not in OFFERED or slot.expires_at == expires_at


def overdue_are_closed(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: no idle resource is overdue after a sweep."""
    spare = rules.prunable(m.counts())
    return all(
        before.now < slot.expires_at and not (spare and slot.stale_at <= before.now)
        for slot in m.idle()
    )


def nothing_acquired_after_close(m: Machine, before: Before, result: Any) -> bool:
    """Check S5: no acquire succeeds once closing has started."""
    return before.counts.phase is Phase.OPEN or not isinstance(result, Slot)


def closings_are_listed(m: Machine, before: Before, result: Any) -> bool:
    """Check S6: the answer lists exactly the slots that began to close."""
    began = before.began(m, SlotState.CLOSING)
    return len(result) == len(began) and set(result) == set(began)


def outcome_is_final(m: Machine, before: Before, result: Any) -> bool:
    """Check S7: an acquire that timed out or was cancelled is over, and has no slot."""
    waiter = before.subject
    return (
        isinstance(waiter, Waiter)
        and waiter.state is WaiterState.DONE
        and waiter.slot is None
        and waiter not in m.waiters()
    )


def lease_is_over(m: Machine, before: Before, result: Any) -> bool:
    """Check S8: the slot was held, and now neither a holder nor a context has it."""
    return (
        before.slot is not None
        and before.slot_state is SlotState.HELD
        and before.slot.state is not SlotState.HELD
        and before.slot.context is None
    )


def release_answers(m: Machine, before: Before, result: Any) -> bool:
    """Check L1: the answer is true if the runtime has effects to perform, or sweeps earlier."""
    has_effects = len(m.outbox.work) > before.work or bool(before.decided(m))
    return result is True or not (has_effects or m.outbox.sweep_at < before.sweep_at)


def fault_isolation(m: Machine, before: Before, result: Any) -> bool:
    """Check S10: no other resource has changed, except that work may begin on an idle one."""
    return all(
        slot is before.slot
        or slot.state is state
        or (state is SlotState.IDLE and slot.state is SlotState.CHECKING)
        for slot, state in before.places.items()
    )


def nobody_fails(m: Machine, before: Before, result: Any) -> bool:
    """Check S10: the failure of a check or a reset decides about no acquirer."""
    return not before.decided(m)


def failure_goes_to_the_first(m: Machine, before: Before, result: Any) -> bool:
    """Check S10: at most the longest-waiting acquirer gets the error, as the answer says."""
    failed = [waiter for waiter in before.waiters if waiter.state is WaiterState.DONE]
    return (
        failed in ([], before.waiters[:1])
        and before.decided(m) == failed
        and all(waiter.error is before.args[-1] for waiter in failed)
        and result is bool(failed)
    )


def handed_is_kept(m: Machine, before: Before, result: Any) -> bool:
    """Check L1: an acquirer gets the resource that it was handed unless that was retired."""
    return before.slot_retired or result is before.slot


def unneeded_work_is_disowned(m: Machine, before: Before, result: Any) -> bool:
    """Check L1: when a waiter leaves, work that no other waiter needs is disowned."""

    def unneeded(c: Counts) -> int:
        return max(0, rules.relied_on(c) - c.waiting)

    return before.slot is not None or unneeded(m.counts()) <= unneeded(before.counts)


def failure_frees_slot(m: Machine, before: Before, result: Any) -> bool:
    """Check L2: a waiter is without work only if there is no room for another creation."""
    c = m.counts()
    return rules.uncovered(c) == 0 or rules.room(m.limits, c) == 0


def upkeep_begins(m: Machine, before: Before, result: Any) -> bool:
    """Check L4: an open pool keeps the minimum size, now or after a back-off."""
    return m.counts().floor is not Floor.OFF


def backoff_ends(m: Machine, before: Before, result: Any) -> bool:
    """Check L4: the upkeep of the minimum size goes on."""
    return m.counts().floor is not Floor.BACKOFF


def waiters_fail_at_close(m: Machine, before: Before, result: Any) -> bool:
    """Check L5: all waiters got an error."""
    return not m.waiters() and all(
        waiter.state is WaiterState.DONE and waiter.error is not None for waiter in before.waiters
    )


def deadline_kept(m: Machine, before: Before, result: Any) -> bool:
    """Check L6: after its deadline the acquire is over, with the error of the deadline."""
    waiter = before.subject
    error = before.args[1] if len(before.args) > 1 else None
    return isinstance(waiter, Waiter) and waiter.state is WaiterState.DONE and waiter.error is error


def all_retired(m: Machine, before: Before, result: Any) -> bool:
    """Check L7: everything that existed, and every creation and check in flight, is retired.

    The answer is the new generation.
    """
    c = m.counts()
    mine = set(before.requested(m, SlotState.CREATING))
    return (
        not m.idle()
        and all(m.is_retired(slot) and slot.generation < result for slot in m.slots())
        and c.retired_creations == c.creating - len(mine)
        and all(slot.generation == result for slot in mine)
        and c.retired_checks == c.checking
        and m.has_retired(result) == (m.size() > len(mine))
    )


def closing_retires(m: Machine, before: Before, result: Any) -> bool:
    """Check L7: when closing has started, everything that exists is retired."""
    is_open = m.counts().phase is Phase.OPEN
    return not is_open and not m.idle() and all(map(m.is_retired, m.slots()))


def surplus_is_closed(m: Machine, before: Before, result: Any) -> bool:
    """Check L8: a lowered limit closes as many idle resources as needed, longest idle first."""
    c = before.counts
    most = max(0, min(rules.lasting(c) - m.counts().max_size, len(before.idle)))
    return (
        (m.counts().max_size, m.counts().min_size) == before.args
        and result == before.idle[:most]
        and before.idle[most:] == [s for s in before.idle if s.state is not SlotState.CLOSING]
    )


def pruning_keeps_floor(m: Machine, before: Before, result: Any) -> bool:
    """Check R3: pruning closed the longest idle ones, and none that the minimum size needs."""
    closed = before.began(m, SlotState.CLOSING)
    pruned = [slot for slot in closed if slot.reason == "pruned"]
    young = [slot for slot in before.idle if slot.reason != "expired" or slot not in closed]
    left = rules.usable_size(before.counts) - len(closed)
    return not pruned or (left >= m.counts().min_size and set(pruned) == set(young[: len(pruned)]))


def fit_is_reused(m: Machine, before: Before, result: Any) -> bool:
    """Check R4: a fit resource that comes back is closed only because of a lowered limit."""
    slot = before.slot
    return (
        slot is None
        or before.slot_retired
        or before.over_limit(m)
        or slot.expires_at <= before.now
        or slot.state is not SlotState.CLOSING
    )


def terminate_forgets(m: Machine, before: Before, result: Any) -> bool:
    """Check R5: users hold nothing any more, and no resource that they held is closed."""
    return not slots_in(m, SlotState.HELD) and all(
        slot.state is SlotState.FREE and slot.context is None for slot in before.contexts
    )


def trust_withdrawn(m: Machine, before: Before, result: Any) -> bool:
    """Check R6: no idle resource is trusted any more, and resources in use stay in use."""
    return m.counts().ready == 0 and not any(slot.ready for slot in m.idle())


def is_closed(m: Machine, before: Before, result: Any) -> bool:
    """Check R7: the resource is closed, because it must not be used again."""
    return before.slot is not None and before.slot.state is SlotState.CLOSING


def is_reset(m: Machine, before: Before, result: Any) -> bool:
    """Check R7: if there is a reset, a released resource is reset before anything else."""
    return before.slot is not None and (
        (before.slot.state is SlotState.RESETTING) == m.options()["resets"]
    )


StepPredicate: TypeAlias = Callable[[Machine, Before, Any], bool]

EVERY_STEP: tuple[tuple[str, StepPredicate], ...] = (
    ("SizeWithinLimit", growth_is_limited),
    ("NothingLost", slots_are_freed_by_their_ends),
    ("OnlyFitHandedOut", only_fit_given),
    ("OnlyFitHandedOut", ages_stay),
    ("OnlyFitHandedOut", idle_limits_are_set),
    ("NothingAfterClose", phase_goes_forward),
    ("ClosedExactlyOnce", closed_exactly_once),
    ("OneOutcome", decided_are_woken),
    ("NoDoubleRelease", leases_last),
    ("FifoService", fifo_service),
    ("CountsAgree", counts_moved),
    ("CountsAgree", statistics_moved),
    ("CountsAgree", work_is_asked_for),
    ("ShrinkCompletes", nothing_starts_beyond_limit),
    ("ReuseOrder", reuse_order),
    ("CreationAfterFailedCheck", check_comes_first),
    ("RetiredStaysRetired", generations_stay),
    ("ReadyAreLast", idle_order_stays),
    ("OneReason", reasons_are_true),
)
"""Predicates that hold after every step."""

SWEPT = ("OnlyFitHandedOut", overdue_are_closed)
SPARED = ("PruningKeepsFloor", pruning_keeps_floor)
LISTED = ("ClosedExactlyOnce", closings_are_listed)
FINAL = ("OneOutcome", outcome_is_final)
DISOWNED = ("WaiterServed", unneeded_work_is_disowned)
OVER = ("NoDoubleRelease", lease_is_over)
ISOLATED = ("FaultIsolation", fault_isolation)
UNHARMED = ("FaultIsolation", nobody_fails)
FAILED = ("WaitersFailAtClose", waiters_fail_at_close)
RETIRED = ("RetireAllCompletes", closing_retires)
REUSED = ("FitIsReused", fit_is_reused)
DIRTY = ("DirtyIsClosed", is_closed)

STEP_PREDICATES: dict[str, tuple[tuple[str, StepPredicate], ...]] = {
    "Acquire": (SWEPT, SPARED),
    "Resume": (
        ("OnlyFitHandedOut", held_is_current),
        ("NothingAfterClose", nothing_acquired_after_close),
        ("WaiterServed", handed_is_kept),
    ),
    "Timeout": (FINAL, DISOWNED, ("DeadlineKept", deadline_kept)),
    "Cancel": (FINAL, DISOWNED, REUSED),
    "Release": (OVER, REUSED, ("DirtyIsClosed", is_reset), ("WaiterServed", release_answers)),
    "Discard": (OVER, DIRTY),
    "Detach": (OVER,),
    "CreateSucceeded": (("OnlyFitHandedOut", age_is_kept), REUSED),
    "CreateFailed": (
        ISOLATED,
        ("FaultIsolation", failure_goes_to_the_first),
        ("FailureFreesSlot", failure_frees_slot),
    ),
    "CreateLate": (ISOLATED, ("FaultIsolation", failure_goes_to_the_first), DIRTY),
    "CheckPassed": (REUSED,),
    "CheckFailed": (
        ISOLATED,
        UNHARMED,
        ("FailedCheckWithdrawsTrust", trust_withdrawn),
        DIRTY,
    ),
    "ResetPassed": (REUSED,),
    "ResetFailed": (ISOLATED, UNHARMED, DIRTY),
    "CloserEnded": (),
    "Open": (("FloorRestored", upkeep_begins),),
    "Sweep": (SWEPT, SPARED, LISTED),
    "RetryFloor": (("FloorRestored", backoff_ends),),
    "Resize": (LISTED, ("ShrinkCompletes", surplus_is_closed)),
    "RetireAll": (("RetireAllCompletes", all_retired),),
    "Close": (FAILED, RETIRED),
    "Terminate": (FAILED, RETIRED, ("TerminateForgets", terminate_forgets)),
}
"""Predicates that hold after the steps of each action, in addition to `EVERY_STEP`."""
