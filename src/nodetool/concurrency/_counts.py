"""The counting model: the pool as an accountant sees it, on unbounded integers.

Pure functions, the Python form of ``spec/PoolCounts.tla``, name for name. The machine asks the
rules (when to create, whom to tell, what to prune, when it is over) and repeats none of them;
`transition` says how each event moves the numbers, which is what is proved for all sizes.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Phase(Enum):
    """The pool's life. It only goes forward."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Floor(Enum):
    """Whether ``min_size`` is kept."""

    OFF = "off"  # before the first use, and after the end
    ON = "on"
    BACKOFF = "backoff"  # after a failed creation, until the back-off ends


class Limits(NamedTuple):
    """What bounds the numbers."""

    max_size: int
    min_size: int
    max_creating: int
    max_waiting: int | None  # None: no limit


class Counts(NamedTuple):
    """The pool as an accountant sees it."""

    creating: int  # creations in flight
    doomed: int  # those of them whose result will be closed: retired meanwhile
    idle: int  # resources that nobody uses
    in_use: int  # resources that an acquirer has: handed over, checked, held, reset
    closing: int  # resources whose closer runs
    waiting: int  # acquirers in the queue
    phase: Phase
    floor: Floor


def size(c: Counts) -> int:
    """Everything that may exist outside."""
    return c.creating + c.idle + c.in_use + c.closing


def coming(c: Counts) -> int:
    """Creations whose result can be handed out."""
    return c.creating - c.doomed


def staying(c: Counts) -> int:
    """What counts towards the floor: what is there to stay."""
    return coming(c) + c.idle + c.in_use


def creations_to_start(limits: Limits, c: Counts) -> int:
    """One for each waiter who has none yet, or what the floor lacks, as far as there is room."""
    if c.phase is not Phase.OPEN:
        return 0
    for_waiters = c.waiting - coming(c)
    for_floor = limits.min_size - staying(c) if c.floor is Floor.ON else 0
    room = min(limits.max_size - size(c), limits.max_creating - c.creating)
    return max(0, min(max(for_waiters, for_floor), room))


def may_wait(limits: Limits, c: Counts) -> bool:
    """A newcomer is turned away only if more than ``max_waiting`` would wait without a creation."""
    if limits.max_waiting is None:
        return True
    joined = c._replace(waiting=c.waiting + 1, floor=Floor.ON if c.floor is Floor.OFF else c.floor)
    uncovered = joined.waiting - coming(joined) - creations_to_start(limits, joined)
    return uncovered <= limits.max_waiting


def tells_waiter(c: Counts) -> bool:
    """A failed creation is told to a waiter only if those in flight cannot serve everybody."""
    return c.waiting > coming(c)


def prunable(limits: Limits, c: Counts) -> int:
    """How many idle resources the idle limit may take: never below the floor."""
    return max(0, min(c.idle, staying(c) - limits.min_size))


def closing_complete(c: Counts) -> bool:
    """Closing ends when nothing is left."""
    return c.phase is Phase.CLOSING and size(c) == 0


def settle(limits: Limits, c: Counts) -> Counts:
    """Hand over, then start creations, then look whether that was the end."""
    handed = min(c.waiting, c.idle) if c.phase is Phase.OPEN else 0
    c = c._replace(waiting=c.waiting - handed, idle=c.idle - handed, in_use=c.in_use + handed)
    c = c._replace(creating=c.creating + creations_to_start(limits, c))
    return c._replace(phase=Phase.CLOSED) if closing_complete(c) else c


class Event(Enum):
    """What can happen to the numbers."""

    OPEN = "Open"
    ACQUIRE = "Acquire"  # k overdue idle resources are swept away first
    LEAVE = "Leave"  # a waiter gives up
    GIVE_BACK = "GiveBack"  # a fit resource comes back
    DISCARD = "Discard"  # one comes back that must not be used again
    DETACH = "Detach"
    REQUEUE = "Requeue"  # what an acquirer was given is unfit; k are swept away
    CREATE_SUCCEEDED = "CreateSucceeded"
    DOOMED_CREATE_SUCCEEDED = "DoomedCreateSucceeded"
    CREATE_FAILED = "CreateFailed"
    DOOMED_CREATE_FAILED = "DoomedCreateFailed"
    CLOSER_ENDED = "CloserEnded"
    SWEEP = "Sweep"  # k overdue idle resources
    RETRY_FLOOR = "RetryFloor"
    RETIRE_ALL = "RetireAll"
    CLOSE = "Close"
    TERMINATE = "Terminate"  # k resources that users hold are forgotten


