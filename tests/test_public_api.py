"""The public API does not change by accident."""

from __future__ import annotations

import difflib
import re

import pytest

from tests.public_api import FILE, describe


@pytest.mark.first
def test_the_public_api_is_that_of_the_snapshot() -> None:
    found = "\n".join(describe()) + "\n"
    assert found == FILE.read_text(), "run `python -m tests.public_api` if the change is intended"


NEW = {
    "AsyncResourcePool.resize",
    *(f"PoolStats.{name}" for name in ("checking", "resetting", "interrupted", "forgotten")),
    *(f"PoolStats.{name}" for name in ("check_failed", "reset_failed", "retired", "surplus")),
    *(f"PoolStats.{name}" for name in ("closed_down", "late", "waits", "waited_seconds")),
}
GONE = {"PoolStats.check_failures", "PoolStats.reset_failures"}  # check_failed, reset_failed
GAUGES = {f"PoolGauges.{name}" for name in ("checking", "resetting")}  # with the observers
CHANGED = {f"AsyncResourcePool.{name}" for name in ("__init__", "from_context", "open")}


@pytest.mark.second
def test_the_second_semantics_changes_only_these_names() -> None:
    before, after = FILE.read_text().splitlines(), [*describe()]
    changes = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    names: dict[str, set[str]] = {"+": set(), "-": set()}
    for change in changes:
        found = re.search(r"\b[A-Z]\w+\.\w+", change)
        assert found is not None, change
        names[change[0]].add(found[0])
    assert names["+"] - GAUGES == NEW | CHANGED
    assert names["-"] == GONE | CHANGED
