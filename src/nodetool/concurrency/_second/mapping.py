"""The refinement mapping: the state of the second specification that a machine is in.

No other module of the verification names the machine's fields, except `explored_pools`.
"""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency.verify._mapping import UnmappedError

from .graph import State
from .machine import PoolMachine
from .slots import NEVER, Slot, SlotState, Waiter, WaiterState

TASK_STATES: dict[SlotState | WaiterState, str] = {
    WaiterState.WAITING: "waiting",
    WaiterState.HANDED: "handed",
    SlotState.HELD: "holding",
}
IN_USE = (SlotState.HANDED, SlotState.HELD)
CAN_GROW_OLD = (SlotState.CHECKING, SlotState.IDLE, SlotState.RESETTING, *IN_USE)


class Mapping:
    """A machine, the slot or waiter of each task, and names for the machine's slots."""

    def __init__(
        self, machine: PoolMachine[Any], tasks: tuple[str, ...], resources: tuple[int, ...]
    ) -> None:
        self.machine = machine
        self.tasks = tasks
        self.resources = resources
        self.got: dict[str, Slot[Any] | Waiter[Any] | None] = dict.fromkeys(tasks)
        self.named: dict[int, Slot[Any]] = {}

    def state(self, now: float) -> State:
        """Map the machine's state to a state of ``AsyncResourcePool.tla``."""
        machine, counts, idle = self.machine, self.machine.counts(), self.machine.idle()
        names = {id(slot): r for r, slot in self.named.items()}
        task: list[str] = []
        lease: list[int] = []
        for t in self.tasks:
            got = self.got[t]
            slot = got.slot if isinstance(got, Waiter) else got
            task.append("out" if got is None else TASK_STATES[got.state])
            lease.append(names[id(slot)] if slot is not None else 0)
        return State(
            phase=counts.phase.value,
            floor=counts.floor.value,
            place=tuple(self._place(r) for r in self.resources),
            task=tuple(task),
            lease=tuple(lease),
            queue=self._queue(),
            idle=tuple(names[id(slot)] for slot in idle),
            old=frozenset(r for r, s in self._can_grow_old() if s.expires_at <= now),
            stale=frozenset(names[id(s)] for s in idle if s.stale_at <= now),
            trusted=frozenset(
                names[id(s)] for s in idle if machine._checks and s.ready and s.trusted_until > now
            ),
            retired=frozenset(
                r
                for r, s in self.named.items()
                if machine.is_retired(s) and s.state is not SlotState.CLOSING
            ),
            disowned=counts.disowned,
            max_size=counts.max_size,
            min_size=counts.min_size,
        )

    def limits(self, now: float) -> list[tuple[float, str, int]]:
        """List the limits that have not passed yet: time, action and resource, earliest first."""
        machine = self.machine
        if machine.counts().phase is not Phase.OPEN:
            return []
        found = [(s.expires_at, "GrowOld", r) for r, s in self._can_grow_old()]
        for r, s in self.named.items():
            if s.state is SlotState.IDLE:
                found.append((s.stale_at, "GrowStale", r))
                if machine._checks and s.ready:
                    found.append((s.trusted_until, "TrustExpires", r))
        return sorted(limit for limit in found if now < limit[0] < NEVER)

    def notice(self) -> None:
        """Forget the free slots after a step, and name the new creations, lowest name first."""
        for r in [r for r, slot in self.named.items() if slot.state is SlotState.FREE]:
            del self.named[r]
        for t, got in self.got.items():
            if got is not None and got.state in (SlotState.FREE, WaiterState.DONE):
                self.got[t] = None
        known = {id(slot) for slot in self.named.values()}
        for slot in self.machine.outbox.work:
            if slot.state is SlotState.CREATING and id(slot) not in known:
                free = set(self.resources) - set(self.named)
                if not free:
                    raise UnmappedError("there are more slots than the model has names")
                self.named[min(free)] = slot

    def owner_of(self, subject: object) -> str | None:
        """Find the task that has this slot or waiter."""
        return next((t for t, got in self.got.items() if got is subject), None)

    def queue_is_in_order(self) -> bool:
        """Tell whether the machine's queue is in the order of arrival."""
        return "?" not in self._queue()

    def _can_grow_old(self) -> list[tuple[int, Slot[Any]]]:
        """List the resources that may still be used, with their names."""
        return [
            (r, s)
            for r, s in self.named.items()
            if s.state in CAN_GROW_OLD and not self.machine.is_retired(s)
        ]

    def _place(self, r: int) -> str:
        slot = self.named.get(r)
        if slot is None:
            return "free"
        return "inUse" if slot.state in IN_USE else slot.state.value

    def _queue(self) -> tuple[str, ...]:
        """List the tasks whose acquires are under way, in the order of arrival.

        If the order is not that of the machine's queue, return no state of the specification.
        """
        under_way = {t: got for t, got in self.got.items() if isinstance(got, Waiter)}
        order = sorted(under_way, key=lambda t: under_way[t].ticket)
        waiting = [under_way[t] for t in order if under_way[t].state is WaiterState.WAITING]
        if waiting != self.machine.waiters():
            return ("?",)
        return tuple(order)
