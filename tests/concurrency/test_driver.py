"""The driver alone, with fakes for all other parts: gate, deferred calls, effects, timers."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from nodetool.concurrency import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.fakes import NOTHING, FakeBinding, FakeLoop, FakeMachine, FakeWork
from tests.inside import (
    FIRST_BACKOFF,
    LAST_BACKOFF,
    NEVER,
    Calls,
    Counts,
    Driver,
    Floor,
    Phase,
    Run,
    RunState,
    Slot,
    SlotState,
    Waiter,
    WaiterState,
    resolve,
)
from tests.virtual_time import run, turns

start = asyncio.create_task


class Lab:
    """A driver and its fake parts, with notes of everything that they do, in order."""

    def __init__(self, **options: Any) -> None:
        self.notes: list[str] = []
        self.machine = FakeMachine(self.notes)
        self.binding = FakeBinding()
        self.work = FakeWork(self.notes)
        self.driver: Driver[Any] = Driver(
            self.machine,  # type: ignore[arg-type]
            self.binding,  # type: ignore[arg-type]
            self.work,  # type: ignore[arg-type]
            **{"timed": True, **options},
        )

    def note(self, text: str) -> Callable[[], None]:
        """Return a step that only makes a note."""
        return partial(self.notes.append, text)

    def wish(self, state: SlotState) -> Slot[Any]:
        """Put a slot into the outbox, as a step does."""
        slot: Slot[Any] = Slot(0)
        slot.state = state
        self.machine.outbox.work.append(slot)
        return slot

    def decide(self, error: BaseException | None = None) -> Waiter[Any]:
        """Put a decided waiter into the outbox, as a step does."""
        made = waiter(WaiterState.HANDED if error is None else WaiterState.DONE)
        made.error = error
        made.future.add_done_callback(lambda _: self.notes.append("woken"))
        self.machine.outbox.woken.append(made)
        return made


def waiter(state: WaiterState = WaiterState.WAITING, expires_at: float = NEVER) -> Waiter[Any]:
    """Make a waiter of the running loop."""
    made: Waiter[Any] = Waiter()
    made.state, made.ticket, made.slot, made.error = state, 0, None, None
    made.expires_at, made.limit, made.since = expires_at, 5.0, 100.0
    made.future = asyncio.get_running_loop().create_future()
    return made


# The gate.


@pytest.mark.parametrize("entry", ["run", "answer"])
def test_the_gate_is_closed_during_a_step_and_its_effects_and_open_afterwards(entry: str) -> None:
    lab = Lab()
    seen: list[bool] = []

    def step() -> str:
        seen.append(lab.driver.busy)
        lab.wish(SlotState.CLOSING)
        return "the answer"

    lab.machine.does["closer_ended"] = lambda _: seen.append(lab.driver.busy)
    lab.work.has_closer = False
    answer = getattr(lab.driver, entry)(step)
    assert answer == ("the answer" if entry == "answer" else None)
    assert seen == [True, True]
    assert not lab.driver.busy


@pytest.mark.parametrize("entry", ["run", "answer"])
def test_a_nested_call_runs_after_the_step_and_its_effects(entry: str) -> None:
    lab = Lab()

    def step() -> None:
        lab.driver.run(lab.note("nested"))
        lab.wish(SlotState.CREATING)
        lab.notes.append("step")

    getattr(lab.driver, entry)(step)
    assert lab.notes == ["step", "request: creating", "nested"]


def test_a_call_that_arrives_during_the_effects_runs_after_all_of_them() -> None:
    lab = Lab()
    lab.work.has_closer = False

    def closer_ended(_: object) -> None:
        lab.driver.run(lab.note("nested"))

    def step() -> None:
        lab.wish(SlotState.CLOSING)
        lab.wish(SlotState.CREATING)

    lab.machine.does["closer_ended"] = closer_ended
    lab.driver.run(step)
    assert lab.notes == ["closer_ended", "request: creating", "nested"]


def test_deferred_calls_run_in_the_order_in_which_they_came() -> None:
    lab = Lab()
    run_step = lab.driver.run

    def first() -> None:
        lab.notes.append("first")
        run_step(lab.note("of the first"))

    def step() -> None:
        run_step(first)
        run_step(lab.note("second"))

    run_step(step)
    assert lab.notes == ["first", "second", "of the first"]


def test_the_effects_of_a_deferred_call_come_before_the_next_deferred_call() -> None:
    lab = Lab()

    def step() -> None:
        lab.driver.run(lambda: lab.wish(SlotState.CREATING))
        lab.driver.run(lab.note("second"))

    lab.driver.run(step)
    assert lab.notes == ["request: creating", "second"]


def test_deferred_calls_do_not_nest_however_many_follow_each_other() -> None:
    lab = Lab()

    def step(left: int) -> None:
        if left:
            lab.driver.run(partial(step, left - 1))
        else:
            lab.notes.append("the last one")

    lab.driver.run(partial(step, 10_000))
    assert lab.notes == ["the last one"]


@pytest.mark.parametrize("entry", ["run", "answer"])
def test_the_error_of_a_step_goes_to_its_caller_and_its_effects_are_still_performed(
    entry: str,
) -> None:
    lab = Lab()

    def step() -> None:
        lab.wish(SlotState.CREATING)
        lab.driver.run(lab.note("nested"))
        raise InvalidReleaseError("refused")

    with pytest.raises(InvalidReleaseError, match="refused"):
        getattr(lab.driver, entry)(step)
    assert lab.notes == ["request: creating", "nested"]
    assert not lab.driver.busy


def test_the_error_of_a_deferred_call_is_logged_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = Lab()

    def fail() -> None:
        lab.wish(SlotState.CREATING)
        raise InvalidReleaseError("refused")

    def step() -> None:
        lab.driver.run(fail)
        lab.driver.run(lab.note("second"))

    lab.driver.run(step)
    assert lab.notes == ["request: creating", "second"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "pool 'db': a call that arrived during a step failed" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], InvalidReleaseError)


def test_an_interruption_in_a_deferred_call_loses_no_other_call() -> None:
    lab = Lab()

    def interrupt() -> None:
        raise KeyboardInterrupt

    def step() -> None:
        lab.driver.run(interrupt)
        lab.driver.run(lab.note("second"))

    with pytest.raises(KeyboardInterrupt):
        lab.driver.run(step)
    assert not lab.driver.busy
    assert lab.notes == ["second"], "there may be no next call"


def test_tasks_that_wait_for_the_gate_go_on_in_order_when_it_is_open() -> None:
    async def main() -> None:
        lab = Lab()

        async def use(name: str) -> None:
            await lab.driver.ready()
            assert not lab.driver.busy
            lab.driver.run(lab.note(name))

        async def nested() -> list[asyncio.Task[None]]:
            tasks = [start(use("first")), start(use("second"))]
            await turns(2)
            return tasks

        lab.driver.busy = True  # as in a step: no other task can see that
        tasks = await nested()
        assert lab.notes == []
        lab.driver.busy = False
        lab.driver.catch_up()
        await asyncio.gather(*tasks)
        assert lab.notes == ["first", "second"]

    run(main())


def test_the_gate_may_close_again_before_the_task_that_waits_for_it_runs() -> None:
    async def main() -> None:
        lab = Lab()
        lab.driver.busy = True
        waits = start(lab.driver.opened())
        await turns()
        lab.driver.busy = False
        lab.driver.catch_up()
        lab.driver.busy = True
        await turns()
        assert not waits.done()
        lab.driver.busy = False
        lab.driver.catch_up()
        await waits

    run(main())


def test_an_open_gate_makes_nobody_wait() -> None:
    for wait in (Lab().driver.opened(), Lab().driver.ready()):
        with pytest.raises(StopIteration):
            wait.send(None)


def test_the_loop_is_checked_before_the_gate() -> None:
    lab = Lab()
    lab.binding.elsewhere = True
    lab.driver.busy = True
    with pytest.raises(ResourcePoolLoopError):
        lab.driver.ready().send(None)


def test_a_call_from_another_thread_is_handed_to_the_thread_of_the_loop() -> None:
    lab = Lab()
    loop = lab.binding.loop = FakeLoop()
    lab.binding.elsewhere = True
    lab.driver.busy = True  # the loop's thread may be in a step
    lab.driver.run(lab.note("step"))
    assert (lab.notes, len(loop.calls)) == ([], 1)
    lab.driver.busy = lab.binding.elsewhere = False
    loop.calls.pop()()
    assert lab.notes == ["step"]


def test_the_end_of_a_context_in_another_thread_is_handed_to_the_thread_of_the_loop() -> None:
    lab = Lab()
    loop = lab.binding.loop = FakeLoop()
    lab.binding.elsewhere = True
    slot = lab.machine.lease("a")
    slot.context = context = object()
    lab.driver.end_context(slot, context, False)
    assert (lab.notes, len(loop.calls)) == ([], 1)
    lab.binding.elsewhere = False
    loop.calls.pop()()
    assert lab.notes == ["release"]


def test_a_call_from_another_thread_runs_there_if_the_loop_has_just_been_closed() -> None:
    class ClosedLoop(FakeLoop):
        def call_soon_threadsafe(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("Event loop is closed")

    lab = Lab()
    lab.binding.loop = ClosedLoop()
    lab.binding.elsewhere = True
    lab.driver.run(lab.note("step"))
    assert lab.notes == ["step"]


class DeepFuture:
    """A future at whose depth the stack has no room left."""

    def done(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        raise RecursionError


def test_an_acquirer_that_the_stack_has_no_room_to_wake_is_an_error_of_the_call() -> None:
    async def main() -> None:
        lab = Lab()
        future: Any = DeepFuture()

        def step() -> None:
            lab.decide().future = future

        with pytest.raises(RecursionError):
            lab.driver.run(step)
        assert not lab.driver.busy
        with pytest.raises(RecursionError):
            resolve(future, None)

    run(main())


@pytest.mark.guarantees("NoDoubleRelease")
def test_terminate_ends_no_lease_that_has_ended() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")

    def step() -> None:
        lab.driver.terminate()
        lab.driver.discard(slot)
        slot.state = SlotState.CLOSING  # the step in progress has closed it

    lab.driver.run(step)
    assert lab.notes[0] == "terminate"


@pytest.mark.guarantees("NothingLost", "NoDoubleRelease")
def test_terminate_takes_the_returns_first_that_were_accepted_before_it() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")

    def step() -> None:
        lab.driver.terminate()
        lab.driver.discard(slot)

    lab.driver.run(step)
    assert lab.notes == ["discard", "terminate", "cancel all"]


def test_another_machine_can_be_driven() -> None:
    lab = Lab()
    other = FakeMachine(["other"])
    lab.driver.replace_machine(other)  # type: ignore[arg-type]
    slot = other.lease("a")
    assert lab.driver.slot_of("a") is slot
    slot.state = SlotState.CREATING
    other.outbox.work.append(slot)
    lab.driver.catch_up()
    assert lab.notes == ["request: creating"]
    assert lab.driver.machine is other  # type: ignore[comparison-overlap]


def test_a_question_during_a_step_or_in_another_thread_is_answered_at_once() -> None:
    async def main() -> None:
        lab = Lab()
        assert lab.driver.read(lambda: lab.driver.busy) is False, "the owner is another thread"
        lab.binding.owner = inside.owner_of(asyncio.get_running_loop())
        assert lab.driver.read(lambda: lab.driver.busy) is True
        nested = lab.note("nested")
        lab.driver.read(lambda: lab.driver.run(nested))
        assert lab.notes == ["nested"]
        lab.driver.run(lambda: lab.driver.read(lab.note("question")))
        assert lab.notes == ["nested", "question"]

    run(main())


# Returns of resources.


@pytest.mark.parametrize("way", ["discard", "detach"])
def test_a_return_is_a_step_of_its_own(way: str) -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    getattr(lab.driver, way)(slot)
    assert (lab.notes, lab.machine.args[way]) == ([way], (slot,))


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("way", ["release", "discard", "detach"])
def test_a_return_during_a_step_is_deferred_once_and_then_refused(way: str) -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    refused: list[str] = []

    def step() -> None:
        getattr(lab.driver, way)(slot)
        for again in (lab.driver.release, lab.driver.discard, lab.driver.detach):
            with pytest.raises(InvalidReleaseError) as info:
                again(slot)
            refused.append(str(info.value))
        lab.notes.append("step")

    lab.driver.run(step)
    assert lab.notes == ["step", way.removeprefix("defer_")]
    assert refused == ["idle"] * 3, "the slot is as good as idle"
    lab.notes.clear()
    lab.driver.run(lambda: lab.driver.discard(slot))  # it can be leased, and given back, again
    assert lab.notes == ["discard"]


@pytest.mark.parametrize("state", [SlotState.IDLE, SlotState.CLOSING, SlotState.RESETTING])
def test_a_return_of_what_is_not_held_is_refused_at_once(state: SlotState) -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    slot.state = state

    def step() -> None:
        with pytest.raises(InvalidReleaseError, match=state.value):
            lab.driver.discard(slot)

    lab.driver.run(step)
    assert lab.notes == []


def test_a_deferred_release_has_effects() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")

    def release(slot: Slot[Any], _: float) -> None:
        slot.state = SlotState.RESETTING
        lab.machine.outbox.work.append(slot)

    lab.machine.does["release"] = release
    lab.driver.run(lambda: lab.driver.release(slot))
    assert lab.notes == ["release", "request: resetting"]
    assert lab.machine.args["release"] == (slot, lab.binding.now)


@pytest.mark.parametrize("discard", [True, False])
def test_the_end_of_a_context_gives_back_its_own_lease_only(discard: bool) -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    mine, other = object(), object()
    slot.context = other
    lab.driver.end_context(slot, mine, discard)
    assert lab.notes == []
    slot.context = mine
    lab.driver.end_context(slot, mine, discard)
    assert lab.notes == ["discard" if discard else "release"]
    assert lab.machine.args[lab.notes[0]] == (
        (slot, "interrupted", None) if discard else (slot, 100.0)
    )


def test_a_context_whose_lease_ends_in_the_step_in_progress_ends_nothing_else() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    slot.context = context = object()

    def step() -> None:
        lab.driver.end_context(slot, context, False)
        slot.context = None  # the step ends the lease

    lab.driver.run(step)
    assert lab.notes == []


def test_a_nested_end_of_a_context_whose_lease_is_over_does_nothing() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    lab.driver.run(lambda: lab.driver.end_context(slot, object(), False))
    assert lab.notes == []


def test_the_slot_of_a_resource_is_found_in_the_pool_s_loop_without_further_questions() -> None:
    async def main() -> None:
        lab = Lab()
        lab.binding.owner = inside.owner_of(asyncio.get_running_loop())
        lab.binding.elsewhere = True
        slot = lab.machine.lease("a")
        assert lab.driver.slot_of("a") is slot

    run(main())


def test_the_slot_of_a_resource_is_found_by_its_identity() -> None:
    lab = Lab()
    resource: list[int] = []
    slot = lab.machine.lease(resource)
    assert lab.driver.slot_of(resource) is slot
    with pytest.raises(InvalidReleaseError, match=r"list object at .*: it is not of this pool"):
        lab.driver.slot_of([])
    lab.binding.elsewhere = True
    with pytest.raises(ResourcePoolLoopError):
        lab.driver.slot_of(resource)


# Effects.


def test_waiters_are_woken_before_work_is_asked_for() -> None:
    async def main() -> None:
        lab = Lab()

        def step() -> None:
            lab.wish(SlotState.CLOSING)
            lab.wish(SlotState.CREATING)
            decided.append(lab.decide())

        decided: list[Waiter[Any]] = []
        lab.driver.run(step)
        assert decided[0].future.done()
        assert lab.notes == ["request: closing", "request: creating"]
        assert not lab.machine.outbox.woken
        assert not lab.machine.outbox.work

    run(main())


def test_a_waiter_whose_task_was_cancelled_is_not_woken() -> None:
    async def main() -> None:
        lab = Lab()
        decided = lab.decide()
        decided.future.cancel()
        lab.driver.catch_up()
        assert decided.future.cancelled()
        assert not lab.machine.outbox.woken

    run(main())


class SuddenFuture:
    """A future that a signal handler cancels just before it gets its result."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def done(self) -> bool:
        return self.is_cancelled

    def set_result(self, _: object) -> None:
        self.is_cancelled = True
        raise asyncio.InvalidStateError


