"""Z3 proves the guarantees about identities, of formulas that are compared with the graphs.

Each test of graphs, rules and bugs takes a part. `python -m proofs.z3_identities` takes all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._walk import TIME
from proofs import z3_bugs, z3_choices, z3_identities, z3_tie
from proofs.z3_claims import POOL
from proofs.z3_induction import Answer
from proofs.z3_state import WAITING, Formula, State, Term
from proofs.z3_steps import ACTIONS, Actions
from proofs.z3_tie import EVENTS, check_edges, check_states
from tests import inside
from tests.inside import Event

pytestmark = pytest.mark.untraced


def test_every_claim_is_inductive_and_every_action_possible() -> None:
    found = z3_identities.answers()
    result = z3_identities.induction(found)
    assert result.ok, result
    assert "inductive over 25 actions" in result.figure
    table = z3_identities.table(found)
    for name in POOL.names():
        assert name in result.guarantee
        assert f"\n{name} " in table
    assert "FAIL" not in table


def test_a_claim_that_does_not_hold_is_reported() -> None:
    found = {"Sweep": [Answer("SingleHolder", False, 0.1), Answer("TypeOK", True, 0.1)]}
    assert z3_identities.violated(found) == ["Sweep violates SingleHolder"]
    assert "FAIL" in z3_identities.table(found)


def test_there_is_a_formula_for_every_action_and_an_event_for_each() -> None:
    assert {name for name in vars(Actions) if name[0].isupper()} == set(ACTIONS)
    assert (*inside.STEPS.values(), *sorted(TIME)) == ACTIONS
    frozen = [Graph.frozen(name) for name in z3_tie.SMALL]
    drawn = {action for one in frozen for leaving in one.edges.values() for action, _ in leaving}
    assert drawn <= set(ACTIONS)
    assert list(EVENTS) == list(ACTIONS)
    for action, events in inside.EVENTS.items():
        assert set(EVENTS[action]) - {None} == set(events) - {None}, action


def enough_bugs() -> list[Any]:
    """Choose bad pools that violate all claims together."""
    chosen: list[Any] = []
    violated: set[str] = set()
    for bug in sorted(z3_bugs.BUGS, key=lambda bug: -len(bug[2])):
        if not {*bug[2]} <= violated:
            chosen.append(bug)
            violated |= {*bug[2]}
    return chosen


def test_every_claim_is_violated_by_a_bad_pool() -> None:
    assert {name for bug in enough_bugs() for name in bug[2]} == {*POOL.names()}


@pytest.mark.parametrize("bug", enough_bugs(), ids=lambda bug: bug[0].__name__)
def test_a_bad_pool_violates_what_it_is_expected_to(bug: Any) -> None:
    assert z3_bugs.refuted(*bug) == ""


def test_a_bad_pool_that_is_not_found_is_reported() -> None:
    assert z3_bugs.refuted(Actions, "Sweep", ("TypeOK",)) == "Actions: not found"


@pytest.mark.parametrize("claim", z3_choices.ABOUT_RULES)
def test_the_formulas_assume_about_choices_what_the_rules_keep(claim: Any) -> None:
    answer = z3_choices.prove(claim)
    assert answer.problem == ""
    assert answer.says


def test_an_event_leads_to_possible_numbers_before_the_step_settles() -> None:
    result = z3_choices.prove_middle(Event.RETRY_FLOOR)
    assert result.problem == ""
    assert result.reached


@pytest.mark.parametrize(("claim", "rule", "wrong"), z3_choices.BUGS[2:6])
def test_a_wrong_rule_is_refuted(claim: Any, rule: str, wrong: Callable[..., Any]) -> None:
    problem = z3_choices.prove(claim, **{rule: wrong}).problem
    assert problem.startswith(f"{claim.__name__}: [")


@pytest.mark.parametrize("name", ["Aging", "Rotating"])
def test_every_edge_of_a_graph_satisfies_the_formula_of_its_action(name: str) -> None:
    result = check_edges(name, 15)
    assert result.ok, result


@pytest.mark.parametrize("name", ["Lowering", "SingleChecked"])
def test_the_formulas_allow_no_edge_that_is_not_in_the_graph(name: str) -> None:
    result = check_states(name, 6)
    assert result.ok, result


def test_a_formula_that_forbids_an_edge_of_the_graph_is_reported() -> None:
    result = check_edges("SingleChecked", 80, z3_bugs.ForgetsHandedOver)
    assert not result.ok
    assert "Cancel is not allowed: State(phase=" in result.figure


class ServesAnybody(Actions):
    """Actions in which any waiter may be served."""

    def is_first(self, s: State, t: Term) -> Formula:
        return s.task(t) == WAITING


def test_a_formula_that_allows_more_than_the_graph_is_reported() -> None:
    result = check_states("SingleChecked", 20, ServesAnybody)
    assert not result.ok
    assert "only the formulas allow: " in result.figure
    assert check_edges("SingleChecked", 5, ServesAnybody).ok
