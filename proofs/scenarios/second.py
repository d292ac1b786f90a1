"""The world outside a scenario's pool of the second semantics, and the users that only it has."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache
from typing import Any

from nodetool.concurrency import (
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency._second.explored_pools import watch_pool
from nodetool.concurrency._second.pool import AsyncResourcePool
from proofs import inside
from proofs.scenarios.contexts import InContexts
from proofs.scenarios.outside import (
    MET,
    BodyError,
    FactoryError,
    Outside,
    User,
    uses_briefly,
)
from proofs.scenarios.table import Scenario
from spec.second_graph import Graph

frozen = cache(Graph.frozen)

UNLIMITED = dict.fromkeys(
    ("acquisition_timeout", "creation_timeout", "check_timeout", "reset_timeout", "closer_timeout")
)

# What an acquirer may get. The errors of checks and resets are not among them.
EXPECTED = (
    *(FactoryError, BodyError, ResourcePoolClosedError),
    *(ResourcePoolTimeoutError, ResourcePoolExhaustedError),
)


class SecondOutside(Outside):
    """World outside a pool of the second semantics."""

    pool_class = AsyncResourcePool

    def __init__(self, events: Any, scenario: Scenario) -> None:
        self.interrupted = 0
        super().__init__(events, scenario)
        self.expected = EXPECTED

    def options(self, scenario: Scenario) -> dict[str, Any]:
        """Return the options of the model, with the methods of this object as hooks."""
        c: Any = frozen(scenario.model).constants
        options = {**UNLIMITED, **scenario.options}
        if c["Checks"]:
            options["check"] = self.check
        if c["Resets"]:
            options["reset"] = self.reset
        return options

    def watch(self, scenario: Scenario) -> None:
        """Check the pool, and each of its steps if the scenario is observed."""
        watch_pool(
            self.events, self.pool, model=frozen(scenario.model) if scenario.observed else None
        )

    async def create(self) -> Any:
        """Create a resource. The pool must have room for all that live outside."""
        assert self.living < self.pool.size, "more resources live than the pool has slots"
        return await super().create()

    def note_interruption(self, resource: Any) -> None:
        """Record that a body was cancelled."""
        self.interrupted += not resource.kept

    async def settle(self) -> None:
        """Wait for the closers that the pool has abandoned. They are cancelled, so they end."""
        while "abandoned closers" in self.leftovers():
            await self.events.call("turn")

    def leftovers(self) -> dict[str, int]:
        """Return what the closed pool still keeps, in numbers."""
        return inside.second_leftovers(self.pool)

    def assert_counted(self) -> None:
        """Assert that the pool has counted what the users have done."""
        super().assert_counted()
        stats = self.pool.stats()
        kept = sum(resource.kept for resource in self.resources)
        assert stats.interrupted == self.interrupted, f"{self.interrupted} were interrupted"
        assert stats.detached + stats.forgotten == kept, f"{kept} have left unclosed"
        self.assert_created(stats.created)

    def assert_created(self, number: int) -> None:
        """Assert that the pool has counted all resources that were created."""
        assert number == len(self.resources), f"{len(self.resources)} were created"


class Stubborn(SecondOutside):
    """World whose functions ignore a cancellation, and succeed at that moment."""

    async def call(self, name: str, fault: type[Exception], *answers: Any) -> Any:
        """Call a function outside, which succeeds when it is cancelled."""
        try:
            return await super().call(name, fault, *answers)
        except asyncio.CancelledError:
            MET.add(f"{name}, late")
            return answers[0] if answers else None


class SecondInContexts(InContexts, SecondOutside):
    """World of contexts, for a pool of the second semantics."""

    def assert_created(self, number: int) -> None:
        """Assert that the pool has counted no more. A context may end as it was entered."""
        assert number <= len(self.resources), f"{len(self.resources)} were created"


@dataclass(frozen=True, repr=False)
class SecondScenario(Scenario):
    """Tasks that run at the same time, and a pool of the second semantics."""

    world: type[Outside] = SecondOutside

    @property
    def options(self) -> dict[str, Any]:
        """The pool's options: those of the model, the smallest limits first, and the extras."""
        c: Any = frozen(self.model).constants
        options: dict[str, Any] = {
            "max_size": min(c["MaxSizes"]),
            "min_size": min(c["MinSizes"]),
            "max_creating": c["MaxCreating"],
            "max_waiting": c["MaxWaiting"],
            "reuse": "fifo" if c["Fifo"] else "lifo",
            "check_after_idle": 0.1 if c["CheckSkips"] else 0,
        }
        return options | self.extras


# Users.


def resizes(*limits: tuple[int | None, int | None], wait: bool = False) -> User:
    """Return a user that changes the limits of the pool several times."""

    async def user(o: Outside) -> None:
        for max_size, min_size in limits:
            await o.events.call("operator")
            o.about_to("resize")
            o.limit = max(o.limit, max_size or 0)
            try:
                await o.pool.resize(max_size, min_size, wait=wait)
            except asyncio.CancelledError:
                MET.add("resize, cancelled")
                raise
            if wait and o.pool.stats().closed is False:
                assert o.pool.size <= o.pool.max_size or o.pool.max_size != max_size

    user.__name__ = "resizes"
    return user


async def opens_and_waits(o: Outside) -> None:
    """Open the pool, and wait until the minimum size exists."""
    try:
        await o.pool.open(wait=True, timeout=5)
    except (FactoryError, ResourcePoolTimeoutError):
        MET.add("open, too late")
        raise
    except asyncio.CancelledError:
        MET.add("open, cancelled")
        raise
    MET.add("open, filled")


async def holds_both(o: Outside) -> None:
    """Hold two resources, and release them in the order of acquisition."""
    first = await o.pool.acquire()
    try:
        second = await o.pool.acquire()
        await o.pool.release(second)
    finally:
        await o.pool.release(first)


async def uses_briefly_twice(o: Outside) -> None:
    """Use a context twice, and leave it at once."""
    await uses_briefly(o)
    await uses_briefly(o)


async def tries(o: Outside) -> None:
    """Acquire without waiting, a moment later once more."""
    for _ in range(2):
        try:
            resource = await o.pool.acquire(timeout=0)
        except (ResourcePoolTimeoutError, FactoryError):
            MET.add("tried in vain")
            await o.events.call("later")
        else:
            MET.add("tried with success")
            o.take(resource)
            o.give(resource)
            await o.pool.release(resource)
            return
