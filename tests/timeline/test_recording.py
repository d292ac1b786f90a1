"""What is recorded is in the file, and nothing else is taken for a recording."""

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
from nodetool.concurrency.timeline._recording import KEY
from tests.timeline.streams import TEXTS, ModelPool, any_events, examples

WAIT = PoolEvent("wait", None, 1.0, 2.0, "failed", "Task-1", OSError("refused"))


def recorded(events: list[PoolEvent], name: str = "pool") -> Timeline:
    timeline = Timeline(name)
    for event in events:
        timeline(event)
    return timeline


def plain(recording: Recording) -> tuple[object, ...]:
    """A recording that can be compared: errors only equal themselves."""
    events = [(*event[:-1], event.error and str(event.error)) for event in recording.events]
    return recording.pool, events, recording.dropped


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timeline") / "recorded.json"


@examples(25)
@given(events=any_events, name=TEXTS)
def test_what_is_saved_is_read_again(file: Path, events: list[PoolEvent], name: str) -> None:
    timeline = recorded(events, name)
    timeline.save(file)
    found = load(file)
    assert plain(found) == plain(timeline.recording())
    for event, told in zip(found.events, events, strict=True):
        assert event[:-1] == told[:-1]
        text = None if told.error is None else f"ValueError: {told.error}"
        assert text == (None if event.error is None else str(event.error))


@examples(25)
@given(events=any_events)
def test_what_was_read_is_written_as_the_same_file(file: Path, events: list[PoolEvent]) -> None:
    recorded(events).save(file)
    before = file.read_bytes()
    recorded(load(file).events).save(file)
    assert file.read_bytes() == before


def test_of_an_error_only_the_text_is_kept() -> None:
    class RefusedError(Exception):
        """Can be referred to weakly."""

    error = RefusedError("by the server")
    timeline = recorded([WAIT._replace(error=error)])
    gone = weakref.ref(error)
    del error
    gc.collect()
    assert gone() is None
    [event] = timeline.recording().events
    assert isinstance(event.error, RecordedError)
    assert str(event.error).endswith("RefusedError: by the server")


def test_the_oldest_events_are_dropped_and_the_file_says_so(tmp_path: Path) -> None:
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


def test_nothing_is_said_of_dropped_events_when_there_are_none(tmp_path: Path) -> None:
    recorded([WAIT]).save(tmp_path / "all.json")
    assert "process_labels" not in (tmp_path / "all.json").read_text()


def test_a_recording_can_be_saved_again_when_there_is_more(tmp_path: Path) -> None:
    timeline = recorded([WAIT])
    timeline.save(tmp_path / "run.json")
    timeline(WAIT)
    assert len(load(tmp_path / "run.json").events) == 1
    timeline.save(tmp_path / "run.json")
    assert len(load(tmp_path / "run.json").events) == 2


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Timeline(limit=limit)


ROW = ["use", 1, 1.0, 2.0, "released", "Task-1", None]


def with_row(**changes: Any) -> str:
    """A file with one event, in which some values are wrong."""
    row = list(PoolEvent(*ROW)._replace(**changes))  # type: ignore[arg-type]
    return json.dumps({KEY: [{"pool": "p", "dropped": 0}, row]})


def test_the_file_that_is_made_wrong_below_is_right_without_that(tmp_path: Path) -> None:
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


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.json")


def test_an_error_that_cannot_be_said_is_kept_all_the_same(tmp_path: Path) -> None:
    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    timeline = Timeline()
    timeline(PoolEvent("creation", 1, 0.0, 1.0, "failed", "", SpeechlessError()))
    timeline.save(tmp_path / "run.json")
    [event] = load(tmp_path / "run.json").events
    assert str(event.error).endswith("SpeechlessError: (no text)")
