"""The machine's transition graph equals the specification's, edge for edge, in both directions.

Machines with one bug each and damaged graphs show that these tests can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nodetool.concurrency.verify._graph import FROZEN, MODELS, Graph
from nodetool.concurrency.verify._walk import RefusalError, explore, first_difference
from proofs.broken_machines import (
    BROKEN,
    UNSEEN_IN_GRAPHS,
    CountsRefusedReleases,
    ShelvesAtTheWrongEnd,
    difference,
)
from proofs.inside import Machine
from spec import manifest
from spec.tla import ModelConfig
from spec.tlc import MODELS as MODEL_FILES

frozen = Graph.frozen


@pytest.mark.parametrize("name", FROZEN)
def test_the_machine_s_graph_equals_the_specification_s(name: str) -> None:
    graph = frozen(name)
    assert len(graph.edges) > 5_000 or name not in MODELS
    assert graph.steps > (50_000 if name in MODELS else 1_000)
    assert first_difference(graph) is None


def test_the_frozen_graphs_are_those_of_the_manifest() -> None:
    entries = manifest.read()
    assert set(FROZEN) == {entry.name for entry in entries.values() if entry.frozen}


@pytest.mark.parametrize(
    ("model", "same"), [("Refinement", "Checked"), ("Serving", "Ending"), ("Failing", "Ending")]
)
def test_a_model_without_a_frozen_graph_has_the_graph_of_another(model: str, same: str) -> None:
    configs = [ModelConfig.read(MODEL_FILES / f"{name}.cfg") for name in (model, same)]
    assert configs[0].constants == configs[1].constants


TOLD_APART: list[tuple[Machine, str]] = [
    *((machine, name) for _, machine, name in BROKEN if machine not in UNSEEN_IN_GRAPHS),
    (ShelvesAtTheWrongEnd, "Deep"),
]


@pytest.mark.parametrize(
    ("machine", "name"), TOLD_APART, ids=[machine.__name__ for machine, _ in TOLD_APART]
)
def test_the_shortest_path_to_a_bug_of_a_machine_is_reported(machine: Machine, name: str) -> None:
    told = difference(frozen(name), machine)
    assert told is not None
    if not told.startswith(("refusal", "crash")):
        path = told.splitlines()[0].split(": ")[1].split(" -> ")
        assert 1 < len(path) < 10, told


def test_a_refused_step_that_changes_something_is_reported() -> None:
    with pytest.raises(RefusalError, match=r"Release.* was refused but changed"):
        first_difference(frozen("Wide"), CountsRefusedReleases)


def without_last_edge(graph: Graph) -> Graph:
    state, edges = next((s, e) for s, e in reversed(graph.edges.items()) if e)
    return replace(graph, edges=graph.edges | {state: edges - {min(edges)}})


def with_one_more_edge(graph: Graph) -> Graph:
    state, edges = next(reversed(graph.edges.items()))
    return replace(graph, edges=graph.edges | {state: edges | {("Close", graph.initial)}})


@pytest.mark.parametrize(
    ("damage", "direction"),
    [
        (without_last_edge, "the machine allows, the specification does not"),
        (with_one_more_edge, "the specification allows, the machine does not"),
    ],
)
def test_a_damaged_graph_differs(damage: Callable[[Graph], Graph], direction: str) -> None:
    small = explore(frozen("Deep").constants | {"MaxSize": 1, "MinSize": 0, "MaxCreating": 1})
    assert first_difference(small) is None
    told = first_difference(damage(small))
    assert told is not None
    assert told.startswith(direction)


def test_a_graph_with_a_missing_or_foreign_state_differs() -> None:
    small = explore(frozen("Deep").constants | {"MaxSize": 1, "MinSize": 0, "MaxCreating": 1})
    foreign = small.initial._replace(phase="closing")
    more = replace(small, edges=small.edges | {foreign: frozenset()})
    assert "states" in str(first_difference(more))
    assert "starts in" in str(first_difference(replace(small, initial=foreign)))
