"""Proof by Z3 that the counting rules keep what they promise, for numbers of every size.

    python -m proofs.z3_counts

The proof runs the counting rules themselves on symbolic numbers, see ``z3_numbers``. It shows for
all limits and for all numbers that satisfy the invariants:

* Each event is possible and preserves each invariant. A new pool satisfies them.
* The size grows only within the limit in force. The phase never goes back, and no event is possible
  once the pool is closed.
* While a pool is closing, the end of anything in use or in flight makes `ranking` smaller, and no
  other event makes it larger. Until the pool is closed, one such end is possible.
* The same holds while a lowered limit is exceeded by more than what is being closed. Then only
  closers have to end: no event makes the size larger.

So closing ends, and a lowered limit is kept again, if creations, checks, resets and closers end and
users give back (CloseCompletes, ShrinkCompletes).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from nodetool.concurrency._machine import counts as rules
from nodetool.concurrency._machine.counts import Counts, Event, Floor, Phase, lasting, size
from proofs.result import Result
from proofs.z3_numbers import Paths, phases, symbolic

__all__ = [
    "BUGS",
    "ENDING",
    "RULES",
    "Outcome",
    "bugs",
    "closing_ends",
    "induction",
    "prove",
    "shrinking_ends",
    "violations",
]

CHECKER = "Z3 numbers"

Transition = Callable[..., Counts]
Rule = Callable[[Any, Event, Counts, Counts], bool]
"""A claim about limits, an event, and the numbers before and after it."""

ENDING = {
    *(Event.CREATE_SUCCEEDED, Event.CREATE_FAILED, Event.CREATE_LATE),
    *(Event.RETIRED_CREATE_SUCCEEDED, Event.RETIRED_CREATE_FAILED),
    *(Event.CHECK_PASSED, Event.CHECK_UNFIT, Event.CHECK_FAILED),
    *(Event.RETIRED_CHECK_UNFIT, Event.RETIRED_CHECK_FAILED),
    *(Event.RESET_PASSED, Event.RESET_UNFIT),
    *(Event.RETURN, Event.RESET, Event.DISCARD, Event.DETACH, Event.REQUEUE),
    Event.CLOSER_ENDED,
}
"""The events in which something in use or in flight ends: all that a closing pool waits for."""


def ranking(c: Counts) -> int:
    """Limit the number of such ends that are left before nothing is left."""
    return 3 * c.in_use + 2 * (c.creating + c.checking + c.resetting) + c.closing


def is_nearer(event: Event, before: Counts, after: Counts) -> bool:
    """Tell whether an end brings nearer the time when nothing is left, and others delay nothing."""
    if event in ENDING:
        return ranking(after) < ranking(before)
    return ranking(after) <= ranking(before)


# The rules about steps, by the names of the specification.


def grows_within_limit(limits: Any, event: Event, c: Counts, d: Counts) -> bool:
    """Check S1 as a step: the size never grows beyond the limit in force."""
    return bool(size(d) <= size(c) or size(d) <= d.max_size)


def goes_forward(limits: Any, event: Event, c: Counts, d: Counts) -> bool:
    """Check that the phase never goes back."""
    order = list(Phase)
    return order.index(c.phase) <= order.index(d.phase)


def ends_upkeep(limits: Any, event: Event, c: Counts, d: Counts) -> bool:
    """Check S5: once closing starts, nothing is left to serve, and the upkeep is off."""
    upkeep = d.phase is not Phase.OPEN and d.floor is not Floor.OFF
    return rules.nothing_after_close(limits, d) and not upkeep


def closing_goes_on(limits: Any, event: Event, c: Counts, d: Counts) -> bool:
    """Check the step of L3: each end brings a closing pool nearer to the end."""
    return c.phase is not Phase.CLOSING or is_nearer(event, c, d)


def shrinking_goes_on(limits: Any, event: Event, c: Counts, d: Counts) -> bool:
    """Check the step of L8: each end brings the size nearer to a lowered limit."""
    if event is Event.RESIZE or size(c) <= c.max_size:
        return True
    if lasting(c) > c.max_size:  # closers alone cannot help
        return is_nearer(event, c, d)
    stays = lasting(d) <= d.max_size
    return bool(stays and size(d) <= size(c) - (event is Event.CLOSER_ENDED))


def kept(holds: Callable[[Any, Counts], bool]) -> Rule:
    """Make the claim that an invariant holds after the step."""
    return lambda limits, event, c, d: holds(limits, d)


RULES: dict[str, Rule] = {
    **{name: kept(holds) for name, holds in rules.INVARIANTS.items()},
    "NothingAfterClose": ends_upkeep,
    "SizeWithinLimitSteps": grows_within_limit,
    "PhaseForwardSteps": goes_forward,
    "CloseCompletes": closing_goes_on,
    "ShrinkCompletes": shrinking_goes_on,
}


class Broken(NamedTuple):
    """The rules that some numbers break, and an example of such numbers."""

    rules: tuple[str, ...]
    example: str


class Outcome(NamedTuple):
    """What the proof says about one event."""

    event: str
    paths: int
    reached: bool  # whether the event can happen at all
    seconds: float
    broken: tuple[Broken, ...]

    @property
    def problem(self) -> str:
        """The first way in which the event breaks rules, if it breaks any."""
        if not self.broken:
            return ""
        names, example = self.broken[0]
        return f"{self.event} breaks {', '.join(names)}: {example}"


class Proof:
    """The proof for one event in one phase."""

    def __init__(
        self,
        event: Event,
        phase: Phase,
        floor: Floor,
        transition: Transition,
        claims: dict[str, Rule],
        max_waiting: Any,
    ) -> None:
        self.paths = Paths()
        self.reached = False
        self._event, self._transition, self._claims = event, transition, claims
        self._limits, self._before, self._choices, self._natural = symbolic(
            self.paths, phase, floor, max_waiting
        )

    def run(self) -> Iterator[Broken]:
        """Run all paths. Yield the ways in which the event breaks rules."""
        for names in self.paths.explore(self._step, *self._natural):
            yield Broken(names, self.paths.example())

    def _step(self) -> tuple[str, ...]:
        limits, before, event = self._limits, self._before, self._event
        if not is_good(limits, before):
            return ()
        if not rules.allowed(limits, before, event, *self._choices):
            return ()
        self.reached = True
        after = self._transition(limits, before, event, *self._choices)
        claims = self._claims.items()
        return tuple(name for name, holds in claims if not holds(limits, event, before, after))


def is_good(limits: Any, c: Counts) -> bool:
    """Check all invariants."""
    return all(holds(limits, c) for holds in rules.INVARIANTS.values())


def prove(
    event: Event, transition: Transition = rules.transition, claims: dict[str, Rule] = RULES
) -> Outcome:
    """Prove that an event keeps all rules, for numbers of every size."""
    begin = time.perf_counter()
    count, reached, broken = 0, False, list[Broken]()
    # Only an acquirer asks for max_waiting. Z3 refuses to compare the name with a number.
    limits = (..., None) if event is Event.ACQUIRE else ("nobody asks",)
    for phase, floor in phases():
        for max_waiting in limits:
            proof = Proof(event, phase, floor, transition, claims, max_waiting)
            broken += proof.run()
            count += proof.paths.count
            reached = reached or proof.reached
    return Outcome(event.value, count, reached, time.perf_counter() - begin, tuple(broken))


def violations(event: Event, transition: Transition) -> tuple[str, ...]:
    """List all rules that an event can break, in their order."""
    found = {name for broken in prove(event, transition).broken for name in broken.rules}
    return tuple(name for name in RULES if name in found)


def new_pool_violates() -> list[str]:
    """List the invariants that a new pool can violate."""
    paths = Paths()
    limits, c, _, natural = symbolic(paths, Phase.OPEN, Floor.OFF)
    new = Counts._make([*[0] * 11, c.max_size, c.min_size, c.phase, c.floor])

    def begin() -> list[str]:
        if not new.max_size > 0 or not new.min_size <= new.max_size:
            return []
        return [name for name, holds in rules.INVARIANTS.items() if not holds(limits, new)]

    return [name for names in paths.explore(begin, *natural) for name in names]


def induction(events: Iterable[Event] = Event) -> Result:
    """Prove that each event is possible and keeps all rules, and that a new pool is good."""
    begin = time.perf_counter()
    found = [prove(event) for event in events]
    wrong = [f"a new pool violates {name}" for name in new_pool_violates()]
    wrong += [outcome.problem for outcome in found if outcome.problem]
    wrong += [f"{outcome.event} is impossible" for outcome in found if not outcome.reached]
    paths = sum(outcome.paths for outcome in found)
    figure = f"inductive over {len(found)} events, each possible, {paths:,} paths, any size"
    seconds = time.perf_counter() - begin
    names = ", ".join(name for name in RULES if name not in ("CloseCompletes", "ShrinkCompletes"))
    return Result(CHECKER, names, "; ".join(wrong) or figure, not wrong, seconds)


def stuck(claim: Callable[[Any, Counts, list[Any]], str], *when: Phase) -> list[str]:
    """List what the claim says against good numbers in these phases."""
    found: list[str] = []
    for phase, floor in phases():
        if phase in when:
            paths = Paths()
            limits, c, choices, natural = symbolic(paths, phase, floor)

            def ask(limits: Any = limits, c: Counts = c, choices: list[Any] = choices) -> str:
                return claim(limits, c, choices) if is_good(limits, c) else ""

            found += paths.explore(ask, *natural)
    return sorted(set(found))


def is_stuck(limits: Any, c: Counts) -> bool:
    """Tell whether nothing can end."""
    return not any(rules.allowed(limits, c, event) for event in ENDING)


def closing_ends() -> Result:
    """Prove CloseCompletes, if nothing that can end is in use or in flight for ever.

    `induction` proves the steps.
    """
    begin = time.perf_counter()

    def can_end(limits: Any, c: Counts, choices: list[Any]) -> str:
        if ranking(c) <= 0:
            return "the ranking is not positive while closing"
        return "a closing pool can be stuck" if is_stuck(limits, c) else ""

    def leaves(limits: Any, c: Counts, choices: list[Any]) -> str:
        possible = (event for event in Event if rules.allowed(limits, c, event, *choices))
        return "".join(f"{event.value} leads out of closed" for event in possible)

    wrong = stuck(can_end, Phase.CLOSING) + stuck(leaves, Phase.CLOSED)
    figure = f"the ranking decreases in {len(ENDING)} events, grows in none, any size"
    seconds = time.perf_counter() - begin
    return Result(CHECKER, "CloseCompletes", "; ".join(wrong) or figure, not wrong, seconds)


def shrinking_ends() -> Result:
    """Prove ShrinkCompletes, if nothing that can end is in use or in flight for ever.

    `induction` proves the steps.
    """
    begin = time.perf_counter()

    def can_end(limits: Any, c: Counts, choices: list[Any]) -> str:
        if size(c) <= c.max_size:
            return ""
        if lasting(c) > c.max_size:
            return "a pool above its limit can be stuck" if is_stuck(limits, c) else ""
        closer = rules.allowed(limits, c, Event.CLOSER_ENDED)
        return "" if closer else "no closer runs above the limit"

    wrong = stuck(can_end, Phase.OPEN)
    figure = "above a lowered limit the ranking decreases, then the size, any size"
    seconds = time.perf_counter() - begin
    return Result(CHECKER, "ShrinkCompletes", "; ".join(wrong) or figure, not wrong, seconds)


# Transitions with one bug each.


def settles_nothing(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Take the step, but hand nothing over, start no work and do not end closing."""
    return rules._apply(c, event, *choices)


