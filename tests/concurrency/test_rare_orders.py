"""Orders of events that are easy to forget, each of which once went wrong here."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from random import Random

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency._deadlines import Deadlines
from nodetool.concurrency._records import Place
from tests.concurrency.world import World, played
from tests.virtual_time import VirtualTimeLoop, run, turns


@pytest.mark.guarantees("FifoService")
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


@pytest.mark.guarantees("CloseCompletes")
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
    home = {name: getattr(pool, name) for name in ("_loop", "_home", "_direct", "_shelf")}
    pool._leave_to_parent()  # what the fork does, in the child
    await failing.__aexit__(OSError, OSError(), None)  # the body's exception is not masked
    with pytest.raises(ResourcePoolLoopError, match="belongs to the parent process"):
        await ending.__aexit__(None, None, None)
    pool._forked = False
    for name, value in home.items():
        setattr(pool, name, value)
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
            slow = await pool.acquire()
            await pool.release(slow)  # it is closed in 100 seconds
            await asyncio.sleep(10)
            assert await pool.acquire() is slow
            await pool.release(await pool.acquire())  # the other one in 50
            await pool.release(slow)
            await asyncio.sleep(51)
            assert pool.available_count == 1
            assert await pool.acquire() is slow
            await pool.release(slow)
            await asyncio.sleep(50)
            assert pool.size == 0
            assert pool.stats().expired == 2

    run(main())


class UnprintableError(Exception):
    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError


@pytest.fixture
def raising_handler() -> Iterator[None]:
    logger = logging.getLogger("nodetool.concurrency.pool")
    handler, level = Raising(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.guarantees("NothingLost")
@pytest.mark.usefixtures("raising_handler")
@pytest.mark.parametrize("callback", ["closer", "check", "reset", "factory"])
def test_a_logging_handler_that_raises_costs_no_slot(callback: str) -> None:
    def fails(*_: object) -> None:
        raise UnprintableError

    async def main() -> None:
        failing: list[BaseException] = [UnprintableError()] if callback == "factory" else []

        def factory() -> object:
            if failing:
                raise failing.pop()
            return object()

        pool: AsyncResourcePool[object] = AsyncResourcePool(
            factory,
            fails if callback == "closer" else None,
            max_size=1,
            min_size=int(callback == "factory"),
            acquisition_timeout=1,
            check=fails if callback == "check" else None,
            reset=fails if callback == "reset" else None,
        )
        await pool.open()
        await turns()
        for _ in range(3):
            resource = await pool.acquire()
            await (pool.discard if callback == "closer" else pool.release)(resource)
            await turns()
        await pool.close(timeout=5)
        failures = pool.stats()
        assert (
            sum(
                (
                    failures.closer_failures,
                    failures.check_failures,
                    failures.reset_failures,
                    failures.creation_failures,
                )
            )
            > 0
        )

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before 3.12")
def test_an_eager_task_factory_changes_nothing() -> None:
    first: list[object] = []

    async def main() -> None:
        async def factory() -> object:
            if first:
                await pool.release(first.pop())
            return object()

        factory_of_tasks = getattr(asyncio, "eager_task_factory")  # noqa: B009  # since 3.12
        asyncio.get_running_loop().set_task_factory(factory_of_tasks)
        pool: AsyncResourcePool[object] = AsyncResourcePool(factory, max_size=2)
        first.append(await pool.acquire(timeout=1))
        await pool.release(await pool.acquire(timeout=1))
        await pool.close(timeout=1)

    run(main())


@played
async def test_a_callback_that_ends_in_a_cancellation_of_its_own_has_failed(world: World) -> None:
    async def cancels_itself(*_: object) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    checked = world.pool(max_size=1, check=cancels_itself)
    await checked.release(await checked.acquire())
    await checked.release(await checked.acquire(timeout=5))
    assert checked.stats().check_failures == 1

    cleaned = world.pool(max_size=1, reset=cancels_itself)
    context = cleaned.acquire_context()
    with pytest.raises(KeyError):  # the body's exception is not masked
        async with context:
            raise KeyError
    assert cleaned.stats().reset_failures == 1

    async def factory() -> object:
        await cancels_itself()
        return object()

    making: AsyncResourcePool[object] = AsyncResourcePool(factory)
    with pytest.raises(ResourcePoolError, match="a cancellation of its own"):
        await making.acquire()


@played
async def test_a_context_that_was_not_entered_cannot_be_left(world: World) -> None:
    with pytest.raises(RuntimeError, match="this context is not entered"):
        await world.pool().acquire_context().__aexit__(None, None, None)


@played
async def test_a_duration_beyond_all_floats_is_named(world: World) -> None:
    pool = world.pool()
    with pytest.raises(ValueError, match=r"timeout is too large: use math.inf"):
        await pool.acquire(timeout=10**400)


@played
async def test_a_resource_that_is_held_while_many_come_and_go_still_ages(world: World) -> None:
    pool = world.pool(max_size=2, max_age=100)
    held = await pool.acquire()
    for _ in range(200):
        await pool.discard(await pool.acquire())
    await asyncio.sleep(50)
    await pool.release(held)
    await asyncio.sleep(49)
    assert pool.size == 1
    await asyncio.sleep(2)
    assert pool.size == 0
    assert pool.stats().expired == 1


def test_deadlines_out_of_order_pass_in_order_after_a_tidy() -> None:
    random = Random(7)
    passed: list[float] = []

    class Item:
        place = Place.WAITING

        def __init__(self, deadline: float) -> None:
            self.deadline = deadline

    class Keeper:
        def expire(self, items: list[Item]) -> None:
            passed.extend(item.deadline for item in items)

    async def main() -> None:
        loop, keeper = asyncio.get_running_loop(), Keeper()
        deadlines = Deadlines(loop, loop.time, Place.WAITING, keeper.expire)
        items = [Item(loop.time() + random.uniform(1, 100)) for _ in range(300)]
        for item in items:
            deadlines.add(item)
        for item in random.sample(items, 200):
            item.place = Place.GONE
        deadlines.tidy(100)
        await asyncio.sleep(101)
        assert len(passed) == 100
        assert passed == sorted(passed)

    run(main())


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


def test_a_closed_pool_leaves_no_timer_behind() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool: AsyncResourcePool[object] = AsyncResourcePool(
            object, lambda _: asyncio.sleep(1), max_size=2, max_age=500, max_idle_time=300
        )
        resources = [await pool.acquire(), await pool.acquire()]
        waiter = asyncio.create_task(pool.acquire(timeout=200))
        await turns()
        await pool.release(resources[0])
        await pool.release(await waiter)
        await pool.discard(resources[1])
        await pool.close()
        await turns()
        timers = getattr(loop, "_scheduled")  # noqa: B009  # private to asyncio
        assert not [timer for timer in timers if not timer.cancelled()]

    run(main())


@pytest.mark.guarantees("OnlyFitHandedOut")
def test_what_a_destructor_gives_back_while_all_is_retired_is_closed() -> None:
    class Hooked:
        hook: Callable[[], None] = staticmethod(lambda: None)

        def __del__(self) -> None:
            self.hook()

    async def main() -> None:
        pool = AsyncResourcePool(Hooked, max_size=2)
        dying, held = await pool.acquire(), await pool.acquire()
        released: list[int] = []

        def give_back() -> None:
            released.append(pool.stats().released)
            with pytest.raises(StopIteration):
                pool.release(held).send(None)

        dying.hook = give_back
        await pool.release(dying)
        del dying
        await pool.retire_all()
        assert released == [1], "each snapshot is consistent"
        assert (pool.size, pool.stats().released) == (0, 2)
        assert await pool.acquire() is not held
        pool.terminate()

    run(main())
