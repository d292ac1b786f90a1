"""The counting model: the rules on numbers, as pure functions on unbounded integers.

The functions have the names of ``spec/PoolCounts.tla``. The rules decide which work to start,
whether a waiter gets an error, how much to prune or to shrink, and when closing is complete. The
machine calls the rules and repeats none of them. `transition` computes how an event changes the
numbers. Only checkers call it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Phase(Enum):
    """The phases of a pool's life, in order."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Floor(Enum):
    """The upkeep of the minimum size."""

    OFF = "off"  # before the first use, and once closing has started
    ON = "on"
    BACKOFF = "backoff"  # after a lost creation, until the back-off ends or a creation succeeds


class Limits(NamedTuple):
    """The limits that never change."""

    max_creating: int
    max_waiting: int | None  # None: no limit


class Counts(NamedTuple):
    """The state of a pool in numbers."""

    creating: int  # creations in flight
    retired_creations: int  # creations in flight that were retired; their results will be closed
    checking: int  # checks in flight
    retired_checks: int  # checks in flight whose resource was retired
    ready: int  # idle resources that need no check now
    unchecked: int  # idle resources that need a check before their next use
    in_use: int  # resources handed over or held
    resetting: int  # resources whose reset is in flight
    closing: int  # resources whose closing is in flight
    waiting: int  # acquirers in the queue
    disowned: int  # work in flight that no waiter relies on
    max_size: int
    min_size: int
    phase: Phase
    floor: Floor


# The rules.


def idle(c: Counts) -> int:
    """Count the resources that nobody uses."""
    return c.ready + c.unchecked


def size(c: Counts) -> int:
    """Count everything that may exist outside."""
    return c.creating + c.checking + c.ready + c.unchecked + c.in_use + c.resetting + c.closing


def lasting(c: Counts) -> int:
    """Count what is left of the size when all closers in flight have ended."""
    return size(c) - c.closing


def in_flight(c: Counts) -> int:
    """Count the creations and checks in flight whose results may be handed over."""
    return c.creating - c.retired_creations + c.checking - c.retired_checks


def relied_on(c: Counts) -> int:
    """Count the work in flight that waiters rely on."""
    return in_flight(c) - c.disowned


def usable_size(c: Counts) -> int:
    """Count the resources and creations that count towards the minimum size."""
    return in_flight(c) + c.ready + c.unchecked + c.in_use + c.resetting


def uncovered(c: Counts) -> int:
    """Count the waiters without work in flight for them."""
    return max(0, c.waiting - relied_on(c))


def room(limits: Limits, c: Counts) -> int:
    """Count the creations that may start now."""
    return max(0, min(c.max_size - size(c), limits.max_creating - c.creating))


def checks_to_start(limits: Limits, c: Counts, failed: bool) -> int:
    """Count the checks to start for waiters without work.

    Checks come before creations. After a failed check, creations come before checks, because the
    checks of other idle resources are then likely to fail, too.
    """
    if c.phase is not Phase.OPEN:
        return 0
    wanted = uncovered(c) - room(limits, c) if failed else uncovered(c)
    return max(0, min(wanted, c.unchecked))


def creations_to_start(limits: Limits, c: Counts) -> int:
    """Count the creations to start after the checks have started.

    Start one for each waiter without work, or as many as the minimum size lacks, if that is more.
    """
    if c.phase is not Phase.OPEN:
        return 0
    for_floor = c.min_size - usable_size(c) if c.floor is Floor.ON else 0
    return max(0, min(max(uncovered(c), for_floor), room(limits, c)))


def start_work(limits: Limits, c: Counts, failed: bool) -> Counts:
    """Start the checks and then the creations that are needed."""
    checks = checks_to_start(limits, c, failed)
    c = c._replace(checking=c.checking + checks, unchecked=c.unchecked - checks)
    return c._replace(creating=c.creating + creations_to_start(limits, c))


def may_wait(limits: Limits, c: Counts) -> bool:
    """Tell whether one more acquirer may wait: at most `max_waiting` wait without work."""
    if limits.max_waiting is None:
        return True
    joined = c._replace(waiting=c.waiting + 1, floor=Floor.ON if c.floor is Floor.OFF else c.floor)
    return uncovered(start_work(limits, joined, False)) <= limits.max_waiting


def fails_waiter(c: Counts) -> bool:
    """Tell whether a lost creation fails a waiter, because the other work cannot serve all."""
    return uncovered(c) > 0


def capped(c: Counts) -> int:
    """Return how much work is disowned after some work has ended."""
    return min(c.disowned, in_flight(c))


