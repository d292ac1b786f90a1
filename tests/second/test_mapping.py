"""The refinement mapping and the follower of the second semantics refuse what has no place."""

from __future__ import annotations

from typing import Any

import pytest

from proofs.second_walk import OutputError
from proofs.second_walk import walk as walked
from spec.second_graph import Graph
from tests.inside import (
    NEVER,
    SecondPool,
    second_contracts,
    second_counts,
    second_following,
    second_machine,
    second_mapping,
    second_slots,
)
from tests.second.test_machine import SMALL

LIMITS = second_counts.Limits(2, None)


def test_more_slots_than_names_and_a_queue_in_another_order_are_refused() -> None:
    machine = second_machine.PoolMachine[object]("db", LIMITS, max_size=2)
    mapping = second_mapping.Mapping(machine, ("a", "b"), (1,))
    first, second = machine.acquire(0.0), machine.acquire(0.0)
    mapping.got |= {"a": first, "b": second}
    with pytest.raises(AssertionError, match="more slots than the model has names"):
        mapping.notice()
    assert mapping.queue_is_in_order()
    assert isinstance(first, second_slots.Waiter)
    first.ticket = 9
    assert not mapping.queue_is_in_order()


def test_only_a_resize_to_the_present_limits_may_do_nothing() -> None:
    graph = Graph.frozen("Ending")
    follower = second_following.Follower(graph, lambda: 0.0)
    state = graph.initial
    limits = state.max_size, state.min_size
    assert follower.may_do_nothing("Resize", limits, state)
    assert not follower.may_do_nothing("Resize", (9, 0), state)
    assert follower.may_do_nothing("Sweep", (), state)
    assert not follower.may_do_nothing("Acquire", (), state)


def test_a_released_resource_is_trusted_when_it_is_handed_over() -> None:
    kind = second_contracts.checked(second_machine.PoolMachine)
    machine = kind("db", LIMITS, max_size=1, check_after_idle=1.0)
    first = machine.acquire(0.0)
    machine.create_succeeded(machine.outbox.work.popleft(), "one", 0.0)
    slot = machine.resume(first, 0.0)
    machine.release(slot, 1.0)
    slot = machine.acquire(1.5)
    waiter = machine.acquire(1.5)
    machine.release(slot, 9.0)
    assert waiter.slot is slot
    assert slot.trusted_until == 10.0 < NEVER


class WatchesNoAges(second_machine.PoolMachine[object]):
    """A machine that never looks for overdue resources."""

    def _lower_deadline(self, time: float) -> None:
        pass


def test_a_walk_reports_ages_that_nobody_watches() -> None:
    with pytest.raises(OutputError, match="ages_are_watched"):
        walked(SMALL | {"Ages": True, "Resets": False}, WatchesNoAges)


def test_an_age_ends_once_and_only_while_the_resource_may_be_used() -> None:
    machine = second_machine.PoolMachine[object]("db", LIMITS, max_size=2)
    waiters = [machine.acquire(0.0), machine.acquire(0.0)]
    first, second = list(machine.outbox.work)
    machine.outbox.work.clear()
    machine.create_succeeded(first, "one", 0.0, 50.0)
    machine.create_succeeded(second, "two", 0.0, 60.0)
    for waiter in waiters:
        assert isinstance(waiter, second_slots.Waiter)
        slot = machine.resume(waiter, 0.0)
        assert isinstance(slot, second_slots.Slot)
        machine.release(slot, 1.0)
    machine.grow_old(first, 2.0)
    machine.grow_old(first, 3.0)
    assert first.expires_at == 2.0
    assert machine.sweep(4.0) == [first]
    machine.grow_old(first, 5.0)
    assert (first.reason, first.expires_at) == ("expired", 2.0)
    assert second.state is second_slots.SlotState.IDLE


def test_an_unknown_order_of_reuse_is_refused() -> None:
    options: Any = {"reuse": "random"}
    with pytest.raises(ValueError, match='reuse must be "lifo" or "fifo"'):
        SecondPool(object, **options)
