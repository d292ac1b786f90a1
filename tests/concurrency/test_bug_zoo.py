"""Bugs that other pools and primitives shipped, re-enacted: which acquirer a resource goes to.

Each test is named after a real bug, says which, plays the steps that led to it, and asserts what
should have happened. Numbers that are missing were never given. The numbers Z29 and Z30 are about
resizing: ``test_resize`` has them. Limits, closing and time are in ``test_bug_zoo_limits``. The
pool's work and the program around the pool are in ``test_bug_zoo_work``.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import turns


async def queued(pool: AsyncResourcePool[Thing], *timeouts: float) -> list[asyncio.Task[Thing]]:
    """Start one acquirer for each timeout; they wait in this order."""
    tasks = [asyncio.create_task(pool.acquire(timeout)) for timeout in timeouts]
    await turns(3)
    assert not any(task.done() for task in tasks)
    return tasks


def at_once(awaitable: Awaitable[None]) -> None:
    """Run a coroutine that never suspends, where nothing can be awaited."""
    with pytest.raises(StopIteration):
        awaitable.__await__().__next__()


# Cancellation and time limits against the hand-over.


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_z01_what_a_cancelled_user_leaves_behind_is_not_reused(world: World) -> None:
    """redis-py #2624, #2665: the next borrower read the reply to a cancelled user's command."""
    pool = world.pool(max_size=1)
    used: list[Thing] = []

    async def converse() -> None:
        async with pool.acquire_context() as thing:
            used.append(thing)
            await asyncio.Future()  # the command is sent, the reply is not read yet

    user = asyncio.create_task(converse())
    await turns()
    user.cancel()
    assert isinstance(await outcome(user), asyncio.CancelledError)
    after = await pool.acquire()
    assert after is not used[0]
    assert used[0].closed


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@played
async def test_z02_what_arrives_as_the_time_is_up_is_received_or_stays(world: World) -> None:
    """asyncpg #467, #955: the limit fired when the inner acquire was done; its result was lost."""
    pool = world.pool(max_size=1)
    loop = asyncio.get_running_loop()
    thing = await pool.acquire()
    loop.call_at(loop.time() + 1, lambda: at_once(pool.release(thing)))  # before the pool's timer
    (a,) = await queued(pool, 1)
    assert await a is thing
    assert pool.stats().timeouts == 0

    b, c = await queued(pool, 1, 9)
    loop.call_at(loop.time() + 1, lambda: at_once(pool.release(thing)))  # after it
    assert isinstance(await outcome(b), ResourcePoolTimeoutError)
    assert await c is thing
    assert pool.in_use_count == 1


@pytest.mark.guarantees("NothingLost", "CloseCompletes")
@played
async def test_z03_close_does_not_wait_for_a_cancelled_acquire(world: World) -> None:
    """asyncpg #547: an acquire cancelled as it was ready stayed in use; close() hung."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    (a,) = await queued(pool, 200)
    await pool.release(thing)
    a.cancel()
    await asyncio.wait([a])
    await pool.close(timeout=1)
    assert a.cancelled()
    assert thing.closed


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@played
async def test_z04_a_hand_over_does_not_hide_a_cancellation(world: World) -> None:
    """CPython #86296: wait_for returned a result that was there, and the cancellation was gone."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    (a,) = await queued(pool, 200)
    await pool.release(thing)
    a.cancel()
    assert isinstance(await outcome(a), asyncio.CancelledError)
    assert pool.available_count == 1


@pytest.mark.guarantees("NothingLost", "WaiterServed")
@played
async def test_z05_a_resource_handed_to_a_waiter_that_is_cancelled_goes_to_the_next(
    world: World,
) -> None:
    """psycopg #509: the connection was given to a client that was cancelled before it woke up."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    a, b = await queued(pool, 200, 200)
    await pool.release(thing)
    a.cancel()
    assert await b is thing
    assert a.cancelled()
    assert pool.stats().created == 1


@pytest.mark.guarantees("OneOutcome", "WaiterServed")
@played
async def test_z06_a_waiter_that_is_cancelled_before_a_resource_arrives_stays_cancelled(
    world: World,
) -> None:
    """psycopg #1275: a client that was cancelled went on, since a connection arrived meanwhile."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    a, b = await queued(pool, 200, 200)
    a.cancel()
    await pool.release(thing)
    assert isinstance(await outcome(a), asyncio.CancelledError)
    assert await b is thing