def replaces_before_closed(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Create as if the closer had ended when it starts."""
    after = rules.settle(limits, c._replace(in_use=c.in_use - 1))
    return after._replace(closing=after.closing + 1)


def forgets_work(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Retire no creation when closing starts."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(retired_creations=c.retired_creations)


def keeps_waiters(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Leave the waiters in the queue when closing starts."""
    return rules.transition(limits, c, event, *choices)._replace(waiting=c.waiting)


def closes_early(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Close the pool while something is left."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(phase=Phase.CLOSED) if after.phase is Phase.CLOSING else after


def creates_all_at_once(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Create for all free room, whatever max_creating says."""
    after = rules.transition(limits, c, event, *choices)
    free = after.max_size - size(after)
    return after._replace(creating=after.creating + free) if free > 0 else after


def counts_retired_twice(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Count the end of a retired creation twice."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(retired_creations=after.retired_creations - 1)


def opens_again(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Open the pool again."""
    return rules.transition(limits, c, event, *choices)._replace(phase=Phase.OPEN)


def never_caps(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Forget that disowned work can end."""
    return rules.transition(limits, c, event, *choices)._replace(disowned=c.disowned)


def starts_nothing(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Start no creation."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(creating=min(after.creating, c.creating))


def ignores_the_limit(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Keep a resource that comes back, although the limit was lowered."""
    roomy = c._replace(max_size=c.max_size + 1)
    return rules.transition(limits, roomy, event, *choices)._replace(max_size=c.max_size)


def closes_no_surplus(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Lower the limit, but close nothing."""
    max_size, min_size, *_ = choices
    return rules.settle(limits, c._replace(max_size=max_size, min_size=min_size))


def closes_again(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Start a closer again when it has ended."""
    return c


def keeps_upkeep(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Keep the upkeep of the minimum size when closing starts."""
    return rules.transition(limits, c, event, *choices)._replace(floor=c.floor)


BUGS: dict[str, tuple[Event, Transition, tuple[str, ...]]] = {
    "keeps what comes back": (Event.RETURN, settles_nothing, ("NoLostWakeup",)),
    "forgets the free slot": (
        Event.CLOSER_ENDED,
        settles_nothing,
        ("NoLostWakeup", "FloorKept", "CloseWaits"),
    ),
    "replaces before closed": (
        Event.DISCARD,
        replaces_before_closed,
        ("CloseWaits", "SizeWithinLimitSteps"),
    ),
    "closes, creations not retired": (Event.CLOSE, forgets_work, ("NothingAfterClose",)),
    "closes, waiters stay in the queue": (
        Event.CLOSE,
        keeps_waiters,
        ("NoLostWakeup", "NothingAfterClose"),
    ),
    "closes, the upkeep goes on": (Event.CLOSE, keeps_upkeep, ("NothingAfterClose",)),
    "is closed too early": (Event.CLOSE, closes_early, ("CloseWaits",)),
    "creates all at once": (Event.RETRY_FLOOR, creates_all_at_once, ("CreatingWithinLimit",)),
    "counts a retired creation twice": (
        Event.RETIRED_CREATE_FAILED,
        counts_retired_twice,
        ("TypeOK", "NothingAfterClose"),
    ),
    "opens again": (Event.TERMINATE, opens_again, ("PhaseForwardSteps",)),
    "never caps disowned work": (Event.CREATE_FAILED, never_caps, ("TypeOK",)),
    "starts no creation": (Event.ACQUIRE, starts_nothing, ("NoLostWakeup", "FloorKept")),
    "keeps surplus": (
        Event.RETURN,
        ignores_the_limit,
        ("SizeWithinLimit", "SizeWithinLimitSteps", "ShrinkCompletes"),
    ),
    "lowers the limit only": (Event.RESIZE, closes_no_surplus, ("SizeWithinLimit",)),
    "closes again": (Event.CLOSER_ENDED, closes_again, ("CloseCompletes", "ShrinkCompletes")),
}
"""An event, a transition with a bug, and all the rules that it breaks."""


def bugs(names: Iterable[str] = BUGS) -> Result:
    """Check that each bug breaks exactly the rules that it is expected to break."""
    begin = time.perf_counter()
    wrong = []
    for name in (chosen := list(names)):
        event, transition, expected = BUGS[name]
        if (found := violations(event, transition)) != expected:
            wrong.append(f"{name}: {', '.join(found) or 'not found'}")
    figure = "; ".join(wrong) or f"{len(chosen)} seeded bugs refuted"
    seconds = time.perf_counter() - begin
    guarantee = "each by the rules that it is expected to break"
    return Result(CHECKER, guarantee, figure, not wrong, seconds)


def main() -> int:
    """Prove all, and print a line for each event and each result."""
    failed = 0
    for event in Event:
        outcome = prove(event)
        verdict = outcome.problem or ("proved" if outcome.reached else "can never happen")
        failed += verdict != "proved"
        seconds = f"{outcome.seconds:>8.1f} s"
        print(f"{outcome.event:<24}{outcome.paths:>7} paths{seconds}  {verdict}", flush=True)
    for result in (induction(()), closing_ends(), shrinking_ends(), bugs()):
        print(result, flush=True)
        failed += not result.ok
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
