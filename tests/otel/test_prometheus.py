"""The example examples/prometheus_collector.py: as it is run, and its numbers."""

from __future__ import annotations

import gc
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from nodetool.concurrency import AsyncResourcePool

EXAMPLE = Path(__file__).parents[2] / "examples" / "prometheus_collector.py"


@pytest.fixture
def collector_class(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of the example, which is a program and no module of a package."""
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    return runpy.run_path(str(EXAMPLE))["PoolCollector"]


def samples(text: str) -> dict[tuple[str, ...], float]:
    """What Prometheus would read: values by name and labels other than the pool's."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels) if key != "pool")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_example_serves_a_pool_under_load() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    values = samples(done.stdout)
    states = ("idle", "in_use", "creating", "closing")
    assert values["resource_pool_resources", "in_use"] == 1
    assert sum(values["resource_pool_resources", state] for state in states) <= 3
    assert values["resource_pool_max_size",] == 3
    assert values["resource_pool_creation_seconds_count", "created"] == 3
    acquired = values["resource_pool_wait_seconds_count", "acquired"]
    assert acquired > 3
    assert values["resource_pool_use_seconds_count", "released"] > 3
    assert values["resource_pool_wait_seconds_bucket", "10.0", "acquired"] == acquired
    assert values["resource_pool_timeouts_total",] > 0


async def test_the_collector_agrees_with_the_pools_statistics(collector_class: Any) -> None:
    registry = CollectorRegistry()
    collector = collector_class(registry)
    pool = AsyncResourcePool(object, max_size=2, name="main", listener=collector.listen)
    collector.watch(pool)
    async with pool.acquire_context(), pool.acquire_context():
        with pytest.raises(TimeoutError):
            await pool.acquire(timeout=0)
    async with pool.acquire_context():
        values, stats = samples(generate_latest(registry).decode()), pool.stats()
    assert values["resource_pool_resources", "idle"] == stats.idle == 1
    assert values["resource_pool_resources", "in_use"] == stats.in_use == 1
    assert values["resource_pool_waiting",] == stats.waiting == 0
    assert values["resource_pool_timeouts_total",] == stats.timeouts == 1
    assert values["resource_pool_wait_seconds_count", "timed out"] == stats.timeouts
    assert values["resource_pool_wait_seconds_count", "acquired"] == stats.acquired == 3
    assert values["resource_pool_use_seconds_count", "released"] == stats.released == 2
    assert values["resource_pool_creation_seconds_count", "created"] == stats.created == 2
    await pool.close()


@pytest.mark.parametrize("end", ["closed", "gone"])
async def test_the_collector_shows_no_pool_that_is(end: str, collector_class: Any) -> None:
    registry = CollectorRegistry()
    collector = collector_class(registry)
    pool = AsyncResourcePool(object, name="main", listener=collector.listen)
    collector.watch(pool)
    shown = ("resource_pool_max_size",)
    assert shown in samples(generate_latest(registry).decode())
    if end == "closed":
        await pool.close()
    else:
        del pool
        gc.collect()
    assert shown not in samples(generate_latest(registry).decode())
