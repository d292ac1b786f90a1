"""Creating resources: how many at once, which acquirer a failure reaches, and `min_size`."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
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
from tests.concurrency.world import World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task
LOGGER = "nodetool.concurrency.pool"


def gaps_between(moments: list[float]) -> list[float]:
    return [round(later - earlier, 6) for earlier, later in pairwise(moments)]


# Creating.


@played
async def test_constructing_a_pool_creates_nothing(world: World) -> None:
    pool = world.pool(min_size=3)
    await asyncio.sleep(100)
    assert (pool.size, world.creation.calls) == (0, 0)


def test_a_pool_can_be_constructed_without_a_loop() -> None:
    pool = AsyncResourcePool(object, max_size=1)
    assert repr(pool).endswith("open: size 0 of 1, 0 idle, 0 in use, 0 waiting>")

    async def use() -> None:
        async with pool.acquire_context():
            assert pool.in_use_count == 1
        await pool.close()

    run(use())


@pytest.mark.guarantees("WaiterServed")
@played
async def test_creations_run_in_parallel(world: World) -> None:
    world.creation.time = 5
    pool = world.pool(max_size=4)
    since = asyncio.get_running_loop().time()
    await asyncio.gather(*(pool.acquire() for _ in range(4)))
    assert asyncio.get_running_loop().time() - since == 5


@pytest.mark.guarantees("FaultIsolation", "FailureFreesSlot")
@played
async def test_max_creating_bounds_the_creations_in_flight(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=5, max_creating=2)
    acquirers = [start(pool.acquire()) for _ in range(5)]
    await turns()
    assert world.creation.stopped == pool.stats().creating == 2
    world.creation.let_through()
    await turns()
    assert (world.creation.stopped, pool.in_use_count) == (2, 1)
    world.creation.let_through(OSError())
    await turns()
    assert world.creation.stopped == 2, "a failed creation makes room for the next as well"
    world.creation.open()
    results = await asyncio.gather(*map(outcome, acquirers))
    assert sum(isinstance(result, OSError) for result in results) == 1
    assert world.most == 4


@pytest.mark.parametrize("wraps", ["function", "coroutine", "future"])
def test_a_factory_may_be_sync_or_async_or_return_any_awaitable(wraps: str) -> None:
    async def scenario() -> None:
        async def coroutine() -> str:
            return "made"

        def future() -> asyncio.Future[str]:
            made = asyncio.get_running_loop().create_future()
            made.set_result("made")
            return made

        factories = {"function": lambda: "made", "coroutine": coroutine, "future": future}
        pool: AsyncResourcePool[str] = AsyncResourcePool(factories[wraps])  # type: ignore[arg-type]
        assert await pool.acquire() == "made"
        await pool.discard("made")
        await pool.close()

    run(scenario())


@pytest.mark.guarantees("NothingLost")
@played
async def test_a_creation_that_nobody_waits_for_any_more_becomes_idle(world: World) -> None:
    world.creation.time = 5
    pool = world.pool()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=1)
    assert inside.states(pool) == {"creating": 1}
    await asyncio.sleep(5)
    assert inside.states(pool) == {"idle": 1}


# Failures.


@pytest.mark.guarantees("FaultIsolation", "FailureFreesSlot")
@played
async def test_the_original_exception_goes_unchanged_to_the_longest_waiting(
    world: World,
) -> None:
    world.creation.shut()
    pool = world.pool(max_size=1)
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    error = OSError("refused")
    world.creation.let_through(error)
    await turns()
    assert await outcome(first) is error
    assert error.__cause__ is None
    assert world.creation.calls == 2, "the next waiter gets a new creation"
    world.creation.open()
    assert (await second).number == 0
    assert pool.stats().creation_failures == 1


@pytest.mark.guarantees("FaultIsolation")
@played
async def test_a_failure_that_an_acquirer_gets_is_not_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.creation.fail(OSError("refused"))
    pool = world.pool(max_size=1)
    with caplog.at_level(logging.WARNING, LOGGER):
        assert isinstance(await outcome(pool.acquire()), OSError)
        await turns()
    assert not caplog.records


@pytest.mark.guarantees("FaultIsolation")
@played
async def test_a_failure_fails_no_acquirer_while_work_for_all_is_in_flight(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.creation.shut()
    pool = world.pool(max_size=3, min_size=3)
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    with caplog.at_level(logging.WARNING, LOGGER):
        world.creation.let_through(OSError("refused"))
        await turns()
    assert not first.done()
    assert not second.done()
    assert [record.name for record in caplog.records] == [LOGGER]
    assert "no acquirer gets this error" in caplog.text
    assert "refused" in caplog.text
    world.creation.open()
    assert {(await first).number, (await second).number} == {0, 1}


@pytest.mark.guarantees("FaultIsolation", "WaiterServed")
@played
async def test_no_acquirer_relies_on_the_creation_of_one_who_has_left(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=3)
    first, second = start(pool.acquire()), start(pool.acquire())
    await turns()
    second.cancel()
    await outcome(second)
    error = OSError("refused")
    world.creation.let_through(error)  # its own or that of the other: nobody can tell
    assert await outcome(first) is error
    third = start(pool.acquire())
    await turns()
    assert world.creation.stopped == 2, "a new one for the third"
    world.creation.open()
    assert (await third).number == 0
    await turns()
    assert pool.available_count == 1, "nothing was in vain"


@played
async def test_a_creation_that_terminate_cancels_is_no_failure_to_tell_of(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.creation.shut()
    pool = world.pool(min_size=1)
    await pool.open()
    await turns()
    with caplog.at_level(logging.WARNING, LOGGER):
        pool.terminate()
        await turns()
    assert world.creation.cancelled == 1
    assert not caplog.records


@pytest.mark.guarantees("FaultIsolation")
@played
async def test_each_failure_fails_one_acquirer_in_order(world: World) -> None:
    errors = [OSError(number) for number in range(3)]
    world.creation.fail(*errors)
    pool = world.pool(max_size=3)
    acquirers = [start(pool.acquire()) for _ in range(3)]
    assert [await outcome(acquirer) for acquirer in acquirers] == errors
    assert (pool.size, pool.stats().creation_failures) == (0, 3)


@pytest.mark.guarantees("FaultIsolation", "FailureFreesSlot")
@played
async def test_failures_of_a_broken_factory_reach_every_waiter(world: World) -> None:
    world.creation.fail(*(OSError(number) for number in range(10)))
    pool = world.pool(max_size=2)
    results = await asyncio.gather(*(outcome(pool.acquire()) for _ in range(10)))
    assert [result.args for result in results if isinstance(result, OSError)] == [
        (number,) for number in range(10)
    ]
    assert pool.stats().timeouts == 0
    assert await pool.acquire() is world.things[0], "the pool is as good as new"


def test_a_sync_factorys_exception_reaches_the_acquirer_too() -> None:
    async def scenario() -> None:
        def broken() -> object:
            raise LookupError("broken")

        pool = AsyncResourcePool(broken)
        with pytest.raises(LookupError, match="broken"):
            await pool.acquire()
        await pool.close()

    run(scenario())


@played
async def test_a_later_timeout_carries_the_last_failure_as_its_cause(world: World) -> None:
    world.creation.shut()
    pool = world.pool(max_size=1)
    first = start(pool.acquire())
    second = start(pool.acquire(timeout=5))
    await turns()
    error = OSError("refused")
    world.creation.let_through(error)
    assert await outcome(first) is error
    result = await outcome(second)
    assert isinstance(result, ResourcePoolTimeoutError)
    cause = result.__cause__
    assert isinstance(cause, ResourcePoolError)
    assert str(cause) == "a creation failed: OSError('refused')"


@played
async def test_the_cause_describes_an_error_that_cannot_be_described(world: World) -> None:
    class OddError(Exception):
        def __repr__(self) -> str:
            raise ZeroDivisionError

    world.creation.shut()
    pool = world.pool(max_size=1)
    first, second = start(pool.acquire()), start(pool.acquire(timeout=5))
    await turns()
    world.creation.let_through(OddError())
    assert isinstance(await outcome(first), OddError)
    result = await outcome(second)
    assert isinstance(result, ResourcePoolTimeoutError)
    assert "OddError object at 0x" in str(result.__cause__)


@played
async def test_a_failure_before_an_acquire_or_before_a_success_is_not_its_cause(
    world: World,
) -> None:
    pool = world.pool(max_size=1)
    world.creation.fail(OSError("refused"))
    await outcome(pool.acquire())
    await asyncio.sleep(1)
    world.creation.shut()
    timeout = await outcome(pool.acquire(timeout=1))
    assert isinstance(timeout, ResourcePoolTimeoutError)
    assert timeout.__cause__ is None

    waiters = [start(pool.acquire(timeout=5)) for _ in range(2)]
    await turns()
    world.creation.let_through(OSError("refused again"))
    await turns()
    world.creation.open()
    assert isinstance(await outcome(waiters[0]), OSError)
    await waiters[1]
    timeout = await outcome(pool.acquire(timeout=1))
    assert isinstance(timeout, ResourcePoolTimeoutError)
    assert timeout.__cause__ is None


@played
async def test_a_factory_slower_than_creation_timeout_has_failed(world: World) -> None:
    world.creation.shut()
    pool = world.pool(creation_timeout=3, name="db")
    since = asyncio.get_running_loop().time()
    with pytest.raises(ResourcePoolTimeoutError, match=r"'db'.* creation_timeout=3 s") as caught:
        await pool.acquire(timeout=10)
    assert asyncio.get_running_loop().time() - since == 3
    assert isinstance(caught.value, TimeoutError)
    assert (world.creation.cancelled, pool.size, pool.stats().creation_failures) == (1, 0, 1)


class HalfMade:
    """A resource that its factory did not finish."""


@pytest.mark.guarantees("SizeWithinLimit")
@played
async def test_what_a_factory_had_half_made_does_not_outlive_its_time(world: World) -> None:
    made: list[weakref.ref[HalfMade]] = []

    async def factory() -> HalfMade:
        half = HalfMade()
        made.append(weakref.ref(half))
        await asyncio.sleep(100)
        return half

    pool = AsyncResourcePool(factory, creation_timeout=3)
    gc.disable()
    try:
        assert isinstance(await outcome(pool.acquire()), ResourcePoolTimeoutError)
        await turns()
        assert [half() for half in made] == [None]
    finally:
        gc.enable()


@played
async def test_the_factorys_own_timeout_error_reaches_the_acquirer_unchanged(world: World) -> None:
    error = TimeoutError("mine")
    world.creation.fail(error)
    pool = world.pool(creation_timeout=3)
    assert await outcome(pool.acquire()) is error


@pytest.mark.guarantees("NothingLost")
@played
async def test_a_factory_that_is_cancelled_from_outside_has_failed(world: World) -> None:
    world.creation.shut()
    pool = world.pool(name="db")
    acquirer = start(pool.acquire())
    await turns()
    for task in asyncio.all_tasks():
        if task.get_name().startswith("db: "):
            task.cancel()
    result = await outcome(acquirer)
    assert "was cancelled" in str(result)
    assert pool.size == 0


class Keeping(logging.Handler):
    """A handler that keeps the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@played
