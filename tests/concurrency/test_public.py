"""What the second semantics adds for users: order of reuse, open, numbers, messages, callbacks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeAlias

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task

Pool: TypeAlias = Any  # until the change-over, the static type of a pool is that of the first


def now() -> float:
    return asyncio.get_running_loop().time()


async def take(pool: Pool, number: int) -> list[Thing]:
    return [await pool.acquire(timeout=1) for _ in range(number)]


async def give_back(pool: Pool, *things: Thing) -> None:
    for thing in things:
        await pool.release(thing)
    await turns()


# reuse.


@pytest.mark.parametrize(("reuse", "order"), [("lifo", [2, 0, 1]), ("fifo", [1, 0, 2])])
@played
async def test_reuse_says_which_idle_resource_is_used_next(
    world: World, reuse: str, order: list[int]
) -> None:
    pool: Pool = world.pool(reuse=reuse)
    things = await take(pool, 3)
    await give_back(pool, *(things[number] for number in (1, 0, 2)))
    assert [thing.number for thing in await take(pool, 3)] == order


@pytest.mark.parametrize(("reuse", "order"), [("lifo", [2, 0, 1]), ("fifo", [1, 0, 2])])
@played
async def test_reuse_says_which_idle_resource_is_checked_next(
    world: World, reuse: str, order: list[int]
) -> None:
    pool: Pool = world.checked_pool(reuse=reuse, check_after_idle=5)
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
    pool: Pool = world.checked_pool(reuse=reuse, check_after_idle=5)
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
    pool: Pool = world.pool(max_size=4, max_idle_time=5, reuse=reuse)
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
    pool: Pool = world.pool(max_age=10, reuse=reuse)
    old = await pool.acquire()
    await asyncio.sleep(6)
    young = await pool.acquire()
    await give_back(pool, old, young) if reuse == "fifo" else await give_back(pool, young, old)
    asyncio.get_running_loop().now += 5  # type: ignore[attr-defined]
    assert await pool.acquire() is young


@pytest.mark.parametrize("reuse", ["lifo", "fifo"])
@played
async def test_after_a_failed_check_the_order_stays(world: World, reuse: str) -> None:
    pool: Pool = world.checked_pool(max_size=4, reuse=reuse, check_after_idle=5)
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


# open.


@pytest.mark.guarantees("FloorRestored")
@played
async def test_open_can_wait_until_the_minimum_size_exists(world: World) -> None:
    world.creation.shut()
    pool: Pool = world.pool(min_size=3)
    opening = start(pool.open(wait=True))
    await turns()
    for _ in range(3):
        assert not opening.done()
        world.creation.let_through()
        await turns()
    assert await opening is None
    assert pool.available_count == 3


@played
async def test_without_waiting_open_returns_at_once(world: World) -> None:
    pool: Pool = world.pool(min_size=3)
    with pytest.raises(StopIteration):
        pool.open().send(None)
    with pytest.raises(StopIteration):
        pool.open(timeout=5).send(None)
    assert pool.stats().creating == 3


@played
async def test_a_pool_that_has_its_minimum_size_does_not_wait(world: World) -> None:
    for pool in (world.pool(), world.pool(min_size=2)):
        pool_: Pool = pool
        await pool_.open(wait=True)
        with pytest.raises(StopIteration):
            pool_.open(wait=True, timeout=0).send(None)


@played
async def test_resources_in_use_or_in_work_count_as_existing(world: World) -> None:
    pool: Pool = world.checked_pool(min_size=3, max_size=3, reset=world.clean)
    await pool.open(wait=True)
    world.check.shut()
    world.reset.shut()
    acquirers = [start(pool.acquire()) for _ in range(2)]
    await turns()
    world.check.let_through()
    await pool.release(await acquirers[0])
    await turns()
    assert inside.states(pool) == {"resetting": 1, "checking": 1, "idle": 1}
    await pool.open(wait=True, timeout=0)
    world.check.open()
    world.reset.open()
    await acquirers[1]


@played
async def test_an_open_that_fails_in_time_raises_the_last_error_of_the_factory(
    world: World,
) -> None:
    errors = [OSError(number) for number in range(20)]
    world.creation.fail(*errors)
    pool: Pool = world.pool(min_size=1)
    since = now()
    error = await outcome(pool.open(wait=True, timeout=1))
    assert now() - since == 1
    assert error is errors[3], "attempts at 0, 0.1, 0.3 and 0.7"
    await asyncio.sleep(10_000)
    assert pool.available_count == 1, "the pool went on"


@pytest.mark.parametrize("limit", [2, timedelta(seconds=2)])
@played
async def test_an_open_whose_factory_is_slow_says_how_far_it_came(
    world: World, limit: float | timedelta
) -> None:
    pool: Pool = world.pool(min_size=3, name="db")
    await pool.acquire()
    await turns()
    await pool.retire_all()
    world.creation.shut()
    await turns()
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.open(wait=True, timeout=limit)
    assert str(caught.value) == (
        "pool 'db': 1 of min_size=3 resources are ready after 2 s, 2 being created. "
        "The pool goes on creating them"
    )
    world.creation.open()
    await pool.open(wait=True)


@played
async def test_an_open_without_time_fails_at_once(world: World) -> None:
    world.creation.shut()
    pool: Pool = world.pool(min_size=1)
    since = now()
    with pytest.raises(ResourcePoolTimeoutError, match="0 of min_size=1"):
        await pool.open(wait=True, timeout=0)
    assert now() == since
    world.creation.open()
    await turns()
    assert pool.available_count == 1


@played
async def test_what_comes_true_as_the_time_runs_out_is_no_timeout(world: World) -> None:
    world.creation.shut()
    pool: Pool = world.pool(min_size=1)
    opening = start(pool.open(wait=True, timeout=1))
    await turns()

    def lower() -> None:
        with pytest.raises(StopIteration):
            pool.resize(min_size=0).send(None)

    # The timer of the pool comes first, because it was set first.
    asyncio.get_running_loop().call_later(1, lower)
    await opening

    other: Pool = AsyncResourcePool(object)
    await other.acquire()
    closing = start(other.close(timeout=1))
    await turns()
    asyncio.get_running_loop().call_later(1, other.terminate)
    await closing


@played
async def test_a_failure_from_before_is_not_the_error_of_a_later_open(world: World) -> None:
    world.creation.fail(OSError("down"))
    pool: Pool = world.pool(min_size=1)
    await pool.open()
    await asyncio.sleep(0.05)
    world.creation.shut()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.open(wait=True, timeout=0.04)
    world.creation.open()
    await pool.open(wait=True)


@pytest.mark.parametrize("how", ["close", "terminate"])
@played
async def test_an_open_that_waits_fails_when_the_pool_begins_to_close(
    world: World, how: str
) -> None:
    world.creation.shut()
    pool: Pool = world.pool(min_size=1)
    openings = [start(pool.open(wait=True)), start(pool.open(wait=True, timeout=9))]
    await turns()
    closing = start(pool.close())
    if how == "terminate":
        pool.terminate()
    for opening in openings:
        assert isinstance(await outcome(opening), ResourcePoolClosedError)
    world.creation.open() if how == "close" else None
    await closing
    for arguments in ({}, {"wait": True}, {"wait": True, "timeout": 0}):
        with pytest.raises(ResourcePoolClosedError):
            await pool.open(**arguments)


@played
async def test_cancelling_an_open_stops_only_its_waiting(world: World) -> None:
    world.creation.shut()
    pool: Pool = world.pool(min_size=1)
    first, second = start(pool.open(wait=True)), start(pool.open(wait=True))
    await turns()
    first.cancel()
    assert isinstance(await outcome(first), asyncio.CancelledError)
    assert world.creation.cancelled == 0
    world.creation.open()
    await second


@played
async def test_an_open_that_waits_goes_by_the_new_minimum_size(world: World) -> None:
    world.creation.shut()
    pool: Pool = world.pool(min_size=2)
    opening = start(pool.open(wait=True))
    await turns()
    world.creation.let_through()
    await turns()
    assert not opening.done()
    await pool.resize(min_size=1)
    await opening
    world.creation.open()


@pytest.mark.parametrize("bad", [-1, math.nan, timedelta(seconds=-1)])
@played
async def test_a_bad_timeout_opens_nothing(world: World, bad: Any) -> None:
    pool: Pool = world.pool(min_size=1)
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        await pool.open(wait=True, timeout=bad)
    with pytest.raises(TypeError, match="timeout must be seconds"):
        await pool.open(wait=True, timeout="1")
    await turns()
    assert (pool.size, world.creation.calls) == (0, 0)


# The numbers.

WAYS_OUT = (
    *("late", "expired", "pruned", "surplus", "discarded", "interrupted", "check_failed"),
    *("reset_failed", "retired", "closed_down", "detached", "forgotten"),
)


def assert_equations(pool: Pool, held: int) -> None:
    """Check the equations that the documentation of the numbers states."""
    s = pool.stats()
    assert s.size == s.creating + s.checking + s.idle + s.in_use + s.resetting + s.closing
    ended = s.released + s.discarded + s.interrupted + s.detached + s.forgotten
    assert s.acquired == ended + held
    existing = s.checking + s.idle + s.in_use + s.resetting
    assert s.created == existing + sum(getattr(s, name) for name in WAYS_OUT)


async def is_released(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)


async def is_discarded(pool: Pool, world: World, thing: Thing) -> None:
    await pool.discard(thing)


async def is_interrupted(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)
    with pytest.raises(asyncio.CancelledError):
        async with pool.acquire_context():
            raise asyncio.CancelledError


async def is_detached(pool: Pool, world: World, thing: Thing) -> None:
    await pool.detach(thing)
    thing.mine = True


async def is_forgotten(pool: Pool, world: World, thing: Thing) -> None:
    thing.mine = True
    pool.terminate()


async def expires_in_use(pool: Pool, world: World, thing: Thing) -> None:
    await asyncio.sleep(100)
    await pool.release(thing)


async def expires_while_idle(pool: Pool, world: World, thing: Thing) -> None:
    await asyncio.sleep(95)
    await pool.release(thing)
    await asyncio.sleep(5)


async def expires_in_a_check(pool: Pool, world: World, thing: Thing) -> None:
    await asyncio.sleep(90)
    await pool.release(thing)
    await asyncio.sleep(6)
    world.check.time = 4.5
    assert (await pool.acquire()).number == 1
    await pool.detach(world.things[1])
    world.things[1].mine = True


async def expires_in_a_reset(pool: Pool, world: World, thing: Thing) -> None:
    world.reset.time = 9
    await asyncio.sleep(95)
    await pool.release(thing)
    await asyncio.sleep(9)


async def is_pruned(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(31)


async def is_surplus_in_use(pool: Pool, world: World, thing: Thing) -> None:
    await pool.acquire()
    await pool.resize(1)
    await pool.release(thing)


async def is_surplus_while_idle(pool: Pool, world: World, thing: Thing) -> None:
    await pool.acquire()
    await give_back(pool, thing)
    await pool.resize(1)


async def fails_its_check(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(6)
    thing.healthy = False
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)


async def exceeds_the_check(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(6)
    world.check.time = 6
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    await asyncio.sleep(6)


async def fails_its_reset(pool: Pool, world: World, thing: Thing) -> None:
    world.reset.fail(OSError("stuck"))
    await pool.release(thing)


async def exceeds_the_reset(pool: Pool, world: World, thing: Thing) -> None:
    world.reset.time = 11
    await pool.release(thing)
    await asyncio.sleep(11)


async def is_retired_in_use(pool: Pool, world: World, thing: Thing) -> None:
    await pool.retire_all()
    await pool.release(thing)


async def is_retired_while_idle(pool: Pool, world: World, thing: Thing) -> None:
    await give_back(pool, thing)
    await pool.retire_all()


async def is_retired_in_a_reset(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)
    await pool.retire_all()


async def is_retired_in_a_check(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)
    await asyncio.sleep(6)
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    await pool.retire_all()


async def is_closed_while_idle(pool: Pool, world: World, thing: Thing) -> None:
    await give_back(pool, thing)
    await pool.close()


async def is_closed_when_it_comes_back(pool: Pool, world: World, thing: Thing) -> None:
    closing = start(pool.close())
    await turns()
    await pool.release(thing)
    await closing


async def is_closed_in_a_reset(pool: Pool, world: World, thing: Thing) -> None:
    await pool.release(thing)
    await pool.close()


async def is_terminated_in_a_reset(pool: Pool, world: World, thing: Thing) -> None:
    world.reset.shut()
    await give_back(pool, thing)
    pool.terminate()


async def is_terminated_in_a_check(pool: Pool, world: World, thing: Thing) -> None:
    world.check.shut()
    await pool.release(thing)
    await asyncio.sleep(6)
    acquirer = start(pool.acquire())
    await turns()
    pool.terminate()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)


async def is_handed_over_and_passed_on(pool: Pool, world: World, thing: Thing) -> None:
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
    pool: Pool = world.checked_pool(
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

    pool: Pool = AsyncResourcePool(stubborn, world.close, max_size=1)
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
    pool: Pool = world.pool(max_size=1)

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
    pool: Pool = world.pool(max_size=1)
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
    pool: Pool = world.checked_pool(max_size=4, reset=world.clean)
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


# The messages of timeouts.


async def message(pool: Pool, timeout: float = 3) -> str:
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.acquire(timeout)
    return str(caught.value)


@played
async def test_a_timeout_over_resources_in_use_advises_to_give_back(world: World) -> None:
    pool: Pool = world.pool(max_size=2, name="db")
    await take(pool, 2)
    assert await message(pool) == (
        "pool 'db': no resource within 3 s; max_size=2: 2 in use, 1 waiting. "
        "To avoid this, give back sooner or raise max_size"
    )


WORK = {
    "creation": ("created", "factory", "creation_timeout"),
    "check": ("checked", "check", "check_timeout"),
    "reset": ("reset", "reset", "reset_timeout"),
    "closing": ("closed", "closer", "closer_timeout"),
}


@pytest.mark.parametrize("gate", WORK)
@played
async def test_a_timeout_over_work_says_since_when_and_what_to_look_at(
    world: World, gate: str
) -> None:
    done, function, limit = WORK[gate]
    pool: Pool = world.checked_pool(max_size=1, reset=world.clean, name="db", check_timeout=60)
    if gate != "creation":
        await give_back(pool, await pool.acquire())
    getattr(world, gate).shut()
    if gate == "reset":
        thing = await pool.acquire()
        await pool.release(thing)
    elif gate == "closing":
        await pool.discard(await pool.acquire())
    await asyncio.sleep(0.5 if gate in ("reset", "closing") else 0)
    age = 3.5 if gate in ("reset", "closing") else 3.0
    assert await message(pool) == (
        f"pool 'db': no resource within 3 s; max_size=1: 1 being {done} (the first for {age} s), "
        f"1 waiting. To avoid this, see why the {function} takes so long, or lower {limit}"
    )


@played
async def test_a_timeout_over_several_things_names_them_all(world: World) -> None:
    pool: Pool = world.pool(max_size=3, name="db")
    _, broken = await take(pool, 2)
    world.creation.shut()
    world.closing.shut()
    await pool.discard(broken)
    waiter = start(pool.acquire(timeout=4))
    await asyncio.sleep(1)
    text = await message(pool, 2)
    assert text == (
        "pool 'db': no resource within 2 s; max_size=3: 1 in use, "
        "1 being created (the first for 3.0 s), 1 being closed (the first for 3.0 s), 2 waiting. "
        "To avoid this, give back sooner or raise max_size; "
        "see why the factory takes so long, or lower creation_timeout; "
        "see why the closer takes so long, or lower closer_timeout"
    )
    assert isinstance(await outcome(waiter), ResourcePoolTimeoutError)


@pytest.mark.parametrize("limit", [2, 3])
@played
async def test_who_waited_for_a_creation_is_not_told_to_raise_the_limit(
    world: World, limit: int
) -> None:
    pool: Pool = world.pool(max_size=limit)
    await pool.acquire()
    world.creation.shut()
    text = await message(pool)
    assert f"max_size={limit}: 1 in use, 1 being created (the first for 3.0 s)" in text
    assert text.endswith("this, see why the factory takes so long, or lower creation_timeout")


@played
async def test_who_waited_behind_the_creation_of_another_is_told_both(world: World) -> None:
    pool: Pool = world.pool(max_size=2)
    await pool.acquire()
    world.creation.shut()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=1)  # the next one does not rely on its creation
    text = await message(pool)
    assert "give back sooner or raise max_size; see why the factory" in text


@pytest.mark.parametrize("full", [True, False])
@played
async def test_an_acquire_that_does_not_wait_blames_no_work(world: World, full: bool) -> None:
    pool: Pool = world.pool(max_size=2, name="db")
    await take(pool, 2 if full else 0)
    text = await message(pool, 0)
    assert text.startswith("pool 'db': no resource within 0 s; max_size=2: ")
    if full:
        assert text.endswith("To avoid this, give back sooner or raise max_size")
    else:
        assert "1 being created" in text
        assert text.endswith("To avoid this, allow more time")


@pytest.mark.parametrize("what", ["in use", "creating", "checking", "resetting", "closing"])
@played
async def test_a_close_that_times_out_says_what_is_left(world: World, what: str) -> None:
    pool: Pool = world.checked_pool(reset=world.clean, name="db", check_timeout=60)
    for gate in (world.check, world.reset, world.closing):
        gate.shut()
    if what == "creating":
        world.creation.shut()
        await outcome(pool.acquire(timeout=0))
    else:
        thing = await pool.acquire()
        if what == "resetting":
            await pool.release(thing)
        elif what == "closing":
            await pool.discard(thing)
        elif what == "checking":
            world.reset.open()
            await give_back(pool, thing)
            await outcome(pool.acquire(timeout=0))
    numbers = ", ".join(
        f"{int(place == what)} {place}"
        for place in ("in use", "creating", "checking", "resetting", "closing")
    )
    out = object.__repr__(thing) if what == "in use" else "nothing"
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.close(timeout=1)
    assert str(caught.value) == (
        f"pool 'db': not closed within 1 s: {numbers}; still out: {out}. "
        "Give back what is out and call close() again, or terminate()"
    )
    for gate in (world.creation, world.check, world.reset, world.closing):
        gate.open()
    if what == "in use":
        await pool.release(thing)


# The pool's calls of the user's functions.

variable = ContextVar("variable", default="nothing")
FUNCTIONS = ("factory", "check", "reset", "closer")


class Calls:
    """Functions for a pool, and a list of what each call of them saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []  # function, its task's name, the variable
        self.is_inside = False  # whether a user's call of the pool runs just now

    def note(self, function: str) -> None:
        assert not self.is_inside, f"the {function} was called inside a user's call"
        task = asyncio.current_task()
        self.seen.append((function, "" if task is None else task.get_name(), variable.get()))

    def pool(self, make: Callable[[str], Callable[..., Any]], **options: Any) -> Pool:
        """Make a pool for one resource. Every use is checked."""
        functions: dict[str, Any] = {name: make(name) for name in FUNCTIONS}
        defaults = {"max_size": 1, "check_after_idle": 0, "name": "db"}
        return AsyncResourcePool(**(functions | defaults | options))

    def plain(self, name: str) -> Callable[..., object]:
        """Make a plain function."""

        def call(*_: object) -> object:
            self.note(name)
            return object()

        return call

    def coroutine(self, name: str) -> Callable[..., Any]:
        """Make a coroutine function."""

        async def call(*_: object) -> object:
            await asyncio.sleep(0)
            self.note(name)
            return object()

        return call


