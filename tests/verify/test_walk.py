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
    walk,
)
from proofs.broken_machines import (
    AsksForNoCheck,
    ClosesTwice,
    CountsRefusedReleases,
    KeepsItsDisowned,
    KeepsLeaseMark,
    SweepsLate,
    TimesOutAndStays,
    WakesNobodyAtHandOver,
)
from tests.inside import Limits, Machine, Mapping, PoolMachine, next_sweep, set_next_sweep
from tests.verify.samples import walked_graph


@pytest.fixture(scope="session")
def graph(small_graphs: Path) -> Graph:
    return Graph.load(small_graphs / "Wide.graph.gz")


def small_world(graph: Graph, **constants: bool) -> World:
    return World(graph.constants | constants, (1, 0), PoolMachine)


@pytest.mark.untraced
@pytest.mark.parametrize("name", FROZEN)
def test_the_machine_equals_its_own_graph(name: str, small_graphs: Path) -> None:
    small = Graph.load(small_graphs / f"{name}.graph.gz")
    assert len(small.edges) > 10
    found = compare(small)
    assert (found.states, found.edges) == (len(small.edges), small.steps)
    assert found.worlds >= found.states
    assert (found.unvisited, found.untaken, found.problem) == (0, 0, "")


LIMITED = {"Leaves": False, "Retires": False, "Ages": True, "Idles": True}


def test_a_model_may_leave_out_discard_detach_terminate_and_retire_all(graph: Graph) -> None:
    small = walked_graph(graph.constants | LIMITED)
    actions = {action for edges in small.edges.values() for action, _ in edges}
    assert not actions & {"Discard", "Detach", "Terminate", "RetireAll"}
    assert actions > {"Release", "GrowOld", "GrowStale"}