def disown(c: Counts) -> int:
    """Return how much work is disowned after a waiter has left unserved.

    If more work is in flight than the others need, one piece is disowned. Otherwise the next
    acquirer would rely on this piece, and would wait for ever if it hangs.
    """
    return c.disowned + (relied_on(c) > c.waiting)


def is_surplus(c: Counts) -> bool:
    """Tell whether a resource that comes back is closed, because the limit was lowered."""
    return lasting(c) > c.max_size


def surplus(c: Counts) -> int:
    """Count the idle resources that a lowered limit closes at once."""
    return max(0, min(lasting(c) - c.max_size, idle(c)))


def prunable(c: Counts) -> int:
    """Count the idle resources that pruning may close without going below the minimum size."""
    return max(0, min(idle(c), usable_size(c) - c.min_size))


def closing_complete(c: Counts) -> bool:
    """Tell whether a pool is closing and has no slot left."""
    return c.phase is Phase.CLOSING and size(c) == 0


def settle(limits: Limits, c: Counts, failed: bool = False) -> Counts:
    """Complete an event: hand over, start work, and see whether closing is complete."""
    handed = min(c.waiting, c.ready) if c.phase is Phase.OPEN else 0
    c = c._replace(waiting=c.waiting - handed, ready=c.ready - handed, in_use=c.in_use + handed)
    c = start_work(limits, c, failed)
    return c._replace(phase=Phase.CLOSED) if closing_complete(c) else c


# The events.


class Event(Enum):
    """The ways in which the numbers can change. Some events have choices: i, j and k."""

    OPEN = "Open"
    ACQUIRE = "Acquire"  # the pool first closes i ready and j unchecked resources: they are overdue
    LEAVE = "Leave"  # a waiter times out or is cancelled
    RETURN = "Return"  # a resource in use comes back; if i is 1, it is ready
    RESET = "Reset"  # a user gives a resource back, and its reset starts
    DISCARD = "Discard"  # a resource in use comes back, and must not be used again
    DETACH = "Detach"
    # A resource was retired while handed over. Its acquirer waits again. i and j as for Acquire.
    REQUEUE = "Requeue"
    RESET_PASSED = "ResetPassed"  # i as for Return
    RESET_UNFIT = "ResetUnfit"  # a reset failed, or its resource is retired or expired
    CREATE_SUCCEEDED = "CreateSucceeded"  # i as for Return
    RETIRED_CREATE_SUCCEEDED = "RetiredCreateSucceeded"
    CREATE_FAILED = "CreateFailed"
    RETIRED_CREATE_FAILED = "RetiredCreateFailed"
    CREATE_LATE = "CreateLate"  # a creation makes a resource after its limit
    CHECK_PASSED = "CheckPassed"  # i as for Return
    CHECK_UNFIT = "CheckUnfit"  # the resource expired during its check
    RETIRED_CHECK_UNFIT = "RetiredCheckUnfit"
    CHECK_FAILED = "CheckFailed"
    RETIRED_CHECK_FAILED = "RetiredCheckFailed"
    CLOSER_ENDED = "CloserEnded"
    SWEEP = "Sweep"  # the pool closes i ready and j unchecked resources
    TRUST_EXPIRES = "TrustExpires"
    RETRY_FLOOR = "RetryFloor"
    RETIRE_ALL = "RetireAll"
    RESIZE = "Resize"  # max_size becomes i, min_size becomes j; k of the closed ones are ready
    CLOSE = "Close"
    TERMINATE = "Terminate"  # the pool forgets i resources that users hold


def allowed(limits: Limits, c: Counts, event: Event, i: int = 0, j: int = 0, k: int = 0) -> bool:
    """Tell whether the event can happen now, with these choices."""
    is_open = c.phase is Phase.OPEN
    closes = 0 <= i <= c.ready and 0 <= j <= c.unchecked
    comes_back = i in (0, 1)
    match event:
        case Event.OPEN:
            return is_open and c.floor is Floor.OFF
        case Event.ACQUIRE:
            return is_open and closes and (c.ready > 0 or may_wait(limits, c))
        case Event.LEAVE:
            return c.waiting > 0
        case Event.RETURN:
            return is_open and c.in_use > 0 and comes_back
        case Event.RESET | Event.DISCARD | Event.DETACH:
            return c.in_use > 0
        case Event.REQUEUE:
            return is_open and c.in_use > 0 and closes
        case Event.RESET_PASSED:
            return is_open and c.resetting > 0 and comes_back
        case Event.RESET_UNFIT:
            return c.resetting > 0
        case Event.CREATE_SUCCEEDED:
            return c.creating > c.retired_creations and comes_back and (i == 1 or not c.waiting)
        case Event.CREATE_FAILED | Event.CREATE_LATE:
            return c.creating > c.retired_creations
        case Event.RETIRED_CREATE_SUCCEEDED | Event.RETIRED_CREATE_FAILED:
            return c.retired_creations > 0
        case Event.CHECK_PASSED:
            return c.checking > c.retired_checks and comes_back and (i == 1 or not c.waiting)
        case Event.CHECK_UNFIT | Event.CHECK_FAILED:
            return c.checking > c.retired_checks
        case Event.RETIRED_CHECK_UNFIT | Event.RETIRED_CHECK_FAILED:
            return c.retired_checks > 0
        case Event.CLOSER_ENDED:
            return c.closing > 0
        case Event.SWEEP:
            return is_open and closes and i + j > 0
        case Event.TRUST_EXPIRES:
            return is_open and c.ready > 0
        case Event.RETRY_FLOOR:
            return is_open and c.floor is Floor.BACKOFF
        case Event.RETIRE_ALL:
            return is_open and size(c) > 0
        case Event.RESIZE:
            changes = (i, j) != (c.max_size, c.min_size) and i > 0 and 0 <= j <= i
            closed = surplus(c._replace(max_size=i))
            return is_open and changes and max(0, closed - c.unchecked) <= k <= min(closed, c.ready)
        case Event.CLOSE:
            return is_open
        case _:  # Event.TERMINATE
            return c.phase is not Phase.CLOSED and 0 <= i <= c.in_use