async def test_a_creations_error_is_logged_if_its_acquirer_is_cancelled(world: World) -> None:
    pool = world.pool(max_size=1)
    world.creation.shut()
    handler = Keeping()
    logger = logging.getLogger("nodetool.concurrency.pool")
    logger.addHandler(handler)
    try:
        acquirer = asyncio.create_task(pool.acquire())
        await turns()
        world.creation.let_through(OSError("refused"))
        await turns(2)  # the error has reached the acquirer, which has not run since
        acquirer.cancel()
        await turns()
    finally:
        logger.removeHandler(handler)
    assert acquirer.cancelled()
    assert ["OSError('refused')" in message for message in handler.messages] == [True]


# The minimum size.


@pytest.mark.guarantees("FloorRestored")
@played
async def test_open_creates_the_minimum_size(world: World) -> None:
    pool = world.pool(min_size=3)
    await pool.open()
    assert pool.stats().creating == 3, "open does not wait"
    await turns()
    assert pool.available_count == 3


@played
async def test_a_pool_is_an_asynchronous_context_manager(world: World) -> None:
    pool = world.pool(min_size=2)
    async with pool as entered:
        assert entered is pool
        await turns()
        assert pool.available_count == 2
    assert pool.closed
    with pytest.raises(ResourcePoolClosedError):
        await pool.open()


