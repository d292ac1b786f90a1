"""Tracebacks, frames of calls that have ended, and contexts of exceptions are no state."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, explore
from tests.testing.closing import ClosesSlowly

Body = Callable[[Events], Coroutine[Any, Any, object]]


async def a_context(events: Events) -> None:
    async with ClosesSlowly(events):
        await events.call("work", faults=(OSError("gone"),))


async def a_generator(events: Events) -> None:
    @contextlib.asynccontextmanager
    async def lend() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await events.call("close")

    async with lend():
        await events.call("work", faults=(OSError("gone"),))


async def a_stack(events: Events) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(ClosesSlowly(events))
        stack.push_async_callback(events.call, "close too")
        await events.call("work", faults=(OSError("gone"),))


async def a_group(events: Events) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(events.call("work", faults=(OSError("gone"),)))
    except* OSError as group:
        await events.call("close")
        raise group.exceptions[0] from None


async def what_is_handled(events: Events) -> None:
    try:
        await events.call("work", faults=(OSError("gone"),))
    except OSError as error:
        info, frame = sys.exc_info(), inspect.currentframe()
        summary = traceback.TracebackException.from_exception(error).stack.format()
        await events.call("close")
        names = [frame and frame.f_code.co_name, type(info[1]).__name__, *summary]
        raise OSError(names) from error


@pytest.mark.parametrize("body", [a_context, a_generator, a_stack, a_group, what_is_handled])
def test_code_that_handles_an_exception_is_compared(body: Body) -> None:
    async def scenario(events: Events) -> None:
        async def user() -> None:
            with contextlib.suppress(OSError):
                await body(events)

        events.task(user(), name="a", cancellable=True)
        events.task(user(), name="b")
        await events.join()
        await events.call("end", results=(1,))

    result = explore(scenario)
    assert result.exhausted, str(result)
    assert result.pruned
    assert result.opaque == ""


def test_a_loop_that_tries_again_for_ever_has_few_states() -> None:
    async def scenario(events: Events) -> None:
        error: Exception | None = None
        while True:
            try:
                await events.call("work", faults=(OSError("gone"),))
                return
            except OSError as again:
                again.__context__ = error  # so the chain of contexts grows
                error = KeyError("retry")
                error.__context__ = again

    result = explore(scenario, max_depth=200)
    assert result.exhausted, str(result)
    assert result.states < 10


def test_the_cause_of_an_exception_is_state() -> None:
    async def scenario(events: Events) -> None:
        error = KeyError("wrapped")
        try:
            await events.call("work", faults=(OSError("one"), OSError("two")))
        except OSError as cause:
            error.__cause__ = cause
        await events.call("later")
        assert str(error.__cause__) != "two"

    for prune in (True, False):
        assert explore(scenario, prune=prune).failure is not None
