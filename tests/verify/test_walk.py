"""The walk of a machine with few tasks and resources, and its report of a bug."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._mapping import UnmappedError
from nodetool.concurrency.verify._walk import (
    LATE,
    SOON,
    TIME,
    Move,
    OutputError,
    RefusalError,
    World,
    by_contents,
    compare,
)
from proofs.broken_machines import (
    ClosesTwice,
    CountsRefusedReleases,
    KeepsLeaseMark,
    SweepsLate,
    TimesOutAndStays,
)
from tests.inside import Machine, PoolMachine, next_sweep, set_next_sweep
from tests.verify.samples import walked_graph


@pytest.fixture(scope="session")
def graph(small_graphs: Path) -> Graph:
    return Graph.load(small_graphs / "Wide.graph.gz")


@pytest.mark.untraced
@pytest.mark.parametrize("name", FROZEN)
def test_the_machine_equals_its_own_graph(name: str, small_graphs: Path) -> None:
    small = Graph.load(small_graphs / f"{name}.graph.gz")
    assert len(small.edges) > 10
    found = compare(small)
    assert (found.states, found.edges) == (len(small.edges), small.steps)
    assert found.worlds >= found.states
    assert (found.unvisited, found.untaken, found.problem) == (0, 0, "")


def test_a_model_may_leave_out_discard_detach_terminate_and_retire_all(graph: Graph) -> None:
    small = walked_graph(graph.constants | {"Leaves": False, "Retires": False, "Idles": True})
    actions = {action for edges in small.edges.values() for action, _ in edges}
    assert not actions & {"Discard", "Detach", "Terminate", "RetireAll"}
    assert actions > {"Release", "GrowOld", "GrowStale"}


@pytest.mark.parametrize(("action", "age"), [("GrowOld", SOON), ("GrowStale", LATE)])
@pytest.mark.parametrize("watches", [True, False])
def test_the_machine_notices_time_only_if_it_watches_it(
    graph: Graph, action: str, age: int, watches: bool
) -> None:
    world = World(graph.constants | {"Idles": True})
    for move in (
        Move("Acquire", "a"),
        Move("CreateSucceeded", 1, age),
        Move("Resume", "a"),
        Move("Release", 1),
    ):
        world.make(move)
    machine = world.machine
    if not watches:
        set_next_sweep(machine, float("inf"))
    world.make(Move(action, 1))
    assert (next_sweep(machine) <= world.now) == watches
    state = world.state(world.now)
    assert (state.old | state.stale) == {1}


def test_a_step_comes_before_the_next_limit(graph: Graph) -> None:
    world = World(graph.constants | {"Idles": True})
    world.make(Move("Open"))
    world.make(Move("Acquire", "a"))
    world.make(Move("CreateSucceeded", 1, SOON))
    times = [world.now]
    for _ in range(5):
        world.make(Move("Sweep"))
        times.append(world.now)
        assert not world.state(world.now).old
    assert times == sorted(set(times))
    assert [move for move in world.moves() if move.action in TIME] == [Move("GrowOld", 1)]


def test_an_edge_too_many_or_too_few_is_reported_with_the_path_to_it(graph: Graph) -> None:
    state, edges = next((s, e) for s, e in reversed(graph.edges.items()) if e)
    fewer = replace(graph, edges=graph.edges | {state: edges - {min(edges)}})
    problem = compare(fewer).problem
    assert problem.startswith("the machine allows, the specification does not: ")
    assert " -> " in problem
    more = replace(graph, edges=graph.edges | {state: edges | {("Close", graph.initial)}})
    assert "the specification allows, the machine does not: " in compare(more).problem


def test_a_missing_or_foreign_state_is_reported(graph: Graph) -> None:
    foreign = graph.initial._replace(phase="closing")
    more = replace(graph, edges=graph.edges | {foreign: frozenset()})
    assert compare(more).unvisited == 1
    assert "the machine starts in" in compare(replace(graph, initial=foreign)).problem


def test_an_edge_on_which_time_passes_is_counted_if_no_clock_takes_it(graph: Graph) -> None:
    state, edges = next(reversed(graph.edges.items()))
    for untaken, action in enumerate(TIME, 1):
        edges |= {(action, graph.initial)}
        found = compare(replace(graph, edges=graph.edges | {state: edges}))
        assert (found.untaken, found.problem) == (untaken, "")


def test_a_machine_with_a_bug_differs_from_the_graph(graph: Graph) -> None:
    problem = compare(graph, TimesOutAndStays).problem
    assert problem.startswith("the machine allows, the specification does not: Acquire -> ")


@pytest.mark.parametrize(
    ("machine", "broken"),
    [
        (ClosesTwice, "CloserEnded 1: closed_exactly_once"),
        (KeepsLeaseMark, "Release 1: lease_is_over"),
    ],
)
def test_wrong_outputs_of_a_step_are_reported(graph: Graph, machine: Machine, broken: str) -> None:
    with pytest.raises(OutputError, match=f"^{broken} does not hold"):
        compare(graph, machine)


class KeepsMarksAtTheEnd(PoolMachine[Any]):
    """A machine whose terminate() leaves contexts their leases."""

    def terminate(self) -> None:
        marks = [(slot, slot.context) for slot in self.slots()]
        super().terminate()
        for slot, context in marks:
            slot.context = context


def test_a_lease_mark_that_outlives_its_lease_is_reported(graph: Graph) -> None:
    with pytest.raises(OutputError, match=r"^Terminate: slot 1 .* keeps its lease mark"):
        compare(graph, KeepsMarksAtTheEnd)


def test_a_lease_mark_that_is_lost_between_two_steps_is_reported(graph: Graph) -> None:
    world = World(graph.constants)
    for move in (Move("Acquire", "a"), Move("CreateSucceeded", 1), Move("Resume", "a")):
        world.make(move)
    assert world.named[1].context == "context of a"
    world.named[1].context = None
    with pytest.raises(OutputError, match=r"^Sweep: slot 1 .* has lost its lease mark"):
        world.make(Move("Sweep"))


class CreatesTooMany(PoolMachine[Any]):
    """A machine that creates one resource more than the limits allow."""

    def acquire(self, now: float) -> Any:
        limits = self._limits
        self._limits = limits._replace(max_size=limits.max_size + 1, max_creating=2)
        try:
            return super().acquire(now)
        finally:
            self._limits = limits


def test_more_slots_than_the_model_has_names_for_are_reported(graph: Graph) -> None:
    with pytest.raises(UnmappedError, match="more slots than the model has names"):
        compare(graph, CreatesTooMany)


def test_a_walk_by_contents_tells_more_worlds_apart(small_graphs: Path) -> None:
    small = Graph.load(small_graphs / "Restoring.graph.gz")
    found = compare(small, key=by_contents)
    assert found.problem == ""
    assert found.worlds > compare(small).worlds
    assert compare(small, SweepsLate, by_contents).problem


def test_a_refused_step_that_changes_something_is_reported(graph: Graph) -> None:
    with pytest.raises(RefusalError, match=r"Release.* was refused but changed"):
        compare(graph, CountsRefusedReleases)
