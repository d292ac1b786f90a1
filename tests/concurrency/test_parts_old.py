"""Private parts: deadlines with one timer, and the lazy deletion in the machine's containers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Callable
from random import Random

import pytest

from nodetool.concurrency._deadlines import Deadlines, weakly
from nodetool.concurrency._records import Place
from tests.inside import NEVER, Limits, PoolMachine, Slot, Waiter
from tests.virtual_time import run

# Deadlines.


class Item:
    """Something with a deadline."""

    def __init__(self, deadline: float) -> None:
        self.place = Place.WAITING
        self.deadline = deadline


class Watch:
    """Deadlines in virtual time, and those that passed."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.deadlines: Deadlines[Item] = Deadlines(loop, self.now, Place.WAITING, self.expire)
        self.passed: list[float] = []
        self.start = self.now()
        self.when_expired: Callable[[], object] = lambda: None

    def expire(self, items: list[Item]) -> None:
        for item in items:
            assert self.now() >= item.deadline
            assert item.place is Place.WAITING
            item.place = Place.GONE
            self.passed.append(self.now() - self.start)
        self.when_expired()

    def add(self, seconds: float) -> Item:
        item = Item(self.start + seconds)
        self.deadlines.add(item)
        return item

    @property
    def kept(self) -> tuple[int, int]:
        return len(self.deadlines.line), len(self.deadlines._early)


@pytest.mark.parametrize("order", [*itertools.permutations((1.0, 2.0, 3.0, 3.0))])
def test_items_expire_at_their_deadlines_in_any_order(order: tuple[float, ...]) -> None:
    async def scenario() -> None:
        watch = Watch()
        for seconds in order:
            watch.add(seconds)
        await asyncio.sleep(5)
        assert watch.passed == [1, 2, 3, 3]
        assert watch.kept == (0, 0)
        assert watch.deadlines._timer is None

    run(scenario())


def test_the_timer_goes_on_although_what_it_calls_fails() -> None:
    async def scenario() -> None:
        watch = Watch()
        failures: list[type[BaseException]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, said: failures.append(type(said["exception"]))
        )
        watch.when_expired = lambda: 1 / 0
        watch.add(1)
        watch.add(2)
        await asyncio.sleep(5)
        assert watch.passed == [1, 2]
        assert failures == [ZeroDivisionError] * 2

    run(scenario())


def test_an_item_that_has_left_does_not_expire() -> None:
    async def scenario() -> None:
        watch = Watch()
        items = [watch.add(seconds) for seconds in (2, 4, 1, 3)]
        items[0].place = items[2].place = Place.HANDED
        await asyncio.sleep(5)
        assert watch.passed == [3, 4]

    run(scenario())


def test_items_that_have_left_the_front_are_dropped_as_others_come() -> None:
    async def scenario() -> None:
        watch = Watch()
        for _ in range(1000):
            watch.add(30).place = Place.GONE
        assert watch.kept == (1, 0)

    run(scenario())


def test_an_expiry_may_set_another_deadline() -> None:
    async def scenario() -> None:
        watch = Watch()
        later = iter((3.0, 2.0))
        watch.when_expired = lambda: [watch.add(seconds) for seconds in itertools.islice(later, 1)]
        watch.add(1)
        await asyncio.sleep(5)
        assert watch.passed == [1, 3, 3], "one that is set too late expires at once"

    run(scenario())


def test_tidy_drops_items_that_have_left_once_they_are_the_majority() -> None:
    async def scenario() -> None:
        watch = Watch()
        line = [watch.add(100 + number) for number in range(80)]
        early = [watch.add(50 - number / 10) for number in range(80)]
        assert watch.kept == (80, 80)
        for item in line[1:60] + early[1:60]:
            item.place = Place.GONE
        watch.deadlines.tidy(80)
        assert watch.kept == (80, 80), "not yet"
        watch.deadlines.tidy(79)
        assert watch.kept == (21, 21)
        watch.deadlines.tidy(0)
        assert watch.kept == (21, 21), "so few are kept"
        await asyncio.sleep(300)
        assert len(watch.passed) == 42
        assert watch.passed == sorted(watch.passed)

    run(scenario())


