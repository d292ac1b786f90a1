"""Calls that interrupt the event loop's own code: in its selector, and in its heap of timers."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, PoolEvent, ResourcePoolClosedError
from tests import inside
from tests.virtual_time import run, turns

IDLE = 0.05  # seconds after which the loop sleeps in its selector
LATE = 5.0  # seconds until a timer would wake the loop

Pool = AsyncResourcePool[Any]


class Thing:
    """A resource."""


@contextmanager
def at_signal(call: Callable[[], object]) -> Iterator[None]:
    """Make a call in a handler of `signal.signal`, while the loop sleeps."""
    former = signal.signal(signal.SIGUSR1, lambda *_: call())
    timer = Timer(IDLE, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, former)


async def soon(waiter: asyncio.Future[Any]) -> Any:
    """Return the waiter's result, which must come before any timer of the loop."""
    begin = time.monotonic()
    await asyncio.wait([waiter], timeout=LATE)
    assert time.monotonic() - begin < LATE / 2
    return waiter.result()


@pytest.mark.guarantees("CloseCompletes")
def test_terminate_in_a_signal_handler_ends_a_close_while_the_loop_sleeps() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Thing, max_size=1)
        await pool.acquire()
        with at_signal(pool.terminate):
            await soon(asyncio.ensure_future(pool.close()))

    asyncio.run(main())


@pytest.mark.guarantees("WaitersFailAtClose")
def test_terminate_in_a_signal_handler_fails_a_waiter_while_the_loop_sleeps() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Thing, max_size=1)
        await pool.acquire()
        with at_signal(pool.terminate), pytest.raises(ResourcePoolClosedError):
            await soon(asyncio.ensure_future(pool.acquire(timeout=float("inf"))))

    asyncio.run(main())


@pytest.mark.guarantees("WaiterServed")
@pytest.mark.parametrize("give_back", ["release_nowait", "discard_nowait"])
def test_a_return_in_a_signal_handler_serves_a_waiter_while_the_loop_sleeps(give_back: str) -> None:
    async def main() -> None:
        async with AsyncResourcePool(Thing, max_size=1) as pool:
            held = await pool.acquire()
            with at_signal(lambda: getattr(pool, give_back)(held)):
                waiter = asyncio.ensure_future(pool.acquire(timeout=float("inf")))
                await pool.release(await soon(waiter))

    asyncio.run(main())


async def release_at_the_end(pool: Pool, held: Thing) -> None:
    try:
        await asyncio.Future()
    finally:
        await pool.release(held)


async def discard_at_the_end(pool: Pool, held: Thing) -> None:
    try:
        await asyncio.Future()
    finally:
        await pool.discard(held)


async def hold_in_a_context(pool: Pool, error: bool) -> None:
    async with pool.acquire_context():
        try:
            await asyncio.Future()
        except GeneratorExit:
            if error:
                raise ValueError from None


@pytest.mark.guarantees("WaiterServed")
@pytest.mark.parametrize("end", ["release", "discard", "swallow", "error"])
def test_a_coroutine_that_a_signal_handler_closes_serves_a_waiter_while_the_loop_sleeps(
    end: str,
) -> None:
    async def main() -> None:
        async with AsyncResourcePool(Thing, max_size=1, discard_on=()) as pool:
            held = await pool.acquire()
            if end == "release":
                holder = release_at_the_end(pool, held)
            elif end == "discard":
                holder = discard_at_the_end(pool, held)
            else:
                await pool.release(held)
                holder = hold_in_a_context(pool, end == "error")
            holder.send(None)

            def close() -> None:
                with suppress(ValueError):
                    holder.close()

            with at_signal(close):
                waiter = asyncio.ensure_future(pool.acquire(timeout=float("inf")))
                await pool.release(await soon(waiter))

    asyncio.run(main())


@pytest.mark.guarantees("WaiterServed")
def test_a_waiter_that_a_signal_handler_closes_passes_its_resource_on() -> None:
    """It was handed a resource, and its coroutine is closed before it resumes."""

    async def main() -> None:
        async with AsyncResourcePool(Thing, max_size=1, acquisition_timeout=None) as pool:
            held = await pool.acquire()
            first = pool.acquire()
            first.send(None)
            second = asyncio.ensure_future(pool.acquire())
            await asyncio.sleep(0)
            await pool.release(held)  # to the first one, which nobody drives
            with at_signal(first.close):
                await pool.release(await soon(second))

    asyncio.run(main())


# The loop's heap of timers.


class Interrupting(float):
    """A time at which a comparison by the loop's heap makes a call."""

    call: Callable[[], object] | None = None

    def __lt__(self, other: float) -> bool:
        call, self.call = self.call, None
        if call is not None:
            call()
        return float(self) < other


