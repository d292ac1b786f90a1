"""Claims about the counting rules that CrossHair confirms for every size: no number has a bound.

A claim is a function that CrossHair calls with symbolic arguments. `pre` is the assumption. The
answer names the violated rule, and `post` claims that there is none.

Each event has one claim, for any limits and any counts that satisfy all invariants. The event leads
to counts that satisfy all invariants, and the step keeps the rules about steps. Together with the
claim Init, all counts that can be reached satisfy the invariants. The other claims are
consequences. Each assumes only the invariants that it needs.

No claim begins with asserts. CrossHair takes them for assumptions and does not notice if they
contradict each other. It does report a `pre` that nothing satisfies.

A bug is such a claim about a wrong `transition`. It names the rule that must be violated.

``z3_counts`` proves the same of the same code by other means: it has its own symbolic numbers, and
CrossHair has those of a tool that knows nothing about this project.
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
Transition = Callable[..., Counts]


def well_formed(limits: Limits) -> bool:
    """Check what PoolCounts.tla assumes of its constants. None means no max_waiting."""
    return limits.max_creating >= 1 and (limits.max_waiting is None or limits.max_waiting >= 1)


def violated(limits: Limits, c: Counts) -> str:
    """Name the first invariant that does not hold, if there is one."""
    return next((name for name, holds in rules.INVARIANTS.items() if not holds(limits, c)), "")


def broken(limits: Limits, before: Counts, after: Counts) -> str:
    """Name the first rule that a step breaks, if it breaks one."""
    if name := violated(limits, after):
        return name
    if size(after) > size(before) and size(after) > after.max_size:
        return "SizeWithinLimitSteps"
    order = list(Phase)
    if order.index(after.phase) < order.index(before.phase):
        return "PhaseForwardSteps"
    return ""


def preserved_by(event: Event, step: Transition = transition) -> Claim:
    """Make the claim that an event preserves every invariant, and is a good step."""

    def claim(limits: Limits, c: Counts, i: int, j: int, k: int) -> str:
        """Claim that the event preserves them.

        pre: allowed(limits, c, event, i, j, k) and well_formed(limits) and not violated(limits, c)
        post: _ == ""
        """
        return broken(limits, c, step(limits, c, event, i, j, k))

    return claim


def init(limits: Limits, max_size: int, min_size: int) -> str:
    """Claim that a new pool satisfies every invariant.

    pre: well_formed(limits) and 0 <= min_size <= max_size and max_size > 0
    post: _ == ""
    """
    return violated(
        limits, Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, max_size, min_size, Phase.OPEN, Floor.OFF)
    )


def beyond_the_limit_nothing_is_idle(limits: Limits, c: Counts) -> str:
    """Claim that what exceeds a lowered limit is in use, in work or being closed.

    pre: rules.type_ok(limits, c) and rules.size_within_limit(limits, c)
    pre: size(c) > c.max_size
    post: _ == ""
    """
    busy = c.creating + c.checking + c.in_use + c.resetting + c.closing
    return "" if busy > c.max_size or c.closing > 0 else "SizeWithinLimit"


def nobody_waits_beside_free_room(limits: Limits, c: Counts) -> str:
    """Claim that acquirers wait without work for them only if no work may start.

    pre: c.waiting > rules.relied_on(c) and c.waiting > 0
    pre: rules.no_lost_wakeup(limits, c) and rules.nothing_after_close(limits, c)
    post: _ == ""
    """
    if c.phase is not Phase.OPEN:
        return "NothingAfterClose"
    full = size(c) >= c.max_size or c.creating >= limits.max_creating
    return "" if c.ready == c.unchecked == 0 and full else "NoLostWakeup"


def nothing_leads_out_of_closed(
    limits: Limits, c: Counts, event: Event, i: int, j: int, k: int
) -> str:
    """Claim that a closed pool is empty, and that no event can happen to it.

    pre: c.phase is Phase.CLOSED and rules.type_ok(limits, c)
    pre: rules.nothing_after_close(limits, c) and rules.close_waits(limits, c)
    post: _ == ""
    """
    if size(c) != 0 or c.waiting != 0:
        return "CloseWaits"
    return "PhaseForwardSteps" if allowed(limits, c, event, i, j, k) else ""


CLAIMS: dict[str, Claim] = {event.value: preserved_by(event) for event in Event} | {
    "Init": init,
    "BeyondTheLimitNothingIsIdle": beyond_the_limit_nothing_is_idle,
    "NobodyWaitsBesideFreeRoom": nobody_waits_beside_free_room,
    "NothingLeadsOutOfClosed": nothing_leads_out_of_closed,
}

# The tests confirm only these, because all of them take minutes.
FAST = ("Init", "BeyondTheLimitNothingIsIdle", "NobodyWaitsBesideFreeRoom")
FAST_BUGS = ("keeps_one_idle",)


def forgets_creations(limits: Limits, c: Counts, event: Event, i: int, j: int, k: int) -> Counts:
    """Take the step, but do not retire the creations in flight at the start of closing."""
    return transition(limits, c, event, i, j, k)._replace(retired_creations=0)


def keeps_surplus(limits: Limits, c: Counts, event: Event, i: int, j: int, k: int) -> Counts:
    """Take the step, but keep a resource that exceeds the lowered limit."""
    after = transition(limits, c, event, i, j, k)
    if after.closing == c.closing:
        return after
    return after._replace(ready=after.ready + 1, closing=after.closing - 1)


def keeps_one_idle(limits: Limits, c: Counts, event: Event, i: int, j: int, k: int) -> Counts:
    """Take the step, but forget one idle resource if there are exactly 70,777."""
    after = transition(limits, c, event, i, j, k)
    return after._replace(ready=1, closing=after.closing - 1) if c.ready == 70_777 else after


def replaces_early(limits: Limits, c: Counts, event: Event, i: int, j: int, k: int) -> Counts:
    """Take the step, but replace a discarded resource before its closer has ended."""
    after = transition(limits, c, event, i, j, k)
    return after._replace(creating=min(limits.max_creating, after.creating + 1))


def ends_early(limits: Limits, c: Counts, event: Event, i: int, j: int, k: int) -> Counts:
    """Take the step, but close the pool although a closer runs."""
    return transition(limits, c, event, i, j, k)._replace(phase=Phase.CLOSED)


def disowns_too_much(limits: Limits, c: Counts, event: Event, i: int, j: int, k: int) -> Counts:
    """Take the step, but disown more than is in flight."""
    return transition(limits, c, event, i, j, k)._replace(disowned=c.disowned + 1)


BUGS: dict[str, tuple[str, Claim]] = {
    "forgets_creations": ("NothingAfterClose", preserved_by(Event.CLOSE, forgets_creations)),
    "replaces_early": ("SizeWithinLimitSteps", preserved_by(Event.DISCARD, replaces_early)),
    "keeps_surplus": ("SizeWithinLimit", preserved_by(Event.RETURN, keeps_surplus)),
    "keeps_one_idle": ("NothingAfterClose", preserved_by(Event.CLOSE, keeps_one_idle)),
    "ends_early": ("CloseWaits", preserved_by(Event.CLOSE, ends_early)),
    "disowns_too_much": ("TypeOK", preserved_by(Event.CHECK_UNFIT, disowns_too_much)),
}
