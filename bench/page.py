"""The tables of docs/performance.md: they are written between marks, from the files of the runs.

python -m bench.page [FOLDER]

The command reads every ``performance*.json`` of the folder, and rewrites the tables of its
``performance.md``. Without an argument the folder is ``docs``. A mark is a line such as
``<!-- table goals -->``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .goals import MEANINGS, OURS
from .statistic import Spread, number

Run: TypeAlias = dict[str, Any]

BETWEEN = re.compile(r"(<!-- table (.+?) -->\n).*?(\n<!-- end -->)", re.DOTALL)
NOTHING = "–"  # noqa: RUF001  # a dash for a figure that is not there

PEERS: tuple[tuple[str, str, str], ...] = (
    ("acquire and release ÷ (a)", "W1", "acquire/release ÷ (a)"),
    ("acquire(timeout=5) and release ÷ (a)", "W1", "acquire(timeout=5)/release ÷ (a)"),
    ("async with ÷ (b)", "W1", "async with ÷ (b)"),
    ("1,000 tasks, 10 resources ÷ (c)", "W2", "÷ (c)"),
    ("the same with a timeout each ÷ (c)", "W2T", "÷ (c)"),
    ("hand-over, 50,000 waiting ÷ (d)", "W3", "50,000 waiting ÷ (d)"),
    ("a waiter that times out ÷ (d)", "W4", "÷ (d)"),
    ("cancelled, newest first ÷ (d)", "W6", "newest first ÷ (d)"),
    ("resources lost to 22 cancellations", "W6R", "lost to cancellation"),
    ("every use expires ÷ (e)", "W7a", "÷ (e)"),
    ("prune of 10,000, µs each", "W7b", "µs each"),
    ("bytes of a waiter", "W8", "waiter"),
    ("import, ms", "W9", "ms"),
    ("cold burst ÷ the optimum", "W10", "total"),
    ("served behind a failed creation, ms", "W10f", "served after, ms"),
    ("least served of 100 greedy tasks (200 is fair)", "W11", "least"),
    ("close of 20 idle ÷ one closer", "W12", "20 idle ÷ one closer"),
    ("goodput lost to a check of 10 ms, %", "W15", "lost to the check, %"),
    ("connects for it, in a pool of 2", "W15", "connects"),
    ("first of 10 requests served beside a hung connect", "W16", "first request served"),
    ("first of 100 users served after an outage, s", "W18", "first served after, s"),
    ("last of them, s", "W18", "last served after, s"),
    ("users not served within 10 s", "W18", "users not served"),
    ("connects during the outage", "W18", "connects during it"),
    ("connects after it, for 10 resources", "W18", "connects after the outage"),
)
"""The rows of the table of all pools: a text, a workload and its figure."""


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def label(run: Run) -> str:
    """Name a run: the version of Python, and the loop unless it is that of asyncio."""
    version = ".".join(run["python"].split(".")[:2])
    return version if run["loop"] == "asyncio" else f"{version}, {run['loop']}"


def goals(runs: Sequence[Run]) -> str:
    """Format every goal, and its figure in each run. A missed goal is bold.

    The goals that all runs of a figure must meet are counts. They get one line if all are met.
    """
    measured = [run for run in runs if "goals" in run]
    columns = [{_identity(goal): goal for goal in run["goals"]} for run in measured]
    rows, counts, explained = [], 0, ""
    for goal in measured[0]["goals"]:
        found = [column.get(_identity(goal), {}) for column in columns]
        if goal["worst counts"] and all(one.get("met", True) for one in found):
            counts += 1
            continue
        meaning = MEANINGS[goal["number"]] if goal["number"] != explained else ""
        explained = goal["number"]
        rows.append(
            [
                f"{goal['number']}. {goal['text']}",
                goal["workload"],
                number(goal["limit"]),
                *map(_cell, found),
                meaning,
            ]
        )
    table = markdown(["goal", "workload", "at most", *map(label, measured), "for a user"], rows)
    return f"{table}\n\n{counts} more goals limit counts, mostly to 0. Every run met them."


def _identity(goal: dict[str, Any]) -> tuple[str, ...]:
    return goal["workload"], goal["contender"], goal["figure"], goal["peer"]


def _cell(goal: dict[str, Any]) -> str:
    if "median" not in goal:
        return NOTHING
    text = str(Spread.from_json(goal))
    return text if goal["met"] else f"**{text}**"


def peers(runs: Sequence[Run]) -> str:
    """Format the main figures of all pools. A slash separates the versions of Python."""
    measured = [run for run in runs if "goals" in run and run["loop"] == "asyncio"]
    medians: list[dict[tuple[str, ...], float]] = [
        {(f["workload"], f["contender"], f["figure"]): f["median"] for f in run["figures"]}
        for run in measured
    ]
    everybody = dict.fromkeys(f["contender"] for run in measured for f in run["figures"])
    names = [name for name in everybody if name != "floor" and not name.startswith(f"{OURS},")]
    rows = []
    for text, workload, figure in PEERS:
        row = [text]
        for name in names:
            values = [found.get((workload, name, figure)) for found in medians]
            known = [NOTHING if value is None else number(value) for value in values]
            row.append(" / ".join(known) if set(known) != {NOTHING} else NOTHING)
        rows.append(row)
    return markdown(["", *names], rows)


def gains(runs: Sequence[Run]) -> str:
    """Format the gains of the pool over each other way."""
    rows = [
        [figure["workload"], figure["contender"], figure["figure"], str(Spread.from_json(figure))]
        for run in runs
        if "goals" not in run
        for figure in run["figures"]
        if "÷" in figure["figure"] and {figure["median"], *figure["quartiles"]} != {1}
    ]
    return markdown(["work", "without, or with another", "what", "factor"], rows)


def machine(runs: Sequence[Run]) -> str:
    """Describe the machine, the interpreters and the versions."""
    one = runs[0]
    pythons = ", ".join(dict.fromkeys(f"{run['implementation']} {run['python']}" for run in runs))
    versions = {name: version for run in runs for name, version in run["versions"].items()}
    others = ", ".join(f"`{name} {version}`" for name, version in sorted(versions.items()))
    return (
        f"Measured with {pythons} on {one['system']}, {one['machine']}, {one['processors']} "
        f"processors, {one['repetitions']} repetitions, each in a process of its own. {others}."
    )


TABLES: dict[str, Callable[[Sequence[Run]], str]] = {
    table.__name__: table for table in (goals, peers, gains, machine)
}


def filled(page: str, runs: Sequence[Run]) -> str:
    """Return the page with the tables of these runs."""

    def table(mark: re.Match[str]) -> str:
        return f"{mark[1]}\n{TABLES[mark[2]](runs)}\n{mark[3]}"

    return BETWEEN.sub(table, page)


def read_runs(folder: Path) -> list[Run]:
    """Read the files of all runs: those on asyncio first, and the older Python first."""
    files = sorted(folder.glob("performance*.json"))
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return sorted(runs, key=lambda run: (run["loop"], *map(int, run["python"].split("."))))


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0]) if arguments else Path(__file__).parents[1] / "docs"
    page = folder / "performance.md"
    text = filled(page.read_text(encoding="utf-8"), read_runs(folder))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
