"""The parts of a lease's cost: each pool here does one thing more than the one before it.

None of these pools is usable: they create nothing, close nothing and never wait. The last one still
does less than our pool, which also handles retired resources, leases of contexts and clear errors.
"""

from __future__ import annotations

import asyncio
from collections import deque
from threading import get_ident
from time import monotonic
from typing import Any

from .contenders import Resource


class Slot:
    """A resource and the facts that a pool keeps about it."""

    __slots__ = ("expires_at", "held", "resource", "stale_at")

    def __init__(self, resource: object) -> None:
        self.resource = resource
        self.held = False
        self.expires_at = self.stale_at = float("inf")


class IdleDeque:
    """A deque of idle resources: one resource is popped and appended."""

    __slots__ = ("counted", "deadline", "idle", "known", "loop", "waiting")

    def __init__(self) -> None:
        slot = Slot(Resource())
        self.idle = deque([slot])
        self.known = {id(slot.resource): slot}
        self.waiting: deque[Any] = deque()
        self.counted = 0
        self.deadline = float("inf")
        self.loop: Any = asyncio.get_running_loop()

    async def acquire(self, timeout: float | None = None) -> Any:
        if self.idle:
            return self.idle.pop()
        raise NotImplementedError

    async def release(self, resource: Any) -> None:
        self.idle.append(resource)


class IdentityLookup(IdleDeque):
    """A pool that finds a released resource by its identity, and checks that it was held."""

    __slots__ = ()

    async def acquire(self, timeout: float | None = None) -> Any:
        if self.idle:
            slot = self.idle.pop()
            slot.held = True
            return slot.resource
        raise NotImplementedError

    async def release(self, resource: Any) -> None:
        slot = self.known[id(resource)]
        if not slot.held:
            raise NotImplementedError
        slot.held = False
        self.idle.append(slot)


class WaiterCheck(IdentityLookup):
    """A pool that also checks whether a task waits."""

    __slots__ = ()

    async def release(self, resource: Any) -> None:
        slot = self.known[id(resource)]
        if not slot.held or self.waiting:
            raise NotImplementedError
        slot.held = False
        self.idle.append(slot)


class LeaseCount(WaiterCheck):
    """A pool that also counts leases."""

    __slots__ = ()

    async def acquire(self, timeout: float | None = None) -> Any:
        if self.idle:
            slot = self.idle.pop()
            slot.held = True
            self.counted += 1
            return slot.resource
        raise NotImplementedError


class LoopCheck(LeaseCount):
    """A pool that also refuses other loops and threads, and checks for an acquire's own timeout."""

    __slots__ = ()

    async def acquire(self, timeout: float | None = None) -> Any:
        if timeout is None and self.loop._thread_id == get_ident() and self.idle:
            slot = self.idle.pop()
            slot.held = True
            self.counted += 1
            return slot.resource
        raise NotImplementedError

    async def release(self, resource: Any) -> None:
        slot = self.known[id(resource)]
        if not slot.held or self.waiting or self.loop._thread_id != get_ident():
            raise NotImplementedError
        slot.held = False
        self.idle.append(slot)


class ClockCheck(LoopCheck):
    """A pool that also reads the clock in both calls, and compares it with a deadline."""

    __slots__ = ()

    async def acquire(self, timeout: float | None = None) -> Any:
        in_loop = timeout is None and self.loop._thread_id == get_ident()
        if in_loop and self.idle and monotonic() < self.deadline:
            slot = self.idle.pop()
            slot.held = True
            self.counted += 1
            return slot.resource
        raise NotImplementedError

    async def release(self, resource: Any) -> None:
        slot = self.known[id(resource)]
        if not slot.held or self.waiting or self.loop._thread_id != get_ident():
            raise NotImplementedError
        now = monotonic()
        if now >= slot.expires_at:
            raise NotImplementedError
        slot.stale_at = now + 3_600.0
        slot.held = False
        self.idle.append(slot)


RUNGS: dict[str, type[IdleDeque]] = {
    "on a shelf": IdleDeque,
    "found by identity": IdentityLookup,
    "in order": WaiterCheck,
    "counted": LeaseCount,
    "in its loop": LoopCheck,
    "by the clock": ClockCheck,
}
