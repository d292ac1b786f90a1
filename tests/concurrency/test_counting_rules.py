"""The counting rules: pure functions of how many resources and waiters there are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.inside import INVARIANTS, Counts, Event, Floor, Limits, Phase, rules

NOTHING = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, Phase.OPEN, Floor.ON)
GAUGES = ("creating", "checking", "ready", "unchecked", "in_use", "resetting", "closing")
LIMITS = Limits(max_creating=2, max_waiting=1)


def test_the_size_is_everything_that_may_exist() -> None:
    counts = NOTHING._replace(
        creating=1, checking=2, ready=4, unchecked=8, in_use=16, resetting=32, closing=64
    )
    assert rules.size(counts) == 127
    assert rules.lasting(counts) == 63
    assert rules.idle(counts) == 12
    assert rules.usable_size(counts) == 63
    counts = counts._replace(retired_creations=1, retired_checks=2)
    assert rules.usable_size(counts) == 60
    assert rules.in_flight(counts) == 0


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (NOTHING, 1),  # for the minimum size
        (NOTHING._replace(floor=Floor.OFF), 0),
        (NOTHING._replace(floor=Floor.BACKOFF), 0),
        (NOTHING._replace(floor=Floor.BACKOFF, waiting=1), 1),  # waiters do not back off
        (NOTHING._replace(waiting=2), 2),  # these make up the minimum size, too
        (NOTHING._replace(waiting=5), 2),  # max_creating
        (NOTHING._replace(waiting=5, in_use=2), 1),  # max_size
        (NOTHING._replace(waiting=5, in_use=3), 0),
        (NOTHING._replace(waiting=5, closing=3), 0),  # what is being closed may still exist
        (NOTHING._replace(waiting=1, creating=1), 0),
        (NOTHING._replace(waiting=1, checking=1), 0),
        (NOTHING._replace(waiting=1, creating=1, retired_creations=1), 1),
        (NOTHING._replace(waiting=1, checking=1, retired_checks=1), 1),
        (NOTHING._replace(waiting=1, checking=1, disowned=1), 1),
        (NOTHING._replace(creating=2, ready=1), 0),  # never negative
        (NOTHING._replace(waiting=2, phase=Phase.CLOSING), 0),
        (NOTHING._replace(phase=Phase.CLOSED), 0),
    ],
)
def test_creations_start_for_waiters_and_for_the_minimum_size(
    counts: Counts, expected: int
) -> None:
    assert rules.creations_to_start(LIMITS, counts) == expected


def test_starting_what_is_to_be_started_leaves_nothing_to_start() -> None:
    small = range(2)
    numbers = itertools.product(small, small, small, small, small, range(3), small)
    for creating, checking, unchecked, in_use, closing, waiting, failed in numbers:
        counts = NOTHING._replace(
            creating=creating,
            checking=checking,
            unchecked=unchecked,
            in_use=in_use,
            closing=closing,
            waiting=waiting,
        )
        counts = counts._replace(max_size=max(3, rules.size(counts)))
        then = rules.start_work(LIMITS, counts, bool(failed))
        assert rules.size(then) <= then.max_size
        assert then.creating <= max(creating, LIMITS.max_creating)
        assert rules.start_work(LIMITS, then, False) == then


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (NOTHING, True),
        (NOTHING._replace(floor=Floor.OFF), True),
        (NOTHING._replace(in_use=3), True),
        (NOTHING._replace(in_use=3, waiting=1), False),
        (NOTHING._replace(in_use=2, creating=1, waiting=1), True),  # the first has a creation
        (NOTHING._replace(in_use=2, checking=1, waiting=1), True),  # or a check
        (NOTHING._replace(in_use=2, unchecked=1, waiting=1), True),  # or gets one
        (NOTHING._replace(in_use=2, creating=1, retired_creations=1, waiting=1), False),
        (NOTHING._replace(in_use=2, creating=1, waiting=2), False),
        (NOTHING._replace(in_use=2, waiting=1), True),  # one more creation would start
    ],
)
def test_a_newcomer_may_wait_unless_too_many_wait_without_work(
    counts: Counts, expected: bool
) -> None:
    assert rules.may_wait(LIMITS, counts) is expected
    assert rules.may_wait(LIMITS._replace(max_waiting=None), counts)


def test_a_failed_creation_fails_a_waiter_unless_work_in_flight_serves_all() -> None:
    assert not rules.fails_waiter(NOTHING)
    assert rules.fails_waiter(NOTHING._replace(waiting=1))
    assert not rules.fails_waiter(NOTHING._replace(waiting=1, creating=1))
    assert not rules.fails_waiter(NOTHING._replace(waiting=1, checking=1))
    assert rules.fails_waiter(NOTHING._replace(waiting=1, checking=1, disowned=1))
    assert rules.fails_waiter(NOTHING._replace(waiting=1, creating=1, retired_creations=1))
    assert rules.fails_waiter(NOTHING._replace(waiting=2, creating=1))


def test_idle_resources_are_prunable_down_to_the_minimum_size() -> None:
    assert rules.prunable(NOTHING) == 0
    assert rules.prunable(NOTHING._replace(ready=1)) == 0
    assert rules.prunable(NOTHING._replace(ready=1, unchecked=2)) == 2
    assert rules.prunable(NOTHING._replace(ready=1, in_use=1)) == 1
    assert rules.prunable(NOTHING._replace(ready=2, in_use=2)) == 2
    assert rules.prunable(NOTHING._replace(ready=1, creating=1)) == 1
    assert rules.prunable(NOTHING._replace(ready=1, creating=1, retired_creations=1)) == 0


def test_a_lowered_limit_closes_idle_resources_and_what_comes_back() -> None:
    assert rules.surplus(NOTHING._replace(ready=3)) == 0
    assert rules.surplus(NOTHING._replace(ready=2, unchecked=2)) == 1
    assert rules.surplus(NOTHING._replace(ready=1, in_use=9)) == 1
    assert rules.surplus(NOTHING._replace(ready=1, closing=9)) == 0
    assert not rules.is_surplus(NOTHING._replace(in_use=3, closing=9))
    assert rules.is_surplus(NOTHING._replace(in_use=4))


def test_closing_is_complete_when_nothing_is_left() -> None:
    closing = NOTHING._replace(phase=Phase.CLOSING)
    assert rules.closing_complete(closing)
    assert not rules.closing_complete(NOTHING)
    for left in GAUGES:
        one: dict[str, Any] = {left: 1}
        assert not rules.closing_complete(closing._replace(**one))


# The invariants.

NEW = NOTHING._replace(min_size=0)
WIDE = Limits(3, None)
BROKEN = {
    "TypeOK": NEW._replace(disowned=1),
    "SizeWithinLimit": NEW._replace(ready=1, in_use=3),
    "CreatingWithinLimit": NEW._replace(creating=4),
    "NoLostWakeup": NEW._replace(waiting=1),
    "FloorKept": NEW._replace(min_size=1),
    "NothingAfterClose": NEW._replace(phase=Phase.CLOSING, checking=1),
    "CloseWaits": NEW._replace(phase=Phase.CLOSED, closing=1),
}


@pytest.mark.parametrize("name", INVARIANTS)
def test_each_invariant_can_fail(name: str) -> None:
    assert INVARIANTS[name](WIDE, NEW)
    assert not INVARIANTS[name](WIDE, BROKEN[name])


def test_a_check_comes_before_a_creation_and_after_a_failed_check_a_creation_comes_first() -> None:
    c = NEW._replace(waiting=2, unchecked=1)
    assert rules.checks_to_start(WIDE, c, False) == 1
    assert rules.checks_to_start(WIDE, c, True) == 0
    assert rules.start_work(WIDE, c, False)[:3] == (1, 0, 1)
    assert rules.start_work(WIDE, c, True)[:3] == (2, 0, 0)
    full = c._replace(in_use=2)
    assert rules.start_work(WIDE, full, True)[:3] == (0, 0, 1), "there is no room for a creation"


def test_nobody_relies_on_disowned_work() -> None:
    c = NEW._replace(waiting=1, creating=1)
    assert rules.creations_to_start(WIDE, c) == 0
    assert rules.creations_to_start(WIDE, c._replace(disowned=1)) == 1


def test_without_a_limit_everybody_may_wait() -> None:
    c = NEW._replace(waiting=9, in_use=3)
    assert rules.may_wait(WIDE, c)
    assert not rules.may_wait(Limits(3, 9), c)
    assert rules.may_wait(Limits(3, 10), c)


# Events that only time or a timer causes.


def test_trust_expires_for_one_ready_resource() -> None:
    c = NEW._replace(ready=2)
    assert rules.allowed(WIDE, c, Event.TRUST_EXPIRES)
    moved = rules.transition(WIDE, c, Event.TRUST_EXPIRES)
    assert (moved.ready, moved.unchecked) == (1, 1)
    assert not rules.allowed(WIDE, NEW, Event.TRUST_EXPIRES)
    assert not rules.allowed(WIDE, c._replace(phase=Phase.CLOSING), Event.TRUST_EXPIRES)


def test_a_sweep_closes_at_least_one_idle_resource() -> None:
    c = NEW._replace(ready=2, unchecked=1)
    assert rules.allowed(WIDE, c, Event.SWEEP, 1, 1)
    moved = rules.transition(WIDE, c, Event.SWEEP, 1, 1)
    assert (moved.ready, moved.unchecked, moved.closing) == (1, 0, 2)
    assert not rules.allowed(WIDE, c, Event.SWEEP, 0, 0)
    assert not rules.allowed(WIDE, c, Event.SWEEP, 3, 0)


def test_every_event_keeps_the_invariants_of_a_tiny_pool() -> None:
    """Larger bounds are compared elsewhere, and the invariants are proved for every size."""
    limits = Limits(max_creating=2, max_waiting=1)
    new = NEW._replace(max_size=2, min_size=1, floor=Floor.OFF)
    seen, todo, happened = {new}, [new], set()
    while todo:
        c = todo.pop()
        for event, i, j, k in itertools.product(Event, range(3), range(2), range(2)):
            if rules.allowed(limits, c, event, i, j, k):
                happened.add(event)
                moved = rules.transition(limits, c, event, i, j, k)
                assert not [name for name, holds in INVARIANTS.items() if not holds(limits, moved)]
                if moved not in seen:
                    seen.add(moved)
                    todo.append(moved)
    assert happened == {*Event}
    assert len(seen) > 100
