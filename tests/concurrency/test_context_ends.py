"""from_context: contexts end by the pool, by themselves, or with the event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
)
from tests import inside
from tests.concurrency.contexts import Contexts
from tests.concurrency.world import World, outcome, played
from tests.virtual_time import VirtualTimeLoop, run, turns

start = asyncio.create_task
LOGGER = "nodetool.concurrency.pool"


# Leaving.


@pytest.mark.guarantees("FaultIsolation", "NothingLost")
@played
async def test_what_leaving_raises_is_counted_and_disturbs_nothing(world: World) -> None:
    pool = Contexts(world).pool(max_size=1)
    world.closing.fail(OSError("lost"))
    await pool.discard(await pool.acquire())
    thing = await pool.acquire()
    assert (thing.number, pool.stats().closer_failures, pool.size) == (1, 1, 1)
    await pool.release(thing)
    await pool.close()
    assert pool.stats().closer_failures == 1


def test_what_leaving_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failure = OSError("lost")

    @asynccontextmanager
    async def context() -> AsyncIterator[object]:
        yield object()
        raise failure

    async def scenario() -> None:
        pool = AsyncResourcePool.from_context(context)
        async with pool, pool.acquire_context():
            pass

    run(scenario())
    (record,) = caplog.records
    assert record.name == LOGGER
    assert record.levelno == logging.WARNING
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


@pytest.mark.parametrize("then", ["gives in", "fails", "goes on"])
@played
async def test_leaving_that_takes_too_long_is_cancelled_and_given_up(
    world: World, then: str
) -> None:
    cancelled = []

    @asynccontextmanager
    async def context() -> AsyncIterator[object]:
        yield object()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(asyncio.get_running_loop().time() - begin)
            await asyncio.sleep(5)
            if then == "fails":
                raise OSError("in the middle") from None
            if then == "gives in":
                raise

    begin = asyncio.get_running_loop().time()
    pool = AsyncResourcePool.from_context(context, max_size=1, closer_timeout=2)
    await pool.discard(await pool.acquire())
    await asyncio.sleep(1.9)
    assert pool.size == 1
    await asyncio.sleep(0.2)
    assert (cancelled, pool.size, pool.stats().closer_failures) == ([2], 0, 1)
    await pool.close()
    assert len(inside.context_tasks()) == 1, "it goes on, but nobody waits for it"
    await asyncio.sleep(5)
    assert not inside.context_tasks()
    gc.collect()  # the loop would report an exception that nothing retrieved


@pytest.mark.guarantees("CloseWaits", "WaitersFailAtClose")
@played
async def test_close_waits_for_what_is_entered_and_for_what_is_in_use(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=2)
    thing = await pool.acquire()
    world.creation.shut()
    acquirer = start(pool.acquire())
    await turns()
    closing = start(pool.close())
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await turns()
    assert (world.closed, world.creation.cancelled) == ([], 0)
    world.creation.open()
    await turns()
    assert world.closed == [1], "as soon as it is entered"
    assert not closing.done()
    await pool.release(thing)
    await closing
    assert world.closed == [1, 0]


@pytest.mark.guarantees("NothingAfterClose", "NoDoubleRelease")
@played
async def test_terminate_cancels_entering_leaves_the_idle_and_forgets_the_rest(
    world: World,
) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=3)
    idle, used = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    world.creation.shut()
    acquirers = [start(pool.acquire()) for _ in range(2)]  # one gets the idle one
    assert await acquirers[0] is idle
    await pool.release(idle)
    acquirers[1].cancel()
    await turns()
    pool.terminate()
    await pool.close()
    await turns()
    assert (world.creation.cancelled, world.closed) == (1, [0])
    with pytest.raises(InvalidReleaseError):
        await pool.release(used)
    assert not contexts.tasks[1].done(), "its holder may go on"
    used.mine = False
    contexts.end(used)  # as the end of the loop does
    await asyncio.wait([contexts.tasks[1]])
    assert world.closed == [0, 1]


@pytest.mark.parametrize("ends", ["terminated", "unclosed"])
def test_what_nobody_has_closed_is_left_by_its_task_when_the_loop_ends(ends: str) -> None:
    left = []

    @asynccontextmanager
    async def context() -> AsyncIterator[object]:
        task = asyncio.current_task()
        try:
            yield object()
        finally:
            left.append(asyncio.current_task() is task)

    async def main() -> None:
        pools = [AsyncResourcePool.from_context(context)]
        await pools[0].acquire()
        await pools[0].release(await pools[0].acquire())
        if ends == "terminated":
            pools[0].terminate()
            return
        await turns()  # until the tasks that created them are gone
        with pytest.warns(ResourceWarning, match="unclosed"):
            pools.clear()
        await turns()
        assert not left, "the pool is gone, but what it kept goes on"

    asyncio.run(main())
    assert left == [True, True]
    assert not inside.context_tasks()


def test_on_a_closed_loop_nothing_can_be_left_and_nothing_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def context() -> AsyncIterator[object]:
        yield object()

    async def main() -> None:
        pool = AsyncResourcePool.from_context(context)
        await pool.release(await pool.acquire())
        pools.append(pool)
        AsyncResourcePool.from_context(context)
        assert len(inside.context_tasks()) == 1

    pools: list[AsyncResourcePool[object]] = []
    loop = VirtualTimeLoop()
    loop.run_until_complete(main())
    loop.close()
    pools[0].terminate()
    assert (pools[0].closed, pools[0].stats().closer_failures) == (True, 1)
    assert "it is asynchronous and the event loop is closed" in caplog.text
    AsyncResourcePool.from_context(context)
    assert not inside.context_tasks()
    pools.clear()
    gc.collect()
    assert [error["message"] for error in loop.errors] == ["Task was destroyed but it is pending!"]


@pytest.mark.guarantees("RetireAllCompletes")
@played
async def test_retire_all_replaces_contexts(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=2)
    used, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    retiring = start(pool.retire_all(wait=True))
    await turns()
    assert world.closed == [1]
    assert not retiring.done()
    await pool.release(used)
    await retiring
    assert world.closed == [1, 0]
    assert (await pool.acquire()).number == 2
    await pool.release(world.things[2])


@pytest.mark.guarantees("FloorRestored")
@played
async def test_contexts_expire_are_pruned_and_are_replaced_up_to_the_minimum_size(
    world: World,
) -> None:
    pool = Contexts(world).pool(max_size=3, min_size=1, max_age=100, max_idle_time=10)
    await pool.open()
    things = [await pool.acquire() for _ in range(3)]
    for thing in things:
        await pool.release(thing)
    await asyncio.sleep(11)
    assert (pool.stats().pruned, pool.size) == (2, 1)
    await asyncio.sleep(95)
    assert (pool.stats().expired, pool.size, len(world.things)) == (1, 1, 4)
    assert await pool.prune() == 0
    await pool.close()
    assert sorted(world.closed) == [0, 1, 2, 3]


# By themselves.


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("slowly", [False, True])
@played
async def test_a_context_that_ends_while_it_is_idle_leaves_the_pool_at_once(
    world: World, slowly: bool
) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=1)
    thing = await pool.acquire()
    await pool.release(thing)
    if slowly:
        world.closing.shut()
    contexts.end(thing)
    await turns()
    assert (pool.available_count, pool.size) == (0, int(slowly))
    acquirer = start(pool.acquire())
    await turns()
    assert acquirer.done() is not slowly, "its slot is free when it is left"
    world.closing.open()
    assert (await acquirer).number == 1
    stats = pool.stats()
    assert (stats.expired, stats.closer_failures, stats.size) == (1, 1, 1)
    await pool.release(await acquirer)


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_a_context_that_is_just_cancelled_is_not_handed_out(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=1)
    thing = await pool.acquire()
    await pool.release(thing)
    contexts.end(thing)  # no turn of the loop passes before the acquire
    assert (await pool.acquire()).number == 1
    await pool.release(world.things[1])


@pytest.mark.guarantees("FloorRestored")
@played
async def test_a_context_that_ends_is_replaced_up_to_the_minimum_size(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(min_size=1)
    await pool.open(wait=True)
    contexts.end(world.things[0])
    await turns(20)
    assert (pool.available_count, world.creation.calls) == (1, 2)
    await pool.close()


@pytest.mark.guarantees("OnlyFitHandedOut", "WaiterServed")
@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("resets", [False, True])
@played
async def test_a_context_that_ends_while_it_is_used_is_closed_when_it_comes_back(
    world: World, slowly: bool, waits: bool, resets: bool
) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=1, reset=world.clean if resets else None)
    thing = await pool.acquire()
    waiters = [start(pool.acquire()) for _ in range(waits)]
    if slowly:
        world.closing.shut()
    contexts.end(thing)
    await turns()
    assert pool.in_use_count == 1, "its user has to find out"
    await pool.release(thing)
    await turns()
    world.closing.open()
    other = await (waiters[0] if waits else pool.acquire())
    stats = pool.stats()
    assert (other.number, stats.expired, stats.reset_failed) == (1, 1, 0)
    await pool.release(other)


@played
async def test_a_context_that_has_ended_can_be_discarded(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=1)
    thing = await pool.acquire()
    contexts.end(thing)
    await turns()
    await pool.discard(thing)
    assert (await pool.acquire()).number == 1
    assert (pool.stats().reset_failed, pool.stats().closer_failures) == (0, 1)
    await pool.release(world.things[1])


@pytest.mark.guarantees("NothingLost")
@played
async def test_a_context_that_ends_while_it_is_handed_over_is_its_user_s_to_discard(
    world: World,
) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    await pool.release(thing)
    assert (pool.stats().waiting, waiter.done()) == (0, False)
    contexts.end(thing)  # before the waiter runs
    assert await waiter is thing
    await pool.release(thing)
    assert (await pool.acquire()).number == 1, "it is not used again"
    await pool.release(world.things[1])


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_a_context_that_ends_while_it_is_checked_is_not_handed_out(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(check=world.is_healthy, check_after_idle=0)
    thing = await pool.acquire()
    await pool.release(thing)
    world.check.shut()
    acquirer = start(pool.acquire())
    await turns()
    contexts.end(thing)
    world.check.open()  # which passes
    assert (await acquirer).number == 1
    await pool.release(await acquirer)


@pytest.mark.parametrize("ends_by", ["an error", "a scope"])
@played
async def test_a_context_may_end_by_an_error_or_quietly(world: World, ends_by: str) -> None:
    @asynccontextmanager
    async def context() -> AsyncIterator[asyncio.Event]:
        crash = asyncio.Event()

        async def work() -> None:
            await crash.wait()
            raise OSError("crashed")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
                yield crash
        except* OSError:
            if ends_by == "an error":
                raise

    pool = AsyncResourcePool.from_context(context, max_size=1)
    first = await pool.acquire()
    await pool.release(first)
    first.set()
    await turns()
    second = await pool.acquire()
    assert second is not first
    assert pool.stats().closer_failures == (ends_by == "an error")
    second.set()
    await turns()
    await pool.discard(second)
    await pool.close()
    gc.collect()
