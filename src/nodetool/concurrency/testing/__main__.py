"""``python -m nodetool.concurrency.testing module:scenario``: explore it, or replay a schedule."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from ._explore import explore, replay
from ._run import Scenario


class UsageError(Exception):
    """The command line asks for something that there is not."""


def scenario_of(text: str) -> Scenario:
    """The scenario that ``module:name`` stands for."""
    module_name, _, name = text.partition(":")
    if not (module_name and name):
        raise UsageError(f"{text!r} is not of the form module:scenario")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise UsageError(f"cannot import {module_name!r}: {what}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{module_name!r} has no {name!r}")
        found = getattr(found, part)
    scenario: Scenario = found
    return scenario


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 if there was a failure, 2 if the command line was wrong, else 0.

    So it is 0 also where a bound has stopped it: the line that it prints says so.
    """
    parser = argparse.ArgumentParser(
        prog="python -m nodetool.concurrency.testing",
        description="Run an asyncio scenario in every way that it can go.",
        epilog="Exits with 1 if a run has failed, with 2 if it could not be explored, else with 0: "
        "also if a bound has stopped it.",
    )
    parser.add_argument("scenario", help="module:function, an async function of the events")
    parser.add_argument("--mode", choices=["events", "ready"], default="events")
    parser.add_argument("--replay", metavar="SCHEDULE", help="run this one schedule only")
    parser.add_argument("--max-schedules", type=int, metavar="N")
    parser.add_argument("--max-seconds", type=float, metavar="N")
    parser.add_argument("--no-prune", action="store_true", help="compare no states")
    options = parser.parse_args(arguments)
    try:
        scenario = scenario_of(options.scenario)
        if options.replay is not None:
            result = replay(scenario, options.replay)
        else:
            result = explore(
                scenario,
                mode=options.mode,
                prune=not options.no_prune,
                max_schedules=options.max_schedules,
                max_seconds=options.max_seconds,
            )
    except (TypeError, UsageError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    encoding = sys.stdout.encoding or "utf-8"
    print(str(result).encode(encoding, "backslashreplace").decode(encoding))
    return 1 if result.failure is not None else 0


if __name__ == "__main__":
    sys.exit(main())
