"""The counting model's invariants are inductive, and closing ends, proved by Z3 for every size.

The events are written here a second time, one formula each, on integers without bound; so this is
a second opinion about ``_counts``; ``z3_agreement`` shows on sampled states that both say the same.

Proved for all well-formed limits, all counts that satisfy the invariants, and all k:
    every event preserves every invariant, and is possible;
    the phase never goes back, and no event is possible once the pool is closed;
    while closing, each event that a closing pool waits for makes `ranking` smaller, no other
    event makes it larger, and until the pool is closed one of them is possible. So closing ends
    if creations, closers and users end (CloseCompletes).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.counts import (
    Event,
)
from proofs.result import Result

__all__ = ["BUGS", "EVENTS", "bugs", "check", "closing_ends", "induction"]

OPEN, CLOSING, CLOSED = range(3)  # phases
OFF, ON, BACKOFF = range(3)  # whether the floor is kept

Formula: TypeAlias = z3.BoolRef


class Sym(NamedTuple):
    """Counts whose numbers are terms."""

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
        return self.coming + self.idle + self.in_use


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


def _least(a: z3.ArithRef, b: z3.ArithRef) -> z3.ArithRef:
    return z3.If(a < b, a, b)


def _most(a: z3.ArithRef, b: z3.ArithRef | int) -> z3.ArithRef:
    return z3.If(a < b, b, a)


def invariants(c: Sym) -> dict[str, Formula]:
    """What always holds, by the names of the specification."""
    full = z3.Or(c.size == MAX_SIZE, c.creating == MAX_CREATING)
    is_open = c.phase == OPEN
    numbers = (c.retired_creations, c.idle, c.in_use, c.closing, c.waiting)
    return {
        "TypeOK": z3.And(c.retired_creations <= c.creating, *(number >= 0 for number in numbers)),
        "SizeWithinLimit": c.size <= MAX_SIZE,
        "CreatingWithinLimit": c.creating <= MAX_CREATING,
        "NoLostWakeup": z3.Or(
            c.waiting == 0, z3.And(c.idle == 0, z3.Or(full, c.coming >= c.waiting))
        ),
        "FloorKept": z3.Implies(z3.And(is_open, c.floor == ON), z3.Or(c.staying >= MIN_SIZE, full)),
        "NothingAfterClose": z3.Or(
            is_open, z3.And(c.idle == 0, c.waiting == 0, c.retired_creations == c.creating)
        ),
        "CloseWaits": z3.Or(is_open, (c.phase == CLOSED) == (c.size == 0)),
    }


def typed(c: Sym) -> Formula:
    return z3.And(c.phase >= OPEN, c.phase <= CLOSED, c.floor >= OFF, c.floor <= BACKOFF)


ALWAYS = z3.And(WELL_FORMED, typed(NOW), *invariants(NOW).values())


def missing(c: Sym) -> z3.ArithRef:
    """How many creations to start now."""
    wanted = _most(c.waiting - c.usable_creations, z3.If(c.floor == ON, MIN_SIZE - c.usable_size, 0))
    room = _least(MAX_SIZE - c.size, MAX_CREATING - c.creating)
    return z3.If(c.phase == OPEN, _most(_least(wanted, room), 0), 0)


def settled(c: Sym) -> Sym:
    n = z3.If(c.phase == OPEN, _least(c.waiting, c.idle), 0)
    c = c._replace(waiting=c.waiting - n, idle=c.idle - n, in_use=c.in_use + n)
    c = c._replace(creating=c.creating + missing(c))
    return c._replace(phase=z3.If(z3.And(c.phase == CLOSING, c.size == 0), CLOSED, c.phase))


def _wanted(c: Sym) -> Sym:
    """One more waits, so the floor is kept from now on."""
    return c._replace(waiting=c.waiting + 1, floor=z3.If(c.floor == OFF, ON, c.floor))


def _may_wait(c: Sym) -> Formula:
    joined = _wanted(c)
    return z3.Implies(LIMITED, joined.waiting - joined.coming - missing(joined) <= MAX_WAITING)


def _swept(c: Sym) -> Sym:
    return c._replace(idle=c.idle - K, closing=c.closing + K)


def _shut(c: Sym) -> Sym:
    zero = z3.IntVal(0)
    return Sym(c.creating, c.creating, zero, c.in_use, c.closing + c.idle, zero,
               z3.IntVal(CLOSING), z3.IntVal(OFF))  # fmt: skip


def _after_failure(c: Sym) -> Sym:
    lost = c._replace(creating=c.creating - 1)
    told = lost._replace(waiting=z3.If(lost.waiting > lost.usable_creations, lost.waiting - 1, lost.waiting))
    return told._replace(floor=z3.If(told.staying < MIN_SIZE, BACKOFF, told.floor))


class Step(NamedTuple):
    """An event as a formula: when it is possible, and what the counts are afterwards."""

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
    undoomed = unmade._replace(retired_creations=c.retired_creations - 1)
    on = z3.IntVal(ON)
    moved = {
        Event.OPEN: (z3.And(is_open, c.floor == OFF), c._replace(floor=on)),
        Event.ACQUIRE: (z3.And(some_idle, z3.Or(c.idle > 0, _may_wait(c))), _swept(_wanted(c))),
        Event.LEAVE: (c.waiting > 0, c._replace(waiting=c.waiting - 1)),
        Event.GIVE_BACK: (z3.And(is_open, used), less._replace(idle=c.idle + 1)),
        Event.DISCARD: (used, less._replace(closing=c.closing + 1)),
        Event.DETACH: (used, less),
        Event.REQUEUE: (
            z3.And(some_idle, used),
            _swept(less._replace(closing=c.closing + 1, waiting=c.waiting + 1)),
        ),
        Event.CREATE_SUCCEEDED: (c.coming > 0, unmade._replace(idle=c.idle + 1, floor=on)),
        Event.RETIRED_CREATE_SUCCEEDED: (c.retired_creations > 0, undoomed._replace(closing=c.closing + 1)),
        Event.CREATE_FAILED: (c.coming > 0, _after_failure(c)),
        Event.RETIRED_CREATE_FAILED: (c.retired_creations > 0, undoomed),
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
    """Whether the formulas can hold together; an answer other than yes or no is an error."""
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*formulas)
    answer = solver.check()
    if answer == z3.unknown:
        raise RuntimeError(f"Z3 does not know: {solver.reason_unknown()}")
    return bool(answer == z3.sat)


def violations(step: Step) -> list[str]:
    """The invariants, and PhaseForward, that a step from a good state can violate."""
    claims = invariants(THEN) | {"PhaseForward": THEN.phase >= NOW.phase}
    goals = claims.items()
    return [name for name, goal in goals if satisfiable(ALWAYS, step.formula, z3.Not(goal))]


def timed(guarantee: str, work: Callable[[], tuple[bool, str]]) -> Result:
    begin = time.perf_counter()
    ok, figure = work()
    return Result("Z3", guarantee, figure, ok, time.perf_counter() - begin)


def induction() -> Result:
    """Every event is possible, from a good state, and leads to good states only."""

    def work() -> tuple[bool, str]:
        new = [number == 0 for number in NOW]
        wrong = [f"Init violates {name}" for name, holds in invariants(NOW).items()
                 if satisfiable(WELL_FORMED, *new, z3.Not(holds))]  # fmt: skip
        for event, step in EVENTS.items():
            wrong += [f"{event.value} violates {name}" for name in violations(step)]
            if not satisfiable(ALWAYS, step.formula):
                wrong.append(f"{event.value} is impossible")
        figure = f"inductive over {len(EVENTS)} events, each possible, any size"
        return not wrong, "; ".join(wrong) or figure

    return timed(", ".join([*invariants(NOW), "PhaseForward"]), work)


# What a closing pool waits for: creations end, closers end, users give back or keep for good.
ENDING = (
    Event.RETIRED_CREATE_SUCCEEDED,
    Event.RETIRED_CREATE_FAILED,
    Event.CLOSER_ENDED,
    Event.DISCARD,
    Event.DETACH,
)


def ranking(c: Sym) -> z3.ArithRef:
    """How many events are left at most; being closed counts as one."""
    return 2 * c.creating + 2 * c.in_use + c.closing


def closing_ends() -> Result:
    """CloseCompletes, if what ENDING names happens whenever it is possible for ever."""

    def work() -> tuple[bool, str]:
        closing = z3.And(ALWAYS, NOW.phase == CLOSING)
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
            if satisfiable(ALWAYS, NOW.phase == CLOSED, step.guard):
                wrong.append(f"{event.value} leads out of closed")
        figure = f"the ranking decreases in {len(ENDING)} events, grows in none, any size"
        return not wrong, "; ".join(wrong) or figure

    return timed("CloseCompletes", work)


def _bugs(c: Sym) -> dict[str, tuple[Event, Sym, tuple[str, ...]]]:
    """Wrong successors, with what they violate: that, and nothing else."""
    shut, off = _shut(c), c._replace(closing=c.closing - 1)
    less = c._replace(in_use=c.in_use - 1)
    replaced = settled(less)._replace(closing=c.closing + 1)
    undoomed = settled(shut._replace(retired_creations=c.retired_creations))
    crowded = settled(shut._replace(waiting=c.waiting))
    hasty = c._replace(floor=z3.IntVal(ON), creating=c.creating + MAX_SIZE - c.size)
    doomed_twice = settled(c._replace(creating=c.creating - 1, retired_creations=c.retired_creations - 2))
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
        "closes, creations undoomed": (Event.CLOSE, undoomed, ("NothingAfterClose",)),
        "closes, waiters asleep": (Event.CLOSE, crowded, ("NoLostWakeup", "NothingAfterClose")),
        "is closed too early": (
            Event.CLOSE,
            shut._replace(phase=z3.IntVal(CLOSED)),
            ("CloseWaits",),
        ),
        "creates all at once": (Event.RETRY_FLOOR, hasty, ("CreatingWithinLimit",)),
        "dooms a creation twice": (
            Event.RETIRED_CREATE_FAILED,
            doomed_twice,
            ("TypeOK", "NothingAfterClose"),
        ),
        "opens again": (Event.TERMINATE, reopened, ("PhaseForward",)),
    }


BUGS = {
    name: (Step(EVENTS[event].guard, after), violated)
    for name, (event, after, violated) in _bugs(NOW).items()
}


def bugs() -> Result:
    """Each seeded bug violates the invariants that it is expected to."""

    def work() -> tuple[bool, str]:
        found = {name: tuple(violations(step)) for name, (step, _) in BUGS.items()}
        wrong = [
            f"{name}: {', '.join(found[name]) or 'not found'}"
            for name, (_, expected) in BUGS.items()
            if found[name] != expected
        ]
        return not wrong, "; ".join(wrong) or f"{len(BUGS)} seeded bugs refuted"

    return timed("each by what it is expected to violate", work)


def check() -> list[Result]:
    return [induction(), closing_ends(), bugs()]


def main() -> int:
    from proofs.z3_agreement import agreement

    results = [*check(), agreement(2_000)]
    print(*results, sep="\n")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
