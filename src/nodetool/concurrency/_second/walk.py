"""Walk the machine of the second semantics through every state that it can reach.

A world is a machine with its tasks, names for its slots, and a clock. The clock only goes forward.
To let a limit pass, the world sets its clock to the next limit.

In each state, `expand` tries every step on every subject. A refused step may change only the count
of refused acquires. After each step the outputs are compared with the changes that the step made.
"""

from __future__ import annotations

import pickle
from bisect import bisect
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency.verify._walk import (
    BETWEEN,
    DISTANCES,
    LATE,
    LONG,
    SHORT,
    SOON,
    TICK,
    TIME,
    OutputError,
)

from . import guarantees
from .counts import Limits
from .graph import State, limits_of
from .machine import PoolMachine
from .mapping import Mapping as RefinementMapping
from .slots import NEVER, Slot, SlotState, Waiter

STEPS = {action: method for method, action in actions(PoolMachine).items()}
WAITER_STEPS = ("Resume", "Timeout", "Cancel")
LEASE_STEPS = ("Release", "Discard", "Detach")
WORK_STEPS = (
    *("CreateSucceeded", "CreateFailed", "CreateLate", "CheckPassed", "CheckFailed"),
    *("ResetPassed", "ResetFailed", "CloserEnded"),
)
POOL_STEPS = ("Open", "Sweep", "RetryFloor", "RetireAll", "Close", "Terminate")
WITH_TIME = ("Acquire", "Resume", "Cancel", "Release", "CheckPassed", "ResetPassed", "Sweep")


class Move(NamedTuple):
    """An action and its subject."""

    action: str
    on: Any = None  # a task, a slot, or the limits of Resize
    age: float = NEVER

    def __str__(self) -> str:
        return self.action if self.on is None else f"{self.action} {self.on}"


Edge = tuple[str, State]
Edges = dict[State, set[Edge]]


