"""The tables of docs/performance.md: they are written between marks, from the file of a run.

python -m bench.page docs/performance.json docs/performance.md

A mark such as ``<!-- table uvloop: goals -->`` is for a run on that loop, ``<!-- table gains -->``
for one with ``--gains``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .statistic import Spread, number

BETWEEN = re.compile(r"(<!-- table (.+?) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goals(run: dict[str, Any]) -> str:
    """Format every goal, its figure, and whether it is met."""
    values = {(f["workload"], f["contender"], f["figure"]): f["values"] for f in run["figures"]}
    rows = []
    for goal in run["goals"]:
        measured = values.get((goal["workload"], goal["contender"], goal["figure"]))
        rows.append(
            [
                f"{goal['number']}. {goal['text']}",
                goal["workload"],
                number(goal["limit"]),
                str(Spread.of(measured)) if measured else "not measured",
                "met" if goal["met"] else "**missed**",
            ]
        )
    return markdown(["goal", "workload", "at most", "median (quartiles)", ""], rows)


def workload(run: dict[str, Any], name: str) -> str:
    """Format the figures of all contenders for one workload, and the reasons for missing ones."""
    found: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for figure in run["figures"]:
        if figure["workload"] == name:
            columns[figure["figure"]] = None
            row = found.setdefault(figure["contender"], {})
            row[figure["figure"]] = str(Spread.of(figure["values"]))
    rows = [[who, *(row.get(column, "") for column in columns)] for who, row in found.items()]
    lacks = [
        f"* {other['contender']}: {other['reason']}"
        for other in run["not measured"]
        if other["workload"] == name
    ]
    table = markdown(["", *columns], rows)
    return "\n".join([table, "", "Not measured:", "", *lacks]) if lacks else table


def gains(run: dict[str, Any]) -> str:
    """Format the gains of the pool over each other way."""
    rows = [
        [
            figure["workload"],
            figure["contender"],
            figure["figure"],
            str(Spread.of(figure["values"])),
        ]
        for figure in run["figures"]
        if "÷" in figure["figure"] and set(figure["values"]) != {1}
    ]
    return markdown(["work", "without, or with another", "what", "factor"], rows)


def measured_on(run: dict[str, Any]) -> str:
    """Describe the machine, the interpreter and the versions."""
    others = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"Measured with {run['implementation']} {run['python']} on {run['system']}, "
        f"{run['machine']}, {run['processors']} processors, the loop of {run['loop']}, "
        f"{run['repetitions']} repetitions, each in a process of its own. {others}."
    )


def filled(page: str, run: dict[str, Any]) -> str:
    """Return the page with the tables of this run."""

    def table(mark: re.Match[str]) -> str:
        loop, _, wanted = mark[2].rpartition(": ")
        if (loop or "asyncio") != run["loop"] or (wanted == "gains") == ("goals" in run):
            return mark[0]
        if wanted == "gains":
            text = gains(run)
        elif wanted == "goals":
            text = goals(run)
        elif wanted == "machine":
            text = measured_on(run)
        else:
            text = workload(run, wanted)
        return f"{mark[1]}\n{text}\n{mark[3]}"

    return BETWEEN.sub(table, page)


def main(arguments: Sequence[str]) -> None:
    run, page = map(Path, arguments)
    text = page.read_text(encoding="utf-8")
    new = filled(text, json.loads(run.read_text(encoding="utf-8")))
    page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