@pytest.mark.guarantees("OneOutcome")
@played
async def test_z07_cancelling_an_acquirer_during_a_check_ends_the_acquire(world: World) -> None:
    """psycopg #1401: the loop of checks swallowed the cancellation and tried the next one."""
    pool = world.checked_pool(max_size=3)
    things = [await pool.acquire() for _ in range(3)]
    for thing in things:
        await pool.release(thing)
    world.check.shut()
    (a,) = await queued(pool, 200)
    a.cancel()
    await turns()
    assert a.cancelled()
    world.check.open()
    await turns()
    assert len(world.checked) == 1
    assert pool.available_count == 3  # the check was not cut in half


@pytest.mark.guarantees("NothingLost", "OnlyFitHandedOut")
@played
async def test_z08_a_cancellation_during_a_check_or_a_reset_loses_nothing(world: World) -> None:
    """psycopg #1123, #1208: cancelled in a check, the connection was counted and in no list."""
    pool = world.checked_pool(max_size=1, reset=world.clean)
    thing = await pool.acquire()
    await pool.release(thing)
    await turns()
    world.check.shut()
    a, b = await queued(pool, 200, 200)
    a.cancel()
    await turns()
    assert a.cancelled()
    world.check.open()
    assert await b is thing

    world.reset.shut()
    giver = asyncio.create_task(pool.release(thing))
    (c,) = await queued(pool, 200)
    giver.cancel()  # too late: it has given back
    assert await outcome(giver) is None
    world.reset.open()
    assert await c is thing
    assert (thing.closings, pool.stats().cancelled) == (0, 1)


@pytest.mark.guarantees("NothingLost")
@played
async def test_z09_a_cancelled_creation_gives_its_slot_back(world: World) -> None:
    """generic-connection-pool 0.8.1, httpx #1461: the size stayed 1 of 1 for ever."""
    pool = world.pool(max_size=1, name="z09")
    world.creation.shut()
    (a,) = await queued(pool, 200)
    a.cancel()
    await turns()
    assert (a.cancelled(), pool.size) == (True, 1)  # the creation goes on, for the next
    (b,) = await queued(pool, 200)
    creation = next(task for task in asyncio.all_tasks() if task.get_name().startswith("z09: "))
    creation.cancel()
    assert "was cancelled" in str(await outcome(b))
    assert pool.size == 0
    world.creation.open()
    assert (await pool.acquire(timeout=1)).number == 0


@pytest.mark.guarantees("NothingLost", "WaiterServed")
@played
async def test_z11_each_cancelled_waiter_passes_its_wake_up_on(world: World) -> None:
    """CPython #90155: a woken waiter of a Semaphore was cancelled; all the others slept on."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    tasks = await queued(pool, 200, 200, 200, 200)
    await pool.release(thing)
    for task in tasks[:3]:  # each is handed it, and cancelled before it runs
        task.cancel()
        await turns(1)
        assert not pool.available_count
    assert await tasks[3] is thing
    await pool.release(thing)
    assert await pool.acquire(timeout=0) is thing


@pytest.mark.guarantees("WaiterServed")
@played
async def test_z12_a_hand_over_is_not_spent_on_one_whose_time_was_up(world: World) -> None:
    """aiohttp #9670: a release woke an acquirer that was timing out; no other one woke."""
    pool = world.pool(max_size=1)
    loop = asyncio.get_running_loop()

    async def bounded() -> Thing:
        async with asyncio.timeout(1):
            return await pool.acquire()

    thing = await pool.acquire()
    a = asyncio.create_task(bounded())
    b, c = await queued(pool, 1, 200)
    loop.call_later(1, lambda: at_once(pool.release(thing)))  # as both of them time out
    assert await c is thing
    assert type(await outcome(a)) is TimeoutError
    assert isinstance(await outcome(b), ResourcePoolTimeoutError)


