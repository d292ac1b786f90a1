"""This example shows metrics of pools for Prometheus. Needs `prometheus-client`.

A collector reads the numbers of each pool at each scrape. Histograms get the pool's events. The
program keeps a pool busy, and prints the metrics as Prometheus gets them.
"""

import asyncio
from collections.abc import Iterator
from weakref import WeakValueDictionary

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nodetool.concurrency import AsyncResourcePool, PoolEvent
from servers import load


class PoolCollector(Collector):
    """The metrics of any number of pools. The label `pool` is the pool's name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pools: WeakValueDictionary[str, AsyncResourcePool[object]] = WeakValueDictionary()
        self._seconds: dict[str, Histogram] = {}
        for kind in ("creation", "check", "wait", "use", "reset", "close"):
            name, text = f"resource_pool_{kind}_seconds", f"Duration of each {kind}."
            self._seconds[kind] = Histogram(name, text, ["pool", "outcome"], registry=registry)
        registry.register(self)

    def listen(self, event: PoolEvent) -> None:
        self._seconds[event.kind].labels(event.pool, event.outcome).observe(event.seconds)

    def watch(self, pool: AsyncResourcePool[object]) -> None:
        self._pools[pool.name] = pool

    def collect(self) -> Iterator[Metric]:  # the thread of a server may call this
        states = GaugeMetricFamily("resource_pool_resources", "", labels=["pool", "state"])
        most = GaugeMetricFamily("resource_pool_max_size", "", labels=["pool"])
        waiting = GaugeMetricFamily("resource_pool_waiting", "", labels=["pool"])
        timeouts = CounterMetricFamily("resource_pool_timeouts", "", labels=["pool"])
        for name, pool in [(n, p) for n, p in self._pools.items() if not p.closed]:
            numbers = pool.gauges()._asdict() | {"max_size": pool.max_size}
            for family in (most, waiting, timeouts):
                family.add_metric([name], numbers.pop(family.name.removeprefix("resource_pool_")))
            for state, number in numbers.items():
                states.add_metric([name, state], number)
        yield from (states, most, waiting, timeouts)


async def main(registry: CollectorRegistry) -> None:
    watch = PoolCollector(registry)
    pool = AsyncResourcePool(load.connect, max_size=3, listener=watch.listen, name="main")
    async with pool, pool.acquire_context():  # so that one resource is always in use
        watch.watch(pool)
        await load.use(pool, seconds=0.5)
        print(generate_latest(registry).decode())


if __name__ == "__main__":
    asyncio.run(main(CollectorRegistry()))
