"""The pool and its machine under Hypothesis, and machines with a bug, which it must catch."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from proofs.broken_machines import BROKEN
from tests.inside import MODELS, STEPS, PoolMachine, machine_rules, pool_rules

pytestmark = pytest.mark.untraced

settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=8,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("deep", settings.get_profile("ci"), max_examples=1500, derandomize=False)
PROFILE = settings.get_profile(os.environ.get("POOL_HYPOTHESIS_PROFILE", "ci"))
CATCHING = settings(
    settings.get_profile("ci"),
    phases=[Phase.generate],
    max_examples=3000,
    report_multiple_bugs=False,
)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")


def run(rules: type[RuleBasedStateMachine], examples: int = PROFILE.max_examples) -> None:
    run_state_machine_as_test(rules, settings=settings(PROFILE, max_examples=examples))


def run_more(
    rules: type[RuleBasedStateMachine], missing: Callable[[], set[str]], examples: int
) -> None:
    """Run more examples while a rare action is missing.

    Hypothesis also draws constants of the modules that are imported, so the examples of a test
    depend on the tests that are collected with it.
    """
    for number in range(4):
        if missing():
            run(seed(number)(rules), examples)


def test_for_random_users_every_step_is_the_specification_s_and_nothing_is_lost() -> None:
    followed: Counter[str] = Counter()
    for name in (*MODELS, "SingleChecked", "Rotating"):
        rules = pool_rules(name)
        run(rules)
        assert rules.examples >= PROFILE.max_examples
        followed += rules.followed

    def missing() -> set[str]:
        return set(STEPS.values()) - set(followed + rules.followed)

    rules = pool_rules("SingleChecked")  # the model has all actions but Resize and RetryFloor
    run_more(rules, missing, PROFILE.max_examples)
    followed += rules.followed
    assert set(followed) == set(STEPS.values()), "some action was never followed"
    assert followed.total() > 500


def test_at_any_size_the_machine_s_numbers_move_as_the_counting_model_says() -> None:
    rules, actions = machine_rules()
    examples = PROFILE.max_examples * 2
    run(rules, examples)
    assert rules.examples >= examples

    def never() -> set[str]:
        return actions - set(rules.taken)

    run_more(rules, never, PROFILE.max_examples)
    assert not never(), "an action of the specification was never taken"
    assert rules.taken.total() > 1_000


def caught(rules: Any) -> BaseException:
    """Return the error by which Hypothesis reports a bug."""
    with pytest.raises(BaseException) as info:  # noqa: PT011  # any way to fail will do
        run_state_machine_as_test(rules, settings=CATCHING)
    assert not isinstance(info.value, KeyboardInterrupt)
    return info.value


# Bugs that the rules for pools cannot show: of contexts, of resources that expire in another order
# than they were created, and of a model without ages that the rules for pools do not fit.
NOT_OF_POOLS = ("KeepsLeaseMark", "LosesLeaseMark", "LosesEarlyExpiry", "SweepsLate")
OF_POOLS = [(machine, name) for _, machine, name in BROKEN if machine.__name__ not in NOT_OF_POOLS]
# Bugs that few examples show. `make verify` looks for all of them.
QUICK = (
    "DoesNotCountClosing",
    "ServesNewestFirst",
    "WakesNobodyAtHandOver",
    "DisownsForEver",
    "ResizesInSilence",
)
if PROFILE.max_examples < 1_000:
    OF_POOLS = [one for one in OF_POOLS if one[0].__name__ in QUICK]


@pytest.mark.parametrize(
    ("machine", "name"), OF_POOLS, ids=[machine.__name__ for machine, _ in OF_POOLS]
)
def test_a_pool_on_a_machine_with_a_bug_is_caught(
    machine: type[PoolMachine[Any]], name: str
) -> None:
    rules = pool_rules(name, machine)
    error = caught(rules)
    print(f"{machine.__name__}: {rules.examples} examples, {type(error).__name__}")


# Bugs that change no number, only which task gets which resource, and when.
NOT_OF_NUMBERS = (
    "ServesNewestFirst",
    "ServesWhileClosing",
    "PrunesBelowFloor",
    "TrustsAfterFailedCheck",
    "TellsNobodyAtClose",
    "ChecksOnAfterFailure",
    "TrustsForEver",
    "ChecksAgainAtResume",
)
QUICK_NUMBERS = (
    *("DoesNotCountClosing", "FailsEverybody", "KeepsFailureToItself", "AsksForNoCreation"),
    *("SweepsInSilence", "StartsNoCheck", "KeepsItsDisowned", "ResizesOnly", "CountsTwoReasons"),
    *("TerminateCloses", "CreatesBeyondLimit"),
)
OF_NUMBERS = [machine for _, machine, _ in BROKEN if machine.__name__ not in NOT_OF_NUMBERS]
if PROFILE.max_examples < 1_000:
    OF_NUMBERS = [one for one in OF_NUMBERS if one.__name__ in QUICK_NUMBERS]


@pytest.mark.parametrize("machine", OF_NUMBERS)
def test_a_machine_that_moves_numbers_otherwise_is_caught(machine: type[PoolMachine[Any]]) -> None:
    rules, _ = machine_rules(machine)
    error = caught(rules)
    print(f"{machine.__name__}: {rules.examples} examples, {type(error).__name__}")
