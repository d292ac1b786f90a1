"""Bugs that other pools and primitives shipped, re-enacted: limits, closing, time and loops.

The second part of ``test_bug_zoo``. Resizing (Z29, Z30) has tests of its own in ``test_resize``.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    DuplicateResourceError,
    ResourcePoolClosedError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import VirtualTimeLoop, run, turns


async def take(pool: AsyncResourcePool[Thing], number: int) -> list[Thing]:
    return [await pool.acquire(timeout=1) for _ in range(number)]


async def give_back(pool: AsyncResourcePool[Thing], things: list[Thing]) -> None:
    for thing in things:
        await pool.release(thing)


def busy_for(seconds: float) -> None:
    """Let time pass, but no timer run."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.now += seconds


# Limits and accounting.


@pytest.mark.guarantees("SizeWithinLimit", "CountsAgree")
@played
async def test_z31_a_failed_check_frees_one_slot_not_two(world: World) -> None:
    """deadpool #92, #205: a failed recycling lowered the size and freed the slot as well."""
    pool = world.checked_pool(max_size=2)
    world.closing.time = 0.1
    for _ in range(3):
        things = await take(pool, 2)
        for thing in things:
            thing.healthy = False
        await give_back(pool, things)
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(5)]
    await asyncio.sleep(1)
    assert sum(task.done() for task in waiting) == 2
    assert (world.living, world.most, pool.size) == (2, 2, 2)
    for task in waiting:
        task.cancel()


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_z32_many_at_once_do_not_create_more_than_the_limit(world: World) -> None:
    """nimble_pool PR 15, neo4j-javascript-driver PR 1216: all saw room before any had taken it."""
    pool = world.checked_pool(max_size=2)
    world.creation.time = world.check.time = 0.1

    async def use() -> None:
        async with pool.acquire_context():
            await asyncio.sleep(0)

    await asyncio.gather(*(use() for _ in range(10)))
    assert (world.creation.calls, world.most) == (2, 2)


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_z33_what_is_being_closed_counts(world: World) -> None:
    """generic-pool 3.9.0, tarn 3.1.2, pgx PR 2425: five were open at once, with a limit of one."""
    pool = world.pool(max_size=1)
    world.closing.shut()
    await pool.discard(await pool.acquire())
    with pytest.raises(ResourcePoolTimeoutError, match=r"1 (closing|being closed)"):
        await pool.acquire(timeout=1)
    assert world.creation.calls == 1
    world.closing.open()
    assert (await pool.acquire(timeout=1)).number == 1
    assert world.most == 1


@pytest.mark.guarantees("SizeWithinLimit", "CountsAgree", "CloseWaits")
@pytest.mark.parametrize("ends_well", [True, False])
def test_z34_a_creation_from_before_counts_until_it_ends(ends_well: bool) -> None:
    """mssql-python #746: close() set the counter to zero while an open was in flight."""

    @played
    async def scenario(world: World) -> None:
        pool = world.pool(max_size=2)
        held = await pool.acquire()
        world.creation.shut()
        a = asyncio.create_task(pool.acquire())
        await turns()
        await pool.retire_all()
        await turns()
        assert (pool.size, world.creation.calls) == (2, 2)
        world.creation.let_through(None if ends_well else OSError("old"))
        await turns()
        assert (pool.size, world.creation.calls, a.done()) == (2, 3, False)
        closing = asyncio.create_task(pool.close())
        await turns()
        world.creation.let_through(None if ends_well else OSError("new"))
        await turns()
        assert (pool.size, closing.done()) == (1, False)
        await pool.release(held)
        await closing
        assert (pool.size, world.most) == (0, 2)
        assert isinstance(await outcome(a), ResourcePoolClosedError)

    scenario()


