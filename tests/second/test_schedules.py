"""Small scenarios on the second pool, in every schedule.

`python -m proofs.second_schedules` explores all scenarios, and looks for all machines with a bug.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodetool.concurrency.testing import explore, replay
from proofs.scenarios.outside import MET
from proofs.scenarios.second_table import CALLS, FOUND_IN, MEETS, PAIRS, SCENARIOS
from proofs.second_schedules import ALL, MACHINES, explored, found, problem_of

pytestmark = pytest.mark.untraced

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
SMALL = (
    "two take turns",
    "closers fail",
    "a check is disowned",
    "terminated while checked",
    "plain and closed",
    "a late closer ends",
    "late checks and resets succeed",
    "contexts take turns",
)
BUGS = ("ServesNewestFirst", "ForgetsHandedOver", "KeepsItsDisowned", "AsksForNoCheck")


@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_of_a_small_scenario_ends_well(name: str) -> None:
    result = explored(BY_NAME[name])
    result.raise_for_failure()
    assert problem_of(result, name, "events") == ""
    print(result)


def test_the_bare_pool_passes_a_scenario_without_an_observer() -> None:
    result = explored(ALL["two take turns, without observers"])
    result.raise_for_failure()
    assert result.exhausted


def test_the_order_in_which_the_loop_runs_callbacks_does_not_matter() -> None:
    result = explored(replace(BY_NAME["two take turns"], cancel=()), "ready")
    result.raise_for_failure()
    assert problem_of(result, "closed in the middle", "ready") == ""


def test_the_table_has_enough_scenarios_and_all_pairs() -> None:
    names = [scenario.name for scenario in (*SCENARIOS, *PAIRS)]
    assert len(names) == len(set(names))
    assert len(SCENARIOS) > 50
    assert len(PAIRS) == len(CALLS) * (len(CALLS) + 1) / 2
    assert not any(scenario.large for scenario in ALL.values())


@pytest.mark.parametrize("call", ["close", "terminate", "retire"])
def test_each_way_to_end_a_pool_meets_resources_in_every_place(call: str) -> None:
    met = set().union(*MEETS.values())
    places = ("creating", "handed", "checking", "held", "resetting", "closing")
    assert met >= {f"{call} {place}" for place in places}
    assert set(MEETS) <= set(BY_NAME)


@pytest.mark.parametrize("bug", BUGS)
def test_exploration_finds_machines_with_a_bug(bug: str) -> None:
    result = found(bug, FOUND_IN[bug])
    assert result.failure is not None
    print(f"{bug}: {result.schedules} schedules: {result.failure.error}"[:300])


def test_a_machine_with_a_bug_is_looked_for_in_each_case() -> None:
    assert set(FOUND_IN) <= set(MACHINES)
    assert set(FOUND_IN.values()) <= set(ALL)


def test_what_is_wrong_is_said() -> None:
    short = explored(BY_NAME["two take turns"], most=2)
    assert problem_of(short, "", "events") == "not exhausted: max_schedules"
    result = found("ServesNewestFirst", "two take turns")
    assert problem_of(result, "", "events").startswith("specification: ")
    assert result.failure is not None
    assert replay(BY_NAME["two take turns"], result.failure.replay).failure is None
    whole = explore(BY_NAME["contexts take turns"])
    MET.clear()
    assert problem_of(whole, "closed in the middle", "events").startswith("never met: close ")
