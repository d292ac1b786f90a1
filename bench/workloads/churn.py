"""W5 and W7: many resources, and resources with a short life."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from statistics import median
from time import process_time_ns
from typing import Any

from bench.contenders import Contender, LacksError, Resource, Wanted, close, create, end, filled
from bench.floors import run_directly, run_in_task, run_in_tasks
from bench.size import Size

from .common import MICROSECOND, MILLISECOND, Stalls, in_turns, open_pool, processor_time
from .lease import shelf_uses


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

    async def floor_e(cycles: int) -> None:
        for _ in range(cycles):
            await run_in_task(close, await run_in_task(create))

    ratio, cost = await _single_use(contender, size, floor_e, create, close)
    return {"÷ (e)": ratio, "µs": cost / MICROSECOND}


async def single_use_sync(contender: Contender, size: Size) -> dict[str, float]:
    """Do the same with a plain factory and a plain closer."""
    ratio, cost = await _single_use(contender, size, shelf_uses(), Resource, ignore)
    return {"÷ (b)": ratio, "µs": cost / MICROSECOND}


async def _single_use(
    contender: Contender,
    size: Size,
    floor: Callable[[int], Awaitable[None]],
    factory: Callable[[], Any],
    closer: Callable[[Any], Any],
) -> tuple[float, float]:
    calls = leases = 0

    def make() -> Any:
        nonlocal calls
        calls += 1
        return factory()

    pool = await contender.make(Wanted(create=make, close=closer, expired_by_use=True))

    async def with_context(cycles: int) -> None:
        nonlocal leases
        leases += cycles
        for _ in range(cycles):
            async with pool.context():
                pass

    ratio, cost = await in_turns(floor, with_context, size.count(30), size.count(1_000))
    await end(pool)
    if calls < leases // 2:
        raise LacksError("it used resources again")
    return ratio, cost


def ignore(_: object) -> None:
    """Close a resource at no cost, as a plain function."""


async def prune(contender: Contender, size: Size) -> dict[str, float]:
    """Prune 10,000 resources that were idle for too long, with closers that end at once."""
    subjects = [Resource() for _ in range(size.count(10_000))]
    floor = await processor_time(run_in_tasks(close, subjects)) / len(subjects)
    figures = await _prune(contender, size, create, close)
    return {"each ÷ (e)": MICROSECOND * figures["µs each"] / floor, **figures}


async def prune_sync(contender: Contender, size: Size) -> dict[str, float]:
    """Do the same with a plain closer."""
    subjects = [Resource() for _ in range(size.count(10_000))]
    begin = process_time_ns()
    run_directly(ignore, subjects)
    floor = (process_time_ns() - begin) / MICROSECOND / len(subjects)
    figures = await _prune(contender, size, Resource, ignore)
    return {"µs each beyond twice (f)": figures["µs each"] - 2 * floor, **figures}


async def _prune(
    contender: Contender, size: Size, factory: Callable[[], Any], closer: Callable[[Any], Any]
) -> dict[str, float]:
    """Prune, and measure the processor time between two turns of the loop.

    Wall time would also count the time in which other processes have the processor.
    """
    number, idle_time = size.count(10_000), size.seconds(1.0)
    created = 0

    def make() -> Any:
        nonlocal created
        created += 1
        return factory()

    wanted = Wanted(max_size=number, create=make, close=closer, max_idle_time=idle_time)
    pool = await filled(contender, wanted)
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
