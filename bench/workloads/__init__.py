"""The workloads: one function for each, which returns its figures by name.

Each workload runs in a process of its own with one contender. If a figure is divided by a floor,
the same process measures the floor, before the workload or in turns with it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bench.contenders import Contender
from bench.size import Size

from . import churn, faults, lease, memory, order, queue, races, scale, startup, upkeep, watching

Measure = Callable[[Contender, Size], Coroutine[Any, Any, dict[str, float]]]


@dataclass(frozen=True)
class Workload:
    """A workload, and the contenders that it applies to."""

    name: str
    title: str
    measure: Measure
    limits: bool = False  # also our pool with limits
    debug: bool = False  # also our pool with debug mode off and on
    virtual: bool = False  # in virtual time
    only_ours: bool = False
    single_repetition: bool = False  # because it takes long


WORKLOADS: tuple[Workload, ...] = (
    Workload("W1", "one task, nobody waits, no timeout", lease.alone, limits=True, debug=True),
    Workload("W1L", "what that is made of", lease.made_of, limits=True, only_ours=True),
    Workload("W2", "1,000 tasks over 10 resources, no timeout", lease.crowd, limits=True),
    Workload("W2T", "the same, a timeout on every acquire", lease.timed_crowd, limits=True),
    Workload("W3", "a long queue, each with a timeout", queue.served),
    Workload("W4", "10,000 waiters, all time out", queue.timed_out),
    Workload("W5", "all leased, given back in random order", churn.sizes),
    Workload("W6", "10,000 waiters, all cancelled", queue.cancelled),
    Workload("W6R", "cancellation and timeout race with the hand-over", races.hand_over),
    Workload("W7a", "every use expires, async callbacks", churn.single_use),
    Workload("W7as", "the same, sync callbacks", churn.single_use_sync, only_ours=True),
    Workload("W7b", "10,000 idle, all expired: prune, async closer", churn.prune),
    Workload("W7bs", "the same, sync closer", churn.prune_sync, only_ours=True),
    Workload("W7c", "100,000 resources: open and close", upkeep.open_and_close, only_ours=True),
    Workload("W8", "memory, in bytes", memory.per_item, limits=True),
    Workload("W9", "import, beyond asyncio", startup.importing),
    Workload("W10", "200 tasks meet an empty pool of 20; creations take 20 ms", startup.cold_burst),
    Workload("W10f", "the waiter behind a failed creation", startup.behind_a_failure),
    Workload("W11", "fairness", order.fairness),
    Workload("W12", "close", startup.closing),
    Workload(
        "W14",
        "a lease that is tracked, listened to, or traced",
        watching.watched_lease,
        only_ours=True,
    ),
    Workload("W15", "120 requests a second where 40 can be served; a check", faults.goodput),
    Workload("W16", "a connect that never returns", faults.hung_connect),
    Workload("W17", "many tasks wait for one end", upkeep.waiting_tasks, only_ours=True),
    Workload("W18", "an outage, and 100 users that try again", faults.outage),
    Workload("S1", "a hand-over among 1,000 and 100,000 waiters", scale.waiters),
    Workload("S2", "a hand-over with 10 and 10,000 resources", scale.resources),
    Workload(
        "S3",
        "10,000 resources expire, one after another",
        scale.expiry,
        virtual=True,
        only_ours=True,
    ),
    Workload(
        "S4",
        "24 hours, a million leases",
        scale.day,
        virtual=True,
        only_ours=True,
        single_repetition=True,
    ),
)
