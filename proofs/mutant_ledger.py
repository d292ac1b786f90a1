"""The ledger of mutants: small changes of the project, each of which some checker must find.

The mutants by hand are in ``mutants.toml``. Each entry names the guarantee that it attacks and the
verdicts that must kill it. Any checker may kill a generated mutant (`generated_mutants`). If no
checker can, the ledger says why.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from proofs.guarantees import GUARANTEES, RULES
from proofs.mutant_edits import Edit, EditError, edited, hints

__all__ = ["LAYERS", "Ledger", "Mutant", "complaints", "misfits", "sources", "zoo"]

LEDGER = Path(__file__).with_name("mutants.toml")
ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/nodetool/concurrency"
TOOLS = ("testing", "timeline", "verify")  # the packages inside that are no part of the pool
WALK = "verify/_walk.py"  # the one file of these packages that mutants may change

LAYERS = {
    "specification": ("BrokenPool.tla",),
    "counts": ("_machine/counts.py",),
    "machine": ("_machine/machine.py", "_machine/containers.py", "_machine/counts.py"),
    "runtime": (
        *("_interruptions.py", "_tracking.py"),
        *("async_resource_pool.py", "_acquire_context.py", "_contexts.py", "listener.py"),
        *(f"_runtime/{name}.py" for name in ("binding", "callbacks", "conditions", "deadlines")),
        *(f"_runtime/{name}.py" for name in ("driver", "long_waits", "work")),
    ),
    "contract": ("_machine/contracts.py", "_machine/guarantees.py", "_machine/observe.py", WALK),
}
"""The layers, and their files. A mutant changes at least one file of its layer.

