"""The real pool under Hypothesis: every public call, every failure, cancellation at any moment.

The rules here draw the calls, and when and how each callback ends. `_pool_world` has the pool, the
world outside and the checks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from nodetool.concurrency import InvalidReleaseError, ResourcePoolClosedError
from nodetool.concurrency._machine.guarantees import slots_in
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.slots import SlotState

from ._graph import limits_of
from ._pool_world import LIMITS, PoolScenario, Resource

BEYOND = 30  # one acquire in so many may exceed the number of the model's tasks


class PoolRules(PoolScenario):
    """One pool, its users, and its callbacks."""

    pending: Bundle[asyncio.Task[Resource]] = Bundle("pending")
    leases: Bundle[Resource] = Bundle("leases")
    spent: Bundle[Resource] = Bundle("spent")

    @initialize(stubborn=st.sampled_from([False, False, False, True]))
    def begin(self, stubborn: bool) -> None:
        """Decide whether work ignores its cancellation."""
        self.stubborn = stubborn

    @rule(
        target=pending,
        timeout=st.sampled_from([None, None, None, 0, 5, float("inf")]),
        count=st.integers(0, 4),
        beyond=st.integers(1, BEYOND),
    )
    def acquire(
        self, timeout: float | None, count: int, beyond: int
    ) -> asyncio.Task[Resource] | MultipleResults[asyncio.Task[Resource]]:
        if self.is_full() and beyond < BEYOND:
            return multiple()
        task = self.spawn(self.visit(timeout))
        self.acquiring.add(task)
        self.turn(count)
        return task

    @rule(count=st.integers(1, 6))
    def let_run(self, count: int) -> None:
        self.turn(count)

    @rule()
    def let_everything_run(self) -> None:
        self.run_until_idle()

    @rule(seconds=st.sampled_from([0.2, 0.2, 6.0, 11.0, 21.0, 51.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.run_until_idle()
        self.run(asyncio.sleep(seconds))

    @precondition(lambda self: bool({"check", "reset"} & {*self.open_calls()}))
    @rule()
    def let_a_check_outlast_its_deadline(self) -> None:
        """Let a check or a reset exceed its limit. `let_time_pass` does so for creations."""
        self.run(asyncio.sleep(LIMITS["reset_timeout"] + 1))

    @rule(task=pending, count=st.integers(0, 3))
    def cancel(self, task: asyncio.Task[Resource], count: int) -> None:
        task.cancel()
        self.turn(count)

    @precondition(lambda self: bool(slots_in(self.machine, SlotState.HANDED)))
    @rule(task=pending)
    def cancel_in_the_hand_over(self, task: asyncio.Task[Resource]) -> None:
        task.cancel()
        self.turn(3)

    @rule(target=leases, task=consumes(pending))
    def collect(self, task: asyncio.Task[Resource]) -> Resource | MultipleResults[Resource]:
        for _ in range(4):
            if not task.done():
                for name in ("factory", "check"):
                    self.end(name, True)
                self.turn(6)
        if not task.done():
            task.cancel()
            self.turn(5)
        if task.cancelled() or task.exception() is not None:
            return multiple()
        return task.result()

    @precondition(lambda self: bool(self.constants["Checks"]) and not self.is_full())
    @rule(target=leases, how=st.sampled_from([True, False, OSError("check failed"), None]))
    def use_and_check(self, how: bool | OSError | None) -> Resource | MultipleResults[Resource]:
        """Use a resource, and let it idle until the next acquirer has to check it."""
        first = self.collect(self.acquire(None, 1, BEYOND))
        if isinstance(first, Resource):
            self.give_back(first, "release", True, 5)
        self.let_time_pass(0.2)
        task = self.acquire(None, 3, BEYOND)
        if how is None:
            return multiple()  # the check goes on
        self.end("check", how)
        return self.collect(task)

    @precondition(lambda self: bool(self.open_calls()))
    @rule(
        how=st.sampled_from(["well", "well", "well", "badly", "no", "again"]),
        which=st.integers(0, 7),
        count=st.integers(0, 5),
    )
    def end_callback(self, how: str, which: int, count: int) -> None:
        names = self.open_calls()
        name = names[which % len(names)]
        held = [slot.resource for slot in self.machine.lent()]
        if how == "again" and name == "factory" and held:
            self.end(name, held[which % len(held)], which)  # an object that is in the pool already
            count = 5  # enough turns for the pool to see the duplicate before its holder ends
        else:
            self.end(
                name, how == "well" if how in ("well", "no") else OSError(f"{name} failed"), which
            )
        self.turn(count)

    @rule(
        target=spent,
        resource=consumes(leases),
        how=st.sampled_from(["release"] * 3 + ["discard", "detach"]),
        reset=st.sampled_from([True, True, OSError("reset failed"), None]),
        count=st.integers(0, 4),
    )
    def give_back(self, resource: Resource, how: str, reset: Any, count: int) -> Resource:
        """Give a resource back in a call that never suspends. Perhaps let its reset end."""
        if not self.constants["Leaves"]:
            how = "release"
        if self.slot_with(resource) is not None and how == "detach":
            self.living.remove(resource)
            self.counts["left"] += 1
        task = self.spawn(getattr(self.pool, how)(resource))
        self.turn(1)
        assert task.done(), f"{how} has suspended"
        if (error := task.exception()) is not None:
            # Only terminate() ends a lease without its holder.
            if not isinstance(error, InvalidReleaseError):
                raise error
            assert self.terminated
        if reset is not None:
            self.turn(2)  # the reset starts in a later turn
            self.end("reset", reset)
        self.turn(count)
        return resource

    @rule(resource=spent)
    def give_back_again(self, resource: Resource) -> None:
        self.turn(2)  # enough turns for an acquirer that was handed the resource to hold it
        slot = self.slot_with(resource)
        if slot is None or slot.state is not SlotState.HELD:
            released = self.pool.stats().released
            with contextlib.suppress(InvalidReleaseError):
                self.run(self.pool.release(resource))
                raise AssertionError("released twice")
            assert self.pool.stats().released == released

    @rule(what=st.sampled_from(["open", "prune", "retire_all"]), waits=st.booleans())
    def care(self, what: str, waits: bool) -> None:
        if what == "prune":
            self.spawn(self.pool.prune())
        elif what == "open" and waits:
            self.spawn(self.pool.open(wait=True, timeout=5))
        elif what == "retire_all" and waits and self.constants["Retires"]:
            self.spawn(self.pool.retire_all(wait=True))
        elif what == "open" or self.constants["Retires"]:
            with self.only_when_open():
                self.run(getattr(self.pool, what)())

    @precondition(lambda self: len(limits_of(self.constants)) > 1)
    @rule(which=st.integers(0, 7), waits=st.booleans())
    def resize(self, which: int, waits: bool) -> None:
        """Change the limits of the size. The call suspends only if it waits."""
        limits = limits_of(self.constants)
        max_size, min_size = limits[which % len(limits)]
        if waits:
            self.spawn(self.pool.resize(max_size, min_size, wait=True))
            return
        with self.only_when_open():
            self.run(self.pool.resize(max_size, min_size))
            assert (self.pool.max_size, self.pool.min_size) == (max_size, min_size)

    @contextlib.contextmanager
    def only_when_open(self) -> Iterator[None]:
        """Accept the error of a call of a pool that is closing or closed."""
        try:
            yield
        except ResourcePoolClosedError:
            assert self.machine.counts().phase.value != "open"

    @precondition(lambda self: self.pool.stats().acquired > 2)
    @rule()
    def close(self) -> None:
        self.spawn(self.pool.close())

    @precondition(lambda self: self.constants["Leaves"] and self.pool.stats().acquired > 2)
    @rule()
    def terminate(self) -> None:
        """Terminate the pool. Its users keep what they hold."""
        held = [slot.resource for slot in self.machine.lent()]
        self.terminated = True
        self.pool.terminate()
        for resource in held:
            self.living.remove(resource)
        self.counts["left"] += len(held)

    @invariant()
    def no_more_lives_than_allowed(self) -> None:
        assert len(self.living) <= max(self.constants["MaxSizes"])
        self.raise_problems()

    @invariant()
    def the_numbers_are_those_of_the_world_outside(self) -> None:
        self.agree(at_the_end=False)

    @invariant()
    def all_work_that_has_started_is_known(self) -> None:
        """Check that each call outside that has not ended belongs to a slot of the pool."""
        c = self.machine.counts()
        for name, number in (
            ("factory", c.creating),
            ("check", c.checking),
            ("reset", c.resetting),
            ("closer", c.closing),
        ):
            calls = [call for call in self.calls.get(name, ()) if not call.done()]
            assert len(calls) <= number, f"{len(calls)} calls of the {name}: {c}"


def rules_for(name: str, machine: type[PoolMachine[Any]] = PoolMachine) -> type[PoolRules]:
    """Make the rules within the bounds of a model, for the machine or for one with a bug."""
    body: dict[str, Any] = {"model": name, "machine_class": machine, "examples": 0}
    body |= {"followed": Counter(), "unfollowed": 0}
    return type(f"{name}Rules", (PoolRules,), body)
