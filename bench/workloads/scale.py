"""S1 to S4: costs that must not grow with the number of waiters, resources, expiries or hours."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from statistics import median
from time import process_time_ns

from bench.contenders import Contender, Resource, Wanted, end
from bench.floors import Floor
from bench.size import Size

from .common import MICROSECOND, MILLISECOND, open_pool
from .queue import LONG, hand_overs, stand_in_line


async def waiters(contender: Contender, size: Size) -> dict[str, float]:
    """Serve queues of 1,000 and of 100,000 with one resource."""
    few, many = size.count(1_000, least=20), size.count(100_000, least=40)
    costs: dict[tuple[str, int], float] = {}
    for name, each in (("floor", Floor()), ("own", contender)):
        for number, times in ((few, 15), (many, 1)):
            samples = []
            for _ in range(size.count(times)):
                async with open_pool(each, Wanted(max_size=1, timeout=LONG)) as pool:
                    samples.append((await hand_overs(pool, number))[1])
            costs[name, number] = median(samples)
    return {
        "100,000 ÷ 1,000": costs["own", many] / costs["own", few],
        "the floor's": costs["floor", many] / costs["floor", few],
        "µs at 1,000": costs["own", few] / MICROSECOND,
        "µs at 100,000": costs["own", many] / MICROSECOND,
    }


async def resources(contender: Contender, size: Size) -> dict[str, float]:
    """Serve 20,000 waiters with resources that are all in use. Each serves many waiters."""
    number = size.count(20_000, least=40)

    async def cost(each: Contender, max_size: int) -> float:
        async with open_pool(each, Wanted(max_size=max_size, timeout=LONG)) as pool:
            held = [await pool.acquire() for _ in range(max_size)]

            async def waiter() -> None:
                await pool.release(await pool.acquire())

            tasks = await stand_in_line(waiter, number)
            begin = process_time_ns()
            for resource in held:
                await pool.release(resource)
            await tasks[-1]
            for task in tasks:
                await task
            return (process_time_ns() - begin) / number

    small, large = size.count(10), size.count(10_000)
    costs = {}
    for name, each in (("floor", Floor()), ("own", contender)):
        for max_size in (small, large):
            samples = [await cost(each, max_size) for _ in range(size.count(3))]
            costs[name, max_size] = median(samples)
    return {
        "10,000 ÷ 10": costs["own", large] / costs["own", small],
        "the floor's": costs["floor", large] / costs["floor", small],
        "µs at 10": costs["own", small] / MICROSECOND,
        "µs at 10,000": costs["own", large] / MICROSECOND,
    }


async def expiry(contender: Contender, size: Size) -> dict[str, float]:
    """Create resources one after another, release them in random order, and let each expire.

    The loop's stall is the highest processor time for a hundredth of a virtual second, in which one
    resource expires.
    """
    chance = random.Random(1)
    pause, max_age = 0.01, 200.0

    async def expire(number: int, ticking: bool) -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        closed = 0
        all_closed = loop.create_future()

        async def close(_: object) -> None:
            nonlocal closed
            closed += 1
            if closed == number:
                all_closed.set_result(None)

        wanted = Wanted(max_size=number, close=close, max_age=max_age)
        pool = await contender.make(wanted)
        held = []
        for _ in range(number):
            held.append(await pool.acquire())
            await asyncio.sleep(pause)
        chance.shuffle(held)
        for resource in held:
            await pool.release(resource)
        held.clear()
        await asyncio.sleep(max_age - (number + 50) * pause)
        ticks = Ticks(pause)
        if ticking:
            ticks.start()
        begin = process_time_ns()
        await all_closed
        cost = (process_time_ns() - begin) / number
        longest = ticks.stop()
        await end(pool)
        return cost, longest

    few, many = size.count(1_000, least=20), size.count(10_000, least=40)
    small, _ = await expire(few, ticking=False)
    large, _ = await expire(many, ticking=False)
    _, stall = await expire(many, ticking=True)
    return {
        "10,000 ÷ 1,000": large / small,
        "µs each of 1,000": small / MICROSECOND,
        "µs each of 10,000": large / MICROSECOND,
        "longest stall, ms": stall / MILLISECOND,
    }


class Ticks:
    """Samples of the processor's clock at equal intervals of the loop's time."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._longest = self._last = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start sampling."""
        self._last = process_time_ns()
        self._set()

    def _set(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def _tick(self) -> None:
        now = process_time_ns()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        self._set()

    def stop(self) -> int:
        """Stop, and return the highest processor time of an interval in nanoseconds."""
        if self._timer is not None:
            self._timer.cancel()
        return self._longest


async def day(contender: Contender, size: Size) -> dict[str, float]:
    """Simulate 24 hours: 12 users share 8 resources that age, get stale and fail."""
    leases = size.count(1_000_000, least=600)
    pause = 24 * 3600.0 * 12 / leases
    chance = random.Random(1)

    async def create() -> Resource:
        if chance.random() < 0.05:
            raise ConnectionError("refused, on purpose")
        return Resource()

    wanted = Wanted(max_size=8, create=create, timeout=pause / 4, max_idle_time=2 * pause)
    pool = await contender.make(wanted)

    async def user(times: int) -> None:
        for _ in range(times):
            try:
                async with pool.context():
                    await asyncio.sleep(chance.random() * pause)
            except (TimeoutError, ConnectionError):
                pass
            await asyncio.sleep(chance.random() * pause)

    async def part(share: float) -> int:
        each = round(leases * share / 12)
        await asyncio.gather(*(user(each) for _ in range(12)))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    early = await part(0.1)
    late = await part(0.9)
    tracemalloc.stop()
    assert pool.close is not None
    await pool.close()
    return {"bytes grown": float(late - early), "leases": float(leases)}
