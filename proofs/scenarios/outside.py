"""The worlds outside a scenario's pool.

`Outside` is the factory, the closer and the hooks of the pool. It counts resources independently
of the pool, so that a wrong number in the pool shows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency.testing import Events
from nodetool.concurrency.verify.schedules import watch_pool
from proofs import inside

if TYPE_CHECKING:
    from proofs.scenarios.table import Scenario

UNLIMITED = dict.fromkeys(
    ("acquisition_timeout", "creation_timeout", "check_timeout", "reset_timeout", "closer_timeout")
)

MET: set[str] = set()
"""Situations of all runs in which users made their calls, for example "close held"."""


class FactoryError(Exception):
    """Failure of a creation."""


class CloserError(Exception):
    """Failure of a closer."""


class CheckError(Exception):
    """Failure of a check."""


class ResetError(Exception):
    """Failure of a reset."""


class BodyError(Exception):
    """Failure of a user's own code."""


# What an acquirer may get. The errors of checks and resets are not among them.
EXPECTED = (
    *(FactoryError, BodyError, ResourcePoolClosedError),
    *(ResourcePoolTimeoutError, ResourcePoolExhaustedError),
)


class Resource:
    """Object outside the pool. It lives from its creation to the end of its closer."""

    __slots__ = ("closed", "holders", "kept")

    def __init__(self) -> None:
        self.closed = False
        self.kept = False  # detached or forgotten: the pool must not close it
        self.holders = 0

    def assert_unused(self) -> None:
        """Assert that the resource is open and that nobody holds it."""
        assert not self.closed, "the resource is closed"
        assert not self.holders, "a user holds the resource already"


