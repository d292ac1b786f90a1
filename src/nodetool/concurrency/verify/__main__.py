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

from nodetool.concurrency._machine import PoolMachine

from . import _checks
from ._named import UsageError, named, said

DESCRIPTION = """\
Without --factory: compare the installed pool with its specification, which takes a few minutes.
With it: use a pool of your own resources in all ways, with faults and cancellations, and count."""

INSTALL = "pip install 'nodetool-concurrency[verify]'"
HOLDS, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
TABLE = TextWrapper(100, subsequent_indent=" " * 20, break_on_hyphens=False)
OWN = ("closer", "check", "reset", "max_size", "users")  # options that are about --factory


def at_least(least: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    """A number on the command line."""

    def number(text: str) -> float:
        value = kind(text)
        if not least <= value < inf:
            raise argparse.ArgumentTypeError(f"must be {least:g} or more, not {text}")
        return value

    return number


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; what contradicts itself ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m nodetool.concurrency.verify",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=at_least(0.1, float), help="of random runs (default: 30; factory: 10)")
    add("--seed", type=at_least(0, int), help="of all that is random (default: a fresh one)")
    add("--factory", metavar="MODULE:FUNCTION", help="makes a resource of yours")
    add("--closer", metavar="MODULE:FUNCTION", help="ends it")
    add("--check", metavar="MODULE:FUNCTION", help="says False if it is broken")
    add("--reset", metavar="MODULE:FUNCTION", help="tidies it when it comes back")
    add("--max-size", type=at_least(1, int), help="how many may live at once (default: 4)")
    add("--users", type=at_least(1, int), help="how many use them at once (default: 8)")
    chosen = parser.parse_args(arguments)
    if chosen.factory is None:
        lonely = [name for name in OWN if getattr(chosen, name) is not None]
        if lonely:
            parser.error(f"--{lonely[0].replace('_', '-')} needs a --factory")
    elif chosen.closer is None:
        parser.error("--closer is missing: what is made must be closed, or nothing can be counted")
    if chosen.seconds is None:
        chosen.seconds = 30.0 if chosen.factory is None else 10.0
    if chosen.seed is None:
        chosen.seed = randrange(2**32)
    return chosen


def obstacle() -> str:
    """What makes any verification impossible, or vacuous; empty if nothing does."""
    if sys.flags.optimize:
        return "python -O switches assertions and contracts off: nothing would be checked"
    missing = [name for name in ("hypothesis", "icontract") if find_spec(name) is None]
    return f"{' and '.join(missing)} cannot be found: {INSTALL}" if missing else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    chosen = options(arguments)
    logger = logging.getLogger("nodetool.concurrency.pool")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what fails on purpose need not be reported
    try:
        if found := obstacle():
            raise UsageError(found)
        return installation(chosen) if chosen.factory is None else resource(chosen)
    except UsageError as error:
        complain(f"error: {error}")
        return USAGE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    finally:
        logger.setLevel(level)


def say(text: str) -> None:
    """Print a line; whoever cannot be told is not told that it holds, nor that it does not."""
    try:
        print(text, flush=True)
    except (OSError, ValueError) as error:  # a pipe without a reader, a full disk, a closed file
        silence(sys.stdout)
        raise UsageError(f"the output cannot be written: {said(error)}") from error


def complain(text: str) -> None:
    """Print a line where errors go, if that is possible; the exit code says it as well."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Python writes the rest at its end: let that go nowhere, or it would fail once more."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def installation(chosen: argparse.Namespace) -> int:
    """Check the installed package."""
    start = perf_counter()
    seed, time = chosen.seed, chosen.seconds
    checked = time * _checks.CHECKED_SHARE
    say(f"seed {seed}; a few minutes on two cores")
    failed = [
        *section(
            "graphs: the machine in every state it can reach, against TLC's graphs, both ways; "
            "bound: the models' (up to 4 tasks, up to 5 names of resources)",
            _checks.graphs(PoolMachine, _checks.PROCESSES),
        ),
        *section(
            f"contracts: random walks with every contract on; same bound, {checked:g} s",
            _checks.contracts(PoolMachine, checked, seed),
        ),
        *section(
            "stateful: the real pool in virtual time, each step looked up in the graphs, and the "
            f"machine alone against the counting model; {time - checked:g} s",
            _checks.stateful(PoolMachine, time - checked, seed),
        ),
    ]
    return verdict(failed, f", checked in {perf_counter() - start:.0f} s")


def section(title: str, findings: Iterable[_checks.Found]) -> list[str]:
    """Print what is found as it is found; return the names of what does not hold."""
    say(f"\n{title}")
    failed = []
    for found in findings:
        sign = "FAIL" if found.problem else "ok"
        say(f"  {sign:<4}  {found.name:<18}{found.figures}, {found.seconds:.1f} s")
        if found.problem:
            say("        " + found.problem.replace("\n", "\n        "))
            failed.append(f"{title.partition(':')[0]} ({found.name})")
    return failed


def resource(chosen: argparse.Namespace) -> int:
    """Try a resource of the user's."""
    from . import _report, _resource
    from ._outside import Functions

    functions = Functions(
        named("--factory", chosen.factory),
        named("--closer", chosen.closer, "the resource"),
        *(
            None if text is None else named(option, text, "the resource")
            for option, text in (("--check", chosen.check), ("--reset", chosen.reset))
        ),
    )
    load = _resource.Load(chosen.max_size or 4, chosen.users or 8, chosen.seconds, chosen.seed)
    say(f"seed {load.seed} (of what is chosen; the order of events is the event loop's)")
    try:
        phases = _resource.run(functions, load, say)
    except _resource.BrokenResourceError as error:
        return verdict([str(error)], "")
    for name, figures in _report.done(phases):
        say(TABLE.fill(f"  {name:<18}{figures}"))
    found = _report.checks(phases, load)
    for check in found:
        say(f"  {'ok' if check.holds else 'FAIL':<4}  {check.name:<28}{check.detail}")
    return verdict([check.name for check in found if not check.holds], "")


def verdict(failed: list[str], when: str) -> int:
    """Print the last line; the exit code says the same."""
    say(f"\nDOES NOT HOLD: {'; '.join(failed)}" if failed else f"\nall of it holds{when}")
    return FAILED if failed else HOLDS


if __name__ == "__main__":
    sys.exit(main())
