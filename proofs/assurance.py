"""Run every checker and print the assurance table: guarantees, their checkers and the figures.

    python -m proofs.assurance             all of it, as `make verify` does: over an hour
    python -m proofs.assurance Z3 tests    only these
    python -m proofs.assurance --update    then rewrite ASSURANCE.md
    python -m proofs.assurance --page      run nothing, mark reports that are older than the sources

The exit code is 0 only if everything holds and the figures are those in ASSURANCE.md. The file
``assurance.json`` keeps the reports of that time, so that some checkers can run alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import actions
from proofs.checkers import CHECKERS
from proofs.digests import digest
from proofs.guarantees import GUARANTEES, RULES
from proofs.places import EMPTY, ROOT, differences, places
from proofs.report import Report

__all__ = ["markdown", "table", "verdict"]

FILE = ROOT / "ASSURANCE.md"
REPORTS = ROOT / "proofs" / "assurance.json"
COLUMNS = {
    "TLC": "the specification has the property, in every state and run of its models; states of "
    "the largest model with this property, of the largest with fairness where it speaks of whole "
    "runs, and how many broken models are refuted by it",
    "graph equality": "the machine inside the pool takes exactly the steps of the specification, "
    "at the bounds of these models; so what TLC finds there holds of the machine; how many "
    "machines with such a bug leave the graph",
    "CrossHair": "the counting rules, as the code computes them, keep their invariants at every "
    "size: CONFIRMED over all paths",
    "Z3": "the counting rules, run on symbolic numbers, and formulas of which task has which "
    "resource keep their invariants for any number of tasks and resources; the formulas are "
    "compared with the specification at the graphs' bounds",
    "CrossHair search": "a search for counterexamples, no proof: how many seeded bugs it finds by "
    "the contract of this name",
    "contracts": "debug mode checks it at run time, on so many of the machine's "
    f"{len(actions(PoolMachine))} steps; how many machines with such a bug break a contract of "
    "this name",
    "Hypothesis": "random users, faults and cancellations on the real pool in virtual time; how "
    "many machines with such a bug are caught",
    "schedules": "every order in which things can happen in small scenarios on the real pool, with "
    "cancellation at any moment; how many machines with such a bug are found",
    "tests": "tests that are marked with it, in how many situations they passed, and how many "
    "machines with such a bug fail one of them",
    "mutants": "changes by hand that attack it, in the specification, the counting rules, the "
    "machine, the runtime and the contracts, and how many of them are killed by every checker that "
    "must find them, with the verdict that is expected",
}


NOT_RUN = "not run"
OLDER = " †"


def mark(report: Report) -> str:
    """Mark a report whose checker, or what it checks, has changed since the run."""
    return OLDER if report.figure != NOT_RUN and report.digest != digest(report.place) else ""


def table(reports: Mapping[str, Report]) -> list[list[str]]:
    """Make a line for each guarantee and each rule, and a column for each checker."""
    rows = [["", "Guarantee", "In words", *(name + mark(reports[name]) for name in COLUMNS)]]
    for code, name, words in (*GUARANTEES, *RULES):
        cells = [reports[place].cells.get(name, "") for place in COLUMNS]
        rows.append([code, name, words, *cells])
    return rows


def as_markdown(rows: list[list[str]]) -> str:
    """Write the rows as a table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


INTRODUCTION = """\
# Assurance

The guarantees S1 to S12 and L1 to L8, the rules R1 to R10, the checkers of each, and their figures.
`make verify` fails if anything here is no longer so. `python -m proofs.assurance --update` writes
this page. Each empty cell of a guarantee has its reason below. A rule has no guarantee of its own,
and needs no more than the specification, its predicate and the contracts. The sign † marks a
checker whose sources have changed since it ran. Its figures are of that run."""


def sections(reports: Mapping[str, Report]) -> dict[str, list[str]]:
    """List the other sections of the page, each with its lines."""
    return {
        "What the columns mean": [f"**{place}**: {text}." for place, text in COLUMNS.items()],
        "What the checkers did": [
            f"**{place}**{mark(reports[place])}: {reports[place].figure}." for place in COLUMNS
        ],
        "What is empty on purpose": [
            f"**{place}**: {', '.join(names)}. {reason}"
            for place, reasons in EMPTY.items()
            for reason, names in reasons.items()
        ],
        "Figures that differ from run to run": [
            f"**{place}**: {reports[place].seconds:.0f} s. {reports[place].measured}".rstrip()
            for place in COLUMNS
        ],
        "That each can fail: one bug that it found": [
            f"**{place}**: {reports[place].kill}" for place in COLUMNS if reports[place].kill
        ],
    }


