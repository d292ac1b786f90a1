"""Snapshots: the whole state of a machine as values of JSON, and the way back.

A snapshot holds no object of a user. It names each slot by a number, and each waiter by its ticket.
It also keeps the entries that the containers drop later, because the restored machine must take
the same steps with the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .containers import LazyDeque
from .counts import Floor, Limits, Phase
from .machine import PoolMachine
from .slots import Slot, SlotState, Waiter, WaiterState

FREE, HANDED = SlotState.FREE, WaiterState.HANDED

QUEUES = ("_unchecked", "_ready", "_queue")
OTHERS = {*QUEUES, "_ages", "_alive", "_closed_for", "_floor", "_outbox", "_phase", "_slots"}
OPTIONS = {
    "_check_after_idle",
    "_checks",
    "_fifo",
    "_full_size",
    "_limits",
    "_max_idle_time",
    "_max_size",
    "_min_size",
    "_name",
    "_resets",
}
NUMBERS = tuple(sorted(name[1:] for name in {*PoolMachine.__slots__} - OTHERS - OPTIONS))
"""The fields of a machine that are plain numbers and no options."""

FIELDS = ("generation", "expires_at", "stale_at", "ready", "trusted_until", "reason")
"""The fields of a slot that are plain values."""

SLOT_FIELDS = ("number", "state", "waiter", *FIELDS)
"""The values of a slot in a snapshot."""


def capture(machine: PoolMachine[Any], numbers: Mapping[Slot[Any], int]) -> dict[str, Any]:
    """Return the state of a machine. `numbers` has all slots that are not free."""
    places: dict[Slot[Any], int] = {}  # the position of each slot in the snapshot

    def place(slots: Iterable[Slot[Any]]) -> list[int]:
        return [places.setdefault(slot, len(places)) for slot in slots]

    place(numbers)
    ages = machine._ages
    return {
        "options": {**machine.options(), "limits": list(machine.limits)},
        "phase": machine._phase.value,
        "floor": machine._floor.value,
        "numbers": {name: getattr(machine, f"_{name}") for name in NUMBERS},
        "alive": [list(pair) for pair in machine._alive.items()],
        "closed for": dict(machine._closed_for),
        "sweep at": machine.outbox.sweep_at,
        "table": place(machine.slots()),
        "unchecked": place(machine._unchecked),
        "ready": place(machine._ready),
        "queue": [[waiter.ticket, waiter.state.value] for waiter in machine._queue],
        "removed": [getattr(machine, name).removed for name in QUEUES],
        "line": place(ages._line),
        "early": [[at, order, *place([slot])] for at, order, slot in ages._early],
        "ages": [ages._added, ages._compact_above],
        "slots": [
            [
                numbers.get(slot, 0),
                slot.state.value,
                None if slot.waiter is None else slot.waiter.ticket,
                *(getattr(slot, name) for name in FIELDS),
            ]
            for slot in places
        ],
    }


def restore(state: dict[str, Any], kind: type[Any] = PoolMachine) -> tuple[Any, dict[Any, int]]:
    """Make a machine with a captured state. Return it, and the numbers of its slots.

    Each resource is a new object.

    Raises:
        KeyError, IndexError, TypeError, ValueError: This is no state that `capture` has returned.
    """
    options = {**state["options"]}
    limits = Limits(*options.pop("limits"))
    machine = kind(options.pop("name"), limits, **options)
    slots = [_slot(*fields) for fields in state["slots"]]
    machine._phase, machine._floor = Phase(state["phase"]), Floor(state["floor"])
    for name in NUMBERS:
        setattr(machine, f"_{name}", state["numbers"][name])
    machine._alive = dict(state["alive"])
    machine._closed_for = dict(state["closed for"])
    machine.outbox.sweep_at = state["sweep at"]
    for slot in (slots[at] for at in state["table"]):
        slot.resource = object()
        machine._slots[id(slot.resource)] = slot
    machine._unchecked.extend(slots[at] for at in state["unchecked"])
    machine._ready.extend(slots[at] for at in state["ready"])
    machine._queue.extend(_waiter(*fields) for fields in state["queue"])
    for name, removed in zip(QUEUES, state["removed"], strict=True):
        queue: LazyDeque[Any] = getattr(machine, name)
        queue.removed = removed
    ages = machine._ages
    ages._line.extend(slots[at] for at in state["line"])
    ages._early = [(time, order, slots[at]) for time, order, at in state["early"]]
    ages._added, ages._compact_above = state["ages"]
    known = zip(slots, (fields[0] for fields in state["slots"]), strict=True)
    return machine, {slot: number for slot, number in known if number}


def _slot(number: int, state: str, ticket: int | None, *fields: Any) -> Slot[Any]:
    slot: Slot[Any] = Slot(0)
    slot.state = SlotState(state)
    for name, value in zip(FIELDS, fields, strict=True):
        setattr(slot, name, value)
    if ticket is not None:
        slot.waiter = _waiter(ticket, HANDED.value)
        slot.waiter.slot = slot
    return slot


def _waiter(ticket: int, state: str) -> Waiter[Any]:
    waiter: Waiter[Any] = Waiter()
    waiter.ticket, waiter.state = ticket, WaiterState(state)
    waiter.slot = waiter.error = None
    return waiter
