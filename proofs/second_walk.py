"""Walk the machine of the second semantics, and compare the walk with the specification's graph.

A world is a machine with its tasks, names for its slots, and a clock. The clock only goes forward.
To let a limit pass, the world sets its clock to the next limit.
"""

from __future__ import annotations

import pickle
from bisect import bisect
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency._second import guarantees
from nodetool.concurrency._second.counts import Limits
from nodetool.concurrency._second.machine import PoolMachine
from nodetool.concurrency._second.slots import NEVER, Slot, SlotState, Waiter, WaiterState
from nodetool.concurrency.verify._walk import (
    BETWEEN,
    DISTANCES,
    LATE,
    LONG,
    SHORT,
    SOON,
    TICK,
    TIME,
)
from spec import dump, tlc
from spec.tla import ModelConfig

FOLDER = tlc.SPEC / "second"

STEPS = {action: method for method, action in actions(PoolMachine).items()}
WAITER_STEPS = ("Resume", "Timeout", "Cancel")
LEASE_STEPS = ("Release", "Discard", "Detach")
WORK_STEPS = (
    *("CreateSucceeded", "CreateFailed", "CreateLate", "CheckPassed", "CheckFailed"),
    *("ResetPassed", "ResetFailed", "CloserEnded"),
)
POOL_STEPS = ("Open", "Sweep", "RetryFloor", "RetireAll", "Close", "Terminate")
WITH_TIME = ("Acquire", "Resume", "Cancel", "Release", "CheckPassed", "ResetPassed", "Sweep")

HAS_RESOURCE = (SlotState.CHECKING, SlotState.IDLE, SlotState.RESETTING)
IN_USE = (SlotState.HANDED, SlotState.HELD)


class State(NamedTuple):
    """A state of the specification, with tasks in the order of their names."""

    phase: str
    floor: str
    place: tuple[str, ...]
    task: tuple[str, ...]
    lease: tuple[int, ...]
    queue: tuple[str, ...]
    idle: tuple[int, ...]
    old: frozenset[int]
    stale: frozenset[int]
    trusted: frozenset[int]
    retired: frozenset[int]
    disowned: int
    max_size: int
    min_size: int


class Move(NamedTuple):
    """An action and its subject."""

    action: str
    on: Any = None  # a task, a slot, or the limits of Resize
    age: float = NEVER

    def __str__(self) -> str:
        return self.action if self.on is None else f"{self.action} {self.on}"


Edge = tuple[str, State]
Edges = dict[State, set[Edge]]


class OutputError(AssertionError):
    """Error of a step whose effects do not agree with its changes."""


