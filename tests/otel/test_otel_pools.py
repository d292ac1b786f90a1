"""Metrics of several pools, providers and prefixes, their ends, and the import without OTel."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import subprocess
import sys
from typing import Any
from weakref import ref

import pytest
from opentelemetry.metrics import (
    NoOpMeter,
    NoOpMeterProvider,
    get_meter_provider,
    set_meter_provider,
)
from opentelemetry.metrics import (
    _internal as api,
)
from opentelemetry.util._once import Once

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.otel import PoolMetrics
from tests.inside import observed_pools
from tests.otel.exporter import DB, REMOVED, Exporter, event, unused_pool, use_once


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


@pytest.fixture
def no_global_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset the API to the state of a process that has not set a provider yet."""
    monkeypatch.setattr(api, "_METER_PROVIDER", None)
    monkeypatch.setattr(api, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(api, "_PROXY_METER_PROVIDER", api._ProxyMeterProvider())


# Several pools, and their ends.


async def test_pools_of_several_names_share_the_instruments(exporter: Exporter) -> None:
    reads, writes = (PoolMetrics(n, meter_provider=exporter.provider) for n in ("reads", "writes"))
    reading, writing = unused_pool(reads, max_size=3), unused_pool(writes, max_size=4)
    await use_once(reading)
    async with writing.acquire_context():
        values = exporter.values()  # it refuses two metrics of one name
    assert [values["max", name] for name in ("reads", "writes")] == [3, 4]
    assert values["count", "reads", "idle"] == values["count", "writes", "used"] == 1
    assert values["count", "reads", "used"] == values["count", "writes", "idle"] == 0
    await reading.close()
    await writing.close()


async def test_pools_of_one_name_are_exported_as_their_sum(exporter: Exporter) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    again = PoolMetrics("main", meter_provider=exporter.provider)
    first, second = unused_pool(metrics, max_size=3), unused_pool(again, max_size=4)
    metrics.observe(first)  # the same pool twice
    await use_once(first)
    await use_once(second)
    values = exporter.values()
    assert (values["max", "main"], values["count", "main", "idle"]) == (7, 2)
    assert values["use_time", "main"] == 2
    await first.close()
    await second.close()


async def test_the_gauges_of_a_closed_pool_end_and_its_counters_stay(exporter: Exporter) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    pool = unused_pool(metrics, max_size=1)
    await use_once(pool)
    async with pool.acquire_context():
        with pytest.raises(TimeoutError):
            await pool.acquire(timeout=0)
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0)
        assert exporter.values()["count", "main", "used"] == 1  # closing, not closed
    await closing
    assert exporter.values() == {
        ("timeouts", "main"): 1,
        ("create_time", "main"): 1,
        ("wait_time", "main"): 2,
        ("use_time", "main"): 2,
        (REMOVED, "main", "closed_down"): 1,
    }


def test_a_pool_is_not_kept_alive(exporter: Exporter) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    pool = unused_pool(metrics)
    assert ("max", "main") in exporter.values()
    gone = ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert exporter.values() == {("timeouts", "main"): 0}


@pytest.mark.untraced
def test_pools_that_are_collected_or_closed_are_forgotten(exporter: Exporter) -> None:
    metrics = PoolMetrics("main", meter_provider=exporter.provider)
    for _ in range(5):  # each collection goes through all objects of the test run
        unused_pool(metrics)
        gc.collect()
    last = unused_pool(metrics)
    assert observed_pools(metrics) == 1
    assert not last.closed


def test_a_provider_is_not_kept_alive() -> None:
    exporter = Exporter()
    unused_pool(PoolMetrics("main", meter_provider=exporter.provider))
    exporter.collect()
    gone = ref(exporter.provider)
    del exporter
    unused_pool(PoolMetrics("other", meter_provider=Exporter().provider))
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("use", "shown"), [("open", "77"), ("stats", "87")])
def test_a_forked_child_does_not_show_the_pools_that_its_parent_used(use: str, shown: str) -> None:
    script = f"""
import asyncio, os
from tests.otel.exporter import Exporter, PoolMetrics, unused_pool
exporter = Exporter()
pool = unused_pool(metrics := PoolMetrics("main", meter_provider=exporter.provider))
async def use():
    if {use!r} == "open":
        await pool.open()
asyncio.run(use())
if os.fork() == 0:
    mine = unused_pool(metrics, max_size=77)
os.write(1, b"%d " % exporter.values()["max", "main"])
"""
    assert sorted(run_python(script).split()) == ["10", shown]