@pytest.mark.parametrize(("action", "age"), [("GrowOld", SOON), ("GrowStale", LATE)])
@pytest.mark.parametrize("watches", [True, False])
def test_the_machine_notices_time_only_if_it_watches_it(
    graph: Graph, action: str, age: int, watches: bool
) -> None:
    world = small_world(graph, Ages=True, Idles=True)
    for move in (
        Move("Acquire", "a"),
        Move("CreateSucceeded", 1, age),
        Move("Resume", "a"),
        Move("Release", "a"),
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
    world = small_world(graph, Ages=True, Idles=True)
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
    assert problem.startswith("only the machine allows: ")
    assert " -> " in problem
    more = replace(graph, edges=graph.edges | {state: edges | {("Close", graph.initial)}})
    assert "only the specification allows: " in compare(more).problem


def test_a_missing_or_foreign_state_is_reported(graph: Graph) -> None:
    foreign = graph.initial._replace(phase="closing")
    more = replace(graph, edges=graph.edges | {foreign: frozenset()})
    assert compare(more).unvisited == 1
    other = replace(graph, initial=foreign)
    assert compare(other).problem.startswith("only the specification starts in State(phase='clos")
    fewer = replace(graph, initial=foreign, edges=graph.edges | {foreign: frozenset()})
    assert compare(fewer).problem.startswith("only the specification starts in State(phase='clos")
    assert (compare(fewer).worlds, compare(fewer).states) == (0, len(fewer.edges))


def test_an_edge_on_which_time_passes_is_counted_if_no_clock_takes_it(graph: Graph) -> None:
    state, edges = next(reversed(graph.edges.items()))
    for untaken, action in enumerate(TIME, 1):
        edges |= {(action, graph.initial)}
        found = compare(replace(graph, edges=graph.edges | {state: edges}))
        assert (found.untaken, found.problem) == (untaken, "")


def test_a_machine_with_a_bug_differs_from_the_graph(graph: Graph) -> None:
    problem = compare(graph, TimesOutAndStays).problem
    assert problem.startswith("only the machine allows: Acquire -> ")


class KeepsMarksAtTheEnd(PoolMachine[Any]):
    """A machine whose terminate() leaves contexts their leases."""

    def terminate(self) -> None:
        marks = [(slot, slot.context) for slot in self.slots()]
        super().terminate()
        for slot, context in marks:
            slot.context = context


class AnswersNo(PoolMachine[Any]):
    """A machine that lets the runtime perform no effect of a release."""

    def release(self, slot: Any, now: float) -> bool:
        super().release(slot, now)
        return False


@pytest.mark.parametrize(
    ("machine", "broken"),
    [
        (ClosesTwice, "CloserEnded 1: closed_exactly_once and idle_limits_are_set"),
        (KeepsLeaseMark, "Release a: lease_is_over"),
        (AnswersNo, "Release a: release_answers"),
        (KeepsMarksAtTheEnd, "Terminate: terminate_forgets"),
    ],
)
def test_wrong_outputs_of_a_step_are_reported(graph: Graph, machine: Machine, broken: str) -> None:
    with pytest.raises(OutputError, match=f"^{broken} does not hold"):
        compare(graph, machine)


def test_a_lease_mark_that_is_lost_is_reported(graph: Graph) -> None:
    class Loses(PoolMachine[Any]):
        """A machine that takes the lease from its context when the pool is opened again."""

        def open(self) -> None:
            super().open()
            for slot in self.lent():
                slot.context = None

    world = World(graph.constants, (1, 0), Loses)
    for move in (Move("Acquire", "a"), Move("CreateSucceeded", 1), Move("Resume", "a")):
        world.make(move)
    assert world.named[1].context == "context of a"
    with pytest.raises(OutputError, match=r"^Open: leases_last does not hold"):
        world.make(Move("Open"))


class CreatesTooMany(PoolMachine[Any]):
    """A machine that creates one resource more than the limit allows."""

    def acquire(self, now: float) -> Any:
        self._max_size, self._limits = 2, Limits(2, self._limits.max_waiting)
        try:
            return super().acquire(now)
        finally:
            self._max_size = 1


def test_more_slots_than_the_model_has_names_for_are_reported(graph: Graph) -> None:
    with pytest.raises(UnmappedError, match="more slots than the model has names"):
        compare(graph, CreatesTooMany)


def test_a_walk_by_contents_tells_more_worlds_apart(small_graphs: Path) -> None:
    small = Graph.load(small_graphs / "Restoring.graph.gz")
    found = compare(small, key=by_contents)
    assert (found.unvisited, found.untaken, found.problem) == (0, 0, "")
    assert found.worlds > compare(small).worlds
    assert compare(small, KeepsItsDisowned, key=by_contents).problem


def test_a_refused_step_that_changes_something_is_reported(graph: Graph) -> None:
    with pytest.raises(RefusalError, match=r"Release.* was refused but changed"):
        compare(graph, CountsRefusedReleases)


@pytest.mark.parametrize("skips", [False, True], ids=["resets, fifo", "trust, lifo"])
def test_a_small_machine_is_walked_to_its_end(small_graphs: Path, skips: bool) -> None:
    constants = Graph.load(small_graphs / "Wide.graph.gz").constants | {"Checks": True}
    constants |= {"Resets": not skips, "Fifo": not skips, "CheckSkips": skips}
    found, worlds = walk(constants)
    assert len(found) > 60
    assert worlds >= len(found)
    assert {state.phase for state in found} == {"open", "closing", "closed"}
    assert any(state.disowned for state in found)


@pytest.mark.parametrize("machine", [WakesNobodyAtHandOver, AsksForNoCheck])
def test_a_machine_with_wrong_effects_is_caught(small_graphs: Path, machine: Machine) -> None:
    with pytest.raises(OutputError):
        walk(Graph.load(small_graphs / "Checked.graph.gz").constants, machine)


class WatchesNoAges(PoolMachine[Any]):
    """A machine that never looks for overdue resources."""

    def _lower_deadline(self, time: float) -> None:
        pass


def test_a_walk_reports_ages_that_nobody_watches(small_graphs: Path) -> None:
    constants = Graph.load(small_graphs / "Deep.graph.gz").constants
    for machine in (WatchesNoAges, SweepsLate):
        with pytest.raises(OutputError, match="ages_are_watched"):
            walk(constants, machine)


def test_more_slots_than_names_and_a_queue_in_another_order_are_refused() -> None:
    machine = PoolMachine[object]("db", Limits(2, None), max_size=2)
    mapping = Mapping(machine, ("a", "b"), (1,))
    first, second = machine.acquire(0.0), machine.acquire(0.0)
    mapping.got |= {"a": first, "b": second}
    with pytest.raises(UnmappedError, match="more slots than the model has names"):
        mapping.notice()
    assert mapping.queue_is_in_order()
    waiter: Any = first
    waiter.ticket = 9
    assert not mapping.queue_is_in_order()
