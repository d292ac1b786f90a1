"""Walk the real machine through every state that it can reach, and compare with a graph.

A `World` is a machine with its surroundings: tasks with their slots or waiters, names for the
slots, and a clock. The clock only goes forward, and the machine sees the time only as an argument
of its steps. To let a limit pass, the world sets its clock to the next limit. When a creation
succeeds, the world chooses whether the resource expires before or after the other limits.

In each state, `walk` tries every step on every subject. A refused step may change only the count
of refused acquires. After each step the outbox is compared with the changes that the step made.
"""

from __future__ import annotations

import pickle
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine import guarantees
from nodetool.concurrency._machine.counts import Limits
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency._machine.slots import NEVER, Slot, SlotState, Waiter

from ._graph import Graph, State, encode
from ._mapping import Mapping as RefinementMapping

# Times are whole numbers, so that a step can always come before the next limit.
TICK = 2**300  # between two steps, if no limit comes earlier
SHORT, LONG = 2**400, 2**500  # the limits in time that a pool has besides its ages
DISTANCES = (TICK * 2**20, SHORT, LONG)  # borders between near and far limits
SOON, BETWEEN, LATE = 2**310, 2**450, 2**600  # how long a resource may be used
TIME = ("GrowOld", "GrowStale", "TrustExpires")

STEPS = {action: method for method, action in actions(PoolMachine).items()}
POOL_STEPS = ("Open", "Sweep", "RetryFloor", "RetireAll", "Close", "Terminate")
WAITER_STEPS = ("Resume", "Timeout", "Cancel")
SLOT_STEPS = tuple(action for action in STEPS if action not in (*POOL_STEPS, "Acquire", "Resume"))
WITH_TIME = ("Acquire", "Resume", "CheckPassed", "CheckFailed", "Cancel", "Release", "ResetPassed")


class Move(NamedTuple):
    """An action and its subject."""

    action: str
    on: str | int | None = None  # a task or a slot
    age: float = NEVER  # of a creation that succeeds

    def __str__(self) -> str:
        return self.action if self.on is None else f"{self.action} {self.on}"


class OutputError(AssertionError):
    """Error of a step whose answer or effects do not agree with its changes."""


class RefusalError(AssertionError):
    """Error of a refused step that changed something."""


