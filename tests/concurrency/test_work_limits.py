"""The limits of creations, checks, resets and closers. A call that exceeds its limit is cancelled
once. Some calls swallow their cancellation, and what they return then comes too late.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    DuplicateResourceError,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import VirtualTimeLoop, run, turns

start = asyncio.create_task
LOGGER = "nodetool.concurrency.pool"
STATES = {"check": "checking", "reset": "resetting"}
ENDS = ("returns", "says no", "fails", "gives in")


class Stubborn:
    """A call that swallows its first cancellation, and ends 5 s later in the way that is given."""

    def __init__(self, ends: str, then: Callable[..., Awaitable[Any]] | None = None) -> None:
        self.ends = ends
        self.then = then
        self.calls = 0
        self.cancelled = 0

    async def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                self.cancelled += 1
                await asyncio.sleep(5)
                if self.ends == "gives in":
                    raise
                if self.ends == "fails":
                    raise OSError("in the middle") from None
        answer = True if self.then is None else await self.then(*args)
        return False if self.ends == "says no" and self.calls == 1 else answer


# creation_timeout.


@pytest.mark.guarantees("SizeWithinLimit", "ClosedExactlyOnce", "FailureFreesSlot")
@pytest.mark.parametrize("ends", ["returns", "fails", "gives in"])
@played
async def test_a_creation_that_ends_after_its_limit_has_failed_however_it_ends(
    world: World, ends: str
) -> None:
    factory = Stubborn(ends, world.create)
    pool: Any = AsyncResourcePool(factory, world.close, max_size=1, creation_timeout=3)
    world.pools.append(pool)
    first, second = start(pool.acquire()), start(pool.acquire())
    await asyncio.sleep(7.9)
    assert (inside.states(pool), factory.cancelled) == ({"creating": 1}, 1)
    assert not first.done(), "until it ends, it keeps its slot"
    error = await outcome(first)
    assert isinstance(error, ResourcePoolTimeoutError)
    assert "the factory did not finish within creation_timeout=3 s" in str(error)
    thing = await second
    made = ends == "returns"
    assert (thing.number, world.closed) == (int(made), [0] if made else []), "it is not used"
    stats = pool.stats()
    assert (stats.created, stats.late, stats.creation_failures) == (1 + made, made, 1)
    assert factory.cancelled == 1
    gc.collect()  # the loop would report an exception that nothing retrieved


@pytest.mark.parametrize("ends", ["returns", "fails", "gives in"])
@played
async def test_a_creation_that_ends_after_its_limit_and_its_acquirer_is_logged(
    world: World, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    factory = Stubborn(ends, world.create)
    pool: Any = AsyncResourcePool(factory, world.close, creation_timeout=3, name="db")
    world.pools.append(pool)
    with caplog.at_level(logging.WARNING, LOGGER):
        error = await outcome(pool.acquire(timeout=1))
        assert isinstance(error, ResourcePoolTimeoutError)
        assert error.__cause__ is None
        await asyncio.sleep(8)
    (message,) = caplog.messages
    assert "pool 'db': a creation failed, and no acquirer gets this error" in message
    assert "creation_timeout=3 s" in message


@pytest.mark.guarantees("FloorRestored")
@played
async def test_a_late_creation_for_the_minimum_size_backs_off_and_is_the_error_of_open(
    world: World,
) -> None:
    pool: Any = AsyncResourcePool(
        Stubborn("returns", world.create), world.close, min_size=1, creation_timeout=3
    )
    world.pools.append(pool)
    opening = start(outcome(pool.open(wait=True, timeout=8.05)))
    await asyncio.sleep(8.02)
    assert inside.minimum_size_upkeep(pool) == "backoff"
    error = await opening
    assert isinstance(error, ResourcePoolTimeoutError)
    assert "creation_timeout=3 s" in str(error)
    await asyncio.sleep(0.1)
    assert inside.states(pool) == {"idle": 1}


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_a_creation_that_is_late_and_retired_counts_as_retired(world: World) -> None:
    factory = Stubborn("returns", world.create)
    pool: Any = AsyncResourcePool(factory, world.close, max_size=1, creation_timeout=3)
    world.pools.append(pool)
    acquirer = start(pool.acquire())
    await asyncio.sleep(1)
    await pool.retire_all()
    assert (await acquirer).number == 1
    stats = pool.stats()
    assert (stats.late, stats.retired, stats.creation_failures) == (0, 1, 0)


@played
async def test_a_late_duplicate_is_a_duplicate(world: World) -> None:
    one = object()
    calls = 0

    async def factory() -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                return one
        return one if calls == 1 else object()

    pool: Any = AsyncResourcePool(factory, max_size=2, creation_timeout=3)
    assert await pool.acquire() is one
    assert isinstance(await outcome(pool.acquire()), DuplicateResourceError)
    stats = pool.stats()
    assert (stats.late, stats.creation_failures, stats.size) == (0, 1, 1)
    await pool.release(one)
    await pool.close()


@pytest.mark.guarantees("CloseWaits", "ClosedExactlyOnce")
@played
async def test_a_late_creation_is_closed_while_the_pool_closes_without_a_message(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    factory = Stubborn("returns", world.create)
    pool: Any = AsyncResourcePool(factory, world.close, creation_timeout=3)
    world.pools.append(pool)
    acquirer = start(pool.acquire())
    await asyncio.sleep(4)
    closing = start(pool.close())
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await asyncio.sleep(3)
    assert not closing.done()
    await closing
    assert (world.closed, pool.stats().closed_down, pool.stats().late) == ([0], 1, 0)
    assert caplog.messages == []


@played
async def test_the_default_creation_timeout_is_one_minute(world: World) -> None:
    world.creation.shut()
    pool = world.pool(acquisition_timeout=None)
    since = asyncio.get_running_loop().time()
    assert isinstance(await outcome(pool.acquire()), ResourcePoolTimeoutError)
    assert asyncio.get_running_loop().time() - since == 60


# check_timeout and reset_timeout.


def work_pool(world: World, work: str, call: Callable[..., Any], **options: Any) -> Any:
    """Make a pool for one resource whose check or reset is this call. Every use is checked."""
    limits = {f"{work}_timeout": 3, "max_size": 1, "check_after_idle": 0, work: call}
    return world.pool(**(limits | options))


def failures(pool: AsyncResourcePool[Thing], work: str) -> int:
    return pool.stats().check_failed if work == "check" else pool.stats().reset_failed


@pytest.mark.guarantees("OnlyFitHandedOut", "SizeWithinLimit", "WaiterServed")
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("work", ["check", "reset"])
@played
async def test_work_that_ends_after_its_limit_has_failed_however_it_ends(
    world: World, work: str, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = Stubborn(ends)
    pool = work_pool(world, work, call, name="db")
    await pool.release(await pool.acquire())
    acquirer = start(pool.acquire())
    with caplog.at_level(logging.INFO, LOGGER):
        await asyncio.sleep(7.9)
        assert (inside.states(pool), call.cancelled) == ({STATES[work]: 1}, 1)
        assert not acquirer.done(), "the call may still use the resource"
        assert (await acquirer).number == 1
    assert (world.closed, failures(pool, work), call.cancelled) == ([0], 1, 1)
    (message,) = caplog.messages
    assert f"pool 'db': a {work} failed: " in message
    assert f"the {work} did not finish within {work}_timeout=3 s" in message
    gc.collect()


@pytest.mark.guarantees("OnlyFitHandedOut")
@pytest.mark.parametrize("work", ["check", "reset"])
@played
async def test_work_within_its_limit_passes(world: World, work: str) -> None:
    gate = getattr(world, work)
    gate.time = 2.9
    pool = work_pool(world, work, world.is_healthy if work == "check" else world.clean)
    for _ in range(3):
        thing = await pool.acquire()
        assert thing.number == 0
        await pool.release(thing)
    await asyncio.sleep(3)
    assert (failures(pool, work), gate.cancelled) == (0, 0)


@pytest.mark.parametrize(("work", "limit"), [("check", 5), ("reset", 10)])
@played
async def test_the_default_limits_of_checks_and_resets(
    world: World, work: str, limit: float
) -> None:
    getattr(world, work).shut()
    pool = world.pool(
        check_after_idle=0, **{work: world.is_healthy if work == "check" else world.clean}
    )
    await pool.release(await pool.acquire())
    acquirer = start(pool.acquire())
    await asyncio.sleep(limit - 0.1)
    assert failures(pool, work) == 0
    await asyncio.sleep(0.2)
    assert failures(pool, work) == 1
    await acquirer


@pytest.mark.parametrize("work", ["check", "reset"])
@played
async def test_without_a_limit_work_may_take_for_ever(world: World, work: str) -> None:
    getattr(world, work).shut()
    call = world.is_healthy if work == "check" else world.clean
    pool = work_pool(world, work, call, **{f"{work}_timeout": None})
    await pool.release(await pool.acquire())
    acquirer = start(pool.acquire(timeout=math.inf))
    await asyncio.sleep(1e6)
    assert (acquirer.done(), failures(pool, work)) == (False, 0)
    getattr(world, work).open()
    assert (await acquirer).number == 0


@pytest.mark.parametrize("work", ["check", "reset"])
@played
async def test_the_limits_of_several_calls_pass_one_by_one(world: World, work: str) -> None:
    getattr(world, work).shut()
    call = world.is_healthy if work == "check" else world.clean
    pool = work_pool(world, work, call, max_size=3)
    things = [await pool.acquire() for _ in range(3)]
    if work == "check":
        for thing in things:
            await pool.release(thing)
    for thing in things:  # the work begins at 0, 1 and 2
        if work == "check":
            assert isinstance(await outcome(pool.acquire(0)), ResourcePoolTimeoutError)
        else:
            await pool.release(thing)
        await asyncio.sleep(1)
    for number in (1, 2, 3):
        await asyncio.sleep(0.5 if number == 1 else 1)
        assert failures(pool, work) == number


@pytest.mark.guarantees("OnlyFitHandedOut")
@played
async def test_a_check_that_is_too_slow_withdraws_the_trust_in_idle_resources(
    world: World,
) -> None:
    pool = world.checked_pool(max_size=2, check_after_idle=9, check_timeout=3)
    stale, fresh = await pool.acquire(), await pool.acquire()
    await pool.release(stale)
    await asyncio.sleep(9)
    world.check.shut()
    with pytest.raises(ResourcePoolTimeoutError):
        await pool.acquire(timeout=0)
    await pool.release(fresh)
    await asyncio.sleep(3.1)
    world.check.open()
    assert await pool.acquire() is fresh
    assert world.checked == [0, 1]


# closer_timeout.


@pytest.mark.guarantees("NothingLost", "WaiterServed", "ClosedExactlyOnce")
@pytest.mark.parametrize("ends", ["returns", "fails", "gives in"])
@played
async def test_a_closer_is_abandoned_at_its_limit_and_what_it_does_later_is_ignored(
    world: World, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    closer = Stubborn(ends, world.close)
    pool: Any = AsyncResourcePool(world.create, closer, max_size=1, closer_timeout=3, name="db")
    world.pools.append(pool)
    await pool.discard(await pool.acquire())
    since = asyncio.get_running_loop().time()
    with caplog.at_level(logging.WARNING, LOGGER):
        thing = await pool.acquire()
        assert asyncio.get_running_loop().time() - since == 3
        assert inside.abandoned_closers(pool) == 1
        await asyncio.sleep(5.1)
    assert (inside.abandoned_closers(pool), closer.cancelled) == (0, 1)
    assert (inside.states(pool), pool.stats().closer_failures) == ({"held": 1}, 1)
    (message,) = caplog.messages
    assert "a closer failed, its resource is abandoned" in message
    assert "closer_timeout=3 s" in message
    world.things[0].closed = True
    world.abandoned += 1
    await pool.release(thing)
    gc.collect()


@played
async def test_the_default_closer_timeout_is_ten_seconds(world: World) -> None:
    world.closing.shut()
    pool = world.pool(max_size=1)
    await pool.discard(await pool.acquire())
    since = asyncio.get_running_loop().time()
    await pool.acquire()
    assert asyncio.get_running_loop().time() - since == 10


@pytest.mark.guarantees("CloseCompletes")
@played
async def test_a_close_waits_for_late_work_but_for_no_abandoned_closer(world: World) -> None:
    reset, closer = Stubborn("returns"), Stubborn("returns", world.close)
    pool: Any = AsyncResourcePool(
        world.create, closer, reset=reset, reset_timeout=1, closer_timeout=1
    )
    world.pools.append(pool)
    await pool.release(await pool.acquire())
    since = asyncio.get_running_loop().time()
    await pool.close()
    assert asyncio.get_running_loop().time() - since == 1 + 5 + 1
    await asyncio.sleep(5)
    assert world.closed == [0]


# No limit can interrupt what runs without a task, but the pool warns of it.


def blocks(seconds: float) -> None:
    """Block the event loop."""
    loop = asyncio.get_running_loop()
    loop.now += seconds  # type: ignore[attr-defined]


class Blocking:
    """Functions for a pool. Those of one kind block the loop."""

    def __init__(self, kind: str, seconds: float) -> None:
        self.kind = kind
        self.seconds = seconds

    def _call(self, kind: str) -> object:
        if kind == self.kind:
            blocks(self.seconds)
        return object()

    def factory(self) -> object:
        return self._call("factory")

    def check(self, _: object) -> object:
        return self._call("check")

    def reset(self, _: object) -> object:
        return self._call("reset")

    def closer(self, _: object) -> object:
        return self._call("closer")

    def pool(self, **options: Any) -> AsyncResourcePool[Any]:
        functions: dict[str, Any] = {kind: getattr(self, kind) for kind in LIMIT_OF}
        limits = dict.fromkeys(LIMIT_OF.values(), 5)
        common = {"check_after_idle": 0, "max_size": 1, "name": "db"}
        return AsyncResourcePool(**{**functions, **limits, **common, **options})


LIMIT_OF = {
    "factory": "creation_timeout",
    "check": "check_timeout",
    "reset": "reset_timeout",
    "closer": "closer_timeout",
}


async def use_twice(pool: AsyncResourcePool[Any]) -> list[Any]:
    """Let a pool call each of its functions, and return the resources that it lent."""
    lent = []
    for _ in range(2):
        lent.append(await pool.acquire())
        await pool.release(lent[-1])
        await turns()
    await pool.close()
    return lent


@pytest.mark.guarantees("FaultIsolation", "NothingLost")
@pytest.mark.parametrize(("seconds", "limit"), [(7.25, 5), (5, 5), (7.25, None)])
@pytest.mark.parametrize("kind", LIMIT_OF)
def test_a_plain_function_that_blocks_for_longer_than_its_limit_is_named(
    kind: str, seconds: float, limit: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        pool = Blocking(kind, seconds).pool(**{LIMIT_OF[kind]: limit})
        first, second = await use_twice(pool)
        assert first is second, "the result counts as usual"
        stats = pool.stats()
        assert (stats.created, stats.closed_down, stats.closer_failures) == (1, 1, 0)

    run(scenario())
    expected = (
        f"pool 'db': the {kind} (Blocking.{kind}) blocked the event loop for {seconds:.3f} s, "
        f"longer than {LIMIT_OF[kind]}=5 s. Nothing can interrupt a plain function, and no task "
        "runs meanwhile. Make it asynchronous, or call what blocks with asyncio.to_thread"
    )
    is_late = limit is not None and seconds > limit
    calls = {"reset": 2}.get(kind, 1)
    assert caplog.messages == [expected] * calls * is_late
    assert all(record.levelno == logging.WARNING for record in caplog.records)


class Nameless:
    """A callable object that refuses each question."""

    def __call__(self) -> object:
        blocks(7)
        return object()

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise AssertionError("asked for its representation")


class Misnamed(Nameless):
    """A callable object whose name is no string."""

    def __getattr__(self, name: str) -> object:
        return 5


def slow_connect(host: str) -> object:
    blocks(7)
    return host


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (partial(partial(slow_connect), "host"), "factory (slow_connect)"),
        (Nameless(), "factory"),
        (Mock(side_effect=Nameless()), "factory"),
        (Misnamed(), "factory"),
    ],
    ids=["partial", "nameless", "mock", "misnamed"],
)
def test_the_name_of_a_blocking_function_needs_no_code_of_the_user(
    function: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(function, creation_timeout=5, name="db")
        await pool.release(await pool.acquire())
        await pool.close()

    run(scenario())
    assert [m.split(" blocked")[0] for m in caplog.messages] == [f"pool 'db': the {name}"]


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize("error", [OSError("down"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_a_function_that_blocks_and_fails_is_named_too(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def connect() -> object:
        blocks(7)
        raise error

    async def scenario() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(connect, creation_timeout=5, name="db")
        with pytest.raises((OSError, ResourcePoolError)):
            await pool.acquire()
        await pool.close()

    with suppress(KeyboardInterrupt):
        run(scenario())
    assert "the factory (test_a_function_that_blocks_and_fails_is_named_too" in caplog.text


def test_what_blocks_before_an_awaitable_is_returned_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def connect() -> Awaitable[str]:
        blocks(7)
        return asyncio.sleep(4, "resource")

    async def scenario() -> None:
        pool = AsyncResourcePool(connect, creation_timeout=5, name="db")
        assert await pool.acquire() == "resource", "the awaitable has the whole limit"
        pool.terminate()
        await turns()

    run(scenario())
    (message,) = caplog.messages
    assert "connect) blocked the event loop for 7.000 s, longer than creation_timeout=5" in message


def test_what_a_coroutine_does_by_itself_is_not_measured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The debug mode of asyncio reports steps of tasks that take long."""

    async def connect() -> object:
        blocks(3)
        await asyncio.sleep(0)
        blocks(3)
        return object()

    async def scenario() -> None:
        pool = AsyncResourcePool(connect, creation_timeout=5)
        await pool.acquire()
        pool.terminate()
        await turns()

    run(scenario())
    assert not caplog.messages


