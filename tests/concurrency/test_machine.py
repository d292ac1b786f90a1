"""The machine alone: its refusals, the reasons of its closings, its ages and its statistics."""

from __future__ import annotations

from typing import Any

import pytest

from nodetool.concurrency import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
)
from tests.inside import (
    NEVER,
    REASONS,
    Limits,
    PoolMachine,
    Slot,
    SlotState,
    Waiter,
    WaiterState,
    checked,
)


def make(**options: Any) -> PoolMachine[Any]:
    options = {"max_size": 2, **options}
    limits = Limits(2, options.pop("max_waiting", None))
    return PoolMachine("db", limits, **options)


def lease(machine: PoolMachine[Any], resource: object = None, **ages: float) -> Slot[Any]:
    """Take the steps of an acquire that waits for a creation."""
    waiter = machine.acquire(0.0)
    assert isinstance(waiter, Waiter)
    work = machine.outbox.work
    slot = next(s for s in work if s.state is SlotState.CREATING)
    work.clear()
    machine.create_succeeded(slot, object() if resource is None else resource, 0.0, **ages)
    got = machine.resume(waiter, 0.0)
    assert isinstance(got, Slot)
    return got


def test_a_refused_step_says_what_to_do() -> None:
    machine = make(max_waiting=1, max_size=1)
    slot = lease(machine)
    waiter = machine.acquire(0.0)
    assert isinstance(waiter, Waiter)
    with pytest.raises(ResourcePoolExhaustedError, match="give back sooner or raise max_size"):
        machine.acquire(0.0)
    assert machine.statistics()["rejected"] == 1
    for refused in (
        lambda: machine.resume(waiter, 0.0),
        lambda: machine.create_succeeded(slot, object(), 0.0),
        lambda: machine.create_failed(slot, OSError()),
        lambda: machine.check_passed(slot, 0.0),
        lambda: machine.check_failed(slot),
        lambda: machine.reset_passed(slot, 0.0),
        lambda: machine.reset_failed(slot),
        lambda: machine.closer_ended(slot),
    ):
        with pytest.raises(InvalidReleaseError, match="is impossible in state"):
            refused()
    machine.timeout(waiter)
    for refused in (lambda: machine.timeout(waiter), lambda: machine.cancel(waiter, 0.0)):
        with pytest.raises(InvalidReleaseError, match="is impossible in state done"):
            refused()
    machine.release(slot, 0.0)
    for again in (machine.discard, machine.detach, lambda slot: machine.release(slot, 0.0)):
        with pytest.raises(InvalidReleaseError, match="it was released already and is idle now"):
            again(slot)
    machine.close()
    assert machine.closed_error().args == ("pool 'db' is closing: acquire from a new pool",)
    for late in (
        machine.open,
        machine.retire_all,
        lambda: machine.acquire(0.0),
        lambda: machine.resize(3, 0),
    ):
        with pytest.raises(ResourcePoolClosedError):
            late()


def test_a_resource_is_in_the_pool_once() -> None:
    machine, resource = make(), object()
    lease(machine, resource)
    with pytest.raises(DuplicateResourceError):
        lease(machine, resource)


def test_each_closing_has_one_reason() -> None:
    machine = make(max_size=9, max_idle_time=5.0, check_after_idle=0.0, resets=True)
    slots = [lease(machine) for _ in range(7)]
    machine.discard(slots[0])
    machine.detach(slots[1])
    machine.release(slots[2], 1.0)
    machine.reset_failed(slots[2])
    for slot in slots[3:6]:
        machine.release(slot, 1.0)
        machine.reset_passed(slot, 1.0)
    waiter = machine.acquire(2.0)
    assert isinstance(waiter, Waiter)
    machine.check_failed(slots[5])
    machine.cancel(waiter, 2.0)
    machine.resize(3, 0)
    machine.release(slots[6], 2.0)
    machine.retire_all()
    machine.reset_passed(slots[6], 2.0)
    statistics = machine.statistics()
    reasons = {reason.replace(" ", "_"): 0 for reason in REASONS}
    found = {reason: statistics[reason] for reason in reasons}
    assert found == reasons | {
        "discarded": 1,
        "reset_failed": 1,
        "check_failed": 1,
        "surplus": 1,
        "retired": 2,
    }
    left = sum(found.values()) + statistics["detached"] + statistics["forgotten"]
    assert statistics["created"] - left == machine.counts().ready + machine.counts().in_use
    machine.terminate()
    assert machine.size() == len([s for s in machine.slots() if s.state is SlotState.CLOSING]) + 1


