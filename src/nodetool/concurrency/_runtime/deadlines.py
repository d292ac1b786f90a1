"""One timer for many deadlines."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nodetool.concurrency._machine.containers import Expires, ExpiryQueue
from nodetool.concurrency._machine.slots import NEVER

if TYPE_CHECKING:
    from .binding import Binding, Timer

X = TypeVar("X", bound=Expires)


class Deadlines(Generic[X]):
    """Entries with a deadline. One timer is set for the earliest deadline, and calls `expire`.

    `expire` takes the expired entries out with `take_expired`. Then it calls `arm`.
    """

    __slots__ = ("__weakref__", "_armed_for", "_binding", "_expire", "_queue", "_timer")

    def __init__(self, binding: Binding, ended: Any, expire: Callable[[], None]) -> None:
        self._binding = binding
        self._expire = weakref.WeakMethod(expire)
        self._queue: ExpiryQueue[X] = ExpiryQueue(ended)
        self._armed_for = NEVER
        self._timer: Timer | None = None

    def __len__(self) -> int:
        """Count the entries, also those that have ended."""
        return len(self._queue)

    def add(self, entry: X) -> None:
        """Watch an entry. An infinite deadline never passes."""
        self._queue.add(entry)
        if entry.expires_at < self._armed_for:
            self._set_timer(entry.expires_at)

    def take_expired(self, now: float) -> X | None:
        """Take out the next entry whose deadline has passed."""
        return self._queue.take_expired(now)

    def arm(self, not_before: float = -NEVER) -> None:
        """Set the timer for the earliest entry, but for no time before `not_before`."""
        self._set_timer(max(self._queue.next_at(), not_before))

    def compact_to(self, count: int) -> None:
        """Drop ended entries if they are the majority. `count` entries have not ended."""
        self._queue.compact_to(count)

    def stop(self) -> None:
        """Drop all entries and the timer."""
        self._queue.clear()
        self._set_timer(NEVER)

    def _set_timer(self, time: float) -> None:
        self._binding.cancel(self._timer)
        self._timer = None
        self._armed_for = time
        if time < NEVER:
            delay = time - self._binding.clock()
            self._timer = self._binding.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._armed_for = NEVER
        if (expire := self._expire()) is not None:
            expire()
