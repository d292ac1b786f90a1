"""The controlled loop runs iterations exactly as asyncio does."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, RealIOError, explore, replay
from nodetool.concurrency.testing._loop import ControlledLoop, TaskFactory, make_controlled_loop
from tests.virtual_time import run

Note = Callable[[object], None]
Program = Callable[[Note], Awaitable[None]]


async def callbacks(note: Note) -> None:
    loop = asyncio.get_running_loop()

    def first() -> None:
        note("first")
        loop.call_soon(note, "scheduled by first")
        loop.call_soon_threadsafe(note, "and from a thread, as it were")

    loop.call_soon(first)
    loop.call_soon(note, "second")
    loop.call_soon(note, "never").cancel()
    for number in range(3):
        note(number)
        await asyncio.sleep(0)


async def timers(note: Note) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for delay in (3, 1, 2, 1, 0, 2, 2, 1):
        loop.call_later(delay, note, delay)
    cancelled = [loop.call_later(delay, note, "never") for delay in (0, 1, 2, 5)]
    for timer in cancelled:
        timer.cancel()
    loop.call_at(start + 2, note, "at 2")
    loop.call_at(start + 1, lambda: loop.call_soon(note, "soon after 1"))
    for _ in range(4):
        await asyncio.sleep(1)
        note(loop.time() - start)


async def tasks_and_futures(note: Note) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    async def waits(name: str) -> str:
        note(f"{name} waits")
        try:
            note(f"{name}: {await asyncio.shield(future)}")
        except asyncio.CancelledError:
            note(f"{name} was cancelled")
            raise
        return name

    tasks = [asyncio.create_task(waits(name), name=name) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    future.set_result("done")
    tasks[2].cancel("too late, or is it?")
    note(await asyncio.gather(*tasks, return_exceptions=True))
    note([task.get_name() for task in tasks])


async def deadlines(note: Note) -> None:
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    for seconds in (1, 2, 3):
        try:
            async with asyncio.timeout(2):
                note(await slow(seconds))
        except TimeoutError:
            note(f"{seconds} was too long")
    done, pending = await asyncio.wait({asyncio.create_task(slow(s)) for s in (1, 5)}, timeout=2)
    note((len(done), len(pending)))
    for task in pending:
        task.cancel()
    for next_done in asyncio.as_completed([slow(3), slow(1)]):
        note(await next_done)


async def groups(note: Note) -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise OSError("failed")

    async def goes_on(name: str) -> None:
        try:
            await asyncio.sleep(2)
        finally:
            note(f"{name} ends")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(goes_on("a"), name="a")
            group.create_task(fails())
            group.create_task(goes_on("b"), name="b")
    except* OSError as errors:
        note(errors.exceptions)


async def queues(note: Note) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def puts() -> None:
        for number in range(4):
            await queue.put(number)
            note(f"put {number}")

    putting = asyncio.create_task(puts())
    for _ in range(4):
        note(f"got {await queue.get()}")
    await putting


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def contexts(note: Note) -> None:
    loop = asyncio.get_running_loop()
    variable.set("outer")
    context = contextvars.copy_context()
    context.run(variable.set, "inner")
    loop.call_soon(lambda: note(variable.get()), context=context)
    loop.call_soon(lambda: note(variable.get()))

    async def task() -> None:
        note(variable.get())

    await asyncio.create_task(task())
    await loop.create_task(task(), context=context)


async def generators(note: Note) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            note("closed")

    async for number in numbers():
        note(number)
        if number == 2:
            break
    for turn in range(4):
        note(f"turn {turn}")
        await asyncio.sleep(0)
    left = numbers()
    note(await anext(left))
    for _ in range(2):
        await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.get_running_loop().shutdown_default_executor()


async def handlers(note: Note) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: note(repr(context["exception"])))
    assert loop.get_exception_handler() is not None
    loop.call_soon([].pop)
    await asyncio.sleep(0)
    loop.set_exception_handler(before)
    note((loop.is_running(), loop.is_closed(), loop.get_debug()))
    loop.set_debug(False)


async def factories(note: Note) -> None:
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        note(f"a task of {coro.__name__}")
        return asyncio.Task(coro, loop=loop, **options)

    async def named() -> None:
        note("runs")

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    task = asyncio.create_task(named(), name="n")
    note(task.get_name())
    await task
    loop.set_task_factory(None)


PROGRAMS = [
    *(callbacks, timers, tasks_and_futures, deadlines, groups),
    *(queues, contexts, generators, handlers, factories),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_does_the_same_as_on_the_stock_loop(program: Program) -> None:
    def texts() -> tuple[list[str], Note]:
        trace: list[str] = []
        return trace, lambda note: trace.append(repr(note))

    async def stock_program() -> None:
        asyncio.get_running_loop().set_task_factory(
            TaskFactory()
        )  # otherwise the order of sets varies
        await program(stock_note)

    async def scenario(_: Events) -> None:
        await program(note)

    stock, stock_note = texts()
    run(stock_program())
    controlled, note = texts()
    replay(scenario, "e:").raise_for_failure()
    assert controlled == stock
    assert len(stock) > 1


REFUSED_METHODS = [
    "run_in_executor",
    "create_connection",
    "subprocess_exec",
    "add_reader",
    "run_forever",
]


@pytest.mark.parametrize("name", REFUSED_METHODS)
def test_real_input_and_output_is_refused(name: str) -> None:
    async def scenario(_: Events) -> None:
        getattr(asyncio.get_running_loop(), name)(None, print)

    failure = explore(scenario).failure
    assert failure is not None
    assert failure.kind == "real I/O"
    assert isinstance(failure.error, RealIOError)
    assert f"loop.{name}" in str(failure.error)
    assert "events.call" in str(failure.error)


def test_a_closed_loop_accepts_no_callback_and_ignores_an_abandoned_generator() -> None:
    loop: ControlledLoop = make_controlled_loop()
    with loop.activate():
        finalize = sys.get_asyncgen_hooks().finalizer
    assert finalize is not None
    loop.close()
    assert loop.is_closed()
    for schedule in (loop.call_soon, lambda callback: loop.call_later(1, callback)):
        with pytest.raises(RuntimeError, match="closed"):
            schedule(print)

    async def generator() -> AsyncIterator[None]:
        yield

    finalize(generator())  # type: ignore[arg-type]
    assert not loop.ready


def test_exploration_is_refused_while_a_loop_runs() -> None:
    async def scenario(_: Events) -> None: ...

    async def explores() -> None:
        with pytest.raises(RuntimeError, match="from plain code"):
            explore(scenario)

    run(explores())
