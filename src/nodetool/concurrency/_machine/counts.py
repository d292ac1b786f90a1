"""The counting model: the rules on numbers, as pure functions on unbounded integers.

The functions have the names of ``spec/PoolCounts.tla``. The rules say when to create, whether a
waiter gets an error, how much to prune, and when closing is complete. The machine calls the rules
and repeats none of them. `transition` states how each event changes the numbers. The proofs for
every size are about `transition`.
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
    BACKOFF = "backoff"  # after a failed creation, until the back-off ends or a creation succeeds


class Limits(NamedTuple):
    """The limits on the numbers."""

    max_size: int
    min_size: int
    max_creating: int
    max_waiting: int | None  # None: no limit


class Counts(NamedTuple):
    """The state of a pool in numbers."""

    creating: int  # creations in flight
    retired_creations: int  # creations in flight that were retired: their results will be closed
    idle: int  # resources that nobody uses
    in_use: int  # resources handed over, checking, held or resetting
    closing: int  # resources whose closer runs
    waiting: int  # acquirers in the queue
    phase: Phase
    floor: Floor


def size(c: Counts) -> int:
    """Count the resources that may exist, those being created or closed included."""
    return c.creating + c.idle + c.in_use + c.closing


def usable_creations(c: Counts) -> int:
    """Count the creations in flight whose results can be handed out."""
    return c.creating - c.retired_creations


def usable_size(c: Counts) -> int:
    """Count the resources and creations that count towards the minimum size."""
    return usable_creations(c) + c.idle + c.in_use


def creations_to_start(limits: Limits, c: Counts) -> int:
    """Count the creations to start for waiters without one, or for the minimum size."""
    if c.phase is not Phase.OPEN:
        return 0
    for_waiters = c.waiting - usable_creations(c)
    for_floor = limits.min_size - usable_size(c) if c.floor is Floor.ON else 0
    room = min(limits.max_size - size(c), limits.max_creating - c.creating)
    return max(0, min(max(for_waiters, for_floor), room))


def may_wait(limits: Limits, c: Counts) -> bool:
    """Tell whether one more acquirer may wait. At most `max_waiting` wait without a creation."""
    if limits.max_waiting is None:
        return True
    joined = c._replace(waiting=c.waiting + 1, floor=Floor.ON if c.floor is Floor.OFF else c.floor)
    uncovered = joined.waiting - usable_creations(joined) - creations_to_start(limits, joined)
    return uncovered <= limits.max_waiting


def fails_waiter(c: Counts) -> bool:
    """Tell whether a failed creation fails a waiter: the other creations cannot serve all."""
    return c.waiting > usable_creations(c)


def prunable(limits: Limits, c: Counts) -> int:
    """Count the idle resources that pruning may close without going below the minimum size."""
    return max(0, min(c.idle, usable_size(c) - limits.min_size))


def closing_complete(c: Counts) -> bool:
    """Tell whether a pool is closing and has no resource left."""
    return c.phase is Phase.CLOSING and size(c) == 0


def settle(limits: Limits, c: Counts) -> Counts:
    """Complete an event: hand over, start creations, and see whether closing is complete."""
    handed = min(c.waiting, c.idle) if c.phase is Phase.OPEN else 0
    c = c._replace(waiting=c.waiting - handed, idle=c.idle - handed, in_use=c.in_use + handed)
    c = c._replace(creating=c.creating + creations_to_start(limits, c))
    return c._replace(phase=Phase.CLOSED) if closing_complete(c) else c


class Event(Enum):
    """The ways in which the numbers can change."""

    OPEN = "Open"
    ACQUIRE = "Acquire"  # k overdue idle resources are closed first
    LEAVE = "Leave"  # a waiter gives up
    GIVE_BACK = "GiveBack"  # a fit resource comes back
    DISCARD = "Discard"  # a resource comes back that must not be used again
    DETACH = "Detach"
    REQUEUE = "Requeue"  # an acquirer's resource is unfit; k overdue ones are closed
    CREATE_SUCCEEDED = "CreateSucceeded"
    RETIRED_CREATE_SUCCEEDED = "RetiredCreateSucceeded"
    CREATE_FAILED = "CreateFailed"
    RETIRED_CREATE_FAILED = "RetiredCreateFailed"
    CLOSER_ENDED = "CloserEnded"
    SWEEP = "Sweep"  # k overdue idle resources
    RETRY_FLOOR = "RetryFloor"
    RETIRE_ALL = "RetireAll"
    CLOSE = "Close"
    TERMINATE = "Terminate"  # the pool forgets k resources that users hold


def allowed(limits: Limits, c: Counts, event: Event, k: int) -> bool:
    """Tell whether the event can happen now. Some events happen to `k` resources."""
    is_open = c.phase is Phase.OPEN
    match event:
        case Event.OPEN:
            return is_open and c.floor is Floor.OFF
        case Event.ACQUIRE:
            return is_open and 0 <= k <= c.idle and (c.idle > 0 or may_wait(limits, c))
        case Event.LEAVE:
            return c.waiting > 0
        case Event.GIVE_BACK:
            return is_open and c.in_use > 0
        case Event.DISCARD | Event.DETACH:
            return c.in_use > 0
        case Event.REQUEUE:
            return is_open and c.in_use > 0 and 0 <= k <= c.idle
        case Event.CREATE_SUCCEEDED | Event.CREATE_FAILED:
            return usable_creations(c) > 0
        case Event.RETIRED_CREATE_SUCCEEDED | Event.RETIRED_CREATE_FAILED:
            return c.retired_creations > 0
        case Event.CLOSER_ENDED:
            return c.closing > 0
        case Event.SWEEP:
            return is_open and 0 < k <= c.idle
        case Event.RETRY_FLOOR:
            return is_open and c.floor is Floor.BACKOFF
        case Event.RETIRE_ALL:
            return is_open and size(c) > 0
        case Event.CLOSE:
            return is_open
        case _:  # Event.TERMINATE
            return c.phase is not Phase.CLOSED and 0 <= k <= c.in_use


def transition(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Compute the numbers after an event that is `allowed`."""
    return settle(limits, _apply(limits, c, event, k))


