"""A followed machine reports the first step that the specification's graph does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodetool.concurrency import InvalidReleaseError
from nodetool.concurrency.verify._following import Following, NotAnEdgeError
from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._walk import NOW, World
from proofs.broken_machines import ClosesTwice
from tests.inside import (
    MACHINE,
    ChangesWhenRefused,
    ForgetsClosers,
    Machine,
    followed,
    start_closing_silently,
)

TASKS = ("a", "b", "c")  # one more than the graph has


class Driven:
    """A followed machine, and the tasks and the resource that the test makes moves with."""

    def __init__(self, graphs: Path, machine: Machine = MACHINE) -> None:
        self.graph = Graph.load(graphs / "Wide.graph.gz")
        self.world = World(self.graph.constants | {"Tasks": TASKS}, followed(machine))
        assert isinstance(self.world.machine, Following)
        self.machine = self.world.machine

    def follow(self) -> None:
        """Look up every step from now on."""
        self.machine.follow(self.graph, lambda: NOW)

    def make(self, action: str, on: str | int | None = None) -> None:
        """Make one move, on a task, on the resource or on the pool."""
        self.world.make((action, on))

    def lease(self) -> None:
        """Let task "a" acquire the resource, which is created for it."""
        self.make("Acquire", "a")
        self.make("CreateSucceeded", 1)
        self.make("Resume", "a")
        assert self.world.got["a"] is self.world.named[1]


def test_steps_of_the_specification_and_the_passing_of_time_are_followed(
    small_graphs: Path,
) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    driven.lease()
    driven.make("Sweep")  # changes nothing
    driven.make("GrowOld", 1)
    driven.make("Release", 1)
    assert driven.machine.trail == ["Acquire", "CreateSucceeded", "Resume", "Release"]
    assert driven.machine.failure is None


def test_a_run_with_more_tasks_than_the_graph_is_followed_no_further(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    driven.lease()
    driven.make("Acquire", "b")
    assert driven.machine.graph is not None
    driven.make("Acquire", "c")
    assert driven.machine.graph is None
    driven.make("Close")
    assert driven.machine.unfollowed == 2
    assert driven.machine.trail[-2:] == ["Resume", "Acquire"]


def test_a_run_must_begin_in_the_initial_state(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.make("Open")
    driven.make("Close")
    with pytest.raises(NotAnEdgeError, match="the run starts in"):
        driven.follow()


def test_a_change_between_steps_that_time_cannot_make_is_reported(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    driven.lease()
    start_closing_silently(driven.machine)
    with pytest.raises(NotAnEdgeError, match="time made"):
        driven.make("Acquire", "b")


def test_a_step_that_is_no_edge_is_reported_and_kept(small_graphs: Path) -> None:
    driven = Driven(small_graphs, ClosesTwice)
    driven.follow()
    driven.lease()
    driven.make("Discard", 1)
    with pytest.raises(NotAnEdgeError, match="CloserEnded is no edge") as info:
        driven.make("CloserEnded", 1)
    assert driven.machine.failure is info.value


def test_a_step_that_does_nothing_is_reported(small_graphs: Path) -> None:
    driven = Driven(small_graphs, ForgetsClosers)
    driven.follow()
    driven.lease()
    driven.make("Discard", 1)
    with pytest.raises(NotAnEdgeError, match="CloserEnded did nothing"):
        driven.make("CloserEnded", 1)


def test_a_refused_step_must_change_nothing(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    driven.lease()
    driven.make("Release", 1)
    with pytest.raises(InvalidReleaseError):
        driven.make("Release", 1)

    driven = Driven(small_graphs, ChangesWhenRefused)
    driven.follow()
    driven.lease()
    driven.make("Release", 1)
    with pytest.raises(NotAnEdgeError, match="Release was refused but changed"):
        driven.make("Release", 1)
