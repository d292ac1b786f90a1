"""The second pool and its machine under Hypothesis, which must catch machines with a bug."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from proofs.second_broken import BROKEN
from spec.second_graph import Graph
from tests.concurrency.test_stateful import CATCHING, PROFILE
from tests.inside import second_machine, second_machine_rules, second_pool_rules

pytestmark = pytest.mark.untraced

MODELS = ("Combined", "SingleChecked", "Wide", "Deep", "Rotating")
Machine = type[second_machine.PoolMachine[Any]]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")


def run(rules: type[RuleBasedStateMachine], examples: int) -> None:
    run_state_machine_as_test(rules, settings=settings(PROFILE, max_examples=examples))


def test_for_random_users_every_step_is_the_specification_s_and_nothing_is_lost() -> None:
    followed: Counter[str] = Counter()
    for name in MODELS:
        rules = second_pool_rules(Graph.frozen(name))
        run(rules, PROFILE.max_examples // 3)
        followed += rules.followed
    print(dict(followed))
    assert followed.total() > 300
    assert len(followed) > 15


def test_at_any_size_the_machine_s_numbers_move_as_the_counting_model_says() -> None:
    rules, actions = second_machine_rules()
    run(rules, PROFILE.max_examples)
    print(rules.figures(), actions - {*rules.taken})
    assert rules.taken.total() > 1_000
    assert len(rules.taken) > 15


MACHINES = {machine.__name__: machine for _, machine, _ in BROKEN}


# A pool whose machine raises in the middle of everything may drop a coroutine.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["DoesNotCountClosing", "DisownsForEver"])
def test_a_pool_on_a_machine_with_a_bug_is_caught(name: str) -> None:
    chosen = settings(CATCHING, phases=[Phase.generate])
    for rules in (
        second_machine_rules(MACHINES[name])[0],
        second_pool_rules(Graph.frozen("Wide"), MACHINES[name]),
    ):
        with pytest.raises(BaseException) as info:  # noqa: PT011  # any way to fail will do
            run_state_machine_as_test(rules, settings=chosen)
        assert not isinstance(info.value, KeyboardInterrupt)
        print(f"{name}: {rules.examples} examples, {type(info.value).__name__}")
