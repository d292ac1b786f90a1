"""The pool's calls of the user's functions: when, in which task, with which context variables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from tests.concurrency.world import now, outcome
from tests.virtual_time import run, turns

start = asyncio.create_task


variable = ContextVar("variable", default="nothing")
FUNCTIONS = ("factory", "check", "reset", "closer")


class Calls:
    """Functions for a pool, and a list of what each call of them saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []  # function, its task's name, the variable
        self.is_inside = False  # whether a user's call of the pool runs just now

    def note(self, function: str) -> None:
        assert not self.is_inside, f"the {function} was called inside a user's call"
        task = asyncio.current_task()
        self.seen.append((function, "" if task is None else task.get_name(), variable.get()))

    def pool(
        self, make: Callable[[str], Callable[..., Any]], **options: Any
    ) -> AsyncResourcePool[Any]:
        """Make a pool for one resource. Every use is checked."""
        functions: dict[str, Any] = {name: make(name) for name in FUNCTIONS}
        defaults = {"max_size": 1, "check_after_idle": 0, "name": "db"}
        return AsyncResourcePool(**(functions | defaults | options))

    def plain(self, name: str) -> Callable[..., object]:
        """Make a plain function."""

        def call(*_: object) -> object:
            self.note(name)
            return object()

        return call

    def coroutine(self, name: str) -> Callable[..., Any]:
        """Make a coroutine function."""

        async def call(*_: object) -> object:
            await asyncio.sleep(0)
            self.note(name)
            return object()

        return call


async def use_all(pool: AsyncResourcePool[Any]) -> None:
    """Let a pool call all its functions, in their order."""
    for _ in range(2):
        await pool.release(await pool.acquire())
        await turns()
    await pool.close()


ORDER = ["factory", "reset", "check", "reset", "closer"]


def test_plain_functions_get_no_task_and_no_context_variables() -> None:
    calls = Calls()

    async def scenario() -> None:
        variable.set("of the user")
        await use_all(calls.pool(calls.plain))
        assert variable.get() == "of the user"

    run(scenario())
    assert calls.seen == [(name, "", "nothing") for name in ORDER]


def test_what_coroutines_see_is_a_task_of_their_own_and_no_context_variables() -> None:
    calls = Calls()

    async def scenario() -> None:
        variable.set("of the user")
        await use_all(calls.pool(calls.coroutine))

    run(scenario())
    assert calls.seen == [(name, f"db: {name}", "nothing") for name in ORDER]


def test_a_function_and_its_awaitable_share_their_context_variables_and_nobody_else() -> None:
    calls = Calls()

    def make(name: str) -> Callable[..., Coroutine[Any, Any, object]]:
        async def later() -> object:
            calls.note(name)
            variable.set("left behind")
            return object()

        def call(*_: object) -> Coroutine[Any, Any, object]:
            assert variable.get() == "nothing"
            variable.set(f"of the {name}")
            return later()

        return call

    async def scenario() -> None:
        await use_all(calls.pool(make))
        assert variable.get() == "nothing"

    run(scenario())
    assert calls.seen == [(name, f"db: {name}", f"of the {name}") for name in ORDER]


class Later:
    """An awaitable that is neither a coroutine nor a future."""

    def __await__(self) -> Generator[Any, None, object]:
        yield from asyncio.sleep(1).__await__()
        return object()


def resolved_later() -> asyncio.Future[object]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()
    loop.call_later(1, future.set_result, object())
    return future


async def slow() -> object:
    await asyncio.sleep(1)
    return object()


@pytest.mark.parametrize("result", [Later, resolved_later, slow])
def test_the_awaitable_result_of_a_plain_function_is_awaited(
    result: Callable[[], Awaitable[object]],
) -> None:
    times: list[float] = []

    def make(_: str) -> Callable[..., Any]:
        def call(*_: object) -> Awaitable[object]:
            times.append(now())
            return result()

        return call

    async def scenario() -> None:
        pool = Calls().pool(make)
        thing = await pool.acquire()
        assert type(thing) is object
        await pool.release(thing)
        assert await pool.acquire() is thing
        await pool.discard(thing)
        await asyncio.sleep(1.5)
        assert pool.size == 0
        await pool.close()

    run(scenario())
    assert [time - times[0] for time in times] == [0, 1, 2, 3]


