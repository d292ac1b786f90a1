"""Tables for people, and a file for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from .contenders import Contender
from .goals import Key, Verdict
from .statistic import Spread, number
from .workloads import Workload

FLOORS = """\
Floors: (a) two awaited coroutines that do nothing; (b) async with on a deque; (c) a bare future
for each waiter; (d) the same with a timer for each, behind coroutines; (e) a bare task with a
done callback for each call; (f) a plain call. 1.0 is the floor itself."""


@dataclass
class Results:
    """All figures of all repetitions, and the reasons for missing ones."""

    loop: str
    repetitions: int
    figures: dict[Key, list[float]] = field(default_factory=dict)
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    interrupted: bool = False

    def complete(self) -> dict[Key, list[float]]:
        """Return the figures of the contenders that never failed."""
        return {key: v for key, v in self.figures.items() if key[:2] not in self.reasons}

    def add(self, workload: str, contender: str, figures: dict[str, float], reason: str) -> None:
        """Add the outcome of one run."""
        for name, value in figures.items():
            self.figures.setdefault((workload, contender, name), []).append(value)
        if reason:
            self.reasons[workload, contender] = reason


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format a table. The first column is aligned left, the others right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    aligned = []
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        aligned.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return aligned


def workload_table(workload: Workload, contenders: Sequence[Contender], results: Results) -> str:
    """Format one workload: a line for each contender, and the reasons for missing ones."""
    names = [c.name for c in contenders]
    figures: dict[str, None] = {}
    for at, contender, figure in results.figures:
        if at == workload.name and contender in names:
            figures[figure] = None
    rows, reasons = [], []
    for name in names:
        cells = [results.figures.get((workload.name, name, figure)) for figure in figures]
        if any(cells):
            rows.append([name, *(str(Spread.of(cell)) if cell else "" for cell in cells)])
        if reason := results.reasons.get((workload.name, name)):
            reasons.append(f"  {name}: {reason}")
    lines = [f"{workload.name}: {workload.title}"]
    if rows:
        lines += ["  " + line for line in table(["", *figures], rows)]
    return "\n".join(lines + reasons)


def goal_table(verdicts: Sequence[Verdict]) -> str:
    """Format the goals, and whether each is met."""
    rows = [
        (
            f"{verdict.goal.number}. {verdict.goal.text}",
            number(verdict.goal.limit),
            "not measured" if verdict.measured is None else str(verdict.measured),
            "met" if verdict.met else "MISSED",
        )
        for verdict in verdicts
    ]
    return "\n".join(table(("goal", "at most", "median (quartiles)", ""), rows))


def as_json(
    results: Results, contenders: Sequence[Contender], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Return all figures, with the machine and the versions."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "loop": results.loop,
        "repetitions": results.repetitions,
        "versions": versions(contenders),
        "figures": [
            {
                "workload": workload,
                "contender": contender,
                "figure": figure,
                **Spread.of(values).as_json(),
            }
            for (workload, contender, figure), values in results.figures.items()
        ],
        "not measured": [
            {"workload": workload, "contender": contender, "reason": reason}
            for (workload, contender), reason in results.reasons.items()
        ],
        "goals": [
            {
                "number": verdict.goal.number,
                "text": verdict.goal.text,
                "workload": verdict.goal.workload,
                "contender": verdict.goal.contender,
                "figure": verdict.goal.figure,
                "limit": verdict.goal.limit,
                "worst counts": verdict.goal.every_run,
                "peer": verdict.goal.peer,
                **(verdict.measured.as_json() if verdict.measured else {}),
                "met": verdict.met,
            }
            for verdict in verdicts
        ],
    }


def versions(contenders: Sequence[Contender]) -> dict[str, str]:
    """Return the version of each distribution."""
    found = {}
    owners = packages_distributions()
    for contender in contenders:
        for module in contender.modules:
            for name in owners.get(module.split(".")[0], [])[:1]:
                try:
                    found[name] = version(name)
                except PackageNotFoundError:
                    continue
    return dict(sorted(found.items()))


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write medians and quartiles to a file, one figure a line, so that a change is readable."""
    parts = [f"  {_dumps(name)}: {_lines(part)}" for name, part in content.items()]
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _lines(part: Any) -> str:
    """Format a list with a line for each item, and everything else in one line."""
    if not isinstance(part, list) or not part:
        return _dumps(part)
    return "[\n" + ",\n".join(f"    {_dumps(item)}" for item in part) + "\n  ]"


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
