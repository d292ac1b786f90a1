"""Walk the real machine through every state that it can reach, as a graph of the specification.

A `World` is a machine together with what surrounds it: tasks with what they got from it, names
for its records (the lowest free one as a creation starts), and time, which stands still unless
the environment's actions let one limit pass. `World.read` says which state of
``AsyncResourcePool.tla`` that is; `walk` tries, in each state, every step on everything it could
be called with. A step that is refused must leave the machine as it was, to the last byte.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from heapq import heapify, heappush
from typing import Any

from nodetool.concurrency._counts import Limits, Phase
from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._guarantees import IN_USE
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place, Record, Waiter

from ._graph import Graph, State
from ._reading import Reading

NOW, IDLE_LIMIT, AGE_LIMIT, CHECK_LIMIT = 0.0, 1000.0, 2000.0, 3000.0
PAST = NOW  # a limit that has just passed: the moment itself counts

Move = tuple[str, Any]


class World(Reading):
    """One machine, its tasks, and the names of its records."""

    def __init__(
        self, constants: Mapping[str, Any], machine: type[PoolMachine[int]] = PoolMachine
    ) -> None:
        c = constants
        super().__init__(
            machine(
                "model",
                Limits(c["MaxSize"], c["MinSize"], c["MaxCreating"], c["MaxWaiting"]),
                max_idle_time=IDLE_LIMIT if c["Idles"] else float("inf"),
                check_after_idle=(CHECK_LIMIT if c["CheckSkips"] else 0.0) if c["Checks"] else None,
                resets=c["Resets"],
            ),
            tuple(sorted(c["Tasks"])),
            tuple(sorted(c["Resources"])),
        )
        self.ages, self.retires, self.leaves = c["Ages"], c["Retires"], c["Leaves"]
        self.check_skips = c["CheckSkips"]
        self.idles: bool = c["Idles"]
        self.passed = 0  # limits that have passed

    # Moves: the name of an action, and the task or record that it is tried on.

    def moves(self) -> Iterator[Move]:
        """Everything that could be called now, allowed or not."""
        for t, got in self.got.items():
            if got is None:
                yield "Acquire", t
            elif isinstance(got, Waiter):
                yield from ((action, t) for action in ("Resume", "Timeout", "Cancel"))
        for r in self.named:
            left_out = () if self.leaves else ("Discard", "Detach")
            yield from ((action, r) for action in ON_RECORD if action not in left_out)
        yield from ((action, None) for action in ("Open", "Sweep", "RetryFloor", "Close"))
        if self.retires:
            yield "RetireAll", None
        if self.leaves:
            yield "Terminate", None
        yield from ((action, r) for action in ("GrowOld", "GrowStale", "Doubt") for r in self.named)

    def make(self, move: Move) -> None:
        """Make one move; raises the machine's error if it refuses."""
        action, on = move
        if action in ENVIRONMENT:
            ENVIRONMENT[action](self, on)
        else:
            self._step(action, on)
            self._notice()

    def _step(self, action: str, on: Any) -> None:
        machine = self.machine
        if isinstance(on, str):
            got: Any = self.got[on]
            if action == "Acquire":
                self.got[on] = machine.acquire(NOW)
            elif action == "Resume":
                self.got[on] = machine.resume(got, NOW)
            else:
                ON_TASK[action](machine, got)
                self.got[on] = None
        elif on is not None:
            record = self.named[on]
            owner = next((t for t, got in self.got.items() if got is record), None)
            answer = ON_RECORD[action](machine, record, self._fresh(on))
            if owner is not None:
                self.got[owner] = answer
        else:
            ON_POOL[action](machine)

    def _fresh(self, r: int) -> tuple[int, float]:
        return r, AGE_LIMIT if self.ages else float("inf")

    def _notice(self) -> None:
        self.notice()
        self.machine.work.clear()
        self.machine.woken.clear()

    # The environment: one limit passes.

    def _grow_old(self, r: int) -> None:
        record, machine = self.named[r], self.machine
        idle = record.place is Place.IDLE
        if not self.ages or not (idle or record.place in IN_USE) or machine.phase is not Phase.OPEN:
            return
        if record.generation == machine.generation and record.expires_at > NOW:
            if idle:
                self.passed += 1
                machine._ages = deque(other for other in machine._ages if other is not record)
                machine._early = [entry for entry in machine._early if entry[2] is not record]
                heapify(machine._early)
                heappush(machine._early, (PAST, -self.passed, record))
                if machine.deadline <= record.expires_at:  # only if the machine watches it
                    machine.deadline = PAST
            record.expires_at = PAST

    def _grow_stale(self, r: int) -> None:
        machine = self.machine
        fresh = [v for v in machine._shelf if v.place is Place.IDLE and v.stale_at > NOW]
        if self.idles and fresh and fresh[0] is self.named[r]:
            if machine.deadline <= fresh[0].stale_at:  # only if the machine watches it
                machine.deadline = PAST
            fresh[0].stale_at = PAST

    def _doubt(self, r: int) -> None:
        record = self.named[r]
        fit = record.generation == self.machine.generation
        if self.check_skips and fit and self.trusts(record, NOW):
            record.used_at = float("-inf")


