"""Walk the real machine through every state that it can reach, and compare with a graph.

A `World` is a machine with its surroundings: tasks with their slots or waiters, names for the
slots, and a clock. The clock only goes forward, and the machine sees the time only as an argument
of its steps. To let a limit pass, the world sets its clock to the next limit. When a creation
succeeds, the world chooses whether the resource expires before or after the other limits.

In each state, `expand` tries every step on every subject. A refused step may change only the count
of refused acquires. After each step the outputs are compared with the changes that the step made.
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

from ._graph import Graph, State, encode, limits_of
from ._mapping import Mapping as RefinementMapping

# Times are whole numbers, so that a step can always come before the next limit.
TICK = 2**300  # between two steps, if no limit comes earlier
SHORT, LONG = 2**400, 2**500  # the limits in time that a pool has besides its ages
DISTANCES = (TICK * 2**20, SHORT, LONG)  # borders between near and far limits
SOON, BETWEEN, LATE = 2**310, 2**450, 2**600  # how long a resource may be used
TIME = ("GrowOld", "GrowStale", "TrustExpires")

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


class OutputError(AssertionError):
    """Error of a step whose answer or effects do not agree with its changes."""


class RefusalError(AssertionError):
    """Error of a refused step that changed something."""


class World(RefinementMapping):
    """One machine, its tasks, the names of its slots, and a clock."""

    def __init__(
        self, c: Mapping[str, Any], sizes: tuple[int, int], machine: type[PoolMachine[Any]]
    ) -> None:
        idle = LONG if c["Idles"] else NEVER
        trust = (SHORT if c["CheckSkips"] else 0) if c["Checks"] else None  # 0.0 would round times
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
        self.expires, self.retires, self.leaves = c["Ages"], c["Retires"], c["Leaves"]
        self.ages: list[float] = [NEVER]
        if c["Ages"]:
            self.ages = [SOON, BETWEEN, LATE] if c["Idles"] else [SOON, LATE]
        self.now = 0

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
        predicates = self.predicates(move.action)
        wrong = [p.__name__ for p in predicates if not p(self.machine, memory, result)]
        if not guarantees.ages_are_watched(self.machine):
            wrong.append("ages_are_watched")
        if wrong:
            raise OutputError(f"{move}: {' and '.join(wrong)} does not hold")
        return result

    def predicates(self, action: str) -> tuple[guarantees.StepPredicate, ...]:
        """Return the predicates that must hold after a step of this action."""
        return (*OUTPUTS, *STEP_OUTPUTS.get(action, ()))

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
    "Release": (guarantees.lease_is_over, guarantees.release_answers),
    "Discard": (guarantees.lease_is_over,),
    "Detach": (guarantees.lease_is_over,),
    "CreateSucceeded": (guarantees.age_is_kept,),
    "CreateFailed": (guarantees.failure_goes_to_the_first,),
    "CreateLate": (guarantees.failure_goes_to_the_first,),
    "Sweep": (guarantees.closings_are_listed,),
    "Resize": (guarantees.closings_are_listed,),
    "RetireAll": (guarantees.all_retired,),
    "Close": (guarantees.waiters_fail_at_close,),
    "Terminate": (guarantees.waiters_fail_at_close, guarantees.terminate_forgets),
}
"""What is no part of a state: answers, effects and statistics, for every step and for some."""


Edge = tuple[str, State]
Edges = dict[State, set[Edge]]
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


def expand(
    constants: Mapping[str, Any],
    machine: type[PoolMachine[Any]] = PoolMachine,
    kind: type[World] = World,
    key: Key = by_order,
) -> Iterator[tuple[State, set[Edge]]]:
    """Yield each world that the machine reaches, as its state and the edges that leave it.

    The worlds come breadth first. The first ones are the initial worlds, one for each pair of
    limits.
    """
    known: set[Any] = set()
    seen: set[State] = set()
    todo: deque[bytes] = deque()
    for sizes in limits_of(constants):
        world = kind(constants, sizes, machine)
        known.add(key(world, world.state(world.now)))
        todo.append(pickle.dumps(world))
    while todo:
        blob = todo.popleft()
        world = pickle.loads(blob)
        state = world.state(world.now)
        # The state alone decides which steps are refused, so one world of each state is enough.
        contents = None if state in seen else world_contents(world)
        seen.add(state)
        edges: set[Edge] = set()
        for move in list(world.moves()):
            numbers, now = world_numbers(world), world.now
            try:
                world.make(move)
            except ResourcePoolError as error:
                world.now = now
                if world_numbers(world) != numbers or (
                    contents is not None and world_contents(world) != contents
                ):
                    raise RefusalError(f"{move} was refused but changed {state}") from error
                continue
            after = world.state(world.now)
            if after != state:
                edges.add((move.action, after))
            found = key(world, after)
            if found not in known:
                known.add(found)
                todo.append(pickle.dumps(world))
            world = pickle.loads(blob)
        yield state, edges


def world_numbers(world: World) -> Any:
    """Return the numbers that a refused step must not change."""
    return world.machine.counts(), world.machine.statistics() | {"rejected": 0}


def world_contents(world: World) -> Any:
    """List everything except the count of refused acquires, which a refused step may raise."""
    return world.contents(world.now), world_numbers(world)


def walk(
    constants: Mapping[str, Any],
    machine: type[PoolMachine[Any]] = PoolMachine,
    kind: type[World] = World,
    key: Key = by_order,
) -> tuple[Edges, int]:
    """Return the edges of every state that the machine reaches, and the number of worlds."""
    found: Edges = {}
    worlds = 0
    for state, edges in expand(constants, machine, kind, key):
        found.setdefault(state, set()).update(edges)
        worlds += 1
    return found, worlds


class Comparison(NamedTuple):
    """The result of a walk."""

    states: int  # of the graph
    edges: int  # of the graph
    worlds: int  # that the walk expanded
    unvisited: int  # states that no clock leads to
    untaken: int  # edges on which time passes that no clock takes
    problem: str = ""


def compare(
    graph: Graph,
    machine: type[PoolMachine[Any]] = PoolMachine,
    kind: type[World] = World,
    key: Key = by_order,
) -> Comparison:
    """Walk the machine and compare with the specification's graph.

    Every edge of every world must be in the graph. In each state that the walk visits, the worlds
    together must have every edge of the graph on which a step is taken. Edges on which time passes
    may be missing, because a clock does not let limits pass in every order.
    """
    taken: Edges = {}
    came_from: dict[State, tuple[State, str]] = {}
    worlds = 0

    def numbers(problem: str = "") -> Comparison:
        unvisited = len(graph.edges) - len(taken)
        missing = [e for s, found in taken.items() for e in graph.edges[s] - found]
        untaken = sum(action in TIME for action, _ in missing)
        return Comparison(len(graph.edges), graph.steps, worlds, unvisited, untaken, problem)

    starts = {
        kind(graph.constants, sizes, machine).state(0) for sizes in limits_of(graph.constants)
    }
    if odd := starts.symmetric_difference(graph.starts):
        state = min(odd, key=encode)
        return numbers(f"only the {_side(state in starts)} starts in {state}")
    for state, edges in expand(graph.constants, machine, kind, key):
        worlds += 1
        if extra := edges - graph.edges[state]:
            return numbers(_difference(_side(True), state, extra, came_from))
        taken.setdefault(state, set()).update(edges)
        for action, to in edges:
            if to not in came_from and to not in starts:
                came_from[to] = state, action
    for state, found in taken.items():
        if missing := {edge for edge in graph.edges[state] - found if edge[0] not in TIME}:
            return numbers(_difference(_side(False), state, missing, came_from))
    return numbers()


def _side(is_machine: bool) -> str:
    return "machine" if is_machine else "specification"


def _difference(
    side: str, state: State, extra: set[Edge], came_from: dict[State, tuple[State, str]]
) -> str:
    """Describe an edge that only one side has, with a shortest path to it."""
    action, to = min(extra, key=lambda edge: (edge[0], encode(edge[1])))
    path = [action]
    start = state
    while start in came_from:
        start, step = came_from[start]
        path.append(step)
    return (
        f"only the {side} allows: {' -> '.join(reversed(path))}\n"
        f"  from {state}\n  to   {to}\n  ({len(extra)} such edges leave this state)"
    )