# Providers.


def test_observable_instruments_are_made_once_for_a_provider_and_prefix() -> None:
    made: list[str] = []

    class CountingMeter(NoOpMeter):
        def create_observable_up_down_counter(self, name: str, *args: Any, **options: Any) -> Any:
            made.append(name)
            return super().create_observable_up_down_counter(name, *args, **options)

    class Counting(NoOpMeterProvider):
        def get_meter(self, name: str, *args: Any, **options: Any) -> NoOpMeter:
            return CountingMeter(name)

    for provider in (Counting(), Counting()):
        made.clear()
        for prefix in (DB, "page", DB, "page"):
            PoolMetrics("main", prefix=prefix, meter_provider=provider)
        assert len(made) == len(set(made)) == 2 * 5


def test_each_provider_shows_its_own_pools(exporter: Exporter) -> None:
    other = Exporter()
    pools = [
        unused_pool(PoolMetrics("main", meter_provider=each.provider), max_size=size)
        for each, size in ((exporter, 3), (other, 4))
    ]
    assert exporter.values()["max", "main"] == 3
    assert other.values()["max", "main"] == 4
    assert len(pools) == 2


def test_each_prefix_shows_its_own_pools(exporter: Exporter) -> None:
    pools = [
        unused_pool(PoolMetrics("main", prefix=p, meter_provider=exporter.provider), max_size=size)
        for p, size in ((DB, 3), ("page", 4))
    ]
    values = exporter.values()
    assert (values["max", "main"], values["page.max", "main"]) == (3, 4)
    assert len(pools) == 2


ORDERS: dict[str, tuple[str, ...]] = {
    "unset, then set": ("global", "set"),
    "set first": ("set", "global"),
    "before and after": ("global", "set", "global"),
    "given and unset": ("given", "global", "set"),
    "unset and given": ("global", "given", "set"),
    "all": ("given", "global", "set", "given", "global"),
}


@pytest.mark.usefixtures("no_global_provider")
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_the_global_provider_may_be_set_and_given_in_any_order(
    exporter: Exporter, order: tuple[str, ...]
) -> None:
    pools: list[tuple[str, AsyncResourcePool[object], PoolMetrics]] = []
    for step in order:
        if step == "set":
            set_meter_provider(exporter.provider)
            assert get_meter_provider() is exporter.provider
        else:
            given = exporter.provider if step == "given" else None
            name = f"{step} {len(pools)}"
            metrics = PoolMetrics(name, meter_provider=given)
            pools.append((name, unused_pool(metrics), metrics))
    for _, _, metrics in pools:
        metrics(event("wait", "timed out"))
    values = exporter.values()
    for name, _, _ in pools:
        assert values["max", name] == 10
        assert values["timeouts", name] == 1


@pytest.mark.usefixtures("no_global_provider")
async def test_without_an_sdk_nothing_happens() -> None:
    metrics = PoolMetrics("main")
    async with unused_pool(metrics) as pool:
        await use_once(pool)
    assert pool.stats().released == 1


# Imports.


def run_python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def no_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nodetool.concurrency.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)


@pytest.mark.usefixtures("no_opentelemetry")
def test_without_opentelemetry_the_import_names_the_extra() -> None:
    with pytest.raises(ImportError, match=r"pip install 'nodetool-concurrency\[otel\]'"):
        importlib.import_module("nodetool.concurrency.otel")


def test_only_the_api_is_imported_and_only_if_asked_for() -> None:
    script = """
import sys
import nodetool.concurrency
assert not any(name.startswith("opentelemetry") for name in sys.modules)
import nodetool.concurrency.otel
assert "opentelemetry.metrics" in sys.modules
assert not [name for name in sys.modules if "sdk" in name or "semconv" in name]
"""
    run_python(script)
