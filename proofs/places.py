"""Where the guarantees are named: specification, predicates, and what each checker checks.

`differences` says where a guarantee is missing although it must be there, and where something is
named that is none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from nodetool.concurrency import _guarantees as predicate_module
from nodetool.concurrency._machine.contracts import CheckedMachine
from nodetool.concurrency._machine.counts import INVARIANTS
from nodetool.concurrency.verify._graph import FROZEN
from proofs import z3_induction
from proofs.broken_machines import BROKEN
from proofs.crosshair_script import SEEDED
from proofs.guarantees import GUARANTEES, Guarantee
from proofs.mutant_ledger import Ledger
from proofs.scenarios.table import FOUND_IN
from spec import manifest, tlc

__all__ = ["EMPTY", "PLACES", "ROOT", "contracts", "differences", "marked", "name_of", "places"]

ROOT = Path(__file__).parents[1]

PLACES = (
    "specification",
    "predicate",
    "TLC",
    "graph equality",
    "CrossHair",
    "Z3",
    "CrossHair search",
    "contracts",
    "Hypothesis",
    "schedules",
    "tests",
    "mutants",
)

# What is missing on purpose, and why.
NOT_NUMBERS = "It speaks of who, of order or of time, not of numbers."
BEYOND = "Order, age, trust and time are no part of the formulas."
EMPTY: dict[str, dict[str, tuple[str, ...]]] = {
    "CrossHair": {
        NOT_NUMBERS: (
            "SingleHolder",
            "NothingLost",
            "OnlyFitHandedOut",
            "ClosedExactlyOnce",
            "OneOutcome",
            "NoDoubleRelease",
            "FifoService",
            "FaultIsolation",
            "WaitersFailAtClose",
            "DeadlineKept",
            "RetireAllCompletes",
        ),
        "It follows from WaiterServed's state form, which is proved.": ("FailureFreesSlot",),
        "By Z3: CrossHair has no ranking.": ("CloseCompletes",),
    },
    "Z3": {
        BEYOND: (
            "OnlyFitHandedOut",
            "FifoService",
            "FaultIsolation",
            "DeadlineKept",
            "RetireAllCompletes",
        ),
        "It follows from WaiterServed's state form, which is proved.": ("FailureFreesSlot",),
    },
}

# What the proofs prove of a guarantee has a name of its own where it is a part or a form of it.
FORMS = {
    "TypeOK": "CountsAgree",
    "CreatingWithinLimit": "SizeWithinLimit",
    "NoLostWakeup": "WaiterServed",
    "FloorKept": "FloorRestored",
    "PhaseForward": "NothingAfterClose",
}


def name_of(proved: str) -> str:
    """The guarantee that something proved is, or is a form of."""
    plain = proved.removesuffix("Steps")
    return FORMS.get(plain, plain)


def specified(names: Iterable[str]) -> set[str]:
    """Which of them the specification defines, as a property of states, of steps or of runs."""
    text = (tlc.SPEC / "AsyncResourcePool.tla").read_text(encoding="utf-8")
    return set(re.findall(r"^(\w+?)(?:Steps)? ==", text, re.MULTILINE)).intersection(names)


def modelled(names: Mapping[str, str], *, frozen: bool) -> set[str]:
    """What some model checks; if frozen, one whose graph is compared with the machine's."""
    compared = (*FROZEN, "Refinement", "Serving", "Failing")  # which have the graphs of others
    return {
        names[code]
        for entry in manifest.read().values()
        if entry.verdict == "ok" and (not frozen or entry.name in compared)
        for code in entry.guards
    }


def predicates(names: Mapping[str, str]) -> set[str]:
    """What the named predicates state, by the codes at the head of their docstrings."""
    documented = [f.__doc__ or "" for f in vars(predicate_module).values() if callable(f)]
    codes = [match[0] for text in documented if (match := re.match(r"[SL]\d+", text))]
    return {names.get(code, code) for code in codes}


def contracts() -> dict[str, int]:
    """On how many steps the debug mode checks each guarantee; 0 means as an invariant, on all."""
    found: dict[str, int] = {}
    for step in vars(CheckedMachine).values():
        for contract in getattr(step, "__postconditions__", ()):
            found[contract.description] = found.get(contract.description, 0) + 1
    return found | {c.description: 0 for c in vars(CheckedMachine)["__invariants__"]}


@cache
def marked() -> dict[str, set[str]]:
    """The tests that are marked with each guarantee, parametrized ones once."""
    found: dict[str, set[str]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith(".guarantees"):
                    for name in mark.args:
                        tests = found.setdefault(ast.literal_eval(name), set())
                        tests.add(f"{file.name}::{node.name}")
    return found


def places() -> dict[str, set[str]]:
    """Where which guarantee is named."""
    names = {guarantee.code: guarantee.name for guarantee in GUARANTEES}
    found = {
        "specification": specified(names.values()),
        "predicate": predicates(names),
        "TLC": modelled(names, frozen=False),
        "graph equality": modelled(names, frozen=True),
        "CrossHair": {name_of(name) for name in INVARIANTS},
        "Z3": {name_of(name) for name in (*INVARIANTS, *z3_induction.names(), "CloseCompletes")},
        "CrossHair search": {named for _, named in SEEDED.values()},
        "contracts": set(contracts()),
        "Hypothesis": {guarantee for guarantee, _, _ in BROKEN},
        "schedules": {
            guarantee for guarantee, machine, _ in BROKEN if machine.__name__ in FOUND_IN
        },
        "tests": set(marked()),
        "mutants": {mutant.guarantee for mutant in Ledger().mutants},
    }
    return {place: found[place] for place in PLACES}


def differences(
    found: Mapping[str, set[str]], guarantees: Iterable[Guarantee] = GUARANTEES
) -> list[str]:
    """What is missing somewhere, and what is named somewhere although it is no guarantee."""
    wrong = []
    known = [guarantee.name for guarantee in guarantees]
    for place, names in found.items():
        empty = {name for some in EMPTY.get(place, {}).values() for name in some}
        wrong += [f"{name} is missing: {place}" for name in known if name not in names | empty]
        wrong += [f"{name} is none: {place}" for name in sorted(names.difference(known))]
        wrong += [f"{name} is there after all: {place}" for name in sorted(names & empty)]
    return wrong
