"""The plug-in that lets the explorer check pools and compare their states."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from nodetool.concurrency import AsyncResourcePool, _options
from nodetool.concurrency._machine import guarantees as g
from nodetool.concurrency._machine.counts import Limits
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.slots import NEVER, Slot
from nodetool.concurrency._runtime import binding, long_waits
from nodetool.concurrency._runtime.driver import Driver
from nodetool.concurrency.testing import Events
from nodetool.concurrency.testing.plugins import Plugin, Reducer, attributes_except, register

from ._following import Follower, watch
from ._graph import FROZEN, Graph, limits_of

__all__ = ["GUARANTEES", "GuaranteeError", "PoolMonitor", "UnfollowedError", "watch_pool"]

T = TypeVar("T")

# THE POOL'S INTERNALS. Only this section names private attributes of the pool and of its machine.

MACHINE_CLASS: type = PoolMachine  # the class of all machines
MACHINE_PAST = ("history",)  # attributes of a machine that no decision depends on
KEYED_BY_ID = "_slots"  # the attribute of a machine that maps identities to slots
COPIES = (
    "_find",
    "_finder",
    "find",
)  # attributes of a pool and its driver that only repeat the machine's
FOLLOWER_PAST = ("trail",)  # attributes of a follower that no decision depends on
LEASE = "nodetool.concurrency._tracking.Lease"  # only messages show the fields of a lease


def machine_of(pool: AsyncResourcePool[Any]) -> PoolMachine[Any]:
    """Return the machine that a pool runs on."""
    return pool._machine


def sweep_time(pool: AsyncResourcePool[Any]) -> float:
    """Return the time when the pool's timer closes idle resources."""
    return pool._driver.sweep_time()


def is_sweep_late(pool: AsyncResourcePool[Any]) -> bool:
    """Tell whether an idle resource may be overdue before the pool's timer fires."""
    return bool(pool.available_count) and machine_of(pool).outbox.sweep_at < sweep_time(pool)


def numbers_of(pool: AsyncResourcePool[Any]) -> dict[str, Any]:
    """Return the pool's gauges and statistics."""
    return pool.stats()._asdict()


def fits_model(pool: AsyncResourcePool[Any], constants: Any) -> bool:
    """Tell whether a pool is unused and has the options of a model."""
    machine, c = machine_of(pool), constants
    options = machine.options()
    trust = options["check_after_idle"]
    return (
        options["limits"] == Limits(c["MaxCreating"], c["MaxWaiting"])
        and (options["max_size"], options["min_size"]) in limits_of(c)
        and (trust is not None) == c["Checks"]
        and bool(trust) == c["CheckSkips"]
        and options["resets"] == c["Resets"]
        and options["fifo"] == c["Fifo"]
        and (c["Idles"] or options["max_idle_time"] == NEVER)
        and (c["Ages"] or not pool._driver.has_ages())
        and machine.is_unused()
    )


def resources_out(pool: AsyncResourcePool[Any]) -> list[Slot[Any]]:
    """Return the slots that users have."""
    return machine_of(pool).lent()


@contextmanager
def restart_numbers() -> Iterator[None]:
    """Number pools without a name from one, so that each run gives them the same names."""
    numbers, _options._numbers = _options._numbers, itertools.count(1)
    try:
        yield
    finally:
        _options._numbers = numbers


@contextmanager
def without_warnings() -> Iterator[None]:
    """Let pools set no timers for warnings: a task beside such a timer would never be stuck."""
    first, long_waits.FIRST_WARNING = long_waits.FIRST_WARNING, NEVER
    try:
        yield
    finally:
        long_waits.FIRST_WARNING = first


def silence_pools(loop: asyncio.AbstractEventLoop) -> None:
    """Let the pools of a loop give no warning when they are dropped."""
    for one in list(binding._bindings):
        if one.loop is loop:
            one.forked = True


# End of the section.

GUARANTEES = g.STATE_PREDICATES
"""The guarantees that hold in every state of a machine, with their predicates."""

load_graph = cache(Graph.frozen)


class GuaranteeError(AssertionError):
    """Error of a pool in a state that breaks a guarantee.

    Since version 0.2.0.
    """


class UnfollowedError(AssertionError):
    """Error of a run that leaves the bounds of its model, so that its steps cannot be looked up.

    Since version 0.2.0.
    """


