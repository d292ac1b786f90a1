"""Functions that several workloads share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from time import process_time_ns
from typing import Any

from bench.contenders import Contender, Pool, Wanted, end, filled

MICROSECOND = 1e3  # in nanoseconds
MILLISECOND = 1e6


async def turns(count: int = 20) -> None:
    """Run some turns of the loop. A pool may need several until a caller is in its queue."""
    for _ in range(count):
        await asyncio.sleep(0)


async def acquire_again(pool: Pool, pause: float) -> Any:
    """Acquire, and after each error try again, after a pause in seconds."""
    while True:
        try:
            return await pool.acquire()
        except Exception:
            await asyncio.sleep(pause)


@asynccontextmanager
async def open_pool(contender: Contender, wanted: Wanted) -> AsyncIterator[Pool]:
    """Open a pool, create all its resources, and close it at the end."""
    pool = await filled(contender, wanted)
    try:
        yield pool
    finally:
        await end(pool)


async def processor_time(work: Awaitable[Any]) -> int:
    """Measure the process's own time in nanoseconds, so that other processes matter little."""
    begin = process_time_ns()
    await work
    return process_time_ns() - begin


async def in_turns(
    floor: Callable[[int], Awaitable[None]],
    work: Callable[[int], Awaitable[None]],
    slices: int,
    cycles: int,
) -> tuple[float, float]:
    """Measure slices of the floor and of the work in turns. Return their ratio and the work's cost.

    The cost is in nanoseconds. Expensive work gets fewer cycles in a slice.
    """
    await floor(cycles)
    await work(1)
    estimate = await processor_time(work(10)) / 10
    fewer = max(10, min(cycles, int(5 * MILLISECOND / estimate))) if cycles > 10 else cycles
    ratios, costs = [], []
    for _ in range(slices):
        ground = await processor_time(floor(cycles)) / cycles
        cost = await processor_time(work(fewer)) / fewer
        ratios.append(cost / ground)
        costs.append(cost)
    return median(ratios), median(costs)


async def all_done(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait at low cost for tasks that end nearly in order."""
    for task in (tasks[0], tasks[-1], *tasks):
        for _ in iter(task.done, True):
            await asyncio.sleep(0)


class Stalls:
    """A measurement of the processor time between two turns of the loop."""

    def __init__(self) -> None:
        self._longest = 0
        self._last = process_time_ns()
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = process_time_ns()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        self._next = self._loop.call_soon(self._turn)

    def stop(self) -> int:
        """Stop, and return the longest stall in nanoseconds of processor time."""
        self._next.cancel()
        return max(self._longest, process_time_ns() - self._last)