class World(RefinementMapping):
    """One machine, its tasks, the names of its slots, and a clock."""

    def __init__(
        self, c: Mapping[str, Any], sizes: tuple[int, int], machine: type[PoolMachine[Any]]
    ) -> None:
        idle = LONG if c["Idles"] else NEVER
        trust = (SHORT if c["CheckSkips"] else 0.0) if c["Checks"] else None
        super().__init__(
            machine(
                "model",
                Limits(c["MaxCreating"], c["MaxWaiting"]),
                max_size=sizes[0],
                min_size=sizes[1],
                max_idle_time=idle,
                check_after_idle=trust,
                resets=c["Resets"],
                fifo=c["Fifo"],
            ),
            tuple(sorted(c["Tasks"])),
            tuple(sorted(c["Resources"])),
        )
        self.sizes = limits_of(c)
        self.retires, self.leaves = c["Retires"], c["Leaves"]
        self.ages: list[float] = [NEVER]
        if c["Ages"]:
            self.ages = [SOON, BETWEEN, LATE] if c["Idles"] else [SOON, LATE]
        self.now = 0

    def key(self, state: State) -> Any:
        """Distinguish worlds by their state, and by the order and distance of the next limits."""
        near = [(a, r, bisect(DISTANCES, time - self.now)) for time, a, r in self.limits(self.now)]
        return state, tuple(near)

    def moves(self) -> Iterator[Move]:
        """List every step with each of its subjects, allowed or not, and the next limit."""
        for t, got in self.got.items():
            if got is None:
                yield Move("Acquire", t)
            for action in WAITER_STEPS if isinstance(got, Waiter) else ():
                yield Move(action, t)
            for action in LEASE_STEPS if isinstance(got, Slot) else ():
                if self.leaves or action == "Release":
                    yield Move(action, t)
        for r, slot in self.named.items():
            for action in () if slot.state is SlotState.HELD else LEASE_STEPS:
                if self.leaves or action == "Release":
                    yield Move(action, r)  # nobody holds it, so this must be refused
            for action in WORK_STEPS:
                for age in self.ages if action == "CreateSucceeded" else (NEVER,):
                    yield Move(action, r, age)
        for action in POOL_STEPS:
            if (action != "RetireAll" or self.retires) and (action != "Terminate" or self.leaves):
                yield Move(action)
        for sizes in self.sizes:
            yield Move("Resize", sizes)
        for _, action, r in self.limits(self.now)[:1]:
            yield Move(action, r)

    def make(self, move: Move) -> None:
        """Make one move. Raise the machine's error if it is refused."""
        if move.action in TIME:
            self.now = int(self.limits(self.now)[0][0])
            return
        limits = self.limits(self.now)
        gap = int(limits[0][0]) - self.now if limits else 2 * TICK
        self.now += min(TICK, gap // 2)
        args = self._arguments(move)
        result = self.step(move, args)
        if isinstance(move.on, str):
            self.got[move.on] = result if move.action in ("Acquire", "Resume") else None
            if isinstance(result, Slot):
                result.context = f"context of {move.on}"
        self.notice()
        self.machine.outbox.work.clear()
        self.machine.outbox.woken.clear()

    def step(self, move: Move, args: tuple[Any, ...]) -> Any:
        """Let the machine take one step, and compare its outputs with its changes."""
        memory = guarantees.before(self.machine, move.action, args)
        result = self.take(move.action, args)
        predicates = (*OUTPUTS, *STEP_OUTPUTS.get(move.action, ()))
        wrong = [p.__name__ for p in predicates if not p(self.machine, memory, result)]
        if not guarantees.ages_are_watched(self.machine):
            wrong.append("ages_are_watched")
        if wrong:
            raise OutputError(f"{move}: {' and '.join(wrong)} does not hold")
        return result

    def take(self, action: str, args: tuple[Any, ...]) -> Any:
        """Let the machine take one step."""
        return getattr(self.machine, STEPS[action])(*args)

    def _arguments(self, move: Move) -> tuple[Any, ...]:
        if move.action == "Resize":
            return tuple(move.on)
        args: list[Any] = []
        if isinstance(move.on, str) and move.action != "Acquire":
            args.append(self.got[move.on])
        elif isinstance(move.on, int):
            args.append(self.named[move.on])
        if move.action == "CreateSucceeded":
            # No two resources expire at the same time.
            return (*args, move.on, self.now, self.now + move.age + 7**move.on)
        if move.action == "CreateFailed":
            return (*args, ValueError("model"))
        if move.action == "CreateLate":
            return (*args, move.on, ValueError("model"))
        if move.action == "Timeout":
            return (*args, TimeoutError("model"))
        return (*args, self.now) if move.action in WITH_TIME else tuple(args)


OUTPUTS: tuple[guarantees.StepPredicate, ...] = (
    guarantees.closed_exactly_once,
    guarantees.work_is_asked_for,
    guarantees.decided_are_woken,
    guarantees.statistics_moved,
    guarantees.reasons_are_true,
    guarantees.idle_limits_are_set,
    guarantees.ages_stay,
    guarantees.leases_last,
)
STEP_OUTPUTS: dict[str, tuple[guarantees.StepPredicate, ...]] = {
    "Timeout": (guarantees.deadline_kept,),
    "Release": (guarantees.lease_is_over,),
    "Discard": (guarantees.lease_is_over,),
    "Detach": (guarantees.lease_is_over,),
    "CreateSucceeded": (guarantees.age_is_kept,),
    "CreateFailed": (guarantees.failure_goes_to_the_first,),
    "CreateLate": (guarantees.failure_goes_to_the_first,),
    "Sweep": (guarantees.closings_are_listed,),
    "Resize": (guarantees.closings_are_listed,),
    "RetireAll": (guarantees.all_retired,),
    "Close": (guarantees.waiters_fail_at_close,),
    "Terminate": (guarantees.waiters_fail_at_close,),
}
"""What is no part of a state: answers, effects and statistics, for every step and for some."""


def expand(
    c: Mapping[str, Any],
    machine: type[PoolMachine[Any]] = PoolMachine,
    kind: type[World] = World,
) -> Iterator[tuple[State, set[Edge]]]:
    """Yield each world that the machine reaches, as its state and the edges that leave it."""
    known: set[Any] = set()
    todo: deque[bytes] = deque()
    for sizes in limits_of(c):
        world = kind(c, sizes, machine)
        known.add(world.key(world.state(world.now)))
        todo.append(pickle.dumps(world))
    while todo:
        blob = todo.popleft()
        world = pickle.loads(blob)
        state = world.state(world.now)
        edges: set[Edge] = set()
        for move in list(world.moves()):
            numbers, now = (world.machine.counts(), counted(world.machine)), world.now
            try:
                world.make(move)
            except ResourcePoolError as error:
                if (world.machine.counts(), counted(world.machine)) != numbers:
                    raise OutputError(f"{move} was refused but changed {state}") from error
                world.now = now
                continue
            after = world.state(world.now)
            if after != state:
                edges.add((move.action, after))
            key = world.key(after)
            if key not in known:
                known.add(key)
                todo.append(pickle.dumps(world))
            world = pickle.loads(blob)
        yield state, edges


def counted(machine: PoolMachine[Any]) -> dict[str, int]:
    """Return the statistics that a refused step must not change."""
    return {name: n for name, n in machine.statistics().items() if name != "rejected"}


def walk(
    c: Mapping[str, Any],
    machine: type[PoolMachine[Any]] = PoolMachine,
    kind: type[World] = World,
) -> tuple[Edges, int]:
    """Return the edges of every state that the machine reaches, and the number of worlds."""
    found: Edges = {}
    worlds = 0
    for state, edges in expand(c, machine, kind):
        found.setdefault(state, set()).update(edges)
        worlds += 1
    return found, worlds
