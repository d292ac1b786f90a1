"""from_context: checks and resets by the user, and refused uses of a context."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolError,
)
from tests.concurrency.contexts import Contexts
from tests.concurrency.world import World, played
from tests.virtual_time import turns

start = asyncio.create_task


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("answer", [False, OSError("gone"), True, None, 0])
@played
async def test_a_context_is_checked_as_any_resource(world: World, answer: object) -> None:
    pool = Contexts(world).pool(check=world.is_healthy, check_after_idle=0)
    thing = await pool.acquire()
    assert world.checked == [], "it is new"
    await pool.release(thing)
    if isinstance(answer, Exception):
        world.check.fail(answer)
    else:
        thing.healthy = answer
    again = await pool.acquire()
    passed = answer is not False and not isinstance(answer, Exception)
    assert (again is thing) == passed
    assert world.checked == [0]
    assert pool.stats().check_failed == (not passed)
    await pool.release(again)


@played
async def test_what_was_used_recently_is_not_checked(world: World) -> None:
    pool = Contexts(world).pool(check=world.is_healthy, check_after_idle=5)
    await asyncio.sleep(100)
    thing = await pool.acquire()
    await asyncio.sleep(100)  # being held is being used
    await pool.release(thing)
    await asyncio.sleep(4.9)
    await pool.release(await pool.acquire())
    assert world.checked == []
    await asyncio.sleep(5)
    await pool.release(await pool.acquire())
    assert world.checked == [0]
    await pool.release(await pool.acquire())
    assert world.checked == [0], "it was used just now"


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("failure", ["false", "exception", "too slow"])
@played
async def test_after_a_failed_check_idle_contexts_are_checked(world: World, failure: str) -> None:
    pool = Contexts(world).pool(check=world.is_healthy, check_after_idle=5, check_timeout=3)
    stale, fresh = await pool.acquire(), await pool.acquire()
    await pool.release(stale)
    await asyncio.sleep(6)
    world.check.shut()
    acquirer = start(pool.acquire(timeout=1))
    await turns()
    acquirer.cancel()  # which does not touch the check
    await turns()
    await pool.release(fresh)
    if failure == "exception":
        world.check.let_through(OSError("gone"))
    elif failure == "too slow":
        await asyncio.sleep(3)
    else:
        stale.healthy = False
    world.check.open()
    await turns()
    assert (pool.stats().check_failed, world.closed) == (1, [0])
    assert await pool.acquire() is fresh, "the trust in it was withdrawn"
    assert world.checked == [0, 1]
    await pool.release(fresh)


@pytest.mark.parametrize("failure", [None, "exception", "too long"])
@played
async def test_a_context_is_reset_as_any_resource(world: World, failure: str | None) -> None:
    limit = {"reset_timeout": 5}
    pool = Contexts(world).pool(reset=world.clean, **limit)
    thing = await pool.acquire()
    if failure == "exception":
        world.reset.fail(OSError("stuck"))
    elif failure == "too long":
        world.reset.time = 6
    await pool.release(thing)
    await asyncio.sleep(6)
    assert world.was_reset == [0]
    world.reset.time = 0
    assert (await pool.acquire() is thing) == (failure is None)
    assert pool.stats().reset_failed == (failure is not None)
    await pool.release(world.things[-1])


@pytest.mark.guarantees("NothingLost", "NoDoubleRelease")
@played
async def test_a_context_cannot_be_detached(world: World) -> None:
    pool = Contexts(world).pool()
    thing = await pool.acquire()
    with pytest.raises(ResourcePoolError, match="cannot detach a context"):
        await pool.detach(thing)
    assert (pool.in_use_count, pool.stats().detached) == (1, 0)
    await pool.release(thing)
    with pytest.raises(InvalidReleaseError):
        await pool.detach(object())  # type: ignore[arg-type]


@played
async def test_a_context_may_return_what_can_neither_be_hashed_nor_compared(world: World) -> None:
    pool: AsyncResourcePool[Any] = Contexts(world).pool(max_size=2)
    things = await asyncio.gather(pool.acquire(), pool.acquire())
    for thing in things:  # whose comparison fails the test
        await pool.release(thing)
    await pool.close()
    assert sorted(world.closed) == [0, 1]


@played
async def test_what_was_entered_a_moment_ago_needs_no_check(world: World) -> None:
    pool = Contexts(world).pool(check=world.is_healthy, check_after_idle=60, min_size=1)
    await pool.open()
    await turns()
    assert pool.available_count == 1
    async with pool.acquire_context():
        assert world.checked == []
    await asyncio.sleep(60)
    async with pool.acquire_context():
        assert world.checked == [0]
    await pool.close()
