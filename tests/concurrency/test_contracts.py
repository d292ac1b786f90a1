"""The contracts: each is on the steps that owe it, and finds the bugs of its guarantee alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from proofs.broken_machines import BROKEN
from proofs.one_contract import only
from proofs.random_moves import random_moves
from tests import inside
from tests.conftest import GUARANTEES
from tests.inside import (
    STEPS,
    Answer,
    ClosesAndClosesAgain,
    ClosesWhatIsHeld,
    Graph,
    GuaranteeViolationError,
    Limits,
    MachineWorld,
    PoolMachine,
    Slot,
    TakesAnyRelease,
    checked,
    step_state,
)

pytestmark = pytest.mark.first  # those of the second machine: tests/second/test_contracts.py


# `make verify` tries all machines with a bug. Here are the half that the graphs leave out.
@pytest.mark.untraced
@pytest.mark.parametrize(("guarantee", "broken", "name"), BROKEN[1::2])
def test_a_machine_with_a_bug_breaks_the_contracts_of_the_guarantee_that_it_attacks(
    guarantee: str, broken: type[PoolMachine[int]], name: str
) -> None:
    constants = Graph.frozen(name).constants

    def walk_on() -> None:
        for seed in range(400):
            for _ in random_moves(MachineWorld(constants, checked(broken)), seed):
                pass

    with pytest.raises(GuaranteeViolationError, match=f" broke {guarantee}: "), only(guarantee):
        walk_on()


ON_EVERY_STEP = Counter(CountsAgree=3, ClosedExactlyOnce=1, OneOutcome=1, NoDoubleRelease=1)
ON_STEPS = {
    "OnlyFitHandedOut": {
        *("acquire", "resume", "check_passed", "check_failed"),
        *("cancel", "release", "reset_passed", "create_succeeded"),
    },
    "FifoService": {
        *("resume", "check_passed", "check_failed", "cancel"),
        *("release", "reset_passed", "create_succeeded"),
    },
    "NoDoubleRelease": {"release", "discard", "detach"},
    "FaultIsolation": {"check_failed", "reset_failed", "create_failed"},
    "OneOutcome": {"timeout", "cancel"},
    "DeadlineKept": {"timeout"},
    "FailureFreesSlot": {"create_failed"},
    "FloorRestored": {"acquire", "sweep"},
    "ClosedExactlyOnce": {"sweep"},
    "RetireAllCompletes": {"retire_all"},
    "WaitersFailAtClose": {"close", "terminate"},
}


def test_each_contract_is_on_the_steps_that_owe_it() -> None:
    found: dict[str, set[str]] = {}
    for step in STEPS:
        contracts = Counter(inside.contracts_of(step))
        assert contracts >= ON_EVERY_STEP
        for guarantee in contracts - ON_EVERY_STEP:
            found.setdefault(guarantee, set()).add(step)
    assert found == ON_STEPS
    of_states = inside.contracts_of("__invariants__")
    assert {*of_states, *found, *ON_EVERY_STEP} == set(GUARANTEES)
    assert len(of_states) == len(set(of_states)) == 11


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
    machine = checked(broken)("seen", Limits(1, 0, 1, None))
    waiter = machine.acquire(0.0)
    (creation,) = inside.take_work(machine)
    machine.create_succeeded(creation, object(), 0.0)
    machine.resume(waiter, 0.0)
    inside.take_decided(machine)
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
    for seed in range(25):
        world = MachineWorld(graph.constants, checked())
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
            Limits(120, 0, 120, None),
            max_idle_time=5,
            check_after_idle=0.5 if checks else None,
            resets=checks,
        )

    def rarely(self) -> bool:
        return self.chance.random() < 0.1

    def work(self) -> None:
        machine = self.machine
        for slot in inside.take_work(machine):
            if step_state(slot) != "creating":
                machine.closer_ended(slot)
            elif self.rarely():
                machine.create_failed(slot, OSError())
            else:
                expires_at = self.now + self.chance.uniform(1, 100)
                machine.create_succeeded(slot, object(), self.now, expires_at)
        inside.take_decided(machine)

    def acquire(self, got: Answer[object]) -> Slot[object] | None:
        """Take the steps of one acquire after its first, as far as it comes."""
        machine = self.machine
        while True:
            assert got is not None
            if step_state(got) == "held":
                assert isinstance(got, Slot)
                return got
            if step_state(got) == "done":
                return None  # its creation has failed
            if self.rarely():
                machine.cancel(got, self.now)
                return None
            if step_state(got) == "checking" and self.rarely():
                machine.timeout(got)
                return None
            if isinstance(got, Slot):
                self.now += self.chance.uniform(0, 2) ** 4  # most checks are short
                self.outlasted += self.now >= got.expires_at
                step = machine.check_failed if self.rarely() else machine.check_passed
                got = step(got, self.now)
            elif step_state(got) == "handed":
                got = machine.resume(got, self.now)
            else:
                self.work()

    def give_back(self, slot: Slot[object]) -> None:
        machine, how = self.machine, self.chance.random()
        if how < 0.4:
            machine.discard(slot)
        elif how < 0.5:
            machine.detach(slot)
        else:
            machine.release(slot, self.now)
            if step_state(slot) == "resetting" and self.rarely():
                machine.reset_failed(slot)
            elif step_state(slot) == "resetting" and self.rarely():
                machine.cancel(slot, self.now)
            elif step_state(slot) == "resetting":
                machine.reset_passed(slot, self.now)


@pytest.mark.untraced
@pytest.mark.guarantees("OnlyFitHandedOut", "CountsAgree")
@pytest.mark.parametrize(("checks", "seed"), [(False, 0), (True, 1)], ids=["unchecked", "checked"])
def test_contracts_hold_in_a_large_pool_whose_resources_come_and_go(
    seed: int, checks: bool
) -> None:
    pool = LargePool(random.Random(seed), checks=checks)
    machine = pool.machine
    for _ in range(40):
        first = [machine.acquire(pool.now) for _ in range(pool.chance.randint(1, 100))]
        for got in first:
            if step_state(got) == "waiting" and pool.rarely():
                machine.timeout(got, TimeoutError())
        pool.work()
        for held in [pool.acquire(got) for got in first]:
            if held is not None:
                pool.give_back(held)
        pool.work()
        pool.now += pool.chance.uniform(0, 3)
        machine.sweep(pool.now)
    watched = inside.entries(machine).ages
    statistics = machine.statistics()
    assert statistics["created"] > 2 * watched, "the ages of closed resources were never dropped"
    assert statistics.pop("rejected") == 0, "there is no max_waiting"
    unmet = {name for name, count in statistics.items() if count < 2}
    assert unmet == (set() if checks else {"check_failures", "reset_failures"})
    assert (pool.outlasted > 1) == checks
