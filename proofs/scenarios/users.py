"""The users of a scenario's pool. Each function is the work of one task, and names the task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from nodetool.concurrency import InvalidReleaseError, ResourcePoolTimeoutError
from proofs import inside
from proofs.scenarios.outside import MET, BodyError, FactoryError, Outside, Resource

User = Callable[[Outside], Coroutine[Any, Any, None]]


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


async def grows_old(o: Outside) -> None:
    """Sleep until every resource is too old."""
    await asyncio.sleep(50)


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


async def doubts(o: Outside) -> None:
    """Let a check start for nobody, and use a context when it may have failed."""
    await o.all_held.wait()
    await asyncio.sleep(0.5)
    with suppress(ResourcePoolTimeoutError):
        await o.pool.release(await o.pool.acquire(timeout=0))
    await o.events.call("later")
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
