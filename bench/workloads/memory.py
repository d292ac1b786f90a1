"""W8: the size of a waiter and of an idle resource in bytes."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from bench.contenders import Contender, Wanted, end, filled
from bench.size import Size

from .common import turns


async def per_item(contender: Contender, size: Size) -> dict[str, float]:
    """Measure 5,000 waiters, 5,000 tasks with a bare future, and 5,000 idle resources."""
    number = size.count(5_000, least=50)
    line: deque[asyncio.Future[Any]] = deque()

    async def bare_acquire() -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        line.append(future)
        return await future

    async def bare() -> Any:
        return await bare_acquire()

    await _bytes(bare, number)  # so that asyncio's own tables of tasks grow now
    bare_bytes = await _bytes(bare, number)

    pool = await filled(contender, Wanted(max_size=1))
    held = await pool.acquire()

    async def waiter() -> Any:
        return await pool.acquire()

    waiting_bytes = await _bytes(waiter, number)
    await pool.release(held)
    await end(pool)
    return {
        "waiter": waiting_bytes,
        "waiter, bare": bare_bytes,
        "waiter, own": waiting_bytes - bare_bytes,
        "idle": await _idle_bytes(contender, number),
    }


async def _bytes(waiter: Callable[[], Coroutine[Any, Any, Any]], number: int) -> float:
    tasks: list[asyncio.Task[Any] | None] = [None] * number
    gc.collect()
    tracemalloc.start()
    for index in range(number):
        tasks[index] = asyncio.create_task(waiter())
    await turns()
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    waiting = [task for task in tasks if task is not None]
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    return taken / number


async def _idle_bytes(contender: Contender, number: int) -> float:
    gc.collect()
    tracemalloc.start()
    pool = await contender.make(Wanted(max_size=number))
    held = [await pool.acquire() for _ in range(number)]
    while held:
        await pool.release(held.pop())
    del held
    await turns()
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    await end(pool)
    return taken / number