@pytest.mark.guarantees("FifoService", "WaiterServed")
@played
async def test_z13_nothing_is_idle_while_somebody_waits(world: World) -> None:
    """Boost.MySQL #509: the woken one was cancelled, its connection idle, and the next asleep."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    a, b = await queued(pool, 200, 200)
    await pool.release(thing)
    assert not pool.available_count
    a.cancel()
    newcomer = asyncio.create_task(pool.acquire())  # runs after A, before B can
    assert await b is thing
    assert not newcomer.done()
    await pool.release(thing)
    assert await newcomer is thing


@pytest.mark.guarantees("OneOutcome")
@played
async def test_z15_an_acquire_that_was_served_cannot_time_out_too(world: World) -> None:
    """Vert.x #6169: cancelling a waiter that was served already succeeded, and it failed then."""
    pool = world.pool(max_size=1)
    loop = asyncio.get_running_loop()
    thing = await pool.acquire()
    loop.call_at(loop.time() + 1, lambda: at_once(pool.release(thing)))  # before the pool's timer
    a, b = await queued(pool, 1, 200)
    assert await a is thing
    stats = pool.stats()
    assert (stats.timeouts, stats.waiting, stats.in_use) == (0, 1, 1)
    await pool.release(thing)
    assert await b is thing


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@played
async def test_z16_nothing_is_sent_to_an_acquirer_that_gave_up(world: World) -> None:
    """poolboy #55, #70: the answer came after the client had given up; the worker stayed out."""
    pool = world.pool(max_size=1)
    loop = asyncio.get_running_loop()
    world.creation.time = 2.0
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=1)
    await asyncio.sleep(2)
    assert (pool.available_count, pool.in_use_count) == (1, 0)
    thing = await pool.acquire(timeout=0)
    (a,) = await queued(pool, 1)
    loop.call_at(
        loop.time() + 1, lambda: at_once(pool.release(thing))
    )  # A has its error, and has not run
    assert isinstance(await outcome(a), ResourcePoolTimeoutError)
    assert (pool.available_count, pool.in_use_count) == (1, 0)


@pytest.mark.guarantees("NothingLost")
@played
async def test_z17_new_ones_assigned_to_cancelled_acquirers_are_not_lost(world: World) -> None:
    """httpcore #1093: a new connection that was never used matched no sweep, and kept its slot."""
    pool = world.pool(max_size=2)
    world.creation.shut()
    cancelled = await queued(pool, 200, 200)
    world.creation.let_through()
    world.creation.let_through()
    await turns(1)  # until both are handed over, and no acquirer has run
    assert pool.in_use_count == 2
    assert not any(task.done() for task in cancelled)
    for task in cancelled:
        task.cancel()
    await turns()
    assert all(task.cancelled() for task in cancelled)
    assert pool.available_count == 2
    assert {(await pool.acquire(timeout=1)).number for _ in range(2)} == {0, 1}


@pytest.mark.guarantees("NothingLost", "ClosedExactlyOnce")
@played
async def test_z18_a_cancelled_user_does_not_cancel_the_closer(world: World) -> None:
    """SQLAlchemy #6652, #8145, #12077: close() was awaited in a cancelled scope; #8516: the
    shielded task had no strong reference and was collected.
    """
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    world.closing.shut()

    async def clean_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await pool.discard(thing)

    user = asyncio.create_task(clean_up())
    await turns()
    gc.collect()
    await turns()
    assert user.done()
    assert (thing.closings, thing.closed, world.closing.stopped) == (1, False, 1)
    world.closing.open()
    await turns()
    assert (world.closing.cancelled, thing.closed, pool.size) == (0, True, 0)

    waits: list[weakref.ref[asyncio.Future[None]]] = []

    async def closer(_: object) -> None:
        future: asyncio.Future[None] = asyncio.Future()
        waits.append(weakref.ref(future))
        await future

    other = AsyncResourcePool(object, closer)
    await other.discard(await other.acquire())
    await turns()
    gc.collect()
    future = waits[0]()
    assert future is not None
    future.set_result(None)
    await turns()
    assert other.size == 0


# Lost wake-ups without cancellation.


@pytest.mark.guarantees("FaultIsolation", "FailureFreesSlot")
@played
async def test_z19_a_failed_creation_does_not_strand_those_behind(world: World) -> None:
    """asyncio-connection-pool 1.1.1, Commons Pool POOL-303: the slot was free, and nothing woke."""
    pool = world.pool(max_size=1)
    failure = OSError("refused")
    world.creation.fail(failure)
    world.creation.shut()
    a, b = await queued(pool, 200, 200)
    world.creation.open()
    assert await outcome(a) is failure
    assert (await b).number == 0


