"""The guarantees as predicates: of a machine's state, and of one step.

The names are those of ``spec/AsyncResourcePool.tla``. The predicates recount by brute force what
the machine keeps in numbers. They are pure, because a check must not change the machine. A step's
predicates compare the state before the step (`Before`) with the state after the step, with the
step's answer and with its effects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from . import counts as rules
from .counts import Counts, Event, Phase
from .machine import PoolMachine
from .slots import NEVER, Slot, SlotState, Waiter, WaiterState

Machine: TypeAlias = PoolMachine[Any]
Subject: TypeAlias = Slot[Any] | Waiter[Any] | None

IN_USE = (SlotState.HANDED, SlotState.CHECKING, SlotState.HELD, SlotState.RESETTING)

EVENTS: dict[str, tuple[Event | None, ...]] = {
    "Acquire": (Event.ACQUIRE,),
    "Resume": (None, Event.DISCARD, Event.REQUEUE),
    "CheckPassed": (None, Event.DISCARD, Event.REQUEUE),
    "CheckFailed": (Event.DISCARD, Event.REQUEUE),
    "Timeout": (Event.LEAVE, Event.DISCARD),
    "Cancel": (Event.LEAVE, Event.GIVE_BACK, Event.DISCARD),
    "Release": (None, Event.GIVE_BACK, Event.DISCARD),
    "ResetPassed": (Event.GIVE_BACK, Event.DISCARD),
    "ResetFailed": (Event.DISCARD,),
    "Discard": (Event.DISCARD,),
    "Detach": (Event.DETACH,),
    "Open": (None, Event.OPEN),
    "CreateSucceeded": (Event.CREATE_SUCCEEDED, Event.RETIRED_CREATE_SUCCEEDED),
    "CreateFailed": (Event.CREATE_FAILED, Event.RETIRED_CREATE_FAILED),
    "CloserEnded": (Event.CLOSER_ENDED,),
    "Sweep": (None, Event.SWEEP),
    "RetryFloor": (None, Event.RETRY_FLOOR),
    "RetireAll": (None, Event.RETIRE_ALL),
    "Close": (None, Event.CLOSE),
    "Terminate": (None, Event.TERMINATE),
}
"""The events of the counting model that each action may be. None: the numbers do not change."""

STATISTIC_OF = {
    "Release": "released",
    "Discard": "discarded",
    "Detach": "detached",
    "CreateSucceeded": "created",
    "CreateFailed": "creation_failures",
    "CheckFailed": "check_failures",
    "ResetFailed": "reset_failures",
    "Timeout": "timeouts",
    "Cancel": "cancelled",
}
"""The statistic that counts an action."""


def slots_in(m: Machine, *states: SlotState) -> list[Slot[Any]]:
    """List the slots with a resource that are in one of these states."""
    return [slot for slot in m.slots() if slot.state in states]


def waiters(m: Machine) -> list[Waiter[Any]]:
    """List the waiters in the queue, longest-waiting first."""
    return [waiter for waiter in m._queue if waiter.state is WaiterState.WAITING]


class Before(NamedTuple):
    """The state before a step, as far as the predicates need it."""

    action: str
    subject: Subject  # the slot or the waiter that the step is about
    args: tuple[Any, ...]
    counts: Counts
    statistics: dict[str, int]
    generation: int
    epoch: int
    subject_state: SlotState | WaiterState | None
    subject_generation: int | None
    handed: Slot[Any] | None  # the slot that the waiter was handed, if the step is about a waiter
    in_use: list[tuple[Slot[Any], SlotState]]
    leases: list[tuple[Slot[Any], object]]  # held slots with their contexts
    closing: list[Slot[Any]]
    waiters: list[Waiter[Any]]
    work: int  # slots in the outbox
    woken: int  # waiters in the outbox

    def wanted(self, m: Machine) -> list[Slot[Any]]:
        """List the slots that the step has put into the outbox."""
        return list(m.outbox.work)[self.work :]

    def decided(self, m: Machine) -> list[Waiter[Any]]:
        """List the waiters that the step has put into the outbox."""
        return list(m.outbox.woken)[self.woken :]


def before(m: Machine, action: str, args: tuple[Any, ...]) -> Before:
    """Record the state before a step."""
    subject = args[0] if args and isinstance(args[0], (Slot, Waiter)) else None
    return Before(
        action=action,
        subject=subject,
        args=args,
        counts=m.counts(),
        statistics=m.statistics(),
        generation=m._generation,
        epoch=m._epoch,
        subject_state=None if subject is None else subject.state,
        subject_generation=subject.generation if isinstance(subject, Slot) else None,
        handed=subject.slot if isinstance(subject, Waiter) else None,
        in_use=[(slot, slot.state) for slot in slots_in(m, *IN_USE)],
        leases=[(slot, slot.context) for slot in slots_in(m, SlotState.HELD)],
        closing=slots_in(m, SlotState.CLOSING),
        waiters=waiters(m),
        work=len(m.outbox.work),
        woken=len(m.outbox.woken),
    )


# Predicates of a state.


def size_within_limit(m: Machine) -> bool:
    """Check S1 by a recount: creations and slots with a resource."""
    return m._creating + len(m.slots()) <= m.limits.max_size


def single_holder(m: Machine) -> bool:
    """Check S2: each slot is in the table once, and each idle slot among the idle ones once."""
    idle = m._idle.members()
    return (
        all(key == id(slot.resource) for key, slot in m._slots.items())
        and len({id(slot) for slot in m.slots()}) == len(m.slots())
        and {id(slot) for slot in idle} == {id(slot) for slot in slots_in(m, SlotState.IDLE)}
        and len(idle) == m.counts().idle == len(slots_in(m, SlotState.IDLE))
    )


def nothing_lost(m: Machine) -> bool:
    """Check S3: each slot is in creation or in the table, and each handed slot has a waiter."""
    return m.size() == m._creating + len(m.slots()) == sum(m._alive.values()) and all(
        slot.waiter is not None
        and slot.waiter.state is WaiterState.HANDED
        and slot.waiter.slot is slot
        for slot in slots_in(m, SlotState.HANDED)
    )


def ages_are_watched(m: Machine) -> bool:
    """Check S4: no idle resource is overdue before the deadline. The outbox has that deadline."""
    spare = rules.prunable(m.limits, m.counts())
    stale = [slot.stale_at for slot in m._idle.members()[:1]] if spare else []
    ages = [slot.expires_at for slot in slots_in(m, SlotState.IDLE)]
    return m.outbox.sweep_at == m._deadline <= min([*ages, *stale, m._deadline])


def nothing_after_close(m: Machine) -> bool:
    """Check S5: once closing starts, nothing is idle and nobody waits."""
    return rules.nothing_after_close(m.limits, m.counts())


def one_outcome(m: Machine) -> bool:
    """Check S7: each waiter is in the queue once, has nothing, and is not decided."""
    queue = waiters(m)
    return (
        m.counts().waiting == len(queue) == len({id(waiter) for waiter in queue})
        and all(waiter.slot is None and waiter.error is None for waiter in queue)
        and all(waiter.state is not WaiterState.WAITING for waiter in m.outbox.woken)
    )


def counts_agree(m: Machine) -> bool:
    """Check S11: the numbers and the statistics are those of the slots."""
    c = m.counts()
    return (
        rules.type_ok(m.limits, c)
        and rules.creating_within_limit(m.limits, c)
        and c.in_use == len(slots_in(m, *IN_USE))
        and c.closing == len(slots_in(m, SlotState.CLOSING))
        and m.held() == len(slots_in(m, SlotState.HELD))
        and m.released() >= 0
    )


def close_waits(m: Machine) -> bool:
    """Check S12: a closed pool has nothing left, and a closing one has something left."""
    return rules.close_waits(m.limits, m.counts())


def close_completes(m: Machine) -> bool:
    """Check L3 as a state: a closing pool has something left to close."""
    return m.counts().phase is not Phase.CLOSING or m.size() > 0


def no_lost_wakeup(m: Machine) -> bool:
    """Check L1 as a state: nobody waits beside an idle resource or free room."""
    return rules.no_lost_wakeup(m.limits, m.counts())


def floor_kept(m: Machine) -> bool:
    """Check L4 as a state: during upkeep, creations fill the minimum size if there is room."""
    return rules.floor_kept(m.limits, m.counts())


STATE_PREDICATES: tuple[tuple[str, Callable[[Machine], bool]], ...] = (
    ("SizeWithinLimit", size_within_limit),
    ("SingleHolder", single_holder),
    ("NothingLost", nothing_lost),
    ("OnlyFitHandedOut", ages_are_watched),
    ("NothingAfterClose", nothing_after_close),
    ("OneOutcome", one_outcome),
    ("CountsAgree", counts_agree),
    ("CloseWaits", close_waits),
    ("CloseCompletes", close_completes),
    ("WaiterServed", no_lost_wakeup),
    ("FloorRestored", floor_kept),
)
"""Predicates that hold before and after every step."""


# Predicates of a step.


def counts_moved(m: Machine, before: Before, result: Any) -> bool:
    """Check S11: the numbers moved as the counting model says."""
    after = m.counts()
    most = before.counts.idle + before.counts.in_use
    return any(
        after == before.counts
        if event is None
        else rules.allowed(m.limits, before.counts, event, k)
        and after == rules.transition(m.limits, before.counts, event, k)
        for event in EVENTS[before.action]
        for k in range(most + 1)
    )


def statistics_moved(m: Machine, before: Before, result: Any) -> bool:
    """Check S11: closings for age or idleness are counted as such, and nothing else is.

    The step's own slot is counted only if its resource is too old when it comes back or when it
    should be handed out.
    """
    begun = [
        slot
        for slot in before.wanted(m)
        if slot.state is SlotState.CLOSING and slot.generation == m._generation
    ]
    of_age = before.action in ("Release", "ResetPassed", "CheckPassed")
    overdue = sum(of_age or slot is not before.subject for slot in begun)
    now = m.statistics()
    counted = sum(now[name] - before.statistics[name] for name in ("expired", "pruned"))
    return counted == overdue and action_counted(m, before, result)


def action_counted(m: Machine, before: Before, result: Any) -> bool:
    """Check S11: an action raised the statistic that counts it, and no other action's."""
    others = ("acquired", "expired", "pruned")
    return all(
        value - before.statistics[name] == (name == STATISTIC_OF.get(before.action))
        for name, value in m.statistics().items()
        if name not in others
    )


