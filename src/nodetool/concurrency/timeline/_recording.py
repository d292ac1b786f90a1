"""The recorder, and the file that it writes and reads."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from nodetool.concurrency import PoolEvent

from ._spans import RecordedError, error_text
from ._trace import trace_events

KEY = "nodetool.concurrency.timeline"  # of the recording, beside the keys of the trace
KINDS = ("creation", "check", "wait", "use", "reset", "close")
# Times are limited in both directions, because larger floats cannot express microseconds.
LATEST = 1e10  # seconds

StrPath: TypeAlias = "str | PathLike[str]"


class RecordingError(ValueError):
    """A file that holds no recording.

    Since version 0.1.0.
    """


class Recording(NamedTuple):
    """A recorded run.

    Since version 0.1.0.
    """

    pool: str
    """Name of the pool."""
    events: list[PoolEvent]
    """The recorded events, in the order in which the pool reported them."""
    dropped: int
    """Number of events that were dropped. The oldest events are dropped first."""


class Timeline:
    """A listener that records a run: ``AsyncResourcePool(..., listener=Timeline())``.

    A pool reports a phase at its end. So a recording has no waits and no calls of the pool's
    functions that are still running when it is saved. If a resource was acquired and not released,
    the timeline knows this from the wait, and shows the resource as held until the end. A resource
    is shown as idle during a check or a reset that has no event.

    Use one timeline for one pool, because two pools number their resources alike.

    A timeline keeps only the text of an error, so a recording keeps no object of the program alive.

    Args:
        name: Name of the pool in pictures and traces.
        limit: Number of events to keep. The latest events are kept. A lease is two events, its
            wait and its use.

    Since version 0.1.0.
    """

    def __init__(self, name: str = "pool", limit: int = 100_000) -> None:
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit!r}")
        self._name = name
        self._events: deque[PoolEvent] = deque(maxlen=limit)
        self._event_count = 0

    def __call__(self, event: PoolEvent) -> None:
        """Record one event."""
        if event.error is not None:
            event = event._replace(error=RecordedError(error_text(event.error)))
        self._events.append(event)
        self._event_count += 1

    def recording(self) -> Recording:
        """Return the events that are recorded so far."""
        return Recording(self._name, list(self._events), self._event_count - len(self._events))

    def save(self, path: StrPath) -> None:
        """Write the events so far as a Chrome trace in JSON, which `load` can read.

        The call blocks the event loop for about a second for 40,000 events. Call it at the end of
        the run.

        Args:
            path: Path of the file. An existing file is replaced.

        Raises:
            OSError: The file cannot be written.
        """
        _save(self.recording(), path)


def _save(recording: Recording, path: StrPath) -> None:
    """Write a trace with one event in each line, and the recording itself after the trace."""
    pool, events, dropped = recording
    rows = (
        event._replace(error=None if event.error is None else error_text(event.error))  # type: ignore[arg-type]
        for event in events
    )
    trace = _json_list(trace_events(pool, events, dropped))
    content = _json_list([{"pool": pool, "dropped": dropped}, *rows])
    text = f'{{"displayTimeUnit": "ms",\n"traceEvents": {trace},\n"{KEY}": {content}}}\n'
    Path(path).write_text(text, encoding="utf-8")


def load(path: StrPath) -> Recording:
    """Read a file that `Timeline.save` wrote.

    Args:
        path: Path of the file.

    Returns:
        The recording. Its errors are `RecordedError`.

    Raises:
        OSError: The file cannot be read.
        RecordingError: The file holds no recording.

    Since version 0.1.0.
    """
    data = Path(path).read_bytes()
    try:
        header, *rows = json.loads(data)[KEY]
        pool, dropped = header["pool"], header["dropped"]
        if not (isinstance(pool, str) and type(dropped) is int and dropped >= 0):
            raise TypeError
        return Recording(pool, [_read_event(*row) for row in rows], dropped)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise RecordingError(
            f"{path} holds no recording: write one with nodetool.concurrency.timeline.Timeline.save"
        ) from None


def _read_event(
    kind: Any,
    resource: Any,
    start: Any,
    end: Any,
    outcome: Any,
    task: Any,
    error: Any,
    pool: Any = "",  # recordings of version 0.1 have no names
) -> PoolEvent:
    valid = (
        kind in KINDS
        and (kind == "wait" if resource is None else type(resource) is int and resource > 0)
        and -LATEST < start <= end < LATEST
        and isinstance(outcome, str)
        and isinstance(task, str)
        and isinstance(pool, str)
        and (error is None or isinstance(error, str))
    )
    if not valid:
        raise ValueError
    known = None if error is None else RecordedError(error)
    return PoolEvent(kind, resource, start, end, outcome, task, known, pool)


def _json_list(values: Iterable[object]) -> str:
    """Write a list in JSON, one value in each line."""
    lines = ",\n".join(json.dumps(value, allow_nan=False) for value in values)
    return f"[\n{lines}\n]"
