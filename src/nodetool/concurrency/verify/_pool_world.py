"""A real pool for Hypothesis to play with, and what must come of it, whatever is done to it.

The pool runs on a loop in virtual time, with contracts on, and every step that it takes is looked
up in the specification's frozen graph. Factory, closer, check and reset end when, and as, a rule
says. The world outside keeps its own count of what lives, and of what was told to whom.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import cache
from typing import Any, ClassVar

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from nodetool.concurrency import (
    AsyncResourcePool,
    DuplicateResourceError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency._counts import Phase
from nodetool.concurrency._records import Place

from ._follow import FollowedMachine
from ._graph import Graph
from ._virtual_time import VirtualTimeLoop

frozen = cache(Graph.frozen)

ACQUISITION_TIMEOUT = 30  # seconds, of the pool that is played with

KINDS: dict[type[BaseException], str] = {  # what an acquirer is told that no factory has raised
    ResourcePoolTimeoutError: "timeouts",
    ResourcePoolExhaustedError: "rejected",
    DuplicateResourceError: "told of duplicates",
    asyncio.CancelledError: "cancelled",
}


class Resource:
    """Something that lives outside."""

    closed = 0


class Playing(RuleBasedStateMachine):
    """One pool and the world around it."""

    model: ClassVar[str]
    examples: ClassVar[int]
    followed: ClassVar[Counter[str]]
    unfollowed: ClassVar[int]  # steps of runs that needed more tasks than the model has
    machine_class: ClassVar[type[FollowedMachine]] = FollowedMachine

    @classmethod
    def figures(cls) -> str:
        return f"{cls.followed.total():,} steps followed, {cls.unfollowed:,} beyond the bound"

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.calls: dict[str, list[asyncio.Future[Any]]] = {}
        self.living: list[Resource] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.coming: set[asyncio.Task[Any]] = set()  # those that have not called acquire yet
        self.failures: list[BaseException] = []  # of creations, told to nobody so far
        self.counts: Counter[str] = Counter()
        self.terminated = False
        type(self).examples += 1
        c: Any = frozen(self.model).constants
        self.limit = c["MaxSize"]
        self.pool: AsyncResourcePool[Resource] = AsyncResourcePool(
            self.create,
            self.close_resource,
            max_size=c["MaxSize"],
            min_size=c["MinSize"],
            max_creating=c["MaxCreating"],
            max_waiting=c["MaxWaiting"],
            max_age=50 if c["Ages"] else None,
            max_idle_time=20 if c["Idles"] else None,
            acquisition_timeout=ACQUISITION_TIMEOUT,
            closer_timeout=None,
            check=(lambda _: self.call("check")) if c["Checks"] else None,
            check_after_idle=0.1 if c["CheckSkips"] else 0,
            reset=(lambda _: self.call("reset")) if c["Resets"] else None,
        )
        bare = self.pool._machine
        machine = self.machine_class(
            "stateful",
            bare.limits,
            max_idle_time=bare.max_idle_time,
            check_after_idle=bare.check_after_idle,
            resets=bare.resets,
        )
        self.machine = machine
        self.pool._run_on(machine)
        machine.follow(frozen(self.model), self.loop.time)

    # The world outside.

    def call(self, name: str) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.loop.create_future()
        self.calls.setdefault(name, []).append(future)
        return future

    async def create(self) -> Resource:
        try:
            answer = await self.call("factory")
        except BaseException as error:
            self.counts["failed"] += 1
            self.failures.append(error)
            raise
        if isinstance(answer, Resource):
            self.counts["failed"] += 1
            self.counts["duplicates"] += 1
            return answer
        resource = Resource()
        self.counts["made"] += 1
        self.living.append(resource)
        return resource

    async def close_resource(self, resource: Resource) -> None:
        if resource.closed or resource not in self.living:
            self.report(f"closed {resource.closed + 1} times, or not the pool's to close")
        resource.closed += 1
        self.counts["closed"] += 1
        try:
            await self.call("closer")
        except Exception:
            self.counts["closer failures"] += 1
            raise
        finally:
            self.living.remove(resource)

    async def visit(self, timeout: float | None) -> Resource:
        """An acquire, and what it was told."""
        task: Any = asyncio.current_task()
        self.coming.discard(task)
        try:
            resource = await self.pool.acquire(timeout)
        except BaseException as error:
            self.told(error)
            raise
        self.counts["acquired"] += 1
        return resource

    def told(self, error: BaseException) -> None:
        """Count it; a failed creation is told as it is, and to one acquirer only."""
        if isinstance(error, ResourcePoolClosedError):
            if self.machine.phase is Phase.OPEN:
                self.report(f"an acquirer of an open pool was told {error!r}")
        elif kind := next((kind for kind in KINDS if isinstance(error, kind)), None):
            self.counts[KINDS[kind]] += 1
        else:
            known = [failure for failure in self.failures if failure is not error]
            if len(known) == len(self.failures):
                self.report(f"an acquirer was told {error!r}: no creation failed so, or not anew")
            self.failures = known

    def report(self, problem: str) -> None:
        """Whoever is told in a task or a callback may keep it to himself: tell all."""
        self.loop.errors.append({"message": problem, "exception": AssertionError(problem)})

    def agree(self, at_the_end: bool) -> None:
        """The pool's numbers are those of the world outside, give or take a turn."""
        counts, stats = self.counts, self.pool.stats()
        assert stats.acquired == counts["acquired"], f"{stats}: {counts}"
        assert stats.rejected == counts["rejected"], f"{stats}: {counts}"
        assert stats.created <= counts["made"], f"{stats}: {counts}"
        assert stats.timeouts >= counts["timeouts"], f"{stats}: {counts}"
        assert stats.closer_failures <= counts["closer failures"], f"{stats}: {counts}"
        assert counts["told of duplicates"] <= counts["duplicates"], f"{stats}: {counts}"
        if not self.terminated:  # which cancels creations that have not begun
            assert stats.creation_failures <= counts["failed"], f"{stats}: {counts}"
        if at_the_end:
            assert stats.created == counts["made"], f"{stats}: {counts}"
            assert stats.created == counts["closed"] + counts["left"], f"{stats}: {counts}"
            assert stats.creation_failures >= counts["failed"], f"{stats}: {counts}"
            assert stats.closer_failures == counts["closer failures"], f"{stats}: {counts}"
            assert stats.timeouts <= counts["timeouts"] + counts["cancelled"], f"{stats}: {counts}"

    def run(self, coroutine: Any) -> Any:
        result = self.loop.run_until_complete(coroutine)
        self.raise_broken()
        return result

    def turn(self, count: int) -> None:
        """Exactly so many turns of the loop, in which no time passes."""
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.raise_broken()

    def raise_broken(self) -> None:
        """What went wrong in a task or a callback may be seen by nobody: bring it here."""
        if self.machine.failure is not None:
            raise self.machine.failure
        for context in self.loop.errors:
            if isinstance(error := context.get("exception"), BaseException):
                raise error
            raise AssertionError(context)

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(coroutine)
        self.tasks.append(task)
        return task

    def full(self) -> bool:
        """Whether one more acquire is beyond the bound: the model has no task for it."""
        got = self.machine.reading.got.values()
        coming = sum(not task.done() for task in self.coming)
        free = sum(has is None for has in got) - coming
        return self.machine.graph is not None and free <= 0

    def end(self, name: str, how: Any, which: int = 0) -> None:
        calls = [call for call in self.calls.get(name, []) if not call.done()]
        if calls:
            call = calls[which % len(calls)]
            if isinstance(how, BaseException):
                call.set_exception(how)
            else:
                call.set_result(how)

    def open_calls(self) -> list[str]:
        return [name for name, calls in self.calls.items() if not all(c.done() for c in calls)]

    def teardown(self) -> None:
        try:
            if self.machine.failure is None and not self.loop.errors:
                self.end_everything()
        finally:
            self.followed.update(self.machine.trail)
            type(self).unfollowed += self.machine.unfollowed
            note(f"steps: {' '.join(self.machine.trail)}")
            self.machine.graph = None
            tasks = asyncio.all_tasks(self.loop) | set(self.tasks)
            for task in tasks:
                task.cancel()
            if tasks:  # of none, gather() makes a future of another loop
                ended = asyncio.gather(*tasks, return_exceptions=True)
                with contextlib.suppress(RuntimeError):  # a machine with a bug: a deadlock
                    self.loop.run_until_complete(ended)
            self.pool._forked = True  # no warning about it
            self.loop.close()

    def end_everything(self) -> None:
        """Whatever happened: give all back, let all callbacks end, and nothing is left."""
        closing = self.spawn(self.pool.close())
        for _ in range(60):
            for task in self.tasks:
                if task is not closing and not task.done():
                    task.cancel()
            for record in self.machine.out():
                if record.place is Place.HELD:
                    self.run(self.pool.discard(record.resource))
            for calls in self.calls.values():
                for call in calls:
                    if not call.done():
                        call.set_result(True)
            self.turn(5)
            if closing.done():
                break
        assert closing.done()
        assert self.machine.size == 0
        assert not self.living, "something lives although the pool is closed"
        self.agree(at_the_end=True)
