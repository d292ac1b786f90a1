"""Every schedule of small scenarios on the real pool; `make verify` explores the large ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodetool.concurrency import _options
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency.testing import explore, replay
from tests.broken_machines import BROKEN
from tests.schedules.scenarios import CALLS, FOUND_IN, PAIRS, SCENARIOS, Scenario

SMALL = [scenario for scenario in SCENARIOS if not scenario.large]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
QUICK = [m for _, m, _ in BROKEN if not BY_NAME[FOUND_IN[m.__name__]].large]
SECONDS = 300.0  # a bound that is never met, unless something is wrong


def named(scenarios: list[Scenario] | tuple[Scenario, ...]) -> dict[str, Any]:
    return {"argvalues": scenarios, "ids": [scenario.name for scenario in scenarios]}


@pytest.mark.parametrize("scenario", **named(SMALL))
def test_every_schedule_of_a_small_scenario_ends_well(scenario: Scenario) -> None:
    result = explore(scenario, max_seconds=SECONDS, stock_every=50)
    result.raise_for_failure()
    assert result.exhausted, result
    print(result)


def test_the_table_has_what_it_must_have() -> None:
    names = [scenario.name for scenario in (*SCENARIOS, *PAIRS)]
    assert len(names) == len(set(names))
    assert len(SCENARIOS) >= 25
    assert len(PAIRS) == len(CALLS) * (len(CALLS) + 1) / 2
    assert all(2 <= len(scenario.users) <= 4 for scenario in SCENARIOS)


@pytest.mark.parametrize("scenario", **named(PAIRS[:: len(PAIRS) // 12]))
def test_some_pairs_of_public_calls_end_well_however_they_meet(scenario: Scenario) -> None:
    result = explore(scenario, max_seconds=SECONDS)
    result.raise_for_failure()
    assert result.exhausted, result


@pytest.mark.parametrize("name", ["two take turns", "closed while a creation fails", "tried once"])
def test_nothing_depends_on_the_order_in_which_the_loop_runs_callbacks(name: str) -> None:
    result = explore(BY_NAME[name], mode="ready", max_seconds=SECONDS)
    result.raise_for_failure()
    assert result.exhausted, result


@pytest.mark.parametrize("cancel", [(), (1,)])
def test_without_pruning_the_verdict_is_the_same(cancel: tuple[int, ...]) -> None:
    scenario = replace(BY_NAME["creations fail"], cancel=cancel)
    pruned = explore(scenario, max_seconds=SECONDS)
    whole = explore(scenario, max_seconds=SECONDS, prune=False)
    assert pruned.exhausted
    assert whole.exhausted
    assert whole.pruned == 0
    assert whole.schedules >= pruned.schedules


@pytest.mark.parametrize("machine", QUICK, ids=lambda machine: machine.__name__)
def test_a_pool_on_a_machine_with_a_bug_is_found(
    machine: type[PoolMachine[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_options, "PoolMachine", machine)
    scenario = BY_NAME[FOUND_IN[machine.__name__]]
    result = explore(scenario, max_seconds=SECONDS)
    assert result.failure is not None
    again = replay(scenario, result.failure.replay)
    assert again.failure is not None
    assert type(again.failure.error) is type(result.failure.error)
    print(f"{machine.__name__}: {result.schedules} schedules: {result.failure.error}"[:300])
