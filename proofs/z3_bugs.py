"""Pools with one bug each, as formulas, and all that each bug violates."""

from __future__ import annotations

from dataclasses import replace

import z3  # type: ignore[import-untyped]

from proofs.z3_claims import POOL, actions_of
from proofs.z3_induction import SMALL
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
)
from proofs.z3_steps import Actions, Step

__all__ = ["BUGS", "found_in", "refuted"]

YES = z3.BoolVal(True)


class ForgetsHandedOver(Actions):
    """Actions in which a task that is cancelled after the hand-over leaves its slot in use."""

    def Cancel(self) -> Step:  # noqa: N802
        return self.then(self.without(), self.now.does(self.choices.t, WAITING, HANDED))


class KeepsWhatItReleased(Actions):
    """Actions in which a task that gives its slot back keeps it, too."""

    def come_back(self, s: State, r: Term) -> State:
        return replace(super().come_back(s, r), owns=self.now.owns)


class ClosesInUse(Actions):
    """Actions in which a closer starts while the holder keeps the resource."""

    def Discard(self) -> Step:  # noqa: N802
        shut = super().Discard()
        return Step(shut.guard, replace(shut.after, owns=self.now.owns, task=self.now.task))


class HandsToTwo(Actions):
    """Actions in which the longest-waiting task is handed what another one has."""

    def hand_over(self, s: State) -> Step:
        c = self.choices
        shared = replace(
            s.send(c.head, HANDED),
            owns=lambda t, r: z3.Or(s.owns(t, r), z3.And(t == c.head, r == c.r)),
        )
        return Step(self.is_first(s, c.head), shared).only_if(s.place(c.r) == IN_USE)


class ReleasesTwice(Actions):
    """Actions in which a task without a slot releases the slot of another task."""

    def Release(self) -> Step:  # noqa: N802
        c = self.choices
        back = self.come_back(self.without(), c.r)
        return self.then(back, self.now.does(c.t, OUT), self.now.at(c.r, IN_USE))


class JoinsWithOldTicket(Actions):
    """Actions in which a newcomer may get the ticket of another task."""

    def Acquire(self) -> Step:  # noqa: N802
        c, (guard, after) = self.choices, super().Acquire()
        old = after.tickets - 1
        return Step(guard, replace(after, ticket=lambda t: z3.If(t == c.t, old, after.ticket(t))))


class LosesItsTurn(Actions):
    """Actions in which a task that waits again is behind all others."""

    def Resume(self) -> Step:  # noqa: N802
        c, now = self.choices, self.now
        again = self.swept(self.close(now, c.r)).join(c.t)
        handed = z3.And(now.does(c.t, HANDED), self.lease)
        return self.then(again, handed, now.retired(c.r), now.phase == OPEN)


class ServesNewestFirst(Actions):
    """Actions in which the task that came last is handed a resource."""

    def is_first(self, s: State, t: Term) -> Formula:
        others = self.universe.every(
            lambda u: z3.Implies(s.task(u) == WAITING, s.ticket(t) >= s.ticket(u)), u="task"
        )
        return z3.And(s.task(t) == WAITING, others)


