"""From events to spans: each resource's life, the waits, and the counts of each state over time.

All times are whole microseconds, because the clock's readings may be rounded differently. So spans
that touch in time also touch in the picture, and spans in one row never overlap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from nodetool.concurrency import PoolEvent

MICRO = 1_000_000

STILL_HELD = "still held"  # outcome of a use that was not over when the recording was saved
STATES = {
    "creation": "creating",
    "check": "checking",
    "wait": "waiting",
    "use": "in use",
    "reset": "resetting",
    "close": "closing",
}
IDLE_AFTER = ("created", "passed", "released")  # outcomes after which a resource is idle
ALL_STATES = ("idle", *STATES.values())


class RecordedError(Exception):
    """The text of a recorded error: its type and message.

    Since version 0.1.0.
    """


class Span(NamedTuple):
    """The time from `start` to `end`, in which a resource or an acquirer was in one state."""

    state: str
    start: int
    end: int
    resource: int | None
    event: PoolEvent | None  # None: idle, because no event reports that
    wait: PoolEvent | None = None  # the wait that led to this use


class Run(NamedTuple):
    """All spans of a recording."""

    lives: dict[int, list[Span]]  # of each resource, by its number
    waits: list[Span]  # those that took time, and those without a resource; by start
    start: int
    end: int


def build_run(events: Sequence[PoolEvent]) -> Run:
    """Sort the events into lives and waits."""
    start = min((_micro(event.start) for event in events), default=0)
    end = max((_micro(event.end) for event in events), default=0)
    waits: list[Span] = []
    spans: dict[int, list[Span]] = defaultdict(list)  # by resource
    # A pool reports a use after the wait that led to it, and before the next wait for the same
    # resource. So at most one wait for each resource has no use yet.
    open_waits: dict[int, PoolEvent] = {}
    for event in events:
        span = _span(event)
        if event.kind == "wait":
            if event.resource is not None:
                open_waits[event.resource] = event
            if span.end > span.start or event.resource is None:
                waits.append(span)
        else:
            assert event.resource is not None
            wait = open_waits.pop(event.resource, None)
            spans[event.resource].append(span._replace(wait=wait) if event.kind == "use" else span)
    for number, wait in open_waits.items():
        use = PoolEvent("use", number, wait.end, end / MICRO, STILL_HELD, wait.task, None)
        spans[number].append(_span(use)._replace(wait=wait))
    lives = {number: list(_life(spans[number], end)) for number in sorted(spans)}
    return Run(lives, sorted(waits, key=_times), start, end)


def _life(spans: list[Span], end: int) -> Iterable[Span]:
    """Yield the spans of one resource in order, without overlaps, and its idle spans."""
    spans = sorted(spans, key=_times)
    next_starts = [span.start for span in spans[1:]] + [end]
    for span, next_start in zip(spans, next_starts, strict=True):
        span_end = min(span.end, next_start)
        yield span._replace(end=span_end)
        assert span.event is not None
        if span_end < next_start and span.event.outcome in IDLE_AFTER:
            yield Span("idle", span_end, next_start, span.resource, None)


def assign_lanes(rows: Iterable[Sequence[Span]]) -> list[int]:
    """Assign a lane to each row, so that rows in one lane never overlap.

    Args:
        rows: The rows, ordered by start.

    Returns:
        The lane of each row: the lowest one that is free.
    """
    lanes: list[int] = []
    busy: list[tuple[int, int]] = []
    free: list[int] = []
    for row in rows:
        while busy and busy[0][0] <= row[0].start:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy)
        heappush(busy, (row[-1].end, lane))
        lanes.append(lane)
    return lanes


def count_states(run: Run) -> list[tuple[int, dict[str, int]]]:
    """Return the counts of all states, from each moment at which one of them changed."""
    changes: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(ALL_STATES, 0))
    for row in (*run.lives.values(), run.waits):
        for span in row:
            changes[span.start][span.state] += 1
            changes[span.end][span.state] -= 1
    for *_, last in run.lives.values():
        if last.event is None or last.event.outcome == STILL_HELD:  # it continues after the end
            changes[last.end][last.state] += 1
        elif last.event.outcome in IDLE_AFTER:
            changes[last.end]["idle"] += 1
    counts = dict.fromkeys(ALL_STATES, 0)
    moments = [(run.start, counts)]
    for moment in sorted(changes):
        counts = {state: count + changes[moment][state] for state, count in counts.items()}
        if counts != moments[-1][1]:
            moments.append((moment, counts))
    return moments


def error_text(error: BaseException) -> str:
    """Return an error as text. A `RecordedError` keeps the text that it has."""
    if isinstance(error, RecordedError):
        return str(error)
    try:
        text = str(error)
    except Exception:  # the error's own __str__ may have a bug
        text = "(no text)"
    return f"{type(error).__qualname__}: {text}"


def _span(event: PoolEvent) -> Span:
    times = _micro(event.start), _micro(event.end)
    return Span(STATES[event.kind], *times, event.resource, event)


def _micro(seconds: float) -> int:
    return round(seconds * MICRO)


def _times(span: Span) -> tuple[int, int]:
    return span.start, span.end
