"""The refinement mapping: the state of the specification that a machine is in.

No other module of the verification names the machine's fields, except `_explored_pools`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from nodetool.concurrency._machine.counts import Phase
from nodetool.concurrency._machine.guarantees import IN_USE
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.slots import NEVER, Slot, SlotState, Waiter, WaiterState

from ._graph import State

TASK_STATES: dict[SlotState | WaiterState, str] = {
    WaiterState.WAITING: "waiting",
    WaiterState.HANDED: "handed",
    SlotState.HELD: "holding",
}
CAN_GROW_OLD = (SlotState.CHECKING, SlotState.IDLE, SlotState.RESETTING, *IN_USE)


class UnmappedError(AssertionError):
    """Error of a machine that is in no state of the specification."""


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

    def contents(self, now: float) -> tuple[Any, ...]:
        """List everything that the machine keeps, except its statistics.

        A time is given as a position among the next limits, and a generation as a position among
        the generations of the slots. Removed entries side by side count as one, because only
        compaction bounds their number.
        """
        machine, ages = self.machine, self.machine._ages
        times = sorted({time for time, _, _ in self.limits(now)})
        names: dict[int, Any] = {id(slot): r for r, slot in self.named.items()}
        names |= {id(got): t for t, got in self.got.items() if got is not None}

        def name(entry: Any) -> Any:
            return names.get(id(entry), entry.state.value)

        def position(time: float) -> Any:
            if time <= now:
                return "passed"
            return bisect_left(times, time), time in times, time == NEVER

        def entries(found: Iterable[Any]) -> tuple[Any, ...]:
            return tuple(shown for shown, _ in groupby(map(name, found)))

        generations = sorted({machine._generation, *machine._alive})
        queues = machine._unchecked, machine._ready, machine._queue

        def slot(s: Slot[Any]) -> tuple[Any, ...]:
            is_idle = s.state is SlotState.IDLE
            return (
                *(s.state.value, generations[::-1].index(s.generation), position(s.expires_at)),
                is_idle and (position(s.stale_at), position(s.trusted_until), s.ready),
                *(s.waiter and name(s.waiter), s.context is None, s.reason),
            )

        return (
            *(machine.counts(), machine.size(), machine.held(), machine._full_size),
            *(position(machine._deadline), position(machine.outbox.sweep_at)),
            tuple((queue.removed > 0, entries(queue)) for queue in queues),
            entries(ages.in_order()),
            tuple((position(at), name(entry)) for at, entry in ages.out_of_order()),
            tuple(machine._alive.get(generation, 0) for generation in generations),
            tuple((r, slot(s)) for r, s in sorted(self.named.items())),
            tuple(name(got) if got else None for got in self.got.values()),
            tuple((name(w), w.error is None) for w in machine.outbox.woken),
            tuple(map(name, machine.outbox.work)),
        )

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
