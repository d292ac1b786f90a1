"""Machines with one bug each, at least one for each guarantee. Every checker must tell them apart.

The third column is a model in whose bounds the bug shows.
"""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._counts import Phase
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import NEVER, Place, Record, Waiter
from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._walk import RefusalError, first_difference


class ForgetsHandedOver(PoolMachine[Any]):
    def cancel(self, subject: Waiter[Any] | Record[Any], now: float) -> None:
        if isinstance(subject, Waiter) and subject.place is Place.HANDED:
            subject.place, subject.record = Place.GONE, None
        else:
            super().cancel(subject, now)


class ServesNewestFirst(PoolMachine[Any]):
    def _head(self) -> Waiter[Any]:
        while self._queue[-1].place is not Place.WAITING:
            self._queue.pop()
            self._off_queue -= 1
        self._queue.rotate(1)
        return super()._head()


class DoesNotCountClosing(PoolMachine[Any]):
    def _close(self, *records: Record[Any]) -> None:
        super()._close(*records)
        self.size -= len(records)

    def closer_ended(self, record: Record[Any]) -> None:
        if record.place is Place.CLOSING:
            self.size += 1
        super().closer_ended(record)


class KeepsFailureToItself(PoolMachine[Any]):
    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        if record.place is not Place.CREATING:
            raise self._refusal("create_failed", record)
        self.creating -= 1
        self.doomed -= record.generation != self.generation
        self._free(record)
        return False


class StampsGenerationLate(PoolMachine[Any]):
    def create_succeeded(
        self, record: Record[Any], resource: Any, now: float, expires_at: float = NEVER
    ) -> None:
        if record.place is Place.CREATING and record.generation != self.generation:
            self.alive[record.generation] -= 1
            if not self.alive[record.generation]:
                del self.alive[record.generation]
            self.alive[self.generation] = self.alive.get(self.generation, 0) + 1
            self.doomed -= 1
            record.generation = self.generation
        super().create_succeeded(record, resource, now, expires_at)


class PrunesBelowFloor(PoolMachine[Any]):
    def _sweep(self, now: float) -> list[Record[Any]]:
        limits, self.limits = self.limits, self.limits._replace(min_size=0)
        try:
            return super()._sweep(now)
        finally:
            self.limits = limits


class HandsOutOld(PoolMachine[Any]):
    def _give_back(self, record: Record[Any], now: float) -> None:
        super()._give_back(record, float("-inf"))


class ServesWhileClosing(PoolMachine[Any]):
    def close(self) -> None:
        waiting = [w for w in self._queue if w.place is Place.WAITING]
        super().close()
        for waiter in waiting:
            waiter.place = Place.WAITING
            self._queue.append(waiter)


class TrustsAfterFailedCheck(PoolMachine[Any]):
    def check_failed(self, record: Record[Any], now: float) -> Any:
        epoch = self._epoch
        got = super().check_failed(record, now)
        self._epoch = epoch
        return got


class ShelvesAtTheWrongEnd(PoolMachine[Any]):
    def _hand_over(self, record: Record[Any], now: float) -> None:
        super()._hand_over(record, now)
        if record.place is Place.IDLE:
            self._shelf.rotate(1)


class HandsToTwo(PoolMachine[Any]):
    """What is handed over stays on the shelf."""

    def _hand_over(self, record: Record[Any], now: float) -> None:
        waits = self.waiting
        super()._hand_over(record, now)
        if waits:
            self._shelf.append(record)


class ClosesTwice(PoolMachine[Any]):
    """A closer's end leaves the resource where it is, to be closed again."""

    def closer_ended(self, record: Record[Any]) -> None:
        if record.place is not Place.CLOSING:
            raise self._refusal("closer_ended", record)
        record.place = Place.IDLE
        self.closing -= 1
        self._shelf.append(record)


class TimesOutAndStays(PoolMachine[Any]):
    """Who has timed out is told, and stays in the queue."""

    def _leave(self, waiter: Waiter[Any]) -> None:
        pass


class ReleasesWhatIsIdle(PoolMachine[Any]):
    """A second release is taken for a first."""

    def release(self, record: Record[Any], now: float) -> None:
        if record.place is Place.IDLE:
            record.place = Place.HELD
        super().release(record, now)


class FailsEverybody(PoolMachine[Any]):
    """One failed creation is told to all who wait."""

    def create_failed(self, record: Record[Any], error: BaseException) -> bool:
        told = super().create_failed(record, error)
        while told and self.waiting:
            self._tell(self._head(), error)
        return told


class Miscounts(PoolMachine[Any]):
    """A discarded resource is counted as given back, too."""

    def discard(self, record: Record[Any]) -> None:
        super().discard(record)
        self.discarded -= 1


class ClosedTooEarly(PoolMachine[Any]):
    """Closed, although creations are in flight."""

    def close(self) -> None:
        super().close()
        if self.size == self.creating:
            self.phase = Phase.CLOSED