def test_ages_end_and_terminate_forgets() -> None:
    machine = make(max_size=3)
    old, held = lease(machine, expires_at=5.0), lease(machine)
    machine.release(old, 6.0)
    assert old.reason == "expired"
    assert machine.outbox.sweep_at == 5.0
    young = lease(machine, expires_at=9.0)
    machine.release(young, 6.0)
    assert machine.sweep(10.0) == [young]
    resource = held.resource
    machine.terminate()
    machine.terminate()
    assert (held.state, held.resource) == (SlotState.FREE, resource)
    for slot in (old, young):
        machine.closer_ended(slot)
    assert machine.counts().phase.value == "closed"
    assert not machine.has_retired(1)


@pytest.mark.parametrize("kept", [0, 30])
def test_many_that_expire_at_once_are_counted(kept: int) -> None:
    machine = make(max_size=130)
    slots = [lease(machine, expires_at=5.0) for _ in range(100)]
    slots += [lease(machine) for _ in range(kept)]
    for slot in slots:
        machine.release(slot, 1.0)
    assert len(machine.sweep(6.0)) == 100
    c = machine.counts()
    assert (c.ready, c.in_use, c.closing) == (kept, 0, 100)
    assert machine.statistics()["released"] == len(slots)


def test_the_error_of_a_deadline_wakes_its_acquirer() -> None:
    machine = make()
    waiter = machine.acquire(0.0)
    assert isinstance(waiter, Waiter)
    error = TimeoutError()
    machine.timeout(waiter, error)
    assert (waiter.state, waiter.error) == (WaiterState.DONE, error)
    assert list(machine.outbox.woken) == [waiter]
    assert (machine.name, machine.limits, NEVER) == (
        "db",
        Limits(2, None),
        float("inf"),
    )


def test_a_released_resource_is_trusted_when_it_is_handed_over() -> None:
    machine = checked()("db", Limits(2, None), max_size=1, check_after_idle=1.0)
    first = machine.acquire(0.0)
    machine.create_succeeded(machine.outbox.work.popleft(), "one", 0.0)
    slot = machine.resume(first, 0.0)
    machine.release(slot, 1.0)
    slot = machine.acquire(1.5)
    waiter = machine.acquire(1.5)
    machine.release(slot, 9.0)
    assert waiter.slot is slot
    assert slot.trusted_until == 10.0 < NEVER


def test_an_age_ends_once_and_only_while_the_resource_may_be_used() -> None:
    machine = PoolMachine[object]("db", Limits(2, None), max_size=2)
    waiters = [machine.acquire(0.0), machine.acquire(0.0)]
    first, second = list(machine.outbox.work)
    machine.outbox.work.clear()
    machine.create_succeeded(first, "one", 0.0, 50.0)
    machine.create_succeeded(second, "two", 0.0, 60.0)
    for waiter in waiters:
        assert isinstance(waiter, Waiter)
        slot = machine.resume(waiter, 0.0)
        assert isinstance(slot, Slot)
        machine.release(slot, 1.0)
    machine.grow_old(first, 2.0)
    machine.grow_old(first, 3.0)
    assert first.expires_at == 2.0
    assert machine.sweep(4.0) == [first]
    machine.grow_old(first, 5.0)
    assert (first.reason, first.expires_at) == ("expired", 2.0)
    assert second.state is SlotState.IDLE
