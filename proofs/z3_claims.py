"""What is claimed of the formulas of ``z3_steps``, by the names of the specification.

`invariants` are the properties of a good state, and `steps` those of a good step. A property of
numbers has no place here: ``z3_counts`` and ``z3_choices`` prove those.
"""

from __future__ import annotations

from collections.abc import Callable

import z3  # type: ignore[import-untyped]

from proofs.z3_induction import Theory
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
    WAITING,
    Formula,
    State,
    Term,
    Universe,
)
from proofs.z3_steps import Actions, Choices

__all__ = ["POOL", "actions_of", "invariants", "steps"]

USABLE = (CREATING, CHECKING, IN_USE, RESETTING)  # where a slot may be retired


def invariants(u: Universe, x: State) -> dict[str, Formula]:
    """Return the properties of a good state."""
    every, some = u.every, u.some
    of = Actions(u, x, Choices.named(u))
    c = of.choices

    def under_way(t: Term) -> Formula:
        return x.does(t, WAITING, HANDED)

    def idle(r: Term) -> Formula:
        return x.place(r) == IDLE

    return {
        "TypeOK": every(
            lambda r: z3.And(
                z3.Implies(x.old(r), x.at(r, CHECKING, IDLE, IN_USE, RESETTING)),
                z3.Implies(x.stale(r), idle(r)),
                z3.Implies(x.trusted(r), z3.And(idle(r), c.check_skips)),
                z3.Implies(x.retired(r), x.at(r, *USABLE)),
            ),
            r="slot",
        ),
        "SingleHolder": z3.And(
            every(
                lambda t, v, r: z3.Implies(z3.And(x.owns(t, r), x.owns(v, r)), t == v),
                t="task", v="task", r="slot",
            ),
            every(
                lambda t, r, q: z3.Implies(z3.And(x.owns(t, r), x.owns(t, q)), r == q),
                t="task", r="slot", q="slot",
            ),
            every(lambda t, r: z3.Implies(x.owns(t, r), x.place(r) == IN_USE), t="task", r="slot"),
            every(lambda r: z3.Implies(idle(r), x.rank(r) <= x.ranks), r="slot"),
            every(
                lambda r, q: z3.Implies(z3.And(idle(r), idle(q), x.rank(r) == x.rank(q)), r == q),
                r="slot", q="slot",
            ),
        ),
        "NothingLost": every(
            lambda r: z3.Implies(
                x.place(r) == IN_USE, some(lambda t: x.owns(t, r), t="task")
            ),
            r="slot",
        ),
        "OneOutcome": z3.And(
            every(
                lambda t: some(lambda r: x.owns(t, r), r="slot") == x.does(t, HANDED, HOLDING),
                t="task",
            ),
            every(lambda t: z3.Implies(under_way(t), x.ticket(t) <= x.tickets), t="task"),
            every(
                lambda t, v: z3.Implies(
                    z3.And(under_way(t), under_way(v), x.ticket(t) == x.ticket(v)), t == v
                ),
                t="task", v="task",
            ),
        ),
        "ReadyAreLast": every(
            lambda r, q: z3.Implies(
                z3.And(of.is_unchecked(x, r), of.is_ready(x, q)), x.rank(r) < x.rank(q)
            ),
            r="slot", q="slot",
        ),
        "NoLostWakeup": z3.And(
            every(
                lambda t, r: z3.Not(z3.And(x.task(t) == WAITING, of.is_ready(x, r))),
                t="task", r="slot",
            ),
            z3.Implies(
                z3.And(of.waits(x), some(lambda r: of.is_unchecked(x, r), r="slot")), of.works(x)
            ),
        ),
        "NothingAfterClose": z3.Implies(
            x.phase != OPEN,
            z3.And(
                z3.Not(of.waits(x)),
                every(
                    lambda r: z3.And(
                        z3.Not(idle(r)), z3.Implies(x.at(r, *USABLE), x.retired(r))
                    ),
                    r="slot",
                ),
            ),
        ),
        "CloseWaits": z3.Implies(
            x.phase != OPEN,
            (x.phase == CLOSED) == every(lambda r: x.place(r) == FREE, r="slot"),
        ),
    }  # fmt: skip


