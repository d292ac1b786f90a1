"""Comparison of the formulas of ``z3_steps`` with the specification's graphs.

    python -m proofs.z3_tie         samples of the large graphs: some minutes

TLC enumerated the frozen graphs, and ``graph_walks`` compares the machine with them. The comparison
here has two directions:

* Each edge satisfies the formula of its action.
* The formulas and the counting rules together allow the edges that leave a state and no others.
  A step that changes nothing is no edge.

The state of a graph has numbers that the formulas do not have. The counting rules add them: they
say to which numbers an action can lead, and how many idle slots may be pruned.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import permutations, product
from typing import Any, TypeVar

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine import counts as rules
from nodetool.concurrency._machine.counts import Counts, Event, Floor, Limits, Phase
from nodetool.concurrency.verify import _graph as graph
from nodetool.concurrency.verify._graph import FROZEN, Graph, limits_of
from nodetool.concurrency.verify._walk import Edge
from proofs.result import Result
from proofs.z3_state import (
    HANDED,
    IDLE,
    PHASE_NAMES,
    PHASES,
    PLACE_NAMES,
    PLACES,
    TASK_NAMES,
    TASKS,
    WAITING,
    Formula,
    State,
    Term,
    Universe,
)
from proofs.z3_steps import Actions, Choices

__all__ = ["EVENTS", "GRAPHS", "SMALL", "Relation", "Tie", "check", "check_edges", "check_states"]

CHECKER = "Z3 identities"

GRAPHS = FROZEN

SMALL = ("SingleChecked", "Lowering")
"""The graphs whose states and edges are all compared. Of the others a sample is."""

P = TypeVar("P")

Condition = Callable[[State, Choices], Formula]


def always(x: State, c: Choices) -> Formula:
    return z3.BoolVal(True)


def is_retired(x: State, c: Choices) -> Formula:
    return x.retired(c.r)


def is_current(x: State, c: Choices) -> Formula:
    return z3.Not(x.retired(c.r))


def is_expired(x: State, c: Choices) -> Formula:
    return z3.And(is_current(x, c), z3.Not(x.fit(c.r)))


def is_fit(x: State, c: Choices) -> Formula:
    return x.fit(c.r)


def is_unfit(x: State, c: Choices) -> Formula:
    return z3.Not(x.fit(c.r))


def is_waiting(x: State, c: Choices) -> Formula:
    return x.does(c.t, WAITING)


def not_waiting(condition: Condition) -> Condition:
    return lambda x, c: z3.And(z3.Not(is_waiting(x, c)), condition(x, c))


def no_reset(condition: Condition) -> Condition:
    return lambda x, c: z3.And(z3.Not(c.resets), condition(x, c))


EVENTS: dict[str, dict[Event | None, Condition]] = {
    "Acquire": {Event.ACQUIRE: always},
    "Resume": {None: is_current, Event.DISCARD: is_retired, Event.REQUEUE: is_retired},
    "Timeout": {Event.LEAVE: always},
    "Cancel": {
        Event.LEAVE: is_waiting,
        Event.RETURN: not_waiting(is_fit),
        Event.DISCARD: not_waiting(is_unfit),
    },
    "Release": {
        Event.RESET: lambda _, c: c.resets,
        Event.RETURN: no_reset(is_fit),
        Event.DISCARD: no_reset(is_unfit),
    },
    "Discard": {Event.DISCARD: always},
    "Detach": {Event.DETACH: always},
    "CreateSucceeded": {
        Event.CREATE_SUCCEEDED: is_current,
        Event.RETIRED_CREATE_SUCCEEDED: is_retired,
    },
    "CreateFailed": {Event.CREATE_FAILED: is_current, Event.RETIRED_CREATE_FAILED: is_retired},
    "CreateLate": {Event.CREATE_LATE: always},
    "CheckPassed": {
        Event.CHECK_PASSED: is_fit,
        Event.CHECK_UNFIT: is_expired,
        Event.RETIRED_CHECK_UNFIT: is_retired,
    },
    "CheckFailed": {Event.CHECK_FAILED: is_current, Event.RETIRED_CHECK_FAILED: is_retired},
    "ResetPassed": {Event.RESET_PASSED: is_fit, Event.RESET_UNFIT: is_unfit},
    "ResetFailed": {Event.RESET_UNFIT: always},
    "CloserEnded": {Event.CLOSER_ENDED: always},
    "Open": {Event.OPEN: always},
    "Sweep": {Event.SWEEP: always},
    "RetryFloor": {Event.RETRY_FLOOR: always},
    "Resize": {Event.RESIZE: always},
    "RetireAll": {Event.RETIRE_ALL: always},
    "Close": {Event.CLOSE: always},
    "Terminate": {Event.TERMINATE: always},
    "GrowOld": {None: always},
    "GrowStale": {None: always},
    "TrustExpires": {Event.TRUST_EXPIRES: always},
}
"""The event of the counting rules that each action is, under which condition. None: no change."""


def is_before(x: State, tasks: tuple[Term, Term]) -> Formula:
    """Say that two tasks are under way, in this order."""
    both = z3.And([x.does(t, WAITING, HANDED) for t in tasks])
    return z3.And(both, x.ticket(tasks[0]) < x.ticket(tasks[1]))


def is_idle_before(x: State, slots: tuple[Term, Term]) -> Formula:
    """Say that two slots are idle, in this order."""
    return z3.And([x.place(r) == IDLE for r in slots] + [x.rank(slots[0]) < x.rank(slots[1])])


def terms_of(u: Universe, x: State) -> list[Term]:
    """List the terms that say all of a state. Of tickets and ranks they say only the order."""
    return [
        x.phase,
        *(x.place(r) for r in u.slots),
        *(x.task(t) for t in u.tasks),
        *(x.owns(t, r) for t in u.tasks for r in u.slots),
        *(is_before(x, pair) for pair in permutations(u.tasks, 2)),
        *(is_idle_before(x, pair) for pair in permutations(u.slots, 2)),
        *(known(r) for known in (x.old, x.stale, x.trusted, x.retired) for r in u.slots),
    ]


def in_order(line: Sequence[Any], all_of_them: Sequence[Any]) -> Iterator[bool]:
    """Tell of each pair whether both are in a line, in this order."""
    at = {one: place for place, one in enumerate(line)}
    for a, b in permutations(all_of_them, 2):
        yield a in at and b in at and at[a] < at[b]


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

    def __init__(self, constants: Mapping[str, Any], actions: type[Actions] = Actions) -> None:
        self.tasks = tuple(sorted(constants["Tasks"]))
        self.resources = tuple(sorted(constants["Resources"]))
        self.limits = Limits(constants["MaxCreating"], constants["MaxWaiting"])
        self.sizes = limits_of(constants)
        self.checks = constants["Checks"]
        u = self.universe = Universe.of(len(self.tasks), len(self.resources))
        self.now = State.named(u)
        self.choices = Choices.named(u)
        options = self.choices.options.items()
        steps = actions(u, self.now, self.choices).named().items()
        self._relation = Relation(
            [*terms_of(u, self.now), *self._order(self.now)],
            terms_of(u, State.named(u, "'")),
            {name: (step.guard, terms_of(u, step.after)) for name, step in steps},
            *(option == constants[name] for name, option in options),
        )

    def _order(self, x: State) -> list[Term]:
        u = self.universe
        return [*map(x.ticket, u.tasks), x.tickets, *map(x.rank, u.slots), x.ranks]

    def _values(self, s: graph.State) -> list[Any]:
        """List the values of the terms that `terms_of` lists."""
        marks = (s.old, s.stale, s.trusted, s.retired)
        return [
            PHASES[PHASE_NAMES.index(s.phase)],
            *(PLACES[PLACE_NAMES.index(place)] for place in s.place),
            *(TASKS[TASK_NAMES.index(task)] for task in s.task),
            *(lease == r for lease in s.lease for r in self.resources),
            *in_order(s.queue, self.tasks),
            *in_order(s.idle, self.resources),
            *(r in those for those in marks for r in self.resources),
        ]

    def _start(self, s: graph.State) -> list[Any]:
        """List the same, and the tickets and ranks: they are the places in the two orders."""
        queue, idle = (dict(zip(line, range(9), strict=False)) for line in (s.queue, s.idle))
        return [
            *self._values(s),
            *(queue.get(t, 0) for t in self.tasks),
            len(queue),
            *(idle.get(r, 0) for r in self.resources),
            len(idle),
        ]

    def _read(self, values: Sequence[Term], n: Counts) -> graph.State:
        """Make a state from the values of the terms that `terms_of` lists, and from its numbers."""
        rest = iter([str(value) for value in values])

        def chosen(among: Iterable[Any]) -> list[Any]:
            return [one for one in among if next(rest) == "True"]

        def sorted_by(pairs: list[tuple[Any, Any]], line: Iterable[Any]) -> tuple[Any, ...]:
            return tuple(sorted(line, key=lambda one: sum(one == later for _, later in pairs)))

        phase = next(rest)
        place = {r: next(rest).removeprefix("at ") for r in self.resources}
        task = {t: next(rest).removeprefix("is ") for t in self.tasks}
        lease = tuple(sum(chosen(self.resources)) for _ in self.tasks)
        came, rested = (chosen(permutations(line, 2)) for line in (self.tasks, self.resources))
        under_way = [t for t, doing in task.items() if doing in ("waiting", "handed")]
        idle = [r for r, at in place.items() if at == "idle"]
        old, stale, trusted, retired = (frozenset(chosen(self.resources)) for _ in range(4))
        return graph.State(
            phase=phase,
            floor=n.floor.value,
            place=tuple(place.values()),
            task=tuple(task.values()),
            lease=lease,
            queue=sorted_by(came, under_way),
            idle=sorted_by(rested, idle),
            old=old,
            stale=stale,
            trusted=trusted,
            retired=retired,
            disowned=n.disowned,
            max_size=n.max_size,
            min_size=n.min_size,
        )

    # Numbers.

    def counts(self, s: graph.State) -> Counts:
        """Count what the counting model counts."""
        at = Counter(s.place)
        retired = Counter(s.place[r - 1] for r in s.retired)
        ready = sum(not self.checks or r in s.trusted for r in s.idle)
        return Counts(
            creating=at["creating"],
            retired_creations=retired["creating"],
            checking=at["checking"],
            retired_checks=retired["checking"],
            ready=ready,
            unchecked=len(s.idle) - ready,
            in_use=at["inUse"],
            resetting=at["resetting"],
            closing=at["closing"],
            waiting=s.task.count("waiting"),
            disowned=s.disowned,
            max_size=s.max_size,
            min_size=s.min_size,
            phase=Phase(s.phase),
            floor=Floor(s.floor),
        )

    def _outcomes(self, c: Counts, event: Event | None) -> set[Counts]:
        """Return the numbers to which an event can lead."""
        if event is None:
            return {c}
        most = max(1, c.ready, c.in_use)
        choices = [*product(range(most + 1), range(c.unchecked + 1), (0,))]
        if event is Event.RESIZE:
            choices = [(*sizes, k) for sizes in self.sizes for k in range(c.ready + 1)]
        return {
            rules.transition(self.limits, c, event, *choice)
            for choice in choices
            if rules.allowed(self.limits, c, event, *choice)
        }

    def _decided(self, s: graph.State, action: str) -> list[Formula]:
        """Say what the rules decide: what exceeds the limit, and how many slots are pruned."""
        c = self.counts(s)
        exceeds = self.choices.exceeds == rules.is_surplus(c)
        aged = s.old & set(s.idle)
        young = [place for place, r in enumerate(s.idle) if r not in aged]
        if action == "Resume":  # the resource was retired, and is closed first
            c = c._replace(in_use=c.in_use - 1, closing=c.closing + 1)
        left = c._replace(ready=len(young), unchecked=0, closing=c.closing + len(aged))
        spare = rules.prunable(left)
        last = young[spare] if spare < len(young) else len(s.idle)
        return [exceeds, self.choices.spare == last]

    # Questions.

    def forbidden(self, start: graph.State, edges: Iterable[Edge]) -> Iterator[Edge]:
        """List the edges that do not satisfy the formulas of their actions."""
        with self._relation.at(self._start(start)):
            for action, end in edges:
                if not self._relation.allows(action, self._values(end)):
                    yield action, end

    def edges(self, start: graph.State) -> set[Edge]:
        """List the edges that the formulas and the counting rules allow together."""
        with self._relation.at(self._start(start)):
            found = {(action, end) for action in EVENTS for end in self._ends(start, action)}
        return {(action, end) for action, end in found if end != start}

    def _ends(self, start: graph.State, action: str) -> Iterator[graph.State]:
        c = self.counts(start)
        for event, condition in EVENTS[action].items():
            if not (outcomes := self._outcomes(c, event)):
                continue
            assumed = [*self._decided(start, action), condition(self.now, self.choices)]
            for values in self._relation.successors(action, *assumed):
                for n in outcomes:
                    end = self._read(values, n)
                    if self.counts(end) == n:
                        yield end


def sampled(points: Collection[P], sample: int | None) -> list[P]:
    """Choose so many, always the same ones. Without a number, choose all."""
    chosen = list(points)
    return chosen if sample is None else random.Random(0).sample(chosen, min(sample, len(chosen)))


def check_edges(name: str, sample: int | None = None, actions: type[Actions] = Actions) -> Result:
    """Check that each edge of a graph, or from a sample of states, satisfies its formula."""
    begin = time.perf_counter()
    frozen = Graph.frozen(name)
    tie = Tie(frozen.constants, actions)
    checked, wrong = 0, ""
    for start in sampled(frozen.edges, sample):
        checked += len(frozen.edges[start])
        for action, end in tie.forbidden(start, frozen.edges[start]):
            wrong = wrong or f"{name}: {action} is not allowed: {start} -> {end}"
        if wrong:
            break
    figure = wrong or f"{name}: {checked:,} of {frozen.steps:,} edges"
    seconds = time.perf_counter() - begin
    return Result(CHECKER, "each satisfies its action's formula", figure, not wrong, seconds)


def check_states(name: str, sample: int | None = None, actions: type[Actions] = Actions) -> Result:
    """Check that the formulas allow no other edges from the states of a graph, or of a sample."""
    begin = time.perf_counter()
    frozen = Graph.frozen(name)
    tie = Tie(frozen.constants, actions)
    compared, wrong = 0, ""
    chosen = sampled(frozen.edges, sample)
    for start in chosen:
        known, found = frozen.edges[start], tie.edges(start)
        compared += len(found)
        if known != found:
            action, end = min(known ^ found, key=str)
            side = "graph allows" if (action, end) in known else "formulas allow"
            wrong = f"{name}: only the {side}: {action} {start} -> {end}"
            break
    figure = f"{name}: {compared:,} edges from {len(chosen):,} of {len(frozen.edges):,} states"
    seconds = time.perf_counter() - begin
    return Result(CHECKER, "the formulas allow no other", wrong or figure, not wrong, seconds)


def check(sample: int | None, names: Iterable[str] = GRAPHS) -> Iterator[Result]:
    """Compare the formulas with each graph: with all of it, or with a sample if it is large."""
    for name in names:
        states = None if name in SMALL else sample
        yield check_edges(name, states)
        yield check_states(name, states)


def main() -> int:
    """Compare the formulas with the graphs, and print the results."""
    ok = True
    for result in check(100):
        print(result, flush=True)
        ok = ok and result.ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