class Twin:
    """A resource that equals every other one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Twin)

    def __hash__(self) -> int:
        return 1


@pytest.mark.guarantees("SingleHolder")
def test_z35_equal_resources_are_two_and_the_same_one_twice_is_refused() -> None:
    """Commons Pool POOL-283, POOL-284; this pool's predecessor: three borrowers with a limit of two
    and "1 in use".
    """

    async def main() -> None:
        made: list[Twin] = []
        closed: list[Twin] = []

        def factory() -> Twin:
            made.append(made[0] if len(made) == 2 else Twin())
            return made[-1]

        async with AsyncResourcePool(factory, closed.append, max_size=3) as pool:
            a, b = await pool.acquire(), await pool.acquire()
            assert a is not b
            assert pool.in_use_count == 2
            with pytest.raises(DuplicateResourceError):
                await pool.acquire()
            assert (pool.size, pool.in_use_count, closed) == (2, 2, [])
            await pool.release(a)
            assert (pool.available_count, pool.in_use_count) == (1, 1)
            assert await pool.acquire() is a
            await pool.release(a)
            await pool.release(b)
        assert sorted(map(id, closed)) == sorted({id(a), id(b)})

    run(main())


@pytest.mark.guarantees("FloorRestored")
@pytest.mark.parametrize("by_hand", [True, False])
def test_z37_idle_resources_shrink_to_the_minimum_size_which_exists(by_hand: bool) -> None:
    """HikariCP 983, asyncpg #711: below the minimum. This pool's predecessor: the minimum size was
    never created, and prune removed half of what it should.
    """

    @played
    async def scenario(world: World) -> None:
        pool = world.pool(max_size=6, min_size=2, max_idle_time=10)
        await pool.open()
        await turns()
        assert pool.available_count == 2
        await give_back(pool, await take(pool, 6))
        if by_hand:
            busy_for(11)
            assert await pool.prune() == 4
        else:
            await asyncio.sleep(11)
        assert (pool.size, pool.available_count, world.living) == (2, 2, 2)
        await asyncio.sleep(100)
        assert (pool.stats().pruned, world.creation.calls) == (4, 6)

    scenario()


@pytest.mark.guarantees("FloorRestored")
@played
async def test_z38_prune_counts_what_stays_and_takes_what_is_idle(world: World) -> None:
    """httpcore 1.0.9: the limit for idle connections was compared with all connections."""
    pool = world.pool(max_size=6, min_size=2, max_idle_time=10, closer_timeout=None)
    things = await take(pool, 6)
    await give_back(pool, things[:2])
    await asyncio.sleep(11)
    assert (pool.in_use_count, pool.available_count) == (
        4,
        0,
    )  # above the minimum size
    world.closing.shut()
    await pool.discard(things[2])
    await pool.discard(things[3])
    await give_back(pool, things[4:])
    await asyncio.sleep(11)
    stats = pool.stats()
    assert (stats.closing, stats.idle, stats.pruned) == (2, 2, 2)  # what is closing does not stay


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_z39_only_idle_time_is_idle_time_and_age_never_stops(world: World) -> None:
    """This pool's predecessor counted busy time; ProxySQL #6169: a reset restarted the age;
    pgx #2560: the age mattered only while idle; asyncpg #389: no timer for the never-used.
    """
    pool = world.pool(max_size=1, max_idle_time=10, max_age=100, reset=world.clean)
    first = await pool.acquire()
    await pool.release(first)
    assert await pool.acquire() is first
    await asyncio.sleep(50)  # busy
    await pool.release(first)
    await asyncio.sleep(9)
    assert await pool.acquire() is first
    await pool.release(first)
    await turns()  # it is reset
    busy_for(11)
    second = await pool.acquire()
    assert second is not first

    await asyncio.sleep(60)
    await pool.release(second)
    assert await pool.acquire() is second
    await asyncio.sleep(60)
    await pool.release(second)
    await turns()
    assert second.closings == 1
    assert pool.stats().expired == 1

    never_used = world.pool(max_size=1, max_idle_time=10)
    with pytest.raises(ResourcePoolTimeoutError):
        await never_used.acquire(timeout=0)
    await turns()
    assert never_used.available_count == 1
    await asyncio.sleep(11)
    assert never_used.size == 0


@pytest.mark.guarantees("NothingLost", "ClosedExactlyOnce")
@played
async def test_an_expired_resource_whose_acquirer_is_cancelled_is_closed_all_the_same(
    world: World,
) -> None:
    """This pool's predecessor: the acquirer itself awaited the closer of what had expired."""
    pool = world.pool(max_size=1, max_idle_time=10)
    await pool.release(await pool.acquire())
    world.closing.shut()
    busy_for(11)
    a = asyncio.create_task(pool.acquire())
    await turns()
    a.cancel()
    await turns()
    assert a.cancelled()
    assert (world.things[0].closings, world.closing.stopped) == (1, 1)
    assert pool.size == 1  # counted until it is closed
    world.closing.open()
    assert (await pool.acquire(timeout=1)).number == 1


