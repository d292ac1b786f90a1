"""The context of one lease: every way in and every way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolClosedError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.virtual_time import run, turns


def driven(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine that does not suspend. Return its result."""
    with pytest.raises(StopIteration) as info:
        coroutine.send(None)
    return info.value.value


@pytest.mark.guarantees("NoDoubleRelease", "SingleHolder")
def test_a_context_takes_an_idle_resource_or_waits_and_gives_it_back() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            async with pool.acquire_context() as first:  # waits for its creation
                assert pool.in_use_count == 1
            async with pool.acquire_context() as second:  # takes an idle one
                assert second is first

                async def wait() -> object:
                    async with pool.acquire_context(timeout=5) as third:
                        return third

                waiting = asyncio.create_task(wait())
                await turns()
            assert await waiting is first
            assert (pool.in_use_count, pool.available_count) == (0, 1)

    run(main())


def test_a_context_is_entered_once_and_left_once() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=2) as pool:
            context = pool.acquire_context()
            with pytest.raises(RuntimeError, match="this context is not entered"):
                await context.__aexit__(None, None, None)
            await context.__aenter__()
            with pytest.raises(RuntimeError, match="entered already"):
                await context.__aenter__()
            await context.__aexit__(None, None, None)
            with pytest.raises(RuntimeError, match="this context is not entered"):
                await context.__aexit__(None, None, None)
            async with context:  # once more, one after the other
                assert pool.in_use_count == 1

    run(main())


def test_a_context_can_be_entered_again_after_it_failed_to_enter() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1, acquisition_timeout=1) as pool:
            context = pool.acquire_context()
            held = await pool.acquire()
            with pytest.raises(ResourcePoolTimeoutError):
                await context.__aenter__()
            entering = asyncio.create_task(context.__aenter__())
            await turns()
            with pytest.raises(RuntimeError, match="entered already"):
                await context.__aenter__()
            with pytest.raises(RuntimeError, match="not entered"):
                await context.__aexit__(None, None, None)
            entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering
            await pool.release(held)
            async with context as resource:
                assert resource is held

    run(main())


@pytest.mark.guarantees("ClosedExactlyOnce")
@pytest.mark.parametrize(
    ("error", "discards"),
    [(None, False), (ValueError(), False), (asyncio.CancelledError(), True), (OSError(), True)],
    ids=repr,
)
def test_an_exception_of_discard_on_discards(error: BaseException | None, discards: bool) -> None:
    async def main() -> None:
        discard_on = (asyncio.CancelledError, OSError)
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            object, max_size=1, max_age=10, discard_on=discard_on
        )
        with suppress(ValueError, OSError, asyncio.CancelledError):
            async with pool.acquire_context():
                if error is not None:
                    raise error
        stats = pool.stats()
        assert (stats.interrupted, stats.idle) == (int(discards), int(not discards))
        await pool.close()

    run(main())


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("way", ["release", "discard", "detach"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_context_whose_resource_was_given_back_gives_nothing_back(way: str, fails: bool) -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, discard_on=OSError)
        with suppress(OSError):
            async with pool.acquire_context() as resource:
                await getattr(pool, way)(resource)
                other = await pool.acquire()
                if fails:
                    raise OSError
        assert pool.in_use_count == 1, "another one has the resource"
        await pool.release(other)
        await pool.close()

    run(main())


class Nested:
    """Calls in the middle of a step, from the destructor of a resource that is pruned."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def run(self) -> None:
        while self.calls:
            self.calls.pop(0)()


class Dying:
    """A resource that calls when it dies."""

    nested: Nested | None = None

    def __del__(self) -> None:
        if self.nested is not None:
            self.nested.run()


async def at_the_death_of_one(
    pool: AsyncResourcePool[Any], nested: Nested, *calls: Callable[[], None]
) -> None:
    """Let a step make these calls in its middle. Resources may be idle for ten seconds."""
    dying = await pool.acquire()
    dying.nested = nested
    nested.calls += calls
    await pool.release(dying)
    del dying
    loop: Any = asyncio.get_running_loop()
    loop.now += 11  # the timer has not run yet
    await pool.prune()
    assert not nested.calls


@pytest.mark.guarantees("NothingLost", "NoDoubleRelease")
@pytest.mark.parametrize("fails", [False, True])
def test_a_context_may_be_left_in_the_middle_of_a_step(fails: bool) -> None:
    async def main() -> None:
        nested = Nested()
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            Dying, max_size=2, max_idle_time=10, discard_on=OSError
        )
        context = pool.acquire_context()
        await context.__aenter__()
        error = OSError() if fails else None

        def leave() -> None:
            driven(context.__aexit__(type(error) if error else None, error, None))
            assert pool.in_use_count == 1, "the step is not complete"

        await at_the_death_of_one(pool, nested, leave)
        assert (pool.stats().idle, pool.stats().interrupted) == (int(not fails), int(fails))
        await pool.close()

    run(main())


def drive(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine from any place: go on when what it awaits is done."""
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return
    awaited.add_done_callback(lambda _: drive(coroutine))


@pytest.mark.guarantees("NothingLost")
def test_a_context_may_be_entered_in_the_middle_of_a_step() -> None:
    async def main() -> None:
        nested = Nested()
        pool: AsyncResourcePool[Any] = AsyncResourcePool(Dying, max_size=2, max_idle_time=10)
        context = pool.acquire_context()
        await at_the_death_of_one(pool, nested, lambda: drive(context.__aenter__()))
        await turns()
        assert pool.in_use_count == 1
        await context.__aexit__(None, None, None)
        assert pool.available_count == 1
        await pool.close()

    run(main())


@pytest.mark.guarantees("NothingLost", "WaiterServed")
@pytest.mark.parametrize("when", ["entering", "leaving"])
def test_a_call_nested_in_the_entering_or_leaving_runs_before_it_ends(when: str) -> None:
    async def main() -> None:
        nested = Nested()
        pool: AsyncResourcePool[Any] = AsyncResourcePool(Dying, max_size=2, max_age=10)
        context = pool.acquire_context()
        dying = await (context.__aenter__() if when == "leaving" else pool.acquire())
        dying.nested = nested
        loop: Any = asyncio.get_running_loop()
        loop.now += 5
        held = await pool.acquire()
        if when == "entering":
            await pool.release(dying)
        del dying
        loop.now += 6  # the first one is too old, and the timer has not run yet
        nested.calls.append(lambda: seen.append(driven(pool.release(held))))
        if when == "leaving":
            await context.__aexit__(None, None, None)
        else:
            assert await context.__aenter__() is held, "it was given back within the step"
        assert (len(seen), pool.stats().expired) == (1, 1)
        pool.terminate()

    seen: list[object] = []
    run(main())


def test_the_pool_may_end_while_a_context_is_entered() -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1)
        await pool.acquire()
        entering = asyncio.create_task(pool.acquire_context().__aenter__())
        await turns()
        pool.terminate()
        with pytest.raises(ResourcePoolClosedError):
            await entering

    run(main())


