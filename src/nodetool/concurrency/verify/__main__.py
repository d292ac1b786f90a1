"""The command ``python -m nodetool.concurrency.verify``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from math import inf
from random import randrange
from textwrap import TextWrapper
from time import perf_counter
from typing import TextIO

from nodetool.concurrency import __version__
from nodetool.concurrency._machine.machine import PoolMachine

from . import _checks
from ._named import UsageError, named, said

PROGRAM = "python -m nodetool.concurrency.verify"

DESCRIPTION = """\
Without --factory, this command compares the installed pool with its specification. This takes a
few minutes. With --factory, it uses a pool of your own resources in every way. It injects faults
and cancellations, and counts the resources outside the pool. With --trace, it checks the steps that
pools have recorded with a TraceFile, also in another process."""

INSTALL = "pip install 'nodetool-concurrency[verify]'"
HOLDS, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
PATIENCE = 5.0  # seconds between two signs of progress in one file
TABLE = TextWrapper(100, subsequent_indent=" " * 20, break_on_hyphens=False)
OWN = ("closer", "check", "reset", "max_size", "users")  # options that need --factory


def at_least(least: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser of numbers that have a minimum."""

    def number(text: str) -> float:
        value = kind(text)
        if not least <= value < inf:
            raise argparse.ArgumentTypeError(f"must be {least:g} or more, not {text}")
        return value

    return number


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line. Options that contradict each other exit with code 2."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--version",
        action="version",
        version=f"nodetool-concurrency {__version__}",
        help="Print the version of the package, and exit.",
    )
    add(
        "--seconds",
        type=at_least(0.1, float),
        metavar="S",
        help="Run random operations for S seconds. The default is 30, and 10 with --factory.",
    )
    add(
        "--seed",
        type=at_least(0, int),
        metavar="N",
        help="Make all random choices from the seed N. The default is a new seed.",
    )
    function = "MODULE:FUNCTION"
    add("--factory", metavar=function, help="Call this function to create a resource.")
    add("--closer", metavar=function, help="Call this function to close a resource.")
    add(
        "--check",
        metavar=function,
        help="Call this function. It returns False for a broken resource.",
    )
    add("--reset", metavar=function, help="Call this function to clean a resource after its use.")
    add(
        "--max-size",
        type=at_least(1, int),
        metavar="N",
        help="Make a pool of at most N resources. The default is 4.",
    )
    add(
        "--users",
        type=at_least(1, int),
        metavar="N",
        help="Use the pool from N concurrent tasks. The default is 8.",
    )
    add(
        "--trace",
        nargs="+",
        metavar="FILE",
        help="Check these files of a TraceFile. The path of a TraceFile means all of its files.",
    )
    options = parser.parse_args(arguments)
    if options.trace is not None:
        contradicting = ("factory", "seconds", "seed", *OWN)
        if unexpected := [name for name in contradicting if getattr(options, name) is not None]:
            parser.error(f"--trace cannot go with --{unexpected[0].replace('_', '-')}")
    elif options.factory is None:
        unexpected = [name for name in OWN if getattr(options, name) is not None]
        if unexpected:
            parser.error(f"--{unexpected[0].replace('_', '-')} needs a --factory")
    elif options.closer is None:
        parser.error("--closer is missing: without a closer, nothing can be counted")
    if options.seconds is None:
        options.seconds = 30.0 if options.factory is None else 10.0
    if options.seed is None:
        options.seed = randrange(2**32)
    return options


def obstacle() -> str:
    """Return the reason why a verification is impossible or meaningless, or an empty text."""
    if sys.flags.optimize:
        return "python -O switches assertions and contracts off: nothing would be checked"
    missing = [name for name in ("hypothesis", "icontract") if find_spec(name) is None]
    return f"{' and '.join(missing)} cannot be found: {INSTALL}" if missing else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parse_arguments(arguments)
    logger = logging.getLogger("nodetool.concurrency.pool")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # injected faults need no log entries
    try:
        if options.trace:
            return recorded_run(options.trace)
        if found := obstacle():
            raise UsageError(found)
        return installation(options) if options.factory is None else resource(options)
    except UsageError as error:
        complain(f"{PROGRAM}: error: {error}")
        return USAGE
    except KeyboardInterrupt:
        complain(f"{PROGRAM}: interrupted")
        return INTERRUPTED
    finally:
        logger.setLevel(level)


def say(text: str) -> None:
    """Print a line.

    If this is impossible, raise a `UsageError`, because a verdict that is not printed is none.
    """
    try:
        print(text, flush=True)
    except (OSError, ValueError) as error:  # a pipe without a reader, a full disk, a closed file
        silence(sys.stdout)
        raise UsageError(f"the output cannot be written: {said(error)}") from error


