"""The containers with lazy deletion: their order, how much they keep, and what they drop."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.inside import (
    COMPACT_ABOVE,
    ExpiryQueue,
    LazyDeque,
    PoolMachine,
    Slot,
    Waiter,
    new_machine,
    resource_of,
    resources_at,
    step_state,
    take_work,
    waiters,
)
from tests.inside import entries as entries_of

IN, OUT = "in", "out"


class Entry:
    """An entry of a container. It leaves by a change of its state."""

    def __init__(self, expires_at: float = 0.0) -> None:
        self.state = IN
        self.expires_at = expires_at


def filled(count: int) -> tuple[LazyDeque[Entry], list[Entry]]:
    made = [Entry() for _ in range(count)]
    return LazyDeque(made, IN), made


def remove(line: LazyDeque[Entry], *left: Entry) -> None:
    """Let entries leave, wherever they are."""
    for entry in left:
        entry.state = OUT
    line.note_removed(len(left))


# LazyDeque.


def test_an_entry_that_leaves_stays_where_it_is_and_counts_no_more() -> None:
    line, made = filled(5)
    remove(line, made[1], made[3])
    assert (len(line), line.removed, line.live) == (5, 2, 3)
    assert line.members() == [made[0], made[2], made[4]]


def test_the_entries_that_left_are_dropped_as_they_come_to_the_front() -> None:
    line, made = filled(6)
    remove(line, made[1], made[2], made[4])
    assert line.take_first() is made[0]
    assert (line[0], len(line), line.removed) == (made[3], 3, 1)
    remove(line, made[3])
    line.trim()
    assert ([*line], line.removed) == ([made[5]], 0)
    remove(line, made[5])
    line.trim()
    assert (len(line), line.removed) == (0, 0)
    line.trim()  # of nothing


def test_the_entries_that_left_are_dropped_as_they_come_to_the_back() -> None:
    line, made = filled(5)
    remove(line, made[0], made[2], made[4])
    assert line.take_last() is made[3]
    assert line.take_last() is made[1]
    assert line.take_last() is None
    assert (len(line), line.removed) == (0, 0)


def test_the_first_entry_is_taken_on_a_condition() -> None:
    line, made = filled(3)
    remove(line, made[0])
    assert line.take_first_if(lambda entry: entry is made[2]) is None
    assert (line[0], line.removed) == (made[1], 0)
    assert line.take_first_if(lambda entry: entry is made[1]) is made[1]
    remove(line, made[2])
    assert line.take_first_if(lambda _: True) is None
    assert (len(line), line.removed) == (0, 0)


@pytest.mark.parametrize("order", ["from the front", "from the back", "at random"])
def test_at_most_twice_as_many_entries_stay_as_count(order: str) -> None:
    line, made = filled(1000)
    left = {"from the front": made, "from the back": made[::-1]}.get(order)
    for entry in left or Random(1).sample(made, len(made)):
        remove(line, entry)
        assert len(line) <= max(COMPACT_ABOVE, 2 * line.live)
    assert line.live == 0
    assert len(line) <= COMPACT_ABOVE


def test_a_compaction_takes_place_as_soon_as_the_majority_has_left_and_not_before() -> None:
    line, made = filled(100)
    remove(line, *made[10:60])
    assert (len(line), line.removed) == (100, 50), "half of them is no majority"
    remove(line, made[60])
    assert (len(line), line.removed) == (49, 0)
    assert [*line] == made[:10] + made[61:]


def test_few_entries_that_left_are_not_worth_a_compaction() -> None:
    line, made = filled(COMPACT_ABOVE // 2)
    remove(line, *made[1:])
    remove(line, made[0])
    assert line.removed == len(line) == COMPACT_ABOVE // 2


def test_clear_forgets_the_entries_that_left_too() -> None:
    line, made = filled(3)
    remove(line, made[1])
    line.clear()
    assert (len(line), line.removed, line.live) == (0, 0, 0)


class LazyDequeRules(RuleBasedStateMachine):
    """A `LazyDeque` and a plain list that does the same. Many entries come and leave at once."""

    def __init__(self) -> None:
        super().__init__()
        self.line: LazyDeque[Entry] = LazyDeque((), IN)
        self.plain: list[Entry] = []

    @rule(count=st.integers(1, 90), first=st.booleans())
    def append(self, count: int, first: bool) -> None:
        for _ in range(count):
            entry = Entry()
            if first:
                self.line.appendleft(entry)
                self.plain.insert(0, entry)
            else:
                self.line.append(entry)
                self.plain.append(entry)

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(0, len(self.plain) - 1))
        step = data.draw(st.integers(1, 3))
        left = self.plain[first::step][: data.draw(st.integers(1, 80))]
        del self.plain[first::step][len(left) :]
        gone = set(map(id, left))
        self.plain = [entry for entry in self.plain if id(entry) not in gone]
        if data.draw(st.booleans()):
            remove(self.line, *left)
        else:
            for entry in left:
                remove(self.line, entry)

    @rule(last=st.booleans())
    def take(self, last: bool) -> None:
        if last:
            expected = self.plain.pop() if self.plain else None
            assert self.line.take_last() is expected
        elif self.plain:
            self.line.trim()
            assert self.line.take_first() is self.plain.pop(0)

    @rule(wanted=st.booleans())
    def take_on_a_condition(self, wanted: bool) -> None:
        expected = self.plain.pop(0) if self.plain and wanted else None
        assert self.line.take_first_if(lambda _: wanted) is expected

    @invariant()
    def the_same_entries_count(self) -> None:
        assert self.line.members() == self.plain
        assert self.line.live == len(self.plain)
        assert self.line.removed == sum(entry.state == OUT for entry in self.line)
        assert self.line.removed <= max(COMPACT_ABOVE // 2, len(self.plain))


@pytest.mark.parametrize("end", ["first", "last", "first if"])
def test_entries_that_are_taken_leave_no_majority_of_removed_ones(end: str) -> None:
    line, made = filled(200)
    for entry in made[60:150]:
        remove(line, entry)
    ends: dict[str, Callable[[], Entry | None]] = {
        "first": line.take_first,
        "last": line.take_last,
        "first if": lambda: line.take_first_if(lambda _: True),
    }
    for _ in range(50):
        taken = ends[end]()
        assert taken is not None
        taken.state = OUT
        assert line.removed <= max(COMPACT_ABOVE // 2, line.live)


# Hypothesis runs a rule-based machine as a test case.
TestLazyDeque = LazyDequeRules.TestCase
TestLazyDeque.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, derandomize=True, database=None
)


# ExpiryQueue.


def queue_of(*times: float) -> tuple[ExpiryQueue[Entry], list[Entry]]:
    queue: ExpiryQueue[Entry] = ExpiryQueue(OUT)
    made = [Entry(time) for time in times]
    for entry in made:
        queue.add(entry)
    return queue, made


def taken(queue: ExpiryQueue[Entry], now: float) -> list[Entry]:
    """Take out all that has expired."""
    found = []
    while (entry := queue.take_expired(now)) is not None:
        found.append(entry)
    return found


@pytest.mark.parametrize("order", [*itertools.permutations((1.0, 2.0, 3.0, 3.0))])
def test_the_earliest_expires_first_in_any_order_of_arrival(order: tuple[float, ...]) -> None:
    queue, _ = queue_of(*order)
    assert queue.next_at() == 1
    assert [entry.expires_at for entry in taken(queue, 0.5)] == []
    assert [entry.expires_at for entry in taken(queue, 2)] == [1, 2]
    assert queue.next_at() == 3
    assert [entry.expires_at for entry in taken(queue, 9)] == [3, 3]
    assert (len(queue), queue.next_at()) == (0, math.inf)


def test_an_entry_expires_at_its_very_time() -> None:
    queue, (entry,) = queue_of(5.0)
    assert queue.take_expired(math.nextafter(5.0, 0)) is None
    assert queue.take_expired(5.0) is entry


def test_entries_of_one_time_expire_in_the_order_in_which_they_came() -> None:
    queue, made = queue_of(5, 5, 5)
    assert taken(queue, 5) == made
    queue, made = queue_of(9, 5, 5, 5)  # on the heap
    assert taken(queue, 5) == made[1:]


def test_entries_of_one_time_are_never_compared() -> None:
    queue, made = queue_of(9, 5, 5)
    assert queue.out_of_order() == [(5, made[1]), (5, made[2])]  # `Entry` has no order
    assert queue.in_order() == [made[0]]


def test_an_entry_that_is_hastened_comes_first_and_once() -> None:
    queue, (first, second, third) = queue_of(10.0, 20.0, 30.0)
    third.expires_at = 5.0
    queue.hasten(third)
    assert (queue.next_at(), len(queue)) == (5.0, 3)
    late = Entry(math.inf)  # it was not in the queue
    late.expires_at = 15.0
    queue.hasten(late)
    assert taken(queue, 100.0) == [third, first, late, second]
    assert len(queue) == 0


def test_an_early_entry_that_is_hastened_does_not_count_at_its_old_time_once_it_has_ended() -> None:
    queue, (_, early) = queue_of(30.0, 20.0)
    early.expires_at = 5.0
    queue.hasten(early)
    assert queue.take_expired(5.0) is early
    early.state = OUT
    assert queue.take_expired(20.0) is None
    assert queue.next_at() == 30.0


@pytest.mark.parametrize("times", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_an_entry_that_has_ended_does_not_expire(times: tuple[float, ...]) -> None:
    queue, made = queue_of(*times)
    first = min(made, key=lambda entry: entry.expires_at)
    first.state = OUT
    assert queue.next_at() == 2
    assert sorted(entry.expires_at for entry in queue) == [2, 3]
    assert [entry.expires_at for entry in taken(queue, 9)] == [2, 3]


def test_ended_entries_at_the_front_are_dropped_as_others_come() -> None:
    queue, _ = queue_of()
    for _ in range(1000):
        entry = Entry(30)
        queue.add(entry)
        entry.state = OUT
    assert len(queue) == 1


@pytest.mark.parametrize("step", [1, -1], ids=["in order", "out of order"])
def test_the_queue_keeps_at_most_twice_as_many_entries_as_have_not_ended(step: int) -> None:
    queue: ExpiryQueue[Entry] = ExpiryQueue(OUT)
    kept: deque[Entry] = deque()
    most = 0
    for number in range(5000):
        entry = Entry(1e6 + step * number)
        queue.add(entry)
        kept.append(entry)
        if len(kept) > 100:
            kept.popleft().state = OUT
            most = max(most, len(queue))
    assert most <= 2 * 100 + COMPACT_ABOVE
    assert len([*queue]) == 100


def test_compactions_are_so_rare_that_an_addition_is_cheap_on_average() -> None:
    compactions: list[int] = []

    class Counting(ExpiryQueue[Entry]):
        def compact(self) -> None:
            compactions.append(len(self))
            super().compact()

    queue = Counting(OUT)
    kept = [Entry(1e6 - number) for number in range(100)]  # out of order
    for entry in kept:
        queue.add(entry)
    for number in range(5000):
        entry = Entry(1e5 - number)
        queue.add(entry)
        entry.state = OUT
    assert sum(compactions) < 4 * 5000
    assert len(queue) <= 2 * 100 + COMPACT_ABOVE


def test_compaction_on_request_needs_a_majority_of_ended_entries() -> None:
    queue, made = queue_of(*range(200, 280), *(50 - number / 10 for number in range(80)))
    assert (len(queue.in_order()), len(queue.out_of_order())) == (80, 80)
    for entry in made[1:60] + made[81:140]:
        entry.state = OUT
    queue.compact_to(80)
    assert len(queue) == 160, "half of them is no majority"
    queue.compact_to(79)
    assert (len(queue.in_order()), len(queue.out_of_order())) == (21, 21)
    queue.compact_to(0)
    assert len(queue) == 42, "so few are kept"
    times = [entry.expires_at for entry in taken(queue, 1000)]
    assert len(times) == 42
    assert times == sorted(times)


def test_clear_drops_everything() -> None:
    queue, _ = queue_of(2, 1)
    queue.clear()
    assert (len(queue), [*queue], queue.next_at()) == (0, [], math.inf)
    assert queue.take_expired(1e9) is None
    assert queue.take_expired(math.inf) is None, "there is no entry"


TIMES = st.lists(st.integers(0, 30), max_size=90)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    rounds=st.lists(st.tuples(TIMES, st.integers(1, 5), st.integers(0, 40), st.booleans())),
)
def test_random_entries_expire_as_in_a_plain_list(
    rounds: list[tuple[list[int], int, int, bool]],
) -> None:
    queue: ExpiryQueue[Entry] = ExpiryQueue(OUT)
    plain: list[Entry] = []
    for times, every, now, compact in rounds:
        for time in times:
            entry = Entry(time)
            queue.add(entry)
            plain.append(entry)
        for entry in plain[::every]:
            entry.state = OUT
        plain = [entry for entry in plain if entry.state == IN]
        if compact:
            queue.compact_to(len(plain))
            assert len(queue) <= max(COMPACT_ABOVE, 2 * len(plain))
        assert {id(entry) for entry in queue} == {id(entry) for entry in plain}
        assert queue.next_at() == min((entry.expires_at for entry in plain), default=math.inf)
        found = taken(queue, now)
        late = [entry for entry in plain if entry.expires_at <= now]
        assert {id(entry) for entry in found} == {id(entry) for entry in late}
        assert [entry.expires_at for entry in found] == sorted(e.expires_at for e in late)
        plain = [entry for entry in plain if entry.expires_at > now]


# Lazy deletion in the machine.


def machine(max_size: int = 1, max_idle_time: float = math.inf) -> PoolMachine[int]:
    return new_machine("m", max_size, max_idle_time=max_idle_time)


def idle(pool: PoolMachine[int]) -> int:
    return len(resources_at(pool, "idle"))


def create(pool: PoolMachine[int], first: int, expires_at: float = math.inf) -> None:
    """Let the creations in flight succeed. High numbers, because small ones are shared objects."""
    creations = [slot for slot in take_work(pool) if step_state(slot) == "creating"]
    for number, slot in enumerate(creations, first):
        pool.create_succeeded(slot, number, 0.0, expires_at)


def wait(pool: PoolMachine[int]) -> Waiter[int]:
    waiter = pool.acquire(0.0)
    assert isinstance(waiter, Waiter)
    return waiter


def resume(pool: PoolMachine[int], waiter: Waiter[int]) -> Slot[int]:
    slot = pool.resume(waiter, 0.0)
    assert isinstance(slot, Slot)
    return slot


@pytest.mark.guarantees("FifoService")
def test_the_queue_drops_waiters_that_have_left_once_they_are_the_majority() -> None:
    pool = machine()
    all_of_them = [wait(pool) for _ in range(200)]
    for waiter in all_of_them[50:190]:
        pool.cancel(waiter, 0.0)
        assert entries_of(pool).queue <= max(64, 2 * pool.counts().waiting)
    assert pool.counts().waiting == 60
    create(pool, 1000)
    slot = resume(pool, all_of_them[0])
    for waiter in (*all_of_them[1:50], *all_of_them[190:]):
        pool.release(slot, 0.0)
        assert resume(pool, waiter) is slot, "first come, first served"


@pytest.mark.guarantees("WaiterServed")
def test_the_last_of_many_waiters_that_leave_drops_them_all() -> None:
    pool = machine()
    first, *others = [wait(pool) for _ in range(65)]
    for waiter in reversed(others):
        pool.cancel(waiter, 0.0)
    assert (pool.counts().waiting, entries_of(pool).queue) == (1, 32)
    pool.timeout(first)
    assert (pool.counts().waiting, entries_of(pool).queue) == (0, 0)


def test_waiters_that_have_left_a_short_queue_are_dropped_as_they_come_to_its_front() -> None:
    pool = machine()
    made = [wait(pool) for _ in range(6)]
    for number, left in ((2, 6), (1, 6), (4, 6), (0, 3)):
        pool.timeout(made[number])
        assert entries_of(pool).queue == left, "the first entry waits"
    create(pool, 1000)
    assert step_state(made[3]) == "handed"
    assert waiters(pool) == [made[5]]
    assert entries_of(pool).queue == 1, "the next one had left"


def with_idle(pool: PoolMachine[int], *expiries: float) -> None:
    """Make resources idle that expire at these times."""
    made = [wait(pool) for _ in expiries]
    for number, (slot, expires_at) in enumerate(zip(take_work(pool), expiries, strict=True)):
        pool.create_succeeded(slot, 1000 + number, 0.0, expires_at)
    for waiter in made:
        pool.release(resume(pool, waiter), 0.0)


def numbers(slots: list[Slot[int]]) -> list[int]:
    return [resource_of(slot) for slot in slots]


def test_idle_entries_of_closed_resources_are_dropped_once_they_are_the_majority() -> None:
    pool = machine(100)
    with_idle(pool, *(10.0 if 10 <= number < 80 else 20.0 for number in range(100)))
    assert pool.sweep(5.0) == []
    assert len(pool.sweep(10.0)) == 70
    assert (idle(pool), entries_of(pool).idle) == (30, 30)
    take_work(pool)
    pool.retire_all()
    assert numbers(take_work(pool)) == [*range(1000, 1010), *range(1080, 1100)]


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("now", [10.0, 12.0])
def test_a_few_idle_entries_of_closed_resources_are_dropped_as_they_come_to_an_end(
    now: float,
) -> None:
    pool = machine(5)
    with_idle(pool, 20.0, 10.0, 20.0, 10.0, 10.0)
    assert len(pool.sweep(now)) == 3
    for expected, left in ((1002, 2), (1000, 0)):
        assert resource_of(pool.acquire(now)) == expected
        assert entries_of(pool).idle == left
    assert isinstance(pool.acquire(now), Waiter)


@pytest.mark.guarantees("OnlyFitHandedOut")
def test_an_idle_entry_of_a_closed_resource_is_dropped_at_the_front_by_the_sweep() -> None:
    pool = machine(3, max_idle_time=100.0)
    with_idle(pool, 10.0, 20.0, 10.0)
    assert len(pool.sweep(10.0)) == 2
    assert (idle(pool), entries_of(pool).idle) == (1, 2)
    assert resource_of(pool.acquire(10.0)) == 1001
    assert entries_of(pool).idle == 0


def test_pruning_skips_idle_entries_of_closed_resources() -> None:
    pool = machine(4, max_idle_time=15.0)
    with_idle(pool, 10.0, 100.0, 10.0, 100.0)
    assert numbers(pool.sweep(10.0)) == [1000, 1002]
    assert numbers(pool.sweep(15.0)) == [1001, 1003]
    assert (idle(pool), entries_of(pool).idle) == (0, 0)


@pytest.mark.parametrize("later", [1, -1], ids=["in order", "out of order"])
def test_the_ages_of_closed_resources_are_dropped(later: int) -> None:
    pool = machine(10)
    for number in range(500):
        waiter = wait(pool)
        create(pool, 1000 + number, 1e9 + later * number)
        slot = resume(pool, waiter)
        pool.discard(slot)
        take_work(pool)
        pool.closer_ended(slot)
        assert entries_of(pool).ages <= 65
    assert pool.size() == 0


def test_retiring_drops_idle_entries_of_closed_resources() -> None:
    pool = machine(5)
    with_idle(pool, 20.0, 20.0, 10.0, 20.0, 20.0)
    pool.sweep(10.0)
    take_work(pool)
    pool.retire_all()
    assert numbers(take_work(pool)) == [1000, 1001, 1003, 1004]
    assert (idle(pool), entries_of(pool).idle) == (0, 0)
