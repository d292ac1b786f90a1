"""The objects that the machine and the runtime exchange: slots, waiters, the outbox of effects."""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")

NEVER = math.inf


class SlotState(Enum):
    """The states of a slot. A slot in use is handed over or held."""

    CREATING = "creating"  # the factory runs; there is no resource yet
    CHECKING = "checking"  # the check runs
    IDLE = "idle"
    HANDED = "handed"  # handed over to an acquirer that has not resumed yet
    HELD = "held"  # acquire returned the resource
    RESETTING = "resetting"  # the reset runs
    CLOSING = "closing"  # the closer runs
    FREE = "free"  # nothing exists; the slot no longer counts


class WaiterState(Enum):
    """The states of a queued acquire."""

    WAITING = "waiting"  # in the queue
    HANDED = "handed"  # it was handed a slot and has not resumed yet
    DONE = "done"  # it was served, got an error, or left


class Slot(Generic[T]):
    """Room for one resource: a creation in flight, then the resource. Compared by identity."""

    __slots__ = (
        "context",
        "expires_at",
        "generation",
        "lease",
        "ready",
        "reason",
        "resource",
        "run",
        "stale_at",
        "state",
        "trusted_until",
        "waiter",
    )

    resource: T  # set when the creation succeeds, deleted when the slot is freed

    def __init__(self, generation: int) -> None:
        self.state = SlotState.CREATING
        self.generation = generation  # fixed when the creation starts
        self.expires_at = NEVER  # when max_age passes
        self.stale_at = NEVER  # when max_idle_time passes, while idle
        self.ready = False  # while idle: whether it is among the ready ones
        self.trusted_until = NEVER  # while ready: when it needs a check again
        self.waiter: Waiter[T] | None = None  # while handed over
        self.context: Any = None  # the acquire_context that holds the lease, if one does
        self.lease: Any = None  # the tracker sets this: who holds or held the resource
        self.reason = ""  # while closing: why
        self.run: Any = None  # the runtime sets this: the work in progress


class Waiter(Generic[T]):
    """One queued acquire."""

    __slots__ = ("error", "expires_at", "future", "limit", "since", "slot", "state", "ticket")

    # The machine sets these itself, because a constructor would cost more than all of them.
    state: WaiterState
    ticket: int  # the order of arrival
    slot: Slot[T] | None  # while handed over
    error: BaseException | None  # the error that ends this acquire

    # The runtime sets these while the waiter is in the queue.
    future: Future[None]  # resolved when the machine has decided about the waiter
    expires_at: float  # the acquire's deadline
    limit: float  # the acquire's timeout in seconds
    since: float  # when it joined the queue


class Outbox(Generic[T]):
    """The effects of the last steps, which the runtime has to perform."""

    __slots__ = ("sweep_at", "woken", "work")

    def __init__(self) -> None:
        self.woken: deque[Waiter[T]] = deque()  # decided waiters, to be woken
        self.work: deque[Slot[T]] = deque()  # slots to create, check, reset or close
        self.sweep_at = NEVER  # no idle resource is overdue before this time
