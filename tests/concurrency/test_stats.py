"""stats(): each number, and the equations between the numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    PoolStats,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import Thing, World, give_back, outcome, played, take
from tests.virtual_time import turns

start = asyncio.create_task


PLACES = ("creating", "checking", "idle", "in_use", "resetting", "closing")


@pytest.mark.guarantees("CountsAgree")
@played
async def test_stats_count_each_event_once(world: World) -> None:
    pool = world.checked_pool(
        max_size=3, min_size=1, max_waiting=1, max_age=100, max_idle_time=50, reset=world.clean
    )
    before = pool.stats()
    limits = {"max_size": 3, "min_size": 1, "closed": False}
    assert before._asdict() == dict.fromkeys(PoolStats._fields, 0) | limits
    with pytest.raises(AttributeError):
        before.size = 1  # type: ignore[misc]

    things = [await pool.acquire() for _ in range(3)]
    waiter = start(pool.acquire(timeout=1))
    await turns()
    for _ in range(2):
        with pytest.raises(ResourcePoolError):
            await pool.acquire()  # rejected
    await asyncio.sleep(1)
    with pytest.raises(TimeoutError):
        await waiter
    waiter = start(pool.acquire())
    await turns()
    waiter.cancel()
    await turns()
    world.closing.shut()
    await pool.discard(things[0])
    await pool.release(things[1])
    await turns()
    world.creation.shut()
    stats = pool.stats()
    gauges = ("size", "idle", "in_use", "creating", "closing", "waiting")
    assert [getattr(stats, name) for name in gauges] == [3, 1, 1, 0, 1, 0]
    world.closing.open()
    await pool.detach(things[2])
    things[2].mine = True
    await turns()
    assert (stats.size, pool.stats().size) == (3, 1), "a snapshot does not change"

    things[1].healthy = False
    world.creation.open()
    world.creation.fail(OSError("down"))
    with pytest.raises(OSError, match="down"):
        await pool.acquire()  # check failure, creation failure
    await asyncio.sleep(0.1)
    world.reset.fail(OSError("stuck"))
    world.closing.fail(OSError("broken"))
    await pool.release(await pool.acquire())
    await asyncio.sleep(100)
    things = [await pool.acquire() for _ in range(2)]
    for thing in things:
        await pool.release(thing)
    await asyncio.sleep(50)
    await turns()
    stats = pool.stats()
    assert (stats.acquired, stats.released, stats.discarded, stats.detached) == (6, 4, 1, 1)
    assert (stats.check_failed, stats.creation_failures) == (1, 1)
    assert (stats.reset_failed, stats.closer_failures) == (1, 1)
    assert (stats.timeouts, stats.cancelled, stats.rejected) == (1, 1, 2)
    assert (stats.expired, stats.pruned) == (1, 1)
    assert (stats.size, stats.idle, stats.created) == (1, 1, world.creation.calls - 1)


@pytest.mark.guarantees("CountsAgree")
@played
async def test_properties_show_the_numbers(world: World) -> None:
    pool = world.pool(max_size=3, min_size=1)
    await pool.open()
    await turns()
    assert (pool.size, pool.available_count, pool.in_use_count) == (1, 1, 0)
    thing = await pool.acquire()
    assert (pool.size, pool.available_count, pool.in_use_count) == (1, 0, 1)
    assert (pool.max_size, pool.min_size, pool.closed) == (3, 1, False)
    closing = start(pool.close())
    await turns()
    assert not pool.closed, "it is closing"
    await pool.release(thing)
    await closing
    assert pool.closed


@pytest.mark.guarantees("CountsAgree")
@played
async def test_every_step_moves_a_resource_from_one_number_to_the_next(world: World) -> None:
    pool = world.checked_pool(max_size=1, reset=world.clean)
    for gate in (world.creation, world.check, world.reset, world.closing):
        gate.shut()

    async def numbers() -> tuple[dict[str, int], int]:
        """Return the places of resources that are not empty, and how many acquirers wait."""
        await turns()
        stats = pool.stats()
        places = {name: getattr(stats, name) for name in PLACES}
        assert pool.size == stats.size == sum(places.values())
        return {name: number for name, number in places.items() if number}, stats.waiting

    assert await numbers() == ({}, 0)
    first, second = start(pool.acquire()), start(pool.acquire())
    assert await numbers() == ({"creating": 1}, 2)
    world.creation.let_through()
    assert await numbers() == ({"in_use": 1}, 1), "the first holds it"
    await pool.release(await first)
    assert await numbers() == ({"resetting": 1}, 1)
    world.reset.let_through()
    assert await numbers() == ({"checking": 1}, 1), "for the second"
    third = start(pool.acquire())
    assert await numbers() == ({"checking": 1}, 2)
    world.check.let_through(OSError("gone"))
    assert await numbers() == ({"closing": 1}, 2)
    third.cancel()
    assert await numbers() == ({"closing": 1}, 1)
    world.closing.let_through()
    assert await numbers() == ({"creating": 1}, 1)
    world.creation.let_through(OSError("down"))
    assert await numbers() == ({}, 0), "the second gets an error"
    with pytest.raises(OSError, match="down"):
        await second

    for gate in (world.creation, world.check, world.reset):
        gate.open()
    await pool.release(await pool.acquire())
    assert await numbers() == ({"idle": 1}, 0)
    await pool.retire_all()
    assert await numbers() == ({"closing": 1}, 0)
    world.closing.open()
    assert await numbers() == ({}, 0)
    thing = await pool.acquire()
    assert await numbers() == ({"in_use": 1}, 0)
    await pool.detach(thing)
    thing.mine = True
    assert await numbers() == ({}, 0)


@pytest.mark.parametrize(
    "name", ["size", "available_count", "in_use_count", "max_size", "min_size", "closed"]
)
def test_properties_cannot_be_set(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(AsyncResourcePool(object), name, 1)


WAYS_OUT = (
    *("late", "expired", "pruned", "surplus", "discarded", "interrupted", "check_failed"),
    *("reset_failed", "retired", "closed_down", "detached", "forgotten"),
)


def assert_equations(pool: AsyncResourcePool[Any], held: int) -> None:
    """Check the equations that the documentation of the numbers states."""
    s = pool.stats()
    assert s.size == s.creating + s.checking + s.idle + s.in_use + s.resetting + s.closing
    ended = s.released + s.discarded + s.interrupted + s.detached + s.forgotten
    assert s.acquired == ended + held
    existing = s.checking + s.idle + s.in_use + s.resetting
    assert s.created == existing + sum(getattr(s, name) for name in WAYS_OUT)


async def is_released(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)


async def is_discarded(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.discard(thing)


async def is_interrupted(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)
    with pytest.raises(asyncio.CancelledError):
        async with pool.acquire_context():
            raise asyncio.CancelledError


async def is_detached(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.detach(thing)
    thing.mine = True


async def is_forgotten(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    thing.mine = True
    pool.terminate()


async def expires_in_use(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await asyncio.sleep(100)
    await pool.release(thing)


async def expires_while_idle(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await asyncio.sleep(95)
    await pool.release(thing)
    await asyncio.sleep(5)


async def expires_in_a_check(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await asyncio.sleep(90)
    await pool.release(thing)
    await asyncio.sleep(6)
    world.check.time = 4.5
    assert (await pool.acquire()).number == 1
    await pool.detach(world.things[1])
    world.things[1].mine = True


async def expires_in_a_reset(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    world.reset.time = 9
    await asyncio.sleep(95)
    await pool.release(thing)
    await asyncio.sleep(9)


async def is_pruned(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(31)


async def is_surplus_in_use(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.acquire()
    await pool.resize(1)
    await pool.release(thing)


async def is_surplus_while_idle(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.acquire()
    await give_back(pool, thing)
    await pool.resize(1)


async def fails_its_check(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(6)
    thing.healthy = False
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)


async def exceeds_the_check(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(6)
    world.check.time = 6
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    await asyncio.sleep(6)


async def fails_its_reset(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    world.reset.fail(OSError("stuck"))
    await pool.release(thing)


async def exceeds_the_reset(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    world.reset.time = 11
    await pool.release(thing)
    await asyncio.sleep(11)


async def is_retired_in_use(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.retire_all()
    await pool.release(thing)


async def is_retired_while_idle(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await give_back(pool, thing)
    await pool.retire_all()


async def is_retired_in_a_reset(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)
    await pool.retire_all()


async def is_retired_in_a_check(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(6)
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    await pool.retire_all()


async def is_closed_while_idle(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await give_back(pool, thing)
    await pool.close()


async def is_closed_when_it_comes_back(
    pool: AsyncResourcePool[Any], world: World, thing: Thing
) -> None:
    closing = start(pool.close())
    await turns()
    await pool.release(thing)
    await closing


async def is_closed_in_a_reset(pool: AsyncResourcePool[Any], world: World, thing: Thing) -> None:
    await pool.release(thing)
    await pool.close()


async def is_terminated_in_a_reset(
    pool: AsyncResourcePool[Any], world: World, thing: Thing
) -> None:
    world.reset.shut()
    await give_back(pool, thing)
    pool.terminate()


async def is_terminated_in_a_check(
    pool: AsyncResourcePool[Any], world: World, thing: Thing
) -> None:
    world.check.shut()
    await pool.release(thing)
    await asyncio.sleep(6)
    acquirer = start(pool.acquire())
    await turns()
    pool.terminate()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)


async def is_handed_over_and_passed_on(
    pool: AsyncResourcePool[Any], world: World, thing: Thing
) -> None:
    await pool.resize(1)
    waiter = start(pool.acquire())
    await turns()
    await pool.release(thing)
    while inside.states(pool) != {"handed": 1}:
        await turns(1)
    waiter.cancel()
    assert isinstance(await outcome(waiter), asyncio.CancelledError)


ENDINGS: dict[Callable[..., Awaitable[None]], dict[str, int]] = {
    is_released: {"released": 1},
    is_handed_over_and_passed_on: {"released": 1},
    is_discarded: {"discarded": 1},
    is_interrupted: {"released": 1, "interrupted": 1},
    is_detached: {"detached": 1},
    is_forgotten: {"forgotten": 1},
    expires_in_use: {"released": 1, "expired": 1},
    expires_while_idle: {"released": 1, "expired": 1},
    expires_in_a_check: {"released": 1, "expired": 1, "detached": 1},
    expires_in_a_reset: {"released": 1, "expired": 1},
    is_pruned: {"released": 1, "pruned": 1},
    is_surplus_in_use: {"released": 1, "surplus": 1},
    is_surplus_while_idle: {"released": 1, "surplus": 1},
    fails_its_check: {"released": 1, "check_failed": 1},
    exceeds_the_check: {"released": 1, "check_failed": 1},
    fails_its_reset: {"released": 1, "reset_failed": 1},
    exceeds_the_reset: {"released": 1, "reset_failed": 1},
    is_retired_in_use: {"released": 1, "retired": 1},
    is_retired_while_idle: {"released": 1, "retired": 1},
    is_retired_in_a_reset: {"released": 1, "retired": 1},
    is_retired_in_a_check: {"released": 1, "retired": 1},
    is_closed_while_idle: {"released": 1, "closed_down": 1},
    is_closed_when_it_comes_back: {"released": 1, "closed_down": 1},
    is_closed_in_a_reset: {"released": 1, "closed_down": 1},
    is_terminated_in_a_reset: {"released": 1, "closed_down": 1},
    is_terminated_in_a_check: {"released": 1, "closed_down": 1},
}


@pytest.mark.guarantees("CountsAgree")
@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
@played
async def test_each_ending_is_counted_once_under_its_name(
    world: World, end: Callable[..., Awaitable[None]]
) -> None:
    pool = world.checked_pool(
        max_size=2, check_after_idle=5, reset=world.clean, max_age=100, max_idle_time=30
    )
    thing = await pool.acquire()
    assert_equations(pool, 1)
    await end(pool, world, thing)
    assert_equations(pool, len(inside.resources_at(pool, "held")))
    await turns()
    stats = pool.stats()
    names = ("released", *WAYS_OUT)
    counted = {name: number for name in names if (number := getattr(stats, name))}
    assert counted == ENDINGS[end]
    assert_equations(pool, len(inside.resources_at(pool, "held")))


def test_the_table_of_endings_is_complete() -> None:
    found = {name for ending in ENDINGS.values() for name in ending} - {"released"}
    assert {*WAYS_OUT} == found | {"late"}, "test_work_limits is about late creations"


@pytest.mark.guarantees("CountsAgree")
@pytest.mark.parametrize("end", ["retire_all", "close", "terminate"])
@played
async def test_what_is_created_for_an_old_generation_is_counted_by_what_made_it_old(
    world: World, end: str
) -> None:
    async def stubborn() -> Thing:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            assert end == "terminate"
        return await world.create()

    pool = AsyncResourcePool(stubborn, world.close, max_size=1)
    world.pools.append(pool)
    acquirer = start(outcome(pool.acquire()))
    await turns()
    if end == "retire_all":
        await pool.retire_all()
    elif end == "close":
        closing = start(pool.close())
        await turns()
        await closing
    else:
        pool.terminate()
    await acquirer
    await turns()
    stats = pool.stats()
    assert (stats.retired, stats.closed_down) == ((1, 0) if end == "retire_all" else (0, 1))
    assert_equations(pool, int(end == "retire_all"))


@pytest.mark.guarantees("CountsAgree")
@played
async def test_waits_count_the_acquires_that_joined_the_queue_and_their_time(
    world: World,
) -> None:
    pool = world.pool(max_size=1)

    def waits() -> tuple[int, float]:
        stats = pool.stats()
        return stats.waits, round(stats.waited_seconds, 6)

    world.creation.time = 2
    thing = await pool.acquire()
    assert waits() == (1, 2)
    await pool.release(thing)
    await pool.acquire()  # at once
    assert waits() == (1, 2)

    served = start(pool.acquire())
    await asyncio.sleep(3)
    assert waits() == (2, 2), "the time is counted at its end"
    await pool.release(thing)
    await served
    assert waits() == (2, 5)

    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=4)
    assert waits() == (3, 9)
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    assert waits() == (4, 9)

    cancelled = start(pool.acquire())
    await asyncio.sleep(5)
    cancelled.cancel()
    await outcome(cancelled)
    assert waits() == (5, 14)

    again = start(pool.acquire())
    await asyncio.sleep(1)
    await pool.release(thing)
    await pool.retire_all()  # it was handed over, so its acquirer waits again
    assert (await again).number == 1
    assert waits() == (6, 17)

    failing = start(pool.acquire())
    await asyncio.sleep(1)
    world.creation.fail(OSError("down"))
    await pool.discard(world.things[1])
    assert isinstance(await outcome(failing), OSError)
    assert waits() == (7, 20)


@pytest.mark.guarantees("CountsAgree")
@played
async def test_waits_of_a_pool_that_closes_are_counted(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiters = [start(outcome(pool.acquire())) for _ in range(3)]
    await asyncio.sleep(2)
    closing = start(pool.close())
    await asyncio.gather(*waiters)
    assert (pool.stats().waits, pool.stats().waited_seconds) == (4, 6)
    await pool.release(thing)
    await closing


@played
async def test_in_use_is_what_is_handed_over_or_held(world: World) -> None:
    pool = world.checked_pool(max_size=4, reset=world.clean)
    held, checked, cleaned, handed = await take(pool, 4)
    await give_back(pool, checked)
    world.check.shut()
    acquirer = start(pool.acquire())
    await turns()
    world.reset.shut()
    await pool.release(cleaned)
    await turns()
    stats = pool.stats()
    assert (stats.in_use, stats.checking, stats.resetting) == (2, 1, 1)
    assert pool.in_use_count == 2
    assert repr(pool).endswith("open: size 4 of 4, 0 idle, 2 in use, 1 waiting>")
    world.check.open()
    world.reset.open()
    await give_back(pool, held, handed, await acquirer)
