"""Events to test with: those of a model of a pool, which also counts, and arbitrary ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Literal

from hypothesis import settings
from hypothesis import strategies as st

from nodetool.concurrency import PoolEvent

# Exact in binary, so that many events happen at exactly the same time.
TICK = 1 / 8192  # seconds


def examples(number: int) -> settings:
    """Run a number of examples, the same ones every time.

    With TIMELINE_EXAMPLES=N in the environment, run N times as many random ones.
    """
    factor = int(os.environ.get("TIMELINE_EXAMPLES", "0"))
    return settings(
        max_examples=number * (factor or 1), derandomize=not factor, deadline=None, database=None
    )


class ModelPool:
    """A model of a pool with some users: its events, and the counts at each moment.

    If it `works`, it checks and resets some resources, and reports that.
    """

    def __init__(
        self, seed: int, users: int = 4, size: int = 2, times: int = 3, works: bool = False
    ) -> None:
        self.works = works
        self.random = Random(seed)
        self.max_size = size
        self.events: list[PoolEvent] = []
        self.counts: dict[float, dict[str, int]] = {}  # after the last event of each moment
        # The waits that took time and got a resource, each with the end of its lease.
        self.arrows: list[tuple[PoolEvent, float]] = []
        self.now = 100.0
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._numbers = count(1)
        self._idle: list[int] = []
        self._queue: list[tuple[float, str, int]] = []
        self._busy = dict.fromkeys(("creating", "checking", "in use", "resetting", "closing"), 0)
        for user in range(users):
            self._schedule(6, self._acquire, f"user {user}", times)
        while self._agenda:
            self.now = self._agenda[0][0]
            while self._agenda and self._agenda[0][0] == self.now:
                _, _, action, args = heappop(self._agenda)
                action(*args)
            counts = {"idle": len(self._idle), "waiting": len(self._queue)}
            self.counts[self.now] = self._busy | counts

    def _schedule(self, most: int, action: Callable[..., None], *args: Any) -> None:
        time = self.now + self.random.randint(0, most) * TICK
        heappush(self._agenda, (time, next(self._order), action, args))

    def _report(self, *values: Any) -> PoolEvent:
        event = PoolEvent(*values)
        self.events.append(event)
        return event

    def _acquire(self, task: str, times: int) -> None:
        self._queue.append((self.now, task, times))
        if self.random.random() < 0.3:
            self._schedule(4, self._give_up, self._queue[-1])
        self._serve()

    def _give_up(self, waiter: tuple[float, str, int]) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
            start, task, times = waiter
            outcome = self.random.choice(["timed out", "cancelled"])
            self._report("wait", None, start, self.now, outcome, task, TimeoutError("too late"))
            self._acquire_later(task, times)

    def _acquire_later(self, task: str, times: int) -> None:
        if times > 1:
            self._schedule(9, self._acquire, task, times - 1)

    def _serve(self) -> None:
        while self._queue and self._idle:
            number = self._idle.pop()
            if self.works and self.random.random() < 0.4:
                self._busy["checking"] += 1
                self._schedule(4, self._end_check, number, self.now)
                break
            self._hand_over(number)
        size = len(self._idle) + sum(self._busy.values())
        in_flight = self._busy["creating"] + self._busy["checking"]
        for _ in range(min(len(self._queue) - in_flight, self.max_size - size)):
            self._busy["creating"] += 1
            self._schedule(5, self._end_creation, next(self._numbers), self.now)

    def _hand_over(self, number: int) -> None:
        start, task, times = self._queue.pop(0)
        wait = self._report("wait", number, start, self.now, "acquired", task, None)
        self._busy["in use"] += 1
        self._schedule(9, self._release, number, self.now, wait, times)

    def _end_check(self, number: int, start: float) -> None:
        self._busy["checking"] -= 1
        outcome = self.random.choice(["passed", "passed", "failed"])
        self._report("check", number, start, self.now, outcome, "", None)
        if outcome == "failed":
            self._close(number, "check failed")
        elif self._queue:
            self._hand_over(number)
        else:
            self._idle.append(number)
        self._serve()

    def _end_creation(self, number: int, start: float) -> None:
        self._busy["creating"] -= 1
        if self.random.random() < 0.2:
            self._report("creation", number, start, self.now, "failed", "", OSError("refused"))
        else:
            self._report("creation", number, start, self.now, "created", "", None)
            self._idle.append(number)
        self._serve()

    def _release(self, number: int, start: float, wait: PoolEvent, times: int) -> None:
        outcome = self.random.choice(["released", "released", "discarded", "detached"])
        self._busy["in use"] -= 1
        self._report("use", number, start, self.now, outcome, wait.task, None)
        if wait.end > wait.start:
            self.arrows.append((wait, self.now))
        if outcome == "released" and self.works and self.random.random() < 0.5:
            self._busy["resetting"] += 1
            self._schedule(4, self._end_reset, number, self.now)
        elif outcome == "released" and self.random.random() < 0.7:
            self._idle.append(number)
        elif outcome != "detached":
            self._close(number, outcome if outcome == "discarded" else "expired")
        self._serve()
        self._acquire_later(wait.task, times)

    def _end_reset(self, number: int, start: float) -> None:
        self._busy["resetting"] -= 1
        outcome = self.random.choice(["passed", "passed", "failed"])
        self._report("reset", number, start, self.now, outcome, "", None)
        if outcome == "failed":
            self._close(number, "reset failed")
        else:
            self._idle.append(number)
        self._serve()

    def _close(self, number: int, reason: str) -> None:
        self._busy["closing"] += 1
        self._schedule(3, self._end_closer, number, self.now, reason)

    def _end_closer(self, number: int, start: float, reason: str) -> None:
        self._busy["closing"] -= 1
        self._report("close", number, start, self.now, reason, "", None)
        self._serve()


def model_pools() -> st.SearchStrategy[ModelPool]:
    """Generate pools of several sizes."""
    return st.builds(
        ModelPool,
        st.integers(0, 2**32),
        st.integers(1, 6),
        st.integers(1, 3),
        st.integers(1, 4),
        st.booleans(),
    )


TEXTS = st.text(max_size=8) | st.sampled_from(["Task-1", "a" * 60, "<&>\"'", "\0\ud800\uffff"])
OUTCOMES = ["created", "passed", "released", "acquired", "expired", "closed", "failed", "retired"]


KINDS: tuple[Literal["creation", "check", "wait", "use", "reset", "close"], ...] = (
    *("creation", "check", "wait", "use", "reset", "close"),
)


@st.composite
def any_event(draw: st.DrawFn) -> PoolEvent:
    """Generate an event that is valid alone, but may contradict other events."""
    kind = draw(st.sampled_from(KINDS))
    numbers = st.integers(1, 4)
    times = st.integers(0, 40).map(lambda tick: tick * TICK) | st.floats(0, 2e-5)
    start, end = sorted((draw(times), draw(times)))
    return PoolEvent(
        kind,
        draw(numbers | st.none() if kind == "wait" else numbers),
        start,
        end,
        draw(st.sampled_from(OUTCOMES) | TEXTS),
        draw(TEXTS),
        draw(st.none() | TEXTS.map(ValueError)),
    )


any_events = st.lists(any_event(), max_size=12)
