"""What is measured, in OpenTelemetry's SDK."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import sys
import threading
from contextlib import suppress

import pytest
from opentelemetry.sdk.metrics.export import Metric
from opentelemetry.semconv._incubating.attributes import db_attributes
from opentelemetry.semconv._incubating.metrics import db_metrics

from nodetool.concurrency import AsyncResourcePool, PoolGauges, PoolStats
from nodetool.concurrency.otel import PoolMetrics
from tests import virtual_time
from tests.otel.exporter import DB, OTHER_STATES, REMOVED, Exporter, event, unused_pool, use_once

SHORT_NAMES = (
    *("count", "create_time", "idle.max", "idle.min", "max", "pending_requests", "timeouts"),
    *("use_time", "wait_time"),
)
REASONS = (
    *("late", "expired", "pruned", "surplus", "discarded", "interrupted", "check_failed"),
    *("reset_failed", "retired", "closed_down", "detached", "forgotten"),
)
STATE_DESCRIBED = "are currently in state described by the `state` attribute."
OBTAINING = "trying to obtain a resource from the pool."


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


def kinds(metrics: dict[str, Metric]) -> dict[str, tuple[object, ...]]:
    """Everything that identifies each instrument."""
    return {
        name: (
            metric.unit,
            metric.description,
            type(metric.data),
            getattr(metric.data, "is_monotonic", None),
        )
        for name, metric in metrics.items()
    }


# What there is.


async def test_the_instruments_and_attributes_are_those_of_the_semantic_conventions(
    exporter: Exporter,
) -> None:
    conventions = Exporter()
    meter = conventions.provider.get_meter("conventions")
    for name in SHORT_NAMES:
        create = getattr(db_metrics, f"create_db_client_connection_{name.replace('.', '_')}")
        instrument = create(meter)
        (instrument.record if hasattr(instrument, "record") else instrument.add)(1)
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    async with metrics.observe(AsyncResourcePool(object, listener=metrics)) as pool:
        await use_once(pool)
        collected = exporter.collect()
    del collected[REMOVED]
    assert len(collected) == 9
    assert kinds(collected) == kinds(conventions.collect())
    for name, metric in collected.items():
        expected: list[dict[str, object]] = [{db_attributes.DB_CLIENT_CONNECTION_POOL_NAME: "main"}]
        if name == db_metrics.DB_CLIENT_CONNECTION_COUNT:
            states = [state.value for state in db_attributes.DbClientConnectionStateValues]
            states += [other for (other,) in OTHER_STATES]
            expected = [
                expected[0] | {db_attributes.DB_CLIENT_CONNECTION_STATE: state} for state in states
            ]
        assert [dict(point.attributes or {}) for point in metric.data.data_points] == expected


def test_the_counter_of_removed_resources_has_a_namespace_of_its_own(exporter: Exporter) -> None:
    PoolMetrics("main", meter_provider=exporter.provider)
    removed = exporter.collect()[REMOVED]
    assert not REMOVED.startswith(DB)
    assert kinds({"": removed})[""][:2] == (
        "{connection}",
        "The number of connections that have left the pool for the reason in the attribute.",
    )
    assert [point.attributes for point in removed.data.data_points] == [
        {
            db_attributes.DB_CLIENT_CONNECTION_POOL_NAME: "main",
            "nodetool.connection.removal.reason": reason,
        }
        for reason in REASONS
    ], "all reasons are there, so that the first removal is seen as an increase"


def test_the_reasons_are_the_ways_of_leaving_in_the_statistics() -> None:
    stats = PoolStats.__doc__ or ""
    ways = set(re.findall(r"`(\w+)`", stats.partition("all ways of leaving:")[2]))
    assert ways == set(REASONS)
    assert ways < set(PoolStats._fields)


async def test_another_prefix_gives_other_names_and_another_noun(exporter: Exporter) -> None:
    metrics = PoolMetrics("w", prefix="nodetool.resource", meter_provider=exporter.provider)
    async with metrics.observe(AsyncResourcePool(object, listener=metrics)) as pool:
        await use_once(pool)
        collected = exporter.collect()
    assert {name: (metric.unit, metric.description) for name, metric in collected.items()} == {
        "nodetool.resource.count": (
            "{resource}",
            f"The number of resources that {STATE_DESCRIBED}",
        ),
        "nodetool.resource.create_time": ("s", "The time it took to create a new resource."),
        "nodetool.resource.idle.max": (
            "{resource}",
            "The maximum number of idle open resources allowed.",
        ),
        "nodetool.resource.idle.min": (
            "{resource}",
            "The minimum number of idle open resources allowed.",
        ),
        "nodetool.resource.max": ("{resource}", "The maximum number of open resources allowed."),
        "nodetool.resource.removed": (
            "{resource}",
            "The number of resources that have left the pool for the reason in the attribute.",
        ),
        "nodetool.resource.pending_requests": (
            "{request}",
            "The number of current pending requests for an open resource.",
        ),
        "nodetool.resource.timeouts": (
            "{timeout}",
            f"The number of resource timeouts that have occurred {OBTAINING}",
        ),
        "nodetool.resource.use_time": (
            "s",
            "The time between borrowing a resource and returning it to the pool.",
        ),
        "nodetool.resource.wait_time": (
            "s",
            "The time it took to obtain an open resource from the pool.",
        ),
    }
    used = collected["nodetool.resource.count"].data.data_points[1]
    assert used.attributes == {
        "nodetool.resource.pool.name": "w",
        "nodetool.resource.state": "used",
    }


def test_the_bounds_of_the_pool_are_shown(exporter: Exporter) -> None:
    pool = unused_pool(
        PoolMetrics("main", meter_provider=exporter.provider), min_size=2, max_size=7
    )
    assert exporter.values() == {
        ("count", "main", "idle"): 0,
        ("count", "main", "used"): 0,
        ("idle.max", "main"): 7,
        ("idle.min", "main"): 2,
        ("max", "main"): 7,
        ("pending_requests", "main"): 0,
        ("timeouts", "main"): 0,
    }
    assert not pool.closed


# What is recorded.


@pytest.mark.parametrize(
    ("kind", "outcome", "counted"),
    [
        ("creation", "created", "create_time"),
        ("creation", "late", "create_time"),
        ("creation", "retired", "create_time"),
        ("creation", "failed", None),
        ("wait", "acquired", "wait_time"),
        ("wait", "timed out", "timeouts"),
        ("wait", "cancelled", None),
        ("wait", "failed", None),
        ("wait", "closed", None),
        ("wait", "rejected", None),
        ("use", "released", "use_time"),
        ("use", "discarded", "use_time"),
        ("use", "interrupted", "use_time"),
        ("use", "detached", "use_time"),
        ("use", "forgotten", "use_time"),
        ("check", "passed", None),
        ("check", "failed", None),
        ("reset", "passed", None),
        ("reset", "failed", None),
    ],
)
def test_an_event_is_counted_where_it_belongs(
    exporter: Exporter, kind: str, outcome: str, counted: str | None
) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    metrics(event(kind, outcome))
    expected: dict[tuple[str, ...], float] = {("timeouts", "main"): 0}
    if counted:
        expected[counted, "main"] = 1
    if outcome in ("detached", "forgotten"):
        expected[REMOVED, "main", outcome] = 1
    assert exporter.values() == expected


@pytest.mark.parametrize("reason", REASONS[:-2])
def test_a_close_is_counted_by_its_reason(exporter: Exporter, reason: str) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    metrics(event("close", reason.replace("_", " ")))
    assert exporter.values() == {("timeouts", "main"): 0, (REMOVED, "main", reason): 1}


@pytest.mark.parametrize(
    ("kind", "outcome", "name"),
    [
        ("creation", "created", "create_time"),
        ("wait", "acquired", "wait_time"),
        ("use", "released", "use_time"),
    ],
)
def test_the_buckets_are_made_for_seconds(
    exporter: Exporter, kind: str, outcome: str, name: str
) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    metrics(event(kind, outcome, 0.02))
    metrics(event(kind, outcome, 30.0))
    point = exporter.point(name)
    assert point.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
    assert point.bucket_counts == (0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
    assert point.sum == pytest.approx(30.02)


def test_each_phase_is_measured_and_a_failed_wait_is_not(exporter: Exporter) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)

    async def connect() -> object:
        await asyncio.sleep(2)
        return object()

    async def main() -> None:
        pool = metrics.observe(AsyncResourcePool(connect, listener=metrics, max_size=1))
        resource = await pool.acquire()  # 2 s of waiting
        with pytest.raises(TimeoutError):
            await pool.acquire(timeout=3)
        with pytest.raises(TimeoutError):
            await pool.acquire(timeout=0)
        waiter = asyncio.create_task(pool.acquire())
        await asyncio.sleep(4)
        assert exporter.values()["pending_requests", "main"] == 1
        await pool.release(resource)  # 7 s of use
        assert await waiter is resource  # 4 s of waiting
        await pool.release(resource)
        assert exporter.values() == {
            ("count", "main", "idle"): 1,
            ("count", "main", "used"): 0,
            ("idle.max", "main"): 1,
            ("idle.min", "main"): 0,
            ("max", "main"): 1,
            ("pending_requests", "main"): 0,
            ("timeouts", "main"): pool.stats().timeouts == 2 and 2,
            ("create_time", "main"): 1,
            ("wait_time", "main"): 2,
            ("use_time", "main"): 2,
        }
        assert pool.stats().timeouts == 2
        await pool.close()

    virtual_time.run(main())
    sums = [exporter.point(f"{name}_time").sum for name in ("create", "wait", "use")]
    assert sums == pytest.approx([2, 6, 7])


# Under load.


class Load:
    """Users of all kinds, and resources that fail."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    async def some_time(self, most: float) -> None:
        if self.random.random() < 0.8:
            await asyncio.sleep(most * self.random.random())

    async def connect(self) -> object:
        await self.some_time(1)
        if self.random.random() < 0.1:
            raise OSError("refused")
        return object()

    async def check(self, _: object) -> bool:
        await self.some_time(0.1)
        return self.random.random() < 0.9

    async def reset(self, _: object) -> None:
        await self.some_time(0.1)

    async def use(self, pool: AsyncResourcePool[object]) -> None:
        for _ in range(20):
            await self.some_time(1)
            with suppress(OSError, TimeoutError):  # the pool's own timeout is one as well
                async with asyncio.timeout(self.random.choice([0.4, 9])):
                    resource = await pool.acquire(timeout=self.random.choice([0, 0.4, 2, None]))
                await self.some_time(1)
                ends = [pool.release, pool.release, pool.release, pool.discard, pool.detach]
                await self.random.choice(ends)(resource)

    async def retire(self, pool: AsyncResourcePool[object]) -> None:
        while True:
            await asyncio.sleep(3)
            await pool.retire_all()