async def use_all(pool: Pool) -> None:
    """Let a pool call all its functions, in their order."""
    for _ in range(2):
        await pool.release(await pool.acquire())
        await turns()
    await pool.close()


ORDER = ["factory", "reset", "check", "reset", "closer"]


def test_plain_functions_get_no_task_and_no_context_variables() -> None:
    calls = Calls()

    async def scenario() -> None:
        variable.set("of the user")
        await use_all(calls.pool(calls.plain))
        assert variable.get() == "of the user"

    run(scenario())
    assert calls.seen == [(name, "", "nothing") for name in ORDER]


def test_what_coroutines_see_is_a_task_of_their_own_and_no_context_variables() -> None:
    calls = Calls()

    async def scenario() -> None:
        variable.set("of the user")
        await use_all(calls.pool(calls.coroutine))

    run(scenario())
    assert calls.seen == [(name, f"db: {name}", "nothing") for name in ORDER]


def test_a_function_and_its_awaitable_share_their_context_variables_and_nobody_else() -> None:
    calls = Calls()

    def make(name: str) -> Callable[..., Coroutine[Any, Any, object]]:
        async def later() -> object:
            calls.note(name)
            variable.set("left behind")
            return object()

        def call(*_: object) -> Coroutine[Any, Any, object]:
            assert variable.get() == "nothing"
            variable.set(f"of the {name}")
            return later()

        return call

    async def scenario() -> None:
        await use_all(calls.pool(make))
        assert variable.get() == "nothing"

    run(scenario())
    assert calls.seen == [(name, f"db: {name}", f"of the {name}") for name in ORDER]


