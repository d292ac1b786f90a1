"""What a pool keeps in memory while many acquirers and resources come and go."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque

from nodetool.concurrency import AsyncResourcePool
from tests import inside
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task


@played
async def test_many_cancelled_waiters_leave_nothing_behind(world: World) -> None:
    pool = world.pool(max_size=1)
    await pool.acquire()
    waiters = [start(pool.acquire(timeout=100 - number / 10)) for number in range(300)]
    await turns()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*map(outcome, waiters))
    assert inside.entries(pool).queue <= 64
    assert inside.entries(pool).wait_deadlines <= 2 * 64


@played
async def test_many_cancelled_waiters_leave_nothing_behind_another_one(world: World) -> None:
    pool = world.pool(max_size=1, acquisition_timeout=3600)
    thing = await pool.acquire()
    stays = start(pool.acquire())
    for _ in range(600):
        waiter = start(pool.acquire())
        await turns(2)
        waiter.cancel()
        await outcome(waiter)
    assert inside.entries(pool).queue <= 64
    assert inside.entries(pool).wait_deadlines <= 2 * 64
    await pool.release(thing)
    await pool.release(await stays)


@played
async def test_many_served_waiters_leave_nothing_behind(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiters: deque[asyncio.Task[Thing]] = deque()
    for number in range(600):
        waiters.append(start(pool.acquire(timeout=3600 if number % 2 else 30)))
        await turns(2)
        if len(waiters) > 3:
            await pool.release(thing)
            thing = await waiters.popleft()
    assert inside.entries(pool).wait_deadlines <= 2 * 64
    for waiter in waiters:
        await pool.release(thing)
        thing = await waiter


def test_many_ended_closers_leave_nothing_behind() -> None:
    async def scenario() -> None:
        hanging = asyncio.get_running_loop().create_future()

        async def closer(number: list[int]) -> None:
            if number == []:
                await hanging

        numbers = itertools.count()
        pool = AsyncResourcePool(
            lambda: [] if next(numbers) == 0 else [1], closer, max_size=2, closer_timeout=3600
        )
        for _ in range(300):
            await pool.discard(await pool.acquire())
            await turns()
        assert inside.entries(pool).closer_deadlines <= 2 * 64
        hanging.set_result(None)
        await pool.close()

    run(scenario())
