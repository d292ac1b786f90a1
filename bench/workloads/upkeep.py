"""W7c and W17: a pool opens and closes very many resources, and many tasks wait for one end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from bench.contenders import Contender, Resource, close, create
from bench.size import Size
from nodetool.concurrency import AsyncResourcePool

from .churn import ignore
from .common import MILLISECOND, Stalls, processor_time, turns

HELD = 10  # resources that are released one after another while the tasks wait


async def open_and_close(contender: Contender, size: Size) -> dict[str, float]:
    """Open a pool with a minimum size of 100,000, and close it."""
    number = size.count(100_000)
    figures: dict[str, float] = {}
    kinds: tuple[tuple[str, Callable[[], Any], Callable[[Any], Any]], ...] = (
        ("async", create, close),
        ("sync", Resource, ignore),
    )
    for kind, factory, closer in kinds:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            factory, closer, max_size=number, min_size=number
        )
        figures[f"stall of open(), {kind}, ms"] = await _longest_stall(pool.open(wait=True))
        figures[f"stall of close(), {kind}, ms"] = await _longest_stall(pool.close())
    return figures


async def _longest_stall(work: Awaitable[None]) -> float:
    stalls = Stalls()
    await work
    return stalls.stop() / MILLISECOND


async def waiting_tasks(contender: Contender, size: Size) -> dict[str, float]:
    """Let 500 and 2,000 tasks wait at once for the end of retire_all(), and of close()."""
    few, many = size.count(500, least=10), size.count(2_000, least=20)
    figures: dict[str, float] = {}
    calls: tuple[tuple[str, Callable[[AsyncResourcePool[Any]], Awaitable[None]]], ...] = (
        ("retire_all()", lambda pool: pool.retire_all(wait=True)),
        ("close()", lambda pool: pool.close()),
    )
    for name, call in calls:
        costs = []
        for number in (few, many):
            samples = [await _cost_of_waiting(call, number) for _ in range(size.count(5))]
            costs.append(median(samples))
        figures[f"{name}, 2,000 ÷ 500"] = costs[1] / costs[0]
        figures[f"{name} of 2,000, ms"] = costs[1] / MILLISECOND
    return figures


async def _cost_of_waiting(
    call: Callable[[AsyncResourcePool[Any]], Awaitable[None]], number: int
) -> int:
    pool = AsyncResourcePool(create, close, max_size=HELD)
    held = [await pool.acquire() for _ in range(HELD)]

    async def work() -> None:
        tasks = [asyncio.ensure_future(call(pool)) for _ in range(number)]
        await turns()
        for resource in held:
            await pool.release(resource)
            await turns(2)
        await asyncio.gather(*tasks)

    cost = await processor_time(work())
    await pool.close()
    return cost
