"""The verdicts and numbers that TLC must give for each model, and their differences from a run."""

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
    guards: tuple[str, ...]  # the guarantees that this model guards
    depth: int | None = None  # TLC prints none for a violated temporal property
    small: bool = False  # it takes a few seconds, so the tests check it
    frozen: bool = False  # its graph is in the folder `graphs`

    @property
    def graph(self) -> Path:
        """Path of the frozen graph."""
        return GRAPHS / f"{self.name}.graph.gz"


def read() -> dict[str, Entry]:
    """Read the entries of the manifest, in its order."""
    with MANIFEST.open("rb") as file:
        tables = tomllib.load(file)
    return {
        name: Entry(name=name, guards=tuple(table.pop("guards")), **table)
        for name, table in tables.items()
    }


def differences(entry: Entry, result: Result) -> list[str]:
    """List the differences of a result from its entry."""
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


def _stated(module: str) -> dict[str, set[str]]:
    """List the guarantees that each definition of a module states, with those that it extends.

    The comment above a definition names them. It counts for all definitions up to the next blank
    line. A comment that begins with dots goes on with the one before.
    """
    text = (SPEC / f"{module}.tla").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for extended in ",".join(re.findall(r"^EXTENDS (.+)$", text, re.MULTILINE)).split(","):
        if (SPEC / f"{extended.strip()}.tla").exists():
            found |= _stated(extended.strip())
    codes: set[str] = set()
    for paragraph in text.split("\n\n"):
        comment = "\n".join(re.findall(r"^\\\*(.*)", paragraph, re.MULTILINE))
        if not comment.startswith(" ..."):
            codes = set(re.findall(r"\b[SLR]\d+\b", comment))
        found |= dict.fromkeys(re.findall(r"^(\w+) ==", paragraph, re.MULTILINE), codes)
    return found


def unstated(entry: Entry) -> list[str]:
    """List the guarantees that a model should guard but that none of its properties states."""
    found = _stated(entry.module)
    config = ModelConfig.read(MODELS / f"{entry.name}.cfg")
    names = config.invariants + config.properties
    stated = set().union(*(found.get(name, set()) for name in names))
    missing = [code for code in entry.guards if code not in stated]
    return [f"{entry.name}: none of its properties states {code}" for code in missing]


def updated(text: str, results: Iterable[Result]) -> str:
    """Return the manifest's text with the numbers of the results.

    The verdicts stay, because they are expectations and must not follow from a run.
    """
    for result in results:
        head, table, rest = re.split(rf"^(\[{result.model}\]\n)", text, flags=re.MULTILINE)
        body, bracket, tail = rest.partition("\n[")
        for name, number in (("distinct", result.distinct), ("depth", result.depth)):
            if number is not None:
                body = re.sub(rf"^{name} = \d+$", f"{name} = {number}", body, flags=re.MULTILINE)
        text = head + table + body + bracket + tail
    return text
