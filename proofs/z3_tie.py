"""Comparison of the formulas of ``z3_identities`` with the specification's graphs.

    python -m proofs.z3_tie         every edge of every graph, many points: some minutes

TLC enumerated the frozen graphs, and ``tests/spec`` compares the machine with them. A `Point` is a
state of such a graph as far as the formulas speak of it. Slots are resources, because no name is
above MaxSize. The comparison has two directions:

* Each edge, as a step between points, satisfies the formula of its action.
* From a point, the formulas and the counting model together allow what the graph allows from some
  state with that point, and nothing else. The lowest free names are taken first.
"""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.counts import (
    Counts,
    Event,
    Floor,
    Limits,
    Phase,
    allowed,
    transition,
)
from nodetool.concurrency._machine.guarantees import EVENTS
from nodetool.concurrency.verify import _graph as graph
from nodetool.concurrency.verify._graph import MODELS, Graph
from nodetool.concurrency.verify._walk import TIME
from proofs.result import Result
from proofs.z3_identities import Actions, Choices
from proofs.z3_state import (
    PHASES,
    PLACES,
    TASKS,
    Formula,
    State,
    Universe,
)

__all__ = ["GRAPHS", "Point", "Tie", "check_edges", "check_points", "points_of"]

P = TypeVar("P")

GRAPHS = (*MODELS, "Doubtful")

PHASE_NAMES = ("open", "closing", "closed")
PLACE_NAMES = ("free", "creating", "idle", "inUse", "closing")
TASK_NAMES = ("out", "waiting", "handed", "checking", "holding", "resetting")


class Point(NamedTuple):
    """A state of a graph, as far as the formulas speak of it. Slots and tasks are numbered."""

    phase: str
    place: tuple[str, ...]
    task: tuple[str, ...]
    lease: tuple[int | None, ...]
    retired: frozenset[int]

    @classmethod
    def of(cls, state: graph.State, slots: int) -> Point:
        """Make the point of a state."""
        if any(place != "free" for place in state.place[slots:]):
            raise ValueError(f"a resource above MaxSize: {state}")
        lease = tuple(r - 1 if r else None for r in state.lease)
        retired = frozenset(r - 1 for r in state.retired)
        return cls(state.phase, state.place[:slots], state.task, lease, retired)

    def counts(self, floor: Floor) -> Counts:
        """Count what the counting model counts."""
        creating, idle, in_use, closing = (self.place.count(name) for name in PLACE_NAMES[1:])
        return Counts(
            creating=creating,
            retired_creations=sum(self.place[r] == "creating" for r in self.retired),
            idle=idle,
            in_use=in_use,
            closing=closing,
            waiting=self.task.count("waiting"),
            phase=Phase(self.phase),
            floor=floor,
        )


Edge = tuple[str, Point, Floor]  # an action, and where it leads to


def points_of(frozen: Graph) -> dict[tuple[Point, Floor], set[Edge]]:
    """Join the states of a graph that have the same point and the same upkeep."""
    slots = int(str(frozen.constants["MaxSize"]))
    point = {state: (Point.of(state, slots), Floor(state.floor)) for state in frozen.edges}
    found: dict[tuple[Point, Floor], set[Edge]] = defaultdict(set)
    for state, leaving in frozen.edges.items():
        found[point[state]] |= {(action, *point[to]) for action, to in leaving}
    return found


