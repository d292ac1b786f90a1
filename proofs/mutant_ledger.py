"""Mutants: small changes of the project, each of which some checker must see.

Those by hand stand in ``mutants.toml``, with the guarantee that each attacks and the verdicts that
must kill it. Those that a tool generates (`generated_mutants`) are of the same kind, but anybody
may kill them; what nobody can kill is argued in the ledger.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from proofs.guarantees import GUARANTEES

__all__ = ["LAYERS", "Edit", "EditError", "Ledger", "Mutant", "complaints", "sources", "zoo"]

LEDGER = Path(__file__).with_name("mutants.toml")
ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/nodetool/concurrency"

LAYERS = {
    "specification": ("BrokenPool.tla",),
    "counts": ("_counts.py",),
    "machine": ("_machine.py", "_state.py", "_counts.py"),
    "shell": (
        *("async_resource_pool.py", "_acquire_context.py", "_call.py", "_contexts.py"),
        *("_deadlines.py", "_home.py", "_leasing.py", "_listener.py", "_shell.py", "_tasks.py"),
    ),
    "contract": ("_contracts.py", "_guarantees.py"),
}
"""The layers, and the files of which each mutant changes one at least; TLC changes definitions."""


class EditError(ValueError):
    """An edit does not apply exactly once."""


class Edit(NamedTuple):
    """One piece of text in place of another."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Mutant:
    """A change, and what must be said of it by whom; an expectation may be a regular expression."""

    name: str
    layer: str
    what: str
    edits: tuple[Edit, ...] = ()
    killers: Mapping[str, str] = field(default_factory=dict)
    guarantee: str = ""
    zoo: str = ""  # the known bugs that it re-enacts

    @property
    def generated(self) -> bool:
        return not self.guarantee

    def files(self, originals: Mapping[str, str]) -> dict[str, str]:
        """The texts of the files that it changes; each edit must apply exactly once."""
        changed: dict[str, str] = {}
        for file, find, replace in self.edits:
            text = changed.get(file, originals[file])
            if (times := text.count(find)) != 1:
                raise EditError(f"{self.name}: {file}: found {times} times: {find[:80]!r}")
            changed[file] = text.replace(find, replace)
        return changed

    def diff(self, originals: Mapping[str, str]) -> str:
        lines: list[str] = []
        for file, text in self.files(originals).items():
            before, after = originals[file].splitlines(), text.splitlines()
            lines += difflib.unified_diff(before, after, file, file, lineterm="", n=2)
        return "\n".join(lines)


def sources(folder: Path = SOURCES) -> dict[str, str]:
    """The text of every file that may be changed."""
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))}


def zoo(folder: Path = ROOT / "tests/concurrency") -> set[str]:
    """The known bugs that the tests name, those included that this pool cannot have."""
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("test_bug_zoo*.py")]
    return {f"Z{number}" for number in re.findall(r"(?:_z|\bZ)(\d\d)(?!\d)", "".join(texts))}


class Ledger:
    """What ``mutants.toml`` says."""

    def __init__(self, path: Path = LEDGER) -> None:
        self.data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))

    @cached_property
    def mutants(self) -> list[Mutant]:
        return [
            Mutant(**{**entry, "edits": tuple(Edit(*edit) for edit in entry.get("edits", ()))})
            for entry in self.data["mutant"]
        ]

    @property
    def impossible(self) -> dict[tuple[str, str], str]:
        """The guarantees that cannot be attacked in a layer, and why."""
        table = self.data.get("impossible", {})
        return {(name, layer): why for layer, names in table.items() for name, why in names.items()}

    @property
    def not_our_zoo(self) -> dict[str, str]:
        """Known bugs that this pool cannot have, and why."""
        return dict(self.data.get("zoo", {}))

    def equivalent(self, name: str) -> str:
        """Why nobody can kill this generated mutant; nothing if that is not argued."""
        for argued in self.data.get("equivalent", ()):
            if name in argued["names"]:
                return str(argued["why"])
        return self.ruled_out(name)

    def ruled_out(self, name: str) -> str:
        """The same, if a rule says so of all that are like it; such are not even tried."""
        for rule in self.data.get("rule", ()):
            if re.search(rule["pattern"], name):
                return str(rule["why"])
        return ""


def complaints(ledger: Ledger, originals: Mapping[str, str]) -> list[str]:
    """What is wrong with the ledger, before anything runs."""
    names = [mutant.name for mutant in ledger.mutants]
    wrong = [f"{name}: twice" for name in sorted(set(names)) if names.count(name) > 1]
    for mutant in ledger.mutants:
        wrong += misfits(mutant, originals)
    return [*wrong, *gaps(ledger)]


def misfits(mutant: Mutant, originals: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with one mutant."""
    files = {edit.file for edit in mutant.edits}
    if mutant.layer not in LAYERS:
        yield f"{mutant.name}: no layer {mutant.layer!r}"
    elif mutant.edits and not files.intersection(LAYERS[mutant.layer]):
        yield f"{mutant.name}: {', '.join(sorted(files))}: not of the layer {mutant.layer}"
    if not mutant.killers:
        yield f"{mutant.name}: no killers"
    if bool(mutant.edits) == (mutant.layer == "specification"):
        yield f"{mutant.name}: edits, but not of the specification, which BrokenPool.tla changes"
    try:
        mutant.files(originals)
    except EditError as error:
        yield str(error)


def gaps(ledger: Ledger) -> Iterator[str]:
    """Where a mutant is missing, or one is there although that is said to be impossible."""
    attacked = {(mutant.guarantee, mutant.layer) for mutant in ledger.mutants}
    cells = {(guarantee.name, layer) for guarantee in GUARANTEES for layer in LAYERS}
    for cell in sorted(cells | attacked | {*ledger.impossible}):
        if cell not in cells or (cell in attacked) == (cell in ledger.impossible):
            yield f"{' '.join(cell)}: must have a mutant or a reason, and not both"
    enacted = {entry for mutant in ledger.mutants for entry in mutant.zoo.split()}
    for entry in sorted(zoo() | enacted | {*ledger.not_our_zoo}):
        if entry not in zoo() or (entry in enacted) == (entry in ledger.not_our_zoo):
            yield f"{entry}: must have a mutant or a reason, and not both"
