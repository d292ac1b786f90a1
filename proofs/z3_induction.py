"""Proof that the invariants about identities are inductive, for any number of tasks and slots.

A state is good if it has all properties of `invariants`, and a step is good if it has all of
`steps`. The names are those of the specification. Each action of ``z3_identities`` is possible, is
a good step and leads from good states to good ones.

Z3 proves for sorts without a bound that no bad step exists. It shows by an example with a few tasks
and slots that an action is possible, or that a bug violates a property.

`Theory` is for any pool. `POOL` is the theory of the pool.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import z3  # type: ignore[import-untyped]

from proofs.result import Result
from proofs.z3_counts import satisfiable
from proofs.z3_identities import Actions, Choices
from proofs.z3_state import (
    CHECKING,
    CLOSED,
    CREATING,
    FREE,
    HANDED,
    HOLDING,
    IDLE,
    IN_CLOSING,
    IN_USE,
    OPEN,
    OUT,
    RESETTING,
    UNBOUNDED,
    WAITING,
    Formula,
    State,
    StepTo,
    Term,
    Universe,
)

__all__ = [
    "POOL",
    "SMALL",
    "Answer",
    "Theory",
    "actions_of",
    "induction",
    "invariants",
    "steps",
]

SMALL = Universe.of(3, 2)  # for examples and counterexamples


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


def invariants(u: Universe, x: State) -> dict[str, Formula]:
    """Return the properties of a good state."""
    every, some = u.every, u.some

    def has(t: Term) -> Formula:
        return z3.Or([x.task(t) == d for d in (HANDED, CHECKING, HOLDING, RESETTING)])

    def owned(s: Term) -> Formula:
        return some(lambda t: x.owns(t, s), t="task")

    waits = some(lambda t: x.task(t) == WAITING, t="task")
    free = some(lambda s: x.place(s) == FREE, s="slot")
    runs = some(lambda s: x.place(s) == CREATING, s="slot")
    return {
        "SingleHolder": z3.And(
            every(
                lambda t, v, s: z3.Implies(z3.And(x.owns(t, s), x.owns(v, s)), t == v),
                t="task", v="task", s="slot",
            ),
            every(
                lambda t, s, r: z3.Implies(z3.And(x.owns(t, s), x.owns(t, r)), s == r),
                t="task", s="slot", r="slot",
            ),
            every(lambda t, s: z3.Implies(x.owns(t, s), x.place(s) == IN_USE), t="task", s="slot"),
        ),
        "NothingLost": every(lambda s: z3.Implies(x.place(s) == IN_USE, owned(s)), s="slot"),
        "OneOutcome": every(lambda t: some(lambda s: x.owns(t, s), s="slot") == has(t), t="task"),
        "NoLostWakeup": z3.And(
            every(
                lambda t, s: z3.Not(z3.And(x.task(t) == WAITING, x.place(s) == IDLE)),
                t="task", s="slot",
            ),
            z3.Implies(z3.And(waits, free), runs),
        ),
        "NothingAfterClose": z3.Implies(
            x.phase != OPEN,
            z3.And(
                z3.Not(waits),
                every(
                    lambda s: z3.And(
                        x.place(s) != IDLE,
                        z3.Implies(
                            z3.Or(x.place(s) == CREATING, x.place(s) == IN_USE), x.retired(s)
                        ),
                    ),
                    s="slot",
                ),
            ),
        ),
        "CloseWaits": z3.Implies(
            x.phase != OPEN,
            (x.phase == CLOSED) == every(lambda s: x.place(s) == FREE, s="slot"),
        ),
        "TypeOK": every(
            lambda s: z3.Implies(
                x.retired(s), z3.Or(x.place(s) == CREATING, x.place(s) == IN_USE)
            ),
            s="slot",
        ),
    }  # fmt: skip


def steps(u: Universe, action: str, x: State, y: State, c: Choices) -> dict[str, Formula]:
    """Return the properties of a good step from x to y."""
    every, some = u.every, u.some

    def kept(s: Term) -> Formula:
        return some(lambda t: z3.And(x.owns(t, s), y.owns(t, s)), t="task")

    def let_go(s: Term) -> Formula:
        return some(lambda t: z3.And(x.owns(t, s), z3.Not(y.owns(t, s))), t="task")

    def of_user(s: Term) -> Formula:
        return some(lambda t: z3.And(x.owns(t, s), x.task(t) == HOLDING), t="task")

    def ended(s: Term, *actions: str) -> Formula:
        return s == c.r if action in actions else z3.BoolVal(False)

    return {
        "NoDoubleReleaseSteps": every(
            lambda s: z3.Implies(
                x.place(s) == IN_USE,
                z3.Or(
                    z3.And(kept(s), y.place(s) == IN_USE),
                    z3.And(
                        let_go(s),
                        every(lambda t: z3.Implies(y.owns(t, s), y.task(t) == HANDED), t="task"),
                    ),
                ),
            ),
            s="slot",
        ),
        "NothingLostSteps": every(
            lambda s: z3.Implies(
                z3.And(x.place(s) != FREE, y.place(s) == FREE),
                z3.Or(ended(s, "CreateFailed", "CloserEnded"), of_user(s)),
            ),
            s="slot",
        ),
        "ClosedExactlyOnceSteps": every(
            lambda s: z3.And(
                z3.Implies(
                    x.place(s) == IN_CLOSING,
                    z3.Or(y.place(s) == IN_CLOSING, ended(s, "CloserEnded")),
                ),
                z3.Implies(x.place(s) == IDLE, y.place(s) != FREE),
            ),
            s="slot",
        ),
        "NothingAfterCloseSteps": z3.Implies(
            x.phase != OPEN,
            every(lambda t: z3.Implies(y.task(t) == HOLDING, x.task(t) == HOLDING), t="task"),
        ),
        "WaitersFailAtCloseSteps": z3.Implies(
            z3.And(x.phase == OPEN, y.phase != OPEN),
            every(lambda t: z3.Implies(x.task(t) == WAITING, y.task(t) == OUT), t="task"),
        ),
        "PhaseForward": z3.And(
            z3.Implies(x.phase != OPEN, y.phase != OPEN),
            z3.Implies(x.phase == CLOSED, y.phase == CLOSED),
        ),
    }


def actions_of(u: Universe, pool: type[Actions] = Actions) -> Actions:
    """Make the actions of a pool, from a state of unknowns."""
    return pool(u, State.named(u), Choices.named(u))


_NO = z3.BoolVal(False)
NEW = State(OPEN, lambda _: FREE, lambda _: OUT, lambda _t, _s: _NO, lambda _: _NO)
POOL = Theory(actions_of, invariants, steps, NEW)


def induction() -> Result:
    """Prove that each action is possible, and is a good step from good states to good states."""
    begin = time.perf_counter()
    wrong = [f"Init violates {name}" for name in POOL.first_state_violates()]
    wrong += [f"{action} is impossible" for action in POOL.impossible()]
    of = actions_of(UNBOUNDED)
    actions = of.named()
    for action, step in actions.items():
        wrong += [f"{action} violates {name}" for name in POOL.violations(action, of, step)]
    figure = f"inductive over {len(actions)} actions, each possible, any number of each"
    seconds = time.perf_counter() - begin
    return Result(
        "Z3 identities", ", ".join(POOL.names()), "; ".join(wrong) or figure, not wrong, seconds
    )
