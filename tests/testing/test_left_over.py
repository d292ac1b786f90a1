"""A scenario fails if it leaves something behind, hides a failure, or exits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.testing import Events, Failure, explore, replay
from nodetool.concurrency.testing._run import Scenario
from nodetool.concurrency.verify.schedules import watch_pool


def failure(scenario: Scenario, kind: str) -> Failure:
    """Return the failure. Both modes and a replay must find a failure of this kind."""
    in_ready_mode = explore(scenario, mode="ready").failure
    assert in_ready_mode is not None
    assert in_ready_mode.kind == kind, str(in_ready_mode)
    found = explore(scenario).failure
    assert found is not None
    assert found.kind == kind, str(found)
    again = replay(scenario, found.replay).failure
    assert again is not None
    assert (again.kind, str(again.error)) == (kind, str(found.error))
    return found


# Things that are left over.


def test_a_lease_that_is_never_given_back_is_left_over() -> None:
    def scenario(careful: bool) -> Scenario:
        async def leaks(events: Events) -> None:
            pool = watch_pool(
                events, AsyncResourcePool(object, max_size=2, acquisition_timeout=None)
            )

            async def user() -> None:
                resource = await pool.acquire()
                try:
                    await events.call("work")
                except asyncio.CancelledError:
                    if careful:
                        await pool.release(resource)
                    raise
                await pool.release(resource)

            events.task(user(), name="a", cancellable=True)
            await events.join()

        return leaks

    assert explore(scenario(careful=True)).exhausted
    found = failure(scenario(careful=False), "left over")
    assert "1 of <AsyncResourcePool" in str(found.error)
    assert "cancel 'a'" in found.schedule


def test_a_held_resource_is_left_over_unless_the_pool_was_terminated() -> None:
    def scenario(terminates: bool) -> Scenario:
        async def ends(events: Events) -> None:
            pool = watch_pool(
                events, AsyncResourcePool(object, max_size=1, acquisition_timeout=None)
            )
            await pool.acquire()
            if terminates:
                pool.terminate()
            with contextlib.suppress(asyncio.TimeoutError):
                await pool.close(timeout=1)

        return ends

    assert explore(scenario(terminates=True)).exhausted
    failure(scenario(terminates=False), "left over")


def test_a_timer_that_would_still_fire_is_left_over() -> None:
    async def leaves_timers(_: Events) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(7, print, "later")
        loop.call_later(5, list)
        loop.call_later(3, list).cancel()

    async def cancels_it(_: Events) -> None:
        asyncio.get_running_loop().call_later(5, print, "late").cancel()

    said = str(failure(leaves_timers, "left over").error)
    assert said == "a timer of list, at 1005\na timer of print, at 1007"
    assert explore(cancels_it).exhausted


def test_a_pool_that_is_not_closed_leaves_its_timer() -> None:
    async def scenario(events: Events) -> None:
        pool = watch_pool(
            events, AsyncResourcePool(object, max_idle_time=5, acquisition_timeout=None)
        )
        async with pool.acquire_context():
            pass

    assert "timer" in str(failure(scenario, "left over").error)


async def nothing() -> None: ...


def forget(_: object) -> None: ...


def test_a_coroutine_that_nobody_awaits_is_left_over(capfd: pytest.CaptureFixture[str]) -> None:
    async def forgets(events: Events) -> None:
        pool = watch_pool(events, AsyncResourcePool(object, max_size=2, acquisition_timeout=None))
        resource = await pool.acquire()
        await events.call("work", results=(1,))
        await pool.release(resource)
        [nothing()].clear()

    async def in_a_callback(_: Events) -> None:
        asyncio.get_running_loop().call_soon(forget, nothing())

    assert "coroutine 'nothing' was never awaited" in str(failure(forgets, "left over").error)
    assert "never awaited" in str(failure(in_a_callback, "left over").error)
    assert capfd.readouterr() == ("", "")


def test_a_dropped_coroutine_is_found_even_if_the_state_is_known() -> None:
    async def scenario(events: Events) -> None:
        if await events.call("work", result=1, results=(2,)) == 2:
            [nothing()].clear()
        await events.call("later", results=(1,))

    assert failure(scenario, "left over").replay == "e:1"


def test_a_task_that_is_cancelled_may_drop_a_coroutine() -> None:
    async def scenario(events: Events) -> None:
        async def user() -> None:
            later = [nothing()]
            try:
                await events.call("work")
            except asyncio.CancelledError:
                later.clear()
                raise
            await later.pop()

        events.task(asyncio.wait_for(nothing(), 1), cancellable=True)
        events.task(user(), cancellable=True)
        await events.join()

    assert explore(scenario).exhausted


def test_other_warnings_are_passed_on() -> None:
    async def scenario(_: Events) -> None:
        warnings.warn("look", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="look"):
        assert explore(scenario).exhausted


# A failure that the scenario hides.


def test_real_input_and_output_is_found_even_if_its_refusal_is_caught() -> None:
    async def catches(_: Events) -> None:
        with contextlib.suppress(Exception):
            await asyncio.open_connection("localhost", 1)

    async def in_a_pool(events: Events) -> None:
        def connect() -> Any:
            return asyncio.open_connection("localhost", 1)

        pool = watch_pool(events, AsyncResourcePool(connect, max_size=1))
        with contextlib.suppress(Exception):
            await pool.acquire()
        await pool.close()

    for scenario in (catches, in_a_pool):
        found = failure(scenario, "real I/O")
        assert "use `events.call(...)`" in str(found.error)
        assert "caught" in found.about


# Exits.


def exits(_: Events) -> Any:
    async def scenario() -> None:
        sys.exit(3)

    return scenario()


async def call_exits(events: Events) -> None:
    await events.call("work", faults=[SystemExit])


async def call_is_interrupted(events: Events) -> None:
    events.task(events.call("work", faults=[KeyboardInterrupt]), name="a")
    await events.join()


async def invariant_gives_up(events: Events) -> None:
    events.check(lambda: pytest.fail("given up"))
    await events.call("work")


@pytest.mark.parametrize(
    ("scenario", "kind", "error"),
    [
        (exits, "raised", SystemExit),
        (call_exits, "raised", SystemExit),
        (call_is_interrupted, "raised", KeyboardInterrupt),
        (invariant_gives_up, "invariant", pytest.fail.Exception),
    ],
)
def test_an_exit_is_a_failure_with_a_schedule(
    scenario: Scenario, kind: str, error: type[BaseException]
) -> None:
    found = failure(scenario, kind)
    assert isinstance(found.error, error)
    assert found.schedule


def interrupted() -> None:
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background process ignores it
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interruption_from_the_keyboard_ends_the_exploration() -> None:
    async def in_a_task(events: Events) -> None:
        events.task(events.call("work", faults=[KeyboardInterrupt]), name="a")
        interrupted()

    async def in_an_invariant(events: Events) -> None:
        events.check(interrupted)

    for scenario in (in_a_task, in_an_invariant):
        with pytest.raises(KeyboardInterrupt):
            explore(scenario)


# Invariants that could never fail.


class Asynchronous:
    async def __call__(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("invariant", "kind", "said"),
    [
        (nothing, "raised", "must be a plain function"),
        (3, "raised", "must be a plain function"),
        (Asynchronous(), "invariant", "must be a plain function"),
        (lambda: asyncio.get_running_loop().create_future(), "invariant", "plain function"),
        (lambda: False, "invariant", "has returned False"),
    ],
)
def test_an_invariant_must_give_an_answer(
    invariant: Callable[[], object], kind: str, said: str
) -> None:
    async def scenario(events: Events) -> None:
        events.check(invariant)
        await events.call("work")

    assert said in str(failure(scenario, kind).error)


def test_an_invariant_holds_unless_it_returns_the_object_false() -> None:
    async def scenario(events: Events) -> None:
        for answer in ([], [0], [""], [True]):
            events.check(partial(next, iter(answer), None))
        await events.call("work")

    assert explore(scenario).exhausted


# Noise.


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, ValueError, OSError])
def test_an_exploration_that_ends_early_makes_no_noise(
    kind: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    def breaks() -> None:
        unused = nothing()
        raise kind(str(unused.__class__))

    async def user(events: Events) -> None:
        await events.call("work")
        try:
            breaks()
        except BaseException as error:
            raise BaseExceptionGroup("several", [error, KeyError()]) from error

    async def scenario(events: Events) -> None:
        task = events.task(user(events), name="a")
        await asyncio.wait([task])
        with contextlib.suppress(BaseExceptionGroup):
            task.result()
        if kind is OSError:
            await asyncio.Event().wait()
        breaks()

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        result = None
        with contextlib.suppress(KeyboardInterrupt):
            result = explore(scenario)
        assert result is None or result.failure is not None
        del result
        gc.collect()
    assert given == []
    assert capfd.readouterr() == ("", "")
