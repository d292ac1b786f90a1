"""The pool's own work alone, with a receiver of reports instead of the driver."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from nodetool.concurrency import ResourcePoolError, ResourcePoolTimeoutError
from tests import inside
from tests.concurrency.test_stress import maker
from tests.inside import BATCH, LIMITS, NEVER, Binding, Run, RunState, Slot, SlotState, Work
from tests.virtual_time import VirtualTimeLoop, run, turns

CREATING, CHECKING, RESETTING, CLOSING = (
    SlotState.CREATING,
    SlotState.CHECKING,
    SlotState.RESETTING,
    SlotState.CLOSING,
)
CANCELLED = "was cancelled: see which code cancels the pool's task"
KINDS = {CREATING: "factory", CHECKING: "check", RESETTING: "reset", CLOSING: "closer"}
VARIABLE = contextvars.ContextVar("variable", default="empty")

kinds = pytest.mark.parametrize("kind", KINDS, ids=KINDS.values())
all_but_closers = pytest.mark.parametrize("kind", [CREATING, CHECKING, RESETTING])


class Ended:
    """A receiver of reports that keeps them."""

    def __init__(self) -> None:
        self.work: Work[Any]
        self.succeeded: list[tuple[Run, Any]] = []
        self.failed: list[tuple[Run, BaseException]] = []
        self.abandoned: list[list[Run]] = []
        self.steps = 0
        self.interrupts = 0  # how many of the next steps end in an interruption

    def run(self, step: Callable[[], object]) -> None:
        self.steps += 1
        step()
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt

    def work_succeeded(self, run: Run, result: Any) -> None:
        if self.work.end(run):
            self.succeeded.append((run, result))

    def work_failed(self, run: Run, error: BaseException) -> None:
        assert self.work.end(run)
        self.failed.append((run, error))

    def limits_exceeded(self) -> None:
        loop = asyncio.get_running_loop()
        self.abandoned.append(self.work.cancel_overdue(loop.time()))

    def results(self) -> list[Any]:
        return [result for _, result in self.succeeded]

    def errors(self) -> list[BaseException]:
        return [error for _, error in self.failed]


def make(function: Any = object, limit: float = NEVER) -> tuple[Work[Any], Ended]:
    """Make work bound to the running loop, with one function and one limit for all kinds."""
    binding = Binding("db")
    binding.check()
    reports = Ended()
    reports.work = Work(binding, dict.fromkeys(KINDS, (function, limit)))
    return reports.work, reports


def request(reports: Ended, kind: SlotState, resource: object = "r") -> Slot[Any]:
    """Ask for one piece of work."""
    slot: Slot[Any] = Slot(0)
    slot.state = kind
    if kind is not CREATING:
        slot.resource = resource
    reports.work.request(slot, reports)
    return slot


def running(reports: Ended, kind: SlotState) -> Run:
    """Return the first run that has not ended."""
    return reports.work.runs(kind)[0]


async def forever(*_: object) -> None:
    await asyncio.get_running_loop().create_future()


# The start.


@kinds
def test_work_is_done_once_in_a_later_turn_and_reported_once(kind: SlotState) -> None:
    calls: list[tuple[object, ...]] = []

    def function(*arguments: object) -> str:
        calls.append(arguments)
        return "result"

    async def main() -> None:
        work, reports = make(function)
        slot = request(reports, kind)
        asked = running(reports, kind)
        assert (asked.slot, asked.kind, asked.has_begun) == (slot, kind, False)
        assert asked.since == asyncio.get_running_loop().time()
        assert slot.run is asked
        assert (calls, reports.succeeded) == ([], []), "it starts in a later turn"
        await turns()
        assert calls == [() if kind is CREATING else ("r",)]
        assert (reports.succeeded, reports.failed) == ([(asked, "result")], [])
        assert work.runs(kind) == []
        assert slot.run is None
        assert asked.state is RunState.ENDED
        assert not work.end(asked), "it has one end"

    run(main())


def test_the_oldest_run_of_each_kind_is_known() -> None:
    async def main() -> None:
        work, reports = make(forever)
        assert work.oldest() == []
        for kind in (CLOSING, CREATING, CLOSING, CREATING):
            request(reports, kind)
        assert work.oldest() == [work.runs(CREATING)[0], work.runs(CLOSING)[0]]
        assert len(work.runs(CREATING)) == len(work.runs(CLOSING)) == 2
        work.end(work.runs(CREATING)[0])
        assert work.oldest()[0] is work.runs(CREATING)[0]
        for one in work.runs(CLOSING) + work.runs(CREATING):
            work.end(one)

    run(main())


def test_any_awaitable_is_awaited() -> None:
    class Custom:
        def __await__(self) -> Any:
            yield from asyncio.sleep(1).__await__()
            return "awaited"

    async def coroutine() -> str:
        await asyncio.sleep(1)
        return "awaited"

    def future() -> Awaitable[str]:
        return asyncio.ensure_future(coroutine())

    async def main() -> None:
        for function in (Custom, coroutine, future):
            _, reports = make(function)
            request(reports, CREATING)
            await asyncio.sleep(0.5)
            assert reports.succeeded == []
            await asyncio.sleep(1)
            assert reports.results() == ["awaited"]

    run(main())


def test_only_an_awaitable_result_gets_a_task_and_all_of_it_has_one_empty_context() -> None:
    seen: list[object] = []

    async def rest() -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((task.get_name(), VARIABLE.get()))

    def function() -> Any:
        seen.append((asyncio.current_task(), VARIABLE.get()))
        VARIABLE.set("of the function")
        return rest()

    async def main() -> None:
        VARIABLE.set("of the caller")
        _, reports = make(function)
        request(reports, CREATING)
        await turns()
        assert seen == [(None, "empty"), ("db: factory", "of the function")]
        assert VARIABLE.get() == "of the caller"

    run(main())


def test_an_eager_task_factory_runs_no_awaitable_within_a_step() -> None:
    async def main() -> None:
        def function() -> Any:
            return asyncio.sleep(0, "result")

        _, reports = make(function)
        request(reports, CREATING)
        assert reports.succeeded == []
        await turns()
        assert reports.results() == ["result"]

    with asyncio.Runner(loop_factory=maker("eager stock")) as runner:
        runner.run(main())


def test_runs_start_in_order_and_in_batches_so_that_others_can_run_in_between() -> None:
    calls: list[object] = []

    async def main() -> None:
        _, reports = make(calls.append)
        for number in range(2 * BATCH + 1):
            request(reports, CLOSING, number)
        numbers = []
        for _ in range(5):
            await asyncio.sleep(0)
            numbers.append(len(calls))
        assert numbers == [BATCH, 2 * BATCH, *[2 * BATCH + 1] * 3]
        assert calls == [*range(2 * BATCH + 1)]
        request(reports, CLOSING, "later")
        await turns(1)
        assert calls[-1] == "later"

    run(main())


def test_what_a_run_asks_for_starts_in_a_later_turn() -> None:
    calls: list[object] = []

    async def main() -> None:
        def closer(resource: object) -> None:
            calls.append(resource)
            if resource == "first":
                request(reports, CLOSING, "third")

        _, reports = make(closer)
        for resource in ("first", "second"):
            request(reports, CLOSING, resource)
        await turns(1)
        assert calls == ["first", "second"]
        await turns(1)
        assert calls == ["first", "second", "third"]

    run(main())


@pytest.mark.guarantees("ClosedExactlyOnce")
def test_the_start_of_a_task_is_a_step() -> None:
    async def main() -> None:
        _, reports = make(lambda _: None)
        for _ in range(3):
            request(reports, CLOSING)
        assert reports.steps == 0, "the request is an effect of a step"
        await turns()
        assert reports.steps == 0, "a plain function starts no task"
        assert len(reports.succeeded) == 3
        _, reports = make(forever)
        for _ in range(BATCH + 1):
            request(reports, CLOSING)
        await turns()
        assert reports.steps == BATCH + 1 + 1, "and so is the request for the next batch"
        for one in reports.work.runs(CLOSING):
            assert one.task is not None
            one.task.cancel()
        await turns()

    run(main())


# Errors.


class OddError(BaseException):
    """An error that is no `Exception`, and does not stop the loop either."""


def fail(error: BaseException, is_async: bool) -> Callable[..., Any]:
    """Make a function that fails."""

    def sync(*_: object) -> Any:
        raise error

    async def awaitable(*_: object) -> Any:
        raise error

    return awaitable if is_async else sync


@kinds
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [OSError("down"), OddError(), GeneratorExit()], ids=repr)
def test_an_error_is_reported_as_it_is(
    kind: SlotState, is_async: bool, error: BaseException
) -> None:
    async def main() -> None:
        _, reports = make(fail(error, is_async))
        request(reports, kind)
        request(reports, kind)
        await turns()
        assert reports.errors() == [error, error]
        assert not reports.failed[0][0].cancelled

    run(main())


@kinds
@pytest.mark.parametrize("is_async", [False, True])
def test_a_cancellation_that_nobody_asked_for_is_an_ordinary_error(
    kind: SlotState, is_async: bool
) -> None:
    async def main() -> None:
        _, reports = make(fail(asyncio.CancelledError(), is_async))
        request(reports, kind)
        await turns()
        (error,) = reports.errors()
        assert type(error) is ResourcePoolError
        expected = (
            f"pool 'db': the {KINDS[kind]} ended in a cancellation of its own: "
            "see what it awaits, and who cancels that"
        )
        assert str(error) == expected
        assert not reports.failed[0][0].cancelled

    run(main())


def test_a_run_whose_task_is_cancelled_from_outside_is_cancelled() -> None:
    async def main() -> None:
        _, reports = make(forever)
        request(reports, CREATING)
        await turns()
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        await turns()
        ((ended, error),) = reports.failed
        assert ended.cancelled
        assert str(error) == f"pool 'db': the factory {CANCELLED}"

    run(main())


@pytest.mark.guarantees("NothingLost")
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_error_that_stops_the_loop_is_reported_and_the_other_runs_start_later(
    stop: type[BaseException], is_async: bool
) -> None:
    calls: list[object] = []
    error = stop()

    def closer(resource: object) -> Any:
        calls.append(resource)
        if resource == 1:
            return fail(error, is_async)()
        return None

    made: list[Ended] = []

    async def begin() -> None:
        _, reports = make(closer)
        made.append(reports)
        for number in range(4):
            request(reports, CLOSING, number)
        await turns()

    loop = VirtualTimeLoop()
    with pytest.raises(stop):
        loop.run_until_complete(begin())
    assert calls == [0, 1] if not is_async else [0, 1, 2, 3]
    loop.run_until_complete(turns())
    assert calls == [0, 1, 2, 3]
    assert made[0].errors() == [error]
    assert len(made[0].succeeded) == 3
    loop.close()
    assert not loop.errors


@pytest.mark.guarantees("NothingLost")
def test_the_runs_after_an_interruption_start_later() -> None:
    calls: list[object] = []
    made: list[Ended] = []

    async def closer(resource: object) -> None:
        calls.append(resource)

    async def begin() -> None:
        _, reports = make(closer)
        made.append(reports)
        for number in range(3):
            request(reports, CLOSING, number)
        reports.interrupts = 1  # an effect of the step that starts the first task raises
        await turns()

    loop = VirtualTimeLoop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(begin())
    assert calls == []
    loop.run_until_complete(turns())
    assert calls == [0, 1, 2]
    assert len(made[0].succeeded) == 3
    loop.close()


class Unsettled:
    """A result that refuses each question, as a proxy of nothing does."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError

    @__class__.setter
    def __class__(self, _: Any) -> None: ...


