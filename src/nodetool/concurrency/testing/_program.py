"""A plain asyncio program that repeats one schedule of a scenario on asyncio's own loop."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from typing import Any

from ._explore import Player, control_process
from ._result import parse_schedule
from ._run import Scenario
from ._search import ReplayChooser
from ._template import PROGRAM
from ._virtual import START

__all__ = ["plain_program"]

MUST = "{!r} must be a function of a module whose source can be read"
EXPLORER = __name__.rpartition(".")[0]


def plain_program(scenario: Scenario, schedule: str, *, max_depth: int = 10_000) -> str:
    """Write a schedule as a program that needs only asyncio, and what the scenario itself imports.

    The program repeats the schedule on asyncio's own loop. It ends with exit code 1 and says what
    went wrong. So it can be attached to a bug report. The clock of its loop is virtual, but the
    clocks of ``time`` are real.

    Args:
        scenario: The scenario. It must be a function of a module. The program has a copy of the
            function, and of everything in the module that the function needs.
        schedule: The `replay` of a `Failure`, of mode "events".
        max_depth: The maximum number of steps.

    Returns:
        The source of the program.

    Raises:
        ValueError: The text is no schedule of mode "events", or no schedule of this scenario. Or
            the scenario is no function of a module.

    Since version 0.2.0.
    """
    mode, choices = parse_schedule(schedule)
    if mode != "events":
        raise ValueError("the stock loop has an order of its own: it can follow mode events only")
    source = _source_of(scenario)
    player = Player(scenario, mode, max_depth, 0.0, ())
    with control_process(scenario):
        run, _ = player.run(ReplayChooser(choices))
    steps = "".join(
        f"    {step.option!r},{f'  # {step.words}' if step.words else ''}\n"
        for step in run.story or ()
        if step.option[0] != "at once"
    )
    name: Any = scenario
    return (
        PROGRAM.replace("SCENARIO_SOURCE", source)
        .replace("scenario(events)", f"{name.__name__}(events)")
        .replace("STEPS = []", f"STEPS = [\n{steps}]")
        .replace("INSIDE = []", f"INSIDE = {run.inside!r}")
        .replace("START = 0.0", f"START = {START!r}")
    )


def _source_of(scenario: Any) -> str:
    """Return the source of a function, and of everything in its module that it needs."""
    module = sys.modules.get(getattr(scenario, "__module__", ""))
    name = getattr(scenario, "__qualname__", "")
    try:
        assert module is not None
        text = inspect.getsource(module)
    except (AssertionError, OSError, TypeError) as error:
        raise ValueError(MUST.format(scenario)) from error
    statements = ast.parse(text).body
    owners = {bound: one for one in statements for bound in _bound_names(one)}
    if name not in owners:
        raise ValueError(MUST.format(scenario))
    needed: dict[ast.stmt, None] = {}
    wanted = [name]
    while wanted:
        owner = owners.get(wanted.pop())
        if owner is not None and owner not in needed:
            needed[owner] = None
            wanted += [one.id for one in ast.walk(owner) if isinstance(one, ast.Name)]
    lines = [_text(one, text, module.__name__) for one in statements if one in needed]
    return "\n\n".join(line for line in lines if line)


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    """List the names that a statement gives to the module."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (one.asname or one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _text(statement: ast.stmt, text: str, module: str) -> str:
    """Return the source of a statement. The program has no use for imports of the explorer."""
    if isinstance(statement, ast.ImportFrom):
        origin = "." * statement.level + (statement.module or "")
        statement.module = importlib.util.resolve_name(origin, module.rpartition(".")[0])
        statement.level = 0
        return "" if f"{statement.module}.".startswith(f"{EXPLORER}.") else ast.unparse(statement)
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(one.lineno for one in decorators)])
    return "\n".join(text.splitlines()[first - 1 : statement.end_lineno])
