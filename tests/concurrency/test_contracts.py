"""The contracts: each is on the steps that owe it, and finds the bugs of its guarantee alone."""

from __future__ import annotations

import random
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from proofs.broken_machines import (
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
from proofs.graph_walks import broken_on_edges
from proofs.one_contract import only
from proofs.random_moves import random_moves, random_walks
from tests import inside
from tests.inside import (
    EVERY_STEP,
    GUARANTEES,
    RULES,
    STATE_PREDICATES,
    STEP_PREDICATES,
    STEPS,
    ClosesAndClosesAgain,
    ClosesWhatIsHeld,
    Graph,
    GuaranteeViolationError,
    Limits,
    Machine,
    MachineWorld,
    PoolMachine,
    RefusalError,
    Slot,
    TakesAnyRelease,
    Waiter,
    checked,
    expand,
    step_state,
)

ALL = (*GUARANTEES, *RULES)

SMALL: dict[str, Any] = {
    "Tasks": ("a", "b"),
    "Resources": (1, 2, 3),
    "MaxSizes": (1, 2),
    "MinSizes": (1,),
    "MaxCreating": 2,
    "MaxWaiting": 1,
    "Ages": False,
    "Idles": True,
    "Checks": True,
    "CheckSkips": False,
    "Resets": True,
    "Fifo": True,
    "Retires": True,
    "Leaves": True,
}
"""Constants with resets, a check before each use, and both limits."""

TRUSTING = SMALL | {
    "MaxSizes": (2,),
    "MinSizes": (0,),
    "Idles": False,
    "CheckSkips": True,
    "Resets": False,
    "Fifo": False,
}
"""Constants with resources that are trusted for a while."""

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
    return Graph.frozen(model).constants


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
    "WaiterServed": {"resume", "timeout", "cancel", "release"},
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
    for step in STEPS:
        contracts = Counter(inside.contracts_of(step))
        assert contracts >= ON_EVERY_STEP
        for name in contracts - ON_EVERY_STEP:
            found.setdefault(name, set()).add(step)
    assert found == ON_STEPS
    of_states = inside.contracts_of("__invariants__")
    assert {*of_states, *found, *ON_EVERY_STEP} == {one.name for one in ALL}
    assert len(of_states) == 14
    assert checked() is checked()


def test_each_predicate_says_which_guarantee_it_checks() -> None:
    names = {one.code: one.name for one in ALL}
    assert len(names) == len(set(names.values())) == len(ALL) == 30
    of_steps = [pair for pairs in STEP_PREDICATES.values() for pair in pairs]
    for name, predicate in (*STATE_PREDICATES, *EVERY_STEP, *of_steps):
        code = re.match(r"Check ([SLR]\d+)( as a state)?:", predicate.__doc__ or "")
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
    ("guarantee", "broken", "model"), [row for row in BROKEN if row[1] not in TRACED]
)
def test_a_machine_with_a_bug_breaks_the_contracts_of_the_guarantee_that_it_attacks(
    guarantee: str, broken: Machine, model: str
) -> None:
    break_a_contract(guarantee, broken, model)


def test_there_is_a_machine_with_a_bug_for_each_guarantee_and_each_rule() -> None:
    assert {name for name, *_ in BROKEN} == {one.name for one in ALL}
    machines = [machine for _, machine, _ in BROKEN]
    assert len(set(machines)) == len(machines)


@pytest.mark.parametrize("broken", REFUSALS)
def test_a_refused_step_that_counts_is_found_by_a_walk(broken: Machine) -> None:
    with pytest.raises(RefusalError, match="was refused but changed"):
        deque(expand(TRUSTING, broken), maxlen=0)


def leases(machine: PoolMachine[Any], *expires_at: float) -> list[Slot[Any]]:
    """Let as many acquirers get new resources, which expire at these times."""
    slots = []
    for time in expires_at:
        waiter = machine.acquire(0.0)
        (creation,) = inside.take_work(machine)
        machine.create_succeeded(creation, object(), 0.0, time)
        assert isinstance(waiter, Waiter)
        slot = machine.resume(waiter, 0.0)
        assert isinstance(slot, Slot)
        slots.append(slot)
    inside.take_decided(machine)
    return slots


