"""The real pool under Hypothesis: every public call, every failure, cancellation at any moment.

The rules are those of `_rules`, with other limits on the size, other work and its limits.
`pool_world` has the pool, the world outside and the checks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import consumes, initialize, invariant, precondition, rule

from nodetool.concurrency import InvalidReleaseError, ResourcePoolClosedError
from nodetool.concurrency.verify import _rules as first
from nodetool.concurrency.verify._pool_world import Resource

from .graph import Graph, limits_of
from .machine import PoolMachine
from .pool_world import LIMITS, PoolScenario


class PoolRules(PoolScenario, first.PoolRules):
    """One pool, its users, and its callbacks."""

    @initialize(stubborn=st.sampled_from([False, False, False, True]))
    def begin(self, stubborn: bool) -> None:
        """Decide whether work ignores its cancellation."""
        self.stubborn = stubborn

    @precondition(lambda self: bool({"check", "reset"} & {*self.open_calls()}))
    @rule()
    def let_a_check_outlast_its_deadline(self) -> None:
        """Let a check or a reset exceed its limit. `let_time_pass` does so for creations."""
        self.run(asyncio.sleep(LIMITS["reset_timeout"] + 1))

    @rule(
        target=first.PoolRules.spent,
        resource=consumes(first.PoolRules.leases),
        how=st.sampled_from(["release"] * 3 + ["discard", "detach"]),
        reset=st.sampled_from([True, True, OSError("reset failed"), None]),
        count=st.integers(0, 4),
    )
    def give_back(self, resource: Resource, how: str, reset: Any, count: int) -> Resource:
        """Give a resource back in a call that never suspends. Perhaps let its reset end."""
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
    def only_when_open(self) -> Any:
        """Accept the error of a call of a pool that is closing or closed."""
        try:
            yield
        except ResourcePoolClosedError:
            assert self.machine.counts().phase.value != "open"

    @precondition(lambda self: self.constants["Leaves"] and self.pool.stats().acquired > 2)
    @rule()
    def terminate(self) -> None:
        """Terminate the pool. Its users keep what they hold."""
        self.end_pool("terminate")

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


def rules_for(graph: Graph, machine: type[PoolMachine[Any]] = PoolMachine) -> type[PoolRules]:
    """Make the rules within the bounds of a graph, for the machine or for one with a bug."""
    body: dict[str, Any] = {"graph": graph, "machine_class": machine, "examples": 0}
    body |= {"followed": Counter(), "unfollowed": 0}
    return type("PoolRules", (PoolRules,), body)
