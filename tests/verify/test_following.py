"""The follower reports the first step that the specification's graph does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError
from nodetool.concurrency.verify._following import Follower, NotAnEdgeError, watch
from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._walk import SOON, Move, OutputError, World
from proofs.broken_machines import TimesOutAndStays, WakesNobodyAtHandOver
from tests.inside import (
    MACHINE,
    ChangesWhenRefused,
    Machine,
    PoolMachine,
    Tracker,
    checked,
    machine_kind,
    machine_of,
    observed,
    observers_of,
    start_closing_silently,
)

TASKS = ("a", "b", "c")  # one more than the graph has


class IgnoresClose(PoolMachine[Any]):
    """A machine that does nothing when it is to close."""

    def close(self) -> None:
        pass


class Driven:
    """A machine with a follower, and the tasks and the resource that the test makes moves with."""

    def __init__(self, graphs: Path, machine: Machine = MACHINE) -> None:
        self.graph = Graph.load(graphs / "Wide.graph.gz")
        self.world = World(self.graph.constants | {"Tasks": TASKS}, observed(machine))
        self.machine = self.world.machine
        self.follower = Follower(self.graph, lambda: self.world.now)

    def follow(self) -> None:
        """Look up every step from now on."""
        machine: Any = self.machine
        machine.observers = (self.follower,)

    def make(self, action: str, on: str | int | None = None) -> None:
        """Make one move, on a task, on the resource or on the pool."""
        self.world.make(Move(action, on, SOON))

    def lease(self) -> None:
        """Let task "a" acquire the resource, which is created for it."""
        self.make("Acquire", "a")
        self.make("CreateSucceeded", 1)
        self.make("Resume", "a")
        assert self.world.got["a"] is self.world.named[1]


def following(graphs: Path, machine: Machine = MACHINE) -> Driven:
    driven = Driven(graphs, machine)
    driven.follow()
    return driven


def test_steps_of_the_specification_and_the_passing_of_time_are_followed(
    small_graphs: Path,
) -> None:
    driven = following(small_graphs)
    driven.lease()
    driven.make("Sweep")  # changes nothing
    driven.make("GrowOld", 1)
    driven.make("Release", 1)
    assert driven.follower.trail == ["Acquire", "CreateSucceeded", "Resume", "Release"]
    assert driven.follower.failure is None


def test_a_run_with_more_tasks_than_the_graph_is_followed_no_further(small_graphs: Path) -> None:
    driven = following(small_graphs)
    follower = driven.follower
    assert follower.tasks_left() == 2
    driven.lease()
    assert follower.tasks_left() == 1
    driven.make("Acquire", "b")
    assert follower.graph is not None
    assert follower.tasks_left() == 0
    driven.make("Acquire", "c")
    assert follower.graph is None
    driven.make("Close")
    with pytest.raises(InvalidReleaseError):
        driven.make("ResetPassed", 1)
    assert follower.unfollowed == 2
    assert follower.trail[-2:] == ["Resume", "Acquire"]


def test_a_run_must_begin_in_the_initial_state(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.make("Open")
    driven.follow()
    with pytest.raises(NotAnEdgeError, match="time made"):
        driven.make("Acquire", "a")


def test_a_change_between_steps_that_time_cannot_make_is_reported(small_graphs: Path) -> None:
    driven = following(small_graphs)
    driven.lease()
    start_closing_silently(driven.machine)
    with pytest.raises(NotAnEdgeError, match="time made"):
        driven.make("Acquire", "b")


def test_a_step_that_is_no_edge_is_reported_and_kept(small_graphs: Path) -> None:
    driven = following(small_graphs, TimesOutAndStays)
    driven.make("Acquire", "a")
    with pytest.raises(NotAnEdgeError, match="Cancel is no edge") as info:
        driven.make("Cancel", "a")
    assert driven.follower.failure is info.value


def test_a_step_with_a_wrong_output_is_reported_and_kept(small_graphs: Path) -> None:
    driven = following(small_graphs, WakesNobodyAtHandOver)
    driven.make("Acquire", "a")
    with pytest.raises(OutputError, match=r"^CreateSucceeded: decided_are_woken") as info:
        driven.make("CreateSucceeded", 1)
    assert driven.follower.failure is info.value


def test_a_step_that_does_nothing_is_reported(small_graphs: Path) -> None:
    driven = following(small_graphs, IgnoresClose)
    driven.lease()
    with pytest.raises(NotAnEdgeError, match="Close did nothing"):
        driven.make("Close")


def test_a_refused_step_must_change_nothing(small_graphs: Path) -> None:
    driven = following(small_graphs)
    driven.lease()
    driven.make("Release", 1)
    with pytest.raises(InvalidReleaseError):
        driven.make("Release", 1)
    assert driven.follower.failure is None

    driven = following(small_graphs, ChangesWhenRefused)
    driven.lease()
    driven.make("Release", 1)
    with pytest.raises(NotAnEdgeError, match="Release was refused but changed"):
        driven.make("Release", 1)


def test_an_error_of_a_machine_with_a_bug_is_kept(small_graphs: Path) -> None:
    class Crashes(PoolMachine[Any]):
        def discard(self, slot: Any) -> None:
            raise KeyError("no such thing")

    driven = following(small_graphs, Crashes)
    driven.lease()
    with pytest.raises(KeyError, match="no such thing") as info:
        driven.make("Discard", 1)
    assert driven.follower.failure is info.value


def test_an_unused_pool_can_be_watched_in_addition(small_graphs: Path) -> None:
    graph = Graph.load(small_graphs / "Wide.graph.gz")
    pool = AsyncResourcePool(object, max_size=1, debug=True, listener=print)
    assert machine_kind(pool) == "debug"
    observers = observers_of(pool)
    machine = watch(pool, Follower(graph, float))
    assert machine is machine_of(pool)
    assert observers_of(pool) == [*observers, Follower]
    assert observers[0] is Tracker
    assert machine_kind(pool) == "debug"

    plain = AsyncResourcePool(object, max_size=1)
    watch(plain, Follower(graph, float), kind=TimesOutAndStays, contracts=True)
    assert type(machine_of(plain)) is observed(checked(TimesOutAndStays))


async def test_a_pool_that_was_used_cannot_be_watched(small_graphs: Path) -> None:
    async with AsyncResourcePool(object, max_size=1) as pool:
        await pool.release(await pool.acquire())
        with pytest.raises(ValueError, match="was used already: watch it before its first use"):
            watch(pool, Follower(Graph.load(small_graphs / "Wide.graph.gz"), float))
