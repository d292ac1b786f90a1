"""What the tests of the metrics share."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, NumberDataPoint

from nodetool.concurrency import AsyncResourcePool, PoolEvent
from nodetool.concurrency.otel import PoolMetrics

DB = "db.client.connection"
REMOVED = "nodetool.connection.removed"
OTHER_STATES = [(state,) for state in ("checking", "resetting", "closing")]


class Exporter:
    """A provider of its own, and what an exporter would get from it."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        names = [metric.name for metric in metrics]
        assert len(set(names)) == len(names), f"an instrument is there twice: {names}"
        return dict(zip(names, metrics, strict=True))

    def series(self) -> dict[tuple[str, ...], float]:
        """Each number, or number of times, by short name and attributes."""
        return {
            (name.removeprefix(f"{DB}."), *map(str, (point.attributes or {}).values())): (
                point.value if isinstance(point, NumberDataPoint) else point.count
            )
            for name, metric in self.collect().items()
            for point in metric.data.data_points
        }

    def values(self) -> dict[tuple[str, ...], float]:
        """The series without those that the conventions do not have and that are 0."""
        return {
            series: number
            for series, number in self.series().items()
            if number or not (series[0] == REMOVED or series[2:] in OTHER_STATES)
        }

    def point(self, name: str) -> Any:
        (point,) = self.collect()[f"{DB}.{name}"].data.data_points
        return point


def unused_pool(metrics: PoolMetrics, **options: Any) -> AsyncResourcePool[object]:
    return metrics.observe(AsyncResourcePool(object, listener=metrics, **options))


def event(kind: Any, outcome: str, seconds: float = 0.0) -> PoolEvent:
    return PoolEvent(kind, 1, 5.0, 5.0 + seconds, outcome, "task", None)


async def use_once(pool: AsyncResourcePool[Any]) -> None:
    async with pool.acquire_context():
        pass
