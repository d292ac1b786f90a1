"""Nothing that the pool keeps or hands out keeps a user's frame alive, and no cycle does.

The collector is switched off, so each local variable of a caller has to die by reference counts as
soon as the caller has let go of the error.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, PoolEvent, ResourcePoolClosedError
from tests.concurrency.collector import without_collector
from tests.virtual_time import run, turns

start = asyncio.create_task

CALLS = 20


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log nothing, because pytest would keep the errors that are logged."""
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")


class Local:
    """A local variable of a caller."""


class Frames:
    """Frames of users, and the local variables in them that are still alive."""

    def __init__(self) -> None:
        self._locals: list[weakref.ref[Local]] = []

    def local(self) -> Local:
        """Make a local variable. The caller keeps it in its frame."""
        local = Local()
        self._locals.append(weakref.ref(local))
        return local

    @property
    def alive(self) -> int:
        """How many local variables are alive."""
        return sum(local() is not None for local in self._locals)

    def __len__(self) -> int:
        return len(self._locals)


Pool = AsyncResourcePool[Any]
Way = Callable[[Pool], Awaitable[object]]


async def caught(frames: Frames, call: Awaitable[object]) -> None:
    """Make a call that fails, in a frame with a local variable."""
    local = frames.local()
    with suppress(BaseException):
        await call
    assert local is not None


# Ways of failing. Each gets a full pool whose next creation fails.


async def wait_in_vain(pool: Pool) -> None:
    await pool.acquire(timeout=1)


async def enter_in_vain(pool: Pool) -> None:
    async with pool.acquire_context(timeout=1):
        raise AssertionError("entered")


async def try_in_vain(pool: Pool) -> None:
    await pool.acquire(timeout=0)


async def be_cancelled(pool: Pool) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(1, task.cancel)
    try:
        await pool.acquire()
    finally:
        task.uncancel()


async def be_cancelled_in_a_timeout(pool: Pool) -> None:
    async with asyncio.timeout(1):
        await pool.acquire()


async def be_closed(pool: Pool) -> None:
    coroutine = pool.acquire()
    coroutine.send(None)
    local = Local()
    coroutine.close()
    assert local is not None


async def give_back_twice(pool: Pool) -> None:
    await pool.release(object())


async def close_in_vain(pool: Pool) -> None:
    await pool.close(timeout=1)


async def leave_in_vain(pool: Pool) -> None:
    async with pool:
        raise OSError("the body failed")


async def open_in_vain(pool: Pool) -> None:
    await pool.open(wait=True, timeout=1)


class Factory:
    """A factory that fails after its first calls."""

    def __init__(self, frames: Frames, succeeds: int, *, is_async: bool) -> None:
        self.frames = frames
        self.succeeds = succeeds
        self.is_async = is_async

    def __call__(self) -> Any:
        return self._make_later() if self.is_async else self._make()

    async def _make_later(self) -> object:
        await asyncio.sleep(0.5)
        return self._make()

    def _make(self) -> object:
        local = self.frames.local()
        if not self.succeeds:
            raise OSError("down")
        self.succeeds -= 1
        del local
        return object()


# The name, the call, and how many resources may exist. One is lent, further creations fail.
WAYS: list[tuple[str, Way, int]] = [
    ("timed out", wait_in_vain, 1),
    ("timed out in a context", enter_in_vain, 1),
    ("refused", try_in_vain, 1),
    ("cancelled", be_cancelled, 1),
    ("cancelled by a time-out", be_cancelled_in_a_timeout, 1),
    ("closed by hand", be_closed, 1),
    ("failed", wait_in_vain, 2),
    ("failed in a context", enter_in_vain, 2),
    ("refused after a failure", try_in_vain, 2),
    ("an invalid release", give_back_twice, 1),
    ("open failed", open_in_vain, 2),
    ("close timed out", close_in_vain, 1),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"leak_threshold": 1000, "leak_stack": True},
    {"listener": lambda _: None},
    {"debug": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options), "plain"))
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("way", "max_size"), [way[1:] for way in WAYS], ids=[w[0] for w in WAYS])
def test_a_call_that_fails_keeps_no_frame_and_makes_no_cycle(
    way: Way, max_size: int, is_async: bool, options: dict[str, Any]
) -> None:
    async def main() -> None:
        frames = Frames()
        factory = Factory(frames, 1, is_async=is_async)
        pool: Pool = AsyncResourcePool(factory, max_size=max_size, min_size=max_size, **options)
        thing = await pool.acquire()
        with without_collector():
            for _ in range(CALLS):
                await caught(frames, way(pool))
            await asyncio.sleep(0.1)
            assert len(frames) > CALLS
            assert frames.alive == 0
            assert gc.collect() == 0, "there are cycles"
        with suppress(ValueError):
            await pool.release(thing)
        pool.terminate()
        await asyncio.sleep(1)

    run(main())