@pytest.mark.guarantees("WaiterServed")
@played
async def test_z20_a_discarded_resource_makes_room_for_a_waiter(world: World) -> None:
    """bb8 #167, Commons Pool POOL-424: what was broken was dropped, and nothing created."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    (a,) = await queued(pool, 200)
    await pool.discard(thing)
    second = await a
    assert second is not thing

    (b,) = await queued(pool, 200)
    await pool.detach(second)
    second.mine = True
    assert await b is not second


@pytest.mark.guarantees("OnlyFitHandedOut", "WaiterServed")
@played
async def test_z21_a_resource_that_comes_back_too_old_makes_room_for_a_waiter(
    world: World,
) -> None:
    """aiomysql 0.3.2, asyncmy #154: release() returned early for some, and woke nobody."""
    pool = world.pool(max_size=1, max_age=10)
    thing = await pool.acquire()
    (a,) = await queued(pool, 200)
    await asyncio.sleep(11)
    await pool.release(thing)
    assert await a is not thing
    assert thing.closed

    untimed = world.pool(max_size=1)
    retired = await untimed.acquire()
    await untimed.retire_all()
    (b,) = await queued(untimed, 200)
    await untimed.release(retired)
    assert await b is not retired


@pytest.mark.guarantees("WaiterServed")
@played
async def test_z23_what_is_released_between_looking_and_queueing_is_not_missed(
    world: World,
) -> None:
    """bb8 #122: the drop ran between "none is idle" and "queue me"."""
    pool = world.pool(max_size=1)
    for pause in range(4):  # at each of the first steps of an acquire
        thing = await pool.acquire()
        a = asyncio.create_task(pool.acquire(timeout=1))
        await turns(pause)
        await pool.release(thing)
        assert await a is thing
        await pool.release(thing)


@pytest.mark.guarantees("FloorRestored")
@played
async def test_z25_the_pool_grows_again_after_it_gave_up(world: World) -> None:
    """psycopg #370, #438: after one failed attempt to grow, the pool never grew again."""
    pool = world.pool(max_size=2, min_size=2)
    world.creation.fail(*(OSError("down") for _ in range(20)))
    with pytest.raises(OSError, match="down"):
        await pool.acquire()
    await turns()
    assert pool.size < 2  # the minimum size waits for its back-off
    await asyncio.sleep(200)
    assert (pool.size, pool.available_count) == (2, 2)
    assert pool.stats().creation_failures == 20
    assert [(await pool.acquire(timeout=0)).number for _ in range(2)] == [1, 0]


@pytest.mark.guarantees("NothingLost", "OnlyFitHandedOut")
@pytest.mark.parametrize("verdict", ["refuses", "raises", "times out itself"])
def test_z26_a_check_that_says_no_in_any_way_frees_the_slot(verdict: str) -> None:
    """generic-pool 3.9.0, aiosqlitepool 1.0.0: a check that raised left it "checking" for ever."""

    @played
    async def scenario(world: World) -> None:
        pool = world.checked_pool(max_size=1)
        thing = await pool.acquire()
        await pool.release(thing)
        if verdict == "refuses":
            thing.healthy = False
        else:
            world.check.fail(OSError("gone") if verdict == "raises" else TimeoutError("gone"))
        assert await pool.acquire(timeout=1) is not thing
        assert thing.closed

    scenario()


@pytest.mark.guarantees("SingleHolder", "FifoService")
@played
async def test_z27_one_resource_is_promised_to_one_waiter(world: World) -> None:
    """httpcore #822: several requests were assigned the same connection, and the losers retried."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    a, b, c = await queued(pool, 200, 200, 200)
    await pool.release(thing)
    with pytest.raises(ResourcePoolTimeoutError):  # before A has run
        await pool.acquire(timeout=0)
    newcomer = asyncio.create_task(pool.acquire(timeout=200))
    await turns()
    assert [task.done() for task in (a, b, c, newcomer)] == [True, False, False, False]
    for task in (b, c, newcomer):
        await pool.release(thing)
        assert await task is thing
    assert pool.stats().acquired == 5


@pytest.mark.guarantees("SizeWithinLimit", "SingleHolder", "FifoService")
@played
async def test_z28_a_newcomer_and_a_woken_waiter_do_not_both_get_in(world: World) -> None:
    """aiohttp #4936: the newcomer took what the waiter was woken for; both connected."""
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    (b,) = await queued(pool, 200)
    await pool.release(thing)
    c = asyncio.create_task(pool.acquire())
    with pytest.raises(ResourcePoolTimeoutError):  # before B has run
        await pool.acquire(timeout=0)
    assert await b is thing
    await turns()
    assert not c.done()
    assert world.most == 1
    c.cancel()
