"""The assurance table: no name is missing, and the figures are those of the checkers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import FROZEN, Graph
from proofs import assurance
from proofs.assurance import (
    COLUMNS,
    NOT_RUN,
    OLDER,
    main,
    mark,
    markdown,
    not_run,
    recorded,
    verdict,
)
from proofs.checkers import CHECKERS, total
from proofs.digests import digest
from proofs.guarantees import GUARANTEES, RULES, Guarantee
from proofs.places import EMPTY, PLACES, RULE_PLACES, differences, documented, marked, places
from proofs.report import Report
from spec import manifest, tlc

pytestmark = pytest.mark.untraced

NAMES = [guarantee.name for guarantee in GUARANTEES]
OF_RULES = [rule.name for rule in RULES]
REPORTS = recorded()
TLC = REPORTS["TLC"]


def test_every_guarantee_is_named_wherever_it_must_be() -> None:
    found = places()
    assert differences(found) == []
    assert tuple(found) == PLACES
    assert set(COLUMNS) == set(CHECKERS) == set(PLACES) - {"specification", "predicate"}


@pytest.mark.parametrize("place", PLACES)
def test_a_guarantee_or_a_rule_that_is_missing_in_a_place_is_reported(place: str) -> None:
    every = places()
    empty = [some for names in EMPTY.get(place, {}).values() for some in names]
    for name in [*NAMES, *OF_RULES] if place in RULE_PLACES else NAMES:
        others = every[place] - {name} if name not in empty else every[place] | {name}
        (difference,) = differences({**every, place: others})
        wrong = "in a place that says that it is missing" if name in empty else "missing"
        assert difference == f"{name} is {wrong}: {place}"


def test_the_names_and_codes_are_those_of_the_specification() -> None:
    text = (tlc.SPEC / "AsyncResourcePool.tla").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for above, name in re.findall(r"((?:^\\\*.*\n)+)(\w+?)(?:Steps)? ==", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r"\b[SLR]\d+\b", above))
    codes = {one.name: one.code for one in (*GUARANTEES, *RULES) if one.name in found}
    assert {"OneReason"} == {*NAMES, *OF_RULES} - {*codes}  # it is about statistics
    assert [name for name, code in codes.items() if code not in found[name]] == []


def test_each_predicate_has_the_code_of_its_guarantee() -> None:
    codes = {one.name: one.code for one in (*GUARANTEES, *RULES)}
    pairs = documented()
    assert len(pairs) > 40
    assert [(name, code) for name, code in pairs if codes[name] != code] == []


def test_a_guarantee_that_is_only_in_the_list_is_missing_everywhere() -> None:
    found = differences(places(), (*GUARANTEES, Guarantee("S13", "NeverLate", "always on time")))
    assert found == [f"NeverLate is missing: {place}" for place in PLACES]


def test_a_name_that_is_no_guarantee_is_reported() -> None:
    found = places()
    found["contracts"] = found["contracts"] | {"NeverLate"}
    assert differences(found) == ["NeverLate is no guarantee: contracts"]


def test_the_files_say_what_was_found() -> None:
    assert set(REPORTS) == set(COLUMNS)
    text = assurance.FILE.read_text()
    assert text == markdown(REPORTS)
    assert verdict(REPORTS.values()) == []


def test_the_figures_that_can_be_had_at_once_are_those_of_today() -> None:
    remedy = "python -m proofs.assurance --update, with the name of the checker"
    entries = manifest.read().values()
    for code, name, _ in GUARANTEES:
        states = max(e.distinct for e in entries if e.verdict == "ok" and code in e.guards)
        figure = f"{states:,} states"
        assert mark(TLC) or TLC.cells[name].startswith((NOT_RUN, figure)), remedy
        tests = f"{len(marked()[name])} tests "
        report = REPORTS["tests"]
        assert mark(report) or report.cells[name].startswith((NOT_RUN, tests)), remedy
    graphs = [Graph.frozen(name) for name in FROZEN]
    figure = REPORTS["graph equality"].figure
    sizes = f"{sum(map(len, (graph.edges for graph in graphs))):,} states and "
    sizes += f"{sum(graph.steps for graph in graphs):,} edges"
    assert figure == NOT_RUN or sizes in figure, remedy


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `main` on copies of the files, with checkers that report the same or something else."""
    for name in ("FILE", "REPORTS"):
        path: Path = getattr(assurance, name)
        (tmp_path / path.name).write_text(path.read_text())
        monkeypatch.setattr(assurance, name, tmp_path / path.name)

    def run(*arguments: str, **other: Report) -> int:
        found = {**REPORTS, **{name.replace("_", " "): report for name, report in other.items()}}
        for name in CHECKERS:
            monkeypatch.setitem(CHECKERS, name, partial(found.__getitem__, name))
        return main([*arguments])

    return run


