"""The checkers that a mutant is shown to, in a process of its own; `mutants` starts that.

    python -m proofs.mutant_checks FOLDER STOP CHECK...

FOLDER is a copy of the project with the mutant in it, and the process must import the pool from
there, or it ends at once. A line of JSON for each check says what was found: nothing if all is
well, else what is wrong, short enough to be compared. With STOP "1" it ends at the first find.

    TLC BrokenDoubleRelease     the property that TLC refutes
    graph Wide                  who alone has an edge, and the action; or how the machine failed
    counts graph                the same of the counting model
    crosshair Close             the invariant that CrossHair sees violated by the claim
    z3 agreement                the event or invariant in which the code is not as the formulas say
    contracts Wide              the guarantee that random steps of the checked machine break
    contracts Wide HandsToTwo SingleHolder    the same, of a machine with a bug of its own, and of
                                the contracts of one guarantee alone
    tests FILE::TEST            what pytest says of the first test that fails
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["CHECKS", "PACKAGE", "digests", "found"]

PACKAGE = "nodetool.concurrency"
MEMORY = 3 << 30  # bytes that a check may take; a mutant may never stop taking more


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """What this process imports as the pool: a digest of each file, which must be in the folder."""
    home = Path(str(importlib.import_module(PACKAGE).__file__)).parent
    if home.resolve() != (folder / "src" / PACKAGE.replace(".", "/")).resolve():
        raise ImportError(f"the pool was imported from {home}, not from {folder}")
    names = [file.stem for file in sorted(home.glob("*.py")) if file.stem != "__init__"]
    modules = [importlib.import_module(f"{PACKAGE}.{name}") for name in names]
    return {Path(str(m.__file__)).name: digest(Path(str(m.__file__))) for m in modules}


def failed(error: BaseException) -> str:
    """What is said of a machine that fails in a way that no pool should."""
    return f"crash: {type(error).__name__}"


def tlc(model: str) -> str:
    from spec import manifest, tlc

    verdict = tlc.run(model, manifest.read()[model].module).verdict
    return "" if verdict == "ok" else verdict


def graph(model: str) -> str:
    from nodetool.concurrency.verify._graph import Graph
    from nodetool.concurrency.verify._walk import RefusalError, first_difference

    try:
        said = first_difference(Graph.frozen(model))
    except RefusalError as error:
        action = re.match(r"\('(\w+)'", str(error))
        return f"refusal: {action[1] if action else error}"
    except Exception as error:
        return failed(error)
    if said is None:
        return ""
    head, *_ = said.splitlines()
    told = re.match(r"the (machine|specification) allows, .*?(\w+)$", head)
    return f"only the {told[1]}: {told[2]}" if told else re.sub(r"State\(.*", "another state", head)


def counts_graph(_: str) -> str:
    """Not the whole graph, which may have no end: the steps from each state that it must have."""
    from nodetool.concurrency._counts import transition
    from proofs.counts_graph import CountsGraph
    from proofs.counts_graph import _steps as steps

    frozen = CountsGraph.load()
    for counts, leaving in frozen.edges.items():
        try:
            theirs = steps(counts, frozen.limits, transition)
        except Exception as error:
            return failed(error)
        for who, only in (("code", theirs - leaving), ("specification", leaving - theirs)):
            if only:
                return f"only the {who}: {min(action for action, _ in only)}"
    return ""


def crosshair(claim: str) -> str:
    from proofs.crosshair_run import examine

    said = examine(claim).found
    return "" if said == "CONFIRMED" else said.split(":")[0]


def z3(_: str) -> str:
    from proofs.z3_agreement import agreement

    try:
        result = agreement(200)
    except Exception as error:
        return failed(error)
    return "" if result.ok else result.figure.split(" of ")[0]


def contracts(what: str) -> str:
    """The first contract that breaks in random steps, as debug mode names it."""
    from nodetool.concurrency._contracts import CheckedMachine, GuaranteeViolationError
    from proofs import broken_machines, mutant_machines
    from proofs.one_contract import only

    model, bug, guarantee = [*what.split(), "", ""][:3]
    machine: Any = CheckedMachine
    if bug:
        home = mutant_machines if bug in mutant_machines.__all__ else broken_machines
        machine = type("Checked", (CheckedMachine, getattr(home, bug)), {})
    try:
        with only(guarantee):
            random_steps(model, machine, 400 if bug else 60)
    except GuaranteeViolationError as error:
        return str(re.findall(r" broke (\w+):", str(error))[0])
    except Exception as error:
        return failed(error)
    return ""


def random_steps(model: str, machine: Any, seeds: int) -> None:
    from nodetool.concurrency.verify._graph import Graph
    from nodetool.concurrency.verify._walk import World
    from proofs.random_moves import random_moves

    constants = Graph.frozen(model).constants
    for seed in range(seeds):
        for _ in random_moves(World(constants, machine), seed):
            pass


class FirstFailure:
    """What pytest says of the first test that fails."""

    def __init__(self) -> None:
        self.said = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.said:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = crash.message if crash else str(report.longrepr)
            self.said = f"{report.nodeid.rpartition('/')[2]}: {' '.join(said.split())[:300]}"

    def pytest_collectreport(self, report: Any) -> None:
        self.pytest_runtest_logreport(report)


def tests(what: str) -> str:
    import pytest

    first = FirstFailure()
    command = ["-q", "-x", "-p", "no:cacheprovider", *what.split()]
    try:
        end = f"pytest: {int(pytest.main(command, plugins=[first]))}"
    except Exception as error:  # of what a pool leaves behind
        end = failed(error)
    return first.said or ("" if end == "pytest: 0" else end)


CHECKS: dict[str, Callable[[str], str]] = {
    "TLC": tlc,
    "graph": graph,
    "counts graph": counts_graph,
    "crosshair": crosshair,
    "z3 agreement": z3,
    "contracts": contracts,
    "tests": tests,
}


def found(check: str) -> str:
    """What a check finds, in this process; nothing if all is well."""
    kind = next(kind for kind in CHECKS if check == kind or check.startswith(f"{kind} "))
    return CHECKS[kind](check.removeprefix(kind).strip())


def main() -> None:
    import resource

    folder, stop, *checks = sys.argv[1:]
    if not any(check.startswith("TLC") for check in checks):  # Java reserves more
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    told, sys.stdout = sys.stdout, sys.stderr  # what a check prints is not what it finds

    def tell(**what: object) -> None:
        print(json.dumps(what), file=told, flush=True)

    try:
        tell(imported=digests(Path(folder)))
    except Exception as error:
        tell(check="import", found=f"{failed(error)}: {error}")
        return
    for check in checks:
        try:
            said = found(check)
        except Exception as error:
            said = failed(error)
        tell(check=check, found=said)
        if said and stop == "1":
            return


if __name__ == "__main__":
    main()