def test_a_result_that_refuses_every_question_is_a_resource() -> None:
    async def main() -> None:
        _, reports = make(Unsettled)
        request(reports, CREATING)
        await turns()
        assert [type(result) for result in reports.results()] == [Unsettled]

    run(main())


def test_an_error_does_not_keep_the_receiver_alive() -> None:
    async def main(is_async: bool) -> None:
        work, reports = make(fail(OSError(), is_async))
        request(reports, CREATING)
        await turns()
        (error,) = reports.errors()
        reference = weakref.ref(reports)
        del work, reports
        gc.collect()
        assert reference() is None
        assert error.__traceback__ is not None, "it still says where the factory failed"

    for is_async in (False, True):
        run(main(is_async))


class Resource:
    """A resource that can die."""


@pytest.mark.parametrize("outcome", ["result", "error"])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [CHECKING, RESETTING, CLOSING])
def test_a_resource_dies_with_its_slot_without_the_collector(
    kind: SlotState, is_async: bool, outcome: str
) -> None:
    def sync(_: Resource) -> None:
        if outcome == "error":
            raise OSError

    async def awaitable(resource: Resource) -> None:
        sync(resource)

    async def main() -> None:
        _, reports = make(awaitable if is_async else sync)
        resource = Resource()
        reference = weakref.ref(resource)
        slot = request(reports, kind, resource)
        del resource
        await turns()
        assert len(reports.errors()) == (outcome == "error")
        reports.failed.clear()
        del slot.resource
        assert reference() is None

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