def test_what_is_closed_has_a_true_reason() -> None:
    machine = checked()("ages", Limits(2, None), max_size=4, max_idle_time=5.0)
    old, stale, last, held = leases(machine, 3.0, 9.0, 9.0, 9.0)
    for slot in (old, stale):
        machine.release(slot, 1.0)
    machine.sweep(4.0)
    machine.sweep(7.0)
    machine.release(last, 7.0)
    machine.resize(1, 0)
    reasons = [slot.reason for slot in (old, stale, last, held)]
    assert reasons == ["expired", "pruned", "surplus", ""]


def test_a_failed_check_withdraws_the_trust_in_what_came_back_meanwhile() -> None:
    machine = checked(TrustsAfterFailedCheck)(
        "trust", Limits(2, None), max_size=2, check_after_idle=5.0
    )
    slots = leases(machine, 9.0, 9.0)
    machine.release(slots[0], 0.0)
    waiter = machine.acquire(6.0)
    assert step_state(slots[0]) == "checking"
    machine.cancel(waiter, 6.0)
    machine.release(slots[1], 6.0)
    rule = "FailedCheckWithdrawsTrust"
    with pytest.raises(GuaranteeViolationError, match=f" broke {rule}: "), only(rule):
        machine.check_failed(slots[0])


def release_twice(machine: PoolMachine[object]) -> None:
    """Release the only resource, and release it again."""
    slot = the_one_of(machine)
    machine.release(slot, 0.0)
    machine.release(slot, 0.0)


def the_one_of(machine: PoolMachine[object]) -> Slot[object]:
    (slot,) = inside.held_slots(machine)
    return slot


@pytest.mark.parametrize(
    ("broken", "guarantee", "ends"),
    [
        (TakesAnyRelease, "NoDoubleRelease", release_twice),
        (ClosesAndClosesAgain, "ClosedExactlyOnce", lambda m: m.discard(the_one_of(m))),
        (ClosesWhatIsHeld, "ClosedExactlyOnce", lambda m: m.retire_all()),
    ],
)
def test_what_only_one_contract_can_see_is_seen(
    broken: type[PoolMachine[object]],
    guarantee: str,
    ends: Callable[[PoolMachine[object]], object],
) -> None:
    machine = checked(broken)("seen", Limits(1, None), max_size=1)
    leases(machine, 9.0)
    machine.outbox.work.clear()
    with pytest.raises(GuaranteeViolationError, match=guarantee), only(guarantee):
        ends(machine)


@pytest.mark.untraced
@pytest.mark.guarantees(
    "SizeWithinLimit",
    "SingleHolder",
    "NothingLost",
    "OnlyFitHandedOut",
    "NothingAfterClose",
    "ClosedExactlyOnce",
    "OneOutcome",
    "NoDoubleRelease",
    "FifoService",
    "FaultIsolation",
    "CountsAgree",
    "CloseWaits",
    "WaiterServed",
    "WaitersFailAtClose",
)
@pytest.mark.parametrize("name", ["Deep", "Checked"])
def test_the_machine_itself_keeps_every_contract_on_random_walks_along_the_graph(
    name: str,
) -> None:
    graph = Graph.frozen(name)
    steps = 0
    for seed in range(10):
        start = graph.starts[seed % len(graph.starts)]
        sizes = (start.max_size, start.min_size)
        world = MachineWorld(graph.constants, sizes, checked())
        state = world.state(world.now)
        for action in random_moves(world, seed):
            after = world.state(world.now)
            assert after == state or (action, after) in graph.edges[state]
            state = after
            steps += 1
    assert steps > 300


