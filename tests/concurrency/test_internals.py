"""What is tested best from within: the counting rules, deadlines, and the dropping of leftovers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections import deque
from collections.abc import Callable

import pytest

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError, ResourcePoolClosedError
from nodetool.concurrency._counts import (
    Counts,
    Floor,
    Limits,
    Phase,
    closing_complete,
    coming,
    creations_to_start,
    may_wait,
    prunable,
    size,
    staying,
    tells_waiter,
)
from nodetool.concurrency._deadlines import Deadlines, weakly
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import NEVER, Place, Record, Waiter
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task
NOTHING = Counts(0, 0, 0, 0, 0, 0, Phase.OPEN, Floor.ON)
LIMITS = Limits(max_size=3, min_size=1, max_creating=2, max_waiting=1)


# The counting rules.


def test_the_size_is_everything_that_may_exist() -> None:
    counts = NOTHING._replace(creating=1, idle=2, in_use=4, closing=8, waiting=16)
    assert size(counts) == 15
    assert staying(counts) == 7
    assert coming(counts._replace(doomed=1)) == 0
    assert staying(counts._replace(doomed=1)) == 6


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (NOTHING, 1),  # for the floor
        (NOTHING._replace(floor=Floor.OFF), 0),
        (NOTHING._replace(floor=Floor.BACKOFF), 0),
        (NOTHING._replace(floor=Floor.BACKOFF, waiting=1), 1),  # waiters do not back off
        (NOTHING._replace(waiting=2), 2),  # these make up the floor too
        (NOTHING._replace(waiting=5), 2),  # max_creating
        (NOTHING._replace(waiting=5, in_use=2), 1),  # max_size
        (NOTHING._replace(waiting=5, in_use=3), 0),
        (NOTHING._replace(waiting=5, closing=3), 0),  # what is being closed may still exist
        (NOTHING._replace(waiting=1, creating=1), 0),
        (NOTHING._replace(waiting=1, creating=1, doomed=1), 1),
        (NOTHING._replace(creating=2, idle=1), 0),  # never negative
        (NOTHING._replace(waiting=2, phase=Phase.CLOSING), 0),
        (NOTHING._replace(phase=Phase.CLOSED), 0),
    ],
)
def test_how_many_creations_to_start(counts: Counts, expected: int) -> None:
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
        (NOTHING._replace(in_use=2, creating=1, doomed=1, waiting=1), False),
        (NOTHING._replace(in_use=2, creating=1, waiting=2), False),
        (NOTHING._replace(in_use=2, waiting=1), True),  # one more creation would start
    ],
)
def test_who_may_wait(counts: Counts, expected: bool) -> None:
    assert may_wait(LIMITS, counts) is expected
    assert may_wait(LIMITS._replace(max_waiting=None), counts)


def test_a_failure_is_told_unless_the_creations_in_flight_serve_everybody() -> None:
    assert not tells_waiter(NOTHING)
    assert tells_waiter(NOTHING._replace(waiting=1))
    assert not tells_waiter(NOTHING._replace(waiting=1, creating=1))
    assert tells_waiter(NOTHING._replace(waiting=1, creating=1, doomed=1))
    assert tells_waiter(NOTHING._replace(waiting=2, creating=1))


def test_how_many_are_prunable() -> None:
    assert prunable(LIMITS, NOTHING) == 0
    assert prunable(LIMITS, NOTHING._replace(idle=1)) == 0
    assert prunable(LIMITS, NOTHING._replace(idle=3)) == 2
    assert prunable(LIMITS, NOTHING._replace(idle=1, in_use=1)) == 1
    assert prunable(LIMITS, NOTHING._replace(idle=2, in_use=2)) == 2
    assert prunable(LIMITS, NOTHING._replace(idle=1, creating=1)) == 1
    assert prunable(LIMITS, NOTHING._replace(idle=1, creating=1, doomed=1)) == 0


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


# Deadlines.


class Item:
    def __init__(self, deadline: float) -> None:
        self.place = Place.WAITING
        self.deadline = deadline


class Watch:
    """Deadlines in virtual time, and what passed."""

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
def test_items_expire_at_their_deadlines_whatever_their_order(order: tuple[float, ...]) -> None:
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


def test_who_left_does_not_expire() -> None:
    async def scenario() -> None:
        watch = Watch()
        items = [watch.add(seconds) for seconds in (2, 4, 1, 3)]
        items[0].place = items[2].place = Place.HANDED
        await asyncio.sleep(5)
        assert watch.passed == [3, 4]

    run(scenario())


def test_the_departed_at_the_front_are_dropped_as_others_come() -> None:
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


def test_tidy_drops_the_departed_once_they_are_the_majority() -> None:
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
        assert watch.kept == (21, 21), "so few do no harm"
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


def test_a_timer_does_not_keep_what_it_is_for_alive() -> None:
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


# Leftovers in the machine.


def machine(max_size: int = 1, max_idle_time: float = NEVER) -> PoolMachine[int]:
    return PoolMachine("m", Limits(max_size, 0, max_size, None), max_idle_time=max_idle_time)


def created(pool: PoolMachine[int], numbers: range, expires_at: float = NEVER) -> None:
    """Let the creations in flight succeed; numbers so high that none is the same object."""
    work = [record for record in pool.work if record.place is Place.CREATING]
    pool.work.clear()
    for record, number in zip(work, numbers, strict=True):
        pool.create_succeeded(record, number, 0.0, expires_at)


@pytest.mark.guarantees("FifoService")
def test_the_queue_drops_the_departed_once_they_are_the_majority() -> None:
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
    assert isinstance(record, Record)
    for waiter in (*waiters[1:50], *waiters[190:]):
        assert isinstance(waiter, Waiter)
        pool.release(record, 0.0)
        assert waiter.record is record, "first come, first served"
        assert pool.resume(waiter, 0.0) is record


@pytest.mark.guarantees("WaiterServed")
def test_the_last_of_many_who_leave_drops_them_all() -> None:
    pool = machine()
    first, *others = [pool.acquire(0.0) for _ in range(65)]
    for waiter in reversed(others):
        assert isinstance(waiter, Waiter)
        pool.cancel(waiter, 0.0)
    assert (pool.waiting, len(pool._queue)) == (1, 32)
    assert isinstance(first, Waiter)
    pool.timeout(first)
    assert (pool.waiting, len(pool._queue)) == (0, 0)


def test_departed_waiters_in_a_short_queue_are_dropped_as_they_surface() -> None:
    pool = machine()
    waiters = [pool.acquire(0.0) for _ in range(6)]
    for number, left in ((2, 6), (1, 6), (4, 6), (0, 3)):
        waiter = waiters[number]
        assert isinstance(waiter, Waiter)
        pool.timeout(waiter)
        assert len(pool._queue) == left, "whoever is the first waits"
    created(pool, range(1000, 1001))
    assert isinstance(waiters[3], Waiter)
    assert (waiters[3].place, len(pool._queue)) == (Place.HANDED, 1), "the one behind left earlier"
    assert (pool.waiting, pool._off_queue) == (1, 0)


def shelved(count: int, pool: PoolMachine[int], expiries: Callable[[int], float]) -> None:
    waiters = [pool.acquire(0.0) for _ in range(count)]
    for number, record in enumerate([*pool.work]):
        pool.create_succeeded(record, 1000 + number, 0.0, expiries(number))
    pool.work.clear()
    pool.woken.clear()
    for waiter in waiters:
        assert isinstance(waiter, Waiter)
        resumed = pool.resume(waiter, 0.0)
        assert isinstance(resumed, Record)
        pool.release(resumed, 0.0)


def test_the_shelf_drops_the_swept_once_they_are_the_majority() -> None:
    pool = machine(100)
    shelved(100, pool, lambda number: 10.0 if 10 <= number < 80 else 20.0)
    assert len(pool.sweep(5.0)) == 0
    assert len(pool.sweep(10.0)) == 70
    assert (pool.idle, len(pool._shelf), pool._off_shelf) == (30, 30, 0)
    numbers = [record.resource for record in pool._shelf]
    assert numbers == [*range(1000, 1010), *range(1080, 1100)]


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("now", [10.0, 12.0])
def test_the_swept_in_a_short_shelf_are_dropped_as_they_surface(now: float) -> None:
    pool = machine(5)
    shelved(5, pool, lambda number: 10.0 if number in (0, 3, 4) else 20.0)
    assert len(pool.sweep(now)) == 3
    assert (pool.idle, len(pool._shelf), pool._off_shelf) == (2, 5, 3)
    for expected in (1002, 1001):
        record = pool.acquire(now)
        assert isinstance(record, Record)
        assert record.resource == expected
    assert pool._off_shelf == len(pool._shelf) == 1
    assert isinstance(pool.acquire(now), Waiter)
    assert pool._off_shelf == len(pool._shelf) == 0


def test_the_swept_are_skipped_by_the_next_pruning() -> None:
    pool = machine(4, max_idle_time=15.0)
    shelved(4, pool, lambda number: 10.0 if number in (0, 2) else 100.0)
    assert [record.resource for record in pool.sweep(10.0)] == [1000, 1002]
    assert [record.resource for record in pool.sweep(15.0)] == [1001, 1003]
    assert (pool.idle, pool._off_shelf, len(pool._shelf)) == (0, 0, 0)


@pytest.mark.parametrize("later", [1, -1], ids=["in line", "on the heap"])
def test_the_ages_of_what_is_gone_are_dropped(later: int) -> None:
    pool = machine(10)
    for number in range(500):
        waiter = pool.acquire(0.0)
        assert isinstance(waiter, Waiter)
        created(pool, range(1000 + number, 1001 + number), 1e9 + later * number)
        record = pool.resume(waiter, 0.0)
        assert isinstance(record, Record)
        pool.discard(record)
        pool.work.clear()
        pool.closer_ended(record)
        assert len(pool._ages) + len(pool._early) <= 65
    assert pool.size == 0


def test_a_retired_shelf_forgets_its_leftovers() -> None:
    pool = machine(5)
    shelved(5, pool, lambda number: 10.0 if number == 2 else 20.0)
    pool.sweep(10.0)
    pool.work.clear()
    pool.retire_all()
    assert [record.resource for record in pool.work] == [1000, 1001, 1003, 1004]
    assert (pool.idle, pool._off_shelf, len(pool._shelf)) == (0, 0, 0)


@pytest.mark.guarantees("OneOutcome", "WaitersFailAtClose")
def test_a_closed_queue_tells_only_those_who_still_wait() -> None:
    pool = machine()
    waiters = [pool.acquire(0.0) for _ in range(3)]
    assert isinstance(waiters[1], Waiter)
    pool.cancel(waiters[1], 0.0)
    pool.close()
    assert pool.woken == [waiters[0], waiters[2]]
    assert all(isinstance(waiter.error, ResourcePoolClosedError) for waiter in pool.woken)


# The machine refuses what its caller must not do.


@pytest.mark.guarantees("OneOutcome", "NoDoubleRelease")
def test_a_step_in_the_wrong_place_is_refused_and_changes_nothing() -> None:
    pool = machine()
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    record = pool.work[0]
    before = pool.counts(), pool.gauges()
    creating: list[Callable[[], object]] = [
        lambda: pool.resume(waiter, 0.0),
        lambda: pool.check_passed(record, 0.0),
        lambda: pool.check_failed(record, 0.0),
        lambda: pool.timeout(record),
        lambda: pool.cancel(record, 0.0),
        lambda: pool.release(record, 0.0),
        lambda: pool.reset_passed(record, 0.0),
        lambda: pool.reset_failed(record),
        lambda: pool.discard(record),
        lambda: pool.detach(record),
        lambda: pool.closer_ended(record),
    ]
    for step in creating:
        with pytest.raises(InvalidReleaseError, match="'m'"):
            step()
        assert (pool.counts(), pool.gauges()) == before
    pool.timeout(waiter)
    pool.create_succeeded(record, 1, 0.0)
    idle: list[Callable[[], object]] = [
        lambda: pool.create_succeeded(record, 2, 0.0),
        lambda: pool.create_failed(record, OSError()),
    ]
    for step in idle:
        with pytest.raises(InvalidReleaseError, match="of what is idle"):
            step()
    assert pool.idle == 1


@pytest.mark.guarantees("OneOutcome")
@pytest.mark.parametrize("ended", ["timeout", "cancel", "told", "resume", "cancel when handed"])
def test_of_an_acquirer_whose_wait_has_ended_every_step_is_refused(ended: str) -> None:
    pool = machine()
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    record = pool.work.pop()
    if ended == "told":
        assert pool.create_failed(record, OSError()) is True
    elif ended in ("resume", "cancel when handed"):
        pool.create_succeeded(record, 1, 0.0)
    if ended == "resume":
        pool.resume(waiter, 0.0)
    elif ended == "timeout":
        pool.timeout(waiter)
    elif ended.startswith("cancel"):
        pool.cancel(waiter, 0.0)
    before = pool.counts(), pool.gauges()
    steps: list[Callable[[], object]] = [
        lambda: pool.resume(waiter, 0.0),
        lambda: pool.timeout(waiter),
        lambda: pool.cancel(waiter, 0.0),
    ]
    for step in steps:
        with pytest.raises(InvalidReleaseError, match="of what is gone"):
            step()
        assert (pool.counts(), pool.gauges()) == before


class Remembering(PoolMachine[int]):
    """A machine that knows who had what."""

    __slots__ = ()

    def holder(self, record: Record[int]) -> str:
        return f"; {record.resource} was A's"


@pytest.mark.parametrize("step", ["release", "discard", "detach"])
@pytest.mark.parametrize(
    ("kind", "end"), [(PoolMachine, "exactly once"), (Remembering, "; 1 was A's")]
)
def test_who_gives_back_what_is_not_his_is_told_who_had_it(
    step: str, kind: type[PoolMachine[int]], end: str
) -> None:
    pool = kind("m", Limits(1, 0, 1, None))
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    record = pool.work.pop()
    pool.create_succeeded(record, 1, 0.0)
    pool.resume(waiter, 0.0)
    pool.release(record, 0.0)
    again = {
        "release": lambda: pool.release(record, 0.0),
        "discard": lambda: pool.discard(record),
        "detach": lambda: pool.detach(record),
    }
    with pytest.raises(InvalidReleaseError, match=f"is idle now; .*{end}$"):
        again[step]()
    assert str(pool.invalid_release(Place.GONE)).endswith("exactly once")


@pytest.mark.guarantees("OneOutcome")
def test_a_retired_creation_that_fails_is_told_to_nobody() -> None:
    pool = machine()
    waiter = pool.acquire(0.0)
    retired = pool.work.pop()
    pool.retire_all()
    assert pool.create_failed(retired, OSError()) is False
    assert waiter.place is Place.WAITING
    assert [record.place for record in pool.work] == [Place.CREATING]


def test_a_back_off_that_ends_in_vain_changes_nothing() -> None:
    pool = PoolMachine[int]("m", Limits(2, 1, 2, None))
    pool.retry_floor()
    assert (pool.floor, pool.work) == (Floor.OFF, [])
    pool.open()
    pool.retry_floor()
    assert (pool.floor, len(pool.work)) == (Floor.ON, 1)


# The shell's memory.


@played
async def test_many_cancelled_waiters_leave_nothing_behind(world: World) -> None:
    pool = world.pool(max_size=1)
    await pool.acquire()
    waiters = [start(pool.acquire(timeout=100 - number / 10)) for number in range(300)]
    await turns()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*map(outcome, waiters))
    assert len(pool._machine._queue) <= 64
    assert len(pool._overdue_waiters.line) + len(pool._overdue_waiters._early) <= 2 * 64


@played
async def test_many_cancelled_waiters_leave_nothing_behind_one_who_stays(world: World) -> None:
    pool = world.pool(max_size=1, acquisition_timeout=3600)
    thing = await pool.acquire()
    stays = start(pool.acquire())
    for _ in range(600):
        waiter = start(pool.acquire())
        await turns(2)
        waiter.cancel()
        await outcome(waiter)
    assert len(pool._machine._queue) <= 64
    assert len(pool._overdue_waiters.line) <= 2 * 64
    await pool.release(thing)
    await pool.release(await stays)


@played
async def test_many_served_waiters_leave_nothing_behind(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiters: deque[asyncio.Task[Thing]] = deque()
    for number in range(600):
        waiters.append(start(pool.acquire(timeout=3600 if number % 2 else 30)))
        await turns(2)
        if len(waiters) > 3:
            await pool.release(thing)
            thing = await waiters.popleft()
    deadlines = pool._overdue_waiters
    assert len(deadlines.line) + len(deadlines._early) <= 2 * 64
    for waiter in waiters:
        await pool.release(thing)
        thing = await waiter


def test_many_ended_closers_leave_nothing_behind() -> None:
    async def scenario() -> None:
        hanging = asyncio.get_running_loop().create_future()

        async def closer(number: list[int]) -> None:
            if number == []:
                await hanging

        numbers = itertools.count()
        pool = AsyncResourcePool(
            lambda: [] if next(numbers) == 0 else [1], closer, max_size=2, closer_timeout=3600
        )
        for _ in range(300):
            await pool.discard(await pool.acquire())
            await turns()
        assert len(pool._overdue_closers.line) + len(pool._overdue_closers._early) <= 2 * 64
        hanging.set_result(None)
        await pool.close()

    run(scenario())