def steps(u: Universe, action: str, x: State, y: State, c: Choices) -> dict[str, Formula]:
    """Return the properties of a good step from x to y."""
    every, some = u.every, u.some
    of = Actions(u, x, c)

    def when(*names: str) -> Formula:
        return z3.BoolVal(action in names)

    def on(r: Term, *names: str) -> Formula:
        return r == c.r if action in names else z3.BoolVal(False)

    def new(t: Term, r: Term) -> Formula:
        return z3.And(y.owns(t, r), z3.Not(x.owns(t, r)))

    def slots(claim: Callable[[Term], Formula]) -> Formula:
        return every(claim, r="slot")

    def tasks(claim: Callable[[Term], Formula]) -> Formula:
        return every(claim, t="task")

    def pairs(claim: Callable[[Term, Term], Formula]) -> Formula:
        return every(claim, t="task", r="slot")

    def waiting(t: Term) -> Formula:
        return x.task(t) == WAITING

    def under_way(s: State, t: Term) -> Formula:
        return s.does(t, WAITING, HANDED)

    same_leases = pairs(lambda t, r: x.owns(t, r) == y.owns(t, r))
    same_tasks = tasks(lambda t: x.task(t) == y.task(t))
    swept = of.swept(x)
    return {
        "PhaseForwardSteps": z3.And(
            z3.Implies(x.phase != OPEN, y.phase != OPEN),
            z3.Implies(x.phase == CLOSED, y.phase == CLOSED),
        ),
        "NothingLostSteps": slots(
            lambda r: z3.And(
                z3.Implies(
                    z3.And(x.place(r) == CREATING, y.place(r) == FREE), on(r, "CreateFailed")
                ),
                z3.Implies(
                    z3.And(x.place(r) == IN_CLOSING, y.place(r) != IN_CLOSING),
                    on(r, "CloserEnded"),
                ),
                z3.Implies(x.at(r, IDLE, CHECKING, RESETTING), z3.Not(y.at(r, FREE, CREATING))),
                z3.Implies(
                    z3.And(x.place(r) == IN_USE, y.at(r, FREE, CREATING)),
                    some(
                        lambda t: z3.And(
                            x.owns(t, r),
                            x.task(t) == HOLDING,
                            z3.Or(t == c.t if action == "Detach" else False, when("Terminate")),
                        ),
                        t="task",
                    ),
                ),
            )
        ),
        "OnlyFitHandedOutSteps": pairs(
            lambda t, r: z3.And(
                z3.Implies(
                    new(t, r),
                    z3.And(
                        x.fit(r),
                        z3.Implies(x.place(r) == IDLE, of.is_ready(x, r)),
                        z3.Implies(x.place(r) == IN_USE, z3.Or(z3.Not(c.checks), c.check_skips)),
                    ),
                ),
                z3.Implies(
                    z3.And(x.task(t) != HOLDING, y.task(t) == HOLDING, y.owns(t, r)),
                    z3.Not(x.retired(r)),
                ),
            )
        ),
        "DirtyIsClosedSteps": slots(
            lambda r: z3.Implies(
                z3.Or(
                    on(r, "CreateLate", "CheckFailed", "ResetFailed"),
                    z3.And(when("Discard"), x.owns(c.t, r)),
                ),
                y.place(r) == IN_CLOSING,
            )
        ),
        "FailedCheckWithdrawsTrustSteps": slots(
            lambda r: z3.Implies(when("CheckFailed"), z3.Not(y.trusted(r)))
        ),
        "RetiredStaysRetiredSteps": slots(
            lambda r: z3.And(
                z3.Implies(z3.And(when("RetireAll"), x.at(r, *USABLE)), y.retired(r)),
                z3.Implies(
                    z3.And(x.retired(r), z3.Not(y.retired(r))),
                    z3.Or(
                        on(r, "CreateFailed"),
                        y.at(r, IN_CLOSING, FREE),
                        z3.And(x.place(r) == IN_USE, y.place(r) == CREATING),
                    ),
                ),
            )
        ),
        "NothingAfterCloseSteps": z3.Implies(
            x.phase != OPEN,
            tasks(lambda t: z3.Implies(y.task(t) == HOLDING, x.task(t) == HOLDING)),
        ),
        "ClosedExactlyOnceSteps": slots(
            lambda r: z3.And(
                z3.Implies(
                    x.place(r) == IN_CLOSING,
                    z3.Or(y.place(r) == IN_CLOSING, on(r, "CloserEnded")),
                ),
                z3.Implies(y.place(r) == IN_CLOSING, tasks(lambda t: z3.Not(y.owns(t, r)))),
                z3.Implies(
                    z3.And(when("Resume", "Cancel", "Release", "Discard"), x.owns(c.t, r)),
                    y.at(r, IN_USE, RESETTING, CHECKING, IDLE, IN_CLOSING),
                ),
            )
        ),
        "NoDoubleReleaseSteps": slots(
            lambda r: z3.Implies(
                x.place(r) == IN_USE,
                z3.Or(
                    z3.And(
                        some(lambda t: z3.And(x.owns(t, r), y.owns(t, r)), t="task"),
                        y.place(r) == IN_USE,
                    ),
                    z3.And(
                        some(lambda t: z3.And(x.owns(t, r), z3.Not(y.owns(t, r))), t="task"),
                        tasks(lambda t: z3.Implies(y.owns(t, r), y.task(t) == HANDED)),
                    ),
                ),
            )
        ),
        "FifoServiceSteps": z3.And(
            tasks(
                lambda t: z3.Implies(
                    z3.And(under_way(x, t), under_way(y, t)), x.ticket(t) == y.ticket(t)
                )
            ),
            every(
                lambda t, v: z3.And(
                    z3.Implies(
                        z3.And(
                            waiting(t), y.task(t) == HANDED, waiting(v), y.task(v) == WAITING
                        ),
                        x.ticket(t) < x.ticket(v),
                    ),
                    z3.Implies(
                        z3.And(x.task(t) == OUT, y.task(t) == WAITING, under_way(y, v), v != t),
                        y.ticket(v) < y.ticket(t),
                    ),
                    z3.Implies(z3.And(x.task(t) == OUT, y.does(t, HANDED, HOLDING)),
                               z3.Not(waiting(v))),
                ),
                t="task", v="task",
            ),
        ),
        "ReuseOrderSteps": slots(
            lambda r: z3.Implies(z3.And(when("Acquire"), new(c.t, r)), of.is_next(swept, r))
        ),
        "FaultIsolationSteps": z3.And(
            z3.Implies(
                when("CreateFailed", "CreateLate", "CheckFailed", "ResetFailed"), same_leases
            ),
            z3.Implies(when("CheckFailed", "ResetFailed"), same_tasks),
            tasks(
                lambda t: z3.Implies(
                    z3.And(when("CreateFailed", "CreateLate"), x.task(t) != y.task(t)),
                    of.is_first(x, t),
                )
            ),
        ),
        "FitIsReusedSteps": slots(
            lambda r: z3.Implies(
                z3.And(
                    when("Release"), x.owns(c.t, r), z3.Not(c.resets), x.fit(r), z3.Not(c.exceeds)
                ),
                y.place(r) != IN_CLOSING,
            )
        ),
        "TerminateForgetsSteps": pairs(
            lambda t, r: z3.Implies(
                z3.And(when("Terminate"), x.task(t) == HOLDING, x.owns(t, r)),
                z3.And(y.task(t) == OUT, y.place(r) == FREE),
            )
        ),
        "WaitersFailAtCloseSteps": z3.Implies(
            z3.And(x.phase == OPEN, y.phase != OPEN),
            tasks(lambda t: z3.Implies(waiting(t), y.task(t) == OUT)),
        ),
    }  # fmt: skip


def actions_of(u: Universe, pool: type[Actions] = Actions) -> Actions:
    """Make the actions of a pool, from a state of unknowns."""
    return pool(u, State.named(u), Choices.named(u))


_NO, _ZERO = z3.BoolVal(False), z3.IntVal(0)
NEW = State(
    phase=OPEN,
    place=lambda _: FREE,
    task=lambda _: OUT,
    owns=lambda _t, _r: _NO,
    ticket=lambda _: _ZERO,
    tickets=_ZERO,
    rank=lambda _: _ZERO,
    ranks=_ZERO,
    old=lambda _: _NO,
    stale=lambda _: _NO,
    trusted=lambda _: _NO,
    retired=lambda _: _NO,
)
POOL = Theory(actions_of, invariants, steps, NEW)
