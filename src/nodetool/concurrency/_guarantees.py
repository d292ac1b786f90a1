"""The named guarantees, as predicates of a machine, and of one step of it.

Names are those of ``spec/AsyncResourcePool.tla``. Predicates are pure: a contract evaluates them
again to say what went wrong. They recount by brute force what the machine keeps in numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from . import _counts
from ._counts import Counts, Event, Phase
from ._records import Place, Record, Waiter
from ._state import PoolState

Machine: TypeAlias = PoolState[Any]

IN_USE = (Place.HANDED, Place.CHECKING, Place.HELD, Place.RESETTING)

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
    "CreateSucceeded": (Event.CREATE_SUCCEEDED, Event.DOOMED_CREATE_SUCCEEDED),
    "CreateFailed": (Event.CREATE_FAILED, Event.DOOMED_CREATE_FAILED),
    "CloserEnded": (Event.CLOSER_ENDED,),
    "Sweep": (None, Event.SWEEP),
    "RetryFloor": (None, Event.RETRY_FLOOR),
    "RetireAll": (None, Event.RETIRE_ALL),
    "Close": (None, Event.CLOSE),
    "Terminate": (None, Event.TERMINATE),
}
"""What each action is to the counting model: one of these events, or None, nothing."""

RAISES = {
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


def at(m: Machine, *places: Place) -> list[Record[Any]]:
    """The records with a resource at one of these places."""
    return [record for record in m.leased.values() if record.place in places]


def queue(m: Machine) -> list[Waiter[Any]]:
    """The waiters, longest-waiting first."""
    return [waiter for waiter in m._queue if waiter.place is Place.WAITING]


def new(m: Machine, before: int) -> list[Waiter[Any]]:
    """The waiters that a step has decided."""
    return m.woken[before:]


# Of a state.


def size_within_limit(m: Machine) -> bool:
    """S1, recounted: what is being created, and what is in the table."""
    return m.creating + len(m.leased) <= m.limits.max_size


def single_holder(m: Machine) -> bool:
    """S2: every record is in the table once, and what is idle on the shelf once."""
    shelf = [record for record in m._shelf if record.place is Place.IDLE]
    return (
        all(key == id(record.resource) for key, record in m.leased.items())
        and len({id(record) for record in m.leased.values()}) == len(m.leased)
        and {id(record) for record in shelf} == {id(record) for record in at(m, Place.IDLE)}
        and len(shelf) == m.idle == len(at(m, Place.IDLE))
    )


def nothing_lost(m: Machine) -> bool:
    """S3: every slot is a creation's or a record's in the table; what is handed has a waiter."""
    return m.size == m.creating + len(m.leased) == sum(m.alive.values()) and all(
        record.busy.place is Place.HANDED and record.busy.record is record
        for record in at(m, Place.HANDED)
    )


def ages_are_watched(m: Machine) -> bool:
    """S4: nothing idle grows too old before the deadline, until which nobody looks at ages."""
    return all(record.expires_at >= m.deadline for record in at(m, Place.IDLE))


def nothing_after_close(m: Machine) -> bool:
    """S5."""
    return _counts.nothing_after_close(m.limits, m.counts())


def one_outcome(m: Machine) -> bool:
    """S7: a waiter is in the queue once, and has nothing."""
    waiters = queue(m)
    return (
        m.waiting == len(waiters) == len({id(waiter) for waiter in waiters})
        and all(waiter.record is None and waiter.error is None for waiter in waiters)
        and all(waiter.place is not Place.WAITING for waiter in m.woken)
    )


def outcome_is_final(subject: Record[Any] | Waiter[Any]) -> bool:
    """S7: who timed out, or was cancelled, does not wait any more."""
    return subject.place is not Place.WAITING


def counts_agree(m: Machine) -> bool:
    """S11: the numbers, and the statistics, are those of the records."""
    return (
        _counts.type_ok(m.limits, m.counts())
        and _counts.creating_within_limit(m.limits, m.counts())
        and m.in_use == len(at(m, *IN_USE))
        and m.closing == len(at(m, Place.CLOSING))
        and m.held == len(at(m, Place.HELD))
        and m.released >= 0
    )


def close_waits(m: Machine) -> bool:
    """S12."""
    return _counts.close_waits(m.limits, m.counts())


def close_completes(m: Machine) -> bool:
    """L3 as a state: a pool that is still closing has something left to close."""
    return m.phase is not Phase.CLOSING or m.size > 0


def no_lost_wakeup(m: Machine) -> bool:
    """L1 as a state."""
    return _counts.no_lost_wakeup(m.limits, m.counts())


def floor_kept(m: Machine) -> bool:
    """L4 as a state."""
    return _counts.floor_kept(m.limits, m.counts())


# Of a step: what it did, given what was before.


def counts_moved(m: Machine, before: Counts, events: Sequence[Event | None]) -> bool:
    """S11: the numbers moved as the counting model says of one of the events; None: not at all."""
    after = m.counts()
    most = before.idle + before.in_use
    return any(
        after == before
        if event is None
        else _counts.allowed(m.limits, before, event, k)
        and after == _counts.transition(m.limits, before, event, k)
        for event in events
        for k in range(most + 1)
    )


def statistics_moved(
    m: Machine, before: dict[str, int], action: str, subject: Sequence[Any], work: int
) -> bool:
    """S11: an action raised the statistic that counts it; what grew too old or idle is counted.

    Before the step the statistics were `before`; `work` was the length of the list of work. What
    the step is about is counted only if it comes back, or is to be handed out, too old.
    """
    begun = [r for r in m.work[work:] if r.place is Place.CLOSING and r.generation == m.generation]
    counted = action in ("Release", "ResetPassed", "CheckPassed")
    too_old = sum(counted or record not in subject for record in begun)
    overdue = m.expired - before["expired"] + m.pruned - before["pruned"]
    return overdue == too_old and action_counted(m, before, action)


def action_counted(m: Machine, before: dict[str, int], action: str) -> bool:
    """S11: an action raised the statistic that counts it, and no other action's."""
    others = ("acquired", "expired", "pruned")
    return all(
        value - before[name] == (name == RAISES.get(action))
        for name, value in m.statistics().items()
        if name not in others
    )