@pytest.mark.parametrize("result", [Later, resolved_later, slow])
def test_the_awaitable_result_of_a_check_is_what_says_no(
    result: Callable[[], Awaitable[object]],
) -> None:
    async def says_no() -> bool:
        await result()
        return False

    def check(_: object) -> Awaitable[bool]:
        return says_no()

    async def scenario() -> None:
        pool = AsyncResourcePool(object, max_size=1, check=check, check_after_idle=0)
        first = await pool.acquire()
        await pool.release(first)
        assert await pool.acquire() is not first
        assert pool.stats().check_failed == 1
        pool.terminate()

    run(scenario())


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_no_function_of_the_user_runs_inside_a_call_of_the_user(kind: str) -> None:
    calls = Calls()

    def step(call: Callable[[], Any]) -> Any:
        """Make a call, and run a coroutine until its first suspension."""
        calls.is_inside = True
        try:
            coroutine = call()
            if asyncio.iscoroutine(coroutine):
                coroutine.send(None)
                return coroutine
        except StopIteration as result:
            return result.value
        finally:
            calls.is_inside = False
        return coroutine

    async def scenario() -> None:
        def new_pool(**options: Any) -> AsyncResourcePool[Any]:
            return calls.pool(getattr(calls, kind), max_size=3, **options)

        def called(before: int, *names: str) -> bool:
            return [name for name, *_ in calls.seen[before:]] == [*names]

        pool = new_pool(min_size=1, max_idle_time=5)
        step(pool.open)
        await turns()
        thing = await pool.acquire()
        count = len(calls.seen)
        step(lambda: pool.release(thing))
        assert len(calls.seen) == count
        await turns()
        assert called(count, "reset")

        count = len(calls.seen)
        acquiring = step(pool.acquire)
        assert len(calls.seen) == count
        await turns()
        assert called(count, "check")
        acquiring.close()  # as a cancellation does
        await turns()

        count = len(calls.seen)
        for call in (
            lambda: pool.resize(2, 2),
            lambda: pool.resize(1, 1),
            pool.prune,
            pool.stats,
            pool.retire_all,
        ):
            step(call)
        assert len(calls.seen) == count
        await turns()
        assert "closer" in {name for name, *_ in calls.seen[count:]}
        thing = await pool.acquire()
        step(lambda: pool.discard(thing))
        await turns()
        context = pool.acquire_context()
        await context.__aenter__()
        step(lambda: context.__aexit__(None, None, None))
        await turns()

        other = new_pool(min_size=2)
        await other.open(wait=True)
        count = len(calls.seen)
        step(other.terminate)
        assert len(calls.seen) == count
        await turns()
        assert called(count, "closer", "closer")
        count = len(calls.seen)
        closing = step(pool.close)
        assert len(calls.seen) == count
        closing.close()
        await turns()
        assert pool.closed

    run(scenario())


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_work_starts_in_a_later_turn_than_the_call_that_asked_for_it(kind: str) -> None:
    calls = Calls()

    async def scenario() -> None:
        pool = calls.pool(getattr(calls, kind))
        acquirer = start(pool.acquire())
        await turns(1)
        assert calls.seen == [], "the acquire has asked for it in this turn"
        thing = await acquirer
        before = len(calls.seen)
        await pool.release(thing)
        assert len(calls.seen) == before
        await turns()
        assert len(calls.seen) == before + 1
        await pool.close()

    run(scenario())


def test_the_error_of_a_plain_function_is_that_of_the_work() -> None:
    error = OSError("broken")

    def broken(*_: object) -> object:
        raise error

    async def scenario() -> None:
        pool = AsyncResourcePool(broken)
        assert await outcome(pool.acquire()) is error
        checked = AsyncResourcePool(object, broken, check=broken, check_after_idle=0, max_size=1)
        thing = await checked.acquire()
        await checked.release(thing)
        assert await checked.acquire() is not thing
        stats = checked.stats()
        assert (stats.check_failed, stats.closer_failures) == (1, 1)
        cleaned = AsyncResourcePool(object, reset=broken)
        await cleaned.release(await cleaned.acquire())
        await turns()
        assert cleaned.stats().reset_failed == 1
        for each in (pool, checked, cleaned):
            each.terminate()
        await turns()

    run(scenario())
