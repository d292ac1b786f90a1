"""Symbolic numbers, on which the counting rules themselves run.

A comparison of symbolic numbers asks Z3 which answers are possible. If both are, the function runs
once for each. So the paths together are all behaviours of the code, and no formula has to be
written beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.counts import Counts, Floor, Limits, Phase

__all__ = ["NUMBERS", "Number", "Paths", "Truth", "phases", "symbolic"]

NUMBERS = Counts._fields[:-2]

T = TypeVar("T")


class Paths:
    """The paths through a function that runs on symbolic numbers, one run for each."""

    def __init__(self) -> None:
        self.solver = z3.Solver()
        self.count = 0
        self._taken: list[bool] = []  # the answers of this run
        self._todo: list[list[bool]] = [[]]  # beginnings of runs that are still to come
        self._forced: list[bool] = []

    def explore(self, function: Callable[[], T], *assumed: z3.BoolRef) -> Iterator[T]:
        """Run the function on every path. Yield what each run finds, if it finds anything.

        The numbers of `example` are on that path until the next one is taken.
        """
        while self._todo:
            self._forced, self._taken = self._todo.pop(), []
            self.solver.push()
            self.solver.add(*assumed)
            found = function()
            self.count += 1
            if found:
                yield found
            self.solver.pop()

    def example(self) -> str:
        """Name numbers that take the present path."""
        self.solver.check()
        return str(self.solver.model())

    def decide(self, condition: z3.BoolRef) -> bool:
        """Answer a condition for this run, and note another run if the other answer is possible."""
        position = len(self._taken)
        if position < len(self._forced):
            answer = self._forced[position]
        else:
            answer = self._possible(condition)
            if answer and self._possible(z3.Not(condition)):
                self._todo.append([*self._taken, False])
        self._taken.append(answer)
        self.solver.add(condition if answer else z3.Not(condition))
        return answer

    def _possible(self, condition: z3.BoolRef) -> bool:
        answer = self.solver.check(condition)
        if answer == z3.unknown:
            raise RuntimeError(f"Z3 does not know: {self.solver.reason_unknown()}")
        return bool(answer == z3.sat)


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

    def __rmul__(self, times: int) -> Number:
        return Number(self.paths, times * self.term)

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


def symbolic(
    paths: Paths, phase: Phase, floor: Floor, max_waiting: Any = ...
) -> tuple[Any, Counts, list[Any], list[z3.BoolRef]]:
    """Return symbolic limits, numbers and choices, and what is assumed of them: they are natural.

    `max_waiting` replaces the symbolic limit, because it may also be None.
    """
    terms = {name: z3.Int(name) for name in (*NUMBERS, "max_creating", "max_waiting", *"ijk")}
    made: dict[str, Any] = {name: Number(paths, term) for name, term in terms.items()}
    if max_waiting is not ...:
        made["max_waiting"] = max_waiting
    limits = Limits(made["max_creating"], made["max_waiting"])
    natural = [term >= 0 for term in terms.values()]
    natural += [terms["max_creating"] > 0, terms["max_waiting"] > 0]
    counts = Counts._make([*(made[name] for name in NUMBERS), phase, floor])
    return limits, counts, [made[name] for name in "ijk"], natural


def phases() -> Iterator[tuple[Phase, Floor]]:
    """Yield each phase with each upkeep that it can have."""
    for phase in Phase:
        for floor in Floor if phase is Phase.OPEN else (Floor.OFF,):
            yield phase, floor
