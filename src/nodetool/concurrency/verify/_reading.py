"""How a state of the machine is read as a state of the specification."""

from __future__ import annotations

from typing import Any

from nodetool.concurrency._counts import Phase
from nodetool.concurrency._guarantees import IN_USE
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place, Record, Waiter

from ._graph import State

UNDER_WAY = {Place.WAITING, Place.HANDED, Place.CHECKING}
TASK_AT = {
    Place.WAITING: "waiting",
    Place.HANDED: "handed",
    Place.CHECKING: "checking",
    Place.HELD: "holding",
    Place.RESETTING: "resetting",
}


class Reading:
    """A machine, the tasks with what they got from it, and names for its records."""

    def __init__(
        self, machine: PoolMachine[Any], tasks: tuple[str, ...], resources: tuple[int, ...]
    ) -> None:
        self.machine = machine
        self.tasks = tasks
        self.resources = resources
        self.got: dict[str, Record[Any] | Waiter[Any] | None] = dict.fromkeys(tasks)
        self.named: dict[int, Record[Any]] = {}

    def read(self, now: float) -> State:
        """The state of ``AsyncResourcePool.tla`` that the machine is in."""
        machine = self.machine
        fit = {r: v for r, v in self.named.items() if v.generation == machine.generation}
        name = {id(record): r for r, record in self.named.items()}
        task, lease = [], []
        for t in self.tasks:
            got = self.got[t]
            record = got.record if isinstance(got, Waiter) else got
            state = TASK_AT.get(got.place, "out") if got else "out"
            task.append(state)
            lease.append(name[id(record)] if record and state not in ("out", "waiting") else 0)
        return State(
            phase=machine.phase.value,
            floor=machine.floor.value,
            place=tuple(self._place(r) for r in self.resources),
            task=tuple(task),
            lease=tuple(lease),
            queue=self._queue(),
            idle=tuple(name[id(r)] for r in machine._shelf if r.place is Place.IDLE),
            old=frozenset(
                r
                for r, v in fit.items()
                if (v.place is Place.IDLE or v.place in IN_USE) and v.expires_at <= now
            ),
            stale=frozenset(
                r for r, v in fit.items() if v.place is Place.IDLE and v.stale_at <= now
            ),
            trusted=frozenset(
                r for r, v in fit.items() if machine.phase is Phase.OPEN and self.trusts(v, now)
            ),
            retired=frozenset(
                r for r, v in self.named.items() if r not in fit and v.place is not Place.CLOSING
            ),
        )

    def _queue(self) -> tuple[str, ...]:
        """The acquires under way by their tickets; who waits, as the machine has them."""
        under_way = {t: got for t, got in self.got.items() if got and got.place in UNDER_WAY}
        order = sorted(under_way, key=lambda t: under_way[t].ticket)
        waiting = [under_way[t] for t in order if under_way[t].place is Place.WAITING]
        if waiting != [w for w in self.machine._queue if w.place is Place.WAITING]:
            return ("?",)  # no state of the specification
        return tuple(order)

    def _place(self, r: int) -> str:
        record = self.named.get(r)
        if record is None:
            return "free"
        return "inUse" if record.place in IN_USE else record.place.value

    def trusts(self, record: Record[Any], now: float) -> bool:
        """Whether the record would be handed out, or kept, without a check."""
        limit = self.machine.check_after_idle
        return (
            limit is not None
            and record.place in (Place.IDLE, Place.HANDED)
            and record.epoch == self.machine._epoch
            and now - record.used_at < limit
        )

    def notice(self) -> None:
        """After a step: forget what is gone, name the creations that started, lowest name first."""
        for r in [r for r, record in self.named.items() if record.place is Place.GONE]:
            del self.named[r]
        for t, got in self.got.items():
            if got is not None and got.place is Place.GONE:
                self.got[t] = None
        known = {id(record) for record in self.named.values()}
        for record in self.machine.work:
            if record.place is Place.CREATING and id(record) not in known:
                self.named[min(set(self.resources) - set(self.named))] = record
