"""Fakes of the runtime's parts, for tests of one part alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nodetool.concurrency import InvalidReleaseError, ResourcePoolLoopError
from tests.inside import Counts, Floor, Limits, Outbox, Phase, Run, RunState, Slot, SlotState

LIMITS = Limits(2, None)
NOTHING = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, Phase.OPEN, Floor.OFF)


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

    _thread_id: Any = object()  # of no thread and no loop: the driver asks the methods below

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

    may_interrupt = False

    def is_current(self) -> bool:
        return not self.elsewhere

    def wake(self) -> None:
        """Do nothing: there is no loop that sleeps."""

    def cancel(self, timer: FakeTimer | None) -> None:
        if timer is not None:
            timer.cancel()

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

    name, limits = "db", LIMITS

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.outbox: Outbox[Any] = Outbox()
        self.found: dict[int, Slot[Any]] = {}
        self.phase, self.floor = Phase.OPEN, Floor.OFF
        self.numbers = NOTHING
        self.retires = False  # whether all slots are of an old generation
        self.oldest = 0  # the oldest generation that is left
        self.does: dict[str, Callable[..., object]] = {}
        self.args: dict[str, tuple[Any, ...]] = {}  # of the last step of each kind

    def finder(self) -> Callable[[int], Slot[Any] | None]:
        return self.found.get

    def counts(self) -> Counts:
        return self.numbers._replace(phase=self.phase, floor=self.floor)

    def is_retired(self, slot: Slot[Any]) -> bool:
        return self.retires

    def has_retired(self, generation: int) -> bool:
        return self.oldest < generation

    def slots(self) -> list[Slot[Any]]:
        return [*self.found.values()]

    def lent(self) -> list[Slot[Any]]:
        return [slot for slot in self.slots() if slot.state is SlotState.HELD]

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
        self.problem: BaseException | str | None = None  # of a closer without a loop
        self.stuck: list[Run] = []  # runs that cannot end by themselves
        self.overdue: list[Run] = []  # closers that exceed their limit
        self.in_flight: list[Run] = []

    def limit_of(self, _: SlotState) -> float:
        return 5.0

    def late_error(self, kind: SlotState) -> Exception:
        return TimeoutError(kind.value)

    def oldest(self) -> list[Run]:
        return self.in_flight[:1]

    def request(self, slot: Slot[Any], _: object) -> None:
        self.notes.append(f"request: {slot.state.value}")

    def end(self, run: Run) -> bool:
        was, run.state = run.state, RunState.ENDED
        return was is not RunState.ENDED

    def cancel_all(self) -> list[Run]:
        self.notes.append("cancel all")
        return self.stuck

    def cancel_overdue(self, _: float) -> list[Run]:
        self.notes.append("cancel the overdue")
        return self.overdue

    def call_closer(self, _: object) -> BaseException | str | None:
        self.notes.append("call the closer")
        return self.problem

    def stop(self) -> None:
        self.notes.append("stop")
