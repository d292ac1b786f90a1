"""Machines of the second semantics with one bug each, which the walk must tell apart."""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._second import counts as rules
from nodetool.concurrency._second.counts import Counts, Event
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


# Transitions of the counting model with one bug each, which the proof must refute.


def never_caps(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Forget that disowned work can end."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(disowned=c.disowned)


def starts_nothing(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Start no creation."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(creating=min(after.creating, c.creating))


def ignores_the_limit(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Keep a resource that comes back, although the limit was lowered."""
    roomy = c._replace(max_size=c.max_size + 1)
    return rules.transition(limits, roomy, event, *choices)._replace(max_size=c.max_size)


def closes_early(limits: Any, c: Counts, event: Event, *choices: Any) -> Counts:
    """Close the pool while resources are in use."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(phase=Phase.CLOSED) if after.phase is Phase.CLOSING else after


BROKEN_RULES = (
    (Event.CREATE_FAILED, never_caps, "TypeOK"),
    (Event.ACQUIRE, starts_nothing, "FloorKept"),
    (Event.RETURN, ignores_the_limit, "SizeWithinLimit"),
    (Event.CLOSE, closes_early, "CloseWaits"),
)
"""An event, a transition with a bug, and the rule that it breaks."""
