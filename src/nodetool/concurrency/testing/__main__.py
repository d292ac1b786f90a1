"""The command ``python -m nodetool.concurrency.testing module:scenario``."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from nodetool.concurrency import __version__

from ._explore import explore, replay
from ._program import plain_program
from ._run import Scenario

UNEXPLORED = 3  # the exit code after a bound


class UsageError(Exception):
    """A command line that cannot be carried out."""


def load_scenario(text: str) -> Scenario:
    """Import the scenario that ``module:name`` stands for."""
    module_name, _, name = text.partition(":")
    if not (module_name and name):
        raise UsageError(f"{text!r} is not of the form module:scenario")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"cannot import {module_name!r}: {reason}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{module_name!r} has no {name!r}")
        found = getattr(found, part)
    scenario: Scenario = found
    return scenario


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    The code is 0 if every schedule was explored and none failed. It is 1 if a run failed, and 2 if
    the command line was wrong. It is 3 if a bound stopped the exploration, because then a green
    build would prove nothing. With ``--allow-bound`` it is 0 instead.
    """
    parser = argparse.ArgumentParser(
        prog="python -m nodetool.concurrency.testing",
        description="Run an asyncio scenario in every possible order of its events.",
        epilog="The exit code is 1 if a run failed, 2 if the scenario could not be explored, and "
        "3 if a bound stopped the exploration.",
    )
    add = parser.add_argument
    add(
        "--version",
        action="version",
        version=f"nodetool-concurrency {__version__}",
        help="Print the version of the package, and exit.",
    )
    add(
        "scenario",
        metavar="MODULE:FUNCTION",
        help="Explore this async function. Its only argument is the events.",
    )
    add(
        "--mode",
        choices=["events", "ready"],
        default="events",
        help="Choose the order of the scenario's own events, or of all callbacks that are ready. "
        "The default is %(default)s.",
    )
    add("--replay", metavar="SCHEDULE", help="Run only this schedule. A failure prints it.")
    add("--program", action="store_true", help="Also print a failure as a plain asyncio program.")
    add("--max-schedules", type=int, metavar="N", help="Stop after N schedules.")
    add("--max-seconds", type=float, metavar="S", help="Stop after S seconds.")
    add("--allow-bound", action="store_true", help="Exit with 0 even if a bound has stopped it.")
    add(
        "--creep",
        type=float,
        metavar="S",
        default=0.0,
        help="Let each look at a clock take S seconds, for code that waits without an await.",
    )
    add(
        "--no-prune",
        action="store_true",
        help="Compare no states. So the explorer also runs schedules that reach a known state.",
    )
    options = parser.parse_args(arguments)
    try:
        scenario = load_scenario(options.scenario)
        if options.replay is not None:
            result = replay(scenario, options.replay, creep=options.creep)
        else:
            result = explore(
                scenario,
                mode=options.mode,
                prune=not options.no_prune,
                max_schedules=options.max_schedules,
                max_seconds=options.max_seconds,
                creep=options.creep,
            )
        text = str(result)
        if options.program and result.failure is not None:
            text += f"\n\n{plain_program(scenario, result.failure.replay)}"
    except (TypeError, UsageError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    if result.failure is not None:
        return 1
    return 0 if result.is_complete or options.allow_bound else UNEXPLORED


if __name__ == "__main__":
    sys.exit(main())