@pytest.mark.parametrize("seed", range(5))
def test_under_load_the_metrics_agree_with_the_statistics(exporter: Exporter, seed: int) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    load = Load(seed)
    seen: set[tuple[float, ...]] = set()
    gone: set[str] = set()

    def agree(pool: AsyncResourcePool[object]) -> None:
        values, stats = exporter.series(), pool.stats()
        assert len(values) <= 25
        numbers = stats.idle, stats.in_use, stats.waiting, stats.timeouts
        seen.add(numbers)
        assert numbers == (
            values["count", "main", "idle"],
            values["count", "main", "used"],
            values["pending_requests", "main"],
            values["timeouts", "main"],
        )
        assert stats.created == values.get(("create_time", "main"), 0)
        others = stats._asdict()
        for (state,) in OTHER_STATES:
            assert values.get(("count", "main", state), 0) == others.get(state, 0)
        exist = sum(number for series, number in values.items() if series[0] == "count")
        removed = sum(number for series, number in values.items() if series[0] == REMOVED)
        assert stats.created == exist + removed
        gone.update(
            series[2] for series, number in values.items() if series[0] == REMOVED and number
        )

    async def collect(pool: AsyncResourcePool[object]) -> None:
        while True:
            agree(pool)
            await asyncio.sleep(0.1)

    async def main() -> None:
        pool = metrics.observe(
            AsyncResourcePool(
                load.connect,
                lambda _: load.some_time(0.3),
                check=load.check,
                check_after_idle=0,
                reset=load.reset,
                max_size=5,
                min_size=1,
                max_idle_time=0.5,
                max_age=2,
                listener=metrics,
            )
        )
        others = [asyncio.create_task(each(pool)) for each in (collect, load.retire)]
        async with asyncio.TaskGroup() as users:
            for _ in range(15):
                users.create_task(load.use(pool))
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        agree(pool)
        values, stats = exporter.values(), pool.stats()
        assert values["wait_time", "main"] == stats.acquired > 50
        assert values["use_time", "main"] == stats.released + stats.discarded + stats.detached
        assert values["use_time", "main"] == stats.acquired
        assert min(stats.timeouts, stats.cancelled, stats.creation_failures, stats.detached) > 0
        await pool.close()

    virtual_time.run(main())
    assert len(seen) > 20
    assert gone >= {"discarded", "detached", "retired"}


