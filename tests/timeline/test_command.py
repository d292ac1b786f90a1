"""The command draws a recording, or prints one line that says what is wrong."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from nodetool.concurrency.timeline import Timeline, draw
from nodetool.concurrency.timeline.__main__ import PROGRAM, main
from tests.timeline.streams import ModelPool


@pytest.fixture
def timeline() -> Timeline:
    timeline = Timeline("bank")
    for event in ModelPool(5, 6, 3, 4).events:
        timeline(event)
    return timeline


@pytest.fixture
def recording(timeline: Timeline, tmp_path: Path) -> Path:
    timeline.save(tmp_path / "run.json")
    return tmp_path / "run.json"


def test_the_command_refuses_to_overwrite_the_recording_under_any_spelling(tmp_path: Path) -> None:
    recording = tmp_path / "run.json"
    Timeline().save(recording)
    before = recording.read_bytes()
    (tmp_path / "link").symlink_to(recording)
    for name in ("run.json", f"../{tmp_path.name}/run.json", "link"):
        assert main([str(recording), "-o", str(tmp_path / name)]) == 2
        assert recording.read_bytes() == before


def test_the_default_output_is_next_to_the_recording(
    recording: Path, timeline: Timeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recording)]) == 0
    picture = recording.with_suffix(".svg")
    assert capsys.readouterr() == (f"{picture}\n", "")
    assert picture.read_text("utf-8") == draw(timeline.recording())


def test_the_options_choose_output_size_and_period(
    recording: Path, timeline: Timeline, tmp_path: Path
) -> None:
    picture = tmp_path / "other.svg"
    options = ["--width", "800", "--rows", "2", "--from", "0.001", "--to", "0.004"]
    assert main([str(recording), "-o", str(picture), *options]) == 0
    assert picture.read_text("utf-8") == draw(
        timeline.recording(), width=800, rows=2, start=0.001, end=0.004
    )
    assert not recording.with_suffix(".svg").exists()


def test_each_failure_prints_one_line_and_exits_with_2(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"traceEvents": []}')
    misnamed = tmp_path / "recorded.svg"
    recording.rename(misnamed)
    for arguments, message in (
        (["missing.json"], "No such file or directory: 'missing.json'"),
        ([str(tmp_path)], "Is a directory"),
        ([str(other)], "other.json holds no recording: write one with nodetool.concurrency."),
        ([str(misnamed), "-o", str(tmp_path / "no" / "such.svg")], "No such file or directory: "),
        ([str(misnamed)], "recorded.svg is the recording itself: choose another -o"),
        ([str(misnamed), "-o", "x.svg", "--width", "10"], "needs 400 pixels"),
        ([str(misnamed), "-o", "x.svg", "--from", "9"], "nothing from 9 s to"),
    ):
        assert main(arguments) == 2, arguments
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"{PROGRAM}: error: ")
        assert message in err
        assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.json", "recorded.svg"]


@pytest.mark.parametrize("arguments", [[], ["run.json", "--width", "wide"], ["--rows", "1"]])
def test_a_wrong_command_line_prints_the_usage_and_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m nodetool.concurrency.timeline" in capsys.readouterr().err


def test_help_explains_how_to_record(
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


def test_the_command_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nodetool.concurrency.timeline", str(tmp_path / "no.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{PROGRAM}: error: ")
    assert "Traceback" not in done.stderr
