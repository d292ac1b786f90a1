"""The search finds bugs with few deviations first, and leaves out no schedule."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import Counter
from queue import SimpleQueue
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, _search, explore, replay
from nodetool.concurrency.testing._run import Scenario


async def harmless(events: Events, name: str, count: int) -> None:
    for _ in range(count):
        await events.call(name)


def cancelled_early(count: int) -> Scenario:
    """Make a scenario with a bug: a task is cancelled before its call ends. Then much follows."""

    async def scenario(events: Events) -> None:
        async def first() -> None:
            await events.call("first")
            ended.append(True)

        ended: list[bool] = []
        task = events.task(first(), name="first", cancellable=True)
        await asyncio.wait([task])
        for name in "abc":
            events.task(harmless(events, name, count), name=name)
        await events.join()
        assert ended

    return scenario


def test_a_bug_at_the_beginning_is_found_although_much_follows() -> None:
    result = explore(cancelled_early(4))
    assert result.failure is not None
    assert result.schedules < 100
    assert result.found == "with 1 deviation"
    assert "found with 1 deviation\n" in str(result)
    assert "* 2. cancel 'first'\n" in str(result)
    assert result.failure.deviations == [2]


def test_a_bug_without_a_deviation_is_found_first() -> None:
    async def scenario(events: Events) -> None:
        await harmless(events, "a", 3)
        raise OSError

    result = explore(scenario)
    assert (result.schedules, result.found) == (1, "with 0 deviations")
    assert "mark *" not in str(result)


async def in_reverse(events: Events) -> None:
    """Fail if eight calls end in the reverse order."""
    order: list[int] = []
    events.watch(order)

    async def user(number: int) -> None:
        await events.call("work")
        order.append(number)

    for number in range(COUNT):
        events.task(user(number), name=str(number))
    await events.join()
    assert order != sorted(order, reverse=True)


COUNT = 4


@pytest.mark.parametrize(
    ("stage", "bounds", "found"),
    [
        ("random", {"MOST_DEVIATIONS": 1}, "at random, now 3 deviations"),
        ("exhaustive", {"FEW_RUNS": 1, "RANDOM_RUNS": 1}, "by exhaustive search, now 3 deviations"),
    ],
)
def test_each_stage_finds_a_bug_and_shrinks_it(
    stage: str, bounds: dict[str, int], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(_search, name, value)
    result = explore(in_reverse)
    assert result.failure is not None
    assert result.found == found
    assert len(result.failure.deviations) == 3
    assert replay(in_reverse, result.failure.replay).failure is not None


def test_a_random_schedule_is_shrunk_to_its_only_deviation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_search, "FEW_RUNS", 1)
    result = explore(cancelled_early(2))
    assert result.failure is not None
    assert result.found == "at random, now 1 deviation"
    assert len(result.failure.deviations) == 1


def test_a_deviation_on_which_a_later_choice_depends_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_search, "FEW_RUNS", 1)

    async def scenario(events: Events) -> None:
        count = await events.call("count", result=2, results=(5,))
        assert await events.call("number", results=range(1, count)) != 4

    result = explore(scenario)
    assert result.failure is not None
    assert result.failure.replay == "e:1.4"


async def two_calls(events: Events) -> None:
    events.task(harmless(events, "a", 1), name="a", cancellable=True)
    events.task(harmless(events, "b", 2), name="b")
    await events.join()


@pytest.mark.parametrize("prune", [True, False])
def test_every_order_of_the_search_has_the_same_number_of_schedules(
    prune: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = set()
    for most, runs, luck in itertools.product((0, 100), (1, 100), (0, 10_000)):
        monkeypatch.setattr(_search, "MOST_DEVIATIONS", most)
        monkeypatch.setattr(_search, "FEW_RUNS", runs)
        monkeypatch.setattr(_search, "RANDOM_RUNS", luck)
        result = explore(two_calls, prune=prune)
        assert result.exhausted
        numbers.add((result.schedules, result.pruned, result.choices, result.states))
    assert len(numbers) == 1


@pytest.mark.parametrize("stage", ["deviations", "random", "exhaustive"])
def test_no_schedule_is_run_twice(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_search, "FEW_RUNS", 10_000 if stage == "deviations" else 1)
    monkeypatch.setattr(_search, "MOST_DEVIATIONS", 10_000)
    monkeypatch.setattr(_search, "RANDOM_RUNS", 10_000 if stage == "random" else 1)
    seen: Counter[tuple[str, ...]] = Counter()

    async def scenario(events: Events) -> None:
        taken = [await events.call("one", result="1", results=("2", "3")) for _ in range(3)]
        seen[tuple(taken)] += 1

    assert explore(scenario, prune=False, repeat_every=0).schedules == 27
    assert set(seen.values()) == {1}
    assert len(seen) == 27


@pytest.mark.parametrize("has_call", [True, False])
def test_a_known_state_with_only_a_timer_is_followed_and_counts_as_pruned(has_call: bool) -> None:
    ends: set[bool] = set()

    async def sleeper(events: Events) -> None:
        await asyncio.sleep(5)
        if has_call:
            await events.call("after")

    async def scenario(events: Events) -> None:
        task = events.task(sleeper(events), name="c", cancellable=True)
        await events.call("before", result=1, results=(2,))
        await asyncio.wait([task])
        ends.add(task.cancelled())

    result = explore(scenario, repeat_every=0)
    assert result.exhausted
    assert result.pruned
    assert ends == {True, False}


# Objects whose state cannot be seen.


@functools.lru_cache
def cached(number: int) -> int:
    return number


def test_an_object_that_cannot_be_seen_does_not_end_the_exploration() -> None:
    async def scenario(events: Events) -> None:
        queue: SimpleQueue[str] = SimpleQueue()

        async def user(name: str) -> None:
            await events.call("work")
            queue.put(name)

        events.task(user("a"))
        events.task(user("b"))
        await events.join()
        await events.call("later", results=(1,))
        assert queue.get() == "a"

    result = explore(scenario)
    assert result.failure is not None
    assert str(result).count("_queue.SimpleQueue") == 1
    assert "some states were not compared: nobody can see the state of a" in str(result)


@pytest.mark.parametrize(("times", "is_pruned"), [(1, True), (200, False)])
def test_other_states_are_still_compared_unless_there_are_many_of_them(
    times: int, is_pruned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nodetool.concurrency.testing import _fingerprint

    monkeypatch.setattr(_fingerprint, "MOST_MISSES", 20)

    async def scenario(events: Events) -> None:
        hidden: Any = memoryview(b"")
        for _ in range(times):
            await events.call("hidden", results=(1,))
            if times == 1:
                hidden = None
        del hidden
        await two_calls(events)

    result = explore(scenario, max_schedules=300)
    assert bool(result.pruned) is is_pruned
    assert "memoryview" in result.opaque


def test_a_function_of_a_module_with_a_cache_is_a_constant() -> None:
    async def scenario(events: Events) -> None:
        function = cached
        events.task(harmless(events, "a", 2))
        events.task(harmless(events, "b", 2))
        await events.join()
        await events.call("end", results=(1,))
        assert function(1) == 1

    result = explore(scenario, repeat_every=1)
    assert result.exhausted
    assert result.pruned
    assert result.opaque == ""


def test_without_pruning_nothing_is_said_about_states() -> None:
    async def scenario(events: Events) -> None:
        events.watch(memoryview(b""))
        await two_calls(events)

    result = explore(scenario, prune=False)
    assert result.exhausted
    assert result.opaque == ""


# Calls that may end at once.


@pytest.mark.parametrize("prune", [True, False])
def test_a_call_may_end_at_once_or_later_in_each_of_its_ways(prune: bool) -> None:
    seen = set()

    async def scenario(events: Events) -> None:
        order: list[object] = []
        events.watch(order)

        async def user() -> None:
            try:
                faults = (OSError("gone"),)
                found = await events.call(
                    "a", result=1, results=(2,), faults=faults, may_end_at_once=True
                )
                order.append(found)
            except OSError:
                order.append("gone")

        task = events.task(user())
        await asyncio.sleep(0)
        order.append("next")
        await task
        seen.add(tuple(order))

    result = explore(scenario, prune=prune, repeat_every=1, stock_every=1)
    assert result.exhausted, str(result)
    ends = (1, 2, "gone")
    assert seen == {*((end, "next") for end in ends), *(("next", end) for end in ends)}


def test_an_end_at_once_is_told_and_replayed() -> None:
    async def scenario(events: Events) -> None:
        ready: list[bool] = []

        async def user() -> None:
            await events.call("cache", may_end_at_once=True)
            ready.append(True)

        events.task(user(), name="a")
        await asyncio.sleep(0)
        assert not ready
        await events.join()

    result = explore(scenario)
    assert result.failure is not None
    assert "cache #1 returns at once" in result.failure.schedule
    again = replay(scenario, result.failure.replay)
    assert again.failure is not None
    assert again.failure.schedule == result.failure.schedule
    with pytest.raises(ValueError, match="number 5 of 2"):
        replay(scenario, "e:5")