def test_a_pool_without_a_listener_is_refused(exporter: Exporter) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    with pytest.raises(ValueError, match="has no listener: make it with listener=metrics"):
        metrics.observe(AsyncResourcePool(object, name="deaf"))


def test_idle_and_used_are_read_at_once(exporter: Exporter) -> None:
    class Moving(AsyncResourcePool[object]):
        def gauges(self) -> PoolGauges:
            idle = next(numbers)
            others = {**dict.fromkeys(PoolGauges._fields, 0), "idle": idle, "in_use": 100 - idle}
            return PoolGauges(**others)

    numbers = itertools.count()
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    pool = metrics.observe(Moving(object, listener=metrics))
    values = exporter.values()
    assert values["count", "main", "idle"] + values["count", "main", "used"] == 100
    assert not pool.closed


async def test_a_collection_in_another_thread_sees_one_moment(exporter: Exporter) -> None:
    size, seed = 8, random.Random(1)
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    pool = AsyncResourcePool(object, listener=metrics, min_size=size, max_size=size)
    resources = [await pool.acquire() for _ in range(size)]
    for resource in resources:
        await pool.release(resource)
    metrics.observe(pool)
    enough, stop = asyncio.Event(), threading.Event()
    seen: set[tuple[float, float]] = set()

    def collect() -> None:
        while not stop.is_set():
            values = exporter.values()
            seen.add((values["count", "main", "idle"], values["count", "main", "used"]))
            if len(seen) >= 5:
                loop.call_soon_threadsafe(enough.set)

    async def use() -> None:
        while not stop.is_set():
            async with pool.acquire_context():
                await virtual_time.turns(seed.randrange(4))
            await virtual_time.turns(seed.randrange(4))

    loop = asyncio.get_running_loop()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=collect)
    thread.start()
    users = [asyncio.create_task(use()) for _ in range(size)]
    try:
        async with asyncio.timeout(20):
            await enough.wait()
        await asyncio.sleep(0.3)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    await asyncio.gather(*users)
    assert {idle + used for idle, used in seen} == {size}
    assert exporter.values()["use_time", "main"] == pool.stats().acquired
    await pool.close()