@pytest.mark.guarantees("FloorRestored")
@played
async def test_the_first_acquire_starts_to_keep_the_minimum_size(world: World) -> None:
    pool = world.pool(min_size=3)
    await pool.acquire()
    await turns()
    assert (pool.available_count, pool.in_use_count) == (2, 1)


@played
async def test_opening_twice_is_opening_once(world: World) -> None:
    pool = world.pool(min_size=2)
    await pool.open()
    await pool.open()
    await turns()
    assert pool.size == 2


@pytest.mark.guarantees("FloorRestored")
@pytest.mark.parametrize("loss", ["discard", "detach", "expire", "check", "reset", "retire"])
@played
async def test_every_loss_is_replaced_up_to_the_minimum_size(world: World, loss: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "expire": {"max_age": 10},
        "check": {"check": world.is_healthy, "check_after_idle": 0},
        "reset": {"reset": world.clean},
    }
    pool = world.pool(min_size=2, max_size=3, **options.get(loss, {}))
    await pool.open()
    await turns()
    thing = await pool.acquire()
    if loss == "discard":
        await pool.discard(thing)
    elif loss == "detach":
        await pool.detach(thing)
        thing.mine = True
    elif loss == "expire":
        await pool.release(thing)
        await asyncio.sleep(10)
    elif loss == "check":
        await pool.release(thing)
        for each in world.things:
            each.healthy = False
        await pool.release(await pool.acquire())
    elif loss == "reset":
        world.reset.fail(OSError())
        await pool.release(thing)
    else:
        await pool.retire_all()
        await pool.release(thing)
    await turns(20)
    assert inside.states(pool) == {"idle": 2}
    assert pool.stats().created > 2


