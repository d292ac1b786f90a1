"""The matrix finds the interpreters, counts what pytest counted, and fails if one of them does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import matrix
from tests.matrix import Interpreter, MatrixError, Run, asked, count, installed, newest, table


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fake(path: Path, answer: str) -> Path:
    """What passes for an interpreter that gives this answer."""
    return script(path, f"echo '{answer}'")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is there but what runs, and what a test puts into bin and pyenv."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'nowhere'}::{tmp_path / 'bin'}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "running"))
    fake(tmp_path / "running", "cpython 3 11 7 final 0")
    return tmp_path


def names(found: Sequence[Interpreter], under: Path) -> dict[str, str]:
    return {python.version: str(python.path.relative_to(under)) for python in found}


# Which there are.


def test_interpreters_are_found_on_path_and_in_pyenv_and_running(machine: Path) -> None:
    fake(machine / "bin/python3.14", "cpython 3 14 0 candidate 2")
    fake(machine / "bin/python3.13-config", "cpython 3 13 9 final 0")
    fake(machine / "bin/python3", "cpython 3 15 0 final 0")
    fake(machine / "pyenv/versions/3.12.1/bin/python", "cpython 3 12 1 final 0")
    found = newest(matrix.candidates())
    assert names(found, machine) == {
        "3.11.7": "running",
        "3.12.1": "pyenv/versions/3.12.1/bin/python",
        "3.14.0rc2": "bin/python3.14",
    }
    assert matrix.missing(found) == ["3.13"]


def test_pyenv_is_in_the_home_directory_unless_it_is_said_where(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(machine / ".pyenv/versions/3.12.1/bin/python", "cpython 3 12 1 final 0")
    monkeypatch.setenv("HOME", str(machine))
    assert "3.12.1" not in names(newest(matrix.candidates()), machine)
    monkeypatch.delenv("PYENV_ROOT")
    assert "3.12.1" in names(newest(matrix.candidates()), machine)


def test_of_each_minor_version_there_is_the_newest_release(tmp_path: Path) -> None:
    answers = ["3 12 9 final 0", "3 12 10 final 0", "3 12 10 candidate 1", "3 12 10 final 0"]
    paths = [fake(tmp_path / str(n), f"cpython {answer}") for n, answer in enumerate(answers)]
    assert [python.path for python in newest(paths)] == [paths[1]]
    assert [python.path for python in newest(reversed(paths))] == [paths[3]]  # the first of two


@pytest.mark.parametrize(
    "answer",
    [
        "cpython 3 10 13 final 0",
        "cpython 2 7 18 final 0",
        "pypy 3 11 13 final 0",
        "cpythont 3 13 0 final 0",
        "hello",
        "",
    ],
)
def test_what_is_no_usual_cpython_from_3_11_up_is_passed_over(tmp_path: Path, answer: str) -> None:
    assert asked(fake(tmp_path / "python", answer)) is None


def test_what_does_not_run_is_passed_over(tmp_path: Path) -> None:
    shim = script(tmp_path / "shim", "echo cpython 3 12 1 final 0; exit 127")
    plain = tmp_path / "plain"
    plain.write_text("no program")
    assert [*map(asked, (shim, plain, tmp_path / "none", tmp_path))] == [None] * 4


def test_the_interpreter_that_runs_this_says_what_it_is() -> None:
    known = asked(Path(sys.executable))
    assert known is not None
    assert known[:-1] == (*sys.version_info[1:],)


# Environments.


MAKEFILE = """
STAMP = $(VENV)/.installed-3.12
venv:
\t@test -z "$(BAD)" || { echo "it cannot be made"; exit 1; }
\t@mkdir -p $(VENV)/bin
\t@test -f $(STAMP) || { cp $(PYTHON) $(VENV)/bin/python; touch $(STAMP); }
"""


def test_an_environment_is_reused_until_the_interpreter_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for micro, expected in ((1, "made"), (1, "reused"), (2, "made"), (2, "reused")):
        python = asked(fake(tmp_path / "python3.12", f"cpython 3 12 {micro} final 0"))
        assert python is not None
        folder = tmp_path / ".venv-matrix-3.12"
        assert installed(python, tmp_path) == (folder / "bin" / "python", expected)


def test_an_environment_that_cannot_be_made_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = Interpreter(12, 1, "final", 0, tmp_path / "python3.12")
    (tmp_path / "Makefile").write_text(f"BAD = 1\n{MAKEFILE}")
    with pytest.raises(MatrixError, match="no environment:\nit cannot be made"):
        installed(python, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MatrixError, match=r"no environment: .*make"):
        installed(python, tmp_path)


# Runs.


SAMPLE = """
import pytest