def test_a_plain_function_has_no_limit() -> None:
    def slow(*_: object) -> object:
        blocks(100)
        return object()

    async def scenario() -> None:
        limits: dict[str, Any] = {
            "creation_timeout": 1,
            "check_timeout": 1,
            "reset_timeout": 1,
            "closer_timeout": 1,
        }
        pool: Any = AsyncResourcePool(slow, slow, check=slow, reset=slow, **limits)
        for _ in range(3):
            await pool.release(await pool.acquire(timeout=math.inf))
            await turns()
        await pool.close()
        stats = pool.stats()
        assert (stats.created, stats.closed_down, stats.closer_failures) == (1, 1, 0)

    run(scenario())


# Cancellations that do not come from the pool.


@pytest.mark.parametrize("work", ["check", "reset"])
@played
async def test_work_that_is_cancelled_from_outside_has_failed(
    world: World, work: str, caplog: pytest.LogCaptureFixture
) -> None:
    getattr(world, work).shut()
    call = world.is_healthy if work == "check" else world.clean
    pool = work_pool(world, work, call, name="db")
    await pool.release(await pool.acquire())
    acquirer = start(pool.acquire())
    await turns()
    with caplog.at_level(logging.INFO, LOGGER):
        for task in asyncio.all_tasks():
            if task.get_name() == f"db: {work}":
                task.cancel()
        assert (await acquirer).number == 1
    assert (world.closed, failures(pool, work)) == ([0], 1)
    assert f"the {work} was cancelled" in caplog.text


