"""Pruning is sound: with and without it, a scenario has the same set of outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, explore
from tests.testing.closing import ClosesSlowly

Outcomes = set[tuple[object, ...]]
Note = Callable[[object], None]
Program = Callable[[Events, Note], Awaitable[object]]


def outcomes(program: Program, *, prune: bool) -> tuple[Outcomes, str | None, int]:
    """Explore a program. Return what its runs noted at their end, and the kind of a failure."""
    seen: Outcomes = set()

    async def scenario(events: Events) -> None:
        noted: list[object] = []
        events.watch(noted)
        await program(events, noted.append)
        seen.add(tuple(noted))

    result = explore(scenario, prune=prune, max_schedules=20_000, repeat_every=50)
    assert result.is_complete
    return seen, None if result.failure is None else result.failure.kind, result.schedules


def assert_sound(program: Program) -> None:
    pruned, kind, fewer = outcomes(program, prune=True)
    unpruned, same_kind, more = outcomes(program, prune=False)
    assert kind == same_kind
    assert fewer <= more
    if kind is None:
        assert pruned == unpruned


# The primitives of asyncio, under two users.


async def lock(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    async with shared.setdefault("lock", asyncio.Lock()):
        note(f"{name} in")
        await events.call(name)
    note(f"{name} out")


async def semaphore(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    async with shared.setdefault("permits", asyncio.BoundedSemaphore(1)):
        await events.call(name)
        note(name)


async def condition(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    changed = shared.setdefault("changed", asyncio.Condition())
    if name == "a":
        async with changed:
            await events.call(name)
            shared["done"] = True
            changed.notify_all()
    elif "done" not in shared:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5), changed:
                await changed.wait_for(lambda: "done" in shared)
                note("notified")


async def queue(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    items = shared.setdefault("items", asyncio.Queue(1))
    if name == "a":
        for number in range(2):
            await items.put(number)
            note(f"put {number}")
        return
    with contextlib.suppress(TimeoutError):
        while True:
            note(await asyncio.wait_for(items.get(), 5))


async def group(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(events.call(name, faults=(OSError("gone"),)))
            await asyncio.sleep(0)
    except* OSError:
        note(f"{name} fails")
    note(name)


async def timeout(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(5):
            await events.call(name)
    except TimeoutError:
        note(f"{name} is late")
    note(name)


async def shield(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    inner: asyncio.Future[None] = asyncio.ensure_future(events.call(name))
    try:
        await asyncio.shield(inner)
    except asyncio.CancelledError:
        note(f"{name} waits again")
        await inner
        raise
    note(name)


async def clean_up(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(events.call, f"{name} closes")
        await events.call(name)
        note(name)
    note(f"{name} closed")


async def at_once(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    note(await events.call(name, result=1, results=(2,), may_end_at_once=True))
    note(name)


async def thread(events: Events, note: Note, name: str, shared: dict[str, Any]) -> None:
    await events.thread(note, f"{name} works")
    note(name)


USERS = [
    lock,
    semaphore,
    condition,
    queue,
    group,
    timeout,
    shield,
    clean_up,
    at_once,
    thread,
]


@pytest.mark.untraced
@pytest.mark.parametrize("cancelled", ["", "b", pytest.param("ab", marks=pytest.mark.slow)])
@pytest.mark.parametrize("user", USERS)
def test_primitives_have_the_same_outcomes_with_and_without_pruning(
    user: Any, cancelled: str
) -> None:
    async def program(events: Events, note: Note) -> None:
        shared: dict[str, Any] = {}
        for name in "ab":
            one = user(events, note, name, shared)
            events.task(one, name=name, cancellable=name in cancelled)
        await events.join()

    assert_sound(program)


# The smallest inputs of ten faults that the explorer once had.


async def tracebacks(events: Events, note: Note) -> None:
    async def user() -> None:
        try:
            async with ClosesSlowly(events):
                await events.call("work", faults=(OSError("gone"),))
        except OSError:
            note("failed")
        note("ended")

    events.task(user(), name="a", cancellable=True)
    await events.join()


async def generators(events: Events, note: Note) -> None:
    @contextlib.asynccontextmanager
    async def lend() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await events.call("close")

    async def user(name: str) -> None:
        async with lend():
            await events.call("work")
        note(name)

    for name in "ab":
        events.task(user(name), name=name)
    await events.join()


async def early_cancellation(events: Events, note: Note) -> None:
    async def first() -> None:
        await events.call("first")
        note("ended")

    await asyncio.wait([events.task(first(), name="first", cancellable=True)])
    for name in "ab":
        events.task(events.call(name), name=name)
    await events.join()


async def endless_timer(events: Events, note: Note) -> None:
    async def ticks() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(600)

    timer = asyncio.create_task(ticks())
    note(await events.call("work", result=1, results=(2,)))
    await asyncio.get_running_loop().create_future()
    timer.cancel()


async def clocks(events: Events, note: Note) -> None:
    known: dict[object, object] = {}

    async def user(name: str) -> None:
        known[uuid.uuid4()] = time.time()
        await events.call("work")
        known[id(known)] = (random.random(), monotonic())
        note(name)

    for name in "ab":
        events.task(user(name), name=name)
    await events.join()


async def hidden_states(events: Events, note: Note) -> None:
    guard, items, found = threading.Lock(), SimpleQueue[str](), re.match("a", "a")
    remember = functools.lru_cache(lambda name: name)

    async def user(name: str) -> None:
        await events.call("work")
        with guard:
            items.put(remember(name))
        await events.call("more")
        note((items.get(), found and found.group()))

    for name in "ab":
        events.task(user(name), name=name)
    await events.join()


async def threads(events: Events, note: Note) -> None:
    async def user(name: str) -> None:
        note(await events.thread(name.upper))

    for name in "ab":
        events.task(user(name), name=name, cancellable=True)
    await events.join()


async def many_calls(events: Events, note: Note) -> None:
    for name in "abcd":
        events.task(events.call(name), name=name)
    await events.join()
    note("ended")


class Permit:
    """A semaphore that keeps its permit if a waiter is cancelled late."""

    def __init__(self) -> None:
        self.is_free = True
        self.waiters: list[asyncio.Future[None]] = []

    async def acquire(self) -> None:
        if self.is_free:
            self.is_free = False
            return
        self.waiters.append(asyncio.get_running_loop().create_future())
        await self.waiters[-1]

    def release(self) -> None:
        while self.waiters:
            waiter = self.waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                return
        self.is_free = True


async def lost_permit(events: Events, note: Note) -> None:
    permit = Permit()

    async def user(name: str) -> None:
        await permit.acquire()
        try:
            await events.call(name)
        finally:
            permit.release()

    for name in "abc":
        events.task(user(name), name=name, cancellable=name == "b")
    await events.join()


async def early_ends(events: Events, note: Note) -> None:
    async def user(name: str) -> None:
        note(await events.call(name, result=name, results=("other",), may_end_at_once=True))

    for name in "ab":
        events.task(user(name), name=name, cancellable=True)
    await events.join()


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (tracebacks, None),
        (generators, None),
        (early_cancellation, None),
        (endless_timer, "deadlock"),
        (clocks, None),
        (hidden_states, None),
        (threads, None),
        (many_calls, None),
        (lost_permit, "deadlock"),
        (early_ends, None),
    ],
)
def test_ten_inputs_have_the_same_outcomes_with_and_without_pruning(
    program: Program, kind: str | None
) -> None:
    assert_sound(program)
    assert outcomes(program, prune=True)[1] == kind
