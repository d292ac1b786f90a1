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
    SlotState.CHECKING: "checking",
    SlotState.HELD: "holding",
    SlotState.RESETTING: "resetting",
}
UNDER_WAY = (WaiterState.WAITING, WaiterState.HANDED, SlotState.CHECKING)

HANDED_TRUST = "HandedTrustExpires"  # a limit that the specification has no action for


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
        machine = self.machine
        fit = {r: s for r, s in self.named.items() if s.generation == machine._generation}
        names = {id(slot): r for r, slot in self.named.items()}
        task: list[str] = []
        lease: list[int] = []
        for t in self.tasks:
            got = self.got[t]
            slot = got.slot if isinstance(got, Waiter) else got
            state = TASK_STATES.get(got.state, "out") if got else "out"
            task.append(state)
            lease.append(names[id(slot)] if slot and state not in ("out", "waiting") else 0)
        idle = machine._idle.members()
        counts = machine.counts()
        return State(
            phase=counts.phase.value,
            floor=counts.floor.value,
            place=tuple(self._place(r) for r in self.resources),
            task=tuple(task),
            lease=tuple(lease),
            queue=self._queue(),
            idle=tuple(names[id(slot)] for slot in idle),
            old=frozenset(
                r
                for r, s in fit.items()
                if (s.state is SlotState.IDLE or s.state in IN_USE) and s.expires_at <= now
            ),
            stale=frozenset(
                r for r, s in fit.items() if s.state is SlotState.IDLE and s.stale_at <= now
            ),
            trusted=frozenset(
                r for r, s in fit.items() if counts.phase is Phase.OPEN and self._is_trusted(s, now)
            ),
            retired=frozenset(
                r
                for r, s in self.named.items()
                if r not in fit and s.state is not SlotState.CLOSING
            ),
        )

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
        """List everything that the machine keeps.

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

        def slot(s: Slot[Any]) -> tuple[Any, ...]:
            trusted = self._is_trusted(s, now)
            return (
                *(s.state.value, generations[::-1].index(s.generation)),
                machine._epoch == s.epoch,
                *(position(s.expires_at), position(s.stale_at), trusted, s.trusted),
                *(s.waiter and name(s.waiter), s.context is None),
            )

        return (
            *(machine.counts(), machine.size(), machine.held(), position(machine._deadline)),
            *(position(machine.outbox.sweep_at), machine._idle.removed > 0),
            machine._queue.removed > 0,
            entries(machine._idle),
            entries(machine._queue),
            entries(ages.in_order()),
            tuple((position(at), name(entry)) for at, entry in ages.out_of_order()),
            tuple(machine._alive.get(generation, 0) for generation in generations),
            tuple((r, slot(s)) for r, s in sorted(self.named.items())),
            tuple(name(got) if got else None for got in self.got.values()),
            tuple((name(w), w.error is None) for w in machine.outbox.woken),
            tuple(map(name, machine.outbox.work)),
        )

    def limits(self, now: float) -> list[tuple[float, str, int]]:
        """List the limits that have not passed yet: time, action and resource, earliest first."""
        machine = self.machine
        pending: list[tuple[float, str, int]] = []
        if machine.counts().phase is not Phase.OPEN:
            return pending
        for r, s in self.named.items():
            if s.generation != machine._generation:
                continue
            if s.state is SlotState.IDLE or s.state in IN_USE:
                pending.append((s.expires_at, "GrowOld", r))
            if s.state is SlotState.IDLE:
                pending.append((s.stale_at, "GrowStale", r))
                if machine._check_after_idle and s.epoch == machine._epoch:
                    pending.append((s.used_at + machine._check_after_idle, "TrustExpires", r))
            if s.state is SlotState.HANDED and s.trusted and machine._check_after_idle:
                pending.append((s.used_at + machine._check_after_idle, HANDED_TRUST, r))
        return sorted(limit for limit in pending if now < limit[0] < NEVER)

    def queue_is_in_order(self) -> bool:
        """Tell whether the machine's queue is in the order of arrival."""
        return "?" not in self._queue()

    def _queue(self) -> tuple[str, ...]:
        """List the tasks whose acquires are under way, in the order of arrival.

        If the order is not that of the machine's queue, return no state of the specification.
        """
        under_way = {t: got for t, got in self.got.items() if got and got.state in UNDER_WAY}
        order = sorted(under_way, key=lambda t: under_way[t].ticket)
        waiting = [under_way[t] for t in order if under_way[t].state is WaiterState.WAITING]
        if waiting != self.machine._queue.members():
            return ("?",)  # no state of the specification
        return tuple(order)

    def _place(self, r: int) -> str:
        slot = self.named.get(r)
        if slot is None:
            return "free"
        return "inUse" if slot.state in IN_USE else slot.state.value

    def _is_trusted(self, slot: Slot[Any], now: float) -> bool:
        """Tell whether the resource would be handed out, or kept, without a check."""
        machine = self.machine
        if machine._check_after_idle is None or slot.epoch != machine._epoch:
            return False
        if slot.state is SlotState.HANDED:
            return slot.trusted
        return slot.state is SlotState.IDLE and now - slot.used_at < machine._check_after_idle
