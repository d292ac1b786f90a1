"""The plug-in for pools: guarantees in every state, steps in the graph of a model."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from nodetool.concurrency.testing import Events, Exploration, explore, replay
from nodetool.concurrency.testing._constants import is_constant
from nodetool.concurrency.testing._run import Scenario
from nodetool.concurrency.verify import _explored_pools
from nodetool.concurrency.verify._explored_pools import PoolMonitor
from nodetool.concurrency.verify._following import NotAnEdgeError, watch
from nodetool.concurrency.verify._walk import OutputError
from nodetool.concurrency.verify.schedules import GuaranteeError, watch_pool
from proofs.broken_machines import (
    FailsEverybody,
    ForgetsHandedOver,
    HandsToTwo,
    LetsWaitersSleep,
    Miscounts,
    ServesNewestFirst,
)
from proofs.scenarios.outside import UNLIMITED as ALL_UNLIMITED
from tests.inside import MACHINE, Machine, machine_of, observed

UNLIMITED: dict[str, Any] = {**ALL_UNLIMITED}  # so that only the tests' own time limits pass


def users(
    count: int = 2,
    *,
    machine: Machine = MACHINE,
    model: str | None = None,
    faults: tuple[type[OSError], ...] = (),
    cancellable: bool = True,
    **options: Any,
) -> Scenario:
    """Make a scenario with a number of users of a pool, which can be cancelled at any moment."""

    async def scenario(events: Events) -> None:
        async def factory() -> object:
            await events.call("factory", faults=faults)
            return object()

        made = AsyncResourcePool(factory, **UNLIMITED | options)
        watch(made, kind=machine)
        pool = watch_pool(events, made, model=model)

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


WIDE: dict[str, Any] = {"model": "Wide", "max_size": 2, "max_creating": 2, "max_waiting": 3}


@pytest.mark.guarantees(
    "SizeWithinLimit", "SingleHolder", "NothingLost", "NothingAfterClose", "OneOutcome"
)
@pytest.mark.guarantees("CountsAgree", "CloseWaits", "WaiterServed", "CloseCompletes")
@pytest.mark.parametrize("faults", [(), (OSError,)])
def test_two_users_share_one_resource_in_every_order(faults: Any) -> None:
    result = explore(users(max_size=1, faults=faults), stock_every=10)
    result.raise_for_failure()
    assert result.exhausted
    assert result.states > 50


def test_a_cancelled_waiter_breaks_no_guarantee_in_ready_mode() -> None:
    result = explore(users(max_size=1), mode="ready", max_schedules=500)
    result.raise_for_failure(allow_bound=True)


def test_a_deadline_passes_before_during_and_after_everything_else() -> None:
    seen = set()

    async def scenario(events: Events) -> None:
        options: Any = UNLIMITED | {"acquisition_timeout": 5}
        pool = watch_pool(events, AsyncResourcePool(object, max_size=1, **options))

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
    result.raise_for_failure(allow_bound=True)
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
        pool = AsyncResourcePool(object, max_size=1, name="small", **UNLIMITED)

        async def user() -> None:
            async with pool.acquire_context(), pool.acquire_context():
                pass

        async with pool:
            await events.task(user(), name="greedy")

    result = explored(nested)
    story = str(failure(result, "deadlock"))
    assert "'greedy' waits in user (test_explored_pools.py:" in story
    assert "> __aenter__ (_acquire_context.py:" in story


@pytest.mark.guarantees("NothingLost", "CloseCompletes")
def test_a_resource_lost_with_a_cancelled_waiter_is_found_within_few_schedules() -> None:
    result = explored(users(max_size=1, machine=ForgetsHandedOver))
    assert isinstance(failure(result, "guarantee"), GuaranteeError)
    assert result.schedules < 50
    assert "cancel 'b'" in str(result) or "cancel 'a'" in str(result)


@pytest.mark.parametrize(
    ("machine", "broken"),
    [(HandsToTwo, "SingleHolder"), (LetsWaitersSleep, "WaiterServed"), (Miscounts, "CountsAgree")],
)
def test_a_machine_that_breaks_a_guarantee_is_found(machine: Machine, broken: str) -> None:
    result = explored(users(max_size=1, machine=machine, closer=_close))
    error = failure(result, "guarantee")
    assert isinstance(error, GuaranteeError)
    assert broken in str(error)


def test_a_timer_that_fires_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(events: Events) -> None:
        async def create() -> object:
            await events.call("create")
            return object()

        pool = AsyncResourcePool(create, max_size=1, max_idle_time=10, **UNLIMITED)
        watch_pool(events, pool)
        await pool.release(await pool.acquire())
        await events.call("later")
        await pool.close()

    assert explored(idle).exhausted
    right = _explored_pools.sweep_time
    monkeypatch.setattr(_explored_pools, "sweep_time", lambda pool: right(pool) + 1)
    error = failure(explored(idle), "guarantee")
    assert "closed too late" in str(error)


async def _close(_: object) -> None: ...


@pytest.mark.parametrize("machine", [ServesNewestFirst, FailsEverybody, LetsWaitersSleep])
def test_a_step_that_is_no_edge_of_the_graph_is_found(machine: Machine) -> None:
    async def scenario(events: Events) -> None:
        async def factory() -> object:
            await events.call("factory", faults=(OSError,))
            return object()

        made = AsyncResourcePool(
            factory, _close, max_size=2, max_waiting=3, max_creating=2, **UNLIMITED
        )
        watch(made, kind=machine)
        pool = watch_pool(events, made, model="Wide")

        async def user() -> None:
            with contextlib.suppress(OSError):
                await pool.discard(await pool.acquire())

        async with pool:
            for name in "abc":
                events.task(user(), name=name)
            await events.join()

    result = explored(scenario)
    error = failure(result, "specification")
    assert isinstance(error, NotAnEdgeError | OutputError)
    assert "monitored steps: Open Acquire" in str(result)


def test_a_run_beyond_the_bounds_of_the_model_is_a_failure() -> None:
    async def scenario(events: Events) -> None:
        made: AsyncResourcePool[object] = AsyncResourcePool(
            object,
            max_size=3,
            min_size=1,
            max_creating=2,
            max_waiting=2,
            **UNLIMITED,
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
        ("Wide", {"max_size": 3}, "MaxSizes"),
        ("Wide", {"min_size": 1}, "MinSizes"),
        ("Wide", {"max_waiting": 2}, "MaxWaiting 3"),
        ("Wide", {"max_creating": 1}, "MaxCreating 2"),
        ("Wide", {"check": no_check}, "Checks False"),
        ("Wide", {"reset": no_check}, "Resets False"),
        ("Wide", {"reuse": "fifo"}, "Fifo False"),
        ("Wide", {"max_idle_time": 1}, "Idles False"),
        ("Wide", {"max_age": 1}, "Ages False"),
        ("Checked", {"check": no_check, "reset": no_check, "check_after_idle": 0}, "CheckSkips"),
    ],
)
def test_a_model_that_is_not_of_the_pool_is_refused(
    model: str, options: dict[str, Any], said: str
) -> None:
    async def scenario(events: Events) -> None:
        limits = {key: value for key, value in WIDE.items() if key != "model"}
        watch_pool(events, AsyncResourcePool(object, **(limits | options)), model=model)

    result = explore(scenario)
    assert result.failure is not None
    assert isinstance(result.failure.error, ValueError)
    assert said in str(result.failure.error)


@pytest.mark.parametrize(("faults", "timeout"), [((OSError,), None), ((), 5)])
def test_pruning_loses_no_outcome(faults: Any, timeout: Any) -> None:
    ends: set[object] = set()

    async def scenario(events: Events) -> None:
        async def factory() -> object:
            await events.call("factory", faults=faults)
            return object()

        async def user() -> None:
            async with pool.acquire_context():
                await asyncio.sleep(0)

        async with AsyncResourcePool(
            factory, max_size=1, **UNLIMITED | {"acquisition_timeout": timeout}
        ) as pool:
            tasks = [events.task(user(), name=name, cancellable=name == "b") for name in "ab"]
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await events.call(
            "end", result=1, results=(2,)
        )  # one more choice, at which states may be equal
        ends.add((repr(outcomes), pool.stats(), asyncio.get_running_loop().time()))

    pruned, ends_pruned = explore(scenario), ends.copy()
    ends.clear()
    unpruned = explore(scenario, prune=False, repeat_every=0)
    assert pruned.exhausted
    assert unpruned.exhausted
    assert pruned.schedules < unpruned.schedules
    assert ends_pruned == ends
    assert len(ends) > 5


def test_only_a_pool_can_be_watched() -> None:
    async def scenario(events: Events) -> None:
        no_pool: Any = object()
        watch_pool(events, no_pool)

    result = explore(scenario)
    assert result.failure is not None
    assert isinstance(result.failure.error, TypeError)
    assert "only an AsyncResourcePool can be watched, not <object" in str(result.failure.error)


def test_holders_of_a_pool_in_debug_mode_make_no_states_differ() -> None:
    plain = explore(users(max_size=1))
    debugging = explore(users(max_size=1, debug=True))
    debugging.raise_for_failure()
    assert debugging.exhausted
    assert (debugging.schedules, debugging.states) == (plain.schedules, plain.states)
    assert debugging.pruned == plain.pruned > 0


def test_every_run_numbers_its_pools_from_one() -> None:
    before = machine_of(AsyncResourcePool(object)).name
    names = set()

    async def scenario(events: Events) -> None:
        names.add(machine_of(AsyncResourcePool(object)).name)
        events.task(events.call("work"))
        events.task(events.call("work"))
        await events.join()

    explore(scenario)
    assert names == {"pool-1"}
    after = machine_of(AsyncResourcePool(object)).name
    assert int(after.removeprefix("pool-")) == int(before.removeprefix("pool-")) + 1


def test_a_class_of_observed_machines_is_a_constant() -> None:
    kind: Any = observed(MACHINE)
    assert is_constant(kind)
    assert observed(MACHINE) is kind


def test_a_snapshot_shows_the_numbers_and_the_steps_of_a_pool() -> None:
    snapshots: list[Any] = []

    async def scenario(events: Events) -> None:
        options: Any = {name: value for name, value in WIDE.items() if name != "model"}
        pool = AsyncResourcePool(object, **UNLIMITED, **options)
        monitor = PoolMonitor(pool, "Wide", events.time)
        async with pool:
            snapshots.append(monitor.snapshot())
            async with pool.acquire_context():
                snapshots.append(monitor.snapshot())

    replay(scenario, "e:").raise_for_failure()
    (first, no_steps), (second, steps) = snapshots
    assert (first["acquired"], second["acquired"]) == (0, 1)
    assert len(no_steps) < len(steps)
    assert steps[0] == "Open"


def test_an_operator_may_resize_to_the_present_limits() -> None:
    """Look up a step that changes nothing, and one that does, in a model with two limits."""

    async def scenario(events: Events) -> None:
        async def call(*_: object) -> object:
            await events.call("work of the pool")
            return object()

        made = AsyncResourcePool(
            call,
            check=call,
            reset=call,
            check_after_idle=0,
            max_size=2,
            max_creating=2,
            max_waiting=3,
            **UNLIMITED,
        )
        pool = watch_pool(events, made, model="Combined")

        async def user() -> None:
            async with pool.acquire_context():
                await events.call("work")

        async def operator() -> None:
            for max_size in (2, 2, 1):
                await events.call("operator")
                await pool.resize(max_size, 0)

        async with pool:
            events.task(user(), name="a")
            events.task(operator(), name="operator")
            await events.join()

    result = explore(scenario, stock_every=10)
    result.raise_for_failure()
    assert result.exhausted
    assert result.schedules > 5
