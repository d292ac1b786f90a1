"""W15, W16 and W18: more load than a pool can serve, a connect that hangs, and an outage."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

from bench.contenders import Contender, Pool, Resource, Wanted, end, filled
from bench.size import Size
from bench.workloads.common import acquire_again

RATE = 120  # requests a second
HOLD = 0.05  # so two resources can serve 40 requests a second
DEADLINE = 0.25
CONNECT = 0.05
LIMIT = 5.0  # seconds for the end of a pool that may never close


async def goodput(contender: Contender, size: Size) -> dict[str, float]:
    """Offer 120 requests a second to a pool that can serve 40, with and without a check of 10 ms.

    The three pools get their load at the same time, because neither load needs a processor.
    """

    async def check(_: object) -> None:
        await asyncio.sleep(0.01)

    seconds = size.seconds(5.0, least=0.2)
    loads = [
        await Load.prepare(contender, Wanted(max_size=2, timeout=DEADLINE)),
        await Load.prepare(contender, Wanted(max_size=2, timeout=DEADLINE, check=check)),
        await Load.prepare(
            contender, Wanted(max_size=2, timeout=DEADLINE, check=check, checks_every_use=True)
        ),
    ]
    await asyncio.gather(*(load.run(seconds) for load in loads))
    plain, checked, checked_always = loads
    return {
        "lost to the check, %": 100 - 100 * checked.served / plain.served,
        "connects": float(max(load.connects for load in loads)),
        "lost to a check of every use, %": 100 - 100 * checked_always.served / plain.served,
        "served a second without a check": plain.served / seconds,
    }


class Load:
    """Requests at a constant rate, whether the earlier ones are done or not."""

    def __init__(self) -> None:
        self.served = 0
        self.connects = 0
        self.pool: Pool

    @classmethod
    async def prepare(cls, contender: Contender, wanted: Wanted) -> Load:
        """Fill a pool, and count its connects."""
        load = cls()
        load.pool = await filled(contender, replace(wanted, create=load.connect))
        return load

    async def connect(self) -> Resource:
        self.connects += 1
        await asyncio.sleep(CONNECT)
        return Resource()

    async def run(self, seconds: float) -> None:
        """Send the requests, wait until each has its answer, and close the pool."""
        begin = perf_counter()
        requests = []
        for number in range(round(RATE * seconds)):
            await asyncio.sleep(begin + number / RATE - perf_counter())
            requests.append(asyncio.create_task(self.request()))
        await asyncio.gather(*requests)
        await end(self.pool)

    async def request(self) -> None:
        try:
            resource = await self.pool.acquire()
        except Exception:
            return  # too late
        await asyncio.sleep(HOLD)
        self.served += 1
        await self.pool.release(resource)


async def hung_connect(contender: Contender, size: Size) -> dict[str, float]:
    """Let the first of the pool's connects never return. Each caller keeps what it gets."""
    requests = size.count(10, least=3)
    recovered = asyncio.Event()
    connects = 0

    async def connect() -> Resource:
        nonlocal connects
        connects += 1
        if connects == 1:
            await recovered.wait()
        await asyncio.sleep(CONNECT)
        return Resource()

    pool = await contender.make(Wanted(max_size=10, timeout=DEADLINE, create=connect))
    held: list[Any] = []
    first, slowest = 0, 0.0
    for number in range(1, requests + 1):
        begin = perf_counter()
        try:
            async with asyncio.timeout(4 * DEADLINE):  # a pool may not limit its connects
                held.append(await pool.acquire())
        except Exception:
            continue
        first = first or number
        slowest = max(slowest, perf_counter() - begin)
    recovered.set()
    for resource in held:
        await pool.release(resource)
    await _end(pool)
    figures = {
        "first request served": float(first or requests + 1),
        "requests not served": float(requests - len(held)),
    }
    return {**figures, "slowest ÷ a connect": slowest / CONNECT} if held else figures


async def outage(contender: Contender, size: Size) -> dict[str, float]:
    """Let 100 users meet an empty pool of 10 while the server is down for some seconds.

    A connect takes 10 ms, also one that fails. A user that gets an error tries again after 100 ms.
    """
    users = size.count(100, least=10)
    is_down = True
    connects = 0
    served: list[float] = []

    async def connect() -> Resource:
        nonlocal connects
        await asyncio.sleep(0.01)
        connects += 1
        if is_down:
            raise ConnectionError("refused, on purpose")
        return Resource()

    pool = await contender.make(Wanted(max_size=10, timeout=LIMIT, create=connect))

    async def user() -> None:
        resource = await acquire_again(pool, 0.1)
        await asyncio.sleep(0.005)
        served.append(perf_counter())
        await pool.release(resource)

    tasks = [asyncio.create_task(user()) for _ in range(users)]
    await asyncio.sleep(size.seconds(2.0, least=0.05))
    is_down = False
    back, before = perf_counter(), connects
    await asyncio.wait(tasks, timeout=2 * LIMIT)
    figures = {
        "connects after the outage": float(connects - before),
        "connects during it": float(before),
        "users not served": float(users - len(served)),
    }
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await _end(pool)
    if not served:
        return figures
    times = {
        "first served after, s": served[0] - back,
        "last served after, s": served[-1] - back,
    }
    return {**times, **figures}


async def _end(pool: Pool) -> None:
    """Close the pool with a time limit, because it may wait for ever after a fault."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LIMIT):
            await end(pool)
