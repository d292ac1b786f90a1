"""from_context: a task of its own enters each context, and that may fail."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    DuplicateResourceError,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.contexts import Contexts, Pool
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task
LOGGER = "nodetool.concurrency.pool"


# One task.


@pytest.mark.guarantees("ClosedExactlyOnce")
@played
async def test_each_context_is_entered_and_left_by_a_task_of_its_own(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(name="rooms")
    things = [await pool.acquire() for _ in range(3)]
    for thing in things:
        await pool.release(thing)
    assert len({*contexts.tasks, asyncio.current_task()}) == 4
    assert {task.get_name() for task in contexts.tasks} == {"rooms: context"}
    await pool.close()
    assert sorted(world.closed) == [0, 1, 2]
    assert all(task.done() and task.exception() is None for task in contexts.tasks)
    assert inside.abandoned_closers(pool) == 0
    assert not inside.context_tasks()
    assert pool.stats().closer_failures == 0


variable = ContextVar("variable", default="nothing")


def test_context_variables_are_those_of_the_context_s_own_task() -> None:
    seen = []

    @asynccontextmanager
    async def context() -> AsyncIterator[object]:
        seen.append(variable.get())
        token = variable.set("inside")
        yield object()
        seen.append(variable.get())
        variable.reset(token)  # refused in any other context

    async def scenario() -> None:
        variable.set("of the user")
        pool = AsyncResourcePool.from_context(context)
        async with pool, pool.acquire_context():
            assert variable.get() == "of the user"
        assert pool.stats().closer_failures == 0

    run(scenario())
    assert seen == ["nothing", "inside"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before 3.12")
@played
async def test_an_eager_task_factory_changes_nothing(world: World) -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    contexts = Contexts(world)
    pool = contexts.pool()
    thing, other = await asyncio.gather(pool.acquire(), pool.acquire())
    await pool.release(thing)
    await pool.discard(other)
    await pool.close()
    assert len({*contexts.tasks, asyncio.current_task()}) == 3
    assert pool.stats().closer_failures == 0


@played
async def test_debug_mode_works_alike(world: World) -> None:
    contexts = Contexts(world)
    pool = contexts.pool(debug=True, max_size=1)
    thing = await pool.acquire()
    waiter = start(pool.acquire())
    await turns()
    contexts.end(thing)
    await turns()
    await pool.release(thing)
    assert (await waiter).number == 1
    await pool.release(await waiter)
    await pool.close()


# Entering.


@pytest.mark.guarantees("OneOutcome", "FailureFreesSlot", "NothingLost")
@pytest.mark.parametrize("where", ["when it is made", "when it is entered"])
@played
async def test_what_entering_raises_goes_unchanged_to_the_acquirer(
    world: World, where: str
) -> None:
    contexts, failure = Contexts(world), OSError("refused")
    failures = [failure]

    def make() -> Any:
        if where == "when it is made" and failures:
            raise failures.pop()
        return contexts.context()

    if where == "when it is entered":
        world.creation.fail(failure)
    pool: Pool = AsyncResourcePool.from_context(make, max_size=1)
    world.pools.append(pool)
    first, second = start(pool.acquire()), start(pool.acquire())
    assert await outcome(first) is failure
    thing = await second
    stats = pool.stats()
    assert (stats.size, stats.created, stats.creation_failures) == (1, 1, 1)
    await pool.release(thing)


@played
async def test_an_acquirer_that_is_cancelled_does_not_disturb_entering(world: World) -> None:
    pool = Contexts(world).pool()
    world.creation.shut()
    acquirer = start(pool.acquire())
    await turns()
    acquirer.cancel()
    await turns()
    assert (world.creation.stopped, world.creation.cancelled) == (1, 0)
    world.creation.open()
    await turns()
    thing = await pool.acquire(timeout=0)
    assert (thing.number, world.creation.calls) == (0, 1)
    await pool.release(thing)


@pytest.mark.guarantees("SizeWithinLimit", "ClosedExactlyOnce")
@pytest.mark.parametrize("then", ["gives in", "fails", "enters nevertheless"])
@played
async def test_entering_that_takes_too_long_is_cancelled_and_waited_for(
    world: World, then: str
) -> None:
    contexts, entered = Contexts(world), 0

    @asynccontextmanager
    async def stubborn() -> AsyncIterator[Thing]:
        nonlocal entered
        entered += 1
        if entered == 1:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(5)
                if then == "fails":
                    raise OSError("in the middle") from None
                if then == "gives in":
                    raise
        async with contexts.context() as thing:
            yield thing

    pool: Pool = AsyncResourcePool.from_context(stubborn, max_size=1, creation_timeout=1)
    world.pools.append(pool)
    first, second = start(pool.acquire()), start(pool.acquire())
    await asyncio.sleep(5.9)
    assert (entered, pool.size) == (1, 1), "it is not over yet"
    error = await outcome(first)
    assert isinstance(error, ResourcePoolTimeoutError)
    assert "creation_timeout=1 s" in str(error)
    thing = await second
    assert (entered, pool.stats().creation_failures) == (2, 1)
    assert world.closed == ([0] if then == "enters nevertheless" else [])
    await pool.release(thing)
    gc.collect()  # the loop would report an exception that nothing retrieved


@played
async def test_entering_is_cancelled_again_by_terminate(world: World) -> None:
    cancelled = 0

    @asynccontextmanager
    async def stubborn() -> AsyncIterator[Thing]:
        nonlocal cancelled
        while cancelled < 2:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                cancelled += 1
        raise OSError("at last")
        yield

    pool: Pool = AsyncResourcePool.from_context(stubborn, creation_timeout=1)
    world.pools.append(pool)
    acquirer = start(pool.acquire())
    await asyncio.sleep(5)
    assert (cancelled, pool.size) == (1, 1)
    pool.terminate()
    assert isinstance(await outcome(acquirer), ResourcePoolClosedError)
    await pool.close()
    assert cancelled == 2


@pytest.mark.parametrize("how", ["cancelled", "returns", "raises", "ends slowly"])
@played
async def test_a_context_that_ends_as_it_is_entered_is_a_failed_creation(
    world: World, how: str
) -> None:
    entered, left = 0, []

    class Brief:
        async def __aenter__(self) -> Thing:
            nonlocal entered
            entered += 1
            self.task = asyncio.current_task()
            if entered == 1:
                assert self.task is not None
                asyncio.get_running_loop().call_soon(self.task.cancel)
            return await world.create()

        async def __aexit__(self, *_: object) -> bool:
            if how == "ends slowly":
                await asyncio.sleep(5)
            left.append(entered)
            world.things[entered - 1].closed = True
            if how == "raises" and entered == 1:
                raise OSError("lost")
            return how != "cancelled"

    pool: Pool = AsyncResourcePool.from_context(Brief)
    world.pools.append(pool)
    error = await outcome(pool.acquire())
    assert left == [1]
    if how == "raises":
        assert isinstance(error, OSError)
    else:
        assert isinstance(error, ResourcePoolError)
        assert "ended as it was entered" in str(error)
    assert (await pool.acquire()).number == 1
    await pool.discard(world.things[1])
    await pool.close()


@pytest.mark.parametrize("leaves_well", [True, False])
@played
async def test_a_context_that_returns_what_is_in_the_pool_already_is_left(
    world: World, leaves_well: bool
) -> None:
    thing, left = await world.create(), []

    @asynccontextmanager
    async def same() -> AsyncIterator[Thing]:
        yield thing
        left.append(asyncio.current_task())
        if not leaves_well and len(left) == 1:
            raise OSError("left badly")

    pool: Pool = AsyncResourcePool.from_context(same, max_size=2)
    world.pools.append(pool)
    first = await pool.acquire()
    error = await outcome(pool.acquire())
    told = error if leaves_well else getattr(error, "__context__", None)
    assert isinstance(told, DuplicateResourceError)
    assert isinstance(error, DuplicateResourceError if leaves_well else OSError)
    assert (len(left), pool.size) == (1, 1)
    await pool.release(first)
    await pool.close()
    assert len(left) == 2
    thing.closed = True
    gc.collect()


@played
async def test_what_was_left_may_be_entered_again_and_is_not_kept(world: World) -> None:
    one: list[set[int]] = [set()]

    @asynccontextmanager
    async def same() -> AsyncIterator[set[int]]:
        yield one[0]

    pool = AsyncResourcePool.from_context(same, max_size=1)
    for _ in range(3):
        await pool.discard(await pool.acquire())
    await turns()
    assert (pool.stats().created, pool.size) == (3, 0)
    gone = weakref.ref(one.pop())
    gc.collect()
    assert gone() is None
    await pool.close()


def test_a_creation_that_terminate_has_cut_short_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Brief:
        """A context that ends by itself as it is entered, but slowly."""

        async def __aenter__(self) -> object:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            return self

        async def __aexit__(self, *_: object) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(100)

    async def scenario() -> None:
        pool = AsyncResourcePool.from_context(Brief)
        acquirer = start(pool.acquire())
        await asyncio.sleep(1)
        pool.terminate()
        await pool.close()
        assert isinstance(await outcome(acquirer), ResourcePoolClosedError)

    run(scenario())
    assert not caplog.records, "its cancellation is the pool's own"


# Bad inputs.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"check": 1}, TypeError, "check must be callable"),
        ({"reset": 1}, TypeError, "reset must be callable"),
        ({"max_age_jitter": 5}, ValueError, "max_age_jitter needs a max_age"),
        ({"check": bool, "check_after_idle": -1}, ValueError, "check_after_idle must be 0 or more"),
        ({"factory": object}, TypeError, "factory"),
        ({"closer": print}, TypeError, "closer"),
        ({"max_size": 0}, ValueError, "max_size"),
        ({"max_sise": 1}, TypeError, "max_sise"),
    ],
)
def test_bad_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AsyncResourcePool.from_context(
            **({"make_context_manager": Contexts(World()).context} | options)
        )


@pytest.mark.parametrize("wrong", [object, Thing(0).__repr__])
@played
async def test_the_acquirer_gets_an_error_for_a_wrong_kind_of_context_manager(
    world: World, wrong: Any
) -> None:
    pool = AsyncResourcePool.from_context(wrong)
    with pytest.raises(TypeError, match="asynchronous context manager"):
        await pool.acquire()
    assert pool.size == 0


@pytest.mark.parametrize("wrong", [None, Contexts(World()).context(), asyncio.Lock()])
def test_what_makes_contexts_must_not_be_a_context_itself(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"make_context_manager must .* pass the function itself"):
        AsyncResourcePool.from_context(wrong)
