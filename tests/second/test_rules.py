"""The rules for the second pool and the second machine reach everything, and raise defects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodetool.concurrency import ResourcePoolTimeoutError
from nodetool.concurrency.verify import _checks
from proofs.second_walk import Move
from spec.second_graph import Graph
from tests.inside import replace_step, second_machine_rules, second_pool_rules

CHECKED = Graph.frozen("SingleChecked")
SINGLE = Graph.frozen("Single")


def played(scenario: Callable[[], None]) -> None:
    """Run a scenario inside a Hypothesis test, because `note` works only there."""

    @settings(max_examples=1, database=None, deadline=None)
    @given(st.none())
    def once(_: None) -> None:
        scenario()

    once()


def leased(rules: Any) -> Any:
    """Return a resource that a user of the pool holds."""
    return rules.collect(task=rules.acquire(timeout=None, count=1, beyond=1))


@pytest.mark.parametrize("graph", [CHECKED, SINGLE], ids=["checked", "single"])
def test_examples_of_the_real_pool_are_followed(graph: Graph) -> None:
    rules = second_pool_rules(graph)
    assert _checks.failing_example(rules, 1, 8) == ""
    assert rules.examples >= 8
    assert rules.followed.total() > 20


def test_examples_of_the_machine_alone_are_counted() -> None:
    rules, actions = second_machine_rules()
    assert _checks.failing_example(rules, 1, 20) == ""
    assert rules.taken.total() > 300
    assert {*rules.taken} <= actions


def test_the_large_machine_has_many_tasks_and_resources() -> None:
    def scenario() -> None:
        rules = second_machine_rules()[0]()
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
        rules = second_machine_rules()[0]()
        options = {"checks": "never", "resets": False, "ages": False, "fifo": False}
        rules.start(large=0, sizes={1}, floors=set(), creating=1, waiting=None, **options)
        for task in ("t000", "t001"):
            rules.step(Move("Acquire", task))
        rules.world.got["t000"].ticket = 9
        with pytest.raises(AssertionError, match=r"FifoService after|lost its order"):
            rules.recount("a change")

    played(scenario)


def test_every_kind_of_care_is_taken_and_refused_when_the_pool_is_closed() -> None:
    def scenario() -> None:
        rules = second_pool_rules(Graph.frozen("Combined"))()
        for waits in (True, False):
            for what in ("open", "prune", "retire_all"):
                rules.care(what=what, waits=waits)
            rules.resize(which=1 - waits, waits=waits)
        rules.let_run(count=6)
        assert rules.pool.max_size == 2
        rules.end_pool(what="close")
        rules.let_run(count=3)
        rules.care(what="retire_all", waits=False)
        rules.resize(which=0, waits=False)
        rules.teardown()

    played(scenario)


def test_a_model_without_retirement_is_never_retired() -> None:
    def scenario() -> None:
        rules = second_pool_rules(Graph.frozen("Deep"))()
        rules.care(what="retire_all", waits=True)
        rules.care(what="retire_all", waits=False)
        assert rules.pool.stats().retired == 0
        rules.terminate()
        rules.teardown()

    played(scenario)


@pytest.mark.parametrize("stubborn", [False, True])
def test_work_exceeds_its_limits(stubborn: bool) -> None:
    def scenario() -> None:
        rules = second_pool_rules(CHECKED)()
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
        rules = second_pool_rules(CHECKED)()
        rules.use_and_check(how=False)
        rules.let_run(count=4)
        assert rules.counts["failed check"] == rules.pool.stats().check_failed == 1
        rules.teardown()

    played(scenario)


def test_a_check_of_a_closed_resource_is_reported() -> None:
    def scenario() -> None:
        rules = second_pool_rules(CHECKED)()
        resource = leased(rules)
        resource.closed = 1
        rules.spawn(rules.pool.release(resource))
        with pytest.raises(AssertionError, match="the reset got a resource that is closed"):
            rules.let_run(count=4)
        resource.closed = 0
        rules.loop.errors.clear()
        rules.teardown()

    played(scenario)


def test_a_lease_ends_once_and_a_wrong_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("what nobody expects")

    def scenario() -> None:
        rules = second_pool_rules(SINGLE)()
        resource = leased(rules)
        with monkeypatch.context() as patch:
            replace_step(patch, rules.machine, "Discard", fail)
            with pytest.raises(OSError, match="nobody expects"):
                rules.give_back(resource=resource, how="discard", reset=None, count=1)
        rules.give_back(resource=resource, how="detach", reset=None, count=1)
        other = leased(rules)
        rules.terminate()
        rules.give_back(resource=other, how="release", reset=True, count=1)
        assert rules.terminated
        rules.teardown()

    played(scenario)


def test_work_for_no_slot_is_reported() -> None:
    def scenario() -> None:
        rules = second_pool_rules(SINGLE)()
        call = rules.begin_call("factory")
        with pytest.raises(AssertionError, match="1 calls of the factory"):
            rules.all_work_that_has_started_is_known()
        call.cancel()
        rules.all_work_that_has_started_is_known()
        rules.teardown()

    played(scenario)


def test_an_acquirer_may_get_only_an_error_of_a_creation() -> None:
    def scenario() -> None:
        rules = second_pool_rules(SINGLE)()
        rules.count_error(OSError("of a check"))
        with pytest.raises(AssertionError, match="not the new error of a creation"):
            rules.let_run(count=1)
        rules.loop.errors.clear()
        rules.count_error(asyncio.CancelledError())
        assert rules.counts["cancelled"] == 1
        rules.teardown()

    played(scenario)
