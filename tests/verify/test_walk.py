"""The walk of a machine with few tasks and resources, and its report of a bug."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._walk import NOW, RefusalError, World, explore, first_difference
from proofs.broken_machines import ClosesTwice, CountsRefusedReleases, TimesOutAndStays
from tests.inside import Machine, next_sweep, set_next_sweep


@pytest.fixture(scope="session")
def graph(small_graphs: Path) -> Graph:
    return Graph.load(small_graphs / "Wide.graph.gz")


@pytest.mark.parametrize("name", FROZEN)
def test_the_machine_equals_its_own_graph(name: str, small_graphs: Path) -> None:
    small = Graph.load(small_graphs / f"{name}.graph.gz")
    assert len(small.edges) > 10
    assert first_difference(small) is None


def test_a_model_may_leave_out_discard_detach_terminate_and_retire_all(graph: Graph) -> None:
    small = explore(graph.constants | {"Leaves": False, "Retires": False, "Idles": True})
    actions = {action for edges in small.edges.values() for action, _ in edges}
    assert not actions & {"Discard", "Detach", "Terminate", "RetireAll"}
    assert actions > {"Release", "GrowOld", "GrowStale"}


@pytest.mark.parametrize("action", ["GrowOld", "GrowStale"])
@pytest.mark.parametrize("watches", [True, False])
def test_the_machine_notices_time_only_if_it_watches_it(
    graph: Graph, action: str, watches: bool
) -> None:
    world = World(graph.constants | {"Idles": True})
    for step in (("Acquire", "a"), ("CreateSucceeded", 1), ("Resume", "a"), ("Release", 1)):
        world.make(step)
    machine = world.machine
    if not watches:
        set_next_sweep(machine, float("inf"))
    world.make((action, 1))
    assert (next_sweep(machine) <= NOW) == watches
    state = world.read(NOW)
    assert (state.old | state.stale) == {1}


def test_an_edge_too_many_or_too_few_is_reported_with_the_path_to_it(graph: Graph) -> None:
    state, edges = next((s, e) for s, e in reversed(graph.edges.items()) if e)
    fewer = replace(graph, edges=graph.edges | {state: edges - {min(edges)}})
    told = str(first_difference(fewer))
    assert told.startswith("the machine allows, the specification does not: ")
    assert " -> " in told
    more = replace(graph, edges=graph.edges | {state: edges | {("Close", graph.initial)}})
    assert "the specification allows, the machine does not: " in str(first_difference(more))


def test_a_missing_or_foreign_state_is_reported(graph: Graph) -> None:
    foreign = graph.initial._replace(phase="closing")
    more = replace(graph, edges=graph.edges | {foreign: frozenset()})
    assert "states" in str(first_difference(more))
    assert "the machine starts in" in str(first_difference(replace(graph, initial=foreign)))


@pytest.mark.parametrize("machine", [ClosesTwice, TimesOutAndStays])
def test_a_machine_with_a_bug_differs_from_the_graph(graph: Graph, machine: Machine) -> None:
    told = str(first_difference(graph, machine))
    assert told.startswith("the machine allows, the specification does not: Acquire -> ")


def test_a_refused_step_that_changes_something_is_reported(graph: Graph) -> None:
    with pytest.raises(RefusalError, match=r"Release.* was refused but changed"):
        first_difference(graph, CountsRefusedReleases)
