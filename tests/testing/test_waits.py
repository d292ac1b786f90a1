"""A deadlock says what each task waits for, on which line, and who holds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event as ThreadEvent
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, explore

Body = Callable[[Events], Coroutine[Any, Any, object]]


def waits_of(*bodies: Body) -> str:
    """Return what the deadlock of some tasks says. Each task has the name of its function."""

    async def scenario(events: Events) -> None:
        for body in bodies:
            events.task(body(events), name=body.__name__)
        await events.join()

    failure = explore(scenario).failure
    assert failure is not None
    assert failure.kind == "deadlock", str(failure)
    return str(failure.error)


def waits(body: Body) -> str:
    """Return what the only task of a deadlock waits for."""
    _, _, rest = waits_of(body).partition(f"'{body.__name__}' waits in")
    _, _, words = rest.partition("    for  ")
    return words.partition("\n")[0]


class Slotted:
    __slots__ = ("future",)
    future: asyncio.Future[None]


async def a_future_in_a_slot(_: Events) -> None:
    waiter = Slotted()
    waiter.future = asyncio.get_running_loop().create_future()
    await waiter.future


class Pool:
    def __init__(self) -> None:
        self.available: asyncio.Queue[int] = asyncio.Queue()
        self.changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[int]:
        yield await self.available.get()

    async def wait(self) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: False)


async def takes_from_a_pool(_: Events) -> None:
    async with Pool().lend():
        pass


def test_the_chain_goes_through_asynchronous_generators() -> None:
    said = waits_of(takes_from_a_pool)
    assert "waits in takes_from_a_pool (test_waits.py:" in said
    assert "> lend (test_waits.py:" in said
    assert "> get (queues.py:" in said
    assert "contextlib" not in said
    assert "    at   yield await self.available.get()\n" in said
    assert said.endswith("    for  an item from Queue `self.available`")


async def iterates(_: Events) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async for one in numbers():
        assert one


async def resumes(_: Events) -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except OSError:
            await asyncio.Event().wait()

    async with contextlib.aclosing(numbers()) as source:
        await anext(source)
        await source.athrow(OSError())


class Wrapped:
    async def __aiter__(self) -> AsyncIterator[int]:
        yield 1

    def __await__(self) -> Any:
        return asyncio.Event().wait().__await__()


async def awaits_an_object(_: Events) -> None:
    await Wrapped()


@pytest.mark.parametrize("body", [iterates, resumes, awaits_an_object])
def test_the_chain_goes_through_objects_that_pass_values_on(body: Body) -> None:
    assert waits(body) == "Event, which nobody has set"


async def queue_put(_: Events) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    await queue.put(1)
    await queue.put(2)


async def queue_join(_: Events) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    queue.put_nowait(1)
    await queue.join()


async def condition(_: Events) -> None:
    pool = Pool()
    await pool.wait()


async def barrier(_: Events) -> None:
    barrier = asyncio.Barrier(2)
    await barrier.wait()


async def semaphore(_: Events) -> None:
    permits = asyncio.Semaphore(0)
    await permits.acquire()


async def group(_: Events) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        await asyncio.get_running_loop().create_future()


async def another_task(_: Events) -> None:
    event = asyncio.Event()
    task = asyncio.create_task(event.wait(), name="inner")
    await task


async def several(_: Events) -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    await asyncio.gather(first, second, done)


async def first_of_several(_: Events) -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    await asyncio.wait([first, second])


async def notified_condition(events: Events) -> None:
    changed = asyncio.Condition()
    events.task(changed_and_kept(changed))
    async with changed:
        await changed.wait()


async def changed_and_kept(changed: asyncio.Condition) -> None:
    await changed.acquire()
    changed.notify()
    await asyncio.get_running_loop().create_future()


async def bare_lock(_: Events) -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (queue_put, "room in Queue `queue`"),
        (queue_join, "the end of all work of Queue `queue`"),
        (condition, "a notification of Condition `self.changed`, which nobody has notified"),
        (barrier, "more tasks at Barrier `barrier`"),
        (semaphore, "a permit of Semaphore `permits`"),
        (group, "Future, which nobody has resolved"),
        (bare_lock, "Lock `lock`"),
        (a_future_in_a_slot, "Future `waiter.future`, which nobody has resolved"),
        (notified_condition, "Lock `changed._lock`"),
        (
            several,
            "Future `first`, {0} and Future `second`, {0}".format("which nobody has resolved"),
        ),
    ],
)
def test_what_is_awaited_has_a_name(body: Body, words: str) -> None:
    assert waits(body) == words


def test_other_tasks_are_named() -> None:
    said = waits_of(another_task)
    assert "    for  the task 'another_task'\n" in said
    assert "    for  the task 'inner'\n" in said
    both = waits(first_of_several)
    assert both.count("which nobody has resolved") == 2


def test_the_tasks_that_hold_a_lock_are_named() -> None:
    async def scenario(events: Events) -> None:
        lock, permits, changed = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Condition()

        async def holds(name: str) -> None:
            async with permits, lock if name == "a" else changed:
                await asyncio.get_running_loop().create_future()

        async def enters(one: Any) -> None:
            async with one:
                pass

        for name in "ab":
            events.task(holds(name), name=name)
        for name, one in {"c": permits, "d": lock, "e": changed, "f": lock}.items():
            events.task(enters(one), name=name)
        await events.join()

    failure = explore(scenario).failure
    assert failure is not None
    words = [line.strip() for line in str(failure.error).splitlines() if "held by" in line]
    assert words == [
        "for  a permit of Semaphore `one`, held by 'a' and 'b'",
        "for  Lock `one`, held by 'a'",
        "for  Lock `one._lock`, held by 'b'",
        "for  Lock `one`, held by 'a'",
    ]


def test_a_run_that_is_cut_says_what_its_tasks_wait_for() -> None:
    async def scenario(events: Events) -> None:
        events.task(events.call("query"), name="a")
        events.task(asyncio.sleep(0), name="b")
        events.task(asyncio.sleep(60), name="c")
        await events.join()

    result = explore(scenario, max_depth=1)
    assert "for  the outside call 'query'" not in result.waits
    assert "'b' waits in sleep" in result.waits
    result = explore(scenario, max_depth=2)
    assert "for  the outside call 'query'" in result.waits
    assert "for  a timer, in 60 s" in result.waits


# Threads.


def test_a_future_of_a_thread_is_reported_as_one() -> None:
    outside: Future[None] = Future()

    async def waits_for_it(_: Events) -> None:
        await asyncio.wrap_future(outside)

    failure = explore(waits_for_it).failure
    assert failure is not None
    assert failure.kind == "real I/O"
    assert "use `await events.thread(function, ...)`" in str(failure.error)
    assert "    for  a thread" in failure.about


def test_a_thread_that_ends_late_makes_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    goes_on = ThreadEvent()

    async def scenario(_: Events) -> None:
        await asyncio.wrap_future(threads.submit(goes_on.wait))

    with ThreadPoolExecutor(1) as threads:
        assert explore(scenario).failure is not None
        goes_on.set()
    assert capfd.readouterr() == ("", "")


def test_a_thread_that_calls_the_loop_is_refused() -> None:
    async def scenario(_: Events) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as threads:
            threads.submit(loop.call_soon_threadsafe, print).result()

    failure = explore(scenario).failure
    assert failure is not None
    assert failure.kind == "real I/O"


def test_a_call_in_a_thread_runs_at_each_moment() -> None:
    orders = set()

    async def scenario(events: Events) -> None:
        order: list[str] = []
        events.watch(order)

        async def user() -> None:
            order.append(await events.thread(work, order, name="work"))

        events.task(user(), name="a")
        order.append(await events.call("other", result="other"))
        await events.join()
        orders.add(tuple(order))

    def work(order: list[str], *, name: str) -> str:
        order.append(name)
        return "end"

    result = explore(scenario, stock_every=1, repeat_every=1)
    assert result.exhausted, str(result)
    assert orders == {
        ("work", "end", "other"),
        ("work", "other", "end"),
        ("other", "work", "end"),
    }


def test_a_call_in_a_thread_may_fail_and_goes_on_after_a_cancellation() -> None:
    ends: set[object] = set()
    fails = False

    async def scenario(events: Events) -> None:
        ran: list[int] = []
        events.watch(ran)
        task = events.task(
            events.thread(partial(int, "x")) if fails else events.thread(ran.append, 1),
            name="a",
            cancellable=True,
        )
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            ends.add("failed")
        else:
            ends.add("cancelled" if task.cancelled() else "ended")
            await events.call("later")
            ends.add(len(ran))

    result = explore(scenario, stock_every=1)
    assert result.exhausted, str(result)
    assert ends == {"cancelled", "ended", 0, 1}
    ends.clear()
    fails = True
    assert explore(scenario, stock_every=1).exhausted
    assert ends == {"cancelled", "failed", 0}


def test_only_functions_run_in_threads() -> None:
    async def scenario(events: Events) -> None:
        wrong: Any
        for wrong in (3, asyncio.sleep):
            with pytest.raises(TypeError, match="the work of a thread must be a plain function"):
                await events.thread(wrong)

    explore(scenario).raise_for_failure()