def interrupt_heap(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Make a call while the loop puts a timer into its heap."""
    far = loop.time() + 100
    loop.call_at(far, int)
    interrupting = Interrupting(far - 1)
    interrupting.call = call
    loop.call_at(interrupting, int)
    assert interrupting.call is None


async def use(pool: Pool) -> None:
    """Hold a resource for ever."""
    async with pool.acquire_context():
        await asyncio.Future()


@pytest.mark.guarantees("NothingLost")
@pytest.mark.parametrize(
    "call", ["release_nowait", "discard_nowait", "terminate", "context", "coroutine"]
)
def test_a_call_while_the_loop_changes_its_heap_changes_the_heap_later(call: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = AsyncResourcePool(Thing, max_size=1, max_idle_time=0.2, discard_on=())
        held = await pool.acquire()
        if call == "context":
            await pool.release(held)
            user = use(pool)
            user.send(None)
            interrupt_heap(loop, user.close)
        elif call == "coroutine":
            holder = release_at_the_end(pool, held)
            holder.send(None)
            interrupt_heap(loop, holder.close)
        elif call == "terminate":
            interrupt_heap(loop, pool.terminate)
        else:
            interrupt_heap(loop, lambda: getattr(pool, call)(held))
        inside.check_heap(loop)
        assert not pool.in_use_count
        await asyncio.sleep(0.5)
        inside.check_heap(loop)
        assert pool.size == 0  # the resource was idle for too long, or was closed
        await pool.close()
        assert not inside.timers_of(pool)

    asyncio.run(main())


@pytest.mark.parametrize("turns_later", [0, 3])
def test_a_timer_that_is_not_needed_any_more_is_never_set(turns_later: int) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Thing, max_idle_time=100, acquisition_timeout=None)
        held = await pool.acquire()
        pool.release_nowait(held)  # the loop sets the timer in its next turn
        await turns(turns_later)
        assert len(inside.timers_of(pool)) == (1 if turns_later else 0)
        pool.terminate()
        await asyncio.sleep(1)
        assert not inside.timers_of(pool)
        await pool.close()

    run(main())


def test_terminate_between_two_tasks_cancels_no_timer_that_the_loop_may_be_calling() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = AsyncResourcePool(Thing, max_size=1)
        await pool.acquire()
        waiter = asyncio.ensure_future(pool.acquire(timeout=50))
        await asyncio.sleep(1)
        (timer,) = inside.timers_of(pool)
        loop.call_soon(pool.terminate)
        loop.call_soon(lambda: seen.append(timer.cancelled()))
        seen: list[bool] = []
        await asyncio.sleep(1)
        assert seen == [False]
        assert timer.cancelled()
        with pytest.raises(ResourcePoolClosedError):
            await waiter

    run(main())


def test_a_wait_that_is_closed_between_two_tasks_cancels_no_timer_that_may_be_called() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = AsyncResourcePool(Thing, max_size=1, acquisition_timeout=None)
        held = await pool.acquire()
        closing = pool.close(timeout=50)
        closing.send(None)
        timers = inside.timers_of(pool)
        assert timers
        loop.call_soon(closing.close)
        loop.call_soon(lambda: seen.extend(timer.cancelled() for timer in timers))
        seen: list[bool] = []
        await asyncio.sleep(1)
        assert not any(seen)
        assert all(timer.cancelled() for timer in timers)
        await pool.release(held)
        await pool.close()

    run(main())


# A call that ends the lease that is being granted.


@pytest.mark.guarantees("OneOutcome")
@pytest.mark.parametrize("closer", [None, lambda thing: None])
@pytest.mark.parametrize("call", ["discard", "detach", "release", "terminate"])
@pytest.mark.parametrize("context", [False, True])
def test_an_acquirer_gets_its_resource_although_a_nested_call_ends_the_lease(
    call: str, context: bool, closer: Any
) -> None:
    things: list[Thing] = []

    def factory() -> Thing:
        things.append(Thing())
        return things[-1]

    def listener(event: PoolEvent) -> None:
        if armed and event.kind == "wait" and event.outcome == "acquired":
            armed.clear()
            if call == "terminate":
                pool.terminate()
            else:
                with pytest.raises(StopIteration):
                    getattr(pool, call)(things[0]).send(None)

    async def main() -> None:
        held = await pool.acquire()
        entering = pool.acquire_context()
        waiter = asyncio.ensure_future(entering.__aenter__() if context else pool.acquire())
        await asyncio.sleep(0)
        armed.append(True)
        await pool.release(held)
        assert await waiter is held
        assert not armed
        if context:
            await entering.__aexit__(None, None, None)  # changes nothing, because the lease is over
        assert pool.in_use_count == 0
        await pool.close()

    armed: list[bool] = []
    pool = AsyncResourcePool(factory, closer, max_size=1, listener=listener)
    run(main())