# Cancellation.


@all_but_closers
def test_queued_runs_are_returned_by_the_cancellation_and_never_start(kind: SlotState) -> None:
    calls: list[object] = []

    async def main() -> None:
        work, reports = make(lambda *_: calls.append(1))
        request(reports, kind)
        request(reports, CLOSING)
        (stuck,) = work.cancel_all()
        assert (stuck.kind, stuck.has_begun) == (kind, False)
        work.end(stuck)
        await turns()
        assert calls == [1], "a closer starts all the same"
        assert [ended.kind for ended, _ in reports.succeeded] == [CLOSING]

    run(main())


@all_but_closers
@pytest.mark.parametrize("turns_before", [1, 5], ids=["before it starts", "in the middle"])
def test_running_tasks_are_cancelled(
    kind: SlotState, turns_before: int, recwarn: pytest.WarningsRecorder
) -> None:
    started: list[object] = []

    async def function(*_: object) -> None:
        started.append(1)
        await forever()

    async def main() -> None:
        work, reports = make(function)
        request(reports, kind)
        request(reports, CLOSING)
        await turns(turns_before)
        assert work.cancel_all() == [], "the loop ends them"
        await turns()
        ((ended, error),) = reports.failed
        assert (ended.kind, ended.cancelled) == (kind, True)
        assert str(error) == f"pool 'db': the {KINDS[kind]} {CANCELLED}"
        assert len(started) == (1 if turns_before == 1 else 2)
        (closing,) = work.runs(CLOSING)
        closing.cancel()
        await turns()

    run(main())
    gc.collect()
    assert not recwarn.list, "a coroutine that never starts is closed"


