"""What a lease costs with debug mode off and on, as a ratio to two awaited coroutines.

python -m bench
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
from collections.abc import Awaitable, Callable
from time import process_time_ns

from nodetool.concurrency import AsyncResourcePool

REPETITIONS = 15
CYCLES = 5_000


async def takes() -> object:
    return None


async def gives(_: object) -> None:
    return None


async def floor(cycles: int) -> None:
    """Two coroutines that do nothing."""
    for _ in range(cycles):
        await gives(await takes())


def leases(pool: AsyncResourcePool[object]) -> Callable[[int], Awaitable[None]]:
    """Acquire and release."""

    async def cycle(cycles: int) -> None:
        for _ in range(cycles):
            await pool.release(await pool.acquire())

    return cycle


async def cost(work: Callable[[int], Awaitable[None]], cycles: int) -> float:
    """Nanoseconds of the process's time for one cycle."""
    begin = process_time_ns()
    await work(cycles)
    return (process_time_ns() - begin) / cycles


async def measure() -> dict[str, list[float]]:
    """For each pool its ratios to the floor, one for each repetition."""
    pools = {
        "by default": AsyncResourcePool(object),
        "debug=False": AsyncResourcePool(object, debug=False),
        "debug=True": AsyncResourcePool(object, debug=True),
    }
    ratios: dict[str, list[float]] = {name: [] for name in pools}
    for pool in pools.values():
        await leases(pool)(1)
    for _ in range(REPETITIONS):
        for name, pool in pools.items():
            cycles = CYCLES // 100 if name == "debug=True" else CYCLES
            ground = await cost(floor, CYCLES)
            ratios[name].append(await cost(leases(pool), cycles) / ground)
    for pool in pools.values():
        await pool.close()
    return ratios


def main() -> int:
    gc.disable()
    for name, ratios in asyncio.run(measure()).items():
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:<12} {middle:7.1f} x the floor   (quartiles {low:.1f} to {high:.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
