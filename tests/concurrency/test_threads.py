"""Calls from another thread than the pool's: with a loop of its own, or without any loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from threading import Thread, get_ident
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    PoolEvent,
    ResourcePoolClosedError,
    ResourcePoolLoopError,
)
from tests.concurrency.world import outcome
from tests.virtual_time import turns

# Another thread with a loop of its own.


def raised_in_a_thread(coroutine: Coroutine[Any, Any, None]) -> list[BaseException]:
    """Return what a coroutine raises in another thread, in a loop of its own."""
    raised: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=body)
    thread.start()
    thread.join()
    return raised


@pytest.mark.guarantees("WaiterServed", "NothingLost")
def test_a_waiter_is_served_although_the_context_was_first_left_in_another_thread() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            context = pool.acquire_context()
            resource = await context.__aenter__()
            waiting = asyncio.create_task(pool.acquire())
            await turns()
            errors = raised_in_a_thread(context.__aexit__(None, None, None))
            assert [type(error) for error in errors] == [ResourcePoolLoopError]
            assert (pool.in_use_count, waiting.done()) == (1, False)
            await context.__aexit__(None, None, None)
            assert await waiting is resource
            await pool.release(resource)

    asyncio.run(main())


@pytest.mark.guarantees("NothingLost")
@pytest.mark.parametrize(
    ("option", "value"), [("max_age", 1e-9), ("reset", lambda _: None)], ids=["too old", "reset"]
)
def test_another_thread_may_not_leave_a_context_whose_end_needs_the_loop(
    option: str, value: Any
) -> None:
    async def main() -> None:
        options: dict[str, Any] = {option: value}
        async with AsyncResourcePool(object, max_size=1, **options) as pool:
            context = pool.acquire_context()
            await context.__aenter__()
            errors = raised_in_a_thread(context.__aexit__(None, None, None))
            assert [type(error) for error in errors] == [ResourcePoolLoopError]
            assert pool.in_use_count == 1
            await context.__aexit__(None, None, None)
            assert pool.in_use_count == 0

    asyncio.run(main())


@pytest.mark.guarantees("NothingLost")
def test_another_thread_may_not_leave_a_context_even_if_nobody_waits() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            context = pool.acquire_context()
            resource = await context.__aenter__()
            errors = raised_in_a_thread(context.__aexit__(None, None, None))
            assert [type(error) for error in errors] == [ResourcePoolLoopError]
            assert pool.in_use_count == 1
            await context.__aexit__(None, None, None)
            assert await pool.acquire() is resource
            await pool.release(resource)

    asyncio.run(main())


# Another thread without a loop: the call is handed to the thread of the pool's loop.


class Steps:
    """A listener that notes what ended, and in which thread."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, event: PoolEvent) -> None:
        self.outcomes.append(event.outcome)
        self.threads.add(get_ident())


def call_in_a_thread(call: Callable[[], object]) -> None:
    """Call a function in a thread without a loop, while the loop of this thread stands still."""
    raised: list[BaseException] = []

    def body() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=body)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@pytest.mark.guarantees("NothingAfterClose", "OneOutcome")
def test_terminate_in_a_thread_without_a_loop_is_handed_to_the_loop_s_thread() -> None:
    async def main() -> None:
        steps = Steps()
        pool = AsyncResourcePool(object, max_size=1, listener=steps)
        await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await turns()
        call_in_a_thread(pool.terminate)
        assert (pool.in_use_count, pool.stats().waiting) == (1, 1), "nothing happens in that thread"
        assert isinstance(await outcome(waiting), ResourcePoolClosedError)
        assert pool.closed
        assert steps.outcomes == ["created", "acquired", "closed", "forgotten"]
        assert steps.threads == {get_ident()}

    asyncio.run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost", "ClosedExactlyOnce")
@pytest.mark.parametrize("error", [GeneratorExit(), asyncio.CancelledError()])
def test_a_context_that_an_exception_ends_in_a_thread_without_a_loop_is_left_in_the_loop_s_thread(
    error: BaseException,
) -> None:
    closed: list[object] = []

    async def main() -> None:
        steps = Steps()
        async with AsyncResourcePool(object, closed.append, max_size=1, listener=steps) as pool:
            context = pool.acquire_context()
            resource = await context.__aenter__()
            waiting = asyncio.create_task(pool.acquire())
            await turns()

            def leave() -> None:
                with pytest.raises(StopIteration):
                    context.__aexit__(type(error), error, None).send(None)

            call_in_a_thread(leave)
            assert (pool.in_use_count, closed) == (1, []), "nothing happens in that thread"
            served = await waiting
            assert closed == [resource]
            assert steps.threads == {get_ident()}
            await pool.release(served)

    asyncio.run(main())


def test_a_context_that_ends_well_in_a_thread_without_a_loop_is_refused_and_can_be_left() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            context = pool.acquire_context()
            await context.__aenter__()
            with pytest.raises(ResourcePoolLoopError, match="without a running event loop"):
                call_in_a_thread(lambda: context.__aexit__(None, None, None).send(None))
            assert pool.in_use_count == 1
            await context.__aexit__(None, None, None)
            assert pool.in_use_count == 0

    asyncio.run(main())


def test_terminate_in_a_thread_with_a_loop_of_its_own_is_refused() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            await pool.release(await pool.acquire())

            async def terminate() -> None:
                pool.terminate()

            errors = raised_in_a_thread(terminate())
            assert [type(error) for error in errors] == [ResourcePoolLoopError]
            assert pool.available_count == 1

    asyncio.run(main())
