"""Steps of the machine alone: what they decide, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nodetool.concurrency import InvalidReleaseError, ResourcePoolClosedError
from tests import inside
from tests.inside import Limits, Observer, PoolMachine, Waiter, make

pytestmark = pytest.mark.first


def machine() -> PoolMachine[int]:
    return PoolMachine("m", Limits(1, 0, 1, None))


@pytest.mark.guarantees("OneOutcome", "WaitersFailAtClose")
def test_close_fails_only_the_acquirers_that_still_wait() -> None:
    pool = machine()
    waiters = [pool.acquire(0.0) for _ in range(3)]
    assert isinstance(waiters[1], Waiter)
    pool.cancel(waiters[1], 0.0)
    pool.close()
    decided = inside.take_decided(pool)
    assert decided == [waiters[0], waiters[2]]
    assert all(isinstance(inside.error_of(waiter), ResourcePoolClosedError) for waiter in decided)


@pytest.mark.guarantees("OneOutcome", "NoDoubleRelease")
def test_a_step_in_the_wrong_place_is_refused_and_changes_nothing() -> None:
    pool = machine()
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    (slot,) = inside.take_work(pool)
    before = inside.counts(pool), pool.statistics()
    creating: list[Callable[[], object]] = [
        lambda: pool.resume(waiter, 0.0),
        lambda: pool.check_passed(slot, 0.0),
        lambda: pool.check_failed(slot, 0.0),
        lambda: pool.timeout(slot),
        lambda: pool.cancel(slot, 0.0),
        lambda: pool.release(slot, 0.0),
        lambda: pool.reset_passed(slot, 0.0),
        lambda: pool.reset_failed(slot),
        lambda: pool.discard(slot),
        lambda: pool.detach(slot),
        lambda: pool.closer_ended(slot),
    ]
    for step in creating:
        with pytest.raises(InvalidReleaseError, match="'m'"):
            step()
        assert (inside.counts(pool), pool.statistics()) == before
    pool.timeout(waiter)
    pool.create_succeeded(slot, 1, 0.0)
    idle: list[Callable[[], object]] = [
        lambda: pool.create_succeeded(slot, 2, 0.0),
        lambda: pool.create_failed(slot, OSError()),
    ]
    for step in idle:
        with pytest.raises(InvalidReleaseError, match="is impossible in state idle"):
            step()
    assert inside.counts(pool).idle == 1


@pytest.mark.guarantees("OneOutcome")
@pytest.mark.parametrize("ended", ["timeout", "cancel", "failure", "resume", "cancel when handed"])
def test_every_step_of_an_acquirer_whose_wait_has_ended_is_refused(ended: str) -> None:
    pool = machine()
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    (slot,) = inside.take_work(pool)
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
    before = inside.counts(pool), pool.statistics()
    steps: list[Callable[[], object]] = [
        lambda: pool.resume(waiter, 0.0),
        lambda: pool.timeout(waiter),
        lambda: pool.cancel(waiter, 0.0),
    ]
    for step in steps:
        with pytest.raises(InvalidReleaseError, match="is impossible in state done"):
            step()
        assert (inside.counts(pool), pool.statistics()) == before


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
    pool = make(PoolMachine, observers, "m", Limits(1, 0, 1, None))
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    (slot,) = inside.take_work(pool)
    pool.create_succeeded(slot, 1, 0.0)
    pool.resume(waiter, 0.0)
    pool.release(slot, 0.0)
    again = {
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
    waiter = pool.acquire(0.0)
    (retired,) = inside.take_work(pool)
    pool.retire_all()
    assert pool.create_failed(retired, OSError()) is False
    assert inside.step_state(waiter) == "waiting"
    assert [inside.step_state(slot) for slot in inside.take_work(pool)] == ["creating"]


def test_the_end_of_a_back_off_that_did_not_begin_changes_nothing() -> None:
    pool = PoolMachine[int]("m", Limits(2, 1, 2, None))
    pool.retry_floor()
    assert (inside.minimum_size_upkeep(pool), inside.take_work(pool)) == ("off", [])
    pool.open()
    pool.retry_floor()
    assert (inside.minimum_size_upkeep(pool), len(inside.take_work(pool))) == ("on", 1)
