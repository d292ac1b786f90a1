"""The world outside a scenario's pool, which keeps its own count, and what users of the pool do."""

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
from nodetool.concurrency._counts import Phase
from nodetool.concurrency._records import Place
from nodetool.concurrency._shell import FIRST_BACKOFF
from nodetool.concurrency.testing import Events
from nodetool.concurrency.verify.schedules import watch_pool

if TYPE_CHECKING:
    from tests.schedules.scenarios import Scenario

CHECKED = ("Checked", "SingleChecked", "Doubtful")

MET: set[str] = set()
"""What the calls that end something have met so far, in all runs: "close HELD", "prune removed"."""


class FactoryError(Exception):
    """A creation failed."""


class CloserError(Exception):
    """A closer failed."""


class CheckError(Exception):
    """A check failed."""


class ResetError(Exception):
    """A reset failed."""


class BodyError(Exception):
    """A user's own code failed."""


class Resource:
    """Something that lives outside, from its creation to the end of its closer."""

    __slots__ = ("closed", "holders", "kept")

    def __init__(self) -> None:
        self.closed = False
        self.kept = False  # it was detached or forgotten: not the pool's any more
        self.holders = 0

    def assert_unused(self) -> None:
        assert not self.closed, "it is closed"
        assert not self.holders, "somebody has it"


class Outside:
    """The world outside the pool. How its calls end is explored."""

    kind: type[Resource] = Resource

    def __init__(self, events: Events, scenario: Scenario) -> None:
        self.events = events
        self.faults = scenario.faults
        self.limit: int = scenario.options["max_size"]
        self.living = 0
        self.discarded = self.detached = 0
        self.resources: list[Resource] = []
        self.all_held = asyncio.Event()
        options = {"closer_timeout": None, "acquisition_timeout": None, **scenario.options}
        if scenario.model in CHECKED:
            options["check"] = self.check
        if scenario.model in CHECKED and scenario.model != "Doubtful":
            options["reset"] = self.reset
        self.pool = self.make_pool({"name": "explored", **options})
        if isinstance(events, Events):  # not of another explorer
            watch_pool(events, self.pool, model=scenario.model)
        events.watch(self)

    def make_pool(self, options: dict[str, Any]) -> AsyncResourcePool[Any]:
        return AsyncResourcePool(self.create, self.close, **options)

    async def call(self, name: str, fault: type[Exception], *answers: Any) -> Any:
        first, *others = answers or (None,)
        faults = (fault,) if name in self.faults else ()
        results = tuple(others) if name in self.faults else ()
        return await self.events.call(name, result=first, results=results, faults=faults)

    async def create(self) -> Any:
        self.living += 1
        assert self.living <= self.limit, "more live than are allowed"
        try:
            await self.call("factory", FactoryError)
        except BaseException:
            self.living -= 1
            raise
        resource = self.kind()
        self.resources.append(resource)
        return resource

    async def close(self, resource: Any) -> None:
        assert not resource.closed, "closed twice"
        assert not resource.holders, "closed while somebody holds it"
        assert not resource.kept, "closed although it is not the pool's any more"
        resource.closed = True
        try:
            await self.call("closer", CloserError)
        finally:
            self.living -= 1

    async def check(self, resource: Resource) -> object:
        resource.assert_unused()
        return await self.call("check", CheckError, True, False)

    async def reset(self, resource: Resource) -> None:
        resource.assert_unused()
        await self.call("reset", ResetError)

    def take(self, resource: Any) -> None:
        """A user has it."""
        resource.assert_unused()
        resource.holders += 1

    def give(self, resource: Resource) -> None:
        """A user lets go of it."""
        resource.holders -= 1

    def interrupted(self, resource: Any) -> None:
        """A body was cancelled: its context discards, unless the lease is over already."""
        self.discarded += not resource.kept

    def keep(self, resource: Any) -> None:
        """It is not the pool's any more."""
        if not resource.kept:
            resource.kept = True
            self.living -= 1

    def about_to(self, call: str) -> None:
        """Note what the call of an open pool meets."""
        machine = self.pool._machine
        if machine.phase is Phase.OPEN:
            places = {record.place for record in machine.leased.values()}
            places |= {Place.CREATING} if machine.creating else set()
            places |= {Place.WAITING} if machine.waiting else set()
            MET.update(f"{call} {place.name}" for place in places)

    def assert_empty(self) -> None:
        """Everything came back and was closed, once."""
        assert self.pool.closed
        assert self.pool.size == 0
        assert not self.pool._watchers, "somebody waits for a pool that is closed"
        assert not self.pool._creations
        assert not self.pool._abandoned
        assert self.living == 0, f"{self.living} live although the pool is closed"
        assert all(r.closed or r.kept for r in self.resources)
        stats = self.pool.stats()
        assert stats.discarded == self.discarded, f"{self.discarded} were discarded"
        assert stats.detached == self.detached, f"{self.detached} were detached"