class Outside:
    """World outside the pool. The explorer decides how each of its calls ends."""

    kind: type[Resource] = Resource

    def __init__(self, events: Events, scenario: Scenario) -> None:
        self.events = events
        self.faults = scenario.faults
        self.limit: int = scenario.options["max_size"]
        self.living = 0
        self.discarded = self.interrupted = self.detached = 0
        self.resources: list[Resource] = []
        self.all_held = asyncio.Event()
        self.pool = self.make_pool({"name": "explored", **self.options(scenario)})
        if isinstance(events, Events):  # not of another explorer
            self.watch(scenario)
        events.watch(self)

    def options(self, scenario: Scenario) -> dict[str, Any]:
        """Return the options of the model, with the methods of this object as hooks."""
        options = {**UNLIMITED, **scenario.options}
        if scenario.constants["Checks"]:
            options["check"] = self.check
        if scenario.constants["Resets"]:
            options["reset"] = self.reset
        return options

    def make_pool(self, options: dict[str, Any]) -> AsyncResourcePool[Any]:
        """Create the pool, with the methods of this object as its factory and its closer."""
        return AsyncResourcePool(self.create, self.close, **options)

    def watch(self, scenario: Scenario) -> None:
        """Check the pool, and each of its steps if the scenario is observed."""
        model = scenario.model if scenario.observed else None
        watch_pool(self.events, self.pool, model=model)

    async def call(self, name: str, fault: type[Exception], *answers: Any) -> Any:
        """Call a function outside. The call may fail only if the scenario allows this fault."""
        first, *others = answers or (None,)
        faults = (fault,) if name in self.faults else ()
        results = tuple(others) if name in self.faults else ()
        return await self.events.call(name, result=first, results=results, faults=faults)

    async def create(self) -> Any:
        """Create a resource, as the pool's factory. The pool must have room for all that live."""
        assert self.living < self.pool.size, "more resources live than the pool has slots"
        self.living += 1
        assert self.living <= self.limit, "more resources live than max_size"
        try:
            await self.call("factory", FactoryError)
        except BaseException:
            self.living -= 1
            raise
        resource = self.kind()
        self.resources.append(resource)
        return resource

    async def close(self, resource: Any) -> None:
        """Close a resource, as the pool's closer. The resource must be unused and in the pool."""
        assert not resource.closed, "closed twice"
        assert not resource.holders, "closed while a user holds it"
        assert not resource.kept, "closed after it was detached or forgotten"
        resource.closed = True
        try:
            await self.call("closer", CloserError)
        finally:
            self.living -= 1

    async def check(self, resource: Resource) -> object:
        """Check a resource that nobody uses."""
        resource.assert_unused()
        return await self.call("check", CheckError, True, False)

    async def reset(self, resource: Resource) -> None:
        """Reset a resource that nobody uses."""
        resource.assert_unused()
        await self.call("reset", ResetError)

    def take(self, resource: Any) -> None:
        """Record that a user holds the resource now."""
        resource.assert_unused()
        resource.holders += 1

    def give(self, resource: Resource) -> None:
        """Record that a user holds the resource no longer."""
        resource.holders -= 1

    def note_interruption(self, resource: Any) -> None:
        """Record that a body was cancelled. Its context discards, unless the lease has ended."""
        self.interrupted += not resource.kept

    def keep(self, resource: Any) -> None:
        """Record that the resource left the pool without being closed."""
        if not resource.kept:
            resource.kept = True
            self.living -= 1

    def about_to(self, call: str) -> None:
        """Record in `MET` where resources and acquirers are at this call, if the pool is open."""
        MET.update(f"{call} {place}" for place in inside.places(self.pool))

    def assert_empty(self) -> None:
        """Assert that the pool is closed and that each resource was closed or left the pool."""
        assert self.pool.closed
        assert self.pool.size == 0
        assert not inside.leftovers(self.pool)
        assert self.living == 0, f"{self.living} live after the pool is closed"
        assert all(r.closed or r.kept for r in self.resources)
        self.assert_counted()

    async def settle(self) -> None:
        """Wait for the closers that the pool has abandoned. They are cancelled, so they end."""
        while "abandoned closers" in inside.leftovers(self.pool):
            await self.events.call("turn")

    def assert_counted(self) -> None:
        """Assert that the pool has counted what the users have done."""
        stats = self.pool.stats()
        kept = sum(resource.kept for resource in self.resources)
        assert stats.discarded == self.discarded, f"{self.discarded} were discarded"
        assert stats.interrupted == self.interrupted, f"{self.interrupted} were interrupted"
        assert stats.detached == self.detached, f"{self.detached} were detached"
        assert stats.detached + stats.forgotten == kept, f"{kept} have left unclosed"
        self.assert_created(stats.created)

    def assert_created(self, number: int) -> None:
        """Assert that the pool has counted all resources that were created."""
        assert number == len(self.resources), f"{len(self.resources)} were created"


class Stubborn(Outside):
    """World whose functions ignore a cancellation, and succeed at that moment."""

    async def call(self, name: str, fault: type[Exception], *answers: Any) -> Any:
        """Call a function outside, which succeeds when it is cancelled."""
        try:
            return await super().call(name, fault, *answers)
        except asyncio.CancelledError:
            MET.add(f"{name}, late")
            return answers[0] if answers else None


class Plain(Outside):
    """World whose functions are plain: their work needs no task, and ends at once."""

    def make_pool(self, options: dict[str, Any]) -> AsyncResourcePool[Any]:
        """Create the pool with plain functions."""
        for hook in {"check", "reset"} & {*options}:
            options[hook] = self.see_unused
        return AsyncResourcePool(self.create_now, self.close_now, **options)

    def create_now(self) -> Resource:
        """Create a resource."""
        assert self.living < self.pool.size, "more resources live than the pool has slots"
        self.living += 1
        resource = self.kind()
        self.resources.append(resource)
        return resource

    def close_now(self, resource: Resource) -> None:
        """Close a resource. It must be unused and in the pool."""
        assert not resource.kept, "closed after it was detached or forgotten"
        resource.assert_unused()
        resource.closed = True
        self.living -= 1

    def see_unused(self, resource: Resource) -> None:
        """Check or reset a resource that nobody uses."""
        resource.assert_unused()
