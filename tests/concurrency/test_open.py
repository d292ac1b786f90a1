"""open(): the start of the upkeep of the minimum size, and waiting for it."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import World, now, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task


@pytest.mark.guarantees("FloorRestored")
@played
async def test_open_can_wait_until_the_minimum_size_exists(world: World) -> None:
    world.creation.shut()
    pool = world.pool(min_size=3)
    opening = start(pool.open(wait=True))
    await turns()
    for _ in range(3):
        assert not opening.done()
        world.creation.let_through()
        await turns()
    await opening
    assert pool.available_count == 3


@played
async def test_without_waiting_open_returns_at_once(world: World) -> None:
    pool = world.pool(min_size=3)
    with pytest.raises(StopIteration):
        pool.open().send(None)
    assert pool.stats().creating == 3


@pytest.mark.parametrize("limit", [0, 5, timedelta(seconds=5), math.inf])
@played
async def test_a_timeout_without_waiting_is_refused(world: World, limit: Any) -> None:
    pool = world.pool(min_size=1)
    with pytest.raises(ValueError, match="waits only with wait=True"):
        await pool.open(timeout=limit)
    await turns()
    assert (pool.size, world.creation.calls) == (0, 0)


@played
async def test_a_pool_that_has_its_minimum_size_does_not_wait(world: World) -> None:
    for pool in (world.pool(), world.pool(min_size=2)):
        await pool.open(wait=True)
        with pytest.raises(StopIteration):
            pool.open(wait=True, timeout=0).send(None)


@played
async def test_resources_in_use_or_in_work_count_as_existing(world: World) -> None:
    pool = world.checked_pool(min_size=3, max_size=3, reset=world.clean)
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
    pool = world.pool(min_size=1)
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
    pool = world.pool(min_size=3, name="db")
    await pool.acquire()
    await turns()
    await pool.retire_all()
    world.creation.shut()
    await turns()
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.open(wait=True, timeout=limit)
    assert str(caught.value) == (
        "pool 'db': not open within 2 s: 1 of min_size=3 usable resources exist, "
        "2 being created (the first for 2.0 s). Opening goes on. "
        "See why the factory takes so long: creation_timeout can limit it"
    )
    world.creation.open()
    await pool.open(wait=True)


@played
async def test_an_open_during_the_back_off_says_how_the_factory_fails(world: World) -> None:
    def refuse() -> object:
        raise OSError("refused")

    pool = AsyncResourcePool(refuse, min_size=2, name="db")
    await pool.open()
    await asyncio.sleep(0.8)  # the attempts were at 0, 0.1, 0.3 and 0.7 s
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.open(wait=True, timeout=0.3)
    assert str(caught.value) == (
        "pool 'db': not open within 0.3 s: 0 of min_size=2 usable resources exist. "
        "Opening goes on. See why a creation failed: OSError('refused'). The pool tries again"
    )
    assert caught.value.__cause__ is None
    await pool.close()


@played
async def test_an_open_without_room_says_that_closers_take_long(world: World) -> None:
    world.closing.shut()
    pool = world.pool(min_size=2, max_size=2, name="db")
    for lease in [await pool.acquire(), await pool.acquire()]:
        await pool.discard(lease)
    error = await outcome(pool.open(wait=True, timeout=2))
    assert str(error) == (
        "pool 'db': not open within 2 s: 0 of min_size=2 usable resources exist, "
        "2 being closed (the first for 2.0 s). Opening goes on. "
        "See why the closer takes so long: closer_timeout can limit it"
    )
    world.closing.open()


@played
async def test_an_open_without_room_names_the_checks_of_retired_resources(world: World) -> None:
    world.check.shut()
    pool = world.checked_pool(min_size=1, max_size=1, check_timeout=None, name="db")
    await pool.release(await pool.acquire())
    waiting = start(pool.acquire())
    await turns()
    await pool.retire_all()
    error = await outcome(pool.open(wait=True, timeout=2))
    assert str(error) == (
        "pool 'db': not open within 2 s: 0 of min_size=1 usable resources exist, "
        "1 being checked (the first for 2.0 s). Opening goes on. "
        "See why the check takes so long: check_timeout can limit it"
    )
    world.check.open()
    await pool.release(await waiting)


@played
async def test_an_open_without_time_fails_at_once(world: World) -> None:
    world.creation.shut()
    pool = world.pool(min_size=1)
    since = now()
    with pytest.raises(ResourcePoolTimeoutError) as caught:
        await pool.open(wait=True, timeout=0)
    assert str(caught.value).endswith(
        "1 being created (the first for 0.0 s). Opening goes on. Allow more time"
    )
    assert now() == since
    world.creation.open()
    await turns()
    assert pool.available_count == 1


@played
async def test_what_comes_true_as_the_time_runs_out_is_no_timeout(world: World) -> None:
    world.creation.shut()
    pool = world.pool(min_size=1)
    opening = start(pool.open(wait=True, timeout=1))
    await turns()

    def lower() -> None:
        with pytest.raises(StopIteration):
            pool.resize(min_size=0).send(None)

    # The timer of the pool comes first, because it was set first.
    asyncio.get_running_loop().call_later(1, lower)
    await opening

    other = AsyncResourcePool(object)
    await other.acquire()
    closing = start(other.close(timeout=1))
    await turns()
    asyncio.get_running_loop().call_later(1, other.terminate)
    await closing


@played
async def test_of_several_opens_that_fail_one_gets_the_error_itself(world: World) -> None:
    """A raised error keeps the frames of its caller, so the pool hands it out once."""
    world.creation.fail(*[OSError("down") for _ in range(20)])
    pool = world.pool(min_size=1, name="db")
    opens = [start(pool.open(wait=True, timeout=1)) for _ in range(3)]
    errors = [await outcome(one) for one in opens]
    assert [type(error) for error in errors] == [OSError, ResourcePoolError, ResourcePoolError]
    assert {str(error) for error in errors[1:]} == {"a creation failed: OSError('down')"}
    assert errors[1] is not errors[2]


@played
async def test_a_failure_from_before_is_not_the_error_of_a_later_open(world: World) -> None:
    world.creation.fail(OSError("down"))
    pool = world.pool(min_size=1)
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
    pool = world.pool(min_size=1)
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
    pool = world.pool(min_size=1)
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
    pool = world.pool(min_size=2)
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
    pool = world.pool(min_size=1)
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        await pool.open(wait=True, timeout=bad)
    with pytest.raises(TypeError, match="timeout must be seconds"):
        await pool.open(wait=True, timeout="1")  # type: ignore[arg-type]
    await turns()
    assert (pool.size, world.creation.calls) == (0, 0)


@played
async def test_an_open_counts_no_retired_resource(world: World) -> None:
    """The text and the wait of open() count the same resources."""
    pool = world.checked_pool(max_size=1, min_size=1, name="db", check_timeout=None)
    await pool.open(wait=True)
    world.check.shut()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=1)
    await pool.retire_all()
    with pytest.raises(ResourcePoolTimeoutError, match="0 of min_size=1 usable resources exist"):
        await pool.open(wait=True, timeout=1)
    world.check.open()


@pytest.mark.guarantees("FaultIsolation")
def test_no_caller_gets_the_error_of_a_retired_creation() -> None:
    async def make() -> object:
        number = len(calls)
        calls.append(number)
        await asyncio.sleep(1 if number == 0 else 5)
        if number == 0:
            raise OSError("old password")
        return object()

    async def main() -> None:
        pool = AsyncResourcePool(make, max_size=2, min_size=1)
        await pool.open()
        await asyncio.sleep(0.5)
        await pool.retire_all()
        with pytest.raises(ResourcePoolTimeoutError) as caught:
            await pool.open(wait=True, timeout=2)
        assert caught.value.__cause__ is None
        with pytest.raises(ResourcePoolTimeoutError) as caught:
            await pool.acquire(timeout=1)
        assert caught.value.__cause__ is None
        await pool.close()

    calls: list[int] = []
    run(main())


@pytest.mark.guarantees("FloorRestored")
def test_a_retired_creation_that_succeeds_does_not_end_the_back_off() -> None:
    starts: list[float] = []

    async def make() -> object:
        starts.append(now())
        if len(starts) == 1:
            await asyncio.sleep(20)
            return object()
        await asyncio.sleep(1)
        raise OSError

    async def main() -> None:
        pool = AsyncResourcePool(make, max_size=2, min_size=1)
        await pool.open()
        await asyncio.sleep(0)
        await pool.retire_all()
        await asyncio.sleep(60)
        pool.terminate()
        await pool.close()

    run(main())
    pauses = [later - earlier - 1 for earlier, later in pairwise(starts[1:])]
    assert pauses == sorted(pauses), "the back-off has begun anew"
    assert len(pauses) > 5
