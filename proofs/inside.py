"""Access to a pool's private state, in plain values, for the scenarios and their checkers.

Scenarios use the public API for everything else, so that only this module follows the internals.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from unittest.mock import patch

from nodetool.concurrency import AsyncResourcePool, _options
from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._messages import LIMITS
from nodetool.concurrency._runtime.driver import FIRST_BACKOFF

__all__ = [
    "MACHINE",
    "Machine",
    "first_backoff",
    "leftovers",
    "machine_in_new_pools",
    "places",
]

Machine: TypeAlias = type[PoolMachine[Any]]
"""The class of a pool's state machine, or of one with a bug."""

MACHINE: Machine = PoolMachine
"""The state machine of every pool."""


@contextmanager
def machine_in_new_pools(machine: Machine) -> Iterator[None]:
    """Let every pool that is created meanwhile run on this machine."""
    with patch.object(_options, "PoolMachine", machine):
        yield


def first_backoff() -> float:
    """Return the seconds between a failed creation for min_size and its first retry."""
    return FIRST_BACKOFF


def places(pool: AsyncResourcePool[Any]) -> set[str]:
    """Return where an open pool's resources and acquirers are; after closing began, nothing.

    The places are "creating", "idle", "handed", "checking", "held", "resetting", "closing" and
    "waiting". The public gauges do not tell the kinds of use apart.
    """
    machine = pool._machine
    if machine.counts().phase is not Phase.OPEN:
        return set()
    found = {slot.state.value for slot in machine.slots()}
    stats = pool.stats()
    found |= {"creating"} if stats.creating else set()
    found |= {"waiting"} if stats.waiting else set()
    return found


def leftovers(pool: AsyncResourcePool[Any]) -> dict[str, int]:
    """Return how many futures, runs and abandoned closers the pool still keeps, if any."""
    work = pool._work
    kept = {
        "futures of callers that wait for the pool": pool._driver.watchers(),
        "runs": sum(len(work.runs(kind)) for kind in LIMITS),
        "abandoned closers": work.abandoned(),
    }
    return {name: number for name, number in kept.items() if number}
