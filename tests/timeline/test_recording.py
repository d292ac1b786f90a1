"""A file keeps everything that was recorded, and other files are refused."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from nodetool.concurrency import PoolEvent
from nodetool.concurrency.timeline import RecordedError, Recording, RecordingError, Timeline, load
from tests.timeline.streams import TEXTS, ModelPool, any_events, examples

KEY = "nodetool.concurrency.timeline"  # part of the file format
WAIT = PoolEvent("wait", None, 1.0, 2.0, "failed", "Task-1", OSError("refused"))


def record(events: list[PoolEvent], name: str = "pool") -> Timeline:
    timeline = Timeline(name)
    for event in events:
        timeline(event)
    return timeline


def comparable(recording: Recording) -> tuple[object, ...]:
    """Return a recording with texts for errors, because two errors are never equal."""
    events = [
        (*event[:6], event.error and str(event.error), event.pool) for event in recording.events
    ]
    return recording.pool, events, recording.dropped


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timeline") / "recorded.json"


@examples(25)
@given(events=any_events, name=TEXTS)
def test_load_returns_what_save_wrote(file: Path, events: list[PoolEvent], name: str) -> None:
    timeline = record(events, name)
    timeline.save(file)
    loaded = load(file)
    assert comparable(loaded) == comparable(timeline.recording())
    for event, original in zip(loaded.events, events, strict=True):
        assert event._replace(error=None) == original._replace(error=None)
        text = None if original.error is None else f"ValueError: {original.error}"
        assert text == (None if event.error is None else str(event.error))


@examples(25)
@given(events=any_events)
def test_saving_a_loaded_recording_writes_the_same_file(
    file: Path, events: list[PoolEvent]
) -> None:
    record(events).save(file)
    before = file.read_bytes()
    record(load(file).events).save(file)
    assert file.read_bytes() == before


def test_a_recording_keeps_only_the_text_of_an_error() -> None:
    class RefusedError(Exception):
        """An error that allows weak references."""

    error = RefusedError("by the server")
    timeline = record([WAIT._replace(error=error)])
    reference = weakref.ref(error)
    del error
    gc.collect()
    assert reference() is None
    [event] = timeline.recording().events
    assert isinstance(event.error, RecordedError)
    assert str(event.error).endswith("RefusedError: by the server")


def test_the_oldest_events_are_dropped_and_the_trace_says_so(tmp_path: Path) -> None:
    timeline = Timeline(limit=3)
    events = ModelPool(1).events
    for event in events:
        timeline(event)
    timeline.save(tmp_path / "some.json")
    recording = load(tmp_path / "some.json")
    assert [event.end for event in recording.events] == [event.end for event in events[-3:]]
    assert recording.dropped == len(events) - 3
    text = (tmp_path / "some.json").read_text()
    assert f"without the {len(events) - 3} oldest events" in text


def test_the_trace_does_not_mention_dropped_events_if_there_are_none(tmp_path: Path) -> None:
    record([WAIT]).save(tmp_path / "all.json")
    assert "process_labels" not in (tmp_path / "all.json").read_text()


def test_a_recording_can_be_saved_again_with_more_events(tmp_path: Path) -> None:
    timeline = record([WAIT])
    timeline.save(tmp_path / "run.json")
    timeline(WAIT)
    assert len(load(tmp_path / "run.json").events) == 1
    timeline.save(tmp_path / "run.json")
    assert len(load(tmp_path / "run.json").events) == 2


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Timeline(limit=limit)


ROW = ["use", 1, 1.0, 2.0, "released", "Task-1", None, "p"]


def with_row(**changes: Any) -> str:
    """Return a file with one event, with some of its values replaced."""
    row = list(PoolEvent(*ROW)._replace(**changes))  # type: ignore[arg-type]
    return json.dumps({KEY: [{"pool": "p", "dropped": 0}, row]})


def test_the_row_that_the_next_test_breaks_is_valid(tmp_path: Path) -> None:
    (tmp_path / "right.json").write_text(with_row())
    assert load(tmp_path / "right.json").events == [PoolEvent(*ROW)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "null",
        '{"traceEvents": []}',
        f'{{"{KEY}": []}}',
        f'{{"{KEY}": [7]}}',
        f'{{"{KEY}": 7}}',
        f'{{"{KEY}": [{{"pool": "p"}}]}}',
        f'{{"{KEY}": [{{"pool": "p", "dropped": -1}}]}}',
        f'{{"{KEY}": [{{"pool": "p", "dropped": true}}]}}',
        f'{{"{KEY}": [{{"pool": 1, "dropped": 0}}]}}',
        f'{{"{KEY}": [{{"pool": "p", "dropped": 0}}, ["use", 1]]}}',
        f'{{"{KEY}": [{{"pool": "p", "dropped": 0}}, 7]}}',
        "[" * 200_000,
        "\ud800".encode("utf-8", "surrogatepass"),
        with_row(kind="lease"),
        with_row(kind=["use"]),
        with_row(resource=None),
        with_row(resource=0),
        with_row(resource=True),
        with_row(resource="1"),
        with_row(start=3.0),
        with_row(start="1"),
        with_row(end="2"),
        with_row(end=float("nan")),
        with_row(start=float("-inf")),
        with_row(end=1e300),
        with_row(end=10**400),
        with_row(outcome=None),
        with_row(task=None),
        with_row(error=7),
    ],
    ids=lambda text: str(text)[:60].replace(KEY, "KEY"),
)
def test_a_file_without_a_recording_is_refused(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "other.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecordingError, match=r"other\.json holds no recording: write one with"):
        load(file)


def test_loading_a_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.json")


def test_an_error_whose_str_fails_is_recorded(tmp_path: Path) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    timeline = Timeline()
    timeline(PoolEvent("creation", 1, 0.0, 1.0, "failed", "", UnprintableError()))
    timeline.save(tmp_path / "run.json")
    [event] = load(tmp_path / "run.json").events
    assert str(event.error).endswith("UnprintableError: (no text)")
