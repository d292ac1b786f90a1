"""Prove the counting rules of the second semantics for numbers of every size.

The proof runs ``counts.py`` itself on symbolic numbers. A comparison of symbolic numbers asks Z3
which answers are possible. If both are, the function runs once for each. So the paths together are
all behaviours of the code, and no formula has to be written beside it.

Each invariant is proved by induction: it holds at the start, and no event breaks it.

    python -m proofs.second_proof
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.counts import Floor, Phase
from nodetool.concurrency._second import counts as rules
from nodetool.concurrency._second.counts import Counts, Event, Limits

NUMBERS = Counts._fields[:-2]


class Paths:
    """The paths through a function that runs on symbolic numbers, one run for each."""

    def __init__(self) -> None:
        self.solver = z3.Solver()
        self.count = 0
        self._taken: list[bool] = []  # the answers of this run
        self._todo: list[list[bool]] = [[]]  # beginnings of runs that are still to come
        self._forced: list[bool] = []

    def explore(self, function: Callable[[], str], *assumptions: z3.BoolRef) -> Iterator[str]:
        """Run the function on every path. Yield what each run finds."""
        while self._todo:
            self._forced, self._taken = self._todo.pop(), []
            self.solver.push()
            self.solver.add(*assumptions)
            found = function()
            if found:
                self.solver.check()
                yield f"{found}: {self.solver.model()}"
            self.count += 1
            self.solver.pop()

    def decide(self, condition: z3.BoolRef) -> bool:
        """Answer a condition for this run, and note another run if the other answer is possible."""
        position = len(self._taken)
        if position < len(self._forced):
            answer = self._forced[position]
        else:
            answer = self.solver.check(condition) == z3.sat
            if answer and self.solver.check(z3.Not(condition)) == z3.sat:
                self._todo.append([*self._taken, False])
        self._taken.append(answer)
        self.solver.add(condition if answer else z3.Not(condition))
        return answer


class Truth:
    """A symbolic truth value."""

    def __init__(self, paths: Paths, term: Any) -> None:
        self.paths, self.term = paths, term

    __hash__ = None  # type: ignore[assignment]  # two terms may or may not be equal

    def __bool__(self) -> bool:
        return self.paths.decide(self.term)

    def __eq__(self, other: object) -> bool:
        return bool(self) == bool(other)

    def __radd__(self, number: Number) -> Number:
        return Number(self.paths, number.term + z3.If(self.term, 1, 0))


def term_of(value: Any) -> Any:
    """Return the term of a symbolic or plain number."""
    return value.term if isinstance(value, Number) else value


class Number:
    """A symbolic number."""

    __hash__ = None  # type: ignore[assignment]  # two terms may or may not be equal

    def __init__(self, paths: Paths, term: Any) -> None:
        self.paths, self.term = paths, term

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Truth):
            return NotImplemented
        return Number(self.paths, self.term + term_of(other))

    def __radd__(self, other: Any) -> Number:
        return Number(self.paths, term_of(other) + self.term)

    def __sub__(self, other: Any) -> Number:
        return Number(self.paths, self.term - term_of(other))

    def __rsub__(self, other: Any) -> Number:
        return Number(self.paths, term_of(other) - self.term)

    def __lt__(self, other: Any) -> Truth:
        return Truth(self.paths, self.term < term_of(other))

    def __le__(self, other: Any) -> Truth:
        return Truth(self.paths, self.term <= term_of(other))

    def __gt__(self, other: Any) -> Truth:
        return Truth(self.paths, self.term > term_of(other))

    def __ge__(self, other: Any) -> Truth:
        return Truth(self.paths, self.term >= term_of(other))

    def __eq__(self, other: Any) -> Truth:  # type: ignore[override]
        return Truth(self.paths, self.term == term_of(other))

    def __ne__(self, other: Any) -> Truth:  # type: ignore[override]
        return Truth(self.paths, self.term != term_of(other))

    def __bool__(self) -> bool:
        return bool(self != 0)


class Result(NamedTuple):
    """What the proof says about one event."""

    event: str
    paths: int
    reached: bool  # whether the event can happen at all
    seconds: float
    problem: str


def symbolic(paths: Paths, phase: Phase, floor: Floor) -> tuple[Any, Counts, list[Any]]:
    """Return symbolic limits and numbers, and what is assumed of them: they are natural."""
    terms = {name: z3.Int(name) for name in (*NUMBERS, "max_creating", "max_waiting", *"ijk")}
    numbers = [Number(paths, terms[name]) for name in NUMBERS]
    limits: Any = Limits(
        *(Number(paths, terms[name]) for name in ("max_creating", "max_waiting"))  # type: ignore[arg-type]
    )
    natural = [term >= 0 for term in terms.values()]
    natural += [terms["max_creating"] > 0, terms["max_waiting"] > 0]
    return limits, Counts._make([*numbers, phase, floor]), natural


def broken(limits: Any, before: Counts, after: Counts) -> str:
    """Return the name of the first rule that a step breaks."""
    for name, holds in rules.INVARIANTS.items():
        if not holds(limits, after):
            return name
    if rules.size(after) > rules.size(before) and rules.size(after) > after.max_size:
        return "SizeWithinLimitSteps"
    order = list(Phase)
    if order.index(after.phase) < order.index(before.phase):
        return "PhaseForwardSteps"
    return ""


Transition = Callable[..., Counts]
Judge = Callable[[Any, Counts, Counts], str]
"""A function from limits and the numbers before and after to the name of a broken rule."""


def prove(event: Event, transition: Transition = rules.transition, judge: Judge = broken) -> Result:
    """Prove that an event keeps all invariants, for numbers of every size."""
    begin = time.perf_counter()
    count, reached, problem = 0, False, ""
    for phase in Phase:
        for floor in Floor if phase is Phase.OPEN else (Floor.OFF,):
            proof = Proof(event, phase, floor, transition, judge)
            problem = problem or proof.run()
            count += proof.paths.count
            reached = reached or proof.reached
    return Result(event.value, count, reached, time.perf_counter() - begin, problem)


class Proof:
    """The proof for one event in one phase."""

    def __init__(
        self, event: Event, phase: Phase, floor: Floor, transition: Transition, judge: Judge
    ) -> None:
        self.paths = Paths()
        self.reached = False
        self._event = event
        self._transition, self._judge = transition, judge
        self._limits, self._before, self._natural = symbolic(self.paths, phase, floor)
        self._choices: list[Any] = [Number(self.paths, z3.Int(name)) for name in "ijk"]

    def run(self) -> str:
        """Run all paths. Return the first way in which the event breaks a rule."""
        found = list(self.paths.explore(self._step, *self._natural))
        return f"{self._event.value} breaks {found[0]}" if found else ""

    def _step(self) -> str:
        limits, before = self._limits, self._before
        if not all(holds(limits, before) for holds in rules.INVARIANTS.values()):
            return ""
        if not rules.allowed(limits, before, self._event, *self._choices):
            return ""
        self.reached = True
        after = self._transition(limits, before, self._event, *self._choices)
        return self._judge(limits, before, after)


def main() -> int:
    """Prove every event, and print a table."""
    failed = 0
    for event in Event:
        result = prove(event)
        verdict = result.problem or ("proved" if result.reached else "can never happen")
        failed += verdict != "proved"
        print(f"{result.event:<24}{result.paths:>7} paths{result.seconds:>8.1f} s  {verdict}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
