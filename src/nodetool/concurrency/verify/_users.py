"""Random users of a pool. They do everything that is allowed, and are cancelled at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency._machine.observe import Observer
from nodetool.concurrency._machine.slots import WaiterState

from ._following import watch
from ._named import said
from ._outside import InjectedError, Outside

# The ways to end a lease with their weights, and the statistic that counts each of them.
ENDS = {"context": 6, "body raises": 2, "release": 4, "discard": 1, "detach": 1}
CONTEXTS = ("context", "body raises")
COUNTED = dict.fromkeys(ENDS, "released") | {"discard": "discarded", "detach": "detached"}
CANCELLED = dict.fromkeys(ENDS, "discarded") | dict.fromkeys(CONTEXTS, "interrupted")
TIMEOUTS = (None, None, None, None, 0.0, 0.005)
# Probabilities of a cancellation, and of a second release.
CANCEL_USER, CANCEL_BODY, CANCEL_RETURN, CANCEL_WAITER = 0.2, 0.1, 0.1, 0.15
SECOND_RELEASE = 0.1
MOMENTS = (0.001, 0.003, 0.01, 0.03)  # seconds
CANCELLED_IN = {
    WaiterState.WAITING: "while waiting",
    WaiterState.HANDED: "during the hand-over",
}


class BodyError(Exception):
    """Error of a user's own code."""


