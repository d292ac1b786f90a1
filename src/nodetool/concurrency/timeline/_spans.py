"""From events to what is shown: each resource's life, the waits, and how many did what when.

All times from here on are whole microseconds, so that what touches in time touches in the picture,
and nothing in a row overlaps, however the clock's readings were rounded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from nodetool.concurrency import PoolEvent

MICRO = 1_000_000

HELD = "still held"  # the outcome of a use that was not over when the recording was saved
STATES = {"creation": "creating", "wait": "waiting", "use": "in use", "close": "closing"}
KEPT = ("created", "released")  # the outcomes after which a resource is idle
COUNTED = ("idle", "in use", "creating", "closing", "waiting")


class RecordedError(Exception):
    """What is kept of an error: its type and message, as text."""


class Span(NamedTuple):
    """What something did from `start` to `end`."""

    state: str
    start: int
    end: int
    resource: int | None
    event: PoolEvent | None  # None: idle, which no event tells
    wait: PoolEvent | None = None  # what ended in this use


class Run(NamedTuple):
    """All that is shown of a recording."""

    lives: dict[int, list[Span]]  # of each resource, by its number
    waits: list[Span]  # that lasted, or got nothing; by start
    start: int
    end: int


def spans(events: Sequence[PoolEvent]) -> Run:
    """Sort the events out."""
    start = min((_micro(event.start) for event in events), default=0)
    end = max((_micro(event.end) for event in events), default=0)
    waits: list[Span] = []
    told: dict[int, list[Span]] = defaultdict(list)
    # A use is told after the wait that got it, and before the next that gets the same resource.
    held: dict[int, PoolEvent] = {}
    for event in events:
        span = _span(event)
        if event.kind == "wait":
            if event.resource is not None:
                held[event.resource] = event
            if span.end > span.start or event.resource is None:
                waits.append(span)
        else:
            assert event.resource is not None
            wait = held.pop(event.resource, None)
            told[event.resource].append(span._replace(wait=wait) if event.kind == "use" else span)
    for number, wait in held.items():
        use = PoolEvent("use", number, wait.end, end / MICRO, HELD, wait.task, None)
        told[number].append(_span(use)._replace(wait=wait))
    lives = {number: list(_life(told[number], end)) for number in sorted(told)}
    return Run(lives, sorted(waits, key=_when), start, end)


def _life(told: list[Span], end: int) -> Iterable[Span]:
    """The spans of one resource in order, none overlapping, and between them when it was idle."""
    told = sorted(told, key=_when)
    starts = [span.start for span in told[1:]] + [end]
    for span, following in zip(told, starts, strict=True):
        until = min(span.end, following)
        yield span._replace(end=until)
        assert span.event is not None
        if until < following and span.event.outcome in KEPT:
            yield Span("idle", until, following, span.resource, None)


def lanes(rows: Iterable[Sequence[Span]]) -> list[int]:
    """For each of the rows, sorted by start, a lane where it overlaps with none: the first free."""
    placed: list[int] = []
    busy: list[tuple[int, int]] = []
    free: list[int] = []
    for row in rows:
        while busy and busy[0][0] <= row[0].start:
            heappush(free, heappop(busy)[1])
        lane = heappop(free) if free else len(busy)
        heappush(busy, (row[-1].end, lane))
        placed.append(lane)
    return placed


def counts(run: Run) -> list[tuple[int, dict[str, int]]]:
    """How many were idle, in use and so on, from each moment at which a number changed."""
    changes: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTED, 0))
    for row in (*run.lives.values(), run.waits):
        for span in row:
            changes[span.start][span.state] += 1
            changes[span.end][span.state] -= 1
    for *_, last in run.lives.values():
        if last.event is None or last.event.outcome == HELD:  # it goes on after the end
            changes[last.end][last.state] += 1
        elif last.event.outcome in KEPT:
            changes[last.end]["idle"] += 1
    now = dict.fromkeys(COUNTED, 0)
    moments = [(run.start, now)]
    for moment in sorted(changes):
        now = {state: count + changes[moment][state] for state, count in now.items()}
        if now != moments[-1][1]:
            moments.append((moment, now))
    return moments


def said(error: BaseException) -> str:
    """An error as text; the same again for the text of one."""
    if isinstance(error, RecordedError):
        return str(error)
    try:
        text = str(error)
    except Exception:  # whoever made it made a mistake in that, too
        text = "(no text)"
    return f"{type(error).__qualname__}: {text}"


def _span(event: PoolEvent) -> Span:
    times = _micro(event.start), _micro(event.end)
    return Span(STATES[event.kind], *times, event.resource, event)


def _micro(seconds: float) -> int:
    return round(seconds * MICRO)


def _when(span: Span) -> tuple[int, int]:
    return span.start, span.end
