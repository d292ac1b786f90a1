"""Creations and closings alone, with a receiver of reports instead of the driver."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nodetool.concurrency import ResourcePoolError, ResourcePoolTimeoutError
from tests import inside
from tests.concurrency.test_stress import maker
from tests.inside import BATCH, CLOSED_LOOP, NEVER, Binding, Slot, Work
from tests.virtual_time import VirtualTimeLoop, run, turns

pytestmark = pytest.mark.first

start = asyncio.create_task
VARIABLE = contextvars.ContextVar("variable", default="empty")


class Ended:
    """A receiver of reports that keeps them."""

    def __init__(self) -> None:
        self.work: Work[Any]
        self.created: list[tuple[Slot[Any], Any]] = []
        self.failed: list[tuple[Slot[Any], BaseException, bool]] = []
        self.closed: list[Slot[Any]] = []
        self.exceeded: list[list[Slot[Any]]] = []
        self.steps = 0

    def run(self, step: Callable[[], object]) -> None:
        self.steps += 1
        step()

    def creation_succeeded(self, slot: Slot[Any], resource: Any) -> None:
        self.created.append((slot, resource))
        slot.resource = resource

    def creation_failed(self, slot: Slot[Any], error: BaseException, cancelled: bool) -> None:
        self.failed.append((slot, error, cancelled))

    def closing_ended(self, slot: Slot[Any]) -> None:
        self.closed.append(slot)

    def closings_exceeded(self) -> None:
        loop = asyncio.get_running_loop()
        self.exceeded.append(self.work.abandon_overdue(loop.time()))


def make(
    factory: Any = object,
    closer: Any = None,
    *,
    creation_timeout: float = NEVER,
    closer_timeout: float = NEVER,
) -> tuple[Work[Any], Ended]:
    """Make work bound to the running loop, and its receiver of reports."""
    binding = Binding("db")
    binding.check()
    reports = Ended()
    reports.work = Work(binding, factory, closer, creation_timeout, closer_timeout)
    return reports.work, reports


def slot_with(resource: object) -> Slot[Any]:
    slot: Slot[Any] = Slot(0)
    slot.resource = resource
    return slot


async def forever(*_: object) -> None:
    await asyncio.get_running_loop().create_future()


# Creations.


def test_a_creation_is_reported_once_with_its_resource() -> None:
    async def main() -> None:
        work, reports = make(lambda: "made")
        slot: Slot[str] = Slot(0)
        work.create(slot, reports)
        assert work.creating() == [slot]
        assert reports.created == [], "the factory runs in a task of its own"
        await turns()
        assert reports.created == [(slot, "made")]
        assert (reports.failed, work.creating(), slot.run) == ([], [], None)

    run(main())


def test_an_async_factory_and_any_other_awaitable_are_awaited() -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(1).__await__()
            return "awaited"

    async def main() -> None:
        for factory in (Awaitable, lambda: asyncio.sleep(1, "awaited")):
            work, reports = make(factory)
            work.create(Slot(0), reports)
            await asyncio.sleep(2)
            assert [resource for _, resource in reports.created] == ["awaited"]

    run(main())


def test_a_factory_runs_in_a_named_task_with_empty_context_variables() -> None:
    seen: list[tuple[str, str]] = []

    def factory() -> object:
        task = asyncio.current_task()
        assert task is not None
        seen.append((task.get_name(), VARIABLE.get()))
        return object()

    async def main() -> None:
        VARIABLE.set("of the caller")
        work, reports = make(factory, factory)
        work.create(Slot(0), reports)
        await turns()
        assert seen == [("db: create", "empty")]

    run(main())


@pytest.mark.parametrize("error", [OSError("down"), asyncio.CancelledError()])
def test_a_failed_creation_is_reported_with_its_error(error: BaseException) -> None:
    async def factory() -> object:
        raise error

    async def main() -> None:
        work, reports = make(factory)
        slot: Slot[object] = Slot(0)
        work.create(slot, reports)
        await turns()
        ((failed, told, cancelled),) = reports.failed
        assert (failed, cancelled, work.creating()) == (slot, False, [])
        if isinstance(error, OSError):
            assert told is error
        else:
            assert isinstance(told, ResourcePoolError), "the pool has not cancelled it"
            assert "ended in a cancellation of its own" in str(told)

    run(main())


@pytest.mark.parametrize("turns_before", [0, 3], ids=["before it starts", "in the middle"])
def test_a_cancelled_creation_is_reported_as_cancelled(turns_before: int) -> None:
    async def main() -> None:
        work, reports = make(forever)
        slots: list[Slot[Any]] = [Slot(0), Slot(0)]
        for slot in slots:
            work.create(slot, reports)
        await turns(turns_before)
        assert work.cancel_creations() == [], "the loop ends them"
        await turns()
        assert {slot for slot, _, _ in reports.failed} == {*slots}
        assert all(cancelled for _, _, cancelled in reports.failed)
        assert all("'db': the creation was cancelled" in str(e) for _, e, _ in reports.failed)
        assert work.creating() == []

    run(main())


def test_a_creation_that_takes_too_long_ends_at_its_limit() -> None:
    class Half:
        """Something that the factory has half made."""

    halves: list[weakref.ref[Half]] = []

    async def factory() -> object:
        half = Half()
        halves.append(weakref.ref(half))
        await forever()
        return half

    async def main() -> None:
        work, reports = make(factory, creation_timeout=3)
        work.create(Slot(0), reports)
        await asyncio.sleep(2.9)
        assert reports.failed == []
        await asyncio.sleep(0.2)
        ((_, error, cancelled),) = reports.failed
        assert isinstance(error, ResourcePoolTimeoutError)
        assert "the factory did not finish within creation_timeout=3 s" in str(error)
        assert not cancelled
        assert halves[0]() is None, "the error keeps alive what was half made"

    run(main())


def test_the_error_of_a_creation_does_not_keep_the_receiver_alive() -> None:
    def factory() -> object:
        raise OSError

    async def main() -> None:
        work, reports = make(factory)
        work.create(Slot(0), reports)
        await turns()
        ((_, error, _),) = reports.failed
        reference = weakref.ref(reports)
        del work, reports
        gc.collect()
        assert reference() is None
        assert error.__traceback__ is not None, "it still says where the factory failed"

    run(main())


def test_an_eager_task_factory_does_not_run_a_callback_within_the_call() -> None:
    async def main() -> None:
        work, reports = make(object, lambda _: None)
        work.create(Slot(0), reports)
        work.close(slot_with("a"))
        work.start_closers(reports)
        assert (reports.created, reports.closed) == ([], [])
        await turns()
        assert (len(reports.created), len(reports.closed)) == (1, 1)

    with asyncio.Runner(loop_factory=maker("eager stock")) as runner:
        runner.run(main())


def test_creations_on_a_closed_loop_are_returned_by_the_cancellation() -> None:
    loop = VirtualTimeLoop()

    async def main() -> tuple[Work[Any], Ended, Slot[Any]]:
        work, reports = make(forever)
        slot: Slot[Any] = Slot(0)
        work.create(slot, reports)
        await turns()
        return work, reports, slot

    work, reports, slot = loop.run_until_complete(main())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    assert work.cancel_creations() == [slot]
    assert (work.creating(), slot.run, reports.failed) == ([], None, [])
    inside.silence_pending(*tasks)


# Closings.


def close_all(work: Work[Any], reports: Ended, count: int) -> list[Slot[Any]]:
    slots = [slot_with(number) for number in range(count)]
    for slot in slots:
        work.close(slot)
    work.start_closers(reports)
    return slots


@pytest.mark.guarantees("ClosedExactlyOnce")
def test_a_closer_is_called_once_and_its_end_is_reported_once() -> None:
    called: list[object] = []

    async def main() -> None:
        work, reports = make(object, called.append)
        assert work.has_closer
        slots = close_all(work, reports, 3)
        work.start_closers(reports)  # nothing is left to start
        assert called == [], "the closer runs in a task of its own"
        await turns()
        assert (called, reports.closed) == ([0, 1, 2], slots)
        assert not make()[0].has_closer

    run(main())


def test_closers_start_in_batches_so_that_the_loop_can_serve_others_in_between() -> None:
    running: list[object] = []

    async def main() -> None:
        work, reports = make(object, running.append)
        slots = close_all(work, reports, 2 * BATCH + 1)
        numbers = []
        for _ in range(6):
            await asyncio.sleep(0)
            numbers.append(len(running))
        assert numbers[-1] == len(slots)
        assert numbers == sorted(numbers)
        assert {BATCH, 2 * BATCH} <= set(numbers)
        await turns()
        assert reports.closed == slots, "in order"
        more = close_all(work, reports, BATCH + 1)
        await turns()
        assert reports.closed == slots + more

    run(main())


@pytest.mark.parametrize("error", [OSError("broken"), asyncio.CancelledError()])
def test_a_failed_closer_is_reported_logged_and_counted(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def closer(_: object) -> None:
        raise error

    async def main() -> None:
        work, reports = make(object, closer)
        slots = close_all(work, reports, 2)
        await turns()
        assert reports.closed == slots
        assert work.closer_failures == 2
        assert all(slot.run is None for slot in slots)

    run(main())
    assert caplog.text.count("pool 'db': a closer failed, its resource is abandoned") == 2


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("notices", [True, False], ids=["it ends then", "it goes on"])
def test_a_closer_that_exceeds_its_limit_is_abandoned_and_cancelled(
    notices: bool, caplog: pytest.LogCaptureFixture
) -> None:
    end = asyncio.Event()

    async def closer(_: object) -> None:
        try:
            await forever()
        finally:
            if not notices:
                await end.wait()
            raise OSError  # nobody needs this error

    async def main() -> None:
        work, reports = make(object, closer, closer_timeout=5)
        slots = close_all(work, reports, 2)
        await asyncio.sleep(4)
        assert (reports.exceeded, work.abandoned()) == ([], 0)
        await asyncio.sleep(2)
        assert reports.exceeded == [slots], "both in one call"
        assert reports.closed == [], "the receiver knows"
        assert work.abandoned() == (0 if notices else 2)
        work.report_overdue()
        end.set()
        await turns()
        assert (work.abandoned(), reports.closed, work.closer_failures) == (0, [], 1)

    run(main())
    assert "it did not end within closer_timeout=5 s" in caplog.text
    assert len(caplog.records) == 1


def test_a_closer_that_ends_in_time_is_not_abandoned() -> None:
    async def main() -> None:
        work, reports = make(object, lambda _: asyncio.sleep(4), closer_timeout=5)
        slots = close_all(work, reports, 2)
        await asyncio.sleep(10)
        assert reports.closed == slots
        assert reports.exceeded in ([], [[]])
        assert work.abandoned() == 0

    run(main())


def test_when_nothing_is_left_to_close_no_timer_is_left() -> None:
    async def main() -> None:
        work, reports = make(object, lambda _: None, closer_timeout=5)
        work.stop()  # before there was any
        close_all(work, reports, 1)
        await turns()
        assert len(inside.pending_timers()) == 1
        work.stop()
        assert inside.pending_timers() == []

    run(main())


# Closings without a loop.


def left_in_a_closed_loop(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine, close its loop, and return what the coroutine returned."""
    loop = VirtualTimeLoop()
    result = loop.run_until_complete(main)
    inside.silence_pending(*asyncio.all_tasks(loop))
    loop.close()
    return result


