"""The tracker of leases: alone, on a machine without a pool, and as pools use it."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.inside import NEVER, Slot, Waiter, step_state, take_work
from tests.virtual_time import run

start = asyncio.create_task


class Lab:
    """A machine with a tracker. Each step is taken in the task that calls it.

    It stands for the driver, too.
    """

    def __init__(self, leak_threshold: float = NEVER, **options: Any) -> None:
        options = {"stacks": True, "refuses": True, **options}
        self.machine, self.tracker = inside.tracked_machine("db", 2, leak_threshold, **options)
        self.nested = False
        stands_for_driver: Any = self
        self._find = self.tracker.finder(stands_for_driver)

    def is_nested(self) -> bool:
        """Tell whether a step is in progress."""
        return self.nested

    async def lease(self) -> Slot[Any]:
        """Take the steps of an acquire."""
        got = self.machine.acquire(0.0)
        if isinstance(got, Waiter):
            for creation in take_work(self.machine):
                self.machine.create_succeeded(creation, object(), 0.0)
            resumed = self.machine.resume(got, 0.0)
            assert isinstance(resumed, Slot)
            got = resumed
        return got

    async def give_back(self, slot: Slot[Any], way: str = "release") -> None:
        """Take the step that ends a lease."""
        step: Callable[..., object] = getattr(self.machine, way)
        if step_state(slot) == "held":
            assert self.find(slot) is slot
        step(slot, *([0.0] if way == "release" else []))
        while self.tracker.deferred:
            self.tracker.deferred.popleft()()

    def find(self, slot: Slot[Any]) -> Slot[Any] | None:
        """Find the slot of a resource, as `release` does."""
        found: Slot[Any] | None = self._find(id(slot.resource))
        return found

    def describe(self, slot: Slot[Any]) -> str:
        """Return the description of a holder without its duration and its stack."""
        return self.tracker.holder(slot).strip().split(" for ")[0]


def test_the_task_of_the_step_that_grants_a_lease_is_the_holder() -> None:
    async def main() -> None:
        lab = Lab()
        slot = await start(lab.lease(), name="A")
        assert lab.describe(slot) == "held by task 'A'"
        await lab.give_back(slot)
        assert lab.describe(slot) == "was last held by task 'A'"
        await start(lab.lease(), name="B")
        assert lab.describe(slot) == "held by task 'B'"

    run(main())


def test_a_lease_after_a_check_begins_when_the_acquirer_goes_on() -> None:
    async def main() -> None:
        lab = Lab(check_after_idle=0.0)
        slot = await lab.lease()
        await lab.give_back(slot)

        async def acquire() -> None:
            waiter: Any = lab.machine.acquire(0.0)
            assert take_work(lab.machine) == [slot]
            lab.machine.check_passed(slot, 0.0)
            assert lab.describe(slot).startswith("was last held by")
            assert lab.machine.resume(waiter, 0.0) is slot

        await start(acquire(), name="A")
        assert lab.describe(slot) == "held by task 'A'"

    run(main())


def test_what_is_lent_is_described_for_messages() -> None:
    async def main() -> None:
        lab = Lab()
        first = await start(lab.lease(), name="A")
        await start(lab.lease(), name="B")
        text = lab.tracker.holders(lab.machine.lent())
        assert text.count("held by task") == 2
        assert text.index("'A'") < text.index("'B'")
        assert "in lease" in text, "where it was acquired"
        await lab.give_back(first)
        assert "'A'" not in lab.tracker.holders(lab.machine.lent())

    run(main())


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("way", ["release", "discard", "detach"])
def test_a_former_holder_is_refused_while_another_live_task_holds_the_resource(way: str) -> None:
    async def main() -> None:
        lab = Lab()
        slot = await lab.lease()
        await lab.give_back(slot)
        over = asyncio.Event()

        async def hold() -> None:
            assert await lab.lease() is slot
            await over.wait()

        other = start(hold(), name="other")
        await asyncio.sleep(0)
        before = lab.machine.counts(), lab.machine.statistics()
        with pytest.raises(InvalidReleaseError) as info:
            await lab.give_back(slot, way)
        message = str(info.value)
        assert "this task had it before, and another task holds it now" in message
        assert message.count("held by task 'other'") == 1
        assert (lab.machine.counts(), lab.machine.statistics()) == before
        lab.nested = True
        assert lab.find(slot) is slot, "a nested call is not a call of the current task"
        lab.nested = False
        over.set()
        await other
        await lab.give_back(slot, way)  # a holder that is done may have passed it on

    run(main())


@pytest.mark.parametrize("way", ["release", "discard", "detach"])
def test_a_task_that_never_held_the_resource_may_give_it_back(way: str) -> None:
    async def main() -> None:
        lab = Lab()
        slot = await lab.lease()
        await start(lab.give_back(slot, way))
        assert step_state(slot) in ("idle", "closing", "free")

    run(main())


def test_a_refused_second_release_names_the_last_holder() -> None:
    async def main() -> None:
        lab = Lab()
        slot = await start(lab.lease(), name="A")
        await lab.give_back(slot)
        with pytest.raises(
            InvalidReleaseError, match=r"is idle now(?s:.*)was last held by task 'A'"
        ):
            await lab.give_back(slot)

    run(main())


def test_other_refusals_are_left_alone() -> None:
    async def main() -> None:
        lab = Lab()
        slot = await lab.lease()
        with pytest.raises(InvalidReleaseError, match=r"closer_ended is impossible in state held$"):
            lab.machine.closer_ended(slot)

    run(main())


@pytest.mark.parametrize("end", ["closer", "detach", "terminate"])
def test_nothing_is_kept_of_a_resource_that_has_left(end: str) -> None:
    async def main() -> None:
        lab = Lab()
        slot = await lab.lease()
        if end == "closer":
            await lab.give_back(slot, "discard")
            (closing,) = take_work(lab.machine)
            lab.machine.closer_ended(closing)
        elif end == "detach":
            await lab.give_back(slot, "detach")
        else:
            lab.machine.terminate()
        assert step_state(slot) == "free"
        reference = weakref.ref(lab.tracker)
        del lab
        gc.collect()
        assert reference() is None, "a slot keeps no tracker alive"

    run(main())


def test_the_tracker_keeps_no_task_alive() -> None:
    async def main() -> None:
        lab = Lab()
        task = start(lab.lease())
        slot = await task
        reference = weakref.ref(task)
        del task
        await asyncio.sleep(0)  # the present turn of the loop has it, too
        gc.collect()
        assert reference() is None
        assert "held by task" in lab.tracker.holder(slot)
        await lab.give_back(slot)

    run(main())


def test_outside_of_a_task_the_holder_is_no_task() -> None:
    async def main() -> Lab:
        return Lab()

    lab = run(main())
    with pytest.raises(StopIteration) as info:
        lab.lease().send(None)
    assert lab.describe(info.value.value) == "held by no task"


# Leaks.


def test_a_long_lease_is_logged_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        lab = Lab(leak_threshold=10.0)
        slot = await start(lab.lease(), name="A")
        await asyncio.sleep(9)
        assert not caplog.records
        await asyncio.sleep(20)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        text = record.getMessage()
        assert "is held for more than leak_threshold=10 s" in text
        assert "held by task 'A'" in text
        await lab.give_back(slot)
        assert "a lease ended 19.0 s after the leak warning" in caplog.messages[1]
        assert "was last held by task 'A' for 29.000 s" in caplog.messages[1]

    run(main())
    assert len(caplog.records) == 2


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("end", ["release", "discard", "detach", "terminate"])
def test_a_lease_that_has_ended_is_no_leak(
    end: str, refuses: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        lab = Lab(leak_threshold=10.0, refuses=refuses)
        slot = await lab.lease()
        await lab.lease()
        if end == "terminate":
            lab.machine.terminate()
        else:
            await lab.give_back(slot, end)
        await asyncio.sleep(20)
        assert inside.pending_timers() == [], "one timer looks at all leases"

    run(main())
    assert len(caplog.records) == (end != "terminate"), "the other lease goes on"


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("end", ["release", "discard", "detach", "terminate"])
def test_each_end_of_a_lease_after_its_warning_is_logged(
    end: str, refuses: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        lab = Lab(leak_threshold=10.0, refuses=refuses)
        slot = await start(lab.lease(), name="A")
        await asyncio.sleep(15)
        assert len(caplog.messages) == 1
        if end == "terminate":
            lab.machine.terminate()
            lab.tracker.run(lambda: None)  # the calls that the step has deferred
        else:
            await lab.give_back(slot, end)
        assert "a lease ended 5.0 s after the leak warning" in caplog.messages[1]
        assert "was last held by task 'A' for 15.000 s" in caplog.messages[1]

    run(main())


def test_each_lease_gets_its_warning_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        lab = Lab(leak_threshold=10.0, refuses=False, stacks=False)
        first = await start(lab.lease(), name="A")
        await asyncio.sleep(4)
        second = await start(lab.lease(), name="B")
        assert len(inside.pending_timers()) == 1
        await asyncio.sleep(6.1)
        assert len(caplog.records) == 1
        assert "held by task 'A' for 10.000 s" in caplog.messages[0]
        await asyncio.sleep(4)
        assert len(caplog.records) == 2
        assert "held by task 'B' for 10.000 s" in caplog.messages[1]
        await lab.give_back(first)
        assert "a lease ended 4.1 s after the leak warning" in caplog.messages[2]
        await lab.give_back(second, "discard")
        assert "a lease ended 0.1 s after the leak warning" in caplog.messages[3]
        again = await lab.lease()
        assert again is first
        await lab.give_back(again)
        await asyncio.sleep(60)

    run(main())
    assert len(caplog.records) == 4


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("debug", [False, True])
def test_a_lease_that_a_logging_handler_ends_in_time_gets_no_warning(
    debug: bool, again: bool
) -> None:
    messages: list[str] = []
    things: list[object] = []

    def finish(call: Coroutine[Any, Any, object]) -> None:
        with pytest.raises(StopIteration):
            call.send(None)

    def emit(record: logging.LogRecord) -> None:
        messages.append(record.getMessage())
        if len(messages) == 1:
            finish(pool.release(things[1]))
            if again:
                finish(pool.acquire())

    handler = logging.Handler()
    handler.emit = emit  # type: ignore[method-assign]
    logger = logging.getLogger("nodetool.concurrency.pool")

    async def main() -> None:
        things.extend([await pool.acquire() for _ in range(2)])
        await asyncio.sleep(10.5)
        await pool.release(things[0])

    pool: AsyncResourcePool[object] = AsyncResourcePool(object, leak_threshold=10, debug=debug)
    logger.addHandler(handler)
    try:
        run(main())
    finally:
        logger.removeHandler(handler)
    assert [message.count("is held for more than") for message in messages] == [1, 0]
    assert "a lease ended 0.5 s after the leak warning" in messages[1]
    pool.terminate()


def test_a_tracker_whose_pool_is_gone_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        lab = Lab(leak_threshold=10.0)
        await lab.lease()
        tracker = lab.tracker
        del lab
        gc.collect()
        await asyncio.sleep(20)
        assert tracker is not None

    run(main())
    assert not caplog.records


# In a pool.


def tracked_pool(**options: Any) -> AsyncResourcePool[Any]:
    return AsyncResourcePool(object, **{"name": "db", "leak_threshold": 10, **options})


async def acquire_here(pool: AsyncResourcePool[Any]) -> object:
    return await pool.acquire()


@pytest.mark.parametrize(
    ("options", "is_tracked"),
    [
        ({"leak_threshold": None}, False),
        ({"leak_threshold": 10}, True),
        ({"leak_threshold": math.inf}, True),
        ({"leak_threshold": None, "leak_stack": True}, True),
        ({"leak_threshold": None, "debug": True}, True),
    ],
)
def test_a_pool_tracks_leases_on_request(options: dict[str, Any], is_tracked: bool) -> None:
    assert inside.is_tracked(tracked_pool(**options)) == is_tracked


@pytest.mark.parametrize("bad", [None, 1, "yes"])
def test_leak_stack_is_a_flag(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^leak_stack must be True or False, not "):
        tracked_pool(leak_stack=bad)


def test_without_debug_mode_any_task_may_release() -> None:
    async def main() -> None:
        async with tracked_pool(max_size=1) as pool:
            resource = await pool.acquire()
            await pool.release(resource)
            await start(acquire_here(pool))
            await pool.release(resource)

    run(main())


def test_messages_name_the_holders(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = tracked_pool(max_size=1, leak_stack=True)
        resource = await start(acquire_here(pool), name="A")
        with pytest.raises(ResourcePoolTimeoutError) as late:
            await pool.acquire(timeout=1)
        assert "held by task 'A' for 1.000 s, acquired at:" in str(late.value)
        assert "in acquire_here\n    return await pool.acquire()" in str(late.value)
        with pytest.raises(ResourcePoolTimeoutError, match="held by task 'A'"):
            await pool.close(timeout=6)
        assert "held by task 'A'" in caplog.messages[0], "the warning about the wait"
        await pool.release(resource)
        await pool.close()

    run(main())


def test_a_second_release_names_the_last_holder() -> None:
    async def main() -> None:
        async with tracked_pool() as pool:
            resource = await start(acquire_here(pool), name="A")
            await asyncio.sleep(3)
            await pool.release(resource)
            with pytest.raises(InvalidReleaseError, match="idle now") as refused:
                await pool.release(resource)
            assert "was last acquired by task 'A', 3.000 s ago" in str(refused.value)

    run(main())


def test_the_leases_can_be_listed() -> None:
    async def main() -> None:
        async with tracked_pool(leak_stack=True) as pool:
            assert pool.leases() == []
            first = await start(acquire_here(pool), name="A")
            await asyncio.sleep(2)
            async with pool.acquire_context() as second:
                one, two = pool.leases()
                assert (one.resource, one.holder, one.seconds) == (first, "task 'A'", 2)
                assert (two.resource, two.seconds) == (second, 0)
                assert one.stack.endswith("in acquire_here\n    return await pool.acquire()\n")
                assert "in main" in two.stack
                assert "asyncio" not in one.stack + two.stack, "the stack ends with the user's code"
            assert len(pool.leases()) == 1
            await pool.release(first)
        assert pool.leases() == []

    run(main())


def test_a_pool_that_does_not_track_has_no_list_of_leases() -> None:
    with pytest.raises(ResourcePoolError, match=r"does not track leases: make it with leak_thres"):
        tracked_pool(leak_threshold=None).leases()


def test_a_deep_stack_is_cut() -> None:
    async def deep(pool: AsyncResourcePool[Any], depth: int) -> object:
        return await deep(pool, depth - 1) if depth else await pool.acquire()

    async def main() -> None:
        async with tracked_pool(leak_stack=True) as pool:
            resource = await deep(pool, 50)
            (lease,) = pool.leases()
            assert "[Previous line repeated 13 more times]" in lease.stack, "16 frames in all"
            await pool.release(resource)

    run(main())


def test_a_resource_that_was_never_leased_has_no_holder() -> None:
    async def main() -> None:
        made: list[object] = []

        def connect() -> object:
            made.append(object())
            return made[-1]

        pool = AsyncResourcePool(connect, min_size=1, leak_threshold=60)
        await pool.open(wait=True)
        with pytest.raises(InvalidReleaseError) as info:
            await pool.release(made[0])
        assert "held by" not in str(info.value)
        assert pool.leases() == []
        await pool.close()

    run(main())


def test_a_lease_without_its_record_is_left_out() -> None:
    async def main() -> None:
        pool = tracked_pool()
        await pool.acquire()
        (slot,) = inside.held_slots(pool)
        slot.lease = None  # as in a nested call, in the middle of the step
        assert pool.leases() == []
        pool.terminate()

    run(main())
