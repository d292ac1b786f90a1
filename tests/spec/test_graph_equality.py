"""The machine's transition graph is the specification's, edge for edge, both ways.

That this can fail is shown with machines that have one bug each, and with damaged graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place, Record, Waiter
from spec.graph import Graph
from spec.walk import RefusalError, explore, first_difference

GRAPHS = Path(__file__).parents[2] / "spec" / "graphs"


def frozen(name: str) -> Graph:
    return Graph.load(GRAPHS / f"{name}.graph.gz")


@pytest.mark.parametrize("name", ["Wide", "Deep", "Checked"])
def test_the_machine_s_graph_equals_the_specification_s(name: str) -> None:
    graph = frozen(name)
    assert len(graph.edges) > 5_000
    assert graph.steps > 50_000
    assert first_difference(graph) is None


class ForgetsHandedOver(PoolMachine[int]):
    def cancel(self, subject: Waiter[int] | Record[int], now: float) -> None:
        if isinstance(subject, Waiter) and subject.place is Place.HANDED:
            subject.place, subject.record = Place.GONE, None
        else:
            super().cancel(subject, now)


class ServesNewestFirst(PoolMachine[int]):
    def _head(self) -> Waiter[int]:
        self._queue.rotate(1)
        return super()._head()


class DoesNotCountClosing(PoolMachine[int]):
    def _close(self, record: Record[int]) -> None:
        super()._close(record)
        self.size -= 1

    def closer_ended(self, record: Record[int]) -> None:
        if record.place is Place.CLOSING:
            self.size += 1
        super().closer_ended(record)


class KeepsFailureToItself(PoolMachine[int]):
    def create_failed(self, record: Record[int], error: BaseException) -> bool:
        self._require(record, "create_failed", Place.CREATING)
        self.creating -= 1
        self.doomed -= record.generation != self.generation
        self._free(record)
        return False


class StampsGenerationLate(PoolMachine[int]):
    def create_succeeded(
        self, record: Record[int], resource: int, now: float, expires_at: float = 0.0
    ) -> None:
        if record.place is Place.CREATING and record.generation != self.generation:
            self.alive[record.generation] -= 1
            if not self.alive[record.generation]:
                del self.alive[record.generation]
            self.alive[self.generation] = self.alive.get(self.generation, 0) + 1
            self.doomed -= 1
            record.generation = self.generation
        super().create_succeeded(record, resource, now, expires_at)


class PrunesBelowFloor(PoolMachine[int]):
    def _sweep(self, now: float) -> list[Record[int]]:
        limits, self.limits = self.limits, self.limits._replace(min_size=0)
        try:
            return super()._sweep(now)
        finally:
            self.limits = limits


class HandsOutOld(PoolMachine[int]):
    def _give_back(self, record: Record[int], now: float) -> None:
        super()._give_back(record, float("-inf"))


class ServesWhileClosing(PoolMachine[int]):
    def close(self) -> None:
        waiting = [w for w in self._queue if w.place is Place.WAITING]
        super().close()
        for waiter in waiting:
            waiter.place = Place.WAITING
            self._queue.append(waiter)
            self.waiting += 1


class TrustsAfterFailedCheck(PoolMachine[int]):
    def check_failed(self, record: Record[int], now: float) -> Any:
        epoch = self._epoch
        got = super().check_failed(record, now)
        self._epoch = epoch
        return got


class ShelvesAtTheWrongEnd(PoolMachine[int]):
    def _hand_over(self, record: Record[int], now: float) -> None:
        super()._hand_over(record, now)
        if record.place is Place.IDLE:
            self._shelf.rotate(1)


BROKEN: list[tuple[type[PoolMachine[int]], str, str]] = [
    (ForgetsHandedOver, "Wide", "Cancel"),
    (ServesNewestFirst, "Wide", "CreateFailed"),
    (DoesNotCountClosing, "Wide", ""),
    (KeepsFailureToItself, "Wide", "CreateFailed"),
    (StampsGenerationLate, "Wide", "CreateSucceeded"),
    (PrunesBelowFloor, "Deep", "Acquire"),
    (HandsOutOld, "Wide", "Cancel"),
    (ServesWhileClosing, "Wide", "Close"),
    (TrustsAfterFailedCheck, "Checked", "CheckFailed"),
    (ShelvesAtTheWrongEnd, "Deep", ""),
]


@pytest.mark.parametrize(
    ("machine", "name", "action"), BROKEN, ids=[machine.__name__ for machine, *_ in BROKEN]
)
def test_a_machine_with_a_bug_is_told_apart_with_the_shortest_path_to_it(
    machine: type[PoolMachine[int]], name: str, action: str
) -> None:
    difference = first_difference(frozen(name), machine)
    assert difference is not None
    assert "the machine allows, the specification does not: " in difference
    path = difference.splitlines()[0].split(": ")[1].split(" -> ")
    assert path[-1].startswith(action), difference
    assert 1 < len(path) < 9, difference


class CountsRefusedReleases(PoolMachine[int]):
    def release(self, record: Record[int], now: float) -> None:
        self.released += 1
        super().release(record, now)


def test_a_refused_step_that_changes_something_is_told() -> None:
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
def test_a_damaged_graph_is_told_apart(damage: Callable[[Graph], Graph], direction: str) -> None:
    small = explore(frozen("Deep").constants | {"MaxSize": 1, "MinSize": 0, "MaxCreating": 1})
    assert first_difference(small) is None
    difference = first_difference(damage(small))
    assert difference is not None
    assert difference.startswith(direction)


def test_a_missing_or_foreign_state_is_told_apart() -> None:
    small = explore(frozen("Deep").constants | {"MaxSize": 1, "MinSize": 0, "MaxCreating": 1})
    foreign = small.initial._replace(phase="closing")
    more = replace(small, edges=small.edges | {foreign: frozenset()})
    assert "states" in str(first_difference(more))
    assert "starts in" in str(first_difference(replace(small, initial=foreign)))