def allowed(limits: Limits, c: Counts, event: Event, k: int) -> bool:
    """Whether the event can happen now, to `k` resources where it says so."""
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
            return coming(c) > 0
        case Event.DOOMED_CREATE_SUCCEEDED | Event.DOOMED_CREATE_FAILED:
            return c.doomed > 0
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
    """The numbers after an event that is `allowed`."""
    return settle(limits, _moved(limits, c, event, k))


def _moved(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
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
        case Event.DOOMED_CREATE_SUCCEEDED:
            return c._replace(creating=c.creating - 1, doomed=c.doomed - 1, closing=c.closing + 1)
        case Event.CREATE_FAILED:
            c = c._replace(creating=c.creating - 1)
            if tells_waiter(c):
                c = c._replace(waiting=c.waiting - 1)
            return c._replace(floor=Floor.BACKOFF) if staying(c) < limits.min_size else c
        case Event.DOOMED_CREATE_FAILED:
            return c._replace(creating=c.creating - 1, doomed=c.doomed - 1)
        case Event.CLOSER_ENDED:
            return c._replace(closing=c.closing - 1)
        case Event.SWEEP:
            return c._replace(idle=c.idle - k, closing=c.closing + k)
        case Event.RETIRE_ALL:
            return c._replace(doomed=c.creating, idle=0, closing=c.closing + c.idle)
        case Event.CLOSE:
            return _shut(c)
        case _:  # Event.TERMINATE
            return _shut(c)._replace(in_use=c.in_use - k)


def _shut(c: Counts) -> Counts:
    return c._replace(
        phase=Phase.CLOSING,
        floor=Floor.OFF,
        doomed=c.creating,
        waiting=0,
        idle=0,
        closing=c.closing + c.idle,
    )


# What always holds, by the names of the specification.


def size_within_limit(limits: Limits, c: Counts) -> bool:
    """S1: all that may exist outside stays within max_size."""
    return size(c) <= limits.max_size


def creating_within_limit(limits: Limits, c: Counts) -> bool:
    """No more than max_creating factory calls at once."""
    return c.creating <= limits.max_creating


def no_lost_wakeup(limits: Limits, c: Counts) -> bool:
    """L1 as a state: nobody waits beside an idle resource or free capacity."""
    return c.waiting == 0 or (
        c.idle == 0
        and (
            size(c) == limits.max_size
            or c.creating == limits.max_creating
            or coming(c) >= c.waiting
        )
    )


def floor_kept(limits: Limits, c: Counts) -> bool:
    """L4 as a state: while the floor is kept, what it lacks is on its way."""
    return not (c.phase is Phase.OPEN and c.floor is Floor.ON) or (
        staying(c) >= limits.min_size
        or size(c) == limits.max_size
        or c.creating == limits.max_creating
    )


def nothing_after_close(limits: Limits, c: Counts) -> bool:
    """S5: once closing starts nothing is idle and nobody waits."""
    return c.phase is Phase.OPEN or (c.idle == 0 and c.waiting == 0 and c.doomed == c.creating)


def close_waits(limits: Limits, c: Counts) -> bool:
    """S12: closed means that nothing is left, and closing that something is."""
    return (c.phase is Phase.OPEN) or (c.phase is Phase.CLOSED) == (size(c) == 0)


def type_ok(limits: Limits, c: Counts) -> bool:
    """No number is negative; the doomed are among those being created."""
    return 0 <= c.doomed <= c.creating and min(c.idle, c.in_use, c.closing, c.waiting) >= 0


INVARIANTS = {
    "TypeOK": type_ok,
    "SizeWithinLimit": size_within_limit,
    "CreatingWithinLimit": creating_within_limit,
    "NoLostWakeup": no_lost_wakeup,
    "FloorKept": floor_kept,
    "NothingAfterClose": nothing_after_close,
    "CloseWaits": close_waits,
}