class Later:
    """An awaitable that is neither a coroutine nor a future."""

    def __await__(self) -> Generator[Any, None, object]:
        yield from asyncio.sleep(1).__await__()
        return object()


def resolved_later() -> asyncio.Future[object]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()
    loop.call_later(1, future.set_result, object())
    return future


async def slow() -> object:
    await asyncio.sleep(1)
    return object()


@pytest.mark.parametrize("result", [Later, resolved_later, slow])
def test_the_awaitable_result_of_a_plain_function_is_awaited(
    result: Callable[[], Awaitable[object]],
) -> None:
    times: list[float] = []

    def make(_: str) -> Callable[..., Any]:
        def call(*_: object) -> Awaitable[object]:
            times.append(now())
            return result()

        return call

    async def scenario() -> None:
        pool = Calls().pool(make)
        thing = await pool.acquire()
        assert type(thing) is object
        await pool.release(thing)
        assert await pool.acquire() is thing
        await pool.discard(thing)
        await asyncio.sleep(1.5)
        assert pool.size == 0
        await pool.close()

    run(scenario())
    assert [time - times[0] for time in times] == [0, 1, 2, 3]


@pytest.mark.parametrize("result", [Later, resolved_later, slow])
def test_the_awaitable_result_of_a_check_is_what_says_no(
    result: Callable[[], Awaitable[object]],
) -> None:
    async def says_no() -> bool:
        await result()
        return False

    def check(_: object) -> Awaitable[bool]:
        return says_no()

    async def scenario() -> None:
        pool: Pool = AsyncResourcePool(object, max_size=1, check=check, check_after_idle=0)
        first = await pool.acquire()
        await pool.release(first)
        assert await pool.acquire() is not first
        assert pool.stats().check_failed == 1
        pool.terminate()

    run(scenario())


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_no_function_of_the_user_runs_inside_a_call_of_the_user(kind: str) -> None:
    calls = Calls()

    def step(call: Callable[[], Any]) -> Any:
        """Make a call, and run a coroutine until its first suspension."""
        calls.is_inside = True
        try:
            coroutine = call()
            if asyncio.iscoroutine(coroutine):
                coroutine.send(None)
                return coroutine
        except StopIteration as result:
            return result.value
        finally:
            calls.is_inside = False
        return coroutine

    async def scenario() -> None:
        def new_pool(**options: Any) -> Pool:
            return calls.pool(getattr(calls, kind), max_size=3, **options)

        def called(before: int, *names: str) -> bool:
            return [name for name, *_ in calls.seen[before:]] == [*names]

        pool = new_pool(min_size=1, max_idle_time=5)
        step(pool.open)
        await turns()
        thing = await pool.acquire()
        count = len(calls.seen)
        step(lambda: pool.release(thing))
        assert len(calls.seen) == count
        await turns()
        assert called(count, "reset")

        count = len(calls.seen)
        acquiring = step(pool.acquire)
        assert len(calls.seen) == count
        await turns()
        assert called(count, "check")
        acquiring.close()  # as a cancellation does
        await turns()

        count = len(calls.seen)
        for call in (
            lambda: pool.resize(2, 2),
            lambda: pool.resize(1, 1),
            pool.prune,
            pool.stats,
            pool.retire_all,
        ):
            step(call)
        assert len(calls.seen) == count
        await turns()
        assert "closer" in {name for name, *_ in calls.seen[count:]}
        thing = await pool.acquire()
        step(lambda: pool.discard(thing))
        await turns()
        context = pool.acquire_context()
        await context.__aenter__()
        step(lambda: context.__aexit__(None, None, None))
        await turns()

        other = new_pool(min_size=2)
        await other.open(wait=True)
        count = len(calls.seen)
        step(other.terminate)
        assert len(calls.seen) == count
        await turns()
        assert called(count, "closer", "closer")
        count = len(calls.seen)
        closing = step(pool.close)
        assert len(calls.seen) == count
        closing.close()
        await turns()
        assert pool.closed

    run(scenario())


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_work_starts_in_a_later_turn_than_the_call_that_asked_for_it(kind: str) -> None:
    calls = Calls()

    async def scenario() -> None:
        pool = calls.pool(getattr(calls, kind))
        acquirer = start(pool.acquire())
        await turns(1)
        assert calls.seen == [], "the acquire has asked for it in this turn"
        thing = await acquirer
        before = len(calls.seen)
        await pool.release(thing)
        assert len(calls.seen) == before
        await turns()
        assert len(calls.seen) == before + 1
        await pool.close()

    run(scenario())


def test_the_error_of_a_plain_function_is_that_of_the_work() -> None:
    error = OSError("broken")

    def broken(*_: object) -> object:
        raise error

    async def scenario() -> None:
        pool: Pool = AsyncResourcePool(broken)
        assert await outcome(pool.acquire()) is error
        checked: Pool = AsyncResourcePool(
            object, broken, check=broken, check_after_idle=0, max_size=1
        )
        thing = await checked.acquire()
        await checked.release(thing)
        assert await checked.acquire() is not thing
        stats = checked.stats()
        assert (stats.check_failed, stats.closer_failures) == (1, 1)
        cleaned: Pool = AsyncResourcePool(object, reset=broken)
        await cleaned.release(await cleaned.acquire())
        await turns()
        assert cleaned.stats().reset_failed == 1
        for each in (pool, checked, cleaned):
            each.terminate()
        await turns()

    run(scenario())
