"""Pools under exploration: their guarantees in every state, their steps in the graph."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency.testing import Events, Exploration, explore, replay
from nodetool.concurrency.testing._run import Scenario
from nodetool.concurrency.verify._following import NotAnEdgeError
from nodetool.concurrency.verify.schedules import GuaranteeError, watch_pool
from tests.broken_machines import (
    DoesNotCountClosing,
    FailsEverybody,
    ForgetsHandedOver,
    HandsToTwo,
    LetsWaitersSleep,
    ServesNewestFirst,
)

Machine = type[PoolMachine[Any]]


def with_machine(pool: AsyncResourcePool[Any], kind: Machine) -> AsyncResourcePool[Any]:
    """The same unused pool with another machine."""
    bare = pool._machine
    machine = kind(
        bare.name,
        bare.limits,
        max_idle_time=bare.max_idle_time,
        check_after_idle=bare.check_after_idle,
        resets=bare.resets,
    )
    pool._run_on(machine)
    return pool


def users(
    count: int = 2,
    *,
    machine: Machine = PoolMachine,
    model: str | None = None,
    faults: tuple[type[OSError], ...] = (),
    cancellable: bool = True,
    **options: Any,
) -> Scenario:
    """So many users of a pool, each of whom may be cancelled at any moment."""

    async def scenario(events: Events) -> None:
        async def factory() -> object:
            await events.call("factory", faults=faults)
            return object()

        made = AsyncResourcePool(factory, **{"acquisition_timeout": None} | options)
        pool = watch_pool(events, with_machine(made, machine), model=model)

        async def user() -> None:
            try:
                async with pool.acquire_context():
                    await events.call("work")
            except OSError:
                assert faults

        async with pool:
            for name in "abcde"[:count]:
                events.task(user(), name=name, cancellable=cancellable)
            await events.join()

    return scenario


WIDE: dict[str, Any] = {"model": "Wide", "max_size": 2, "min_size": 1, "max_waiting": 2}


@pytest.mark.guarantees(
    "SizeWithinLimit", "SingleHolder", "NothingLost", "NothingAfterClose", "OneOutcome"
)
@pytest.mark.guarantees("CountsAgree", "CloseWaits", "WaiterServed", "CloseCompletes")
@pytest.mark.parametrize("faults", [(), (OSError,)])
def test_whatever_happens_two_users_share_one_resource(faults: Any) -> None:
    result = explore(users(max_size=1, faults=faults), stock_every=10)
    result.raise_for_failure()
    assert result.exhausted
    assert result.states > 50


def test_with_one_waiter_cancelled_in_ready_mode_too() -> None:
    explore(users(max_size=1), mode="ready", max_schedules=500).raise_for_failure()


def test_a_deadline_passes_before_during_and_after_everything_else() -> None:
    seen = set()

    async def scenario(events: Events) -> None:
        pool = watch_pool(events, AsyncResourcePool(object, max_size=1, acquisition_timeout=5))

        async def user() -> None:
            try:
                async with pool.acquire_context():
                    await events.call("work")
                seen.add("served")
            except ResourcePoolTimeoutError:
                seen.add("too late")

        async with pool:
            events.task(user(), name="a")
            events.task(user(), name="b", cancellable=True)
            await events.join()

    result = explore(scenario, stock_every=10)
    result.raise_for_failure()
    assert result.exhausted
    assert seen == {"served", "too late"}


def test_every_step_of_a_followed_pool_is_an_edge_of_the_graph() -> None:
    result = explore(users(**WIDE, cancellable=False, faults=(OSError,)), max_schedules=400)
    result.raise_for_failure()
    few = explore(users(1, **WIDE))
    few.raise_for_failure()
    assert few.exhausted


def failure(result: Exploration, kind: str) -> BaseException:
    assert result.failure is not None
    assert result.failure.kind == kind, str(result)
    again = replay_of(result)
    assert again.failure is not None
    assert (again.failure.kind, again.failure.schedule) == (kind, result.failure.schedule)
    return result.failure.error


scenarios: dict[str, Scenario] = {}


def replay_of(result: Exploration) -> Exploration:
    assert result.failure is not None
    return replay(scenarios[result.scenario], result.failure.replay)


def explored(scenario: Scenario, **options: Any) -> Exploration:
    result = explore(scenario, **options)
    scenarios[result.scenario] = scenario
    return result


def test_a_nested_acquire_of_the_only_resource_is_a_deadlock_shown_and_replayed() -> None:
    async def nested(events: Events) -> None:
        pool = AsyncResourcePool(object, max_size=1, acquisition_timeout=None, name="small")

        async def user() -> None:
            async with pool.acquire_context(), pool.acquire_context():
                pass

        async with pool:
            await events.task(user(), name="greedy")

    result = explored(nested)
    story = str(failure(result, "deadlock"))
    assert "'greedy' waits in user (test_pools.py:" in story
    assert "> __aenter__ (_acquire_context.py:" in story


@pytest.mark.guarantees("NothingLost", "CloseCompletes")
def test_a_resource_lost_with_a_cancelled_waiter_is_found_within_few_schedules() -> None:
    result = explored(users(max_size=1, machine=ForgetsHandedOver))
    failure(result, "deadlock")
    assert result.schedules < 500
    assert "cancel 'b'" in str(result) or "cancel 'a'" in str(result)


@pytest.mark.parametrize(
    ("machine", "broken"),
    [(HandsToTwo, "single_holder"), (DoesNotCountClosing, "nothing_lost")],
)
def test_a_machine_that_breaks_a_guarantee_is_found(machine: Machine, broken: str) -> None:
    result = explored(users(max_size=1, machine=machine, closer=_close))
    error = failure(result, "guarantee")
    assert isinstance(error, GuaranteeError)
    assert broken in str(error)


def test_a_timer_that_was_not_set_is_found() -> None:
    class Deaf(AsyncResourcePool[Any]):
        def _arm_sweep(self) -> None:
            """Forgets to."""

    async def deaf(events: Events) -> None:
        pool = Deaf(lambda: events.call("create"), max_size=1, max_idle_time=10)
        watch_pool(events, pool)
        await pool.release(await pool.acquire())
        await events.call("later")
        await pool.close()

    error = failure(explored(deaf), "guarantee")
    assert "closed too late" in str(error)


async def _close(_: object) -> None: ...


@pytest.mark.parametrize("machine", [ServesNewestFirst, FailsEverybody, LetsWaitersSleep])
def test_a_step_that_is_not_the_specification_s_is_found(machine: Machine) -> None:
    async def scenario(events: Events) -> None:
        async def factory() -> object:
            await events.call("factory", faults=(OSError,))
            return object()

        made = AsyncResourcePool(
            factory, _close, max_size=2, min_size=1, max_waiting=2, acquisition_timeout=None
        )
        pool = watch_pool(events, with_machine(made, machine), model="Wide")

        async def user() -> None:
            with contextlib.suppress(OSError):
                await pool.discard(await pool.acquire())

        async with pool:
            for name in "abc":
                events.task(user(), name=name)
            await events.join()

    result = explored(scenario)
    error = failure(result, "specification")
    assert isinstance(error, NotAnEdgeError)
    assert "monitored steps: Open Acquire" in str(result)


def test_a_run_beyond_the_bounds_of_the_model_is_a_failure() -> None:
    async def scenario(events: Events) -> None:
        made: AsyncResourcePool[object] = AsyncResourcePool(
            object,
            max_size=4,
            min_size=2,
            max_creating=2,
            max_waiting=2,
            acquisition_timeout=None,
        )
        pool = watch_pool(events, made, model="Deep")
        async with pool:
            got = [await pool.acquire() for _ in range(3)]
            for resource in got:
                await pool.release(resource)

    assert "use another" in str(failure(explored(scenario), "specification"))


def no_check(_: object) -> None: ...


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("Narrow", {}, "use one of Wide, Deep, Checked, "),
        ("Wide", {"max_size": 3, "min_size": 1, "max_waiting": 2}, "max_size=2"),
        (
            "Wide",
            {"max_size": 2, "min_size": 1, "max_waiting": 2, "check": no_check},
            "check False",
        ),
        ("Wide", {"max_size": 2, "min_size": 1, "max_waiting": 2, "max_idle_time": 1}, "idle"),
    ],
)
def test_a_model_that_is_not_of_the_pool_is_refused(
    model: str, options: dict[str, Any], said: str
) -> None:
    async def scenario(events: Events) -> None:
        watch_pool(events, AsyncResourcePool(object, **options), model=model)

    result = explore(scenario)
    assert result.failure is not None
    assert isinstance(result.failure.error, ValueError)
    assert said in str(result.failure.error)


@pytest.mark.parametrize(("faults", "timeout"), [((OSError,), None), ((), 5)])
def test_pruned_and_unpruned_end_in_the_same_ways(faults: Any, timeout: Any) -> None:
    ends: set[object] = set()

    async def scenario(events: Events) -> None:
        async def factory() -> object:
            await events.call("factory", faults=faults)
            return object()

        async def user() -> None:
            async with pool.acquire_context():
                await asyncio.sleep(0)

        async with AsyncResourcePool(factory, max_size=1, acquisition_timeout=timeout) as pool:
            tasks = [events.task(user(), name=name, cancellable=name == "b") for name in "ab"]
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await events.call(
            "end", result=1, results=(2,)
        )  # one more choice in which states may agree
        ends.add((repr(outcomes), pool.stats(), asyncio.get_running_loop().time()))

    pruned, ends_pruned = explore(scenario), ends.copy()
    ends.clear()
    unpruned = explore(scenario, prune=False, repeat_every=0)
    assert pruned.exhausted
    assert unpruned.exhausted
    assert pruned.schedules < unpruned.schedules
    assert ends_pruned == ends
    assert len(ends) > 5


def test_pools_are_numbered_alike_in_every_run_and_go_on_afterwards() -> None:
    before = AsyncResourcePool(object)._machine.name
    names = set()

    async def scenario(events: Events) -> None:
        names.add(AsyncResourcePool(object)._machine.name)
        events.task(events.call("work"))
        events.task(events.call("work"))
        await events.join()

    explore(scenario)
    assert names == {"pool-1"}
    after = AsyncResourcePool(object)._machine.name
    assert int(after.removeprefix("pool-")) == int(before.removeprefix("pool-")) + 1
