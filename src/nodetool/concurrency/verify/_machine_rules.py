"""The bare machine under Hypothesis, compared with the counting model beyond the graphs' bounds.

After every step the machine's numbers must be those of the proved counting model, and those of a
recount.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine import guarantees as g
from nodetool.concurrency._machine.counts import INVARIANTS, Phase
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.slots import SlotState

from ._walk import LATE, STEPS, TIME, WAITER_STEPS, Move, World

ACTIONS = sorted({*STEPS, *TIME})
ENDS = ("Close", "Terminate")
GOING_ON = {
    "begun": ("CreateSucceeded", "Resume"),
    "well": ("CheckPassed", "ResetPassed", "CloserEnded"),
    "badly": ("CreateFailed", "CreateLate", "CheckFailed", "ResetFailed"),
}
MOST_TASKS, MANY_TASKS = 24, 150  # large examples have many, the others at most these
MOST_RESOURCES, MANY_RESOURCES = 12, 100
USE = ("Acquire", "CreateSucceeded", "Resume", "CheckPassed")
RETURN = ("Cancel", "CheckPassed", "Release", "ResetPassed")
BURSTS = {  # kinds of steps, one after the other, each on all, most or one of its subjects
    "come and leave": ("Acquire", "most Timeout"),
    "use and discard": (*USE, "Cancel", "most Discard", "CloserEnded", "one Acquire", *USE[1:]),
    "use and expire": (*USE, *RETURN, "most limits", "Sweep", "CloserEnded"),
}
LARGE = 10  # per cent of the examples have many tasks and resources
MOST_BURSTS = 4  # of an example


class CountedWorld(World):
    """A world whose steps are compared with the counting model, too."""

    def predicates(self, action: str) -> tuple[g.StepPredicate, ...]:
        """Return the predicates that must hold after a step of this action."""
        return (*super().predicates(action), g.counts_moved)


class MachineRules(RuleBasedStateMachine):
    """One machine with its tasks and its resources. Time passes from limit to limit."""

    machine_class: ClassVar[type[Any]] = PoolMachine
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

    @rule(
        kind=st.integers(0, len(ACTIONS)), which=st.integers(0, MOST_TASKS), times=st.integers(1, 8)
    )
    def steps(self, kind: int, which: int, times: int) -> None:
        """Take the same action a few times, each time on another subject."""
        actions = sorted({move.action for move in self.world.moves()})
        action = actions[kind % len(actions)]
        if action in ENDS and times < 8:
            return  # an end must be rare, because little can happen after it
        for _ in range(times):
            moves = [move for move in self.world.moves() if move.action == action]
            start = which % (len(moves) + 1)
            if not any(self.step(move) for move in moves[start:] + moves[:start]):
                return

    @rule(how=st.sampled_from(["begun", "begun", "well", "badly"]))
    def go_on(self, how: str) -> None:
        """Let everything in flight go on: creations, acquirers and callbacks."""
        for move in list(self.world.moves()):
            if move.action in GOING_ON[how]:
                self.step(move)

    @precondition(lambda self: self.bursts < MOST_BURSTS)
    @rule(burst=st.sampled_from(sorted(BURSTS)), left_out=st.integers(0, 3))
    def burst(self, burst: str, left_out: int) -> None:
        """Let many acquirers do the same, so that removed entries pile up in the containers."""
        self.bursts += 1
        self.take(BURSTS[burst], left_out)

    def take(self, actions: tuple[str, ...], left_out: int = 0) -> None:
        """Take the steps of a burst. "most" of the subjects are all but every fourth."""
        for text in actions:
            amount, _, action = text.rpartition(" ")
            if action == "limits":
                self.let_limits_pass(left_out)
                continue
            moves = [move for move in self.world.moves() if move.action == action]
            if amount == "most":
                moves = [move for n, move in enumerate(moves) if n % 4 != left_out]
            for move in moves[:1] if amount == "one" else moves:
                self.step(move, recount=False)
            self.recount(text)

    def teardown(self) -> None:
        """Let everything expire. Then a sweep must leave nothing idle."""
        if not hasattr(self, "world"):
            return
        machine = self.world.machine
        if machine.counts().phase is Phase.OPEN and self.world.expires:
            self.take(("CreateSucceeded", *RETURN))
            before, idle = machine.statistics(), self.idle()
            machine.sweep(self.world.now + LATE)
            after = machine.statistics()
            assert self.idle() == 0, "an expired resource is idle"
            assert after["pruned"] == before["pruned"], "an expired resource was only pruned"
            assert after["expired"] == before["expired"] + idle, "expired resources are miscounted"

    def idle(self) -> int:
        """Count the idle resources."""
        return len(g.slots_in(self.world.machine, SlotState.IDLE))

    def recount(self, after: object) -> None:
        """Compare the machine's numbers and order with a recount."""
        machine = self.world.machine
        wrong = [name for name, holds in g.STATE_PREDICATES if not holds(machine)]
        assert not wrong, f"{' and '.join(wrong)} after {after}"
        assert self.world.queue_is_in_order(), f"the queue has lost its order after {after}"

    def let_limits_pass(self, left_out: int) -> None:
        """Let the next limits pass, except so many quarters of them."""
        for _ in range(len(self.world.limits(self.world.now)) * (4 - left_out) // 4):
            for _, action, r in self.world.limits(self.world.now)[:1]:
                self.step(Move(action, r), recount=False)
        self.recount("limits")

    def step(self, move: Move, recount: bool = True) -> bool:
        """Try a move. Return False if its subject has gone, or the machine refused it."""
        machine = self.world.machine
        if isinstance(move.on, int):
            exists = move.on in self.world.named
        else:
            exists = move.action not in WAITER_STEPS or self.world.got[move.on] is not None
        if not exists:
            return False
        counts = machine.counts()
        try:
            self.world.make(move)
        except ResourcePoolError:
            assert machine.counts() == counts, f"{move} was refused but moved {counts}"
            return False
        self.taken[move.action] += 1
        if move.action in TIME:
            assert machine.counts() == counts, f"time moved {counts}"
        for name, holds in INVARIANTS.items():
            assert holds(machine.limits, machine.counts()), f"{name} after {move}"
        if recount:
            self.recount(move)
        return True


def machine_rules_for(machine: type[PoolMachine[Any]] = PoolMachine) -> type[MachineRules]:
    """Make the rules for the machine, or for one with a bug."""
    body = {"machine_class": machine, "examples": 0, "large": 0, "taken": Counter()}
    return type("MachineRules", (MachineRules,), body)
