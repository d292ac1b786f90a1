"""The pool knows the identity of a resource, and nothing else about it."""

from __future__ import annotations

import asyncio

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolTimeoutError,
)
from tests.virtual_time import run, turns

start = asyncio.create_task


class Hostile:
    """A resource that fails every look at more than its identity."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(self) -> int:
        raise AssertionError("hashed")

    def __bool__(self) -> bool:
        raise AssertionError("asked for its truth")

    def __len__(self) -> int:
        raise AssertionError("asked for its length")

    def __repr__(self) -> str:
        raise AssertionError("asked for its representation")


def test_the_pool_looks_at_nothing_but_a_resources_identity() -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(
            Hostile,
            lambda _: None,
            max_size=2,
            check=lambda _: None,
            check_after_idle=0,
            reset=lambda _: None,
        )
        first, second = await pool.acquire(), await pool.acquire()
        waiter = start(pool.acquire())
        await turns()
        await pool.release(first)
        assert await waiter is first
        with pytest.raises(InvalidReleaseError):
            await pool.release(Hostile())
        await pool.discard(second)
        with pytest.raises(InvalidReleaseError):
            await pool.release(second)
        with pytest.raises(ResourcePoolTimeoutError, match=r"still out: <.*Hostile object at"):
            await pool.close(timeout=1)
        await pool.release(first)
        await pool.close()

    run(scenario())


@pytest.mark.guarantees("NoDoubleRelease")
def test_equal_resources_are_distinguished_by_identity() -> None:
    async def scenario() -> None:
        pool: AsyncResourcePool[list[int]] = AsyncResourcePool(list)
        first, second = await pool.acquire(), await pool.acquire()
        assert first == second
        await pool.release(second)
        with pytest.raises(InvalidReleaseError):
            await pool.release([])
        assert await pool.acquire() is second
        await pool.release(first)
        await pool.release(second)
        await pool.close()

    run(scenario())


def test_none_is_a_legal_resource() -> None:
    async def scenario() -> None:
        closed: list[None] = []
        pool: AsyncResourcePool[None] = AsyncResourcePool(lambda: None, closed.append, max_size=1)
        for _ in range(2):
            async with pool.acquire_context() as nothing:
                assert nothing is None
        assert pool.stats().created == 1
        await pool.close()
        assert closed == [None]

    run(scenario())


@pytest.mark.guarantees("SingleHolder", "ClosedExactlyOnce")
def test_a_duplicate_from_the_factory_is_refused_and_not_closed() -> None:
    async def scenario() -> None:
        only = object()
        closed: list[object] = []
        pool = AsyncResourcePool(lambda: only, closed.append, max_size=2, name="db")
        assert await pool.acquire() is only
        with pytest.raises(DuplicateResourceError, match=r"'db'.*in the pool already"):
            await pool.acquire()
        assert (pool.size, pool.in_use_count, pool.stats().creation_failures) == (1, 1, 1)
        assert closed == []
        await pool.release(only)
        await pool.close()
        assert closed == [only]

    run(scenario())


def test_an_object_that_left_the_pool_may_come_back() -> None:
    async def scenario() -> None:
        only = object()
        pool = AsyncResourcePool(lambda: only)
        await pool.detach(await pool.acquire())
        assert await pool.acquire() is only
        await pool.discard(only)
        await turns()
        async with pool.acquire_context() as again:
            assert again is only
        await pool.close()

    run(scenario())
