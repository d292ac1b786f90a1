"""Machines of the second semantics with one bug each, which the walk must tell apart."""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._second.machine import PoolMachine
from nodetool.concurrency._second.slots import Slot, SlotState, Waiter


class KeepsItsDisowned(PoolMachine[Any]):
    """A machine that never disowns work."""

    def _leave(self, waiter: Waiter[Any]) -> None:
        super()._leave(waiter)
        self._disowned = 0


class WakesNobody(PoolMachine[Any]):
    """A machine that hands over, and wakes nobody."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any]) -> None:
        super()._hand_to(waiter, slot)
        self._outbox.woken.clear()


class AsksForNoCheck(PoolMachine[Any]):
    """A machine that changes a slot's state, and asks for no work."""

    def _settle(self, failed: bool = False) -> None:
        super()._settle(failed)
        work = [slot for slot in self._outbox.work if slot.state is not SlotState.CHECKING]
        self._outbox.work.clear()
        self._outbox.work.extend(work)
