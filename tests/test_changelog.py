"""The changelog has the usual form: versions, newest first, and the usual kinds of changes."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from nodetool.concurrency import __version__

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def versions() -> list[tuple[int, ...]]:
    """List the versions, from the top."""
    found = re.findall(r"^## (\d+\.\d+\.\d+)", CHANGELOG, re.MULTILINE)
    return [tuple(map(int, version.split("."))) for version in found]


def test_the_newest_version_is_that_of_the_package() -> None:
    assert ".".join(map(str, versions()[0])) == __version__


def test_newer_versions_stand_above_older_ones() -> None:
    assert all(newer > older for newer, older in pairwise(versions()))


def test_every_heading_is_a_version_or_a_kind_of_change() -> None:
    for line in re.findall(r"^##.*$", CHANGELOG, re.MULTILINE):
        version = r"## \d+\.\d+\.\d+( - (\d{4}-\d\d-\d\d|unreleased))?"
        assert re.fullmatch(rf"{version}|### ({'|'.join(KINDS)})", line), line


def test_no_kind_of_change_stands_twice_in_a_version() -> None:
    for section in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (\w+)$", section, re.MULTILINE)
        assert kinds
        assert len(kinds) == len(set(kinds))


def test_the_upgrade_guide_is_about_this_version() -> None:
    guide = (ROOT / "docs" / "migration" / "first-edition.md").read_text(encoding="utf-8")
    assert "version 0.2" in guide
    assert __version__.startswith("0.2.")
