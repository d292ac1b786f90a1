"""The explorer as a checker of the assurance table: it explores all of ``proofs/scenarios``."""

from __future__ import annotations

from dataclasses import replace

from nodetool.concurrency.testing import explore
from nodetool.concurrency.testing._run import Mode
from proofs.inside import MACHINE, machine_in_new_pools
from proofs.places import places
from proofs.report import BY_NAME, Report, killed, spread
from proofs.scenarios.table import FOUND_IN, PAIRS, SCENARIOS

__all__ = ["schedules"]

BARE = [
    replace(scenario, name=f"{scenario.name}, without observers", observed=False)
    for scenario in SCENARIOS
    if not scenario.large
]
ALL = {scenario.name: scenario for scenario in (*SCENARIOS, *PAIRS, *BARE)}
MOST = 50_000  # schedules; no small scenario has so many


Found = tuple[str, Mode, str, int, str | None, str | None]


def explored(name: str, mode: Mode, bug: str) -> Found:
    """Explore a scenario, on the machine or on one with a bug, and return the first failure."""
    machine = BY_NAME[bug][1] if bug else MACHINE
    with machine_in_new_pools(machine):
        scenario = ALL[name]
        most = scenario.large or MOST
        compared = 200 if mode == "events" and not bug else 0  # every 200th schedule
        result = explore(scenario, mode=mode, max_schedules=most, stock_every=compared)
    said = None
    if (failure := result.failure) is not None:  # the message of the error may be empty
        lines = str(failure.error).splitlines()
        said = next((line for line in lines if line.strip()), f"{failure.kind}: {failure.error!r}")
    return name, mode, bug, result.schedules, result.bound, said


def schedules() -> Report:
    """Explore every scenario in events mode, and the small ones in ready mode, too."""
    small = [s.name for s in SCENARIOS if len(s.users) == 2 and not s.faults and not s.large]
    jobs: list[tuple[str, Mode, str]] = [(name, "events", "") for name in ALL]
    jobs += [(name, "ready", "") for name in small]
    found = list(spread(explored, jobs))
    bugs = list(spread(explored, [(name, "events", bug) for bug, name in FOUND_IN.items()]))
    wrong = [f"{name}, {mode}: {said}" for name, mode, _, _, _, said in found if said is not None]
    left = [f"{name} after {number:,}" for name, _, _, number, bound, _ in found if bound]
    wrong += [
        f"{name} is not exhausted"
        for name, mode, _, _, bound, _ in found
        if bound and mode == "events" and not ALL[name].large
    ]
    caught = [bug for _, _, bug, _, _, said in bugs if said is not None]
    wrong += [f"{bug} is not found" for bug in FOUND_IN if bug not in caught]
    in_events = sum(number for _, mode, _, number, _, _ in found if mode == "events")
    in_ready = sum(number for _, mode, _, number, _, _ in found if mode == "ready")
    message = next((said for _, _, bug, _, _, said in bugs if bug == "ForgetsHandedOver"), "")
    stopped = f"; not exhausted, but stopped: {', '.join(left)}" if left else ""
    return Report(
        "schedules",
        f"every schedule of {len(SCENARIOS)} scenarios of two to four tasks and of {len(PAIRS)} "
        f"pairs of public calls, on the real pool, each step an edge of a frozen graph, a sample "
        f"repeated on the stock loop; {len(BARE)} also on a pool without observers; {len(small)} "
        f"also with callbacks in any order{stopped}; {len(caught)} machines with a bug found",
        {name: f"every schedule, {killed(name, caught)}" for name in places()["schedules"]},
        f"ForgetsHandedOver: {message}",
        wrong,
        f"schedules {in_events:,}, in ready mode {in_ready:,}; schedules that it took to find "
        + ", ".join(f"{bug} {n}" for _, _, bug, n, _, _ in bugs),
    )
