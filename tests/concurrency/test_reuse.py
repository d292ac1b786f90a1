"""`reuse`: which idle resource is used or checked next."""

from __future__ import annotations

import asyncio

import pytest

from nodetool.concurrency import ResourcePoolTimeoutError
from tests.concurrency.world import World, give_back, played, take
from tests.virtual_time import turns


@pytest.mark.parametrize(("reuse", "order"), [("lifo", [2, 0, 1]), ("fifo", [1, 0, 2])])
@played
async def test_reuse_says_which_idle_resource_is_used_next(
    world: World, reuse: str, order: list[int]
) -> None:
    pool = world.pool(reuse=reuse)
    things = await take(pool, 3)
    await give_back(pool, *(things[number] for number in (1, 0, 2)))
    assert [thing.number for thing in await take(pool, 3)] == order


@pytest.mark.parametrize(("reuse", "order"), [("lifo", [2, 0, 1]), ("fifo", [1, 0, 2])])
@played
async def test_reuse_says_which_idle_resource_is_checked_next(
    world: World, reuse: str, order: list[int]
) -> None:
    pool = world.checked_pool(reuse=reuse, check_after_idle=5)
    things = await take(pool, 3)
    await give_back(pool, *(things[number] for number in (1, 0, 2)))
    await asyncio.sleep(5)
    assert [thing.number for thing in await take(pool, 3)] == order
    assert world.checked == order


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("reuse", ["lifo", "fifo"])
@played
async def test_a_resource_that_needs_no_check_comes_first_in_any_order(
    world: World, reuse: str
) -> None:
    pool = world.checked_pool(reuse=reuse, check_after_idle=5)
    stale, fresh = await take(pool, 2)
    await give_back(pool, stale)
    await asyncio.sleep(5)
    await give_back(pool, fresh)
    assert await pool.acquire() is fresh
    assert await pool.acquire() is stale
    assert world.checked == [0]


@pytest.mark.parametrize(("reuse", "used"), [("lifo", {3}), ("fifo", {0, 1, 2, 3})])
@played
async def test_only_lifo_leaves_the_resources_alone_that_a_quiet_pool_does_not_need(
    world: World, reuse: str, used: set[int]
) -> None:
    pool = world.pool(max_size=4, max_idle_time=5, reuse=reuse)
    await give_back(pool, *await take(pool, 4))
    seen = set()
    for _ in range(8):
        async with pool.acquire_context() as thing:
            seen.add(thing.number)
        await asyncio.sleep(1)
    assert seen == used
    assert pool.size == len(used)


@pytest.mark.parametrize("reuse", ["lifo", "fifo"])
@played
async def test_what_expired_is_skipped_in_any_order(world: World, reuse: str) -> None:
    pool = world.pool(max_age=10, reuse=reuse)
    old = await pool.acquire()
    await asyncio.sleep(6)
    young = await pool.acquire()
    await give_back(pool, old, young) if reuse == "fifo" else await give_back(pool, young, old)
    asyncio.get_running_loop().now += 5  # type: ignore[attr-defined]
    assert await pool.acquire() is young


@pytest.mark.parametrize("reuse", ["lifo", "fifo"])
@played
async def test_after_a_failed_check_the_order_stays(world: World, reuse: str) -> None:
    pool = world.checked_pool(max_size=4, reuse=reuse, check_after_idle=5)
    dead, *others = await take(pool, 4)
    await give_back(pool, dead)
    await asyncio.sleep(5)
    dead.healthy = False
    world.check.shut()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    await give_back(pool, *others)
    world.check.open()
    await turns()
    assert pool.stats().check_failed == 1
    order = [1, 2, 3] if reuse == "fifo" else [3, 2, 1]
    assert [thing.number for thing in await take(pool, 3)] == order
    assert world.checked == [0, *order]
