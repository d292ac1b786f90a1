"""check: when it is called, what fails it, and how the acquire goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
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
LOGGER = "nodetool.concurrency.pool"


@played
async def test_a_resource_is_checked_each_time_it_is_reused(world: World) -> None:
    pool = world.checked_pool()
    for _ in range(3):
        await pool.release(await pool.acquire())
    assert world.checked == [0, 0], "not when it is fresh"


@pytest.mark.parametrize("options", [{}, {"max_age": 9000}, {"check_after_idle": 5}])
@played
async def test_a_resource_that_was_created_in_advance_is_checked(
    world: World, options: dict[str, float]
) -> None:
    pool = world.checked_pool(min_size=1, **options)
    await pool.open()
    await asyncio.sleep(1000)
    await pool.acquire()
    assert world.checked == [0], "it was idle for long"


@played
async def test_a_resource_is_checked_after_it_was_handed_over(world: World) -> None:
    pool = world.checked_pool(max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    await pool.release(thing)
    assert await waiter is thing
    assert world.checked == [0]


@pytest.mark.parametrize("answer", [True, None, 0, "", [], 1])
@played
async def test_only_false_itself_fails_a_check(world: World, answer: object) -> None:
    pool = world.checked_pool()
    thing = await pool.acquire()
    thing.healthy = answer
    await pool.release(thing)
    assert await pool.acquire() is thing
    assert pool.stats().check_failed == 0


class Untold:
    """A result that refuses to tell its truth, as an array does."""

    def __bool__(self) -> bool:
        raise AssertionError("asked for its truth")

    def __len__(self) -> int:
        raise AssertionError("asked for its length")

    def __repr__(self) -> str:
        raise AssertionError("asked for its representation")


class NoNumber(int):
    """A number whose truth is code of the user."""

    __bool__ = Untold.__bool__


FALSY: tuple[Any, ...] = (0, 0.0, 0j, "", b"", [], (), {}, set(), range(0))


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        *((value, repr(value)) for value in FALSY),
        *((value, "") for value in (None, True, 1, "no", [0], Untold(), NoNumber(0))),
    ],
)
@played
async def test_a_falsy_result_that_passes_is_logged_once(
    world: World, answer: object, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool = world.checked_pool(name="db")
    thing = await pool.acquire()
    thing.healthy = answer
    for _ in range(3):
        await pool.release(thing)
        assert await pool.acquire() is thing
    assert pool.stats().check_failed == 0
    if not logged:
        assert caplog.messages == []
        return
    (message,) = caplog.messages
    assert message == (
        f"pool 'db': a check returned {logged}, which counts as passed. Only False (that object) "
        "or an exception closes the resource. If the result means a broken resource, let the "
        "check return False. The pool logs this once"
    )
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("failure", ["false", "exception"])
@played
async def test_a_failed_check_closes_the_resource_and_the_acquire_goes_on(
    world: World, failure: str
) -> None:
    pool = world.checked_pool()
    thing = await pool.acquire()
    await pool.release(thing)
    if failure == "false":
        thing.healthy = False
    else:
        world.check.fail(OSError("gone"))
    assert (await pool.acquire()).number == 1
    await turns()
    assert world.closed == [0]
    assert (pool.stats().check_failed, pool.stats().acquired) == (1, 2)


def raising(_: object) -> None:
    raise OSError("gone")


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("check", [lambda _: False, raising])
def test_a_sync_check_works_alike(check: Callable[[object], object]) -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(object, max_size=1, check=check, check_after_idle=0)
        first = await pool.acquire()
        await pool.release(first)
        assert await pool.acquire() is not first
        assert pool.stats().check_failed == 1
        pool.terminate()

    run(scenario())


@played
async def test_a_recently_used_resource_is_not_checked(world: World) -> None:
    pool = world.checked_pool(check_after_idle=5)
    thing = await pool.acquire()
    await asyncio.sleep(100)  # being held is being used
    await pool.release(thing)
    await asyncio.sleep(4.9)
    await pool.release(await pool.acquire())
    assert world.checked == []
    await asyncio.sleep(5)
    await pool.acquire()
    assert world.checked == [0]


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_a_failed_check_withdraws_the_trust_in_everything_idle(world: World) -> None:
    pool = world.checked_pool(check_after_idle=5)
    stale, busy, fresh = [await pool.acquire() for _ in range(3)]
    await pool.release(stale)
    await asyncio.sleep(5)
    world.check.shut()
    acquirer = start(pool.acquire())  # the stale one is checked for it
    await turns()
    await pool.release(busy)  # it was used just now, so it needs no check
    assert await acquirer is busy
    await pool.release(fresh)  # as long as no check fails, it needs none either
    stale.healthy = fresh.healthy = False  # death is rarely single
    world.check.open()
    await turns()
    assert (await pool.acquire()).number == 3
    assert world.checked == [0, 2]


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_after_a_failed_check_what_was_trusted_is_checked_before_each_use(
    world: World,
) -> None:
    pool = world.checked_pool(max_size=4, check_after_idle=5)
    stale, busy, dead, well = [await pool.acquire() for _ in range(4)]
    await pool.release(stale)
    await asyncio.sleep(5)
    world.check.shut()
    acquirer = start(pool.acquire())
    await turns()
    await pool.release(busy)
    assert await acquirer is busy
    await pool.release(dead)
    await pool.release(well)
    stale.healthy = dead.healthy = False
    world.check.open()
    await turns()
    assert await pool.acquire() is well
    assert (await pool.acquire()).number == 4
    assert world.checked == [0, 3, 2]


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_no_caller_fails_because_of_stale_resources(world: World) -> None:
    pool = world.checked_pool(max_size=5, check_after_idle=0)
    things = [await pool.acquire() for _ in range(5)]
    for thing in things:
        thing.healthy = False
        await pool.release(thing)
    users = [await pool.acquire(timeout=1) for _ in range(5)]
    assert [user.number for user in users] == [5, 6, 7, 8, 9]
    assert sorted(world.closed) == [0, 1, 2, 3, 4]


@played
async def test_what_comes_back_after_a_failed_check_is_trusted_again(world: World) -> None:
    pool = world.checked_pool(check_after_idle=10)
    dead, used = await pool.acquire(), await pool.acquire()
    await pool.release(dead)
    await asyncio.sleep(10)
    dead.healthy = False
    await pool.acquire()  # the check fails
    assert world.checked == [0]
    await pool.release(used)  # its use shows that it is well
    assert await pool.acquire() is used
    assert world.checked == [0]


@pytest.mark.guarantees("FifoService")
@played
async def test_after_a_failed_check_the_acquirer_goes_to_the_front(world: World) -> None:
    pool = world.checked_pool(max_size=1)
    thing = await pool.acquire()
    await pool.release(thing)
    thing.healthy = False
    world.check.shut()
    first = start(pool.acquire())
    await turns()
    second = start(pool.acquire())
    await turns()
    world.check.open()
    assert (await first).number == 1
    assert not second.done()
    await pool.release(await first)
    await second


@pytest.mark.guarantees("DeadlineKept", "NothingLost")
@played
async def test_a_deadline_passes_during_a_check_and_the_check_goes_on(world: World) -> None:
    pool = world.checked_pool(name="db")
    thing = await pool.acquire()
    await pool.release(thing)
    world.check.shut()
    since = asyncio.get_running_loop().time()
    with pytest.raises(ResourcePoolTimeoutError, match="no resource within 3 s"):
        await pool.acquire(timeout=3)
    assert asyncio.get_running_loop().time() - since == 3
    assert (pool.stats().timeouts, inside.states(pool)) == (1, {"checking": 1})
    world.check.open()
    await turns()
    assert (world.closed, world.check.cancelled) == ([], 0), "the check passed"
    assert inside.states(pool) == {"idle": 1}


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_waiting_checks_and_retries_share_one_deadline(world: World) -> None:
    pool = world.checked_pool(max_size=2)
    first, second = await pool.acquire(), await pool.acquire()
    first.healthy = False
    world.check.time = 4
    world.creation.shut()
    since = asyncio.get_running_loop().time()
    waiter = start(pool.acquire(timeout=10))
    await asyncio.sleep(3)
    await pool.release(first)  # checked until 7, fails; waits for the other
    await asyncio.sleep(5)
    await pool.release(second)  # checked from 8, until the deadline
    assert isinstance(await outcome(waiter), ResourcePoolTimeoutError)
    assert asyncio.get_running_loop().time() - since == 10
    await turns()
    assert world.closed[:1] == [0]


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_timeout_zero_waits_for_no_check_but_starts_one(world: World) -> None:
    pool = world.checked_pool(max_size=1, check_after_idle=5)
    thing = await pool.acquire()
    await pool.release(thing)
    assert await pool.acquire(timeout=0) is thing, "it was used just now"
    await pool.release(thing)
    await asyncio.sleep(5)
    world.check.time = 4
    since = asyncio.get_running_loop().time()
    for _ in range(2):
        with pytest.raises(ResourcePoolTimeoutError, match="1 being checked"):
            await pool.acquire(timeout=0)
    assert asyncio.get_running_loop().time() == since
    await asyncio.sleep(4.1)
    assert await pool.acquire(timeout=0) is thing, "it was checked just now"
    assert world.checked == [0]


@pytest.mark.guarantees("DeadlineKept")
@played
async def test_if_every_use_needs_a_check_timeout_zero_finds_nothing(world: World) -> None:
    pool = world.checked_pool(check_after_idle=0)
    await pool.release(await pool.acquire())
    for _ in range(3):
        with pytest.raises(ResourcePoolTimeoutError):
            await pool.acquire(timeout=0)
        await turns()
    assert inside.states(pool) == {"idle": 1}
    assert world.checked == [0, 0, 0]


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_timeout_zero_starts_the_check_and_then_the_creation(world: World) -> None:
    pool = world.checked_pool(max_size=1, check_after_idle=5)
    thing = await pool.acquire()
    thing.healthy = False
    await pool.release(thing)
    await asyncio.sleep(5)
    for states in ({}, {"idle": 1}):  # its check failed, then one was created
        with pytest.raises(ResourcePoolTimeoutError):
            await pool.acquire(timeout=0)
        await turns()
        assert inside.states(pool) == states
    assert await pool.acquire(timeout=0) is world.things[1]


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_the_checks_own_timeout_error_is_a_failed_check(world: World) -> None:
    pool = world.checked_pool()
    await pool.release(await pool.acquire())
    world.check.fail(TimeoutError("mine"))
    assert (await pool.acquire(timeout=5)).number == 1
    assert (pool.stats().check_failed, pool.stats().timeouts) == (1, 0)


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@played
async def test_a_check_goes_on_when_its_acquirer_is_cancelled_and_serves_the_next(
    world: World,
) -> None:
    pool = world.checked_pool(max_size=1)
    await pool.release(await pool.acquire())
    world.check.shut()
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    first.cancel()
    assert isinstance(await outcome(first), asyncio.CancelledError)
    world.check.open()
    assert (await second).number == 0
    assert (world.closed, world.check.cancelled, pool.stats().cancelled) == ([], 0, 1)


@pytest.mark.guarantees("NothingLost")
@played
async def test_a_check_that_nobody_waits_for_any_more_makes_its_resource_trusted(
    world: World,
) -> None:
    pool = world.checked_pool(check_after_idle=5)
    await pool.release(await pool.acquire())
    await asyncio.sleep(5)
    world.check.shut()
    acquirer = start(pool.acquire())
    await turns()
    acquirer.cancel()
    await outcome(acquirer)
    world.check.open()
    await turns()
    assert (await pool.acquire(timeout=0)).number == 0
    assert world.checked == [0]


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_what_is_retired_while_it_is_checked_is_not_handed_out(world: World) -> None:
    pool = world.checked_pool()
    await pool.release(await pool.acquire())
    world.check.shut()
    acquirer = start(pool.acquire())
    await turns()
    await pool.retire_all()
    world.check.open()
    assert (await acquirer).number == 1


@pytest.mark.guarantees("NothingAfterClose", "CloseWaits")
@played
async def test_a_check_that_passes_after_the_close_began_has_no_effect(world: World) -> None:
    pool = world.checked_pool()
    await pool.release(await pool.acquire())
    world.check.shut()
    acquirer = start(pool.acquire())
    await turns()
    closing = start(pool.close())
    await turns()
    assert not closing.done()
    world.check.open()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await closing
    assert world.closed == [0]


@played
async def test_a_failed_check_is_logged_quietly(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pool = world.checked_pool(name="db")
    await pool.release(await pool.acquire())
    world.check.fail(OSError("gone"))
    with caplog.at_level(logging.INFO, LOGGER):
        await pool.acquire()
    assert caplog.record_tuples == [
        (LOGGER, logging.INFO, "pool 'db': a check failed: OSError('gone')")
    ]


@pytest.mark.guarantees("CountsAgree")
@played
async def test_a_resource_that_was_checked_and_used_again_expires_as_a_ready_one(
    world: World,
) -> None:
    pool = world.checked_pool(max_size=1, check_after_idle=5, max_age=10)
    await pool.release(await pool.acquire())
    await asyncio.sleep(6)
    await pool.release(await pool.acquire())
    assert world.checked == [0]
    await asyncio.sleep(4.5)  # it is closed now
    for number in (1, 1):
        thing = await pool.acquire()
        assert thing.number == number
        await pool.release(thing)


@pytest.mark.guarantees("WaiterServed")
@played
async def test_the_next_acquirer_does_not_rely_on_a_check_that_another_one_has_left(
    world: World,
) -> None:
    pool = world.checked_pool(max_size=2)
    for thing in (await pool.acquire(), await pool.acquire()):
        await pool.release(thing)
    world.check.time = 50
    leaving = start(pool.acquire())
    await turns()
    world.check.time = 1
    leaving.cancel()
    await turns()
    assert (await pool.acquire(timeout=2)).number == 0
    assert world.checked == [1, 0]