class World:
    """One machine, its tasks, the names of its slots, and a clock."""

    def __init__(
        self, c: Mapping[str, Any], sizes: tuple[int, int], machine: type[PoolMachine[Any]]
    ) -> None:
        idle = LONG if c["Idles"] else NEVER
        trust = (SHORT if c["CheckSkips"] else 0.0) if c["Checks"] else None
        self.machine = machine(
            "model",
            Limits(c["MaxCreating"], c["MaxWaiting"]),
            max_size=sizes[0],
            min_size=sizes[1],
            max_idle_time=idle,
            check_after_idle=trust,
            resets=c["Resets"],
            fifo=c["Fifo"],
        )
        self.tasks = tuple(sorted(c["Tasks"]))
        self.resources = tuple(sorted(c["Resources"]))
        self.sizes = limits_of(c)
        self.retires, self.leaves = c["Retires"], c["Leaves"]
        self.ages: list[float] = [NEVER]
        if c["Ages"]:
            self.ages = [SOON, BETWEEN, LATE] if c["Idles"] else [SOON, LATE]
        self.got: dict[str, Slot[Any] | Waiter[Any] | None] = dict.fromkeys(self.tasks)
        self.named: dict[int, Slot[Any]] = {}
        self.now = 0

    def state(self) -> State:
        """Map the machine's state to a state of the specification."""
        machine, counts = self.machine, self.machine.counts()
        names = {id(slot): r for r, slot in self.named.items()}
        current = machine._generation
        fit = {r: s for r, s in self.named.items() if s.generation == current}
        task, lease = [], []
        for t in self.tasks:
            got = self.got[t]
            slot = got.slot if isinstance(got, Waiter) else got
            task.append("out" if got is None else got.state.value.replace("held", "holding"))
            lease.append(names[id(slot)] if slot is not None else 0)
        is_open = counts.phase is Phase.OPEN
        idle = machine.idle()
        return State(
            counts.phase.value,
            counts.floor.value,
            tuple(self._place(r) for r in self.resources),
            tuple(task),
            tuple(lease),
            self._queue(),
            tuple(names[id(slot)] for slot in idle),
            frozenset(
                r
                for r, s in fit.items()
                if s.state in (*HAS_RESOURCE, *IN_USE) and s.expires_at <= self.now
            ),
            frozenset(names[id(s)] for s in idle if s.stale_at <= self.now),
            frozenset(
                names[id(s)]
                for s in idle
                if is_open and machine._checks and s.ready and s.trusted_until > self.now
            ),
            frozenset(
                r
                for r, s in self.named.items()
                if s.generation != current and s.state is not SlotState.CLOSING
            ),
            counts.disowned,
            counts.max_size,
            counts.min_size,
        )

    def _place(self, r: int) -> str:
        slot = self.named.get(r)
        if slot is None:
            return "free"
        return "inUse" if slot.state in IN_USE else slot.state.value

    def _queue(self) -> tuple[str, ...]:
        got = {t: w for t, w in self.got.items() if isinstance(w, Waiter)}
        order = sorted(got, key=lambda t: got[t].ticket)
        waiting = [got[t] for t in order if got[t].state is WaiterState.WAITING]
        return tuple(order) if waiting == self.machine.waiters() else ("?",)

    def limits(self) -> list[tuple[float, str, int]]:
        """List the limits that have not passed: time, action and resource, earliest first."""
        machine, found = self.machine, []
        if machine.counts().phase is not Phase.OPEN:
            return []
        for r, s in self.named.items():
            if s.generation != machine._generation:
                continue
            if s.state in (*HAS_RESOURCE, *IN_USE):
                found.append((s.expires_at, "GrowOld", r))
            if s.state is SlotState.IDLE:
                found.append((s.stale_at, "GrowStale", r))
                if s.ready and machine._checks:
                    found.append((s.trusted_until, "TrustExpires", r))
        return sorted(limit for limit in found if self.now < limit[0] < NEVER)

    def key(self, state: State) -> Any:
        """Distinguish worlds by their state, and by the order and distance of the next limits."""
        near = [(a, r, bisect(DISTANCES, time - self.now)) for time, a, r in self.limits()]
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
        for _, action, r in self.limits()[:1]:
            yield Move(action, r)

    def make(self, move: Move) -> None:
        """Make one move. Raise the machine's error if it is refused."""
        if move.action in TIME:
            self.now = int(self.limits()[0][0])
            return
        limits = self.limits()
        gap = int(limits[0][0]) - self.now if limits else 2 * TICK
        self.now += min(TICK, gap // 2)
        args = self._arguments(move)
        result = self.step(move, args)
        if isinstance(move.on, str):
            self.got[move.on] = result if move.action in ("Acquire", "Resume") else None
            if isinstance(result, Slot):
                result.context = f"context of {move.on}"
        self._notice()
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

    def _notice(self) -> None:
        """Forget free slots and decided waiters, and name the new creations, lowest first."""
        for r in [r for r, s in self.named.items() if s.state is SlotState.FREE]:
            del self.named[r]
        for t, got in self.got.items():
            if got is not None and got.state in (SlotState.FREE, WaiterState.DONE):
                self.got[t] = None
        known = {id(slot) for slot in self.named.values()}
        for slot in self.machine.outbox.work:
            if slot.state is SlotState.CREATING and id(slot) not in known:
                self.named[min(set(self.resources) - set(self.named))] = slot


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


def limits_of(c: Mapping[str, Any]) -> list[tuple[int, int]]:
    """List the pairs of max_size and min_size of a model."""
    return [(a, b) for a in sorted(c["MaxSizes"]) for b in sorted(c["MinSizes"]) if b <= a]


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
        known.add(world.key(world.state()))
        todo.append(pickle.dumps(world))
    while todo:
        blob = todo.popleft()
        world = pickle.loads(blob)
        state = world.state()
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
            after = world.state()
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


NAMES = {"maxSize": "max_size", "minSize": "min_size"}  # of the specification, where they differ


def state_from(values: Mapping[str, Any]) -> State:
    """Make a state from the values of the variables."""
    return State(**{NAMES.get(name, name): value for name, value in values.items()})


def graph_of(model: str) -> tuple[Mapping[str, Any], Edges]:
    """Let TLC enumerate a model. Return its constants and its edges."""
    constants = ModelConfig.read(FOLDER / "models" / f"{model}.cfg").constants
    result = tlc.run(model, "AsyncResourcePool", dump=True, folder=FOLDER)
    assert result.verdict == "ok", result.tail
    found = dump.read(result.dot)
    states = {name: state_from(values) for name, values in found.states.items()}
    edges: Edges = {state: set() for state in states.values()}
    for start, action, end in found.edges:
        edges[states[start]].add((action, states[end]))
    return constants, edges


class Comparison(NamedTuple):
    """The result of a comparison."""

    states: int
    edges: int
    worlds: int
    unvisited: int  # states that no clock leads to
    untaken: int  # edges on which time passes that no clock takes
    problem: str


def compare(model: str, machine: type[PoolMachine[Any]] = PoolMachine) -> Comparison:
    """Compare the machine with the graph of a model, in both directions."""
    constants, graph = graph_of(model)
    found, worlds = walk(constants, machine)
    problem = ""
    untaken = 0
    for state, edges in found.items():
        extra = edges - graph.get(state, set())
        missing = graph.get(state, set()) - edges
        untaken += sum(action in TIME for action, _ in missing)
        missing = {edge for edge in missing if edge[0] not in TIME}
        if not problem and (extra or missing):
            side = "only the machine" if extra else "only the specification"
            action, to = min(extra or missing, key=str)
            problem = f"{side}: {action}\n  from {state}\n  to   {to}"
    count = sum(map(len, graph.values()))
    unvisited = len(graph) - len(set(graph) & set(found))
    return Comparison(len(graph), count, worlds, unvisited, untaken, problem)


MODELS = ("Wide", "Deep", "Checked", "Resizing", "Fifo", "Lowering", "Pruning", "Shrinking")

if __name__ == "__main__":
    for name in MODELS:
        print(name, *compare(name), sep="  ", flush=True)
