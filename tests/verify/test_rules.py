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
from nodetool.concurrency.verify import _checks, _following, _machine_rules
from nodetool.concurrency.verify._graph import MODELS
from nodetool.concurrency.verify._machine_rules import machine_rules_for
from nodetool.concurrency.verify._rules import BEYOND, PoolRules, rules_for
from nodetool.concurrency.verify._virtual_time import VirtualTimeLoop, turns
from nodetool.concurrency.verify._walk import Move
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
    assert _checks.failing_example(rules, 1, 6) == ""
    assert rules.examples >= 6
    assert rules.followed.total() > 15
    assert rules.unfollowed < rules.followed.total() / 3


def test_examples_of_the_machine_alone_are_counted() -> None:
    rules = machine_rules_for()
    assert _checks.failing_example(rules, 1, 10) == ""
    assert rules.examples >= 10
    assert rules.taken.total() > 100
    assert f"resources; in {rules.large} examples 150 and 100" in rules.figures()


def test_a_random_walk_of_the_machine_breaks_no_contract() -> None:
    found = _checks.checked_walks("Lowering", PoolMachine, 0.0, 1)
    assert found.problem == ""
    assert not found.figures.startswith("0 steps")


@pytest.mark.slow
@pytest.mark.untraced
def test_rounds_go_on_until_each_action_of_the_models_is_followed(
    small: Path,
) -> None:
    pools = {"Wide": rules_for("Wide")}
    found = _checks.actions_followed(pools, 1)
    assert (found.problem, found.figures) == ("", "15 of the 15 actions that the models allow")
    followed = {action for rules in pools.values() for action in rules.followed}
    # The model has no checks, resets and limits in time; the small one has one size.
    others = {
        "CheckPassed",
        "CheckFailed",
        "ResetPassed",
        "ResetFailed",
        "Sweep",
        "RetryFloor",
        "Resize",
    }
    assert followed == {*STEPS.values()} - others
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
        rules.give_back(leased(rules), "release", None, 4)
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


def test_the_large_machine_has_many_tasks_and_resources() -> None:
    def scenario() -> None:
        rules = machine_rules_for()()
        options = {"checks": "always", "resets": True, "ages": True, "fifo": True}
        rules.start(large=99, sizes={3}, floors={1}, creating=1, waiting=1, **options)
        rules.burst(burst="use and expire", left_out=0)
        assert rules.large == 1
        assert rules.world.machine.statistics()["expired"] > 64
        assert not rules.step(Move("CreateFailed", 99))
        assert not rules.step(Move("Resume", "t000"))
        rules.teardown()

    played(scenario)


def test_a_machine_in_disorder_is_reported() -> None:
    def scenario() -> None:
        rules = machine_rules_for()()
        options = {"checks": "never", "resets": False, "ages": False, "fifo": False}
        rules.start(large=0, sizes={1}, floors=set(), creating=1, waiting=None, **options)
        for task in ("t000", "t001"):
            rules.step(Move("Acquire", task))
        waiter: Any = rules.world.got["t000"]
        waiter.ticket = 9
        with pytest.raises(AssertionError, match=r"FifoService after|lost its order"):
            rules.recount("a change")

    played(scenario)


def test_every_kind_of_care_is_taken_and_refused_when_the_pool_is_closed() -> None:
    def scenario() -> None:
        rules = rules_for("Combined")()
        for waits in (True, False):
            for what in ("open", "prune", "retire_all"):
                rules.care(what=what, waits=waits)
            rules.resize(which=1 - waits, waits=waits)
        rules.let_run(count=6)
        assert rules.pool.max_size == 2
        rules.close()
        rules.let_run(count=3)
        rules.care(what="retire_all", waits=False)
        rules.resize(which=0, waits=False)
        rules.teardown()

    played(scenario)


def test_a_model_without_retirement_is_never_retired() -> None:
    def scenario() -> None:
        rules = rules_for("Deep")()
        rules.care(what="retire_all", waits=True)
        rules.care(what="retire_all", waits=False)
        assert rules.pool.stats().retired == 0
        rules.terminate()
        rules.teardown()

    played(scenario)


@pytest.mark.parametrize("stubborn", [False, True])
def test_work_exceeds_its_limits(stubborn: bool) -> None:
    def scenario() -> None:
        rules: Any = rules_for("SingleChecked")()
        rules.begin(stubborn=stubborn)
        late = rules.acquire(timeout=float("inf"), count=3, beyond=1)
        rules.let_time_pass(seconds=21.0)
        assert isinstance(late.exception(), ResourcePoolTimeoutError)
        assert "creation_timeout" in str(late.exception())
        assert (rules.counts["errors of limits"], rules.pool.stats().late) == (1, stubborn)
        rules.end("closer", True)
        rules.let_run(count=3)
        held = leased(rules)
        rules.give_back(resource=held, how="release", reset=None, count=4)
        assert rules.open_calls() == ["reset"]
        rules.let_a_check_outlast_its_deadline()
        assert rules.pool.stats().reset_failed == 1
        rules.teardown()

    played(scenario)


def test_a_check_that_fails_and_one_that_is_late_are_counted() -> None:
    def scenario() -> None:
        rules = rules_for("SingleChecked")()
        rules.use_and_check(how=False)
        rules.let_run(count=4)
        assert rules.counts["failed check"] == rules.pool.stats().check_failed == 1
        rules.teardown()

    played(scenario)


def test_a_check_of_a_closed_resource_is_reported() -> None:
    def scenario() -> None:
        rules = rules_for("SingleChecked")()
        resource = leased(rules)
        resource.closed = 1
        rules.spawn(rules.pool.release(resource))
        with pytest.raises(AssertionError, match="the reset got a resource that is closed"):
            rules.let_run(count=4)
        resource.closed = 0
        rules.loop.errors.clear()
        rules.teardown()

    played(scenario)


def test_a_lease_ends_once() -> None:
    def scenario() -> None:
        rules = rules_for("Single")()
        rules.give_back(resource=leased(rules), how="detach", reset=None, count=1)
        other = leased(rules)
        rules.terminate()
        rules.give_back(resource=other, how="release", reset=True, count=1)
        assert rules.terminated
        assert rules.pool.stats().forgotten == 1
        rules.teardown()

    played(scenario)


def test_a_model_without_discard_knows_only_releases() -> None:
    def scenario() -> None:
        rules = rules_for("Checked")()
        rules.give_back(resource=leased(rules), how="detach", reset=True, count=1)
        assert rules.pool.stats().released == 1
        leased(rules)
        rules.teardown()

    played(scenario)


def test_work_for_no_slot_is_reported() -> None:
    def scenario() -> None:
        rules = rules_for("Single")()
        call = rules.begin_call("factory")
        with pytest.raises(AssertionError, match="1 calls of the factory"):
            rules.all_work_that_has_started_is_known()
        call.cancel()
        rules.all_work_that_has_started_is_known()
        rules.teardown()

    played(scenario)


def test_an_acquirer_may_get_only_an_error_of_a_creation() -> None:
    def scenario() -> None:
        rules = rules_for("Single")()
        rules.count_error(OSError("of a check"))
        with pytest.raises(AssertionError, match="not the new error of a creation"):
            rules.let_run(count=1)
        rules.loop.errors.clear()
        rules.count_error(asyncio.CancelledError())
        assert rules.counts["cancelled"] == 1
        rules.teardown()

    played(scenario)
