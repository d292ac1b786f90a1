"""The recorder, and the file that it writes and reads."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from nodetool.concurrency import PoolEvent

from ._spans import RecordedError, said
from ._trace import trace_events

KEY = "nodetool.concurrency.timeline"  # of the recording, beside the trace's own keys
KINDS = ("creation", "wait", "use", "close")
LATEST = 1e10  # seconds, in either direction: microseconds stay exact integers

StrPath: TypeAlias = "str | PathLike[str]"


class RecordingError(ValueError):
    """The file holds no recording."""


class Recording(NamedTuple):
    """A recorded run."""

    pool: str
    """What the pool was called."""
    events: list[PoolEvent]
    """What was told, in the order in which it was."""
    dropped: int
    """How many events, the oldest, were dropped."""


class Timeline:
    """Records what a pool tells its listener: ``AsyncResourcePool(..., listener=Timeline())``.

    A pool tells of a phase when it is over, so a recording knows nothing of creations, waits and
    closers that are under way when it is saved. A resource that was acquired and not given back is
    known from the wait, and shown as held until the end. Nor is a pool heard of its checks and
    resets: a check is part of the wait, and while it lasts the resource is shown as idle.

    One timeline is for one pool: the resources of two have the same numbers.

    Of an error only its text is kept, so that a recording keeps nothing of the program alive.

    Args:
        name: What to call the pool.
        limit: How many events to keep, the latest ones. A lease is two events, its wait and its
            use.
    """

    def __init__(self, name: str = "pool", limit: int = 100_000) -> None:
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit!r}")
        self._name = name
        self._events: deque[PoolEvent] = deque(maxlen=limit)
        self._told = 0

    def __call__(self, event: PoolEvent) -> None:
        """Record one event."""
        if event.error is not None:
            event = event._replace(error=RecordedError(said(event.error)))
        self._events.append(event)
        self._told += 1

    def recording(self) -> Recording:
        """What is recorded so far."""
        return Recording(self._name, list(self._events), self._told - len(self._events))

    def save(self, path: StrPath) -> None:
        """Write what is recorded so far as a Chrome trace in JSON, which `load` can read.

        It takes about a second for 40,000 events, and the event loop waits for it: so do it at the
        end of the run.

        Args:
            path: The file; one that is there already is replaced.

        Raises:
            OSError: It cannot be written.
        """
        save(self.recording(), path)


def save(recording: Recording, path: StrPath) -> None:
    """Write a trace, one event a line, and the recording itself beside it."""
    pool, events, dropped = recording
    told = ((*event[:-1], None if event.error is None else said(event.error)) for event in events)
    trace = _lines(trace_events(pool, events, dropped))
    whole = _lines([{"pool": pool, "dropped": dropped}, *told])
    text = f'{{"displayTimeUnit": "ms",\n"traceEvents": {trace},\n"{KEY}": {whole}}}\n'
    Path(path).write_text(text, encoding="utf-8")


def load(path: StrPath) -> Recording:
    """Read what `Timeline.save` has written.

    Args:
        path: The file.

    Returns:
        The recording; its errors are `RecordedError`.

    Raises:
        OSError: The file cannot be read.
        RecordingError: It is not such a file.
    """
    data = Path(path).read_bytes()
    try:
        about, *told = json.loads(data)[KEY]
        pool, dropped = about["pool"], about["dropped"]
        if not (isinstance(pool, str) and type(dropped) is int and dropped >= 0):
            raise TypeError
        return Recording(pool, [_event(*row) for row in told], dropped)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise RecordingError(
            f"{path} holds no recording: write one with nodetool.concurrency.timeline.Timeline.save"
        ) from None


def _event(
    kind: Any, resource: Any, start: Any, end: Any, outcome: Any, task: Any, error: Any
) -> PoolEvent:
    valid = (
        kind in KINDS
        and (kind == "wait" if resource is None else type(resource) is int and resource > 0)
        and -LATEST < start <= end < LATEST
        and isinstance(outcome, str)
        and isinstance(task, str)
        and (error is None or isinstance(error, str))
    )
    if not valid:
        raise ValueError
    return PoolEvent(
        kind, resource, start, end, outcome, task, None if error is None else RecordedError(error)
    )


def _lines(values: Iterable[object]) -> str:
    """A list in JSON."""
    lines = ",\n".join(json.dumps(value, allow_nan=False) for value in values)
    return f"[\n{lines}\n]"
