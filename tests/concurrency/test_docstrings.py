"""The form of public docstrings: their sections, and names that the specification has."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool

SPEC = Path(__file__).parents[2] / "spec"
MODULE = (SPEC / "AsyncResourcePool.tla").read_text()
DEFINED = set(re.findall(r"^(\w+)(?:\([\w, ]+\))? ==", MODULE, re.MULTILINE))

PUBLIC: list[tuple[str, Callable[..., Any]]] = [
    (name, member)
    for name, member in inspect.getmembers(AsyncResourcePool, inspect.isroutine)
    if not name.startswith("_")
]


@pytest.mark.parametrize(("name", "member"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_every_public_method_names_its_actions_and_guarantees(
    name: str, member: Callable[..., Any]
) -> None:
    doc = (inspect.getdoc(member) or "").partition("\nSince version ")[0]
    assert "Spec:" in doc
    names = re.findall(r"\b[A-Z]\w+[a-z]\b", doc[doc.index("Spec:") + 5 :])
    assert names
    unknown = [n for n in names if n not in DEFINED and f"{n}Steps" not in DEFINED]
    assert not unknown
    if inspect.iscoroutinefunction(member):
        assert "Cancellation:" in doc
    if len(inspect.signature(member).parameters) > 1:
        assert "Args:" in doc


def test_there_are_public_methods_to_look_at() -> None:
    assert {name for name, _ in PUBLIC} == {
        "acquire",
        "acquire_context",
        "close",
        "detach",
        "discard",
        "discard_nowait",
        "from_context",
        "gauges",
        "leases",
        "open",
        "prune",
        "release",
        "release_nowait",
        "resize",
        "retire_all",
        "stats",
        "terminate",
    }