def test_a_second_cancellation_does_not_disturb_the_end_of_a_run() -> None:
    cancelled: list[int] = []

    async def factory() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.append(1)
            await asyncio.sleep(1)
            raise

    async def main() -> None:
        work, reports = make(factory)
        request(reports, CREATING)
        await turns()
        for _ in range(3):
            assert work.cancel_all() == []
            await turns()
        await asyncio.sleep(2)
        assert (cancelled, len(reports.failed)) == ([1], 1)

    run(main())


def test_what_is_cancelled_while_its_function_runs_gets_a_cancelled_task(
    recwarn: pytest.WarningsRecorder,
) -> None:
    async def main() -> None:
        async def rest() -> None:
            pytest.fail("it started")

        def factory() -> Any:
            assert work.cancel_all() == []
            return rest()

        work, reports = make(factory, limit=5)
        request(reports, CREATING)
        await turns()
        ((ended, error),) = reports.failed
        assert ended.cancelled
        assert "was cancelled" in str(error)

    run(main())
    gc.collect()
    assert not recwarn.list


@pytest.mark.parametrize("custom", [False, True])
def test_the_work_behind_an_awaitable_that_nobody_has_awaited_is_cancelled(custom: bool) -> None:
    class Custom:
        def __await__(self) -> Any:
            pytest.fail("it started")

    async def main() -> None:
        behind: list[asyncio.Task[None]] = []

        def factory() -> Any:
            behind.append(asyncio.create_task(forever()))
            return Custom() if custom else behind[0]

        work, reports = make(factory)
        request(reports, CREATING)
        await turns(1)
        work.cancel_all()
        await turns()
        assert len(reports.failed) == 1
        assert behind[0].cancelled() is not custom
        behind[0].cancel()
        await turns()

    run(main())


