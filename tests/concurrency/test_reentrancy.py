"""Calls that arrive in the middle of a step, from destructors and from garbage collection.

Such a call is deferred until the step and its effects are complete.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    PoolEvent,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.reentrancy.actions import Garbage
from tests.virtual_time import run


class Hooked:
    """A resource whose destructor calls a hook."""

    hook: Callable[[], None] = staticmethod(lambda: None)

    def __del__(self) -> None:
        self.hook()


def giving_back(pool: AsyncResourcePool[Any], resource: object) -> Callable[[], None]:
    """Return a function that releases a resource within one turn of the loop."""

    def give_back() -> None:
        with pytest.raises(StopIteration):
            pool.release(resource).send(None)

    return give_back


@pytest.mark.guarantees("OnlyFitHandedOut", "NothingAfterClose", "CloseCompletes")
@pytest.mark.parametrize("how", ["retire_all", "close"])
def test_a_resource_released_within_the_step_that_retires_it_is_closed(how: str) -> None:
    hooks: list[Callable[[], None]] = []

    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=2)
        idle, held = await pool.acquire(), await pool.acquire()
        await pool.release(idle)
        hooks.append(giving_back(pool, held))
        if how == "retire_all":
            await pool.retire_all()
            assert pool.size == 0
            assert await pool.acquire() is not held
            pool.terminate()
        else:
            await pool.close()
        assert not hooks
        assert pool.closed

    with inside.after_each_start_of_closing(hooks):
        run(main())


@pytest.mark.guarantees("NothingLost", "NothingAfterClose")
def test_a_release_within_the_step_of_terminate_is_refused() -> None:
    hooks: list[Callable[[], None]] = []

    async def main() -> None:
        closed: list[object] = []
        pool = AsyncResourcePool(object, closed.append, max_size=2)
        idle, held = await pool.acquire(), await pool.acquire()
        await pool.release(idle)
        refused: list[str] = []

        def give_back() -> None:
            with pytest.raises(InvalidReleaseError) as info:
                pool.release(held).send(None)
            refused.append(str(info.value))

        hooks.append(give_back)
        pool.terminate()
        assert "forgotten by terminate()" in refused[0]
        await asyncio.sleep(1)
        assert (pool.closed, closed) == (True, [idle])

    with inside.after_each_start_of_closing(hooks):
        run(main())


@pytest.mark.guarantees("NothingAfterClose", "CloseCompletes", "NoDoubleRelease")
def test_what_a_destructor_gives_back_while_terminate_forgets_is_forgotten_already() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Hooked, max_size=2)
        dying, held = await pool.acquire(), await pool.acquire()
        refused: list[str] = []

        def give_back() -> None:
            with pytest.raises(InvalidReleaseError) as info:
                pool.release(held).send(None)
            refused.append(str(info.value))

        dying.hook = give_back
        del dying
        pool.terminate()
        assert len(refused) == 1
        assert "forgotten by terminate()" in refused[0]
        with pytest.raises(ResourcePoolClosedError):
            await pool.acquire()
        await pool.close()
        assert pool.closed

    run(main())


@pytest.mark.guarantees("OnlyFitHandedOut")
def test_what_a_destructor_gives_back_while_all_is_retired_is_closed() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Hooked, max_size=2)
        dying, held = await pool.acquire(), await pool.acquire()
        released: list[int] = []

        def give_back() -> None:
            released.append(pool.stats().released)
            with pytest.raises(StopIteration):
                pool.release(held).send(None)

        dying.hook = give_back
        await pool.release(dying)
        del dying
        await pool.retire_all()
        assert released == [1], "each snapshot is consistent"
        assert (pool.size, pool.stats().released) == (0, 2)
        assert await pool.acquire() is not held
        pool.terminate()

    run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost", "OneOutcome")
@pytest.mark.parametrize("timeout", [0, 1])
def test_an_acquire_gets_what_a_destructor_gives_back_within_its_first_step(timeout: int) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Hooked, max_size=2, max_idle_time=1)
        dying, held = await pool.acquire(), await pool.acquire()
        await pool.release(dying)
        dying.hook = giving_back(pool, held)
        del dying
        loop: Any = asyncio.get_running_loop()
        loop.now += 2  # it is overdue, and the timer has not run
        assert await pool.acquire(timeout) is held
        await pool.release(held)
        await pool.close()

    run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost", "OneOutcome")
@pytest.mark.parametrize("checks", [False, True], ids=["without a check", "with a check"])
def test_an_acquire_gets_what_garbage_gives_back_within_the_step_that_queues_it(
    checks: bool,
) -> None:
    hooks: list[Callable[[], None]] = []

    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=2, check=(lambda _: True) if checks else None)
        held = await pool.acquire()
        hooks.append(giving_back(pool, held))
        assert await pool.acquire(timeout=1) is held
        assert not hooks
        await pool.release(held)
        await pool.close()

    with inside.before_each_start_of_creations(hooks):
        run(main())


def test_a_listener_ends_the_pool_while_a_context_is_entered_or_left() -> None:
    async def main(kind: str) -> None:
        def listen(event: PoolEvent) -> None:
            if event.kind == kind:
                pool.terminate()

        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, listener=listen)
        async with pool.acquire_context():
            pass
        assert pool.closed
        with pytest.raises(ResourcePoolClosedError):
            await pool.acquire()

    for kind in ("wait", "use"):
        run(main(kind))


def test_an_idle_resource_is_forgotten_if_a_listener_terminates_as_a_context_takes_it() -> None:
    async def main() -> None:
        armed: list[bool] = []

        def listen(event: PoolEvent) -> None:
            if event.kind == "wait" and armed:
                pool.terminate()

        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, listener=listen)
        await pool.release(await pool.acquire())
        armed.append(True)
        async with pool.acquire_context() as resource:
            assert resource is not None
            assert pool.closed
        with pytest.raises(InvalidReleaseError):
            await pool.release(resource)

    run(main())


def test_a_listener_may_terminate_the_pool_when_a_waiter_is_cancelled() -> None:
    async def main() -> None:
        def listen(event: PoolEvent) -> None:
            if event.outcome == "cancelled":
                pool.terminate()

        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, listener=listen)
        await pool.acquire()
        waiter = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert pool.closed

    run(main())


def test_a_release_in_the_middle_of_a_step_is_reset_by_a_task_of_the_pool() -> None:
    async def main() -> None:
        reset: list[object] = []
        held: list[Any] = []

        def listen(event: PoolEvent) -> None:
            if event.kind == "wait" and held:
                giving_back(pool, held.pop())()

        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            object, max_size=2, reset=reset.append, listener=listen
        )
        first = await pool.acquire()
        held.append(first)
        second = await pool.acquire()
        for _ in range(5):
            await asyncio.sleep(0)
        assert reset == [first]
        assert pool.available_count == 1
        await pool.release(second)
        await pool.close()

    run(main())


def test_a_listener_ends_the_pool_when_a_resource_is_released() -> None:
    async def main() -> None:
        def listen(event: PoolEvent) -> None:
            if event.kind == "use":
                pool.terminate()

        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, listener=listen)
        await pool.release(await pool.acquire())
        assert pool.closed

    run(main())


@pytest.mark.guarantees("NoDoubleRelease", "NothingLost")
@pytest.mark.parametrize("way", ["release", "discard", "detach"])
def test_a_lease_whose_context_ended_within_the_step_is_not_given_back_again(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        context: Any = None
        refused: list[str] = []

        def listen(event: PoolEvent) -> None:
            if event.kind == "wait" and context is not None and not refused:
                with pytest.raises(StopIteration):
                    context.__aexit__(None, None, None).send(None)
                with pytest.raises(InvalidReleaseError) as info:
                    getattr(pool, way)(held).send(None)
                refused.append(str(info.value))

        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=2, listener=listen)
        entered = pool.acquire_context()
        held = await entered.__aenter__()
        context = entered
        await pool.acquire()
        assert len(refused) == 1
        assert "it was released already" in refused[0]
        stats = pool.stats()
        assert (stats.idle, stats.in_use, stats.released) == (1, 1, 1)
        pool.terminate()

    run(main())
    assert not caplog.records


@pytest.mark.guarantees("NoDoubleRelease", "NothingLost")
def test_a_context_ends_only_once_within_a_step(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        contexts: list[Any] = []

        def listen(event: PoolEvent) -> None:
            if event.kind == "wait" and contexts:
                giving_back(pool, held)()
                with pytest.raises(StopIteration):
                    contexts.pop().__aexit__(None, None, None).send(None)

        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=2, listener=listen)
        context = pool.acquire_context()
        held = await context.__aenter__()
        contexts.append(context)
        await pool.acquire()
        assert not contexts
        assert (pool.stats().idle, pool.stats().released) == (1, 1)
        pool.terminate()

    run(main())
    assert not caplog.records


@pytest.mark.guarantees("NothingLost", "NoDoubleRelease", "NothingAfterClose")
@pytest.mark.parametrize("way", ["release", "discard", "detach", "context"])
def test_terminate_does_not_forget_what_is_given_back_in_the_same_step(way: str) -> None:
    async def main() -> None:
        def listen(event: PoolEvent) -> None:
            if event.kind == "wait" and held:
                pool.terminate()
                give_back = (
                    context.__aexit__(None, None, None)
                    if way == "context"
                    else getattr(pool, way)(held.pop())
                )
                with pytest.raises(StopIteration):
                    give_back.send(None)

        closed: list[object] = []
        held: list[object] = []
        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            object, closed.append, max_size=2, listener=listen
        )
        context = pool.acquire_context()
        first = await (context.__aenter__() if way == "context" else pool.acquire())
        held.append(first)
        await pool.acquire()
        await asyncio.sleep(1)
        assert pool.closed
        assert (first in closed) == (way != "detach")
        stats = pool.stats()
        assert stats.released + stats.discarded + stats.detached == 1

    run(main())


@pytest.mark.guarantees("NothingLost", "NoDoubleRelease")
@pytest.mark.parametrize("way", ["release", "context", "discard"])
def test_a_deferred_call_left_by_an_interruption_runs_before_the_next_call(way: str) -> None:
    async def main() -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        def step() -> None:
            inside.defer(pool, interrupt)
            giving_back(pool, first)()

        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=2)
        first = await pool.acquire()
        context = pool.acquire_context()
        second = await (context.__aenter__() if way == "context" else pool.acquire())
        with pytest.raises(KeyboardInterrupt):
            inside.defer(pool, step)
        # No look at the numbers here: it would run the deferred calls.
        with pytest.raises(InvalidReleaseError, match="released already"):
            await pool.release(first)
        if way == "context":
            await context.__aexit__(None, None, None)
        else:
            await getattr(pool, way)(second)
        stats = pool.stats()
        assert stats.released + stats.discarded == 2
        pool.terminate()

    run(main())


@pytest.mark.guarantees("NothingLost", "NoDoubleRelease")
@pytest.mark.parametrize("debug", [False, True])
def test_the_end_of_a_context_is_no_call_of_the_task_that_runs_at_the_time(debug: bool) -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=1, debug=debug)
        await pool.release(await pool.acquire())
        junk: list[Any] = []

        async def use() -> None:
            async with pool.acquire_context():
                await asyncio.get_running_loop().create_future()

        async def start() -> None:
            coroutine = use()
            coroutine.send(None)
            junk.append(coroutine)
            del coroutine
            await asyncio.sleep(10)

        starter = asyncio.create_task(start())
        await asyncio.sleep(0)
        assert pool.in_use_count == 1
        junk.clear()  # the context ends in this task, a former holder
        assert pool.in_use_count == 0
        await pool.release(await pool.acquire(timeout=1))
        starter.cancel()
        await pool.close()

    run(main())


@pytest.mark.guarantees("NothingLost", "WaiterServed")
def test_an_acquire_closed_during_a_check_leaves_the_check_alone() -> None:
    async def main() -> None:
        ends: list[str] = []

        async def check(_: object) -> None:
            try:
                await asyncio.sleep(1)
            finally:
                ends.append("ended")

        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            object, max_size=1, check=check, check_after_idle=0
        )
        resource = await pool.acquire()
        await pool.release(resource)
        call: Any = pool.acquire()
        call.send(None)
        await asyncio.sleep(0.5)
        call.close()
        assert (pool.stats().waiting, ends) == (0, [])
        assert await pool.acquire(timeout=10) is resource
        assert ends == ["ended"], "the next acquirer profits from it"
        pool.terminate()

    run(main())


@pytest.mark.untraced
@pytest.mark.guarantees("CountsAgree", "OneOutcome")
@pytest.mark.parametrize("question", ["acquire", "close", "numbers"])
def test_debug_mode_blames_no_question_for_a_call_nested_in_it(question: str) -> None:
    async def ask(pool: AsyncResourcePool[Any]) -> None:
        with suppress(ResourcePoolTimeoutError):
            if question == "acquire":
                await pool.acquire(timeout=0)
            elif question == "close":
                await pool.close(timeout=0)
            else:
                str([pool.stats(), pool.gauges(), pool.size, repr(pool)])

    async def main() -> None:
        nested = 0
        for threshold in range(1, 200):
            pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=2, debug=True)
            held, _ = await pool.acquire(), await pool.acquire()
            waiters = [asyncio.create_task(pool.acquire()) for _ in range(2)]
            await asyncio.sleep(0)
            gc.collect()
            gc.disable()
            Garbage(giving_back(pool, held))
            gc.set_threshold(threshold, 1, 1)
            gc.enable()
            await ask(pool)
            gc.set_threshold(*before)
            nested += pool.stats().released
            gc.collect()
            pool.terminate()
            await asyncio.gather(*waiters, return_exceptions=True)
        assert nested > 10, "the collector hardly ever ran in the question"

    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    try:
        run(main())
    finally:
        gc.set_threshold(*before)
        gc.enable()
        gc.unfreeze()


@pytest.mark.guarantees("CountsAgree")
def test_a_snapshot_is_that_of_no_step_in_the_middle() -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=2)
        held = await pool.acquire()
        hooks = [giving_back(pool, held)]
        with inside.before_statistics(hooks):
            stats = pool.stats()
        assert not hooks
        assert (stats.in_use, stats.idle, stats.released) == (1, 0, 0)
        assert pool.stats().released == 1
        pool.terminate()

    run(main())


@pytest.mark.guarantees("NothingLost", "CloseCompletes")
@pytest.mark.parametrize("end", ["close", "collector"])
def test_a_context_of_a_closed_coroutine_is_reset_by_a_task_of_the_pool(end: str) -> None:
    async def main() -> None:
        reset: list[object] = []

        async def clean(resource: object) -> None:
            await asyncio.sleep(1)
            reset.append(resource)

        pool: AsyncResourcePool[Any] = AsyncResourcePool(
            object, max_size=1, reset=clean, discard_on=OSError
        )
        await pool.release(await pool.acquire())
        await asyncio.sleep(2)

        async def use() -> None:
            async with pool.acquire_context():
                await asyncio.get_running_loop().create_future()

        coroutine = use()
        coroutine.send(None)
        if end == "close":
            coroutine.close()
        del coroutine
        await asyncio.sleep(2)
        assert len(reset) == 2
        assert pool.available_count == 1
        await pool.close()

    run(main())


@pytest.mark.guarantees("DeadlineKept")
@pytest.mark.parametrize("name", ["clock", "create_future", "loop", "owner"])
def test_a_call_nested_in_the_first_use_finds_a_pool_that_is_bound_or_unbound(name: str) -> None:
    async def main() -> None:
        async def hang() -> None:
            await asyncio.sleep(3600)

        pool: AsyncResourcePool[Any] = AsyncResourcePool(hang, max_size=1)
        ended: list[str] = []

        def drive(coroutine: Coroutine[Any, Any, object]) -> None:
            try:
                awaited = coroutine.send(None)
            except StopIteration:
                ended.append("done")
            except Exception as error:
                ended.append(type(error).__name__)
            else:
                awaited.add_done_callback(lambda _: drive(coroutine))

        hooks: list[Callable[[], None]] = [
            lambda: drive(pool.acquire(timeout=0.2)),
            lambda: drive(pool.prune()),
        ]
        with (
            inside.before_setting_of_binding(name, hooks),
            pytest.raises(ResourcePoolTimeoutError),
        ):
            await pool.acquire(timeout=0.5)
        assert not hooks
        assert ended == ["done", "ResourcePoolTimeoutError"]
        pool.terminate()

    run(main())


@pytest.mark.guarantees("CountsAgree")
def test_debug_mode_blames_no_question_nested_in_a_step() -> None:
    async def main() -> None:
        pool: AsyncResourcePool[Any] = AsyncResourcePool(object, max_size=2, debug=True)
        seen: list[str] = []
        with inside.before_each_start_of_creations([lambda: seen.append(repr(pool.stats()))]):
            await pool.acquire()
        assert len(seen) == 1
        pool.terminate()

    run(main())
