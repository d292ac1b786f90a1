"""What the tests on real resources share: waiting, and loads."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from inspect import isawaitable
from random import Random
from typing import Any, TypeVar

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError

R = TypeVar("R")
T = TypeVar("T")

LONG = 20.0  # seconds until a test gives up

Work = Callable[[T, Random], Awaitable[None]]


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something that must come true."""
    async with asyncio.timeout(LONG):
        while True:
            result = condition()
            if await result if isawaitable(result) else result:
                return
            await asyncio.sleep(0.005)


async def within(seconds: float, coroutine: Coroutine[Any, Any, R]) -> R:
    """Await it for so long and not longer, also if it resists: it is cancelled until it ends."""
    task = asyncio.create_task(coroutine)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
    if not done:
        raise TimeoutError
    return task.result()


def remembering(make: Callable[[], Awaitable[T]], raised: list[Exception]) -> Callable[[], Any]:
    """A factory that keeps what it raises."""

    async def factory() -> T:
        try:
            return await make()
        except Exception as error:
            raised.append(error)
            raise

    return factory


async def fill(pool: AsyncResourcePool[T], number: int) -> list[T]:
    """Leave so many resources idle."""
    resources = [await pool.acquire() for _ in range(number)]
    for resource in resources:
        await pool.release(resource)
    await until(lambda: pool.available_count >= number)
    return resources


async def together(
    pool: AsyncResourcePool[T], count: int, use: Callable[[T, int], Awaitable[R]]
) -> list[R]:
    """As many users at once, each with a resource of its own; returns what their uses returned."""
    turn = asyncio.Barrier(count)

    async def user(number: int) -> R:
        async with pool.acquire_context() as resource:
            await turn.wait()
            return await use(resource, number)

    async with asyncio.TaskGroup() as group:
        users = [group.create_task(user(number)) for number in range(count)]
    return [user.result() for user in users]


@asynccontextmanager
async def using(pool: AsyncResourcePool[T]) -> AsyncIterator[AsyncResourcePool[T]]:
    """Open the pool and close it; a body that fails while it holds something is not waited for."""
    try:
        async with asyncio.timeout(LONG):
            await pool.open()
            yield pool
            await pool.close()
    except BaseException:
        pool.terminate()
        raise


@asynccontextmanager
async def watched(count: Callable[[], Awaitable[int]]) -> AsyncIterator[list[int]]:
    """What was counted, again and again, as long as the context lasts."""
    seen: list[int] = []
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            seen.append(await count())
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        over.set()
        await watcher


async def load(
    pool: AsyncResourcePool[T],
    works: Sequence[Work[T]],
    *,
    seed: str,
    users: int = 16,
    rounds: int = 20,
    impatience: Sequence[float | None] = (None, None, 0.02, 0.005, 0.0),
) -> Counter[str]:
    """Users who come again and again, each time with some work, some of them impatient.

    Nobody gets what another has.

    Returns:
        How many uses were "done" and how many "cut short" by impatience, in the middle of anything.
    """
    ends: Counter[str] = Counter()
    held: set[int] = set()

    async def user(number: int) -> None:
        chance = Random(f"{seed}, user {number}")
        for _ in range(rounds):
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.02, 0.04)))  # so that some are idle, too
            work = chance.choice(works)
            try:
                async with asyncio.timeout(chance.choice(impatience)):
                    async with pool.acquire_context() as resource:
                        assert id(resource) not in held
                        held.add(id(resource))
                        try:
                            await work(resource, chance)
                        finally:
                            held.remove(id(resource))
                ends["done"] += 1
            except ResourcePoolTimeoutError:
                raise  # nobody has to wait that long
            except TimeoutError:
                ends["cut short"] += 1

    async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
        for number in range(users):
            group.create_task(user(number))
    return ends
