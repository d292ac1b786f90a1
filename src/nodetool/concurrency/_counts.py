"""The counting rules: when to create, whom to tell, what to prune, when it is over.

Pure functions of numbers, the Python form of the section "The rules" in ``spec/PoolCounts.tla``,
name for name. The machine asks them and repeats none of them.
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
