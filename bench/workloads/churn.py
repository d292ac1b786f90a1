"""W5 and W7: many resources, and resources with a short life."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from statistics import median
from time import process_time_ns

from bench.contenders import Contender, LacksError, Resource, Wanted, end, filled
from bench.floors import Shelf
from bench.size import Size

from .common import MICROSECOND, MILLISECOND, in_turns, open_pool


async def sizes(contender: Contender, size: Size) -> dict[str, float]:
    """Lease all resources and release them in random order, in pools of 10, 1,000 and 10,000."""
    figures: dict[str, float] = {}
    chance = random.Random(1)
    takes, gives = {}, {}
    for full, times in ((10, 300), (1_000, 10), (10_000, 5)):
        number = size.count(full)
        taking, giving = [], []
        async with open_pool(contender, Wanted(max_size=number)) as pool:
            for _ in range(size.count(times)):
                begin = process_time_ns()
                held = [await pool.acquire() for _ in range(number)]
                taken = process_time_ns()
                chance.shuffle(held)
                shuffled = process_time_ns()
                for resource in held:
                    await pool.release(resource)
                taking.append((taken - begin) / number)
                giving.append((process_time_ns() - shuffled) / number)
        takes[full], gives[full] = median(taking), median(giving)
        figures[f"acquire of {full:,}, ns"] = takes[full]
        figures[f"release of {full:,}, ns"] = gives[full]
    return {
        "acquire, 10,000 ÷ 1,000": takes[10_000] / takes[1_000],
        "release, 10,000 ÷ 1,000": gives[10_000] / gives[1_000],
        **figures,
    }


async def single_use(contender: Contender, size: Size) -> dict[str, float]:
    """Let every resource expire during its lease, so that the next lease needs a new one."""
    shelf = deque([object()])

    async def floor_b(cycles: int) -> None:
        for _ in range(cycles):
            async with Shelf(shelf):
                pass

    created = 0

    async def create() -> Resource:
        nonlocal created
        created += 1
        return Resource()

    leases = 0
    pool = await contender.make(Wanted(create=create, expired_by_use=True))

    async def with_context(cycles: int) -> None:
        nonlocal leases
        leases += cycles
        for _ in range(cycles):
            async with pool.context():
                pass

    ratio, cost = await in_turns(floor_b, with_context, size.count(30), size.count(1_000))
    await end(pool)
    if created < leases // 2:
        raise LacksError("it used resources again")
    return {"÷ (b)": ratio, "µs": cost / MICROSECOND}


async def prune(contender: Contender, size: Size) -> dict[str, float]:
    """Prune 10,000 resources that were idle for too long, with closers that end at once.

    The loop's stall is the processor time between two of its turns. Wall time would also count the
    time in which other processes have the processor.
    """
    number, idle_time = size.count(10_000), size.seconds(1.0)
    created = 0

    async def create() -> Resource:
        nonlocal created
        created += 1
        return Resource()

    pool = await filled(contender, Wanted(max_size=number, create=create, max_idle_time=idle_time))
    if pool.prune is None:
        raise LacksError("nothing that prunes on demand")
    time.sleep(1.1 * idle_time)  # noqa: ASYNC251  # blocks the loop, so that no timer of the pool fires first
    stalls = Stalls()
    begin, before = process_time_ns(), created
    await pool.prune()
    cost = (process_time_ns() - begin) / number
    longest = stalls.stop()
    held = await asyncio.gather(*(pool.acquire() for _ in range(number)))
    figures = {
        "µs each": cost / MICROSECOND,
        "longest stall, ms": longest / MILLISECOND,
        "left": float(number - (created - before)),
    }
    for resource in held:
        await pool.release(resource)
    await end(pool)
    return figures


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
