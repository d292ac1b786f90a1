"""The rules that Hypothesis follows: they do everything, and what goes wrong is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodetool.concurrency.verify import _checks
from nodetool.concurrency.verify._graph import MODELS
from nodetool.concurrency.verify._machine_rules import machine_rules_for
from nodetool.concurrency.verify._rules import PoolRules, rules_for
from nodetool.concurrency.verify._virtual_time import VirtualTimeLoop


def played(scenario: Callable[[], None]) -> None:
    """Run it where Hypothesis takes notes."""

    @settings(max_examples=1, database=None, deadline=None)
    @given(st.none())
    def once(_: None) -> None:
        scenario()

    once()


def leased(rules: PoolRules) -> Any:
    """A resource that a user of the pool holds."""
    got = rules.collect(rules.acquire(None, 1))
    assert id(got) in rules.machine.leased
    return got


def fail(*_: Any) -> None:
    raise OSError("what nobody expects")


@pytest.mark.parametrize("name", MODELS)
def test_examples_of_the_real_pool_are_followed(name: str) -> None:
    rules = rules_for(name)
    assert _checks.falsified(rules, 1, 30) == ""
    assert rules.examples >= 30
    assert rules.followed.total() > 100


def test_examples_of_the_machine_alone_are_counted() -> None:
    rules = machine_rules_for()
    assert _checks.falsified(rules, 1, 30) == ""
    assert rules.examples >= 30
    assert rules.taken.total() > 300


def test_each_seed_has_its_own_examples() -> None:
    taken = []
    for seed in (1, 1, 2):
        rules = machine_rules_for()
        assert _checks.falsified(rules, seed, 10) == ""
        taken.append(rules.taken)
    assert taken[0] == taken[1] != taken[2]


def test_what_fails_where_nobody_looks_is_raised_all_the_same() -> None:
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
        rules.machine.failure = OSError("in a task")
        with pytest.raises(OSError, match="in a task"):
            rules.let_run(1)
        rules.teardown()

    played(scenario)


def test_a_release_that_fails_or_is_taken_twice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario() -> None:
        rules = rules_for("Wide")()
        first = leased(rules)
        with monkeypatch.context() as patch:
            patch.setattr(rules.machine, "discard", fail)
            with pytest.raises(OSError, match="nobody expects"):
                rules.give_back(first, "discard", None)
        rules.give_back(first, "release", None)
        with monkeypatch.context() as patch:
            patch.setattr(rules.machine, "release", lambda *_: None)
            with pytest.raises(AssertionError, match="released twice"):
                rules.give_back_again(first)
        rules.give_back_again(first)
        rules.teardown()

    played(scenario)


def test_a_closing_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def scenario() -> None:
        rules = rules_for("Wide")()
        leased(rules)
        monkeypatch.setattr(rules.machine, "closer_ended", lambda _: None)
        with pytest.raises(AssertionError):
            rules.teardown()

    played(scenario)


def test_what_is_being_reset_at_the_end_comes_back_by_itself() -> None:
    def scenario() -> None:
        rules = rules_for("Checked")()
        rules.give_back(leased(rules), "release", None)
        assert "reset" in rules.open_calls()
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
