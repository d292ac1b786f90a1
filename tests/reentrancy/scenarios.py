"""Small scenarios. In each the calls after the `yield` are watched, until the loop is idle.

In each scenario but a few a keeper holds one more resource: the spare. The injected action gives it
back. If no action does, the end of the run does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from nodetool.concurrency import PoolEvent
from tests.inside import batches_of
from tests.virtual_time import turns

from .world import Thing, World

Play = Callable[[World], AsyncIterator[None]]


class Scenario(NamedTuple):
    """A scenario and what the sweeps have to know of it."""

    name: str
    play: Play
    full: bool  # whether the pool has room for no acquirer when the watched calls begin
    fresh: bool  # whether the pool is unbound, so that there is no spare
    varies: bool  # whether equal runs may differ in a few bytecodes
    detaches: bool  # whether the pool lets users keep its resources

    def __repr__(self) -> str:
        return self.name


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *,
    full: bool = False,
    fresh: bool = False,
    varies: bool = False,
    detaches: bool = True,
) -> Callable[[Play], Play]:
    """Register a scenario under the name of its function, with spaces."""

    def register(play: Play) -> Play:
        name = play.__name__.replace("_", " ")
        SCENARIOS[name] = Scenario(name, play, full, fresh, varies, detaches)
        return play

    return register


def ignore(event: PoolEvent) -> None:
    """Listen, and do nothing."""


async def hold(world: World, name: str) -> Thing:
    """Acquire a resource before the watched calls."""
    thing: Thing = await world.pool.acquire()
    world.begin_use(name, thing)
    return thing


async def leave_idle(world: World, count: int = 1) -> None:
    """Make resources that are idle when the watched calls begin."""
    things = [await hold(world, "maker") for _ in range(count)]
    for thing in things:
        await world.pool.release(world.end_use(thing))


async def use(world: World, name: str, error: BaseException | None = None) -> None:
    """Use a resource in a context, which ends with the error if there is one."""
    async with world.pool.acquire_context() as thing:
        world.begin_use(name, thing)
        try:
            await asyncio.sleep(1)
            if error is not None:
                raise error
        finally:
            world.end_use(thing)


# Acquire.


@scenario(fresh=True)
async def first_acquire(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    yield
    world.start("acquirer", world.pool.acquire())


@scenario(fresh=True)
async def open_with_a_minimum_size(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3, min_size=1)
    yield
    world.start("opener", world.pool.open())


@scenario()
async def acquire_an_idle_resource(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("acquirer", world.pool.acquire())


@scenario()
async def acquire_an_idle_resource_in_a_context(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("user", use(world, "user"))


@scenario(full=True)
async def a_context_waits_for_a_release(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    world.start("user", use(world, "user"))
    await turns(2)
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario()
async def acquire_with_a_creation(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    yield
    world.start("acquirer", world.pool.acquire())


@scenario(full=True)
async def acquire_waits_for_a_release(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario(full=True)
async def acquire_with_timeout_0(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=1)
    await world.take_spare()
    yield
    world.start("acquirer", world.pool.acquire(timeout=0))


@scenario()
async def acquire_with_timeout_0_starts_a_creation(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    yield
    world.start("acquirer", world.pool.acquire(timeout=0))


@scenario(full=True)
async def acquire_with_timeout_5(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=1)
    await world.take_spare()
    world.join_queue()
    yield
    world.start("acquirer", world.pool.acquire(timeout=5))


@scenario(full=True)
async def several_waiters_time_out(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=1)
    await world.take_spare()
    world.join_queue()
    for number in range(3):
        world.start(f"acquirer {number}", world.pool.acquire(timeout=5))
    await turns(2)
    yield
    await asyncio.sleep(6)


@scenario()
async def the_queue_is_full(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=1, max_waiting=1)
    await world.take_spare()
    world.start("waiter", world.pool.acquire())
    await turns(2)
    yield
    world.start("acquirer", world.pool.acquire())


@scenario(full=True)
async def a_waiter_is_cancelled(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=1)
    await world.take_spare()
    world.join_queue()
    first = world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())
    await turns(2)
    yield
    first.cancel()


@scenario(full=True)
async def a_waiter_is_cancelled_after_a_hand_over(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    first = world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())
    await turns(2)
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))
    first.cancel()


# Ends of leases.


@scenario()
async def release_to_the_idle(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, max_idle_time=50)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario(full=True)
async def release_to_a_waiter(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario(full=True)
async def release_when_expired(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, max_age=10)
    thing = await hold(world, "other")
    await asyncio.sleep(7)
    await world.take_spare()
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await asyncio.sleep(4)
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario(full=True)
async def discard(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    yield
    await world.call("discard", world.pool.discard(world.end_use(thing)))


@scenario(full=True)
async def detach(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    yield
    await world.call("detach", world.pool.detach(world.end_use(thing)))


async def context_ends(world: World, error: BaseException | None) -> AsyncIterator[None]:
    """Play the end of a context, with a waiter."""
    world.make_pool(max_size=2)
    await world.take_spare()
    world.start("user", use(world, "user", error))
    await turns()
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    yield
    await asyncio.sleep(2)


@scenario(full=True)
async def a_context_ends(world: World) -> AsyncIterator[None]:
    async for _ in context_ends(world, None):
        yield


@scenario(full=True)
async def a_context_ends_with_an_error(world: World) -> AsyncIterator[None]:
    async for _ in context_ends(world, ValueError()):
        yield


@scenario(full=True)
async def a_context_ends_with_a_cancellation(world: World) -> AsyncIterator[None]:
    async for _ in context_ends(world, asyncio.CancelledError()):
        yield


# Creations and closings.


@scenario()
async def a_creation_takes_a_while(world: World) -> AsyncIterator[None]:
    world.creation_time = 1
    world.make_pool(max_size=2)
    await world.take_spare()
    yield
    world.start("acquirer", world.pool.acquire())


@scenario()
async def a_creation_fails(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    world.failures = [OSError()]
    yield
    world.start("acquirer", world.pool.acquire())


@scenario()
async def a_retired_creation_ends(world: World) -> AsyncIterator[None]:
    world.creation_time = 1
    world.make_pool(max_size=3)
    await world.take_spare()
    world.start("acquirer", world.pool.acquire())
    await turns()
    await world.pool.retire_all()
    yield
    await asyncio.sleep(2)


@scenario()
async def a_creation_takes_too_long(world: World) -> AsyncIterator[None]:
    world.creation_time = 1
    world.make_pool(max_size=2, creation_timeout=2)
    await world.take_spare()
    world.creation_time = 10
    yield
    world.start("acquirer", world.pool.acquire())


@scenario()
async def the_minimum_size_is_retried(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3, min_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    await turns()
    world.failures = [OSError()]
    yield
    await world.call("detach", world.pool.detach(world.end_use(thing)))


@scenario(full=True)
async def a_closer_takes_a_while(world: World) -> AsyncIterator[None]:
    world.closing_time = 1
    world.make_pool(max_size=2, closer=world.close)
    await world.take_spare()
    thing = await hold(world, "other")
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    await world.pool.discard(world.end_use(thing))
    await turns()
    yield
    await asyncio.sleep(2)


@scenario(full=True)
async def a_closer_takes_too_long(world: World) -> AsyncIterator[None]:
    world.closing_time = 10
    world.make_pool(max_size=2, closer=world.close, closer_timeout=2)
    await world.take_spare()
    thing = await hold(world, "other")
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    await world.pool.discard(world.end_use(thing))
    await turns()
    yield
    await asyncio.sleep(3)


@scenario()
async def no_closer(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, closer=None)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))
    world.start("close", world.pool.close())


# Checks and resets.


async def checked(world: World, **options: Any) -> AsyncIterator[None]:
    """Play an acquire that checks an idle resource."""
    world.make_pool(max_size=3, check_after_idle=0, **options)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("acquirer", world.pool.acquire(timeout=5))


@scenario()
async def a_check_passes_at_once(world: World) -> AsyncIterator[None]:
    async for _ in checked(world, check=world.check_now):
        yield


@scenario()
async def a_check_passes(world: World) -> AsyncIterator[None]:
    async for _ in checked(world, check=world.check):
        world.hook_time = 1
        yield


@scenario()
async def a_check_fails(world: World) -> AsyncIterator[None]:
    async for _ in checked(world, check=world.check_now):
        world.unhealthy = [world.things[-1].number]
        yield


@scenario()
async def a_check_takes_too_long(world: World) -> AsyncIterator[None]:
    async for _ in checked(world, check=world.check):
        world.hook_time = 10
        yield


@scenario()
async def a_check_is_cancelled(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, check=world.check, check_after_idle=0)
    await world.take_spare()
    await leave_idle(world)
    world.hook_time = 1
    acquirer = world.start("acquirer", world.pool.acquire(timeout=5))
    await turns()
    yield
    acquirer.cancel()


@scenario()
async def a_reset_passes(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, reset=world.reset_now)
    await world.take_spare()
    thing = await hold(world, "other")
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario()
async def a_reset_fails(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, reset=world.reset)
    await world.take_spare()
    thing = await hold(world, "other")
    world.hook_time = 1
    world.unhealthy = [thing.number]
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario()
async def a_reset_is_cancelled(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, reset=world.reset)
    await world.take_spare()
    thing = await hold(world, "other")
    world.hook_time = 1
    releaser = world.start("release", world.pool.release(world.end_use(thing)))
    await turns()
    yield
    releaser.cancel()


# The pool as a whole.


@scenario()
async def a_sweep_prunes(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3, max_idle_time=5)
    await world.take_spare()
    await leave_idle(world, 2)
    yield
    await asyncio.sleep(6)


@scenario()
async def a_sweep_finds_expired_resources(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3, min_size=1, max_age=20)
    await world.take_spare()
    await leave_idle(world, 2)
    yield
    await asyncio.sleep(21)


@scenario()
async def prune(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, max_idle_time=5)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.loop.now += 6  # the timer has not run yet
    world.start("prune", world.pool.prune())


@scenario()
async def retire_all(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("retire", world.pool.retire_all(wait=True))


@scenario()
async def close_with_an_idle_resource(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("close", world.pool.close())


@scenario()
async def close_without_a_closer(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, closer=None)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("close", world.pool.close())


@scenario(full=True)
async def close_with_waiters(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=1)
    await world.take_spare()
    world.join_queue()
    world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())
    await turns(2)
    yield
    world.start("close", world.pool.close())


@scenario()
async def close_reaches_its_limit(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    await hold(world, "other")
    yield
    world.start("close", world.pool.close(timeout=2))


@scenario()
async def close_starts_closers_in_batches(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=4)
    await world.take_spare()
    await leave_idle(world, 3)
    yield
    with batches_of(1):
        await world.call("retire", world.pool.retire_all())
        await turns()


@scenario(full=True)
async def an_acquirer_waits_again(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))
    await world.call("retire", world.pool.retire_all())  # before the acquirer resumes


@scenario(full=True)
async def terminate_with_waiters(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    await hold(world, "other")
    world.join_queue()
    world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())
    await turns(2)
    yield
    world.pool.terminate()


@scenario()
async def terminate_with_a_creation(world: World) -> AsyncIterator[None]:
    world.creation_time = 1
    world.make_pool(max_size=3)
    await world.take_spare()
    await leave_idle(world)
    await hold(world, "other")
    world.start("acquirer", world.pool.acquire())
    await turns(3)
    yield
    world.pool.terminate()


# Pools with observers.


@scenario(full=True, varies=True)  # because the contracts iterate over sets of objects
async def debug_mode(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, debug=True)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    world.start("acquirer 0", world.pool.acquire(timeout=0))
    world.start("acquirer 1", world.pool.acquire())
    await turns()
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario(full=True)
async def a_pool_with_a_listener(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, listener=lambda _: None)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    world.start("acquirer", world.pool.acquire(timeout=5))
    await turns()
    await world.call("release", world.pool.release(world.end_use(thing)))


async def deferred_release(world: World, waits: bool = True, **options: Any) -> AsyncIterator[None]:
    """Play a release from the listener, so that a deferred call is in the watched calls."""
    held: list[Thing] = []

    def listener(event: PoolEvent) -> None:
        if held and event.kind == "use" and event.resource == held[0].number + 1:
            world.drive("deferred", world.pool.release(world.end_use(held[1])))

    world.make_pool(max_size=3, listener=listener, **options)
    await world.take_spare()
    things = [await hold(world, "other"), await hold(world, "another")]
    world.join_queue()
    if waits:
        world.start("acquirer", world.pool.acquire())
        await turns(2)
    held += things
    yield
    await world.call("discard", world.pool.discard(world.end_use(held[0])))


@scenario(full=True)
async def a_deferred_release(world: World) -> AsyncIterator[None]:
    async for _ in deferred_release(world):
        yield


@scenario(full=True)
async def a_deferred_release_with_a_reset(world: World) -> AsyncIterator[None]:
    # A deferred reset takes a turn of the loop. So a waiter might get another resource.
    async for _ in deferred_release(world, waits=False, reset=world.reset_now):
        yield


# Work of the pool: when it starts, and how it ends.


@scenario()
async def creations_start_in_batches(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=4)
    await world.take_spare()
    yield
    with batches_of(1):
        for number in range(3):
            world.start(f"acquirer {number}", world.pool.acquire())
        await turns(8)


@scenario()
async def async_creations_start_in_batches(world: World) -> AsyncIterator[None]:
    world.creation_time = 1
    world.make_pool(max_size=3)
    await world.take_spare()
    world.failures = [OSError()]
    yield
    with batches_of(1):
        for number in range(2):
            world.start(f"acquirer {number}", world.pool.acquire())
        await asyncio.sleep(3)


@scenario()
async def checks_start_in_batches(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3, check=world.check, check_after_idle=0)
    await world.take_spare()
    await leave_idle(world, 2)
    world.unhealthy = [world.things[-1].number]
    yield
    with batches_of(1):
        for number in range(2):
            world.start(f"acquirer {number}", world.pool.acquire())
        await turns(12)


@scenario()
async def a_failed_check_withdraws_the_trust(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=4, check=world.check_now, check_after_idle=10)
    await world.take_spare()
    await leave_idle(world, 2)
    await asyncio.sleep(11)
    thing = await hold(world, "other")
    await world.pool.release(world.end_use(thing))
    await hold(world, "other")
    world.unhealthy = [thing.number for thing in world.things if not thing.holder]
    yield
    world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())


@scenario()
async def trust_expires_before_an_acquire(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=4, check=world.check_now, check_after_idle=10)
    await world.take_spare()
    await leave_idle(world, 2)
    yield
    await asyncio.sleep(5)
    thing = await world.call("other", world.pool.acquire(timeout=1))
    await asyncio.sleep(5)
    if thing is not None:  # the pool is open and has room
        await world.call("release", world.pool.release(world.end_use(thing)))
    world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())


@scenario()
async def a_check_is_disowned(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3, check=world.check, check_after_idle=0)
    await world.take_spare()
    await leave_idle(world)
    world.hook_time = 3
    world.start("acquirer 0", world.pool.acquire(timeout=1))
    await turns(3)
    yield
    await asyncio.sleep(2)
    world.start("acquirer 1", world.pool.acquire())


@scenario()
async def acquire_with_timeout_0_starts_a_check(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, check=world.check, check_after_idle=0)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("acquirer", world.pool.acquire(timeout=0))


@scenario()
async def a_late_creation_succeeds(world: World) -> AsyncIterator[None]:
    world.creation_time = 1
    world.is_stubborn = True
    world.make_pool(max_size=2, creation_timeout=2)
    await world.take_spare()
    world.creation_time = 10
    yield
    world.start("acquirer", world.pool.acquire(timeout=5))


@scenario()
async def a_late_check_succeeds(world: World) -> AsyncIterator[None]:
    world.is_stubborn = True
    async for _ in checked(world, check=world.check, check_timeout=2):
        world.hook_time = 10
        yield


@scenario()
async def a_late_reset_succeeds(world: World) -> AsyncIterator[None]:
    world.is_stubborn = True
    world.make_pool(max_size=2, reset=world.reset, reset_timeout=2)
    await world.take_spare()
    thing = await hold(world, "other")
    world.hook_time = 10
    yield
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario()
async def a_sync_closer_fails(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, closer=world.close_badly)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    await world.call("discard", world.pool.discard(world.end_use(thing)))


@scenario()
async def terminate_with_all_kinds_of_work(world: World) -> AsyncIterator[None]:
    world.creation_time = world.closing_time = 1
    world.make_pool(
        max_size=5,
        closer=world.close,
        check=world.check,
        check_after_idle=0,
        reset=world.reset,
    )
    await world.take_spare()
    things = [await hold(world, "other") for _ in range(3)]
    await world.pool.release(world.end_use(things[0]))
    await turns(5)
    world.hook_time = 1
    await world.pool.release(world.end_use(things[1]))
    await world.pool.discard(world.end_use(things[2]))
    world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())
    await turns(3)
    yield
    world.pool.terminate()


@scenario()
async def terminate_with_queued_work(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=5, check=world.check, check_after_idle=0, reset=world.reset)
    await world.take_spare()
    things = [await hold(world, "other") for _ in range(3)]
    await world.pool.release(world.end_use(things[0]))
    await turns(5)
    yield
    await world.call("release", world.pool.release(world.end_use(things[1])))
    await world.call("discard", world.pool.discard(world.end_use(things[2])))
    world.start("acquirer 0", world.pool.acquire())
    world.start("acquirer 1", world.pool.acquire())
    await turns(1)
    world.pool.terminate()


@scenario()
async def terminate_with_unstarted_tasks(world: World) -> AsyncIterator[None]:
    world.creation_time = 1
    world.make_pool(max_size=3)
    await world.take_spare()
    yield
    world.start("acquirer 0", world.pool.acquire())
    await turns(2)
    world.pool.terminate()


@scenario()
async def waiting_for_the_close_is_cancelled(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2)
    await world.take_spare()
    yield
    first = world.start("close 0", world.pool.close())
    world.start("close 1", world.pool.close(timeout=5))
    await turns(3)
    first.cancel()


@scenario()
async def waiting_for_the_retired_is_cancelled(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3)
    await world.take_spare()
    await leave_idle(world)
    yield
    calls = [world.start(f"retire {n}", world.pool.retire_all(wait=True)) for n in range(3)]
    await turns(3)
    calls[0].cancel()
    calls[2].cancel()


@scenario(full=True)
async def resize_up(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=1)
    await world.take_spare()
    world.join_queue()
    world.start("acquirer", world.pool.acquire())
    await turns(2)
    yield
    world.start("resize", world.pool.resize(max_size=3, min_size=1, wait=True))


@scenario()
async def resize_down(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=4)
    await world.take_spare()
    await leave_idle(world, 2)
    thing = await hold(world, "other")
    yield
    resize = world.start("resize 0", world.pool.resize(max_size=1, wait=True))
    world.start("resize 1", world.pool.resize(max_size=2, wait=True))
    await turns(2)
    resize.cancel()
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario()
async def open_waits(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=3, min_size=3)
    world.failures = [OSError(), OSError()]
    await world.take_spare()
    yield
    world.start("open 0", world.pool.open(wait=True))
    world.start("open 1", world.pool.open(wait=True, timeout=0.01))


@scenario()
async def prune_waits_for_closers(world: World) -> AsyncIterator[None]:
    world.closing_time = 1
    world.make_pool(max_size=3, max_idle_time=5, closer=world.close, reuse="fifo")
    await world.take_spare()
    await leave_idle(world, 2)
    yield
    world.loop.now += 6  # the timer has not run yet
    first = world.start("prune 0", world.pool.prune())
    world.start("prune 1", world.pool.prune())
    await turns(2)
    first.cancel()


# Observers, contexts, and the end of `async with`.


@scenario()
async def a_listener_hears_leases_and_a_wait(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, listener=ignore)
    await world.take_spare()
    await leave_idle(world)
    yield
    thing = await world.call("other", world.pool.acquire(timeout=1))
    if thing is None:
        return
    world.start("user", use(world, "user"))
    await turns(2)
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario()
async def leases_are_tracked(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, leak_threshold=0.5)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("user", use(world, "user"))
    await asyncio.sleep(2)
    thing = await world.call("other", world.pool.acquire(timeout=1))
    if thing is not None:
        await world.call("release", world.pool.release(world.end_use(thing)))


@scenario(detaches=False)
async def a_pool_of_contexts(world: World) -> AsyncIterator[None]:
    world.make_pool_of_contexts(max_size=2)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.start("user", use(world, "user"))
    await asyncio.sleep(2)
    await world.call("retire", world.pool.retire_all())
    world.start("other user", use(world, "other user", ValueError()))


@scenario(detaches=False)
async def an_idle_context_ends_by_itself(world: World) -> AsyncIterator[None]:
    world.make_pool_of_contexts(max_size=2)
    await world.take_spare()
    await leave_idle(world)
    yield
    world.end_context(world.things[-1])
    await turns(3)
    world.start("user", use(world, "user"))


@scenario(detaches=False)
async def a_context_in_use_ends_by_itself(world: World) -> AsyncIterator[None]:
    world.make_pool_of_contexts(max_size=2)
    await world.take_spare()
    thing = await hold(world, "other")
    yield
    world.start("user", use(world, "user"))
    await turns(2)
    world.end_context(thing)
    await world.call("release", world.pool.release(world.end_use(thing)))


@scenario()
async def async_with_ends_after_an_exception(world: World) -> AsyncIterator[None]:
    world.make_pool(max_size=2, exit_timeout=1)
    await world.take_spare()
    await leave_idle(world)
    yield
    await world.call("enter", world.pool.__aenter__())
    error = ValueError()
    await world.call("exit", world.pool.__aexit__(ValueError, error, None))
