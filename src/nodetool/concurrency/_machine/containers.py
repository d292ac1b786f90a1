"""Two containers with lazy deletion: a deque, and a queue of entries that expire.

With lazy deletion, an entry that is removed from the middle stays in the container at first. The
container drops the entry when it reaches an end, or when removed entries are the majority. So a
removal takes amortized constant time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

from .slots import NEVER

COMPACT_ABOVE = 64  # entries; for much smaller containers, a compaction costs more than it saves
LEAST_REMOVED = COMPACT_ABOVE // 2


class HasState(Protocol):
    """An entry of a `LazyDeque`."""

    state: Any


class Expires(Protocol):
    """An entry of an `ExpiryQueue`."""

    @property
    def state(self) -> Any: ...
    @property
    def expires_at(self) -> float: ...


S = TypeVar("S", bound=HasState)
X = TypeVar("X", bound=Expires)


class LazyDeque(deque[S]):
    """A deque whose entries count only while they are in the state `member_state`.

    To remove an entry, the owner changes the entry's state and calls `note_removed`. An entry that
    is still in the deque must not return to this state. The methods of ``deque`` also see removed
    entries.
    """

    __slots__ = ("member_state", "removed")

    def __init__(self, entries: Iterable[S] = (), member_state: Any = None) -> None:
        super().__init__(entries)
        self.member_state = member_state
        self.removed = 0  # entries that are still in the deque but no longer count

    @property
    def live(self) -> int:
        """How many entries count."""
        return len(self) - self.removed

    def members(self) -> list[S]:
        """List the entries that count, first to last."""
        state = self.member_state
        return [entry for entry in self if entry.state is state]

    def note_removed(self, count: int = 1) -> None:
        """Record that the owner has removed `count` entries by changing their states."""
        self.removed += count
        if self.removed > LEAST_REMOVED:
            self._compact()

    def _compact(self) -> None:
        """Drop all removed entries if they are the majority."""
        if self.removed > LEAST_REMOVED and 2 * self.removed > len(self):
            members = self.members()
            self.clear()
            self.extend(members)

    def trim(self) -> None:
        """Drop removed entries from the front, so that the first entry is one that counts."""
        state = self.member_state
        while self.removed and self[0].state is not state:
            self.popleft()
            self.removed -= 1

    def take_first(self) -> S:
        """Take out the first entry, which must be one that counts, as after `trim`."""
        entry = self.popleft()
        if self.removed:
            self.trim()
            self._compact()
        return entry

    def take_last(self) -> S | None:
        """Take out the last entry that counts, if there is one."""
        state = self.member_state
        while self:
            entry = self.pop()
            if entry.state is state:
                if self.removed:
                    self._compact()
                return entry
            self.removed -= 1
        return None

    def take_first_if(self, condition: Callable[[S], bool]) -> S | None:
        """Take out the first entry that counts, if it fulfils the condition."""
        if self.removed:
            self.trim()
        return self.take_first() if self and condition(self[0]) else None

    def clear(self) -> None:
        super().clear()
        self.removed = 0


class ExpiryQueue(Generic[X]):
    """Entries that expire, earliest first.

    Most entries arrive in the order in which they expire, so a deque holds them. A heap holds the
    others. An entry whose state is `ended` no longer counts, and the queue drops it later.
    """

    __slots__ = ("_added", "_compact_above", "_early", "_ended", "_line")

    def __init__(self, ended: Any) -> None:
        self._ended = ended
        self._line: deque[X] = deque()  # entries that arrived in order
        self._early: list[tuple[float, int, X]] = []  # a heap of the other entries
        self._added = 0  # breaks ties in the heap
        self._compact_above = COMPACT_ABOVE

    def __len__(self) -> int:
        """Count all entries, also those that have ended."""
        return len(self._line) + len(self._early)

    def __iter__(self) -> Iterator[X]:
        """Iterate over the entries that have not ended, in no particular order."""
        entries = [*self._line, *(entry for _, _, entry in self._early)]
        return (entry for entry in entries if entry.state is not self._ended)

    def add(self, entry: X) -> None:
        """Add an entry that expires at a finite time."""
        line, ended = self._line, self._ended
        while line and line[0].state is ended:
            line.popleft()
        if line and entry.expires_at < line[-1].expires_at:
            self._added += 1
            heappush(self._early, (entry.expires_at, self._added, entry))
        else:
            line.append(entry)
        if len(line) + len(self._early) > self._compact_above:
            self.compact()

    def hasten(self, entry: X) -> None:
        """Add an entry that expires earlier than before. It may be in the queue already."""
        if entry in self._line:
            self._line.remove(entry)
        # The heap may still have the entry with its old time, and return it a second time then. The
        # machine ignores it, because its resource is not idle any more.
        self._added += 1
        heappush(self._early, (entry.expires_at, self._added, entry))

    def next_at(self) -> float:
        """Return the time at which the next entry expires. Entries that have ended do not count."""
        line, early, ended = self._line, self._early, self._ended
        while line and line[0].state is ended:
            line.popleft()
        while early and early[0][2].state is ended:
            heappop(early)
        first = line[0].expires_at if line else NEVER
        return min(first, early[0][0]) if early else first

    def take_expired(self, now: float) -> X | None:
        """Take out the next entry if it has expired."""
        at = self.next_at()
        if at > now or at == NEVER:  # NEVER: there is no entry
            return None
        line, early = self._line, self._early
        if early and not (line and line[0].expires_at <= early[0][0]):
            return heappop(early)[2]
        return line.popleft()

    def compact_to(self, count: int) -> None:
        """Drop ended entries if they are the majority. `count` entries have not ended."""
        entries = len(self)
        if entries > COMPACT_ABOVE and entries > 2 * count:
            self.compact()

    def compact(self) -> None:
        """Drop all entries that have ended."""
        ended = self._ended
        self._line = deque(entry for entry in self._line if entry.state is not ended)
        self._early = [item for item in self._early if item[2].state is not ended]
        heapify(self._early)
        self._compact_above = max(COMPACT_ABOVE, 2 * len(self))

    def clear(self) -> None:
        """Drop all entries."""
        self._line.clear()
        self._early.clear()

    def in_order(self) -> list[X]:
        """List the entries that arrived in order, also those that have ended."""
        return list(self._line)

    def out_of_order(self) -> list[tuple[float, X]]:
        """List the other entries, with the times that the heap has for them."""
        return [(at, entry) for at, _, entry in self._early]
