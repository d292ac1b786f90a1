"""What a pool keeps in memory while many acquirers and resources come and go."""

from __future__ import annotations

import asyncio
import itertools
import logging
import weakref
from collections import deque
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolError
from tests import inside
from tests.concurrency.collector import without_collector
from tests.concurrency.world import Thing, World, outcome, played
from tests.virtual_time import run, turns

start = asyncio.create_task


@played
async def test_many_cancelled_waiters_leave_nothing_behind(world: World) -> None:
    pool = world.pool(max_size=1)
    await pool.acquire()
    waiters = [start(pool.acquire(timeout=100 - number / 10)) for number in range(300)]
    await turns()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*map(outcome, waiters))
    assert inside.entries(pool).queue <= 64
    assert inside.entries(pool).wait_deadlines <= 2 * 64


@played
async def test_many_cancelled_waiters_leave_nothing_behind_another_one(world: World) -> None:
    pool = world.pool(max_size=1, acquisition_timeout=3600)
    thing = await pool.acquire()
    stays = start(pool.acquire())
    for _ in range(600):
        waiter = start(pool.acquire())
        await turns(2)
        waiter.cancel()
        await outcome(waiter)
    assert inside.entries(pool).queue <= 64
    assert inside.entries(pool).wait_deadlines <= 2 * 64
    await pool.release(thing)
    await pool.release(await stays)


@played
async def test_many_served_waiters_leave_nothing_behind(world: World) -> None:
    pool = world.pool(max_size=1)
    thing = await pool.acquire()
    waiters: deque[asyncio.Task[Thing]] = deque()
    for number in range(600):
        waiters.append(start(pool.acquire(timeout=3600 if number % 2 else 30)))
        await turns(2)
        if len(waiters) > 3:
            await pool.release(thing)
            thing = await waiters.popleft()
    assert inside.entries(pool).wait_deadlines <= 2 * 64
    for waiter in waiters:
        await pool.release(thing)
        thing = await waiter


def test_many_ended_closers_leave_nothing_behind() -> None:
    async def scenario() -> None:
        hanging = asyncio.get_running_loop().create_future()

        async def closer(number: list[int]) -> None:
            if number == []:
                await hanging

        numbers = itertools.count()
        pool = AsyncResourcePool(
            lambda: [] if next(numbers) == 0 else [1], closer, max_size=2, closer_timeout=3600
        )
        for _ in range(300):
            await pool.discard(await pool.acquire())
            await turns()
        assert inside.entries(pool).closer_deadlines <= 2 * 64
        hanging.set_result(None)
        await pool.close()

    run(scenario())


class Mortal:
    """A resource that can die."""


@pytest.mark.guarantees("NothingLost")
@pytest.mark.parametrize("option", ["none", "check", "reset", "age", "closer"])
def test_idle_resources_die_with_their_pool_without_the_collector(option: str) -> None:
    async def work(_: object) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        all_options: dict[str, dict[str, Any]] = {
            "none": {},
            "check": {"check": work, "check_after_idle": 0},
            "reset": {"reset": work},
            "age": {"max_age": 100, "max_idle_time": 50},
            "closer": {"closer": work, "closer_timeout": 5},
        }
        options = all_options[option]
        pools = [AsyncResourcePool(Mortal, max_size=3, **options)]
        things = [await pools[0].acquire() for _ in range(3)]
        references = [weakref.ref(thing) for thing in things]
        await pools[0].discard(things.pop())
        while things:
            await pools[0].release(things.pop())
        await turns()
        await pools[0].release(await pools[0].acquire())
        await turns()
        assert [reference() is None for reference in references] == [False, False, True]
        with pytest.warns(ResourceWarning, match="unclosed"):
            pools.clear()
        assert [reference() for reference in references] == [None] * 3

    with without_collector():
        run(main())


