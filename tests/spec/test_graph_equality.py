"""The machine's transition graph equals the specification's, edge for edge, in both directions.

The machine runs on a clock. In the specification, limits pass in every order. So only edges on
which time passes may be left over, and their exact number is recorded here. Machines with one bug
each and damaged graphs show that these tests can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._walk import (
    Comparison,
    Move,
    RefusalError,
    World,
    by_contents,
    compare,
)
from proofs import graph_walks
from proofs.broken_machines import (
    BROKEN,
    AsksForNoCheck,
    AsksForNoCloser,
    AsksForNoCreation,
    CountsRefusedReleases,
    SweepsLate,
    WakesNobodyAtHandOver,
    difference,
)
from proofs.graph_walks import UNTAKEN, WORLDS, mismatch
from proofs.inside import Machine
from proofs.places import SAME_GRAPHS
from spec.tla import ModelConfig
from spec.tlc import MODELS as MODEL_FILES
from tests.spec.test_graph import frozen
from tests.verify.samples import walked_graph

pytestmark = pytest.mark.untraced

COMPARED = ("SingleChecked", "Lowering", "Single", "Rotating", "Shrinking")
"""Small models. `make verify` compares all."""


@cache
def right(name: str) -> Comparison:
    """Compare the machine with the graph of a model."""
    return compare(frozen(name))


@pytest.mark.parametrize("name", COMPARED)
def test_the_machine_s_graph_equals_the_specification_s(name: str) -> None:
    graph = frozen(name)
    assert graph.steps > 2_500
    found = right(name)
    assert mismatch(name, found) == ""
    assert (found.states, found.edges) == (len(graph.edges), graph.steps)
    assert found.worlds >= found.states
    assert found.unvisited == 0
    assert found.untaken == UNTAKEN.get(name, 0)


def test_another_number_of_untaken_edges_is_reported() -> None:
    found = Comparison(1, 2, 3, 0, UNTAKEN["Deep"])
    assert mismatch("Deep", found) == ""
    assert mismatch("Wide", found) == "0 states are not visited, 228 edges are not taken"
    assert mismatch("Deep", found._replace(problem="another graph")) == "another graph"


def test_removed_entries_and_deadlines_make_no_difference() -> None:
    assert graph_walks.check_contents("Lowering") == ("Lowering", "")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Comparison(1, 2, WORLDS["Single"], 0, 0, "another graph"), "another graph"),
        (
            Comparison(1, 2, WORLDS["Single"], 3, 4),
            "3 states are not visited, 4 edges are not taken",
        ),
        (Comparison(1, 2, 7, 0, 0), f"7 worlds, expected {WORLDS['Single']:,}"),
    ],
)
def test_another_result_of_a_walk_with_contents_is_reported(
    found: Comparison, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_walks, "compare", lambda *_, **__: found)
    assert graph_walks.check_contents("Single") == ("Single", said)


def test_only_models_with_a_frozen_graph_are_named() -> None:
    assert {*UNTAKEN, *WORLDS, *COMPARED} <= set(FROZEN)
    assert {*SLOW} <= {machine.__name__ for _, machine, _ in BROKEN}


@pytest.mark.parametrize("model", SAME_GRAPHS)
def test_a_model_without_a_frozen_graph_has_the_graph_of_ending(model: str) -> None:
    config = ModelConfig.read(MODEL_FILES / f"{model}.cfg")
    assert config.constants == frozen("Ending").constants


# `make verify` compares the machines whose bug shows late, too.
SLOW = (
    "ChecksAgainAtResume",
    "ChecksOnAfterFailure",
    "ForgetsDeadlineAtResize",
    "GivesUpFloor",
    "IgnoresFifo",
    "IgnoresResize",
    "KeepsOnTheWrongSide",
    "PrunesNewestFirst",
    "ShrinksNewestFirst",
    "TakesTheWrongEnd",
    "TrustsAfterFailedCheck",
)
TOLD_APART = [(machine, name) for _, machine, name in BROKEN if machine.__name__ not in SLOW]


@pytest.mark.parametrize(
    ("machine", "name"), TOLD_APART, ids=[machine.__name__ for machine, _ in TOLD_APART]
)
def test_the_shortest_path_to_a_bug_of_a_machine_is_reported(machine: Machine, name: str) -> None:
    said = difference(frozen(name), machine)
    assert said != ""
    if not said.startswith(("output", "refusal", "crash")):
        path = said.splitlines()[0].split(": ")[1].split(" -> ")
        assert 1 < len(path) < 10, said


class WorldOfStates(World):
    """A world that compares no outputs."""

    def step(self, move: Move, args: tuple[Any, ...]) -> Any:
        return self.take(move.action, args)


def test_a_late_sweep_shows_only_if_contents_tell_worlds_apart() -> None:
    """Leave out the predicates of a step, which notice the late sweep at once."""
    small = walked_graph(frozen("Lowering").constants | {"MinSizes": (0,), "Resources": (1, 2)})
    assert difference(small, SweepsLate).startswith("output: ")
    assert compare(small, SweepsLate, WorldOfStates).problem == ""
    late = compare(small, SweepsLate, WorldOfStates, by_contents)
    assert late.problem.startswith("only the machine allows: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (WakesNobodyAtHandOver, "Lowering"),
        (AsksForNoCloser, "Single"),
        (AsksForNoCheck, "SingleChecked"),
        (AsksForNoCreation, "Lowering"),
    ],
)
def test_a_wrong_output_is_reported_although_all_states_are_right(
    machine: Machine, name: str
) -> None:
    assert difference(frozen(name), machine).startswith("output: ")
    found = compare(frozen(name), machine, WorldOfStates)
    # A creation gets its name from the outbox, so the states miss one that nobody asked for.
    assert (found == right(name)) is (machine is not AsksForNoCreation), found


def test_a_refused_step_that_changes_something_is_reported() -> None:
    with pytest.raises(RefusalError, match=r"Release.* was refused but changed"):
        compare(frozen("Wide"), CountsRefusedReleases)


def without_last_edge(graph: Graph) -> Graph:
    state, edges = next((s, e) for s, e in reversed(graph.edges.items()) if e)
    return replace(graph, edges=graph.edges | {state: edges - {min(edges)}})


def with_one_more_edge(graph: Graph) -> Graph:
    state, edges = next(reversed(graph.edges.items()))
    return replace(graph, edges=graph.edges | {state: edges | {("Close", graph.initial)}})


def small_graph() -> Graph:
    """Walk the machine with one resource."""
    return walked_graph(
        frozen("Deep").constants
        | {"MaxSizes": (1,), "MinSizes": (0,), "MaxCreating": 1, "Resources": (1,)}
    )


@pytest.mark.parametrize(
    ("damage", "direction"),
    [
        (without_last_edge, "only the machine allows: "),
        (with_one_more_edge, "only the specification allows: "),
    ],
)
def test_a_damaged_graph_differs(damage: Callable[[Graph], Graph], direction: str) -> None:
    small = small_graph()
    assert compare(small).problem == ""
    assert compare(damage(small)).problem.startswith(direction)


def test_an_edge_on_which_time_passes_and_that_no_clock_takes_is_counted() -> None:
    small = small_graph()
    state, edges = next(reversed(small.edges.items()))
    late = replace(small, edges=small.edges | {state: edges | {("GrowOld", small.initial)}})
    assert compare(late) == compare(small)._replace(edges=small.steps + 1, untaken=1)


def test_a_state_that_the_machine_does_not_reach_is_counted() -> None:
    small = small_graph()
    foreign = small.initial._replace(phase="closing")
    more = replace(small, edges=small.edges | {foreign: frozenset()})
    assert compare(more) == compare(small)._replace(states=len(small.edges) + 1, unvisited=1)
    for wrong in (replace(more, initial=foreign), replace(small, others=frozenset({foreign}))):
        assert " starts in " in compare(wrong).problem
