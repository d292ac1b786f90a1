"""The objects that the machine and the runtime exchange: slots, waiters and the outbox."""

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

    # A creation, a check, a reset or a closing is in flight from its request by the machine.
    CREATING = "creating"  # a creation is in flight; there is no resource yet
    CHECKING = "checking"  # a check is in flight
    IDLE = "idle"
    HANDED = "handed"  # handed over to a waiter that has not resumed yet
    HELD = "held"  # acquire has returned the resource
    RESETTING = "resetting"  # a reset is in flight
    CLOSING = "closing"  # a closing is in flight
    FREE = "free"  # nothing exists; the slot no longer counts


class WaiterState(Enum):
    """The states of a waiter, which is one queued acquire."""

    WAITING = "waiting"  # in the queue
    HANDED = "handed"  # the machine has handed it a slot, and it has not resumed yet
    DONE = "done"  # it was served, failed, or has left the queue


class Slot(Generic[T]):
    """Room for one resource, from the start of its creation. Slots are compared by identity."""

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
        self.generation = generation  # the pool's generation when the creation started
        self.expires_at = NEVER  # when max_age passes
        self.stale_at = NEVER  # while idle: when max_idle_time passes
        self.ready = True  # while idle: whether the resource needs no check
        self.trusted_until = NEVER  # while ready: when the resource needs a check again
        self.waiter: Waiter[T] | None = None  # while handed over: the waiter that it belongs to
        self.context: Any = None  # while held: the acquire_context that has the lease, if any
        self.lease: Any = None  # the record of the last lease, which a tracker sets
        self.reason = ""  # while closing: one of `REASONS`
        self.run: Any = None  # the piece of work in flight, which the runtime sets


class Waiter(Generic[T]):
    """One queued acquire."""

    __slots__ = ("error", "expires_at", "future", "limit", "since", "slot", "state", "ticket")

    # The machine sets these attributes. A constructor would cost more than setting all of them.
    state: WaiterState
    ticket: int  # the order of arrival
    slot: Slot[T] | None  # while handed over: the slot that it was handed
    error: BaseException | None  # the error that ends this acquire

    # The runtime sets these attributes while the waiter is in the queue.
    future: Future[None]  # resolved when the machine has decided about the waiter
    expires_at: float  # the acquire's deadline
    limit: float  # the acquire's timeout in seconds
    since: float  # when the waiter joined the queue


class Outbox(Generic[T]):
    """The effects that the machine's steps have left and that the runtime has to perform."""

    __slots__ = ("sweep_at", "woken", "work")

    def __init__(self) -> None:
        self.woken: deque[Waiter[T]] = deque()  # waiters to wake: they were served or failed
        self.work: deque[Slot[T]] = deque()  # slots whose work to start, by their state
        self.sweep_at = NEVER  # no idle resource is overdue before this time
