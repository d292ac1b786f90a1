"""The rules about free choices that ``z3_steps`` assumes, proved for numbers of every size.

The formulas about identities leave to a free choice what the counting rules decide. They assume
the claims of this module about these choices. Each claim runs the counting rules themselves on
symbolic numbers, see ``z3_numbers``.

A rule is used in the middle of a step, where the invariants need not hold. So the claims about
rules assume TypeOK alone. `prove_middle` shows that every event leads to such numbers before the
step settles. The claims about events are those properties of steps in the specification that speak
of numbers alone. They assume the invariants.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

from nodetool.concurrency._machine import counts as rules
from nodetool.concurrency._machine.counts import Counts, Event, Floor, Phase
from proofs.z3_counts import Outcome, is_good
from proofs.z3_counts import prove as prove_event
from proofs.z3_numbers import Paths, phases, symbolic

__all__ = ["BUGS", "CLAIMS", "Answer", "prove", "prove_middle"]

Claim = Callable[..., bool | None]
"""A claim about limits, numbers and whether a check failed. None: the claim says nothing here."""


def checks_are_for_waiters(
    limits: Any, c: Counts, failed: bool, checks: Callable[..., int] = rules.checks_to_start
) -> bool:
    """Claim that checks start for waiters of an open pool, at most all that are unchecked."""
    n = checks(limits, c, failed)
    return 0 <= n <= c.unchecked and (n == 0 or (c.phase is Phase.OPEN and c.waiting > 0))


def creations_are_for_open_pools(
    limits: Any, c: Counts, failed: bool, creations: Callable[..., int] = rules.creations_to_start
) -> bool:
    """Claim that creations start only while the pool is open."""
    n = creations(limits, c)
    return n >= 0 and (n == 0 or c.phase is Phase.OPEN)


def work_starts_beside_unchecked(
    limits: Any, c: Counts, failed: bool, start: Callable[..., Counts] = rules.start_work
) -> bool | None:
    """Claim that nobody waits beside an unchecked resource without work in flight."""
    if c.phase is not Phase.OPEN or c.waiting == 0 or c.unchecked == 0:
        return None
    return rules.in_flight(start(limits, c, failed)) > 0


def failures_are_for_waiters(
    limits: Any, c: Counts, failed: bool, fails: Callable[..., bool] = rules.fails_waiter
) -> bool | None:
    """Claim that a failed creation fails a waiter only if there is one."""
    return c.waiting > 0 if fails(c) else None


def closing_ends_when_empty(
    limits: Any, c: Counts, failed: bool, complete: Callable[..., bool] = rules.closing_complete
) -> bool:
    """Claim that a closing pool is closed exactly if nothing is in any place."""
    places = (c.creating, c.checking, c.ready, c.unchecked, c.in_use, c.resetting, c.closing)
    return complete(c) == (c.phase is Phase.CLOSING and all(n == 0 for n in places))


def hand_over_keeps_types(
    limits: Any, c: Counts, failed: bool, settle: Callable[..., Counts] = rules.settle
) -> bool:
    """Claim that work starts in numbers that are possible, too, after the hand-over."""
    with patch.object(rules, "start_work", lambda _, handed, __: handed):
        return rules.type_ok(limits, settle(limits, c, failed))


def only_idle_are_closed(
    limits: Any, c: Counts, failed: bool, surplus: Callable[..., int] = rules.surplus
) -> bool:
    """Claim that a sweep and a lowered limit close no more than what is idle."""
    return 0 <= rules.prunable(c) <= rules.idle(c) and 0 <= surplus(c) <= rules.idle(c)


def pruning_keeps_floor(
    limits: Any, c: Counts, failed: bool, prunable: Callable[..., int] = rules.prunable
) -> bool | None:
    """Claim PruningKeepsFloor: what pruning may close is not needed for the minimum size."""
    n = prunable(c)
    return rules.usable_size(c) - n >= c.min_size if n > 0 else None


def creation_comes_after_failed_check(
    limits: Any, c: Counts, failed: bool, transition: Callable[..., Counts] = rules.transition
) -> bool | None:
    """Claim CreationAfterFailedCheck: another check starts only if no creation has room."""
    events = (Event.CHECK_FAILED, Event.RETIRED_CHECK_FAILED)
    after = [transition(limits, c, event) for event in events if rules.allowed(limits, c, event)]
    if not after:
        return None
    return all(d.checking < c.checking or rules.room(limits, d) == 0 for d in after)


def failure_frees_slot(
    limits: Any, c: Counts, failed: bool, transition: Callable[..., Counts] = rules.transition
) -> bool | None:
    """Claim FailureFreesSlot: the slot of a failed creation goes to a waiter without work."""
    if not rules.allowed(limits, c, Event.CREATE_FAILED):
        return None
    after = transition(limits, c, Event.CREATE_FAILED)
    return rules.uncovered(after) == 0 or rules.room(limits, after) == 0


ABOUT_RULES: tuple[Claim, ...] = (
    checks_are_for_waiters,
    creations_are_for_open_pools,
    work_starts_beside_unchecked,
    failures_are_for_waiters,
    closing_ends_when_empty,
    hand_over_keeps_types,
    only_idle_are_closed,
    pruning_keeps_floor,
)
ABOUT_EVENTS: tuple[Claim, ...] = (creation_comes_after_failed_check, failure_frees_slot)
CLAIMS = (*ABOUT_RULES, *ABOUT_EVENTS)


class Answer(NamedTuple):
    """What the proof says about one claim."""

    claim: str
    paths: int
    says: int  # paths on which the claim says something
    seconds: float
    problem: str


def prove(claim: Claim, **wrong: Callable[..., Any]) -> Answer:
    """Prove a claim about the rules, or about a wrong rule, for good numbers of every size."""
    begin = time.perf_counter()
    paths, says, problem = 0, 0, ""
    assumed = rules.type_ok if claim in ABOUT_RULES else is_good
    for phase, floor, failed in cases():
        proof = Paths()
        limits, c, _, natural = symbolic(proof, phase, floor)

        def step(c: Counts = c, limits: Any = limits, failed: bool = failed) -> str:
            nonlocal says
            if not assumed(limits, c):
                return ""
            answer = claim(limits, c, failed, **wrong)
            says += answer is not None
            return "" if answer is None or answer else claim.__name__

        for name in proof.explore(step, *natural):
            problem = problem or f"{name}: {proof.example()}"
        paths += proof.count
    return Answer(claim.__name__, paths, says, time.perf_counter() - begin, problem)


def prove_middle(event: Event, apply: Callable[..., Counts] = rules._apply) -> Outcome:
    """Prove that an event leads to possible numbers before the step hands over and starts work."""

    def unsettled(_: Any, c: Counts, event: Event, *choices: int) -> Counts:
        return apply(c, event, *choices)

    def possible(limits: Any, event: Event, before: Counts, after: Counts) -> bool:
        return rules.type_ok(limits, after)

    return prove_event(event, unsettled, {"TypeOK": possible})


def cases() -> Iterator[tuple[Phase, Floor, bool]]:
    """Yield each phase with each upkeep that it can have, after a failed check or not."""
    for phase, floor in phases():
        yield phase, floor, False
        yield phase, floor, True


# Rules with one bug each.


def ignores_the_phase(limits: Any, c: Counts, failed: bool = False) -> int:
    """Start as many checks or creations as an open pool would."""
    still_open = c._replace(phase=Phase.OPEN)
    return max(
        rules.checks_to_start(limits, still_open, failed),
        rules.creations_to_start(limits, still_open),
    )


def relies_on_disowned(limits: Any, c: Counts, failed: bool) -> Counts:
    """Start no work for one waiter."""
    return rules.start_work(limits, c._replace(waiting=c.waiting - 1), failed)


def always_fails(c: Counts) -> bool:
    """Fail a waiter in any case."""
    return True


def forgets_resets(c: Counts) -> bool:
    """Close the pool while resets run."""
    return rules.closing_complete(c._replace(resetting=0))


def hands_over_all(limits: Any, c: Counts, failed: bool) -> Counts:
    """Hand every ready resource over, whether somebody waits or not."""
    handed = c._replace(waiting=c.waiting - c.ready, ready=0, in_use=c.in_use + c.ready)
    return rules.start_work(limits, handed, failed)


def closes_what_exceeds(c: Counts) -> int:
    """Close all that exceeds the limit, idle or not."""
    return max(0, rules.lasting(c) - c.max_size)


def forgets_the_floor(c: Counts) -> int:
    """Prune all idle resources."""
    return rules.idle(c)


def checks_first(limits: Any, c: Counts, event: Event) -> Counts:
    """Check the next idle resource after a failed check, although there is room."""
    return rules.settle(limits, rules._apply(c, event, 0, 0, 0), False)


def starts_nothing(limits: Any, c: Counts, event: Event) -> Counts:
    """Leave the slot of a failed creation free."""
    return rules._apply(c, event, 0, 0, 0)


BUGS: tuple[tuple[Claim, str, Callable[..., Any]], ...] = (
    (checks_are_for_waiters, "checks", ignores_the_phase),
    (creations_are_for_open_pools, "creations", ignores_the_phase),
    (work_starts_beside_unchecked, "start", relies_on_disowned),
    (failures_are_for_waiters, "fails", always_fails),
    (closing_ends_when_empty, "complete", forgets_resets),
    (hand_over_keeps_types, "settle", hands_over_all),
    (only_idle_are_closed, "surplus", closes_what_exceeds),
    (pruning_keeps_floor, "prunable", forgets_the_floor),
    (creation_comes_after_failed_check, "transition", checks_first),
    (failure_frees_slot, "transition", starts_nothing),
)
"""A claim, the rule that is replaced, and the wrong rule by which the claim must fail."""
