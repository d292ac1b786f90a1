"""The benchmark of the pool, of baselines (floors), of hand-written pools and of other pools.

python -m bench [--quick] [--check] [--json FILE] [--plot FILE]
python -m bench --gains [--repetitions N] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from itertools import product
from pathlib import Path

from . import goals, report
from .contenders import Contender, missing
from .gains.comparison import compare
from .gains.postgres import a_server
from .pools import DEBUG
from .running import CONTENDERS, applies, group, in_own_process
from .size import Size
from .workloads import WORKLOADS, Workload

QUICK_POOLS = ("floor", "ours")
# Factors for long workloads, which run a single time.
QUICK_SIZES = {"S1": 0.2, "S2": 0.2, "S3": 0.2, "S4": 0.02}
FLOOR_ALONE = ("W1", "W2", "W2T", "W3", "W6")  # for other workloads its ratio to itself says little
QUICK_FLOOR = ("W1", "W2T")
NOT_QUICK = ("W1L",)  # it explains a figure, and has no goal
GROUPS = list(dict.fromkeys(group(contender) for contender in CONTENDERS))
NAMES = [workload.name for workload in WORKLOADS]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare the costs of pools with plain asyncio. Print medians of several runs.",
        epilog="Workloads: " + "; ".join(f"{w.name} {w.title}" for w in WORKLOADS) + ".",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Measure only the floor and our pool, once and with less work.",
    )
    parser.add_argument(
        "--gains",
        action="store_true",
        help="Measure SQLite, processes and PostgreSQL instead, with and without the pool.",
    )
    parser.add_argument(
        "--check", action="store_true", help="Exit with 1 if our pool misses a goal."
    )
    parser.add_argument("--uvloop", action="store_true", help="Use the event loop uvloop.")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WORKLOAD",
        choices=NAMES,
        help=f"Measure only these workloads: {', '.join(NAMES)}.",
    )
    parser.add_argument(
        "--pools",
        nargs="+",
        metavar="POOL",
        choices=GROUPS,
        help=f"Measure only these pools: {', '.join(GROUPS)}.",
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        metavar="N",
        help="Measure N times each. The default is 5, and 1 with --quick.",
    )
    parser.add_argument("--size", type=float, default=1.0, metavar="FACTOR", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write all figures to FILE.")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="Draw the main figures as SVG.")
    options = parser.parse_args(arguments)
    if options.repetitions is None:
        options.repetitions = 1 if options.quick else 5
    if options.repetitions < 1:
        parser.error("--repetitions must be 1 or more")
    others = ("quick", "check", "uvloop", "only", "pools", "plot")
    if options.gains and any(vars(options)[other] for other in others):
        parser.error("--gains goes only with --repetitions and --json")
    for option, file in (("--json", options.json), ("--plot", options.plot)):
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            parser.error(f"{option}: cannot write to {file}")
    needs = (("--uvloop", options.uvloop, "uvloop"), ("--plot", options.plot, "matplotlib"))
    for option, wanted, module in needs:
        if wanted:
            try:
                import_module(module)
            except ImportError:
                parser.error(f"{option}: {module} is not installed")
    return options


def runs(options: argparse.Namespace) -> list[tuple[Workload, Contender]]:
    """List the measurements in the order of the tables. Leave out pools that are not installed."""
    chosen = [
        (workload, contender)
        for workload in WORKLOADS
        if workload.name in (options.only or NAMES)
        for contender in CONTENDERS
        if applies(workload, contender) and is_wanted(options, workload, contender)
    ]
    skipped = {contender.name: module for _, contender in chosen if (module := missing(contender))}
    for name, module in skipped.items():
        print(f"{name}: skipped, {module} is not installed", file=sys.stderr)
    return [
        (workload, contender) for workload, contender in chosen if contender.name not in skipped
    ]


def is_wanted(options: argparse.Namespace, workload: Workload, contender: Contender) -> bool:
    """Tell whether the options ask for this measurement."""
    if contender.name == "floor" and workload.name not in (
        QUICK_FLOOR if options.quick else FLOOR_ALONE
    ):
        return False
    if options.pools:
        is_chosen = group(contender) in options.pools
    else:
        is_chosen = not options.quick or group(contender) in QUICK_POOLS
    if not options.quick:
        return is_chosen
    is_peer = any(
        goal.peer == contender.name for goal in goals.GOALS if goal.workload == workload.name
    )
    if is_peer and not options.pools:
        return True
    is_quick = contender not in DEBUG and (options.only or workload.name not in NOT_QUICK)
    return bool(is_chosen and is_quick)


def measure(
    options: argparse.Namespace, todo: Sequence[tuple[Workload, Contender]]
) -> report.Results:
    """Run every measurement once in each repetition, so that a drift affects all of them alike."""
    results = report.Results("uvloop" if options.uvloop else "asyncio", options.repetitions)
    began = time.monotonic()
    schedule = product(range(1, options.repetitions + 1), enumerate(todo, start=1))
    try:
        for repetition, (place, (workload, contender)) in schedule:
            key = (workload.name, contender.name)
            single = workload.single_repetition or (options.quick and workload.name in QUICK_SIZES)
            if (single and repetition > 1) or key in results.reasons:
                continue
            progress(
                f"{time.monotonic() - began:5.0f} s  repetition {repetition} of "
                f"{options.repetitions}, {place} of {len(todo)}: {workload.name} {contender.name}"
            )
            factor = options.size
            if options.quick:
                factor *= QUICK_SIZES.get(workload.name, 1.0)
            outcome = in_own_process(workload, contender, Size(factor), options.uvloop)
            results.add(*key, outcome.figures, outcome.reason)
    except KeyboardInterrupt:
        results.interrupted = True
    progress("")
    return results


def progress(line: str) -> None:
    """Show a line. On a terminal it replaces the line before."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.gains:
        with a_server():
            return compare(options.repetitions, Size(options.size), options.json, progress)
    todo = runs(options)
    results = measure(options, todo)
    workloads = list(dict.fromkeys(workload for workload, _ in todo))
    contenders = list(dict.fromkeys(contender for _, contender in todo))
    print(report.FLOORS)
    stopped = ", interrupted" if results.interrupted else ""
    print(f"Medians (quartiles) of {options.repetitions} processes on {results.loop}{stopped}.")
    if options.quick:
        print("S1 to S4 are quick, too: a fifth of the work or less, and only once.")
    print()
    for workload in workloads:
        print(report.workload_table(workload, contenders, results), end="\n\n")
    verdicts = goals.judge(results.complete(), {workload.name for workload in workloads})
    if any(group(contender) == "ours" for contender in contenders):
        print(report.goal_table(verdicts))
    if options.json:
        report.write_json(options.json, report.as_json(results, contenders, verdicts))
    if options.plot:
        import_module(f"{__package__}.plot").write_plot(options.plot, results, contenders)
    if results.interrupted:
        return 130
    return int(options.check and not all(verdict.met for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
