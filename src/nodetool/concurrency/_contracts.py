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


def moves(action: str) -> Callable[[F], F]:
    """CountsAgree and ClosedExactlyOnce, which every step owes."""
    events = g.EVENTS[action]

    def decorate(step: F) -> F:
        step = ensure(
            lambda self, OLD: g.counts_moved(self, OLD.counts, events),
            "CountsAgree",
            error=violated("CountsAgree"),
        )(step)
        step = ensure(
            lambda self, OLD, _ARGS: g.closed_exactly_once(self, OLD.closing, _ended(_ARGS)),
            "ClosedExactlyOnce",
            error=violated("ClosedExactlyOnce"),
        )(step)
        step = snapshot(lambda self: self.counts(), name="counts")(step)
        step = snapshot(lambda self: g.at(self, Place.CLOSING), name="closing")(step)
        return snapshot(lambda self: len(self.woken), name="woken")(step)

    def _ended(arguments: tuple[Any, ...]) -> Record[Any] | None:
        return arguments[1] if Event.CLOSER_ENDED in events else None

    return decorate


def in_order(step: F) -> F:
    """FifoService, which every step owes that may hand something over."""
    step = ensure(
        lambda self, OLD: g.fifo_service(self, OLD.head, OLD.woken),
        "FifoService",
        error=violated("FifoService"),
    )(step)
    return snapshot(lambda self: g.queue(self)[:1], name="head")(step)


def isolated(step: F) -> F:
    """FaultIsolation, which every step owes that reports a failure of a callback."""
    step = ensure(
        lambda self, record, OLD: g.fault_isolation(self, OLD.held, record, OLD.woken),
        "FaultIsolation",
        error=violated("FaultIsolation"),
    )(step)
    return snapshot(
        lambda self: [(record, record.place) for record in g.at(self, *g.IN_USE)], name="held"
    )(step)


def once(step: F) -> F:
    """NoDoubleRelease, which every step owes that ends a lease."""
    step = ensure(
        lambda record, OLD: g.no_double_release(record, OLD.lease),
        "NoDoubleRelease",
        error=violated("NoDoubleRelease"),
    )(step)
    return snapshot(lambda record: record.lease, name="lease")(step)


fit = ensure(
    lambda self, result, now: g.only_fit_handed_out(self, result, now),
    "OnlyFitHandedOut",
    error=violated("OnlyFitHandedOut"),
)
current = ensure(
    lambda self, result: g.only_current_handed_out(self, result),
    "OnlyFitHandedOut",
    error=violated("OnlyFitHandedOut"),
)
fit_kept = ensure(
    lambda self, record, now: g.only_fit_kept(self, record, now),
    "OnlyFitHandedOut",
    error=violated("OnlyFitHandedOut"),
)


def floor_spared(step: F) -> F:
    """FloorRestored, which the steps owe that sweep."""
    step = ensure(
        lambda self, OLD: g.prune_keeps_floor(self, OLD.counts, OLD.pruned, OLD.expired),
        "FloorRestored",
        error=violated("FloorRestored"),
    )(step)
    step = snapshot(lambda self: self.pruned, name="pruned")(step)
    return snapshot(lambda self: self.expired, name="expired")(step)


def all_told(step: F) -> F:
    """WaitersFailAtClose, which the steps owe that begin the end."""
    step = ensure(
        lambda OLD: g.waiters_fail_at_close(OLD.waiters),
        "WaitersFailAtClose",
        error=violated("WaitersFailAtClose"),
    )(step)
    return snapshot(lambda self: g.queue(self), name="waiters")(step)


@icontract.invariant(
    lambda self: g.size_within_limit(self), "SizeWithinLimit", error=violated("SizeWithinLimit")
)
@icontract.invariant(
    lambda self: g.single_holder(self), "SingleHolder", error=violated("SingleHolder")
)
@icontract.invariant(
    lambda self: g.nothing_lost(self), "NothingLost", error=violated("NothingLost")
)
@icontract.invariant(
    lambda self: g.nothing_after_close(self),
    "NothingAfterClose",
    error=violated("NothingAfterClose"),
)
@icontract.invariant(lambda self: g.one_outcome(self), "OneOutcome", error=violated("OneOutcome"))
@icontract.invariant(
    lambda self: g.counts_agree(self), "CountsAgree", error=violated("CountsAgree")
)
@icontract.invariant(lambda self: g.close_waits(self), "CloseWaits", error=violated("CloseWaits"))
@icontract.invariant(
    lambda self: g.no_lost_wakeup(self), "WaiterServed", error=violated("WaiterServed")
)
@icontract.invariant(
    lambda self: g.floor_kept(self), "FloorRestored", error=violated("FloorRestored")
)
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

    @ensure(
        lambda self, OLD: g.trust_voided(self, OLD.epoch),
        "OnlyFitHandedOut",
        error=violated("OnlyFitHandedOut"),
    )
    @snapshot(lambda self: self._epoch, name="epoch")
    @fit
    @isolated
    @in_order
    @moves("CheckFailed")
    def check_failed(self, record: Record[T], now: float) -> Acquired[T]:
        got = super().check_failed(record, now)
        self._note("CheckFailed", record)
        return got

    @ensure(
        lambda subject: g.deadline_kept(subject), "DeadlineKept", error=violated("DeadlineKept")
    )
    @moves("Timeout")
    def timeout(self, subject: Waiter[T] | Record[T], error: BaseException | None = None) -> None:
        super().timeout(subject, error)
        self._note("Timeout", subject)

    @ensure(
        lambda self, OLD, now: g.only_fit_kept(self, OLD.handed, now),
        "OnlyFitHandedOut",
        error=violated("OnlyFitHandedOut"),
    )
    @snapshot(lambda subject: getattr(subject, "record", None), name="handed")
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

    @ensure(
        lambda self, OLD: g.failure_frees_slot(self, OLD.counts.creating),
        "FailureFreesSlot",
        error=violated("FailureFreesSlot"),
    )
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

    @ensure(
        lambda self: g.all_retired(self),
        "RetireAllCompletes",
        error=violated("RetireAllCompletes"),
    )
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
