"""The demonstration runs, notices what does not hold, and can be interrupted."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.bank import MONEY, Audit
from demo.outage import is_of_outage
from demo.recorded import Recorded, check_recorded
from demo.run import Findings, report, verify
from demo.screen import Check, Lines
from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.timeline import load
from nodetool.concurrency.trace import TraceFile

ROOT = Path(__file__).parents[2]

SOUND = Findings(
    audit=Audit(MONEY, frozenset({1, 2, 3})),
    confirmed=frozenset({1, 2}),
    uncertain=frozenset({3, 4}),
    opened=9,
    peak=5,
    still_open=0,
    threads=0,
    shared=0,
    retired=5,
    survivors=0,
    recovered=0.01,
    errors=(),
    recorded=Recorded(True, "9 steps are behaviours of the specification"),
)


@contextmanager
def started(tmp_path: Path, seconds: float, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A running demo, whose temporary files are in `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-m", "demo", "--seconds", str(seconds), *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": "src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_short_run_conserves_the_money_is_recorded_and_exits_0(tmp_path: Path) -> None:
    file = tmp_path / "bank.json"
    with started(tmp_path, 1.0, "--timeline", str(file)) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    recording = load(file)
    leases = sum(event.kind == "use" for event in recording.events)
    assert recording.pool == "bank"
    assert leases >= 100
    file.unlink()
    last = out.splitlines()[-9:]
    assert all(line.startswith("ok ") for line in last)
    assert f"no money is lost               {MONEY:,} of {MONEY:,}" in last[0]
    assert "0 unexplained errors" in last[2]
    assert "at most 5 open at once" in out
    assert re.search(r"valid +[0-9,]{5,} steps are behaviours of the specification$", last[-2])
    assert "0 still open" in last[-1]
    assert max(map(len, out.splitlines())) <= 100
    parts = re.findall(r"^\S+ s to \S+ s +is (\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", out, re.MULTILINE)
    assert [state for state, *_ in parts] == ["there", *["away"] * 4, "there"]
    assert sum(int(transfers) for _, transfers, *_ in parts[2:5]) == 0
    assert sum(int(errors) for _, _, errors, *_ in parts[1:5]) > 0
    assert out.isascii()
    assert out.replace("\n", "").isprintable()
    assert not list(tmp_path.iterdir())


def test_what_holds_is_reported_as_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Lines(), verify(SOUND)) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_a_recorded_run_that_was_changed_is_not_valid(tmp_path: Path) -> None:
    async def use(trace: TraceFile) -> None:
        pool = AsyncResourcePool(object, name="bank", trace=trace)
        async with pool, pool.acquire_context():
            pass

    with TraceFile(tmp_path / "trace") as trace:
        asyncio.run(use(trace))
    assert check_recorded(tmp_path / "trace") == (
        True,
        "7 steps are behaviours of the specification",
    )
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace("> no", "> yes"))
    recorded = check_recorded(tmp_path / "trace")
    assert not recorded.holds
    assert recorded.detail.startswith("DOES NOT HOLD: WaiterServed (pool 'bank', trace-")
    assert not check_recorded(tmp_path / "missing").holds


def test_a_wrong_total_is_reported_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Lines(), verify(SOUND, money=MONEY + 1)) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert "no money is lost" in line


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"audit": Audit(MONEY - 1, SOUND.audit.journal)}, "no money is lost"),
        ({"confirmed": frozenset({1, 2, 5})}, "every transfer is whole"),
        ({"uncertain": frozenset()}, "every transfer is whole"),
        ({"errors": ("KeyError()",)}, "every error has a known cause"),
        ({"peak": 6}, "at most 5 connections"),
        ({"peak": 0}, "at most 5 connections"),
        ({"shared": 1}, "one user at a time"),
        ({"retired": 0}, "retire_all replaces all"),
        ({"survivors": 1}, "retire_all replaces all"),
        ({"recovered": None}, "the outage ends"),
        ({"recorded": Recorded(False, "FifoService")}, "the recorded run is valid"),
        ({"still_open": 1}, "everything is closed"),
        ({"threads": 1}, "everything is closed"),
    ],
)
def test_every_violation_is_marked_at_its_own_line_and_fails(
    change: dict[str, Any], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(Lines(), verify(replace(SOUND, **change))) == 1
    marked = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert len(marked) == 1
    assert name in marked[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")
@pytest.mark.parametrize("moment", ["tasks at a time", "load with faults", "outage", "comparison"])
@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_closes_everything_and_exits_130(moment: str, presses: int, tmp_path: Path) -> None:
    with started(tmp_path, 3.0) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if moment in line:
                break
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("Interrupted: all ")
    assert not list(tmp_path.iterdir())


def test_text_without_a_terminal_has_at_most_100_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Lines().say("word " * 50 + "\n\n" + "another " * 3)
    Lines().checks([Check("rule", True, "detail " * 30)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line for line in lines if not line] == [""]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), True),
        (sqlite3.OperationalError("no such table: account"), False),
    ],
)
def test_the_outage_explains_only_its_own_errors(error: sqlite3.Error, expected: bool) -> None:
    assert is_of_outage(error) is expected


def test_a_database_that_is_away_gives_an_error_of_the_outage(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(tmp_path / "away" / "bank.db")
    assert is_of_outage(caught.value)
