"""The checks that examine a mutant, in a process of its own that `mutants` starts.

    python -m proofs.mutant_checks FOLDER STOP CHECK...

FOLDER is a copy of the project with the mutant in it. If the process does not import the pool from
there, it ends at once. The process prints the verdict of each check as a line of JSON. The verdict
is empty if the check finds nothing, otherwise a short text. If STOP is "1", the process ends with
the first find.

    TLC BrokenDoubleRelease     the property that TLC refutes
    graph Wide                  the side that alone has an edge, and its action; or the output that
                                does not fit the step, or the failure
    graph Wide KeepsLeaseMark   the same for a machine with a bug of its own
    contents Lowering           the same, if worlds are told apart by all that the machine keeps
    counts graph                the same for the counting model
    crosshair Close             the invariant that the claim violates, according to CrossHair
    z3 numbers Close            the rules that the event breaks, according to Z3
    contracts Wide              the guarantee or rule that random steps of the checked machine break
    contracts Wide HandsToTwo SingleHolder    the same for a machine with a bug of its own, with the
                                contracts of one guarantee only
    tests FILE::TEST            the message of the first test that fails
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

from proofs.mutant_ledger import sources

__all__ = ["CHECKS", "PACKAGE", "digests", "found"]

PACKAGE = "nodetool.concurrency"
MEMORY = 3 << 30  # bytes that a check may allocate, because a mutant may allocate without end


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """Import the pool, which must be in the folder. Return a digest of each of its files."""
    pool = Path(str(importlib.import_module(PACKAGE).__file__)).parent
    if pool.resolve() != (folder / "src" / PACKAGE.replace(".", "/")).resolve():
        raise ImportError(f"the pool was imported from {pool}, not from {folder}")
    imported = {}
    for file in sources(pool):
        if file != "__init__.py":
            name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            module = importlib.import_module(f"{PACKAGE}.{name}")
            imported[file] = digest(Path(str(module.__file__)))
    return imported


def failed(error: BaseException) -> str:
    """Return the verdict on a machine that raises an unexpected error."""
    return f"crash: {type(error).__name__}"


def first_word(error: BaseException) -> str:
    """Return the action that an error of the walk begins with."""
    return str(error).split()[0]


def wrong_output(error: BaseException) -> str:
    """Return the action of a wrong output, and the first predicate that does not hold."""
    predicate = re.search(r": (\w+) (?:and|does not hold)", str(error))
    return f"output: {first_word(error).rstrip(':')}, {predicate[1] if predicate else 'nothing'}"


def machine_with(bug: str) -> Any:
    """Return the machine, or one with a bug of its own."""
    from nodetool.concurrency._machine.machine import PoolMachine
    from proofs import broken_machines

    return getattr(broken_machines, bug) if bug else PoolMachine


def tlc(model: str) -> str:
    from spec import manifest, tlc

    verdict = tlc.run(model, manifest.read()[model].module).verdict
    return "" if verdict == "ok" else verdict


def graph(what: str, **by: Any) -> str:
    from nodetool.concurrency.verify._graph import Graph
    from nodetool.concurrency.verify._walk import OutputError, RefusalError, compare

    model, bug = [*what.split(), ""][:2]
    try:
        said = compare(Graph.frozen(model), machine_with(bug), **by).problem
    except RefusalError as error:
        return f"refusal: {first_word(error)}"
    except OutputError as error:
        return wrong_output(error)
    except Exception as error:
        return failed(error)
    if not said:
        return ""
    head, *_ = said.splitlines()
    side = re.match(r"only the (machine|specification) allows: .*?(\w+)$", head)
    return f"only the {side[1]}: {side[2]}" if side else re.sub(r"State\(.*", "another state", head)


def contents(what: str) -> str:
    from nodetool.concurrency.verify._walk import by_contents

    return graph(what, key=by_contents)


def counts_graph(_: str) -> str:
    """Compare the steps from each frozen state. The graph of a mutant may be infinite."""
    from nodetool.concurrency.verify._graph import limits_of
    from proofs.counts_graph import ACTION, CountsGraph, successors

    frozen = CountsGraph.load()
    sizes = limits_of(frozen.constants)
    for counts, leaving in frozen.edges.items():
        try:
            found = successors(frozen.limits, sizes, counts)
            theirs = {(ACTION[event], after) for event, after in found}
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


def z3(event: str) -> str:
    from nodetool.concurrency._machine.counts import Event, transition
    from proofs.z3_counts import violations

    try:
        return ", ".join(violations(Event(event), transition))
    except Exception as error:
        return failed(error)


def contracts(what: str) -> str:
    """Return the guarantee or the rule of the first contract that random steps break."""
    from nodetool.concurrency._machine.contracts import GuaranteeViolationError, checked
    from proofs.one_contract import only

    model, bug, guarantee = [*what.split(), "", ""][:3]
    machine = checked(machine_with(bug))
    try:
        with only(guarantee):
            random_steps(model, machine, bug)
    except GuaranteeViolationError as error:
        return str(re.findall(r" broke (\w+):", str(error))[0])
    except Exception as error:
        return failed(error)
    return ""


def random_steps(model: str, machine: Any, bug: str) -> None:
    """Take random steps. A walk of a machine with a bug may end early, because others follow."""
    from nodetool.concurrency._machine.contracts import GuaranteeViolationError
    from nodetool.concurrency.verify._graph import Graph
    from proofs.random_moves import random_walks

    constants = Graph.frozen(model).constants
    for walk in random_walks(constants, machine, 400 if bug else 60):
        try:
            for _ in walk:
                pass
        except GuaranteeViolationError:
            raise
        except Exception:
            if not bug:
                raise


class FirstFailure:
    """The message of pytest about the first test that fails."""

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
    except Exception as error:  # since a warning about a leftover of the pool is an error
        end = failed(error)
    return first.said or ("" if end == "pytest: 0" else end)


CHECKS: dict[str, Callable[[str], str]] = {
    "TLC": tlc,
    "graph": graph,
    "contents": contents,
    "counts graph": counts_graph,
    "crosshair": crosshair,
    "z3 numbers": z3,
    "contracts": contracts,
    "tests": tests,
}


def found(check: str) -> str:
    """Run a check in this process, and return its verdict."""
    kind = next(kind for kind in CHECKS if check == kind or check.startswith(f"{kind} "))
    return CHECKS[kind](check.removeprefix(kind).strip())


def main() -> None:
    import resource

    folder, stop, *checks = sys.argv[1:]
    if not any(check.startswith("TLC") for check in checks):  # because Java reserves more
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    verdicts, sys.stdout = sys.stdout, sys.stderr  # because checks may print as well

    def write(**line: object) -> None:
        print(json.dumps(line), file=verdicts, flush=True)

    try:
        write(imported=digests(Path(folder)))
    except Exception as error:
        write(check="import", found=f"{failed(error)}: {error}")
        return
    for check in checks:
        try:
            said = found(check)
        except Exception as error:
            said = failed(error)
        write(check=check, found=said)
        if said and stop == "1":
            return


if __name__ == "__main__":
    main()
