"""Claims about the counting model that CrossHair confirms for every size: no number has a bound.

A claim is a function that CrossHair calls with symbolic arguments. `pre` is the assumption. The
answer names the violated invariant, and `post` claims that there is none.

Each event has one claim, for any limits and any counts that satisfy all invariants. The event leads
to counts that satisfy all invariants, and the phase does not go back. Together with the claim Init,
all counts that can be reached satisfy the invariants. The other claims are consequences. Each
assumes only the invariants that it needs.

No claim begins with asserts. CrossHair takes them for assumptions and does not notice if they
contradict each other. It does report a `pre` that nothing satisfies.

A bug is such a claim about a wrong `transition`. It names the invariant that must be violated.
"""

from __future__ import annotations

from collections.abc import Callable

from nodetool.concurrency._machine import counts as rules
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
    """Check what PoolCounts.tla assumes of its constants. None means no max_waiting."""
    return (
        0 <= limits.min_size <= limits.max_size
        and 1 <= limits.max_creating <= limits.max_size
        and (limits.max_waiting is None or limits.max_waiting >= 1)
    )


def violated(limits: Limits, c: Counts) -> str:
    """Name the first invariant that does not hold, if there is one."""
    return next((name for name, holds in rules.INVARIANTS.items() if not holds(limits, c)), "")


def preserved_by(event: Event, step: Transition = transition) -> Claim:
    """Make the claim that an event preserves every invariant, and PhaseForward."""

    def claim(limits: Limits, c: Counts, k: int) -> str:
        """Claim that the event preserves them.

        pre: allowed(limits, c, event, k) and well_formed(limits) and not violated(limits, c)
        post: _ == ""
        """
        after = step(limits, c, event, k)
        back = PHASES.index(after.phase) < PHASES.index(c.phase)
        return "PhaseForward" if back else violated(limits, after)

    return claim


def init(limits: Limits) -> str:
    """Claim that a new pool satisfies every invariant.

    pre: well_formed(limits)
    post: _ == ""
    """
    return violated(limits, Counts(0, 0, 0, 0, 0, 0, Phase.OPEN, Floor.OFF))


def max_size_is_never_exceeded(limits: Limits, c: Counts) -> str:
    """Claim that neither the size nor any part of it exceeds the limit.

    pre: rules.type_ok(limits, c) and rules.size_within_limit(limits, c)
    post: _ == ""
    """
    parts = (c.creating, c.retired_creations, c.idle, c.in_use, c.closing)
    fits = size(c) <= limits.max_size and all(0 <= part <= limits.max_size for part in parts)
    return "" if fits else "SizeWithinLimit"


def nobody_waits_beside_free_room(limits: Limits, c: Counts) -> str:
    """Claim that acquirers wait without a creation only if no creation may start.

    pre: c.waiting > rules.usable_creations(c) and c.waiting > 0
    pre: rules.no_lost_wakeup(limits, c) and rules.nothing_after_close(limits, c)
    post: _ == ""
    """
    if c.phase is not Phase.OPEN:
        return "NothingAfterClose"
    full = size(c) == limits.max_size or c.creating == limits.max_creating
    return "" if c.idle == 0 and full else "NoLostWakeup"


def nothing_leads_out_of_closed(limits: Limits, c: Counts, event: Event, k: int) -> str:
    """Claim that a closed pool is empty, and that no event can happen to it.

    pre: c.phase is Phase.CLOSED and rules.type_ok(limits, c)
    pre: rules.nothing_after_close(limits, c) and rules.close_waits(limits, c)
    post: _ == ""
    """
    if size(c) != 0 or c.waiting != 0:
        return "CloseWaits"
    return "PhaseForward" if allowed(limits, c, event, k) else ""


CLAIMS: dict[str, Claim] = {event.value: preserved_by(event) for event in Event} | {
    "Init": init,
    "MaxSizeNeverExceeded": max_size_is_never_exceeded,
    "NobodyWaitsBesideFreeRoom": nobody_waits_beside_free_room,
    "NothingLeadsOutOfClosed": nothing_leads_out_of_closed,
}

# The tests confirm only these, because all of them take minutes.
FAST = ("Init", "Close", "MaxSizeNeverExceeded", "NobodyWaitsBesideFreeRoom")
FAST_BUGS = ("forgets_creations", "keeps_one_idle")


def forgets_creations(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but do not retire the creations in flight at the start of closing."""
    return transition(limits, c, event, k)._replace(retired_creations=0)


def replaces_early(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but replace a discarded resource before its closer has ended."""
    after = transition(limits, c, event, k)
    return after._replace(creating=after.creating + 1)


def keeps_one_idle(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but forget one idle resource if there are exactly 70,777."""
    after = transition(limits, c, event, k)
    return after._replace(idle=1, closing=after.closing - 1) if c.idle == 70_777 else after


def ends_early(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but close the pool although a closer runs."""
    return transition(limits, c, event, k)._replace(phase=Phase.CLOSED)


BUGS: dict[str, tuple[str, Claim]] = {
    "forgets_creations": ("NothingAfterClose", preserved_by(Event.CLOSE, forgets_creations)),
    "replaces_early": ("SizeWithinLimit", preserved_by(Event.DISCARD, replaces_early)),
    "keeps_one_idle": ("NothingAfterClose", preserved_by(Event.CLOSE, keeps_one_idle)),
    "ends_early": ("CloseWaits", preserved_by(Event.CLOSE, ends_early)),
}
