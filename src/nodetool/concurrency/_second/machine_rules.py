"""The bare machine under Hypothesis, compared with the counting model beyond the graphs' bounds.

After every step the machine's numbers must be those of the proved counting model, and those of a
recount.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from nodetool.concurrency.verify import _machine_rules as first
from nodetool.concurrency.verify._machine_rules import (
    LARGE,
    MANY_RESOURCES,
    MANY_TASKS,
    MOST_RESOURCES,
    MOST_TASKS,
)
from nodetool.concurrency.verify._walk import TIME

from . import guarantees as g
from .counts import INVARIANTS
from .machine import PoolMachine
from .walk import STEPS, WAITER_STEPS, World

ACTIONS = sorted({*STEPS, *TIME})


class CountedWorld(World):
    """A world whose steps are compared with the counting model, too."""

    def predicates(self, action: str) -> tuple[g.StepPredicate, ...]:
        """Return the predicates that must hold after a step of this action."""
        return (*super().predicates(action), g.counts_moved)


class MachineRules(first.MachineRules):
    """One machine with its tasks and its resources. Time passes from limit to limit."""

    machine_class = PoolMachine
    counting_rules = INVARIANTS

    @initialize(
        large=st.integers(0, 99),
        sizes=st.sets(st.integers(1, MOST_RESOURCES), min_size=1, max_size=3),
        floors=st.sets(st.integers(0, MOST_RESOURCES), max_size=1),
        creating=st.integers(1, MOST_RESOURCES),
        waiting=st.none() | st.integers(1, MOST_TASKS),
        checks=st.sampled_from(["never", "always", "unless trusted"]),
        resets=st.booleans(),
        ages=st.booleans(),
        fifo=st.booleans(),
    )
    def start(
        self,
        large: int,
        sizes: set[int],
        floors: set[int],
        creating: int,
        waiting: int | None,
        checks: str,
        resets: bool,
        ages: bool,
        fifo: bool,
    ) -> None:
        type(self).examples += 1
        self.bursts = 0
        tasks = MOST_TASKS
        if large >= 100 - LARGE:
            type(self).large += 1
            tasks, creating, waiting = MANY_TASKS, MANY_RESOURCES, None
            sizes = {min(sizes), MANY_RESOURCES}
        constants: dict[str, Any] = {
            "Tasks": tuple(f"t{n:03}" for n in range(tasks)),
            "Resources": tuple(range(1, max(sizes) + 1)),
            "MaxSizes": tuple(sorted(sizes)),
            "MinSizes": tuple(sorted({0, *floors})),
            "MaxCreating": creating,
            "MaxWaiting": waiting,
            "Checks": checks != "never",
            "CheckSkips": checks == "unless trusted",
            "Resets": resets,
            "Ages": ages,
            "Idles": True,
            "Fifo": fifo,
            "Retires": True,
            "Leaves": True,
        }
        note(f"{constants}")
        least = min(max(constants["MinSizes"]), max(sizes))
        self.world = CountedWorld(constants, (max(sizes), least), self.machine_class)

    def step(self, move: Any, recount: bool = True) -> bool:
        """Try a move. Return False if its subject has gone, or the machine refused it."""
        if isinstance(move.on, int):
            exists = move.on in self.world.named
        else:
            exists = move.action not in WAITER_STEPS or self.world.got[move.on] is not None
        return exists and super().step(move, recount)

    def recount(self, after: object) -> None:
        """Compare the machine's numbers and order with a recount."""
        machine = self.world.machine
        wrong = [name for name, holds in g.STATE_PREDICATES if not holds(machine)]
        assert not wrong, f"{' and '.join(wrong)} after {after}"
        assert self.world.queue_is_in_order(), f"the queue has lost its order after {after}"

    def assert_moved(self, move: Any, counts: Any, before: Any) -> None:
        """Do nothing: the world has compared the numbers with the counting model."""


def machine_rules_for(machine: type[PoolMachine[Any]] = PoolMachine) -> type[MachineRules]:
    """Make the rules for the machine, or for one with a bug."""
    body = {"machine_class": machine, "examples": 0, "large": 0, "taken": Counter()}
    return type("MachineRules", (MachineRules,), body)
