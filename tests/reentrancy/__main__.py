"""Run every scenario with every action, print the table, and exit with 1 if an outcome is wrong.

    python -m tests.reentrancy [--distinct] [WORD ...]

Words choose scenarios and actions: those whose name contains one of them. With `--distinct`, an
action is injected once at each bytecode with the same callers, in the first scenario that has it.
Debug mode has most of the bytecodes and takes an hour, so it runs only if a word names it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .actions import Action
    from .injector import Kind
    from .scenarios import Scenario
    from .sweep import Row


def chosen(name: str, words: list[str]) -> bool:
    """Tell whether a name contains one of the words."""
    return any(word in name for word in words)


def main(words: list[str]) -> int:
    """Run the sweep. Return the exit status."""
    from .actions import CALLS
    from .scenarios import SCENARIOS
    from .sweep import Laboratory, applies, pairs, sweep, table

    work: list[tuple[Kind, Scenario, Action]] = [("bytecode", *pair) for pair in pairs()]
    for scenario in SCENARIOS.values():
        for action in CALLS:
            if applies(scenario, action):
                work += [("event", scenario, action), ("record", scenario, action)]
    distinct = "--distinct" in words
    words = [word for word in words if word != "--distinct"]
    known: dict[str, set[int]] = {}
    rows: list[Row] = []
    with Laboratory().opened() as laboratory:
        for kind, scenario, action in work:
            if words and not (chosen(scenario.name, words) or chosen(action.name, words)):
                continue
            if scenario.name == "debug mode" and not chosen(scenario.name, words):
                continue
            stacks = known.setdefault(action.name, set()) if distinct else None
            row = sweep(laboratory, scenario, action, kind, stacks if kind == "bytecode" else None)
            rows.append(row)
            print(table([row]).splitlines()[1], flush=True)
            for wrong in row.wrong[:3]:
                print(f"{row.scenario}, {row.action}: {wrong}", flush=True)
    print(table(rows))
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
