"""Loop affinity alone: which loop a binding belongs to, and which calls it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
import weakref
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from nodetool.concurrency import ResourcePoolLoopError
from tests import inside
from tests.concurrency.test_stress import LOOPS, maker
from tests.inside import Binding
from tests.virtual_time import VirtualTimeLoop, run, turns

start = asyncio.create_task


def in_loop(loop: Any, call: Callable[[], object]) -> Any:
    """Call a function in a turn of a loop, and return what it returns."""

    async def main() -> object:
        return call()

    return loop.run_until_complete(main())


def in_thread(call: Callable[[], object]) -> Any:
    """Call a function in another thread, which has no loop. Return what it returns or raises."""
    results: list[object] = []

    def body() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    thread = Thread(target=body)
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("of", LOOPS)
def test_the_first_check_binds_and_only_that_loop_is_current_from_then_on(of: str) -> None:
    binding = Binding("db")
    make = maker(of)
    first, second = make(), make()
    assert (binding.loop, binding.is_current()) == (None, False)
    in_loop(first, binding.check)
    assert binding.loop == first
    assert in_loop(first, binding.is_current)
    in_loop(first, binding.check)  # again
    for refused in (binding.check, binding.bind):
        with pytest.raises(ResourcePoolLoopError, match="'db' is bound to another event loop"):
            in_loop(second, refused)
    assert not in_loop(second, binding.is_current)
    assert not binding.is_current(), "no loop runs"
    first.close()
    second.close()


def test_to_bind_twice_in_one_loop_changes_nothing() -> None:
    async def main() -> None:
        binding = Binding("db")
        binding.bind()
        before = binding.loop, binding.clock
        binding.bind()
        assert (binding.loop, binding.clock) == before
        assert binding.is_current()

    asyncio.run(main())


def test_a_loop_that_does_not_publish_its_thread_is_asked_whether_it_runs() -> None:
    class Hidden(VirtualTimeLoop):
        _thread_id = property(lambda _: None, lambda _, thread: None)

    binding = Binding("db")
    loop = Hidden()
    in_loop(loop, binding.check)
    assert in_loop(loop, binding.is_current)
    assert not binding.is_current()
    loop.close()


def test_without_a_running_loop_nothing_is_bound() -> None:
    binding = Binding("db")
    for refused in (binding.check, binding.bind, binding.refuse_strangers):
        with pytest.raises(ResourcePoolLoopError, match="'db' was used without a running event"):
            refused()
    assert binding.loop is None


def test_to_refuse_strangers_binds_no_unused_pool() -> None:
    binding = Binding("db")
    first, second = VirtualTimeLoop(), VirtualTimeLoop()
    in_loop(first, binding.refuse_strangers)
    assert binding.loop is None
    in_loop(second, binding.check)
    in_loop(second, binding.refuse_strangers)
    with pytest.raises(ResourcePoolLoopError, match="is bound to another event loop"):
        in_loop(first, binding.refuse_strangers)
    with pytest.raises(ResourcePoolLoopError, match="without a running event loop"):
        binding.refuse_strangers()
    first.close()
    second.close()


@pytest.mark.parametrize("of", LOOPS)
def test_another_thread_sees_the_loop_run_elsewhere(of: str) -> None:
    binding = Binding("db")
    loop = maker(of)()

    async def main() -> None:
        assert not binding.runs_elsewhere(), "it is unbound"
        binding.check()
        assert not binding.runs_elsewhere(), "it runs here"
        assert not binding.is_refused()
        assert in_thread(binding.runs_elsewhere) is True
        assert in_thread(binding.is_current) is False
        assert in_thread(binding.is_refused) is True
        assert isinstance(in_thread(binding.check), ResourcePoolLoopError)

    loop.run_until_complete(main())
    assert not binding.runs_elsewhere(), "it does not run"
    loop.close()


def test_a_call_is_not_refused_when_the_loop_has_stopped_and_no_other_runs() -> None:
    binding = Binding("db")
    first, second = VirtualTimeLoop(), VirtualTimeLoop()
    in_loop(first, binding.check)
    assert not binding.is_refused(), "a destructor may run between two runs of the loop"
    assert in_loop(second, binding.is_refused)
    first.close()
    assert not binding.is_refused()
    second.close()


def test_a_binding_is_over_when_its_loop_is_closed() -> None:
    binding = Binding("db")
    assert not binding.is_over()
    loop = VirtualTimeLoop()
    in_loop(loop, binding.check)
    assert not binding.is_over()
    loop.close()
    assert binding.is_over()


# The clock and the futures.


def test_the_clock_of_a_stock_loop_is_read_without_the_loop() -> None:
    binding = Binding("db")
    assert binding.clock is time.monotonic, "before the first use, too"
    loop = asyncio.SelectorEventLoop()
    in_loop(loop, binding.check)
    assert binding.clock is time.monotonic
    assert in_loop(loop, binding.create_future).get_loop() is loop
    loop.close()


def test_the_clock_and_the_futures_of_any_other_loop_are_its_own() -> None:
    class Future(asyncio.Future[Any]):
        pass

    class Loop(VirtualTimeLoop):
        def create_future(self) -> Future:
            return Future(loop=self)

    async def main() -> None:
        binding = Binding("db")
        binding.check()
        loop = asyncio.get_running_loop()
        before = binding.clock()
        assert before == loop.time()
        await asyncio.sleep(5)
        assert binding.clock() == before + 5
        assert type(binding.create_future()) is Future

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


# Timers.


class Owner:
    """An object whose method a timer calls."""

    variable = contextvars.ContextVar("variable", default="empty")

    def __init__(self) -> None:
        self.seen: list[str] = []

    def note(self) -> None:
        self.seen.append(self.variable.get())


def test_a_timer_calls_its_method_with_empty_context_variables() -> None:
    async def main() -> None:
        Owner.variable.set("of the test")
        binding, owner = Binding("db"), Owner()
        assert binding.call_later(1, owner.note) is None, "it is unbound"
        binding.check()
        assert binding.call_later(1, owner.note) is not None
        cancelled = binding.call_later(1, owner.note)
        assert cancelled is not None
        cancelled.cancel()
        await asyncio.sleep(2)
        assert owner.seen == ["empty"]

    run(main())


def test_a_timer_does_not_keep_the_object_of_its_method_alive() -> None:
    async def main() -> None:
        binding, owner = Binding("db"), Owner()
        binding.check()
        binding.call_later(1, owner.note)
        reference, seen = weakref.ref(owner), owner.seen
        del owner
        gc.collect()
        assert reference() is None
        await asyncio.sleep(2)
        assert seen == []

    run(main())


def test_no_timer_is_set_on_a_closed_loop() -> None:
    binding = Binding("db")
    loop = VirtualTimeLoop()
    in_loop(loop, binding.check)
    loop.close()
    assert binding.call_later(1, Owner().note) is None


# Forks.


def test_a_forked_child_gives_up_every_binding_that_was_used() -> None:
    with inside.fork_of_new_pools() as fork:
        used, unused = Binding("used"), Binding("unused")
        loop = VirtualTimeLoop()
        in_loop(loop, used.check)
        fork()
        assert (used.forked, used.loop) == (True, None)
        assert used.is_refused()
        for refused in (used.check, used.bind, used.refuse_strangers):
            with pytest.raises(ResourcePoolLoopError, match="belongs to the parent process"):
                in_loop(loop, refused)
        assert used.call_later(1, Owner().note) is None
        in_loop(loop, unused.check)
        assert (unused.forked, unused.loop) == (False, loop)
        loop.close()


def test_the_list_for_forks_keeps_no_binding_alive() -> None:
    with inside.fork_of_new_pools() as fork:
        reference = weakref.ref(Binding("db"))
        gc.collect()
        assert reference() is None
        fork()


def test_a_task_of_the_bound_loop_passes_the_check_at_any_time() -> None:
    async def main() -> None:
        binding = Binding("db")
        binding.check()
        tasks = [start(asyncio.sleep(0)) for _ in range(3)]
        for task in tasks:
            task.add_done_callback(lambda _: binding.check())
        await turns()
        assert all(task.done() for task in tasks)

    run(main())