class CancellationCount(Observer):
    """An observer that counts cancellations of acquirers by what they were doing."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def before(self, machine: Any, action: str, args: tuple[Any, ...]) -> None:
        """Count a cancellation by the state of the acquirer."""
        if action == "Cancel":
            self._outside.counts[f"cancelled {CANCELLED_IN[args[0].state]}"] += 1


class Users:
    """The users of one pool."""

    def __init__(self, pool: AsyncResourcePool[Any], outside: Outside, random: Random) -> None:
        self.pool = pool
        self.outside = outside
        self.random = random
        self.max_size = pool.max_size
        self.held: dict[int, Any] = {}
        self.acquiring: dict[asyncio.Task[Any], None] = {}  # in the order of their calls
        self.others: set[asyncio.Task[Any]] = set()  # tasks that prune, dispose, ...
        self.ended = False  # closing has started, so that acquires must fail
        watch(pool, CancellationCount(outside))

    async def live(self) -> None:
        """Run one user after the other until the pool closes or there is a problem."""
        while not (self.ended or self.outside.problems):
            visit = asyncio.create_task(self.visit(), name="verify: user")
            try:
                if self.random.random() < CANCEL_USER:
                    await self.pause()
                    visit.cancel()
                await asyncio.wait([visit])
            finally:
                visit.cancel()
            if not visit.cancelled():
                self.judge(visit.exception())

    async def pause(self) -> None:
        """Wait for a few turns of the event loop, or for a few milliseconds."""
        if self.random.random() < 0.5:
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.random.choice(MOMENTS))

    def judge(self, error: BaseException | None) -> None:
        """Count a user's error. An error that has no reason is a problem."""
        outside = self.outside
        own = any(error is known for errors in outside.own.values() for known in errors)
        if isinstance(error, ResourcePoolTimeoutError):
            outside.counts["timeouts"] += 1
        elif isinstance(error, InjectedError) or (own and error is not None):
            outside.counts["error of a creation"] += 1
        elif isinstance(error, ResourcePoolClosedError) and self.ended:
            outside.counts["pool closed"] += 1
        elif error is not None and not isinstance(error, BodyError):
            outside.problems.append(f"a user got {said(error)}")

    async def visit(self) -> None:
        """Acquire a resource, use it, and give it back."""
        [end] = self.random.choices(list(ENDS), list(ENDS.values()))
        timeout = self.random.choice(TIMEOUTS)
        me: Any = asyncio.current_task()
        self.acquiring[me] = None
        try:
            if end in CONTEXTS:
                async with self.pool.acquire_context(timeout) as resource:
                    await self.use(resource, end, me)
            else:
                resource = await self.pool.acquire(timeout)
                try:
                    await self.use(resource, end, me)
                except asyncio.CancelledError:
                    end = "discard"
                    raise
                finally:
                    await self.give_back(resource, end)
        finally:
            self.acquiring.pop(me, None)
            if self.acquiring and self.random.random() < CANCEL_WAITER:
                # This acquirer may have been handed the resource that was given back.
                next(iter(self.acquiring)).cancel()

    async def use(self, resource: Any, end: str, me: asyncio.Task[Any]) -> None:
        """Check and record that this user alone holds the resource, and hold it for a while."""
        outside, key = self.outside, id(resource)
        del self.acquiring[me]
        outside.counts["acquired"] += 1
        outside.expect(resource, "handed out")
        if self.ended:
            outside.problems.append("something was acquired after closing had begun")
        if key in self.held:
            outside.problems.append(f"{object.__repr__(resource)} was given to two users at once")
        self.held[key] = resource
        counted = COUNTED[end]
        try:
            if self.random.random() < CANCEL_BODY:
                me.cancel()
            await self.pause()
            if self.random.random() < CANCEL_RETURN:
                outside.counts["cancelled while giving back"] += 1
                me.cancel()  # this takes effect when the user has given back
            if end == "body raises":
                outside.counts["bodies that raised"] += 1
                raise BodyError
        except asyncio.CancelledError:
            outside.counts["cancelled in the body"] += 1
            counted = CANCELLED[end]
            raise
        finally:
            outside.moves += 1
            self.held.pop(key, None)
            if key in outside.ours:  # terminate() has left the resource to its user
                self.dispose(resource)
            else:
                outside.counts[counted] += 1

    async def give_back(self, resource: Any, end: str) -> None:
        """End a lease in one of the ways in `ENDS`, unless terminate() has ended it."""
        if id(resource) in self.outside.ours:
            return
        await getattr(self.pool, end)(resource)
        if end == "detach":
            self.outside.take(resource)
            self.dispose(resource)
        elif self.random.random() < SECOND_RELEASE:
            try:
                await self.pool.release(resource)
                self.outside.problems.append("a second release was not refused")
            except InvalidReleaseError:
                self.outside.counts["second releases refused"] += 1

    def dispose(self, resource: Any) -> None:
        """Close a resource that has left the pool."""
        self.spawn(self.outside.end(resource))

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a task that goes on while its user does something else."""
        task = asyncio.create_task(coroutine, name="verify: other")
        self.others.add(task)
        task.add_done_callback(self._other_done)

    def _other_done(self, task: asyncio.Task[Any]) -> None:
        self.others.remove(task)
        if not task.cancelled():
            self.judge(task.exception())

    async def care(self) -> None:
        """Prune, retire and resize now and then, also several times at once."""
        while not (self.ended or self.outside.problems):
            await asyncio.sleep(self.random.uniform(0, 0.05))
            for _ in range(self.random.randrange(3)):
                self.outside.counts["prunes"] += 1
                self.spawn(self.pool.prune())
            if self.random.random() < 0.2:
                self.outside.counts["retirements of all"] += 1
                self.spawn(self.pool.retire_all(self.random.random() < 0.5))
            if self.random.random() < 0.2:
                self.outside.counts["resizes"] += 1
                max_size = self.random.randint(1, self.max_size)
                min_size = self.random.randint(0, max_size)
                wait = self.random.random() < 0.5
                self.spawn(self.pool.resize(max_size, min_size, wait=wait))

    async def close(self) -> None:
        """Close the pool by two calls at the same time."""
        self.spawn(self.pool.close())
        self.ended = True
        await self.pool.close()  # this call closes first, because the task has not started yet

    async def terminate(self) -> None:
        """Terminate the pool. The resources that users hold belong to these users from now on."""
        self.ended = True
        self.pool.terminate()
        for resource in self.held.values():
            self.outside.take(resource)
            self.outside.counts["forgotten"] += 1
        await self.pool.close()  # this call only waits for the end