class LetsWaitersSleep(PoolMachine[Any]):
    """A slot that a closer has freed is offered to nobody."""

    def closer_ended(self, record: Record[Any]) -> None:
        if self.phase is Phase.OPEN and record.place is Place.CLOSING:
            self.closing -= 1
            self._free(record)
        else:
            super().closer_ended(record)


class NeverClosed(PoolMachine[Any]):
    """The last closer's end does not end the closing."""

    def closer_ended(self, record: Record[Any]) -> None:
        super().closer_ended(record)
        if self.phase is Phase.CLOSED:
            self.phase = Phase.CLOSING


class TellsNobodyAtClose(PoolMachine[Any]):
    """Waiters are dropped when closing starts, but not told."""

    def close(self) -> None:
        before = len(self.woken)
        super().close()
        for waiter in self.woken[before:]:
            waiter.error = None
        del self.woken[before:]


class DeafToDeadlines(PoolMachine[Any]):
    """A deadline is for the queue only: who checks goes on checking."""

    def timeout(
        self, subject: Waiter[Any] | Record[Any], error: BaseException | None = None
    ) -> None:
        if isinstance(subject, Record) and subject.place is Place.CHECKING:
            self.timeouts += 1
        else:
            super().timeout(subject, error)


class RetiresIdleOnly(PoolMachine[Any]):
    """What is in use when everything is retired stays young."""

    def retire_all(self) -> None:
        young = [record for record in self.leased.values() if record.place is Place.HELD]
        super().retire_all()
        for record in young:
            self.alive[record.generation] -= 1
            if not self.alive[record.generation]:
                del self.alive[record.generation]
            record.generation = self.generation
            self.alive[self.generation] = self.alive.get(self.generation, 0) + 1


class CountsRefusedReleases(PoolMachine[Any]):
    """A refused step changes something."""

    def release(self, record: Record[Any], now: float) -> None:
        self.acquired += 1
        super().release(record, now)
        self.acquired -= 1


# Bugs that only one contract can find, and one for the contracts as a whole.


class TakesAnyRelease(PoolMachine[Any]):
    """A second release is ignored instead of refused."""

    def release(self, record: Record[Any], now: float) -> None:
        if record.place is Place.HELD:
            super().release(record, now)


class ClosesAndClosesAgain(PoolMachine[Any]):
    """Each closer is to be called twice."""

    def _close(self, *records: Record[Any]) -> None:
        super()._close(*records)
        self.work += records


class ClosesWhatIsHeld(PoolMachine[Any]):
    """What is held when everything is retired is closed under its user."""

    def retire_all(self) -> None:
        super().retire_all()
        for record in list(self.leased.values()):
            if record.place is Place.HELD:
                self._close(record)


class ClosesNothingAtOpen(PoolMachine[Any]):
    """A closer that does not exist is counted."""

    def open(self) -> None:
        self.closing += 1


Broken = tuple[str, type[PoolMachine[Any]], str]

BROKEN: list[Broken] = [
    ("SizeWithinLimit", DoesNotCountClosing, "Wide"),
    ("SingleHolder", HandsToTwo, "Wide"),
    ("NothingLost", ForgetsHandedOver, "Wide"),
    ("OnlyFitHandedOut", StampsGenerationLate, "Wide"),
    ("OnlyFitHandedOut", HandsOutOld, "Wide"),
    ("OnlyFitHandedOut", TrustsAfterFailedCheck, "Checked"),
    ("NothingAfterClose", ServesWhileClosing, "Wide"),
    ("ClosedExactlyOnce", ClosesTwice, "Wide"),
    ("OneOutcome", TimesOutAndStays, "Wide"),
    ("NoDoubleRelease", ReleasesWhatIsIdle, "Wide"),
    ("FifoService", ServesNewestFirst, "Wide"),
    ("FaultIsolation", FailsEverybody, "Wide"),
    ("CountsAgree", Miscounts, "Wide"),
    ("CloseWaits", ClosedTooEarly, "Wide"),
    ("WaiterServed", LetsWaitersSleep, "Wide"),
    ("FailureFreesSlot", KeepsFailureToItself, "Wide"),
    ("CloseCompletes", NeverClosed, "Wide"),
    ("FloorRestored", PrunesBelowFloor, "Deep"),
    ("WaitersFailAtClose", TellsNobodyAtClose, "Wide"),
    ("DeadlineKept", DeafToDeadlines, "Checked"),
    ("RetireAllCompletes", RetiresIdleOnly, "Wide"),
]

# Statistics and error messages are no part of a state of the specification.
UNSEEN_IN_GRAPHS = (Miscounts, TellsNobodyAtClose)


def difference(graph: Graph, machine: type[PoolMachine[Any]]) -> str | None:
    """Where a machine leaves a graph, however it does so."""
    try:
        return first_difference(graph, machine)
    except RefusalError as error:
        return f"refusal: {error}"
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        return f"crash: {error!r}"  # its state can no longer be read
