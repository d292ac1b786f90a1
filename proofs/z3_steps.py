"""The actions of ``AsyncResourcePool.tla`` as formulas, on any number of tasks and slots.

A state has no numbers, see ``z3_state``. So all that the counting rules decide is a free choice
(`Choices`), and a proof holds for all choices:

* how many checks and creations start, and how far a sweep or a lowered limit goes;
* whether a failed creation fails a waiter, and whether what comes back exceeds the limit;
* whether one more acquirer may wait.

The formulas assume a few rules about these choices. ``z3_choices`` proves them by running the
counting rules themselves. ``z3_tie`` compares the formulas with the graphs of the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import z3  # type: ignore[import-untyped]

from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency.verify._walk import TIME
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

__all__ = ["ACTIONS", "Actions", "Choices", "Step"]

ACTIONS = (*actions(PoolMachine).values(), *sorted(TIME))
"""The names of all actions: those of the machine, and those in which time passes."""

Those = Callable[[Term], Formula]
Step: TypeAlias = StepTo[State]


class Choices(NamedTuple):
    """The free choices as unknowns. An action is possible if some choice fits."""

    t: Term  # the task of the action
    r: Term  # its slot
    first: Term  # the waiter that gets what a creation or a check made ready
    head: Term  # the waiter that is handed an idle slot
    failed: Term  # the waiter that gets the error of a failed creation
    got: Term  # the idle slot that an acquirer takes
    served: Term  # the idle slot that is handed over
    spare: Term  # a rank: of the stale slots, those below it are swept
    surplus: Term  # a rank: a lowered limit closes the idle slots below it
    checked: Those  # slots whose check starts
    started: Those  # slots whose creation starts
    fails_waiter: Formula  # does a waiter get the error of a failed creation?
    exceeds: Formula  # does the resource that comes back exceed the limit?
    ages: Formula  # the pool's options, as in the specification
    idles: Formula
    checks: Formula
    check_skips: Formula
    resets: Formula
    fifo: Formula
    retires: Formula
    leaves: Formula

    @classmethod
    def named(cls, universe: Universe) -> Choices:
        """Make unknowns with the names of the fields."""
        t, s = universe.task, universe.slot
        sorts = {"t": t, "r": s, "first": t, "head": t, "failed": t, "got": s, "served": s}
        elements = [z3.Const(name, sort) for name, sort in sorts.items()]
        sets = [z3.Function(name, s, z3.BoolSort()) for name in ("checked", "started")]
        ranks = map(z3.Int, ("spare", "surplus"))
        made = cls(*elements, *ranks, *sets, *map(z3.Bool, cls._fields[11:]))
        return made._replace(check_skips=z3.And(made.checks, made.check_skips))

    @property
    def options(self) -> dict[str, Formula]:
        """The pool's options, by the names of the specification."""
        names = ("Ages", "Idles", "Checks", "CheckSkips", "Resets", "Fifo", "Retires", "Leaves")
        return dict(zip(names, self[13:], strict=True))