class FailsEverybody(Actions):
    """Actions in which a failed creation fails all waiters."""

    def CreateFailed(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        failed = replace(
            now.put(lambda q: q == r, FREE),
            task=lambda t: z3.If(now.task(t) == WAITING, OUT, now.task(t)),
        )
        return self.then(failed, now.at(r, CREATING))


class RestsAtFront(Actions):
    """Actions in which a resource that comes back counts as the one idle for longest."""

    def come_back(self, s: State, r: Term) -> State:
        back = super().come_back(s, r)
        first = self.choices.spare
        return replace(back, rank=lambda q: z3.If(q == r, first, back.rank(q)))


class TakesTheWrongEnd(Actions):
    """Actions in which an acquirer gets the resource that is next in the opposite order."""

    def is_next(self, s: State, r: Term) -> Formula:
        others = self.universe.every(
            lambda q: z3.Implies(z3.And(self.is_ready(s, q), q != r), self.is_before(s, q, r)),
            q="slot",
        )
        return z3.And(self.is_ready(s, r), others)


class TrustExpiresAnywhere(Actions):
    """Actions in which the trust in any idle resource expires, not in the longest idle one."""

    def TrustExpires(self) -> Step:  # noqa: N802
        now, r = self.now, self.choices.r
        less = replace(now, trusted=lambda q: z3.And(now.trusted(q), q != r))
        return Step(z3.And(now.phase == OPEN, self.choices.check_skips, now.trusted(r)), less)


class KeepsIdleBesideWaiters(Actions):
    """Actions that make a slot idle although a task waits."""

    def hand_over(self, s: State) -> Step:
        return Step(YES, s)


class StartsNoWork(Actions):
    """Actions that start neither a check nor a creation."""

    def start_work(self, s: State) -> Step:
        return Step(YES, s)


class SweepsNothing(Actions):
    """Actions in which no limit in time is compared when a resource is handed out."""

    def swept(self, s: State) -> State:
        return s


class ResumesUnswept(Actions):
    """Actions in which a task that waits again may be handed a resource that is overdue."""

    def Resume(self) -> Step:  # noqa: N802
        c, now = self.choices, self.now
        again = self.close(now, c.r).send(c.t, WAITING)
        handed = z3.And(now.does(c.t, HANDED), self.lease)
        return self.then(again, handed, now.retired(c.r), now.phase == OPEN)


class HandsOutUnchecked(Actions):
    """Actions that hand out resources that need a check."""

    def is_ready(self, s: State, r: Term) -> Formula:
        return s.place(r) == IDLE


class ReusesOld(Actions):
    """Actions that use a resource again whose age has passed."""

    def come_back(self, s: State, r: Term) -> State:
        return super().come_back(replace(s, old=lambda q: z3.And(q != r, s.old(q))), r)


class ReusesRetired(Actions):
    """Actions that use a resource of an old generation again."""

    def come_back(self, s: State, r: Term) -> State:
        return s.rest(r, self.choices.check_skips)


class ResumesRetired(Actions):
    """Actions in which a task resumes with a resource that was retired meanwhile."""

    def Resume(self) -> Step:  # noqa: N802
        c, now = self.choices, self.now
        return Step(z3.And(now.does(c.t, HANDED), self.lease), now.give(c.t, HOLDING, c.r))


class TrustsAfterFailedCheck(Actions):
    """Actions in which a failed check withdraws no trust."""

    def CheckFailed(self) -> Step:  # noqa: N802
        r = self.choices.r
        return self.then(self.close(self.now, r), self.now.at(r, CHECKING))


class ReusesDirty(Actions):
    """Actions that use a resource again whose reset failed."""

    def ResetFailed(self) -> Step:  # noqa: N802
        return self.ResetPassed()


class RetiresNoWork(Actions):
    """Actions in which creations and checks in flight stay current."""

    def retire(self) -> State:
        shut = super().retire()
        return replace(shut, retired=lambda r: self.now.at(r, IN_USE, RESETTING))


class MakesCurrent(Actions):
    """Actions in which a reset makes a retired resource current."""

    def Release(self) -> Step:  # noqa: N802
        step, c = super().Release(), self.choices
        return Step(
            step.guard,
            replace(step.after, retired=lambda r: z3.And(step.after.retired(r), r != c.r)),
        )


class LeavesWaitersAtClose(Actions):
    """Actions in which closing leaves the waiters in the queue."""

    def shut(self) -> State:
        return replace(super().shut(), task=self.now.task)


class FailsOneAtClose(Actions):
    """Actions in which only the longest-waiting task gets an error when closing starts."""

    def shut(self) -> State:
        now = self.now
        return replace(
            super().shut(), task=lambda t: z3.If(self.is_first(now, t), OUT, now.task(t))
        )


class ForgetsCreationsAtClose(Actions):
    """Actions in which a pool is closed while creations are in flight."""

    def end(self, s: State) -> State:
        empty = self.all_slots(lambda r: s.at(r, FREE, CREATING))
        return replace(s, phase=CLOSED).where(z3.And(s.phase == CLOSING, empty), s)


class OpensAgain(Actions):
    """Actions in which new limits open the pool again."""

    def Resize(self) -> Step:  # noqa: N802
        return Step(YES, replace(self.now, phase=OPEN))


class DropsUnclosed(Actions):
    """Actions that drop a resource instead of closing it."""

    def close(self, s: State, r: Term) -> State:
        return s.put(lambda q: q == r, FREE)


class SweepsClosing(Actions):
    """Actions in which a sweep frees a slot whose closer runs."""

    def Sweep(self) -> Step:  # noqa: N802
        r = self.choices.r
        return self.then(self.now.put(lambda q: q == r, FREE), self.now.at(r, IN_CLOSING))


class ClosesTheFit(Actions):
    """Actions that close each resource that comes back."""

    def come_back(self, s: State, r: Term) -> State:
        return self.close(s, r)


class ReusesLate(Actions):
    """Actions that use a resource although its creation took too long."""

    def CreateLate(self) -> Step:  # noqa: N802
        return self.CreateSucceeded()


class TerminatesGently(Actions):
    """Actions in which terminate leaves users what they hold."""

    def Terminate(self) -> Step:  # noqa: N802
        return self.then(self.shut(), self.choices.leaves, self.now.phase != CLOSED)


BUGS: tuple[tuple[type[Actions], str, tuple[str, ...]], ...] = (
    (ForgetsHandedOver, "Cancel", ("NothingLost",)),
    (
        KeepsWhatItReleased,
        "Release",
        ("SingleHolder", "OneOutcome", "ClosedExactlyOnceSteps", "NoDoubleReleaseSteps"),
    ),
    (ClosesInUse, "Discard", ("SingleHolder", "ClosedExactlyOnceSteps", "NoDoubleReleaseSteps")),
    (HandsToTwo, "Acquire", ("SingleHolder", "OnlyFitHandedOutSteps", "ReuseOrderSteps")),
    (ReleasesTwice, "Release", ("SingleHolder", "ClosedExactlyOnceSteps", "NoDoubleReleaseSteps")),
    (JoinsWithOldTicket, "Acquire", ("OneOutcome", "FifoServiceSteps")),
    (LosesItsTurn, "Resume", ("FifoServiceSteps",)),
    (ServesNewestFirst, "Release", ("FifoServiceSteps",)),
    (FailsEverybody, "CreateFailed", ("FaultIsolationSteps",)),
    (RestsAtFront, "Release", ("SingleHolder", "ReadyAreLast")),
    (TakesTheWrongEnd, "Acquire", ("ReuseOrderSteps",)),
    (TrustExpiresAnywhere, "TrustExpires", ("ReadyAreLast",)),
    (KeepsIdleBesideWaiters, "Release", ("NoLostWakeup",)),
    (StartsNoWork, "CheckFailed", ("NoLostWakeup",)),
    (SweepsNothing, "Acquire", ("OnlyFitHandedOutSteps", "ReuseOrderSteps")),
    (ResumesUnswept, "Resume", ("OnlyFitHandedOutSteps",)),
    (
        HandsOutUnchecked,
        "Acquire",
        ("OnlyFitHandedOutSteps", "FifoServiceSteps", "ReuseOrderSteps"),
    ),
    (ReusesOld, "CheckPassed", ("OnlyFitHandedOutSteps",)),
    (ReusesRetired, "ResetPassed", ("TypeOK", "NothingAfterClose", "OnlyFitHandedOutSteps")),
    (ResumesRetired, "Resume", ("OnlyFitHandedOutSteps", "NothingAfterCloseSteps")),
    (TrustsAfterFailedCheck, "CheckFailed", ("FailedCheckWithdrawsTrustSteps",)),
    (ReusesDirty, "ResetFailed", ("DirtyIsClosedSteps", "FaultIsolationSteps")),
    (RetiresNoWork, "RetireAll", ("RetiredStaysRetiredSteps",)),
    (MakesCurrent, "Release", ("NothingAfterClose", "RetiredStaysRetiredSteps")),
    (LeavesWaitersAtClose, "Close", ("NothingAfterClose", "WaitersFailAtCloseSteps")),
    (FailsOneAtClose, "Close", ("NothingAfterClose", "WaitersFailAtCloseSteps")),
    (ForgetsCreationsAtClose, "Close", ("CloseWaits",)),
    (OpensAgain, "Resize", ("PhaseForwardSteps",)),
    (
        DropsUnclosed,
        "Discard",
        ("NothingLostSteps", "DirtyIsClosedSteps", "ClosedExactlyOnceSteps"),
    ),
    (SweepsClosing, "Sweep", ("NothingLostSteps", "ClosedExactlyOnceSteps")),
    (ClosesTheFit, "Release", ("FitIsReusedSteps",)),
    (ReusesLate, "CreateLate", ("DirtyIsClosedSteps", "FaultIsolationSteps")),
    (TerminatesGently, "Terminate", ("TerminateForgetsSteps",)),
)
"""A bad pool, an action that shows the bug, and all that it violates there."""


def found_in(bug: type[Actions], action: str) -> tuple[str, ...]:
    """List what the action of a bad pool violates."""
    pool = actions_of(SMALL, bug)
    return tuple(POOL.violations(action, pool, getattr(pool, action)()))


def refuted(bug: type[Actions], action: str, expected: tuple[str, ...]) -> str:
    """Describe how a bad pool differs from what it is expected to violate, if it does."""
    found = found_in(bug, action)
    return "" if found == expected else f"{bug.__name__}: {', '.join(found) or 'not found'}"
