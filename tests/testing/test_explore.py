"""The explorer runs each order once, finds failures, reports them and replays them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import random
from collections import deque
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, Exploration, explore, replay
from nodetool.concurrency.testing._run import Mode, Scenario

MODES: tuple[Mode, Mode] = ("events", "ready")


def failed(result: Exploration, kind: str) -> str:
    """Return the story of the failure. Its kind must be the given one."""
    assert result.failure is not None
    assert result.failure.kind == kind, str(result.failure)
    assert not result.exhausted
    return str(result.failure)


def found(scenario: Scenario, kind: str, mode: Mode = "events") -> str:
    result = explore(scenario, mode=mode)
    story = failed(result, kind)
    assert result.failure is not None
    again = replay(scenario, result.failure.replay)
    failed(again, kind)
    assert again.failure is not None
    assert again.failure.schedule == result.failure.schedule
    with pytest.raises(AssertionError, match=kind):
        again.raise_for_failure()
    return story


# Numbers of schedules, counted by hand.


async def two_calls(events: Events) -> None:
    async def user() -> None:
        await events.call("work")

    events.task(user(), name="a")
    events.task(user(), name="b")
    await events.join()


@pytest.mark.parametrize("prune", [True, False])
def test_two_outside_calls_end_in_eight_ways(prune: bool) -> None:
    # If the call of a ends first, the call of b can end at 5 moments: together with it, after its
    # delivery, after a ran, after `join` woke up, or when nothing else is left. If the call of b
    # ends first, there are 3 moments, because `join` waits for a first and so does not wake up.
    result = explore(two_calls, prune=prune)
    assert result.schedules == 8
    assert result.exhausted
    assert result.pruned == 0
    result.raise_for_failure()


def test_in_ready_mode_callbacks_run_in_each_order() -> None:
    orders = set()

    async def scenario(events: Events) -> None:
        order: list[int] = []
        events.watch(order)
        for number in range(3):
            asyncio.get_running_loop().call_soon(order.append, number)
        asyncio.get_running_loop().call_soon(order.append, 3).cancel()
        asyncio.get_running_loop().call_later(0, lambda: orders.add(tuple(order)))

    events = explore(scenario, repeat_every=0)
    assert (events.schedules, orders) == (1, {(0, 1, 2)})
    orders.clear()
    ready = explore(scenario, mode="ready", prune=False, repeat_every=0)
    assert ready.schedules == 24
    assert {order for order in orders if len(order) == 3} == {
        *((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    }


def test_each_outcome_of_a_call_is_one_way() -> None:
    seen: set[object] = set()

    async def scenario(events: Events) -> None:
        try:
            faults = (OSError("gone"), KeyError)
            seen.add(await events.call("work", result=1, results=(2, 3), faults=faults))
        except (OSError, KeyError) as error:
            seen.add(repr(error))

    assert explore(scenario).schedules == 5
    assert seen == {1, 2, 3, "OSError('gone')", "KeyError()"}


def test_a_task_is_cancelled_at_every_moment_and_as_often_as_allowed() -> None:
    cancelled = set()

    def scenario(times: bool | int) -> Scenario:
        async def cancellable(events: Events) -> None:
            async def user() -> None:
                count = 0
                for _ in range(3):
                    try:
                        await events.call("work")
                    except asyncio.CancelledError:
                        count += 1
                cancelled.add(count)

            events.task(user(), name="a", cancellable=times)
            await events.join()

        return cancellable

    for times in (False, True, 2):
        cancelled.clear()
        assert explore(scenario(times)).exhausted
        assert cancelled == set(range(times + 1))


def test_the_clock_jumps_to_a_timer_or_an_event_arrives_before() -> None:
    seen = set()

    async def scenario(events: Events) -> None:
        try:
            async with asyncio.timeout(5):
                await events.call("work")
            seen.add("in time")
        except TimeoutError:
            seen.add("too late")
        await asyncio.sleep(1)

    for mode in MODES:
        seen.clear()
        assert explore(scenario, mode=mode).exhausted
        assert seen == {"in time", "too late"}


# Failures.


def test_a_lost_update_is_found() -> None:
    async def scenario(events: Events) -> None:
        counter = {"value": 0}

        async def user() -> None:
            value = counter["value"]
            await events.call("think")
            counter["value"] = value + 1

        events.task(user(), name="a")
        events.task(user(), name="b")
        await events.join()
        assert counter["value"] == 2

    for mode in MODES:
        assert "think #2 returns" in found(scenario, "raised", mode)


class HandingOver:
    """A semaphore of one permit with a classic bug: a waiter that is cancelled late keeps it."""

    def __init__(self) -> None:
        self.free = True
        self.waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        if self.free:
            self.free = False
            return
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            raise

    def release(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free = True


def with_permits(make: Any) -> Scenario:
    async def scenario(events: Events) -> None:
        permits = make()

        async def user() -> None:
            await permits.acquire()
            try:
                await events.call("work")
            finally:
                permits.release()

        for name in "ab":
            events.task(user(), name=name, cancellable=name == "b")
        await events.join()
        await permits.acquire()

    return scenario


def test_a_permit_lost_between_handing_over_and_resuming_is_found() -> None:
    story = found(with_permits(HandingOver), "deadlock")
    assert "'scenario' waits in scenario (test_explore.py:" in story
    assert "> acquire (test_explore.py:" in story
    assert "cancel 'b'" in story
    assert explore(with_permits(lambda: asyncio.Semaphore(1))).exhausted


def test_a_deadlock_of_two_locks_is_found_and_shows_where_tasks_wait() -> None:
    async def scenario(events: Events) -> None:
        first, second = asyncio.Lock(), asyncio.Lock()

        async def user(one: asyncio.Lock, other: asyncio.Lock) -> None:
            async with one:
                await events.call("work")
                async with other:
                    pass

        events.task(user(first, second), name="a", cancellable=True)
        events.task(user(second, first), name="b")
        await events.join()

    story = found(scenario, "deadlock")
    assert "'a' waits in user (test_explore.py:" in story
    assert "'b' waits in user (test_explore.py:" in story
    assert "> acquire (locks.py:" in story


def test_an_invariant_is_checked_after_every_callback() -> None:
    async def scenario(events: Events) -> None:
        inside: list[str] = []

        def alone() -> None:
            assert len(inside) < 2, f"both {inside}"

        async def user(name: str) -> None:
            inside.append(name)
            await events.call("work")
            inside.remove(name)

        events.check(alone)
        events.task(user("a"))
        events.task(user("b"))
        await events.join()

    assert "both ['a', 'b']" in found(scenario, "invariant")


async def raises(error: BaseException) -> None:
    raise error


def test_an_exception_that_nobody_retrieves_is_found() -> None:
    async def of_a_task(events: Events) -> None:
        events.task(raises(OSError("nobody looks")), name="a")
        await events.join()

    async def of_a_future(_: Events) -> None:
        asyncio.get_running_loop().create_future().set_exception(OSError("nobody looks"))

    async def retrieved(events: Events) -> None:
        with contextlib.suppress(OSError):
            await events.task(raises(OSError("somebody looks")))

    for scenario in (of_a_task, of_a_future):
        assert "OSError: nobody looks" in found(scenario, "unretrieved")
    assert explore(retrieved).exhausted


def test_a_callback_that_raises_is_found() -> None:
    async def with_an_exception(_: Events) -> None:
        asyncio.get_running_loop().call_soon([].pop)

    async def without(_: Events) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_exception_handler, {"message": "something is wrong"})

    assert "IndexError" in found(with_an_exception, "callback")
    assert "something is wrong" in found(without, "callback", "ready")


def test_a_scenario_that_is_cancelled_or_leaves_something_is_found() -> None:
    async def cancelled(_: Events) -> None:
        raise asyncio.CancelledError

    async def leaves_a_call(events: Events) -> None:
        call: Any = events.call("work")
        call.send(None)._asyncio_future_blocking = False
        with contextlib.suppress(RuntimeError):
            call.throw(RuntimeError("not waited for"))

    assert "the scenario was cancelled" in found(cancelled, "raised")
    result = explore(leaves_a_call)
    failed(result, "left over")


def test_a_task_that_only_polls_is_a_livelock() -> None:
    async def scenario(events: Events) -> None:
        if await events.call("start", result=1, results=(2,)) == 1:
            return
        while await events.call("poll", result=1, results=(2,)):
            pass

    result = explore(scenario)
    story = failed(result, "livelock")
    assert "no end can be reached" in story
    assert result.failure is not None
    again = replay(scenario, result.failure.replay, max_depth=50)
    assert (again.bound, again.depth, again.failure) == ("max_depth", 50, None)
    assert explore(scenario, prune=False, max_depth=30).bound == "max_depth"


# Bounds and bad arguments.


async def endless(events: Events) -> None:
    for _ in itertools.count():
        await asyncio.sleep(0)


def test_beside_timers_that_never_end_there_is_no_deadlock_but_a_bound() -> None:
    async def ticks() -> None:
        for _ in itertools.count():
            await asyncio.sleep(1)

    async def scenario(events: Events) -> None:
        events.task(ticks())
        await asyncio.get_running_loop().create_future()

    result = explore(scenario, max_depth=20)
    assert (result.bound, result.failure, result.exhausted) == ("max_depth", None, False)


def test_an_exploration_that_a_bound_stopped_is_not_exhausted() -> None:
    cut = explore(endless, max_depth=20)
    assert (cut.bound, cut.depth, cut.failure, cut.exhausted) == ("max_depth", 20, None, False)
    few = explore(two_calls, max_schedules=3)
    assert (few.bound, few.schedules, few.exhausted) == ("max_schedules", 3, False)
    assert "stopped by max_schedules after 3" in str(few)
    short = explore(two_calls, max_seconds=0)
    assert (short.bound, short.schedules) == ("max_seconds", 1)
    all_of_it = explore(two_calls, max_schedules=8, max_seconds=60)
    assert (all_of_it.bound, all_of_it.exhausted) == (None, True)
    assert "exhausted after 8 schedules" in str(all_of_it)


def test_one_schedule_is_not_all_of_them() -> None:
    one = replay(two_calls, "e:")
    assert (one.bound, one.schedules, one.exhausted) == ("replay", 1, False)
    assert "exhausted" not in str(one)
    assert "mode events: replay ended after 1 schedules" in str(one)
    one.raise_for_failure()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="events, ready"):
        explore(two_calls, mode="wrong")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order of its own"):
        explore(two_calls, mode="ready", stock_every=1)
    for text in ("", "e", "x:1", "e:a", "e:1.", "e:-1", "e:\u00b2"):
        with pytest.raises(ValueError, match="no schedule"):
            replay(two_calls, text)
    with pytest.raises(ValueError, match="number 7 of 2"):
        replay(two_calls, "e:7")
    with pytest.raises(ValueError, match="only 5 choices"):
        replay(two_calls, "e:0.0.0.0.0.1")


# Scenarios that differ from run to run.

LUCK = random.Random(0)  # made outside of a run, so it goes on from run to run


def test_a_scenario_that_keeps_a_generator_of_random_numbers_is_found() -> None:
    async def by_choice(events: Events) -> None:
        events.task(events.call("work", results=range(LUCK.randrange(1, 1000))))
        events.task(events.call("work", results=range(LUCK.randrange(1, 1000))))
        await events.join()

    async def by_failing(events: Events) -> None:
        await events.call("work")
        raise OSError(LUCK.random())

    async def by_state(events: Events) -> None:
        number = LUCK.random()
        events.task(events.call("work", result=1))
        events.task(events.call("work", result=number))
        await events.join()

    ends = iter([True, *[False] * 5])

    async def by_ending(events: Events) -> None:
        if next(ends, True):
            await two_calls(events)

    for scenario in (by_choice, by_failing, by_ending):
        failed(explore(scenario), "nondeterministic")
    for prune in (True, False):
        result = explore(by_state, repeat_every=2, prune=prune)
        if prune:
            assert "a generator of random numbers" in failed(result, "nondeterministic")
        else:
            assert result.exhausted  # without pruning, states are not compared


def test_a_failure_that_a_repetition_does_not_have_is_nondeterministic() -> None:
    fails = iter([True])

    async def scenario(events: Events) -> None:
        await events.call("work")
        assert not next(fails, False)

    assert "then good" in failed(explore(scenario), "nondeterministic")


def test_an_address_in_a_message_makes_no_difference() -> None:
    kept = []

    async def scenario(_: Events) -> None:
        kept.append(object())
        raise OSError(kept[-1])

    failed(explore(scenario), "raised")


def test_join_can_be_cancelled_and_a_disabled_collector_stays_disabled() -> None:
    async def scenario(events: Events) -> None:
        events.task(two_calls(events), name="c", cancellable=True)
        await events.join()

    gc.disable()
    try:
        assert explore(scenario).exhausted
        assert not gc.isenabled()
    finally:
        gc.enable()
    explore(two_calls)
    assert gc.isenabled()


# The end of a run.


def test_an_unfinished_run_is_dismantled_without_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def stubborn(events: Events) -> None:
        for _ in range(3):
            with contextlib.suppress(GeneratorExit):
                await events.call("work")
                return

    async def scenario(events: Events) -> None:
        async def user() -> None:
            try:
                await events.call("work", result=1, results=(1, 1))
            finally:
                await asyncio.sleep(0)
                raise OSError

        events.task(stubborn(events))
        with contextlib.suppress(OSError):
            await events.task(user(), name="a")
        await events.join()

    result = explore(scenario)
    assert result.exhausted
    assert result.pruned > 0
    assert capfd.readouterr() == ("", "")


class Kept:
    names = ""


def orders(events: Events, kind: str) -> Any:
    """Return a coroutine that observes the order of a set of tasks, after other tasks were made."""

    async def nothing() -> None: ...

    async def scenario() -> list[str]:
        left: list[str] = []

        async def waits(name: str) -> None:
            try:
                await events.call(f"in {name}")
            finally:
                left.append(name)

        for _ in range(await events.call("way", result=2, results=range(3, 12))):
            await asyncio.create_task(nothing())
        await events.call("middle", results=[1])
        if kind == "group":
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    for name in "xy":
                        group.create_task(waits(name))
                    await asyncio.sleep(0)
                    raise OSError
            return left
        tasks = [asyncio.create_task(nothing(), name=name) for name in "xyz"]
        if kind == "all":
            found = [task for task in asyncio.all_tasks() if task in tasks]
            await asyncio.sleep(0)
        else:
            found = list((await asyncio.wait(tasks))[0])
        return [task.get_name() for task in found]

    return scenario()


@pytest.mark.parametrize("kind", ["group", "wait", "all"])
@pytest.mark.parametrize("prune", [True, False])
def test_the_order_of_a_set_of_tasks_does_not_depend_on_earlier_tasks(
    kind: str, prune: bool
) -> None:
    seen = set()

    async def scenario(events: Events) -> None:
        seen.add(" ".join(await orders(events, kind)))

    result = explore(scenario, prune=prune, repeat_every=5, stock_every=5)
    assert result.exhausted, result
    assert seen <= ({"", "x", "y", "x y"} if kind == "group" else {"x y z"})


def test_a_run_removes_its_tasks_from_the_registry_of_asyncio() -> None:
    kept: list[asyncio.Task[None]] = []

    async def scenario(events: Events) -> None:
        kept.append(events.task(two_calls(events)))
        await events.join()

    names = ("_all_tasks", "_scheduled_tasks")
    (registered,) = (vars(asyncio.tasks)[name] for name in names if name in vars(asyncio.tasks))
    explore(scenario)
    assert kept
    assert not set(kept) & set(registered)


def test_pruned_and_unpruned_agree() -> None:
    async def group(events: Events) -> None:
        assert await orders(events, "group") in ([], ["x"], ["y"], ["x", "y"])

    async def waits(events: Events) -> None:
        assert (await orders(events, "wait"))[0] == "x"

    async def endless_timeout(events: Events) -> None:
        async with asyncio.timeout(math.inf):
            await two_calls(events)

    async def watches(events: Events) -> None:
        async def note(name: str) -> None:
            await events.call("work")
            Kept.names += name

        Kept.names = ""
        events.watch(vars(Kept))
        events.task(note("a"))
        events.task(note("b"))
        await events.join()
        await events.call("later", results=(1,))
        assert Kept.names == "ab"

    async def buggy(events: Events) -> None:
        await with_permits(HandingOver)(events)

    async def correct(events: Events) -> None:
        await with_permits(asyncio.Semaphore)(events)

    for scenario in (buggy, correct, two_calls, group, waits, endless_timeout, watches):
        pruned, unpruned = explore(scenario), explore(scenario, prune=False)
        kinds = [result.failure and result.failure.kind for result in (pruned, unpruned)]
        expected = {buggy: "deadlock", watches: "raised"}
        assert kinds == [expected.get(scenario)] * 2, scenario
        assert pruned.schedules <= unpruned.schedules
        assert unpruned.pruned == unpruned.states == 0


@pytest.mark.parametrize("mode", MODES)
def test_the_clock_never_reaches_infinity(mode: Mode) -> None:
    async def sleeps(_: Events) -> None:
        await asyncio.sleep(math.inf)

    async def with_a_timeout(events: Events) -> None:
        async with asyncio.timeout(math.inf):
            await events.call("work")
        assert math.isfinite(asyncio.get_running_loop().time())

    async def leaves_one(_: Events) -> None:
        asyncio.get_running_loop().call_later(math.inf, list)

    failed(explore(sleeps, mode=mode, max_depth=50), "deadlock")
    assert explore(with_a_timeout, mode=mode, max_depth=50).schedules == 1
    assert explore(leaves_one, mode=mode).exhausted


@pytest.mark.parametrize("mode", MODES)
def test_cancelling_a_timer_that_is_due_is_no_deadlock(mode: Mode) -> None:
    async def scenario(_: Events) -> None:
        timer = asyncio.get_running_loop().call_later(1, list)
        await asyncio.sleep(1)
        timer.cancel()

    assert explore(scenario, mode=mode).exhausted
