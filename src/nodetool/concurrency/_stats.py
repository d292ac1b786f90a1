"""What `AsyncResourcePool.stats` returns."""

from __future__ import annotations

from typing import NamedTuple


class PoolStats(NamedTuple):
    """One consistent snapshot of a pool. Gauges tell what is now, counters what has been.

    Two equations hold in every snapshot: ``size == creating + idle + in_use + closing``, and
    ``acquired == released + discarded + detached`` plus what users hold or ``terminate`` forgot.
    """

    size: int
    """Gauge: everything that may exist outside; never above `max_size`."""
    idle: int
    """Gauge: resources that nobody uses."""
    in_use: int
    """Gauge: resources handed over, being checked, held, or being reset."""
    creating: int
    """Gauge: factory calls in flight."""
    closing: int
    """Gauge: closer calls in flight."""
    waiting: int
    """Gauge: acquirers in the queue."""
    min_size: int
    """The floor that was asked for."""
    max_size: int
    """The limit that was asked for."""
    closed: bool
    """Whether the pool is closed and nothing of it is left."""

    acquired: int
    """Counter: acquires that returned a resource."""
    released: int
    """Counter: resources given back by `release` or the end of a context."""
    discarded: int
    """Counter: resources given back to be closed."""
    detached: int
    """Counter: resources taken out of the pool for good."""
    created: int
    """Counter: factory calls that returned a new resource."""
    creation_failures: int
    """Counter: factory calls that failed, timed out, were cancelled or returned a duplicate."""
    closer_failures: int
    """Counter: closer calls that failed or were given up."""
    check_failures: int
    """Counter: checks that said no."""
    reset_failures: int
    """Counter: resets that failed or took too long."""
    expired: int
    """Counter: resources closed because `max_age` had passed."""
    pruned: int
    """Counter: resources closed because `max_idle_time` had passed."""
    timeouts: int
    """Counter: acquires that ran out of time."""
    cancelled: int
    """Counter: acquires and resets that were cancelled inside the pool."""
    rejected: int
    """Counter: acquires turned away because the queue was full."""