def test_a_waiter_may_be_cancelled_while_it_is_woken() -> None:
    async def main() -> None:
        lab = Lab()
        future: Any = SuddenFuture()
        lab.decide().future = future
        lab.driver.catch_up()
        assert future.is_cancelled

    run(main())


@pytest.mark.parametrize("is_over", [False, True], ids=["loop", "closed loop"])
@pytest.mark.parametrize("has_closer", [False, True], ids=["no closer", "closer"])
def test_a_closing_takes_a_call_only_if_there_is_a_closer(is_over: bool, has_closer: bool) -> None:
    lab = Lab()
    lab.work.has_closer, lab.binding.over = has_closer, is_over
    lab.driver.run(lambda: lab.wish(SlotState.CLOSING))
    if not has_closer:
        expected = ["closer_ended"]
    elif is_over:
        expected = ["call the closer", "closer_ended"]
    else:
        expected = ["request: closing"]
    assert lab.notes == expected


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (SlotState.CREATING, "create_failed"),
        (SlotState.CHECKING, "check_failed"),
        (SlotState.RESETTING, "reset_failed"),
    ],
)
def test_on_a_closed_loop_work_fails_at_once(state: SlotState, step: str) -> None:
    lab = Lab()
    lab.binding.over = True
    slots: list[Slot[Any]] = []
    lab.driver.run(lambda: slots.append(lab.wish(state)))
    assert lab.notes == [step]
    slot, *error = lab.machine.args[step]
    assert slot is slots[0]
    assert [type(one) for one in error] == [ResourcePoolLoopError]


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("problem", [OSError("broken"), "it is asynchronous"])
def test_on_a_closed_loop_a_closer_that_fails_is_logged_and_counted(
    problem: BaseException | str, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab()
    lab.binding.over = True
    lab.work.problem = problem
    lab.driver.run(lambda: lab.wish(SlotState.CLOSING))
    assert lab.notes == ["call the closer", "closer_ended"]
    assert lab.driver.closer_failures == 1
    assert "pool 'db': a closer failed, its resource is abandoned" in caplog.text
    assert str(problem) in caplog.text


@pytest.mark.guarantees("CloseCompletes", "ClosedExactlyOnce")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_on_a_closed_loop_a_closer_that_interrupts_hinders_no_other(
    stop: type[BaseException],
) -> None:
    lab = Lab()
    lab.binding.over = True
    lab.work.problem = stop()

    def step() -> None:
        for _ in range(3):
            lab.wish(SlotState.CLOSING)

    with pytest.raises(stop):
        lab.driver.run(step)
    assert lab.notes == ["call the closer", "closer_ended"] * 3
    assert lab.driver.closer_failures == 3
    assert not lab.driver.is_nested(), "every deferred call has run"


def test_effects_that_cause_effects_are_all_performed() -> None:
    async def main() -> None:
        lab = Lab()
        lab.work.has_closer = False
        left = iter(range(5))

        def closer_ended(_: object) -> None:
            if next(left, None) is not None:
                lab.wish(SlotState.CLOSING)
                decided.append(lab.decide())

        decided: list[Waiter[Any]] = []
        lab.machine.does["closer_ended"] = closer_ended
        lab.driver.run(lambda: lab.wish(SlotState.CLOSING))
        assert lab.notes.count("closer_ended") == 6
        assert [one.future.done() for one in decided] == [True] * 5

    run(main())


# The ends of work.


def in_work(lab: Lab, kind: SlotState) -> Run:
    """Make a run that goes on."""
    slot: Slot[Any] = Slot(0)
    slot.state = kind
    made = Run(slot, Calls(None, NEVER), lab.binding.now)
    made.has_begun = True
    return made


def failed_creation(lab: Lab, error: BaseException | None = None) -> None:
    lab.driver.work_failed(in_work(lab, SlotState.CREATING), error or OSError("down"))


def succeeded_creation(lab: Lab) -> Run:
    made = in_work(lab, SlotState.CREATING)
    lab.driver.work_succeeded(made, "a")
    return made


@pytest.mark.parametrize(
    ("kind", "result", "step"),
    [
        (SlotState.CHECKING, None, "check_passed"),
        (SlotState.CHECKING, 0, "check_passed"),
        (SlotState.CHECKING, False, "check_failed"),
        (SlotState.RESETTING, False, "reset_passed"),
        (SlotState.CLOSING, False, "closer_ended"),
    ],
)
def test_a_result_takes_the_step_of_its_work(kind: SlotState, result: object, step: str) -> None:
    lab = Lab()
    made = in_work(lab, kind)
    lab.driver.work_succeeded(made, result)
    assert lab.notes == [step]
    assert lab.machine.args[step] == ((made.slot, 100.0) if "passed" in step else (made.slot,))
    lab.driver.work_succeeded(made, result)
    lab.driver.work_failed(made, OSError())
    assert lab.notes == [step], "each run has one end"


@pytest.mark.parametrize(
    ("kind", "step", "text"),
    [
        (SlotState.CHECKING, "check_failed", "INFO: pool 'db': a check failed: OSError('down')"),
        (SlotState.RESETTING, "reset_failed", "WARNING: pool 'db': a reset failed"),
        (SlotState.CLOSING, "closer_ended", "WARNING: pool 'db': a closer failed, its resource"),
        (SlotState.CREATING, "create_failed", "WARNING: pool 'db': a creation failed, and no"),
    ],
)
@pytest.mark.parametrize("closes", [False, True], ids=["open", "closing"])
@pytest.mark.parametrize("cancelled", [False, True], ids=["failed", "cancelled"])
def test_an_error_takes_the_step_of_its_work_and_is_logged_after_the_effects(
    kind: SlotState,
    step: str,
    text: str,
    closes: bool,
    cancelled: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = Lab()
    if closes:
        lab.driver.close()
    caplog.set_level(logging.INFO)
    made = in_work(lab, kind)
    made.cancelled = cancelled
    lab.driver.work_failed(made, OSError("down"))
    assert lab.driver.closer_failures == (kind is SlotState.CLOSING)
    quiet = cancelled and closes and kind is not SlotState.CLOSING
    if quiet:
        assert not caplog.records, "the pool itself or the end of the program has cancelled it"
        step = {"create_failed": step}.get(step, step.replace("failed", "passed"))
    else:
        (record,) = caplog.records
        assert text in f"{record.levelname}: {record.getMessage()}"
    assert lab.notes[-1] == step


@pytest.mark.parametrize(
    ("kind", "step"),
    [(SlotState.CHECKING, "check_failed"), (SlotState.RESETTING, "reset_failed")],
)
def test_a_late_result_is_a_failure(
    kind: SlotState, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab()
    caplog.set_level(logging.INFO)
    made = in_work(lab, kind)
    made.late = True
    lab.driver.work_succeeded(made, None)
    assert lab.notes == [step]
    assert f"TimeoutError('{kind.value}')" in caplog.text


@pytest.mark.parametrize("closes", [False, True])
def test_a_late_resource_is_closed_and_its_lateness_is_the_last_failure(
    closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab(age=lambda: 30.0)
    if closes:
        lab.driver.close()
    made = in_work(lab, SlotState.CREATING)
    made.late = True
    lab.machine.retires = closes
    lab.machine.numbers = NOTHING._replace(waiting=1)
    lab.driver.work_succeeded(made, "a")
    failure = lab.driver.take_failure(50.0)
    if closes:
        assert lab.machine.args["create_succeeded"] == (made.slot, "a", 100.0, 130.0)
        assert failure is None
    else:
        assert lab.machine.args["create_late"] == (made.slot, "a", failure)
        assert isinstance(failure, TimeoutError)
    assert ("no acquirer gets this error: TimeoutError" in caplog.text) is not closes


def test_a_new_resource_gets_its_age() -> None:
    lab = Lab(age=lambda: 30.0)
    assert lab.driver.has_ages()
    made = succeeded_creation(lab)
    assert lab.machine.args["create_succeeded"] == (made.slot, "a", 100.0, 130.0)
    ageless = Lab()
    assert not ageless.driver.has_ages()
    made = succeeded_creation(ageless)
    assert ageless.machine.args["create_succeeded"] == (made.slot, "a", 100.0, NEVER)


def test_without_limits_in_time_the_machine_gets_no_time() -> None:
    lab = Lab(timed=False)
    made = succeeded_creation(lab)
    assert lab.machine.args["create_succeeded"] == (made.slot, "a", 0.0, NEVER)


def test_a_duplicate_is_a_failed_creation() -> None:
    lab = Lab()

    def refuse(*_: object) -> None:
        raise DuplicateResourceError("again")

    lab.machine.does["create_succeeded"] = refuse
    made = succeeded_creation(lab)
    slot, error = lab.machine.args["create_failed"]
    assert slot is made.slot
    assert isinstance(error, DuplicateResourceError)
    assert "the factory returned an object that is in the pool already" in str(error)


@pytest.mark.parametrize("reported", [True, False])
def test_a_failure_that_no_acquirer_gets_is_logged_after_the_effects(
    reported: bool, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab()
    seen: list[str] = []

    def fail(_: object, error: BaseException) -> bool:
        lab.wish(SlotState.CREATING)
        if reported:
            lab.decide(error)
        return reported

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.extend(lab.notes)

    async def main() -> None:
        lab.machine.does["create_failed"] = fail
        failed_creation(lab)

    handler = Handler()
    logger = logging.getLogger("nodetool.concurrency.pool")
    logger.addHandler(handler)
    try:
        run(main())
    finally:
        logger.removeHandler(handler)
    assert (
        "a creation failed, and no acquirer gets this error: OSError('down')" in caplog.text
    ) == (not reported)
    assert seen == ([] if reported else ["create_failed", "request: creating"])


def test_closers_that_exceed_their_limit_end_and_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lab = Lab()
    lab.work.overdue = [in_work(lab, SlotState.CLOSING) for _ in range(2)]
    lab.driver.limits_exceeded()
    assert lab.notes == ["cancel the overdue", *["closer_ended"] * 2]
    assert lab.driver.closer_failures == 2
    assert caplog.text.count("it did not end within closer_timeout=5 s") >= 2


def test_the_end_of_an_age_is_a_step_unless_the_pool_closes() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    lab.driver.end_age("a")
    assert lab.machine.args["grow_old"] == (slot, 100.0)
    lab.driver.end_age("unknown")
    lab.driver.close()
    lab.driver.end_age("a")
    assert lab.notes == ["grow_old", "close"]


# Back-off of the upkeep.


def fail_for_the_floor(lab: Lab) -> None:
    """Let a creation for the minimum size fail."""
    lab.machine.floor = Floor.BACKOFF
    failed_creation(lab)


def test_the_back_off_doubles_up_to_its_limit_and_ends_with_a_success() -> None:
    lab = Lab()
    lab.machine.does["retry_floor"] = lambda: setattr(lab.machine, "floor", Floor.ON)
    delays: list[float] = []
    for _ in range(12):
        fail_for_the_floor(lab)
        fail_for_the_floor(lab)  # another one in the same back-off sets no other timer
        (at,) = lab.binding.armed()
        delays.append(at - lab.binding.now)
        lab.binding.go_to(at)
    assert delays[:3] == pytest.approx([FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF])
    assert delays[-1] == pytest.approx(LAST_BACKOFF)
    assert lab.notes.count("retry_floor") == 12
    lab.machine.floor = Floor.ON
    succeeded_creation(lab)
    fail_for_the_floor(lab)
    assert lab.binding.armed() == pytest.approx([lab.binding.now + FIRST_BACKOFF])


def test_a_success_ends_the_back_off_and_its_timer() -> None:
    lab = Lab()
    fail_for_the_floor(lab)
    lab.machine.does["create_succeeded"] = lambda *_: setattr(lab.machine, "floor", Floor.ON)
    succeeded_creation(lab)
    assert lab.binding.armed() == []


@pytest.mark.guarantees("FloorRestored")
def test_the_success_of_a_retired_creation_leaves_the_back_off_and_its_timer() -> None:
    lab = Lab()
    fail_for_the_floor(lab)
    lab.machine.retires = True
    succeeded_creation(lab)
    assert lab.binding.armed() == pytest.approx([100 + FIRST_BACKOFF])


# The sweep.


def test_the_timer_of_the_sweep_follows_the_outbox() -> None:
    lab = Lab()

    def sweep_at(time: float) -> None:
        lab.machine.outbox.sweep_at = time

    lab.driver.run(partial(sweep_at, 150.0))
    assert lab.binding.armed() == [150]
    lab.driver.run(partial(sweep_at, 160.0))
    assert lab.binding.armed() == [150], "one that fires too early is cheaper than a new one"
    lab.driver.run(partial(sweep_at, 120.0))
    assert lab.binding.armed() == [120]
    assert lab.driver.sweep_time() == 120
    lab.machine.does["sweep"] = lambda _: sweep_at(NEVER)
    lab.binding.go_to(130)
    assert (lab.notes, lab.machine.args["sweep"]) == (["sweep"], (120.0,))
    assert lab.binding.armed() == []


def test_a_sweep_that_fails_does_not_arm_its_timer_again() -> None:
    lab = Lab()
    lab.driver.run(lambda: setattr(lab.machine.outbox, "sweep_at", 150.0))

    def fail(_: float) -> None:
        raise AssertionError("a contract")

    lab.machine.does["sweep"] = fail
    with pytest.raises(AssertionError, match="a contract"):
        lab.binding.go_to(150)
    assert lab.binding.armed() == [], "a timer in the past would fire at once, for ever"
    lab.driver.run(lambda: setattr(lab.machine.outbox, "sweep_at", 160.0))
    assert lab.binding.armed() == [160]


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_the_end_drops_all_timers_for_good(end: str) -> None:
    async def main() -> None:
        lab = Lab()
        fail_for_the_floor(lab)
        lab.driver.run(lambda: setattr(lab.machine.outbox, "sweep_at", 150.0))
        lab.driver.start_waiting(waiter(), 5.0)
        assert len(lab.binding.armed()) == 3
        getattr(lab.driver, end)()
        assert lab.binding.armed() == []
        lab.driver.run(lambda: setattr(lab.machine.outbox, "sweep_at", 101.0))
        assert lab.binding.armed() == []

    run(main())


def test_a_closed_pool_stops_its_work() -> None:
    lab = Lab()
    lab.driver.close()
    assert lab.notes == ["close"]
    lab.machine.phase = Phase.CLOSED
    lab.driver.work_succeeded(in_work(lab, SlotState.CLOSING), None)
    assert lab.notes == ["close", "closer_ended", "stop"]


# Acquirers.


def test_a_waiter_gets_a_future_and_a_deadline() -> None:
    async def main() -> None:
        lab = Lab()
        for limit, deadline, timers in (
            (5.0, 105.0, [105.0]),
            (0.0, 100.0, []),
            (NEVER, NEVER, []),
        ):
            got: Waiter[Any] = Waiter()
            lab.driver.start_waiting(got, limit)
            assert (got.limit, got.expires_at, got.since) == (limit, deadline, 100.0)
            assert not got.future.done()
            assert lab.binding.armed() == timers
            for timer in lab.binding.timers:
                timer.cancel()

    run(main())


@pytest.mark.guarantees("DeadlineKept", "OneOutcome")
def test_all_waiters_of_one_deadline_time_out_in_one_step_with_one_message() -> None:
    async def main() -> None:
        lab = Lab()
        told: dict[int, BaseException] = {}
        waiters = [waiter() for _ in range(5)]
        for got, limit in zip(waiters, (5.0, 5.0, 4.0, 7.0, 5.0), strict=True):
            lab.driver.start_waiting(got, limit)
        waiters[1].state = WaiterState.HANDED
        lab.machine.does["timeout"] = partial(time_out, told, waiters)
        lab.work.in_flight = [in_work(lab, SlotState.CREATING)]
        lab.machine.numbers = NOTHING._replace(creating=1)
        lab.binding.go_to(106)
        assert lab.notes == ["timeout"] * 3
        assert sorted(told) == [0, 2, 4], "a served waiter does not time out"
        assert str(told[0]) == str(told[4])
        assert all(isinstance(error, ResourcePoolTimeoutError) for error in told.values())
        assert "no resource within 5 s" in str(told[0])
        assert "1 being created (the first for 5.0 s)" in str(told[0])
        assert "no resource within 4 s" in str(told[2])
        lab.binding.go_to(107)
        assert sorted(told) == [0, 2, 3, 4]

    run(main())


def time_out(
    told: dict[int, BaseException],
    waiters: list[Waiter[Any]],
    got: Waiter[Any],
    error: BaseException,
) -> None:
    told[waiters.index(got)] = error


@pytest.mark.parametrize("since", [90.0, 110.0], ids=["before", "during"])
def test_a_timeout_has_the_failure_of_a_creation_during_the_acquire_as_its_cause(
    since: float,
) -> None:
    lab = Lab()
    lab.machine.numbers = NOTHING._replace(waiting=1)
    error = OSError("down")
    failed_creation(lab, error)
    timeout = lab.driver.with_cause(lab.driver.timeout_error(5.0), since)
    assert timeout.__cause__ is (error if since < 100 else None)
    succeeded_creation(lab)
    timeout = lab.driver.with_cause(lab.driver.timeout_error(5.0), since)
    assert timeout.__cause__ is None, "the factory works again"


def test_a_resumed_acquirer_gets_its_error_without_a_step_and_nothing_keeps_the_error() -> None:
    async def main() -> None:
        lab = Lab()
        got = lab.decide(OSError("down"))
        got.since = 90.0
        with pytest.raises(OSError, match="down"):
            lab.driver.resume(got)
        assert lab.notes == []
        assert got.error is None
        assert lab.driver.waited == 10.0
        assert not lab.driver.busy

    run(main())


def test_a_resumed_acquirer_holds_a_slot_for_its_context_or_waits_again_or_finds_no_pool() -> None:
    async def main() -> None:
        lab = Lab()
        slot, context = lab.machine.lease("a"), object()
        got = waiter(expires_at=105.0)
        got.since, future = 90.0, got.future
        lab.machine.does["resume"] = lambda *_: slot
        assert lab.driver.resume(got, context) == (slot, "a")
        assert slot.context is context
        lab.machine.does["resume"] = lambda *_: got
        lab.binding.now = 103.0
        assert lab.driver.resume(got) == (got, None)
        assert (got.expires_at, got.limit) == (105.0, 5.0), "one deadline over all waits"
        assert got.future is not future
        assert lab.binding.armed() == [105.0]
        assert lab.driver.waited == 13.0
        lab.machine.does["resume"] = lambda *_: setattr(got, "slot", lab.wish(SlotState.CLOSING))
        assert lab.driver.resume(got) == (None, None)
        assert lab.notes[-1] == "request: closing", "the effects are performed"

    run(main())


@pytest.mark.parametrize(
    ("state", "steps"), [(WaiterState.WAITING, ["timeout"]), (WaiterState.HANDED, [])]
)
def test_an_acquire_that_must_not_wait_fails_unless_it_was_served(
    state: WaiterState, steps: list[str]
) -> None:
    async def main() -> None:
        lab = Lab()
        got = waiter(state)
        if steps:
            with pytest.raises(ResourcePoolTimeoutError, match="within 0 s"):
                lab.driver.refuse_waiting(got)
        else:
            lab.driver.refuse_waiting(got)
        assert lab.notes == steps

    run(main())


@pytest.mark.guarantees("NothingLost", "OneOutcome")
@pytest.mark.parametrize("state", list(WaiterState))
@pytest.mark.parametrize("nested", [False, True])
def test_a_waiter_that_leaves_is_cancelled_unless_it_is_done(
    state: WaiterState, nested: bool
) -> None:
    async def main() -> None:
        lab = Lab()
        lab.binding.owner = inside.owner_of(asyncio.get_running_loop())
        got = waiter(state)
        got.since = 90.0
        if nested:
            lab.driver.run(partial(lab.driver.leave, got))
        else:
            lab.driver.leave(got)
        assert lab.notes == ([] if state is WaiterState.DONE else ["cancel"])
        assert lab.driver.waited == 10.0

    run(main())


def test_a_nested_call_does_not_disturb_the_sum_of_the_waits() -> None:
    async def main() -> None:
        lab = Lab()
        lab.binding.owner = inside.owner_of(asyncio.get_running_loop())
        leaving, dying = waiter(), waiter()
        leaving.since, dying.since = 90.0, 80.0
        deaths = [dying]

        def clock() -> float:
            if deaths:
                lab.driver.leave(deaths.pop())
            return 100.0

        lab.binding.clock = clock  # type: ignore[method-assign]
        lab.driver.leave(leaving)
        assert lab.driver.waited == 30.0

    run(main())


def test_a_nested_call_runs_after_the_step_in_which_a_waiter_leaves() -> None:
    async def main() -> None:
        lab = Lab()
        lab.binding.owner = inside.owner_of(asyncio.get_running_loop())
        lab.machine.does["cancel"] = lambda *_: lab.driver.run(lab.note("nested"))
        lab.driver.leave(waiter())
        assert lab.notes == ["cancel", "nested"]

    run(main())


def test_a_waiter_that_leaves_in_the_step_that_ends_its_acquire_is_not_cancelled() -> None:
    async def main() -> None:
        lab = Lab()
        got = waiter()

        def step() -> None:
            lab.driver.leave(got)
            got.state = WaiterState.DONE

        lab.driver.run(step)
        assert lab.notes == []

    run(main())


ERRORS = [OSError("down"), ResourcePoolTimeoutError("down"), ResourcePoolClosedError("down")]


@pytest.mark.parametrize("end", ["leaves", "leaves in the step", "resumes", "of the acquire"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_creation_s_error_that_an_acquirer_leaves_behind_is_logged(
    end: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        lab = Lab()
        made: list[Waiter[Any]] = []

        def fail(*_: object) -> bool:
            made.append(lab.decide(error))
            if end == "leaves in the step":
                lab.driver.leave(made[0])
            return True

        lab.machine.does["create_failed"] = fail
        if end == "of the acquire":
            lab.driver.run(lambda: made.append(lab.decide(error)))
        else:
            failed_creation(lab, error)
        if end == "resumes":
            with pytest.raises(type(error)):
                lab.driver.resume(made[0])
        lab.driver.leave(made[0])
        lab.driver.leave(made[0])
        times = caplog.text.count("no acquirer gets this error")
        assert times == ("leaves" in end)

    run(main())


def test_many_cancelled_waiters_are_dropped_from_the_deadlines() -> None:
    async def main() -> None:
        lab = Lab()
        lab.machine.does["cancel"] = lambda got, _: setattr(got, "state", WaiterState.DONE)
        waiters = [waiter() for _ in range(200)]
        for number, got in enumerate(waiters):
            lab.driver.start_waiting(got, 50.0 - number / 10)
        futures = [weakref.ref(got.future) for got in waiters]
        while waiters:
            lab.driver.leave(waiters.pop())
        lab.machine.args.clear()
        del got
        gc.collect()
        assert sum(future() is not None for future in futures) <= 2 * 64

    run(main())


# The end.


def test_terminate_cancels_work_after_the_effects_of_its_step() -> None:
    lab = Lab()
    lab.machine.does["terminate"] = lambda: lab.wish(SlotState.CLOSING)
    lab.driver.terminate()
    assert lab.notes == ["terminate", "request: closing", "cancel all"]


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("is_over", [False, True], ids=["loop", "closed loop"])
def test_terminate_ends_all_work_that_cannot_end_by_itself(
    is_over: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        lab = Lab()
        lab.binding.over = is_over
        kinds = (SlotState.CREATING, SlotState.CHECKING, SlotState.RESETTING)
        lab.work.stuck = [in_work(lab, kind) for kind in kinds]
        expected = ["terminate", "cancel all", "create_failed", "check_passed", "reset_passed"]
        handed = lab.machine.lease("handed")
        handed.state, handed.waiter = SlotState.HANDED, waiter(WaiterState.HANDED)
        lab.machine.lease("held")
        if is_over:
            lab.work.stuck += [in_work(lab, SlotState.CLOSING) for _ in range(2)]
            lab.work.stuck[3].has_begun = False
            expected += ["call the closer", "closer_ended", "closer_ended", "cancel"]
        lab.driver.terminate()
        assert lab.notes == expected
        assert lab.driver.closer_failures == is_over
        assert ("the event loop was closed before it ended" in caplog.text) == is_over
        if is_over:
            assert lab.machine.args["cancel"] == (handed.waiter, 100.0)
        assert all(one.state is RunState.ENDED for one in lab.work.stuck)

    run(main())


def test_a_forked_child_takes_no_step() -> None:
    lab = Lab()
    lab.binding.forked = True
    lab.driver.run(lab.note("step"))
    assert lab.notes == []


# Waiting for a condition.


def in_this_loop() -> Lab:
    """Make a driver whose parts belong to the running loop."""
    lab = Lab()
    loop: Any = asyncio.get_running_loop()
    lab.binding.loop = loop
    return lab


WAYS: dict[str, Callable[[Lab], Any]] = {
    "closed": lambda lab: lab.driver.closed(NEVER),
    "fits": lambda lab: lab.driver.fits(),
    "filled": lambda lab: lab.driver.filled(NEVER),
    "retired": lambda lab: lab.driver.retired(1),
    "freed": lambda lab: lab.driver.freed(lab.machine.slots()),
}


def fulfil(lab: Lab, way: str) -> None:
    """Let a step fulfil a condition."""
    if way == "closed":
        lab.machine.phase = Phase.CLOSED
    elif way == "retired":
        lab.machine.oldest = 1
    elif way == "freed":
        for slot in lab.machine.slots():
            slot.state = SlotState.FREE
    else:
        lab.machine.numbers = NOTHING


@pytest.mark.parametrize("way", WAYS)
def test_a_caller_waits_until_a_step_fulfils_its_condition(way: str) -> None:
    async def main() -> None:
        lab = in_this_loop()
        lab.machine.numbers = NOTHING._replace(min_size=1, max_size=1, closing=2)
        for resource in ("a", "b"):
            lab.machine.lease(resource).state = SlotState.CLOSING
        waits = [start(WAYS[way](lab)) for _ in range(3)]
        await turns()
        assert lab.driver.watchers() == 3
        waits[0].cancel()
        lab.driver.run(lab.note("a step that does not"))
        await turns()
        assert [wait.done() for wait in waits] == [True, False, False]
        assert lab.driver.watchers() == 2
        lab.driver.run(partial(fulfil, lab, way))
        await asyncio.wait(waits)
        assert waits[1].exception() is waits[2].exception() is None
        assert lab.driver.watchers() == 0
        with pytest.raises(StopIteration):
            WAYS[way](lab).send(None)  # it is fulfilled already

    run(main())


@pytest.mark.parametrize("how", ["its time passes", "it is cancelled", "it is fulfilled"])
def test_a_caller_with_a_time_limit_leaves_nothing_behind_when(how: str) -> None:
    async def main() -> None:
        lab = in_this_loop()
        waits = start(lab.driver.closed(5.0))
        await turns()
        if how == "it is cancelled":
            waits.cancel()
            await asyncio.wait([waits])
        elif how == "it is fulfilled":
            lab.driver.run(partial(fulfil, lab, "closed"))
            assert await waits is True
            assert await lab.driver.closed(5.0) is True
        else:
            assert await waits is False
        assert lab.driver.watchers() == 0
        assert not inside.pending_timers()

    run(main())


@pytest.mark.guarantees("CloseCompletes", "RetireAllCompletes")
@pytest.mark.parametrize("way", ["closed", "retired", "fits"])
def test_many_callers_cost_few_questions(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    counts, has_retired = FakeMachine.counts, FakeMachine.has_retired

    def count(machine: FakeMachine) -> Counts:
        asked.append(1)
        return counts(machine)

    def has(machine: FakeMachine, generation: int) -> bool:
        asked.append(1)
        return has_retired(machine, generation)

    async def main() -> None:
        lab = in_this_loop()
        lab.machine.numbers = NOTHING._replace(max_size=1, closing=2)
        monkeypatch.setattr(FakeMachine, "counts", count)
        monkeypatch.setattr(FakeMachine, "has_retired", has)
        waits = [start(WAYS[way](lab)) for _ in range(1000)]
        await turns()
        assert lab.driver.watchers() == 1000
        assert len(asked) <= 2 * 1000, "a caller that joins asks about few conditions"
        asked.clear()
        for _ in range(100):
            lab.driver.run(lab.note("a step"))
        assert len(asked) <= 2 * 100, "and so does a step"
        lab.driver.run(partial(fulfil, lab, way))
        asked.clear()
        await asyncio.gather(*waits)
        assert len(asked) <= 2 * 1000, "and a caller that leaves"

    run(main())
