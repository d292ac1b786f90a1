"""The machine of the second semantics: its graph, its refusals, its statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodetool.concurrency import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
)
from proofs import second_counts as counts_graph
from proofs.second_broken import AsksForNoCheck, KeepsItsDisowned, WakesNobodyAtHandOver
from proofs.second_contracts import BareWorld
from proofs.second_walk import OutputError, compare, compare_with, difference, walk
from spec.second_graph import Graph, State, limits_of
from tests.inside import second_counts, second_machine, second_slots

SMALL = {
    "Tasks": ("a", "b"),
    "Resources": (1, 2, 3),
    "MaxSizes": (1, 2),
    "MinSizes": (1,),
    "MaxCreating": 2,
    "MaxWaiting": 1,
    "Ages": False,
    "Idles": True,
    "Checks": True,
    "CheckSkips": False,
    "Resets": True,
    "Fifo": True,
    "Retires": True,
    "Leaves": True,
}


TRUSTING = SMALL | {
    "MaxSizes": (2,),
    "MinSizes": (0,),
    "Idles": False,
    "CheckSkips": True,
    "Resets": False,
    "Fifo": False,
}


@pytest.mark.parametrize("constants", [SMALL, TRUSTING], ids=["resets, fifo", "trust, lifo"])
def test_a_small_machine_is_walked_to_its_end(constants: dict[str, Any]) -> None:
    found, worlds = walk(constants, kind=BareWorld)  # the contracts look at the outputs
    assert len(found) > 400
    assert worlds >= len(found)
    assert {state.phase for state in found} == {"open", "closing", "closed"}
    assert any(state.disowned for state in found)


@pytest.mark.untraced
def test_the_numbers_move_as_the_specification_s() -> None:
    assert counts_graph.compare() == (5_540, 65_170, "")


@pytest.mark.untraced
def test_the_machine_s_graph_equals_the_specification_s() -> None:
    found = compare("Shrinking")  # `python -m proofs.second_walk` compares the other models
    assert difference("Shrinking", found) == ""
    assert found.states > 1_700
    assert found.edges > 10_000
    assert "1 edges are not taken" in difference("Shrinking", found._replace(untaken=1))
    assert "2 states are not visited" in difference("Shrinking", found._replace(unvisited=2))


def walked_graph(constants: dict[str, Any]) -> Graph:
    """Return the graph of the machine itself, within these bounds."""
    found, _ = walk(constants)
    edges = {state: frozenset(leaving) for state, leaving in found.items()}
    first, *others = list(edges)[: len(limits_of(constants))]
    return Graph(first, edges, constants, others=frozenset(others))


def with_edge(graph: Graph, action: str) -> Graph:
    """Add an edge from the state that was found last to the first one."""
    state, edges = next(reversed(graph.edges.items()))
    return replace(graph, edges=graph.edges | {state: edges | {(action, graph.initial)}})


def without_edge(graph: Graph) -> Graph:
    """Remove the last edge."""
    state, edges = next((s, e) for s, e in reversed(graph.edges.items()) if e)
    return replace(graph, edges=graph.edges | {state: edges - {min(edges)}})


def with_state(graph: Graph) -> tuple[Graph, State]:
    """Add a state that nothing leads to."""
    foreign = graph.initial._replace(phase="closing")
    return replace(graph, edges=graph.edges | {foreign: frozenset()}), foreign


@pytest.mark.untraced
def test_a_damaged_graph_differs_from_the_machine_s() -> None:
    graph = walked_graph(SMALL | {"Tasks": ("a",)})
    right = compare_with(graph)
    assert right[:2] == (len(graph.edges), graph.steps)
    assert right[3:] == (0, 0, "")
    assert compare_with(without_edge(graph)).problem.startswith("only the machine: ")
    assert compare_with(with_edge(graph, "Close")).problem.startswith(
        "only the specification: Close"
    )
    # Limits in time pass in every order in the specification, but not on a clock.
    late = compare_with(with_edge(graph, "GrowOld"))
    assert late == right._replace(edges=graph.steps + 1, untaken=1)
    more, foreign = with_state(graph)
    assert compare_with(more) == right._replace(states=len(graph.edges) + 1, unvisited=1)
    for wrong in (replace(more, initial=foreign), replace(graph, others=frozenset())):
        assert compare_with(wrong).problem.startswith("only one of the two starts in State(")


@pytest.mark.untraced
def test_a_machine_that_disowns_nothing_differs() -> None:
    assert compare("Shrinking", KeepsItsDisowned).problem != ""


@pytest.mark.parametrize("machine", [WakesNobodyAtHandOver, AsksForNoCheck])
def test_a_machine_with_wrong_effects_is_caught(
    machine: type[second_machine.PoolMachine[Any]],
) -> None:
    with pytest.raises(OutputError):
        walk(SMALL, machine)


def make(**options: Any) -> second_machine.PoolMachine[Any]:
    options = {"max_size": 2, **options}
    limits = second_counts.Limits(2, options.pop("max_waiting", None))
    return second_machine.PoolMachine("db", limits, **options)


def lease(
    machine: second_machine.PoolMachine[Any], resource: object = None, **ages: float
) -> second_slots.Slot[Any]:
    """Take the steps of an acquire that waits for a creation."""
    waiter = machine.acquire(0.0)
    assert isinstance(waiter, second_slots.Waiter)
    work = machine.outbox.work
    slot = next(s for s in work if s.state is second_slots.SlotState.CREATING)
    work.clear()
    machine.create_succeeded(slot, object() if resource is None else resource, 0.0, **ages)
    got = machine.resume(waiter, 0.0)
    assert isinstance(got, second_slots.Slot)
    return got


def test_a_refused_step_says_what_to_do() -> None:
    machine = make(max_waiting=1, max_size=1)
    slot = lease(machine)
    waiter = machine.acquire(0.0)
    assert isinstance(waiter, second_slots.Waiter)
    with pytest.raises(ResourcePoolExhaustedError, match="raise max_size or max_waiting"):
        machine.acquire(0.0)
    assert machine.statistics()["rejected"] == 1
    for refused in (
        lambda: machine.resume(waiter, 0.0),
        lambda: machine.create_succeeded(slot, object(), 0.0),
        lambda: machine.create_failed(slot, OSError()),
        lambda: machine.check_passed(slot, 0.0),
        lambda: machine.check_failed(slot),
        lambda: machine.reset_passed(slot, 0.0),
        lambda: machine.reset_failed(slot),
        lambda: machine.closer_ended(slot),
    ):
        with pytest.raises(InvalidReleaseError, match="is impossible in state"):
            refused()
    machine.timeout(waiter)
    for refused in (lambda: machine.timeout(waiter), lambda: machine.cancel(waiter, 0.0)):
        with pytest.raises(InvalidReleaseError, match="is impossible in state done"):
            refused()
    machine.release(slot, 0.0)
    for again in (machine.discard, machine.detach, lambda slot: machine.release(slot, 0.0)):
        with pytest.raises(InvalidReleaseError, match="it was released already and is idle now"):
            again(slot)
    machine.close()
    assert machine.closed_error().args == ("pool 'db' is closing: acquire from a new pool",)
    for late in (
        machine.open,
        machine.retire_all,
        lambda: machine.acquire(0.0),
        lambda: machine.resize(3, 0),
    ):
        with pytest.raises(ResourcePoolClosedError):
            late()


def test_a_resource_is_in_the_pool_once() -> None:
    machine, resource = make(), object()
    lease(machine, resource)
    with pytest.raises(DuplicateResourceError):
        lease(machine, resource)


def test_each_closing_has_one_reason() -> None:
    machine = make(max_size=9, max_idle_time=5.0, check_after_idle=0.0, resets=True)
    slots = [lease(machine) for _ in range(7)]
    machine.discard(slots[0])
    machine.detach(slots[1])
    machine.release(slots[2], 1.0)
    machine.reset_failed(slots[2])
    for slot in slots[3:6]:
        machine.release(slot, 1.0)
        machine.reset_passed(slot, 1.0)
    waiter = machine.acquire(2.0)
    assert isinstance(waiter, second_slots.Waiter)
    machine.check_failed(slots[5])
    machine.cancel(waiter, 2.0)
    machine.resize(3, 0)
    machine.release(slots[6], 2.0)
    machine.retire_all()
    machine.reset_passed(slots[6], 2.0)
    statistics = machine.statistics()
    reasons = {reason.replace(" ", "_"): 0 for reason in second_machine.REASONS}
    found = {reason: statistics[reason] for reason in reasons}
    assert found == reasons | {
        "discarded": 1,
        "reset_failed": 1,
        "check_failed": 1,
        "surplus": 1,
        "retired": 2,
    }
    left = sum(found.values()) + statistics["detached"] + statistics["forgotten"]
    assert statistics["created"] - left == machine.counts().ready + machine.counts().in_use
    machine.terminate()
    assert (
        machine.size()
        == len([s for s in machine.slots() if s.state is second_slots.SlotState.CLOSING]) + 1
    )


def test_ages_end_and_terminate_forgets() -> None:
    machine = make(max_size=3)
    old, held = lease(machine, expires_at=5.0), lease(machine)
    machine.release(old, 6.0)
    assert old.reason == "expired"
    assert machine.outbox.sweep_at == 5.0
    young = lease(machine, expires_at=9.0)
    machine.release(young, 6.0)
    assert machine.sweep(10.0) == [young]
    resource = held.resource
    machine.terminate()
    machine.terminate()
    assert (held.state, held.resource) == (second_slots.SlotState.FREE, resource)
    for slot in (old, young):
        machine.closer_ended(slot)
    assert machine.counts().phase.value == "closed"
    assert not machine.has_retired(1)


def test_the_error_of_a_deadline_wakes_its_acquirer() -> None:
    machine = make()
    waiter = machine.acquire(0.0)
    assert isinstance(waiter, second_slots.Waiter)
    error = TimeoutError()
    machine.timeout(waiter, error)
    assert (waiter.state, waiter.error) == (second_slots.WaiterState.DONE, error)
    assert list(machine.outbox.woken) == [waiter]
    assert (machine.name, machine.limits, second_slots.NEVER) == (
        "db",
        second_counts.Limits(2, None),
        float("inf"),
    )
