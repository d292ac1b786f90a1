"""The driver alone, with fakes for all other parts: gate, deferred calls, effects, timers."""

from __future__ import annotations

import asyncio
import logging
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
from tests.concurrency.fakes import FakeBinding, FakeHooks, FakeLoop, FakeMachine, FakeWork
from tests.inside import (
    FIRST_BACKOFF,
    LAST_BACKOFF,
    NEVER,
    Driver,
    Floor,
    Phase,
    Slot,
    SlotState,
    Waiter,
    WaiterState,
    resolve,
)
from tests.virtual_time import run, turns

pytestmark = pytest.mark.first

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
            FakeHooks(self.notes),  # type: ignore[arg-type]
            timed=True,
            **options,
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
    made.expires_at, made.limit = expires_at, 5.0
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
    assert lab.notes == ["step", "start a creation", "start closers", "nested"]


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
    assert lab.notes == ["closer_ended", "start a creation", "start closers", "nested"]


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
    assert lab.notes == ["start a creation", "start closers", "second"]


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
    assert lab.notes == ["start a creation", "start closers", "nested"]
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
    assert lab.notes == ["start a creation", "start closers", "second"]
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
    lab.driver.run(lab.note("next"))
    assert lab.notes == ["second", "next"]


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


# Returns of resources.


@pytest.mark.parametrize("way", ["discard", "detach"])
def test_a_return_is_a_step_of_its_own(way: str) -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    getattr(lab.driver, way)(slot)
    assert (lab.notes, lab.machine.args[way]) == ([way], (slot,))


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("way", ["defer_release", "discard", "detach"])
def test_a_return_during_a_step_is_deferred_once_and_then_refused(way: str) -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    refused: list[str] = []

    def step() -> None:
        getattr(lab.driver, way)(slot)
        for again in (lab.driver.defer_release, lab.driver.discard, lab.driver.detach):
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


def test_a_deferred_release_is_reset_in_a_task_of_the_pool() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")

    def release(slot: Slot[Any], _: float) -> None:
        slot.state = SlotState.RESETTING

    lab.machine.does["release"] = release
    lab.driver.run(lambda: lab.driver.defer_release(slot))
    assert lab.notes == ["release", "start a reset"]
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


def test_a_context_whose_lease_ends_in_the_step_in_progress_ends_nothing_else() -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    slot.context = context = object()

    def step() -> None:
        lab.driver.end_context(slot, context, False)
        slot.context = None  # the step ends the lease

    lab.driver.run(step)
    assert lab.notes == []


def test_the_slot_of_a_resource_is_found_by_its_identity() -> None:
    lab = Lab()
    resource: list[int] = []
    slot = lab.machine.lease(resource)
    assert lab.driver.slot_of(resource) is slot
    with pytest.raises(InvalidReleaseError, match="free"):
        lab.driver.slot_of([])
    lab.binding.elsewhere = True
    with pytest.raises(ResourcePoolLoopError):
        lab.driver.slot_of(resource)


# Effects.


def test_waiters_are_woken_before_factories_and_closers_run() -> None:
    async def main() -> None:
        lab = Lab()

        def step() -> None:
            lab.wish(SlotState.CLOSING)
            lab.wish(SlotState.CREATING)
            decided.append(lab.decide())

        decided: list[Waiter[Any]] = []
        lab.driver.run(step)
        assert decided[0].future.done()
        assert lab.notes == ["queue a closing", "start a creation", "start closers"]
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
        expected = ["queue a closing"]
    assert lab.notes == [*expected, "start closers"]


def test_on_a_closed_loop_a_creation_fails_at_once() -> None:
    lab = Lab()
    lab.binding.over = True
    slots: list[Slot[Any]] = []
    lab.driver.run(lambda: slots.append(lab.wish(SlotState.CREATING)))
    assert lab.notes == ["create_failed", "start closers"]
    slot, error = lab.machine.args["create_failed"]
    assert slot is slots[0]
    assert isinstance(error, ResourcePoolLoopError)


