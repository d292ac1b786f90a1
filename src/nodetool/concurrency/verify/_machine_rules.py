"""The bare machine under Hypothesis against the counting model, beyond the bounds of the graphs.

After every step the machine's numbers must be where the proved model says that the step leads, and
what the machine counts must be what a recount finds.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from nodetool.concurrency import _guarantees as g
from nodetool.concurrency._counts import INVARIANTS, Phase
from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine import PoolMachine

from ._walk import AGE_LIMIT, ENVIRONMENT, World

ACTIONS = sorted({*g.EVENTS, *ENVIRONMENT})
ENDS = ("Close", "Terminate")
GOING_ON = {
    "begun": ("CreateSucceeded", "Resume"),
    "well": ("CheckPassed", "ResetPassed", "CloserEnded"),
    "badly": ("CreateFailed", "CheckFailed", "ResetFailed"),
}
MOST_TASKS, MANY_TASKS = 24, 150  # many: in some of the examples
MOST_RESOURCES, MANY_RESOURCES = 12, 100
USE = ("Acquire", "CreateSucceeded", "Resume", "CheckPassed")
RETURN = ("Cancel", "CheckPassed", "Release", "ResetPassed")
BURSTS = {  # one kind of step after the other, on all that it can be taken on, or on fewer
    "come and leave": ("Acquire", "most Timeout"),
    "use and discard": (*USE, "Cancel", "most Discard", "CloserEnded", "one Acquire", *USE[1:]),
    "use and grow old": (*USE, *RETURN, "most GrowOld", "Sweep", "CloserEnded"),
}
LARGE = 10  # per cent of the examples
MOST_BURSTS = 4  # of an example


class MachineRules(RuleBasedStateMachine):
    """One machine, its tasks and its resources; time passes by single limits."""

    machine_class: ClassVar[type[PoolMachine[int]]] = PoolMachine
    examples: ClassVar[int]
    taken: ClassVar[Counter[str]]
    large: ClassVar[int]  # how many of the examples have many tasks and resources

    @classmethod
    def figures(cls) -> str:
        return (
            f"{cls.taken.total():,} steps checked, with up to {MOST_TASKS} tasks and "
            f"{MOST_RESOURCES} resources; in {cls.large:,} examples {MANY_TASKS} and "
            f"{MANY_RESOURCES}"
        )

    @initialize(
        large=st.integers(0, 99),
        size=st.integers(1, MOST_RESOURCES),
        floor=st.integers(0, MOST_RESOURCES),
        creating=st.integers(1, MOST_RESOURCES),
        waiting=st.none() | st.integers(1, MOST_TASKS),
        checks=st.sampled_from(["never", "always", "unless trusted"]),
        resets=st.booleans(),
    )
    def start(
        self,
        large: int,
        size: int,
        floor: int,
        creating: int,
        waiting: int | None,
        checks: str,
        resets: bool,
    ) -> None:
        type(self).examples += 1
        self.bursts = 0
        tasks = MOST_TASKS
        if large >= 100 - LARGE:
            type(self).large += 1
            tasks, size, creating, waiting = MANY_TASKS, MANY_RESOURCES, MANY_RESOURCES, None
        constants: dict[str, Any] = {
            "Tasks": tuple(f"t{n:03}" for n in range(tasks)),
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

    @precondition(lambda self: self.bursts < MOST_BURSTS)
    @rule(burst=st.sampled_from(sorted(BURSTS)), left_out=st.integers(0, 3))
    def burst(self, burst: str, left_out: int) -> None:
        """Many do the same: what has left the queue, the shelf or the line of ages piles up."""
        self.bursts += 1
        self.take(BURSTS[burst], left_out)

    def take(self, actions: tuple[str, ...], left_out: int = 0) -> None:
        for text in actions:
            amount, _, action = text.rpartition(" ")
            moves = [move for move in self.world.moves() if move[0] == action]
            if amount == "most":
                moves = [move for n, move in enumerate(moves) if n % 4 != left_out]
            for move in moves[:1] if amount == "one" else moves:
                self.step(move, recount=False)
            self.recount(text)

    def teardown(self) -> None:
        """Once everything is old, nothing is idle any more, whatever it is found by."""
        if hasattr(self, "world") and (machine := self.world.machine).phase is Phase.OPEN:
            self.take(("CreateSucceeded", *RETURN))
            pruned, expected = machine.pruned, machine.expired + machine.idle
            machine.sweep(AGE_LIMIT)
            assert machine.idle == 0, "something old is idle"
            assert (machine.pruned, machine.expired) == (pruned, expected), "old, but only unused"

    def recount(self, after: object) -> None:
        """What the machine counts and keeps in order is what is found outside of its order."""
        machine = self.world.machine
        assert g.counts_agree(machine), f"CountsAgree after {after}"
        assert "?" not in self.world._queue(), f"the queue has lost its order after {after}"

    def step(self, move: tuple[str, Any], recount: bool = True) -> bool:
        """Try it; False if the machine refused."""
        machine = self.world.machine
        before, statistics = machine.counts(), machine.statistics()
        try:
            self.world.make(move)
        except ResourcePoolError:
            assert machine.counts() == before, f"{move} was refused but moved {before}"
            return False
        self.taken[move[0]] += 1
        expected = g.EVENTS.get(move[0], (None,))
        assert g.counts_moved(machine, before, expected), f"{move}: {before} to {machine.counts()}"
        assert g.action_counted(machine, statistics, move[0]), f"{move} counted as something else"
        for name, holds in INVARIANTS.items():
            assert holds(machine.limits, machine.counts()), f"{name} after {move}"
        if recount:
            self.recount(move)
        return True


def machine_rules_for(machine: type[PoolMachine[Any]] = PoolMachine) -> type[MachineRules]:
    """The rules for the machine, or for one with a bug."""
    body = {"machine_class": machine, "examples": 0, "large": 0, "taken": Counter()}
    return type("MachineRules", (MachineRules,), body)