@pytest.mark.guarantees("ClosedExactlyOnce", "CloseCompletes")
def test_a_queued_closing_is_done_without_a_loop_and_a_running_one_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    called: list[object] = []

    def closer(resource: object) -> Any:
        called.append(resource)
        return forever() if resource == 0 else None

    async def main() -> tuple[Work[Any], list[Slot[Any]]]:
        work, reports = make(object, closer)
        (running,) = close_all(work, reports, 1)
        await turns()
        queued = slot_with(1)
        work.close(queued)
        return work, [running, queued]

    work, slots = left_in_a_closed_loop(main())
    assert called == [0]
    for slot in slots:
        work.end_closing(slot)
    assert called == [0, 1]
    assert (work.closer_failures, slots[0].run) == (1, None)
    assert CLOSED_LOOP in caplog.text


@pytest.mark.parametrize("kind", ["sync", "failing", "async"])
def test_without_a_loop_only_a_sync_closer_can_run(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[object] = []

    def closer(resource: object) -> Any:
        called.append(resource)
        if kind == "failing":
            raise OSError("broken")
        return forever() if kind == "async" else None

    work: Work[Any] = Work(Binding("db"), object, closer, NEVER, NEVER)
    with caplog.at_level(logging.WARNING):
        work.call_closer(slot_with("a"))
    assert called == ["a"]
    assert work.closer_failures == (kind != "sync")
    expected = {"sync": "", "failing": "broken", "async": "it is asynchronous and the event loop"}
    assert expected[kind] in caplog.text
    assert bool(caplog.text) == (kind != "sync")


@pytest.mark.guarantees("ClosedExactlyOnce")
def test_every_batch_but_the_first_starts_inside_the_gate() -> None:
    called: list[object] = []

    async def main() -> None:
        work, reports = make(object, called.append)
        close_all(work, reports, 2 * BATCH + 1)
        assert reports.steps == 0, "the first one is an effect of the step"
        await turns()
        assert (len(called), reports.steps) == (2 * BATCH + 1, 2)

    run(main())
