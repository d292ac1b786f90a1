"""The plug-in that lets the explorer check pools of the second semantics, and compare their states.

What it has to leave out of a pool's state, and how it isolates runs, is as in `_explored_pools`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from nodetool.concurrency.testing import Events
from nodetool.concurrency.testing.plugins import register
from nodetool.concurrency.verify import _explored_pools as first
from nodetool.concurrency.verify._explored_pools import GuaranteeError, UnfollowedError
from nodetool.concurrency.verify._following import watch

from .counts import Limits
from .driver import Driver
from .following import Follower
from .graph import Graph, limits_of
from .guarantees import STATE_PREDICATES
from .machine import PoolMachine
from .pool import AsyncResourcePool
from .slots import NEVER

__all__ = ["GUARANTEES", "GuaranteeError", "PoolMonitor", "UnfollowedError", "watch_pool"]

T = TypeVar("T")


GUARANTEES = STATE_PREDICATES
"""The guarantees that hold in every state of a machine, with their predicates."""


def fits_model(pool: AsyncResourcePool[Any], constants: Any) -> bool:
    """Tell whether a pool is unused and has the options of a model."""
    machine, c = pool._machine, constants
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


class PoolPlugin(first.PoolPlugin):
    """The knowledge about the classes of a pool."""

    constant_bases = (PoolMachine,)
    machine_class = PoolMachine
    with_copies = (AsyncResourcePool, Driver)


class PoolMonitor(first.PoolMonitor):
    """The checks of one pool, and the graph in which its steps are looked up."""

    guarantees = GUARANTEES

    def require_pool(self, pool: Any) -> None:
        """Refuse anything but a pool of the second semantics."""
        if not isinstance(pool, AsyncResourcePool):
            raise TypeError(f"only an AsyncResourcePool can be watched, not {pool!r}")

    def follow(self, pool: Any, model: Graph, clock: Callable[[], float]) -> Follower:
        """Let an observer look up the steps of an unused pool in a graph."""
        if not fits_model(pool, model.constants):
            raise ValueError(f"the graph is of an unused pool with {model.constants}")
        follower = Follower(model, clock)
        watch(pool, follower)
        return follower


def watch_pool(
    events: Events, pool: AsyncResourcePool[T], *, model: Graph | None = None
) -> AsyncResourcePool[T]:
    """Check a pool while a scenario is explored.

    Args:
        events: The events of the scenario.
        pool: The pool.
        model: The graph in which each step is looked up. The pool must be unused, and have the
            options of the graph's model.

    Returns:
        The pool.

    Raises:
        TypeError: The object is no pool of the second semantics.
        ValueError: The pool is used or has other options.
    """
    events.add_monitor(PoolMonitor(pool, model, events.time))
    return pool


register(PoolPlugin())
