"""The actions of ``AsyncResourcePool.tla`` as formulas, on any number of tasks and slots.

A slot is room for one resource. There are max_size slots, but no formula knows that number. So
SizeWithinLimit needs no proof here. Tasks and slots are sorts without a bound (`UNBOUNDED`), or a
few elements (`Universe.of`). With a few elements, ``z3_tie`` compares the same formulas with the
machine's graphs. The invariants are in ``z3_induction``.

A state has the phase, the place of each slot, the occupation of each task, and the owner of each
slot. It also knows which slots are of an old generation. Order, age, trust and numbers are no part
of it. So all that depends on them is a free choice (`Choices`):

* which waiter is served, and which one gets the error of a failed creation;
* which slots are overdue or too old, and which need a check;
* how many creations start, and whether the queue is full.

A proof holds for all choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import actions
from proofs.z3_state import (
    CHECKING,
    CLOSED,
    CLOSING,
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
    StepTo,
    Term,
    Universe,
)

__all__ = ["Actions", "Choices", "Step"]


class Choices(NamedTuple):
    """The free choices as unknowns. An action is possible if some choice fits."""

    t: Term  # the task of the action
    r: Term  # its slot
    head: Term  # the waiter that is handed an idle slot
    last: Term  # the idle slot that is handed over
    got: Term  # the idle slot that an acquirer takes
    failed: Term  # the waiter that gets the error of a failed creation
    swept: Callable[[Term], Formula]  # idle slots that are overdue
    started: Callable[[Term], Formula]  # slots whose creation starts
    fails_waiter: Formula  # does a waiter get the error of a failed creation?
    fit: Formula  # is the resource that comes back young enough?
    checked: Formula  # does the resource that an acquirer gets need a check?
    checks: Formula  # the pool's options, as in the specification
    resets: Formula
    retires: Formula
    leaves: Formula

    @classmethod
    def named(cls, universe: Universe) -> Choices:
        """Make unknowns with the names of the fields."""
        t, s, boolean = universe.task, universe.slot, z3.BoolSort()
        sorts = {"t": t, "r": s, "head": t, "last": s, "got": s, "failed": t}
        elements = [z3.Const(name, sort) for name, sort in sorts.items()]
        sets = [z3.Function(name, s, boolean) for name in ("swept", "started")]
        return cls(*elements, *sets, *map(z3.Bool, cls._fields[8:]))


Step: TypeAlias = StepTo[State]


class Actions:
    """The actions of the specification, each under its name, as steps from one state."""

    def __init__(self, universe: Universe, now: State, choices: Choices) -> None:
        self.universe, self.now, self.choices = universe, now, choices
        self.lease = now.owns(choices.t, choices.r)

    def named(self) -> dict[str, Step]:
        """List the step of each action that the machine has, in the machine's order."""
        return {name: getattr(self, name)() for name in actions(PoolMachine).values()}

    # Pieces of steps.

    def does(self, *doings: Term) -> Formula:
        """Say that the task does one of these."""
        return z3.Or([self.now.task(self.choices.t) == doing for doing in doings])

    def hand_over(self, s: State) -> Step:
        """Hand an idle slot, if there is one, to a waiter, if there is one."""
        c, some = self.choices, self.universe.some
        ready = z3.And(
            s.phase == OPEN,
            some(lambda t: s.task(t) == WAITING, t="task"),
            some(lambda r: s.place(r) == IDLE, r="slot"),
        )
        fits = z3.And(s.task(c.head) == WAITING, s.place(c.last) == IDLE)
        return Step(fits, s.give(c.head, HANDED, c.last)).where(ready, Step(z3.BoolVal(True), s))

    def start(self, s: State) -> Step:
        """Start creations: at least one if a task waits, a slot is free and none is in flight."""
        c, some, every = self.choices, self.universe.some, self.universe.every
        after = s.put(c.started, CREATING)
        needed = z3.And(
            s.phase == OPEN,
            some(lambda t: after.task(t) == WAITING, t="task"),
            some(lambda r: after.place(r) == FREE, r="slot"),
        )
        room = every(
            lambda r: z3.Implies(c.started(r), z3.And(s.phase == OPEN, s.place(r) == FREE)),
            r="slot",
        )
        runs = some(lambda r: after.place(r) == CREATING, r="slot")
        in_order = self.universe.in_order(c.started, lambda r: s.place(r) == FREE)
        return Step(z3.And(room, z3.Implies(needed, runs), in_order), after)

    def end(self, s: State) -> State:
        """Close the pool if no slot is left."""
        empty = self.universe.every(lambda r: s.place(r) == FREE, r="slot")
        return replace(s, phase=CLOSED).where(z3.And(s.phase == CLOSING, empty), s)

    def settle(self, step: Step) -> Step:
        """Add the common end of all steps: hand over, start creations, see whether it is closed."""
        handed = self.hand_over(step.after)
        started = self.start(handed.after)
        return Step(z3.And(step.guard, handed.guard, started.guard), self.end(started.after))

    def then(self, s: State, *conditions: Formula) -> Step:
        """Go to a state under these conditions, and settle."""
        return self.settle(Step(z3.And(*conditions), s))

    def seek(self, s: State) -> Step:
        """Sweep. Then let the task have an idle slot, or wait if there is none."""
        c = self.choices
        swept = s.put(c.swept, IN_CLOSING)
        overdue = self.universe.every(
            lambda r: z3.Implies(c.swept(r), s.place(r) == IDLE), r="slot"
        )
        found = self.universe.some(lambda r: swept.place(r) == IDLE, r="slot")
        gets = Step(swept.place(c.got) == IDLE, swept.give(c.t, self.doing(), c.got))
        waits = Step(z3.BoolVal(True), swept.send(c.t, WAITING))
        return gets.where(found, waits).only_if(overdue, self.may_check())

    def doing(self) -> Term:
        """Return what the task does when it gets a slot."""
        return z3.If(self.choices.checked, CHECKING, HOLDING)

    def may_check(self) -> Formula:
        """Allow a check only if the pool has one."""
        return z3.Implies(self.choices.checked, self.choices.checks)

    def close_leased(self) -> State:
        """Take the slot from the task, and close it."""
        return self.now.send(self.choices.t, OUT).put(lambda s: s == self.choices.r, IN_CLOSING)

    def retry(self) -> Step:
        """Close the task's unfit slot, and let the task try again."""
        shut = Step(z3.BoolVal(True), self.close_leased())
        return self.settle(self.seek(shut.after).where(self.now.phase == OPEN, shut))

    def give_back(self) -> State:
        """Take the slot from the task. Make it idle if it is fit, else close it."""
        c, left = self.choices, self.now.send(self.choices.t, OUT)
        kept = replace(left, place=lambda s: z3.If(s == c.r, IDLE, left.place(s)))
        fit = z3.And(c.fit, z3.Not(self.now.retired(c.r)))
        return kept.where(fit, self.close_leased())

    def retire(self) -> State:
        """Retire all creations and all slots in use, and close the idle slots."""
        now = self.now
        shut = now.put(lambda s: now.place(s) == IDLE, IN_CLOSING)
        left = (CREATING, IN_USE)
        return replace(shut, retired=lambda s: z3.Or([now.place(s) == place for place in left]))

    def shut(self) -> State:
        """Begin to close: fail the waiters, and retire everything."""
        retired = self.retire()
        return replace(
            retired,
            phase=CLOSING,
            task=lambda t: z3.If(retired.task(t) == WAITING, OUT, retired.task(t)),
        )

    # Actions of tasks.

    def Acquire(self) -> Step:  # noqa: N802
        return self.settle(self.seek(self.now)).only_if(self.now.phase == OPEN, self.does(OUT))

    def Resume(self) -> Step:  # noqa: N802
        c = self.choices
        has = Step(self.may_check(), self.now.give(c.t, self.doing(), c.r))
        step = self.retry().where(self.now.retired(c.r), has)
        return step.only_if(self.does(HANDED), self.lease)

    def CheckPassed(self) -> Step:  # noqa: N802
        c = self.choices
        has = Step(z3.BoolVal(True), self.now.give(c.t, HOLDING, c.r))
        fit = z3.And(c.fit, z3.Not(self.now.retired(c.r)))
        return has.where(fit, self.retry()).only_if(self.does(CHECKING), self.lease)

    def CheckFailed(self) -> Step:  # noqa: N802
        # No resource is trusted now, so the next one that the task gets needs a check.
        no_trust = z3.Implies(self.choices.checks, self.choices.checked)
        return self.retry().only_if(self.does(CHECKING), self.lease, no_trust)

    def Timeout(self) -> Step:  # noqa: N802
        leaves = self.then(self.now.send(self.choices.t, OUT))
        closes = self.then(self.close_leased(), self.does(CHECKING), self.lease)
        return leaves.where(self.does(WAITING), closes)

    def Cancel(self) -> Step:  # noqa: N802
        leaves = self.then(self.now.send(self.choices.t, OUT))
        gives = self.then(self.give_back(), self.lease)
        closes = self.then(self.close_leased(), self.does(CHECKING, RESETTING), self.lease)
        return leaves.where(self.does(WAITING), gives.where(self.does(HANDED), closes))

    def Release(self) -> Step:  # noqa: N802
        c = self.choices
        resets = Step(z3.BoolVal(True), self.now.give(c.t, RESETTING, c.r))
        step = resets.where(c.resets, self.then(self.give_back()))
        return step.only_if(self.does(HOLDING), self.lease)

    def ResetPassed(self) -> Step:  # noqa: N802
        return self.then(self.give_back(), self.does(RESETTING), self.lease)

    def ResetFailed(self) -> Step:  # noqa: N802
        return self.then(self.close_leased(), self.does(RESETTING), self.lease)

    def Discard(self) -> Step:  # noqa: N802
        return self.then(self.close_leased(), self.choices.leaves, self.does(HOLDING), self.lease)

    def Detach(self) -> Step:  # noqa: N802
        gone = self.now.send(self.choices.t, OUT).put(lambda s: s == self.choices.r, FREE)
        return self.then(gone, self.choices.leaves, self.does(HOLDING), self.lease)

    # Actions of the pool.

    def Open(self) -> Step:  # noqa: N802
        return self.then(self.now, self.now.phase == OPEN)

    def CreateSucceeded(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        kept = replace(now, place=lambda s: z3.If(s == r, IDLE, now.place(s)))
        shut = now.put(lambda s: s == r, IN_CLOSING)
        return self.then(shut.where(now.retired(r), kept), now.place(r) == CREATING)

    def CreateFailed(self) -> Step:  # noqa: N802
        now, c = self.now, self.choices
        lost = now.put(lambda s: s == c.r, FREE)
        after = lost.send(c.failed, OUT).where(c.fails_waiter, lost)
        may_fail = z3.And(now.task(c.failed) == WAITING, z3.Not(now.retired(c.r)))
        guard = z3.Implies(c.fails_waiter, may_fail)
        return self.then(after, now.place(c.r) == CREATING, guard)

    def CloserEnded(self) -> Step:  # noqa: N802
        r = self.choices.r
        return self.then(self.now.put(lambda s: s == r, FREE), self.now.place(r) == IN_CLOSING)

    def Sweep(self) -> Step:  # noqa: N802
        now, swept = self.now, self.choices.swept
        overdue = self.universe.every(
            lambda r: z3.Implies(swept(r), now.place(r) == IDLE), r="slot"
        )
        some = self.universe.some(swept, r="slot")
        return self.then(now.put(swept, IN_CLOSING), now.phase == OPEN, overdue, some)

    def RetryFloor(self) -> Step:  # noqa: N802
        return self.then(self.now, self.now.phase == OPEN)

    def RetireAll(self) -> Step:  # noqa: N802
        return self.then(self.retire(), self.choices.retires, self.now.phase == OPEN)

    def Close(self) -> Step:  # noqa: N802
        return self.then(self.shut(), self.now.phase == OPEN)

    def Terminate(self) -> Step:  # noqa: N802
        now, shut = self.now, self.shut()

        def held(s: Term) -> Formula:
            return self.universe.some(
                lambda t: z3.And(now.owns(t, s), now.task(t) == HOLDING), t="task"
            )

        gone = shut.put(held, FREE)
        gone = replace(
            gone,
            task=lambda t: z3.If(now.task(t) == HOLDING, OUT, shut.task(t)),
            owns=lambda t, s: z3.And(now.task(t) != HOLDING, shut.owns(t, s)),
        )
        return self.then(gone, self.choices.leaves, now.phase != CLOSED)
