"""A snapshot has the whole state of a machine: what it restores takes the same steps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nodetool.concurrency.verify._graph import Graph
from proofs.random_moves import random_walks
from tests import inside


def through_json(state: dict[str, Any]) -> Any:
    """Return the state as another process reads it."""
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("model", ["Wide", "Deep", "Checked", "Fifo", "Shrinking"])
def test_a_restored_machine_has_the_same_state(model: str) -> None:
    made: list[inside.PoolMachine[Any]] = []

    def machine(*args: Any, **options: Any) -> inside.PoolMachine[Any]:
        made.append(inside.PoolMachine(*args, **options))
        return made[-1]

    seen = set()
    for walk in random_walks(Graph.frozen(model).constants, machine, 20):  # type: ignore[arg-type]
        numbers = inside.Numbers()
        for action in walk:
            seen.add(action)
            state = inside.captured(made[-1], numbers)
            restored, known = inside.restore(through_json(state), inside.checked())
            again = inside.captured(restored, inside.Numbers(known, numbers.last))
            assert through_json(again) == through_json(state)
            assert all(holds(restored) for _, holds in inside.STATE_PREDICATES)
            assert restored.options() == made[-1].options()
            assert restored.statistics() == made[-1].statistics()
    assert len(seen) > 8


def test_a_snapshot_has_every_field_of_the_machine() -> None:
    """A new field of the machine is a number, or the snapshot says where it is."""
    machine = inside.new_machine("m", 2)
    state = inside.captured(machine, inside.Numbers())
    assert all(isinstance(value, (int, float)) for value in state["numbers"].values())
    fresh, _ = inside.restore(through_json(state))
    assert inside.different_fields(fresh, machine) == []
