"""Cancellation and timeouts, before, at and after the hand-over."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import World, outcome, played
from tests.virtual_time import turns

start = asyncio.create_task


def at_once(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


# Cancellation.


@pytest.mark.guarantees("OneOutcome")
@played
async def test_a_task_cancelled_before_it_acquires_takes_nothing(world: World) -> None:
    pool = world.pool()
    task = start(pool.acquire())
    task.cancel()
    assert isinstance(await outcome(task), asyncio.CancelledError)
    assert pool.size == 0


@pytest.mark.guarantees("OneOutcome", "WaiterServed")
@played
async def test_a_cancelled_waiter_leaves_the_queue(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    first.cancel()
    assert isinstance(await outcome(first), asyncio.CancelledError)
    assert (pool.stats().waiting, pool.stats().cancelled) == (1, 1)
    await pool.release(thing)
    assert await second is thing


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@played
async def test_a_waiter_cancelled_before_the_hand_over_passes_it_on(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    first.cancel()
    await pool.release(thing)  # in the same turn: it is handed to the first nevertheless
    assert isinstance(await outcome(first), asyncio.CancelledError)
    assert await second is thing


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@played
async def test_a_waiter_cancelled_after_the_hand_over_passes_it_on(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    await pool.release(thing)
    first.cancel()
    assert isinstance(await outcome(first), asyncio.CancelledError)
    assert await second is thing
    assert pool.stats().cancelled == 1


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@pytest.mark.parametrize("release_first", [True, False])
@played
async def test_what_was_handed_to_the_last_waiter_becomes_idle_if_it_is_cancelled(
    world: World, release_first: bool
) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    if release_first:
        await pool.release(thing)
        waiter.cancel()
    else:
        waiter.cancel()
        await pool.release(thing)
    assert isinstance(await outcome(waiter), asyncio.CancelledError)
    assert inside.states(pool) == {"idle": 1}
    assert pool.stats().acquired == 1


@pytest.mark.guarantees("NothingLost")
@played
async def test_a_cancelled_acquirer_does_not_abort_its_creation(world: World) -> None:
    world.creation.shut()
    pool = world.pool()
    task = start(pool.acquire())
    await turns()
    task.cancel()
    await turns()
    assert (pool.stats().creating, pool.stats().waiting) == (1, 0)
    world.creation.open()
    await turns()
    assert pool.available_count == 1
    assert world.creation.cancelled == 0


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@played
async def test_an_acquirer_cancelled_as_its_creation_ends_leaves_the_resource(
    world: World,
) -> None:
    world.creation.shut()
    pool = world.pool()
    task = start(pool.acquire())
    await turns()
    world.creation.open()
    await turns(1)
    task.cancel()
    assert isinstance(await outcome(task), asyncio.CancelledError)
    await turns()
    assert pool.available_count == 1


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@pytest.mark.parametrize("gap", range(8))
@played
async def test_cancelling_in_any_turn_after_a_release_loses_nothing(world: World, gap: int) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    await pool.release(thing)
    await turns(gap)
    if first.cancel():
        assert isinstance(await outcome(first), asyncio.CancelledError)
    else:
        await pool.release(await first)
    assert await second is thing


@played
async def test_a_cancelled_holder_keeps_its_lease_until_it_gives_back(world: World) -> None:
    pool = world.pool()

    async def hold() -> None:
        thing = await pool.acquire()
        try:
            await asyncio.sleep(math.inf)
        finally:
            await pool.release(thing)

    holder = start(hold())
    await turns()
    holder.cancel()
    assert isinstance(await outcome(holder), asyncio.CancelledError)
    assert (pool.available_count, pool.stats().cancelled) == (1, 0)


@pytest.mark.guarantees("OneOutcome")
@played
async def test_cancelling_is_never_converted_nor_swallowed(world: World) -> None:
    pool = world.pool(max_size=1)
    await pool.acquire()

    async def impatient() -> None:
        async with asyncio.timeout(1):
            await pool.acquire()

    with pytest.raises(TimeoutError) as caught:
        await impatient()
    assert not isinstance(caught.value, ResourcePoolError), "it is the caller's own timeout"
    assert pool.stats().waiting == 0


@played
async def test_a_callback_that_ends_in_a_cancellation_of_its_own_has_failed(world: World) -> None:
    async def cancels_itself(*_: object) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    checked = world.pool(max_size=1, check=cancels_itself, check_after_idle=0)
    await checked.release(await checked.acquire())
    await checked.release(await checked.acquire(timeout=5))
    assert checked.stats().check_failed == 1

    cleaned = world.pool(max_size=1, reset=cancels_itself)
    context = cleaned.acquire_context()
    with pytest.raises(KeyError):  # the body's exception is not masked
        async with context:
            raise KeyError
    await turns()
    assert cleaned.stats().reset_failed == 1

    async def factory() -> object:
        await cancels_itself()
        return object()

    making: AsyncResourcePool[object] = AsyncResourcePool(factory)
    with pytest.raises(ResourcePoolError, match="a cancellation of its own"):
        await making.acquire()


# Deadlines.


@pytest.mark.guarantees("OneOutcome", "DeadlineKept")
@played
async def test_an_acquire_times_out_after_its_timeout(world: World) -> None:
    pool = world.pool(max_size=1, name="db")
    await pool.acquire()
    loop = asyncio.get_running_loop()
    since = loop.time()
    with pytest.raises(
        ResourcePoolTimeoutError, match=r"'db'.* 2.5 s.*max_size=1: 1 in use"
    ) as caught:
        await pool.acquire(timeout=2.5)
    assert loop.time() - since == 2.5
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.__cause__ is None
    assert (pool.stats().timeouts, pool.stats().waiting) == (1, 0)


@pytest.mark.guarantees("DeadlineKept")
@pytest.mark.parametrize("limit", [7, 7.0, timedelta(seconds=7)])
@played
async def test_without_a_timeout_the_pools_acquisition_timeout_holds(
    world: World, limit: float | timedelta
) -> None:
    pool = world.pool(max_size=1, acquisition_timeout=limit)
    await pool.acquire()
    since = asyncio.get_running_loop().time()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire()
    assert asyncio.get_running_loop().time() - since == 7


@pytest.mark.parametrize("unlimited_pool", [True, False])
@played
async def test_an_acquire_without_limit_waits_as_long_as_it_takes(
    world: World, unlimited_pool: bool
) -> None:
    pool = world.pool(max_size=1, acquisition_timeout=None if unlimited_pool else 1)
    thing = await pool.acquire()
    waiter = start(pool.acquire() if unlimited_pool else pool.acquire(timeout=math.inf))
    await asyncio.sleep(1e6)
    assert not waiter.done()
    await pool.release(thing)
    assert await waiter is thing


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_timeout_zero_takes_an_idle_resource_or_fails_at_once(world: World) -> None:
    pool = world.pool(max_size=1)
    since = asyncio.get_running_loop().time()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    await turns()
    assert pool.available_count == 1, "the creation that it started goes on"
    assert await pool.acquire(timeout=0) is world.things[0]
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=timedelta())
    assert asyncio.get_running_loop().time() == since


@pytest.mark.parametrize("bad", [-1, -0.001, math.nan, timedelta(seconds=-1)])
@played
async def test_a_negative_timeout_and_nan_are_refused(world: World, bad: float | timedelta) -> None:
    pool = world.pool()
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        await pool.acquire(timeout=bad)
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        pool.acquire_context(timeout=bad)
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        await pool.close(timeout=bad)
    assert (pool.size, pool.closed) == (0, False)


@pytest.mark.parametrize("bad", ["1", True, [1]])
@played
async def test_a_timeout_that_is_no_duration_is_refused(world: World, bad: object) -> None:
    pool = world.pool()
    with pytest.raises(TypeError, match="timeout must be seconds, a timedelta or None"):
        await pool.acquire(timeout=bad)  # type: ignore[arg-type]


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@pytest.mark.parametrize("release_first", [True, False])
@played
async def test_of_a_release_and_a_timeout_in_one_turn_the_first_wins(
    world: World, release_first: bool
) -> None:
    pool = world.pool(max_size=1)
    loop = asyncio.get_running_loop()
    thing = await pool.acquire()
    waiter = start(pool.acquire(timeout=1))
    await turns()
    # Both timers fire in one turn, since they differ by less than the clock's resolution.
    tiny = time.get_clock_info("monotonic").resolution / 10
    loop.call_later(1 - tiny if release_first else 1 + tiny, at_once, pool.release(thing))
    result = await outcome(waiter)
    if release_first:
        assert result is thing
        assert inside.states(pool) == {"held": 1}
    else:
        assert isinstance(result, ResourcePoolTimeoutError)
        assert inside.states(pool) == {"idle": 1}
    assert pool.stats().timeouts == (not release_first)


@pytest.mark.guarantees("FifoService", "WaiterServed")
@played
async def test_a_timeout_serves_the_next_waiter_no_later(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    first = start(pool.acquire(timeout=1))
    second = start(pool.acquire(timeout=3))
    third = start(pool.acquire(timeout=2))
    await asyncio.sleep(1.5)
    assert isinstance(await outcome(first), ResourcePoolTimeoutError)
    await pool.release(thing)
    assert await second is thing
    assert isinstance(await outcome(third), ResourcePoolTimeoutError)


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_deadlines_are_kept_in_any_order(world: World) -> None:
    pool = world.pool(max_size=1)
    await pool.acquire()
    loop = asyncio.get_running_loop()
    since = loop.time()
    ended: list[float] = []

    async def wait(limit: float) -> None:
        with pytest.raises(ResourcePoolTimeoutError):
            await pool.acquire(timeout=limit)
        ended.append(limit)
        assert loop.time() - since == limit

    await asyncio.gather(*map(wait, (5, 3, 8, 1, 8, 2, 9, 4)))
    assert ended == sorted(ended)
    assert pool.stats().timeouts == 8


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_a_deadline_is_kept_while_every_callback_hangs(world: World) -> None:
    pool = world.checked_pool(max_size=3, reset=world.clean, closer_timeout=None)
    first, second = await pool.acquire(), await pool.acquire()
    await pool.release(first)
    await turns()
    for gate in (world.creation, world.check, world.reset, world.closing):
        gate.shut()
    loop = asyncio.get_running_loop()
    since = loop.time()

    async def wait(limit: float) -> float:
        with pytest.raises(ResourcePoolTimeoutError):
            await pool.acquire(timeout=limit)
        return loop.time() - since

    waiters = [start(wait(limit)) for limit in (3, 4, 2)]
    releasing = start(pool.release(second))
    await turns()
    assert inside.states(pool) == {"checking": 1, "creating": 1, "resetting": 1}
    assert await asyncio.gather(*waiters) == [3, 4, 2]
    assert pool.size == 3, "nothing has ended"
    world.reset.open()
    await releasing
