"""Machines with a bug that one contract alone sees, for the contracts that others forestall.

The bugs of ``proofs/broken_machines`` that SizeWithinLimit, NothingLost, ClosedExactlyOnce,
OneOutcome and NoDoubleRelease are about are seen by the contracts of other guarantees as well. In
random steps only those see them. The bug of CountsAgree is seen by another of its contracts.
"""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import action
from nodetool.concurrency._machine.slots import Slot, SlotState, Waiter, WaiterState

__all__ = [
    "ClosesNoMore",
    "CountsOnce",
    "CreatesTooMany",
    "DiscardsNothing",
    "DropsDiscarded",
    "WaitsWithSlot",
]


class CreatesTooMany(PoolMachine[Any]):
    """A machine that creates one resource more than max_size."""

    def _settle(self) -> None:
        limits = self._limits
        self._limits = limits._replace(max_size=limits.max_size + 1)
        try:
            super()._settle()
        finally:
            self._limits = limits


class DropsDiscarded(PoolMachine[Any]):
    """A machine that forgets a discarded resource, whose slot stays occupied."""

    @action("Discard")
    def discard(self, slot: Slot[Any]) -> None:
        super().discard(slot)
        del self._slots[id(slot.resource)]


class ClosesNoMore(PoolMachine[Any]):
    """A machine whose sweep turns closing resources into idle ones."""

    @action("Sweep")
    def sweep(self, now: float) -> list[Slot[Any]]:
        closing = [slot for slot in self.slots() if slot.state is SlotState.CLOSING]
        swept = super().sweep(now)
        for slot in closing:
            slot.state = SlotState.IDLE
            self._closing -= 1
            self._idle.append(slot)
        return swept


class WaitsWithSlot(PoolMachine[Any]):
    """A machine whose waiters have a slot from the beginning."""

    @action("Acquire")
    def acquire(self, now: float) -> Slot[Any] | Waiter[Any]:
        got = super().acquire(now)
        if isinstance(got, Waiter):
            got.slot = Slot(self._generation)
        return got

    @action("Cancel")
    def cancel(self, subject: Slot[Any] | Waiter[Any], now: float) -> None:
        if isinstance(subject, Waiter) and subject.state is WaiterState.WAITING:
            subject.slot = None  # or it would be released, which another contract sees
        super().cancel(subject, now)


class DiscardsNothing(PoolMachine[Any]):
    """A machine that counts a discard and does not end the lease."""

    @action("Discard")
    def discard(self, slot: Slot[Any]) -> None:
        if slot.state is SlotState.HELD:
            self._discarded += 1
        else:
            super().discard(slot)


class CountsOnce(PoolMachine[Any]):
    """A machine that counts only the first resource that has expired."""

    def _sweep(self, now: float) -> list[Slot[Any]]:
        swept = super()._sweep(now)
        self._expired = min(self._expired, 1)
        return swept
