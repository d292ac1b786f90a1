"""W3, W4 and W6: long queues that are served, time out or are cancelled."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Coroutine
from statistics import median
from time import monotonic, process_time_ns
from typing import Any

from bench.contenders import Contender, Pool, Wanted
from bench.floors import Floor
from bench.size import Size

from .common import MICROSECOND, all_done, open_pool, turns

LONG = 1e4  # seconds: a timeout that never passes


async def stand_in_line(
    waiter: Callable[[], Coroutine[Any, Any, Any]], number: int
) -> list[asyncio.Task[Any]]:
    """Start callers, and wait until all of them are in the pool's queue."""
    tasks = [asyncio.create_task(waiter()) for _ in range(number)]
    await turns()
    return tasks


async def hand_overs(pool: Pool, number: int) -> tuple[float, float]:
    """Measure the nanoseconds for each caller: to join the queue, and to be served."""
    held = await pool.acquire()

    async def waiter() -> None:
        await pool.release(await pool.acquire())

    begin = process_time_ns()
    tasks = await stand_in_line(waiter, number)
    lined_up = process_time_ns()
    await pool.release(held)
    await tasks[-1]
    for task in tasks:
        await task
    done = process_time_ns()
    return (lined_up - begin) / number, (done - lined_up) / number


async def served(contender: Contender, size: Size) -> dict[str, float]:
    """Serve queues of 1,000, of 10,000 and of 50,000 with one resource."""
    wanted = Wanted(max_size=1, timeout=LONG)
    figures: dict[str, float] = {}
    costs = []
    for full, times in ((1_000, 10), (10_000, 1), (50_000, 1)):
        number = size.count(full, least=20)
        sums = []
        for _ in range(size.count(times)):
            pair: list[float] = []
            for each in (Floor(), contender):
                async with open_pool(each, wanted) as pool:
                    pair += await hand_overs(pool, number)
            sums.append(pair)
        figures[f"{full:,} waiting ÷ (d)"] = median(own / floor for _, floor, _, own in sums)
        costs.append(median(own for _, _, _, own in sums))
        line_up = median(own / floor for floor, _, own, _ in sums)
    figures["50,000 ÷ 1,000"] = costs[-1] / costs[0]
    figures["line up ÷ (d)"] = line_up
    figures["µs"] = costs[0] / MICROSECOND
    return figures


async def timed_out(contender: Contender, size: Size) -> dict[str, float]:
    """Let 10,000 waiters time out."""
    number, timeout = size.count(10_000), size.seconds(1.0)
    floor = await _expire_all(Floor(), number, timeout / 2)
    figures = await _expire_all(contender, number, timeout)
    return {"÷ (d)": figures["µs"] / floor["µs"], **figures}


async def _expire_all(contender: Contender, number: int, timeout: float) -> dict[str, float]:
    capacity = min(10, number)
    late = [0.0]
    async with open_pool(contender, Wanted(max_size=capacity, timeout=timeout)) as pool:
        held = [await pool.acquire() for _ in range(capacity)]

        async def waiter() -> bool:
            due = monotonic() + timeout
            try:
                await pool.acquire()
            except contender.timeouts:
                late.append(monotonic() - due)
                return True
            return False

        begin = process_time_ns()
        tasks = await stand_in_line(waiter, number)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        cost = (process_time_ns() - begin) / number
        for resource in held:
            await pool.release(resource)
        results = await asyncio.gather(*(pool.acquire() for _ in held), return_exceptions=True)
        back = [resource for resource in results if not isinstance(resource, BaseException)]
        for resource in back:
            await pool.release(resource)
    return {
        "µs": cost / MICROSECOND,
        "latest, ms": 1e3 * max(late),
        "not told by a timeout": float(sum(outcome is not True for outcome in outcomes)),
        "capacity lost": float(capacity - len(back)),
    }


async def cancelled(contender: Contender, size: Size) -> dict[str, float]:
    """Cancel 10,000 waiters: the oldest first, or the newest first."""
    number = size.count(10_000, least=20)
    wanted = Wanted(max_size=1, timeout=LONG)

    async def cancel_all(each: Contender, order: int, traced: bool = False) -> float:
        async with open_pool(each, wanted) as pool:
            held = await pool.acquire()

            async def waiter() -> None:
                await pool.acquire()

            if traced:
                gc.collect()
                tracemalloc.start()
            tasks = await stand_in_line(waiter, number)
            begin = process_time_ns()
            for task in tasks[::order]:
                task.cancel()
            await all_done(tasks)
            cost = process_time_ns() - begin
            if traced:
                del tasks, task
                await turns()  # lets asyncio remove its cancelled timers
                gc.collect()
                cost = tracemalloc.get_traced_memory()[0]
                tracemalloc.stop()
            await pool.release(held)
            return cost / number

    figures = {"bytes left": await cancel_all(contender, 1, traced=True)}
    for name, order in (("oldest first ÷ (d)", 1), ("newest first ÷ (d)", -1)):
        ratios = []
        for _ in range(size.count(2)):
            floor = await cancel_all(Floor(), order)
            ratios.append(await cancel_all(contender, order) / floor)
        figures[name] = median(ratios)
    return figures
