"""Z3 proves the counting rules for every size, by the code itself on symbolic numbers.

Each test of events and bugs takes a part. `python -m proofs.z3_counts` takes all.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from proofs import z3_counts
from proofs.z3_counts import BUGS, RULES, prove
from proofs.z3_numbers import Number, Paths, phases, symbolic
from tests.inside import INVARIANTS, Counts, Event, Floor, Limits, Phase, rules

pytestmark = pytest.mark.untraced


@pytest.mark.parametrize("event", [Event.CLOSER_ENDED, Event.SWEEP])
def test_an_event_keeps_every_rule(event: Event) -> None:
    outcome = prove(event)
    assert outcome.problem == ""
    assert outcome.reached
    assert outcome.paths > 100


def test_the_result_names_every_rule_that_holds_after_each_step() -> None:
    result = z3_counts.induction([Event.TRUST_EXPIRES])
    assert result.ok, result
    assert [*result.guarantee.split(", "), "CloseCompletes", "ShrinkCompletes"] == list(RULES)
    assert set(INVARIANTS) <= set(RULES)


def test_a_rule_that_a_new_pool_violates_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INVARIANTS, "FloorKept", lambda _, c: c.min_size == 0)
    assert z3_counts.new_pool_violates() == ["FloorKept"]


def test_an_event_that_cannot_happen_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "allowed", lambda *_: False)
    result = z3_counts.induction([Event.LEAVE])
    assert result.figure == "Leave is impossible"
    assert not result.ok


def test_closing_and_shrinking_end() -> None:
    for result in (z3_counts.closing_ends(), z3_counts.shrinking_ends()):
        assert result.ok, result


def test_neither_ends_if_users_keep_their_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    by_users = {Event.RETURN, Event.RESET, Event.DISCARD, Event.DETACH, Event.REQUEUE}
    monkeypatch.setattr(z3_counts, "ENDING", z3_counts.ENDING - by_users)
    assert z3_counts.closing_ends().figure == "a closing pool can be stuck"
    assert z3_counts.shrinking_ends().figure == "a pool above its limit can be stuck"


def test_every_rule_is_broken_by_a_bug() -> None:
    assert {name for _, _, broken in BUGS.values() for name in broken} == set(RULES)


@pytest.mark.parametrize(
    "name",
    ["closes, the upkeep goes on", "keeps surplus", "closes again"],
)
def test_a_bug_breaks_the_expected_rules(name: str) -> None:
    result = z3_counts.bugs([name])
    assert result.ok, result


def test_a_bug_that_is_not_found_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUGS, "none", (Event.OPEN, rules.transition, ("TypeOK",)))
    result = z3_counts.bugs(["none"])
    assert result.figure == "none: not found"
    assert not result.ok


def sample(rng: random.Random) -> tuple[Limits, Counts, list[int]]:
    """Draw limits, counts and choices. They are small or huge, and reachable or not."""
    top = rng.choice((1, 2, 4, 10**9))
    numbers = [rng.choice((0, rng.randint(0, top))) for _ in range(11)]
    sizes = [rng.randint(1, top), rng.randint(0, top)]
    phase, floor = rng.choice(list(phases()))
    limits = Limits(rng.randint(1, top), rng.randint(1, top))
    choices = [rng.choice((0, 1, rng.randint(0, top))) for _ in "ijk"]
    return limits, Counts._make([*numbers, *sizes, phase, floor]), choices


def values(found: Any, paths: Paths) -> list[str]:
    """Return the values of symbolic or plain numbers on the present path."""
    assert str(paths.solver.check()) == "sat"
    model = paths.solver.model()
    return [
        str(model.eval(one.term, model_completion=True)) if isinstance(one, Number) else str(one)
        for one in found
    ]


def test_the_rules_say_the_same_of_symbolic_numbers_as_of_plain_ones() -> None:
    rng = random.Random(0)
    for _ in range(40):
        limits, c, choices = sample(rng)
        for event in rng.sample(list(Event), 4):
            possible = rules.allowed(limits, c, event, *choices)
            expected: list[Any] = [possible, *(holds(limits, c) for holds in INVARIANTS.values())]
            if possible:
                expected += rules.transition(limits, c, event, *choices)
            paths = Paths()
            some_limits, some, chosen, _ = symbolic(paths, c.phase, c.floor)
            pairs = zip([*some_limits, *some, *chosen], [*limits, *c, *choices], strict=True)
            known = [one.term == value for one, value in pairs if isinstance(one, Number)]

            def run(
                limits: Any = some_limits,
                c: Counts = some,
                event: Event = event,
                choices: list[Any] = chosen,
                paths: Paths = paths,
            ) -> list[str]:
                possible = bool(rules.allowed(limits, c, event, *choices))
                found: list[Any] = [possible]
                found += [bool(holds(limits, c)) for holds in INVARIANTS.values()]
                if possible:
                    found += rules.transition(limits, c, event, *choices)
                return values(found, paths)

            assert list(paths.explore(run, *known)) == [list(map(str, expected))]


def test_the_paths_are_all_answers_and_no_other() -> None:
    paths = Paths()
    _, c, _, natural = symbolic(paths, Phase.OPEN, Floor.OFF)
    found = list(paths.explore(lambda: [c.ready > 2, c.ready > 5, c.ready == 4], *natural))
    assert len(found) == 1, "nothing is asked before a truth value is used"
    paths = Paths()
    _, c, _, natural = symbolic(paths, Phase.OPEN, Floor.OFF)
    answers = paths.explore(lambda: [bool(c.ready > 2), bool(c.ready > 5)], *natural)
    assert sorted(answers) == [[False, False], [True, False], [True, True]]
