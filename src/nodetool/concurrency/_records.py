"""What the machine keeps: one record per resource, one waiter per queued acquire."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")

NEVER = math.inf


class Place(Enum):
    """Where a resource, or an acquirer, is. In use means: handed, checking, held or resetting."""

    CREATING = "creating"  # the factory runs; there is no resource yet
    IDLE = "idle"
    HANDED = "handed"  # handed over to an acquirer who has not run since
    CHECKING = "checking"
    HELD = "held"  # acquire returned it
    RESETTING = "resetting"
    CLOSING = "closing"  # the closer runs
    WAITING = "waiting"  # acquirers only: in the queue
    GONE = "gone"  # the slot is free; for an acquirer: served or told


class Record(Generic[T]):
    """A slot in use: a creation in flight and then the resource, equal by identity only."""

    __slots__ = (
        "busy",
        "deadline",
        "debug",
        "epoch",
        "expires_at",
        "generation",
        "lease",
        "place",
        "resource",
        "stale_at",
        "ticket",
        "used_at",
    )

    resource: T  # set when the creation succeeds, dropped when the slot is freed

    def __init__(self, generation: int) -> None:
        self.place = Place.CREATING
        self.generation = generation  # which retire_all it precedes, fixed as creation starts
        self.lease: Any = None  # the context that has it, if one has
        self.expires_at = NEVER  # when max_age passes
        self.stale_at = NEVER  # when max_idle_time passes, while idle
        self.used_at = NEVER  # when it last came back; NEVER: handed over as it was created
        self.epoch = 0  # how many checks had failed then
        self.ticket = 0  # while checking: when its acquirer came
        self.debug: Any = None  # debug mode's: who has it and who had it
        self.busy: Any = None  # the waiter it was handed to; the shell's: the task at work on it
        self.deadline = NEVER  # the shell's: when its closer is given up


class Waiter(Generic[T]):
    """One queued acquire. It is waiting, or handed a record, or gone: served or told."""

    __slots__ = ("deadline", "error", "future", "limit", "place", "record", "ticket")

    # Set by who makes it, since a constructor costs more than all of the rest:
    place: Place
    ticket: int  # when it came: the order of service
    record: Record[T] | None  # while handed
    error: BaseException | None  # what it was told

    # The shell's, while it waits:
    future: Future[Record[T] | None]  # resolved when the waiter is decided
    deadline: float  # until when it waits
    limit: float  # how long in all
