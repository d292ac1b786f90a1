"""Callbacks that interrupt the loop, end the pool or return odd awaitables."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from types import coroutine
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolError,
)
from tests import inside
from tests.inside import BATCH
from tests.virtual_time import VirtualTimeLoop, run, turns

start = asyncio.create_task
KINDS = ("factory", "check", "reset", "closer")


class Ends:
    """Callbacks of a pool. The call of one kind with one number does something special."""

    def __init__(self) -> None:
        self.special: Callable[[], Any] = lambda: None
        self.kind = ""
        self.at = 0  # the special call of this kind
        self.calls: dict[str, int] = dict.fromkeys(KINDS, 0)

    def arm(self, kind: str, at: int, special: Callable[[], Any]) -> None:
        """Let the next but `at` call of a kind do something special."""
        self.kind, self.at, self.special = kind, self.calls[kind] + at, special

    def _call(self, kind: str) -> Any:
        number = self.calls[kind]
        self.calls[kind] += 1
        return self.special() if (kind, number) == (self.kind, self.at) else None

    def factory(self) -> Any:
        return self._call("factory") or object()

    def check(self, _: object) -> Any:
        return self._call("check")

    def reset(self, _: object) -> Any:
        return self._call("reset")

    def closer(self, _: object) -> Any:
        return self._call("closer")

    def pool(self, **options: Any) -> AsyncResourcePool[Any]:
        return AsyncResourcePool(
            self.factory,
            self.closer,
            check=self.check,
            check_after_idle=0,
            reset=self.reset,
            **{"max_size": 8, "acquisition_timeout": 5, **options},
        )


async def work_of_each_kind(
    pool: AsyncResourcePool[Any], number: int, arm: Callable[[], None]
) -> list[asyncio.Task[Any]]:
    """Make a pool queue some work of each kind, arm the callbacks, and return the acquirers."""
    things = [await pool.acquire() for _ in range(3 * number)]
    for thing in things[:number]:
        await pool.release(thing)
    await turns()

    async def give_back() -> None:
        for thing in things[number : 2 * number]:
            await pool.release(thing)
        for thing in things[2 * number :]:
            await pool.discard(thing)
        stats = pool.stats()
        assert (stats.checking, stats.creating) == (number, number)
        assert (stats.resetting, stats.closing) == (number, number)
        arm()

    acquirers = [start(pool.acquire()) for _ in range(2 * number)]
    await start(give_back())
    return acquirers


async def settle(pool: AsyncResourcePool[Any], acquirers: list[asyncio.Task[Any]]) -> list[object]:
    """Let all work end, close the pool, and return what the acquirers got."""
    await asyncio.wait(acquirers)
    for acquirer in acquirers:
        if acquirer.exception() is None:
            with suppress(InvalidReleaseError):
                await pool.release(acquirer.result())
    await turns()
    inside.assert_consistent(pool)
    await pool.close(timeout=100)
    inside.assert_nothing_kept(pool)
    return [acquirer.exception() or "served" for acquirer in acquirers]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    """Let what the test leaves behind be collected in this test."""
    yield
    gc.collect()


@pytest.mark.guarantees("NothingLost", "CloseCompletes", "WaiterServed", "FaultIsolation")
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_callback_that_stops_the_loop_costs_no_other_work(
    stop: type[BaseException], is_async: bool, kind: str, at: int
) -> None:
    ends = Ends()
    acquirers: list[asyncio.Task[Any]] = []

    def fail() -> Any:
        raise stop

    async def fail_later() -> Any:
        raise stop

    def arm() -> None:
        ends.arm(kind, at, fail_later if is_async else fail)

    async def begin() -> None:
        pools.append(ends.pool())
        acquirers.extend(await work_of_each_kind(pools[0], 2, arm))
        await asyncio.sleep(1)

    pools: list[AsyncResourcePool[Any]] = []
    loop = VirtualTimeLoop()
    task = loop.create_task(begin())
    stops = 0
    while not task.done():  # the program goes on
        try:
            loop.run_until_complete(task)
        except stop:
            stops += 1
    assert stops == (2 if kind == "factory" else 1), "the acquirer raises the factory's error, too"
    outcomes = loop.run_until_complete(settle(pools[0], acquirers))
    loop.close()
    told = [outcome for outcome in outcomes if outcome != "served"]
    assert [type(error) for error in told] in ([], [stop]), "only the creation's own acquirer"
    assert len(told) == (kind == "factory")
    stats = pools[0].stats()
    assert stats.created == ends.calls["closer"], "each resource was closed once"
    failures = (
        stats.creation_failures,
        stats.check_failed,
        stats.reset_failed,
        stats.closer_failures,
    )
    assert failures == tuple(int(kind == one) for one in KINDS)


@pytest.mark.guarantees("NothingAfterClose", "CloseCompletes", "ClosedExactlyOnce")
@pytest.mark.parametrize("way", ["close", "terminate"])
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_may_end_the_pool_in_the_middle_of_a_batch(kind: str, at: int, way: str) -> None:
    async def main() -> None:
        ends = Ends()
        pool = ends.pool()

        def end() -> None:
            if way == "terminate":
                pool.terminate()
            else:
                closing.append(start(pool.close()))

        closing: list[asyncio.Task[None]] = []
        acquirers = await work_of_each_kind(pool, 2, lambda: ends.arm(kind, at, end))
        outcomes = await settle(pool, acquirers)
        assert ends.calls[kind] > 0
        await asyncio.gather(*closing)
        refused = [o for o in outcomes if isinstance(o, ResourcePoolClosedError)]
        assert len(refused) + outcomes.count("served") == len(outcomes)
        stats = pool.stats()
        forgotten = stats.forgotten
        assert stats.created == ends.calls["closer"] + forgotten
        assert (stats.check_failed, stats.reset_failed) == (0, 0), "they were only interrupted"

    run(main())


@pytest.mark.guarantees("CloseCompletes")
def test_terminate_in_the_middle_of_a_batch_lets_no_queued_creation_start() -> None:
    async def main() -> None:
        calls: list[int] = []

        def factory() -> object:
            calls.append(1)
            if len(calls) == 10:
                pool.terminate()
            return object()

        pool = AsyncResourcePool(factory, max_size=3 * BATCH)
        acquirers = [start(pool.acquire()) for _ in range(3 * BATCH)]
        await turns()
        assert len(calls) == 10
        assert pool.closed
        errors = [acquirer.exception() for acquirer in acquirers]
        assert all(isinstance(error, ResourcePoolClosedError) for error in errors)
        inside.assert_nothing_kept(pool)

    run(main())


# Awaitables.


class Custom:
    """An awaitable that is no coroutine."""

    def __init__(self, result: object) -> None:
        self.result = result

    def __await__(self) -> Any:
        yield from asyncio.sleep(1).__await__()
        return self.result


class Broken:
    """An awaitable that cannot be awaited."""

    def __await__(self) -> Any:
        raise ZeroDivisionError


class Liar:
    """An awaitable that awaits nothing sensible."""

    def __await__(self) -> Any:
        yield "nonsense"


@coroutine
def generator() -> Any:
    """Await as in the old days."""
    yield from asyncio.sleep(1).__await__()
    return "resource"


def done() -> asyncio.Future[str]:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("resource")
    return future


def cancelled() -> asyncio.Future[str]:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


@pytest.mark.guarantees("FaultIsolation", "NothingLost")
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: Custom("resource"), "resource"),
        (generator, "resource"),
        (done, "resource"),
        (lambda: asyncio.ensure_future(asyncio.sleep(1, "resource")), "resource"),
        (lambda: asyncio.gather(asyncio.sleep(1, "resource"), asyncio.sleep(2)), list),
        (lambda: asyncio.wait_for(asyncio.sleep(1, "resource"), 5), "resource"),
        (lambda: asyncio.shield(asyncio.sleep(1, "resource")), "resource"),
        (Broken, ZeroDivisionError),
        (Liar, RuntimeError),
        (cancelled, ResourcePoolError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_factory_may_return_any_awaitable(function: Callable[[], Any], expected: Any) -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            function, max_size=1, acquisition_timeout=5
        )
        if isinstance(expected, type) and issubclass(expected, BaseException):
            with pytest.raises(expected):
                await pool.acquire()
        else:
            resource = await pool.acquire()
            assert resource == expected or isinstance(resource, expected)
            await pool.discard(resource)
        await pool.close()

    run(main())


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("awaitable", ["future", "custom"])
@pytest.mark.parametrize("turns_before", [2, 3, 5])
@pytest.mark.parametrize("end", ["terminate", "limit"])
def test_the_work_behind_an_awaitable_is_cancelled_with_it(
    awaitable: str, turns_before: int, end: str
) -> None:
    class Waiting:
        """An awaitable that waits for a task."""

        def __init__(self, task: asyncio.Task[None]) -> None:
            self.task = task

        def __await__(self) -> Any:
            return self.task.__await__()

    async def main() -> None:
        behind: list[asyncio.Task[None]] = []

        def factory() -> Any:
            behind.append(start(asyncio.sleep(1000)))
            return Waiting(behind[0]) if awaitable == "custom" else behind[0]

        limit = 1e-6 if end == "limit" else None
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            factory, max_size=1, creation_timeout=limit
        )
        acquirer = start(pool.acquire(timeout=3))
        await turns(turns_before)
        assert len(behind) == 1
        if end == "terminate":
            pool.terminate()
        await asyncio.sleep(5)
        assert acquirer.exception() is not None
        pool.terminate()
        await turns()
        assert pool.closed
        # Nobody has awaited a custom awaitable at first, and the pool does not know what it is.
        is_unknown = awaitable == "custom" and end == "terminate" and turns_before == 2
        assert [task.cancelled() for task in behind[:1]] == [not is_unknown]
        for task in behind:
            task.cancel()
        await turns()

    run(main())


# The end of the program.


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("count", range(6))
def test_the_end_of_the_program_at_any_turn_leaves_no_warning(
    kind: str, count: int, recwarn: pytest.WarningsRecorder
) -> None:
    pools: list[AsyncResourcePool[Any]] = []
    tasks: list[asyncio.Task[Any]] = []

    async def wait(*_: object) -> object:
        await asyncio.sleep(10)
        return object()

    async def main() -> None:
        make: Any = wait if kind == "async" else object
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            make, wait, max_size=2, check=wait, check_after_idle=0, reset=wait
        )
        pools.append(pool)
        tasks.append(start(pool.acquire()))
        await turns(count)

    asyncio.run(main())
    (pool,) = pools
    pool.terminate()
    assert pool.closed
    inside.assert_nothing_kept(pool)
    pools.clear()
    tasks.clear()
    del pool
    gc.collect()
    assert [str(warning.message) for warning in recwarn.list] == []


@pytest.mark.guarantees("CloseCompletes", "ClosedExactlyOnce")
@pytest.mark.parametrize("count", range(1, 8))
def test_terminate_on_a_closed_loop_ends_all_work_at_any_turn(count: int) -> None:
    ends = Ends()
    pools: list[AsyncResourcePool[Any]] = []
    acquirers: list[asyncio.Task[Any]] = []

    async def main() -> None:
        pools.append(ends.pool())
        acquirers.extend(await work_of_each_kind(pools[0], 2, lambda: None))
        await turns(count)
        loop.stop()

    loop = VirtualTimeLoop()
    task = loop.create_task(main())
    loop.run_forever()
    inside.silence_pending(task, *asyncio.all_tasks(loop))
    loop.close()
    (pool,) = pools
    pool.terminate()
    assert pool.closed
    inside.assert_nothing_kept(pool)
    stats = pool.stats()
    assert stats.created == ends.calls["closer"] + stats.forgotten
    assert (stats.check_failed, stats.reset_failed) == (0, 0)


def left_in_a_closed_loop(main: Coroutine[Any, Any, None]) -> None:
    loop = VirtualTimeLoop()
    loop.run_until_complete(main)
    inside.silence_pending(*asyncio.all_tasks(loop))
    loop.close()


@pytest.mark.guarantees("CloseCompletes", "ClosedExactlyOnce")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_closers_that_interrupt_terminate_on_a_closed_loop_are_all_called(
    stop: type[BaseException],
) -> None:
    called: list[object] = []

    def closer(resource: object) -> None:
        called.append(resource)
        raise stop

    pool: AsyncResourcePool[Any] = AsyncResourcePool(object, closer, max_size=3)

    async def main() -> None:
        for thing in [await pool.acquire() for _ in range(3)]:
            await pool.release(thing)

    left_in_a_closed_loop(main())
    with pytest.raises(stop):
        pool.terminate()
    assert (len(called), pool.closed, pool.stats().closer_failures) == (3, True, 3)
    inside.assert_nothing_kept(pool)