def test_passes(): pass
def test_passes_too(): pass
def test_fails(): assert False
def test_is_skipped(): pytest.skip("not today")

@pytest.fixture
def broken(): raise OSError
def test_cannot_begin(broken): pass
"""


@pytest.mark.parametrize(
    ("chosen", "counts", "wrong"),
    [
        ("", (2, 2, 1), "pytest ended with 1"),
        ("passes or skipped", (2, 0, 1), ""),
        ("nothing", (0, 0, 0), "pytest ended with 5, nothing was tested"),
    ],
)
def test_a_run_counts_what_pytest_counts(
    tmp_path: Path, chosen: str, counts: tuple[int, int, int], wrong: str
) -> None:
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "pytest.ini").touch()
    run = Run(Interpreter(12, 1, "final", 0, tmp_path))
    count(run, Path(sys.executable), [str(tmp_path), "-n", "0", "-k", chosen])
    assert (run.passed, run.failed, run.skipped, run.wrong) == (*counts, wrong)
    assert run.seconds > 0


def test_a_run_that_cannot_begin_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Interpreter) -> tuple[Path, str]:
        raise MatrixError("no environment: the disk is full")

    monkeypatch.setattr(matrix, "installed", refuse)
    run = matrix.tested(Interpreter(12, 1, "final", 0, tmp_path), [])
    assert (run.environment, run.wrong) == ("none", "no environment: the disk is full")
    assert "3.12: no environment: the disk is full" in capsys.readouterr().out


# The report.


def test_the_table_has_a_line_for_each_run() -> None:
    runs = [
        Run(Interpreter(9, 1, "final", 0, Path("/bin/a")), "reused", 1200, 3, 0, 12.6),
        Run(Interpreter(14, 0, "beta", 4, Path("/bin/bc"))),
    ]
    assert table(runs) == (
        "version   environment  passed  failed  skipped  seconds  path\n"
        "3.9.1     reused         1200       3        0       13  /bin/a\n"
        "3.14.0b4  none              0       0        0        0  /bin/bc"
    )


def passes(python: Interpreter, _: Sequence[str]) -> Run:
    return Run(python, "made", passed=5)


def fails_on_3_12(python: Interpreter, _: Sequence[str]) -> Run:
    return Run(python, wrong="it is full" if python.minor == 12 else "")


def test_it_ends_well_if_all_that_is_there_passes(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(machine / "bin/python3.12", "cpython 3 12 1 final 0")
    assert matrix.main([], passes) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[:3]] == ["version", "3.11.7", "3.12.1"]
    assert "Not there: 3.13, 3.14" in said


def test_it_ends_badly_if_one_of_them_fails(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for minor in (12, 13, 14):
        fake(machine / f"bin/python3.{minor}", f"cpython 3 {minor} 1 final 0")
    assert matrix.main([], fails_on_3_12) == 1
    said = capsys.readouterr().out
    assert "3.12.1: it is full" in said
    assert "Not there: none" in said
    assert matrix.main(["--only", "3.13", "--only", "3.14"], fails_on_3_12) == 0


def test_it_ends_badly_if_there_is_nothing_to_run(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert matrix.main(["--only", "3.13"], passes) == 1
    assert "nothing to run the tests on" in capsys.readouterr().out


@pytest.mark.usefixtures("machine")
def test_what_follows_the_dashes_is_for_pytest() -> None:
    given: list[Sequence[str]] = []

    def test(python: Interpreter, arguments: Sequence[str]) -> Run:
        given.append(arguments)
        return Run(python)

    matrix.main(["--fast", "--", "-x", "-k", "floor"], test)
    matrix.main(["--", "-x"], test)
    assert given == [[*matrix.FAST, "-x", "-k", "floor"], [*matrix.FULL, "-x"]]


def test_what_is_run_exists() -> None:
    for argument in (*matrix.FAST, *matrix.FULL):
        assert (matrix.ROOT / argument.removeprefix("--ignore=")).exists()
