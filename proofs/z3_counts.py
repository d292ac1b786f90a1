"""Proof by Z3, for every size: the counting model's invariants are inductive, and closing ends.

The events are written here a second time, as formulas about integers without a bound. So this is a
second opinion about the counting model. ``z3_agreement`` compares both on sampled states.

Z3 proves this for all well-formed limits, all counts that satisfy the invariants, and all k:

* Each event preserves each invariant and is possible.
* The phase never goes back. No event is possible once the pool is closed.
* While the pool is closing, each event that it waits for makes `ranking` smaller.
* No other event makes `ranking` larger.
* Until the pool is closed, one of the events that it waits for is possible.

So closing ends if creations, closers and users end (CloseCompletes).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.counts import Event
from proofs.result import Result

__all__ = ["BUGS", "EVENTS", "bugs", "check", "closing_ends", "induction"]

OPEN, CLOSING, CLOSED = range(3)  # phases
OFF, ON, BACKOFF = range(3)  # the upkeep of the minimum size

Formula: TypeAlias = z3.BoolRef


class Sym(NamedTuple):
    """A `Counts` whose numbers are terms."""

    creating: z3.ArithRef
    retired_creations: z3.ArithRef
    idle: z3.ArithRef
    in_use: z3.ArithRef
    closing: z3.ArithRef
    waiting: z3.ArithRef
    phase: z3.ArithRef
    floor: z3.ArithRef

    @property
    def size(self) -> z3.ArithRef:
        return self.creating + self.idle + self.in_use + self.closing

    @property
    def usable_creations(self) -> z3.ArithRef:
        return self.creating - self.retired_creations

    @property
    def usable_size(self) -> z3.ArithRef:
        return self.usable_creations + self.idle + self.in_use


MAX_SIZE, MIN_SIZE, MAX_CREATING, MAX_WAITING, K = z3.Ints(
    "max_size min_size max_creating max_waiting k"
)
LIMITED = z3.Bool("limited")  # is there a max_waiting?
NOW = Sym(*(z3.Int(name) for name in Sym._fields))
THEN = Sym(*(z3.Int(name + "'") for name in Sym._fields))

WELL_FORMED = z3.And(
    MIN_SIZE >= 0,
    MIN_SIZE <= MAX_SIZE,
    MAX_CREATING >= 1,
    MAX_CREATING <= MAX_SIZE,
    z3.Implies(LIMITED, MAX_WAITING >= 1),
)


def _smaller(a: z3.ArithRef, b: z3.ArithRef) -> z3.ArithRef:
    return z3.If(a < b, a, b)


def _larger(a: z3.ArithRef, b: z3.ArithRef | int) -> z3.ArithRef:
    return z3.If(a < b, b, a)


def invariants(c: Sym) -> dict[str, Formula]:
    """Return the invariants as formulas, by the names of the specification."""
    full = z3.Or(c.size == MAX_SIZE, c.creating == MAX_CREATING)
    is_open = c.phase == OPEN
    numbers = (c.retired_creations, c.idle, c.in_use, c.closing, c.waiting)
    return {
        "TypeOK": z3.And(c.retired_creations <= c.creating, *(number >= 0 for number in numbers)),
        "SizeWithinLimit": c.size <= MAX_SIZE,
        "CreatingWithinLimit": c.creating <= MAX_CREATING,
        "NoLostWakeup": z3.Or(
            c.waiting == 0, z3.And(c.idle == 0, z3.Or(full, c.usable_creations >= c.waiting))
        ),
        "FloorKept": z3.Implies(
            z3.And(is_open, c.floor == ON), z3.Or(c.usable_size >= MIN_SIZE, full)
        ),
        "NothingAfterClose": z3.Or(
            is_open, z3.And(c.idle == 0, c.waiting == 0, c.retired_creations == c.creating)
        ),
        "CloseWaits": z3.Or(is_open, (c.phase == CLOSED) == (c.size == 0)),
    }


def typed(c: Sym) -> Formula:
    """Limit the phase and the upkeep to their values."""
    return z3.And(c.phase >= OPEN, c.phase <= CLOSED, c.floor >= OFF, c.floor <= BACKOFF)


GOOD = z3.And(WELL_FORMED, typed(NOW), *invariants(NOW).values())


def creations_to_start(c: Sym) -> z3.ArithRef:
    """Count the creations to start."""
    wanted = _larger(
        c.waiting - c.usable_creations, z3.If(c.floor == ON, MIN_SIZE - c.usable_size, 0)
    )
    room = _smaller(MAX_SIZE - c.size, MAX_CREATING - c.creating)
    return z3.If(c.phase == OPEN, _larger(_smaller(wanted, room), 0), 0)


def settled(c: Sym) -> Sym:
    """Return the counts after the common end of all events."""
    n = z3.If(c.phase == OPEN, _smaller(c.waiting, c.idle), 0)
    c = c._replace(waiting=c.waiting - n, idle=c.idle - n, in_use=c.in_use + n)
    c = c._replace(creating=c.creating + creations_to_start(c))
    return c._replace(phase=z3.If(z3.And(c.phase == CLOSING, c.size == 0), CLOSED, c.phase))


def _joined(c: Sym) -> Sym:
    """Return the counts with one more waiter. The first one starts the upkeep."""
    return c._replace(waiting=c.waiting + 1, floor=z3.If(c.floor == OFF, ON, c.floor))


def _may_wait(c: Sym) -> Formula:
    joined = _joined(c)
    return z3.Implies(
        LIMITED,
        joined.waiting - joined.usable_creations - creations_to_start(joined) <= MAX_WAITING,
    )


def _swept(c: Sym) -> Sym:
    return c._replace(idle=c.idle - K, closing=c.closing + K)


def _shut(c: Sym) -> Sym:
    zero = z3.IntVal(0)
    return Sym(c.creating, c.creating, zero, c.in_use, c.closing + c.idle, zero,
               z3.IntVal(CLOSING), z3.IntVal(OFF))  # fmt: skip


def _after_failure(c: Sym) -> Sym:
    lost = c._replace(creating=c.creating - 1)
    fails_waiter = lost.waiting > lost.usable_creations
    failed = lost._replace(waiting=z3.If(fails_waiter, lost.waiting - 1, lost.waiting))
    return failed._replace(floor=z3.If(failed.usable_size < MIN_SIZE, BACKOFF, failed.floor))


class Step(NamedTuple):
    """An event as a formula: the condition under which it is possible, and the counts after it."""

    guard: Formula
    after: Sym

    @property
    def formula(self) -> Formula:
        return z3.And(self.guard, *(a == b for a, b in zip(THEN, self.after, strict=True)))


def _events(c: Sym) -> dict[Event, Step]:
    is_open = c.phase == OPEN
    used, less = c.in_use > 0, c._replace(in_use=c.in_use - 1)
    some_idle = z3.And(is_open, K >= 0, c.idle >= K)
    unmade = c._replace(creating=c.creating - 1)
    ended = unmade._replace(retired_creations=c.retired_creations - 1)
    on = z3.IntVal(ON)
    moved = {
        Event.OPEN: (z3.And(is_open, c.floor == OFF), c._replace(floor=on)),
        Event.ACQUIRE: (z3.And(some_idle, z3.Or(c.idle > 0, _may_wait(c))), _swept(_joined(c))),
        Event.LEAVE: (c.waiting > 0, c._replace(waiting=c.waiting - 1)),
        Event.GIVE_BACK: (z3.And(is_open, used), less._replace(idle=c.idle + 1)),
        Event.DISCARD: (used, less._replace(closing=c.closing + 1)),
        Event.DETACH: (used, less),
        Event.REQUEUE: (
            z3.And(some_idle, used),
            _swept(less._replace(closing=c.closing + 1, waiting=c.waiting + 1)),
        ),
        Event.CREATE_SUCCEEDED: (
            c.usable_creations > 0,
            unmade._replace(idle=c.idle + 1, floor=on),
        ),
        Event.RETIRED_CREATE_SUCCEEDED: (
            c.retired_creations > 0,
            ended._replace(closing=c.closing + 1),
        ),
        Event.CREATE_FAILED: (c.usable_creations > 0, _after_failure(c)),
        Event.RETIRED_CREATE_FAILED: (c.retired_creations > 0, ended),
        Event.CLOSER_ENDED: (c.closing > 0, c._replace(closing=c.closing - 1)),
        Event.SWEEP: (z3.And(is_open, K > 0, c.idle >= K), _swept(c)),
        Event.RETRY_FLOOR: (z3.And(is_open, c.floor == BACKOFF), c._replace(floor=on)),
        Event.RETIRE_ALL: (
            z3.And(is_open, c.size > 0),
            c._replace(retired_creations=c.creating, idle=z3.IntVal(0), closing=c.closing + c.idle),
        ),
        Event.CLOSE: (is_open, _shut(c)),
        Event.TERMINATE: (
            z3.And(c.phase != CLOSED, K >= 0, c.in_use >= K),
            _shut(c)._replace(in_use=c.in_use - K),
        ),
    }
    return {event: Step(guard, settled(after)) for event, (guard, after) in moved.items()}


EVENTS = _events(NOW)


def satisfiable(*formulas: Formula) -> bool:
    """Tell whether the formulas can hold together. Raise if Z3 does not know."""
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*formulas)
    answer = solver.check()
    if answer == z3.unknown:
        raise RuntimeError(f"Z3 does not know: {solver.reason_unknown()}")
    return bool(answer == z3.sat)


def violations(step: Step) -> list[str]:
    """List the invariants, and PhaseForward, that a step from a good state can violate."""
    claims = invariants(THEN) | {"PhaseForward": THEN.phase >= NOW.phase}
    goals = claims.items()
    return [name for name, goal in goals if satisfiable(GOOD, step.formula, z3.Not(goal))]


def timed(guarantee: str, work: Callable[[], tuple[bool, str]]) -> Result:
    """Run a proof, and note how long it takes."""
    begin = time.perf_counter()
    ok, figure = work()
    return Result("Z3", guarantee, figure, ok, time.perf_counter() - begin)


def induction() -> Result:
    """Prove that each event is possible in a good state, and leads to good states only."""

    def work() -> tuple[bool, str]:
        new = [number == 0 for number in NOW]
        wrong = [f"Init violates {name}" for name, holds in invariants(NOW).items()
                 if satisfiable(WELL_FORMED, *new, z3.Not(holds))]  # fmt: skip
        for event, step in EVENTS.items():
            wrong += [f"{event.value} violates {name}" for name in violations(step)]
            if not satisfiable(GOOD, step.formula):
                wrong.append(f"{event.value} is impossible")
        figure = f"inductive over {len(EVENTS)} events, each possible, any size"
        return not wrong, "; ".join(wrong) or figure

    return timed(", ".join([*invariants(NOW), "PhaseForward"]), work)


# The events that a closing pool waits for: ends of creations, closers and leases.
ENDING = (
    Event.RETIRED_CREATE_SUCCEEDED,
    Event.RETIRED_CREATE_FAILED,
    Event.CLOSER_ENDED,
    Event.DISCARD,
    Event.DETACH,
)


def ranking(c: Sym) -> z3.ArithRef:
    """Limit the number of the events that are left before the pool is closed."""
    return 2 * c.creating + 2 * c.in_use + c.closing


def closing_ends() -> Result:
    """Prove CloseCompletes, if no event of ENDING is possible for ever without happening."""

    def work() -> tuple[bool, str]:
        closing = z3.And(GOOD, NOW.phase == CLOSING)
        wrong = []
        if satisfiable(closing, ranking(NOW) <= 0):
            wrong.append("the ranking is not positive while closing")
        if satisfiable(closing, *(z3.Not(EVENTS[event].guard) for event in ENDING)):
            wrong.append("a closing pool can be stuck")
        for event, step in EVENTS.items():
            larger = (
                ranking(THEN) >= ranking(NOW) if event in ENDING else ranking(THEN) > ranking(NOW)
            )
            if satisfiable(closing, step.formula, larger):
                wrong.append(f"{event.value} does not bring the end nearer")
            if satisfiable(GOOD, NOW.phase == CLOSED, step.guard):
                wrong.append(f"{event.value} leads out of closed")
        figure = f"the ranking decreases in {len(ENDING)} events, grows in none, any size"
        return not wrong, "; ".join(wrong) or figure

    return timed("CloseCompletes", work)


def _bugs(c: Sym) -> dict[str, tuple[Event, Sym, tuple[str, ...]]]:
    """List wrong successors, each with all the invariants that it violates."""
    shut, off = _shut(c), c._replace(closing=c.closing - 1)
    less = c._replace(in_use=c.in_use - 1)
    replaced = settled(less)._replace(closing=c.closing + 1)
    unretired = settled(shut._replace(retired_creations=c.retired_creations))
    crowded = settled(shut._replace(waiting=c.waiting))
    hasty = c._replace(floor=z3.IntVal(ON), creating=c.creating + MAX_SIZE - c.size)
    retired_twice = settled(
        c._replace(creating=c.creating - 1, retired_creations=c.retired_creations - 2)
    )
    reopened = settled(shut._replace(phase=z3.IntVal(OPEN)))
    unsettled = ("NoLostWakeup", "FloorKept", "CloseWaits")
    return {
        "keeps what comes back": (
            Event.GIVE_BACK,
            less._replace(idle=c.idle + 1),
            ("NoLostWakeup",),
        ),
        "forgets the free slot": (Event.CLOSER_ENDED, off, unsettled),
        "replaces before closed": (Event.DISCARD, replaced, ("SizeWithinLimit", *unsettled)),
        "closes, creations not retired": (Event.CLOSE, unretired, ("NothingAfterClose",)),
        "closes, waiters stay in the queue": (
            Event.CLOSE,
            crowded,
            ("NoLostWakeup", "NothingAfterClose"),
        ),
        "is closed too early": (
            Event.CLOSE,
            shut._replace(phase=z3.IntVal(CLOSED)),
            ("CloseWaits",),
        ),
        "creates all at once": (Event.RETRY_FLOOR, hasty, ("CreatingWithinLimit",)),
        "counts a retired creation twice": (
            Event.RETIRED_CREATE_FAILED,
            retired_twice,
            ("TypeOK", "NothingAfterClose"),
        ),
        "opens again": (Event.TERMINATE, reopened, ("PhaseForward",)),
    }


BUGS = {
    name: (Step(EVENTS[event].guard, after), violated)
    for name, (event, after, violated) in _bugs(NOW).items()
}


def bugs() -> Result:
    """Check that each seeded bug violates exactly the expected invariants."""

    def work() -> tuple[bool, str]:
        found = {name: tuple(violations(step)) for name, (step, _) in BUGS.items()}
        wrong = [
            f"{name}: {', '.join(found[name]) or 'not found'}"
            for name, (_, expected) in BUGS.items()
            if found[name] != expected
        ]
        return not wrong, "; ".join(wrong) or f"{len(BUGS)} seeded bugs refuted"

    return timed("each by the invariants that it is expected to violate", work)


def check() -> list[Result]:
    """Run all proofs of this module."""
    return [induction(), closing_ends(), bugs()]


def main() -> int:
    from proofs.z3_agreement import agreement

    results = [*check(), agreement(2_000)]
    print(*results, sep="\n")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
