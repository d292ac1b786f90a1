"""What the fairness assumptions speak of can happen: whenever its guard holds, on every graph.

The liveness properties assume that what can end does end. If an action could not happen although
its guard holds, the assumption would be empty and the properties would hold for no reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nodetool.concurrency.verify._graph import Graph, State
from tests.spec.test_graph_equality import frozen

pytestmark = pytest.mark.untraced

Ends = Callable[[State, State, int], bool]


def task_in(*places: str) -> Callable[[State], list[int]]:
    return lambda s: [i for i, place in enumerate(s.task) if place in places]


def resource_in(place: str) -> Callable[[State], list[int]]:
    return lambda s: [i for i, where in enumerate(s.place) if where == place]


def back_off(s: State) -> list[int]:
    return [0] if s.phase == "open" and s.floor == "backoff" else []


def task_moves(s: State, to: State, i: int) -> bool:
    return s.task[i] != to.task[i] or s.lease[i] != to.lease[i]


def resource_moves(s: State, to: State, i: int) -> bool:
    """Its name may be taken again in the same step: then a waiter, the floor or a mark moves."""
    return s != to


# Guard, who it holds for, and the actions of which each must be possible then.
PROGRESS: list[tuple[str, Callable[[State], list[int]], Ends, list[str]]] = [
    ("CanResume", task_in("handed"), task_moves, ["Resume"]),
    ("CanEndCheck", task_in("checking"), task_moves, ["CheckPassed", "CheckFailed"]),
    ("CanTimeout", task_in("waiting", "checking"), task_moves, ["Timeout"]),
    ("CanRelease", task_in("holding"), task_moves, ["Release"]),
    ("CanEndReset", task_in("resetting"), task_moves, ["ResetPassed", "ResetFailed"]),
    (
        "CanEndCreation",
        resource_in("creating"),
        resource_moves,
        ["CreateSucceeded", "CreateFailed"],
    ),
    ("CanEndCloser", resource_in("closing"), resource_moves, ["CloserEnded"]),
    ("CanRetryFloor", back_off, resource_moves, ["RetryFloor"]),
]


def stuck(graph: Graph) -> list[str]:
    """Where a guard holds and one of its actions cannot happen to whom it holds for."""
    found = []
    for state, edges in graph.edges.items():
        for guard, holders, moves, actions in PROGRESS:
            for i in holders(state):
                for action in actions:
                    ends = [to for name, to in edges if name == action and moves(state, to, i)]
                    if not ends:
                        found.append(f"{guard}({i}) holds, {action} is impossible: {state}")
    return found


@pytest.mark.parametrize("name", ["Wide", "Deep", "Checked"])
def test_whatever_has_begun_can_end(name: str) -> None:
    graph = frozen(name)
    assert not stuck(graph)[:3]


@pytest.mark.parametrize("action", [action for *_, actions in PROGRESS for action in actions])
def test_an_action_that_cannot_happen_is_noticed(action: str) -> None:
    graph = frozen("Checked")
    without = {
        state: frozenset(edge for edge in edges if edge[0] != action)
        for state, edges in graph.edges.items()
    }
    assert stuck(replace(graph, edges=without))
