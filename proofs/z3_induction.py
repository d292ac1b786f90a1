"""Proof that the invariants about identities are inductive, for any number of tasks and slots.

A state is good if it has all properties of `invariants`, and a step is good if it has all of
`steps`. The names are those of the specification. Each action of ``z3_identities`` is possible, is
a good step and leads from good states to good ones.

Z3 proves for sorts without a bound that no bad step exists. It shows by an example with a few tasks
and slots that an action is possible, or that a bug violates a property.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import z3  # type: ignore[import-untyped]

from proofs.result import Result
from proofs.z3_counts import satisfiable
from proofs.z3_identities import Actions, Choices, Step
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
    Term,
    Universe,
)

__all__ = ["SMALL", "actions_of", "induction", "invariants", "steps", "violations"]

SMALL = Universe.of(3, 2)  # for examples and counterexamples


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


def violations(action: str, of: Actions, step: Step) -> Iterator[str]:
    """List the properties of states and steps that a step from a good state can violate."""
    u, now = of.universe, of.now
    good = z3.And(*invariants(u, now).values())
    claims = invariants(u, step.after) | steps(u, action, now, step.after, of.choices)
    for name, claim in claims.items():
        if satisfiable(good, step.guard, z3.Not(claim)):
            yield name


def impossible() -> Iterator[str]:
    """List the actions that no good state with a few tasks and slots allows."""
    of = actions_of(SMALL)
    good = z3.And(*invariants(SMALL, of.now).values())
    return (name for name, step in of.named().items() if not satisfiable(good, step.guard))


def first_state_violates() -> Iterator[str]:
    """List the invariants that a new pool violates."""
    no = z3.BoolVal(False)
    new = State(OPEN, lambda _: FREE, lambda _: OUT, lambda _t, _s: no, lambda _: no)
    for name, claim in invariants(UNBOUNDED, new).items():
        if satisfiable(z3.Not(claim)):
            yield name


def names() -> list[str]:
    """List the names of all properties that are proved."""
    of = actions_of(UNBOUNDED)
    return [*invariants(UNBOUNDED, of.now), *steps(UNBOUNDED, "", of.now, of.now, of.choices)]


def induction() -> Result:
    """Prove that each action is possible, and is a good step from good states to good states."""
    begin = time.perf_counter()
    wrong = [f"Init violates {name}" for name in first_state_violates()]
    wrong += [f"{action} is impossible" for action in impossible()]
    of = actions_of(UNBOUNDED)
    actions = of.named()
    for action, step in actions.items():
        wrong += [f"{action} violates {name}" for name in violations(action, of, step)]
    figure = f"inductive over {len(actions)} actions, each possible, any number of each"
    seconds = time.perf_counter() - begin
    return Result(
        "Z3 identities", ", ".join(names()), "; ".join(wrong) or figure, not wrong, seconds
    )
