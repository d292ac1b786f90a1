"""The bare machine under Hypothesis against the counting model, beyond the bounds of the graphs.

After every step the machine's numbers must be where the proved model says that the step leads, and
what the machine counts must be what a recount finds.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from nodetool.concurrency import _guarantees as g
from nodetool.concurrency._counts import INVARIANTS
from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine import PoolMachine

from ._walk import ENVIRONMENT, World

ACTIONS = sorted({*g.EVENTS, *ENVIRONMENT})
ENDS = ("Close", "Terminate")
GOING_ON = {
    "begun": ("CreateSucceeded", "Resume"),
    "well": ("CheckPassed", "ResetPassed", "CloserEnded"),
    "badly": ("CreateFailed", "CheckFailed", "ResetFailed"),
}
MOST_TASKS = 24
MOST_RESOURCES = 12


class MachineRules(RuleBasedStateMachine):
    """One machine, its tasks and its resources; time passes by single limits."""

    machine_class: ClassVar[type[PoolMachine[int]]] = PoolMachine
    examples: ClassVar[int]
    taken: ClassVar[Counter[str]]

    @initialize(
        size=st.integers(1, MOST_RESOURCES),
        floor=st.integers(0, MOST_RESOURCES),
        creating=st.integers(1, MOST_RESOURCES),
        waiting=st.none() | st.integers(1, MOST_TASKS),
        checks=st.sampled_from(["never", "always", "unless trusted"]),
        resets=st.booleans(),
    )
    def start(
        self,
        size: int,
        floor: int,
        creating: int,
        waiting: int | None,
        checks: str,
        resets: bool,
    ) -> None:
        type(self).examples += 1
        constants: dict[str, Any] = {
            "Tasks": tuple(f"t{n:02}" for n in range(MOST_TASKS)),
            "Resources": tuple(range(1, size + 1)),
            "MaxSize": size,
            "MinSize": min(floor, size),
            "MaxCreating": min(creating, size),
            "MaxWaiting": waiting,
            "Checks": checks != "never",
            "CheckSkips": checks == "unless trusted",
            "Resets": resets,
            "Ages": True,
            "Idles": True,
            "Retires": True,
            "Leaves": True,
        }
        note(f"{constants}")
        self.world = World(constants, self.machine_class)

    @rule(
        kind=st.integers(0, len(ACTIONS)), which=st.integers(0, MOST_TASKS), times=st.integers(1, 8)
    )
    def steps(self, kind: int, which: int, times: int) -> None:
        """The same action a few times, each on something that it can be tried on."""
        actions = sorted({action for action, _ in self.world.moves()})
        action = actions[kind % len(actions)]
        if action in ENDS and times < 8:
            return  # seldom: an end is the end of all else
        for _ in range(times):
            moves = [move for move in self.world.moves() if move[0] == action]
            start = which % (len(moves) + 1)
            if not any(self.step(move) for move in moves[start:] + moves[:start]):
                return

    @rule(how=st.sampled_from(["begun", "begun", "well", "badly"]))
    def go_on(self, how: str) -> None:
        """What has begun gets on: creations succeed and acquirers run; what is called ends."""
        for move in list(self.world.moves()):
            if move[0] in GOING_ON[how]:
                self.step(move)

    def step(self, move: tuple[str, Any]) -> bool:
        """Try it; False if the machine refused."""
        machine = self.world.machine
        before = machine.counts()
        try:
            self.world.make(move)
        except ResourcePoolError:
            assert machine.counts() == before, f"{move} was refused but moved {before}"
            return False
        self.taken[move[0]] += 1
        expected = g.EVENTS.get(move[0], (None,))
        assert g.counts_moved(machine, before, expected), f"{move}: {before} to {machine.counts()}"
        for name, holds in INVARIANTS.items():
            assert holds(machine.limits, machine.counts()), f"{name} after {move}"
        assert g.counts_agree(machine), f"CountsAgree after {move}"
        return True


def machine_rules_for(machine: type[PoolMachine[Any]] = PoolMachine) -> type[MachineRules]:
    """The rules for the machine, or for one with a bug."""
    body = {"machine_class": machine, "examples": 0, "taken": Counter()}
    return type("MachineRules", (MachineRules,), body)
