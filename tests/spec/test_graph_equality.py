"""The machine's transition graph equals the specification's, edge for edge, in both directions.

The machine runs on a clock. In the specification, limits pass in every order. So only edges on
which time passes may be left over, and their exact number is recorded here. Machines with one bug
each and damaged graphs show that these tests can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nodetool.concurrency.verify import _walk
from nodetool.concurrency.verify._graph import FROZEN, MODELS, Graph
from nodetool.concurrency.verify._walk import (
    Comparison,
    RefusalError,
    World,
    by_contents,
    compare,
)
from proofs import concrete_walks
from proofs.broken_machines import (
    BROKEN,
    WRONG_OUTPUTS,
    AsksForNoCreation,
    CountsRefusedReleases,
    KeepsOnTheWrongSide,
    SweepsLate,
    difference,
)
from proofs.checkers import UNTAKEN
from proofs.inside import Machine
from spec import manifest
from spec.tla import ModelConfig
from spec.tlc import MODELS as MODEL_FILES
from tests.verify.samples import walked_graph

pytestmark = pytest.mark.untraced

frozen = Graph.frozen

LARGE = (
    "Checked",
    "Deep",
    "Doubtful",
    "Wide",
)  # `make verify` compares them too; they take a minute here


@pytest.mark.parametrize("name", [name for name in FROZEN if name not in LARGE])
def test_the_machine_s_graph_equals_the_specification_s(name: str) -> None:
    graph = frozen(name)
    assert len(graph.edges) > 5_000 or name not in MODELS
    assert graph.steps > (50_000 if name in MODELS else 1_000)
    found = compare(graph)
    assert found.problem == ""
    assert (found.states, found.edges) == (len(graph.edges), graph.steps)
    assert found.unvisited == 0
    assert found.untaken == UNTAKEN.get(name, 0)


def test_another_number_of_untaken_edges_is_reported() -> None:
    found = Comparison(1, 2, 3, 0, 4)
    assert concrete_walks.mismatch(found, 4) == ""
    assert concrete_walks.mismatch(found, 5) == (
        "0 states are not visited, 4 edges are not taken, expected 0 and 5"
    )


def test_removed_entries_and_deadlines_make_no_difference() -> None:
    assert concrete_walks.check("Single") == ("Single", "")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Comparison(1, 2, 1_750, 0, 0, "another graph"), "another graph"),
        (Comparison(1, 2, 1_750, 3, 4), "3 states are not visited, 4 edges are not taken"),
        (Comparison(1, 2, 7, 0, 0), "7 worlds, expected 1,750"),
    ],
)
def test_another_result_of_a_concrete_walk_is_reported(
    found: Comparison, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concrete_walks, "compare", lambda *_, **__: found)
    assert concrete_walks.check("Single") == ("Single", said)


def test_the_frozen_graphs_are_those_of_the_manifest() -> None:
    entries = manifest.read()
    assert set(FROZEN) == {entry.name for entry in entries.values() if entry.frozen}


@pytest.mark.parametrize(
    ("model", "same"), [("Refinement", "Checked"), ("Serving", "Ending"), ("Failing", "Ending")]
)
def test_a_model_without_a_frozen_graph_has_the_graph_of_another(model: str, same: str) -> None:
    configs = [ModelConfig.read(MODEL_FILES / f"{name}.cfg") for name in (model, same)]
    assert configs[0].constants == configs[1].constants


# `make verify` compares all machines with a bug. Here is a quarter of them, without the slow ones.
SLOW = ("SweepsLate", "TrustsAfterFailedCheck")

TOLD_APART: list[tuple[Machine, str]] = [
    *((machine, name) for _, machine, name in BROKEN[::4] if machine.__name__ not in SLOW),
    (KeepsOnTheWrongSide, "Deep"),
]


@pytest.mark.parametrize(
    ("machine", "name"), TOLD_APART, ids=[machine.__name__ for machine, _ in TOLD_APART]
)
def test_the_shortest_path_to_a_bug_of_a_machine_is_reported(machine: Machine, name: str) -> None:
    said = difference(frozen(name), machine)
    assert said != ""
    if not said.startswith(("output", "refusal", "crash")):
        path = said.splitlines()[0].split(": ")[1].split(" -> ")
        assert 1 < len(path) < 10, said


def test_a_late_sweep_shows_only_if_deadlines_tell_worlds_apart() -> None:
    graph = frozen("Restoring")
    constants = graph.constants | {"MinSize": 0, "Ages": False, "Retires": False, "Leaves": False}
    small = walked_graph(constants | {"Tasks": ("a", "b"), "Resources": (1, 2)})
    assert compare(small, SweepsLate).problem == ""
    assert "the machine allows, the" in compare(small, SweepsLate, by_contents).problem


class WorldOfStates(World):
    """A world that compares no outputs."""

    def _check_outputs(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("machine", WRONG_OUTPUTS)
def test_a_wrong_output_is_reported_although_all_states_are_right(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = frozen("Single")
    assert difference(graph, machine).startswith("output: ")
    right = compare(graph)
    monkeypatch.setattr(_walk, "World", WorldOfStates)
    found = compare(graph, machine)
    # A creation gets its name from the outbox, so the states miss one that nobody asked for.
    assert (found == right) is (machine is not AsksForNoCreation), found


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
        frozen("Deep").constants | {"MaxSize": 1, "MinSize": 0, "MaxCreating": 1, "Resources": (1,)}
    )


@pytest.mark.parametrize(
    ("damage", "direction"),
    [
        (without_last_edge, "the machine allows, the specification does not"),
        (with_one_more_edge, "the specification allows, the machine does not"),
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
    assert "starts in" in compare(replace(small, initial=foreign)).problem