def test_stopped_deadlines_never_expire() -> None:
    async def scenario() -> None:
        watch = Watch()
        for seconds in (2, 1):
            watch.add(seconds)
        watch.deadlines.stop()
        await asyncio.sleep(5)
        assert (watch.passed, watch.kept) == ([], (0, 0))

    run(scenario())


def test_a_timer_does_not_keep_its_deadlines_alive() -> None:
    async def scenario() -> None:
        watch = Watch()
        passed = watch.passed
        called = weakly(watch.deadlines.stop)
        watch.add(1)
        called()
        assert watch.kept == (0, 0)
        watch.add(1)
        reference = weakref.ref(watch.deadlines)
        del watch
        gc.collect()
        assert reference() is None
        called()
        await asyncio.sleep(2)
        assert passed == []

    run(scenario())


def test_deadlines_out_of_order_pass_in_order_after_a_tidy() -> None:
    random = Random(7)
    passed: list[float] = []

    class Item:
        place = Place.WAITING

        def __init__(self, deadline: float) -> None:
            self.deadline = deadline

    class Keeper:
        def expire(self, items: list[Item]) -> None:
            passed.extend(item.deadline for item in items)

    async def main() -> None:
        loop, keeper = asyncio.get_running_loop(), Keeper()
        deadlines = Deadlines(loop, loop.time, Place.WAITING, keeper.expire)
        items = [Item(loop.time() + random.uniform(1, 100)) for _ in range(300)]
        for item in items:
            deadlines.add(item)
        for item in random.sample(items, 200):
            item.place = Place.GONE
        deadlines.tidy(100)
        await asyncio.sleep(101)
        assert len(passed) == 100
        assert passed == sorted(passed)

    run(main())


# Lazy deletion in the machine.


def machine(max_size: int = 1, max_idle_time: float = NEVER) -> PoolMachine[int]:
    return PoolMachine("m", Limits(max_size, 0, max_size, None), max_idle_time=max_idle_time)


def created(pool: PoolMachine[int], numbers: range, expires_at: float = NEVER) -> None:
    """Let the creations in flight succeed. High numbers, because small ones are shared objects."""
    work = [record for record in pool.work if record.place is Place.CREATING]
    pool.work.clear()
    for record, number in zip(work, numbers, strict=True):
        pool.create_succeeded(record, number, 0.0, expires_at)


@pytest.mark.guarantees("FifoService")
def test_the_queue_drops_waiters_that_have_left_once_they_are_the_majority() -> None:
    pool = machine()
    waiters = [pool.acquire(0.0) for _ in range(200)]
    for waiter in waiters[50:190]:
        assert isinstance(waiter, Waiter)
        pool.cancel(waiter, 0.0)
        assert len(pool._queue) <= max(64, 2 * pool.waiting)
    assert pool.waiting == 60
    created(pool, range(1000, 1001))
    assert isinstance(waiters[0], Waiter)
    assert waiters[0].place is Place.HANDED
    record = pool.resume(waiters[0], 0.0)
    assert isinstance(record, Slot)
    for waiter in (*waiters[1:50], *waiters[190:]):
        assert isinstance(waiter, Waiter)
        pool.release(record, 0.0)
        assert waiter.record is record, "first come, first served"
        assert pool.resume(waiter, 0.0) is record


@pytest.mark.guarantees("WaiterServed")
def test_the_last_of_many_waiters_that_leave_drops_them_all() -> None:
    pool = machine()
    first, *others = [pool.acquire(0.0) for _ in range(65)]
    for waiter in reversed(others):
        assert isinstance(waiter, Waiter)
        pool.cancel(waiter, 0.0)
    assert (pool.waiting, len(pool._queue)) == (1, 32)
    assert isinstance(first, Waiter)
    pool.timeout(first)
    assert (pool.waiting, len(pool._queue)) == (0, 0)


