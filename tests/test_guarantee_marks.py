"""Every guarantee has tests, and the report says truly which of them passed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proofs.places import marked
from tests.conftest import GUARANTEES

ROOT = Path(__file__).parents[1]

SAMPLE = """
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.guarantees("NothingLost")


@pytest.fixture
def begins_badly() -> None:
    raise OSError


@pytest.fixture
def ends_badly() -> Iterator[None]:
    yield
    raise OSError


@pytest.mark.guarantees("FifoService", "NothingLost")
@pytest.mark.parametrize("number", range(3))
def test_two_pass_and_one_fails(number: int) -> None:
    assert number


@pytest.mark.guarantees("OneOutcome", "FifoService")
def test_that_cannot_begin(begins_badly: None) -> None: ...


@pytest.mark.guarantees("OneOutcome")
def test_that_cannot_end(ends_badly: None) -> None: ...


@pytest.mark.guarantees("CountsAgree")
@pytest.mark.skip(reason="not today")
def test_that_is_skipped() -> None: ...


@pytest.mark.guarantees("CloseWaits")
@pytest.mark.xfail(reason="known", strict=True)
def test_that_is_known_to_fail() -> None:
    raise OSError


def test_that_only_has_the_modules_mark() -> None: ...
"""


def pytest_of(file: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a file with this text, with the settings and marks of this project."""
    file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(file.parent)]
    return subprocess.run(
        [*command, *settings, *options, file],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_every_guarantee_has_at_least_two_tests(guarantee: str) -> None:
    assert len(marked()[guarantee]) >= 2


def test_only_tests_that_pytest_collects_are_marked_and_only_with_known_names() -> None:
    tests = marked()
    assert set(tests) == set(GUARANTEES)
    assert all("::test_" in test for marked in tests.values() for test in marked)


@pytest.mark.untraced
@pytest.mark.parametrize("processes", [0, 2])
def test_the_report_tells_how_many_passed_and_failed(tmp_path: Path, processes: int) -> None:
    report = tmp_path / "report.json"
    done = pytest_of(
        tmp_path / "test_sample.py", SAMPLE, f"--numprocesses={processes}", f"--guarantees={report}"
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    counts = json.loads(report.read_text())
    assert list(counts) == [*GUARANTEES]
    assert {
        name: tuple(count.values()) for name, count in counts.items() if any(count.values())
    } == {
        "NothingLost": (3, 3),
        "FifoService": (2, 2),
        "OneOutcome": (0, 2),
    }
    assert counts["FifoService"] == {"passed": 2, "failed": 2}


def test_without_the_option_nothing_is_written(tmp_path: Path) -> None:
    done = pytest_of(tmp_path / "test_sample.py", SAMPLE)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert [file.name for file in tmp_path.glob("*.*")] == ["test_sample.py"]


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("names", "complaint", "processes"),
    [('"FifoService", "Fairness"', "'Fairness'", 0), ("", "no name", 2)],
)
def test_a_mark_with_an_unknown_name_or_none_is_refused(
    tmp_path: Path, names: str, complaint: str, processes: int
) -> None:
    text = f"import pytest\n\n@pytest.mark.guarantees({names})\ndef test_fair() -> None: ...\n"
    done = pytest_of(tmp_path / "test_sample.py", text, f"--numprocesses={processes}")
    said = done.stdout + done.stderr
    assert done.returncode in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED), said
    assert f"test_sample.py::test_fair: guarantees: {complaint}, known are: SizeWithinLimit" in said
    assert " 1 error in " in said


@pytest.mark.untraced
def test_on_a_broken_machine_only_the_tests_of_its_guarantee_run_and_one_fails() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["tests/concurrency/test_async_resource_pool.py", "--broken=ServesNewestFirst"]
    environment = {n: value for n, value in os.environ.items() if not n.startswith("PYTEST")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "served_first_come_first_served" in done.stdout
    collected = re.findall(r"(\d+) (?:passed|failed)", done.stdout)
    assert sum(map(int, collected)) <= len(marked()["FifoService"])
