"""Every example is short, runs as it is, prints what it promises, and leaves nothing.

What an example prints stands in its docstring, below a line "Output:"; or here, if it is too much
for that. Three dots stand for anything within the line, and alone on a line for any lines.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[2].joinpath("examples").glob("*.py"))
PROC = Path("/proc")

# Examples that need what is not installed for the tests, and where a warning is no error.
OPT_IN = {"ray_actors": "ray"}
WARNING = {"ray_actors": "ray warns while it is imported and started"}

LONG = {
    "prometheus_collector": """\
...
resource_pool_creation_seconds_count{outcome="created",pool="main"} 3.0
...
resource_pool_wait_seconds_count{outcome="acquired",pool="main"} ...
...
resource_pool_use_seconds_count{outcome="released",pool="main"} ...
...
resource_pool_resources{pool="main",state="in_use"} ...
...
resource_pool_max_size{pool="main"} 3.0
...
resource_pool_timeouts_total{pool="main"} ...
..."""
}


def promised(example: Path) -> str | None:
    """The block below "Output:", or what stands here."""
    if example.stem in LONG:
        return LONG[example.stem]
    docstring = ast.get_docstring(ast.parse(example.read_text())) or ""
    block = re.search(r"^Output:\n((?:[ ]{4}.*\n|\n)*(?:[ ]{4}.*))", docstring, re.MULTILINE)
    return block and textwrap.dedent(block[1]).strip()


def matches(pattern: str, text: str) -> bool:
    """Whether the text is as promised."""
    lines = [
        r"(?:.*\n)*" if line == "..." else ".+".join(map(re.escape, line.split("..."))) + r"\n"
        for line in pattern.splitlines()
    ]
    return re.fullmatch("".join(lines), text) is not None


def environment(example: Path, folder: Path) -> dict[str, str]:
    """A home and a place for temporary files of its own; warnings are errors in children, too."""
    variables = {"PATH": os.environ["PATH"]}
    for name in ("HOME", "TMPDIR"):
        (folder / name).mkdir()
        variables[name] = str(folder / name)
    if example.stem not in WARNING:
        variables["PYTHONWARNINGS"] = "error"
    return variables


def running(folder: Path) -> dict[int, str]:
    """What still runs in a folder or in one below it; nothing is known where there is no /proc."""
    found = {}
    for process in PROC.glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # another user's, or it has ended meanwhile
    return found


def needs(example: Path) -> None:
    """Skip what is opt-in and not there."""
    package = OPT_IN.get(example.stem)
    if package and find_spec(package) is None:
        pytest.skip(f"opt-in: {package} is not installed")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_every_example_is_short_and_begins_with_what_it_shows(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert re.match(r'"""This example shows ', text)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_every_example_has_the_limits_of_a_service(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert "max_size=" in text
    if example.stem != "prometheus_collector":  # it is about metrics, and its resource is nothing
        assert {"acquisition_timeout", "creation_timeout"} <= set(re.findall(r"(\w+)=\d", text))
        assert "discard_on=" in text or "reset=" in text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_every_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    pattern = promised(example)
    assert pattern, "no block 'Output:' in the docstring"
    needs(example)
    done = subprocess.run(
        [sys.executable, str(example)],
        env=environment(example, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert matches(pattern, done.stdout), done.stdout
    if example.stem not in WARNING:
        assert not done.stderr
    assert not running(tmp_path)
    assert not list((tmp_path / "TMPDIR").iterdir())


@pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc")
@pytest.mark.parametrize(
    "example",
    [
        example
        for example in EXAMPLES
        if example.stem not in OPT_IN
        and re.search("subprocess|stdio|servers import (postgresql|valkey)", example.read_text())
    ],
    ids=lambda example: example.stem,
)
def test_what_an_example_has_started_ends_even_if_the_example_is_killed(
    example: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", str(example)],
        env=environment(example, tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        before = running(tmp_path)
        process.kill()
    assert len(before) >= 2
    deadline = time.monotonic() + 20
    while (left := running(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process_id in left:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    assert not left


@pytest.mark.parametrize(
    ("pattern", "text", "same"),
    [
        ("one\ntwo", "one\ntwo\n", True),
        ("one\ntwo", "one\n", False),
        ("one", "one\ntwo\n", False),
        ("took ... s", "took 0.12 s\n", True),
        ("took ... s", "took  s\n", False),
        ("took ... s", "took 1\n2 s\n", False),
        ("one\n...\nfour", "one\ntwo\nthree\nfour\n", True),
        ("one\n...\ntwo", "one\ntwo\n", True),
        ("one\n...\ntwo", "one\nthree\n", False),
        ("a.c", "abc\n", False),
    ],
)
def test_a_promise_is_compared_line_by_line(pattern: str, text: str, same: bool) -> None:
    assert matches(pattern, text) is same


def test_an_example_without_a_promise_is_noticed(tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    for docstring in ("", '"""No block."""', '"""Empty.\n\nOutput:\n"""'):
        example.write_text(docstring)
        assert not promised(example)
    example.write_text('"""Two lines.\n\nOutput:\n    one\n      two\n\nThe end.\n"""')
    assert promised(example) == "one\n  two"
