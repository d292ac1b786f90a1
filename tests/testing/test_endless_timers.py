"""Timers that restart for ever hide no deadlock, and do not make the exploration endless."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from nodetool.concurrency.testing import Events, explore, replay
from nodetool.concurrency.testing._run import Mode, Scenario

MODES: tuple[Mode, Mode] = ("events", "ready")


async def ticks(seconds: float = 600) -> None:
    while True:  # noqa: ASYNC110
        await asyncio.sleep(seconds)


async def stuck() -> None:
    await asyncio.get_running_loop().create_future()


async def stuck_beside_a_timer(events: Events) -> None:
    events.task(ticks(), name="ticks")
    events.task(stuck(), name="stuck")
    await events.join()


async def stuck_beside_two_timers(events: Events) -> None:
    events.task(ticks(0.7), name="ticks")
    events.task(ticks(0.3), name="others")
    await stuck()


async def stuck_and_cancellable(events: Events) -> None:
    background = asyncio.create_task(ticks())
    task = events.task(stuck(), name="stuck", cancellable=True)
    await asyncio.wait([task])
    background.cancel()


async def stuck_after_calls(events: Events) -> None:
    background = asyncio.create_task(ticks())
    await events.call("first")
    await asyncio.sleep(10_000)
    await asyncio.wait([events.task(stuck(), name="stuck", cancellable=2)])
    background.cancel()


async def polls(events: Events) -> None:
    done = False
    while not done:  # noqa: ASYNC110
        await asyncio.sleep(1)


async def checks_its_deadline(events: Events) -> None:
    async def maintain() -> None:
        last = events.time()
        while True:
            async with asyncio.timeout(100):
                await asyncio.sleep(30)
            assert events.time() - last == 30
            last = events.time()

    events.task(maintain())
    await stuck()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize(
    "scenario",
    [
        stuck_beside_a_timer,
        stuck_beside_two_timers,
        stuck_and_cancellable,
        stuck_after_calls,
        polls,
        checks_its_deadline,
    ],
)
def test_a_deadlock_beside_timers_only_is_a_deadlock(
    scenario: Scenario, prune: bool, mode: Mode
) -> None:
    result = explore(scenario, mode=mode, prune=prune)
    assert result.failure is not None
    assert result.failure.kind == "deadlock"
    assert "the same state repeats for ever" in str(result.failure.error)
    again = replay(scenario, result.failure.replay)
    assert again.failure is not None
    assert str(again.failure.error) == str(result.failure.error)


@pytest.mark.parametrize("mode", MODES)
def test_a_task_that_spins_beside_a_stuck_one_is_a_livelock(mode: Mode) -> None:
    async def spins() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def scenario(events: Events) -> None:
        spinning = asyncio.create_task(spins())
        await asyncio.wait([events.task(stuck(), name="stuck", cancellable=True)])
        spinning.cancel()

    for prune in (True, False):
        failure = explore(scenario, mode=mode, prune=prune).failure
        assert failure is not None
        assert failure.kind == "livelock", str(failure)
        assert "'stuck' waits in stuck" in str(failure.error)


def test_a_task_of_nobody_that_never_ends_is_left_over() -> None:
    async def scenario(events: Events) -> None:
        asyncio.create_task(ticks(), name="forgotten")  # noqa: RUF006
        await events.call("work")

    failure = explore(scenario).failure
    assert failure is not None
    assert failure.kind == "left over"
    assert "'forgotten' waits in ticks" in str(failure.error)
    assert "a timer, in 600 s" in str(failure.error)


async def works_beside_a_timer(events: Events) -> None:
    background = asyncio.create_task(ticks(30))
    await events.call("work", faults=(OSError("gone"),))
    background.cancel()


def test_calls_beside_an_endless_timer_are_explored_to_the_end() -> None:
    result = explore(works_beside_a_timer)
    assert result.failure is not None  # the fault
    assert result.failure.kind == "raised"

    async def catches(events: Events) -> None:
        try:
            await works_beside_a_timer(events)
        except OSError:
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

    whole = explore(catches, repeat_every=1)
    assert whole.exhausted, whole
    assert whole.schedules > 20


@pytest.mark.parametrize(("turns", "is_late"), [(8, False), (30, True)])
def test_a_deadline_beside_a_timer_is_not_lost_when_times_count_from_now(
    turns: int, is_late: bool
) -> None:
    async def scenario(events: Events) -> None:
        start = events.time()
        background = asyncio.create_task(ticks(1))
        try:
            async with asyncio.timeout(20):
                await events.call("work")
        except TimeoutError:
            pass
        background.cancel()
        assert events.time() - start < turns

    result = explore(scenario, repeat_every=1)
    assert result.exhausted is is_late, result


def test_a_sequence_of_timers_that_ends_is_no_deadlock() -> None:
    async def counts(_: Events) -> None:
        for seconds in [1] * 50:
            await asyncio.sleep(seconds)

    async def until_a_time(events: Events) -> None:
        end = events.time() + 50
        while events.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(1)

    async def until_a_whole_number(events: Events) -> None:
        end = int(events.time()) + 50
        while events.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(1)

    async def until_luck(_: Events) -> None:
        while random.random() < 0.97:  # noqa: ASYNC110
            await asyncio.sleep(1)

    for scenario in (counts, until_a_time, until_a_whole_number, until_luck):
        assert explore(scenario).exhausted, scenario


def test_a_timer_that_counts_is_stopped_by_a_bound_that_says_what_waits() -> None:
    async def counts() -> None:
        for _ in itertools.count():
            await asyncio.sleep(1)

    async def scenario(events: Events) -> None:
        events.task(counts())
        await stuck()

    result = explore(scenario, max_depth=50)
    assert (result.bound, result.failure) == ("max_depth", None)
    assert "stopped by max_depth:\n  'scenario' waits in scenario" in str(result)
    assert "for  Future, which nobody has resolved" in result.waits
    with pytest.raises(AssertionError, match="not every schedule was explored"):
        result.raise_for_failure()
    result.raise_for_failure(allow_bound=True)


def test_an_object_that_cannot_be_compared_leaves_timers_to_the_bound() -> None:
    async def scenario(events: Events) -> None:
        events.watch(memoryview(b""))
        await stuck_beside_a_timer(events)

    assert explore(scenario, max_depth=50).bound == "max_depth"
