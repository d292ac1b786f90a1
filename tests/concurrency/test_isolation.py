"""Isolation of callbacks: what a callback does to itself never reaches the task of a user.

A callback may raise CancelledError, or cancel the task that runs it. That is a failure of the
callback, whatever happens to the caller at that time: also if the caller was cancelled before.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import anyio
import pytest

from nodetool.concurrency import AsyncResourcePool
from tests import inside
from tests.virtual_time import VirtualTimeLoop, turns

KINDS = ("factory", "check", "reset", "closer")


# What a callback does to itself. Each function stands for the call of a callback.


def raises_a_cancellation() -> None:
    raise asyncio.CancelledError


def raises_a_generator_exit() -> None:
    raise GeneratorExit


def raises_a_keyboard_interrupt() -> None:
    raise KeyboardInterrupt


def returns_a_cancelled_future() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


def returns_a_task_that_is_cancelled() -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(asyncio.sleep(1000))
    asyncio.get_running_loop().call_later(1, task.cancel)
    return task


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def raises_a_cancellation_later() -> None:
    await asyncio.sleep(1)
    raise asyncio.CancelledError


async def raises_a_generator_exit_later() -> None:
    await asyncio.sleep(1)
    raise GeneratorExit


async def raises_a_keyboard_interrupt_later() -> None:
    await asyncio.sleep(1)
    raise KeyboardInterrupt


async def cancels_its_task() -> None:
    own_task().cancel()
    await asyncio.sleep(1)


async def cancels_its_task_twice() -> None:
    own_task().cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)
    own_task().cancel()
    await asyncio.sleep(1)


async def cancels_its_task_and_ends() -> None:
    own_task().cancel()


async def cancels_its_task_and_swallows() -> None:
    own_task().cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)


async def cancels_its_task_and_takes_it_back() -> None:
    own_task().cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)
    own_task().uncancel()


async def awaits_a_cancelled_child() -> None:
    child = asyncio.create_task(asyncio.sleep(1000))
    child.cancel()
    await child


async def cancels_a_scope_around_itself() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await asyncio.sleep(1)


FAILS = (
    raises_a_cancellation,
    raises_a_generator_exit,
    raises_a_keyboard_interrupt,
    returns_a_cancelled_future,
    returns_a_task_that_is_cancelled,
    raises_a_cancellation_later,
    raises_a_generator_exit_later,
    raises_a_keyboard_interrupt_later,
    cancels_its_task,
    cancels_its_task_twice,
    awaits_a_cancelled_child,
)
ENDS_WELL = (
    cancels_its_task_and_ends,
    cancels_its_task_and_swallows,
    cancels_its_task_and_takes_it_back,
    cancels_a_scope_around_itself,
)


OWN_ERRORS: dict[Callable[[], Any], str] = {
    raises_a_generator_exit: "GeneratorExit",
    raises_a_generator_exit_later: "GeneratorExit",
    raises_a_keyboard_interrupt: "KeyboardInterrupt",
    raises_a_keyboard_interrupt_later: "KeyboardInterrupt",
}
"""What an acquirer gets of a factory that does this, unless it gets an error of the pool."""


class Trouble:
    """Functions for a pool of one resource. The first call of one kind does something special."""

    def __init__(self, kind: str, special: Callable[[], Any]) -> None:
        self.kind = kind
        self.special = special
        self.calls = dict.fromkeys(KINDS, 0)

    def _call(self, kind: str) -> Any:
        self.calls[kind] += 1
        if (kind, self.calls[kind]) != (self.kind, 1):
            return object() if kind == "factory" else None
        result = self.special()
        if kind == "factory" and self.special in ENDS_WELL:
            return self._make(result)
        return result

    async def _make(self, special: Awaitable[None]) -> object:
        await special
        return object()

    def pool(self, **options: Any) -> AsyncResourcePool[Any]:
        return AsyncResourcePool(
            lambda: self._call("factory"),
            lambda _: self._call("closer"),
            check=lambda _: self._call("check"),
            check_after_idle=0,
            reset=lambda _: self._call("reset"),
            max_size=1,
            acquisition_timeout=50,
            **options,
        )


# What happens to the caller meanwhile.


class Caller:
    """A user of the pool that notes what each use of the pool ends with."""

    def __init__(self, pool: AsyncResourcePool[Any]) -> None:
        self.pool = pool
        self.outcomes: list[str] = []

    async def use(self) -> None:
        """Let the pool call all its functions, and note how each use ends."""
        for _ in range(4):
            await self._note(self._use_context())
        for way in (self.pool.release, self.pool.discard, self.pool.release):
            await self._note(self._use(way))

    async def _note(self, use: Awaitable[None]) -> None:
        try:
            await use
            self.outcomes.append("served")
        except BaseException as error:
            self.outcomes.append(type(error).__name__)

    async def _use_context(self) -> None:
        async with self.pool.acquire_context():
            await asyncio.sleep(1)

    async def _use(self, way: Callable[[object], Awaitable[None]]) -> None:
        await way(await self.pool.acquire())


async def plain(caller: Caller) -> None:
    await caller.use()


async def after_a_cancellation(caller: Caller) -> None:
    own_task().cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)
    await caller.use()


async def after_an_uncancelled_cancellation(caller: Caller) -> None:
    own_task().cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)
    own_task().uncancel()
    await caller.use()


async def in_finally_of_a_cancellation(caller: Caller) -> None:
    own_task().cancel()
    try:
        await asyncio.sleep(1)
    finally:
        await caller.use()


async def in_finally_of_a_generator(caller: Caller) -> None:
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            await caller.use()

    async with aclosing(numbers()) as generator:
        async for _ in generator:
            break


async def under_a_timeout(caller: Caller) -> None:
    async with asyncio.timeout(1000):
        await caller.use()


async def in_finally_of_an_expired_timeout(caller: Caller) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            try:
                await asyncio.sleep(2)
            finally:
                await caller.use()


async def in_wait_for(caller: Caller) -> None:
    await asyncio.wait_for(caller.use(), 1000)


async def in_a_shield(caller: Caller) -> None:
    await asyncio.shield(caller.use())


async def in_fail_after(caller: Caller) -> None:
    with anyio.fail_after(1000):
        await caller.use()


async def in_move_on_after(caller: Caller) -> None:
    with anyio.move_on_after(1000):
        await caller.use()


async def in_a_shielded_scope_of_an_expired_one(caller: Caller) -> None:
    with anyio.move_on_after(1):
        try:
            await asyncio.sleep(2)
        finally:
            with anyio.CancelScope(shield=True):
                await caller.use()


async def in_a_task_group(caller: Caller) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(caller.use())


async def in_a_task_group_of_anyio(caller: Caller) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(caller.use)


async def after_acquires_that_are_closed(
    caller: Caller, close: Callable[[list[Coroutine[Any, Any, Any]]], None]
) -> None:
    """Begin acquires, and close their coroutines in the middle."""
    for _ in range(6):
        for begin in (caller.pool.acquire, caller.pool.acquire_context().__aenter__):
            coroutines = [begin()]
            try:
                coroutines[0].send(None)
            except StopIteration as result:
                await caller.pool.discard(result.value)
            else:
                await turns(1)
                close(coroutines)
            await asyncio.sleep(2)
    await caller.use()


async def after_acquires_closed_by_hand(caller: Caller) -> None:
    await after_acquires_that_are_closed(caller, lambda coroutines: coroutines.pop().close())


async def after_acquires_closed_by_the_collector(caller: Caller) -> None:
    await after_acquires_that_are_closed(caller, lambda coroutines: coroutines.clear())


SITUATIONS: tuple[Callable[[Caller], Awaitable[None]], ...] = (
    plain,
    after_a_cancellation,
    after_an_uncancelled_cancellation,
    in_finally_of_a_cancellation,
    in_finally_of_a_generator,
    under_a_timeout,
    in_finally_of_an_expired_timeout,
    in_wait_for,
    in_a_shield,
    in_fail_after,
    in_move_on_after,
    in_a_shielded_scope_of_an_expired_one,
    in_a_task_group,
    in_a_task_group_of_anyio,
    after_acquires_closed_by_hand,
    after_acquires_closed_by_the_collector,
)


def run_in_spite_of_interrupts(main: Coroutine[Any, Any, None]) -> int:
    """Run a coroutine to its end, also when KeyboardInterrupt stops the loop. Count these stops."""
    loop = VirtualTimeLoop()
    task = loop.create_task(main)
    stops = 0
    while not task.done():
        try:
            loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            stops += not task.done()
        except BaseException:
            loop.close()
            raise
    loop.run_until_complete(loop.shutdown_asyncgens())
    left = asyncio.all_tasks(loop)
    loop.close()
    assert not left
    assert not loop.errors, f"errors in callbacks: {loop.errors}"
    if not task.cancelled():
        task.result()
    return stops


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")


@pytest.mark.guarantees("FaultIsolation", "NothingLost", "WaiterServed", "CloseCompletes")
@pytest.mark.untraced
@pytest.mark.parametrize("special", [*FAILS, *ENDS_WELL], ids=lambda special: special.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "debug", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "debug"]
)
def test_what_a_callback_does_to_itself_never_reaches_the_caller(
    debug: bool, kind: str, special: Callable[[], Any]
) -> None:
    fails = special in FAILS

    async def play(situation: Callable[[Caller], Awaitable[None]]) -> None:
        trouble = Trouble(kind, special)
        pool = trouble.pool(debug=debug)
        caller = Caller(pool)
        try:
            await situation(caller)
        finally:
            where = f"{situation.__name__}: {caller.outcomes}"
            told = [outcome for outcome in caller.outcomes if outcome != "served"]
            is_closed_early = situation.__name__.startswith("after_acquires")
            is_told = fails and kind == "factory" and not is_closed_early
            assert len(caller.outcomes) == 7, where
            assert len(told) == is_told, where
            assert told in ([], [OWN_ERRORS.get(special, "ResourcePoolError")]), where
            await asyncio.sleep(5)
            inside.assert_consistent(pool)
            stats = pool.stats()
            failures = (
                stats.creation_failures,
                stats.check_failed,
                stats.reset_failed,
                stats.closer_failures,
            )
            assert failures == tuple(int(fails and kind == one) for one in KINDS), where
            await pool.close(timeout=100)
            inside.assert_nothing_kept(pool)
            assert pool.stats().created == trouble.calls["closer"], where

    for situation in SITUATIONS:
        stops = run_in_spite_of_interrupts(play(situation))
        assert stops == special.__name__.startswith("raises_a_keyboard_interrupt")
    gc.collect()
