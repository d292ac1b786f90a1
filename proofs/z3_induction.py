"""Proof that properties of states and steps are inductive, for any number of tasks and slots.

A state is good if it has all invariants of a theory, and a step is good if it has all properties
of steps. Each action is possible, is a good step and leads from good states to good ones.

Z3 proves for sorts without a bound that no bad step exists. It shows by an example with a few tasks
and slots that an action is possible, or that a bug violates a property. ``z3_claims`` has the
theory of the pool.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import z3  # type: ignore[import-untyped]

from proofs.z3_state import UNBOUNDED, Formula, StepTo, Universe

__all__ = ["SMALL", "Answer", "Theory"]

SMALL = Universe.of(3, 2)  # for examples and counterexamples


def satisfiable(*formulas: Formula) -> bool:
    """Tell whether the formulas can hold together. Raise if Z3 does not know."""
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*formulas)
    answer = solver.check()
    if answer == z3.unknown:
        raise RuntimeError(f"Z3 does not know: {solver.reason_unknown()}")
    return bool(answer == z3.sat)


class Answer(NamedTuple):
    """What Z3 says about a claim."""

    claim: str
    holds: bool
    seconds: float


def answers(claims: Mapping[str, Formula], *assumed: Formula) -> Iterator[Answer]:
    """Tell of each claim whether it follows from what is assumed. Raise if Z3 does not know."""
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*assumed)
    for name, claim in claims.items():
        begin = time.perf_counter()
        solver.push()
        solver.add(z3.Not(claim))
        answer = solver.check()
        solver.pop()
        if answer == z3.unknown:
            raise RuntimeError(f"Z3 does not know {name}: {solver.reason_unknown()}")
        yield Answer(name, answer == z3.unsat, time.perf_counter() - begin)


def counterexamples(claims: Mapping[str, Formula], *assumed: Formula) -> Iterator[str]:
    """List the claims that do not follow from what is assumed."""
    return (answer.claim for answer in answers(claims, *assumed) if not answer.holds)


class Theory(NamedTuple):
    """What is claimed of a pool: the properties of its states and of its steps."""

    actions: Callable[[Universe], Any]  # the actions, from a state of unknowns
    invariants: Callable[[Universe, Any], dict[str, Formula]]
    steps: Callable[[Universe, str, Any, Any, Any], dict[str, Formula]]
    new: Any  # the state of a new pool

    def good(self, of: Any) -> Formula:
        """Say that the state before the actions is good."""
        return z3.And(*self.invariants(of.universe, of.now).values())

    def claims(self, action: str, of: Any, step: StepTo[Any]) -> dict[str, Formula]:
        """Return all that is claimed of a step from a good state."""
        after = self.invariants(of.universe, step.after)
        return after | self.steps(of.universe, action, of.now, step.after, of.choices)

    def answers(self, action: str, of: Any, step: StepTo[Any]) -> Iterator[Answer]:
        """Tell of each property whether all steps from good states have it."""
        return answers(self.claims(action, of, step), self.good(of), step.guard)

    def violations(self, action: str, of: Any, step: StepTo[Any]) -> Iterator[str]:
        """List the properties of states and steps that a step from a good state can violate."""
        found = self.answers(action, of, step)
        return (answer.claim for answer in found if not answer.holds)

    def about(self, action: str, of: Any) -> set[str]:
        """Return the names of the properties that say something about this action."""
        anywhere = StepTo(z3.BoolVal(True), type(of.now).named(of.universe, "'"))
        claims = self.claims(action, of, anywhere).items()
        return {name for name, claim in claims if not z3.is_true(z3.simplify(claim))}

    def impossible(self, universe: Universe = SMALL) -> Iterator[str]:
        """List the actions that no good state with a few tasks and slots allows."""
        of = self.actions(universe)
        good = self.good(of)
        return (name for name, step in of.named().items() if not satisfiable(good, step.guard))

    def first_state_violates(self) -> Iterator[str]:
        """List the invariants that a new pool violates."""
        return counterexamples(self.invariants(UNBOUNDED, self.new))

    def names(self) -> list[str]:
        """List the names of all properties that are proved."""
        of = self.actions(UNBOUNDED)
        return [*self.claims("", of, StepTo(z3.BoolVal(True), of.now))]
