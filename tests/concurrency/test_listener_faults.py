"""A listener that fails, or that uses its pool, disturbs nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    PoolEvent,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.test_listener import Told
from tests.concurrency.world import World, outcome, played
from tests.virtual_time import run

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


@pytest.mark.guarantees("OneOutcome", "DeadlineKept")
@pytest.mark.parametrize("use", ["terminate", "retire_all"])
@played
async def test_a_listener_may_look_at_its_pool_but_not_use_it(world: World, use: str) -> None:
    refused: list[str] = []
    seen: list[object] = []

    def listener(event: PoolEvent) -> None:
        seen.append((pool.stats(), pool.gauges(), repr(pool)))
        try:
            if use == "terminate":
                pool.terminate()
            else:
                pool.retire_all().send(None)
        except ResourcePoolError as error:
            refused.append(str(error))

    pool = world.pool(listener=listener, max_size=1)
    thing = await pool.acquire()
    errors = await asyncio.gather(*(outcome(pool.acquire(timeout=1)) for _ in range(3)))
    assert all(isinstance(error, ResourcePoolTimeoutError) for error in errors)
    assert len(refused) == len(seen) == 5
    assert all("its listener must not use it" in text for text in refused)
    await pool.release(thing)
    assert (pool.available_count, inside.generation(pool)) == (1, 0)


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


@pytest.mark.parametrize("wrong", [1, "print", [], Told().of("use")])
def test_a_listener_that_cannot_be_called_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="listener must be callable"):
        AsyncResourcePool(object, listener=wrong)


def test_a_pool_that_was_never_used_can_be_terminated_without_a_loop() -> None:
    told = Told()
    pool = AsyncResourcePool(object, listener=told)
    pool.terminate()
    assert pool.closed
    assert pool.gauges() == (0, 0, 0, 0, 0, 0)
    assert not told


def test_terminate_on_a_closed_loop_causes_events_for_forgotten_resources() -> None:
    told = Told()
    pool = AsyncResourcePool(object, listener=told)
    run(pool.acquire())
    pool.terminate()
    assert told.of("use") == [(1, 0, 0, "forgotten")]