def test_a_timeout_with_a_cause_keeps_no_frame_and_makes_no_cycle() -> None:
    """The first of two creations fails, all others hang. So the acquirer goes on waiting."""
    frames = Frames()
    causes: list[type] = []

    async def factory(number: Iterator[int]) -> None:
        local = frames.local()
        await asyncio.sleep(1000 if next(number) else 0.5)
        raise OSError(f"down {local}")

    async def wait(pool: Pool) -> None:
        try:
            await pool.acquire(timeout=1)
        except TimeoutError as error:
            causes.append(type(error.__cause__))
            raise

    async def main() -> None:
        with without_collector():
            for _ in range(CALLS):
                pool: Pool = AsyncResourcePool(partial(factory, count()), max_size=2, min_size=2)
                await pool.open()
                await caught(frames, wait(pool))
                assert frames.alive == 2, "those of the creations that hang"
                pool.terminate()
                await turns()
            assert frames.alive == 0
            assert causes == [OSError] * CALLS

    run(main())


def test_a_refusal_keeps_no_frame_and_makes_no_cycle() -> None:
    async def main() -> None:
        frames = Frames()
        pool: Pool = AsyncResourcePool(object, max_size=1, max_waiting=1)
        await pool.acquire()
        waiter = start(pool.acquire())
        await turns()
        with without_collector():
            for _ in range(CALLS):
                await caught(frames, pool.acquire())
            assert (len(frames), frames.alive) == (CALLS, 0)
            assert pool.stats().rejected == CALLS
            pool.terminate()
            with pytest.raises(ResourcePoolClosedError):
                await waiter
            for _ in range(CALLS):
                await caught(frames, pool.acquire())
            assert (len(frames), frames.alive) == (2 * CALLS, 0)

    run(main())


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_waiters_that_fail_when_the_pool_closes_keep_no_frame(end: str) -> None:
    async def main() -> None:
        frames = Frames()
        pool: Pool = AsyncResourcePool(object, max_size=1)
        thing = await pool.acquire()
        waiters = [start(caught(frames, pool.acquire())) for _ in range(CALLS)]
        await turns()
        with without_collector():
            if end == "close":
                await pool.release(thing)
                await pool.close()
            else:
                pool.terminate()
            await asyncio.wait(waiters)
            waiters.clear()
            assert (len(frames), frames.alive) == (CALLS, 0)

    run(main())


def test_the_end_of_async_with_keeps_no_frame() -> None:
    async def main() -> None:
        frames = Frames()
        with without_collector():
            for _ in range(CALLS):
                pool: Pool = AsyncResourcePool(object, exit_timeout=1)
                await pool.acquire()
                await caught(frames, leave_in_vain(pool))
            assert (len(frames), frames.alive) == (CALLS, 0)

    run(main())


def test_a_listener_that_drops_its_events_keeps_no_frame() -> None:
    """The event of a failed acquire has the acquirer's own error."""
    errors: list[BaseException | None] = []

    def listener(event: PoolEvent) -> None:
        errors.append(event.error)

    async def main() -> None:
        frames = Frames()
        factory = Factory(frames, 0, is_async=True)
        pool: Pool = AsyncResourcePool(factory, max_size=1, listener=listener)
        with without_collector():
            for _ in range(CALLS):
                await caught(frames, wait_in_vain(pool))
            assert any(errors)
            errors.clear()
            await asyncio.sleep(1)
            assert frames.alive == 0
        pool.terminate()
        await turns()

    run(main())


def test_an_error_that_the_user_keeps_is_the_only_one_that_lives() -> None:
    async def main() -> None:
        frames = Frames()
        pool: Pool = AsyncResourcePool(object, max_size=1)
        await pool.acquire()
        kept: list[BaseException] = []

        async def keep() -> None:
            local = frames.local()
            try:
                await pool.acquire(timeout=1)
            except TimeoutError as error:
                kept.append(error)
            assert local is not None

        with without_collector():
            await keep()
            for _ in range(CALLS):
                await caught(frames, wait_in_vain(pool))
            assert frames.alive == 1, "the traceback of the kept error has the frame of its caller"
            kept.clear()
            assert frames.alive == 0
        pool.terminate()

    run(main())


def test_a_creation_that_fails_for_nobody_keeps_no_frame_of_the_factory() -> None:
    async def main() -> None:
        frames = Frames()
        factory = Factory(frames, 0, is_async=True)
        pool: Pool = AsyncResourcePool(factory, min_size=1)
        await pool.open()
        with without_collector():
            await asyncio.sleep(0.55)
            assert (len(frames), frames.alive) == (1, 0)
        with pytest.raises(OSError, match="down"):
            await pool.open(wait=True, timeout=2)
        pool.terminate()
        await turns()

    run(main())


# Errors that the pool keeps.


async def dial(frames: Frames) -> object:
    local = frames.local()
    await asyncio.sleep(0.5)
    raise OSError(f"down, {local is None}")


async def connect_with_cause(frames: Frames) -> object:
    try:
        return await dial(frames)
    except OSError as error:
        raise RuntimeError("no connection") from error


async def connect_with_context(frames: Frames) -> object:
    try:
        return await dial(frames)
    except OSError:
        raise RuntimeError("no connection")  # noqa: B904


