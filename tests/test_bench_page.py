"""The tables of docs/performance.md are those of the runs that are kept beside it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bench import page
from bench.goals import GOALS, MEANINGS
from bench.workloads import WORKLOADS

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "performance.md").read_text(encoding="utf-8")
RUNS = page.read_runs(DOCS)


def tables(text: str) -> dict[str, str]:
    return {mark[2]: mark[0] for mark in page.BETWEEN.finditer(text)}


def test_the_page_has_the_tables_of_the_runs() -> None:
    assert page.filled(PAGE, RUNS) == PAGE
    assert tables(PAGE).keys() == page.TABLES.keys()


@pytest.mark.parametrize("run", RUNS, ids=page.label)
def test_a_run_had_the_goals_of_today_and_enough_repetitions(run: dict[str, Any]) -> None:
    if "goals" in run:
        measured = {figure["contender"] for figure in run["figures"]}
        kept = [(goal["number"], goal["text"], goal["limit"]) for goal in run["goals"]]
        goals = [goal for goal in GOALS if not goal.peer or goal.peer in measured]
        assert kept == [(goal.number, goal.text, goal.limit) for goal in goals]
    assert run["repetitions"] >= 5


def test_files_of_runs_are_short_and_no_part_of_the_site() -> None:
    files = list(DOCS.glob("performance*.json"))
    assert len(files) >= 3
    for file in files:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 2_000
    excluded = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    assert "\nexclude_docs: |\n  *.py\n  performance*.json\n" in excluded


def test_rows_name_figures_of_workloads_and_goals_have_a_meaning() -> None:
    names = {workload.name for workload in WORKLOADS if not workload.only_ours}
    assert {workload for _, workload, _ in page.PEERS} <= names
    assert MEANINGS.keys() == {goal.number for goal in GOALS}


def test_another_run_makes_other_tables(tmp_path: Path) -> None:
    others = copy.deepcopy(RUNS)
    newer = next(run for run in others if "goals" in run and run["loop"] == "asyncio")
    newer["python"] = "3.99.1"
    for figure in [*newer["figures"], *newer["goals"]]:
        if "median" in figure:
            figure["median"] += 1
            figure["quartiles"] = [value + 1 for value in figure["quartiles"]]
    for number, run in enumerate([*RUNS, newer]):
        file = tmp_path / f"performance-{number}.json"
        file.write_text(json.dumps(run), encoding="utf-8")
    (tmp_path / "performance.md").write_text(PAGE, encoding="utf-8")
    page.main([str(tmp_path)])
    rewritten = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert page.BETWEEN.sub("", rewritten) == page.BETWEEN.sub("", PAGE)
    old, new = tables(PAGE), tables(rewritten)
    assert {name for name in old if old[name] != new[name]} == {"goals", "peers", "machine"}
    assert "| 3.99 |" in new["goals"]
    assert "3.99.1" in new["machine"]


def test_a_missed_goal_is_bold_and_a_missing_figure_is_a_dash() -> None:
    goal = {
        "number": "1",
        "text": "a cost",
        "workload": "W1",
        "contender": "ours",
        "figure": "cost",
        "limit": 2,
        "peer": "",
        "worst counts": False,
    }
    run = {"python": "3.11.7", "loop": "asyncio", "figures": []}
    met = {**goal, "median": 1.5, "quartiles": [1.5, 1.5], "met": True}
    missed = {**goal, "median": 3.5, "quartiles": [3.25, 4.0], "met": False}
    count = {**met, "figure": "lost", "worst counts": True}
    lines = page.goals(
        [
            {**run, "goals": [met, count]},
            {**run, "python": "3.13.1", "goals": [missed]},
            {**run, "loop": "uvloop", "goals": [{**goal, "met": False}]},
        ]
    ).splitlines()
    assert lines[0] == "| goal | workload | at most | 3.11 | 3.13 | 3.11, uvloop | for a user |"
    assert lines[2].startswith("| 1. a cost | W1 | 2 | 1.50 | **3.50 (3.25 to 4)** | – | A lease")  # noqa: RUF001
    assert lines[-1].startswith("1 more goals")
