"""The rules of the Hypothesis state machines: they reach everything and raise each defect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from nodetool.concurrency import ResourcePoolClosedError, ResourcePoolTimeoutError
from nodetool.concurrency.verify import _checks, _following, _machine_rules, _pool_world
from nodetool.concurrency.verify._graph import MODELS
from nodetool.concurrency.verify._machine_rules import machine_rules_for
from nodetool.concurrency.verify._rules import BEYOND, PoolRules, rules_for
from nodetool.concurrency.verify._virtual_time import VirtualTimeLoop, turns
from proofs.broken_machines import WakesNobodyAtHandOver
from tests.inside import (
    MISCOUNTING,
    STEPS,
    UNTIDY,
    Machine,
    PoolMachine,
    is_leased,
    replace_step,
)


def caught(rules: Any, steps: int = 50) -> bool:
    """Return whether an example fails, without shrinking it."""
    chosen = settings(
        phases=[Phase.generate],
        max_examples=2_000,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(rules, settings=chosen)
    except Exception as error:
        print(f"{rules.examples} examples, {type(error).__name__}: {error}")
        return True
    return False


def played(scenario: Callable[[], None]) -> None:
    """Run a scenario inside a Hypothesis test, because `note` works only there."""

    @settings(max_examples=1, database=None, deadline=None)
    @given(st.none())
    def once(_: None) -> None:
        scenario()

    once()


def leased(rules: PoolRules) -> Any:
    """Return a resource that a user of the pool holds."""
    got = rules.collect(rules.acquire(None, 1, 1))
    assert is_leased(rules.machine, got)
    return got


def fail(*_: Any) -> None:
    raise OSError("what nobody expects")


@pytest.mark.parametrize("name", MODELS)
def test_examples_of_the_real_pool_are_followed(name: str) -> None:
    rules = rules_for(name)
    assert _checks.failing_example(rules, 1, 12) == ""
    assert rules.examples >= 12
    assert rules.followed.total() > 40
    assert rules.unfollowed < rules.followed.total() / 3


def test_examples_of_the_machine_alone_are_counted() -> None:
    rules = machine_rules_for()
    assert _checks.failing_example(rules, 1, 30) == ""
    assert rules.examples >= 30
    assert rules.taken.total() > 300
    assert f"resources; in {rules.large} examples 150 and 100" in rules.figures()


@pytest.mark.untraced
def test_rounds_go_on_until_each_action_of_the_models_is_followed(
    small: Path,
) -> None:
    pools = {name: rules_for(name) for name in ("Wide", "Checked")}
    found = _checks.actions_followed(pools, 1)
    assert (found.problem, found.figures) == ("", "19 of the 19 actions that the models allow")
    followed = {*pools["Wide"].followed, *pools["Checked"].followed}
    assert followed == {*STEPS.values()} - {"RetryFloor"}  # small models have no minimum size
    examples = sum(rules.examples for rules in pools.values())
    assert _checks.actions_followed(pools, 2).problem == ""
    assert sum(rules.examples for rules in pools.values()) == examples


def test_actions_that_no_example_followed_are_reported(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checks, "MORE_EXAMPLES", 0)
    pools = {name: rules_for(name) for name in ("Wide", "Checked")}
    pools["Checked"].followed.update(STEPS.values())
    del pools["Checked"].followed["CheckFailed"], pools["Checked"].followed["ResetFailed"]
    found = _checks.actions_followed(pools, 3)
    assert found.problem == "no example followed CheckFailed, ResetFailed"
    assert found.figures == "17 of the 19 actions that the models allow"


def test_a_bug_that_shows_only_in_further_rounds_is_reported(small: Path) -> None:
    class Crashes(PoolMachine[Any]):
        def open(self) -> None:
            raise KeyError("no such thing")

    found = _checks.actions_followed({"Wide": rules_for("Wide", Crashes)}, 77)
    assert "state = WideRules()" in found.problem
    assert "to repeat it: python -m nodetool.concurrency.verify --seed " in found.problem


def test_rules_that_no_machine_was_made_for_end_at_once() -> None:
    machine_rules_for()().teardown()


@pytest.mark.untraced
def test_each_seed_has_its_own_examples() -> None:
    taken = []
    for seed in (1, 1, 2):
        rules = machine_rules_for()
        assert _checks.failing_example(rules, seed, 4) == ""
        taken.append(rules.taken)
    assert taken[0] == taken[1] != taken[2]


def test_failures_in_callbacks_and_tasks_are_raised() -> None:
    def scenario() -> None:
        rules = rules_for("Wide")()
        loop = rules.loop
        loop.call_exception_handler({"message": "oh", "exception": KeyError("in a callback")})
        with pytest.raises(KeyError, match="in a callback"):
            rules.let_run(1)
        loop.errors = [{"message": "oh"}]
        with pytest.raises(AssertionError, match="oh"):
            rules.let_run(1)
        loop.errors = []
        rules.follower.failure = OSError("in a task")
        with pytest.raises(OSError, match="in a task"):
            rules.let_run(1)
        rules.teardown()

    played(scenario)


def test_a_release_that_fails_or_is_accepted_twice_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scenario() -> None:
        rules = rules_for("Wide")()
        first = leased(rules)
        with monkeypatch.context() as patch:
            replace_step(patch, rules.machine, "Discard", fail)
            with pytest.raises(OSError, match="nobody expects"):
                rules.give_back(first, "discard", None, 2)
        rules.give_back(first, "release", None, 2)
        with monkeypatch.context() as patch:
            replace_step(patch, rules.machine, "Release", lambda *_: None)
            with pytest.raises(AssertionError, match="released twice"):
                rules.give_back_again(first)
        rules.give_back_again(first)
        rules.teardown()

    played(scenario)


def test_a_closing_that_does_not_end_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario() -> None:
        rules = rules_for("Wide")()
        leased(rules)
        replace_step(monkeypatch, rules.machine, "CloserEnded", lambda _: None)
        with pytest.raises(AssertionError):
            rules.teardown()

    played(scenario)


def test_a_reset_in_flight_ends_at_teardown() -> None:
    def scenario() -> None:
        rules = rules_for("Checked")()
        rules.give_back(leased(rules), "release", None, 2)
        assert "reset" in rules.open_calls()
        rules.teardown()

    played(scenario)


def test_steps_that_were_not_followed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "EXAMPLES", 1)
    rules = rules_for("Wide")
    rules.unfollowed = 1000
    found = _checks.rounds("Wide", rules, 0.0, 1)
    assert f"{rules.followed.total():,} steps followed, 1,000 beyond the bound" in found.figures


def test_an_acquire_exceeds_the_tasks_of_a_model_only_if_so_drawn() -> None:
    def scenario() -> None:
        rules = rules_for("Deep")()
        for free in (2, 1):
            assert not rules.is_full()
            rules.acquire(None, free - 1, 1)  # the second has not run yet
        assert rules.is_full()
        rules.acquire(None, 1, 1)
        assert len(rules.tasks) == 2
        rules.acquire(None, 1, BEYOND)
        assert len(rules.tasks) == 3
        assert rules.follower.unfollowed
        assert not rules.is_full()
        rules.teardown()

    played(scenario)


def test_a_failure_in_an_example_without_tasks_is_not_masked() -> None:
    def scenario() -> None:
        asyncio.set_event_loop(other)
        rules = rules_for("Wide")()
        rules.follower.failure = OSError("in a step")
        rules.teardown()

    other = asyncio.new_event_loop()
    played(scenario)
    asyncio.set_event_loop(None)
    other.close()


@pytest.fixture
def states_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the follower compare states only."""
    monkeypatch.setattr(_following, "OUTPUTS", ())
    monkeypatch.setattr(_following, "STEP_OUTPUTS", {})


