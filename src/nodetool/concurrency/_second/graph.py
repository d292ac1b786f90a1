"""States and state graphs of the second specification, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nodetool.concurrency.verify._graph import StateGraph

__all__ = ["Graph", "State", "limits_of"]


class State(NamedTuple):
    """A state of the second ``AsyncResourcePool.tla``, with tasks in the order of their names."""

    phase: str
    floor: str
    place: tuple[str, ...]  # of resource 1, 2, ...
    task: tuple[str, ...]
    lease: tuple[int, ...]  # of each task; 0: it has no resource
    queue: tuple[str, ...]  # names of tasks
    idle: tuple[int, ...]
    old: frozenset[int]
    stale: frozenset[int]
    trusted: frozenset[int]
    retired: frozenset[int]
    disowned: int
    max_size: int
    min_size: int


@dataclass(frozen=True)
class Graph(StateGraph[State]):
    """The graph of a model. There is an initial state for each pair of limits."""

    HEADER = "resource pool graph 2"
    STATE = State


def limits_of(constants: Mapping[str, Any]) -> list[tuple[int, int]]:
    """List the pairs of max_size and min_size of a model."""
    c = constants
    return [(a, b) for a in sorted(c["MaxSizes"]) for b in sorted(c["MinSizes"]) if b <= a]
