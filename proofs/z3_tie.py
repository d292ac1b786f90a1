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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

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
    Term,
    Universe,
)

__all__ = [
    "GRAPHS",
    "Point",
    "Relation",
    "Tie",
    "check_edges",
    "check_points",
    "points_of",
    "sampled",
]

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

    def values(self) -> list[Any]:
        """List the values of the terms that `terms_of` lists."""
        slots = range(len(self.place))
        return [
            PHASES[PHASE_NAMES.index(self.phase)],
            *(PLACES[PLACE_NAMES.index(place)] for place in self.place),
            *(TASKS[TASK_NAMES.index(task)] for task in self.task),
            *(lease == n for lease in self.lease for n in slots),
            *(n in self.retired for n in slots),
        ]

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


def terms_of(u: Universe, x: State) -> list[Term]:
    """List the terms that say all of a state."""
    return [
        x.phase,
        *(x.place(s) for s in u.slots),
        *(x.task(t) for t in u.tasks),
        *(x.owns(t, s) for t in u.tasks for s in u.slots),
        *(x.retired(s) for s in u.slots),
    ]


Edge = tuple[str, Point, Floor]  # an action, and where it leads to


def points_of(frozen: Graph) -> dict[tuple[Point, Floor], set[Edge]]:
    """Join the states of a graph that have the same point and the same upkeep."""
    slots = int(str(frozen.constants["MaxSize"]))
    point = {state: (Point.of(state, slots), Floor(state.floor)) for state in frozen.edges}
    found: dict[tuple[Point, Floor], set[Edge]] = defaultdict(set)
    for state, leaving in frozen.edges.items():
        found[point[state]] |= {(action, *point[to]) for action, to in leaving}
    return found


class Relation:
    """To which values of some terms each action leads. Each action has a solver of its own."""

    def __init__(
        self,
        start: Sequence[Term],
        end: Sequence[Term],
        steps: Mapping[str, tuple[Formula, Sequence[Term]]],
        *assumed: Formula,
    ) -> None:
        self.end = end
        self._start = start
        self._solvers = {name: z3.Solver() for name in steps}
        self._values: list[Formula] = []  # the values from which steps start
        self._used: list[z3.Solver] = []  # the solvers that know these values
        for name, (guard, after) in steps.items():
            self._solvers[name].add(guard, *_equal(end, after), *assumed)

    @contextmanager
    def at(self, values: Sequence[Any]) -> Iterator[None]:
        """Ask about steps from these values."""
        self._values = _equal(self._start, values)
        yield
        while self._used:
            self._used.pop().pop()

    def _solver(self, action: str) -> z3.Solver:
        solver = self._solvers[action]
        if solver not in self._used:
            solver.push()
            solver.add(self._values)
            self._used.append(solver)
        return solver

    def allows(self, action: str, values: Sequence[Any]) -> bool:
        """Tell whether the action's formula allows the step to these values."""
        return _possible(self._solver(action), *_equal(self.end, values))

    def successors(self, action: str, *assumed: Formula) -> Iterator[list[Term]]:
        """List all values that the action's formula leads to."""
        solver = self._solver(action)
        solver.push()
        while _possible(solver, *assumed):
            model = solver.model()
            values = [model.eval(term, model_completion=True) for term in self.end]
            yield values
            solver.add(z3.Not(z3.And(_equal(self.end, values))))
        solver.pop()


def _possible(solver: z3.Solver, *assumed: Formula) -> bool:
    answer = solver.check(*assumed)
    if answer == z3.unknown:
        raise RuntimeError(f"Z3 does not know: {solver.reason_unknown()}")
    return bool(answer == z3.sat)


def _equal(terms: Sequence[Term], values: Sequence[Any]) -> list[Formula]:
    return [term == value for term, value in zip(terms, values, strict=True)]


class Tie:
    """The formulas, for as many tasks and slots as a graph has."""

    def __init__(self, frozen: Graph, actions: type[Actions] = Actions) -> None:
        limits = ("MaxSize", "MinSize", "MaxCreating", "MaxWaiting")
        self.limits = Limits(*(int(str(frozen.constants[name])) for name in limits))
        tasks = frozen.constants["Tasks"]
        assert isinstance(tasks, tuple)
        u = self.universe = Universe.of(len(tasks), self.limits.max_size)
        now, choices = State.named(u), Choices.named(u)
        steps = actions(u, now, choices).named().items()
        names = ("Checks", "Resets", "Retires", "Leaves")
        assumed = [getattr(choices, name.lower()) == frozen.constants[name] for name in names]
        if not frozen.constants["Ages"]:  # so no resource is too old, and none is overdue for age
            assumed.append(choices.fit)
            if not frozen.constants["Idles"]:
                assumed += [z3.Not(choices.swept(s)) for s in u.slots]
        self.relation = Relation(
            terms_of(u, now),
            terms_of(u, State.named(u, "'")),
            {name: (step.guard, terms_of(u, step.after)) for name, step in steps},
            *assumed,
        )

    @contextmanager
    def at(self, start: Point) -> Iterator[None]:
        """Ask about steps from this point."""
        with self.relation.at(start.values()):
            yield

    def allows(self, action: str, end: Point) -> bool:
        """Tell whether the action's formula allows the step to this point."""
        return self.relation.allows(action, end.values())

    def successors(self, action: str) -> Iterator[Point]:
        """List all points that the action's formula leads to."""
        for values in self.relation.successors(action):
            yield self._read([str(value) for value in values])

    def _read(self, values: list[str]) -> Point:
        n, m = len(self.universe.slots), len(self.universe.tasks)
        phase, places, tasks = values[0], values[1 : n + 1], values[n + 1 : n + m + 1]
        owns, retired = values[n + m + 1 : -n], values[-n:]
        rows = [owns[n * t : n * t + n] for t in range(m)]
        place = {str(term): name for term, name in zip(PLACES, PLACE_NAMES, strict=True)}
        return Point(
            phase,
            tuple(place[value] for value in places),
            tuple(tasks),
            tuple(row.index("True") if "True" in row else None for row in rows),
            frozenset(s for s, value in enumerate(retired) if value == "True"),
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
    starts = sampled(steps, sample)
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


def sampled(points: Collection[P], sample: int | None) -> list[P]:
    """Choose so many, always the same ones. Without a number, choose all."""
    chosen = list(points)
    return chosen if sample is None else random.Random(0).sample(chosen, min(sample, len(chosen)))


def check_points(name: str, sample: int | None = None, actions: type[Actions] = Actions) -> Result:
    """Check that the formulas allow nothing else from the points of a graph, or of a sample."""
    begin = time.perf_counter()
    frozen = Graph.frozen(name)
    tie = Tie(frozen, actions)
    points = points_of(frozen)
    chosen = sampled(points, sample)
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
