"""Check the models with TLC, and compare the frozen graphs with new ones."""

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from nodetool.concurrency.verify._graph import Graph, GraphFormatError
from spec import dump, manifest, tlc
from spec.manifest import Entry
from spec.tla import ModelConfig, source_digest

_RUNS_AT_ONCE = 2
_COLUMNS = (
    "model", "module", "verdict", "expected?", "generated", "distinct", "depth", "seconds"
)  # fmt: skip
_WORD_COLUMNS = 4  # the first columns are words, the others are numbers


@dataclass
class Outcome:
    """One line of the table, with its problems."""

    row: tuple[str, ...]
    wrong: list[str] = field(default_factory=list)
    update: Callable[[], None] | None = None
    result: tlc.Result | None = None


def _row(result: tlc.Result, verdict: str, *, expected: bool) -> tuple[str, ...]:
    numbers = (result.generated, result.distinct, result.depth)
    cells = ["-" if number is None else f"{number:,}" for number in numbers]
    return (
        result.model, result.module, verdict, "yes" if expected else "NO", *cells,
        f"{result.seconds:.1f}",
    )  # fmt: skip


def check(entry: Entry) -> Outcome:
    """Run TLC on a model and compare the result with the manifest."""
    result = tlc.run(entry.name, entry.module)
    wrong = manifest.differences(entry, result)
    return Outcome(_row(result, result.verdict, expected=not wrong), wrong, result=result)


def check_graph(entry: Entry) -> Outcome:
    """Let TLC enumerate a model again and compare the result with the frozen graph."""
    result = tlc.run(entry.name, entry.module, dump=True)
    if result.verdict != "ok":
        return Outcome(
            _row(result, "graph: " + result.verdict, expected=False),
            [f"{entry.name}: no graph, because TLC says {result.verdict}"],
        )
    constants = ModelConfig.read(tlc.MODELS / f"{entry.name}.cfg").constants
    fresh = dump.graph_from(result.dot, constants, source_digest(tlc.SPEC, entry.module))
    try:
        frozen = Graph.load(entry.graph)
        wrong = dump.differences(frozen, fresh)
        if not wrong and frozen.to_text() != fresh.to_text():
            wrong = ["equal to the frozen one, but the modules have changed since"]
    except FileNotFoundError:
        wrong = ["none is frozen yet"]
    except GraphFormatError as error:
        wrong = [str(error)]
    verdict = f"graph: {len(fresh.edges):,} states, {fresh.steps:,} edges"
    verdict += ", not the frozen one" if wrong else ", identical"

    return Outcome(
        _row(result, verdict, expected=not wrong),
        [f"{entry.name}: graph: {line}" for line in wrong],
        (lambda: fresh.save(entry.graph)) if wrong else None,
    )


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Outcome], None]]:
    """Yield a function that reports an outcome: by a bar on a terminal, else by a plain line."""
    if sys.stdout.isatty():
        from rich.progress import Progress

        with Progress(transient=True) as bar:
            task = bar.add_task("TLC", total=total)
            yield lambda outcome: bar.update(task, advance=1, description=outcome.row[0])
    else:
        yield lambda outcome: print(*outcome.row[:4], sep="  ", flush=True)


def run_all(entries: list[Entry], *, graphs: bool) -> list[Outcome]:
    """Check the models, two at a time, the large ones first. Return the outcomes in order."""
    jobs: list[tuple[Callable[[Entry], Outcome], Entry]] = [(check, entry) for entry in entries]
    if graphs:
        jobs += [(check_graph, entry) for entry in entries if entry.frozen]
    by_size = sorted(range(len(jobs)), key=lambda n: -jobs[n][1].distinct)
    executor = ThreadPoolExecutor(_RUNS_AT_ONCE)
    outcomes: dict[int, Outcome] = {}
    with _progress(len(jobs)) as report:
        try:
            futures = {executor.submit(jobs[n][0], jobs[n][1]): n for n in by_size}
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                report(future.result())
        finally:
            executor.shutdown(cancel_futures=True)
    return [outcomes[n] for n in range(len(jobs))]


def print_table(outcomes: list[Outcome]) -> None:
    """Print a line for each outcome. On a terminal the lines of wrong outcomes are red."""
    rows = [outcome.row for outcome in outcomes]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    print()
    for row in (_COLUMNS, tuple("-" * width for width in widths), *rows):
        cells = [
            cell.ljust(width) if n < _WORD_COLUMNS else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        _print_line("  ".join(cells), wrong=row[3] == "NO")


def _print_line(line: str, *, wrong: bool) -> None:
    if sys.stdout.isatty():
        from rich.console import Console

        style = "bold red" if wrong else None
        Console().print(line, style=style, highlight=False, markup=False, soft_wrap=True)
    else:
        print(line)


def write_updates(outcomes: list[Outcome], entries: dict[str, Entry]) -> list[str]:
    """Rewrite numbers and graphs, and return the remaining differences.

    If a model's verdict is wrong, its numbers mean nothing, so they stay as they are.
    """
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    sound = [result for result in results if result.verdict == entries[result.model].verdict]
    text = manifest.MANIFEST.read_text(encoding="utf-8")
    manifest.MANIFEST.write_text(manifest.updated(text, sound), encoding="utf-8")
    entries = manifest.read()
    remaining = [
        line for result in results for line in manifest.differences(entries[result.model], result)
    ]
    for outcome in outcomes:
        if outcome.update is not None:
            outcome.update()
        elif outcome.result is None:
            remaining += outcome.wrong
    return remaining


def chosen(entries: dict[str, Entry], patterns: list[str], *, small: bool) -> list[Entry]:
    """Return the entries whose names match a pattern, or all, or all small ones."""
    return [
        entry
        for entry in entries.values()
        if (entry.small or not small)
        and (not patterns or any(fnmatchcase(entry.name, pattern) for pattern in patterns))
    ]


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m spec", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--small", action="store_true", help="only models that take seconds")
    which.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these models; Broken* stands for many; of one, print TLC's output",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="rewrite these models' numbers and frozen graphs, never a verdict",
    )
    options = parser.parse_args()
    entries = manifest.read()
    for pattern in options.model:
        if not chosen(entries, [pattern], small=False):
            parser.error(f"no model {pattern!r}; there are: {', '.join(entries)}")
    models = chosen(entries, options.model, small=options.small)
    try:
        outcomes = run_all(models, graphs=options.update or not (options.small or options.model))
    except tlc.ToolMissingError as error:
        print(error, file=sys.stderr)
        return 2
    if options.model and len(models) == 1 and outcomes[0].result is not None:
        print(outcomes[0].result.tail)
    print_table(outcomes)
    wrong = [line for outcome in outcomes for line in outcome.wrong]
    for line in wrong:
        _print_line(f"DIFFERENCE {line}", wrong=True)
    if options.update:
        wrong = write_updates(outcomes, entries)
        print("Numbers and graphs are rewritten.", *wrong, sep="\nSTILL WRONG ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