@pytest.mark.parametrize("end", ["close", "terminate", "retire_all"])
def test_what_users_gave_back_dies_at_the_end_without_the_collector(end: str) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Mortal, max_size=3, check=lambda _: None, reset=lambda _: None)
        things = [await pool.acquire() for _ in range(3)]
        references = [weakref.ref(thing) for thing in things]
        while things:
            await pool.release(things.pop())
        await turns()
        if end == "terminate":
            pool.terminate()
        else:
            await getattr(pool, end)()
        await turns()
        assert [reference() for reference in references] == [None] * 3
        pool.terminate()

    with without_collector():
        run(main())


class MortalError(Exception):
    """An error that can die."""


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("way", ["acquire", "context", "timeout", "timeout=0", "close"])
def test_the_error_of_an_acquire_dies_without_the_collector(way: str, is_async: bool) -> None:
    def fail() -> object:
        raise MortalError

    async def fail_later() -> object:
        raise MortalError

    async def hang() -> object:
        await asyncio.sleep(3600)
        return object()

    async def call(pool: AsyncResourcePool[Any]) -> weakref.ref[BaseException]:
        if way == "close":
            asyncio.get_running_loop().call_later(0.5, pool.terminate)
        try:
            if way == "context":
                async with pool.acquire_context():
                    pass
            else:
                await pool.acquire(timeout=0 if way == "timeout=0" else 1)
        except (MortalError, ResourcePoolError) as error:
            return weakref.ref(error)
        raise AssertionError

    async def main() -> None:
        factory = fail_later if is_async else fail
        if way in ("timeout", "timeout=0", "close"):
            factory = hang
        pool: AsyncResourcePool[Any] = AsyncResourcePool(factory, max_size=1)
        reference = await call(pool)
        pool.terminate()  # the pool remembers its last failure until it closes
        await turns()
        assert reference() is None

    with without_collector():
        run(main())


@pytest.mark.parametrize("callback", ["check", "reset", "closer"])
def test_errors_of_callbacks_are_not_remembered(
    callback: str, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[weakref.ref[BaseException]] = []
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")  # pytest keeps all records

    def make() -> MortalError:
        error = MortalError()
        errors.append(weakref.ref(error))
        return error

    async def fail(_: object) -> None:
        raise make()

    async def main() -> None:
        options: dict[str, Any] = {callback: fail, f"{callback}_timeout": 3600}
        if callback == "check":
            options["check_after_idle"] = 0
        pool = AsyncResourcePool(Mortal, max_size=1, **options)
        for _ in range(100):
            thing = await pool.acquire()
            await (pool.discard if callback == "closer" else pool.release)(thing)
            del thing
            await turns()
        assert len(errors) >= 99
        assert sum(error() is not None for error in errors) <= 1
        await pool.close()

    run(main())


def test_many_creations_leave_nothing_behind_one_that_hangs() -> None:
    async def main() -> None:
        hanging = asyncio.get_running_loop().create_future()
        numbers = itertools.count()

        async def factory() -> object:
            if next(numbers) == 0:
                await hanging
            raise MortalError

        pool: AsyncResourcePool[object] = AsyncResourcePool(
            factory, max_size=2, creation_timeout=3600
        )
        first = start(pool.acquire())
        await turns()
        first.cancel()  # its creation goes on
        await outcome(first)
        for _ in range(300):
            with pytest.raises(MortalError):
                await pool.acquire()
        assert pool.stats().creating == 1
        assert inside.entries(pool).closer_deadlines <= 2 * 64
        hanging.set_result(None)
        await pool.close()

    run(main())


@pytest.mark.guarantees("RetireAllCompletes")
@played
async def test_many_cancelled_callers_leave_nothing_behind_another_one(world: World) -> None:
    pool = world.pool(max_size=2)
    thing = await pool.acquire()
    stays = start(pool.retire_all(wait=True))
    await turns()
    last: asyncio.Task[None] | None = None
    for _ in range(300):
        caller = start(pool.retire_all(wait=True))
        await turns(2)
        if last is not None:
            last.cancel()
            await outcome(last)
        last = caller
    assert inside.watchers(pool) == 2
    assert last is not None
    await pool.release(thing)
    await asyncio.gather(stays, last)
    assert inside.watchers(pool) == 0
