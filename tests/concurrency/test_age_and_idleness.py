"""Old and idle resources are closed at the right moment, and never below the minimum size."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from tests import inside
from tests.concurrency.world import World, played
from tests.virtual_time import run, turns

start = asyncio.create_task


# max_age.


@pytest.mark.parametrize("age", [10, 10.0, timedelta(seconds=10)])
@played
async def test_an_idle_resource_is_closed_by_a_timer_when_it_is_too_old(
    world: World, age: float | timedelta
) -> None:
    pool = world.pool(max_age=age)
    await pool.release(await pool.acquire())
    await asyncio.sleep(9.9)
    assert pool.available_count == 1
    await asyncio.sleep(0.1)
    await turns()
    assert world.closed == [0]
    assert (pool.size, pool.stats().expired, pool.stats().pruned) == (0, 1, 0)


@pytest.mark.parametrize("way", ["acquire", "context"])
@played
async def test_what_lies_beneath_one_that_has_grown_old_is_used(world: World, way: str) -> None:
    pool = world.pool(max_size=2, max_age=10)
    old = await pool.acquire()
    await asyncio.sleep(5)
    young = await pool.acquire()
    await pool.release(young)
    await pool.release(old)
    await asyncio.sleep(5)
    await turns()
    assert world.closed == [0]
    if way == "acquire":
        assert await pool.acquire() is young
        await pool.release(young)
    else:
        async with pool.acquire_context() as got:
            assert got is young
    assert inside.entries(pool).idle == pool.available_count == 1


@played
async def test_age_counts_from_the_end_of_the_creation(world: World) -> None:
    world.creation.time = 7
    pool = world.pool(max_age=10)
    await pool.release(await pool.acquire())
    await asyncio.sleep(9.9)
    assert pool.available_count == 1
    await asyncio.sleep(0.2)
    assert pool.available_count == 0


@pytest.mark.guarantees("ClosedExactlyOnce")
@played
async def test_an_old_resource_is_closed_when_it_comes_back(world: World) -> None:
    pool = world.pool(max_age=10)
    thing = await pool.acquire()
    await asyncio.sleep(10)
    assert not thing.closings, "never while it is in use"
    await pool.release(thing)
    await turns()
    assert world.closed == [0]
    assert (pool.stats().expired, pool.stats().released) == (1, 1)


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_an_old_resource_that_comes_back_is_not_handed_to_a_waiter(world: World) -> None:
    pool = world.pool(max_age=10, max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await asyncio.sleep(10)
    await pool.release(thing)
    assert (await waiter).number == 1


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("age", [10, 11])
@played
async def test_an_old_resource_is_not_handed_out_even_before_the_timer_ran(
    world: World, age: int
) -> None:
    pool = world.pool(max_age=10)
    await pool.release(await pool.acquire())
    loop = asyncio.get_running_loop()
    # The clock is past the limit, but the loop had no chance to run the timer.
    loop.now += age  # type: ignore[attr-defined]
    assert (await pool.acquire()).number == 1
    assert pool.stats().expired == 1


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("way", ["acquire", "context"])
@played
async def test_an_acquire_that_gets_a_young_resource_has_the_old_one_closed(
    world: World, way: str
) -> None:
    pool = world.pool(max_size=2, max_age=10)
    old = await pool.acquire()
    await asyncio.sleep(5)
    young = await pool.acquire()
    await pool.release(young)
    await pool.release(old)
    loop = asyncio.get_running_loop()
    loop.now += 6  # type: ignore[attr-defined]  # the timer has not run
    context = pool.acquire_context()
    assert await (pool.acquire() if way == "acquire" else context.__aenter__()) is young
    assert not world.closed, "a closer runs in a later turn of the loop"
    await turns(2)  # no more, because the overdue timer would close it one turn later
    assert world.closed == [old.number]
    await pool.release(young)


@pytest.mark.guarantees("NothingLost")
@played
async def test_handing_an_old_resource_back_after_a_cancelled_wait_closes_it(
    world: World,
) -> None:
    pool = world.pool(max_age=10, max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await asyncio.sleep(9)
    await pool.release(thing)
    asyncio.get_running_loop().now += 2  # type: ignore[attr-defined]
    waiter.cancel()
    await turns()
    assert world.closed == [0]


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_a_check_that_outlasts_max_age_does_not_hand_out_what_is_too_old(
    world: World,
) -> None:
    pool = world.checked_pool(max_age=10)
    await pool.release(await pool.acquire())
    world.check.time = 5
    await asyncio.sleep(8)
    thing = await pool.acquire()
    assert thing.number == 1, "handed out 3 s after its max_age"


@played
async def test_jitter_only_ever_shortens(world: World) -> None:
    pool = world.pool(max_age=100, max_age_jitter=40, max_size=50)
    since = asyncio.get_running_loop().time()
    things = [await pool.acquire() for _ in range(50)]
    lives = [inside.expires_at(pool, thing) - since for thing in things]
    assert all(60 <= life <= 100 for life in lives)
    assert len(set(lives)) > 40, "all of one age would expire at once"
    for thing in things:
        await pool.release(thing)
    await asyncio.sleep(100)
    await turns()
    assert pool.size == 0


@pytest.mark.guarantees("FloorRestored")
@played
async def test_expired_resources_are_replaced_up_to_the_minimum_size(world: World) -> None:
    pool = world.pool(max_age=10, min_size=2)
    await pool.open()
    await asyncio.sleep(10)
    await turns()
    assert world.closed == [0, 1]
    assert inside.states(pool) == {"idle": 2}
    await asyncio.sleep(10)
    await turns()
    assert world.closed == [0, 1, 2, 3]


@played
async def test_of_resources_of_several_ages_only_the_old_expire(world: World) -> None:
    pool = world.pool(max_age=10)
    first = await pool.acquire()
    await asyncio.sleep(4)
    second = await pool.acquire()
    await pool.release(second)
    await pool.release(first)
    await asyncio.sleep(6)
    await turns()
    assert (world.closed, pool.available_count) == ([0], 1)
    assert await pool.acquire() is second


@played
async def test_the_jitter_takes_nothing_from_the_program_s_random_numbers(world: World) -> None:
    pool = world.pool(max_age=100, max_age_jitter=50)
    before = random.getstate()
    things = [await pool.acquire() for _ in range(3)]
    assert random.getstate() == before
    assert len({inside.expires_at(pool, thing) for thing in things}) == 3


def test_a_younger_resource_that_ages_faster_is_closed_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorter = iter([0.0, 50.0])
    monkeypatch.setattr("random.Random.uniform", lambda *_: next(shorter))

    async def main() -> None:
        async with AsyncResourcePool(object, max_age=100, max_age_jitter=50) as pool:
            slow = await pool.acquire()
            await pool.release(slow)  # it is closed in 100 seconds
            await asyncio.sleep(10)
            assert await pool.acquire() is slow
            await pool.release(await pool.acquire())  # the other one in 50
            await pool.release(slow)
            await asyncio.sleep(51)
            assert pool.available_count == 1
            assert await pool.acquire() is slow
            await pool.release(slow)
            await asyncio.sleep(50)
            assert pool.size == 0
            assert pool.stats().expired == 2

    run(main())


@played
async def test_a_resource_that_is_held_while_many_come_and_go_still_ages(world: World) -> None:
    pool = world.pool(max_size=2, max_age=100)
    held = await pool.acquire()
    for _ in range(200):
        await pool.discard(await pool.acquire())
    await asyncio.sleep(50)
    await pool.release(held)
    await asyncio.sleep(49)
    assert pool.size == 1
    await asyncio.sleep(2)
    assert pool.size == 0
    assert pool.stats().expired == 1


# max_idle_time.


@played
async def test_what_stays_idle_is_pruned_by_a_timer(world: World) -> None:
    pool = world.pool(max_idle_time=timedelta(seconds=5))
    thing = await pool.acquire()
    await asyncio.sleep(20)
    await pool.release(thing)
    await asyncio.sleep(4.9)
    assert pool.available_count == 1, "counted from the last release"
    await asyncio.sleep(0.1)
    await turns()
    assert world.closed == [0]
    assert (pool.stats().pruned, pool.stats().expired) == (1, 0)


async def given_back(world: World, options: dict[str, Any]) -> None:
    await (pool := world.pool(**options)).release(await pool.acquire())


async def given_back_at_the_end_of_a_context(world: World, options: dict[str, Any]) -> None:
    async with world.pool(**options).acquire_context():
        pass


async def given_back_and_reset(world: World, options: dict[str, Any]) -> None:
    pool = world.pool(reset=world.clean, **options)
    await pool.release(await pool.acquire())


async def given_back_as_a_waiter_is_cancelled(world: World, options: dict[str, Any]) -> None:
    pool = world.pool(**options)
    thing, waiter = await pool.acquire(), start(pool.acquire())
    await turns()
    waiter.cancel()
    await turns()
    await pool.release(thing)


async def handed_to_one_who_is_cancelled(world: World, options: dict[str, Any]) -> None:
    pool = world.pool(**options)
    thing, waiter = await pool.acquire(), start(pool.acquire())
    await turns()
    await pool.release(thing)
    waiter.cancel()


async def created_for_one_who_was_cancelled(world: World, options: dict[str, Any]) -> None:
    pool = world.pool(**options)
    world.creation.time = 1
    waiter = start(pool.acquire())
    await turns()
    waiter.cancel()
    await asyncio.sleep(1)


@pytest.mark.parametrize("options", [{"max_idle_time": 10}, {"max_age": 10}], ids=["idle", "age"])
@pytest.mark.parametrize(
    "become_idle",
    [
        given_back,
        given_back_at_the_end_of_a_context,
        given_back_and_reset,
        given_back_as_a_waiter_is_cancelled,
        handed_to_one_who_is_cancelled,
        created_for_one_who_was_cancelled,
    ],
)
@played
async def test_an_idle_resource_is_closed_in_time_in_each_way_to_become_idle(
    world: World, become_idle: Any, options: dict[str, Any]
) -> None:
    await become_idle(world, {"max_size": 1, **options})
    await turns()
    world.assert_consistent()
    assert [thing.closings for thing in world.things] == [0]
    await asyncio.sleep(11)
    assert [thing.closings for thing in world.things] == [1]


@played
async def test_using_a_resource_restarts_its_idle_time(world: World) -> None:
    pool = world.pool(max_idle_time=5)
    for _ in range(5):
        thing = await pool.acquire()
        await pool.release(thing)
        await asyncio.sleep(4)
    assert world.creation.calls == 1


@pytest.mark.guarantees("FloorRestored")
@played
async def test_idle_time_never_shrinks_the_pool_below_its_minimum_size(world: World) -> None:
    pool = world.pool(max_idle_time=5, min_size=2)
    for thing in [await pool.acquire() for _ in range(5)]:
        await pool.release(thing)
    await asyncio.sleep(5)
    await turns()
    assert world.closed == [0, 1, 2], "the longest idle go first"
    await asyncio.sleep(100)
    assert pool.available_count == 2
    assert world.creation.calls == 5, "nothing was closed and created again"


@pytest.mark.guarantees("FloorRestored")
@played
async def test_resources_in_use_count_towards_the_minimum_size(world: World) -> None:
    pool = world.pool(max_idle_time=5, min_size=2)
    things = [await pool.acquire() for _ in range(4)]
    for thing in things[:2]:
        await pool.release(thing)
    await asyncio.sleep(5)
    await turns()
    assert inside.states(pool) == {"held": 2}
    for thing in things[2:]:
        await pool.release(thing)
    await asyncio.sleep(50)
    assert inside.states(pool) == {"idle": 2}


@played
async def test_a_busy_pool_shrinks_to_what_it_needs(world: World) -> None:
    pool = world.pool(max_idle_time=5, max_size=4)
    for thing in [await pool.acquire() for _ in range(4)]:
        await pool.release(thing)
    for _ in range(10):
        await pool.release(await pool.acquire())
        await asyncio.sleep(1)
    assert inside.states(pool) == {"idle": 1}, "last in, first out leaves the others alone"


@played
async def test_expired_and_pruned_resources_are_counted_apart(world: World) -> None:
    pool = world.pool(max_age=10, max_idle_time=4)
    first, second = await pool.acquire(), await pool.acquire()
    await pool.release(first)
    await asyncio.sleep(8)
    assert (pool.stats().pruned, pool.stats().expired) == (1, 0)
    await pool.release(second)
    await asyncio.sleep(2)
    await turns()
    assert (pool.stats().pruned, pool.stats().expired) == (1, 1)
    assert pool.size == 0


@played
async def test_the_timer_can_be_set_earlier_set_later_and_fire_without_effect(world: World) -> None:
    pool = world.pool(max_age=100, max_idle_time=5)
    thing = await pool.acquire()
    await pool.release(thing)  # timer for 5
    await asyncio.sleep(1)
    assert await pool.acquire() is thing  # so that timer has no effect
    await asyncio.sleep(98)
    await pool.release(thing)  # its age is nearer than its idle time
    await asyncio.sleep(1)
    await turns()
    assert pool.stats().expired == 1


# prune().


@played
async def test_prune_closes_what_is_overdue_and_says_how_many(world: World) -> None:
    world.closing.time = 3
    pool = world.pool(max_idle_time=5, max_size=4)
    for thing in [await pool.acquire() for _ in range(3)]:
        await pool.release(thing)
    loop = asyncio.get_running_loop()
    assert await pool.prune() == 0
    loop.now += 6  # type: ignore[attr-defined]
    pruning = start(pool.prune())
    await asyncio.sleep(2.9)
    assert (pruning.done(), pool.stats().closing) == (False, 3)
    await asyncio.sleep(0.1)
    assert await pruning == 3
    assert pool.size == 0
    assert await pool.prune() == 0


@played
async def test_prune_looks_at_every_idle_resource(world: World) -> None:
    pool = world.pool(max_age=10, max_age_jitter=5, max_size=20)
    things = [await pool.acquire() for _ in range(20)]
    for thing in things:
        await pool.release(thing)
    asyncio.get_running_loop().now += 7  # type: ignore[attr-defined]
    now = asyncio.get_running_loop().time()
    due = sum(inside.expires_at(pool, thing) <= now for thing in things)
    assert await pool.prune() == due
    assert pool.available_count == 20 - due


@pytest.mark.guarantees("ClosedExactlyOnce")
@played
async def test_cancelling_prune_lets_the_closing_go_on(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_idle_time=5)
    await pool.release(await pool.acquire())
    asyncio.get_running_loop().now += 6  # type: ignore[attr-defined]
    pruning = start(pool.prune())
    await turns()
    pruning.cancel()
    await turns()
    assert pruning.cancelled()
    assert (world.closing.stopped, world.closing.cancelled) == (1, 0)
    assert pool.stats().closing == 1


@played
async def test_prune_of_an_empty_or_closed_pool_removes_nothing(world: World) -> None:
    pool = world.pool(max_age=1)
    assert await pool.prune() == 0
    await pool.close()
    assert await pool.prune() == 0