A mutant of the specification changes no file: TLC checks a module with another definition.
"""


@dataclass(frozen=True)
class Mutant:
    """A change, and the verdicts that must kill it.

    A verdict of tests is a regular expression, every other verdict is exact.
    """

    name: str
    layer: str
    what: str
    edits: tuple[Edit, ...] = ()
    killers: Mapping[str, str] = field(default_factory=dict)
    guarantee: str = ""
    zoo: str = ""  # the entries of the bug zoo that it re-enacts
    rewritten: Mapping[str, str] = field(default_factory=dict)  # whole files, if it is generated

    @property
    def generated(self) -> bool:
        return not self.guarantee

    def files(self, originals: Mapping[str, str]) -> dict[str, str]:
        """Return the texts of the files that it changes. Each edit must apply."""
        changed, failures = self.apply(originals)
        for edit, error in failures:
            raise EditError(f"{self.name}: {edit.place}: {error}")
        return changed

    def apply(
        self, originals: Mapping[str, str]
    ) -> tuple[dict[str, str], list[tuple[Edit, EditError]]]:
        """Apply its edits, each to the result of those before. Return those that fail as well."""
        changed = dict(self.rewritten)
        failures = []
        for edit in self.edits:
            try:
                if edit.file not in originals:
                    raise EditError("no such file")
                changed[edit.file] = edited(changed.get(edit.file, originals[edit.file]), edit)
            except EditError as error:
                failures.append((edit, error))
        return changed, failures

    def diff(self, originals: Mapping[str, str]) -> str:
        """Show its changes in the format of ``diff -u``."""
        lines: list[str] = []
        for file, text in self.files(originals).items():
            before, after = originals[file].splitlines(), text.splitlines()
            lines += difflib.unified_diff(before, after, file, file, lineterm="", n=2)
        return "\n".join(lines)


def sources(folder: Path = SOURCES) -> dict[str, str]:
    """Return the text of every file that a mutant may change, by its path in the package."""
    files = {file.relative_to(folder): file for file in sorted(folder.rglob("*.py"))}
    return {
        path.as_posix(): file.read_text(encoding="utf-8")
        for path, file in files.items()
        if path.parts[0] not in TOOLS or path.as_posix() == WALK
    }


def zoo(folder: Path = ROOT / "tests/concurrency") -> set[str]:
    """Return the entries of the bug zoo that the tests name, even if this pool cannot have them."""
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("test_bug_zoo*.py")]
    return {f"Z{number}" for number in re.findall(r"(?:_z|\bZ)(\d\d)(?!\d)", "".join(texts))}


class Ledger:
    """The contents of ``mutants.toml``."""

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
        """The pairs of guarantee and layer that can have no mutant, and why."""
        table = self.data.get("impossible", {})
        return {(name, layer): why for layer, names in table.items() for name, why in names.items()}

    @property
    def not_our_zoo(self) -> dict[str, str]:
        """The entries of the bug zoo that this pool cannot have, and why."""
        return dict(self.data.get("zoo", {}))

    @property
    def argued(self) -> list[str]:
        """The names of the generated mutants that are argued to be equivalent one by one."""
        return [name for entry in self.data.get("equivalent", ()) for name in entry["names"]]

    def equivalent(self, name: str) -> str:
        """Say why no checker can kill this generated mutant, or return an empty string."""
        for argued in self.data.get("equivalent", ()):
            if name in argued["names"]:
                return str(argued["why"])
        return self.ruled_out(name)

    def ruled_out(self, name: str) -> str:
        """Say the same if a rule covers the mutant. Such mutants do not run."""
        for rule in self.data.get("rule", ()):
            if re.search(rule["pattern"], name):
                return str(rule["why"])
        return ""


def complaints(ledger: Ledger, originals: Mapping[str, str]) -> list[str]:
    """Return all that is wrong with the ledger. No checker runs."""
    names = [mutant.name for mutant in ledger.mutants]
    wrong = [f"{name}: two entries" for name in sorted(set(names)) if names.count(name) > 1]
    for mutant in ledger.mutants:
        wrong += [*misplaced(mutant), *misfits(mutant, originals)]
    return [*wrong, *gaps(ledger)]


def misplaced(mutant: Mutant) -> Iterator[str]:
    """Say what is wrong with an entry apart from its edits."""
    files = {edit.file for edit in mutant.edits}
    if mutant.layer not in LAYERS:
        yield f"{mutant.name}: no layer {mutant.layer!r}"
    elif mutant.edits and not files.intersection(LAYERS[mutant.layer]):
        yield f"{mutant.name}: {', '.join(sorted(files))}: not of the layer {mutant.layer}"
    if not mutant.killers:
        yield f"{mutant.name}: no killers"
    if bool(mutant.edits) == (mutant.layer == "specification"):
        yield f"{mutant.name}: edits, but not of the specification, which BrokenPool.tla changes"


def misfits(mutant: Mutant, originals: Mapping[str, str]) -> Iterator[str]:
    """Say which edits do not apply, why, and what in the code resembles them."""
    for edit, error in mutant.apply(originals)[1]:
        lines = [f"{mutant.name}: {edit.place}: {error}: {' '.join(edit.old.split())!r}"]
        yield "\n    ".join([*lines, *hints(originals, edit)])


def gaps(ledger: Ledger) -> Iterator[str]:
    """Say where a mutant is missing, and where the ledger wrongly says that none can exist."""
    attacked = {(mutant.guarantee, mutant.layer) for mutant in ledger.mutants}
    cells = {(guarantee.name, layer) for guarantee in GUARANTEES for layer in LAYERS}
    of_rules = {(rule.name, layer) for rule in RULES for layer in LAYERS}  # they may be attacked
    for cell in sorted(cells | (attacked - of_rules) | {*ledger.impossible}):
        if cell not in cells or (cell in attacked) == (cell in ledger.impossible):
            yield f"{' '.join(cell)}: must have a mutant or a reason, and not both"
    enacted = {entry for mutant in ledger.mutants for entry in mutant.zoo.split()}
    for entry in sorted(zoo() | enacted | {*ledger.not_our_zoo}):
        if entry not in zoo() or (entry in enacted) == (entry in ledger.not_our_zoo):
            yield f"{entry}: must have a mutant or a reason, and not both"
