"""What a lease is made of: pools each of which does one thing more, and none does all.

None of them is a pool to be used: nothing is created, closed or waited for. What is left between
the last of them and ours: what was retired or swept meanwhile, leases of contexts, clear errors.
"""

from __future__ import annotations

import asyncio
from collections import deque
from threading import get_ident
from time import monotonic
from typing import Any

from .contenders import Resource


class Slot:
    """What a pool knows of a resource."""

    __slots__ = ("expires_at", "held", "resource", "stale_at")

    def __init__(self, resource: object) -> None:
        self.resource = resource
        self.held = False
        self.expires_at = self.stale_at = float("inf")


class Shelved:
    """On a shelf: one resource is taken off and put back."""

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


class Found(Shelved):
    """And what is released is found by its identity, and was held."""

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


class Ordered(Found):
    """And it is asked whether somebody waits."""

    __slots__ = ()

    async def release(self, resource: Any) -> None:
        slot = self.known[id(resource)]
        if not slot.held or self.waiting:
            raise NotImplementedError
        slot.held = False
        self.idle.append(slot)


class Counted(Ordered):
    """And leases are counted."""

    __slots__ = ()

    async def acquire(self, timeout: float | None = None) -> Any:
        if self.idle:
            slot = self.idle.pop()
            slot.held = True
            self.counted += 1
            return slot.resource
        raise NotImplementedError


class AtHome(Counted):
    """And both are refused in any other loop or thread; acquire asks for a timeout of its own."""

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


class Limited(AtHome):
    """And the clock is read in both, and compared with a deadline."""

    __slots__ = ()

    async def acquire(self, timeout: float | None = None) -> Any:
        at_home = timeout is None and self.loop._thread_id == get_ident()
        if at_home and self.idle and monotonic() < self.deadline:
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


RUNGS: dict[str, type[Shelved]] = {
    "on a shelf": Shelved,
    "found by identity": Found,
    "in order": Ordered,
    "counted": Counted,
    "in its loop": AtHome,
    "by the clock": Limited,
}