def only_fit_handed_out(m: Machine, got: Record[Any] | Waiter[Any] | None, now: float) -> bool:
    """S4: what an acquirer gets is of the present generation and of the allowed age."""
    return not isinstance(got, Record) or (got.generation == m.generation and now < got.expires_at)


def only_current_handed_out(m: Machine, got: Record[Any] | Waiter[Any] | None) -> bool:
    """S4: it is of the present generation; its age was looked at when it was handed over."""
    return not isinstance(got, Record) or got.generation == m.generation


def trust_voided(m: Machine, epoch: int) -> bool:
    """S4: after a failed check nothing that came back before is trusted."""
    return m._epoch > epoch


def retired_stays_retired(record: Record[Any], generation: int) -> bool:
    """S4: its generation is that in which its creation started."""
    return record.generation == generation


def only_fit_kept(m: Machine, record: Record[Any] | None, now: float) -> bool:
    """S4: what came back and is not closed is of the present generation and the allowed age."""
    return (
        record is None
        or record.place not in (Place.IDLE, Place.HANDED)
        or (record.generation == m.generation and now < record.expires_at)
    )


def prune_keeps_floor(m: Machine, before: Counts, pruned: int, expired: int) -> bool:
    """L4: of the idle that were too long idle, only what the floor does not need was closed."""
    taken = m.pruned - pruned
    left = _counts.staying(before) - (m.expired - expired) - taken
    return taken == 0 or left >= m.limits.min_size


def all_retired(m: Machine) -> bool:
    """L7: retire_all takes in everything that exists, and all whose creation has started."""
    young = sum(count for generation, count in m.alive.items() if generation == m.generation)
    return not at(m, Place.IDLE) and young + m.doomed == m.creating


def closed_exactly_once(
    m: Machine,
    closing: list[Record[Any]],
    lent: list[Record[Any]],
    work: int,
    subject: Sequence[Any],
    ends: bool,
) -> bool:
    """S6: a closer is asked for once, stays until it ends, and nobody's resource is closed.

    Before the step `closing` were being closed and `lent` were held; `work` was the length of the
    list of work. The step is about `subject`, whose closer it ends if it `ends` one.
    """
    ended = [record for record in closing if ends and record in subject]
    begun = [record for record in m.work[work:] if record.place is Place.CLOSING]
    before, now = {id(record) for record in closing}, {id(r) for r in at(m, Place.CLOSING)}
    return (
        all(record.place is Place.GONE for record in ended)
        and all(record.place is Place.CLOSING for record in closing if record not in ended)
        and sorted(id(record) for record in begun) == sorted(now - before)
        and all(record.place is not Place.CLOSING for record in lent if record not in subject)
    )


def no_double_release(record: Record[Any], place: Place) -> bool:
    """S8: what was given back was held; the lease is over, a context's as well."""
    return place is Place.HELD and record.place is not Place.HELD and record.lease is None


def fifo_service(m: Machine, head: list[Waiter[Any]], woken: int) -> bool:
    """S9: whoever was handed something was the longest-waiting."""
    served = [waiter for waiter in new(m, woken) if waiter.place is Place.HANDED]
    return served in ([], head)


def fault_isolation(
    m: Machine, held: list[tuple[Record[Any], Place]], of: Record[Any] | None, woken: int
) -> bool:
    """S10: nobody else's resource was touched, and at most one waiter was told."""
    others_same = all(record.place is place for record, place in held if record is not of)
    return others_same and len(new(m, woken)) <= 1


def failure_frees_slot(m: Machine, creating: int) -> bool:
    """L2: if somebody waits without a creation, the slot was used for one."""
    counts = m.counts()
    return (
        m.phase is not Phase.OPEN
        or counts.waiting <= _counts.coming(counts)
        or m.creating >= creating
    )


def waiters_fail_at_close(waiters: list[Waiter[Any]]) -> bool:
    """L5: all are told."""
    return all(waiter.place is Place.GONE and waiter.error is not None for waiter in waiters)


def deadline_kept(subject: Record[Any] | Waiter[Any]) -> bool:
    """L6: whoever's deadline passed does not wait and does not check."""
    return subject.place not in (Place.WAITING, Place.CHECKING)
