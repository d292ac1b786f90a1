"""The explorer as a checker of the assurance table: it explores all of ``proofs/scenarios``.

python -m proofs.schedules            all scenarios in two processes: half an hour
python -m proofs.schedules "retired"  one scenario, with its failure if there is one
python -m proofs.schedules --bugs     the machines with a bug, which it must find
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from nodetool.concurrency.testing import Exploration, explore
from nodetool.concurrency.testing._run import Mode
from proofs.inside import MACHINE, machine_in_new_pools
from proofs.places import places
from proofs.report import BY_NAME, Report, killed, spread
from proofs.scenarios.outside import MET
from proofs.scenarios.table import FOUND_IN, MEETS, MEETS_IN_PAIRS, PAIRS, SCENARIOS

__all__ = ["ALL", "explored", "result_of", "schedules"]

BARE = [
    replace(scenario, name=f"{scenario.name}, without observers", observed=False)
    for scenario in SCENARIOS
    if not scenario.large
]
ALL = {scenario.name: scenario for scenario in (*SCENARIOS, *PAIRS, *BARE)}
MOST = 100_000  # schedules; no small scenario has so many


class Found(NamedTuple):
    """The result of an exploration, in plain values."""

    name: str
    mode: Mode
    bug: str  # the machine's, if it has one
    schedules: int
    bound: str | None  # why the exploration stopped before its end
    said: str | None  # what is wrong


def result_of(name: str, mode: Mode = "events", bug: str = "") -> Exploration:
    """Explore a scenario, on the machine or on one with a bug.

    In events mode compare a sample of the runs with asyncio's own loop.
    """
    scenario = ALL[name]
    machine = BY_NAME[bug][1] if bug else MACHINE
    compared = 200 if mode == "events" and not bug else 0  # every 200th schedule
    MET.clear()
    with machine_in_new_pools(machine):
        most = scenario.large or MOST
        return explore(scenario, mode=mode, max_schedules=most, stock_every=compared)


def problem_of(result: Exploration, name: str, mode: Mode) -> str | None:
    """Say what is wrong with an exploration that has just ended, if anything is."""
    if (failure := result.failure) is not None:  # the message of the error may be empty
        lines = str(failure.error).splitlines()
        return next((line for line in lines if line.strip()), f"{failure.kind}: {failure.error!r}")
    if result.exhausted and mode == "events" and (missing := expected(name) - MET):
        return f"never met: {', '.join(sorted(missing))}"
    return None


def expected(name: str) -> set[str]:
    """Return the situations that all runs of a scenario must meet."""
    users = ALL[name].users if ALL[name] in PAIRS else ()
    return MEETS.get(name, set()) | {met for user, met in MEETS_IN_PAIRS.items() if user in users}


def explored(name: str, mode: Mode, bug: str) -> Found:
    """Explore a scenario in a process, and return what can be sent to another one."""
    result = result_of(name, mode, bug)
    said = problem_of(result, name, mode)
    return Found(name, mode, bug, result.schedules, result.bound, said)


def explorations() -> Iterator[Found]:
    """Explore every scenario in events mode, and the small ones in ready mode, too."""
    jobs: list[tuple[str, Mode, str]] = [(name, "events", "") for name in ALL]
    jobs += [(name, "ready", "") for name in small()]
    yield from spread(explored, jobs)


def small() -> list[str]:
    """List the scenarios that are explored with callbacks in any order, too."""
    return [s.name for s in SCENARIOS if len(s.users) == 2 and not s.faults and not s.large]


def bugs() -> Iterator[Found]:
    """Look for each machine with a bug in its scenario."""
    yield from spread(explored, [(name, "events", bug) for bug, name in FOUND_IN.items()])


def problems(found: Sequence[Found]) -> list[str]:
    """List what is wrong with explorations of the machine."""
    wrong = [f"{one.name}, {one.mode}: {one.said}" for one in found if one.said is not None]
    wrong += [
        f"{one.name} is not exhausted"
        for one in found
        if one.bound and one.mode == "events" and not ALL[one.name].large
    ]
    return wrong


def schedules() -> Report:
    """Explore everything, and look for all machines with a bug."""
    found, of_bugs = list(explorations()), list(bugs())
    wrong = problems(found)
    left = [f"{one.name} after {one.schedules:,}" for one in found if one.bound]
    caught = [one.bug for one in of_bugs if one.said is not None]
    wrong += [f"{bug} is not found" for bug in FOUND_IN if bug not in caught]
    in_events = sum(one.schedules for one in found if one.mode == "events")
    in_ready = sum(one.schedules for one in found if one.mode == "ready")
    message = next((one.said for one in of_bugs if one.bug == "ForgetsHandedOver"), "")
    stopped = f"; not exhausted, but stopped: {', '.join(left)}" if left else ""
    return Report(
        "schedules",
        f"every schedule of {len(SCENARIOS)} scenarios of two to four tasks and of {len(PAIRS)} "
        f"pairs of public calls, on the real pool, each step an edge of a frozen graph, a sample "
        f"repeated on the stock loop; {len(BARE)} also on a pool without observers; {len(small())} "
        f"also with callbacks in any order{stopped}; {len(caught)} machines with a bug found",
        {name: f"every schedule, {killed(name, caught)}" for name in places()["schedules"]},
        f"ForgetsHandedOver: {message}",
        wrong,
        f"schedules {in_events:,}, in ready mode {in_ready:,}; schedules that it took to find "
        + ", ".join(f"{one.bug} {one.schedules}" for one in of_bugs),
    )


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m proofs.schedules")
    parser.add_argument("names", nargs="*", metavar="SCENARIO")
    parser.add_argument("--bugs", action="store_true", help="look for the machines with a bug")
    options = parser.parse_args()
    if options.names:
        for name in options.names:
            result = result_of(name)
            print(result, flush=True)
            result.raise_for_failure(allow_bound=bool(ALL[name].large))
        return 0
    found = list(bugs() if options.bugs else explorations())
    if options.bugs:
        wrong = [f"{one.bug} is not found" for one in found if one.said is None]
    else:
        wrong = problems(found)
    total = sum(one.schedules for one in found)
    print(*wrong, f"{len(found)} explorations, {total:,} schedules", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
