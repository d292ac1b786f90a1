"""Trace validation: an observer that looks up each step of a real run in a graph.

The names of tasks and slots, and the passing of time, are as in `GraphFollower`.
"""

from __future__ import annotations

from typing import Any

from nodetool.concurrency.verify._following import GraphFollower, NotAnEdgeError
from nodetool.concurrency.verify._graph import StateGraph

from . import guarantees
from .graph import State
from .machine import PoolMachine
from .mapping import Mapping
from .walk import OUTPUTS, STEP_OUTPUTS

__all__ = ["Follower", "NotAnEdgeError"]


class Follower(GraphFollower):
    """An observer that looks up the steps of one machine in a graph, with their outputs."""

    MAY_DO_NOTHING = ("Open", "Sweep", "RetryFloor", "RetireAll", "Close", "Terminate")
    ANSWERS = ("Acquire", "Resume")

    def begin(
        self, machine: PoolMachine[Any], graph: StateGraph[State]
    ) -> tuple[Mapping, State | None]:
        """Return the mapping of a machine, and the initial state with the machine's limits."""
        c: Any = graph.constants
        mapping = Mapping(machine, tuple(sorted(c["Tasks"])), tuple(sorted(c["Resources"])))
        options = machine.options()
        limits = options["max_size"], options["min_size"]
        starts = (one for one in graph.starts if (one.max_size, one.min_size) == limits)
        return mapping, next(starts, graph.initial)

    def remember(
        self, machine: PoolMachine[Any], action: str, args: tuple[Any, ...]
    ) -> guarantees.Before:
        """Record the state before a step."""
        return guarantees.before(machine, action, args)

    def wrong_outputs(
        self, machine: PoolMachine[Any], action: str, memory: Any, result: Any
    ) -> list[str]:
        """List the predicates on the outputs that do not hold after a step."""
        predicates = (*OUTPUTS, *STEP_OUTPUTS.get(action, ()))
        return [p.__name__ for p in predicates if not p(machine, memory, result)]

    def may_do_nothing(self, action: str, args: tuple[Any, ...], state: State) -> bool:
        """Tell whether a step may change nothing. A resize to the present limits may."""
        if action == "Resize":
            return args == (state.max_size, state.min_size)
        return super().may_do_nothing(action, args, state)
