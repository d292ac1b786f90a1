"""Small scenarios on the real pool, in every schedule; `make verify` explores all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodetool.concurrency.testing import explore, replay
from proofs import schedules
from proofs.broken_machines import BROKEN
from proofs.inside import Machine, machine_in_new_pools
from proofs.scenarios.outside import Outside
from proofs.scenarios.table import CALLS, FOUND_IN, MEETS, PAIRS, SCENARIOS, Scenario
from tests.inside import machine_kind

pytestmark = pytest.mark.untraced

# `make verify` explores all scenarios. These are quick, and meet what a test asks for.
SMALL = (
    "two take turns",
    "one comes back for more",
    "released twice",
    "two deadlines pass",
    "tried once",
    "closers fail",
    "closed while a creation fails",
    "retired and closed",
    "terminated while checked",
    "plain and retired",
    "plain and closed",
    "plain and terminated",
    "a late closer ends",
    "late checks and resets succeed",
    "contexts take turns",
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
# `make verify` looks for all machines with a bug.
QUICK = [machine for _, machine, _ in BROKEN if machine.__name__ in FOUND_IN][::4]
SECONDS = 300.0  # a bound that only a wrong exploration reaches


def named(scenarios: list[Scenario] | tuple[Scenario, ...]) -> dict[str, Any]:
    return {"argvalues": scenarios, "ids": [scenario.name for scenario in scenarios]}


@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_of_a_small_scenario_ends_well(name: str) -> None:
    result = schedules.result_of(name)
    result.raise_for_failure()
    assert result.exhausted, result
    assert schedules.problem_of(result, name, "events") is None
    print(result)


@pytest.mark.parametrize("name", SMALL[::4])
def test_the_bare_pool_passes_some_scenarios_without_an_observer(name: str) -> None:
    result = schedules.result_of(f"{name}, without observers")
    result.raise_for_failure()
    assert result.exhausted, result


@pytest.mark.parametrize("name", ["two take turns", "tried once", "retired"])
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
    assert len(SCENARIOS) > 60
    assert len(PAIRS) == len(CALLS) * (len(CALLS) + 1) / 2
    assert all(2 <= len(scenario.users) <= 4 for scenario in SCENARIOS)


@pytest.mark.parametrize("call", ["close", "terminate", "retire"])
def test_each_way_to_end_a_pool_meets_resources_in_every_place(call: str) -> None:
    assert set(MEETS) <= set(BY_NAME)
    # The first test explores these, and checks what they meet.
    met = set().union(*(MEETS.get(name, set()) for name in SMALL))
    places = ("creating", "handed", "checking", "held", "resetting", "closing")
    assert met >= {f"{call} {place}" for place in places}


# `make verify` explores all pairs.
@pytest.mark.parametrize("scenario", **named([s for s in PAIRS if "discard" in s.name][::6]))
def test_every_schedule_of_some_pairs_of_public_calls_ends_well(scenario: Scenario) -> None:
    result = schedules.result_of(scenario.name)
    result.raise_for_failure()
    assert result.exhausted, result
    assert schedules.problem_of(result, scenario.name, "events") is None


def test_a_situation_that_no_run_meets_is_reported() -> None:
    result = schedules.result_of("tried once")
    assert schedules.problem_of(result, "tried once", "events") is None
    said = schedules.problem_of(result, "closed in the middle", "events")
    assert said is not None
    assert said.startswith("never met: close ")
    assert schedules.expected("prunes against closes") == {"prune removed"}


def test_problems_are_listed_by_scenario() -> None:
    right = schedules.Found("two take turns", "events", "", 9, None, None)
    wrong = right._replace(said="lost"), right._replace(bound="max_schedules")
    assert schedules.problems([right, *wrong]) == [
        "two take turns, events: lost",
        "two take turns is not exhausted",
    ]


@pytest.mark.slow
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
