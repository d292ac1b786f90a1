"""The plug-in that lets the explorer check pools and compare their states."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from nodetool.concurrency import AsyncResourcePool, _home, _options
from nodetool.concurrency import _guarantees as g
from nodetool.concurrency._counts import Limits
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import NEVER, Record
from nodetool.concurrency._shell import PoolShell
from nodetool.concurrency._state import PoolState
from nodetool.concurrency.testing import Events
from nodetool.concurrency.testing.plugins import Plugin, Reducer, attributes_except, register

from ._following import Following
from ._graph import FROZEN, Graph

__all__ = ["GUARANTEES", "GuaranteeError", "PoolMonitor", "UnfollowedError", "watch_pool"]

T = TypeVar("T")

# THE POOL'S INTERNALS. Only this section uses attributes of the pool and of its machine.

SHELL_CLASS: type = PoolShell  # every pool is an object of it
MACHINE_CLASS: type = PoolState  # every machine is an object of it
SHELL_COPIES = ("_leased",)  # attributes of a pool that only repeat what its machine has
MACHINE_PAST = ("trail", "history")  # attributes of a machine that decide nothing
KEYED_BY_ID = "leased"  # the attribute of a machine that maps identities to records
HOLDER = "nodetool.concurrency._debug.Holder"  # a name: without icontract there is no such class
HOLDER_TEXTS = ("name", "stack", "since", "until")  # its attributes that only appear in messages


def machine_of(pool: AsyncResourcePool[Any]) -> PoolMachine[Any]:
    """Return the machine that a pool runs on."""
    return pool._machine


def replace_machine(pool: AsyncResourcePool[Any], kind: Any) -> Any:
    """Let an unused pool run on a machine of another class; return the machine."""
    old = machine_of(pool)
    machine = kind(
        old.name,
        old.limits,
        max_idle_time=old.max_idle_time,
        check_after_idle=old.check_after_idle,
        resets=old.resets,
    )
    pool._run_on(machine)
    return machine


def sweep_time(pool: AsyncResourcePool[Any]) -> float:
    """Return when the pool's timer closes idle resources."""
    return pool._sweep_at


def is_sweep_late(pool: AsyncResourcePool[Any]) -> bool:
    """Return whether an idle resource is overdue before the pool's timer fires."""
    machine = machine_of(pool)
    return machine.idle > 0 and machine.deadline < sweep_time(pool)


def numbers_of(pool: AsyncResourcePool[Any]) -> dict[str, Any]:
    """Return the pool's gauges and statistics."""
    return machine_of(pool).gauges()


def fits_model(pool: AsyncResourcePool[Any], limits: Limits, constants: Any) -> bool:
    """Return whether an unused pool has the options of a model."""
    machine = machine_of(pool)
    return (
        machine.limits == limits
        and (machine.check_after_idle is not None) == constants["Checks"]
        and machine.resets == constants["Resets"]
        and (constants["Idles"] or machine.max_idle_time == NEVER)
        and (constants["Ages"] or pool._max_age == NEVER)
        and not (machine.acquired or machine.size)
    )


def resources_out(pool: AsyncResourcePool[Any]) -> list[Record[Any]]:
    """Return the records that users have."""
    return machine_of(pool).out()


@contextmanager
def restart_numbers() -> Iterator[None]:
    """Number the pools without a name from one: their names must be equal in every run."""
    numbers, _options._numbers = _options._numbers, itertools.count(1)
    try:
        yield
    finally:
        _options._numbers = numbers


def silence_pools(loop: asyncio.AbstractEventLoop) -> None:
    """Let the pools of a loop give no warning when they are dropped."""
    for pool in list(_home._everybody):
        if pool._loop is loop:
            pool._forked = True


# End of the section.

GUARANTEES: tuple[Callable[[g.Machine], bool], ...] = (
    g.size_within_limit,
    g.single_holder,
    g.nothing_lost,
    g.nothing_after_close,
    g.one_outcome,
    g.counts_agree,
    g.close_waits,
    g.no_lost_wakeup,
    g.floor_kept,
)
"""The guarantees that hold in every state of a machine."""

load_graph = cache(Graph.frozen)


class GuaranteeError(AssertionError):
    """A state of a pool that one of the guarantees excludes."""


class UnfollowedError(AssertionError):
    """A run outside the bounds of its model, whose steps cannot be looked up any more."""


class PoolPlugin(Plugin):
    """The knowledge about the classes of a pool."""

    constants = (Graph,)
    constant_bases = (Following,)

    def reducer(self, kind: type) -> Reducer | None:
        if issubclass(kind, SHELL_CLASS):
            return attributes_except(kind, *SHELL_COPIES)
        if issubclass(kind, MACHINE_CLASS):
            return machine_reducer(kind)
        if f"{kind.__module__}.{kind.__qualname__}" == HOLDER:
            return attributes_except(kind, *HOLDER_TEXTS)
        return None

    @contextmanager
    def run_context(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        try:
            with restart_numbers():
                yield
        finally:
            silence_pools(loop)


def machine_reducer(kind: type) -> Reducer:
    """Return the reducer of a class of machines.

    The identities of records are left out, because they differ from run to run.
    """
    others = attributes_except(kind, KEYED_BY_ID, *MACHINE_PAST)
    return lambda value: [list(getattr(value, KEYED_BY_ID).values()), *others(value)]


class PoolMonitor:
    """Checks of one pool, and the graph in which its steps are looked up."""

    def __init__(
        self, pool: AsyncResourcePool[Any], model: str | None, clock: Callable[[], float]
    ) -> None:
        if not isinstance(pool, AsyncResourcePool):
            raise TypeError(f"only an AsyncResourcePool can be watched, not {pool!r}")
        self.subject = pool
        self.machine = None if model is None else follow(pool, model, clock)

    @property
    def steps(self) -> list[str]:
        """Return the actions of the specification that the pool took."""
        return [] if self.machine is None else self.machine.trail

    def failure(self) -> Exception | None:
        """Return the error of a step that is not in the graph."""
        machine = self.machine
        if machine is None:
            return None
        if machine.failure is None and machine.graph is None:
            return UnfollowedError("the model has fewer tasks than use the pool: use another")
        return machine.failure

    def check_state(self) -> None:
        """Check all guarantees between two callbacks."""
        machine = machine_of(self.subject)
        broken = [holds.__name__ for holds in GUARANTEES if not holds(machine)]
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


@cache
def followed_class(kind: type[PoolMachine[Any]]) -> type[Following]:
    """Make a subclass of a machine's class that looks its steps up in a graph."""
    return type(f"Followed{kind.__name__}", (Following, kind), {})


def follow(pool: AsyncResourcePool[Any], model: str, clock: Callable[[], float]) -> Following:
    """Let an unused pool run on a machine that looks its steps up in the graph of a model."""
    if model not in FROZEN:
        raise ValueError(f"there is no model {model!r}: use one of {', '.join(FROZEN)}")
    graph = load_graph(model)
    c: Any = graph.constants
    limits = Limits(c["MaxSize"], c["MinSize"], c["MaxCreating"], c["MaxWaiting"])
    if not fits_model(pool, limits, c):
        raise ValueError(
            f"the model {model} is of an unused pool with {limits}, "
            f"check {c['Checks']}, reset {c['Resets']}, "
            f"max_idle_time {c['Idles']}, max_age {c['Ages']}"
        )
    kind: Any = type(machine_of(pool))
    machine: Following = replace_machine(pool, followed_class(kind))
    machine.follow(graph, clock)
    return machine


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
    """
    events.add_monitor(PoolMonitor(pool, model, events.time))
    return pool


register(PoolPlugin())
