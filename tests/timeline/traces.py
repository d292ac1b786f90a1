"""Saved traces, parsed so that tests can look at their events."""

from __future__ import annotations

import json
from bisect import bisect_right
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nodetool.concurrency import PoolEvent
from nodetool.concurrency.timeline import Timeline

Event = dict[str, Any]


def save_trace(timeline: Timeline) -> list[Event]:
    """Save a timeline, and return the events of its trace."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "run.json"
        timeline.save(file)
        events: list[Event] = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
        return events


def trace(events: list[PoolEvent]) -> list[Event]:
    """Return the trace of a recording with these events."""
    timeline = Timeline("bank")
    for event in events:
        timeline(event)
    return save_trace(timeline)


def with_phase(events: list[Event], *phases: str) -> list[Event]:
    """Return the events with one of these phases."""
    return [event for event in events if event["ph"] in phases]


def micro(seconds: float) -> int:
    """Convert seconds to whole microseconds."""
    return round(seconds * 1_000_000)


class Counters:
    """The counters of a trace."""

    def __init__(self, events: list[Event]) -> None:
        self.samples: dict[str, list[Event]] = {"resources": [], "acquirers": []}
        for event in with_phase(events, "C"):
            self.samples[event["name"]].append(event)
        self.times = {
            name: [event["ts"] for event in samples] for name, samples in self.samples.items()
        }

    def value(self, state: str, time: int) -> int:
        """Return the count of a state at a time, in microseconds."""
        name = "acquirers" if state == "waiting" else "resources"
        position = bisect_right(self.times[name], time)
        return int(self.samples[name][position - 1]["args"][state]) if position else 0
