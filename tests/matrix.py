"""Run the tests on every CPython from 3.11 up that is there, one of each minor version.

    python -m tests.matrix                     as `make matrix` does
    python -m tests.matrix --fast              only tests/concurrency, without its random users
    python -m tests.matrix --only 3.13 -- -x   only this version; what follows is for pytest

Looked for on PATH and in pyenv, besides the one that runs this. Each has an environment of its
own, `.venv-matrix-3.12`, that `make venv` makes and that is used again until pyproject.toml
changes. It ends well if all that is there passes; what is not there is said.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

__all__ = ["Interpreter", "Run", "installed", "main", "missing", "newest", "table"]

ROOT = Path(__file__).parents[1]
OLDEST, NEWEST = 11, 14  # of the minor versions that must be named if they are missing

FAST = ["tests/concurrency", "--ignore=tests/concurrency/test_stateful.py"]
FULL = ["tests/concurrency", "tests/testing", "tests/verify", "tests/schedules"]
PYTEST = ["-m", "pytest", "-q", "-n", "2", "--dist", "load"]

# Free-threaded and debug builds have flags.
QUESTION = """
import sys
flags = getattr(sys, "abiflags", "")
print(" ".join(map(str, (sys.implementation.name + flags,) + tuple(sys.version_info))))
"""
ANSWER = re.compile(r"cpython 3 (\d+) (\d+) (alpha|beta|candidate|final) (\d+)")


class Interpreter(NamedTuple):
    """Its version, whose parts are ordered as versions are, and where it is."""

    minor: int
    micro: int
    level: str
    serial: int
    path: Path

    @property
    def name(self) -> str:
        return f"3.{self.minor}"

    @property
    def version(self) -> str:
        level = {"alpha": "a", "beta": "b", "candidate": "rc"}.get(self.level)
        return f"{self.name}.{self.micro}" + (f"{level}{self.serial}" if level else "")


@dataclass
class Run:
    """What came of the tests with one interpreter; `wrong` is why it is a failure."""

    interpreter: Interpreter
    environment: str = "none"
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    wrong: str = ""


class MatrixError(Exception):
    """The tests could not be run."""


# Which there are.


def candidates() -> list[Path]:
    """Whatever may be an interpreter: what pyenv has comes before its shims on PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    paths = sorted(pyenv.glob("versions/*/bin/python"))
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        named = Path(folder).absolute().glob("python3.*") if folder else ()
        paths += sorted(path for path in named if re.fullmatch(r"python3\.\d+", path.name))
    return [*paths, Path(sys.executable)]


def asked(path: Path) -> Interpreter | None:
    """What it says that it is, if it is a CPython that can be used at all."""
    try:
        done = subprocess.run(
            [path, "-c", QUESTION], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = ANSWER.fullmatch(done.stdout.strip()) if done.returncode == 0 else None
    if answer is None or int(answer[1]) < OLDEST:
        return None
    return Interpreter(int(answer[1]), int(answer[2]), answer[3], int(answer[4]), path)


def newest(paths: Iterable[Path]) -> list[Interpreter]:
    """The newest release of each minor version; of the same release the first."""
    best: dict[int, Interpreter] = {}
    for found in filter(None, map(asked, paths)):
        known = best.get(found.minor)
        if known is None or found[:-1] > known[:-1]:
            best[found.minor] = found
    return [best[minor] for minor in sorted(best)]


def missing(found: Iterable[Interpreter]) -> list[str]:
    """The minor versions that the tests should be run on too."""
    minors = {interpreter.minor for interpreter in found}
    return [f"3.{minor}" for minor in range(OLDEST, NEWEST + 1) if minor not in minors]


# The tests.


def installed(interpreter: Interpreter, root: Path = ROOT) -> tuple[Path, str]:
    """The Python of its environment, and whether that was made or reused."""
    folder = root / f".venv-matrix-{interpreter.name}"
    python, stamp = folder / "bin" / "python", folder / f".installed-{interpreter.name}"
    known = asked(python)
    if known is None or known[:-1] != interpreter[:-1]:
        stamp.unlink(missing_ok=True)  # of an interpreter that has gone, or was replaced
    before = stamp.stat().st_mtime_ns if stamp.exists() else None
    # What a make around this one was told is not for this one.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "venv", f"PYTHON={interpreter.path}", f"VENV={folder.name}"]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise MatrixError(f"no environment: {error}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-6:]
        raise MatrixError("\n".join(["no environment:", *said]))
    return python, "reused" if stamp.stat().st_mtime_ns == before else "made"


def count(run: Run, python: Path, arguments: Sequence[str]) -> None:
    """Run pytest, which says itself how far it is, and note what it counted."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [*PYTEST, f"--junit-xml={report}", *arguments]
        began = time.monotonic()
        ended = subprocess.run([python, *command], cwd=ROOT, check=False).returncode
        run.seconds = time.monotonic() - began
        if report.exists():
            for suite in ElementTree.parse(report).iter("testsuite"):
                tests, run.skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
                run.failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
                run.passed = tests - run.skipped - run.failed
    if ended:
        run.wrong = f"pytest ended with {ended}" + (", nothing was tested" if ended == 5 else "")


def tested(interpreter: Interpreter, arguments: Sequence[str]) -> Run:
    run = Run(interpreter)
    try:
        print(f"{interpreter.name}: environment for {interpreter.path}", flush=True)
        python, run.environment = installed(interpreter)
        print(f"{interpreter.name}: {run.environment}, testing", flush=True)
        count(run, python, arguments)
    except MatrixError as error:
        run.wrong = str(error)
    print(f"{interpreter.name}: {run.wrong or 'passed'}\n", flush=True)
    return run


# The report.


def table(runs: Iterable[Run]) -> str:
    rows = [("version", "environment", "passed", "failed", "skipped", "seconds", "path")]
    for run in runs:
        counts = (f"{run.passed}", f"{run.failed}", f"{run.skipped}", f"{run.seconds:.0f}")
        where = str(run.interpreter.path)
        rows.append((run.interpreter.version, run.environment, *counts, where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        sides = ("<", "<", ">", ">", ">", ">", "<")
        cells = zip(row, sides, widths, strict=True)
        lines.append("  ".join(f"{cell:{side}{width}}" for cell, side, width in cells).rstrip())
    return "\n".join(lines)


def main(
    arguments: Sequence[str] | None = None,
    test: Callable[[Interpreter, Sequence[str]], Run] = tested,
) -> int:
    """Run all, print the table, and answer 1 if something went wrong or nothing was there."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.matrix",
        description="Run the tests on every CPython from 3.11 up that is there.",
    )
    parser.add_argument(
        "--fast", action="store_true", help="Run only tests/concurrency, and nothing long."
    )
    parser.add_argument(
        "--only", action="append", metavar="3.13", help="Use only this minor version."
    )
    parser.add_argument(
        "pytest", nargs="*", help="Pass these arguments to pytest. Write -- before them."
    )
    options = parser.parse_args(arguments)

    found = newest(candidates())
    chosen = [python for python in found if options.only is None or python.name in options.only]
    runs = [test(python, [*(FAST if options.fast else FULL), *options.pytest]) for python in chosen]
    if not runs:
        print("There is nothing to run the tests on.")
        return 1
    print(table(runs))
    for run in runs:
        if run.wrong:
            print(f"\n{run.interpreter.version}: {run.wrong}")
    print(f"\nNot there: {', '.join(missing(found)) or 'none is missing'}")
    return int(any(run.wrong for run in runs))


if __name__ == "__main__":
    sys.exit(main())
