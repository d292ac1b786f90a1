"""The counting model of the second semantics: its rules, its invariants, its events."""

from __future__ import annotations

import pytest

from proofs.second_counts import explore, successors
from tests.inside import Floor, Phase
from tests.inside import second_counts as rules

OPEN = rules.Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, Phase.OPEN, Floor.ON)
LIMITS = rules.Limits(3, None)


def test_the_invariants_hold_in_every_state_and_every_event_happens() -> None:
    limits, sizes = rules.Limits(1, 1), [(1, 0), (2, 0), (2, 1)]
    found = explore(limits, sizes)
    assert len(found) > 400
    for c in found:
        for name, holds in rules.INVARIANTS.items():
            assert holds(limits, c), f"{name}: {c}"
    assert {event for c in found for event, _ in successors(limits, sizes, c)} == set(rules.Event)


BROKEN = {
    "TypeOK": OPEN._replace(disowned=1),
    "SizeWithinLimit": OPEN._replace(ready=1, in_use=3),
    "CreatingWithinLimit": OPEN._replace(creating=4),
    "NoLostWakeup": OPEN._replace(waiting=1),
    "FloorKept": OPEN._replace(min_size=1),
    "NothingAfterClose": OPEN._replace(phase=Phase.CLOSING, checking=1),
    "CloseWaits": OPEN._replace(phase=Phase.CLOSED, closing=1),
}


@pytest.mark.parametrize("name", rules.INVARIANTS)
def test_each_invariant_can_fail(name: str) -> None:
    assert rules.INVARIANTS[name](LIMITS, OPEN)
    assert not rules.INVARIANTS[name](LIMITS, BROKEN[name])


def test_a_check_comes_before_a_creation_and_after_a_failed_check_a_creation_comes_first() -> None:
    c = OPEN._replace(waiting=2, unchecked=1)
    assert (rules.checks_to_start(LIMITS, c, False), rules.checks_to_start(LIMITS, c, True)) == (
        1,
        0,
    )
    assert rules.start_work(LIMITS, c, False)[:3] == (1, 0, 1)
    assert rules.start_work(LIMITS, c, True)[:3] == (2, 0, 0)
    full = c._replace(in_use=2)
    assert rules.start_work(LIMITS, full, True)[:3] == (0, 0, 1), "there is no room for a creation"


def test_nobody_relies_on_disowned_work() -> None:
    c = OPEN._replace(waiting=1, creating=1)
    assert rules.creations_to_start(LIMITS, c) == 0
    assert rules.creations_to_start(LIMITS, c._replace(disowned=1)) == 1


def test_without_a_limit_everybody_may_wait() -> None:
    c = OPEN._replace(waiting=9, in_use=3)
    assert rules.may_wait(LIMITS, c)
    assert not rules.may_wait(rules.Limits(3, 9), c)
    assert rules.may_wait(rules.Limits(3, 10), c)
