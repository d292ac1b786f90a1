"""The real pool under Hypothesis: every public call, every failure, cancellation at any moment.

The pool runs on a loop in virtual time, with contracts on, and every step that it takes is looked
up in the specification's frozen graph. Factory, closer, check and reset end when, and as, a rule
says. The world outside keeps its own count of what lives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError, ResourcePoolClosedError
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place

from ._follow import FollowedMachine
from ._graph import Graph
from ._virtual_time import VirtualTimeLoop, turns

frozen = cache(Graph.frozen)


class Resource:
    """Something that lives outside."""

    closed = 0


class PoolRules(RuleBasedStateMachine):
    """One pool, its users, and its callbacks."""

    model: ClassVar[str]
    examples: ClassVar[int]
    followed: ClassVar[Counter[str]]
    machine_class: ClassVar[type[FollowedMachine]] = FollowedMachine

    pending: Bundle[asyncio.Task[Resource]] = Bundle("pending")
    leases: Bundle[Resource] = Bundle("leases")
    spent: Bundle[Resource] = Bundle("spent")

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.calls: dict[str, list[asyncio.Future[Any]]] = {}
        self.living: list[Resource] = []
        self.tasks: list[asyncio.Task[Any]] = []
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
            acquisition_timeout=30,
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
        self.machine = self.pool._machine = machine
        self.pool._leased = machine.leased
        machine.follow(frozen(self.model), self.loop.time)

    # The world outside.

    def call(self, name: str) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.loop.create_future()
        self.calls.setdefault(name, []).append(future)
        return future

    async def create(self) -> Resource:
        await self.call("factory")
        resource = Resource()
        self.living.append(resource)
        return resource

    async def close_resource(self, resource: Resource) -> None:
        assert not resource.closed, "closed twice"
        resource.closed += 1
        try:
            await self.call("closer")
        finally:
            self.living.remove(resource)

    def run(self, coroutine: Any) -> Any:
        result = self.loop.run_until_complete(coroutine)
        self.raise_broken()
        return result

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

    @rule(
        target=pending,
        timeout=st.sampled_from([None, None, None, 0, 5, float("inf")]),
        count=st.integers(0, 2),
    )
    def acquire(self, timeout: float | None, count: int) -> asyncio.Task[Resource]:
        task = self.spawn(self.pool.acquire(timeout))
        self.run(turns(count))
        return task

    @rule(count=st.integers(1, 4))
    def let_run(self, count: int) -> None:
        self.run(turns(count))

    @rule(seconds=st.sampled_from([0.2, 0.2, 6.0, 11.0, 21.0, 51.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(task=pending, count=st.integers(0, 1))
    def cancel(self, task: asyncio.Task[Resource], count: int) -> None:
        task.cancel()
        self.run(turns(count))

    @rule(target=leases, task=consumes(pending))
    def collect(self, task: asyncio.Task[Resource]) -> Resource | MultipleResults[Resource]:
        for _ in range(4):
            if not task.done():
                for name in ("factory", "check"):
                    self.end(name, True)
                self.run(turns(4))
        if not task.done():
            task.cancel()
            self.run(turns(3))
        if task.cancelled() or task.exception() is not None:
            return multiple()
        return task.result()

    def end(self, name: str, how: Any, which: int = 0) -> None:
        calls = [call for call in self.calls.get(name, []) if not call.done()]
        if calls:
            call = calls[which % len(calls)]
            if isinstance(how, bool):
                call.set_result(how)
            else:
                call.set_exception(how)

    @precondition(lambda self: bool(self.open_calls()))
    @rule(
        how=st.sampled_from(["well", "well", "well", "badly", "no"]),
        which=st.integers(0, 7),
        count=st.integers(0, 3),
    )
    def end_callback(self, how: str, which: int, count: int) -> None:
        names = self.open_calls()
        name = names[which % len(names)]
        self.end(name, OSError(f"{name} failed") if how == "badly" else how == "well", which)
        self.run(turns(count))

    def open_calls(self) -> list[str]:
        return [name for name, calls in self.calls.items() if not all(c.done() for c in calls)]

    @rule(
        target=spent,
        resource=consumes(leases),
        how=st.sampled_from(["release"] * 3 + ["discard", "detach", "cancelled release"]),
        reset=st.sampled_from([True, True, OSError("reset failed"), None]),
    )
    def give_back(self, resource: Resource, how: str, reset: Any) -> Resource:
        if id(resource) in self.machine.leased and how == "detach":
            self.living.remove(resource)
        gives: Callable[[Resource], Any] = getattr(self.pool, how.rsplit(maxsplit=1)[-1])
        task = self.spawn(gives(resource))
        self.run(turns(1))
        if how == "cancelled release":
            task.cancel()
        if reset is not None:
            self.end("reset", reset)
        self.run(turns(2))
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            # Only terminate() ends a lease behind its holder's back.
            if not isinstance(error, InvalidReleaseError):
                raise error
            assert self.machine.forgotten
        return resource

    @rule(resource=spent)
    def give_back_again(self, resource: Resource) -> None:
        record = self.machine.leased.get(id(resource))
        if record is None or record.place is not Place.HELD:
            released = self.machine.released
            with contextlib.suppress(InvalidReleaseError):
                self.run(self.pool.release(resource))
                raise AssertionError("released twice")
            assert self.machine.released == released

    @rule(what=st.sampled_from(["open", "prune", "prune", "retire_all"]))
    def care(self, what: str) -> None:
        if what == "prune":
            self.spawn(self.pool.prune())
        elif what == "open" or frozen(self.model).constants["Retires"]:
            try:
                self.run(getattr(self.pool, what)())
            except ResourcePoolClosedError:
                assert self.machine.phase.value != "open"

    @precondition(lambda self: self.machine.acquired > 2)
    @rule(what=st.sampled_from(["close", "terminate"]))
    def end_pool(self, what: str) -> None:
        if what == "close":
            self.spawn(self.pool.close())
            return
        held = [record.resource for record in self.machine.out() if record.place is Place.HELD]
        self.pool.terminate()
        for resource in held:
            self.living.remove(resource)

    @invariant()
    def no_more_lives_than_allowed(self) -> None:
        assert len(self.living) <= self.limit
        self.raise_broken()

    def teardown(self) -> None:
        try:
            if self.machine.failure is None and not self.loop.errors:
                self.end_everything()
        finally:
            self.followed.update(self.machine.trail)
            note(f"steps: {' '.join(self.machine.trail)}")
            self.machine.graph = None
            tasks = asyncio.all_tasks(self.loop) | set(self.tasks)
            for task in tasks:
                task.cancel()
            with contextlib.suppress(RuntimeError):  # a machine with a bug may leave a deadlock
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
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
            self.run(turns(3))
            if closing.done():
                break
        assert closing.done()
        assert self.machine.size == 0
        assert not self.living, "something lives although the pool is closed"


def rules_for(name: str, machine: type[PoolMachine[Any]] = PoolMachine) -> type[PoolRules]:
    """The rules, on the bounds of a model, for the machine or for one with a bug."""
    followed = type(f"Followed{machine.__name__}", (FollowedMachine, machine), {})
    body = {"model": name, "machine_class": followed, "examples": 0, "followed": Counter()}
    return type(f"{name}Rules", (PoolRules,), body)
