"""A recording as events of the Chrome trace format.

Perfetto silently drops slices that partly overlap with another slice on their track. So slices have
whole microseconds, and each ends at the latest where the next one on its track starts. Perfetto
also drops arrows that do not start and end in a slice. So the list has each end of an arrow right
after the slice that it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodetool.concurrency import PoolEvent

from ._spans import Span, assign_lanes, build_run, count_states, error_text

ARROW = "handed over"
COUNTERS = {
    "resources": ("idle", "in use", "checking", "resetting", "creating", "closing"),
    "acquirers": ("waiting",),
}
NAMES = {"creation": "create", "check": "check", "reset": "reset"}  # of slices without a task


def trace_events(pool: str, events: Sequence[PoolEvent], dropped: int) -> list[dict[str, Any]]:
    """Return all events of a trace: first those that name the tracks, then the others by time."""
    run = build_run(events)
    lanes = assign_lanes([wait] for wait in run.waits)
    first = max(run.lives, default=0) + 1  # track of waits; a resource's number is its track
    tracks = {number: f"resource {number}" for number in run.lives}
    tracks |= {first + lane: f"waiting {lane + 1}" for lane in sorted(set(lanes))}
    metadata = [_event("M", "process_name", args={"name": f"pool {pool!r}"})]
    if dropped:
        labels = f"without the {dropped} oldest events"
        metadata.append(_event("M", "process_labels", args={"labels": labels}))
    for track, name in tracks.items():
        metadata.append(_event("M", "thread_name", tid=track, args={"name": name}))
        metadata.append(_event("M", "thread_sort_index", tid=track, args={"sort_index": track}))
    uses = {id(use.wait): use for life in run.lives.values() for use in life if use.wait}
    arrows: dict[int, int] = {}  # number of the arrow, by the id of its wait
    timed_events: list[dict[str, Any]] = []
    # The waits come first, because an arrow must start before it ends, also in the list.
    for wait, lane in zip(run.waits, lanes, strict=True):
        timed_events.append(_slice(wait, first + lane))
        use = uses.get(id(wait.event))
        if use is not None and wait.start <= use.start:
            number = arrows[id(wait.event)] = len(arrows) + 1
            time = min(wait.end - 1, use.start)
            start = {"id": number, "ts": time, "tid": first + lane}
            timed_events.append(_event("s", ARROW, cat=ARROW, **start))
    for resource, life in run.lives.items():
        for span in life:
            if span.event is not None:
                timed_events.append(_slice(span, resource))
            if arrow := arrows.get(id(span.wait)):
                end = {"id": arrow, "bp": "e", "ts": span.start, "tid": resource}
                timed_events.append(_event("f", ARROW, cat=ARROW, **end))
    latest: dict[str, dict[str, int]] = {}
    for time, counts in count_states(run):
        for name, states in COUNTERS.items():
            values = {state: counts[state] for state in states}
            if latest.get(name) != values:
                latest[name] = values
                timed_events.append(_event("C", name, ts=time, args=values))
    # The process has a number that no track has, because otherwise viewers show that track as the
    # main thread.
    process = first + len(run.waits)
    all_events = metadata + sorted(timed_events, key=lambda event: int(event["ts"]))
    return [{**event, "pid": process} for event in all_events]


def _event(phase: str, name: str, **values: Any) -> dict[str, Any]:
    return {"ph": phase, "name": name, **values}


def _slice(span: Span, track: int) -> dict[str, Any]:
    event = span.event
    assert event is not None
    name = event.outcome if event.kind == "close" else NAMES.get(event.kind, event.task) or "?"
    args = {"outcome": event.outcome}
    if event.task:
        args["task"] = event.task
    if event.error is not None:
        args["error"] = error_text(event.error)
    times = {"ts": span.start, "dur": span.end - span.start}
    return _event("X", name, cat=event.kind, tid=track, **times, args=args)
