"""Z3 proves the counting rules for every size, with formulas that agree with the code."""

from __future__ import annotations

import pytest

from proofs import z3_counts
from proofs.z3_agreement import agreement
from tests.inside import INVARIANTS, Counts, Event, Limits, transition

pytestmark = pytest.mark.untraced


def test_every_invariant_is_inductive_and_every_event_possible() -> None:
    result = z3_counts.induction()
    assert result.ok, result
    assert list(z3_counts.invariants(z3_counts.NOW)) == list(INVARIANTS)
    assert list(z3_counts.EVENTS) == list(Event)


def test_closing_ends() -> None:
    result = z3_counts.closing_ends()
    assert result.ok, result


def test_closing_does_not_end_if_users_keep_their_resources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = tuple(e for e in z3_counts.ENDING if e not in (Event.DISCARD, Event.DETACH))
    monkeypatch.setattr(z3_counts, "ENDING", without)
    assert z3_counts.closing_ends().figure == "a closing pool can be stuck"


@pytest.mark.parametrize("name", z3_counts.BUGS)
def test_a_seeded_bug_violates_the_expected_invariants(name: str) -> None:
    step, expected = z3_counts.BUGS[name]
    assert tuple(z3_counts.violations(step)) == expected


def test_the_formulas_allow_exactly_the_steps_of_the_code() -> None:
    result = agreement(250)
    assert result.ok, result


def hands_over_one_less(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but hand over one resource less if several acquirers wait."""
    after = transition(limits, c, event, k)
    return after._replace(in_use=after.in_use - (event is Event.GIVE_BACK and c.waiting > 1))


def test_code_that_differs_from_the_formulas_is_reported() -> None:
    result = agreement(100, hands_over_one_less)
    assert not result.ok
    assert "GiveBack of" in result.figure


@pytest.mark.parametrize("name", INVARIANTS)
def test_an_invariant_that_is_weaker_in_the_code_than_in_its_formula_is_reported(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INVARIANTS, name, lambda _limits, _counts: True)
    result = agreement(100)
    assert result.figure.startswith(f"{name} of")
