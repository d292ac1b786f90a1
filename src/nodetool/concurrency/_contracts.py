"""The contract-checked twin of the machine: every step, with what it guarantees.

Imported only in debug mode; needs icontract. A violation is a bug in the pool, never a mistake of
its user: those raise the pool's own errors first, in both modes. It names the guarantee and prints
the last steps as actions of the specification.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import icontract
from icontract import ensure, snapshot

from . import _guarantees as g
from ._counts import Event
from ._machine import PoolMachine
from ._records import NEVER, Place, Record, Waiter
from ._state import Acquired

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

HISTORY = 100  # steps that a violation prints


class GuaranteeViolationError(icontract.ViolationError):
    """The pool broke a guarantee. This is a bug in the pool: please report it with its steps."""


def violated(name: str) -> Callable[[Any], GuaranteeViolationError]:
    """What icontract shall raise when the guarantee `name` does not hold."""

    def error(self: CheckedMachine[Any]) -> GuaranteeViolationError:
        steps = "\n".join(f"    {step}" for step in self.history) or "    (none)"
        numbers = self.counts()._asdict().items()
        state = ", ".join(f"{what} {getattr(value, 'value', value)}" for what, value in numbers)
        return GuaranteeViolationError(
            f"pool {self.name!r} broke {name}: this is a bug in the pool.\n"
            f"  Its state: {state}\n"
            f"  Its last steps, the last one last:\n{steps}"
        )

    return error


def owes(name: str, condition: Callable[..., bool]) -> Callable[[F], F]:
    """After the step the condition holds, or the guarantee `name` is broken."""
    return ensure(condition, name, error=violated(name))


def always(name: str, condition: Callable[..., bool]) -> Callable[[C], C]:
    """Before and after every step the condition holds, or the guarantee `name` is broken."""
    return icontract.invariant(condition, name, error=violated(name))


def remembers(**values: Callable[..., Any]) -> Callable[[F], F]:
    """What the conditions find in OLD: the state before the step."""

    def decorate(step: F) -> F:
        for name, value in values.items():
            step = snapshot(value, name=name)(step)
        return step

    return decorate


def moves(action: str) -> Callable[[F], F]:
    """CountsAgree and ClosedExactlyOnce, which every step owes."""
    events = g.EVENTS[action]

    def decorate(step: F) -> F:
        step = owes("CountsAgree", lambda self, OLD: g.counts_moved(self, OLD.counts, events))(step)
        step = owes(
            "CountsAgree",
            lambda self, OLD, _ARGS: g.statistics_moved(
                self, OLD.statistics, action, _ARGS[1:2], OLD.work
            ),
        )(step)
        step = owes(
            "ClosedExactlyOnce",
            lambda self, OLD, _ARGS: g.closed_exactly_once(
                self, OLD.closing, OLD.lent, OLD.work, _ARGS[1:2], Event.CLOSER_ENDED in events
            ),
        )(step)
        return remembers(
            counts=lambda self: self.counts(),
            statistics=lambda self: self.statistics(),
            closing=lambda self: g.at(self, Place.CLOSING),
            lent=lambda self: g.at(self, Place.HELD),
            work=lambda self: len(self.work),
            woken=lambda self: len(self.woken),
        )(step)

    return decorate


def in_order(step: F) -> F:
    """FifoService, which every step owes that may hand something over."""
    step = owes("FifoService", lambda self, OLD: g.fifo_service(self, OLD.head, OLD.woken))(step)
    return remembers(head=lambda self: g.queue(self)[:1])(step)


def isolated(step: F) -> F:
    """FaultIsolation, which every step owes that reports a failure of a callback."""
    step = owes(
        "FaultIsolation",
        lambda self, record, OLD: g.fault_isolation(self, OLD.held, record, OLD.woken),
    )(step)
    return remembers(
        held=lambda self: [(record, record.place) for record in g.at(self, *g.IN_USE)]
    )(step)


def once(step: F) -> F:
    """NoDoubleRelease, which every step owes that ends a lease."""
    step = owes("NoDoubleRelease", lambda record, OLD: g.no_double_release(record, OLD.place))(step)
    return remembers(place=lambda record: record.place)(step)


fit = owes("OnlyFitHandedOut", lambda self, result, now: g.only_fit_handed_out(self, result, now))
current = owes("OnlyFitHandedOut", lambda self, result: g.only_current_handed_out(self, result))
final = owes("OneOutcome", lambda subject: g.outcome_is_final(subject))


def fit_kept(step: F) -> F:
    """OnlyFitHandedOut, which every step owes that brings a resource back, or a new one."""
    step = owes("OnlyFitHandedOut", lambda self, record, now: g.only_fit_kept(self, record, now))(
        step
    )
    step = owes(
        "OnlyFitHandedOut", lambda record, OLD: g.retired_stays_retired(record, OLD.generation)
    )(step)
    return remembers(generation=lambda record: record.generation)(step)


def floor_spared(step: F) -> F:
    """FloorRestored, which the steps owe that sweep."""
    step = owes(
        "FloorRestored",
        lambda self, OLD: g.prune_keeps_floor(self, OLD.counts, OLD.pruned, OLD.expired),
    )(step)
    return remembers(pruned=lambda self: self.pruned, expired=lambda self: self.expired)(step)


def all_told(step: F) -> F:
    """WaitersFailAtClose, which the steps owe that begin the end."""
    step = owes("WaitersFailAtClose", lambda OLD: g.waiters_fail_at_close(OLD.waiters))(step)
    return remembers(waiters=lambda self: g.queue(self))(step)


@always("SizeWithinLimit", lambda self: g.size_within_limit(self))
@always("SingleHolder", lambda self: g.single_holder(self))
@always("NothingLost", lambda self: g.nothing_lost(self))
@always("OnlyFitHandedOut", lambda self: g.ages_are_watched(self))
@always("NothingAfterClose", lambda self: g.nothing_after_close(self))
@always("OneOutcome", lambda self: g.one_outcome(self))
@always("CountsAgree", lambda self: g.counts_agree(self))
@always("CloseWaits", lambda self: g.close_waits(self))
@always("CloseCompletes", lambda self: g.close_completes(self))
@always("WaiterServed", lambda self: g.no_lost_wakeup(self))
@always("FloorRestored", lambda self: g.floor_kept(self))
class CheckedMachine(PoolMachine[T]):
    """The machine, with contracts, and a memory of its last steps."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.history: deque[str] = deque(maxlen=HISTORY)
        super().__init__(*args, **options)

    def _note(self, action: str, subject: Record[T] | Waiter[T] | None = None) -> None:
        what = "" if subject is None else f"({type(subject).__name__} {id(subject):#x})"
        self.history.append(f"{action}{what}")

    @fit
    @floor_spared
    @moves("Acquire")
    def acquire(self, now: float) -> Record[T] | Waiter[T]:
        got = super().acquire(now)
        self._note("Acquire")
        return got

    @current
    @in_order
    @moves("Resume")
    def resume(self, waiter: Waiter[T], now: float) -> Acquired[T]:
        got = super().resume(waiter, now)
        self._note("Resume", waiter)
        return got

    @fit
    @in_order
    @moves("CheckPassed")
    def check_passed(self, record: Record[T], now: float) -> Acquired[T]:
        got = super().check_passed(record, now)
        self._note("CheckPassed", record)
        return got

    @owes("OnlyFitHandedOut", lambda self, OLD: g.trust_voided(self, OLD.epoch))
    @remembers(epoch=lambda self: self._epoch)
    @fit
    @isolated
    @in_order
    @moves("CheckFailed")
    def check_failed(self, record: Record[T], now: float) -> Acquired[T]:
        got = super().check_failed(record, now)
        self._note("CheckFailed", record)
        return got

    @final
    @owes("DeadlineKept", lambda subject: g.deadline_kept(subject))
    @moves("Timeout")
    def timeout(self, subject: Waiter[T] | Record[T], error: BaseException | None = None) -> None:
        super().timeout(subject, error)
        self._note("Timeout", subject)

    @owes("OnlyFitHandedOut", lambda self, OLD, now: g.only_fit_kept(self, OLD.handed, now))
    @final
    @remembers(handed=lambda subject: getattr(subject, "record", None))
    @in_order
    @moves("Cancel")
    def cancel(self, subject: Waiter[T] | Record[T], now: float) -> None:
        super().cancel(subject, now)
        self._note("Cancel", subject)

    @fit_kept
    @once
    @in_order
    @moves("Release")
    def release(self, record: Record[T], now: float) -> None:
        super().release(record, now)
        self._note("Release", record)

    @fit_kept
    @in_order
    @moves("ResetPassed")
    def reset_passed(self, record: Record[T], now: float) -> None:
        super().reset_passed(record, now)
        self._note("ResetPassed", record)

    @isolated
    @moves("ResetFailed")
    def reset_failed(self, record: Record[T]) -> None:
        super().reset_failed(record)
        self._note("ResetFailed", record)

    @once
    @moves("Discard")
    def discard(self, record: Record[T]) -> None:
        super().discard(record)
        self._note("Discard", record)

    @once
    @moves("Detach")
    def detach(self, record: Record[T]) -> None:
        super().detach(record)
        self._note("Detach", record)

    @moves("Open")
    def open(self) -> None:
        super().open()
        self._note("Open")

    @fit_kept
    @in_order
    @moves("CreateSucceeded")
    def create_succeeded(
        self, record: Record[T], resource: T, now: float, expires_at: float = NEVER
    ) -> None:
        super().create_succeeded(record, resource, now, expires_at)
        self._note("CreateSucceeded", record)

    @owes("FailureFreesSlot", lambda self, OLD: g.failure_frees_slot(self, OLD.counts.creating))
    @isolated
    @moves("CreateFailed")
    def create_failed(self, record: Record[T], error: BaseException) -> bool:
        got = super().create_failed(record, error)
        self._note("CreateFailed", record)
        return got

    @moves("CloserEnded")
    def closer_ended(self, record: Record[T]) -> None:
        super().closer_ended(record)
        self._note("CloserEnded", record)

    @floor_spared
    @moves("Sweep")
    def sweep(self, now: float) -> list[Record[T]]:
        got = super().sweep(now)
        self._note("Sweep")
        return got

    @moves("RetryFloor")
    def retry_floor(self) -> None:
        super().retry_floor()
        self._note("RetryFloor")

    @owes("RetireAllCompletes", lambda self: g.all_retired(self))
    @moves("RetireAll")
    def retire_all(self) -> None:
        super().retire_all()
        self._note("RetireAll")

    @all_told
    @moves("Close")
    def close(self) -> None:
        super().close()
        self._note("Close")

    @all_told
    @moves("Terminate")
    def terminate(self) -> None:
        super().terminate()
        self._note("Terminate")
