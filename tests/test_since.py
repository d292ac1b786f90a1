"""Each public name says since which version it exists, and the changelog names what is new."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import pytest

from nodetool.concurrency import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = "nodetool.concurrency"
MODULES = ("", ".otel", ".testing", ".testing.plugins", ".timeline", ".verify.schedules")
FIRST = "0.1.0"
SINCE = re.compile(r"Since version (\d+\.\d+\.\d+)\.$")
LOADED = griffe.load(PACKAGE, search_paths=[ROOT / "src"], submodules=True)


def version_of(item: Any) -> str | None:
    """Return the version that the docstring of a name ends with."""
    text = item.docstring.value.rstrip() if item.docstring else ""
    found = SINCE.search(text)
    return found and found[1]


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield the names that users import, without the members of classes."""
    for suffix in MODULES:
        module = LOADED[suffix.removeprefix(".")] if suffix else LOADED
        for name in map(str, module.exports or ()):
            item = module[name]
            yield f"{PACKAGE}{suffix}.{name}", item.final_target if item.is_alias else item


def members(item: Any) -> Iterator[tuple[str, Any]]:
    """Yield the public members of a class."""
    if item.is_class:
        for name, member in item.members.items():
            if not name.startswith("_"):
                yield name, member


def section(version: str) -> str:
    """Return the section of a version in the changelog."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(version)}\b.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"CHANGELOG.md has no version {version}"
    return found[0]


NAMES = dict(public_names())


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_since_which_version_it_exists(name: str) -> None:
    version = version_of(NAMES[name])
    assert version, "the docstring must end with: Since version X.Y.Z."
    own = [version, *filter(None, (version_of(member) for _, member in members(NAMES[name])))]
    known = [tuple(map(int, one.split("."))) for one in own]
    assert min(known) == known[0]  # a member is not older than its class
    assert max(known) <= tuple(map(int, __version__.split(".")))  # noqa: RUF048 (all are numbers)
    for one in set(own):
        assert section(one)


@pytest.mark.parametrize("name", NAMES)
def test_the_changelog_names_what_is_new(name: str) -> None:
    version = version_of(NAMES[name])
    new = {name.rpartition(".")[2]: version}
    new |= {member: version_of(item) for member, item in members(NAMES[name])}
    for last, since in new.items():
        if since not in (None, FIRST):
            assert re.search(rf"\b{last}\b", section(str(since))), last


def test_the_names_are_those_that_users_import() -> None:
    assert len(NAMES) > 35
    assert {f"{PACKAGE}.PoolLease", f"{PACKAGE}.testing.explore"} <= set(NAMES)
    assert {name for name, _ in members(NAMES[f"{PACKAGE}.PoolLease"])} >= {"holder", "seconds"}
