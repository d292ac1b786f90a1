"""What TLC must say about each model, and in what a run differs from it."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nodetool.concurrency.verify._graph import GRAPHS
from spec.tla import ModelConfig
from spec.tlc import MODELS, SPEC, Result

__all__ = ["MANIFEST", "Entry", "differences", "read", "unstated", "updated"]

MANIFEST = SPEC / "manifest.toml"


@dataclass(frozen=True)
class Entry:
    """The expectations for one model."""

    name: str
    module: str
    purpose: str
    verdict: str  # as in spec.tlc.Result
    exit: int
    distinct: int
    guards: tuple[str, ...]  # the guarantees that fall with this model
    depth: int | None = None  # TLC prints none for a violated temporal property
    small: bool = False  # takes a few seconds, so it belongs to the tests
    frozen: bool = False  # its graph is kept in graphs/

    @property
    def graph(self) -> Path:
        return GRAPHS / f"{self.name}.graph.gz"


def read(path: Path = MANIFEST) -> dict[str, Entry]:
    """Read the manifest, in its order."""
    with path.open("rb") as file:
        tables = tomllib.load(file)
    return {
        name: Entry(name=name, guards=tuple(table.pop("guards")), **table)
        for name, table in tables.items()
    }


def differences(entry: Entry, result: Result) -> list[str]:
    """Say in what the result is not what the manifest expects."""
    pairs = [
        ("verdict", entry.verdict, result.verdict),
        ("exit code", entry.exit, result.exit_code),
        ("distinct states", entry.distinct, result.distinct),
        ("depth", entry.depth, result.depth),
    ]
    return [
        f"{entry.name}: {what}: expected {expected}, found {found}"
        for what, expected, found in pairs
        if expected != found
    ]


def unstated(entry: Entry) -> list[str]:
    """Say which guarantees the model guards although none of its properties states them.

    What a property states is in the comment above its definition.
    """
    module = "PoolCounts" if entry.module == "PoolCounts" else "AsyncResourcePool"
    text = (SPEC / f"{module}.tla").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    above: set[str] = set()
    for comment, name in re.findall(r"((?:^\\\*.*\n)+)(\w+) ==", text, re.MULTILINE):
        if not comment.startswith("\\* ..."):
            above = set(re.findall(r"\b[SL]\d+\b", comment))
        found[name] = above
    config = ModelConfig.read(MODELS / f"{entry.name}.cfg")
    names = config.invariants + config.properties
    stated = set().union(*(found.get(name, set()) for name in names))
    missing = [code for code in entry.guards if code not in stated]
    return [f"{entry.name}: none of its properties states {code}" for code in missing]


def updated(text: str, results: Iterable[Result]) -> str:
    """Return the manifest's text with the numbers of the results.

    Only numbers: a verdict is what somebody expects, so it is never rewritten.
    """
    for result in results:
        head, table, rest = re.split(rf"^(\[{result.model}\]\n)", text, flags=re.MULTILINE)
        body, bracket, tail = rest.partition("\n[")
        for name, number in (("distinct", result.distinct), ("depth", result.depth)):
            if number is not None:
                body = re.sub(rf"^{name} = \d+$", f"{name} = {number}", body, flags=re.MULTILINE)
        text = head + table + body + bracket + tail
    return text