# What a task may do.

User = Callable[[Outside], Coroutine[Any, Any, None]]
EXPECTED = (
    *(FactoryError, BodyError, CheckError, ResourcePoolClosedError),
    *(ResourcePoolTimeoutError, ResourcePoolExhaustedError),
)


async def uses(o: Outside) -> None:
    """Take one and give it back."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        try:
            await o.events.call("work")
        except asyncio.CancelledError:
            o.interrupted(resource)
            raise
        finally:
            o.give(resource)


async def uses_briefly(o: Outside) -> None:
    """Take one and give it back at once."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        o.give(resource)


async def uses_twice(o: Outside) -> None:
    """Take one, give it back, and again."""
    await uses_briefly(o)
    await uses(o)


async def fails(o: Outside) -> None:
    """The body of the context fails."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        try:
            await o.events.call("work", faults=(BodyError,))
        except asyncio.CancelledError:
            o.interrupted(resource)
            raise
        finally:
            o.give(resource)


def held(then: Callable[[Outside, Resource], Awaitable[None]], timeout: Any = None) -> User:
    """Take one by acquire(), work, and do something with it."""

    async def user(o: Outside) -> None:
        resource = await o.pool.acquire(timeout)
        o.take(resource)
        try:
            await o.events.call("work")
        finally:
            o.give(resource)
            with suppress(InvalidReleaseError):  # only terminate() ends a lease of somebody's
                await then(o, resource)

    user.__name__ = f"{then.__name__}"
    return user


async def release(o: Outside, resource: Resource) -> None:
    await o.pool.release(resource)


async def discard(o: Outside, resource: Resource) -> None:
    await o.pool.discard(resource)
    o.discarded += 1


async def detach(o: Outside, resource: Resource) -> None:
    await o.pool.detach(resource)
    o.detached += 1
    o.keep(resource)


async def release_twice(o: Outside, resource: Resource) -> None:
    """The second release must change nothing, whoever has the resource by then."""
    await o.pool.release(resource)
    before = o.pool.stats().released
    if not resource.holders:
        with suppress(InvalidReleaseError):
            await o.pool.release(resource)
            raise AssertionError("released twice")
        assert o.pool.stats().released == before


def acquires(timeout: Any) -> User:
    """Acquire within a time."""
    return held(release, timeout)


async def closes(o: Outside) -> None:
    await o.events.call("signal")
    o.about_to("close")
    await o.pool.close()


async def closes_impatiently(o: Outside) -> None:
    await o.events.call("signal")
    o.about_to("close in a hurry")
    await o.pool.close(timeout=1)


async def terminates(o: Outside) -> None:
    await o.events.call("signal")
    o.about_to("terminate")
    o.pool.terminate()
    for resource in o.resources:
        if resource.holders:
            o.keep(resource)


async def retires(o: Outside) -> None:
    await o.events.call("rotation")
    o.about_to("retire")
    await o.pool.retire_all()


async def retires_and_waits(o: Outside) -> None:
    await o.events.call("rotation")
    o.about_to("retire and wait")
    try:
        await o.pool.retire_all(wait=True)
    except asyncio.CancelledError:
        MET.add("retire and wait, cancelled")
        raise


async def prunes(o: Outside) -> None:
    await o.events.call("pruner")
    try:
        removed = await o.pool.prune()
    except asyncio.CancelledError:
        MET.add("prune, cancelled")
        raise
    if removed:
        MET.add("prune removed")


async def opens(o: Outside) -> None:
    creating = o.pool._machine.creating
    await o.pool.open()
    if o.pool._machine.creating > creating:
        MET.add("open refilled")


async def opens_twice(o: Outside) -> None:
    """At once, and again, whatever has happened since: before a failed creation is retried."""
    await opens(o)
    await asyncio.sleep(FIRST_BACKOFF / 2)
    o.about_to("open again")
    await opens(o)


async def holds_two(o: Outside) -> None:
    """Hold all that there is, and give it back one after the other."""
    first, second = await o.pool.acquire(), await o.pool.acquire()
    o.all_held.set()
    await o.events.call("work")
    await o.pool.release(first)
    await asyncio.sleep(1)  # who was handed the first may come too late to trust it
    await o.events.call("work")
    await o.pool.release(second)


async def comes_later(o: Outside) -> None:
    """Take one when all are held."""
    await o.all_held.wait()
    await uses_briefly(o)


async def grows_old(o: Outside) -> None:
    """Time passes until everything is too old."""
    await asyncio.sleep(50)
