"""The loop that a pool is bound to, alive and closed; its process, and a forked child."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import World, played
from tests.virtual_time import VirtualTimeLoop, run, turns

start = asyncio.create_task


def leave(main: Coroutine[Any, Any, Any], count: int = 20) -> list[asyncio.Task[Any]]:
    """Run a coroutine for some turns of a loop, close the loop, and return the unfinished tasks."""
    loop = asyncio.new_event_loop()

    async def stop() -> None:
        await turns(count)
        loop.stop()

    tasks = [loop.create_task(main), loop.create_task(stop())]
    loop.run_forever()
    assert not (tasks[0].done() and tasks[0].exception())
    left = [*asyncio.all_tasks(loop)]
    loop.close()
    inside.silence_pending(*left)
    return left


async def never(*_: object) -> Any:
    await asyncio.get_running_loop().create_future()


# Context variables.


@pytest.mark.parametrize("way", ["release", "context", "discard"])
def test_factory_and_closer_do_not_see_a_requests_context(way: str) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    async def factory() -> object:
        seen.append(request.get())
        return object()

    async def closer(_: object) -> None:
        seen.append(request.get())

    async def scenario() -> None:
        pool = AsyncResourcePool(factory, closer, max_age=10)
        request.set("of a user")
        thing = await pool.acquire()
        if way == "discard":
            await pool.discard(thing)
        else:
            await pool.release(thing)
            await asyncio.sleep(10)  # the timer does not see it either
        await turns()
        assert pool.size == 0
        assert seen == ["none", "none"]

    run(scenario())


def test_check_and_reset_do_not_see_a_requests_context() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    async def see(_: object) -> None:
        seen.append(request.get())

    async def scenario() -> None:
        pool = AsyncResourcePool(object, check=see, check_after_idle=0, reset=see)
        request.set("of a user")
        await pool.release(await pool.acquire())
        await turns()
        await pool.release(await pool.acquire())
        await turns()
        assert seen == ["none"] * 3
        await pool.close()

    run(scenario())


# Which loop.


async def given_back(call: Callable[[object], None], thing: object) -> None:
    call(thing)


def every_use(pool: AsyncResourcePool[Any], thing: object) -> list[Coroutine[Any, Any, Any]]:
    return [
        pool.acquire(),
        pool.release(thing),
        pool.discard(thing),
        pool.detach(thing),
        given_back(pool.release_nowait, thing),
        given_back(pool.discard_nowait, thing),
        pool.acquire_context().__aenter__(),
        pool.open(),
        pool.prune(),
        pool.retire_all(),
        pool.close(),
    ]


LOOPS = [asyncio.new_event_loop]  # uvloop's does not tell the thread that it runs in
if find_spec("uvloop"):
    LOOPS.append(import_module("uvloop").new_event_loop)


async def one_held_and_one_idle(pool: AsyncResourcePool[object]) -> object:
    held, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    assert await pool.acquire() is idle
    await pool.release(idle)
    return held


@pytest.mark.parametrize("new_loop", LOOPS)
def test_every_use_in_another_running_loop_is_refused(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    pool = AsyncResourcePool(object, name="db")
    with asyncio.Runner(loop_factory=new_loop) as first:
        thing = first.run(one_held_and_one_idle(pool))

        async def intrude() -> None:
            for use in every_use(pool, thing):
                with pytest.raises(ResourcePoolLoopError, match="'db' is bound to another"):
                    await use
            with pytest.raises(ResourcePoolLoopError, match="'db' is bound to another"):
                pool.terminate()

        with asyncio.Runner(loop_factory=new_loop) as second:
            second.run(intrude())
        assert (pool.in_use_count, pool.available_count) == (1, 1)
        first.run(pool.release(thing))
        first.run(pool.close())
    assert pool.closed


def test_two_loops_can_have_a_pool_each() -> None:
    async def use(pool: AsyncResourcePool[object]) -> None:
        async with pool, pool.acquire_context():
            assert pool.in_use_count == 1

    for _ in range(2):
        asyncio.run(use(AsyncResourcePool(object)))


def test_without_a_running_loop_every_use_is_refused() -> None:
    pool = AsyncResourcePool(object, name="db")
    for use in every_use(pool, object()):
        with pytest.raises(ResourcePoolLoopError, match="'db' was used without a running"):
            use.send(None)
    assert pool.size == 0


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_bound_pool_is_refused_without_a_running_loop_too(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    pool = AsyncResourcePool(object, name="db")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        thing = runner.run(one_held_and_one_idle(pool))
    for use in every_use(pool, thing):
        with pytest.raises(ResourcePoolLoopError, match="'db' was used without a running"):
            use.send(None)
    pool.terminate()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before 3.12")
def test_an_eager_task_factory_changes_nothing_for_the_pool() -> None:
    first: list[object] = []

    async def main() -> None:
        async def factory() -> object:
            if first:
                await pool.release(first.pop())
            return object()

        factory_of_tasks = getattr(asyncio, "eager_task_factory")  # noqa: B009  # since 3.12
        asyncio.get_running_loop().set_task_factory(factory_of_tasks)
        pool: AsyncResourcePool[object] = AsyncResourcePool(factory, max_size=2)
        first.append(await pool.acquire(timeout=1))
        await pool.release(await pool.acquire(timeout=1))
        await pool.close(timeout=1)

    run(main())


# A closed loop.


def test_terminate_between_two_runs_of_a_loop_closes_in_the_background() -> None:
    closed: list[object] = []

    async def closer(thing: object) -> None:
        closed.append(thing)

    pool = AsyncResourcePool(object, closer)

    async def use() -> None:
        await pool.release(await pool.acquire())

    with asyncio.Runner() as runner:
        runner.run(use())
        pool.terminate()
        assert (pool.closed, closed) == (False, [])
        runner.run(turns())
    assert (pool.closed, len(closed)) == (True, 1)


@pytest.mark.guarantees("ClosedExactlyOnce")
def test_terminate_on_a_closed_loop_calls_sync_closers() -> None:
    closed: list[object] = []
    pool = AsyncResourcePool(object, closed.append)

    async def use() -> None:
        held, idle = await pool.acquire(), await pool.acquire()
        assert held is not idle
        await pool.release(idle)

    leave(use())
    pool.terminate()
    assert (len(closed), pool.closed) == (1, True)


@pytest.mark.guarantees("CloseCompletes", "ClosedExactlyOnce")
def test_closers_whose_turn_did_not_come_are_called_by_terminate_on_a_closed_loop() -> None:
    closed: list[object] = []
    pool: AsyncResourcePool[object] = AsyncResourcePool(object, closed.append, max_size=3000)

    async def use() -> None:
        things = await asyncio.gather(*(pool.acquire() for _ in range(3000)))
        for thing in things:
            await pool.release(thing)
        await pool.retire_all()
        await turns(2)
        asyncio.get_running_loop().stop()

    for task in leave(use(), 1000):
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()  # it will never run
    assert pool.stats().closing > 1000
    pool.terminate()
    assert pool.closed
    assert len(set(closed)) == len(closed)
    given_up = pool.stats().closer_failures  # of the two batches that had tasks already
    assert len(closed) + given_up >= 3000
    assert given_up <= 128


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("kind", ["coroutine", "future", "failing"])
def test_terminate_on_a_closed_loop_counts_and_logs_closers_that_cannot_run(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def coroutine(_: object) -> None:
        pytest.fail("ran without a loop")

    class Future:
        def __init__(self, _: object) -> None: ...
        def __await__(self) -> Any: ...

    def failing(_: object) -> None:
        raise OSError("broken")

    closers: dict[str, Any] = {"coroutine": coroutine, "future": Future, "failing": failing}
    pool = AsyncResourcePool(object, closers[kind], name="db")

    async def use() -> None:
        await pool.release(await pool.acquire())

    leave(use())
    pool.terminate()
    assert (pool.closed, pool.stats().closer_failures) == (True, 1)
    reason = (
        "OSError('broken')"
        if kind == "failing"
        else "ResourcePoolError('it is asynchronous and the event loop"
    )
    assert f"pool 'db': a closer failed, its resource is abandoned: {reason}" in caplog.text


@pytest.mark.guarantees("CloseCompletes")
def test_terminate_on_a_closed_loop_ends_creations_and_fails_waiters() -> None:
    pool: AsyncResourcePool[Any] = AsyncResourcePool(never)
    left = leave(pool.acquire())
    assert (len(left), inside.states(pool)) == (2, {"creating": 1})
    pool.terminate()
    assert (pool.closed, pool.size) == (True, 0)


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("place", ["closing", "checking", "resetting", "handed"])
def test_terminate_on_a_closed_loop_leaves_nothing_behind(place: str) -> None:
    pool: AsyncResourcePool[Any] = AsyncResourcePool(
        object,
        never if place == "closing" else None,
        check=never if place == "checking" else None,
        check_after_idle=0,
        reset=never if place == "resetting" else None,
        max_size=1,
    )

    async def use() -> None:
        thing = await pool.acquire()
        if place == "handed":
            waiter = start(pool.acquire())
            await turns()
            asyncio.get_running_loop().stop()  # before the waiter runs
            await pool.release(thing)
            await waiter
        elif place == "closing":
            await pool.discard(thing)
        else:
            await pool.release(thing)
            await pool.acquire()

    left = leave(use())
    assert inside.states(pool) == {place: 1}
    pool.terminate()
    assert (pool.closed, pool.size) == (True, 0)
    left.clear()
    gc.collect()  # what was left is thrown away, and raises nothing
    assert (pool.closed, pool.size) == (True, 0)


@pytest.mark.guarantees("CloseCompletes")
def test_terminate_on_a_closed_loop_ignores_a_task_that_waited_for_a_close() -> None:
    pool = AsyncResourcePool(object)

    async def use() -> None:
        await pool.acquire()
        await pool.close()

    left = leave(use())
    assert left
    pool.terminate()
    assert pool.closed


def test_a_body_that_ends_after_its_loop_was_closed_raises_nothing() -> None:
    closed: list[object] = []
    pool = AsyncResourcePool(object, closed.append, min_size=1, max_size=1)

    async def use() -> None:
        async with pool.acquire_context():
            await never()

    left = leave(use())
    assert inside.states(pool) == {"held": 1}
    coroutine = left[0].get_coro()
    assert coroutine is not None
    with pytest.raises(GeneratorExit):
        coroutine.throw(GeneratorExit)  # as when it is thrown away
    assert len(closed) == 1, "discarded, and not replaced"
    pool.terminate()
    assert pool.closed


@pytest.mark.guarantees("FaultIsolation")
def test_a_body_that_ends_well_after_its_loop_was_closed_wakes_nobody_and_raises_nothing() -> None:
    pool = AsyncResourcePool(object, max_size=1)

    async def use() -> None:
        async with pool.acquire_context():
            start(pool.acquire())
            try:
                await never()
            except GeneratorExit:
                return

    left = leave(use())
    assert inside.states(pool) == {"held": 1}
    (coroutine,) = (task.get_coro() for task in left if "use" in repr(task))
    assert coroutine is not None
    with pytest.raises(StopIteration):
        coroutine.throw(GeneratorExit)  # as when it is thrown away
    assert inside.states(pool) == {"handed": 1}
    pool.terminate()
    assert (pool.closed, pool.size) == (True, 0)


@pytest.mark.guarantees("CloseCompletes")
def test_terminate_ends_a_closer_that_a_closed_loop_will_never_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def closer(_: object) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await pool.discard(await pool.acquire())
        await turns()

    pool = AsyncResourcePool(object, closer)
    loop = VirtualTimeLoop()
    loop.run_until_complete(main())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    with caplog.at_level(logging.WARNING):
        pool.terminate()
    assert pool.closed
    assert pool.stats().closer_failures == 1
    assert "the event loop was closed before it ended" in caplog.text
    inside.silence_pending(*tasks)


def test_acquirers_left_on_a_closed_loop_can_be_collected() -> None:
    async def factory() -> object:
        raise OSError("down")

    pool: AsyncResourcePool[object] = AsyncResourcePool(factory, min_size=1)
    loop = VirtualTimeLoop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coroutine = pool.acquire()
        loop.run_until_complete(begin(coroutine))
        loop.close()
        assert pool.stats().waiting == 1
        coroutine.close()  # GeneratorExit inside the acquire
    assert pool.stats().waiting == 0
    pool.terminate()
    assert pool.closed


async def begin(coroutine: object) -> None:
    """Run a coroutine to its first suspension, inside the loop."""
    coroutine.send(None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("failed", [False, True])
def test_a_body_that_ends_when_its_loop_is_closed_gives_back(failed: bool) -> None:
    pool: AsyncResourcePool[object] = AsyncResourcePool(object, max_size=1, reset=lambda _: None)
    leave: list[Callable[..., Coroutine[Any, Any, None]]] = []

    async def main() -> None:
        context = pool.acquire_context()
        await context.__aenter__()
        leave.append(context.__aexit__)

    asyncio.run(main())
    error = OSError() if failed else None
    with pytest.raises(StopIteration):
        leave[0](type(error) if error else None, error, None).send(None)
    assert pool.in_use_count == 0
    pool.terminate()


# Left unclosed.


@played
async def test_keeping_the_error_of_a_closer_does_not_keep_the_pool(world: World) -> None:
    errors: list[BaseException] = []

    async def fails(*_: object) -> object:
        errors.append(OSError("no"))
        raise errors[-1]

    pool = AsyncResourcePool(object, fails)
    await pool.discard(await pool.acquire())
    await pool.close()
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert len(errors) == 1
    assert reference() is None


@played
async def test_a_pool_with_armed_timers_can_be_collected(world: World) -> None:
    pool = AsyncResourcePool(object, max_age=100, max_idle_time=50, min_size=1)
    await pool.open()
    await turns()
    assert pool.available_count == 1
    reference = weakref.ref(pool)
    pools = [pool]
    del pool
    with pytest.warns(ResourceWarning, match="unclosed <AsyncResourcePool"):
        pools.clear()
    assert reference() is None
    await asyncio.sleep(1000)  # the timers fire, and find nothing


@played
async def test_a_pool_that_backs_off_can_be_collected(world: World) -> None:
    def down() -> object:
        raise OSError("down")

    pool = AsyncResourcePool(down, min_size=1)
    await pool.open()
    await turns()
    assert inside.minimum_size_upkeep(pool) == "backoff"
    assert len(inside.timers_of(pool)) == 1
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    await asyncio.sleep(1000)


class Mortal:
    """A resource that can die."""


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize("turns_before", [0, 1, 3], ids=["queued", "begun", "in the middle"])
@pytest.mark.parametrize("kind", ["creating", "checking", "resetting", "closing"])
def test_a_pool_whose_work_is_in_flight_can_be_collected(kind: str, turns_before: int) -> None:
    ended: list[str] = []
    living: list[weakref.ref[Mortal]] = []

    def work(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def body(*_: object) -> object:
            if name in (kind, "creating"):
                await asyncio.sleep(1)
            ended.append(name)
            thing = Mortal()
            living.append(weakref.ref(thing))
            return thing

        return body

    async def begin(pool: AsyncResourcePool[Any]) -> None:
        if kind == "creating":
            await pool.open()
        else:
            thing = await pool.acquire()
            ended.clear()
            await (pool.discard if kind == "closing" else pool.release)(thing)
        if kind == "checking":
            await turns()
            with pytest.raises(ResourcePoolTimeoutError):
                await pool.acquire(timeout=0)

    async def scenario() -> None:
        options: dict[str, Any] = {"reset_timeout": 5, "check_timeout": 5}
        pools = [
            AsyncResourcePool(
                work("creating"),
                work("closing"),
                check=work("checking"),
                check_after_idle=0,
                reset=work("resetting"),
                max_size=1,
                min_size=int(kind == "creating"),
                **options,
            )
        ]
        await begin(pools[0])
        await turns(turns_before)
        assert inside.states(pools[0]) == {kind: 1}
        reference = weakref.ref(pools[0])
        with pytest.warns(ResourceWarning, match="unclosed"):
            pools.clear()
        assert reference() is None
        await asyncio.sleep(100)
        gc.collect()
        assert ended[-1] == kind, "the work goes on"
        assert [thing() for thing in living if thing() is not None] == []

    run(scenario())


def test_an_unclosed_pool_with_living_resources_warns() -> None:
    pools: list[AsyncResourcePool[object]] = []

    async def scenario() -> None:
        pool = AsyncResourcePool(object, max_size=3, name="db")
        await pool.acquire()
        pools.append(pool)
        del pool
        await turns()  # until the task that created it is gone
        with pytest.warns(ResourceWarning, match=r"'db' open: size 1 of 3.*await close"):
            pools.clear()

    run(scenario())


@pytest.mark.parametrize("end", ["close", "terminate", "unused"])
def test_an_ended_or_empty_pool_does_not_warn(end: str) -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(object)
        if end != "unused":
            await pool.release(await pool.acquire())
        if end == "close":
            await pool.close()
        elif end == "terminate":
            pool.terminate()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del pool
            gc.collect()
        assert [str(warning.message) for warning in caught] == []

    run(scenario())


# Fork.


def test_after_a_fork_the_pools_of_before_are_the_parents() -> None:
    async def scenario() -> None:
        with inside.fork_of_new_pools() as fork:
            pool = AsyncResourcePool(object, name="db")
            thing = await pool.acquire()
            fork()
        for use in every_use(pool, thing):
            with pytest.raises(ResourcePoolLoopError, match="'db' belongs to the parent process"):
                await use
        with pytest.raises(ResourcePoolLoopError, match="'db' belongs to the parent process"):
            pool.terminate()
        assert pool.in_use_count == 1
        later = AsyncResourcePool(object)
        await later.release(await later.acquire())
        await later.close()

    run(scenario())


def test_the_pool_can_be_used_where_there_is_no_fork() -> None:
    code = (
        "import asyncio, os\n"
        "for name in ('fork', 'register_at_fork'):\n"
        "    if hasattr(os, name):\n"
        "        delattr(os, name)\n"
        "from nodetool.concurrency import AsyncResourcePool\n"
        "async def main():\n"
        "    async with AsyncResourcePool(object) as pool, pool.acquire_context():\n"
        "        print(pool.in_use_count)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("1\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("what", ["uses", "leaves", "drops", "new"])
def test_a_forked_child_may_use_new_pools_and_never_closes_its_parents_resources(what: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.concurrency.forking", what],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stderr == ""
    assert ended.stdout == "child ends well; parent ends well\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_fork_in_the_middle_of_a_step_fails_no_call_in_the_child() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.concurrency.forking", "steps"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stderr == ""
    assert ended.stdout == 4 * "child ends well; " + "parent ends well\n"


@played
async def test_a_context_inherited_by_a_forked_child_leaves_the_parent_s_lease_alone(
    world: World,
) -> None:
    pool = world.pool()
    failing, ending = pool.acquire_context(), pool.acquire_context()
    resources = [await failing.__aenter__(), await ending.__aenter__()]
    with inside.as_in_a_forked_child(pool):
        await failing.__aexit__(OSError, OSError(), None)  # the body's exception is not masked
        with pytest.raises(ResourcePoolLoopError, match="belongs to the parent process"):
            await ending.__aexit__(None, None, None)
    assert pool.in_use_count == 2
    for resource in resources:
        await pool.release(resource)