class World(RefinementMapping):
    """One machine, its tasks, the names of its slots, and a clock."""

    def __init__(
        self,
        constants: Mapping[str, Any],
        machine: type[PoolMachine[int]] = PoolMachine,
        *,
        trust_outlasts_idleness: bool = False,
    ) -> None:
        c = constants
        trust, idle = (LONG, SHORT) if trust_outlasts_idleness else (SHORT, LONG)
        super().__init__(
            machine(
                "model",
                Limits(c["MaxSize"], c["MinSize"], c["MaxCreating"], c["MaxWaiting"]),
                max_idle_time=idle if c["Idles"] else NEVER,
                check_after_idle=(trust if c["CheckSkips"] else 0.0) if c["Checks"] else None,
                resets=c["Resets"],
            ),
            tuple(sorted(c["Tasks"])),
            tuple(sorted(c["Resources"])),
        )
        self.expires, self.retires, self.leaves = c["Ages"], c["Retires"], c["Leaves"]
        self.ages = [NEVER]
        if c["Ages"]:
            self.ages = (
                [SOON, BETWEEN, LATE] if c["Idles"] and not c["CheckSkips"] else [SOON, LATE]
            )
        self.now = 0
        self.lease_marks: dict[int, object] = {}  # the context of each held slot

    def moves(self) -> Iterator[Move]:
        """List every step with each of its subjects, allowed or not, and the next limit."""
        for task, got in self.got.items():
            if got is None:
                yield Move("Acquire", task)
            elif isinstance(got, Waiter):
                for action in WAITER_STEPS:
                    yield Move(action, task)
        for r in self.named:
            for action in SLOT_STEPS:
                if action == "CreateSucceeded":
                    for age in self.ages:
                        yield Move(action, r, age)
                elif self.leaves or action not in ("Discard", "Detach"):
                    yield Move(action, r)
        for action in POOL_STEPS:
            if (action != "RetireAll" or self.retires) and (action != "Terminate" or self.leaves):
                yield Move(action)
        for _, action, r in self.limits(self.now)[:1]:
            yield Move(action, r)

    def make(self, move: Move) -> guarantees.Before | None:
        """Make one move, and check its outputs. Raise the machine's error if it is refused.

        Return the state before a step, or None if only time has passed.
        """
        if move.action not in STEPS:
            self.now = int(self.limits(self.now)[0][0])
            return None
        self.now = self._next_time()
        args = self._arguments(move)
        step = getattr(self.machine, STEPS[move.action])
        memory = guarantees.before(self.machine, move.action, args)
        result = step(*args)
        self._check_outputs(move, memory, result)
        self._assign(move, args, result)
        self.notice()
        self.machine.outbox.work.clear()
        self.machine.outbox.woken.clear()
        return memory

    def _next_time(self) -> int:
        """Return a time before the next limit."""
        limits = self.limits(self.now)
        gap = int(limits[0][0]) - self.now if limits else 2 * TICK
        return self.now + min(TICK, gap // 2)

    def _arguments(self, move: Move) -> tuple[Any, ...]:
        subject: Any = None
        if isinstance(move.on, str):
            subject = self.got[move.on]
        elif move.on is not None:
            subject = self.named[move.on]
        args: tuple[Any, ...] = () if subject is None else (subject,)
        if move.action == "CreateSucceeded":
            # No two resources expire at the same time.
            return (*args, move.on, self.now, self.now + move.age + 7 ** int(move.on or 0))
        if move.action == "CreateFailed":
            return (*args, ValueError("model"))
        if move.action == "Timeout" and isinstance(subject, Waiter):
            return (*args, TimeoutError("model"))
        if move.action in WITH_TIME or move.action == "Sweep":
            return (*args, self.now)
        return args

    def _check_outputs(self, move: Move, memory: guarantees.Before, result: Any) -> None:
        """Compare the answer and the effects of a step with its changes."""
        predicates = (*OUTPUTS, *STEP_OUTPUTS.get(move.action, ()))
        wrong = [p.__name__ for p in predicates if not p(self.machine, memory, result)]
        if wrong:
            raise OutputError(f"{move}: {' and '.join(wrong)} does not hold")
        for r, mark in list(self.lease_marks.items()):
            slot = self.named[r]
            if slot.state is SlotState.HELD:
                if slot.context is not mark:
                    raise OutputError(f"{move}: slot {r} is held but has lost its lease mark")
            else:
                if slot.context is not None:
                    raise OutputError(f"{move}: slot {r} is not held but keeps its lease mark")
                del self.lease_marks[r]

    def _assign(self, move: Move, args: tuple[Any, ...], result: Any) -> None:
        """Record the slot or waiter that a task has after a step."""
        if isinstance(move.on, str):
            task: str | None = move.on
        else:
            task = self.owner_of(args[0]) if args else None
        if task is None:
            return
        if move.action in ("Acquire", "Resume", "CheckPassed", "CheckFailed"):
            self.got[task] = result
            if isinstance(result, Slot) and result.state is SlotState.HELD:
                r = next(r for r, slot in self.named.items() if slot is result)
                result.context = self.lease_marks[r] = f"context of {task}"
        elif move.action == "Release" and args[0].state is SlotState.RESETTING:
            pass  # the task has the slot until the reset ends
        else:
            self.got[task] = None


OUTPUTS: tuple[Callable[..., bool], ...] = (
    guarantees.creations_are_asked_for,
    guarantees.closed_exactly_once,
    guarantees.decided_are_woken,
    guarantees.action_counted,
    guarantees.leases_last,
)
STEP_OUTPUTS: dict[str, tuple[Callable[..., bool], ...]] = {
    "Release": (guarantees.release_answers, guarantees.lease_is_over),
    "Discard": (guarantees.lease_is_over,),
    "Detach": (guarantees.lease_is_over,),
    "CreateSucceeded": (guarantees.age_is_kept,),
    "CreateFailed": (guarantees.failure_is_reported,),
    "Sweep": (guarantees.sweep_answers,),
    "RetireAll": (guarantees.all_retired,),
    "Close": (guarantees.waiters_fail_at_close,),
    "Terminate": (guarantees.waiters_fail_at_close,),
}

Edges = frozenset[tuple[str, State]]
Key = Callable[[World, State], Any]


def by_order(world: World, state: State) -> Any:
    """Distinguish worlds by their state, and by the order and the distance of the next limits."""
    limits = tuple(
        (action, r, bisect(DISTANCES, time - world.now))
        for time, action, r in world.limits(world.now)
    )
    return state, limits


def by_contents(world: World, state: State) -> Any:
    """Distinguish worlds by everything that the machine keeps, removed entries included."""
    return state, world.contents(world.now)


class Step(NamedTuple):
    """One expanded world: its state and the edges that leave it."""

    state: State
    edges: Edges


def walk(
    constants: Mapping[str, Any],
    machine: type[PoolMachine[int]] = PoolMachine,
    key: Key = by_order,
) -> Iterator[Step]:
    """Yield each world that the machine can reach, breadth first, with the edges that leave it."""
    orders = (False, True) if constants["Idles"] and constants["CheckSkips"] else (False,)
    starts = [World(constants, machine, trust_outlasts_idleness=order) for order in orders]
    known: set[Any] = set()
    compared: set[State] = set()
    todo: deque[bytes] = deque()
    for number, start in enumerate(starts):
        known.add((number, key(start, start.state(start.now))))
        todo.append(pickle.dumps((number, start)))
    while todo:
        blob = todo.popleft()
        number, world = pickle.loads(blob)
        state, time = world.state(world.now), world.now
        # The state alone decides which steps are refused, so one world of each state is enough.
        contents = None if state in compared else world_contents(world)
        compared.add(state)
        edges: set[tuple[str, State]] = set()
        for move in list(world.moves()):
            try:
                world.make(move)
            except ResourcePoolError as error:
                world.now = time
                if contents is not None and world_contents(world) != contents:
                    raise RefusalError(f"{move} was refused but changed {state}") from error
                continue
            after = world.state(world.now)
            if after != state:
                edges.add((move.action, after))
            found = (number, key(world, after))
            if found not in known:
                known.add(found)
                todo.append(pickle.dumps((number, world)))
            number, world = pickle.loads(blob)
        yield Step(state, frozenset(edges))


def world_contents(world: World) -> Any:
    """List everything except the count of refused acquires, which a refused step may raise."""
    return world.contents(world.now), world.machine.statistics() | {"rejected": 0}


class Comparison(NamedTuple):
    """The result of a walk."""

    states: int  # of the graph
    edges: int  # of the graph
    worlds: int  # that the walk expanded
    unvisited: int  # states that no clock leads to
    untaken: int  # edges on which time passes that no clock takes
    problem: str = ""


def compare(
    graph: Graph, machine: type[PoolMachine[int]] = PoolMachine, key: Key = by_order
) -> Comparison:
    """Walk the machine and compare with the specification's graph.

    Every edge of every world must be in the graph. In each state that the walk visits, the worlds
    together must have every edge of the graph on which a step is taken. Edges on which time passes
    may be missing, because a clock does not let limits pass in every order.
    """
    taken: dict[State, set[tuple[str, State]]] = {}
    came_from: dict[State, tuple[State, str]] = {}
    worlds = 0

    def numbers(problem: str = "") -> Comparison:
        unvisited = len(graph.edges) - len(taken)
        missing = [e for s, found in taken.items() for e in graph.edges[s] - found]
        untaken = sum(action in TIME for action, _ in missing)
        return Comparison(len(graph.edges), graph.steps, worlds, unvisited, untaken, problem)

    for state, edges in walk(graph.constants, machine, key):
        if not worlds and state != graph.initial:
            return numbers(f"the machine starts in {state}, the specification in {graph.initial}")
        worlds += 1
        if extra := edges - graph.edges[state]:
            direction = "the machine allows, the specification does not"
            return numbers(_difference(direction, state, extra, came_from))
        taken.setdefault(state, set()).update(edges)
        for action, to in edges:
            if to not in came_from and to != graph.initial:
                came_from[to] = state, action
    for state, found in taken.items():
        missing = frozenset(e for e in graph.edges[state] - found if e[0] not in TIME)
        if missing:
            direction = "the specification allows, the machine does not"
            return numbers(_difference(direction, state, missing, came_from))
    return numbers()


def _difference(
    direction: str, state: State, extra: Edges, came_from: dict[State, tuple[State, str]]
) -> str:
    """Describe an edge that only one side has, with a shortest path to it."""
    action, to = min(extra, key=lambda edge: (edge[0], encode(edge[1])))
    path = [action]
    start = state
    while start in came_from:
        start, step = came_from[start]
        path.append(step)
    return (
        f"{direction}: {' -> '.join(reversed(path))}\n"
        f"  from {state}\n  to   {to}\n  ({len(extra)} such edges leave this state)"
    )
