"""A context that is left in another thread than its pool's, which has a loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolLoopError
from tests.virtual_time import turns


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


def test_another_thread_may_put_a_resource_back_to_the_idle_ones() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            context = pool.acquire_context()
            resource = await context.__aenter__()
            assert raised_in_a_thread(context.__aexit__(None, None, None)) == []
            assert await pool.acquire() is resource
            await pool.release(resource)

    asyncio.run(main())
