"""The tracker of debug mode alone, on a machine without a pool."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from nodetool.concurrency import InvalidReleaseError
from tests import inside
from tests.inside import Slot, Tracker, Waiter, step_state, take_work
from tests.virtual_time import run

start = asyncio.create_task


class Lab:
    """A machine with a tracker. Each step is taken in the task that calls it.

    It stands for the driver, too.
    """

    def __init__(self, leak_threshold: float | None = None, **options: Any) -> None:
        self.tracker = Tracker() if leak_threshold is None else Tracker(leak_threshold)
        self.machine = inside.new_machine("db", 2, observers=(self.tracker,), **options)
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
        text = lab.tracker.holders(lab.machine)
        assert text.count("held by task") == 2
        assert text.index("'A'") < text.index("'B'")
        assert "in lease" in text, "where it was acquired"
        await lab.give_back(first)
        assert "'A'" not in lab.tracker.holders(lab.machine)

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
        assert lab.tracker.holder(slot) == ""

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


def test_outside_of_a_loop_the_holder_is_no_task() -> None:
    lab = Lab()
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
        assert "pool 'db': a resource is held for more than leak_threshold=10 s" in text
        assert "held by task 'A'" in text
        await lab.give_back(slot)
        assert "a resource came back after all" in caplog.records[1].getMessage()

    run(main())
    assert len(caplog.records) == 2


@pytest.mark.parametrize("end", ["release", "discard", "detach", "terminate"])
def test_the_end_of_a_lease_stops_its_timer(end: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        lab = Lab(leak_threshold=10.0)
        slot = await lab.lease()
        assert len(inside.pending_timers()) == 1
        if end == "terminate":
            lab.machine.terminate()
        else:
            await lab.give_back(slot, end)
        assert inside.pending_timers() == []
        await asyncio.sleep(20)

    run(main())
    assert not caplog.records
