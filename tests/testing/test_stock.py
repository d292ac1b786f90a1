"""The controlled loop does the same as asyncio's own loop in every schedule."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, _stock_loop, compare_with_stock_loop, explore
from nodetool.concurrency.testing._loop import ControlledLoop
from nodetool.concurrency.testing._stock_loop import StockLoopError


async def scenario(events: Events) -> None:
    event = asyncio.Event()

    async def user(seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                await events.call("work", result="done", faults=(OSError("gone"),))
                event.set()
                return "worked"
        except TimeoutError:
            return "too late"

    async def waits() -> None:
        async with asyncio.timeout(3):
            await event.wait()

    first = events.task(user(1), name="a", cancellable=True)
    second = events.task(waits(), name="c")
    await asyncio.gather(first, second, return_exceptions=True)


def test_every_schedule_of_a_scenario_is_the_same_on_the_stock_loop() -> None:
    result = explore(scenario, stock_every=1)
    result.raise_for_failure()
    assert result.exhausted
    assert result.schedules > 20


def test_one_schedule_is_compared_iteration_by_iteration() -> None:
    assert compare_with_stock_loop(scenario, "e:") > 5
    with pytest.raises(ValueError, match="mode events only"):
        compare_with_stock_loop(scenario, "r:")
    with pytest.raises(ValueError, match=r"only \d+ choices"):
        compare_with_stock_loop(scenario, "e:" + 50 * "0." + "1")


@pytest.mark.parametrize("change", [lambda seen: seen[:-1], lambda seen: [*seen, seen[-1]]])
def test_a_stock_run_that_is_too_short_or_too_long_is_a_difference(
    change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _stock_loop.run_on_stock_loop
    monkeypatch.setattr(_stock_loop, "run_on_stock_loop", lambda *how: change(run(*how)))
    with pytest.raises(StockLoopError, match=r"explored \d+ iterations, stock \d+"):
        compare_with_stock_loop(scenario, "e:")


def test_a_schedule_that_the_stock_loop_cannot_follow_is_a_difference() -> None:
    def on_stock() -> bool:
        return not isinstance(asyncio.get_running_loop(), ControlledLoop)

    async def without_the_call(events: Events) -> None:
        if not on_stock():
            await events.call("work", results=(1,))

    async def without_the_timer(_: Events) -> None:
        if not on_stock():
            await asyncio.sleep(1)

    for only_here in (without_the_call, without_the_timer):
        with pytest.raises(StockLoopError, match="iteration 1"):
            compare_with_stock_loop(only_here, "e:")


def test_a_run_that_exits_is_compared_until_its_end() -> None:
    async def exits(events: Events) -> None:
        await events.call("work")
        sys.exit(3)

    assert compare_with_stock_loop(exits, "e:") >= 2


def test_a_run_that_fails_is_compared_until_its_end() -> None:
    async def deadlock(_: Events) -> None:
        await asyncio.get_running_loop().create_future()

    async def raises(events: Events) -> None:
        await events.call("work")
        raise OSError

    async def endless(events: Events) -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    assert compare_with_stock_loop(deadlock, "e:") == 1
    assert compare_with_stock_loop(raises, "e:") >= 3
    assert compare_with_stock_loop(endless, "e:", max_depth=7) == 7


def test_a_loop_that_runs_in_another_order_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    async def two_tasks(_: Events) -> None:
        order: list[int] = []

        async def user(number: int) -> None:
            order.append(number)
            await asyncio.sleep(number - order[0])

        await asyncio.gather(user(0), user(1))

    def run_last(self: Any, index: int = 0) -> None:
        normal(self, len(self.ready) - 1 if index == 0 else index)

    assert explore(two_tasks, stock_every=1).exhausted
    normal = ControlledLoop.run_handle
    monkeypatch.setattr(ControlledLoop, "run_handle", run_last)
    result = explore(two_tasks, stock_every=1)
    assert result.failure is not None
    assert result.failure.kind == "stock loop"
    assert "iteration" in str(result.failure.error)
