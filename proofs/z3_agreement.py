"""Comparison of the formulas of ``z3_counts`` with the code of the counting model, on samples.

The samples are seeded: small and huge sizes, counts that can be reached and counts that cannot.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.counts import (
    INVARIANTS,
    Counts,
    Event,
    Floor,
    Limits,
    Phase,
    allowed,
    transition,
)
from proofs.result import Result
from proofs.z3_counts import (
    EVENTS,
    LIMITED,
    MAX_CREATING,
    MAX_SIZE,
    MAX_WAITING,
    MIN_SIZE,
    NOW,
    K,
    invariants,
    timed,
)

__all__ = ["agreement"]

PHASES = (Phase.OPEN, Phase.CLOSING, Phase.CLOSED)  # in the order of their numbers in z3_counts
FLOORS = (Floor.OFF, Floor.ON, Floor.BACKOFF)

Transition = Callable[[Limits, Counts, Event, int], Counts]

FORMULAS = invariants(NOW)


def _sample(rng: random.Random) -> tuple[Limits, Counts, int]:
    """Draw limits, counts and a k. They are small or huge, and reachable or not."""
    top = rng.choice((1, 2, 4, 10**9))
    max_size = rng.randint(1, top)
    limits = Limits(
        max_size,
        rng.randint(0, max_size),
        rng.randint(1, max_size),
        rng.choice((None, rng.randint(1, top))),
    )
    creating = rng.randint(0, top)
    retired_creations = rng.choice((0, creating, rng.randint(0, creating)))
    idle, in_use, closing, waiting = (rng.choice((0, rng.randint(0, top))) for _ in range(4))
    numbers = (creating, retired_creations, idle, in_use, closing, waiting)
    counts = Counts(*numbers, rng.choice((*PHASES, Phase.OPEN)), rng.choice(FLOORS))
    return limits, counts, rng.randint(-1, max(idle, in_use) + 1)


def _values(c: Counts) -> list[int]:
    return [*c[:6], PHASES.index(c.phase), FLOORS.index(c.floor)]


def _reader(limits: Limits, c: Counts, k: int = 0) -> Callable[[z3.ExprRef], str]:
    """Return a function from a term to its value under these limits, in these counts."""
    most = limits.max_waiting
    numbers = [*limits[:3], most or 0, k, *_values(c)]
    terms = [MAX_SIZE, MIN_SIZE, MAX_CREATING, MAX_WAITING, K, *NOW]
    known = [(term, z3.IntVal(number)) for term, number in zip(terms, numbers, strict=True)]
    known.append((LIMITED, z3.BoolVal(most is not None)))
    return lambda term: str(z3.simplify(z3.substitute(term, *known)))


def disagreement(limits: Limits, c: Counts, k: int, event: Event, step: Transition) -> str | None:
    """Describe how the formula of the event differs from the code here, if it does.

    The formula gives each number of the next counts as a term, so it allows one successor or none.
    """
    value = _reader(limits, c, k)
    guard, after = EVENTS[event]
    possible = allowed(limits, c, event, k)
    found = [value(guard)] + ([value(term) for term in after] if possible else [])
    wanted = [possible] + (_values(step(limits, c, event, k)) if possible else [])
    if found == list(map(str, wanted)):
        return None
    return f"{event.value} of {k} in {c} under {limits}: formula {found}, code {wanted}"


def _disagreeing_invariants(limits: Limits, c: Counts) -> Iterator[str]:
    """Describe the invariants about which formula and code differ here."""
    value = _reader(limits, c)
    for name, holds in INVARIANTS.items():
        if value(FORMULAS[name]) != str(found := holds(limits, c)):
            yield f"{name} of {c} under {limits}: by the code {found}"


def disagreements(samples: int, step: Transition, seed: int = 0) -> Iterator[str]:
    """Describe all differences on so many samples."""
    rng = random.Random(seed)
    for _ in range(samples):
        limits, c, k = _sample(rng)
        field = rng.choice(Counts._fields[:6])
        near = c._replace(**{field: getattr(c, field) + rng.choice((-1, 1))})  # may violate TypeOK
        for counts in (c, near):
            yield from _disagreeing_invariants(limits, counts)
        for event in Event:
            if (found := disagreement(limits, c, k, event, step)) is not None:
                yield found


def agreement(samples: int = 200, step: Transition = transition) -> Result:
    """Check on samples that formulas and code say the same of events and invariants."""

    def work() -> tuple[bool, str]:
        wrong = next(disagreements(samples, step), None)
        figure = (
            f"{samples * len(Event):,} sampled events, both directions, and "
            f"{2 * samples * len(INVARIANTS):,} invariants"
        )
        return wrong is None, wrong or figure

    return timed("the formulas are those of the code", work)