class Tie:
    """A solver with the formulas, for as many tasks and slots as a graph has."""

    def __init__(self, frozen: Graph, actions: type[Actions] = Actions) -> None:
        names = ("MaxSize", "MinSize", "MaxCreating", "MaxWaiting")
        self.limits = Limits(*(int(str(frozen.constants[name])) for name in names))
        tasks = frozen.constants["Tasks"]
        assert isinstance(tasks, tuple)
        self.universe = Universe.of(len(tasks), self.limits.max_size)
        self.now, self.then = State.named(self.universe), State.named(self.universe, "'")
        choices = Choices.named(self.universe)
        self.solver = z3.Solver()
        for name in ("Checks", "Resets", "Retires", "Leaves"):
            self.solver.add(getattr(choices, name.lower()) == frozen.constants[name])
        if not frozen.constants["Ages"]:  # so no resource is too old, and none is overdue for age
            self.solver.add(choices.fit)
            if not frozen.constants["Idles"]:
                self.solver.add([z3.Not(choices.swept(s)) for s in self.universe.slots])
        self.chosen = {name: z3.Bool(f"the action is {name}") for name in EVENTS}
        for name, step in actions(self.universe, self.now, choices).named().items():
            formula = z3.And(step.guard, self._equal(self.then, step.after))
            self.solver.add(z3.Implies(self.chosen[name], formula))

    def _equal(self, x: State, y: State) -> Formula:
        tasks, slots = self.universe.tasks, self.universe.slots
        return z3.And(
            x.phase == y.phase,
            *(x.place(s) == y.place(s) for s in slots),
            *(x.retired(s) == y.retired(s) for s in slots),
            *(x.task(t) == y.task(t) for t in tasks),
            *(x.owns(t, s) == y.owns(t, s) for t in tasks for s in slots),
        )

    def _is(self, x: State, point: Point) -> list[Formula]:
        tasks, slots = self.universe.tasks, self.universe.slots
        found = [x.phase == PHASES[PHASE_NAMES.index(point.phase)]]
        for n, s in enumerate(slots):
            found.append(x.place(s) == PLACES[PLACE_NAMES.index(point.place[n])])
            found.append(x.retired(s) == (n in point.retired))
        for m, t in enumerate(tasks):
            found.append(x.task(t) == TASKS[TASK_NAMES.index(point.task[m])])
            found += [x.owns(t, s) == (point.lease[m] == n) for n, s in enumerate(slots)]
        return found

    @contextmanager
    def at(self, start: Point) -> Iterator[None]:
        """Ask about steps from this point."""
        self.solver.push()
        self.solver.add(self._is(self.now, start))
        yield
        self.solver.pop()

    def allows(self, action: str, end: Point) -> bool:
        """Tell whether the action's formula allows the step to this point."""
        return self._possible(self.chosen[action], *self._is(self.then, end))

    def _possible(self, *assumed: Formula) -> bool:
        answer = self.solver.check(*assumed)
        if answer == z3.unknown:
            raise RuntimeError(f"Z3 does not know: {self.solver.reason_unknown()}")
        return bool(answer == z3.sat)

    def successors(self, action: str) -> Iterator[Point]:
        """List all points that the action's formula leads to."""
        self.solver.push()
        while self._possible(self.chosen[action]):
            found = self._read(self.solver.model())
            yield found
            self.solver.add(z3.Not(z3.And(self._is(self.then, found))))
        self.solver.pop()

    def _read(self, model: z3.ModelRef) -> Point:
        def value(term: Formula) -> str:
            return str(model.eval(term, model_completion=True))

        y, tasks, slots = self.then, self.universe.tasks, self.universe.slots
        place = {str(term): name for term, name in zip(PLACES, PLACE_NAMES, strict=True)}
        lease = [
            next((n for n, s in enumerate(slots) if value(y.owns(t, s)) == "True"), None)
            for t in tasks
        ]
        return Point(
            value(y.phase),
            tuple(place[value(y.place(s))] for s in slots),
            tuple(value(y.task(t)) for t in tasks),
            tuple(lease),
            frozenset(n for n, s in enumerate(slots) if value(y.retired(s)) == "True"),
        )

    def edges(self, start: Point, floor: Floor) -> set[Edge]:
        """List the edges that formulas and counting model allow together."""
        c = start.counts(floor)
        found = set()
        with self.at(start):
            for action, events in EVENTS.items():
                numbers = set(self._numbers(c, events))
                for end in self.successors(action) if numbers else ():
                    found |= {(action, end, n.floor) for n in numbers if end.counts(n.floor) == n}
        return found

    def _numbers(self, c: Counts, events: Iterable[Event | None]) -> Iterator[Counts]:
        for event in events:
            if event is None:
                yield c
                continue
            for k in range(max(c.idle, c.in_use) + 1):
                if allowed(self.limits, c, event, k):
                    yield transition(self.limits, c, event, k)


def check_edges(name: str, sample: int | None = None, actions: type[Actions] = Actions) -> Result:
    """Check that each edge of a graph, or of a sample, satisfies the formula of its action."""
    begin = time.perf_counter()
    frozen = Graph.frozen(name)
    tie = Tie(frozen, actions)
    points = points_of(frozen)
    steps: dict[Point, set[tuple[str, Point]]] = defaultdict(set)
    for (start, _), leaving in points.items():
        steps[start] |= {(action, end) for action, end, _ in leaving}
    starts = _sampled(steps, sample)
    checked, wrong = 0, ""
    for start in starts:
        with tie.at(start):
            for action, end in steps[start]:
                checked += 1
                good = start == end if action in TIME else tie.allows(action, end)
                if not good:
                    wrong = f"{name}: {action} is not allowed: {start} -> {end}"
        if wrong:
            break
    total = sum(map(len, steps.values()))
    figure = f"{name}: {checked:,} of {total:,} steps between points ({frozen.steps:,} edges)"
    seconds = time.perf_counter() - begin
    return Result(
        "Z3 identities", "each satisfies its action's formula", wrong or figure, not wrong, seconds
    )


def _sampled(points: Collection[P], sample: int | None) -> list[P]:
    chosen = list(points)
    return chosen if sample is None else random.Random(0).sample(chosen, min(sample, len(chosen)))


def check_points(name: str, sample: int | None = None, actions: type[Actions] = Actions) -> Result:
    """Check that the formulas allow nothing else from the points of a graph, or of a sample."""
    begin = time.perf_counter()
    frozen = Graph.frozen(name)
    tie = Tie(frozen, actions)
    points = points_of(frozen)
    chosen = _sampled(points, sample)
    compared, wrong = 0, ""
    for start, floor in chosen:
        known = {edge for edge in points[start, floor] if edge[0] not in TIME}
        found = tie.edges(start, floor)
        compared += len(found)
        # Steps within a point do not count, because some of them change order, age or trust.
        differ = {edge for edge in known ^ found if edge[1:] != (start, floor)}
        if differ:
            edge = min(differ, key=str)
            side = "graph allows" if edge in known else "formulas allow"
            wrong = f"{name}: only the {side}: {edge[0]} {start} {floor} -> {edge[1:]}"
            break
    figure = f"{name}: {compared:,} successors of {len(chosen):,} of {len(points):,} points"
    seconds = time.perf_counter() - begin
    return Result(
        "Z3 identities", "the formulas allow nothing else", wrong or figure, not wrong, seconds
    )


def main() -> int:
    ok = True
    for name in GRAPHS:
        for result in (check_edges(name), check_points(name, 300)):
            print(result, flush=True)
            ok = ok and result.ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
