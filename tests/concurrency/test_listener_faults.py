"""A listener that fails disturbs nothing, and a listener may use its pool."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    PoolEvent,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.test_listener import Told
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task
LOGGER = "nodetool.concurrency.pool"


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize("error", [OSError("full"), asyncio.CancelledError(), GeneratorExit()])
@pytest.mark.parametrize("debug", [False, True])
@played
async def test_a_listener_that_fails_is_logged_and_disturbs_nothing(
    world: World, error: BaseException, debug: bool
) -> None:
    logged: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = logged.append  # type: ignore[method-assign,assignment]
    told = Told()

    def listener(event: PoolEvent) -> None:
        told(event)
        raise error

    logging.getLogger(LOGGER).addHandler(handler)
    try:
        pool = world.pool(listener=listener, max_size=1, name="heard", debug=debug)
        waiters = [start(pool.acquire()) for _ in range(2)]
        await pool.release(await waiters[0])
        await pool.discard(await waiters[1])
        await pool.close()
    finally:
        logging.getLogger(LOGGER).removeHandler(handler)
    kinds = ["creation", "wait", "use", "wait", "use", "close"]
    assert [event.kind for event in told] == kinds
    assert len(logged) == 6
    assert all(record.levelno == logging.ERROR for record in logged)
    assert all("pool 'heard': its listener failed" in record.getMessage() for record in logged)
    assert all(record.exc_info and record.exc_info[1] is error for record in logged)


@played
async def test_a_listener_is_a_plain_function(world: World) -> None:
    async def listener(_: PoolEvent) -> None: ...

    with pytest.raises(TypeError, match="must be a plain function"):
        world.pool(listener=listener)


@pytest.mark.guarantees("NothingLost", "OneOutcome", "CloseWaits")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["creation", "wait", "use", "close"])
def test_what_stops_the_program_does_so_after_what_the_step_has_left_to_do(
    kind: str, stop: type[BaseException]
) -> None:
    told = Told()

    def listener(event: PoolEvent) -> None:
        told(event)
        if event.kind == kind:
            raise stop

    async def scenario() -> None:
        pool = AsyncResourcePool(object, lambda _: None, max_size=1, listener=listener)
        async with pool, pool.acquire_context():
            pass
        assert pool.closed

    loop = asyncio.new_event_loop()
    main = loop.create_task(scenario())
    stopped = 0
    while not main.done():
        try:
            loop.run_until_complete(main)
        except stop:
            stopped += 1
    loop.close()
    assert main.exception() is None
    assert stopped == 1
    assert [event.kind for event in told] == ["creation", "wait", "use", "close"]


def test_without_a_running_loop_it_stops_at_once() -> None:
    def listener(event: PoolEvent) -> None:
        if event.outcome == "forgotten":
            raise KeyboardInterrupt

    pool = AsyncResourcePool(object, listener=listener)
    with asyncio.Runner() as runner:
        runner.run(pool.acquire())
    with pytest.raises(KeyboardInterrupt):
        pool.terminate()
    assert pool.closed


# A call by a listener arrives in the middle of a step. It is deferred until the step is complete.


@pytest.mark.guarantees("OneOutcome", "NothingAfterClose", "CloseCompletes")
@pytest.mark.parametrize("kind", ["creation", "wait", "use", "close"])
@played
async def test_a_listener_may_terminate_its_pool_in_the_middle_of_any_step(
    world: World, kind: str
) -> None:
    phases: list[str] = []

    def listener(event: PoolEvent) -> None:
        if event.kind == kind and not phases:
            pool.terminate()
            phases.append(inside.phase(pool))

    async def use() -> None:
        thing = await pool.acquire()
        thing.mine = inside.phase(pool) != "open"  # terminate() has forgotten it
        await pool.discard(thing)

    pool = world.pool(listener=listener, max_size=1)
    result = await outcome(use())
    await turns()
    refused = {"creation": ResourcePoolClosedError, "wait": InvalidReleaseError}
    assert type(result) is refused.get(kind, type(None))
    assert phases == ["open"], "the step comes first"
    assert pool.closed


@pytest.mark.guarantees("OneOutcome", "DeadlineKept")
@played
async def test_all_acquirers_of_one_step_get_its_outcome_before_the_listener_terminates(
    world: World,
) -> None:
    def listener(event: PoolEvent) -> None:
        told.append(event.outcome)
        if event.outcome == "timed out":
            pool.terminate()

    told: list[str] = []
    pool = world.pool(listener=listener, max_size=1)
    thing = await pool.acquire()
    thing.mine = True
    late = [start(pool.acquire(timeout=1)) for _ in range(2)]
    waiting = start(pool.acquire())
    assert all([isinstance(await outcome(one), ResourcePoolTimeoutError) for one in late])
    assert isinstance(await outcome(waiting), ResourcePoolClosedError)
    assert told == ["created", "acquired", "timed out", "timed out", "closed", "forgotten"]


@pytest.mark.guarantees("RetireAllCompletes", "OnlyFitHandedOut")
@played
async def test_a_listener_may_start_a_task_that_retires_everything(world: World) -> None:
    tasks: list[asyncio.Task[None]] = []

    def listener(event: PoolEvent) -> None:
        if event.kind == "use" and not tasks:
            tasks.append(start(pool.retire_all()))

    pool = world.pool(listener=listener, max_size=1)
    await pool.release(await pool.acquire())
    assert inside.generation(pool) == 0
    await tasks[0]
    assert inside.generation(pool) == 1
    thing = await pool.acquire()
    assert (world.closed, thing.number) == ([0], 1)
    await pool.release(thing)


@pytest.mark.guarantees("WaiterServed", "NothingLost", "NoDoubleRelease")
@pytest.mark.parametrize("way", ["release", "discard", "detach"])
@played
async def test_a_listener_may_give_a_resource_back_once(world: World, way: str) -> None:
    refused: list[str] = []

    def give_back(thing: Thing) -> None:
        try:
            with pytest.raises(StopIteration):
                getattr(pool, way)(thing).send(None)
        except InvalidReleaseError as error:
            refused.append(str(error))

    def listener(event: PoolEvent) -> None:
        if event.outcome == "timed out":
            give_back(thing)
            assert inside.state_of(pool, thing) == "held", "the step comes first"
            give_back(thing)

    pool = world.pool(listener=listener, max_size=1)
    thing = await pool.acquire()
    thing.mine = way == "detach"
    late, waiting = start(pool.acquire(timeout=1)), start(pool.acquire())
    assert isinstance(await outcome(late), ResourcePoolTimeoutError)
    served = await waiting
    assert served.number == (0 if way == "release" else 1)
    assert len(refused) == 1
    assert "it was released already" in refused[0]
    await pool.release(served)


@played
async def test_a_listener_may_have_the_loop_terminate_its_pool(world: World) -> None:
    def listener(event: PoolEvent) -> None:
        if event.outcome == "timed out":
            loop.call_soon(pool.terminate)

    loop = asyncio.get_running_loop()
    pool = world.pool(listener=listener, max_size=1)
    thing = await pool.acquire()
    thing.mine = True
    late, waiting = start(pool.acquire(timeout=1)), start(pool.acquire())
    assert isinstance(await outcome(late), ResourcePoolTimeoutError)
    assert isinstance(await outcome(waiting), ResourcePoolClosedError)


@played
async def test_a_listener_may_look_at_its_pool(world: World) -> None:
    seen: list[tuple[int, int]] = []

    def listener(event: PoolEvent) -> None:
        assert repr(pool).startswith("<AsyncResourcePool ")
        assert pool.gauges().in_use == pool.stats().in_use
        seen.append((pool.stats().idle, pool.stats().in_use))

    pool = world.pool(listener=listener, max_size=1)
    await pool.release(await pool.acquire())
    assert seen == [(0, 1), (0, 1), (1, 0)], "each event comes when its step is complete"


@pytest.mark.parametrize("wrong", [1, "print", [], Told().of("use")])
def test_a_listener_that_cannot_be_called_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="listener must be callable"):
        AsyncResourcePool(object, listener=wrong)


def test_a_pool_that_was_never_used_can_be_terminated_without_a_loop() -> None:
    told = Told()
    pool = AsyncResourcePool(object, listener=told)
    pool.terminate()
    assert pool.closed
    assert set(pool.gauges()) == {0}
    assert not told


def test_terminate_on_a_closed_loop_causes_events_for_forgotten_resources() -> None:
    told = Told()
    pool = AsyncResourcePool(object, listener=told)
    run(pool.acquire())
    pool.terminate()
    assert told.of("use") == [(1, 0, 0, "forgotten")]