# Closing, retiring and creations in flight.


@pytest.mark.guarantees("OnlyFitHandedOut", "RetireAllCompletes")
@played
async def test_z40_a_creation_in_flight_is_retired_with_the_rest(world: World) -> None:
    """HikariCP #1836, psycopg's drain(), asyncpg's expire_connections(): the old credentials of a
    connection that was just being made were served on and on.
    """
    pool = world.pool(max_size=2)
    world.creation.shut()
    a = asyncio.create_task(pool.acquire())
    await turns()
    await pool.retire_all()
    await turns()
    assert world.creation.stopped == 2  # the retired one and its replacement
    world.creation.open()
    assert (await a).number == 1
    assert world.closed == [0]

    waiting = asyncio.create_task(pool.retire_all(wait=True))
    await turns()
    assert not waiting.done()
    await pool.release(a.result())
    await waiting
    assert world.closed == [0, 1]


@pytest.mark.guarantees("CloseWaits", "CloseCompletes", "WaitersFailAtClose")
@played
async def test_z41_a_creation_that_ends_while_the_pool_closes_is_closed(world: World) -> None:
    """psycopg #784, puddle #8, HikariCP #229: close() emptied the pool, and then one was added."""
    pool = world.pool(max_size=2)
    world.creation.shut()
    a = asyncio.create_task(pool.acquire())
    await turns()
    closing = asyncio.create_task(pool.close(timeout=1))
    await turns()
    assert isinstance(await outcome(a), ResourcePoolClosedError)
    assert not closing.done()
    world.creation.open()
    await closing
    assert world.closed == [0]
    assert (pool.size, pool.closed) == (0, True)


@pytest.mark.guarantees("NothingAfterClose", "CloseCompletes")
@played
async def test_z43_an_early_return_holds_nothing(world: World) -> None:
    """puddle #8: creating in a closed pool returned with the mutex held; the next call hung."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    ends = [asyncio.create_task(pool.close()) for _ in range(2)]
    await turns()
    for _ in range(3):
        with pytest.raises(ResourcePoolClosedError):
            async with asyncio.timeout(1):
                await pool.acquire()
    with pytest.raises(ResourcePoolClosedError):
        await pool.open()
    await pool.release(thing)
    await asyncio.gather(*ends)
    await pool.close()
    with pytest.raises(ResourcePoolClosedError):
        await pool.acquire()


@pytest.mark.guarantees(
    "NothingAfterClose", "ClosedExactlyOnce", "CloseWaits", "WaitersFailAtClose"
)
@played
async def test_z44_close_waits_for_users_and_serves_no_waiter(world: World) -> None:
    """asyncpg #290, peanar #76: a waiter was served during closing, and its resource closed."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    b = asyncio.create_task(pool.acquire())
    await turns()
    closing = asyncio.create_task(pool.close())
    await turns()
    assert isinstance(await outcome(b), ResourcePoolClosedError)
    assert (closing.done(), thing.closings) == (False, 0)
    await pool.release(thing)
    await closing
    assert (thing.closed, pool.stats().acquired) == (True, 1)


