"""Steps of the machine alone: what they decide, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nodetool.concurrency import InvalidReleaseError, ResourcePoolClosedError
from tests import inside
from tests.inside import Limits, Observer, PoolMachine, Waiter, WaiterState, take_work

WAITING, DONE = WaiterState.WAITING, WaiterState.DONE


def machine(max_size: int = 1, **options: Any) -> PoolMachine[int]:
    limits = Limits(max_size, None)
    return PoolMachine("m", limits, max_size=max_size, **options)


def wait(pool: PoolMachine[int]) -> Waiter[int]:
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    return waiter


@pytest.mark.guarantees("OneOutcome", "WaitersFailAtClose")
def test_close_fails_only_the_acquirers_that_still_wait() -> None:
    pool = machine()
    waiters = [wait(pool) for _ in range(3)]
    pool.cancel(waiters[1], 0.0)
    pool.close()
    decided = list(pool.outbox.woken)
    assert decided == [waiters[0], waiters[2]]
    assert all(isinstance(waiter.error, ResourcePoolClosedError) for waiter in decided)


@pytest.mark.guarantees("OneOutcome", "NoDoubleRelease")
def test_a_step_in_the_wrong_place_is_refused_and_changes_nothing() -> None:
    pool = machine()
    waiter = wait(pool)
    (slot,) = take_work(pool)
    before = pool.counts(), pool.statistics()
    not_while_creating: list[Callable[[], object]] = [
        lambda: pool.resume(waiter, 0.0),
        lambda: pool.check_passed(slot, 0.0),
        lambda: pool.check_failed(slot),
        lambda: pool.release(slot, 0.0),
        lambda: pool.reset_passed(slot, 0.0),
        lambda: pool.reset_failed(slot),
        lambda: pool.discard(slot),
        lambda: pool.detach(slot),
        lambda: pool.closer_ended(slot),
    ]
    for step in not_while_creating:
        with pytest.raises(InvalidReleaseError, match="'m'"):
            step()
        assert (pool.counts(), pool.statistics()) == before
    pool.timeout(waiter)
    pool.create_succeeded(slot, 1, 0.0)
    before = pool.counts(), pool.statistics()
    error = OSError()
    not_while_idle: list[Callable[[], object]] = [
        lambda: pool.create_succeeded(slot, 2, 0.0),
        lambda: pool.create_failed(slot, error),
        lambda: pool.create_late(slot, 2, error),
        lambda: pool.check_passed(slot, 0.0),
        lambda: pool.check_failed(slot),
        lambda: pool.reset_passed(slot, 0.0),
        lambda: pool.reset_failed(slot),
        lambda: pool.closer_ended(slot),
    ]
    for step in not_while_idle:
        with pytest.raises(InvalidReleaseError, match="is impossible in state idle"):
            step()
        assert (pool.counts(), pool.statistics()) == before


@pytest.mark.guarantees("OneOutcome")
@pytest.mark.parametrize("ended", ["timeout", "cancel", "failure", "resume", "cancel when handed"])
def test_every_step_of_an_acquirer_whose_wait_has_ended_is_refused(ended: str) -> None:
    pool = machine()
    waiter = wait(pool)
    (slot,) = take_work(pool)
    if ended == "failure":
        assert pool.create_failed(slot, OSError()) is True
    elif ended in ("resume", "cancel when handed"):
        pool.create_succeeded(slot, 1, 0.0)
    if ended == "resume":
        pool.resume(waiter, 0.0)
    elif ended == "timeout":
        pool.timeout(waiter)
    elif ended.startswith("cancel"):
        pool.cancel(waiter, 0.0)
    before = pool.counts(), pool.statistics()
    steps: list[Callable[[], object]] = [
        lambda: pool.resume(waiter, 0.0),
        lambda: pool.timeout(waiter),
        lambda: pool.cancel(waiter, 0.0),
    ]
    for step in steps:
        with pytest.raises(InvalidReleaseError, match="is impossible in state done"):
            step()
        assert (pool.counts(), pool.statistics()) == before


class LastHolder(Observer):
    """An observer that names the last holder in each refusal, as debug mode does."""

    def refused(
        self,
        machine: Any,
        action: str,
        args: tuple[Any, ...],
        memory: Any,
        error: BaseException,
    ) -> None:
        error.args = (f"{error}; {inside.resource_of(args[0])} was A's",)


@pytest.mark.parametrize("step", ["release", "discard", "detach"])
@pytest.mark.parametrize(
    ("observers", "end"), [((), "exactly once"), ((LastHolder(),), "; 1 was A's")]
)
def test_the_refusal_to_give_back_an_idle_resource_can_name_its_last_holder(
    step: str, observers: tuple[Observer, ...], end: str
) -> None:
    pool = inside.new_machine("m", 1, observers=observers)
    waiter = wait(pool)
    (slot,) = take_work(pool)
    pool.create_succeeded(slot, 1, 0.0)
    pool.resume(waiter, 0.0)
    pool.release(slot, 0.0)
    again: dict[str, Callable[[], object]] = {
        "release": lambda: pool.release(slot, 0.0),
        "discard": lambda: pool.discard(slot),
        "detach": lambda: pool.detach(slot),
    }
    with pytest.raises(InvalidReleaseError, match=f"is idle now; .*{end}$"):
        again[step]()
    assert str(inside.refusal_of_unknown(pool)).endswith("exactly once")


@pytest.mark.guarantees("OneOutcome")
def test_a_retired_creation_that_fails_fails_no_acquirer() -> None:
    pool = machine()
    waiter = wait(pool)
    (retired,) = take_work(pool)
    pool.retire_all()
    assert pool.create_failed(retired, OSError()) is False
    assert waiter.state is WAITING
    assert [slot.state.value for slot in take_work(pool)] == ["creating"]


@pytest.mark.guarantees("OneOutcome", "WaiterServed")
def test_an_acquirer_that_was_handed_a_retired_resource_waits_again_at_its_place() -> None:
    pool = machine(max_size=2)
    first, second = wait(pool), wait(pool)
    slots = take_work(pool)
    pool.create_succeeded(slots[0], 1, 0.0)
    pool.retire_all()
    assert pool.resume(first, 0.0) is first
    assert pool.waiters() == [first, second]
    pool.create_failed(slots[1], OSError())
    pool.create_failed(take_work(pool)[-1], error := OSError())
    assert (first.state, first.error) == (DONE, error)


@pytest.mark.guarantees("CloseCompletes", "OneOutcome")
def test_an_acquirer_that_was_handed_a_resource_of_a_pool_that_closes_gets_none() -> None:
    pool = machine()
    waiter = wait(pool)
    pool.create_succeeded(take_work(pool)[0], 1, 0.0)
    pool.close()
    assert pool.resume(waiter, 0.0) is None
    (slot,) = take_work(pool)
    assert (slot.state.value, slot.reason) == ("closing", "closed down")


def test_the_end_of_a_back_off_that_did_not_begin_changes_nothing() -> None:
    pool = machine(max_size=2, min_size=1)
    pool.retry_floor()
    assert (pool.counts().floor.value, take_work(pool)) == ("off", [])
    pool.open()
    pool.retry_floor()
    assert (pool.counts().floor.value, len(take_work(pool))) == ("on", 1)


def test_an_acquirer_that_waits_again_finds_no_idle_resource_that_is_overdue() -> None:
    machine = inside.new_machine("db", 4, max_idle_time=10.0)
    first: Any = machine.acquire(0.0)
    (creation,) = inside.take_work(machine)
    machine.create_succeeded(creation, object(), 0.0)
    machine.retire_all()
    other: Any = machine.acquire(0.0)
    (creation,) = inside.take_work(machine)
    machine.create_succeeded(creation, object(), 0.0)
    held: Any = machine.resume(other, 0.0)
    machine.release(held, 0.0)
    assert machine.resume(first, 20.0) is first
    assert machine.statistics()["pruned"] == 1