def without_contracts(name: str, machine: Machine) -> Any:
    """Make rules in which neither contracts nor outputs are checked."""
    rules = rules_for(name, machine)
    rules.contracts = False
    return rules


@pytest.mark.untraced
@pytest.mark.usefixtures("states_only")
@pytest.mark.parametrize("machine", MISCOUNTING)
def test_wrong_numbers_errors_and_duplicates_are_caught_without_contracts(
    machine: Machine,
) -> None:
    assert caught(without_contracts("Wide", machine))


@pytest.mark.usefixtures("states_only")
def test_an_acquirer_that_nobody_wakes_is_caught_without_contracts_and_outputs() -> None:
    rules = without_contracts("Wide", WakesNobodyAtHandOver)
    said = _checks.failing_example(rules, 1, 100)
    assert "acquirers were handed a slot and were not woken" in said
    assert _checks.failing_example(without_contracts("Wide", PoolMachine), 1, 30) == ""


@pytest.mark.untraced
@pytest.mark.parametrize("machine", UNTIDY)
def test_a_machine_that_loses_entries_when_it_removes_dead_ones_is_caught(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_machine_rules, "LARGE", 100)
    assert caught(machine_rules_for(machine), 12)


def test_an_early_closed_error_and_a_foreign_close_are_reported() -> None:
    def scenario() -> None:
        rules = rules_for("Wide")()
        rules.count_error(ResourcePoolClosedError("too early"))
        with pytest.raises(AssertionError, match="an acquirer of an open pool got"):
            rules.raise_problems()
        rules.loop.errors = []
        resource = leased(rules)
        rules.living.remove(resource)
        closing = rules.spawn(rules.close_resource(resource))
        rules.loop.run_until_complete(turns(1))
        with pytest.raises(AssertionError, match="closed 1 times, or not the pool's to close"):
            rules.raise_problems()
        rules.living.append(resource)
        closing.cancel()
        rules.teardown()

    played(scenario)