def _apply(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    match event:
        case Event.OPEN | Event.RETRY_FLOOR:
            return c._replace(floor=Floor.ON)
        case Event.ACQUIRE:
            return c._replace(
                idle=c.idle - k,
                closing=c.closing + k,
                waiting=c.waiting + 1,
                floor=Floor.ON if c.floor is Floor.OFF else c.floor,
            )
        case Event.LEAVE:
            return c._replace(waiting=c.waiting - 1)
        case Event.GIVE_BACK:
            return c._replace(in_use=c.in_use - 1, idle=c.idle + 1)
        case Event.DISCARD:
            return c._replace(in_use=c.in_use - 1, closing=c.closing + 1)
        case Event.DETACH:
            return c._replace(in_use=c.in_use - 1)
        case Event.REQUEUE:
            return c._replace(
                in_use=c.in_use - 1,
                idle=c.idle - k,
                closing=c.closing + k + 1,
                waiting=c.waiting + 1,
            )
        case Event.CREATE_SUCCEEDED:
            return c._replace(creating=c.creating - 1, idle=c.idle + 1, floor=Floor.ON)
        case Event.RETIRED_CREATE_SUCCEEDED:
            return c._replace(
                creating=c.creating - 1,
                retired_creations=c.retired_creations - 1,
                closing=c.closing + 1,
            )
        case Event.CREATE_FAILED:
            c = c._replace(creating=c.creating - 1)
            if fails_waiter(c):
                c = c._replace(waiting=c.waiting - 1)
            return c._replace(floor=Floor.BACKOFF) if usable_size(c) < limits.min_size else c
        case Event.RETIRED_CREATE_FAILED:
            return c._replace(creating=c.creating - 1, retired_creations=c.retired_creations - 1)
        case Event.CLOSER_ENDED:
            return c._replace(closing=c.closing - 1)
        case Event.SWEEP:
            return c._replace(idle=c.idle - k, closing=c.closing + k)
        case Event.RETIRE_ALL:
            return c._replace(retired_creations=c.creating, idle=0, closing=c.closing + c.idle)
        case Event.CLOSE:
            return _begin_closing(c)
        case _:  # Event.TERMINATE
            return _begin_closing(c)._replace(in_use=c.in_use - k)


def _begin_closing(c: Counts) -> Counts:
    return c._replace(
        phase=Phase.CLOSING,
        floor=Floor.OFF,
        retired_creations=c.creating,
        waiting=0,
        idle=0,
        closing=c.closing + c.idle,
    )


# Invariants, by the names of the specification.


def size_within_limit(limits: Limits, c: Counts) -> bool:
    """Check S1: the size stays within max_size."""
    return size(c) <= limits.max_size


def creating_within_limit(limits: Limits, c: Counts) -> bool:
    """Check that at most max_creating creations are in flight."""
    return c.creating <= limits.max_creating


def no_lost_wakeup(limits: Limits, c: Counts) -> bool:
    """Check L1 as a state: nobody waits beside an idle resource or free room."""
    return c.waiting == 0 or (
        c.idle == 0
        and (
            size(c) == limits.max_size
            or c.creating == limits.max_creating
            or usable_creations(c) >= c.waiting
        )
    )


def floor_kept(limits: Limits, c: Counts) -> bool:
    """Check L4 as a state: during upkeep, creations fill the minimum size if there is room."""
    return not (c.phase is Phase.OPEN and c.floor is Floor.ON) or (
        usable_size(c) >= limits.min_size
        or size(c) == limits.max_size
        or c.creating == limits.max_creating
    )


def nothing_after_close(limits: Limits, c: Counts) -> bool:
    """Check S5: once closing starts, nothing is idle and nobody waits."""
    return c.phase is Phase.OPEN or (
        c.idle == 0 and c.waiting == 0 and c.retired_creations == c.creating
    )


def close_waits(limits: Limits, c: Counts) -> bool:
    """Check S12: a closed pool has nothing left, and a closing one has something left."""
    return (c.phase is Phase.OPEN) or (c.phase is Phase.CLOSED) == (size(c) == 0)


def type_ok(limits: Limits, c: Counts) -> bool:
    """Check that no number is negative and that retired creations are creations."""
    return (
        0 <= c.retired_creations <= c.creating and min(c.idle, c.in_use, c.closing, c.waiting) >= 0
    )


INVARIANTS = {
    "TypeOK": type_ok,
    "SizeWithinLimit": size_within_limit,
    "CreatingWithinLimit": creating_within_limit,
    "NoLostWakeup": no_lost_wakeup,
    "FloorKept": floor_kept,
    "NothingAfterClose": nothing_after_close,
    "CloseWaits": close_waits,
}