def transition(
    limits: Limits, c: Counts, event: Event, i: int = 0, j: int = 0, k: int = 0
) -> Counts:
    """Compute the numbers after an event that is `allowed`."""
    if event in (Event.RESET, Event.TRUST_EXPIRES):
        return _apply(c, event, i, j, k)
    failed = event in (Event.CHECK_FAILED, Event.RETIRED_CHECK_FAILED)
    return settle(limits, _apply(c, event, i, j, k), failed)


def _apply(c: Counts, event: Event, i: int, j: int, k: int) -> Counts:
    match event:
        case Event.OPEN | Event.RETRY_FLOOR:
            return c._replace(floor=Floor.ON)
        case Event.ACQUIRE:
            floor = Floor.ON if c.floor is Floor.OFF else c.floor
            return _closed(c, i, j)._replace(waiting=c.waiting + 1, floor=floor)
        case Event.LEAVE:
            c = c._replace(waiting=c.waiting - 1)
            return c._replace(disowned=disown(c))
        case Event.RETURN:
            return _back(c._replace(in_use=c.in_use - 1), i)
        case Event.RESET:
            return c._replace(in_use=c.in_use - 1, resetting=c.resetting + 1)
        case Event.DISCARD:
            return c._replace(in_use=c.in_use - 1, closing=c.closing + 1)
        case Event.DETACH:
            return c._replace(in_use=c.in_use - 1)
        case Event.REQUEUE:
            c = _closed(c._replace(in_use=c.in_use - 1, closing=c.closing + 1), i, j)
            return c._replace(waiting=c.waiting + 1)
        case Event.RESET_PASSED:
            return _back(c._replace(resetting=c.resetting - 1), i)
        case Event.RESET_UNFIT:
            return c._replace(resetting=c.resetting - 1, closing=c.closing + 1)
        case Event.CLOSER_ENDED:
            return c._replace(closing=c.closing - 1)
        case Event.SWEEP:
            return _closed(c, i, j)
        case Event.TRUST_EXPIRES:
            return c._replace(ready=c.ready - 1, unchecked=c.unchecked + 1)
        case Event.RETIRE_ALL:
            return _retired(c)
        case Event.RESIZE:
            c = c._replace(max_size=i, min_size=j)
            return _closed(c, k, surplus(c) - k)
        case Event.CLOSE:
            return _begin_closing(c)
        case Event.TERMINATE:
            return _begin_closing(c)._replace(in_use=c.in_use - i)
        case _:
            return _end_work(c, event, i)


def _end_work(c: Counts, event: Event, i: int) -> Counts:
    """Compute the numbers after the end of a creation or a check."""
    match event:
        case Event.CREATE_SUCCEEDED:
            return _back(_capped(c._replace(creating=c.creating - 1, floor=Floor.ON)), i)
        case Event.RETIRED_CREATE_SUCCEEDED:
            c = c._replace(creating=c.creating - 1, retired_creations=c.retired_creations - 1)
            return c._replace(closing=c.closing + 1)
        case Event.CREATE_FAILED:
            return _lost(_capped(c._replace(creating=c.creating - 1)))
        case Event.CREATE_LATE:
            return _lost(_capped(c._replace(creating=c.creating - 1, closing=c.closing + 1)))
        case Event.RETIRED_CREATE_FAILED:
            return c._replace(creating=c.creating - 1, retired_creations=c.retired_creations - 1)
        case Event.CHECK_PASSED:
            return _back(_capped(c._replace(checking=c.checking - 1)), i)
        case Event.CHECK_UNFIT:
            return _capped(c._replace(checking=c.checking - 1, closing=c.closing + 1))
        case Event.RETIRED_CHECK_UNFIT:
            return c._replace(
                checking=c.checking - 1,
                retired_checks=c.retired_checks - 1,
                closing=c.closing + 1,
            )
        case Event.CHECK_FAILED:
            return _capped(_distrusted(c)._replace(checking=c.checking - 1, closing=c.closing + 1))
        case _:  # Event.RETIRED_CHECK_FAILED
            return _distrusted(c)._replace(
                checking=c.checking - 1,
                retired_checks=c.retired_checks - 1,
                closing=c.closing + 1,
            )