# Other loops, threads and processes.


def raised_in_a_thread(call: Callable[[], object]) -> BaseException | None:
    raised: list[BaseException | None] = [None]

    def body() -> None:
        try:
            call()
        except BaseException as error:
            raised[0] = error

    thread = Thread(target=body)
    thread.start()
    thread.join()
    return raised[0]


def test_a_context_is_refused_in_another_loop_and_can_be_left_later() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=2) as pool:
            context, other = pool.acquire_context(), pool.acquire_context()
            await context.__aenter__()

            def leave() -> None:
                asyncio.run(context.__aexit__(None, None, None))

            assert isinstance(raised_in_a_thread(leave), ResourcePoolLoopError)
            enter = other.__aenter__()
            assert isinstance(raised_in_a_thread(lambda: asyncio.run(enter)), ResourcePoolLoopError)
            assert pool.in_use_count == 1
            await context.__aexit__(None, None, None)
            assert pool.in_use_count == 0

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, OSError()])
def test_a_context_may_be_left_after_the_loop_was_closed(error: OSError | None) -> None:
    closed: list[object] = []
    pool: AsyncResourcePool[Any] = AsyncResourcePool(
        object, closed.append, max_size=1, discard_on=OSError
    )
    context = pool.acquire_context()
    asyncio.run(context.__aenter__())
    driven(context.__aexit__(type(error) if error else None, error, None))
    assert (len(closed), pool.available_count) == (1, 0) if error else (0, 1)
    pool.terminate()
    assert (len(closed), pool.closed) == (1, True)


@pytest.mark.parametrize("error", [OSError(), ValueError()])
def test_a_forked_child_leaves_the_lease_to_its_parent(error: Exception) -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, discard_on=OSError)
        context = pool.acquire_context()
        resource = await context.__aenter__()
        with inside.as_in_a_forked_child(pool):
            await context.__aexit__(type(error), error, None)
        assert pool.in_use_count == 1
        await pool.release(resource)
        await pool.close()

    run(main())


def test_a_context_that_waits_for_the_end_of_a_step_cannot_be_entered_again() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object) as pool:
            context = pool.acquire_context()
            with inside.closed_gate(pool):
                entering = asyncio.create_task(context.__aenter__())
                await turns()
                with pytest.raises(RuntimeError, match="entered already"):
                    await context.__aenter__()
                assert not entering.done()
            await entering
            await context.__aexit__(None, None, None)
            with inside.closed_gate(pool):
                entering = asyncio.create_task(context.__aenter__())
                await turns()
                entering.cancel()
                await turns()
            async with context:
                assert pool.in_use_count == 1
            assert pool.stats().acquired == 2

    run(main())


@pytest.mark.guarantees("NothingLost")
def test_an_acquirer_that_is_woken_in_the_middle_of_a_step_waits_for_its_end() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            ways: list[Callable[[], Coroutine[Any, Any, object]]] = [
                pool.acquire,
                lambda: pool.acquire_context().__aenter__(),
            ]
            for enter in ways:
                held = await pool.acquire()
                waiting = asyncio.create_task(enter())
                await turns()
                await pool.release(held)
                with inside.closed_gate(pool):
                    await turns()
                    assert not waiting.done()
                await pool.release(await waiting)

    run(main())


def test_a_context_cannot_be_entered_by_a_call_nested_in_its_entering() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        bare, nested = loop.time, [False]

        def time() -> float:
            if nested[0]:  # the pool reads the clock in the middle of its step
                nested[0] = False
                with pytest.raises(RuntimeError, match="entered already"):
                    context.__aenter__().send(None)
            return bare()

        loop.time = time  # type: ignore[method-assign]
        async with AsyncResourcePool(object, max_age=100) as pool:
            context = pool.acquire_context()
            for leases in (1, 2):  # the first one waits for a creation
                nested[0] = True
                async with context:
                    assert not nested[0]
                    assert pool.in_use_count == 1
                assert (pool.in_use_count, pool.stats().acquired) == (0, leases)

    run(main())


@pytest.mark.guarantees("DeadlineKept")
def test_a_context_with_a_timeout_of_0_does_not_wait() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            async with pool.acquire_context():
                with pytest.raises(ResourcePoolTimeoutError, match="0 s"):
                    await pool.acquire_context(timeout=0).__aenter__()
            async with pool.acquire_context(timeout=0):
                assert pool.in_use_count == 1

    run(main())
