"""A pool of Ray actors on a cluster that loses a node: opt-in, since Ray is large.

.venv/bin/pip install -e '.[ray]' && .venv/bin/python -m pytest tests/examples/test_ray.py
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.examples.test_examples import environment, running

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_actors.py"
CALLS, ACTORS = 181, 6

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="opt-in: pip install -e '.[ray]', and run it again"
)


def isolated() -> bool:
    """Whether the example can have processes of its own here."""
    apart = "--user --map-root-user --net --pid --fork --kill-child --mount-proc"
    command = ["unshare", *apart.split(), "ip", "link", "set", "lo", "up"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, check=False).returncode


@needs_ray
def test_no_call_is_lost_with_a_node_and_its_actors_are_replaced(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env=environment(EXAMPLE, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = {line[:11].strip(): line[11:] for line in done.stdout.splitlines()}
    numbers = {name: [int(n) for n in re.findall(r"\d+", row)] for name, row in table.items()}

    assert numbers["calls"] == [CALLS, CALLS]
    made, answered, failed, lost = numbers["attempts"]
    assert answered == CALLS
    assert failed >= 1
    assert made == answered + failed
    assert lost == 0

    assert [table[f"node {number}"].split() for number in (1, 2, 3)] == [
        ["2", "3"],
        ["2", "3"],
        ["2", "lost"],
    ]
    created, interrupted, unfit, left = numbers["pool"]
    assert interrupted == failed
    assert unfit >= 1  # the one that died while nobody used it
    assert created == ACTORS + interrupted + unfit
    assert left == 0
    assert not running(tmp_path)


@needs_ray
@pytest.mark.skipif(not isolated(), reason="needs user namespaces, unshare and ip")
def test_the_cluster_ends_even_if_the_example_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLE)],
        env=environment(EXAMPLE, tmp_path) | {"PYTHONUNBUFFERED": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        before = running(tmp_path)
        process.kill()
    for folder in set(re.findall(r"--temp-dir=(/tmp/ray-\w+)", " ".join(before.values()))):
        shutil.rmtree(folder, ignore_errors=True)
    assert len(before) > ACTORS
    deadline = time.monotonic() + 20
    while (left := running(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_without_ray_it_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env=environment(EXAMPLE, tmp_path) | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "This needs Ray: pip install 'nodetool-concurrency[ray]'\n"
    assert not done.stdout
