"""The world outside a scenario's pool, and the coroutines of the pool's users.

`Outside` is the factory, the closer and the hooks of the pool. It counts resources independently
of the pool, so that a wrong number in the pool shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency.testing import Events
from nodetool.concurrency.verify.schedules import watch_pool
from proofs import inside

if TYPE_CHECKING:
    from proofs.scenarios.table import Scenario

CHECKED = ("Checked", "SingleChecked", "Doubtful")

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
    pool_class: Any = AsyncResourcePool

    def __init__(self, events: Events, scenario: Scenario) -> None:
        self.events = events
        self.faults = scenario.faults
        self.limit: int = scenario.options["max_size"]
        self.expected: tuple[type[Exception], ...] = EXPECTED
        self.living = 0
        self.discarded = self.detached = 0
        self.resources: list[Resource] = []
        self.all_held = asyncio.Event()
        self.pool = self.make_pool({"name": "explored", **self.options(scenario)})
        if isinstance(events, Events):  # not of another explorer
            self.watch(scenario)
        events.watch(self)

    def options(self, scenario: Scenario) -> dict[str, Any]:
        """Return the options of the pool, with the methods of this object as its hooks."""
        options = {"closer_timeout": None, "acquisition_timeout": None, **scenario.options}
        if scenario.model in CHECKED:
            options["check"] = self.check
        if scenario.model in CHECKED and scenario.model != "Doubtful":
            options["reset"] = self.reset
        return options

    def make_pool(self, options: dict[str, Any]) -> Any:
        """Create the pool, with the methods of this object as its factory and its closer."""
        return self.pool_class(self.create, self.close, **options)

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
        """Create a resource, as the pool's factory. At most max_size resources may live at once."""
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
        self.discarded += not resource.kept

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
        assert not self.leftovers()
        assert self.living == 0, f"{self.living} live after the pool is closed"
        assert all(r.closed or r.kept for r in self.resources)
        self.assert_counted()

    async def settle(self) -> None:
        """Wait for what may go on when the pool is closed."""

    def leftovers(self) -> dict[str, int]:
        """Return what the closed pool still keeps, in numbers."""
        return inside.leftovers(self.pool)

    def assert_counted(self) -> None:
        """Assert that the pool has counted what the users have done."""
        stats = self.pool.stats()
        assert stats.discarded == self.discarded, f"{self.discarded} were discarded"
        assert stats.detached == self.detached, f"{self.detached} were detached"


# The users. Each function is the work of one user's task, and gives the task its name.

User = Callable[[Outside], Coroutine[Any, Any, None]]
EXPECTED = (
    *(FactoryError, BodyError, CheckError, ResourcePoolClosedError),
    *(ResourcePoolTimeoutError, ResourcePoolExhaustedError),
)


async def uses(o: Outside) -> None:
    """Acquire in a context, work, and leave it."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        try:
            await o.events.call("work")
        except asyncio.CancelledError:
            o.note_interruption(resource)
            raise
        finally:
            o.give(resource)


async def uses_briefly(o: Outside) -> None:
    """Enter a context and leave it at once."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        o.give(resource)


async def uses_twice(o: Outside) -> None:
    """Use a context twice."""
    await uses_briefly(o)
    await uses(o)


async def fails(o: Outside) -> None:
    """Use a context whose body may fail."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        try:
            await o.events.call("work", faults=(BodyError,))
        except asyncio.CancelledError:
            o.note_interruption(resource)
            raise
        finally:
            o.give(resource)


def held(then: Callable[[Outside, Resource], Awaitable[None]], timeout: Any = None) -> User:
    """Return a user that calls acquire(), works, and then does `then` with the resource."""

    async def user(o: Outside) -> None:
        resource = await o.pool.acquire(timeout)
        o.take(resource)
        try:
            await o.events.call("work")
        finally:
            o.give(resource)
            with suppress(InvalidReleaseError):  # terminate() may have ended the lease
                await then(o, resource)

    user.__name__ = f"{then.__name__}"
    return user


async def release(o: Outside, resource: Resource) -> None:
    """Release the resource."""
    await o.pool.release(resource)


async def discard(o: Outside, resource: Resource) -> None:
    """Discard the resource, and count that."""
    await o.pool.discard(resource)
    o.discarded += 1


async def detach(o: Outside, resource: Resource) -> None:
    """Detach the resource, and count that."""
    await o.pool.detach(resource)
    o.detached += 1
    o.keep(resource)


async def release_twice(o: Outside, resource: Resource) -> None:
    """Release the resource twice. The second release must be refused and change nothing."""
    await o.pool.release(resource)
    before = o.pool.stats().released
    if not resource.holders:
        with suppress(InvalidReleaseError):
            await o.pool.release(resource)
            raise AssertionError("released twice")
        assert o.pool.stats().released == before


def acquires(timeout: Any) -> User:
    """Return a user that acquires with this timeout and releases."""
    return held(release, timeout)


async def closes(o: Outside) -> None:
    """Close the pool."""
    await o.events.call("signal")
    o.about_to("close")
    await o.pool.close()


async def closes_impatiently(o: Outside) -> None:
    """Close the pool with a timeout."""
    await o.events.call("signal")
    o.about_to("close in a hurry")
    await o.pool.close(timeout=1)


async def terminates(o: Outside) -> None:
    """Terminate the pool. The resources that users hold leave the pool."""
    await o.events.call("signal")
    o.about_to("terminate")
    o.pool.terminate()
    for resource in o.resources:
        if resource.holders:
            o.keep(resource)


async def retires(o: Outside) -> None:
    """Retire all resources."""
    await o.events.call("rotation")
    o.about_to("retire")
    await o.pool.retire_all()


async def retires_and_waits(o: Outside) -> None:
    """Retire all resources and wait until they are closed."""
    await o.events.call("rotation")
    o.about_to("retire and wait")
    try:
        await o.pool.retire_all(wait=True)
    except asyncio.CancelledError:
        MET.add("retire and wait, cancelled")
        raise


async def prunes(o: Outside) -> None:
    """Prune the pool."""
    await o.events.call("pruner")
    try:
        removed = await o.pool.prune()
    except asyncio.CancelledError:
        MET.add("prune, cancelled")
        raise
    if removed:
        MET.add("prune removed")


async def opens(o: Outside) -> None:
    """Open the pool."""
    creating = o.pool.stats().creating
    await o.pool.open()
    if o.pool.stats().creating > creating:
        MET.add("open refilled")


async def opens_twice(o: Outside) -> None:
    """Open the pool twice, the second time before a failed creation is retried."""
    await opens(o)
    await asyncio.sleep(inside.first_backoff() / 2)
    o.about_to("open again")
    await opens(o)


async def holds_two(o: Outside) -> None:
    """Hold both resources, and release one after the other."""
    first, second = await o.pool.acquire(), await o.pool.acquire()
    o.all_held.set()
    await o.events.call("work")
    await o.pool.release(first)
    await asyncio.sleep(1)  # the next holder of `first` may resume so late that it must check
    await o.events.call("work")
    await o.pool.release(second)


async def comes_later(o: Outside) -> None:
    """Wait until both resources are held, then use a context."""
    await o.all_held.wait()
    await uses_briefly(o)


async def grows_old(o: Outside) -> None:
    """Sleep until every resource is too old."""
    await asyncio.sleep(50)
