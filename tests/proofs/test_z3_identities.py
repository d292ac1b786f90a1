"""Z3 proves the invariants of identities, of formulas that are compared with the graphs."""

from __future__ import annotations

import pytest

from nodetool.concurrency.verify._graph import Graph
from proofs import z3_bugs, z3_induction, z3_tie
from proofs.z3_identities import Actions, Step
from proofs.z3_state import CHECKING, HOLDING, OUT, UNBOUNDED, WAITING
from proofs.z3_tie import check_edges, check_points
from tests.inside import STEPS

pytestmark = pytest.mark.untraced

GRAPHS = z3_tie.GRAPHS


def test_every_invariant_is_inductive_and_every_action_possible() -> None:
    result = z3_induction.induction()
    assert result.ok, result
    for name in ("SingleHolder", "NothingLost", "NoLostWakeup", "NoDoubleRelease"):
        assert name in result.guarantee


def test_there_is_a_formula_for_every_action_in_the_graphs() -> None:
    frozen = [Graph.frozen(name) for name in GRAPHS]
    actions = {a for graph in frozen for leaving in graph.edges.values() for a, _ in leaving}
    known = z3_induction.actions_of(UNBOUNDED).named()
    assert actions == {*known, "GrowOld", "GrowStale", "TrustExpires"}  # those pass time
    assert list(known) == list(STEPS.values())
    assert set(known) == {name for name in vars(Actions) if name[0].isupper()}


@pytest.mark.parametrize(
    ("bug", "action", "expected"), z3_bugs.BUGS, ids=[bug.__name__ for bug, *_ in z3_bugs.BUGS]
)
def test_a_bad_pool_violates_what_it_is_expected_to(
    bug: type[Actions], action: str, expected: tuple[str, ...]
) -> None:
    assert z3_bugs.found_in(bug, action) == expected


@pytest.mark.parametrize("name", GRAPHS[::2])
def test_every_step_in_a_graph_satisfies_the_formula_of_its_action(name: str) -> None:
    result = check_edges(name, 80)
    assert result.ok, result


@pytest.mark.parametrize("name", GRAPHS[1::2])
def test_the_formulas_allow_no_step_that_is_not_in_the_graph(name: str) -> None:
    result = check_points(name, 8)
    assert result.ok, result


def test_a_formula_that_forbids_a_step_of_the_graph_is_reported() -> None:
    result = check_edges("Wide", 80, z3_bugs.ForgetsHandedOver)
    assert not result.ok
    assert "is not allowed: Point(phase='open'" in result.figure


class TimesOutHolders(Actions):
    """Actions in which a holder can time out."""

    def Timeout(self) -> Step:  # noqa: N802
        leaves = self.then(self.now.send(self.choices.t, OUT))
        closes = self.then(self.close_leased(), self.does(CHECKING, HOLDING), self.lease)
        return leaves.where(self.does(WAITING), closes)


def test_a_formula_that_allows_more_than_the_graph_is_reported() -> None:
    result = check_points("Wide", 10, TimesOutHolders)
    assert not result.ok
    assert "only the formulas allow: Timeout" in result.figure
    assert check_edges("Wide", 10, TimesOutHolders).ok
