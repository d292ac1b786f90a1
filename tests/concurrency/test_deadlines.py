"""Deadlines alone: one timer for many entries, with a clock and timers that the test moves."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.concurrency.fakes import FakeBinding
from tests.inside import Binding, Deadlines
from tests.virtual_time import run

IN, OUT = "in", "out"


class Entry:
    """Something with a deadline."""

    def __init__(self, expires_at: float) -> None:
        self.state = IN
        self.expires_at = expires_at


class Watch:
    """The owner of deadlines, which takes out what has expired."""

    def __init__(self) -> None:
        self.binding = FakeBinding()
        fake: Any = self.binding
        self.deadlines: Deadlines[Entry] = Deadlines(fake, OUT, self.expire)
        self.passed: list[float] = []
        self.calls = 0
        self.when_expired: Callable[[], object] = lambda: None

    def expire(self) -> None:
        self.calls += 1
        while (entry := self.deadlines.take_expired(self.binding.now)) is not None:
            assert entry.expires_at <= self.binding.now
            entry.state = OUT
            self.passed.append(entry.expires_at)
            self.when_expired()
        self.deadlines.arm()

    def add(self, *times: float) -> list[Entry]:
        made = [Entry(time) for time in times]
        for entry in made:
            self.deadlines.add(entry)
        return made


@pytest.mark.parametrize("order", [*itertools.permutations((101.0, 102.0, 103.0, 103.0))])
def test_entries_expire_at_their_deadlines_in_any_order(order: tuple[float, ...]) -> None:
    watch = Watch()
    watch.add(*order)
    assert watch.binding.armed() == [101], "one timer, for the earliest"
    watch.binding.go_to(102.5)
    assert (watch.passed, watch.binding.armed()) == ([101, 102], [103])
    watch.binding.go_to(200)
    assert watch.passed == [101, 102, 103, 103]
    assert (len(watch.deadlines), watch.binding.armed()) == (0, [])
    assert watch.calls == 3, "those of one time expire in one call"


def test_an_earlier_deadline_moves_the_timer_and_a_later_one_does_not() -> None:
    watch = Watch()
    watch.add(110, 120)
    assert len(watch.binding.timers) == 1
    watch.add(105)
    assert watch.binding.armed() == [105]
    assert len(watch.binding.timers) == 2


def test_an_entry_that_has_ended_does_not_expire() -> None:
    watch = Watch()
    made = watch.add(102, 104, 101, 103)
    made[0].state = made[2].state = OUT
    watch.binding.go_to(101)
    assert watch.passed == []
    assert watch.binding.armed() == [103], "the timer now goes off for one that has not ended"
    watch.binding.go_to(200)
    assert watch.passed == [103, 104]


def test_an_expiry_may_set_another_deadline() -> None:
    watch = Watch()
    later = iter((103.0, 102.0))
    watch.when_expired = lambda: watch.add(*itertools.islice(later, 1))
    watch.add(101)
    watch.binding.go_to(200)
    assert watch.passed == [101, 103, 102], "one that is set too late expires at once"


def test_a_deadline_in_the_past_expires_as_soon_as_the_timer_runs() -> None:
    watch = Watch()
    watch.add(50)
    watch.binding.go_to(100)
    assert watch.passed == [50]


def test_ended_entries_are_dropped_once_they_are_the_majority() -> None:
    watch = Watch()
    made = watch.add(*range(200, 280), *(150 - number / 10 for number in range(80)))
    for entry in made[1:60] + made[81:140]:
        entry.state = OUT
    watch.deadlines.compact_to(80)
    assert len(watch.deadlines) == 160, "half of them is no majority"
    watch.deadlines.compact_to(79)
    assert len(watch.deadlines) == 42
    watch.binding.go_to(1000)
    assert len(watch.passed) == 42
    assert watch.passed == sorted(watch.passed)


def test_ended_entries_are_dropped_as_others_come() -> None:
    watch = Watch()
    for _ in range(1000):
        (entry,) = watch.add(130)
        entry.state = OUT
    assert len(watch.deadlines) == 1


def test_stopped_deadlines_never_expire() -> None:
    watch = Watch()
    watch.add(102, 101)
    watch.deadlines.stop()
    assert (len(watch.deadlines), watch.binding.armed()) == (0, [])
    watch.binding.go_to(200)
    assert watch.passed == []


def test_deadlines_of_a_closed_loop_set_no_timer() -> None:
    watch = Watch()
    watch.binding.over = True
    watch.add(101)
    watch.deadlines.arm()
    watch.deadlines.stop()
    assert watch.binding.timers == []


def test_deadlines_do_not_keep_their_owner_alive() -> None:
    watch = Watch()
    watch.add(101)
    binding, deadlines, reference = watch.binding, watch.deadlines, weakref.ref(watch)
    del watch
    gc.collect()
    assert reference() is None
    binding.go_to(200)  # fires, and finds nobody
    assert len(deadlines) == 1


def test_random_deadlines_pass_in_order_when_most_entries_have_ended() -> None:
    random = Random(7)
    watch = Watch()
    made = watch.add(*(random.uniform(101, 200) for _ in range(300)))
    for entry in random.sample(made, 200):
        entry.state = OUT
    expected = sorted(entry.expires_at for entry in made if entry.state == IN)
    watch.deadlines.compact_to(100)
    watch.binding.go_to(300)
    assert watch.passed == expected


# With the timers of a loop.


class Owner:
    """The owner of deadlines in a loop."""

    def __init__(self) -> None:
        self.binding = Binding("watch")
        self.binding.check()
        self.deadlines: Deadlines[Entry] = Deadlines(self.binding, OUT, self.expire)
        self.passed: list[float] = []

    def expire(self) -> None:
        try:
            while (entry := self.deadlines.take_expired(self.binding.clock())) is not None:
                self.passed.append(entry.expires_at)
                raise ZeroDivisionError
        finally:
            self.deadlines.arm()


def test_the_timer_goes_on_although_the_owner_fails() -> None:
    async def scenario() -> None:
        failures: list[type[BaseException]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, said: failures.append(type(said["exception"])))
        owner = Owner()
        now = loop.time()
        for seconds in (1, 2):
            owner.deadlines.add(Entry(now + seconds))
        await asyncio.sleep(5)
        assert owner.passed == [now + 1, now + 2]
        assert failures == [ZeroDivisionError] * 2

    run(scenario())


def test_a_timer_of_a_loop_does_not_keep_its_deadlines_alive() -> None:
    async def scenario() -> None:
        owner = Owner()
        passed = owner.passed
        owner.deadlines.add(Entry(asyncio.get_running_loop().time() + 1))
        reference = weakref.ref(owner.deadlines)
        del owner
        gc.collect()
        assert reference() is None
        await asyncio.sleep(2)
        assert passed == []

    run(scenario())
