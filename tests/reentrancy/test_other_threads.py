"""Calls from another thread while the pool's loop is idle in its selector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolClosedError

pytestmark = pytest.mark.untraced

IDLE = 0.05  # seconds after which the loop has nothing left to do but to wait
LATE = 5.0  # seconds until a timer would wake the loop


def later(call: Callable[[], object]) -> Thread:
    """Call something in another thread, without its loop, when the home loop is idle."""

    def body() -> None:
        time.sleep(IDLE)
        call()

    thread = Thread(target=body)
    thread.start()
    return thread


def drive(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that need not suspend."""
    with suppress(StopIteration):
        coroutine.send(None)


async def soon(waiter: asyncio.Future[Any], call: Callable[[], object]) -> Any:
    """Return the waiter's result, which must come promptly after the call in the other thread."""
    begin = time.monotonic()
    thread = later(call)
    await asyncio.wait([waiter], timeout=LATE)
    thread.join()
    assert time.monotonic() - begin < LATE / 2
    return waiter.result()


@pytest.mark.guarantees("WaiterServed", "NothingLost")
@pytest.mark.parametrize(
    ("error", "same"), [(ValueError(), True), (GeneratorExit(), False)], ids=["error", "death"]
)
def test_the_end_of_a_context_by_an_error_takes_effect_promptly(
    error: BaseException, same: bool
) -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            context = pool.acquire_context()
            resource = await context.__aenter__()
            waiter = asyncio.create_task(pool.acquire())
            end = context.__aexit__(type(error), error, None)
            got = await soon(waiter, lambda: drive(end))
            assert (got is resource) is same, "an interrupted resource is closed"
            await pool.release(got)

    asyncio.run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost")
def test_a_coroutine_that_dies_with_a_lease_gives_it_back_promptly() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:

            async def hold() -> None:
                async with pool.acquire_context():
                    await asyncio.get_running_loop().create_future()

            holder = hold()
            holder.send(None)
            waiter = asyncio.create_task(pool.acquire())
            await pool.release(await soon(waiter, holder.close))

    asyncio.run(main())


@pytest.mark.guarantees("FifoService", "WaiterServed")
def test_the_death_of_a_waiter_lets_the_next_one_be_served() -> None:
    async def main() -> None:
        async with AsyncResourcePool(object, max_size=1) as pool:
            resource = await pool.acquire()
            dying = pool.acquire()
            dying.send(None)
            waiter = asyncio.create_task(pool.acquire())
            await asyncio.sleep(0)
            await pool.release(resource)  # to the coroutine that nobody resumes
            assert await soon(waiter, dying.close) is resource
            await pool.release(resource)

    asyncio.run(main())


@pytest.mark.guarantees("NothingAfterClose", "OneOutcome")
def test_terminate_takes_effect_promptly() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=1)
        await pool.acquire()
        waiter = asyncio.create_task(pool.acquire())
        with pytest.raises(ResourcePoolClosedError):
            await soon(waiter, pool.terminate)
        assert pool.closed

    asyncio.run(main())


@pytest.mark.guarantees("CloseCompletes")
def test_terminate_ends_a_close_promptly() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=1)
        await pool.acquire()
        await soon(asyncio.create_task(pool.close()), pool.terminate)
        assert pool.closed

    asyncio.run(main())
