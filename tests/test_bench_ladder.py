"""Each rung of the benchmark's ladder does one thing more than the one before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from bench.contenders import Resource
from bench.ladder import (
    RUNGS,
    ClockCheck,
    IdentityLookup,
    IdleDeque,
    LeaseCount,
    LoopCheck,
    WaiterCheck,
)
from bench.pools import OURS
from bench.running import measure
from bench.size import Size
from bench.workloads import WORKLOADS

pytestmark = pytest.mark.untraced

ORDER = list(RUNGS.values())


def another_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


async def is_released_twice(pool: IdleDeque) -> None:
    resource = await pool.acquire()
    await pool.release(resource)
    await pool.release(resource)


async def is_released_while_somebody_waits(pool: IdleDeque) -> None:
    resource = await pool.acquire()
    pool.waiting.append(object())
    await pool.release(resource)


async def is_acquired_in_another_loop(pool: IdleDeque) -> None:
    pool.loop = another_loop()
    await pool.acquire()


async def is_released_in_another_loop(pool: IdleDeque) -> None:
    resource = await pool.acquire()
    pool.loop = another_loop()
    await pool.release(resource)


async def is_acquired_too_late(pool: IdleDeque) -> None:
    pool.deadline = 0.0
    await pool.acquire()


async def is_released_too_old(pool: IdleDeque) -> None:
    resource = await pool.acquire()
    for slot in pool.known.values():
        slot.expires_at = 0.0
    await pool.release(resource)


def test_the_rungs_are_in_order() -> None:
    assert all(issubclass(higher, lower) for lower, higher in pairwise(ORDER))


@pytest.mark.parametrize("rung", ORDER)
def test_what_is_given_back_is_taken_again(rung: type[IdleDeque]) -> None:
    async def use() -> int:
        pool = rung()
        first = await pool.acquire()
        await pool.release(first)
        assert await pool.acquire() is first
        with pytest.raises(NotImplementedError):
            await pool.acquire()
        assert isinstance(first, Resource) == issubclass(rung, IdentityLookup)
        return pool.counted

    assert asyncio.run(use()) == (2 if issubclass(rung, LeaseCount) else 0)


@pytest.mark.parametrize("rung", ORDER)
@pytest.mark.parametrize(
    ("mistake", "since"),
    [
        (is_released_twice, IdentityLookup),
        (is_released_while_somebody_waits, WaiterCheck),
        (is_acquired_in_another_loop, LoopCheck),
        (is_released_in_another_loop, LoopCheck),
        (is_acquired_too_late, ClockCheck),
        (is_released_too_old, ClockCheck),
    ],
)
def test_a_rung_refuses_what_it_asks_for_and_no_rung_below_it_does(
    rung: type[IdleDeque],
    mistake: Callable[[IdleDeque], Coroutine[Any, Any, None]],
    since: type[IdleDeque],
) -> None:
    async def main() -> None:
        await mistake(rung())

    if issubclass(rung, since):
        with pytest.raises(NotImplementedError):
            asyncio.run(main())
    else:
        asyncio.run(main())


def test_every_rung_and_the_pool_are_measured() -> None:
    workload = next(workload for workload in WORKLOADS if workload.name == "W1L")
    for ours in OURS:
        figures = measure(workload, ours, Size(0.01)).figures
        assert list(figures) == [*RUNGS, "the pool"]
        assert all(figure > 0 for figure in figures.values())