def test_effects_that_cause_effects_are_all_performed() -> None:
    lab = Lab()
    lab.work.has_closer = False
    left = iter(range(5))

    def closer_ended(_: object) -> None:
        if next(left, None) is not None:
            lab.wish(SlotState.CLOSING)

    lab.machine.does["closer_ended"] = closer_ended
    lab.driver.run(lambda: lab.wish(SlotState.CLOSING))
    assert lab.notes.count("closer_ended") == 6


# Reports of the pool's own work.


def test_a_new_resource_gets_its_age() -> None:
    lab = Lab(age=lambda: 30.0)
    assert lab.driver.has_ages()
    slot: Slot[Any] = Slot(0)
    lab.driver.creation_succeeded(slot, "a")
    assert lab.machine.args["create_succeeded"] == (slot, "a", 100.0, 130.0)
    ageless = Lab()
    assert not ageless.driver.has_ages()
    ageless.driver.creation_succeeded(slot, "a")
    assert ageless.machine.args["create_succeeded"] == (slot, "a", 100.0, NEVER)


def test_a_duplicate_is_a_failed_creation() -> None:
    lab = Lab()
    error = DuplicateResourceError("again")

    def refuse(*_: object) -> None:
        raise error

    lab.machine.does["create_succeeded"] = refuse
    slot: Slot[Any] = Slot(0)
    lab.driver.creation_succeeded(slot, "a")
    assert lab.machine.args["create_failed"] == (slot, error)


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
        lab.driver.creation_failed(Slot(0), OSError("down"), False)

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
    assert seen == ([] if reported else ["create_failed", "start a creation", "start closers"])


