"""Pools with one bug each, as formulas, and the guarantees by which the induction refutes them."""

from __future__ import annotations

import time
from dataclasses import replace

import z3  # type: ignore[import-untyped]

from proofs.result import Result
from proofs.z3_identities import Actions, Step
from proofs.z3_induction import POOL, SMALL, actions_of
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
    """Actions in which a task cancelled after the hand-over leaves its slot in use."""

    def give_back(self) -> State:
        return self.now.send(self.choices.t, OUT)


class KeepsWhatItReleased(Actions):
    """Actions in which a task that gives its slot back keeps it, too."""

    def give_back(self) -> State:
        return replace(super().give_back(), owns=self.now.owns)


class ClosesInUse(Actions):
    """Actions in which a closer starts while the holder keeps the resource."""

    def close_leased(self) -> State:
        return replace(super().close_leased(), owns=self.now.owns, task=self.now.task)


class KeepsIdleBesideWaiters(Actions):
    """Actions that make a slot idle although a task waits."""

    def hand_over(self, s: State) -> Step:
        return Step(z3.BoolVal(True), s)


class KeepsFailureToItself(Actions):
    """Actions that start no creation for a waiter."""

    def start(self, s: State) -> Step:
        return Step(z3.BoolVal(True), s)


class LeavesWaitersAtClose(Actions):
    """Actions in which closing leaves the waiters in the queue."""

    def shut(self) -> State:
        return replace(super().shut(), task=self.now.task)


class ForgetsCreationsAtClose(Actions):
    """Actions in which a pool is closed while creations are in flight."""

    def end(self, s: State) -> State:
        left = self.universe.some(
            lambda r: z3.Not(z3.Or(s.place(r) == FREE, s.place(r) == CREATING)), r="slot"
        )
        return replace(s, phase=CLOSED).where(z3.And(s.phase == CLOSING, z3.Not(left)), s)


class KeepsRetired(Actions):
    """Actions that make a slot of an old generation idle."""

    def give_back(self) -> State:
        r, left = self.choices.r, self.now.send(self.choices.t, OUT)
        return replace(left, place=lambda s: z3.If(s == r, IDLE, left.place(s)))


class DropsUnclosed(Actions):
    """Actions that drop a resource instead of closing it."""

    def close_leased(self) -> State:
        return self.now.send(self.choices.t, OUT).put(lambda s: s == self.choices.r, FREE)


class ReleasesTwice(Actions):
    """Actions in which a task without a slot releases the slot of another task."""

    def Release(self) -> Step:  # noqa: N802
        return self.then(self.give_back(), self.does(OUT), self.now.place(self.choices.r) == IN_USE)


class HandsToTwo(Actions):
    """Actions in which an acquirer and the head of the queue get the same slot."""

    def hand_over(self, s: State) -> Step:
        c, handed = self.choices, super().hand_over(s)
        shared = s.give(c.head, HANDED, c.got)
        return handed._replace(after=shared.where(self.now.task(c.head) == OUT, handed.after))


class SweepsClosing(Actions):
    """Actions in which a sweep frees slots whose closer runs."""

    def Sweep(self) -> Step:  # noqa: N802
        swept = self.choices.swept
        free = self.now.put(lambda s: z3.And(swept(s), self.now.place(s) == IN_CLOSING), FREE)
        return self.then(free, self.universe.some(swept, s="slot"))


# The bug, an action that shows it, and all that it violates there.
BUGS: tuple[tuple[type[Actions], str, tuple[str, ...]], ...] = (
    (ForgetsHandedOver, "Cancel", ("NothingLost",)),
    (KeepsWhatItReleased, "Release", ("SingleHolder", "OneOutcome", "NoDoubleReleaseSteps")),
    (ClosesInUse, "Discard", ("SingleHolder", "NoDoubleReleaseSteps")),
    (KeepsIdleBesideWaiters, "CreateSucceeded", ("NoLostWakeup",)),
    (KeepsFailureToItself, "CreateFailed", ("NoLostWakeup",)),
    (LeavesWaitersAtClose, "Close", ("NothingAfterClose", "WaitersFailAtCloseSteps")),
    (ForgetsCreationsAtClose, "Close", ("CloseWaits",)),
    (KeepsRetired, "Release", ("NothingAfterClose", "TypeOK")),
    (DropsUnclosed, "CheckFailed", ("NothingLostSteps",)),
    (ReleasesTwice, "Release", ("SingleHolder", "NoDoubleReleaseSteps")),
    (HandsToTwo, "Acquire", ("SingleHolder", "ClosedExactlyOnceSteps")),
    (SweepsClosing, "Sweep", ("NothingLostSteps", "ClosedExactlyOnceSteps")),
)


def found_in(bug: type[Actions], action: str) -> tuple[str, ...]:
    """List what the action of a bad pool violates."""
    pool = actions_of(SMALL, bug)
    return tuple(POOL.violations(action, pool, getattr(pool, action)()))


def bugs() -> Result:
    """Check that each bad pool violates exactly what it is expected to violate."""
    begin = time.perf_counter()
    wrong = []
    for bug, action, expected in BUGS:
        if (found := found_in(bug, action)) != expected:
            wrong.append(f"{bug.__name__}: {', '.join(found) or 'not found'}")
    figure = "; ".join(wrong) or f"{len(BUGS)} bad pools refuted"
    seconds = time.perf_counter() - begin
    guarantee = "each by the guarantees that it is expected to violate"
    return Result("Z3 identities", guarantee, figure, not wrong, seconds)
