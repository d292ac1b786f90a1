"""The costs of many callers and of much work, in bytecodes of the pool: four times as many callers
cost about four times as much.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import pytest

import nodetool.concurrency
from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from tests.virtual_time import run, turns

pytestmark = pytest.mark.untraced  # it traces the pool itself

SOURCE = str(Path(nodetool.concurrency.__file__).parent)
FEW = 100

start = asyncio.create_task
Pool: TypeAlias = AsyncResourcePool[Any]


class Bytecodes:
    """A trace function that counts the bytecodes of the pool."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        frame.f_trace = self.trace
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self.trace

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "opcode"
        return self.trace


def cost(scenario: Callable[[int], Coroutine[Any, Any, None]], number: int) -> int:
    """Count the bytecodes of a scenario."""
    counter = Bytecodes()
    before = sys.gettrace()
    sys.settrace(counter)
    try:
        run(scenario(number))
    finally:
        sys.settrace(before)
    return counter.count


async def never(*_: object) -> None:
    await asyncio.get_running_loop().create_future()


async def soon(*_: object) -> object:
    await asyncio.sleep(1)
    return object()


async def lease(pool: Pool, number: int) -> list[Any]:
    return [await pool.acquire() for _ in range(number)]


async def give_back(pool: Pool, things: list[Any]) -> None:
    for thing in things:
        await pool.release(thing)


async def all_end(*calls: Awaitable[Any]) -> None:
    await asyncio.gather(*calls, return_exceptions=True)


# Many callers that wait for the end of something.


async def many_close(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, soon, max_size=10)
    held = await lease(pool, 10)
    callers = [start(pool.close()) for _ in range(number)]
    callers += [start(pool.close(timeout=5)) for _ in range(number)]
    await turns()
    for thing in held:
        await pool.release(thing)
        await asyncio.sleep(2)
    await all_end(*callers)


async def many_retire_all(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, soon, max_size=10)
    held = await lease(pool, 10)
    callers = [start(pool.retire_all(wait=True)) for _ in range(number)]
    await turns()
    for caller in callers[::3]:
        caller.cancel()
    for thing in held:
        await pool.release(thing)
        await asyncio.sleep(2)
    await all_end(*callers)
    pool.terminate()


async def many_retire_one_each(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, max_size=number)
    things, callers = [], []
    for _ in range(number):
        things.append(await pool.acquire())
        callers.append(start(pool.retire_all(wait=True)))
        await turns(2)
    await give_back(pool, things)
    await all_end(*callers)
    pool.terminate()


async def many_resize(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, soon, max_size=number, max_idle_time=100)
    held = await lease(pool, number)
    await give_back(pool, held[5:])
    callers = [start(pool.resize(max_size=number - n % 5, wait=True)) for n in range(number)]
    callers += [start(pool.resize(max_size=2, wait=True)) for _ in range(number)]
    await turns()
    for thing in held[:5]:
        await pool.release(thing)
        await asyncio.sleep(2)
    await all_end(*callers)
    await pool.close()


async def many_open(number: int) -> None:
    pool: Pool = AsyncResourcePool(soon, min_size=5)
    callers = [start(pool.open(wait=True)) for _ in range(number)]
    callers += [start(pool.open(wait=True, timeout=0.5)) for _ in range(number)]
    await all_end(*callers)
    pool.terminate()


async def many_prune(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, soon, max_size=10, max_idle_time=5)
    await give_back(pool, await lease(pool, 10))
    loop: Any = asyncio.get_running_loop()
    loop.now += 6
    await all_end(*(start(pool.prune()) for _ in range(number)))
    pool.terminate()


# Many acquirers.


async def many_wait(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, max_size=1)
    (thing,) = await lease(pool, 1)
    waiters = [start(pool.acquire()) for _ in range(number)]
    await turns()
    for waiter in waiters:
        await pool.release(thing)
        await waiter
    pool.terminate()


async def many_wait_again(number: int) -> None:
    """All are handed a resource and wait again, because it is retired before they resume."""
    pool: Pool = AsyncResourcePool(object, max_size=number)
    held = await lease(pool, number)
    waiters = [start(pool.acquire()) for _ in range(number + 1)]
    await turns()
    await give_back(pool, held)
    await pool.retire_all()
    await turns(10)
    pool.terminate()
    await asyncio.gather(*waiters, return_exceptions=True)


