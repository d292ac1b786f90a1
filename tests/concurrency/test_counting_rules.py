"""The counting rules: pure functions of how many resources and waiters there are."""

from __future__ import annotations

import itertools

import pytest

from tests.inside import (
    Counts,
    Floor,
    Limits,
    Phase,
    closing_complete,
    creations_to_start,
    fails_waiter,
    may_wait,
    prunable,
    size,
    usable_creations,
    usable_size,
)

pytestmark = pytest.mark.first

NOTHING = Counts(0, 0, 0, 0, 0, 0, Phase.OPEN, Floor.ON)
LIMITS = Limits(max_size=3, min_size=1, max_creating=2, max_waiting=1)


def test_the_size_is_everything_that_may_exist() -> None:
    counts = NOTHING._replace(creating=1, idle=2, in_use=4, closing=8, waiting=16)
    assert size(counts) == 15
    assert usable_size(counts) == 7
    assert usable_creations(counts._replace(retired_creations=1)) == 0
    assert usable_size(counts._replace(retired_creations=1)) == 6


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
        (NOTHING._replace(waiting=1, creating=1, retired_creations=1), 1),
        (NOTHING._replace(creating=2, idle=1), 0),  # never negative
        (NOTHING._replace(waiting=2, phase=Phase.CLOSING), 0),
        (NOTHING._replace(phase=Phase.CLOSED), 0),
    ],
)
def test_creations_start_for_waiters_and_for_the_minimum_size(
    counts: Counts, expected: int
) -> None:
    assert creations_to_start(LIMITS, counts) == expected


def test_starting_what_is_to_be_started_leaves_nothing_to_start() -> None:
    small = range(3)
    for creating, idle, in_use, closing, waiting in itertools.product(small, repeat=5):
        counts = NOTHING._replace(
            creating=creating, idle=idle, in_use=in_use, closing=closing, waiting=waiting
        )
        limits = LIMITS._replace(max_size=max(3, size(counts)))
        more = creations_to_start(limits, counts)
        then = counts._replace(creating=creating + more)
        assert more >= 0
        assert size(then) <= limits.max_size
        assert creations_to_start(limits, then) == 0


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (NOTHING, True),
        (NOTHING._replace(floor=Floor.OFF), True),
        (NOTHING._replace(in_use=3), True),
        (NOTHING._replace(in_use=3, waiting=1), False),
        (NOTHING._replace(in_use=2, creating=1, waiting=1), True),  # the first has a creation
        (NOTHING._replace(in_use=2, creating=1, retired_creations=1, waiting=1), False),
        (NOTHING._replace(in_use=2, creating=1, waiting=2), False),
        (NOTHING._replace(in_use=2, waiting=1), True),  # one more creation would start
    ],
)
def test_a_newcomer_may_wait_unless_too_many_wait_without_a_creation(
    counts: Counts, expected: bool
) -> None:
    assert may_wait(LIMITS, counts) is expected
    assert may_wait(LIMITS._replace(max_waiting=None), counts)


def test_a_failed_creation_fails_a_waiter_unless_others_in_flight_serve_all() -> None:
    assert not fails_waiter(NOTHING)
    assert fails_waiter(NOTHING._replace(waiting=1))
    assert not fails_waiter(NOTHING._replace(waiting=1, creating=1))
    assert fails_waiter(NOTHING._replace(waiting=1, creating=1, retired_creations=1))
    assert fails_waiter(NOTHING._replace(waiting=2, creating=1))


def test_idle_resources_are_prunable_down_to_the_minimum_size() -> None:
    assert prunable(LIMITS, NOTHING) == 0
    assert prunable(LIMITS, NOTHING._replace(idle=1)) == 0
    assert prunable(LIMITS, NOTHING._replace(idle=3)) == 2
    assert prunable(LIMITS, NOTHING._replace(idle=1, in_use=1)) == 1
    assert prunable(LIMITS, NOTHING._replace(idle=2, in_use=2)) == 2
    assert prunable(LIMITS, NOTHING._replace(idle=1, creating=1)) == 1
    assert prunable(LIMITS, NOTHING._replace(idle=1, creating=1, retired_creations=1)) == 0


def test_closing_is_complete_when_nothing_is_left() -> None:
    closing = NOTHING._replace(phase=Phase.CLOSING)
    assert closing_complete(closing)
    assert not closing_complete(NOTHING)
    for left in (
        closing._replace(creating=1),
        closing._replace(idle=1),
        closing._replace(in_use=1),
        closing._replace(closing=1),
    ):
        assert not closing_complete(left)
