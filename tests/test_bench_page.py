"""The tables of docs/performance.md are those of the run that is kept beside it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bench import page
from bench.goals import GOALS
from bench.workloads import WORKLOADS

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "performance.md").read_text(encoding="utf-8")


@pytest.fixture(params=["performance", "performance-uvloop", "performance-gains"])
def run(request: pytest.FixtureRequest) -> dict[str, Any]:
    text = (DOCS / f"{request.param}.json").read_text(encoding="utf-8")
    kept: dict[str, Any] = json.loads(text)
    return kept


def test_the_page_has_the_tables_of_the_run(run: dict[str, Any]) -> None:
    assert page.filled(PAGE, run) == PAGE


def test_the_run_had_the_goals_of_today_and_repetitions_enough(run: dict[str, Any]) -> None:
    if "goals" in run:
        kept = [(g["number"], g["text"], g["limit"]) for g in run["goals"]]
        assert kept == [(goal.number, goal.text, goal.limit) for goal in GOALS]
    assert run["repetitions"] >= 5


def test_every_workload_has_a_table() -> None:
    marked = {mark[2] for mark in page.BETWEEN.finditer(PAGE)}
    assert marked >= {"goals", "machine", "gains", "uvloop: goals", "uvloop: machine"}
    assert {mark for mark in marked if not mark.startswith("uvloop: ")} <= {
        *("goals", "machine", "gains"),
        *(workload.name for workload in WORKLOADS),
    }
    assert {workload.name for workload in WORKLOADS if not workload.only_ours} <= marked


@pytest.mark.parametrize(
    ("run", "its_own"),
    [
        ("performance", {"goals", "W1", "W2T", "W6", "W12"}),
        ("performance-uvloop", {"uvloop: goals"}),
        ("performance-gains", {"gains"}),
    ],
    indirect=["run"],
)
def test_another_run_makes_another_page(
    run: dict[str, Any], its_own: set[str], tmp_path: Path
) -> None:
    other = copy.deepcopy(run)
    for figure in other["figures"]:
        figure["values"] = [value + 1 for value in figure["values"]]
    file, text = tmp_path / "run.json", tmp_path / "page.md"
    file.write_text(json.dumps(other), encoding="utf-8")
    text.write_text(PAGE, encoding="utf-8")
    page.main([str(file), str(text)])
    rewritten = text.read_text(encoding="utf-8")
    marks = zip(page.BETWEEN.finditer(PAGE), page.BETWEEN.finditer(rewritten), strict=True)
    same = [kept.group(2) for kept, new in marks if kept.group() == new.group()]
    assert not its_own & set(same)
    others = {"goals", "W1", "W2T", "W6", "W12", "gains", "uvloop: goals"} - its_own
    assert others <= set(same)
    assert page.BETWEEN.sub("", rewritten) == page.BETWEEN.sub("", PAGE)
