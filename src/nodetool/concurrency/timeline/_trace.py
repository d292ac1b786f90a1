"""A recording as events of the Chrome trace format.

Perfetto silently leaves out slices that partly overlap on their track, and arrows that do not start
and end in a slice. So slices are in whole microseconds and end where the next one on their track
starts, and an arrow's ends stand in the list right after the slices that they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodetool.concurrency import PoolEvent

from ._spans import Span, counts, lanes, said, spans

ARROW = "handed over"
COUNTERS = {"resources": ("idle", "in use", "creating", "closing"), "acquirers": ("waiting",)}


def trace_events(pool: str, events: Sequence[PoolEvent], dropped: int) -> list[dict[str, Any]]:
    """All events: those that name the tracks, then the others by time."""
    run = spans(events)
    placed = lanes([wait] for wait in run.waits)
    first = max(run.lives, default=0) + 1  # track of waits; a resource's is its number
    tracks = {number: f"resource {number}" for number in run.lives}
    tracks |= {first + lane: f"waiting {lane + 1}" for lane in sorted(set(placed))}
    about = [_event("M", "process_name", args={"name": f"pool {pool!r}"})]
    if dropped:
        labels = f"without the {dropped} oldest events"
        about.append(_event("M", "process_labels", args={"labels": labels}))
    for track, name in tracks.items():
        about.append(_event("M", "thread_name", tid=track, args={"name": name}))
        about.append(_event("M", "thread_sort_index", tid=track, args={"sort_index": track}))
    uses = {id(use.wait): use for life in run.lives.values() for use in life if use.wait}
    arrows: dict[int, int] = {}  # their numbers, by the wait's id
    timed: list[dict[str, Any]] = []
    # The waits first: an arrow must start before it ends, also in the list.
    for wait, lane in zip(run.waits, placed, strict=True):
        timed.append(_slice(wait, first + lane))
        use = uses.get(id(wait.event))
        if use is not None and wait.start <= use.start:
            number = arrows[id(wait.event)] = len(arrows) + 1
            at = min(wait.end - 1, use.start)
            timed.append(_event("s", ARROW, cat=ARROW, id=number, ts=at, tid=first + lane))
    for resource, life in run.lives.items():
        for span in life:
            if span.event is not None:
                timed.append(_slice(span, resource))
            if arrow := arrows.get(id(span.wait)):
                ends = {"id": arrow, "bp": "e", "ts": span.start, "tid": resource}
                timed.append(_event("f", ARROW, cat=ARROW, **ends))
    shown: dict[str, dict[str, int]] = {}
    for at, now in counts(run):
        for name, states in COUNTERS.items():
            values = {state: now[state] for state in states}
            if shown.get(name) != values:
                shown[name] = values
                timed.append(_event("C", name, ts=at, args=values))
    # A track with its process's number would be shown as its main thread.
    process = first + len(run.waits)
    everything = about + sorted(timed, key=lambda event: int(event["ts"]))
    return [{**event, "pid": process} for event in everything]


def _event(phase: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"ph": phase, "name": name, **rest}


def _slice(span: Span, track: int) -> dict[str, Any]:
    event = span.event
    assert event is not None
    name = {"creation": "create", "close": event.outcome}.get(event.kind, event.task) or "?"
    args = {"outcome": event.outcome}
    if event.task:
        args["task"] = event.task
    if event.error is not None:
        args["error"] = said(event.error)
    times = {"ts": span.start, "dur": span.end - span.start}
    return _event("X", name, cat=event.kind, tid=track, **times, args=args)