def _release(machine: PoolMachine[int], record: Any, _: object) -> Record[int] | None:
    machine.release(record, NOW)
    return record if record.place is Place.RESETTING else None


ENVIRONMENT: dict[str, Callable[[World, int], None]] = {
    "GrowOld": World._grow_old,
    "GrowStale": World._grow_stale,
    "Doubt": World._doubt,
}
ON_TASK: dict[str, Callable[[PoolMachine[int], Any], None]] = {
    "Timeout": lambda m, waiter: m.timeout(waiter),
    "Cancel": lambda m, waiter: m.cancel(waiter, NOW),
}
ON_RECORD: dict[str, Callable[[PoolMachine[int], Any, tuple[int, float]], Any]] = {
    "CheckPassed": lambda m, record, _: m.check_passed(record, NOW),
    "CheckFailed": lambda m, record, _: m.check_failed(record, NOW),
    "Timeout": lambda m, record, _: m.timeout(record),
    "Cancel": lambda m, record, _: m.cancel(record, NOW),
    "Release": _release,
    "ResetPassed": lambda m, record, _: m.reset_passed(record, NOW),
    "ResetFailed": lambda m, record, _: m.reset_failed(record),
    "Discard": lambda m, record, _: m.discard(record),
    "Detach": lambda m, record, _: m.detach(record),
    "CreateSucceeded": lambda m, record, new: m.create_succeeded(record, new[0], NOW, new[1]),
    "CreateFailed": lambda m, record, _: _none(m.create_failed(record, ValueError("model"))),
    "CloserEnded": lambda m, record, _: m.closer_ended(record),
}
ON_POOL: dict[str, Callable[[PoolMachine[int]], Any]] = {
    "Open": lambda m: m.open(),
    "Sweep": lambda m: m.sweep(NOW),
    "RetryFloor": lambda m: m.retry_floor(),
    "RetireAll": lambda m: m.retire_all(),
    "Close": lambda m: m.close(),
    "Terminate": lambda m: m.terminate(),
}


def _none(_: object) -> None:
    return None


class RefusalError(AssertionError):
    """A refused step changed something."""


def walk(
    constants: Mapping[str, Any], machine: type[PoolMachine[int]] = PoolMachine
) -> Iterator[tuple[State, frozenset[tuple[str, State]]]]:
    """Each state that the machine can reach, breadth first, with the edges that leave it."""
    world = World(constants, machine)
    initial = world.read(NOW)
    found = {initial: pickle.dumps(world)}
    todo = deque([initial])
    while todo:
        state = todo.popleft()
        blob = found[state]
        edges = set()
        here: World = pickle.loads(blob)
        before = pickle.dumps(here)
        for move in list(here.moves()):
            try:
                here.make(move)
            except ResourcePoolError as error:
                here.machine.rejected = 0  # a refused acquire is counted, and that is all
                if pickle.dumps(here) != before:
                    raise RefusalError(f"{move} was refused but changed {state}") from error
                continue
            after = here.read(NOW)
            if after != state:
                edges.add((move[0], after))
                if after not in found:
                    found[after] = pickle.dumps(here)
                    todo.append(after)
            here = pickle.loads(blob)
        found[state] = b""
        yield state, frozenset(edges)


def explore(constants: Mapping[str, Any], machine: type[PoolMachine[int]] = PoolMachine) -> Graph:
    """The machine's whole transition graph."""
    edges = dict(walk(constants, machine))
    return Graph(next(iter(edges)), edges, dict(constants))


def first_difference(graph: Graph, machine: type[PoolMachine[int]] = PoolMachine) -> str | None:
    """Where the machine first leaves the specification's graph, or fails to follow it.

    States are compared breadth first, so the path that is shown is a shortest one.
    """
    came_from: dict[State, tuple[State, str]] = {}
    edges: frozenset[tuple[str, State]]
    seen = 0
    for state, edges in walk(graph.constants, machine):
        if not seen and state != graph.initial:
            return f"the machine starts in {state}, the specification in {graph.initial}"
        seen += 1
        wanted = graph.edges[state]  # known: every edge that led here is in the graph
        for direction, extra in (
            ("the machine allows, the specification does not", edges - wanted),
            ("the specification allows, the machine does not", wanted - edges),
        ):
            if extra:
                action, to = min(extra, key=lambda edge: (edge[0], edge[1].encode()))
                path = [action]
                start = state
                while start in came_from:
                    start, taken = came_from[start]
                    path.append(taken)
                return (
                    f"{direction}: {' -> '.join(reversed(path))}\n"
                    f"  from {state}\n  to   {to}\n  ({len(extra)} such edges leave this state)"
                )
        for action, to in edges:
            if to not in came_from and to != graph.initial:
                came_from[to] = state, action
    if seen != len(graph.edges):
        return f"the machine reaches {seen} states, the specification {len(graph.edges)}"
    return None
