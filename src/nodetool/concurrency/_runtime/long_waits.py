"""Warnings about calls that wait for a long time, so that no program hangs silently."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from nodetool.concurrency._machine.slots import NEVER

if TYPE_CHECKING:
    from .binding import Binding, Timer

FIRST_WARNING = 5.0  # seconds; each further warning comes when the wait is twice as long


class LongWait:
    """The calls of one kind that wait, and the timer for the next warning about them."""

    __slots__ = ("__weakref__", "_binding", "_next", "_report", "_timer", "call", "callers")

    def __init__(
        self, binding: Binding, call: str, report: weakref.WeakMethod[Callable[[LongWait], None]]
    ) -> None:
        self.call = call
        self.callers: dict[object, float] = {}  # when each of them began to wait, in this order
        self._binding = binding
        self._report = report
        self._next = FIRST_WARNING
        self._timer: Timer | None = None
        if FIRST_WARNING < NEVER:  # the explorer switches warnings off
            self._timer = binding.call_later(FIRST_WARNING, self._fire)

    def stop(self) -> None:
        """Drop the timer."""
        self._binding.cancel(self._timer)

    def go_on(self) -> float | None:
        """Set the timer for the next warning, and return how long the first caller has waited.

        If nobody waits any more, return None. Call this method inside the gate, because a nested
        call may end a wait.
        """
        if not self.callers:
            return None
        self._next *= 2
        self._timer = self._binding.call_later(self._next / 2, self._fire)
        return self._binding.clock() - next(iter(self.callers.values()))

    def _fire(self) -> None:
        if (report := self._report()) is not None:
            report(self)


class LongWaits:
    """The calls that wait, by their kinds. All calls of one kind share one warning.

    Args:
        binding: The loop of the pool.
        report: Called with the calls of a kind when a warning about them is due.
    """

    __slots__ = ("_binding", "_report", "_waits")

    def __init__(self, binding: Binding, report: Callable[[LongWait], None]) -> None:
        self._binding = binding
        self._report = weakref.WeakMethod(report)  # weak: the method's object owns this one
        self._waits: dict[str, LongWait] = {}

    def begin(self, call: str, caller: object) -> None:
        """Note that a call waits."""
        if call not in self._waits:
            self._waits[call] = LongWait(self._binding, call, self._report)
        self._waits[call].callers[caller] = self._binding.clock()

    def end(self, call: str, caller: object) -> None:
        """Note that a call waits no longer. Nothing happens if its wait was not noted."""
        wait = self._waits.get(call)
        if wait is None:
            return
        wait.callers.pop(caller, None)
        if not wait.callers:
            wait.stop()
            del self._waits[call]