def complain(text: str) -> None:
    """Print a line to the error stream if possible. The exit code says the same."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Redirect a broken stream to the null device.

    Python flushes its streams at exit, and this would fail again.
    """
    with suppress(OSError, ValueError):
        device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(device, stream.fileno())
        os.close(device)


def installation(options: argparse.Namespace) -> int:
    """Check the installed package."""
    start = perf_counter()
    seed, time = options.seed, options.seconds
    checked = time * _checks.CHECKED_SHARE
    say(f"seed {seed}; a few minutes on two cores")
    failed = [
        *section(
            "graphs: every state and step of the machine is compared with TLC's graphs, in both "
            "directions; bounds: those of the models (up to 4 tasks, up to 4 resource names)",
            _checks.graphs(PoolMachine, _checks.PROCESSES),
        ),
        *section(
            f"contracts: random walks with every contract on; the same bounds, {checked:g} s",
            _checks.contracts(PoolMachine, checked, seed),
        ),
        *section(
            "stateful: the real pool in virtual time, with each step looked up in the graphs; the "
            f"machine alone, compared with the counting model; {time - checked:g} s",
            _checks.stateful(PoolMachine, time - checked, seed),
        ),
    ]
    return verdict(failed, f", checked in {perf_counter() - start:.0f} s")


def section(title: str, findings: Iterable[_checks.CheckResult]) -> list[str]:
    """Print each finding at once. Return the names of the checks that fail."""
    say(f"\n{title}")
    failed = []
    for found in findings:
        sign = "FAIL" if found.problem else "ok"
        say(f"  {sign:<4}  {found.name:<18}{found.figures}, {found.seconds:.1f} s")
        if found.problem:
            say("        " + found.problem.replace("\n", "\n        "))
            failed.append(f"{title.partition(':')[0]} ({found.name})")
    return failed


def resource(options: argparse.Namespace) -> int:
    """Run a trial of the user's own resource."""
    from . import _report, _resource
    from ._outside import Functions

    functions = Functions(
        named("--factory", options.factory),
        named("--closer", options.closer, "the resource"),
        *(
            None if text is None else named(option, text, "the resource")
            for option, text in (("--check", options.check), ("--reset", options.reset))
        ),
    )
    load = _resource.Load(options.max_size or 4, options.users or 8, options.seconds, options.seed)
    say(f"seed {load.seed} (of random choices; the event loop decides the order of events)")
    try:
        phases = _resource.run(functions, load, say)
    except _resource.BrokenResourceError as error:
        return verdict([str(error)], "")
    for name, figures in _report.list_activity(phases):
        say(TABLE.fill(f"  {name:<18}{figures}"))
    found = _report.checks(phases, load)
    for check in found:
        say(f"  {'ok' if check.holds else 'FAIL':<4}  {check.name:<28}{check.detail}")
    return verdict([check.name for check in found if not check.holds], "")


def recorded_run(names: list[str]) -> int:
    """Check the steps of recorded pools."""
    from . import _replay

    start = perf_counter()
    replay = _replay.Replay(PoolMachine)
    files = _replay.heads(names)
    for head in files:
        before, told = replay.steps, perf_counter()
        for line in replay.read(head):
            if perf_counter() - told > PATIENCE:
                told = perf_counter()
                say(f"        {head.path.name}, line {line:,}")
        cut = ", cut off in its last line" if head.path in replay.cut else ""
        say(f"        {head.path.name}: {replay.steps - before:,} steps{cut}")
    for found in replay.failures:
        say(f"  FAIL  {found.guarantee}: {found.pool}, {found.where}")
        say("        " + found.detail.replace("\n", "\n        "))
    if replay.gaps:
        say(f"        {counted(replay.gaps, 'gap', 'gaps')}: the steps in between are unchecked")
    if replay.unchecked:
        say(f"        {replay.unchecked:,} steps before the first state of their pool: unchecked")
    if not (replay.steps or replay.failures):
        raise UsageError("--trace: the files have no step that can be checked")
    pools = counted(replay.pools, "pool", "pools")
    runs = counted(len({head.run for head in files}), "process", "processes")
    what = f"{replay.steps:,} steps of {pools} in {runs}"
    say(f"{what}, {perf_counter() - start:.1f} s")
    failed = [f"{found.guarantee} ({found.pool}, {found.where})" for found in replay.failures]
    return verdict(failed, f": {what} are behaviours of the specification")


def counted(number: int, one: str, several: str) -> str:
    """Write a number with its noun."""
    return f"{number:,} {one if number == 1 else several}"


def verdict(failed: list[str], when: str) -> int:
    """Print the last line, and return the exit code that says the same."""
    say(f"\nDOES NOT HOLD: {'; '.join(failed)}" if failed else f"\nall of it holds{when}")
    return FAILED if failed else HOLDS


if __name__ == "__main__":
    sys.exit(main())
