"""reset and closer: sync and async, failing, too slow, cancelled."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task
LOGGER = "nodetool.concurrency.pool"


# reset.


@pytest.mark.guarantees("OnlyFitHandedOut", "NoDoubleRelease")
@played
async def test_a_resource_is_not_used_again_until_its_reset_ends(world: World) -> None:
    pool = world.pool(reset=world.clean, max_size=1)
    thing = await pool.acquire()
    world.reset.shut()
    releasing = start(pool.release(thing))
    waiter = start(pool.acquire())
    await turns()
    assert inside.states(pool) == {"resetting": 1}
    assert (pool.stats().released, waiter.done()) == (1, False)
    with pytest.raises(InvalidReleaseError, match="released already"):
        await pool.release(thing)
    world.reset.open()
    await releasing
    assert await waiter is thing
    assert world.was_reset == [0]


def test_a_sync_reset_works_alike() -> None:
    async def scenario() -> None:
        lists: AsyncResourcePool[list[int]] = AsyncResourcePool(list, reset=list.clear)
        async with lists.acquire_context() as numbers:
            numbers.append(1)
        assert await lists.acquire() == []
        await lists.release(numbers)
        await lists.close()

    run(scenario())


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("in_context", [True, False])
@played
async def test_a_failed_reset_closes_the_resource_and_is_logged(
    world: World, in_context: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = world.pool(reset=world.clean, name="db")
    world.reset.fail(OSError("stuck"))
    with caplog.at_level(logging.WARNING, LOGGER):
        if in_context:
            async with pool.acquire_context():
                pass
        else:
            await pool.release(await pool.acquire())
    await turns()
    assert world.closed == [0]
    assert (pool.size, pool.stats().reset_failed, pool.stats().released) == (0, 1, 1)
    assert "pool 'db': a reset failed: OSError('stuck')" in caplog.text


@played
async def test_releasing_never_suspends_so_no_cancellation_meets_the_reset(world: World) -> None:
    pool = world.pool(reset=world.clean, max_size=1)
    thing = await pool.acquire()
    world.reset.shut()

    async def give_back() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await pool.release(thing)

    assert isinstance(await outcome(start(give_back())), asyncio.CancelledError)
    waiter = start(pool.acquire())
    await turns()
    assert inside.states(pool) == {"resetting": 1}
    assert world.reset.cancelled == 0
    world.reset.open()
    assert await waiter is thing
    assert pool.stats().cancelled == 0


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_a_reset_slower_than_reset_timeout_has_failed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pool = world.pool(reset=world.clean, reset_timeout=3, name="db")
    world.reset.shut()
    await pool.release(await pool.acquire())
    await asyncio.sleep(2.9)
    assert inside.states(pool) == {"resetting": 1}
    with caplog.at_level(logging.WARNING, LOGGER):
        await asyncio.sleep(0.2)
    assert (world.closed, world.reset.cancelled, pool.stats().reset_failed) == ([0], 1, 1)
    assert "'db': a reset failed" in caplog.text
    assert "reset_timeout=3 s" in caplog.text


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_what_grew_old_or_was_retired_during_its_reset_is_closed(world: World) -> None:
    pool = world.pool(reset=world.clean, max_age=10)
    world.reset.time = 5
    thing = await pool.acquire()
    await asyncio.sleep(8)
    releasing = start(pool.release(thing))
    await asyncio.sleep(6)
    assert world.closed == [0]
    await releasing
    releasing = start(pool.release(await pool.acquire()))
    await turns()
    await pool.retire_all()
    await asyncio.sleep(6)
    assert world.closed == [0, 1]
    await releasing


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_an_interrupted_body_is_not_reset_but_closed(world: World) -> None:
    pool = world.pool(reset=world.clean)
    with pytest.raises(asyncio.CancelledError):
        async with pool.acquire_context():
            raise asyncio.CancelledError
    await turns()
    assert (world.was_reset, world.closed) == ([], [0])


@pytest.mark.guarantees("CloseWaits")
@played
async def test_close_waits_for_a_reset_and_closes_what_it_leaves(world: World) -> None:
    pool = world.pool(reset=world.clean)
    thing = await pool.acquire()
    world.reset.shut()
    releasing = start(pool.release(thing))
    await turns()
    closing = start(pool.close())
    await turns()
    assert not closing.done()
    world.reset.open()
    await asyncio.gather(releasing, closing)
    assert world.closed == [0]


@pytest.mark.guarantees("FaultIsolation")
@played
async def test_a_failing_check_and_a_failing_reset_change_nothing_for_anybody_else(
    world: World,
) -> None:
    pool = world.checked_pool(max_size=3, reset=world.clean)
    held, checked, cleaned = [await pool.acquire() for _ in range(3)]
    await pool.release(checked)
    await turns()
    for gate in (world.creation, world.check, world.reset, world.closing):
        gate.shut()
    checking = start(pool.acquire())
    await turns()
    waiting, releasing = start(pool.acquire()), start(pool.release(cleaned))
    await turns()
    world.reset.let_through(OSError("reset"))
    await turns()
    assert inside.states(pool) == {"held": 1, "checking": 1, "closing": 1}
    assert (releasing.done(), checking.done(), waiting.done()) == (True, False, False)
    world.check.let_through(OSError("check"))
    await turns()
    assert inside.states(pool) == {"held": 1, "closing": 2}
    assert (checking.done(), waiting.done(), held.closings) == (False, False, 0)
    for gate in (world.creation, world.reset, world.closing):
        gate.open()
    assert [(await checking).number, (await waiting).number] == [3, 4]
    await pool.release(held)


# closer.


@pytest.mark.guarantees("ClosedExactlyOnce")
@played
async def test_a_resource_is_closed_in_a_task_of_the_pools_own(world: World) -> None:
    world.closing.shut()
    pool = world.pool()

    async def use() -> None:
        await pool.discard(await pool.acquire())
        await asyncio.sleep(100)

    user = start(use())
    await turns()
    user.cancel()
    await turns()
    assert world.closing.stopped == 1, "the closer was not cancelled with its user"
    assert pool.stats().closing == 1


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_what_is_being_closed_counts_against_max_size(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_size=1)
    await pool.discard(await pool.acquire())
    with pytest.raises(ResourcePoolTimeoutError, match=r"1 (closing|being closed)"):
        await pool.acquire(timeout=1)
    world.closing.open()
    assert (await pool.acquire()).number == 1


@pytest.mark.guarantees("FaultIsolation", "WaiterServed")
@played
async def test_a_failing_closer_disturbs_nothing_and_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.closing.fail(OSError("broken"))
    pool = world.pool(max_size=1, name="db")
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    with caplog.at_level(logging.WARNING, LOGGER):
        await pool.discard(thing)
        assert (await waiter).number == 1
    assert pool.stats().closer_failures == 1
    assert [record.name for record in caplog.records] == [LOGGER]
    assert "'db': a closer failed, its resource is abandoned: OSError('broken')" in caplog.text


@pytest.mark.guarantees("NothingLost", "WaiterServed")
@played
async def test_a_hanging_closer_is_given_up_and_its_slot_freed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.closing.shut()
    pool = world.pool(max_size=1, closer_timeout=5)
    loop = asyncio.get_running_loop()
    since = loop.time()
    await pool.discard(await pool.acquire())
    with caplog.at_level(logging.WARNING, LOGGER):
        assert (await pool.acquire()).number == 1
    assert loop.time() - since == 5
    await turns()
    assert (world.closing.cancelled, pool.stats().closer_failures) == (1, 1)
    assert "closer_timeout=5 s" in caplog.text


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize("ends", ["late", "fails late"])
def test_a_closer_that_ignores_being_given_up_disturbs_nothing(ends: str) -> None:
    async def scenario() -> None:
        ended: list[object] = []

        async def stubborn(resource: object) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(10)
            ended.append(resource)
            if ends == "fails late":
                raise OSError("broken")

        pool = AsyncResourcePool(object, stubborn, max_size=1, closer_timeout=5)
        await pool.discard(await pool.acquire())
        thing = await pool.acquire()
        await pool.release(thing)
        await asyncio.sleep(20)
        assert len(ended) == 1
        assert (pool.available_count, pool.stats().closer_failures) == (1, 1)
        await pool.detach(await pool.acquire())

    run(scenario())


@played
async def test_without_closer_timeout_a_hanging_closer_keeps_its_slot(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_size=1, closer_timeout=None)
    await pool.discard(await pool.acquire())
    await asyncio.sleep(1e6)
    assert pool.stats().closing == 1


@played
async def test_closers_of_different_length_are_given_up_one_by_one(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_size=3, closer_timeout=5)
    things = [await pool.acquire() for _ in range(3)]
    for thing in things:
        await pool.discard(thing)
        await asyncio.sleep(1)
    world.closing.let_through()
    await asyncio.sleep(2)
    assert (pool.stats().closing, pool.stats().closer_failures) == (2, 0)
    await asyncio.sleep(1)
    assert (pool.stats().closing, pool.stats().closer_failures) == (1, 1)
    await asyncio.sleep(1)
    assert (pool.size, pool.stats().closer_failures) == (0, 2)


@pytest.mark.guarantees("NothingLost")
@played
async def test_a_closer_cancelled_from_outside_has_failed(world: World) -> None:
    world.closing.shut()
    pool = world.pool()
    await pool.discard(await pool.acquire())
    await turns()
    for task in asyncio.all_tasks():
        if "close" in task.get_name():
            task.cancel()
    await turns()
    assert (pool.size, pool.stats().closer_failures) == (0, 1)


def test_a_sync_closer_works_alike() -> None:
    async def scenario() -> None:
        closed: list[object] = []
        pool = AsyncResourcePool(object, closed.append)
        thing = await pool.acquire()
        await pool.release(thing)
        await pool.close()
        assert closed == [thing]

    run(scenario())


def test_without_a_closer_a_slot_is_free_at_once() -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(object, max_size=1)
        await pool.discard(await pool.acquire())
        assert pool.size == 0
        await pool.release(await pool.acquire())
        await pool.close()
        assert pool.closed

    run(scenario())


def test_the_pool_keeps_no_reference_to_what_was_closed() -> None:
    async def scenario() -> None:
        import weakref

        class Resource:
            pass

        pool = AsyncResourcePool(Resource)
        thing = await pool.acquire()
        reference = weakref.ref(thing)
        await pool.discard(thing)
        del thing
        assert reference() is None

    run(scenario())


def test_a_callback_may_use_the_pool_itself() -> None:
    async def scenario() -> None:
        pools: list[AsyncResourcePool[Any]] = []

        async def check(_: object) -> None:
            async with pools[0].acquire_context():
                pass

        pools.append(AsyncResourcePool(object, max_size=2, check=check, check_after_idle=1))
        pool = pools[0]
        await pool.release(await pool.acquire())
        await asyncio.sleep(1)
        async with pool.acquire_context():
            assert pool.in_use_count == 1
        assert pool.size == 2
        await pool.close()

    run(scenario())


def test_many_closers_start_in_batches_and_others_are_served_between() -> None:
    running, most, seen = 0, 0, []

    async def closer(_: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns(1)
        running -= 1

    async def scenario() -> None:
        pool: AsyncResourcePool[object] = AsyncResourcePool(object, closer, max_size=1000)
        things = [await pool.acquire() for _ in range(1000)]
        for thing in things:
            await pool.release(thing)
        closing = asyncio.create_task(pool.close())
        while not closing.done():
            await turns(1)
            seen.append(pool.stats().closing)
        assert pool.closed

    run(scenario())
    assert 64 <= most < 300
    assert len(set(seen)) > 10
