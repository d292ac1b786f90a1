"""What a trial of a user's resource did, and whether everything held."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ._outside import Outside
from ._resource import Load, Phase
from ._users import AT

MOST_SHOWN = 5


class Check(NamedTuple):
    """Something that must hold."""

    name: str
    holds: bool
    detail: str


GROUPS = {  # of what was counted
    "leases": ("acquired", "released", "discarded", "detached", "bodies that raised"),
    "acquirers told": ("timeouts", "told a failed creation", "told that it closes"),
    "pools": ("prunes", "retirements of all", "second releases refused"),
    "resources": ("made", "created", "closed"),
    "users cancelled": ("cancelled in the body", *(f"cancelled {at}" for at in AT.values())),
}


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in counts.items()) or "none"


def done(phases: list[Phase]) -> list[tuple[str, str]]:
    """What was done, and what was done to it on purpose."""
    counts, faults, own = Counter[str](), Counter[str](), Counter[str]()
    for phase in phases:
        counts += phase.outside.counts
        faults += phase.outside.faults
        own += Counter({name: len(errors) for name, errors in phase.outside.own.items()})
    rows = [
        (group, listed(Counter({name: counts[name] for name in names})))
        for group, names in GROUPS.items()
    ]
    faults = Counter(dict(sorted(faults.items())))
    return [*rows, ("faults injected", listed(faults)), ("failed by itself", listed(own))]


def checks(phases: list[Phase], load: Load) -> list[Check]:
    """What must hold, and whether it does."""
    outsides = [phase.outside for phase in phases]
    most = max(outside.most for outside in outsides)
    made = sum(outside.counts["made"] for outside in outsides)
    closed = sum(outside.counts["closed"] for outside in outsides)
    again = sum(outside.counts["closed once more"] for outside in outsides)
    alive = sum(len(outside.living) + len(outside.ours) for outside in outsides)
    leases = sum(outside.counts["acquired"] for outside in outsides)
    failed = [error for outside in outsides for error in outside.own.get("closer", [])]
    problems = [problem for outside in outsides for problem in outside.problems]
    differences = [text for phase in phases for text in phase.disagreements()]
    left = [text for phase in phases for text in phase.left]
    looks = sum(phase.looks for phase in phases)
    return [
        Check("it was used", leases > 0, f"{leases:,} leases"),
        Check(
            "never above max_size",
            most <= load.max_size,
            f"at most {most} of {load.max_size} lived at once, counted outside of the pool",
        ),
        Check(
            "closed exactly once",
            made == closed and not again and not alive,
            f"{made:,} made, {closed:,} closed, {again or 'none'} twice, {alive} left",
        ),
        worked(outsides),
        Check("no closer failed by itself", not failed, some(list(map(repr, failed)))),
        Check(
            "stats() agree",
            not differences,
            some(differences) if differences else f"at the ends, and at {looks:,} looks between",
        ),
        Check("no task left behind", not left, some(left)),
        Check("nothing else went wrong", not problems, some(problems)),
    ]


def worked(outsides: list[Outside]) -> Check:
    """A pool of what fails nearly always shows nothing: each function must work more often."""
    well, badly = Counter[str](), Counter[str]()
    for outside in outsides:
        well += outside.well
        badly += Counter({name: len(errors) for name, errors in outside.own.items()})
    names = sorted(well | badly)
    detail = ", ".join(f"{name} {well[name]:,} of {well[name] + badly[name]:,}" for name in names)
    return Check("the resource itself worked", all(badly[n] <= well[n] for n in names), detail)


def some(texts: list[str]) -> str:
    """How many, and the first few of them."""
    return "\n    ".join([f"{len(texts)}", *texts[:MOST_SHOWN]])