class Actions:
    """The actions of the specification, each under its name, as steps from one state."""

    def __init__(self, universe: Universe, now: State, choices: Choices) -> None:
        self.universe, self.now, self.choices = universe, now, choices
        self.lease = now.owns(choices.t, choices.r)

    def named(self) -> dict[str, Step]:
        """List the step of each action."""
        return {name: getattr(self, name)() for name in ACTIONS}

    # Questions about a state.

    def a_task(self, claim: Those) -> Formula:
        """Say that the claim holds for some task."""
        return self.universe.some(claim, t="task")

    def a_slot(self, claim: Those) -> Formula:
        """Say that the claim holds for some slot."""
        return self.universe.some(claim, r="slot")

    def all_slots(self, claim: Those) -> Formula:
        """Say that the claim holds for all slots."""
        return self.universe.every(claim, r="slot")

    def waits(self, s: State) -> Formula:
        """Say that a task waits."""
        return self.a_task(lambda t: s.task(t) == WAITING)

    def is_ready(self, s: State, r: Term) -> Formula:
        """Say that a slot is idle and needs no check now."""
        return z3.And(s.place(r) == IDLE, z3.Or(z3.Not(self.choices.checks), s.trusted(r)))

    def is_unchecked(self, s: State, r: Term) -> Formula:
        """Say that a slot is idle and needs a check before its next use."""
        return z3.And(s.place(r) == IDLE, self.choices.checks, z3.Not(s.trusted(r)))

    def works(self, s: State) -> Formula:
        """Say that work is in flight whose result may be handed over."""
        return self.a_slot(lambda r: z3.And(s.at(r, CREATING, CHECKING), z3.Not(s.retired(r))))

    def is_first(self, s: State, t: Term) -> Formula:
        """Say that a task waits, and that it has waited longest."""
        return z3.And(
            s.task(t) == WAITING,
            self.universe.every(
                lambda u: z3.Implies(s.task(u) == WAITING, s.ticket(t) <= s.ticket(u)), u="task"
            ),
        )

    def is_before(self, s: State, q: Term, r: Term) -> Formula:
        """Say that of two idle slots the first is used next."""
        return z3.If(self.choices.fifo, s.rank(q) < s.rank(r), s.rank(q) > s.rank(r))

    def is_next(self, s: State, r: Term) -> Formula:
        """Say that a slot is ready, and that it is used next."""
        others = self.universe.every(
            lambda q: z3.Implies(z3.And(self.is_ready(s, q), q != r), self.is_before(s, r, q)),
            q="slot",
        )
        return z3.And(self.is_ready(s, r), others)

    # Pieces of steps.

    def hand_over(self, s: State) -> Step:
        """Hand a ready slot, if there is one, to the longest-waiting task, if there is one.

        After a good state and one event, no second pair is left: NoLostWakeup proves that.
        """
        c = self.choices
        pair = z3.And(s.phase == OPEN, self.waits(s), self.a_slot(lambda r: self.is_ready(s, r)))
        fits = z3.And(self.is_first(s, c.head), self.is_next(s, c.served))
        return Step(fits, s.give(c.head, HANDED, c.served)).where(pair, Step(z3.BoolVal(True), s))

    def start_work(self, s: State) -> Step:
        """Start checks and creations, as many as the counting rules say."""
        c = self.choices

        def next_ones(r: Term, q: Term) -> Formula:
            passed = z3.And(self.is_unchecked(s, q), self.is_before(s, q, r))
            return z3.Implies(z3.And(c.checked(r), passed), c.checked(q))

        may_check = z3.And(s.phase == OPEN, self.waits(s))
        checked = s.move(c.checked, CHECKING)
        after = checked.put(c.started, CREATING)
        guard = z3.And(
            self.all_slots(
                lambda r: z3.Implies(c.checked(r), z3.And(may_check, self.is_unchecked(s, r)))
            ),
            self.universe.every(next_ones, r="slot", q="slot"),
            self.all_slots(
                lambda r: z3.Implies(c.started(r), z3.And(s.phase == OPEN, s.place(r) == FREE))
            ),
            self.universe.in_order(c.started, lambda r: s.place(r) == FREE),
            z3.Implies(
                z3.And(may_check, self.a_slot(lambda r: self.is_unchecked(s, r))),
                self.works(after),
            ),
        )
        return Step(guard, after)

    def end(self, s: State) -> State:
        """Close the pool if nothing is left."""
        empty = self.all_slots(lambda r: s.place(r) == FREE)
        return replace(s, phase=CLOSED).where(z3.And(s.phase == CLOSING, empty), s)

    def settle(self, step: Step) -> Step:
        """Add the common end of steps: hand over, start work, see whether the pool is closed."""
        handed = self.hand_over(step.after)
        started = self.start_work(handed.after)
        return Step(z3.And(step.guard, handed.guard, started.guard), self.end(started.after))

    def then(self, s: State, *conditions: Formula) -> Step:
        """Go to a state under these conditions, and settle."""
        return self.settle(Step(z3.And(*conditions), s))

    def swept(self, s: State) -> State:
        """Close the overdue idle slots: all old ones, and the longest idle of the stale ones."""
        spare = self.choices.spare

        def overdue(r: Term) -> Formula:
            stale = z3.And(s.stale(r), s.rank(r) < spare)
            return z3.And(s.place(r) == IDLE, z3.Or(s.old(r), stale))

        return s.put(overdue, IN_CLOSING)

    def close(self, s: State, r: Term) -> State:
        """Close one slot."""
        return s.put(lambda q: q == r, IN_CLOSING)

    def come_back(self, s: State, r: Term) -> State:
        """Make a slot without a holder idle if it is fit and the limit leaves room, else close it.

        It was used, created or checked a moment ago, so it is trusted for a while.
        """
        c = self.choices
        kept = z3.And(s.fit(r), z3.Not(c.exceeds))
        return s.rest(r, c.check_skips).where(kept, self.close(s, r))

    def deliver(self, s: State, r: Term) -> Step:
        """Let the longest-waiting task have a slot that is ready now. Nobody waits: it is idle."""
        back, first = self.come_back(s, r), self.choices.first
        pair = z3.And(back.place(r) == IDLE, self.waits(back))
        given = Step(self.is_first(back, first), back.give(first, HANDED, r))
        return given.where(pair, Step(z3.BoolVal(True), back))

    def lose(self, s: State) -> Step:
        """Let the longest-waiting task get the error of a lost creation, if the rules say so."""
        c = self.choices
        failed = Step(self.is_first(s, c.failed), s.send(c.failed, OUT))
        return failed.where(c.fails_waiter, Step(z3.BoolVal(True), s))

    def without(self) -> State:
        """Take the slot from the task, which ends its acquire or its lease."""
        return self.now.send(self.choices.t, OUT)

    def retire(self) -> State:
        """Retire all that exists or is being created, and close what is idle."""
        now = self.now
        shut = now.put(lambda r: now.place(r) == IDLE, IN_CLOSING)
        no = z3.BoolVal(False)
        return replace(
            shut,
            retired=lambda r: now.at(r, CREATING, CHECKING, IN_USE, RESETTING),
            old=lambda _: no,
            trusted=lambda _: no,
        )

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
        c, on = self.choices, self.swept(self.now)
        gets = Step(self.is_next(on, c.got), on.give(c.t, HOLDING, c.got))
        waits = Step(z3.BoolVal(True), on.join(c.t))
        step = gets.where(self.a_slot(lambda r: self.is_ready(on, r)), waits)
        return self.settle(step).only_if(self.now.phase == OPEN, self.now.does(c.t, OUT))

    def Resume(self) -> Step:  # noqa: N802
        c, now = self.choices, self.now
        has = Step(z3.BoolVal(True), now.give(c.t, HOLDING, c.r))
        closed = self.close(now, c.r)
        again = self.swept(closed).send(c.t, WAITING)
        step = self.then(again.where(now.phase == OPEN, closed.send(c.t, OUT)))
        step = step.where(now.retired(c.r), has)
        return step.only_if(now.does(c.t, HANDED), self.lease)

    def Timeout(self) -> Step:  # noqa: N802
        return self.then(self.without(), self.now.does(self.choices.t, WAITING))

    def Cancel(self) -> Step:  # noqa: N802
        c, left = self.choices, self.without()
        leaves = self.then(left)
        gives = self.then(self.come_back(left, c.r), self.now.does(c.t, HANDED), self.lease)
        return leaves.where(self.now.does(c.t, WAITING), gives)

    def Release(self) -> Step:  # noqa: N802
        c, left = self.choices, self.without()
        resets = left.move(lambda r: r == c.r, RESETTING)
        back = resets.where(c.resets, self.come_back(left, c.r))
        return self.then(back, self.now.does(c.t, HOLDING), self.lease)

    def Discard(self) -> Step:  # noqa: N802
        c = self.choices
        shut = self.close(self.without(), c.r)
        return self.then(shut, c.leaves, self.now.does(c.t, HOLDING), self.lease)

    def Detach(self) -> Step:  # noqa: N802
        c = self.choices
        gone = self.without().put(lambda r: r == c.r, FREE)
        return self.then(gone, c.leaves, self.now.does(c.t, HOLDING), self.lease)

    # Actions of the pool's work.

    def CreateSucceeded(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        shut = Step(z3.BoolVal(True), self.close(now, r))
        step = shut.where(now.retired(r), self.deliver(now, r))
        return self.settle(step).only_if(now.at(r, CREATING))

    def CreateFailed(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        lost = now.put(lambda q: q == r, FREE)
        step = Step(z3.BoolVal(True), lost).where(now.retired(r), self.lose(lost))
        return self.settle(step).only_if(now.at(r, CREATING))

    def CreateLate(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        step = self.lose(self.close(now, r))
        return self.settle(step).only_if(now.at(r, CREATING), z3.Not(now.retired(r)))

    def CheckPassed(self) -> Step:  # noqa: N802
        r = self.choices.r
        return self.settle(self.deliver(self.now, r)).only_if(self.now.at(r, CHECKING))

    def CheckFailed(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        distrusted = replace(self.close(now, r), trusted=lambda _: z3.BoolVal(False))
        return self.then(distrusted, now.at(r, CHECKING))

    def ResetPassed(self) -> Step:  # noqa: N802
        r = self.choices.r
        return self.then(self.come_back(self.now, r), self.now.at(r, RESETTING))

    def ResetFailed(self) -> Step:  # noqa: N802
        r = self.choices.r
        return self.then(self.close(self.now, r), self.now.at(r, RESETTING))

    def CloserEnded(self) -> Step:  # noqa: N802
        r = self.choices.r
        freed = self.now.put(lambda q: q == r, FREE)
        return self.then(freed, self.now.at(r, IN_CLOSING))

    # Actions of the pool as a whole.

    def Open(self) -> Step:  # noqa: N802
        return self.then(self.now, self.now.phase == OPEN)

    def Sweep(self) -> Step:  # noqa: N802
        now, swept = self.now, self.swept(self.now)
        some = self.a_slot(lambda r: z3.And(now.place(r) == IDLE, swept.place(r) != IDLE))
        return self.then(swept, now.phase == OPEN, some)

    def RetryFloor(self) -> Step:  # noqa: N802
        return self.then(self.now, self.now.phase == OPEN)

    def Resize(self) -> Step:  # noqa: N802
        now, surplus = self.now, self.choices.surplus
        shut = now.put(lambda r: z3.And(now.place(r) == IDLE, now.rank(r) < surplus), IN_CLOSING)
        return self.then(shut, now.phase == OPEN)

    def RetireAll(self) -> Step:  # noqa: N802
        return self.then(self.retire(), self.choices.retires, self.now.phase == OPEN)

    def Close(self) -> Step:  # noqa: N802
        return self.then(self.shut(), self.now.phase == OPEN)

    def Terminate(self) -> Step:  # noqa: N802
        now, shut = self.now, self.shut()

        def held(r: Term) -> Formula:
            return self.a_task(lambda t: z3.And(now.owns(t, r), now.task(t) == HOLDING))

        freed = shut.put(held, FREE)
        gone = replace(
            freed,
            task=lambda t: z3.If(now.task(t) == HOLDING, OUT, shut.task(t)),
            owns=lambda t, r: z3.And(now.task(t) != HOLDING, shut.owns(t, r)),
        )
        return self.then(gone, self.choices.leaves, now.phase != CLOSED)

    # Time passes.

    def GrowOld(self) -> Step:  # noqa: N802
        now, c = self.now, self.choices
        older = replace(now, old=lambda r: z3.Or(r == c.r, now.old(r)))
        kept = now.at(c.r, CHECKING, IDLE, IN_USE, RESETTING)
        return Step(z3.And(c.ages, now.phase == OPEN, kept, now.fit(c.r)), older)

    def GrowStale(self) -> Step:  # noqa: N802
        now, c = self.now, self.choices
        staler = replace(now, stale=lambda r: z3.Or(r == c.r, now.stale(r)))
        longest = self.all_slots(
            lambda q: z3.Implies(
                z3.And(now.place(q) == IDLE, now.rank(q) < now.rank(c.r)), now.stale(q)
            )
        )
        idle = z3.And(now.place(c.r) == IDLE, z3.Not(now.stale(c.r)))
        return Step(z3.And(c.idles, now.phase == OPEN, idle, longest), staler)

    def TrustExpires(self) -> Step:  # noqa: N802
        now, c = self.now, self.choices
        less = replace(now, trusted=lambda r: z3.And(now.trusted(r), r != c.r))
        longest = self.all_slots(
            lambda q: z3.Implies(self.is_ready(now, q), now.rank(c.r) <= now.rank(q))
        )
        ready = self.is_ready(now, c.r)
        return Step(z3.And(c.check_skips, now.phase == OPEN, ready, longest), less)
