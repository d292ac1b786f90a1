"""The records that a pool returns: its numbers, its leases and its settings."""

from __future__ import annotations

from typing import Any, NamedTuple


class PoolStats(NamedTuple):
    """One consistent snapshot of a pool's numbers.

    A gauge is the present value of a number. A counter starts at 0 when the pool is made, and only
    grows.

    Three equations hold in every snapshot, except in one of a step that is half done: see
    `AsyncResourcePool.stats`.

    * ``size == creating + checking + idle + in_use + resetting + closing``
    * ``acquired == released + discarded + interrupted + detached + forgotten`` plus the resources
      that users hold.
    * ``created == checking + idle + in_use + resetting`` plus all ways of leaving: `late`,
      `expired`, `pruned`, `surplus`, `discarded`, `interrupted`, `check_failed`, `reset_failed`,
      `retired`, `closed_down`, `detached` and `forgotten`.

    Since version 0.1.0.
    """

    size: int
    """Gauge: resources that may exist. Those that are being created or closed count, too."""
    idle: int
    """Gauge: resources without a user and without work in flight."""
    in_use: int
    """Gauge: resources handed over or held."""
    creating: int
    """Gauge: calls of the factory in flight or queued."""
    checking: int
    """Gauge: calls of the check in flight or queued. Since version 0.2.0."""
    resetting: int
    """Gauge: calls of the reset in flight or queued. Since version 0.2.0."""
    closing: int
    """Gauge: calls of the closer in flight or queued."""
    waiting: int
    """Gauge: acquirers in the queue."""
    min_size: int
    """Gauge: the present limit, which `resize` may have changed."""
    max_size: int
    """Gauge: the present limit, which `resize` may have changed."""
    closed: bool
    """Whether the pool is closed and none of its resources is left."""

    acquired: int
    """Counter: acquires that returned a resource."""
    released: int
    """Counter: resources given back by `release` or by the end of a context."""
    discarded: int
    """Counter: resources given back to be closed, by `discard`."""
    interrupted: int
    """Counter: resources closed after an exception of `discard_on` or by `context.discard()`.

    Since version 0.2.0.
    """
    detached: int
    """Counter: resources taken out of the pool by `detach`."""
    forgotten: int
    """Counter: resources that users held when `terminate` made the pool forget them.

    Since version 0.2.0.
    """
    created: int
    """Counter: calls of the factory that returned a new resource, also after their limit."""
    creation_failures: int
    """Counter: calls of the factory that failed, were late or cancelled, or made a duplicate.

    A late resource of a retired creation counts as `retired` instead.
    """
    closer_failures: int
    """Counter: calls of the closer that failed or exceeded `closer_timeout`."""
    check_failed: int
    """Counter: resources closed because their check returned ``False``, raised or took too long.

    Since version 0.2.0.
    """
    reset_failed: int
    """Counter: resources closed because their reset raised or took too long.

    Since version 0.2.0.
    """
    retired: int
    """Counter: resources closed because `retire_all` had retired them. Since version 0.2.0."""
    surplus: int
    """Counter: resources closed because `resize` had lowered `max_size`. Since version 0.2.0."""
    closed_down: int
    """Counter: resources closed because the pool closed. Since version 0.2.0."""
    late: int
    """Counter: resources closed because the factory made them after `creation_timeout`.

    Since version 0.2.0.
    """
    expired: int
    """Counter: resources closed because `max_age` had passed."""
    pruned: int
    """Counter: resources closed because `max_idle_time` had passed."""
    waits: int
    """Counter: acquires that joined the queue, also those with ``timeout=0``.

    Since version 0.2.0.
    """
    waited_seconds: float
    """Counter: the sum of all waits in the queue, in seconds. Since version 0.2.0."""
    timeouts: int
    """Counter: acquires that reached their deadline."""
    cancelled: int
    """Counter: acquires that were cancelled before they got their resource."""
    rejected: int
    """Counter: acquires refused because `max_waiting` waited already without work for them."""


class PoolLease(NamedTuple):
    """One lease of a pool that tracks leases.

    Since version 0.2.0.
    """

    resource: Any
    """The resource."""
    holder: str
    """The task that acquired the resource, for example ``task 'Task-5'``; or ``no task``."""
    seconds: float
    """How long the lease has lasted."""
    stack: str
    """Where the lease began, as in a traceback. Empty unless `leak_stack` or debug mode is on."""


class PoolSettings(NamedTuple):
    """The options that never change. Durations are seconds; ``math.inf`` is no limit.

    The arguments of `AsyncResourcePool` describe these options.

    Since version 0.2.0.
    """

    max_age: float
    max_age_jitter: float
    max_idle_time: float
    acquisition_timeout: float
    creation_timeout: float
    check_timeout: float
    reset_timeout: float
    closer_timeout: float
    exit_timeout: float
    max_waiting: int | None
    max_creating: int | None
    check_after_idle: float
    reuse: str
    leak_threshold: float


class PoolGauges(NamedTuple):
    """The changing numbers of a pool: some numbers of ``PoolStats``.

    If the pool has a listener, any thread may ask for these numbers.

    Since version 0.1.0.
    """

    idle: int
    """Resources without a user and without work in flight."""
    in_use: int
    """Resources handed over or held."""
    creating: int
    """Calls of the factory in flight or queued."""
    checking: int
    """Calls of the check in flight or queued. Since version 0.2.0."""
    resetting: int
    """Calls of the reset in flight or queued. Since version 0.2.0."""
    closing: int
    """Calls of the closer in flight or queued."""
    waiting: int
    """Acquirers in the queue."""
    timeouts: int
    """Acquires that have reached their deadline since the pool was made."""


def measure(counts: Any, idle: int, timeouts: int) -> PoolGauges:
    """Make the gauges from a machine's counts, and its numbers of idle resources and timeouts."""
    c = counts
    work = (c.creating, c.checking, c.resetting, c.closing)
    return PoolGauges(idle, c.in_use, *work, c.waiting, timeouts)