def markdown(reports: Mapping[str, Report]) -> str:
    """Write the text of ASSURANCE.md."""
    parts = [INTRODUCTION, as_markdown(table(reports))]
    for title, lines in sections(reports).items():
        parts += [f"## {title}", "\n".join(f"* {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def verdict(reports: Iterable[Report]) -> list[str]:
    """List all that does not hold, and the cells that are missing or too many."""
    wrong = differences(places())
    for report in reports:
        wrong += [f"{report.place}: {line}" for line in report.wrong]
        expected = places()[report.place]
        wrong += [f"{report.place}: no figure for {n}" for n in sorted(expected - {*report.cells})]
        wrong += [
            f"{report.place}: {n} is not asked for" for n in sorted({*report.cells} - expected)
        ]
    return wrong


def not_run(place: str) -> Report:
    """Return the report of a checker that has not run since it was changed."""
    return Report(place, NOT_RUN, dict.fromkeys(sorted(places()[place]), NOT_RUN), "")


def recorded() -> dict[str, Report]:
    """Read the reports that ASSURANCE.md was written from. A missing one says "not run"."""
    reports = json.loads(REPORTS.read_text(encoding="utf-8"))
    return {
        place: Report(**reports[place]) if place in reports else not_run(place) for place in COLUMNS
    }


def update(reports: Mapping[str, Report]) -> None:
    """Write ASSURANCE.md and the reports that it was made of."""
    run = [place for place in COLUMNS if reports[place].figure != NOT_RUN]
    data = {place: asdict(reports[place]) for place in run}
    REPORTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    FILE.write_text(markdown(reports), encoding="utf-8")


def show(reports: Mapping[str, Report]) -> None:
    """Print the table with one line for each cell, because a terminal is narrow."""
    for code, name, words, *cells in table(reports)[1:]:
        print(f"\n{code:<4}{name}: {words}")
        for place, cell in zip(COLUMNS, cells, strict=True):
            print(f"      {place:<17} {cell}")
    for title, lines in sections(reports).items():
        print(f"\n{title}")
        for line in lines:
            plain = line.replace("**", "")
            print(textwrap.fill(plain, 100, initial_indent="  ", subsequent_indent="    "))


def run(chosen: list[str]) -> tuple[dict[str, Report], dict[str, float]]:
    """Run checkers one after the other. Return their reports and the seconds that each took."""
    reports, spent = {}, {}
    for number, name in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {name}", flush=True)
        begin = time.perf_counter()
        sources = digest(name)
        try:
            reports[name] = CHECKERS[name]()
        except Exception as error:  # the others go on
            traceback.print_exc()
            reports[name] = Report(name, "", {}, "", [f"does not run: {error!r}"])
        reports[name].digest = sources
        spent[name] = reports[name].seconds = round(time.perf_counter() - begin, 1)
        said = "holds" if not reports[name].wrong else "DOES NOT HOLD"
        print(f"[{number}/{len(chosen)}] {name}: {said}, {spent[name]:.0f} s", flush=True)
    return reports, spent


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs.assurance")
    parser.add_argument("only", nargs="*", metavar="CHECKER", help=", ".join(CHECKERS))
    parser.add_argument("--update", action="store_true", help="rewrite ASSURANCE.md")
    parser.add_argument(
        "--page", action="store_true", help="run nothing, rewrite ASSURANCE.md from its reports"
    )
    options = parser.parse_args(arguments)
    if options.page:
        update(recorded())
        return 0
    if unknown := [name for name in options.only if name not in CHECKERS]:
        parser.error(f"no checker {unknown[0]!r}; there are: {', '.join(CHECKERS)}")
    chosen = [name for name in CHECKERS if not options.only or name in options.only]
    reports, spent = run(chosen)
    before = recorded()
    show({**before, **reports})
    wrong = verdict(reports.values())
    if not options.update:
        wrong += [
            f"{name}: ASSURANCE.md has another report: python -m proofs.assurance --update"
            for name in chosen
            if before.get(name) != reports[name]
        ]
    else:
        sound = {name: report for name, report in reports.items() if not verdict([report])}
        update({**before, **sound})
        wrong += [f"{name}: not rewritten" for name in chosen if name not in sound]
    print("\nSeconds:", ", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.items()))
    for line in wrong:
        print(f"WRONG {line}")
    total = f"{sum(spent.values()) / 60:.0f} minutes"
    print(f"{'Not everything holds' if wrong else 'Everything holds'}, after {total}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