async def connect_in_a_group(frames: Frames) -> object:
    async with asyncio.TaskGroup() as group:
        group.create_task(dial(frames))
        group.create_task(connect_with_cause(frames))
    return object()


async def connect_with_a_cycle(frames: Frames) -> object:
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    try:
        return await dial(frames)
    except OSError as error:
        second.__context__ = error
        raise first  # noqa: B904


async def connect_with_a_long_chain(frames: Frames) -> object:
    try:
        return await dial(frames)
    except OSError as error:
        last: Exception = error
        for _ in range(5000):  # more than the recursion limit
            above = RuntimeError()
            above.__cause__ = last
            last = above
        raise last from last.__cause__


FAILING = [
    dial,
    connect_with_cause,
    connect_with_context,
    connect_in_a_group,
    connect_with_a_cycle,
    connect_with_a_long_chain,
]


@pytest.mark.parametrize("connect", FAILING, ids=lambda function: function.__name__)
@pytest.mark.parametrize("min_size", [0, 1])
def test_the_error_of_a_creation_that_nobody_gets_keeps_no_frame(
    connect: Callable[[Frames], Awaitable[object]], min_size: int
) -> None:
    async def main() -> None:
        frames = Frames()
        pool: Pool = AsyncResourcePool(partial(connect, frames), min_size=min_size)
        acquirer = start(pool.acquire())
        await turns()
        acquirer.cancel()
        await asyncio.sleep(0.55)  # a next creation has not begun
        gc.collect()
        assert len(frames) >= 1
        assert frames.alive == 0
        pool.terminate()
        await turns()

    run(main())


def test_a_cause_that_its_catcher_raises_again_keeps_no_frame() -> None:
    """The first of three creations fails, and the others hang. So the pool keeps the failure."""
    frames = Frames()
    causes: list[str] = []

    async def factory(number: Iterator[int]) -> object:
        await asyncio.sleep(1000 if next(number) else 0.5)
        raise OSError("down")

    async def wait(pool: Pool) -> None:
        local = frames.local()
        try:
            await pool.acquire(timeout=1)
        except TimeoutError as error:
            causes.append(repr(error.__cause__))
            raise error.__cause__ or AssertionError(local)  # noqa: B904

    async def main() -> None:
        pool: Pool = AsyncResourcePool(partial(factory, count()), max_size=3, min_size=3)
        await pool.open()
        users = [start(caught(frames, wait(pool))) for _ in range(2)]
        await asyncio.wait(users)
        users.clear()
        gc.collect()
        assert (len(frames), frames.alive) == (4, 0)
        assert causes == [
            "OSError('down')",
            "ResourcePoolError(\"a creation failed: OSError('down')\")",
        ]
        pool.terminate()
        await turns()

    run(main())


def test_a_failed_creation_ends_no_coroutine_that_has_passed_its_error_on() -> None:
    async def read(answer: asyncio.Future[object]) -> str:
        """Pass the error on as a driver's reader does, and go on."""
        try:
            await asyncio.sleep(0.1)
            raise OSError("lost")
        except OSError as error:
            answer.set_exception(error)
        await asyncio.sleep(1)
        return "went on"

    async def main() -> None:
        readers: list[asyncio.Task[str]] = []

        async def connect() -> object:
            answer = asyncio.get_running_loop().create_future()
            readers.append(start(read(answer)))
            return await answer

        pool: Pool = AsyncResourcePool(connect)
        acquirer = start(pool.acquire())
        await turns()
        acquirer.cancel()
        await asyncio.sleep(0.5)
        assert pool.stats().creation_failures == 1
        assert await readers[0] == "went on"

    run(main())


@pytest.mark.parametrize("call", ["acquire", "open"])
def test_a_failure_that_a_cancelled_caller_waited_through_keeps_no_frame(call: str) -> None:
    """The pool keeps the error itself only while somebody waits who may get it."""

    async def main() -> None:
        frames = Frames()
        made: Iterator[int] = count()

        async def connect() -> object:
            await (dial(frames) if next(made) == 0 else asyncio.sleep(1000))
            return object()

        pool: Pool = AsyncResourcePool(connect, max_size=2, min_size=2)
        await pool.open()
        waiting = pool.acquire() if call == "acquire" else pool.open(wait=True)
        caller = start(waiting)
        await asyncio.sleep(0.55)
        gc.collect()
        assert (len(frames), frames.alive) == (1, 1)
        caller.cancel()
        await asyncio.wait([caller])
        gc.collect()
        assert frames.alive == 0
        pool.terminate()
        await turns()

    run(main())


def test_the_error_of_a_creation_keeps_its_traceback_for_others() -> None:
    """A program that shares the error, or formats its log later, still sees where it came from."""
    errors: list[BaseException] = []

    async def main() -> None:
        async def connect() -> object:
            try:
                return await dial(Frames())
            except OSError as error:
                errors.append(error)
                raise RuntimeError from error

        pool: Pool = AsyncResourcePool(connect, min_size=1)
        await pool.open()
        await asyncio.sleep(0.55)
        pool.terminate()
        await turns()

    run(main())
    text = "".join(traceback.format_exception(errors[0]))
    assert "in dial" in text
