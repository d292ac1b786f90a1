"""Who has what: the actions of ``AsyncResourcePool.tla`` on any number of tasks and resources.

A slot is room for one resource; there are as many as max_size, and their number is not known here.
So SizeWithinLimit is in the shape of the state, and needs no proof. Tasks and slots are sorts
without a bound (`UNBOUNDED`), or some few elements (`Universe.of`), which is how
``z3_tie`` compares the very same formulas with the machine's graphs. The invariants are in
``z3_induction``.

What a state says: the phase, where each slot is, what each task does, which task has which slot,
and which slots are of an old generation. What it leaves open: order, age, trust and numbers. Who
is served, what is overdue, too old or needs a check, whom a failure is told, how many creations
start and whether the queue is full are therefore any choice here (`Choices`): what is proved holds
whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import z3  # type: ignore[import-untyped]

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
    Term,
    Universe,
)

__all__ = ["Actions", "Choices", "Step"]


class Choices(NamedTuple):
    """What is left open, as unknowns: an action is possible if there are some that fit."""

    t: Term  # the task of the action
    r: Term  # its slot
    head: Term  # who is handed an idle slot
    last: Term  # the idle slot that is handed over
    got: Term  # the idle slot that a seeker gets
    whom: Term  # who is told of a failure
    swept: Callable[[Term], Formula]  # idle slots that are overdue
    started: Callable[[Term], Formula]  # slots whose creation starts
    told: Formula  # is somebody told of a failure?
    fit: Formula  # is what comes back young enough?
    checked: Formula  # has what is given to be checked?
    checks: Formula  # the pool's options, as in the specification
    resets: Formula
    retires: Formula
    leaves: Formula

    @classmethod
    def named(cls, universe: Universe) -> Choices:
        t, s, boolean = universe.task, universe.slot, z3.BoolSort()
        sorts = {"t": t, "r": s, "head": t, "last": s, "got": s, "whom": t}
        elements = [z3.Const(name, sort) for name, sort in sorts.items()]
        sets = [z3.Function(name, s, boolean) for name in ("swept", "started")]
        return cls(*elements, *sets, *map(z3.Bool, cls._fields[8:]))


class Step(NamedTuple):
    """When something is possible, and the state that it leads to."""

    guard: Formula
    after: State

    def where(self, condition: Formula, other: Step) -> Step:
        """This step if the condition holds, else the other."""
        return Step(
            z3.If(condition, self.guard, other.guard), self.after.where(condition, other.after)
        )

    def only_if(self, *conditions: Formula) -> Step:
        return Step(z3.And(*conditions, self.guard), self.after)


class Actions:
    """The actions of the specification, each under its name, as steps from one state."""

    def __init__(self, universe: Universe, now: State, choices: Choices) -> None:
        self.universe, self.now, self.choices = universe, now, choices
        self.lease = now.owns(choices.t, choices.r)

    def named(self) -> dict[str, Step]:
        """Every action that the pool performs or that is done to it."""
        return {name: getattr(self, name)() for name in dir(Actions) if name[0].isupper()}

    # Pieces of steps.

    def does(self, *doings: Term) -> Formula:
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
        """Start creations: at least one if somebody waits, there is room, and none is in flight."""
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
        """Closed, if that was the end."""
        empty = self.universe.every(lambda r: s.place(r) == FREE, r="slot")
        return replace(s, phase=CLOSED).where(z3.And(s.phase == CLOSING, empty), s)

    def settle(self, step: Step) -> Step:
        """Every step of the pool ends so."""
        handed = self.hand_over(step.after)
        started = self.start(handed.after)
        return Step(z3.And(step.guard, handed.guard, started.guard), self.end(started.after))

    def then(self, s: State, *conditions: Formula) -> Step:
        return self.settle(Step(z3.And(*conditions), s))

    def seek(self, s: State) -> Step:
        """Sweep; then the task gets an idle slot, or waits if there is none."""
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
        return z3.If(self.choices.checked, CHECKING, HOLDING)

    def may_check(self) -> Formula:
        return z3.Implies(self.choices.checked, self.choices.checks)

    def close_leased(self) -> State:
        """The task is done with its slot, which must not be used again."""
        return self.now.send(self.choices.t, OUT).put(lambda s: s == self.choices.r, IN_CLOSING)

    def again(self) -> Step:
        """What the task was given is unfit: close it, and look again."""
        shut = Step(z3.BoolVal(True), self.close_leased())
        return self.settle(self.seek(shut.after).where(self.now.phase == OPEN, shut))

    def give_back(self) -> State:
        """The task is done with its slot, which may be used again if it is fit."""
        c, left = self.choices, self.now.send(self.choices.t, OUT)
        shelved = replace(left, place=lambda s: z3.If(s == c.r, IDLE, left.place(s)))
        fit = z3.And(c.fit, z3.Not(self.now.retired(c.r)))
        return shelved.where(fit, self.close_leased())

    def retire(self) -> State:
        """All that exists or is being created is of an old generation."""
        now = self.now
        shut = now.put(lambda s: now.place(s) == IDLE, IN_CLOSING)
        left = (CREATING, IN_USE)
        return replace(shut, retired=lambda s: z3.Or([now.place(s) == place for place in left]))

    def shut(self) -> State:
        """The end begins: waiters fail, everything is retired."""
        told = self.retire()
        return replace(
            told,
            phase=CLOSING,
            task=lambda t: z3.If(told.task(t) == WAITING, OUT, told.task(t)),
        )

    # What tasks do.

    def Acquire(self) -> Step:  # noqa: N802
        return self.settle(self.seek(self.now)).only_if(self.now.phase == OPEN, self.does(OUT))

    def Resume(self) -> Step:  # noqa: N802
        c = self.choices
        has = Step(self.may_check(), self.now.give(c.t, self.doing(), c.r))
        step = self.again().where(self.now.retired(c.r), has)
        return step.only_if(self.does(HANDED), self.lease)

    def CheckPassed(self) -> Step:  # noqa: N802
        c = self.choices
        has = Step(z3.BoolVal(True), self.now.give(c.t, HOLDING, c.r))
        fit = z3.And(c.fit, z3.Not(self.now.retired(c.r)))
        return has.where(fit, self.again()).only_if(self.does(CHECKING), self.lease)

    def CheckFailed(self) -> Step:  # noqa: N802
        doubt = z3.Implies(self.choices.checks, self.choices.checked)  # nothing is trusted now
        return self.again().only_if(self.does(CHECKING), self.lease, doubt)

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

    # What the pool does, or what is done to it.

    def Open(self) -> Step:  # noqa: N802
        return self.then(self.now, self.now.phase == OPEN)

    def CreateSucceeded(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        shelved = replace(now, place=lambda s: z3.If(s == r, IDLE, now.place(s)))
        retired_creations = now.put(lambda s: s == r, IN_CLOSING)
        return self.then(retired_creations.where(now.retired(r), shelved), now.place(r) == CREATING)

    def CreateFailed(self) -> Step:  # noqa: N802
        now, c = self.now, self.choices
        lost = now.put(lambda s: s == c.r, FREE)
        told = lost.send(c.whom, OUT).where(c.told, lost)
        tells = z3.Implies(c.told, z3.And(now.task(c.whom) == WAITING, z3.Not(now.retired(c.r))))
        return self.then(told, now.place(c.r) == CREATING, tells)

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
