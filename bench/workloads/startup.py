"""W9, W10 and W12: the start and the end of a pool."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable
from contextlib import suppress
from heapq import heapify, heapreplace
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any

from bench.contenders import Contender, LacksError, Resource, Wanted, end, filled
from bench.size import Size

from .common import acquire_again, turns

IMPORT = """
import asyncio, json, sys, time
before = set(sys.modules)
begin = time.perf_counter()
import {module}
took = time.perf_counter() - begin
print(json.dumps([took, len(set(sys.modules) - before)]))
"""


async def importing(contender: Contender, size: Size) -> dict[str, float]:
    """Measure the import in new interpreters that have already imported asyncio."""
    if not contender.modules:
        raise LacksError("nothing to import")
    module = contender.modules[-1]
    with TemporaryDirectory() as bytecode:  # shared, so that only the first interpreter compiles
        samples = [_import(module, bytecode) for _ in range(size.count(8))]
    distribution = packages_distributions().get(module.split(".")[0], [module])[0]
    return {
        "ms": 1e3 * median(took for took, _ in samples[1:]),
        "modules": float(samples[-1][1]),
        "dependencies": float(_dependencies(distribution)),
    }


def _import(module: str, bytecode: str) -> tuple[float, int]:
    prefix = f"pycache_prefix={bytecode}"
    command = [sys.executable, "-X", prefix, "-c", IMPORT.format(module=module)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    took, modules = json.loads(done.stdout)
    return took, modules


def _dependencies(distribution: str) -> int:
    try:
        required = requires(distribution) or []
    except PackageNotFoundError:
        return 0
    return sum("extra ==" not in requirement for requirement in required)


async def cold_burst(contender: Contender, size: Size) -> dict[str, float]:
    """Start 200 tasks at once. Creations 5 and 15 of every 20 fail, and their tasks retry.

    The figures are ratios to an ideal pool that takes no time.
    """
    tasks, capacity = size.count(200, least=20), 20
    create, hold = 0.02, 0.005
    calls = creating = most_creating = 0

    async def factory() -> Resource:
        nonlocal calls, creating, most_creating
        calls += 1
        fails = calls % 20 in (5, 15)
        creating += 1
        most_creating = max(most_creating, creating)
        await asyncio.sleep(create)
        creating -= 1
        if fails:
            raise ConnectionError("refused, on purpose")
        return Resource()

    pool = await contender.make(Wanted(max_size=capacity, create=factory))
    served: list[float] = []

    async def user() -> None:
        resource = await acquire_again(pool, 0)
        await asyncio.sleep(hold)
        served.append(perf_counter() - begin)
        await pool.release(resource)

    begin = perf_counter()
    await asyncio.gather(*(user() for _ in range(tasks)))
    await end(pool)
    best = _ideal_burst(tasks, [create] * (capacity - 2) + [2 * create] * 2, hold)
    served.sort()
    return {
        "total": served[-1] / best[-1],
        "p50": served[tasks // 2] / best[tasks // 2],
        "p99": served[int(0.99 * tasks)] / best[int(0.99 * tasks)],
        "creations not parallel": float(max(0, min(tasks, capacity) - most_creating)),
    }


def _ideal_burst(tasks: int, ready: list[float], hold: float) -> list[float]:
    """Compute the ideal end of each task, if resources are ready at these times and always busy."""
    heapify(ready)
    done = []
    for _ in range(tasks):
        done.append(ready[0] + hold)
        heapreplace(ready, done[-1])
    return sorted(done)


async def behind_a_failure(contender: Contender, size: Size) -> dict[str, float]:
    """Let the first creation of a pool of one fail after 20 ms, while a second caller waits."""
    calls = 0
    patience = size.seconds(3.0, least=0.5)

    async def factory() -> Resource:
        nonlocal calls
        calls += 1
        fails = calls == 1
        await asyncio.sleep(0.02)
        if fails:
            raise ConnectionError("refused, on purpose")
        return Resource()

    pool = await contender.make(Wanted(max_size=1, create=factory, timeout=patience))

    async def user() -> float:
        begin = perf_counter()
        try:
            resource = await pool.acquire()
        except Exception:
            return perf_counter() - begin
        took = perf_counter() - begin
        await pool.release(resource)
        return took

    first = asyncio.create_task(user())
    await asyncio.sleep(0)
    second = await user()
    await first
    await end(pool)
    return {"served after, ms": 1e3 * second}


async def closing(contender: Contender, size: Size) -> dict[str, float]:
    """Close pools: with 20 idle resources, with one in use, and with a caller in the queue."""
    if (await contender.make(Wanted())).close is None:
        raise LacksError("it cannot be closed")

    async def slow(_: object) -> None:
        await asyncio.sleep(0.01)

    one, all_of_them = [], []
    for _ in range(size.count(5)):
        pool = await filled(contender, Wanted(max_size=size.count(20), close=slow))
        one.append(await _took(slow(None)))
        all_of_them.append(await _took(end(pool)))
    after = [await _after_the_return(contender) for _ in range(3)]
    told = [await _queued_caller(contender) for _ in range(3)]
    return {
        "20 idle ÷ one closer": median(all_of_them) / median(one),
        "after the last return, ms": 1e3 * median(after),
        "queued caller told after, ms": 1e3 * median(took for took, _ in told),
        "queued callers served": float(sum(was_served for _, was_served in told)),
    }


async def _took(work: Awaitable[Any]) -> float:
    begin = perf_counter()
    await work
    return perf_counter() - begin


async def _after_the_return(contender: Contender) -> float:
    """Measure from the last release to the end of close. Negative: close did not wait."""
    pool = await filled(contender, Wanted(max_size=1))
    held = await pool.acquire()
    ended = 0.0

    async def close() -> None:
        nonlocal ended
        await end(pool)
        ended = perf_counter()

    task = asyncio.create_task(close())
    await asyncio.sleep(0.02)
    returned = perf_counter()
    with suppress(Exception):  # some pools are closed by now and refuse it
        await pool.release(held)
    await task
    return ended - returned


async def _queued_caller(contender: Contender) -> tuple[float, bool]:
    """Measure how long a queued caller waits after the call of close, and whether it is served."""
    pool = await filled(contender, Wanted(max_size=1, timeout=1.0))
    held = await pool.acquire()

    async def waiter() -> tuple[float, bool]:
        try:
            resource = await pool.acquire()
        except Exception:
            return monotonic(), False
        told = monotonic()
        with suppress(Exception):
            await pool.release(resource)
        return told, True

    waiting = asyncio.create_task(waiter())
    await turns()
    closed = monotonic()
    closing = asyncio.create_task(end(pool))
    await asyncio.sleep(0.05)
    with suppress(Exception):
        await pool.release(held)
    told, was_served = await waiting
    await asyncio.wait([closing], timeout=1.0)
    closing.cancel()
    return told - closed, was_served
