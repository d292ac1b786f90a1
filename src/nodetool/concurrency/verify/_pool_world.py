"""A real pool under Hypothesis, and the world outside of it.

The pool runs on a loop in virtual time, with contracts on. Each of its steps is looked up in the
specification's frozen graph. The rules decide when and how each callback ends. The world outside
has its own count of the living resources, and of the errors that acquirers got. It may also ignore
the cancellation of work that has exceeded its limit, and succeed then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import cache, partial
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
from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._machine.guarantees import slots_in
from nodetool.concurrency._machine.machine import REASONS, PoolMachine
from nodetool.concurrency._machine.slots import Slot, SlotState

from ._following import Follower, watch
from ._graph import Graph
from ._virtual_time import VirtualTimeLoop

frozen = cache(Graph.frozen)

ACQUISITION_TIMEOUT = 30  # seconds, of the pool
LIMITS: Any = {"creation_timeout": 20, "check_timeout": 5, "reset_timeout": 10}  # seconds
GAUGES = ("creating", "checking", "idle", "in_use", "resetting", "closing")
LEAVING = (*(reason.replace(" ", "_") for reason in REASONS), "detached", "forgotten")

KINDS: dict[type[BaseException], str] = {  # the errors of acquirers that no factory has raised
    ResourcePoolExhaustedError: "rejected",  # before its base class, because the first kind counts
    ResourcePoolTimeoutError: "timeouts",
    DuplicateResourceError: "duplicate errors",
    asyncio.CancelledError: "cancelled",
}


class Resource:
    """A resource outside of the pool."""

    closed = 0


class PoolScenario(RuleBasedStateMachine):
    """One pool and the world outside of it."""

    model: ClassVar[str]
    examples: ClassVar[int]
    followed: ClassVar[Counter[str]]
    unfollowed: ClassVar[int]  # steps of runs that needed more tasks than the model has
    machine_class: ClassVar[type[Any]] = PoolMachine
    contracts: ClassVar[bool] = True

    @classmethod
    def figures(cls) -> str:
        return f"{cls.followed.total():,} steps followed, {cls.unfollowed:,} beyond the bound"

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.calls: dict[str, list[asyncio.Future[Any]]] = {}
        self.living: list[Resource] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.acquiring: set[asyncio.Task[Any]] = set()  # tasks that have not called acquire yet
        self.failures: list[BaseException] = []  # of creations; no acquirer got them yet
        self.counts: Counter[str] = Counter()
        self.terminated = False
        type(self).examples += 1
        self.stubborn = False  # whether work ignores its cancellation and succeeds
        self.pool = self.make_pool()
        self.follower, self.machine = self.follow()

    @property
    def constants(self) -> Any:
        """The constants of the model."""
        return frozen(self.model).constants

    def make_pool(self) -> AsyncResourcePool[Any]:
        """Make a pool with the options of the model, and the methods of this object.

        Its limits are the largest ones that the model allows.
        """
        c = self.constants
        return AsyncResourcePool(
            self.create,
            self.close_resource,
            max_size=max(c["MaxSizes"]),
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
            **LIMITS,
        )

    def follow(self) -> tuple[Follower, PoolMachine[Any]]:
        """Look up each step of the pool. Return the follower and the pool's new machine."""
        follower = Follower(frozen(self.model), self.loop.time)
        kind, contracts = self.machine_class, self.contracts
        return follower, watch(self.pool, follower, kind=kind, contracts=contracts)

    # The world outside.

    async def call(self, name: str) -> Any:
        """Call something outside. A rule decides when and how the call ends.

        The call may ignore its cancellation.
        """
        try:
            return await self.begin_call(name)
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            self.counts[f"late {name}"] += 1
            return True

    async def use(self, name: str, resource: Resource) -> Any:
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

    def begin_call(self, name: str) -> asyncio.Future[Any]:
        """Make the future of a call outside."""
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
        """Acquire a resource, and count the outcome."""
        task: Any = asyncio.current_task()
        self.acquiring.discard(task)
        try:
            resource: Resource = await self.pool.acquire(timeout)
        except BaseException as error:
            self.count_error(error)
            raise
        self.counts["acquired"] += 1
        return resource

    def count_error(self, error: BaseException) -> None:
        """Count an acquirer's error. One acquirer gets the unchanged error of a failed creation."""
        if isinstance(error, ResourcePoolTimeoutError) and "did not finish within" in str(error):
            self.counts["errors of limits"] += 1  # the limit of a creation
        elif isinstance(error, ResourcePoolClosedError):
            if self.machine.counts().phase is Phase.OPEN:
                self.report(f"an acquirer of an open pool got {error!r}")
        elif kind := next((kind for kind in KINDS if isinstance(error, kind)), None):
            self.counts[KINDS[kind]] += 1
        else:
            known = [failure for failure in self.failures if failure is not error]
            if len(known) == len(self.failures):
                self.report(f"an acquirer got {error!r}, not the new error of a creation")
            self.failures = known

    def report(self, problem: str) -> None:
        """Report a problem to the loop, because the task or callback that saw it may hide it."""
        self.loop.errors.append({"message": problem, "exception": AssertionError(problem)})

    def agree(self, at_the_end: bool) -> None:
        """Compare the pool's numbers with each other, and with those of the world outside.

        The world outside may lag by a turn.
        """
        counts, stats = self.counts, self.pool.stats()
        numbers, lent = stats._asdict(), len(self.machine.lent())
        assert stats.size == sum(numbers[name] for name in GAUGES), f"{stats}"
        ended = stats.released + stats.discarded + stats.interrupted
        assert stats.acquired == ended + stats.detached + stats.forgotten + lent, f"{stats}"
        exist = stats.checking + stats.idle + stats.in_use + stats.resetting
        assert stats.created == exist + sum(numbers[name] for name in LEAVING), f"{stats}"
        assert len(self.living) <= self.pool.size, f"{len(self.living)} live: {stats}"
        failed = counts["failed"] + stats.late  # a late creation makes a resource, and has failed
        assert stats.acquired == counts["acquired"], f"{stats}: {counts}"
        assert stats.rejected == counts["rejected"], f"{stats}: {counts}"
        assert stats.created <= counts["made"], f"{stats}: {counts}"
        assert stats.timeouts >= counts["timeouts"], f"{stats}: {counts}"
        assert stats.closer_failures <= counts["closer failures"], f"{stats}: {counts}"
        assert stats.check_failed <= counts["failed check"], f"{stats}: {counts}"
        assert stats.reset_failed <= counts["failed reset"], f"{stats}: {counts}"
        assert counts["duplicate errors"] <= counts["duplicates"], f"{stats}: {counts}"
        if not self.terminated:  # terminate() cancels creations before they start
            assert stats.creation_failures <= failed, f"{stats}: {counts}"
        if at_the_end:
            assert stats.created == counts["made"], f"{stats}: {counts}"
            assert stats.created == counts["closed"] + counts["left"], f"{stats}: {counts}"
            assert stats.creation_failures >= failed, f"{stats}: {counts}"
            assert stats.closer_failures == counts["closer failures"], f"{stats}: {counts}"
            assert stats.timeouts <= counts["timeouts"] + counts["cancelled"], f"{stats}: {counts}"

    def run(self, coroutine: Any) -> Any:
        result = self.loop.run_until_complete(coroutine)
        self.raise_problems()
        return result

    def turn(self, count: int) -> None:
        """Run exactly so many turns of the loop, in which no time passes."""
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.raise_problems()

    def run_until_idle(self) -> None:
        """Run everything that can run, without letting time pass."""
        self.loop.run_until_idle()
        self.raise_problems()
        self.assert_nobody_is_handed_over()

    def assert_nobody_is_handed_over(self) -> None:
        """Check, while the loop is idle, that every acquirer that was handed a slot has resumed.

        A handed slot in an idle loop belongs to an acquirer that nobody will wake.
        """
        handed = slots_in(self.machine, SlotState.HANDED)
        assert not handed, f"{len(handed)} acquirers were handed a slot and were not woken"

    def raise_problems(self) -> None:
        """Raise the first problem of a task or a callback, because otherwise nobody sees it."""
        if self.follower.failure is not None:
            raise self.follower.failure
        for context in self.loop.errors:
            if isinstance(error := context.get("exception"), BaseException):
                raise error
            raise AssertionError(context)

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(coroutine)
        self.tasks.append(task)
        return task

    def slot_with(self, resource: Resource) -> Slot[Any] | None:
        """Find the slot of a resource, if the pool still has the resource."""
        return next((s for s in self.machine.slots() if s.resource is resource), None)

    def is_full(self) -> bool:
        """Tell whether the model has no task left for one more acquire."""
        started = sum(not task.done() for task in self.acquiring)
        free = self.follower.tasks_left() - started
        return self.follower.graph is not None and free <= 0

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
            if self.follower.failure is None and not self.loop.errors:
                self.end_everything()
        finally:
            self.followed.update(self.follower.trail)
            type(self).unfollowed += self.follower.unfollowed
            note(f"steps: {' '.join(self.follower.trail)}")
            self.follower.graph = None
            tasks = asyncio.all_tasks(self.loop) | set(self.tasks)
            for task in tasks:
                task.cancel()
            if tasks:  # without arguments, gather() makes a future of another loop
                ended = asyncio.gather(*tasks, return_exceptions=True)
                with contextlib.suppress(RuntimeError):  # a machine with a bug may deadlock
                    self.loop.run_until_complete(ended)
            self.pool._binding.forked = True  # so that the pool gives no warning
            self.loop.close()

    def end_everything(self) -> None:
        """Give everything back and let all callbacks end. Then nothing may be left."""
        closing = self.spawn(self.pool.close())
        for _ in range(60):
            for task in self.tasks:
                if task is not closing and not task.done():
                    task.cancel()
            give = self.pool.discard if self.constants["Leaves"] else self.pool.release
            for slot in self.machine.lent():
                self.run(give(slot.resource))
            for calls in self.calls.values():
                for call in calls:
                    if not call.done():
                        call.set_result(True)
            self.run_until_idle()
            if closing.done():
                break
        assert closing.done()
        assert self.machine.size() == 0
        assert not self.living, "something lives although the pool is closed"
        self.agree(at_the_end=True)