async def many_time_out(number: int) -> None:
    pool: Pool = AsyncResourcePool(never, max_size=number // 10, acquisition_timeout=5)
    await all_end(*(start(pool.acquire()) for _ in range(number)))
    pool.terminate()
    await turns()


async def many_cannot_wait(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, max_size=1)
    await pool.acquire()
    for _ in range(number):
        with pytest.raises(ResourcePoolTimeoutError):
            await pool.acquire(timeout=0)
    pool.terminate()


async def many_cannot_wait_for_much_work(number: int) -> None:
    pool: Pool = AsyncResourcePool(never, never, max_size=2 * number)
    waiters = [start(pool.acquire()) for _ in range(2 * number)]
    await turns(number)
    for _ in range(number):
        with pytest.raises(ResourcePoolTimeoutError):
            await pool.acquire(timeout=0)
    pool.terminate()
    await all_end(*waiters)
    await pool.close()


async def many_are_cancelled(number: int) -> None:
    pool: Pool = AsyncResourcePool(object, max_size=1, acquisition_timeout=100)
    await pool.acquire()
    waiters = [start(pool.acquire()) for _ in range(number)]
    await turns()
    for waiter in reversed(waiters):
        waiter.cancel()
    await all_end(*waiters)
    pool.terminate()


async def many_fail(number: int) -> None:
    async def fail() -> object:
        raise OSError

    pool: Pool = AsyncResourcePool(fail, max_size=number, creation_timeout=10)
    await all_end(*(start(pool.acquire()) for _ in range(number)))
    pool.terminate()


# Much work.


async def much_work(number: int) -> None:
    pool: Pool = AsyncResourcePool(
        soon,
        soon,
        max_size=number,
        check=soon,
        check_after_idle=0,
        reset=soon,
        max_age=100,
        max_idle_time=50,
    )
    for _ in range(2):
        acquirers = [start(pool.acquire()) for _ in range(number)]
        await asyncio.sleep(2)
        await give_back(pool, [acquirer.result() for acquirer in acquirers])
        await asyncio.sleep(2)
    await pool.close()


async def much_work_is_late(number: int) -> None:
    pool: Pool = AsyncResourcePool(
        object,
        never,
        max_size=2 * number,
        check=never,
        check_after_idle=0,
        reset=soon,
    )
    things = await lease(pool, 2 * number)
    await give_back(pool, things[:number])
    await asyncio.sleep(5)
    for thing in things[number:]:
        await pool.discard(thing)
    acquirers = [start(pool.acquire()) for _ in range(number)]
    await all_end(*acquirers)
    await give_back(pool, [one.result() for one in acquirers if one.exception() is None])
    await asyncio.sleep(100)
    await pool.close()


async def much_work_is_terminated(number: int) -> None:
    pool: Pool = AsyncResourcePool(
        soon, soon, max_size=3 * number, check=soon, check_after_idle=0, reset=soon
    )
    acquirers = [start(pool.acquire()) for _ in range(number)]
    await asyncio.sleep(2)
    await give_back(pool, [acquirer.result() for acquirer in acquirers])
    acquirers = [start(pool.acquire()) for _ in range(number)]
    await turns()
    pool.terminate()
    await all_end(*acquirers)
    await pool.close()


SCENARIOS = (
    *(many_close, many_retire_all, many_retire_one_each, many_resize, many_open, many_prune),
    *(many_wait, many_wait_again, many_time_out, many_cannot_wait, many_cannot_wait_for_much_work),
    *(many_are_cancelled, many_fail),
    *(much_work, much_work_is_late, much_work_is_terminated),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_cost_grows_with_the_number(
    scenario: Callable[[int], Coroutine[Any, Any, None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(100, "nodetool.concurrency.pool")
    cost(scenario, 10)  # fills caches
    few, many = cost(scenario, FEW), cost(scenario, 4 * FEW)
    print(f"{scenario.__name__}: {few} and {many} bytecodes")
    assert many < 4.4 * few


def test_the_measurement_can_find_more() -> None:
    async def square(number: int) -> None:
        pool: Pool = AsyncResourcePool(object, max_size=1)
        for n in range(number):
            for _ in range(n):
                pool.stats()

    assert cost(square, 4 * 20) > 10 * cost(square, 20)