@pytest.mark.guarantees("FloorRestored")
@played
async def test_refilling_backs_off_exponentially_while_the_factory_fails(world: World) -> None:
    loop = asyncio.get_running_loop()
    attempts: list[float] = []
    down = True

    def factory() -> object:
        attempts.append(loop.time())
        if down:
            raise OSError("down")
        return object()

    pool = AsyncResourcePool(factory, min_size=1, max_size=2)
    await pool.open()
    await asyncio.sleep(200)
    gaps = gaps_between(attempts)
    assert gaps[:9] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]
    assert set(gaps[9:]) == {30}
    down = False
    await asyncio.sleep(30)
    assert pool.available_count == 1
    down = True
    attempts.clear()
    await pool.discard(await pool.acquire())
    await asyncio.sleep(0.35)
    gaps = gaps_between(attempts)
    assert gaps == [0.1, 0.2], "a success ends the back-off"
    await pool.close()
    attempts.clear()
    await asyncio.sleep(100)
    assert attempts == []


@pytest.mark.guarantees("WaiterServed")
@played
async def test_a_waiter_does_not_wait_for_the_back_off(world: World) -> None:
    world.creation.fail(OSError("down"), OSError("down"), OSError("still down"))
    pool = world.pool(min_size=2, max_size=3)
    await pool.open()
    await turns()
    assert pool.size == 0
    since = asyncio.get_running_loop().time()
    assert isinstance(await outcome(pool.acquire()), OSError)
    assert (await pool.acquire()).number == 0
    assert asyncio.get_running_loop().time() == since


@pytest.mark.guarantees("FloorRestored")
@played
async def test_a_recovered_factory_ends_the_back_off_at_once(world: World) -> None:
    world.creation.fail(*(OSError("down") for _ in range(12)))
    pool = world.pool(min_size=3, max_size=5)
    await pool.open()
    await asyncio.sleep(0.65)  # three attempts of three, and the timer is set for 0.7
    assert pool.size == 0
    for _ in range(3):
        assert isinstance(await outcome(pool.acquire()), OSError)
    await pool.release(await pool.acquire())
    await turns()
    assert pool.available_count == 3, "the first success refills the minimum size"


@played
async def test_after_a_recovery_the_back_off_begins_at_its_shortest(world: World) -> None:
    loop = asyncio.get_running_loop()
    attempts: list[float] = []
    down = True

    def factory() -> object:
        attempts.append(loop.time())
        if down:
            raise OSError("down")
        return object()

    pool = AsyncResourcePool(factory, min_size=1, max_size=1)
    await pool.open()
    await asyncio.sleep(60)  # the next attempt is 30 s after the last
    down = False
    thing = await pool.acquire()  # does not wait for it
    down = True
    attempts.clear()
    await pool.discard(thing)
    await asyncio.sleep(0.15)
    gaps = gaps_between(attempts)
    assert gaps == [0.1]
    await pool.close()


@pytest.mark.guarantees("SizeWithinLimit", "FloorRestored")
@played
async def test_the_minimum_size_never_exceeds_max_size(world: World) -> None:
    pool = world.pool(min_size=2, max_size=2)
    await pool.open()
    await turns()
    world.closing.shut()
    await pool.discard(await pool.acquire())
    await turns()
    assert inside.states(pool) == {"idle": 1, "closing": 1}
    world.closing.open()
    await turns()
    assert inside.states(pool) == {"idle": 2}


@pytest.mark.guarantees("FloorRestored")
@played
async def test_the_success_of_a_retired_creation_does_not_end_the_back_off(world: World) -> None:
    pool = world.pool(max_size=2, min_size=1)
    world.creation.time = 10.0
    await pool.open()
    await turns()
    world.creation.time = 0.0
    world.creation.fail(*(OSError() for _ in range(9)))
    await pool.retire_all()
    await asyncio.sleep(9)
    assert inside.minimum_size_upkeep(pool) == "backoff"
    await asyncio.sleep(2)
    assert (world.closed, inside.minimum_size_upkeep(pool)) == ([0], "backoff")
    await asyncio.sleep(60)
    assert (pool.available_count, inside.minimum_size_upkeep(pool)) == (1, "on")
