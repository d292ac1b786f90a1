"""The comparison of all ways to do each kind of work, with several repetitions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.gains import postgres, sqlite, workers
from bench.gains.work import Measured, Work
from bench.report import Results, as_json, table, write_json
from bench.size import Size
from bench.statistic import Spread

WORKS = (
    sqlite.SHORT_READS,
    sqlite.SHORT_WRITES,
    workers.WORKERS,
    postgres.QUERIES,
    sqlite.LARGE_READS,
)
FAILED = "failed"
HEAD = """\
The same work with the pool and without; factors compare runs of the same repetition. Where times
are compared, a factor above 1 says that the pool is faster, below 1 that it is slower. The times
include all opening and closing. opened: resources in all; at once: the most at any time."""


def compare(
    repetitions: int, size: Size, file: Path | None, progress: Callable[[str], None]
) -> int:
    """Run the comparison, print its tables, write a file if requested, and return the exit code."""
    results = measure(repetitions, size, progress)
    stopped = ", interrupted" if results.interrupted else ""
    print(HEAD)
    print(f"Medians (quartiles) of {repetitions} repetitions{stopped}.\n")
    for work in WORKS:
        print(work_table(work, results), end="\n\n")
    if file:
        write_json(file, content(results))
    if results.interrupted:
        return 130
    return int(any(reason.startswith(FAILED) for reason in results.reasons.values()))


def measure(repetitions: int, size: Size, progress: Callable[[str], None]) -> Results:
    """Do all work once in each repetition. Each repetition starts with another way."""
    results = Results("asyncio", repetitions)
    began = time.monotonic()
    for work in WORKS:
        if reason := work.lacks():
            add_reason(results, work, reason)
    try:
        for repetition in range(repetitions):
            for work in WORKS:
                if (work.name, work.against) in results.reasons:
                    continue
                ways = [*work.ways]
                first = repetition % len(ways)
                measured: dict[str, Measured] = {}
                try:
                    for way in ways[first:] + ways[:first]:
                        progress(
                            f"{time.monotonic() - began:5.0f} s  repetition {repetition + 1} of "
                            f"{repetitions}: {work.name}, {way}"
                        )
                        with asyncio.Runner() as runner:
                            runner.get_loop()  # from here on, Ctrl-C cancels the running work
                            measured[way] = runner.run(work.measure(work.ways[way], size))
                except Exception as error:
                    add_reason(results, work, f"{FAILED}: {first_error(error)!r}")
                else:
                    add_figures(results, work, measured)
    except KeyboardInterrupt:
        results.interrupted = True
    progress("")
    return results


def add_figures(results: Results, work: Work, measured: dict[str, Measured]) -> None:
    """Add the figures of one repetition of one kind of work."""
    reference = measured[work.against].seconds
    for way in work.ways:
        one = measured[way]
        figures = {
            "ms": one.seconds * 1e3,
            "opened": float(one.opened),
            "at once": float(one.most),
            work.figure: work.factor(one.seconds, reference),
        }
        results.add(work.name, way, figures, "")


def add_reason(results: Results, work: Work, reason: str) -> None:
    """Record why the work has no figures, or no more of them."""
    for way in work.ways:
        results.add(work.name, way, {}, reason)


def first_error(error: BaseException) -> BaseException:
    """Return the first error inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def work_table(work: Work, results: Results) -> str:
    """Format one kind of work: a line for each way, and the reason if lines are missing."""
    figures = ("ms", "opened", "at once", work.figure)
    rows = []
    for way in work.ways:
        cells = [results.figures.get((work.name, way, figure)) for figure in figures]
        if any(cells):
            rows.append([way, *(str(Spread.of(cell)) if cell else "" for cell in cells)])
    lines = [f"{work.name}: {work.title}"]
    if rows:
        lines += ["  " + line for line in table(["", *figures], rows)]
    reason = results.reasons.get((work.name, work.against), "" if rows else "interrupted before")
    if reason:
        lines.append(f"  {reason}" if reason.startswith(FAILED) else f"  not measured: {reason}")
    return "\n".join(lines)


def content(results: Results) -> dict[str, Any]:
    """Return all figures in the form of the other benchmarks, without goals."""
    written = as_json(results, (), ())
    del written["goals"]
    written["versions"] = {"SQLite": sqlite3.sqlite_version}
    for name in ("aiosqlite", "asyncpg"):
        try:
            written["versions"][name] = version(name)
        except PackageNotFoundError:
            continue
    return written
