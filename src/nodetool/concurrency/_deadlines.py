"""Many deadlines, one timer."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from contextvars import Context
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ._records import NEVER, Place

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle


class HasDeadline(Protocol):
    """What can be overdue: it still is at the place where it was when it was added."""

    place: Place
    deadline: float


X = TypeVar("X", bound=HasDeadline)


def weakly(method: Callable[[], None]) -> Callable[[], None]:
    """A timer's callback that does not keep the method's object alive."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (method := reference()) is not None:
            method()

    return call


class Deadlines(Generic[X]):
    """Calls `expire` with the items that are still at `place` when their deadlines pass.

    Deadlines mostly come in order (all of one timeout), so they stand in line; one that is earlier
    than the last in line goes to a heap. The departed are dropped as they surface, and all at once
    by `tidy`. `line` is public for who serves its head, or adds in order behind one that is there.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        clock: Callable[[], float],
        place: Place,
        expire: Callable[[list[X]], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._place = place
        self._expire = weakref.WeakMethod(expire)
        self.line: deque[X] = deque()
        self._early: list[tuple[float, int, X]] = []
        self._added = 0
        self._tidy_at = 64  # entries at which the departed are dropped
        self._armed_for = NEVER
        self._timer: TimerHandle | None = None

    def add(self, item: X) -> None:
        """Watch an item with a finite deadline."""
        line, place = self.line, self._place
        while line and line[0].place is not place:
            line.popleft()
        if line and item.deadline < line[-1].deadline:
            self._added += 1
            heappush(self._early, (item.deadline, self._added, item))
        else:
            line.append(item)
        if item.deadline < self._armed_for:
            self._arm(item.deadline)
        if len(line) + len(self._early) > self._tidy_at:
            self._tidy()

    def tidy(self, left: int) -> None:
        """Drop the departed if they are the majority; `left` is how many are not."""
        entries = len(self.line) + len(self._early)
        if entries > 64 and entries > 2 * left:
            self._tidy()

    def _tidy(self) -> None:
        left = [item for item in self.line if item.place is self._place]
        self.line.clear()
        self.line.extend(left)
        self._early = [entry for entry in self._early if entry[2].place is self._place]
        heapify(self._early)
        self._tidy_at = max(64, 2 * (len(self.line) + len(self._early)))

    def stop(self) -> None:
        """Forget everything."""
        self.line.clear()
        self._early.clear()
        self._arm(NEVER)

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = deadline
        if deadline < NEVER:
            self._timer = self._loop.call_later(
                deadline - self._clock(), weakly(self._fire), context=Context()
            )

    def _next(self) -> float:
        """The earliest deadline of an item that is still there."""
        line, early, place = self.line, self._early, self._place
        while line and line[0].place is not place:
            line.popleft()
        while early and early[0][2].place is not place:
            heappop(early)
        return min(line[0].deadline if line else NEVER, early[0][0] if early else NEVER)

    def _fire(self) -> None:
        self._timer = None
        self._armed_for = NEVER
        now, expire, line = self._clock(), self._expire(), self.line
        overdue = []
        while self._next() <= now:
            in_line = line and line[0].deadline <= now
            overdue.append(line.popleft() if in_line else heappop(self._early)[2])
        try:
            if overdue and expire is not None:
                expire(overdue)
        finally:
            self._arm(min(self._armed_for, self._next()))