def _lost(c: Counts) -> Counts:
    """Fail a waiter if the other work cannot serve all. Below the minimum size, back off."""
    if fails_waiter(c):
        c = c._replace(waiting=c.waiting - 1)
    return c._replace(floor=Floor.BACKOFF) if usable_size(c) < c.min_size else c


def _closed(c: Counts, i: int, j: int) -> Counts:
    """Close i ready and j unchecked idle resources."""
    return c._replace(ready=c.ready - i, unchecked=c.unchecked - j, closing=c.closing + i + j)


def _back(c: Counts, i: int) -> Counts:
    """Let a resource come back. If it is not surplus, it becomes idle, and is ready if i is 1."""
    if lasting(c) + 1 > c.max_size:
        return c._replace(closing=c.closing + 1)
    return c._replace(ready=c.ready + i, unchecked=c.unchecked + 1 - i)


def _capped(c: Counts) -> Counts:
    return c._replace(disowned=capped(c))


def _distrusted(c: Counts) -> Counts:
    return c._replace(ready=0, unchecked=c.unchecked + c.ready)


def _retired(c: Counts) -> Counts:
    return c._replace(
        retired_creations=c.creating,
        retired_checks=c.checking,
        disowned=0,
        ready=0,
        unchecked=0,
        closing=c.closing + idle(c),
    )


def _begin_closing(c: Counts) -> Counts:
    return _retired(c)._replace(phase=Phase.CLOSING, floor=Floor.OFF, waiting=0)


# Invariants, by the names of the specification.


def type_ok(limits: Limits, c: Counts) -> bool:
    """Check that no number is negative and that parts are not larger than their wholes."""
    return (
        all(n >= 0 for n in (c.ready, c.unchecked, c.in_use, c.resetting, c.closing, c.waiting))
        and 0 <= c.retired_creations <= c.creating
        and 0 <= c.retired_checks <= c.checking
        and 0 <= c.disowned <= in_flight(c)
        and 0 <= c.min_size <= c.max_size
        and c.max_size > 0
    )


def size_within_limit(limits: Limits, c: Counts) -> bool:
    """Check S1 as a state: nothing is idle while more exists than a lowered limit allows."""
    return lasting(c) <= c.max_size or idle(c) == 0


def creating_within_limit(limits: Limits, c: Counts) -> bool:
    """Check that at most max_creating creations are in flight."""
    return c.creating <= limits.max_creating


def no_lost_wakeup(limits: Limits, c: Counts) -> bool:
    """Check L1 as a state: nobody waits beside a ready resource.

    A waiter without work has no unchecked resource and no room for a creation.
    """
    return c.waiting == 0 or (
        c.ready == 0 and (uncovered(c) == 0 or (c.unchecked == 0 and room(limits, c) == 0))
    )


def floor_kept(limits: Limits, c: Counts) -> bool:
    """Check L4 as a state: during upkeep, creations fill the minimum size if there is room."""
    upkeep = c.phase is Phase.OPEN and c.floor is Floor.ON
    return not upkeep or usable_size(c) >= c.min_size or room(limits, c) == 0


def nothing_after_close(limits: Limits, c: Counts) -> bool:
    """Check S5: once closing starts, nothing is idle, nobody waits, and all work is retired."""
    return c.phase is Phase.OPEN or (idle(c) == 0 and c.waiting == 0 and in_flight(c) == 0)


def close_waits(limits: Limits, c: Counts) -> bool:
    """Check S12: a closed pool has nothing left, and a closing one has something left."""
    return c.phase is Phase.OPEN or (c.phase is Phase.CLOSED) == (size(c) == 0)


INVARIANTS = {
    "TypeOK": type_ok,
    "SizeWithinLimit": size_within_limit,
    "CreatingWithinLimit": creating_within_limit,
    "NoLostWakeup": no_lost_wakeup,
    "FloorKept": floor_kept,
    "NothingAfterClose": nothing_after_close,
    "CloseWaits": close_waits,
}
