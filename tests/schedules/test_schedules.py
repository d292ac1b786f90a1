"""Small scenarios on the real pool, in every schedule; `make verify` explores all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodetool.concurrency.testing import explore, replay
from proofs import schedules
from proofs.broken_machines import BROKEN
from proofs.inside import Machine, machine_in_new_pools
from proofs.scenarios.outside import MET, Outside
from proofs.scenarios.table import (
    CALLS,
    FOUND_IN,
    MEETS,
    MEETS_IN_PAIRS,
    PAIRS,
    SCENARIOS,
    Scenario,
)
from tests.inside import machine_kind

pytestmark = pytest.mark.untraced

# `make verify` explores all scenarios. Here are those that meet what a test asks for, and half of
# the others, without those that take several seconds.
LONG = ("three on one, everything fails", "two idle for too long", "four take turns")
SMALL = [
    scenario
    for number, scenario in enumerate(SCENARIOS)
    if not scenario.large and scenario.name not in LONG
    if scenario.name in MEETS or number % 2
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
UNSEEN = ("LosesEarlyExpiry",)  # no scenario has an age jitter, so expiries come in order
SEEN = [m for _, m, _ in BROKEN if m.__name__ not in UNSEEN]
QUICK = [m for m in SEEN if not BY_NAME[FOUND_IN[m.__name__]].large]
SECONDS = 300.0  # a bound that only a wrong exploration reaches


def named(scenarios: list[Scenario] | tuple[Scenario, ...]) -> dict[str, Any]:
    return {"argvalues": scenarios, "ids": [scenario.name for scenario in scenarios]}


@pytest.mark.parametrize("scenario", **named(SMALL))
def test_every_schedule_of_a_small_scenario_ends_well(scenario: Scenario) -> None:
    MET.clear()
    result = explore(scenario, max_seconds=SECONDS, stock_every=50)
    result.raise_for_failure()
    assert result.exhausted, result
    assert MEETS.get(scenario.name, set()) <= MET
    print(result)


@pytest.mark.parametrize("scenario", **named(SMALL[::4]))
def test_the_bare_pool_passes_some_scenarios_without_an_observer(scenario: Scenario) -> None:
    result = explore(replace(scenario, observed=False), max_seconds=SECONDS)
    result.raise_for_failure()
    assert result.exhausted, result


@pytest.mark.parametrize("name", ["two take turns", "a deadline passes", "tried once", "retired"])
def test_observers_change_no_schedule(name: str) -> None:
    scenario = BY_NAME[name]
    scenario = replace(scenario, cancel=scenario.cancel[:1], users=scenario.users[:2])
    watched = explore(scenario, max_seconds=SECONDS, prune=False)
    bare = explore(replace(scenario, observed=False), max_seconds=SECONDS, prune=False)
    assert watched.exhausted
    assert bare.exhausted
    assert (bare.schedules, bare.choices, bare.depth) == (
        watched.schedules,
        watched.choices,
        watched.depth,
    )


def test_the_bare_pool_runs_the_machine_of_the_files() -> None:
    machines = []

    class Watching(Outside):
        def make_pool(self, options: dict[str, Any]) -> Any:
            pool = super().make_pool(options)
            machines.append(machine_kind(pool))
            return pool

    scenario = replace(BY_NAME["two take turns"], observed=False, world=Watching)
    explore(scenario, max_seconds=SECONDS)
    assert set(machines) == {"bare"}


def test_the_table_has_enough_scenarios_and_all_pairs() -> None:
    names = [scenario.name for scenario in (*SCENARIOS, *PAIRS)]
    assert len(names) == len(set(names))
    assert len(SCENARIOS) >= 25
    assert len(PAIRS) == len(CALLS) * (len(CALLS) + 1) / 2
    assert all(2 <= len(scenario.users) <= 4 for scenario in SCENARIOS)


@pytest.mark.parametrize("call", ["close", "terminate", "retire"])
def test_each_way_to_end_a_pool_meets_resources_in_every_place(call: str) -> None:
    small = {scenario.name for scenario in SMALL}
    assert set(MEETS) <= small  # the first test explores these and checks what they meet
    met = set().union(*MEETS.values())
    places = ("creating", "handed", "checking", "held", "resetting", "closing")
    assert met >= {f"{call} {place}" for place in places}


# `make verify` explores all pairs.
@pytest.mark.parametrize("scenario", **named([s for s in PAIRS if "discard" in s.name][::6]))
def test_every_schedule_of_some_pairs_of_public_calls_ends_well(scenario: Scenario) -> None:
    MET.clear()
    result = explore(scenario, max_seconds=SECONDS)
    result.raise_for_failure()
    assert result.exhausted, result
    for user, met in MEETS_IN_PAIRS.items():
        assert user not in scenario.users or met in MET


@pytest.mark.parametrize(
    "name",
    ["tried once", "contexts take turns"],
)
def test_the_order_in_which_the_loop_runs_callbacks_does_not_matter(name: str) -> None:
    result = explore(BY_NAME[name], mode="ready", max_seconds=SECONDS)
    result.raise_for_failure()
    assert result.exhausted, result


@pytest.mark.parametrize("cancel", [(), (1,)])
def test_exploration_without_pruning_has_the_same_verdict(cancel: tuple[int, ...]) -> None:
    scenario = replace(BY_NAME["creations fail"], cancel=cancel)
    pruned = explore(scenario, max_seconds=SECONDS)
    whole = explore(scenario, max_seconds=SECONDS, prune=False)
    assert pruned.exhausted
    assert whole.exhausted
    assert whole.pruned == 0
    assert whole.schedules >= pruned.schedules


@pytest.mark.parametrize("message", ["", "\n", "\nsecond", "first\nsecond"])
def test_a_failure_is_reported_with_any_message(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: object) -> None:
        raise AssertionError(message)

    scenario: Any = fails
    scenario.large = 0
    monkeypatch.setitem(schedules.ALL, "two take turns", scenario)
    *_, said = schedules.explored("two take turns", "events", "")
    assert said in ("first", "second", f"raised: AssertionError({message!r})")


@pytest.mark.parametrize("machine", QUICK, ids=lambda machine: machine.__name__)
def test_exploration_finds_each_machine_with_a_bug(
    machine: Machine,
) -> None:
    scenario = BY_NAME[FOUND_IN[machine.__name__]]
    with machine_in_new_pools(machine):
        result = explore(scenario, max_seconds=SECONDS)
        assert result.failure is not None
        again = replay(scenario, result.failure.replay)
    assert again.failure is not None
    assert type(again.failure.error) is type(result.failure.error)
    print(f"{machine.__name__}: {result.schedules} schedules: {result.failure.error}"[:300])
