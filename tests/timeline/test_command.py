"""The command draws, or says what is wrong and what to do."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from nodetool.concurrency.timeline import Timeline, draw
from nodetool.concurrency.timeline.__main__ import main
from tests.timeline.streams import ModelPool


@pytest.fixture
def timeline() -> Timeline:
    timeline = Timeline("bank")
    for event in ModelPool(5, 6, 3, 4).events:
        timeline(event)
    return timeline


@pytest.fixture
def recorded(timeline: Timeline, tmp_path: Path) -> Path:
    timeline.save(tmp_path / "run.json")
    return tmp_path / "run.json"


def test_the_recording_is_not_overwritten_however_it_is_spelt(tmp_path: Path) -> None:
    recording = tmp_path / "run.json"
    Timeline().save(recording)
    before = recording.read_bytes()
    (tmp_path / "link").symlink_to(recording)
    for name in ("run.json", f"../{tmp_path.name}/run.json", "link"):
        assert main([str(recording), "-o", str(tmp_path / name)]) == 2
        assert recording.read_bytes() == before


def test_the_picture_is_put_beside_the_recording(
    recorded: Path, timeline: Timeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recorded)]) == 0
    picture = recorded.with_suffix(".svg")
    assert capsys.readouterr() == (f"{picture}\n", "")
    assert picture.read_text("utf-8") == draw(timeline.recording())


def test_options_say_where_how_large_and_what(
    recorded: Path, timeline: Timeline, tmp_path: Path
) -> None:
    picture = tmp_path / "other.svg"
    options = ["--width", "800", "--rows", "2", "--from", "0.001", "--to", "0.004"]
    assert main([str(recorded), "-o", str(picture), *options]) == 0
    assert picture.read_text("utf-8") == draw(
        timeline.recording(), width=800, rows=2, start=0.001, end=0.004
    )
    assert not recorded.with_suffix(".svg").exists()


def test_what_cannot_be_drawn_is_said(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"traceEvents": []}')
    drawn = tmp_path / "recorded.svg"
    recorded.rename(drawn)
    for arguments, message in (
        (["missing.json"], "No such file or directory: 'missing.json'"),
        ([str(tmp_path)], "Is a directory"),
        ([str(other)], "other.json holds no recording: write one with nodetool.concurrency."),
        ([str(drawn), "-o", str(tmp_path / "no" / "such.svg")], "No such file or directory: "),
        ([str(drawn)], "recorded.svg is the recording itself: choose another -o"),
        ([str(drawn), "-o", "x.svg", "--width", "10"], "needs 400 pixels"),
        ([str(drawn), "-o", "x.svg", "--from", "9"], "nothing from 9 s to"),
    ):
        assert main(arguments) == 2, arguments
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert message in err
        assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.json", "recorded.svg"]


@pytest.mark.parametrize("arguments", [[], ["run.json", "--width", "wide"], ["--rows", "1"]])
def test_a_wrong_command_line_ends_with_2_and_its_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m nodetool.concurrency.timeline" in capsys.readouterr().err


def test_help_says_how_to_record(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["timeline", "--help"])
    monkeypatch.delitem(sys.modules, "nodetool.concurrency.timeline.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("nodetool.concurrency.timeline", run_name="__main__")
    assert ended.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "nodetool.concurrency.timeline.Timeline()" in out
    assert "save(FILE)" in out


def test_it_is_a_command_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nodetool.concurrency.timeline", str(tmp_path / "no.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