class Refusing(asyncio.Future[None]):
    """A future whose cancellation fails."""

    error: type[BaseException] = ZeroDivisionError

    def cancel(self, msg: Any = None) -> bool:
        raise self.error


@pytest.mark.guarantees("FaultIsolation", "CloseCompletes")
@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
@pytest.mark.parametrize("how", ["all", "overdue"])
def test_a_future_that_refuses_its_cancellation_hinders_no_other(
    how: str, error: type[BaseException]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        refusing = Refusing(loop=loop)
        refusing.error = error
        futures = [refusing, loop.create_future()]

        async def function(*_: object) -> None:
            await futures[len(started)]

        started: list[object] = []
        work, reports = make(function, limit=5)
        kind = CREATING if how == "all" else CLOSING
        for _ in range(2):
            request(reports, kind)
            await turns()
            started.append(1)
        if how == "all":
            assert work.cancel_all() == []
        else:
            await asyncio.sleep(6)
            assert [len(closers) for closers in reports.abandoned] == [2]
        await turns()
        assert futures[1].cancelled()
        (context,) = loop.errors
        assert context["message"] == "a cancellation failed"
        assert type(context["exception"]) is error
        loop.errors.clear()
        refusing.set_result(None)
        await turns()
        assert work.abandoned() == 0

    run(main())


# Limits.


@all_but_closers
def test_a_run_that_exceeds_its_limit_is_cancelled_once_and_keeps_its_slot(kind: SlotState) -> None:
    cancelled: list[int] = []
    end = asyncio.Event()

    async def function(*_: object) -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.append(1)
            await end.wait()
            raise

    async def main() -> None:
        work, reports = make(function, limit=5)
        request(reports, kind)
        await asyncio.sleep(4.9)
        assert not cancelled
        await asyncio.sleep(100)
        assert (cancelled, reports.failed, len(work.runs(kind))) == ([1], [], 1)
        end.set()
        await turns()
        ((ended, error),) = reports.failed
        assert isinstance(error, ResourcePoolTimeoutError)
        function_name, limit = LIMITS[kind]
        expected = (
            f"pool 'db': the {function_name} did not finish within {limit}=5 s: "
            "see why it takes so long, or allow more time"
        )
        assert str(error) == expected
        assert (ended.late, ended.cancelled) == (True, False)
        assert work.runs(kind) == []

    run(main())


@pytest.mark.parametrize("end", ["succeeds", "fails"])
def test_a_late_run_may_end_in_any_way(end: str) -> None:
    async def function() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            if end == "fails":
                raise OSError from None
        return "late"

    async def main() -> None:
        _, reports = make(function, limit=5)
        request(reports, CREATING)
        await asyncio.sleep(6)
        if end == "succeeds":
            ((ended, result),) = reports.succeeded
            assert (ended.late, result) == (True, "late")
        else:
            (error,) = reports.errors()
            assert isinstance(error, ResourcePoolTimeoutError)

    run(main())


@pytest.mark.parametrize("kind", [CREATING, CLOSING])
def test_a_task_that_ends_in_the_turn_of_its_limit_is_not_late(kind: SlotState) -> None:
    async def function(*_: object) -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise OSError("broken") from None

    async def main() -> None:
        work, reports = make(function, limit=5)
        request(reports, kind)
        await turns()
        task = running(reports, kind).task
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        assert task.done()
        loop: Any = asyncio.get_running_loop()
        loop.now += 6
        reports.limits_exceeded()  # as if the timer had come first
        await turns()
        assert [str(error) for error in reports.errors()] == ["broken"]
        assert (reports.abandoned[0], work.abandoned()) == ([], 0)
        assert not reports.failed[0][0].late

    run(main())


def test_the_error_of_a_late_run_keeps_nothing_that_was_half_made() -> None:
    class Half:
        """Something that the factory has half made."""

    halves: list[weakref.ref[Half]] = []

    async def factory() -> object:
        half = Half()
        halves.append(weakref.ref(half))
        await forever()
        return half

    async def main() -> None:
        _, reports = make(factory, limit=3)
        request(reports, CREATING)
        await asyncio.sleep(4)
        assert len(reports.failed) == 1
        assert halves[0]() is None

    run(main())


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("notices", [True, False], ids=["it ends then", "it goes on"])
@pytest.mark.parametrize("fails", [True, False], ids=["with an error", "well"])
def test_a_closer_that_exceeds_its_limit_is_abandoned_and_cancelled(
    notices: bool, fails: bool
) -> None:
    end = asyncio.Event()

    async def closer(_: object) -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            if not notices:
                await end.wait()
            if fails:
                raise OSError from None  # nobody needs this error

    async def main() -> None:
        work, reports = make(closer, limit=5)
        for _ in range(2):
            request(reports, CLOSING)
        await asyncio.sleep(4)
        assert (reports.abandoned, work.abandoned()) == ([], 0)
        await asyncio.sleep(2)
        assert [len(closers) for closers in reports.abandoned] == [2], "both in one call"
        assert all(closer.state is RunState.ENDED for closer in reports.abandoned[0])
        assert work.abandoned() == (0 if notices else 2)
        end.set()
        await turns()
        assert (work.abandoned(), reports.failed, reports.succeeded) == (0, [], [])

    run(main())


def test_an_abandoned_closer_may_end_in_its_cancellation() -> None:
    async def main() -> None:
        work, reports = make(forever, limit=5)
        request(reports, CLOSING)
        await asyncio.sleep(6)
        assert (work.abandoned(), reports.failed) == (0, [])

    run(main())


def test_a_run_that_ends_in_time_is_not_late() -> None:
    async def main() -> None:
        work, reports = make(lambda *_: asyncio.sleep(4), limit=5)
        for kind in KINDS:
            request(reports, kind)
        await asyncio.sleep(10)
        assert len(reports.succeeded) == 4
        assert reports.abandoned in ([], [[]])
        assert work.abandoned() == 0
        assert work.limit_of(CREATING) == 5

    run(main())


def test_when_nothing_is_left_to_do_no_timer_is_left() -> None:
    async def main() -> None:
        work, reports = make(lambda *_: asyncio.sleep(0), limit=5)
        work.stop()  # before there was any
        request(reports, CLOSING)
        await turns()
        assert len(inside.pending_timers()) == 1
        work.stop()
        assert inside.pending_timers() == []

    run(main())


def test_a_run_that_has_ended_keeps_no_task() -> None:
    async def main() -> None:
        work, reports = make(fail(OSError(), True), limit=5)
        request(reports, CREATING)
        await turns()
        ((ended, _),) = reports.failed
        assert ended.task is None, "a deadline may keep the run"
        work.stop()

    run(main())


# Without a loop.


def left_in_a_closed_loop(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine, close its loop, and return what the coroutine returned."""
    loop = VirtualTimeLoop()
    result = loop.run_until_complete(main)
    inside.silence_pending(*asyncio.all_tasks(loop))
    loop.close()
    return result


@pytest.mark.guarantees("CloseCompletes")
def test_a_closed_loop_can_end_nothing() -> None:
    async def main() -> Ended:
        _, reports = make(forever, limit=5)
        for kind in (CREATING, CLOSING):
            request(reports, kind)
        await asyncio.sleep(6)  # the closer is abandoned, and ends
        for kind in (CREATING, CHECKING, CLOSING):
            request(reports, kind)
        await turns()
        asyncio.get_running_loop().call_soon(request, reports, RESETTING)
        return reports

    reports = left_in_a_closed_loop(main())
    work = reports.work
    stuck = work.cancel_all()
    assert {one.kind for one in stuck} == {*KINDS}
    for one in stuck:
        assert (not one.has_begun) == (one.kind is RESETTING)
        assert work.end(one)
    assert work.cancel_all() == []


@pytest.mark.parametrize("kind", ["coroutine", "future"])
def test_a_task_that_a_closed_loop_never_starts_is_ended_silently(
    kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    behind: list[asyncio.Future[None]] = []

    def factory() -> Any:
        if kind == "coroutine":
            return forever()
        behind.append(asyncio.get_running_loop().create_future())
        behind[0].add_done_callback(lambda _: None)  # so that a cancellation fails without a loop
        return behind[0]

    async def main() -> Ended:
        _, reports = make(factory)
        asyncio.get_running_loop().call_soon(request, reports, CREATING)
        await asyncio.sleep(0)  # the batch starts in the last turn of the loop
        return reports

    reports = left_in_a_closed_loop(main())
    (stuck,) = reports.work.cancel_all()
    assert stuck.has_begun
    assert stuck.state is RunState.GOING
    assert reports.work.end(stuck)
    del reports, stuck
    gc.collect()
    assert not recwarn.list


def test_a_closed_loop_ends_no_abandoned_closer() -> None:
    async def closer(_: object) -> None:
        while True:
            try:
                await forever()
            except asyncio.CancelledError:
                continue

    async def main() -> Work[Any]:
        work, reports = make(closer, limit=5)
        request(reports, CLOSING)
        await asyncio.sleep(6)
        assert work.abandoned() == 1
        return work

    work = left_in_a_closed_loop(main())
    assert work.cancel_all() == []
    assert work.abandoned() == 0


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("sync", None),
        ("failing", OSError),
        ("interrupting", KeyboardInterrupt),
        ("async", "it is asynchronous and the event loop is closed"),
        ("awaitable", "it is asynchronous and the event loop is closed"),
    ],
)
def test_without_a_loop_only_a_sync_closer_can_run(
    kind: str, problem: object, recwarn: pytest.WarningsRecorder
) -> None:
    called: list[object] = []

    class Custom:
        def __await__(self) -> Any: ...

    def closer(resource: object) -> Any:
        called.append((resource, VARIABLE.get()))
        if kind == "failing":
            raise OSError("broken")
        if kind == "interrupting":
            raise KeyboardInterrupt
        if kind == "sync":
            return None
        return forever() if kind == "async" else Custom()

    work: Work[Any] = Work(Binding("db"), {CLOSING: (closer, NEVER)})
    slot: Slot[Any] = Slot(0)
    slot.state, slot.resource = CLOSING, "a"
    VARIABLE.set("of the caller")
    found = work.call_closer(slot)
    assert called == [("a", "empty")]
    assert problem in (found, type(found))
    gc.collect()
    assert not recwarn.list
    assert work.has_closer
    assert not Work(Binding("db"), {CLOSING: (None, NEVER)}).has_closer
