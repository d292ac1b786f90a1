"""Every Python block of the README runs, and what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import Graph
from proofs.guarantees import GUARANTEES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_readme_has_python_blocks() -> None:
    assert len(BLOCKS) == README.count("```python") >= 1


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_python_block_of_the_readme_runs(number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKS[number]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not done.stderr


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"make (\w+)", README))
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_guarantee_of_the_assurance_table_is_in_the_specification() -> None:
    assurance = (ROOT / "ASSURANCE.md").read_text()
    names = re.findall(r"^\| [SL]\d+ \| (\w+) \|", assurance, re.MULTILINE)
    assert names == [guarantee.name for guarantee in GUARANTEES]
    module = (ROOT / "spec" / "AsyncResourcePool.tla").read_text()
    missing = [n for n in names if not re.search(rf"^{n}(Steps)? ==", module, re.MULTILINE)]
    assert not missing


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_figures_of_the_page_are_those_of_the_frozen_graphs() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text()
    for name in ("Wide", "Deep", "Checked"):
        graph = Graph.frozen(name)
        assert f"{len(graph.edges):,}" in page
        assert f"{graph.steps:,}" in page


def test_every_path_and_link_of_the_readme_exists() -> None:
    paths = re.findall(r"`((?:spec|src|tests)/[\w./*-]+)`", README)
    links = re.findall(r"\]\((?!https?:)([\w./-]+)(?:#[\w-]+)?\)", README)
    assert len(links) > 10
    for path in (*paths, *links):
        assert list(ROOT.glob(path)), path
