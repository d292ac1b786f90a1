"""The contracts of the second machine: each is on its steps, and finds its guarantee's bugs."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from proofs.one_contract import only
from proofs.second_broken import (
    BROKEN,
    REFUSALS,
    DisownsForEver,
    KeepsOnTheWrongSide,
    ReusesAfterFailedReset,
    SkewsTrust,
    TakesTheWrongEnd,
    TrustsAfterFailedCheck,
    TrustsForEver,
)
from proofs.second_contracts import broken_on_edges, random_walks
from proofs.second_walk import OutputError, expand
from spec.second_graph import FOLDER
from spec.tla import ModelConfig
from tests.inside import (
    GuaranteeViolationError,
    second_contracts,
    second_counts,
    second_guarantees,
    second_machine,
    second_slots,
)
from tests.second.test_machine import SMALL, TRUSTING

Machine = type[second_machine.PoolMachine[Any]]

checked = second_contracts.checked

AGING = SMALL | {
    "Resources": (1, 2, 3, 4),
    "MaxSizes": (1, 3),
    "MinSizes": (0, 1),
    "Ages": True,
    "Checks": False,
    "Resets": False,
    "Retires": False,
    "Fifo": False,
}
"""Constants with ages and without checks."""


@cache
def constants_of(model: str) -> Mapping[str, Any]:
    return ModelConfig.read(FOLDER / "models" / f"{model}.cfg").constants


def contracts_of(step: str) -> Counter[str]:
    """Count the contracts of a step by their names. `__invariants__` is for every state."""
    made = vars(checked())[step]
    contracts = made if step == "__invariants__" else made.__postconditions__
    return Counter(contract.description for contract in contracts)


ON_EVERY_STEP = Counter(
    CountsAgree=3,
    OnlyFitHandedOut=3,
    SizeWithinLimit=1,
    NothingLost=1,
    NothingAfterClose=1,
    ClosedExactlyOnce=1,
    OneOutcome=1,
    NoDoubleRelease=1,
    FifoService=1,
    ShrinkCompletes=1,
    ReuseOrder=1,
    CreationAfterFailedCheck=1,
    RetiredStaysRetired=1,
    ReadyAreLast=1,
    OneReason=1,
)
ON_STEPS = {
    "OnlyFitHandedOut": {"acquire", "resume", "create_succeeded", "sweep"},
    "PruningKeepsFloor": {"acquire", "sweep"},
    "NothingAfterClose": {"resume"},
    "WaiterServed": {"resume", "timeout", "cancel"},
    "OneOutcome": {"timeout", "cancel"},
    "DeadlineKept": {"timeout"},
    "NoDoubleRelease": {"release", "discard", "detach"},
    "FitIsReused": {"cancel", "release", "create_succeeded", "check_passed", "reset_passed"},
    "DirtyIsClosed": {"release", "discard", "create_late", "check_failed", "reset_failed"},
    "FaultIsolation": {"create_failed", "create_late", "check_failed", "reset_failed"},
    "FailureFreesSlot": {"create_failed"},
    "FailedCheckWithdrawsTrust": {"check_failed"},
    "FloorRestored": {"open", "retry_floor"},
    "ClosedExactlyOnce": {"sweep", "resize"},
    "ShrinkCompletes": {"resize"},
    "RetireAllCompletes": {"retire_all", "close", "terminate"},
    "WaitersFailAtClose": {"close", "terminate"},
    "TerminateForgets": {"terminate"},
}


def test_each_contract_is_on_the_steps_that_owe_it() -> None:
    found: dict[str, set[str]] = {}
    for step, made in vars(checked()).items():
        if not hasattr(made, "action"):
            continue
        assert contracts_of(step) >= ON_EVERY_STEP
        for name in contracts_of(step) - ON_EVERY_STEP:
            found.setdefault(name, set()).add(step)
    assert found == ON_STEPS
    every = (*second_guarantees.GUARANTEES, *second_guarantees.RULES)
    assert {*contracts_of("__invariants__"), *found, *ON_EVERY_STEP} == {one.name for one in every}
    assert checked() is checked()


def test_each_predicate_says_which_guarantee_it_checks() -> None:
    every = (*second_guarantees.GUARANTEES, *second_guarantees.RULES)
    names = {one.code: one.name for one in every}
    assert len(names) == len(set(names.values())) == len(every) == 30
    of_steps = [pair for pairs in second_guarantees.STEP_PREDICATES.values() for pair in pairs]
    predicates = (*second_guarantees.STATE_PREDICATES, *second_guarantees.EVERY_STEP, *of_steps)
    for name, predicate in predicates:
        code = re.match(r"Check ([SLR]\d+):", predicate.__doc__ or "")
        assert code is not None, predicate
        assert names[code[1]] == name, predicate


@pytest.mark.parametrize(
    ("constants", "walks"), [(SMALL, 6), (TRUSTING, 6), (AGING, 6)], ids=["small", "trust", "ages"]
)
def test_the_machine_itself_keeps_every_contract(constants: Mapping[str, Any], walks: int) -> None:
    steps = Counter(step for walk in random_walks(constants, checked(), walks) for step in walk)
    assert len(steps) > 12
    assert sum(steps.values()) > 120


@pytest.mark.untraced
def test_the_machine_itself_keeps_every_predicate_on_every_edge() -> None:
    assert broken_on_edges(TRUSTING | {"Leaves": False, "Retires": False}) == {}


def break_a_contract(guarantee: str, broken: Machine, model: str) -> None:
    walks = random_walks(constants_of(model), checked(broken), 400)
    steps = (step for walk in walks for step in walk)
    with pytest.raises(GuaranteeViolationError, match=f" broke {guarantee}: "), only(guarantee):
        deque(steps, maxlen=0)


# The walks that find it are long, so it has a test of its own.
SELDOM = TrustsAfterFailedCheck
TRACED = (
    *(DisownsForEver, KeepsOnTheWrongSide, ReusesAfterFailedReset),
    *(SkewsTrust, TakesTheWrongEnd, TrustsForEver),
)


@pytest.mark.parametrize(
    ("guarantee", "broken", "model"), [row for row in BROKEN if row[1] in TRACED]
)
def test_a_wrong_number_order_trust_or_reset_breaks_its_contract(
    guarantee: str, broken: Machine, model: str
) -> None:
    break_a_contract(guarantee, broken, model)


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("guarantee", "broken", "model"), [row for row in BROKEN if row[1] not in (*TRACED, SELDOM)]
)
def test_a_machine_with_a_bug_breaks_the_contracts_of_the_guarantee_that_it_attacks(
    guarantee: str, broken: Machine, model: str
) -> None:
    break_a_contract(guarantee, broken, model)


def test_there_is_a_machine_with_a_bug_for_each_guarantee_and_each_rule() -> None:
    every = (*second_guarantees.GUARANTEES, *second_guarantees.RULES)
    assert {name for name, *_ in BROKEN} == {one.name for one in every}


@pytest.mark.parametrize("broken", REFUSALS)
def test_a_refused_step_that_counts_is_found_by_a_walk(broken: Machine) -> None:
    with pytest.raises(OutputError, match="was refused but changed"):
        deque(expand(TRUSTING, broken), maxlen=0)


def leases(
    machine: second_machine.PoolMachine[Any], *expires_at: float
) -> list[second_slots.Slot[Any]]:
    """Let as many acquirers get new resources, which expire at these times."""
    slots = []
    for time in expires_at:
        waiter = machine.acquire(0.0)
        machine.create_succeeded(machine.outbox.work.popleft(), object(), 0.0, time)
        assert isinstance(waiter, second_slots.Waiter)
        slot = machine.resume(waiter, 0.0)
        assert isinstance(slot, second_slots.Slot)
        slots.append(slot)
    machine.outbox.woken.clear()
    return slots


def test_what_is_closed_has_a_true_reason() -> None:
    machine = checked()("ages", second_counts.Limits(2, None), max_size=4, max_idle_time=5.0)
    old, stale, last, held = leases(machine, 3.0, 9.0, 9.0, 9.0)
    for slot in (old, stale):
        machine.release(slot, 1.0)
    machine.sweep(4.0)
    machine.sweep(7.0)
    machine.release(last, 7.0)
    machine.resize(1, 0)
    assert [slot.reason for slot in (old, stale, last, held)] == [
        "expired",
        "pruned",
        "surplus",
        "",
    ]


def test_a_failed_check_withdraws_the_trust_in_what_came_back_meanwhile() -> None:
    machine = checked(TrustsAfterFailedCheck)(
        "trust", second_counts.Limits(2, None), max_size=2, check_after_idle=5.0
    )
    slots = leases(machine, 9.0, 9.0)
    machine.release(slots[0], 0.0)
    waiter = machine.acquire(6.0)
    assert slots[0].state is second_slots.SlotState.CHECKING
    machine.cancel(waiter, 6.0)
    machine.release(slots[1], 6.0)
    rule = "FailedCheckWithdrawsTrust"
    with pytest.raises(GuaranteeViolationError, match=f" broke {rule}: "), only(rule):
        machine.check_failed(slots[0])
