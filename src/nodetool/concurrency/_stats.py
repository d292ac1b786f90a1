"""The numbers that `AsyncResourcePool.stats` returns."""

from __future__ import annotations

from typing import NamedTuple


class PoolStats(NamedTuple):
    """One consistent snapshot of a pool's numbers.

    A gauge is the present value of a number. A counter only grows, from the pool's construction.

    Two equations hold in every snapshot. First, ``size == creating + idle + in_use + closing``.
    Second, ``acquired == released + discarded + detached`` plus the resources that users hold and
    those that ``terminate`` made the pool forget.
    """

    size: int
    """Gauge: resources that may exist, also those being created or closed; at most `max_size`."""
    idle: int
    """Gauge: resources that nobody uses."""
    in_use: int
    """Gauge: resources handed over, being checked, held, or being reset."""
    creating: int
    """Gauge: calls of the factory in flight."""
    closing: int
    """Gauge: calls of the closer in flight or queued."""
    waiting: int
    """Gauge: acquirers in the queue."""
    min_size: int
    """The pool's argument `min_size`."""
    max_size: int
    """The pool's argument `max_size`."""
    closed: bool
    """Whether the pool is closed and none of its resources is left."""

    acquired: int
    """Counter: acquires that returned a resource."""
    released: int
    """Counter: resources given back by `release` or by the end of a context."""
    discarded: int
    """Counter: resources given back to be closed, by `discard` or by the end of a context."""
    detached: int
    """Counter: resources taken out of the pool by `detach`."""
    created: int
    """Counter: calls of the factory that returned a new resource."""
    creation_failures: int
    """Counter: calls of the factory that failed, timed out, were cancelled or made a duplicate."""
    closer_failures: int
    """Counter: calls of the closer that failed or exceeded `closer_timeout`."""
    check_failures: int
    """Counter: checks that returned ``False`` or raised."""
    reset_failures: int
    """Counter: resets that raised or exceeded `closer_timeout`."""
    expired: int
    """Counter: resources closed because `max_age` had passed."""
    pruned: int
    """Counter: resources closed because `max_idle_time` had passed."""
    timeouts: int
    """Counter: acquires that reached their deadline."""
    cancelled: int
    """Counter: acquires and resets that were cancelled inside the pool."""
    rejected: int
    """Counter: acquires refused because `max_waiting` waited already without a creation."""