@pytest.mark.guarantees("NothingAfterClose")
@played
async def test_z45_a_closed_pool_creates_nothing(world: World) -> None:
    """This pool's predecessor: acquiring after close(), and a waiter from before, got new ones."""
    pool = world.pool(max_size=2, min_size=2)
    things = await take(pool, 2)
    waiting = asyncio.create_task(pool.acquire())
    await turns()
    closing = asyncio.create_task(pool.close())
    await turns()
    with pytest.raises(ResourcePoolClosedError, match="closing"):
        await pool.acquire()
    await pool.discard(things[0])
    await turns()
    await pool.release(things[1])
    await closing
    with pytest.raises(ResourcePoolClosedError, match="closed"):
        await pool.acquire()
    assert isinstance(await outcome(waiting), ResourcePoolClosedError)
    await asyncio.sleep(100)
    assert world.creation.calls == 2


@pytest.mark.guarantees("ClosedExactlyOnce", "FaultIsolation")
@played
async def test_z48_a_closer_that_fails_stops_nothing_else(world: World) -> None:
    """psycopg_pool 3.3.3: of three idle ones the first closer failed; two were never closed."""
    pool = world.pool(max_size=4)
    things = await take(pool, 4)
    b = asyncio.create_task(pool.acquire())
    await turns()
    await pool.release(things[3])
    await b
    await give_back(pool, things[:3])
    world.closing.fail(OSError("reset by peer"))
    closing = asyncio.create_task(pool.close(timeout=1))
    await turns()
    await pool.release(b.result())
    await closing
    assert sorted(world.closed) == [0, 1, 2, 3]
    assert pool.stats().closer_failures == 1


@pytest.mark.guarantees("WaitersFailAtClose")
@played
async def test_z49_waiters_fail_at_once_and_in_order(world: World) -> None:
    """puddle, tedious-connection-pool #42: a waiter slept until some resource came back;
    aiopg #81: terminate() left the idle ones open.
    """
    told: list[int] = []

    async def wait(pool: AsyncResourcePool[Thing], number: int) -> None:
        with pytest.raises(ResourcePoolClosedError):
            await pool.acquire()
        told.append(number)

    pool, other = world.pool(max_size=1), world.pool(max_size=2)
    thing, (left, mine) = await pool.acquire(), await take(other, 2)
    waiting = [asyncio.create_task(wait(pool, number)) for number in range(3)]
    await turns()
    closing = asyncio.create_task(pool.close())
    await turns()
    assert (told, closing.done()) == ([0, 1, 2], False)
    await asyncio.gather(*waiting)
    await pool.release(thing)
    await closing

    await other.release(left)
    mine.mine = True
    other.terminate()
    await turns()
    assert (left.closed, mine.closed, other.closed) == (True, False, True)


@pytest.mark.guarantees("NothingLost", "DeadlineKept")
@played
async def test_z50_work_that_never_ends_gives_its_slot_up(world: World) -> None:
    """SQLx #4349: the task that gave back pinged a dead peer for ever, and kept the permit."""
    pool = world.checked_pool(
        max_size=1, reset=world.clean, check_timeout=3, reset_timeout=4, closer_timeout=5
    )
    loop = asyncio.get_running_loop()

    first = await pool.acquire()
    world.reset.shut()
    began = loop.time()
    await pool.release(first)
    second = await pool.acquire(timeout=6)
    assert (second is first, loop.time() - began) == (False, 4)
    world.reset.open()

    world.closing.shut()
    began = loop.time()
    await pool.discard(second)
    third = await pool.acquire(timeout=6)
    assert loop.time() - began == 5
    world.closing.open()

    await pool.release(third)
    await turns()
    world.check.shut()
    began = loop.time()
    assert (await pool.acquire(timeout=6)).number == 3
    assert loop.time() - began == 3


# Deadlines, locks and loops.