def test_virtual_time_jumps_and_a_deadlock_is_an_error() -> None:
    loop = VirtualTimeLoop()
    before = loop.time()
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() == before + 3600
    with pytest.raises(RuntimeError, match="deadlock"):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_a_loop_runs_until_it_is_idle_without_letting_time_pass() -> None:
    loop = VirtualTimeLoop()
    before = loop.time()
    ran: list[str] = []
    loop.call_later(1, ran.append, "later")
    loop.call_later(0, ran.append, "now")
    task = loop.create_task(turns(50))
    loop.run_until_idle()
    assert task.done()
    assert (ran, loop.time()) == (["now"], before)
    loop.run_until_idle()
    loop.run_until_complete(asyncio.sleep(2))
    assert (ran, loop.time()) == (["now", "later"], before + 2)
    loop.close()


def test_rare_draws_of_hypothesis_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Play a check that outlasts its acquirer's deadline, and a lease that terminate() ended."""
    # `note` works only inside of Hypothesis.
    monkeypatch.setattr(_pool_world, "note", lambda _: None)
    state: Any = rules_for("Checked")()
    first = state.collect(task=state.acquire(timeout=None, count=0, beyond=1))
    state.give_back(resource=first, how="release", reset=True, count=4)
    state.let_time_pass(seconds=0.2)
    waits = state.acquire(timeout=None, count=4, beyond=1)
    assert "check" in state.open_calls()
    state.let_a_check_outlast_its_deadline()
    assert isinstance(waits.exception(), ResourcePoolTimeoutError)
    state.end_callback(how="well", which=0, count=5)
    held = state.collect(task=state.acquire(timeout=None, count=0, beyond=1))
    state.end_pool(what="terminate")
    state.give_back(resource=held, how="release", reset=None, count=4)
    stats = state.pool.stats()
    assert stats.in_use == 0
    assert stats.acquired - stats.released - stats.discarded - stats.detached == 1  # forgotten
    state.teardown()
