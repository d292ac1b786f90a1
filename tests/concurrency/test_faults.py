"""Loads and failures in which a pool easily starves its users, and what must happen instead.

Each docstring names the mistake that a pool can make in the scenario.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from tests.virtual_time import run, turns

Outcomes = Counter[str]


async def tries(pool: Any, count: Outcomes, timeout: float | None = None) -> None:
    """Acquire and release once, and count the outcome."""
    try:
        resource = await pool.acquire(timeout)
    except ResourcePoolTimeoutError:
        count["timed out"] += 1
    else:
        count["served"] += 1
        await pool.release(resource)


def hanging(first: int, hangs: int, counts: Outcomes) -> Callable[[], Awaitable[object]]:
    """Make a factory of which some calls never return.

    Args:
        first: The number of the first call that hangs, from 0.
        hangs: How many calls hang.
        counts: Where the calls are counted.
    """

    async def make() -> object:
        number = counts["created"]
        counts["created"] += 1
        if first <= number < first + hangs:
            await asyncio.Event().wait()
        return object()

    return make


def test_a_check_that_always_says_no_ends_no_acquire_in_a_livelock() -> None:
    """A pool may create and close resources until all three users of two resources time out.

    That happens if a failed check withdraws the trust in fresh resources that are handed over, too.
    Then each fresh resource is checked, and its failed check withdraws the trust in the next one.
    """
    counts: Outcomes = Counter()

    async def make() -> object:
        counts["created"] += 1
        assert counts["created"] < 100, "the livelock"
        return object()

    async def check(_: object) -> bool:
        await turns(2)
        return False

    async def close(_: object) -> None: ...

    async def user(pool: Any, start: Awaitable[None]) -> None:
        await start
        await tries(pool, counts, 2.0)

    async def scenario() -> None:
        pool = AsyncResourcePool(make, close, max_size=2, check=check, check_after_idle=0)
        for resource in [await pool.acquire(), await pool.acquire()]:
            await pool.release(resource)
        starts = asyncio.sleep(0.002), turns(1), turns(3)
        await asyncio.gather(*(user(pool, start) for start in starts))
        await pool.close()

    run(scenario())
    assert counts["served"] == 3
    assert counts["created"] <= 5


@pytest.mark.parametrize("timeout", [0.2, 0.0])
def test_one_hung_creation_does_not_starve_a_pool_with_room(timeout: float) -> None:
    """If all acquirers rely on the hung creation, nobody is ever served."""
    counts: Outcomes = Counter()

    async def scenario() -> None:
        pool = AsyncResourcePool(hanging(0, 1, counts))
        for _ in range(10):
            await tries(pool, counts, timeout)
            await asyncio.sleep(0.05)
        await pool.release(await pool.acquire())
        pool.terminate()
        await pool.close()

    run(scenario())
    assert counts["created"] == 2
    assert counts["timed out"] == (1 if timeout else 2)
    assert counts["served"] == 10 - counts["timed out"]


def test_hung_creations_for_the_minimum_size_do_not_starve_a_pool_with_room() -> None:
    """If all acquirers rely on the creations for the minimum size, nobody is ever served."""
    counts: Outcomes = Counter()

    async def scenario() -> None:
        pool = AsyncResourcePool(hanging(0, 3, counts), min_size=3)
        await pool.open()
        for _ in range(10):
            await tries(pool, counts, 0.2)
        pool.terminate()
        await pool.close()

    run(scenario())
    assert counts["created"] == 4
    assert counts["timed out"] == 3, "each hung creation is relied on once"
    assert counts["served"] == 7


def test_a_deadline_cuts_no_healthy_check() -> None:
    """If an acquirer that times out ends its check, a pool at overload closes healthy resources."""
    counts: Outcomes = Counter()

    async def make() -> object:
        counts["created"] += 1
        await asyncio.sleep(0.1)
        return object()

    async def check(_: object) -> None:
        await asyncio.sleep(0.01)

    async def use(pool: Any) -> None:
        try:
            async with pool.acquire_context(0.1):
                counts["served"] += 1
                await asyncio.sleep(0.04)
        except ResourcePoolTimeoutError:
            counts["timed out"] += 1

    async def user(pool: Any, number: int) -> None:
        await asyncio.sleep(number * 0.013)
        for _ in range(40):
            await use(pool)

    async def scenario() -> None:
        pool = AsyncResourcePool(make, max_size=2, check=check, check_after_idle=0)
        await asyncio.gather(*(user(pool, number) for number in range(8)))
        assert pool.stats().check_failed == 0
        await pool.close()

    run(scenario())
    assert counts["created"] == 2
    assert counts["served"] > 4 * counts["timed out"] / 5


def test_stale_resources_time_nobody_out_while_there_is_room() -> None:
    """If one check follows the other, the caller never gets to the fresh resource in time."""
    counts: Outcomes = Counter()
    dead: set[object] = set()

    async def make() -> object:
        counts["created"] += 1
        return object()

    async def check(resource: object) -> bool:
        await asyncio.sleep(0.1)
        return resource not in dead

    async def scenario() -> None:
        pool = AsyncResourcePool(make, max_size=16, check=check, check_after_idle=0)
        resources = [await pool.acquire() for _ in range(15)]
        for resource in resources:
            await pool.release(resource)
        dead.update(resources)
        await tries(pool, counts, 0.3)
        await pool.close()

    run(scenario())
    assert counts["served"] == 1
    assert counts["created"] == 16


@pytest.mark.parametrize("argument", ["check", "reset"])
def test_a_callback_that_swallows_its_cancellation_keeps_no_caller(argument: str) -> None:
    """If the caller waits for the callback itself, the callback keeps it beyond its deadline."""

    async def stubborn(_: object) -> None:
        end = asyncio.get_running_loop().time() + 60.0
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue

    async def scenario() -> float:
        options: dict[str, Any] = {argument: stubborn}
        pool = AsyncResourcePool(object, max_size=1, check_after_idle=0, **options)
        clock = asyncio.get_running_loop().time
        since = clock()
        await pool.release(await pool.acquire(0.5))
        with pytest.raises(ResourcePoolTimeoutError):
            await pool.acquire(0.5)
        took = clock() - since
        await pool.close()
        return took

    assert run(scenario()) == pytest.approx(0.5)


def test_many_creations_start_in_batches() -> None:
    """If all creations start in one turn, they block the loop for seconds."""
    counts: Outcomes = Counter()

    async def make() -> object:
        counts["created"] += 1
        return object()

    async def scenario() -> list[int]:
        pool = AsyncResourcePool(make, max_size=5_000, min_size=5_000)
        await pool.open()
        started = [counts["created"]]
        while counts["created"] < 5_000:
            await asyncio.sleep(0)
            started.append(counts["created"])
        await pool.close()
        return [after - before for before, after in pairwise(started)]

    assert max(run(scenario())) <= 64