@pytest.mark.parametrize("work", ["factory", "check", "reset", "closer"])
def test_a_coroutine_whose_task_is_cancelled_before_its_start_is_closed(work: str) -> None:
    """Python would warn of a coroutine that nobody has awaited."""
    ran: list[str] = []

    async def call(*_: object) -> object:
        ran.append(work)
        return object()

    async def scenario() -> None:
        calls: dict[str, Any] = {"factory": object, work: call}
        pool: Any = AsyncResourcePool(**calls, check_after_idle=0, max_size=1, name="db")
        acquirer = start(pool.acquire())
        if work != "factory":
            thing = await acquirer
            await (pool.discard(thing) if work == "closer" else pool.release(thing))
            if work == "check":
                acquirer = start(pool.acquire())
        while not any(task.get_name() == f"db: {work}" for task in asyncio.all_tasks()):
            await turns(1)
        pool.terminate()
        if work == "closer":
            for task in asyncio.all_tasks():
                if task.get_name() == f"db: {work}":
                    task.cancel()
        await outcome(acquirer)
        await turns()
        assert pool.closed
        gc.collect()

    run(scenario())
    assert ran == []


@pytest.mark.guarantees("ClosedExactlyOnce")
def test_a_late_loop_cancels_no_closer_before_it_begins() -> None:
    """A loop may be so late that a limit passes before the first step of a new task.

    If the pool cancels such a task, the closer never runs, and its resource is never closed.
    """
    begun: list[object] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        numbers = iter(range(3))

        async def end(number: int) -> None:
            begun.append(number)
            await asyncio.sleep(1000 if number == 0 else 0)

        def close(number: int) -> Any:
            if number == 2:
                loop.now += 5  # the loop is late, and the task of closer 1 has not begun
            return end(number)

        pool = AsyncResourcePool(lambda: next(numbers), close, max_size=3, closer_timeout=3)
        first, second, third = [await pool.acquire() for _ in range(3)]
        await pool.discard(first)
        await asyncio.sleep(2.9)
        await pool.discard(second)
        await pool.discard(third)
        loop.now += 0.2  # the limit of closer 0 passes before the others are called
        await asyncio.sleep(1)
        assert pool.stats().closer_failures == 1
        await pool.close()

    run(scenario())
    assert begun == [0, 1, 2]
