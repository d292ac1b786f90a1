"""On every graph, an action of the fairness assumptions can happen whenever its guard holds.

The liveness properties assume that what can end does end. If an action could not happen although
its guard holds, the assumption would be empty and the properties would hold for no reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nodetool.concurrency.verify._graph import Graph, State
from tests.spec.test_graph import FROZEN, frozen

pytestmark = pytest.mark.untraced

Ends = Callable[[State, State, int], bool]


def task_in(place: str) -> Callable[[State], list[int]]:
    return lambda s: [i for i, where in enumerate(s.task) if where == place]


def resource_in(place: str) -> Callable[[State], list[int]]:
    return lambda s: [i for i, where in enumerate(s.place) if where == place]


def current_creation(s: State) -> list[int]:
    return [i for i in resource_in("creating")(s) if i + 1 not in s.retired]


def back_off(s: State) -> list[int]:
    return [0] if s.phase == "open" and s.floor == "backoff" else []


def task_moves(s: State, to: State, i: int) -> bool:
    return s.task[i] != to.task[i] or s.lease[i] != to.lease[i]


def resource_moves(s: State, to: State, i: int) -> bool:
    return s.place[i] != to.place[i]


def anything_moves(s: State, to: State, i: int) -> bool:
    """Tell whether the step changes the state. A new creation may take the name in the step."""
    return s != to


# Guard, whom it holds for, and the actions of which each must be possible then.
PROGRESS: list[tuple[str, Callable[[State], list[int]], Ends, list[str]]] = [
    ("CanResume", task_in("handed"), task_moves, ["Resume"]),
    ("CanTimeout", task_in("waiting"), task_moves, ["Timeout"]),
    ("CanRelease", task_in("holding"), task_moves, ["Release"]),
    ("CanEndCreation", resource_in("creating"), resource_moves, ["CreateSucceeded"]),
    ("CanEndCreation", resource_in("creating"), anything_moves, ["CreateFailed"]),
    ("CanEndCreation", current_creation, resource_moves, ["CreateLate"]),
    ("CanEndCheck", resource_in("checking"), resource_moves, ["CheckPassed", "CheckFailed"]),
    ("CanEndReset", resource_in("resetting"), resource_moves, ["ResetPassed", "ResetFailed"]),
    ("CanEndCloser", resource_in("closing"), resource_moves, ["CloserEnded"]),
    ("CanRetryFloor", back_off, anything_moves, ["RetryFloor"]),
]


def stuck(graph: Graph) -> list[str]:
    """List the states in which a guard holds for somebody and one of its actions is impossible."""
    found = []
    for state, edges in graph.edges.items():
        for guard, holders, moves, actions in PROGRESS:
            for i in holders(state):
                for action in actions:
                    ends = [to for name, to in edges if name == action and moves(state, to, i)]
                    if not ends:
                        found.append(f"{guard}({i}) holds, {action} is impossible: {state}")
    return found


@pytest.mark.parametrize("name", [entry.name for entry in FROZEN])
def test_everything_that_has_begun_can_end(name: str) -> None:
    assert not stuck(frozen(name))[:3]


@pytest.mark.parametrize("action", [action for *_, actions in PROGRESS for action in actions])
def test_an_action_that_cannot_happen_is_noticed(action: str) -> None:
    graph = frozen("Aging")
    without = {
        state: frozenset(edge for edge in edges if edge[0] != action)
        for state, edges in graph.edges.items()
    }
    assert stuck(replace(graph, edges=without))
