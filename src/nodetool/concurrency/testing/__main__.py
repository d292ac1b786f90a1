"""The command ``python -m nodetool.concurrency.testing module:scenario``."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from ._explore import explore, replay
from ._run import Scenario


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

    The code is 1 if a run failed, and 2 if the command line was wrong. Otherwise it is 0, even if a
    bound stopped the exploration: the printed line names the bound.
    """
    parser = argparse.ArgumentParser(
        prog="python -m nodetool.concurrency.testing",
        description="Run an asyncio scenario in every possible order.",
        epilog="Exits with 1 if a run failed, and with 2 if the scenario could not be explored. "
        "Otherwise exits with 0, even if a bound stopped the exploration.",
    )
    parser.add_argument("scenario", help="module:function, an async function of the events")
    parser.add_argument("--mode", choices=["events", "ready"], default="events")
    parser.add_argument("--replay", metavar="SCHEDULE", help="run only this schedule")
    parser.add_argument("--max-schedules", type=int, metavar="N")
    parser.add_argument("--max-seconds", type=float, metavar="N")
    parser.add_argument("--no-prune", action="store_true", help="do not compare states")
    options = parser.parse_args(arguments)
    try:
        scenario = load_scenario(options.scenario)
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
