"""Pools in OpenTelemetry. Needs the extra ``otel``: the API alone, so that the application chooses
the SDK; without one nothing is measured.

    metrics = PoolMetrics("main")
    pool = metrics.observe(AsyncResourcePool(connect, close, listener=metrics))

There are nine instruments, named, typed and described as in the semantic conventions for database
connection pools:

    count              what is idle and what is used, told apart by the attribute ``state``; what is
                       being created or closed is neither
    idle.max, max      `max_size`: all may be idle
    idle.min           `min_size`
    pending_requests   acquirers in the queue
    timeouts           acquires that ran out of time
    create_time        factory calls that returned a resource
    wait_time          acquires that returned a resource, those that did not have to wait included;
                       failed ones are not in it
    use_time           leases, told at their end

Their names begin with ``db.client.connection.``, or with another prefix for a pool of something
else. Its last part is the noun in units and descriptions: with ``nodetool.resource``, the one to
take if there is none of your own, ``nodetool.resource.count`` counts in ``{resource}``.

The attributes are the pool's name, ``db.client.connection.pool.name``, and the state,
``db.client.connection.state``; there are no others, so there are ten series for a name, whatever
the load.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, ref

try:
    from opentelemetry.metrics import MeterProvider, Observation, get_meter_provider
except ImportError as error:
    raise ImportError(
        "nodetool.concurrency.otel needs opentelemetry-api: "
        "pip install 'nodetool-concurrency[otel]'"
    ) from error

from .async_resource_pool import AsyncResourcePool

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram

    from .listener import PoolEvent

__all__ = ["PoolMetrics"]

AnyPool: TypeAlias = AsyncResourcePool[Any]
Read: TypeAlias = Callable[[AnyPool], Iterable[tuple[str, int]]]  # a state, if any, and its number
Pool = TypeVar("Pool", bound=AnyPool)

SCOPE = "nodetool.concurrency"

BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)  # an SDK's own are milliseconds


def _states(pool: AnyPool) -> tuple[tuple[str, int], ...]:
    gauges = pool.gauges()  # once, so that both are of one moment
    return ("idle", gauges.idle), ("used", gauges.in_use)


NUMBERS: tuple[tuple[str, str, str, Read], ...] = (
    (
        "count",
        "{connection}",
        "The number of connections that are currently in state described by the `state` attribute.",
        _states,
    ),
    (
        "idle.max",
        "{connection}",
        "The maximum number of idle open connections allowed.",
        lambda pool: [("", pool.max_size)],
    ),
    (
        "idle.min",
        "{connection}",
        "The minimum number of idle open connections allowed.",
        lambda pool: [("", pool.min_size)],
    ),
    (
        "max",
        "{connection}",
        "The maximum number of open connections allowed.",
        lambda pool: [("", pool.max_size)],
    ),
    (
        "pending_requests",
        "{request}",
        "The number of current pending requests for an open connection.",
        lambda pool: [("", pool.gauges().waiting)],
    ),
)

TIMEOUTS = (
    "The number of connection timeouts that have occurred trying to obtain a connection "
    "from the pool."
)

TIMES = (  # what it is called, and of which events it is
    (
        "create_time",
        "The time it took to create a new connection.",
        "creation",
        ("created", "retired"),
    ),
    (
        "wait_time",
        "The time it took to obtain an open connection from the pool.",
        "wait",
        ("acquired",),
    ),
    (
        "use_time",
        "The time between borrowing a connection and returning it to the pool.",
        "use",
        ("released", "discarded", "detached", "forgotten"),
    ),
)


class PoolMetrics:
    """The metrics of the pools of one name: their listener, and what an exporter asks.

    Pools that share a name, one for each event loop or one after another, are shown as one, with
    their sums. A pool is shown until it is closed, and not kept alive.

    Args:
        name: What the pools are called in the metrics; unique within the application.
        prefix: What the names of instruments and attributes begin with.
        meter_provider: Where the metrics go. ``None``: to the global provider, even if that is set
            later; times and timeouts of before are lost then.
    """

    _lock = Lock()
    _made: ClassVar[WeakKeyDictionary[MeterProvider, set[str]]] = WeakKeyDictionary()  # prefixes
    _observed: ClassVar[frozenset[tuple[PoolMetrics, ref[AnyPool]]]] = frozenset()  # never changed

    def __init__(
        self,
        name: str,
        *,
        prefix: str = "db.client.connection",
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._name = name
        self._prefix = prefix
        self._provider = meter_provider
        self._attributes = {f"{prefix}.pool.name": name}
        noun = prefix.rpartition(".")[2]

        def words(text: str) -> str:
            return text.replace("connection", noun)

        provider = self._where()
        meter = provider.get_meter(SCOPE)
        self._timeouts = meter.create_counter(f"{prefix}.timeouts", "{timeout}", words(TIMEOUTS))
        self._timeouts.add(0, self._attributes)  # so that a first one is seen as an increase
        self._times: dict[tuple[str, str], Histogram] = {}
        for time, description, kind, outcomes in TIMES:
            histogram = meter.create_histogram(
                f"{prefix}.{time}",
                "s",
                words(description),
                explicit_bucket_boundaries_advisory=BOUNDARIES,
            )
            self._times.update(((kind, outcome), histogram) for outcome in outcomes)
        # Once for all: if made again, an SDK may ignore the callback or call both.
        with self._lock:
            prefixes = self._made.setdefault(provider, set())
            if prefix in prefixes:
                return
            prefixes.add(prefix)
        for number, unit, description, read in NUMBERS:
            meter.create_observable_up_down_counter(
                f"{prefix}.{number}",
                [partial(_observations, meter_provider, prefix, read)],
                words(unit),
                words(description),
            )

    def observe(self, pool: Pool) -> Pool:
        """Show a pool's numbers whenever metrics are collected, in whichever thread that is.

        Args:
            pool: One made with these metrics as its listener; which makes its numbers safe to read.

        Returns:
            The pool.

        Raises:
            ValueError: The pool has no listener, so its times would be missing.
        """
        if not pool._has_listener:
            raise ValueError(f"{pool!r} has no listener: make it with listener=metrics")
        with self._lock:
            shown = {(metrics, each) for metrics, each in self._observed if _shown(each)}
            PoolMetrics._observed = frozenset(shown | {(self, ref(pool))})
        return pool

    def __call__(self, event: PoolEvent) -> None:
        """Listen to a pool: record how long a phase took, or count a timeout."""
        if histogram := self._times.get((event.kind, event.outcome)):
            histogram.record(event.seconds, self._attributes)
        elif event.outcome == "timed out":
            self._timeouts.add(1, self._attributes)

    def _where(self) -> MeterProvider:
        return self._provider or get_meter_provider()


def _observations(
    provider: MeterProvider | None, prefix: str, read: Read, _: CallbackOptions
) -> list[Observation]:
    """What an observable instrument shows now."""
    where = provider or get_meter_provider()  # what was given may have become the global one
    sums: Counter[tuple[str, str]] = Counter()
    for metrics, each in PoolMetrics._observed:
        pool = _shown(each)
        if pool is not None and metrics._prefix == prefix and metrics._where() is where:
            for state, number in read(pool):
                sums[metrics._name, state] += number
    return [
        Observation(
            number, {f"{prefix}.pool.name": name} | ({f"{prefix}.state": state} if state else {})
        )
        for (name, state), number in sums.items()
    ]


def _shown(pool: ref[AnyPool]) -> AnyPool | None:
    there = pool()
    return None if there is None or there.closed or there._binding.forked else there
