"""The end of a pool, and of everything in it: close, terminate, retire_all."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task


# close.


@pytest.mark.guarantees("CloseCompletes")
@played
async def test_closing_an_unused_pool_ends_at_once(world: World) -> None:
    pool = world.pool(min_size=1)
    await pool.close()
    assert pool.closed
    assert world.creation.calls == 0


@pytest.mark.guarantees("ClosedExactlyOnce", "CloseWaits")
@played
async def test_idle_resources_are_closed_in_parallel(world: World) -> None:
    pool = world.pool()
    for thing in [await pool.acquire() for _ in range(4)]:
        await pool.release(thing)
    world.closing.time = 5
    since = asyncio.get_running_loop().time()
    await pool.close()
    assert asyncio.get_running_loop().time() - since == 5
    assert sorted(world.closed) == [0, 1, 2, 3]
    assert pool.closed


@pytest.mark.guarantees("NothingAfterClose", "CloseWaits", "CloseCompletes")
@played
async def test_close_waits_for_what_is_in_use_and_takes_nothing_away(world: World) -> None:
    pool = world.pool()
    first, second = await pool.acquire(), await pool.acquire()
    closing = start(pool.close())
    await asyncio.sleep(100)
    assert not closing.done()
    assert not pool.closed
    await pool.release(first)
    await turns()
    assert (world.closed, pool.available_count) == ([0], 0), "nothing becomes idle"
    await pool.discard(second)
    await closing
    assert pool.closed


@pytest.mark.guarantees("CloseCompletes")
@played
async def test_a_detached_resource_lets_the_close_end(world: World) -> None:
    pool = world.pool()
    thing = await pool.acquire()
    closing = start(pool.close())
    await turns()
    await pool.detach(thing)
    thing.mine = True
    await closing
    assert world.closed == []


@pytest.mark.guarantees("NothingAfterClose", "WaitersFailAtClose")
@played
async def test_waiters_and_newcomers_fail_at_once_and_in_order(world: World) -> None:
    pool = world.pool(max_size=1, name="db")
    thing = await pool.acquire()
    failed: list[int] = []

    async def wait(number: int) -> None:
        with pytest.raises(ResourcePoolClosedError, match="'db' is closing"):
            await pool.acquire()
        failed.append(number)

    waiters = [start(wait(number)) for number in range(5)]
    await turns()
    closing = start(pool.close())
    await turns()
    assert failed == [0, 1, 2, 3, 4]
    await wait(5)
    await pool.release(thing)
    await asyncio.gather(closing, *waiters)


@pytest.mark.guarantees("ClosedExactlyOnce", "CloseWaits", "WaitersFailAtClose")
@played
async def test_a_creation_in_flight_is_closed_when_it_completes(world: World) -> None:
    world.creation.shut()
    pool = world.pool()
    acquirer = start(pool.acquire())
    await turns()
    closing = start(pool.close())
    await turns()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    assert not closing.done()
    world.creation.open()
    await closing
    assert world.closed == [0]
    assert world.creation.cancelled == 0


@pytest.mark.guarantees("CloseCompletes")
@played
async def test_a_creation_that_fails_lets_the_close_end(world: World) -> None:
    world.creation.shut()
    pool = world.pool(min_size=1)
    await pool.open()
    await turns()
    closing = start(pool.close())
    await turns()
    world.creation.let_through(OSError())
    await closing
    assert world.creation.calls == 1, "a closing pool creates nothing"


@pytest.mark.guarantees("NothingAfterClose")
@pytest.mark.parametrize("close_first", [True, False])
@played
async def test_an_acquirer_that_was_handed_a_resource_as_the_close_began_fails(
    world: World, close_first: bool
) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    if close_first:
        closing = start(pool.close())
        await turns(1)
        await pool.release(thing)
    else:
        await pool.release(thing)
        assert inside.states(pool) == {"handed": 1}
        pool.close().send(None)  # its first step, before the waiter runs
        closing = start(pool.close())
    assert isinstance(await outcome(waiter), ResourcePoolClosedError)
    await closing
    assert world.closed == [0]
    assert pool.stats().acquired == 1


@pytest.mark.guarantees("OneOutcome")
@played
async def test_a_waiter_cancelled_as_the_close_begins_is_cancelled(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    closing = start(pool.close())
    await turns(1)
    waiter.cancel()
    assert isinstance(await outcome(waiter), asyncio.CancelledError)
    await pool.release(thing)
    await closing


@pytest.mark.guarantees("CloseWaits", "CloseCompletes")
@played
async def test_every_closer_of_the_pool_waits_for_the_same_end(world: World) -> None:
    pool = world.pool()
    thing = await pool.acquire()
    closings = [start(pool.close()) for _ in range(3)]
    await asyncio.sleep(1)
    closings.append(start(pool.close()))
    await turns()
    assert not any(closing.done() for closing in closings)
    await pool.release(thing)
    await asyncio.gather(*closings)
    await pool.close()
    assert world.closed == [0]


@pytest.mark.guarantees("NothingAfterClose", "ClosedExactlyOnce", "CloseCompletes")
@played
async def test_cancelling_a_close_stops_only_its_waiting(world: World) -> None:
    pool = world.pool()
    thing, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    world.closing.shut()
    first, second = start(pool.close()), start(pool.close())
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert world.closing.cancelled == 0
    with pytest.raises(ResourcePoolClosedError):
        await pool.acquire()
    world.closing.open()
    await pool.release(thing)
    await second
    assert pool.closed


@pytest.mark.guarantees("ClosedExactlyOnce", "CloseWaits")
@played
async def test_a_close_that_times_out_names_what_is_out_and_pulls_nothing(
    world: World,
) -> None:
    world.creation.time = 1
    pool = world.pool(name="db")
    thing = await pool.acquire()
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.close(timeout=5)
    message = str(caught.value)
    assert message.startswith("pool 'db': not closed within 5 s: 1 in use; still out: ")
    assert object.__repr__(thing) in message
    assert not thing.closings
    await pool.release(thing)
    await pool.close(timeout=5)
    assert pool.closed


def test_a_close_that_ends_as_its_time_runs_out_has_ended() -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(object)
        thing = await pool.acquire()
        closing = start(pool.close(timeout=1))
        await turns()
        loop = asyncio.get_running_loop()
        # The timers fire in one turn, since they differ by less than the clock's resolution.
        tiny = time.get_clock_info("monotonic").resolution / 10
        loop.call_later(1 - tiny, pool.terminate)
        await closing
        assert pool.closed
        assert thing is not None

    run(scenario())


@pytest.mark.guarantees("CloseWaits")
@pytest.mark.parametrize("done", ["created", "closed"])
@played
async def test_a_close_that_times_out_over_the_pools_own_work_says_so(
    world: World, done: str
) -> None:
    pool = world.pool()
    if done == "created":
        world.creation.shut()
        acquirer = start(pool.acquire(timeout=1))
        assert isinstance(await outcome(acquirer), ResourcePoolTimeoutError)
    else:
        world.closing.shut()
        await pool.discard(await pool.acquire())
    with pytest.raises(ResourcePoolTimeoutError, match=f"1 being {done} "):
        await pool.close(timeout=0)


@pytest.mark.guarantees("CloseCompletes")
@played
async def test_a_hanging_closer_delays_the_close_no_longer_than_closer_timeout(
    world: World,
) -> None:
    world.closing.shut()
    pool = world.pool(closer_timeout=5)
    await pool.release(await pool.acquire())
    await pool.close(timeout=6)
    assert pool.closed


@played
async def test_close_ends_the_back_off_and_every_timer(world: World) -> None:
    world.creation.fail(OSError("down"))
    pool = world.pool(min_size=1, max_age=50, max_idle_time=5, max_size=2)
    await pool.open()
    await turns()
    await pool.release(await pool.acquire())
    await pool.close()
    await asyncio.sleep(1000)
    assert world.creation.calls == pool.stats().created + 1


def test_a_closed_pool_leaves_no_timer_behind() -> None:
    async def main() -> None:
        pool: AsyncResourcePool[object] = AsyncResourcePool(
            object, lambda _: asyncio.sleep(1), max_size=2, max_age=500, max_idle_time=300
        )
        resources = [await pool.acquire(), await pool.acquire()]
        waiter = asyncio.create_task(pool.acquire(timeout=200))
        await turns()
        await pool.release(resources[0])
        await pool.release(await waiter)
        await pool.discard(resources[1])
        await pool.close()
        await turns()
        assert not inside.pending_timers()

    run(main())


# terminate.


@pytest.mark.guarantees("ClosedExactlyOnce")
@played
async def test_terminate_closes_what_is_idle_and_forgets_what_is_held(world: World) -> None:
    pool = world.pool()
    held, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    pool.terminate()
    held.mine = True
    assert (pool.size, pool.stats().closing) == (1, 1)
    await turns()
    assert (world.closed, pool.closed) == ([1], True)
    assert held.closings == 0, "it is its user's now"


@pytest.mark.guarantees("NothingAfterClose")
@played
async def test_terminate_before_the_first_use_closes_the_pool(world: World) -> None:
    pool = world.pool(min_size=2)
    pool.terminate()
    assert pool.closed
    with pytest.raises(ResourcePoolClosedError):
        await pool.acquire()


@pytest.mark.guarantees("WaitersFailAtClose")
@played
async def test_terminate_cancels_creations_and_fails_waiters(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=2)
    acquirers = [start(pool.acquire()) for _ in range(3)]
    await turns()
    pool.terminate()
    results = await asyncio.gather(*map(outcome, acquirers))
    assert all(isinstance(result, ResourcePoolClosedError) for result in results)
    assert world.creation.cancelled == 2
    await turns()
    assert pool.closed


@pytest.mark.guarantees("NothingAfterClose", "ClosedExactlyOnce")
@played
async def test_terminate_closes_what_a_stubborn_factory_still_makes(world: World) -> None:
    async def stubborn() -> Any:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return await world.create()

    pool: AsyncResourcePool[Any] = AsyncResourcePool(stubborn, world.close)
    world.pools.append(pool)
    acquirer = start(pool.acquire())
    await turns()
    pool.terminate()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await turns()
    assert (world.closed, pool.closed) == ([0], True)


@pytest.mark.guarantees("NothingAfterClose", "ClosedExactlyOnce")
@played
async def test_terminate_closes_what_was_created_a_moment_ago(world: World) -> None:
    world.creation.shut()
    pool = world.pool()
    acquirer = start(pool.acquire())
    await turns()
    world.creation.open()
    await turns(1)  # the factory has returned, and nobody has noticed yet
    pool.terminate()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await turns()
    assert (world.closed, pool.closed) == ([0], True)


@pytest.mark.guarantees("NothingAfterClose", "ClosedExactlyOnce")
@played
async def test_what_was_handed_over_as_the_pool_was_terminated_is_closed(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    await pool.release(thing)
    pool.terminate()
    assert isinstance(await outcome(waiter), ResourcePoolClosedError)
    await turns()
    assert (world.closed, pool.closed) == ([0], True)


@pytest.mark.guarantees("NothingAfterClose", "ClosedExactlyOnce", "CloseWaits")
@pytest.mark.parametrize("started", [True, False])
@played
async def test_terminate_cancels_a_check_and_closes_its_resource(
    world: World, started: bool
) -> None:
    pool = world.checked_pool()
    await pool.release(await pool.acquire())
    world.check.shut()
    acquirer = start(pool.acquire())
    await turns(10 if started else 1)
    assert inside.states(pool) == {"checking": 1}
    pool.terminate()
    assert not pool.closed
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await turns()
    assert (world.check.cancelled, len(world.checked)) == (started, started)
    assert (world.closed, pool.closed) == ([0], True)


@pytest.mark.guarantees("ClosedExactlyOnce")
@pytest.mark.parametrize("started", [True, False])
@played
async def test_terminate_cancels_a_reset_and_closes_its_resource(
    world: World, started: bool
) -> None:
    pool = world.pool(reset=world.clean)
    thing = await pool.acquire()
    world.reset.shut()
    await pool.release(thing)
    await turns(10 if started else 0)
    assert inside.states(pool) == {"resetting": 1}
    pool.terminate()
    assert not pool.closed
    await turns()
    assert (world.reset.cancelled, len(world.was_reset)) == (started, started)
    assert (world.closed, pool.closed) == ([0], True)


@pytest.mark.guarantees("ClosedExactlyOnce", "NothingAfterClose")
@pytest.mark.parametrize("argument", ["check", "reset"])
@played
async def test_work_that_passes_after_terminate_cancelled_it_has_no_effect(
    world: World, argument: str
) -> None:
    async def stubborn(_: object) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(1)  # and then it passes

    pool = world.pool(check_after_idle=0, max_size=1, **{argument: stubborn})
    await pool.release(await pool.acquire())
    acquirer = start(pool.acquire())
    await turns()
    pool.terminate()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await asyncio.sleep(0.9)
    assert (world.closed, pool.closed) == ([], False), "it may still use the resource"
    await asyncio.sleep(0.2)
    assert (world.closed, pool.closed) == ([0], True)


@pytest.mark.guarantees("CloseCompletes")
@played
async def test_terminate_ends_a_close_that_waits_for_users(world: World) -> None:
    pool = world.pool()
    thing = await pool.acquire()
    closing = start(pool.close())
    await asyncio.sleep(5)
    pool.terminate()
    thing.mine = True
    await closing
    assert pool.closed


@pytest.mark.guarantees("ClosedExactlyOnce")
@played
async def test_terminating_twice_is_terminating_once(world: World) -> None:
    pool = world.pool()
    await pool.release(await pool.acquire())
    pool.terminate()
    pool.terminate()
    await turns()
    pool.terminate()
    assert world.closed == [0]


# retire_all.


@pytest.mark.guarantees("OnlyFitHandedOut", "RetireAllCompletes")
@played
async def test_retire_all_closes_what_is_idle_now_and_the_rest_when_it_comes_back(
    world: World,
) -> None:
    pool = world.pool()
    held, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    await pool.retire_all()
    await turns()
    assert world.closed == [1]
    fresh = await pool.acquire()
    assert fresh.number == 2
    await pool.release(held)
    await pool.release(fresh)
    await turns()
    assert (world.closed, pool.available_count) == ([1, 0], 1)


@pytest.mark.guarantees("OnlyFitHandedOut", "RetireAllCompletes")
@played
async def test_what_is_being_created_is_of_the_old_generation(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=2)
    acquirer = start(pool.acquire())
    await turns()
    await pool.retire_all()
    await turns()
    assert world.creation.stopped == 2, "another creation for the waiter"
    world.creation.let_through()
    await turns()
    assert (world.closed, acquirer.done()) == ([0], False)
    world.creation.let_through()
    assert (await acquirer).number == 1


@pytest.mark.guarantees("FaultIsolation", "FailureFreesSlot")
@played
async def test_the_failure_of_a_retired_creation_reaches_no_acquirer(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=1)
    acquirer = start(pool.acquire())
    await turns()
    await pool.retire_all()
    world.creation.let_through(OSError("old credentials"))
    await turns()
    assert not acquirer.done()
    world.creation.open()
    assert (await acquirer).number == 0


@pytest.mark.guarantees("OnlyFitHandedOut", "FifoService")
@played
async def test_what_was_handed_over_as_it_was_retired_is_replaced(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    await pool.release(thing)
    await pool.retire_all()
    assert (await first).number == 1, "and it kept its turn"
    assert world.closed == [0]
    await pool.release(await first)
    assert (await second).number == 1


@pytest.mark.guarantees("RetireAllCompletes")
@played
async def test_retire_all_can_wait_until_none_is_left(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=4)
    acquirers = [start(pool.acquire()) for _ in range(3)]
    await turns()
    world.creation.let_through()
    world.creation.let_through()
    await turns()
    held, other = await acquirers[0], await acquirers[1]
    world.closing.shut()
    retiring = start(pool.retire_all(wait=True))
    await turns()
    for step in (
        lambda: pool.release(held),
        lambda: pool.discard(other),
        world.creation.open,
        world.closing.open,
    ):
        assert not retiring.done()
        if (done := step()) is not None:
            await done
        await turns()
    assert retiring.done()
    assert (await acquirers[2]).number > 2
    assert sorted(world.closed) == [0, 1, 2]


@pytest.mark.guarantees("RetireAllCompletes")
@played
async def test_retire_all_waits_only_for_what_was_there(world: World) -> None:
    pool = world.pool()
    old = await pool.acquire()
    retiring = start(pool.retire_all(wait=True))
    await turns()
    fresh = await pool.acquire()
    again = start(pool.retire_all(wait=True))
    await turns()
    await pool.release(old)
    await turns()
    assert (retiring.done(), again.done()) == (True, False)
    await pool.release(fresh)
    await again
    await pool.retire_all(wait=True)


@pytest.mark.guarantees("RetireAllCompletes")
@played
async def test_a_retire_all_that_waits_ends_with_the_pool(world: World) -> None:
    pool = world.pool()
    thing = await pool.acquire()
    retiring = start(pool.retire_all(wait=True))
    closing = start(pool.close())
    await turns()
    assert not retiring.done()
    await pool.release(thing)
    await asyncio.gather(retiring, closing)


@pytest.mark.guarantees("RetireAllCompletes")
@played
async def test_cancelling_retire_all_stops_only_its_waiting(world: World) -> None:
    pool = world.pool()
    thing = await pool.acquire()
    retiring = start(pool.retire_all(wait=True))
    await turns()
    retiring.cancel()
    await turns()
    assert retiring.cancelled()
    await pool.release(thing)
    await turns()
    assert world.closed == [0]


@pytest.mark.guarantees("OnlyFitHandedOut", "RetireAllCompletes")
def test_a_pool_without_closer_is_retired_and_closed_at_once() -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(object, min_size=2)
        await pool.open()
        await turns()
        old = await pool.acquire()
        await pool.release(old)
        await pool.retire_all(wait=True)
        await turns()
        assert pool.available_count == 2
        assert await pool.acquire() is not old
        pool.terminate()
        assert pool.closed

    run(scenario())


@pytest.mark.guarantees("FifoService")
@played
async def test_acquirers_that_have_to_wait_again_keep_their_order(world: World) -> None:
    pool = world.pool(max_size=2)
    x, y = await pool.acquire(), await pool.acquire()
    first, second = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await turns()
    await pool.release(x)
    await pool.release(y)
    await pool.retire_all()  # both were handed over, neither has run
    world.creation.shut()
    await turns()
    world.creation.let_through()
    await turns()
    assert (first.done(), second.done()) == (True, False)
    second.cancel()
    await turns()


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_an_acquirer_that_has_to_wait_again_keeps_its_deadline(world: World) -> None:
    pool = world.pool(max_size=1)
    loop = asyncio.get_running_loop()
    thing = await pool.acquire()
    began = loop.time()
    acquirer = asyncio.create_task(pool.acquire(timeout=2))
    await asyncio.sleep(1)
    world.creation.shut()
    await pool.release(thing)
    await pool.retire_all()  # the acquirer was handed the resource, and has not run
    with pytest.raises(ResourcePoolTimeoutError):
        await acquirer
    assert round(loop.time() - began, 6) == 2
