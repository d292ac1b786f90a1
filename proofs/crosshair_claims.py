"""What CrossHair confirms of ``_counts``, for every size: no number here has a bound.

A claim is a function that CrossHair calls with symbolic arguments. `pre` says what is assumed; the
answer is the name of what is violated, and `post` claims that nothing is. Each event has one claim:
from any counts that satisfy every invariant, under any limits, the event leads to counts that
satisfy every invariant, and the phase does not go back. With the claim Init, all that can be
reached satisfies the invariants. The other claims are consequences, each assuming only the
invariants that it needs.

Not by leading asserts: CrossHair takes every one of them for an assumption, and would not notice
assumptions that contradict each other. An unsatisfiable `pre` is told.

A bug is such a claim about a wrong `transition`; it names the invariant that must be violated.
"""

from __future__ import annotations

from collections.abc import Callable

from nodetool.concurrency import _counts
from nodetool.concurrency._machine.counts import (
    Counts,
    Event,
    Floor,
    Limits,
    Phase,
    allowed,
    size,
    transition,
)

__all__ = ["BUGS", "CLAIMS", "FAST", "FAST_BUGS"]

Claim = Callable[..., str]
Transition = Callable[[Limits, Counts, Event, int], Counts]

PHASES = (Phase.OPEN, Phase.CLOSING, Phase.CLOSED)


def well_formed(limits: Limits) -> bool:
    """What PoolCounts.tla assumes of its constants; None is a max_waiting without end."""
    return (
        0 <= limits.min_size <= limits.max_size
        and 1 <= limits.max_creating <= limits.max_size
        and (limits.max_waiting is None or limits.max_waiting >= 1)
    )


def violated(limits: Limits, c: Counts) -> str:
    """The first invariant that does not hold, or nothing."""
    return next((name for name, holds in _counts.INVARIANTS.items() if not holds(limits, c)), "")


def preserved_by(event: Event, step: Transition = transition) -> Claim:
    """The claim that an event preserves every invariant, and PhaseForward."""

    def claim(limits: Limits, c: Counts, k: int) -> str:
        """
        pre: allowed(limits, c, event, k) and well_formed(limits) and not violated(limits, c)
        post: _ == ""
        """
        after = step(limits, c, event, k)
        back = PHASES.index(after.phase) < PHASES.index(c.phase)
        return "PhaseForward" if back else violated(limits, after)

    return claim


def init(limits: Limits) -> str:
    """The new pool satisfies every invariant.

    pre: well_formed(limits)
    post: _ == ""
    """
    return violated(limits, Counts(0, 0, 0, 0, 0, 0, Phase.OPEN, Floor.OFF))


def max_size_is_never_exceeded(limits: Limits, c: Counts) -> str:
    """Neither the whole nor any part of it exceeds the limit.

    pre: _counts.type_ok(limits, c) and _counts.size_within_limit(limits, c)
    post: _ == ""
    """
    parts = (c.creating, c.retired_creations, c.idle, c.in_use, c.closing)
    fits = size(c) <= limits.max_size and all(0 <= part <= limits.max_size for part in parts)
    return "" if fits else "SizeWithinLimit"


def nobody_sleeps_beside_free_capacity(limits: Limits, c: Counts) -> str:
    """Who waits without a creation of his own waits for a slot, or for a place among creations.

    pre: c.waiting > _counts.usable_creations(c) and c.waiting > 0
    pre: _counts.no_lost_wakeup(limits, c) and _counts.nothing_after_close(limits, c)
    post: _ == ""
    """
    if c.phase is not Phase.OPEN:
        return "NothingAfterClose"
    full = size(c) == limits.max_size or c.creating == limits.max_creating
    return "" if c.idle == 0 and full else "NoLostWakeup"


def nothing_leads_out_of_closed(limits: Limits, c: Counts, event: Event, k: int) -> str:
    """A closed pool is empty, and no event can happen to it.

    pre: c.phase is Phase.CLOSED and _counts.type_ok(limits, c)
    pre: _counts.nothing_after_close(limits, c) and _counts.close_waits(limits, c)
    post: _ == ""
    """
    if size(c) != 0 or c.waiting != 0:
        return "CloseWaits"
    return "PhaseForward" if allowed(limits, c, event, k) else ""


CLAIMS: dict[str, Claim] = {event.value: preserved_by(event) for event in Event} | {
    "Init": init,
    "MaxSizeNeverExceeded": max_size_is_never_exceeded,
    "NobodySleepsBesideFreeCapacity": nobody_sleeps_beside_free_capacity,
    "NothingLeadsOutOfClosed": nothing_leads_out_of_closed,
}

# Those that the tests confirm; all of them take minutes.
FAST = ("Init", "Close", "MaxSizeNeverExceeded", "NobodySleepsBesideFreeCapacity")
FAST_BUGS = ("forgets_creations", "keeps_one_idle")


def forgets_creations(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Closing does not doom the creations in flight."""
    return transition(limits, c, event, k)._replace(retired_creations=0)


def creates_at_once(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """What is discarded is replaced before its closer has ended."""
    after = transition(limits, c, event, k)
    return after._replace(creating=after.creating + 1)


def keeps_one_idle(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """At one single number of idle resources, closing forgets one of them."""
    after = transition(limits, c, event, k)
    return after._replace(idle=1, closing=after.closing - 1) if c.idle == 70_777 else after


def ends_early(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """The pool is closed although a closer runs."""
    return transition(limits, c, event, k)._replace(phase=Phase.CLOSED)


BUGS: dict[str, tuple[str, Claim]] = {
    "forgets_creations": ("NothingAfterClose", preserved_by(Event.CLOSE, forgets_creations)),
    "creates_at_once": ("SizeWithinLimit", preserved_by(Event.DISCARD, creates_at_once)),
    "keeps_one_idle": ("NothingAfterClose", preserved_by(Event.CLOSE, keeps_one_idle)),
    "ends_early": ("CloseWaits", preserved_by(Event.CLOSE, ends_early)),
}
