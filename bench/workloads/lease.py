"""W1 and W2: the cost of a lease, with one task and with many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from bench.contenders import Contender, Pool, Wanted
from bench.floors import Line, Shelf, TimedLine, gives, takes
from bench.ladder import RUNGS, IdleDeque
from bench.size import Size
from nodetool.concurrency import AsyncResourcePool

from .common import MICROSECOND, in_turns, open_pool, processor_time


async def floor_a(cycles: int) -> None:
    for _ in range(cycles):
        await gives(await takes())


def shelf_uses() -> Callable[[int], Awaitable[None]]:
    shelf = deque([object()])

    async def floor_b(cycles: int) -> None:
        for _ in range(cycles):
            async with Shelf(shelf):
                pass

    return floor_b


def pairs(pool: Pool | IdleDeque | AsyncResourcePool[Any]) -> Callable[[int], Awaitable[None]]:
    acquire, release = pool.acquire, pool.release

    async def pair(cycles: int) -> None:
        for _ in range(cycles):
            await release(await acquire())

    return pair


def timed_pairs(
    acquire: Callable[[float], Awaitable[Any]], release: Callable[[Any], Awaitable[Any]]
) -> Callable[[int], Awaitable[None]]:
    async def pair(cycles: int) -> None:
        for _ in range(cycles):
            await release(await acquire(5))

    return pair


async def alone(contender: Contender, size: Size) -> dict[str, float]:
    """Acquire and release in one task, without a timeout if the pool supports that."""
    floor_b = shelf_uses()
    async with open_pool(contender, Wanted(timeout=None)) as pool:
        context = pool.context

        async def with_context(cycles: int) -> None:
            for _ in range(cycles):
                async with context():
                    pass

        slices, cycles = size.count(50), size.count(1_000)
        ratio_a, pair_cost = await in_turns(floor_a, pairs(pool), slices, cycles)
        ratio_b, context_cost = await in_turns(floor_b, with_context, slices, cycles)
        figures = {"acquire/release ÷ (a)": ratio_a, "async with ÷ (b)": ratio_b}
        if pool.acquire_within is not None:
            timed = timed_pairs(pool.acquire_within, pool.release)
            figures["acquire(timeout=5)/release ÷ (a)"], _ = await in_turns(
                floor_a, timed, slices, cycles
            )
    return {**figures, "acquire/release, ns": pair_cost, "async with, ns": context_cost}


async def made_of(contender: Contender, size: Size) -> dict[str, float]:
    """Measure the cost of each rung of the ladder, as a ratio to floor (a)."""

    slices, cycles = size.count(50), size.count(1_000)
    figures = {}
    for name, rung in RUNGS.items():
        figures[name], _ = await in_turns(floor_a, pairs(rung()), slices, cycles)
    async with open_pool(contender, Wanted(timeout=None)) as pool:
        figures["the pool"], _ = await in_turns(floor_a, pairs(pool), slices, cycles)
    return figures


async def crowd(contender: Contender, size: Size) -> dict[str, float]:
    """Share 10 resources among 1,000 tasks, which hold one for a turn and have no timeout."""
    return await _crowd(contender, Wanted(max_size=10, timeout=None), size)


async def timed_crowd(contender: Contender, size: Size) -> dict[str, float]:
    """Do the same, with a timeout for every acquire. The timeout never passes."""
    return await _crowd(contender, Wanted(max_size=10, timeout=30.0), size)


async def _crowd(contender: Contender, wanted: Wanted, size: Size) -> dict[str, float]:
    tasks, rounds = size.count(1_000, least=20), size.count(10)

    async def many(user: Callable[[], Awaitable[None]]) -> float:
        work = asyncio.gather(*(user() for _ in range(tasks)))
        return await processor_time(work) / (tasks * rounds)

    def floor_c() -> Callable[[], Awaitable[None]]:
        line = Line(wanted.max_size)
        create_future = asyncio.get_running_loop().create_future
        idle, waiting = line.idle, line.waiting

        async def user() -> None:
            for _ in range(rounds):
                if idle:
                    resource = idle.pop()
                else:
                    future = create_future()
                    waiting.append(future)
                    resource = await future
                await asyncio.sleep(0)
                if waiting:
                    waiting.popleft().set_result(resource)
                else:
                    idle.append(resource)

        return user

    def of(pool: Pool | TimedLine) -> Callable[[], Awaitable[None]]:
        acquire, release = pool.acquire, pool.release

        async def user() -> None:
            for _ in range(rounds):
                resource = await acquire()
                await asyncio.sleep(0)
                await release(resource)

        return user

    costs, over_c, over_d = [], [], []
    async with open_pool(contender, wanted) as pool:
        await many(floor_c())
        await many(of(pool))
        for _ in range(size.count(3)):
            before = await many(floor_c())
            cost = await many(of(pool))
            after = await many(floor_c())
            timed = await many(of(TimedLine(wanted.max_size, 30.0)))
            costs.append(cost)
            over_c.append(2 * cost / (before + after))
            over_d.append(cost / timed)
    return {
        "÷ (c)": median(over_c),
        "÷ (d)": median(over_d),
        "µs": median(costs) / MICROSECOND,
    }
