"""Metrics of pools for OpenTelemetry.

The module needs the extra ``otel``, which is only OpenTelemetry's API. The application chooses the
SDK. Without an SDK nothing is measured.

    metrics = PoolMetrics("main")
    pool = metrics.observe(AsyncResourcePool(connect, close, listener=metrics))

Nine instruments have the names, types and descriptions of the semantic conventions for database
connection pools:

    count              resources that exist, by the attribute ``state``: ``idle``, ``used``,
                       ``checking``, ``resetting`` or ``closing``
    idle.max, max      `max_size`, because all resources may be idle
    idle.min           `min_size`
    pending_requests   acquirers in the queue
    timeouts           acquires that reached their deadline
    create_time        calls of the factory that returned a resource
    wait_time          acquires that returned a resource, also without waiting
    use_time           leases, recorded when they end

The names of these instruments begin with ``db.client.connection.``. For a pool of something else
pass another prefix, for example ``nodetool.resource``. The last part of the prefix is the noun in
units and descriptions, so ``nodetool.resource.count`` counts in ``{resource}``.

The conventions have no instrument for the resources that are gone. So there is one more instrument,
outside of their namespace:

    nodetool.connection.removed    resources that have left the pool, by the attribute
                                   ``nodetool.connection.removal.reason``

The reasons are names of ``PoolStats``: ``late``, ``expired``, ``pruned``, ``surplus``,
``discarded``, ``interrupted``, ``check_failed``, ``reset_failed``, ``retired``, ``closed_down``,
``detached`` and ``forgotten``. A closed resource leaves the pool when its closer ends. So
``create_time`` has recorded as many resources as ``count`` and ``removed`` have in all states and
for all reasons.

The other attributes are the pool's name, ``db.client.connection.pool.name``, and the state,
``db.client.connection.state``. So there are 25 series for a name, however large the load.
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
except ImportError as _error:
    raise ImportError(
        "nodetool.concurrency.otel needs opentelemetry-api: "
        "pip install 'nodetool-concurrency[otel]'"
    ) from _error

from .async_resource_pool import AsyncResourcePool

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram

    from .listener import PoolEvent

__all__ = ["PoolMetrics"]

AnyPool: TypeAlias = AsyncResourcePool[Any]
Read: TypeAlias = Callable[[AnyPool], Iterable[tuple[str, int]]]
"""A function that reads a pool's numbers, each with its state. ``""``: there are no states."""

Pool = TypeVar("Pool", bound=AnyPool)

SCOPE = "nodetool.concurrency"

# In seconds, because an SDK's own boundaries are for milliseconds.
BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


STATES = {  # the first two are those of the conventions, which allow others
    "idle": "idle",
    "used": "in_use",
    "checking": "checking",
    "resetting": "resetting",
    "closing": "closing",
}
"""The states of a resource, and the gauge of each."""


def _states(pool: AnyPool) -> Iterable[tuple[str, int]]:
    gauges = pool.gauges()._asdict()  # called once, so that all numbers are of one moment
    return [(state, gauges[name]) for state, name in STATES.items()]


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

TIMES = (  # name, description, and the kind and the outcomes of the events that it records
    (
        "create_time",
        "The time it took to create a new connection.",
        "creation",
        ("created", "late", "retired"),
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
        ("released", "discarded", "interrupted", "detached", "forgotten"),
    ),
)

REMOVED = "The number of connections that have left the pool for the reason in the attribute."

# The events that end the existence of a resource in the pool, and the reason of each.
REASONS: dict[tuple[str, str], str] = {
    **{
        ("close", reason): reason.replace(" ", "_")
        for reason in (
            *("late", "expired", "pruned", "surplus", "discarded", "interrupted"),
            *("check failed", "reset failed", "retired", "closed down"),
        )
    },
    ("use", "detached"): "detached",
    ("use", "forgotten"): "forgotten",
}


class PoolMetrics:
    """The metrics of all pools with one name, and the listener of these pools.

    Several pools may share a name, for example one for each event loop. The metrics then show the
    sums of their numbers. The metrics show a pool until it is closed, and do not keep it alive.

    Args:
        name: The name of the pools in the metrics. No other pools of the application may have it.
        prefix: The beginning of the names of instruments and attributes.
        meter_provider: Receives the metrics. ``None``: the global provider, even if the application
            sets it later. Times, timeouts and removals from before that moment are then lost.

    Since version 0.1.0.
    """

    _lock = Lock()
    _made: ClassVar[WeakKeyDictionary[MeterProvider, set[str]]] = WeakKeyDictionary()  # prefixes
    # Each `observe` replaces this set, because an exporter may iterate over it in another thread.
    _observed: ClassVar[frozenset[tuple[PoolMetrics, ref[AnyPool]]]] = frozenset()

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
        self._timeouts.add(0, self._attributes)  # so that the first timeout is seen as an increase
        own = f"nodetool.{noun}"
        self._removed = meter.create_counter(f"{own}.removed", f"{{{noun}}}", words(REMOVED))
        self._reasons = {
            event: self._attributes | {f"{own}.removal.reason": reason}
            for event, reason in REASONS.items()
        }
        for attributes in self._reasons.values():
            self._removed.add(0, attributes)
        self._times: dict[tuple[str, str], Histogram] = {}
        for time, description, kind, outcomes in TIMES:
            histogram = meter.create_histogram(
                f"{prefix}.{time}",
                "s",
                words(description),
                explicit_bucket_boundaries_advisory=BOUNDARIES,
            )
            self._times.update(((kind, outcome), histogram) for outcome in outcomes)
        # Make each instrument only once, because an SDK may ignore a second callback or call both.
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
        """Show a pool's numbers whenever the SDK collects metrics, in any thread.

        Args:
            pool: A pool with a listener, which makes its numbers safe to read from any thread. Make
                it with these metrics as the listener, because only then its times are recorded.

        Returns:
            The pool.

        Raises:
            ValueError: The pool has no listener.
        """
        if not pool._has_listener:
            raise ValueError(f"{pool!r} has no listener: make it with listener=metrics")
        with self._lock:
            shown = {(metrics, each) for metrics, each in self._observed if _shown(each)}
            PoolMetrics._observed = frozenset(shown | {(self, ref(pool))})
        return pool

    def __call__(self, event: PoolEvent) -> None:
        """Record how long the phase of an event took. Count a timeout or a removal."""
        what = event.kind, event.outcome
        if histogram := self._times.get(what):
            histogram.record(event.seconds, self._attributes)
        elif event.outcome == "timed out":
            self._timeouts.add(1, self._attributes)
        if attributes := self._reasons.get(what):
            self._removed.add(1, attributes)

    def _where(self) -> MeterProvider:
        return self._provider or get_meter_provider()


def _observations(
    provider: MeterProvider | None, prefix: str, read: Read, _: CallbackOptions
) -> list[Observation]:
    """Return the present values of an observable instrument."""
    where = provider or get_meter_provider()  # a given provider may be the global one by now
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
    """Return the pool if the metrics show it: it must be alive, unclosed and of this process."""
    found = pool()
    return None if found is None or found.closed or found._binding.forked else found
