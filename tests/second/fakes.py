"""Fakes of the parts of the second runtime, for tests of one part alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodetool.concurrency import InvalidReleaseError
from tests.inside import Floor, Phase, SlotState, second_counts, second_slots, second_work

LIMITS = second_counts.Limits(2, None)
NOTHING = second_counts.Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, Phase.OPEN, Floor.OFF)


class FakeMachine:
    """A machine that notes its steps, and does in each what the test says."""

    name, limits = "db", LIMITS

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.outbox: second_slots.Outbox[Any] = second_slots.Outbox()
        self.found: dict[int, second_slots.Slot[Any]] = {}
        self.phase, self.floor = Phase.OPEN, Floor.OFF
        self.numbers = NOTHING
        self.oldest = 0  # the oldest generation that is left
        self.does: dict[str, Callable[..., object]] = {}
        self.args: dict[str, tuple[Any, ...]] = {}  # of the last step of each kind

    def finder(self) -> Callable[[int], second_slots.Slot[Any] | None]:
        return self.found.get

    def counts(self) -> second_counts.Counts:
        return self.numbers._replace(phase=self.phase, floor=self.floor)

    def has_retired(self, generation: int) -> bool:
        return self.oldest < generation

    def slots(self) -> list[second_slots.Slot[Any]]:
        return [*self.found.values()]

    def invalid_release(self, state: SlotState) -> InvalidReleaseError:
        return InvalidReleaseError(state.value)

    def __getattr__(self, step: str) -> Callable[..., Any]:
        def take(*args: Any) -> object:
            self.notes.append(step)
            self.args[step] = args
            does = self.does.get(step)
            return None if does is None else does(*args)

        return take

    def lease(self, resource: object) -> second_slots.Slot[Any]:
        """Return the slot of a held resource."""
        slot: second_slots.Slot[Any] = second_slots.Slot(0)
        slot.state, slot.resource = SlotState.HELD, resource
        self.found[id(resource)] = slot
        return slot


class FakeWork:
    """Work that notes what it is asked for."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.has_closer = True
        self.problem: BaseException | str | None = None  # of a closer without a loop
        self.stuck: list[second_work.Run] = []  # runs that cannot end by themselves
        self.overdue: list[second_work.Run] = []  # closers that exceed their limit
        self.in_flight: list[second_work.Run] = []

    def limit_of(self, _: SlotState) -> float:
        return 5.0

    def late_error(self, kind: SlotState) -> Exception:
        return TimeoutError(kind.value)

    def oldest(self) -> list[second_work.Run]:
        return self.in_flight[:1]

    def request(self, slot: second_slots.Slot[Any], _: object) -> None:
        self.notes.append(f"request: {slot.state.value}")

    def end(self, run: second_work.Run) -> bool:
        was, run.state = run.state, second_work.RunState.ENDED
        return was is not second_work.RunState.ENDED

    def cancel_all(self) -> list[second_work.Run]:
        self.notes.append("cancel all")
        return self.stuck

    def cancel_overdue(self, _: float) -> list[second_work.Run]:
        self.notes.append("cancel the overdue")
        return self.overdue

    def call_closer(self, _: object) -> BaseException | str | None:
        self.notes.append("call the closer")
        return self.problem

    def stop(self) -> None:
        self.notes.append("stop")
