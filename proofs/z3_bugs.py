"""Pools with one bug each, as actions: what the induction must refute, and by which guarantee."""

from __future__ import annotations

import time
from dataclasses import replace

import z3  # type: ignore[import-untyped]

from proofs.result import Result
from proofs.z3_identities import Actions, Step
from proofs.z3_induction import SMALL, actions_of, violations
from proofs.z3_state import (
    CLOSED,
    CLOSING,
    CREATING,
    FREE,
    HANDED,
    IDLE,
    IN_CLOSING,
    IN_USE,
    OUT,
    State,
)

__all__ = ["BUGS", "bugs"]


class ForgetsHandedOver(Actions):
    """Who is cancelled after the hand-over leaves, and what he was handed stays behind."""

    def give_back(self) -> State:
        return self.now.send(self.choices.t, OUT)


class KeepsWhatItReleased(Actions):
    """What is given back is handed on, but its last holder still has it."""

    def give_back(self) -> State:
        return replace(super().give_back(), owns=self.now.owns)


class ClosesInUse(Actions):
    """The closer of a resource starts while its holder keeps it."""

    def close_leased(self) -> State:
        return replace(super().close_leased(), owns=self.now.owns, task=self.now.task)


class ShelvesBesideWaiters(Actions):
    """What comes back is put on the shelf, whoever waits."""

    def hand_over(self, s: State) -> Step:
        return Step(z3.BoolVal(True), s)


class KeepsFailureToItself(Actions):
    """A failed creation's slot is offered to nobody."""

    def start(self, s: State) -> Step:
        return Step(z3.BoolVal(True), s)


class LeavesWaitersAtClose(Actions):
    """Closing does not tell the waiters."""

    def shut(self) -> State:
        return replace(super().shut(), task=self.now.task)


class ForgetsCreationsAtClose(Actions):
    """The pool counts as closed while creations are in flight."""

    def end(self, s: State) -> State:
        left = self.universe.some(
            lambda r: z3.Not(z3.Or(s.place(r) == FREE, s.place(r) == CREATING)), r="slot"
        )
        return replace(s, phase=CLOSED).where(z3.And(s.phase == CLOSING, z3.Not(left)), s)


class ShelvesTheRetired(Actions):
    """What comes back is fit, whatever its generation."""

    def give_back(self) -> State:
        r, left = self.choices.r, self.now.send(self.choices.t, OUT)
        return replace(left, place=lambda s: z3.If(s == r, IDLE, left.place(s)))


class DropsUnclosed(Actions):
    """What a check found unfit is dropped instead of closed."""

    def close_leased(self) -> State:
        return self.now.send(self.choices.t, OUT).put(lambda s: s == self.choices.r, FREE)


class ReleasesTwice(Actions):
    """Who has released already releases again what somebody else has by now."""

    def Release(self) -> Step:  # noqa: N802
        return self.then(self.give_back(), self.does(OUT), self.now.place(self.choices.r) == IN_USE)


class HandsToTwo(Actions):
    """Who seeks and the head of the queue are given the same idle resource."""

    def hand_over(self, s: State) -> Step:
        c, handed = self.choices, super().hand_over(s)
        twice = s.give(c.head, HANDED, c.got)
        return handed._replace(after=twice.where(self.now.task(c.head) == OUT, handed.after))


class SweepsClosing(Actions):
    """The sweep frees what is being closed."""

    def Sweep(self) -> Step:  # noqa: N802
        swept = self.choices.swept
        free = self.now.put(lambda s: z3.And(swept(s), self.now.place(s) == IN_CLOSING), FREE)
        return self.then(free, self.universe.some(swept, s="slot"))


# The bug, an action that shows it, and what it violates there: all of that, and nothing else.
BUGS: tuple[tuple[type[Actions], str, tuple[str, ...]], ...] = (
    (ForgetsHandedOver, "Cancel", ("NothingLost",)),
    (KeepsWhatItReleased, "Release", ("SingleHolder", "OneOutcome", "NoDoubleReleaseSteps")),
    (ClosesInUse, "Discard", ("SingleHolder", "NoDoubleReleaseSteps")),
    (ShelvesBesideWaiters, "CreateSucceeded", ("NoLostWakeup",)),
    (KeepsFailureToItself, "CreateFailed", ("NoLostWakeup",)),
    (LeavesWaitersAtClose, "Close", ("NothingAfterClose", "WaitersFailAtCloseSteps")),
    (ForgetsCreationsAtClose, "Close", ("CloseWaits",)),
    (ShelvesTheRetired, "Release", ("NothingAfterClose", "TypeOK")),
    (DropsUnclosed, "CheckFailed", ("NothingLostSteps",)),
    (ReleasesTwice, "Release", ("SingleHolder", "NoDoubleReleaseSteps")),
    (HandsToTwo, "Acquire", ("SingleHolder", "ClosedExactlyOnceSteps")),
    (SweepsClosing, "Sweep", ("NothingLostSteps", "ClosedExactlyOnceSteps")),
)


def found_in(bug: type[Actions], action: str) -> tuple[str, ...]:
    """What the action of a bad pool violates."""
    pool = actions_of(SMALL, bug)
    return tuple(violations(action, pool, getattr(pool, action)()))


def bugs() -> Result:
    """Each bad pool violates what it is expected to, and nothing else."""
    begin = time.perf_counter()
    wrong = []
    for bug, action, expected in BUGS:
        if (found := found_in(bug, action)) != expected:
            wrong.append(f"{bug.__name__}: {', '.join(found) or 'not found'}")
    figure = "; ".join(wrong) or f"{len(BUGS)} bad pools refuted"
    seconds = time.perf_counter() - begin
    guarantee = "each by what it is expected to violate"
    return Result("Z3 identities", guarantee, figure, not wrong, seconds)
