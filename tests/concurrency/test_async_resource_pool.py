"""Acquire, wait, hand over, give back: the order of service, and what is refused."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta

import pytest

from nodetool.concurrency import (
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import Thing, World, played
from tests.virtual_time import turns

start = asyncio.create_task


# Acquire and release.


@played
async def test_a_resource_is_created_by_the_first_acquire(world: World) -> None:
    pool = world.pool()
    assert world.creation.calls == 0
    thing = await pool.acquire()
    assert world.things == [thing]
    assert pool.in_use_count == 1


@played
async def test_a_released_resource_is_reused(world: World) -> None:
    pool = world.pool()
    for _ in range(3):
        thing = await pool.acquire()
        await pool.release(thing)
    assert world.creation.calls == 1
    assert pool.stats().acquired == pool.stats().released == 3


@played
async def test_acquire_is_a_coroutine_that_a_task_can_be_made_of(world: World) -> None:
    pool = world.pool()
    assert inspect.iscoroutinefunction(pool.acquire)
    task = asyncio.create_task(pool.acquire())
    assert await task is world.things[0]


@played
async def test_the_resource_released_last_is_reused_first(world: World) -> None:
    pool = world.pool()
    things = [await pool.acquire() for _ in range(3)]
    for number in (1, 0, 2):
        await pool.release(things[number])
    assert [(await pool.acquire()).number for _ in range(3)] == [2, 0, 1]


@played
async def test_acquiring_an_idle_resource_never_suspends(world: World) -> None:
    pool = world.pool()
    await pool.release(await pool.acquire())
    acquiring = pool.acquire()
    with pytest.raises(StopIteration) as result:
        acquiring.send(None)
    assert result.value.value is world.things[0]


@pytest.mark.guarantees("WaiterServed")
@played
async def test_releasing_without_reset_never_suspends(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    with pytest.raises(StopIteration):
        pool.release(thing).send(None)
    assert inside.states(pool) == {"handed": 1}
    assert await waiter is thing


@pytest.mark.guarantees("FifoService")
@played
async def test_waiters_are_served_first_come_first_served(world: World) -> None:
    pool = world.pool(max_size=2)
    served: list[int] = []

    async def use(number: int) -> None:
        async with pool.acquire_context():
            served.append(number)
            await asyncio.sleep(1)

    await asyncio.gather(*map(use, range(20)))
    assert served == list(range(20))
    assert pool.stats().acquired == 20


@pytest.mark.guarantees("FifoService")
@played
async def test_a_newcomer_does_not_overtake_an_acquirer_that_was_handed_a_resource(
    world: World,
) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    await pool.release(thing)  # handed to the first acquirer, which has not run since
    newcomer = start(pool.acquire())
    await turns()
    assert (first.done(), second.done(), newcomer.done()) == (True, False, False)
    await pool.release(await first)
    await turns()
    assert (second.done(), newcomer.done()) == (True, False)
    await pool.release(await second)
    await newcomer


@pytest.mark.guarantees("FifoService")
@played
async def test_creations_serve_waiters_in_order_even_if_a_later_one_ends_first(
    world: World,
) -> None:
    world.creation.shut()
    pool = world.pool(max_size=2)
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    assert world.creation.stopped == 2
    world.creation.let_through()
    await turns()
    assert (first.done(), second.done()) == (True, False)
    world.creation.let_through()
    await second


@pytest.mark.guarantees("WaiterServed")
@played
async def test_a_returned_resource_serves_the_waiter_before_its_creation_does(
    world: World,
) -> None:
    pool = world.pool(max_size=2)
    thing = await pool.acquire()
    world.creation.shut()
    waiter = start(pool.acquire())
    await turns()
    await pool.release(thing)
    assert await waiter is thing
    world.creation.open()
    await turns()
    assert pool.available_count == 1, "the creation was not in vain"


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_concurrent_acquires_never_exceed_max_size(world: World) -> None:
    world.creation.time = world.closing.time = 0.3
    pool = world.pool(max_size=3, max_age=2, max_idle_time=1)

    async def use(number: int) -> None:
        await asyncio.sleep(number % 5 / 10)
        async with pool.acquire_context() as thing:
            await asyncio.sleep(number % 7 / 10)
            if number % 11 == 0:
                await pool.discard(thing)
        world.assert_consistent()

    await asyncio.gather(*map(use, range(100)))
    assert world.most == 3
    assert pool.stats().acquired == 100


# Contexts.


@played
async def test_a_context_gives_back_what_it_acquired(world: World) -> None:
    pool = world.pool()
    async with pool.acquire_context() as thing:
        assert pool.in_use_count == 1
        assert thing is world.things[0]
    assert (pool.in_use_count, pool.available_count) == (0, 1)


@played
async def test_an_ordinary_exception_of_the_body_returns_the_resource(world: World) -> None:
    pool = world.pool()
    with pytest.raises(KeyError, match="mine"):
        async with pool.acquire_context():
            raise KeyError("mine")
    assert pool.available_count == 1


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize(
    "interruption", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit]
)
@played
async def test_an_interrupted_body_closes_the_resource(
    world: World, interruption: type[BaseException]
) -> None:
    pool = world.pool()
    with pytest.raises(interruption):
        async with pool.acquire_context():
            raise interruption
    await turns()
    assert world.closed == [0]
    assert pool.stats().interrupted == 1


@played
async def test_discard_on_says_after_which_exceptions_to_close(world: World) -> None:
    pool = world.pool(discard_on=LookupError)
    for error, closed in ((ValueError(), 0), (asyncio.CancelledError(), 0), (KeyError(), 1)):
        with pytest.raises(type(error)):
            async with pool.acquire_context():
                raise error
        assert pool.stats().interrupted == closed


@played
async def test_discard_on_nothing_always_returns_the_resource(world: World) -> None:
    pool = world.pool(discard_on=())
    with pytest.raises(SystemExit):
        async with pool.acquire_context():
            raise SystemExit
    assert pool.available_count == 1


@played
async def test_the_bodys_exception_is_not_masked_by_what_fails_at_its_end(world: World) -> None:
    pool = world.pool(reset=world.clean)
    world.reset.fail(OSError("reset"))
    world.closing.fail(OSError("close"))
    with pytest.raises(KeyError, match="mine"):
        async with pool.acquire_context():
            raise KeyError("mine")
    await turns()
    assert world.closed == [0]


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("leave", ["release", "discard", "detach"])
@played
async def test_leaving_a_context_does_nothing_if_its_body_gave_back(
    world: World, leave: str
) -> None:
    pool = world.pool()
    async with pool.acquire_context() as thing:
        await getattr(pool, leave)(thing)
        thing.mine = leave == "detach"
    assert pool.in_use_count == 0
    assert pool.stats().released == (leave == "release")


@pytest.mark.guarantees("NoDoubleRelease")
@played
async def test_a_stale_context_does_not_give_back_the_next_holders_lease(world: World) -> None:
    pool = world.pool(max_size=1)
    async with pool.acquire_context() as thing:
        await pool.release(thing)
        again = await pool.acquire()
        assert again is thing
    assert pool.in_use_count == 1, "the second lease is still held"
    await pool.release(again)


@played
async def test_leaving_a_context_after_terminate_does_nothing(world: World) -> None:
    pool = world.pool()
    async with pool.acquire_context() as thing:
        pool.terminate()
        thing.mine = True
    assert pool.closed
    assert not thing.closed


@played
async def test_a_context_cannot_be_entered_twice_at_once_but_again(world: World) -> None:
    pool = world.pool()
    context = pool.acquire_context()
    for _ in range(2):
        async with context:
            with pytest.raises(RuntimeError, match="acquire_context"):
                await context.__aenter__()
        assert pool.available_count == pool.size == 1


@played
async def test_a_context_waits_like_an_acquire(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    with pytest.raises(ResourcePoolTimeoutError):
        async with pool.acquire_context(timeout=timedelta(seconds=1)):
            pytest.fail("entered without a resource")
    asyncio.get_running_loop().call_later(1, lambda: start(pool.release(thing)))
    async with pool.acquire_context(2) as got:
        assert got is thing


@played
async def test_a_context_that_is_being_entered_cannot_be_entered_again(world: World) -> None:
    pool = world.pool(max_size=2)
    context = pool.acquire_context()

    async def use() -> None:
        async with context:
            await asyncio.sleep(1)

    results = await asyncio.gather(use(), use(), return_exceptions=True)
    assert pool.in_use_count == 0
    assert [type(result) for result in results] == [type(None), RuntimeError]
    await use()  # one after the other is fine


@played
async def test_a_context_whose_entering_failed_can_be_entered_again(world: World) -> None:
    pool = world.pool(max_size=1)
    resource = await pool.acquire()
    context = pool.acquire_context(timeout=1)
    with pytest.raises(ResourcePoolTimeoutError):
        await context.__aenter__()
    await pool.release(resource)
    async with context as again:
        assert again is resource


@played
async def test_a_context_that_was_not_entered_cannot_be_left(world: World) -> None:
    with pytest.raises(RuntimeError, match="this context is not entered"):
        await world.pool().acquire_context().__aexit__(None, None, None)


# The bounded queue.


@played
async def test_one_more_than_max_waiting_is_turned_away_at_once(world: World) -> None:
    pool = world.pool(max_size=1, max_waiting=2, name="db")
    thing = await pool.acquire()
    waiters = [start(pool.acquire()) for _ in range(2)]
    await turns()
    with pytest.raises(ResourcePoolExhaustedError, match=r"'db'.*max_waiting=2.*max_size=1"):
        await pool.acquire()
    assert (pool.stats().rejected, pool.stats().waiting) == (1, 2)
    await pool.release(thing)
    assert await waiters[0] is thing
    third = start(pool.acquire())  # a place is free again
    await turns()
    assert pool.stats().waiting == 2
    await pool.release(thing)
    await pool.release(await waiters[1])
    await pool.release(await third)


@played
async def test_an_acquirer_with_a_creation_in_flight_does_not_count_as_waiting(
    world: World,
) -> None:
    world.creation.shut()
    pool = world.pool(max_size=3, max_waiting=1)
    acquirers = [start(pool.acquire()) for _ in range(4)]
    await turns()
    assert pool.stats().rejected == 0
    with pytest.raises(ResourcePoolExhaustedError):
        await pool.acquire()
    world.creation.open()
    for acquirer in acquirers:
        await pool.release(await acquirer)


# Giving back what cannot be given back.


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("give_back", ["release", "discard", "detach"])
@played
async def test_giving_back_what_is_not_leased_changes_nothing(world: World, give_back: str) -> None:
    pool, other = world.pool(name="db"), world.pool()
    give = getattr(pool, give_back)
    held, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    world.closing.shut()
    closing, gone = await pool.acquire(), await pool.acquire()
    await pool.release(closing)
    closing = await pool.acquire()
    await pool.discard(closing)
    await pool.detach(gone)
    gone.mine = True
    foreign = await other.acquire()
    before = pool.stats()
    strangers = (Thing(99), foreign, gone, closing)
    for stranger in strangers:
        with pytest.raises(InvalidReleaseError, match=r"'db'.*release") as caught:
            await give(stranger)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, ResourcePoolError)
    assert pool.stats() == before
    await pool.release(held)


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("give_back", ["release", "discard", "detach"])
@played
async def test_giving_back_twice_is_refused_and_changes_nothing(
    world: World, give_back: str
) -> None:
    pool = world.pool(max_size=2)
    thing = await pool.acquire()
    await pool.release(thing)
    before = pool.stats()
    with pytest.raises(InvalidReleaseError, match="released already and is idle"):
        await getattr(pool, give_back)(thing)
    assert pool.stats() == before


@pytest.mark.guarantees("NoDoubleRelease")
@played
async def test_giving_back_what_was_handed_on_is_refused(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    await pool.release(thing)
    with pytest.raises(InvalidReleaseError, match="released already"):
        await pool.release(thing)
    assert await waiter is thing


@pytest.mark.guarantees("NoDoubleRelease")
@played
async def test_releasing_what_terminate_forgot_is_refused(world: World) -> None:
    pool = world.pool()
    thing = await pool.acquire()
    pool.terminate()
    thing.mine = True
    with pytest.raises(InvalidReleaseError, match="forgotten"):
        await pool.release(thing)


@pytest.mark.guarantees("SizeWithinLimit", "WaiterServed")
@played
async def test_a_discarded_resource_is_closed_and_replaced(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    await pool.discard(thing)
    await turns()
    assert (pool.stats().closing, pool.stats().discarded, waiter.done()) == (1, 1, False)
    world.closing.open()
    assert (await waiter).number == 1
    assert world.closed == [0]


@pytest.mark.guarantees("WaiterServed")
@played
async def test_a_detached_resource_frees_its_slot_and_is_never_closed(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    await pool.detach(thing)
    thing.mine = True
    assert (await waiter).number == 1
    assert (pool.size, pool.stats().detached) == (1, 1)
    await pool.release(await waiter)
    await pool.close()
    assert world.closed == [1]


@pytest.mark.guarantees("NothingAfterClose")
@played
async def test_acquiring_from_a_closed_pool_fails(world: World) -> None:
    pool = world.pool(name="db")
    await pool.close()
    with pytest.raises(ResourcePoolClosedError, match="'db' is closed"):
        await pool.acquire()
    with pytest.raises(ResourcePoolClosedError, match="'db' is closed"):
        await pool.open()
    with pytest.raises(ResourcePoolClosedError, match="'db' is closed"):
        await pool.retire_all()
