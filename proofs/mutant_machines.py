"""Machines with a bug that one contract alone sees, for the contracts that others forestall.

The bugs of ``proofs/broken_machines`` that SizeWithinLimit, NothingLost, ClosedExactlyOnce,
OneOutcome and NoDoubleRelease are about are seen by the contracts of other guarantees as well, and
in random steps only by those; and that of CountsAgree is seen by another of its contracts.
"""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place, Record, Waiter

__all__ = [
    "ClosesNoMore",
    "CountsOnce",
    "CreatesTooMany",
    "DiscardsNothing",
    "DropsDiscarded",
    "QueuesTwice",
]


class CreatesTooMany(PoolMachine[Any]):
    """One more than max_size."""

    def _settle(self) -> None:
        limits, self.limits = self.limits, self.limits._replace(max_size=self.limits.max_size + 1)
        try:
            super()._settle()
        finally:
            self.limits = limits


class DropsDiscarded(PoolMachine[Any]):
    """What is discarded keeps its slot, and nobody knows it any more."""

    def discard(self, record: Record[Any]) -> None:
        super().discard(record)
        del self.leased[id(record.resource)]


class ClosesNoMore(PoolMachine[Any]):
    """What is being closed is idle again."""

    def sweep(self, now: float) -> list[Record[Any]]:
        swept = super().sweep(now)
        for record in self.leased.values():
            if record.place is Place.CLOSING:
                record.place = Place.IDLE
                self.closing -= 1
                self._shelf.append(record)
        return swept


class QueuesTwice(PoolMachine[Any]):
    """Who waits is in the queue twice."""

    def _seek(self, now: float, ticket: int) -> Record[Any] | Waiter[Any]:
        got = super()._seek(now, ticket)
        if isinstance(got, Waiter):
            self._queue.append(got)
        return got


class DiscardsNothing(PoolMachine[Any]):
    """A lease does not end although its holder was told so."""

    def discard(self, record: Record[Any]) -> None:
        if record.place is Place.HELD:
            self.discarded += 1
        else:
            super().discard(record)


class CountsOnce(PoolMachine[Any]):
    """Of what has expired only the first is counted."""

    def _sweep(self, now: float) -> list[Record[Any]]:
        swept = super()._sweep(now)
        self.expired = min(self.expired, 1)
        return swept
