"""The report of a trial of a user's resource: its activity, and whether every rule held."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ._outside import Outside
from ._resource import Load, Phase
from ._users import CANCELLED_IN

MOST_SHOWN = 5


class Check(NamedTuple):
    """A rule, and whether it held."""

    name: str
    holds: bool
    detail: str


GROUPS = {  # of counts, by the name of the row
    "leases": (
        *("acquired", "released", "discarded", "interrupted", "detached", "forgotten"),
        "bodies that raised",
    ),
    "failed acquires": ("timeouts", "error of a creation", "pool closed"),
    "pools": ("prunes", "retirements of all", "resizes", "second releases refused"),
    "resources": ("made", "created", "closed"),
    "users cancelled": (
        "cancelled in the body",
        "cancelled while giving back",
        *(f"cancelled {at}" for at in CANCELLED_IN.values()),
    ),
}


def list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def list_activity(phases: list[Phase]) -> list[tuple[str, str]]:
    """Return rows with the counts of all calls, injected faults and other failures."""
    counts, faults, own = Counter[str](), Counter[str](), Counter[str]()
    for phase in phases:
        counts += phase.outside.counts
        faults += phase.outside.faults
        own += Counter({name: len(errors) for name, errors in phase.outside.own.items()})
    rows = [
        (group, list_counts(Counter({name: counts[name] for name in names})))
        for group, names in GROUPS.items()
    ]
    faults = Counter(dict(sorted(faults.items())))
    return [*rows, ("faults injected", list_counts(faults)), ("failed by itself", list_counts(own))]


def checks(phases: list[Phase], load: Load) -> list[Check]:
    """Evaluate every rule."""
    outsides = [phase.outside for phase in phases]
    most = max(outside.most for outside in outsides)
    made = sum(outside.counts["made"] for outside in outsides)
    closed = sum(outside.counts["closed"] for outside in outsides)
    closed_twice = sum(outside.counts["closed once more"] for outside in outsides)
    alive = sum(len(outside.living) + len(outside.ours) for outside in outsides)
    leases = sum(outside.counts["acquired"] for outside in outsides)
    failed = [error for outside in outsides for error in outside.own.get("closer", [])]
    problems = [problem for outside in outsides for problem in outside.problems]
    differences = [text for phase in phases for text in phase.disagreements()]
    leftover_tasks = [text for phase in phases for text in phase.leftover_tasks]
    samples = sum(phase.samples for phase in phases)
    return [
        Check("the pool was used", leases > 0, f"{leases:,} leases"),
        Check(
            "never above max_size",
            most <= load.max_size,
            f"at most {most} of {load.max_size} lived at once, counted outside of the pool",
        ),
        Check(
            "closed exactly once",
            made == closed and not closed_twice and not alive,
            f"{made:,} made, {closed:,} closed, {closed_twice or 'none'} twice, {alive} left",
        ),
        check_functions(outsides),
        Check("no closer failed by itself", not failed, list_some(list(map(repr, failed)))),
        Check(
            "stats() agree",
            not differences,
            list_some(differences)
            if differences
            else f"at the end of each phase, and {samples:,} times in between",
        ),
        Check("no task left behind", not leftover_tasks, list_some(leftover_tasks)),
        Check("nothing else went wrong", not problems, list_some(problems)),
    ]


def check_functions(outsides: list[Outside]) -> Check:
    """Evaluate the rule that each function succeeds at least as often as it fails.

    If a function nearly always fails, the other rules were hardly tested.
    """
    successes, failures = Counter[str](), Counter[str]()
    for outside in outsides:
        successes += outside.well
        failures += Counter({name: len(errors) for name, errors in outside.own.items()})
    names = sorted(successes | failures)
    detail = ", ".join(
        f"{name} {successes[name]:,} of {successes[name] + failures[name]:,}" for name in names
    )
    holds = all(failures[name] <= successes[name] for name in names)
    return Check("the resource itself worked", holds, detail)


def list_some(texts: list[str]) -> str:
    """Return the number of texts, and the first few of them."""
    return "\n    ".join([f"{len(texts)}", *texts[:MOST_SHOWN]])
