"""Fakes of the runtime's parts, for tests of one part alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nodetool.concurrency import InvalidReleaseError, ResourcePoolLoopError
from tests.inside import Counts, Floor, Limits, Outbox, Phase, Slot, SlotState


class FakeTimer:
    """A timer of the fake binding."""

    def __init__(self, at: float, method: Callable[[], None]) -> None:
        self.at = at
        self.method = method
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeBinding:
    """Loop affinity without a loop. The test moves the clock, and the timers fire."""

    name = "db"
    forked = False

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[FakeTimer] = []
        self.loop: Any = None
        self.owner = self
        self.over = False  # whether the loop is closed
        self.elsewhere = False  # whether the loop runs in another thread

    _thread_id = None  # of no thread: the driver asks the methods below

    def clock(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def is_over(self) -> bool:
        return self.over

    def runs_elsewhere(self) -> bool:
        return self.elsewhere

    def check(self) -> None:
        self.refuse_strangers()

    def refuse_strangers(self) -> None:
        if self.elsewhere:
            raise ResourcePoolLoopError

    def call_later(self, delay: float, method: Callable[[], None]) -> FakeTimer | None:
        if self.over:
            return None
        self.timers.append(FakeTimer(self.now + delay, method))
        return self.timers[-1]

    def armed(self) -> list[float]:
        """Return the times of the timers that are set."""
        return [timer.at for timer in self.timers if not timer.is_cancelled]

    def go_to(self, time: float) -> None:
        """Let time pass, and let the timers fire that are due."""
        while due := [t for t in self.timers if not t.is_cancelled and t.at <= time]:
            timer = min(due, key=lambda t: t.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.method()
        self.now = time


class FakeLoop:
    """A loop of another thread. It keeps what is handed to it."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def call_soon_threadsafe(self, call: Callable[..., object], *args: Any, context: Any) -> None:
        assert not [*context], "context variables of the caller are kept"
        self.calls.append(lambda: call(*args))


class FakeMachine:
    """A machine that notes its steps, and does in each what the test says."""

    name, limits = "db", Limits(2, 0, 2, None)

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.outbox: Outbox[Any] = Outbox()
        self.found: dict[int, Slot[Any]] = {}
        self.phase, self.floor = Phase.OPEN, Floor.OFF
        self.does: dict[str, Callable[..., object]] = {}
        self.args: dict[str, tuple[Any, ...]] = {}  # of the last step of each kind

    def finder(self) -> Callable[[int], Slot[Any] | None]:
        return self.found.get

    def counts(self) -> Counts:
        return Counts(0, 0, 0, 0, 0, 0, self.phase, self.floor)

    def slots(self) -> list[Slot[Any]]:
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

    def lease(self, resource: object) -> Slot[Any]:
        """Return the slot of a held resource."""
        slot: Slot[Any] = Slot(0)
        slot.state, slot.resource = SlotState.HELD, resource
        self.found[id(resource)] = slot
        return slot


class FakeWork:
    """Work that notes what it is asked for."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.has_closer = True
        self.ended: list[Slot[Any]] = []  # creations or closings that nobody else ends

    def cancel_creations(self) -> list[Slot[Any]]:
        self.notes.append("cancel creations")
        return self.ended

    def abandon_overdue(self, _: float) -> list[Slot[Any]]:
        self.notes.append("abandon")
        return self.ended

    def create(self, *_: object) -> None:
        self.notes.append("start a creation")

    def close(self, _: object) -> None:
        self.notes.append("queue a closing")

    def start_closers(self, _: object) -> None:
        self.notes.append("start closers")

    def call_closer(self, _: object) -> None:
        self.notes.append("call the closer")

    def end_closing(self, _: object) -> None:
        self.notes.append("end a closing")

    def report_overdue(self) -> None:
        self.notes.append("report a closer")

    def stop(self) -> None:
        self.notes.append("stop")


class FakeHooks:
    """Hooks that note which reset is started."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def start_reset(self, *_: object) -> None:
        self.notes.append("start a reset")
