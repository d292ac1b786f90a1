"""W11: is every task served, and in the order of arrival?"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from bench.contenders import Contender, Wanted
from bench.size import Size

from .common import open_pool, turns


async def fairness(contender: Contender, size: Size) -> dict[str, float]:
    """Measure the shares of greedy tasks, the order of a queue, and overtaken waiters."""
    most, least = await _shares(contender, size)
    return {
        "most minus least": float(most - least),
        "most": float(most),
        "least": float(least),
        "inversions": float(await _inversions(contender, size)),
        "overtaken": float(await _overtaken(contender, size)),
    }


async def _shares(contender: Contender, size: Size) -> tuple[int, int]:
    """Count how often each of 100 tasks gets one of 10 resources, in 20,000 leases."""
    tasks, leases = size.count(100, least=20), size.count(20_000, least=400)
    served = [0] * tasks
    total = 0
    async with open_pool(contender, Wanted(max_size=10)) as pool:

        async def user(number: int) -> None:
            nonlocal total
            while total < leases:
                resource = await pool.acquire()
                if total < leases:
                    total += 1
                    served[number] += 1
                await asyncio.sleep(0)
                await pool.release(resource)

        await asyncio.gather(*(user(number) for number in range(tasks)))
    return max(served), min(served)


async def _inversions(contender: Contender, size: Size) -> int:
    """Count the waiters in a queue of 1,000 that are served before the one ahead."""
    number = size.count(1_000, least=20)
    order: list[int] = []
    async with open_pool(contender, Wanted(max_size=1)) as pool:
        held = await pool.acquire()

        async def waiter(place: int) -> None:
            resource = await pool.acquire()
            order.append(place)
            await pool.release(resource)

        tasks = [asyncio.create_task(waiter(place)) for place in range(number)]
        await turns()
        await pool.release(held)
        await asyncio.gather(*tasks)
    return sum(after < before for before, after in pairwise(order))


async def _overtaken(contender: Contender, size: Size) -> int:
    """Count the rounds, of 50, in which a task that releases and acquires overtakes the waiter."""
    overtaken = 0
    async with open_pool(contender, Wanted(max_size=1)) as pool:
        for _ in range(size.count(50)):
            order: list[str] = []

            async def take(name: str, order: list[str] = order) -> None:
                resource = await pool.acquire()
                order.append(name)
                await pool.release(resource)

            held = await pool.acquire()
            waiter = asyncio.create_task(take("waiter"))
            await turns()
            await pool.release(held)
            await take("releaser")
            await waiter
            overtaken += order[0] == "releaser"
    return overtaken