class PoolPlugin(Plugin):
    """The knowledge about the classes of a pool."""

    constants = (Graph,)
    constant_bases = (PoolMachine,)

    def reducer(self, kind: type) -> Reducer | None:
        if issubclass(kind, MACHINE_CLASS):
            return machine_reducer(kind)
        if issubclass(kind, (AsyncResourcePool, Driver)):
            return attributes_except(kind, *COPIES)
        if issubclass(kind, Follower):
            return attributes_except(kind, *FOLLOWER_PAST)
        if f"{kind.__module__}.{kind.__qualname__}" == LEASE:
            return lambda lease: [lease.task, lease.former]
        return None

    @contextmanager
    def run_context(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        try:
            with restart_numbers(), without_warnings():
                yield
        finally:
            silence_pools(loop)


def machine_reducer(kind: type) -> Reducer:
    """Return the reducer of a class of machines.

    The identities of resources are left out, because they differ from run to run.
    """
    others = attributes_except(kind, KEYED_BY_ID, *MACHINE_PAST)
    return lambda value: [list(getattr(value, KEYED_BY_ID).values()), *others(value)]


class PoolMonitor:
    """The checks of one pool, and the graph in which its steps are looked up."""

    def __init__(
        self, pool: AsyncResourcePool[Any], model: str | None, clock: Callable[[], float]
    ) -> None:
        if not isinstance(pool, AsyncResourcePool):
            raise TypeError(f"only an AsyncResourcePool can be watched, not {pool!r}")
        self.subject = pool
        self.follower = None if model is None else follow(pool, model, clock)

    @property
    def steps(self) -> list[str]:
        """Return the actions of the specification that the pool took."""
        return [] if self.follower is None else self.follower.trail

    def failure(self) -> Exception | None:
        """Return the error of a step that is not in the graph."""
        follower = self.follower
        if follower is None:
            return None
        if follower.failure is None and follower.graph is None:
            return UnfollowedError("the model has fewer tasks than use the pool: use another")
        return follower.failure

    def check_state(self) -> None:
        """Check all guarantees between two callbacks."""
        machine = machine_of(self.subject)
        broken = [name for name, holds in GUARANTEES if not holds(machine)]
        if broken:
            raise GuaranteeError(f"{' and '.join(broken)} violated by {self.subject!r}")
        if is_sweep_late(self.subject):
            raise GuaranteeError(f"idle resources are closed too late in {self.subject!r}")

    def leftovers(self) -> list[str]:
        """Describe the resources that users still have."""
        count = len(resources_out(self.subject))
        return [f"{count} of {self.subject!r}, never given back"] if count else []

    def snapshot(self) -> object:
        """Return the pool's numbers and steps."""
        return numbers_of(self.subject), tuple(self.steps)


def follow(pool: AsyncResourcePool[Any], model: str, clock: Callable[[], float]) -> Follower:
    """Let an observer look up the steps of an unused pool in the graph of a model."""
    if model not in FROZEN:
        raise ValueError(f"there is no model {model!r}: use one of {', '.join(FROZEN)}")
    graph = load_graph(model)
    if not fits_model(pool, graph.constants):
        values = ", ".join(f"{name} {value}" for name, value in graph.constants.items())
        raise ValueError(f"the model {model} is of an unused pool with {values}")
    follower = Follower(graph, clock)
    watch(pool, follower)
    return follower


def watch_pool(
    events: Events, pool: AsyncResourcePool[T], *, model: str | None = None
) -> AsyncResourcePool[T]:
    """Check a pool while a scenario is explored.

    The explorer checks the guarantees that a state alone can break, in every new state with a
    choice and at the end of a run. With a model it also checks each step, such as the order in
    which waiters are served. A resource that is never given back fails the run.

    Args:
        events: The events of the scenario.
        pool: The pool.
        model: The model of the specification in whose graph each step is looked up, for example
            "Wide", "Deep" or "Checked". The pool must be unused, and have the model's options.

    Returns:
        The pool.

    Raises:
        TypeError: The object is no `AsyncResourcePool`.
        ValueError: There is no such model, or the pool is used or has other options.

    Since version 0.2.0.
    """
    events.add_monitor(PoolMonitor(pool, model, events.time))
    return pool


register(PoolPlugin())