def test_waiters_that_have_left_a_short_queue_are_dropped_as_they_surface() -> None:
    pool = machine()
    waiters = [pool.acquire(0.0) for _ in range(6)]
    for number, left in ((2, 6), (1, 6), (4, 6), (0, 3)):
        waiter = waiters[number]
        assert isinstance(waiter, Waiter)
        pool.timeout(waiter)
        assert len(pool._queue) == left, "the first entry waits"
    created(pool, range(1000, 1001))
    assert isinstance(waiters[3], Waiter)
    assert (waiters[3].place, len(pool._queue)) == (Place.HANDED, 1), "the next one had left"
    assert (pool.waiting, pool._off_queue) == (1, 0)


def with_idle(count: int, pool: PoolMachine[int], expiries: Callable[[int], float]) -> None:
    waiters = [pool.acquire(0.0) for _ in range(count)]
    for number, record in enumerate([*pool.work]):
        pool.create_succeeded(record, 1000 + number, 0.0, expiries(number))
    pool.work.clear()
    pool.woken.clear()
    for waiter in waiters:
        assert isinstance(waiter, Waiter)
        resumed = pool.resume(waiter, 0.0)
        assert isinstance(resumed, Slot)
        pool.release(resumed, 0.0)


def test_idle_entries_of_closed_resources_are_dropped_once_they_are_the_majority() -> None:
    pool = machine(100)
    with_idle(100, pool, lambda number: 10.0 if 10 <= number < 80 else 20.0)
    assert len(pool.sweep(5.0)) == 0
    assert len(pool.sweep(10.0)) == 70
    assert (pool.idle, len(pool._shelf), pool._off_shelf) == (30, 30, 0)
    numbers = [record.resource for record in pool._shelf]
    assert numbers == [*range(1000, 1010), *range(1080, 1100)]


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("now", [10.0, 12.0])
def test_a_few_idle_entries_of_closed_resources_are_dropped_as_they_surface(now: float) -> None:
    pool = machine(5)
    with_idle(5, pool, lambda number: 10.0 if number in (0, 3, 4) else 20.0)
    assert len(pool.sweep(now)) == 3
    assert (pool.idle, len(pool._shelf), pool._off_shelf) == (2, 5, 3)
    for expected in (1002, 1001):
        record = pool.acquire(now)
        assert isinstance(record, Slot)
        assert record.resource == expected
    assert pool._off_shelf == len(pool._shelf) == 1
    assert isinstance(pool.acquire(now), Waiter)
    assert pool._off_shelf == len(pool._shelf) == 0


def test_pruning_skips_idle_entries_of_closed_resources() -> None:
    pool = machine(4, max_idle_time=15.0)
    with_idle(4, pool, lambda number: 10.0 if number in (0, 2) else 100.0)
    assert [record.resource for record in pool.sweep(10.0)] == [1000, 1002]
    assert [record.resource for record in pool.sweep(15.0)] == [1001, 1003]
    assert (pool.idle, pool._off_shelf, len(pool._shelf)) == (0, 0, 0)


@pytest.mark.parametrize("later", [1, -1], ids=["in line", "on the heap"])
def test_the_ages_of_resources_that_are_gone_are_dropped(later: int) -> None:
    pool = machine(10)
    for number in range(500):
        waiter = pool.acquire(0.0)
        assert isinstance(waiter, Waiter)
        created(pool, range(1000 + number, 1001 + number), 1e9 + later * number)
        record = pool.resume(waiter, 0.0)
        assert isinstance(record, Slot)
        pool.discard(record)
        pool.work.clear()
        pool.closer_ended(record)
        assert len(pool._ages) + len(pool._early) <= 65
    assert pool.size == 0


def test_retiring_drops_idle_entries_of_closed_resources() -> None:
    pool = machine(5)
    with_idle(5, pool, lambda number: 10.0 if number == 2 else 20.0)
    pool.sweep(10.0)
    pool.work.clear()
    pool.retire_all()
    assert [record.resource for record in pool.work] == [1000, 1001, 1003, 1004]
    assert (pool.idle, pool._off_shelf, len(pool._shelf)) == (0, 0, 0)
