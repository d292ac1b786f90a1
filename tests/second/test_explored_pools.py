"""Pools of the second semantics under the explorer: every step is looked up in a graph."""

from __future__ import annotations

from typing import Any

import pytest

from nodetool.concurrency.testing import Events, explore
from proofs.scenarios.outside import uses
from proofs.scenarios.second import SecondScenario, resizes
from proofs.scenarios.second_table import SCENARIOS
from spec.second_graph import Graph
from tests.inside import SecondPool, watch_second_pool

SECONDS = 120.0  # a bound that only a wrong exploration reaches


SAME = SecondScenario("resized to the same limits", "Combined", (uses, resizes((2, 0), (2, 0))))
TURNS = next(scenario for scenario in SCENARIOS if scenario.name == "two take turns")


@pytest.mark.parametrize("scenario", [TURNS, SAME], ids=str)
def test_every_schedule_of_a_small_scenario_ends_well(scenario: SecondScenario) -> None:
    result = explore(scenario, max_seconds=SECONDS)
    result.raise_for_failure()
    assert result.exhausted, result
    assert result.schedules > 5


def watched(pool: Any, model: str = "") -> None:
    """Watch a pool in a scenario of one schedule, and raise what it raises."""

    async def scenario(events: Events) -> None:
        graph = Graph.frozen(model) if model else None
        assert watch_second_pool(events, pool, model=graph) is pool

    explore(scenario, max_seconds=SECONDS, prune=False).raise_for_failure()


def test_something_else_or_a_pool_with_other_options_is_refused() -> None:
    with pytest.raises(Exception, match="only an AsyncResourcePool can be watched"):
        watched(object())
    watched(SecondPool(object))
    with pytest.raises(Exception, match="the graph is of an unused pool with"):
        watched(SecondPool(object), "Wide")