Copies = Callable[..., int]


def test_a_checker_without_a_report_has_not_run(
    copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    assurance.REPORTS.write_text("{}")
    reports = recorded()
    assert {report.figure for report in reports.values()} == {NOT_RUN}
    assert verdict(reports.values()) == []
    assert f"**TLC**: {NOT_RUN}." in markdown(reports)
    tlc = replace(not_run("TLC"), figure="done")
    assert copies("TLC", TLC=tlc) == 1
    assert "TLC: ASSURANCE.md has another report" in capsys.readouterr().out
    assert copies("TLC", "--update", TLC=tlc) == 0
    assert {name: report.figure for name, report in recorded().items() if report.figure == "done"}


def test_all_is_well_if_everything_is_as_it_was(
    copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    assert copies() == 0
    output = capsys.readouterr().out
    assert "Everything holds" in output
    assert all(name in output for name in [*NAMES, *OF_RULES])
    assert all(f"{name}: holds" in output for name in CHECKERS)


WITHOUT = {name: cell for name, cell in TLC.cells.items() if name != "FifoService"}
WORSE = [
    (replace(TLC, wrong=["a state too many"]), "TLC: a state too many"),
    (replace(TLC, figure="less"), "TLC: ASSURANCE.md has another report"),
    (
        replace(TLC, cells=TLC.cells | {"FifoService": "1 state"}),
        "TLC: ASSURANCE.md has another report",
    ),
    (replace(TLC, cells=WITHOUT), "TLC: no figure for FifoService"),
    (replace(TLC, cells=TLC.cells | {"NeverLate": "1 state"}), "TLC: NeverLate is not asked for"),
]


@pytest.mark.parametrize(("report", "complaint"), WORSE, ids=[complaint for _, complaint in WORSE])
def test_anything_that_is_not_as_it_was_ends_in_failure(
    report: Report, complaint: str, copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    assert copies(TLC=report) == 1
    output = capsys.readouterr().out
    assert f"WRONG {complaint}" in output
    assert "Not everything holds" in output
    assert copies("TLC", TLC=report) == 1


def test_one_checker_can_run_alone(copies: Copies, capsys: pytest.CaptureFixture[str]) -> None:
    assert copies("Z3", TLC=replace(TLC, figure="unlooked at")) == 0
    assert "TLC: holds" not in capsys.readouterr().out


def test_an_update_rewrites_the_files_but_not_if_something_is_wrong(
    copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    assert copies("TLC", "--update", TLC=replace(TLC, wrong=["bad"], figure="worse")) == 1
    assert "TLC: not rewritten" in capsys.readouterr().out
    assert "worse" not in assurance.FILE.read_text()
    cells = TLC.cells | {"FifoService": "8 states"}
    report = replace(TLC, figure="better", cells=cells)
    assert copies("TLC", "--update", TLC=report) == 0
    assert "better" in assurance.FILE.read_text()
    assert "| 8 states |" in assurance.FILE.read_text()
    assert copies(TLC=report) == 0


def test_an_unknown_checker_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["Isabelle"])
    assert "no checker 'Isabelle'; there are: TLC, graph equality" in capsys.readouterr().err


def test_a_report_that_is_older_than_its_sources_is_marked(copies: Copies) -> None:
    today = digest("TLC")
    assert OLDER not in mark(replace(TLC, digest=today))
    assert mark(replace(TLC, digest="of other sources")) == OLDER
    assert mark(not_run("TLC")) == ""
    assert copies("TLC", "--update", TLC=replace(TLC, digest="")) == 0
    assert recorded()["TLC"].digest == today
    assert f"**TLC**: {TLC.figure}" in assurance.FILE.read_text()


def test_the_page_can_be_written_again_without_a_run(copies: Copies) -> None:
    assurance.REPORTS.write_text(json.dumps({"TLC": asdict(replace(TLC, digest="other"))}))
    assert copies("--page", TLC=Report("TLC", "", {}, "", ["must not run"])) == 0
    assert f"**TLC**{OLDER}: {TLC.figure}" in assurance.FILE.read_text()


def test_figures_of_several_graphs_are_added() -> None:
    assert total(["Wide: 3,530 of 59,012 edges", "Deep: 10 of 20 edges"]) == (3_540, 59_032)
    assert total(["Wide: 3,530 edges from 300 of 4,938 states"]) == (300, 4_938)
    assert total([]) == (0, 0)
