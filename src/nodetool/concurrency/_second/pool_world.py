"""A real pool under Hypothesis, and the world outside of it.

The world is as in `_pool_world`. It may also ignore the cancellation of work that has exceeded its
limit, and succeed then.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, ClassVar

from nodetool.concurrency import ResourcePoolTimeoutError
from nodetool.concurrency.verify import _pool_world as first
from nodetool.concurrency.verify._following import watch
from nodetool.concurrency.verify._pool_world import ACQUISITION_TIMEOUT

from .contracts import checked
from .following import Follower
from .graph import Graph
from .machine import REASONS, PoolMachine
from .pool import AsyncResourcePool

LIMITS = {"creation_timeout": 20, "check_timeout": 5, "reset_timeout": 10}  # seconds
GAUGES = ("creating", "checking", "idle", "in_use", "resetting", "closing")
LEAVING = (*(reason.replace(" ", "_") for reason in REASONS), "detached", "forgotten")


class PoolScenario(first.PoolScenario):
    """One pool and the world outside of it."""

    graph: ClassVar[Graph]
    machine_class = PoolMachine

    stubborn = False  # whether work ignores its cancellation and succeeds

    @property
    def constants(self) -> Any:
        """The constants of the model. The size is the largest that is allowed in the beginning."""
        c: Any = self.graph.constants
        return {**c, "MaxSize": max(c["MaxSizes"])}

    def make_pool(self) -> AsyncResourcePool[Any]:
        """Make a pool with the options of the model, and the methods of this object."""
        c = self.constants
        limits: Any = LIMITS
        return AsyncResourcePool(
            self.create,
            self.close_resource,
            max_size=c["MaxSize"],
            min_size=max(c["MinSizes"]),
            max_creating=c["MaxCreating"],
            max_waiting=c["MaxWaiting"],
            max_age=50 if c["Ages"] else None,
            max_idle_time=20 if c["Idles"] else None,
            acquisition_timeout=ACQUISITION_TIMEOUT,
            closer_timeout=None,
            check=partial(self.use, "check") if c["Checks"] else None,
            check_after_idle=0.1 if c["CheckSkips"] else 0,
            reset=partial(self.use, "reset") if c["Resets"] else None,
            reuse="fifo" if c["Fifo"] else "lifo",
            **limits,
        )

    def follow(self) -> tuple[Follower, PoolMachine[Any]]:
        """Look up each step of the pool. Return the follower and the pool's new machine."""
        follower = Follower(self.graph, self.loop.time)
        kind: Any = checked(self.machine_class) if self.contracts else self.machine_class
        machine: Any = watch(self.pool, follower, kind=kind)
        return follower, machine

    # The world outside.

    async def call(self, name: str) -> Any:
        """Call something outside. The call may ignore its cancellation."""
        try:
            return await self.begin_call(name)
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            self.counts[f"late {name}"] += 1
            return True

    async def use(self, name: str, resource: first.Resource) -> Any:
        """Check or reset a resource that must be alive and unused."""
        if resource.closed or resource not in self.living:
            self.report(f"the {name} got a resource that is closed or not the pool's")
        late = self.counts[f"late {name}"]
        try:
            answer = await self.call(name)
        except BaseException:
            self.counts[f"failed {name}"] += 1
            raise
        self.counts[f"failed {name}"] += answer is False or self.counts[f"late {name}"] > late
        return answer

    def count_error(self, error: BaseException) -> None:
        """Count an acquirer's error. The error of a creation's limit is that of a creation."""
        if isinstance(error, ResourcePoolTimeoutError) and "did not finish within" in str(error):
            self.counts["errors of limits"] += 1
        else:
            super().count_error(error)

    def agree(self, at_the_end: bool) -> None:
        """Compare the pool's numbers with each other, and with those of the world outside."""
        counts, stats = self.counts, self.pool.stats()
        numbers = stats._asdict()
        lent = len(self.machine.lent())
        assert stats.size == sum(numbers[name] for name in GAUGES), f"{stats}"
        ended = stats.released + stats.discarded + stats.interrupted
        assert stats.acquired == ended + stats.detached + stats.forgotten + lent, f"{stats}"
        exist = stats.checking + stats.idle + stats.in_use + stats.resetting
        assert stats.created == exist + sum(numbers[name] for name in LEAVING), f"{stats}"
        assert stats.check_failed <= counts["failed check"], f"{stats}: {counts}"
        assert stats.reset_failed <= counts["failed reset"], f"{stats}: {counts}"
        # A late creation makes a resource, and it has failed.
        late = stats.late
        counts["failed"] += late
        try:
            super().agree(at_the_end)
        finally:
            counts["failed"] -= late
        assert len(self.living) <= self.pool.size, f"{len(self.living)} live: {stats}"
