"""The places where a guarantee's name must stand: specification, predicates and each checker.

`differences` lists the guarantees and rules that are missing in a place, and unknown names. A rule
must stand in fewer places than a guarantee, and may stand in all of them.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from nodetool.concurrency._machine.contracts import checked
from nodetool.concurrency._machine.counts import INVARIANTS
from nodetool.concurrency._machine.guarantees import EVERY_STEP, STATE_PREDICATES, STEP_PREDICATES
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency.verify._graph import FROZEN
from proofs import z3_choices, z3_claims, z3_counts
from proofs.broken_machines import BROKEN
from proofs.crosshair_script import SEEDED
from proofs.guarantees import GUARANTEES, RULES, Guarantee
from proofs.mutant_ledger import Ledger
from proofs.scenarios.table import FOUND_IN
from spec import manifest, tlc

__all__ = [
    "EMPTY",
    "PLACES",
    "ROOT",
    "RULE_PLACES",
    "contracts",
    "differences",
    "documented",
    "marked",
    "name_of",
    "places",
    "proved",
]

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

RULE_PLACES = ("specification", "predicate", "TLC", "graph equality", "contracts", "Hypothesis")
"""The places where a rule must stand. In the others it may stand."""

# The guarantees and rules that are missing on purpose, and the reasons.
NOT_NUMBERS = "It is about identity, order or time, not about numbers."
STATISTICS = "It is about statistics, which are no part of the specification's states."
EMPTY: dict[str, dict[str, tuple[str, ...]]] = {
    "specification": {STATISTICS: ("OneReason",)},
    "TLC": {STATISTICS: ("OneReason",)},
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
        "By Z3: CrossHair has no ranking.": ("CloseCompletes", "ShrinkCompletes"),
    },
    "Z3": {
        "By TLC: it is about runs in which nothing else ever happens.": ("DeadlineKept",),
        "By TLC. RetiredStaysRetired, which is proved, is its part about steps.": (
            "RetireAllCompletes",
        ),
    },
}

# The names of proved properties that are a part or a form of a guarantee.
FORMS = {
    "TypeOK": "CountsAgree",
    "CreatingWithinLimit": "SizeWithinLimit",
    "NoLostWakeup": "WaiterServed",
    "FloorKept": "FloorRestored",
    "PhaseForward": "NothingAfterClose",
}

SAME_GRAPHS = ("Serving", "Deadline")  # models with the constants, and so the graph, of Ending


def name_of(proved: str) -> str:
    """Name the guarantee that a proved property is, or is a form of."""
    plain = proved.removesuffix("Steps")
    return FORMS.get(plain, plain)


def proved() -> set[str]:
    """List the guarantees and rules that Z3 proves, of the numbers or of the identities."""
    of_choices = [re.match(r"Claim ([A-Z]\w+):", f.__doc__ or "") for f in z3_choices.CLAIMS]
    names = (*z3_counts.RULES, *z3_claims.POOL.names(), *(m[1] for m in of_choices if m))
    return {name_of(name) for name in names}


def specified(names: Iterable[str]) -> set[str]:
    """List the names that the specification defines, as properties of states, steps or runs."""
    text = (tlc.SPEC / "AsyncResourcePool.tla").read_text(encoding="utf-8")
    return set(re.findall(r"^(\w+?)(?:Steps)? ==", text, re.MULTILINE)).intersection(names)


def modelled(names: Mapping[str, str], *, frozen: bool) -> set[str]:
    """List the guarantees that a model checks: any model, or one that has a frozen graph."""
    compared = (*FROZEN, *SAME_GRAPHS)
    return {
        names[code]
        for entry in manifest.read().values()
        if entry.verdict == "ok" and (not frozen or entry.name in compared)
        for code in entry.guards
    }


def documented() -> list[tuple[str, str]]:
    """List for each predicate the guarantee of the tables and the code in its docstring."""
    of_steps = [pair for pairs in STEP_PREDICATES.values() for pair in pairs]
    return [
        (name, match[1] if (match := re.match(r"Check ([SLR]\d+)\b", f.__doc__ or "")) else "")
        for name, f in (*STATE_PREDICATES, *EVERY_STEP, *of_steps)
    ]


def predicates(names: Mapping[str, str]) -> set[str]:
    """List the guarantees that the predicates state, by the codes in their docstrings."""
    return {names.get(code, code) for _, code in documented()}


def contracts() -> dict[str, int]:
    """Count the steps on which debug mode checks each guarantee. An invariant counts for all."""
    machine, steps = vars(checked()), actions(PoolMachine)
    found: Counter[str] = Counter()
    for method in steps:
        found.update({c.description for c in getattr(machine[method], "__postconditions__", ())})
    return found | {c.description: len(steps) for c in machine["__invariants__"]}


@cache
def marked() -> dict[str, set[str]]:
    """List the tests that are marked with each guarantee. A parametrized test counts once."""
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
    """List the guarantees and rules that are named in each place. Each caller gets its own sets."""
    return {place: set(names) for place, names in read_places().items()}


@cache
def read_places() -> dict[str, set[str]]:
    """Read the files of all places, once for each process."""
    names = {one.code: one.name for one in (*GUARANTEES, *RULES)}
    broken = {guarantee for guarantee, _, _ in BROKEN}
    found = {
        "specification": specified(names.values()),
        "predicate": predicates(names),
        "TLC": modelled(names, frozen=False),
        "graph equality": modelled(names, frozen=True) | broken,
        "CrossHair": {name_of(name) for name in INVARIANTS},
        "Z3": proved(),
        "CrossHair search": {named for _, named in SEEDED.values()},
        "contracts": set(contracts()),
        "Hypothesis": broken,
        "schedules": {
            guarantee for guarantee, machine, _ in BROKEN if machine.__name__ in FOUND_IN
        },
        "tests": set(marked()) | broken,
        "mutants": {mutant.guarantee for mutant in Ledger().mutants},
    }
    return {place: found[place] for place in PLACES}


def differences(
    found: Mapping[str, set[str]],
    guarantees: Iterable[Guarantee] = GUARANTEES,
    rules: Iterable[Guarantee] = RULES,
) -> list[str]:
    """List the guarantees and rules that are missing in a place, and unknown names."""
    wrong = []
    asked = [one.name for one in guarantees]
    every = [*asked, *(rule.name for rule in rules)]
    for place, names in found.items():
        empty = {name for some in EMPTY.get(place, {}).values() for name in some}
        known = every if place in RULE_PLACES else asked
        wrong += [f"{name} is missing: {place}" for name in known if name not in names | empty]
        wrong += [f"{name} is no guarantee: {place}" for name in sorted(names.difference(every))]
        wrong += [
            f"{name} is in a place that says that it is missing: {place}"
            for name in sorted(names & empty)
        ]
    return wrong
