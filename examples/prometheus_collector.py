"""Pools in Prometheus: a collector that reads their numbers at each scrape, and histograms that
their listeners feed.

Run it: it puts a pool under load, serves the metrics, fetches them once and prints them.
Needs prometheus-client.
"""

from __future__ import annotations

import asyncio
import random
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from weakref import ref

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nodetool.concurrency import AsyncResourcePool, PoolEvent, PoolListener

PHASES = {
    "creation": "Calls of the factory.",
    "check": "Calls of the check.",
    "wait": "Acquires, from the call to the resource or the error.",
    "use": "Leases, from acquire to release, discard or detach.",
    "reset": "Calls of the reset.",
    "close": "Calls of the closer, by the reason.",
}
BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


class PoolCollector(Collector):
    """The metrics of any number of pools, told apart by the label ``pool``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pools: dict[str, ref[AsyncResourcePool[Any]]] = {}
        self._seconds = {
            kind: Histogram(
                f"resource_pool_{kind}_seconds",
                text,
                ["pool", "outcome"],
                buckets=BUCKETS,
                registry=registry,
            )
            for kind, text in PHASES.items()
        }
        registry.register(self)

    def listener(self, name: str) -> PoolListener:
        """What to make the pool with: ``AsyncResourcePool(..., listener=...)``."""

        def listen(event: PoolEvent) -> None:
            self._seconds[event.kind].labels(name, event.outcome).observe(event.seconds)

        return listen

    def watch(self, name: str, pool: AsyncResourcePool[Any]) -> None:
        """Show the pool's numbers until it is closed or gone."""
        self._pools[name] = ref(pool)

    def collect(self) -> Iterator[Metric]:
        """Called in the server's thread, where `gauges` may be read, but not `stats`."""
        resources = GaugeMetricFamily(
            "resource_pool_resources", "Resources, by what they are.", labels=["pool", "state"]
        )
        most = GaugeMetricFamily("resource_pool_max_size", "How many may exist.", labels=["pool"])
        waiting = GaugeMetricFamily(
            "resource_pool_waiting", "Acquirers in the queue.", labels=["pool"]
        )
        timeouts = CounterMetricFamily(
            "resource_pool_timeouts", "Acquires that ran out of time.", labels=["pool"]
        )
        for name, pool_ref in list(self._pools.items()):
            pool = pool_ref()
            if pool is None or pool.closed:
                continue
            numbers = pool.gauges()._asdict()  # once: all are of one moment
            most.add_metric([name], pool.max_size)
            waiting.add_metric([name], numbers.pop("waiting"))
            timeouts.add_metric([name], numbers.pop("timeouts"))
            for state, number in numbers.items():
                resources.add_metric([name, state], number)
        yield from (resources, most, waiting, timeouts)


async def connect() -> object:
    await asyncio.sleep(0.01)
    return object()


async def use(pool: AsyncResourcePool[object]) -> None:
    while True:
        with suppress(TimeoutError):
            async with pool.acquire_context(timeout=random.choice([0, 0.02, 1])):
                await asyncio.sleep(0.02 * random.random())
        await asyncio.sleep(0.02 * random.random())


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


async def main() -> None:
    registry = CollectorRegistry()
    collector = PoolCollector(registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)  # on any free port
    async with AsyncResourcePool(connect, max_size=3, listener=collector.listener("main")) as pool:
        collector.watch("main", pool)
        users = [asyncio.create_task(use(pool)) for _ in range(8)]
        await asyncio.sleep(0.5)
        print(await asyncio.to_thread(fetch, f"http://127.0.0.1:{server.server_port}/metrics"))
        for user in users:
            user.cancel()
        await asyncio.wait(users)
    server.shutdown()
    server.server_close()
    thread.join()


if __name__ == "__main__":
    asyncio.run(main())