class LargePool:
    """A pool of 120, whose users and callbacks take random steps."""

    def __init__(self, chance: random.Random, *, checks: bool) -> None:
        self.chance, self.now, self.outlasted = chance, 0.0, 0
        self.machine: PoolMachine[object] = checked()(
            "large",
            Limits(120, None),
            max_size=120,
            max_idle_time=5,
            check_after_idle=0.5 if checks else None,
            resets=checks,
        )

    def rarely(self) -> bool:
        return self.chance.random() < 0.1

    def work(self) -> None:
        """Let all work end, also the work that its ends begin."""
        while work := inside.take_work(self.machine):
            for slot in work:
                if step_state(slot) == "checking":
                    self.now += self.chance.uniform(0, 2) ** 4  # most checks are short
                    self.outlasted += self.now >= slot.expires_at
                self.end(slot)
        inside.take_decided(self.machine)

    def end(self, slot: Slot[object]) -> None:
        machine, error = self.machine, OSError()
        match step_state(slot):
            case "creating" if self.rarely():
                machine.create_failed(slot, error)
            case "creating" if self.rarely():
                machine.create_late(slot, object(), error)
            case "creating":
                expires_at = self.now + self.chance.uniform(1, 100)
                machine.create_succeeded(slot, object(), self.now, expires_at)
            case "checking" if self.rarely():
                machine.check_failed(slot)
            case "checking":
                machine.check_passed(slot, self.now)
            case "resetting" if self.rarely():
                machine.reset_failed(slot)
            case "resetting":
                machine.reset_passed(slot, self.now)
            case _:
                machine.closer_ended(slot)

    def acquire(self, got: Slot[object] | Waiter[object] | None) -> Slot[object] | None:
        """Take the steps of one acquire after its first, as far as it comes."""
        machine = self.machine
        while isinstance(got, Waiter):
            if step_state(got) == "done":
                return None  # its creation has failed, or its deadline has passed
            if self.rarely():
                machine.cancel(got, self.now)
                return None
            if step_state(got) == "handed":
                got = machine.resume(got, self.now)
            else:
                self.work()
                if step_state(got) == "waiting":
                    machine.timeout(got, TimeoutError())
        return got

    def give_back(self, slot: Slot[object]) -> None:
        how = self.chance.random()
        if how < 0.4:
            self.machine.discard(slot)
        elif how < 0.5:
            self.machine.detach(slot)
        else:
            self.machine.release(slot, self.now)


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.guarantees("OnlyFitHandedOut", "CountsAgree")
@pytest.mark.parametrize(("checks", "seed"), [(False, 0), (True, 1)], ids=["unchecked", "checked"])
def test_contracts_hold_in_a_large_pool_whose_resources_come_and_go(
    seed: int, checks: bool
) -> None:
    pool = LargePool(random.Random(seed), checks=checks)
    machine = pool.machine
    for number in range(30):
        first = [machine.acquire(pool.now) for _ in range(pool.chance.randint(1, 100))]
        for got in first:
            if isinstance(got, Waiter) and step_state(got) == "waiting" and pool.rarely():
                machine.timeout(got, TimeoutError())
        pool.work()
        for held in [pool.acquire(got) for got in first]:
            if held is not None:
                pool.give_back(held)
        pool.work()
        pool.now += pool.chance.uniform(0, 7)
        machine.sweep(pool.now)
        if number % 10 == 9:
            machine.retire_all()
            machine.resize(pool.chance.randint(60, 120), 0)
        pool.work()
    watched = inside.entries(machine).ages
    statistics = machine.statistics()
    assert statistics["created"] > 2 * watched, "the ages of closed resources were never dropped"
    assert statistics.pop("rejected") == 0, "there is no max_waiting"
    unmet = {name for name, count in statistics.items() if count < 2}
    end = {"closed_down", "forgotten", "interrupted", "surplus"}
    assert unmet - end == (set() if checks else {"check_failed", "reset_failed"})
    assert (pool.outlasted > 1) == checks


def test_questions_check_nothing() -> None:
    """A nested step in the middle of such a check would look like a bug."""
    kind = checked(PoolMachine)
    assert kind.counts is PoolMachine.counts
    assert kind.name is PoolMachine.name
    changes = (*STEPS, "grow_old")
    assert all(getattr(kind, name) is not getattr(PoolMachine, name) for name in changes)
