"""The messages of timeouts: what the pool does, and what the user can do about it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from tests.concurrency.world import World, give_back, outcome, played, take

start = asyncio.create_task


async def message(pool: AsyncResourcePool[Any], timeout: float = 3) -> str:
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.acquire(timeout)
    return str(caught.value)


@played
async def test_a_timeout_over_resources_in_use_advises_to_give_back(world: World) -> None:
    pool = world.pool(max_size=2, name="db")
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
    pool = world.checked_pool(max_size=1, reset=world.clean, name="db", check_timeout=60)
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
    pool = world.pool(max_size=3, name="db")
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


@pytest.mark.parametrize("limit", [4, 10])
@played
async def test_an_acquirer_that_waits_for_a_creation_is_told_nothing_of_closers_and_resets(
    world: World, limit: int
) -> None:
    pool = world.pool(max_size=limit, name="db", reset=world.clean)
    _, broken, used = await take(pool, 3)
    for gate in (world.creation, world.closing, world.reset):
        gate.shut()
    await pool.discard(broken)
    await pool.release(used)
    text = await message(pool)
    assert "1 being reset" in text
    assert "1 being closed" in text
    assert text.endswith("this, see why the factory takes so long, or lower creation_timeout")
    for gate in (world.creation, world.closing, world.reset):
        gate.open()


@pytest.mark.parametrize("limit", [2, 3])
@played
async def test_who_waited_for_a_creation_is_not_told_to_raise_the_limit(
    world: World, limit: int
) -> None:
    pool = world.pool(max_size=limit)
    await pool.acquire()
    world.creation.shut()
    text = await message(pool)
    assert f"max_size={limit}: 1 in use, 1 being created (the first for 3.0 s)" in text
    assert text.endswith("this, see why the factory takes so long, or lower creation_timeout")


@played
async def test_who_waited_behind_the_creation_of_another_is_told_both(world: World) -> None:
    pool = world.pool(max_size=2)
    await pool.acquire()
    world.creation.shut()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=1)  # the next one does not rely on its creation
    text = await message(pool)
    assert "give back sooner or raise max_size; see why the factory" in text


@pytest.mark.parametrize("full", [True, False])
@played
async def test_an_acquire_that_does_not_wait_blames_no_work(world: World, full: bool) -> None:
    pool = world.pool(max_size=2, name="db")
    await take(pool, 2 if full else 0)
    text = await message(pool, 0)
    assert text.startswith("pool 'db': no resource within 0 s; max_size=2: ")
    if full:
        assert text.endswith("To avoid this, give back sooner or raise max_size")
    else:
        assert "1 being created" in text
        assert text.endswith("To avoid this, allow more time")


@pytest.mark.parametrize("what", ["in use", *WORK])
@played
async def test_a_close_that_times_out_says_what_is_left(world: World, what: str) -> None:
    pool = world.checked_pool(reset=world.clean, name="db", check_timeout=60)
    for gate in (world.check, world.reset, world.closing):
        gate.shut()
    if what == "creation":
        world.creation.shut()
        await outcome(pool.acquire(timeout=0))
    else:
        thing = await pool.acquire()
        if what == "reset":
            await pool.release(thing)
        elif what == "closing":
            await pool.discard(thing)
        elif what == "check":
            world.reset.open()
            await give_back(pool, thing)
            await outcome(pool.acquire(timeout=0))
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.close(timeout=1)
    if what == "in use":
        found = f"1 in use; still out: {object.__repr__(thing)}"
        advice = "To end this, release what is in use, or call terminate()"
    else:
        done, function, limit = WORK[what]
        ends = "does not end it" if what == "closing" else "cancels it"
        found = f"1 being {done} (the first for 1.0 s)"
        advice = (
            f"See why the {function} takes so long: {limit} can limit it, and terminate() {ends}"
        )
    assert str(caught.value) == (
        f"pool 'db': not closed within 1 s: {found}. Closing goes on. {advice}"
    )
    for gate in (world.creation, world.check, world.reset, world.closing):
        gate.open()
    if what == "in use":
        await pool.release(thing)


REFUSALS = {
    "use": "max_size=1, max_creating=1: 1 in use. To avoid this, acquire less at once; "
    "give back sooner or raise max_size",
    "closing": "max_size=1, max_creating=1: 1 being closed. To avoid this, acquire less at once; "
    "see why the closer takes so long",
    "reset": "max_size=1, max_creating=1: 1 being reset. To avoid this, acquire less at once; "
    "see why the reset takes so long",
    "creation": "max_size=9, max_creating=1: 1 being created. To avoid this, acquire less at once; "
    "raise max_creating; see why the factory takes so long",
    "closing beside a creation": "max_size=9, max_creating=1: 1 being created, 1 being closed. "
    "To avoid this, acquire less at once; raise max_creating; see why the factory takes so long",
}


@pytest.mark.parametrize("what", REFUSALS)
@played
async def test_a_refusal_to_wait_advises_on_what_the_acquirer_would_wait_for(
    world: World, what: str
) -> None:
    size = 9 if "creation" in what else 1
    pool = world.pool(max_size=size, max_creating=1, max_waiting=1, reset=world.clean, name="db")
    thing = await pool.acquire()
    if what == "reset":
        world.reset.shut()
        await pool.release(thing)
    elif "closing" in what:
        world.closing.shut()
        await pool.discard(thing)
    elif what == "creation":
        await pool.detach(thing)
        thing.mine = True
    waiting = []
    if size > 1:
        world.creation.shut()
        waiting.append(start(pool.acquire()))
    waiting.append(start(pool.acquire()))
    await asyncio.sleep(0)
    error = await outcome(pool.acquire())
    assert type(error) is ResourcePoolExhaustedError
    assert str(error) == (
        "pool 'db': max_waiting=1 acquirers wait already, and no work is in flight for them; "
        f"{REFUSALS[what]}; or raise max_waiting"
    )
    for one in waiting:
        one.cancel()
    for gate in (world.creation, world.closing, world.reset):
        gate.open()
    if what == "use":
        await pool.release(thing)
