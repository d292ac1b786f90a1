"""Does every kind of work in every way, several times, and says what came of it."""

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
    """The command: tables, a file if one is wanted, and the exit code."""
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
    """Each repetition does everything once, and begins with another way than the one before."""
    results = Results("asyncio", repetitions)
    began = time.monotonic()
    for work in WORKS:
        if reason := work.lacks():
            told(results, work, reason)
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
                            runner.get_loop()  # from here on Ctrl-C cancels what runs
                            measured[way] = runner.run(work.measure(work.ways[way], size))
                except Exception as error:
                    told(results, work, f"{FAILED}: {first_of(error)!r}")
                else:
                    added(results, work, measured)
    except KeyboardInterrupt:
        results.interrupted = True
    progress("")
    return results


def added(results: Results, work: Work, measured: dict[str, Measured]) -> None:
    """One repetition of one kind of work."""
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


def told(results: Results, work: Work, reason: str) -> None:
    """Why the work has no figures, or no more of them, in any way."""
    for way in work.ways:
        results.add(work.name, way, {}, reason)


def first_of(error: BaseException) -> BaseException:
    """What went wrong first, out of all the groups around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def work_table(work: Work, results: Results) -> str:
    """One kind of work: a line for each way, and below why there are none."""
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
    """Everything, in the same form as the other figures; nobody set goals for these."""
    written = as_json(results, (), ())
    del written["goals"]
    written["versions"] = {"SQLite": sqlite3.sqlite_version}
    for name in ("aiosqlite", "asyncpg"):
        try:
            written["versions"][name] = version(name)
        except PackageNotFoundError:
            continue
    return written