@pytest.mark.parametrize("closes", [True, False], ids=["closing", "open"])
@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "failed"])
def test_only_creations_that_a_closing_pool_cancels_are_not_logged(
    cancelled: bool, closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab()
    if closes:
        lab.driver.close()
    lab.driver.creation_failed(Slot(0), OSError("down"), cancelled)
    assert bool(caplog.records) == (not (cancelled and closes))


def test_closers_that_exceed_their_limit_end_and_are_logged_after_the_effects() -> None:
    lab = Lab()
    lab.work.ended = [Slot(0), Slot(0)]
    lab.driver.closings_exceeded()
    assert lab.notes == ["abandon", *["closer_ended"] * 2, *["report a closer"] * 2]


# Back-off of the upkeep.


def fail(lab: Lab) -> None:
    """Let a creation for the minimum size fail."""
    lab.machine.floor = Floor.BACKOFF
    lab.driver.creation_failed(Slot(0), OSError(), False)


def test_the_back_off_doubles_up_to_its_limit_and_ends_with_a_success() -> None:
    lab = Lab()
    lab.machine.does["retry_floor"] = lambda: setattr(lab.machine, "floor", Floor.ON)
    delays: list[float] = []
    for _ in range(12):
        fail(lab)
        fail(lab)  # another one in the same back-off sets no other timer
        (at,) = lab.binding.armed()
        delays.append(at - lab.binding.now)
        lab.binding.go_to(at)
    assert delays[:3] == pytest.approx([FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF])
    assert delays[-1] == pytest.approx(LAST_BACKOFF)
    assert lab.notes.count("retry_floor") == 12
    lab.machine.floor = Floor.ON
    lab.driver.creation_succeeded(Slot(0), "a")
    fail(lab)
    assert lab.binding.armed() == pytest.approx([lab.binding.now + FIRST_BACKOFF])


def test_a_success_ends_the_back_off_and_its_timer() -> None:
    lab = Lab()
    fail(lab)
    lab.machine.does["create_succeeded"] = lambda *_: setattr(lab.machine, "floor", Floor.ON)
    lab.driver.creation_succeeded(Slot(0), "a")
    assert lab.binding.armed() == []


@pytest.mark.guarantees("FloorRestored")
def test_the_success_of_a_retired_creation_leaves_the_back_off_and_its_timer() -> None:
    lab = Lab()
    fail(lab)
    lab.driver.creation_succeeded(Slot(0), "a")  # the machine stays in the back-off
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
        fail(lab)
        lab.driver.run(lambda: setattr(lab.machine.outbox, "sweep_at", 150.0))
        lab.driver.start_waiting(waiter(), 5.0, 105.0)
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
    lab.driver.closing_ended(Slot(0))
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
            got = Waiter[Any]()
            lab.driver.start_waiting(got, limit, deadline)
            assert (got.limit, got.expires_at, got.future.done()) == (limit, deadline, False)
            assert lab.binding.armed() == timers
            for timer in lab.binding.timers:
                timer.cancel()
        slot: Slot[Any] = Slot(0)
        lab.driver.start_waiting(slot, 5.0, 105.0)
        lab.driver.start_waiting(None, 5.0, 105.0)
        assert lab.binding.armed() == []

    run(main())


@pytest.mark.guarantees("DeadlineKept", "OneOutcome")
def test_all_waiters_of_one_deadline_time_out_in_one_step_with_one_message() -> None:
    async def main() -> None:
        lab = Lab()
        told: dict[int, BaseException] = {}
        waiters = [waiter() for _ in range(4)]
        for got, limit in zip(waiters, (5.0, 5.0, 4.0, 7.0), strict=True):
            lab.driver.start_waiting(got, limit, 100.0 + (7 if limit == 7 else 5))
        waiters[1].state = WaiterState.HANDED
        lab.machine.does["timeout"] = lambda w, error: told.update({waiters.index(w): error})
        lab.binding.go_to(106)
        assert lab.notes == ["timeout"] * 2
        assert sorted(told) == [0, 2], "a served waiter does not time out"
        assert all(isinstance(error, ResourcePoolTimeoutError) for error in told.values())
        assert "no resource within 5 s" in str(told[0])
        assert "no resource within 4 s" in str(told[2])
        lab.binding.go_to(107)
        assert sorted(told) == [0, 2, 3]

    run(main())


@pytest.mark.parametrize("since", [90.0, 110.0], ids=["before", "during"])
def test_a_timeout_has_the_failure_of_a_creation_during_the_acquire_as_its_cause(
    since: float,
) -> None:
    lab = Lab()
    error = OSError("down")
    lab.driver.creation_failed(Slot(0), error, False)
    timeout = lab.driver.with_cause(lab.driver.timeout_error(5.0), since)
    assert timeout.__cause__ is (error if since < 100 else None)
    lab.driver.creation_succeeded(Slot(0), "a")
    timeout = lab.driver.with_cause(lab.driver.timeout_error(5.0), since)
    assert timeout.__cause__ is None, "the factory works again"


def test_a_resumed_acquirer_gets_its_error_without_a_step() -> None:
    async def main() -> None:
        lab = Lab()
        got = lab.decide(OSError("down"))
        with pytest.raises(OSError, match="down"):
            lab.driver.resume(got)
        assert lab.notes == []

    run(main())


def test_a_resumed_acquirer_holds_a_slot_for_its_context_or_waits_again() -> None:
    async def main() -> None:
        lab = Lab()
        slot, context, again = lab.machine.lease("a"), object(), waiter()
        first = waiter(expires_at=105.0)
        lab.machine.does["resume"] = lambda *_: slot
        assert lab.driver.resume(first, context) is slot
        assert slot.context is context
        lab.machine.does["resume"] = lambda *_: again
        assert lab.driver.resume(first) is again
        assert (again.expires_at, again.limit) == (105.0, 5.0), "one deadline over all waits"

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
def test_a_waiter_that_leaves_is_cancelled_unless_it_is_done(state: WaiterState) -> None:
    async def main() -> None:
        lab = Lab()
        lab.driver.leave(waiter(state))
        assert lab.notes == ([] if state is WaiterState.DONE else ["cancel"])

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


@pytest.mark.parametrize("end", ["leaves", "resumes", "of the acquire"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_creation_s_error_that_an_acquirer_leaves_behind_is_logged(
    end: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        lab = Lab()
        made: list[Waiter[Any]] = []

        def fail(*_: object) -> bool:
            made.append(lab.decide(error))
            return True

        lab.machine.does["create_failed"] = fail
        if end == "of the acquire":
            lab.driver.run(lambda: made.append(lab.decide(error)))
        else:
            lab.driver.creation_failed(Slot(0), error, False)
        if end == "resumes":
            with pytest.raises(type(error)):
                lab.driver.resume(made[0])
        lab.driver.leave(made[0])
        assert ("no acquirer gets this error" in caplog.text) == (end == "leaves")

    run(main())


@pytest.mark.parametrize("state", [SlotState.CHECKING, SlotState.CLOSING])
def test_an_interrupted_check_is_cancelled_unless_it_has_ended(state: SlotState) -> None:
    lab = Lab()
    slot = lab.machine.lease("a")
    slot.state = state
    lab.driver.interrupt(slot, SlotState.CHECKING)
    assert lab.notes == (["cancel"] if state is SlotState.CHECKING else [])


# The end.


def test_terminate_cancels_creations_after_the_effects_of_its_step() -> None:
    lab = Lab()
    lab.machine.does["terminate"] = lambda: lab.wish(SlotState.CLOSING)
    lab.driver.terminate()
    assert lab.notes == ["terminate", "queue a closing", "start closers", "cancel creations"]


def test_terminate_ends_everything_that_a_closed_loop_cannot_end() -> None:
    async def main() -> None:
        lab = Lab()
        creating: Slot[Any] = Slot(0)
        lab.work.ended = [creating]
        closing, checking, handed = (lab.machine.lease(name) for name in "abc")
        closing.state, checking.state = SlotState.CLOSING, SlotState.CHECKING
        handed.state, handed.waiter = SlotState.HANDED, waiter(WaiterState.HANDED)
        cancelled: list[object] = []
        lab.machine.does["cancel"] = lambda subject, _: cancelled.append(subject)
        lab.binding.over = True
        lab.driver.terminate()
        assert lab.notes == [
            *("terminate", "cancel creations", "create_failed", "end a closing", "closer_ended"),
            *("cancel", "cancel"),
        ]
        assert lab.machine.args["create_failed"][0] is creating
        assert cancelled == [checking, handed.waiter]

    run(main())


# Waiting for a condition.


def test_until_returns_when_a_step_fulfils_the_condition() -> None:
    async def main() -> None:
        lab = Lab()
        lab.binding.loop = asyncio.get_running_loop()
        assert await lab.driver.until(lambda: True)
        done: list[bool] = []
        waits = [start(lab.driver.until(lambda: bool(done), limit)) for limit in (NEVER, 5.0)]
        await turns()
        assert lab.driver.watchers() == 2
        lab.driver.run(lab.note("a step that does not"))
        await turns()
        assert not any(wait.done() for wait in waits)
        lab.driver.run(lambda: done.append(True))
        assert await asyncio.gather(*waits) == [True, True]
        assert lab.driver.watchers() == 0

    run(main())


@pytest.mark.parametrize("how", ["its time passes", "it is cancelled"])
def test_until_forgets_its_condition_when(how: str) -> None:
    async def main() -> None:
        lab = Lab()
        lab.binding.loop = asyncio.get_running_loop()
        waits = start(lab.driver.until(lambda: False, 5.0))
        await turns()
        if how == "it is cancelled":
            waits.cancel()
            await asyncio.wait([waits])
        else:
            assert await waits is False
        assert lab.driver.watchers() == 0

    run(main())