def creations_are_asked_for(m: Machine, before: Before, result: Any) -> bool:
    """Check S11: the step put exactly the creations into the outbox that the numbers gained."""
    asked = [slot for slot in before.wanted(m) if slot.state is SlotState.CREATING]
    ended = before.action in ("CreateSucceeded", "CreateFailed")
    return (
        len(asked) == m.counts().creating - before.counts.creating + ended
        and len({id(slot) for slot in asked}) == len(asked)
        and all(slot.generation == m._generation for slot in asked)
    )


def closed_exactly_once(m: Machine, before: Before, result: Any) -> bool:
    """Check S6: each closer is in the outbox once, and no held resource is closed.

    The step put exactly the slots into the outbox that began to close.
    """
    ends = Event.CLOSER_ENDED in EVENTS[before.action]
    ended = [slot for slot in before.closing if ends and slot is before.subject]
    asked = [slot for slot in before.wanted(m) if slot.state is SlotState.CLOSING]
    was, now = ({id(slot) for slot in before.closing}, slots_in(m, SlotState.CLOSING))
    return (
        all(slot.state is SlotState.FREE for slot in ended)
        and all(slot.state is SlotState.CLOSING for slot in before.closing if slot not in ended)
        and sorted(id(slot) for slot in asked) == sorted({id(slot) for slot in now} - was)
        and all(
            slot.state is not SlotState.CLOSING
            for slot, state in before.in_use
            if state is SlotState.HELD and slot is not before.subject
        )
    )


