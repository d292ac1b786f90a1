"""A machine that is followed is refused the first step that is none of the specification's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency._counts import Limits, Phase
from nodetool.concurrency._errors import InvalidReleaseError
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Record
from nodetool.concurrency.verify._following import Following, NotAnEdgeError
from nodetool.concurrency.verify._graph import Graph
from tests.broken_machines import ClosesTwice


class ChangesWhenRefused(PoolMachine[Any]):
    """A refused release retires everything."""

    def release(self, record: Record[Any], now: float) -> None:
        try:
            super().release(record, now)
        except InvalidReleaseError:
            self.phase = Phase.CLOSING
            raise


class ForgetsClosers(PoolMachine[Any]):
    def closer_ended(self, record: Record[Any]) -> None:
        pass


class Driven:
    """A machine that is followed, in the hands of a test."""

    def __init__(self, graphs: Path, machine: type[PoolMachine[Any]] = PoolMachine) -> None:
        followed: Any = type("Followed", (Following, machine), {})
        self.graph = Graph.load(graphs / "Wide.graph.gz")
        self.now = 0.0
        self.machine: Following = followed("driven", Limits(1, 0, 1, 2))

    def follow(self) -> None:
        self.machine.follow(self.graph, lambda: self.now)

    def lease(self) -> Record[Any]:
        """Acquire, as the first one does."""
        waiter: Any = self.machine.acquire(self.now)
        [creation] = self.machine.work
        self.machine.work.clear()
        self.machine.create_succeeded(creation, object(), self.now, self.now + 10)
        record = self.machine.resume(waiter, self.now)
        assert record is creation
        return record


def test_steps_of_the_specification_are_followed_and_so_is_time(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    record = driven.lease()
    driven.machine.sweep(0.0)  # changes nothing
    driven.now = 11.0
    driven.machine.release(record, driven.now)
    assert driven.machine.trail == ["Acquire", "CreateSucceeded", "Resume", "Release"]
    assert driven.machine.failure is None


def test_a_run_with_too_many_tasks_is_followed_no_further(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    driven.lease()
    driven.machine.acquire(0.0)
    assert driven.machine.graph is not None
    driven.machine.acquire(0.0)
    assert driven.machine.graph is None
    driven.machine.close()
    assert driven.machine.unfollowed == 2
    assert driven.machine.trail[-2:] == ["Resume", "Acquire"]


def test_a_run_must_begin_at_the_beginning(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.machine.open()
    driven.machine.close()
    with pytest.raises(NotAnEdgeError, match="the run starts in"):
        driven.follow()


def test_what_time_alone_cannot_do_is_told(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    driven.lease()
    driven.machine.phase = Phase.CLOSING
    with pytest.raises(NotAnEdgeError, match="time made"):
        driven.machine.acquire(0.0)


def test_a_step_that_is_no_edge_is_told_and_kept(small_graphs: Path) -> None:
    driven = Driven(small_graphs, ClosesTwice)
    driven.follow()
    record = driven.lease()
    driven.machine.discard(record)
    with pytest.raises(NotAnEdgeError, match="CloserEnded is no edge") as info:
        driven.machine.closer_ended(record)
    assert driven.machine.failure is info.value


def test_a_step_that_does_nothing_is_told(small_graphs: Path) -> None:
    driven = Driven(small_graphs, ForgetsClosers)
    driven.follow()
    record = driven.lease()
    driven.machine.discard(record)
    with pytest.raises(NotAnEdgeError, match="CloserEnded did nothing"):
        driven.machine.closer_ended(record)


def test_a_refused_step_must_change_nothing(small_graphs: Path) -> None:
    driven = Driven(small_graphs)
    driven.follow()
    record = driven.lease()
    driven.machine.release(record, 0.0)
    with pytest.raises(InvalidReleaseError):
        driven.machine.release(record, 0.0)

    driven = Driven(small_graphs, ChangesWhenRefused)
    driven.follow()
    record = driven.lease()
    driven.machine.release(record, 0.0)
    with pytest.raises(NotAnEdgeError, match="Release was refused but changed"):
        driven.machine.release(record, 0.0)
