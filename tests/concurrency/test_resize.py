"""resize: growing, shrinking, what is refused, and waiting for the end."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from nodetool.concurrency import (
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import World, give_back, outcome, played, take
from tests.virtual_time import turns

start = asyncio.create_task


# Growing.


@pytest.mark.guarantees("WaiterServed", "FifoService")
@played
async def test_a_larger_limit_serves_waiters_at_once_and_in_order(world: World) -> None:
    pool = world.pool(max_size=1)
    await pool.acquire()
    waiters = [start(pool.acquire()) for _ in range(3)]
    await turns()
    await pool.resize(3)
    assert (pool.max_size, pool.stats().creating) == (3, 2), "before any turn of the loop"
    await turns()
    assert [waiter.done() for waiter in waiters] == [True, True, False]
    await pool.resize(4)
    assert (await waiters[2]).number == 3


@pytest.mark.guarantees("WaiterServed")
@played
async def test_after_a_larger_limit_a_newcomer_gets_a_creation(world: World) -> None:
    pool = world.pool(max_size=1)
    await pool.acquire()
    await pool.resize(2)
    assert (await pool.acquire(timeout=1)).number == 1


@played
async def test_a_larger_limit_alone_creates_nothing(world: World) -> None:
    pool = world.pool(max_size=1)
    await give_back(pool, *await take(pool, 1))
    await pool.resize(max_size=9)
    await turns()
    assert inside.states(pool) == {"idle": 1}


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_a_larger_limit_starts_at_most_max_creating_creations(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=1, max_creating=2)
    waiters = [start(pool.acquire()) for _ in range(4)]
    await turns()
    await pool.resize(max_size=9)
    await turns()
    assert world.creation.stopped == pool.stats().creating == 2
    world.creation.open()
    await asyncio.gather(*waiters)
    assert pool.size == 4


@pytest.mark.guarantees("FloorRestored")
@played
async def test_a_larger_minimum_size_is_created(world: World) -> None:
    pool = world.pool(max_size=2)
    await pool.open()
    await pool.resize(4, 3)
    assert (pool.max_size, pool.min_size) == (4, 3)
    assert pool.stats().creating == 3
    await turns()
    assert inside.states(pool) == {"idle": 3}


@played
async def test_before_the_first_use_resize_creates_nothing(world: World) -> None:
    pool = world.pool()
    await pool.resize(min_size=2)
    await turns()
    assert world.creation.calls == 0
    await pool.open(wait=True)
    assert inside.states(pool) == {"idle": 2}


@pytest.mark.guarantees("FloorRestored")
@played
async def test_a_larger_minimum_size_waits_for_the_back_off(world: World) -> None:
    world.creation.fail(OSError("down"))
    pool = world.pool(min_size=1)
    await pool.open()
    await turns()
    await pool.resize(min_size=2)
    await turns()
    assert (inside.minimum_size_upkeep(pool), world.creation.calls) == ("backoff", 1)
    await asyncio.sleep(0.2)
    assert inside.states(pool) == {"idle": 2}


# Shrinking.


@pytest.mark.guarantees("SizeWithinLimit", "ClosedExactlyOnce")
@pytest.mark.parametrize("reuse", ["lifo", "fifo"])
@played
async def test_a_smaller_limit_closes_idle_resources_at_once_longest_idle_first(
    world: World, reuse: str
) -> None:
    pool = world.pool(max_size=4, reuse=reuse)
    things = await take(pool, 4)
    await give_back(pool, *(things[number] for number in (2, 0, 3, 1)))
    await pool.resize(2)
    assert (pool.stats().closing, pool.available_count) == (2, 2)
    await turns()
    assert world.closed == [2, 0]
    assert (pool.size, pool.stats().surplus) == (2, 2)
    assert {thing.number for thing in await take(pool, 2)} == {3, 1}


@pytest.mark.guarantees("SizeWithinLimit", "ClosedExactlyOnce")
@played
async def test_what_needs_a_check_was_idle_for_longer_and_is_closed_first(world: World) -> None:
    pool = world.pool(check=world.is_healthy, max_size=3, check_after_idle=5)
    stale, fresh, freshest = await take(pool, 3)
    await give_back(pool, stale)
    await asyncio.sleep(6)
    await give_back(pool, fresh, freshest)
    await pool.resize(1)
    await turns()
    assert world.closed == [stale.number, fresh.number]


@pytest.mark.guarantees("SizeWithinLimit", "WaiterServed", "ShrinkCompletes")
@played
async def test_what_comes_back_is_closed_until_the_others_fit_also_while_others_wait(
    world: World,
) -> None:
    pool = world.pool(max_size=4)
    a, b, c, d = await take(pool, 4)
    waiters = [start(pool.acquire()) for _ in range(2)]
    await turns()
    await pool.resize(2)
    assert (pool.size, world.closed) == (4, []), "nothing is taken from its user"
    await give_back(pool, a)
    await give_back(pool, b)
    assert (world.closed, pool.size, pool.stats().surplus) == ([0, 1], 2, 2)
    assert not any(waiter.done() for waiter in waiters)
    await give_back(pool, c)
    assert [waiter.done() for waiter in waiters] == [True, False], "now they fit"
    assert await waiters[0] is c
    await give_back(pool, d)
    assert await waiters[1] is d
    assert world.creation.calls == 4


@pytest.mark.guarantees("SizeWithinLimit", "WaiterServed", "ShrinkCompletes")
@played
async def test_nothing_is_created_while_too_many_exist(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_size=4, min_size=3)
    a, b, c, d = await take(pool, 4)
    await pool.resize(2, 2)
    waiter = start(pool.acquire())
    await turns()
    for thing in (a, b, c):
        await pool.discard(thing)
        await turns()
    assert inside.states(pool) == {"held": 1, "closing": 3}
    for living in (3, 2):
        world.closing.let_through()
        await turns()
        assert (pool.size, world.creation.calls, waiter.done()) == (living, 4, False)
    world.closing.let_through()
    assert (await waiter).number == 4
    await pool.release(d)
    await turns()
    assert inside.states(pool) == {"held": 1, "idle": 1}


@pytest.mark.guarantees("SizeWithinLimit", "ShrinkCompletes")
@played
async def test_a_creation_in_flight_that_no_longer_fits_is_closed(world: World) -> None:
    pool = world.pool(max_size=2)
    held = (await take(pool, 1))[0]
    world.creation.shut()
    waiter = start(pool.acquire())
    await turns()
    await pool.resize(1)
    world.creation.open()
    await turns()
    assert (world.closed, waiter.done(), pool.stats().surplus) == ([1], False, 1)
    await pool.release(held)
    assert await waiter is held


@pytest.mark.guarantees("SizeWithinLimit", "ShrinkCompletes")
@pytest.mark.parametrize(("work", "state"), [("check", "checking"), ("reset", "resetting")])
@played
async def test_a_check_or_a_reset_in_flight_that_no_longer_fits_is_closed(
    world: World, work: str, state: str
) -> None:
    pool = world.pool(max_size=2, check=world.is_healthy, check_after_idle=0, reset=world.clean)
    held, other = await take(pool, 2)
    await give_back(pool, other)
    getattr(world, work).shut()
    if work == "check":
        acquirer = start(pool.acquire())
        await turns()
        acquirer.cancel()
    else:
        await pool.release(await pool.acquire())
    await turns()
    assert inside.states(pool) == {"held": 1, state: 1}
    await pool.resize(1)
    await turns()
    assert world.closed == []
    getattr(world, work).open()
    await turns()
    assert (world.closed, pool.stats().surplus) == ([1], 1)
    await give_back(pool, held)
    assert inside.states(pool) == {"idle": 1}


@pytest.mark.guarantees("SizeWithinLimit", "NothingLost")
@played
async def test_what_was_handed_to_one_who_is_cancelled_is_closed_if_it_no_longer_fits(
    world: World,
) -> None:
    pool = world.pool(max_size=2)
    held, other = await take(pool, 2)
    waiter = start(pool.acquire())
    await turns()
    await pool.release(other)
    await pool.resize(1)
    waiter.cancel()
    await turns()
    assert (world.closed, waiter.cancelled()) == ([1], True)
    await pool.release(held)


@pytest.mark.guarantees("OneOutcome")
@played
async def test_what_was_handed_over_before_a_smaller_limit_stays_its_acquirer_s(
    world: World,
) -> None:
    pool = world.pool(max_size=2)
    held, other = await take(pool, 2)
    waiter = start(pool.acquire())
    await turns()
    await pool.release(other)
    await pool.resize(1)
    assert await waiter is other
    await give_back(pool, held)
    await give_back(pool, other)
    assert (world.closed, pool.available_count) == ([0], 1)


@pytest.mark.guarantees("SizeWithinLimit", "ShrinkCompletes")
@pytest.mark.parametrize("way", ["discard", "detach"])
@played
async def test_what_leaves_in_another_way_makes_the_others_fit(world: World, way: str) -> None:
    pool = world.pool(max_size=2)
    leaving, staying = await take(pool, 2)
    await pool.resize(1)
    await getattr(pool, way)(leaving)
    leaving.mine = way == "detach"
    await give_back(pool, staying)
    assert (pool.available_count, pool.stats().surplus) == (1, 0)


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_a_resource_that_is_old_and_too_many_is_counted_once(world: World) -> None:
    pool = world.pool(max_size=2, max_age=10)
    old, young = await take(pool, 2)
    await pool.resize(1)
    await asyncio.sleep(11)
    await give_back(pool, old, young)
    assert (pool.stats().expired, pool.stats().surplus) == (2, 0)


@pytest.mark.guarantees("FloorRestored")
@played
async def test_a_smaller_minimum_size_lets_stale_resources_go(world: World) -> None:
    pool = world.pool(min_size=2, max_idle_time=5)
    await pool.open()
    await asyncio.sleep(100)
    assert pool.available_count == 2
    await pool.resize(min_size=1)
    await turns()
    assert (world.closed, pool.stats().pruned) == ([0], 1)
    await give_back(pool, *await take(pool, 1))
    await pool.resize(min_size=0)
    await asyncio.sleep(4.9)
    assert pool.available_count == 1
    await asyncio.sleep(0.2)
    assert (pool.size, pool.stats().pruned) == (0, 2)


@pytest.mark.guarantees("SizeWithinLimit", "FloorRestored")
@played
async def test_shrinking_and_growing_again_keeps_what_still_exists(world: World) -> None:
    pool = world.pool(max_size=3)
    things = await take(pool, 3)
    await pool.resize(1)
    world.assert_consistent()
    await pool.resize(3)
    await give_back(pool, *things)
    assert (pool.available_count, world.closed) == (3, [])


# max_waiting follows the limit.


@played
async def test_max_waiting_counts_by_the_new_limit(world: World) -> None:
    pool = world.pool(max_size=1, max_waiting=1)
    await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    await pool.resize(3)
    await waiter
    await pool.acquire()  # created at once
    waiter = start(pool.acquire())
    await turns()
    assert type(await outcome(pool.acquire())).__name__ == "ResourcePoolExhaustedError"
    waiter.cancel()


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_size": 0}, ValueError, "max_size must be 1 or more, not 0"),
        ({"max_size": -1}, ValueError, "max_size must be 1 or more, not -1"),
        ({"min_size": -1}, ValueError, "min_size must be 0 or more, not -1"),
        ({"max_size": 1}, ValueError, "min_size=2 must not be above max_size=1"),
        ({"min_size": 5}, ValueError, "min_size=5 must not be above max_size=4"),
        ({"max_size": 6, "min_size": 7}, ValueError, "min_size=7 must not be above max_size=6"),
        ({"max_size": 2.0}, TypeError, "max_size must be a whole number, not 2.0"),
        ({"max_size": True}, TypeError, "max_size must be a whole number, not True"),
        ({"max_size": math.inf}, TypeError, "max_size must be a whole number, not inf"),
        ({"max_size": "3"}, TypeError, "max_size must be a whole number, not '3'"),
        ({"min_size": 1.5}, TypeError, "min_size must be a whole number, not 1.5"),
        ({"max_size": 3, "min_size": "0"}, TypeError, "min_size must be a whole number, not '0'"),
    ],
)
@played
async def test_a_bad_argument_changes_nothing(
    world: World, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    pool = world.pool(max_size=4, min_size=2)
    things = await take(pool, 4)
    await give_back(pool, *things[1:])
    before = pool.stats()
    with pytest.raises(error, match=f"^{message}$"):
        await pool.resize(**arguments)
    await turns()
    assert pool.stats() == before


@played
async def test_without_arguments_nothing_changes(world: World) -> None:
    pool = world.pool(max_size=4, min_size=2)
    await pool.acquire()
    await turns()
    before = pool.stats()
    await pool.resize()
    await pool.resize(4, 2, wait=True)
    assert pool.stats() == before


@pytest.mark.guarantees("NothingAfterClose")
@pytest.mark.parametrize("how", ["closing", "closed", "terminated"])
@played
async def test_a_closed_pool_refuses_to_be_resized(world: World, how: str) -> None:
    pool = world.pool(max_size=2, name="db")
    thing = await pool.acquire()
    if how == "terminated":
        pool.terminate()
        thing.mine = True
    else:
        closing = start(pool.close())
        await turns()
        if how == "closed":
            await pool.release(thing)
            await closing
    for arguments in ({"max_size": 9}, {}, {"wait": True}):
        with pytest.raises(ResourcePoolClosedError, match="'db' is clos"):
            await pool.resize(**arguments)
    assert pool.max_size == 2
    if how == "closing":
        await pool.release(thing)
        await closing


# Waiting.


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_resize_can_wait_until_the_size_is_within_the_limit(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_size=4)
    a, b, c, _ = await take(pool, 4)
    await give_back(pool, a)
    resizing = start(pool.resize(1, wait=True))
    await turns()
    assert (inside.states(pool), pool.max_size) == ({"held": 3, "closing": 1}, 1)
    await give_back(pool, b)
    await pool.discard(c)
    await turns()
    for _ in range(3):
        assert not resizing.done(), "what is being closed still exists"
        world.closing.let_through()
        await turns()
    assert resizing.done()
    await resizing
    world.closing.open()


@played
async def test_a_resize_that_fits_already_does_not_wait(world: World) -> None:
    pool = world.pool(max_size=4)
    await pool.acquire()
    with pytest.raises(StopIteration):
        pool.resize(2, wait=True).send(None)
    with pytest.raises(StopIteration):
        pool.resize(1).send(None)


@played
async def test_cancelling_a_resize_stops_only_its_waiting(world: World) -> None:
    pool = world.pool(max_size=2)
    a, b = await take(pool, 2)
    resizing = start(pool.resize(1, wait=True))
    await turns()
    resizing.cancel()
    assert isinstance(await outcome(resizing), asyncio.CancelledError)
    await give_back(pool, a, b)
    assert (pool.max_size, pool.size, world.closed) == (1, 1, [0])


@played
async def test_concurrent_resizes_wait_for_the_last_limit(world: World) -> None:
    pool = world.pool(max_size=4)
    things = await take(pool, 4)
    resizes = [start(pool.resize(size, wait=True)) for size in (3, 1, 2)]
    await turns()
    assert pool.max_size == 2
    await give_back(pool, things[0])
    assert not any(resize.done() for resize in resizes)
    await give_back(pool, things[1])
    assert all(resize.done() for resize in resizes), "two exist, and two may"
    await give_back(pool, *things[2:])
    assert (pool.size, pool.stats().surplus) == (2, 2)


@played
async def test_a_resize_that_waits_ends_when_the_limit_grows_again(world: World) -> None:
    pool = world.pool(max_size=3)
    await take(pool, 3)
    shrinking = start(pool.resize(1, wait=True))
    await turns()
    assert not shrinking.done()
    await pool.resize(3)
    await shrinking
    assert pool.size == 3


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("how", ["close", "terminate"])
@played
async def test_a_resize_that_waits_ends_with_the_pool(world: World, how: str) -> None:
    pool = world.pool(max_size=2)
    things = await take(pool, 2)
    resizing = start(pool.resize(1, wait=True))
    await turns()
    if how == "close":
        closing = start(pool.close())
        await turns()
        assert not resizing.done(), "two still exist"
        await give_back(pool, *things)
        await closing
    else:
        for thing in things:
            thing.mine = True
        pool.terminate()
    await resizing
    assert pool.closed


# Together with everything else.


@pytest.mark.guarantees("SizeWithinLimit", "WaiterServed", "FifoService")
@pytest.mark.parametrize("options", [{}, {"max_creating": 1}, {"min_size": 1}, {"reuse": "fifo"}])
@played
async def test_resizes_at_any_time_disturb_no_user(world: World, options: dict[str, Any]) -> None:
    world.creation.time = world.closing.time = 0.3
    hooks = {"check": world.is_healthy, "reset": world.clean, "check_after_idle": 0.1}
    pool = world.pool(max_size=3, max_idle_time=1, **hooks, **options)
    served: list[int] = []

    async def use(number: int) -> None:
        await asyncio.sleep(number / 100)
        async with pool.acquire_context():
            served.append(number)
            await asyncio.sleep(0.11 + number % 5 / 10)
        world.assert_consistent()

    async def resize() -> None:
        for size in (1, 5, 2, 4, 1, 3, 6, 1):
            await asyncio.sleep(0.7)
            await pool.resize(size)
            world.assert_consistent()

    await asyncio.gather(resize(), *map(use, range(60)))
    assert served == list(range(60))
    await pool.resize(1, wait=True)
    assert pool.size <= 1


@played
async def test_a_timeout_while_the_pool_shrinks_names_the_new_limit(world: World) -> None:
    pool = world.pool(max_size=3)
    await take(pool, 3)
    await pool.resize(1)
    with pytest.raises(ResourcePoolTimeoutError, match=r"max_size=1: 3 in use"):
        await pool.acquire(timeout=1)