def decided_are_woken(m: Machine, before: Before, result: Any) -> bool:
    """Check S7: the step wakes exactly the waiters that it decided, each with an outcome."""
    decided = [
        waiter
        for waiter in before.waiters
        if waiter.state is WaiterState.HANDED
        or (waiter.state is WaiterState.DONE and waiter.error is not None)
    ]
    left = [waiter for waiter in before.waiters if waiter.state is WaiterState.DONE]
    return sorted(map(id, before.decided(m))) == sorted(map(id, decided)) and all(
        waiter.error is not None or waiter is before.subject for waiter in left
    )


def outcome_is_final(m: Machine, before: Before, result: Any) -> bool:
    """Check S7: an acquire that timed out or was cancelled does not wait any more."""
    return before.subject is not None and before.subject.state is not WaiterState.WAITING


def only_fit_granted(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: the granted resource is of the present generation and has not expired."""
    now = before.args[-1]
    return not isinstance(result, Slot) or (
        result.generation == m._generation and now < result.expires_at
    )


def only_current_granted(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: the granted resource is of the present generation. Its age was checked before."""
    return not isinstance(result, Slot) or result.generation == m._generation


def only_fit_kept(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: a resource that came back and is kept is of the present generation and age."""
    slot = before.handed if isinstance(before.subject, Waiter) else before.subject
    now = before.args[2] if before.action == "CreateSucceeded" else before.args[1]
    return (
        not isinstance(slot, Slot)
        or slot.state not in (SlotState.IDLE, SlotState.HANDED)
        or (slot.generation == m._generation and now < slot.expires_at)
    )


def retired_stays_retired(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: the slot's generation is that in which its creation started."""
    return (
        not isinstance(before.subject, Slot)
        or before.subject.generation == before.subject_generation
    )


def age_is_kept(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: the resource expires at the runtime's time, and the machine watches that time."""
    slot = before.subject
    assert isinstance(slot, Slot)
    if slot.state not in (*IN_USE, SlotState.IDLE):
        return True
    expires_at = before.args[3] if len(before.args) > 3 else NEVER
    return slot.expires_at == expires_at and (expires_at == NEVER or slot in list(m._ages))


def trust_withdrawn(m: Machine, before: Before, result: Any) -> bool:
    """Check S4: after a failed check no earlier use is a reason for trust."""
    return m._epoch > before.epoch


def lease_is_over(m: Machine, before: Before, result: Any) -> bool:
    """Check S8: the slot was held, and now neither a holder nor a context has it."""
    slot = before.subject
    return (
        isinstance(slot, Slot)
        and before.subject_state is SlotState.HELD
        and slot.state is not SlotState.HELD
        and slot.context is None
    )


def leases_last(m: Machine, before: Before, result: Any) -> bool:
    """Check S8: a slot that stays held keeps the context that holds its lease."""
    return all(
        slot.context is context for slot, context in before.leases if slot.state is SlotState.HELD
    )


def release_answers(m: Machine, before: Before, result: Any) -> bool:
    """Check S8: the answer is true if there are effects or a reset."""
    effects = bool(before.wanted(m) or before.decided(m))
    resets = isinstance(before.subject, Slot) and before.subject.state is SlotState.RESETTING
    return result is True or not (effects or resets)


def fifo_service(m: Machine, before: Before, result: Any) -> bool:
    """Check S9: only the longest-waiting acquirer was handed a slot."""
    served = [w for w in before.decided(m) if w.state is WaiterState.HANDED]
    return served in ([], before.waiters[:1])


def fault_isolation(m: Machine, before: Before, result: Any) -> bool:
    """Check S10: no other resource in use has changed, and at most one waiter was decided."""
    same = all(slot.state is state for slot, state in before.in_use if slot is not before.subject)
    return same and len(before.decided(m)) <= 1


def failure_is_reported(m: Machine, before: Before, result: Any) -> bool:
    """Check S10: the answer says whether an acquirer got the error, which is unchanged."""
    failed = [w for w in before.decided(m) if w.state is WaiterState.DONE]
    return result is bool(failed) and all(w.error is before.args[1] for w in failed)


def failure_frees_slot(m: Machine, before: Before, result: Any) -> bool:
    """Check L2: if an acquirer waits without a creation, the slot was used for one."""
    c = m.counts()
    return (
        c.phase is not Phase.OPEN
        or c.waiting <= rules.usable_creations(c)
        or c.creating >= before.counts.creating
    )


def prune_keeps_floor(m: Machine, before: Before, result: Any) -> bool:
    """Check L4: pruning closed only what the minimum size does not need."""
    now = m.statistics()
    pruned = now["pruned"] - before.statistics["pruned"]
    expired = now["expired"] - before.statistics["expired"]
    left = rules.usable_size(before.counts) - expired - pruned
    return pruned == 0 or left >= m.limits.min_size


def sweep_answers(m: Machine, before: Before, result: Any) -> bool:
    """Check S6: the answer lists exactly the slots that began to close."""
    asked = [slot for slot in before.wanted(m) if slot.state is SlotState.CLOSING]
    return sorted(map(id, result)) == sorted(map(id, asked))


def waiters_fail_at_close(m: Machine, before: Before, result: Any) -> bool:
    """Check L5: all waiters got an error."""
    return all(
        waiter.state is WaiterState.DONE and waiter.error is not None for waiter in before.waiters
    )


def deadline_kept(m: Machine, before: Before, result: Any) -> bool:
    """Check L6: after its deadline the acquire neither waits nor checks."""
    return before.subject is not None and before.subject.state not in (
        WaiterState.WAITING,
        SlotState.CHECKING,
    )


def all_retired(m: Machine, before: Before, result: Any) -> bool:
    """Check L7: everything that existed, and every creation in flight, is retired.

    The answer is the new generation.
    """
    c = m.counts()
    current = m._alive.get(m._generation, 0)
    return (
        not slots_in(m, SlotState.IDLE)
        and current + c.retired_creations == c.creating
        and result == m._generation == before.generation + 1
    )


StepPredicate: TypeAlias = Callable[[Machine, Before, Any], bool]

EVERY_STEP: tuple[tuple[str, StepPredicate], ...] = (
    ("CountsAgree", counts_moved),
    ("CountsAgree", statistics_moved),
    ("CountsAgree", creations_are_asked_for),
    ("ClosedExactlyOnce", closed_exactly_once),
    ("OneOutcome", decided_are_woken),
    ("NoDoubleRelease", leases_last),
)
"""Predicates that hold after every step."""

FIFO = ("FifoService", fifo_service)
GRANTED = ("OnlyFitHandedOut", only_fit_granted)
KEPT = ("OnlyFitHandedOut", only_fit_kept)
STAYS_RETIRED = ("OnlyFitHandedOut", retired_stays_retired)
ISOLATED = ("FaultIsolation", fault_isolation)
OVER = ("NoDoubleRelease", lease_is_over)
FINAL = ("OneOutcome", outcome_is_final)
SPARED = ("FloorRestored", prune_keeps_floor)
FAILED = ("WaitersFailAtClose", waiters_fail_at_close)

STEP_PREDICATES: dict[str, tuple[tuple[str, StepPredicate], ...]] = {
    "Acquire": (GRANTED, SPARED),
    "Resume": (("OnlyFitHandedOut", only_current_granted), FIFO),
    "CheckPassed": (GRANTED, FIFO),
    "CheckFailed": (GRANTED, ("OnlyFitHandedOut", trust_withdrawn), ISOLATED, FIFO),
    "Timeout": (FINAL, ("DeadlineKept", deadline_kept)),
    "Cancel": (KEPT, FINAL, FIFO),
    "Release": (KEPT, STAYS_RETIRED, OVER, ("NoDoubleRelease", release_answers), FIFO),
    "ResetPassed": (KEPT, STAYS_RETIRED, FIFO),
    "ResetFailed": (ISOLATED,),
    "Discard": (OVER,),
    "Detach": (OVER,),
    "Open": (),
    "CreateSucceeded": (KEPT, STAYS_RETIRED, ("OnlyFitHandedOut", age_is_kept), FIFO),
    "CreateFailed": (
        ("FailureFreesSlot", failure_frees_slot),
        ("FaultIsolation", failure_is_reported),
        ISOLATED,
    ),
    "CloserEnded": (),
    "Sweep": (SPARED, ("ClosedExactlyOnce", sweep_answers)),
    "RetryFloor": (),
    "RetireAll": (("RetireAllCompletes", all_retired),),
    "Close": (FAILED,),
    "Terminate": (FAILED,),
}
"""Predicates that hold after the steps of each action, in addition to `EVERY_STEP`."""
