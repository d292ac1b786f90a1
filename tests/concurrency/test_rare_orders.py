"""Orders of events that are easy to forget, each of which once went wrong here."""

from __future__ import annotations

import asyncio
import logging
import warnings

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolLoopError
from tests.concurrency.world import World, played
from tests.virtual_time import VirtualTimeLoop, run, turns


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


def test_terminate_ends_what_a_closed_loop_will_never_end(caplog: pytest.LogCaptureFixture) -> None:
    async def closer(_: object) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await pool.discard(await pool.acquire())
        await turns()

    pool = AsyncResourcePool(object, closer)
    loop = VirtualTimeLoop()
    loop.run_until_complete(main())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    with caplog.at_level(logging.WARNING):
        pool.terminate()
    assert pool.closed
    assert pool.stats().closer_failures == 1
    assert "the event loop was closed before it ended" in caplog.text
    for task in tasks:  # silence the destruction of what never ended
        task._log_destroy_pending = False  # type: ignore[attr-defined]


class Keeping(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@played
async def test_an_error_told_to_one_who_is_cancelled_is_logged(world: World) -> None:
    pool = world.pool(max_size=1)
    world.creation.shut()
    handler = Keeping()
    logger = logging.getLogger("nodetool.concurrency.pool")
    logger.addHandler(handler)
    try:
        acquirer = asyncio.create_task(pool.acquire())
        await turns()
        world.creation.let_through(OSError("refused"))
        await turns(2)  # told, but it has not run
        acquirer.cancel()
        await turns()
    finally:
        logger.removeHandler(handler)
    assert acquirer.cancelled()
    assert ["OSError('refused')" in message for message in handler.messages] == [True]


def test_acquirers_left_on_a_closed_loop_can_be_collected() -> None:
    async def factory() -> object:
        raise OSError("down")

    pool: AsyncResourcePool[object] = AsyncResourcePool(factory, min_size=1)
    loop = VirtualTimeLoop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coroutine = pool.acquire()
        loop.run_until_complete(_starts(coroutine))
        loop.close()
        assert pool.stats().waiting == 1
        coroutine.close()  # GeneratorExit inside the acquire
    assert pool.stats().waiting == 0
    pool.terminate()
    assert pool.closed


async def _starts(coroutine: object) -> None:
    """Let the coroutine run to its first suspension, inside the loop."""
    coroutine.send(None)  # type: ignore[attr-defined]


@played
async def test_a_context_inherited_by_a_forked_child_leaves_the_parent_s_lease_alone(
    world: World,
) -> None:
    pool = world.pool()
    failing, ending = pool.acquire_context(), pool.acquire_context()
    resources = [await failing.__aenter__(), await ending.__aenter__()]
    pool._forked = True  # what the fork does, in the child
    await failing.__aexit__(OSError, OSError(), None)  # the body's exception is not masked
    with pytest.raises(ResourcePoolLoopError, match="belongs to the parent process"):
        await ending.__aexit__(None, None, None)
    pool._forked = False
    assert pool.in_use_count == 2
    for resource in resources:
        await pool.release(resource)


def test_a_younger_resource_that_ages_faster_is_closed_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorter = iter([0.0, 50.0])
    monkeypatch.setattr("random.uniform", lambda *_: next(shorter))

    async def main() -> None:
        async with AsyncResourcePool(object, max_age=100, max_age_jitter=50) as pool:
            slow, fast = await asyncio.gather(pool.acquire(), pool.acquire())
            await pool.release(slow)
            await asyncio.sleep(10)
            await pool.release(fast)
            await asyncio.sleep(45)
            assert pool.available_count == 1
            assert await pool.acquire() is slow
            await pool.release(slow)
            await asyncio.sleep(50)
            assert pool.size == 0
            assert pool.stats().expired == 2

    run(main())
