"""Contexts that are left where their pool is not at home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from threading import Thread
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolLoopError
from tests.virtual_time import turns


def raised_in_a_thread(coroutine: Coroutine[Any, Any, None]) -> list[BaseException]:
    """What it raises in a loop of its own, in another thread, while this loop runs."""
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
def test_who_waits_is_served_at_home_although_the_context_was_left_elsewhere_first() -> None:
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
def test_what_needs_more_than_to_be_put_back_is_refused_elsewhere(option: str, value: Any) -> None:
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


def test_to_put_a_resource_back_needs_no_loop() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            context = pool.acquire_context()
            resource = await context.__aenter__()
            assert raised_in_a_thread(context.__aexit__(None, None, None)) == []
            assert await pool.acquire() is resource
            await pool.release(resource)

    asyncio.run(main())


@pytest.mark.parametrize("failed", [False, True])
def test_a_body_that_ends_when_its_loop_is_over_gives_back(failed: bool) -> None:
    pool: AsyncResourcePool[object] = AsyncResourcePool(object, max_size=1, reset=lambda _: None)
    leave: list[Callable[..., Coroutine[Any, Any, None]]] = []

    async def main() -> None:
        context = pool.acquire_context()
        await context.__aenter__()
        leave.append(context.__aexit__)

    asyncio.run(main())
    error = OSError() if failed else None
    with pytest.raises(StopIteration):
        leave[0](type(error) if error else None, error, None).send(None)
    assert pool.in_use_count == 0
    pool.terminate()
