"""Warnings about calls that wait for a long time, so that no program hangs silently."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from .deadlines import Deadlines

if TYPE_CHECKING:
    from nodetool.concurrency._machine.slots import Slot

    from .binding import Binding

Awaits: TypeAlias = "Callable[[Slot[Any]], bool]"

FIRST_WARNING = 5.0  # seconds; each further warning comes when the wait is twice as long

SPACING = 1.0  # seconds between two warnings, so that many calls share one line


class WaitState(Enum):
    """The states of a wait."""

    GOING = "going"
    ENDED = "ended"


class LongWait:
    """One call that waits."""

    __slots__ = ("awaits", "call", "expires_at", "since", "state")

    def __init__(self, call: str, awaits: Awaits, since: float) -> None:
        self.call = call
        self.awaits = awaits  # whether the call waits for a slot
        self.since = since
        self.expires_at = since + FIRST_WARNING  # when the next warning is due
        self.state = WaitState.GOING


class LongWaits:
    """The calls that wait. Each call has its own warnings, and all of them share one timer.

    Args:
        binding: The loop of the pool.
        report: Called when a warning is due. It calls `take_due`.
    """

    __slots__ = ("_binding", "_deadlines", "_waits")

    def __init__(self, binding: Binding, report: Callable[[], None]) -> None:
        self._binding = binding
        self._deadlines: Deadlines[LongWait] = Deadlines(binding, WaitState.ENDED, report)
        self._waits: dict[object, LongWait] = {}  # by their callers

    def begin(self, caller: object, call: str, awaits: Awaits) -> None:
        """Note that a call waits."""
        wait = self._waits[caller] = LongWait(call, awaits, self._binding.clock())
        self._deadlines.add(wait)

    def end(self, caller: object) -> None:
        """Note that a call waits no longer. Nothing happens if its wait was not noted."""
        wait = self._waits.pop(caller, None)
        if wait is None:
            return
        wait.state = WaitState.ENDED
        if self._waits:
            self._deadlines.compact_to(len(self._waits))
        else:
            self._deadlines.stop()

    def take_due(self) -> list[list[LongWait]]:
        """List the waits whose warnings are due, those of one call together.

        Set the timer for their next warnings. Call this method inside the gate, because a nested
        call may end a wait.
        """
        now = self._binding.clock()
        due: dict[str, list[LongWait]] = {}
        try:
            while (wait := self._deadlines.take_expired(now)) is not None:
                due.setdefault(wait.call, []).append(wait)
                wait.expires_at = now + (now - wait.since)
                self._deadlines.add(wait)
        finally:
            self._deadlines.arm(now + SPACING)
        return list(due.values())