@pytest.mark.guarantees("WaiterServed", "DeadlineKept")
@played
async def test_z52_only_acquirers_that_need_the_factory_wait_for_it(world: World) -> None:
    """redis-py #2995, this pool's predecessor: the pool's lock was held while the factory ran, so
    that neither a release nor a time limit took effect.
    """
    pool = world.pool(max_size=2)
    loop = asyncio.get_running_loop()
    thing = await pool.acquire()
    world.creation.shut()
    began = loop.time()
    a, b = (asyncio.create_task(pool.acquire(timeout)) for timeout in (200, 0.1))
    assert isinstance(await outcome(b), ResourcePoolTimeoutError)
    assert round(loop.time() - began, 6) == 0.1
    async with asyncio.timeout(0.1):
        await pool.release(thing)
        assert await a is thing
    assert world.creation.stopped == 1


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_z53_a_deadline_holds_over_any_number_of_retries(world: World) -> None:
    """psycopg #709, Commons Pool POOL-347, POOL-418: each retry began with the full time again."""
    pool = world.checked_pool(max_size=5)
    loop = asyncio.get_running_loop()
    things = await take(pool, 5)
    for thing in things:
        thing.healthy = False
    await give_back(pool, things)
    world.check.time = 0.4
    world.closing.shut()  # so there is no room for a creation
    began = loop.time()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=1)
    assert round(loop.time() - began, 6) == 1
    assert len(world.checked) == 3


@pytest.mark.guarantees("SingleHolder", "ClosedExactlyOnce")
@played
async def test_z55_a_long_lease_stays_its_holders(world: World) -> None:
    """object-pool-async 0.1.3: a lease that was out for too long was handed to a second borrower;
    Commons Pool removes the "abandoned" while they are in use.
    """
    pool = world.pool(max_size=1, max_age=10, max_idle_time=5, closer_timeout=1)
    await pool.release(await pool.acquire())
    thing = await pool.acquire()
    await asyncio.sleep(1000)
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=1000)
    assert await pool.prune() == 0
    await pool.retire_all()
    await asyncio.sleep(1000)
    assert (thing.closings, pool.in_use_count) == (0, 1)
    await pool.release(thing)
    await turns()
    assert thing.closings == 1


def test_z56_the_wrong_loop_is_an_error_at_once() -> None:
    """psycopg #219, asyncpg #293, redis-py #3351: used from another loop, it hung or failed late;
    a pool that is made where no loop runs has to work as well.
    """
    pool = AsyncResourcePool(object, max_size=1)

    async def use() -> object:
        return await pool.acquire(timeout=1)

    async def elsewhere() -> None:
        outcomes: list[object] = []

        async def misuse() -> None:
            outcomes.append(await outcome(use()))
            outcomes.append(await outcome(pool.release(thing)))

        thread = threading.Thread(target=lambda: asyncio.run(misuse()))
        thing = await pool.acquire()
        thread.start()
        thread.join()
        assert [type(error) for error in outcomes] == [ResourcePoolLoopError] * 2
        await pool.release(thing)

    run(elsewhere())
    with pytest.raises(ResourcePoolLoopError):
        run(use())
    pool.terminate()
    assert pool.closed


@played
async def test_z56_several_tasks_that_open_a_pool_at_once_open_it_once(world: World) -> None:
    """asyncpg #320: two tasks initialised the same pool at once."""
    pool = world.pool(max_size=9, min_size=3)
    world.creation.time = 1
    got = await asyncio.gather(pool.open(), pool.open(), pool.acquire(), pool.open())
    assert (pool.size, world.creation.calls) == (3, 3)
    assert got[2] is not None


@played
async def test_a_context_acquires_and_acquire_is_a_plain_coroutine(world: World) -> None:
    """This pool's predecessor: ``async with pool.acquire()``, from its docstring, was a TypeError;
    what is documented here is what works, and gives back what it took.
    """
    pool = world.pool(max_size=1)
    async with pool.acquire_context() as thing:
        assert pool.in_use_count == 1
    assert pool.available_count == 1
    assert await pool.acquire() is thing
