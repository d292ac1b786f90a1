"""Explore all scenarios of the second semantics, and machines with a bug, which it must find.

python -m proofs.second_schedules            all scenarios in two processes: half an hour
python -m proofs.second_schedules "retired"  one scenario, with its failure if there is one
python -m proofs.second_schedules --bugs     the machines with a bug
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace

from nodetool.concurrency.testing import Exploration, explore
from nodetool.concurrency.testing._run import Mode
from proofs.inside import second_machine_in_new_pools
from proofs.report import spread
from proofs.scenarios.outside import MET
from proofs.scenarios.second import SecondScenario
from proofs.scenarios.second_table import FOUND_IN, MEETS, PAIRS, SCENARIOS
from proofs.second_broken import BROKEN

__all__ = ["ALL", "MACHINES", "explored", "found", "schedules"]

BARE = [
    replace(scenario, name=f"{scenario.name}, without observers", observed=False)
    for scenario in SCENARIOS
]
ALL = {scenario.name: scenario for scenario in (*SCENARIOS, *PAIRS, *BARE)}
MACHINES = {machine.__name__: machine for _, machine, _ in BROKEN}
MOST = 100_000  # schedules; no scenario has so many


def explored(scenario: SecondScenario, mode: Mode = "events", most: int = MOST) -> Exploration:
    """Explore a scenario. In events mode compare a sample of the runs with asyncio's own loop."""
    MET.clear()
    compared = 200 if mode == "events" else 0
    return explore(scenario, mode=mode, max_schedules=most, stock_every=compared)


def found(bug: str, scenario: str) -> Exploration:
    """Explore a scenario on a machine with a bug."""
    with second_machine_in_new_pools(MACHINES[bug]):
        return explore(ALL[scenario], max_schedules=MOST)


def problem_of(result: Exploration, name: str, mode: Mode) -> str:
    """Say what is wrong with an exploration, or return nothing."""
    if result.failure is not None:
        lines = str(result.failure.error).splitlines()
        said = next((line for line in lines if line.strip()), repr(result.failure.error))
        return f"{result.failure.kind}: {said}"
    if not result.exhausted:
        return f"not exhausted: {result.bound}"
    missing = MEETS.get(name, set()) - MET if mode == "events" else set()
    return f"never met: {', '.join(sorted(missing))}" if missing else ""


def explored_job(name: str, mode: Mode) -> tuple[str, Mode, int, str]:
    """Explore a scenario in a process. Return the number of schedules, and what is wrong."""
    result = explored(ALL[name], mode)
    return name, mode, result.schedules, problem_of(result, name, mode)


def found_job(bug: str, scenario: str) -> tuple[str, str, int, str]:
    """Look for a bug in a process. Return the number of schedules, and what is wrong."""
    result = found(bug, scenario)
    return bug, scenario, result.schedules, "" if result.failure is not None else "not found"


def schedules() -> Iterator[tuple[str, str, int, str]]:
    """Explore everything. Yield a name, a mode, the number of schedules, and what is wrong."""
    small = [s.name for s in SCENARIOS if len(s.users) == 2 and not s.faults]
    jobs: list[tuple[str, Mode]] = [(name, "events") for name in ALL]
    jobs += [(name, "ready") for name in small]
    yield from spread(explored_job, jobs)


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m proofs.second_schedules")
    parser.add_argument("names", nargs="*", metavar="SCENARIO")
    parser.add_argument("--bugs", action="store_true", help="look for the machines with a bug")
    options = parser.parse_args()
    if options.names:
        for name in options.names:
            result = explored(ALL[name])
            print(result, flush=True)
            result.raise_for_failure()
        return 0
    results = list(spread(found_job, FOUND_IN.items()) if options.bugs else schedules())
    wrong = [f"{name}, {other}: {said}" for name, other, _, said in results if said]
    total = sum(number for _, _, number, _ in results)
    print(*wrong, f"{len(results)} explorations, {total:,} schedules", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
