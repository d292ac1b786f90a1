"""Walks of the machine along the specification's graphs, and what they find.

A walk tells worlds apart by their state, and by the order of the next limits. The walks of
`WORLDS` tell worlds apart by everything that the machine keeps: a graph's state shows no removed
entry, no heap and no deadline. These walks show that none of them makes a difference, in models
that are small enough.

python -m proofs.graph_walks          compare all models, without TLC: a few minutes
python -m proofs.graph_walks Single   compare some models
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nodetool.concurrency._machine.guarantees import (
    EVERY_STEP,
    STATE_PREDICATES,
    STEP_PREDICATES,
    before,
)
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._walk import (
    Comparison,
    Move,
    World,
    by_contents,
    compare,
    expand,
)

__all__ = ["UNTAKEN", "WORLDS", "broken_on_edges", "check_contents", "mismatch"]

UNTAKEN = {"Deep": 228, "Aging": 2}
"""How many edges of a model no clock takes. On each of them time passes. Other models have none."""

WORLDS = {
    "SingleChecked": 6_115,
    "Lowering": 1_189,
    "Single": 10_197,
    "Rotating": 3_578,
    "Shrinking": 6_850,
}
"""How many worlds the machine has in each of these models, told apart by their contents."""


def mismatch(model: str, found: Comparison) -> str:
    """Describe what is not as expected, if anything is not."""
    figures = found.unvisited, found.untaken
    if not found.problem and figures != (0, UNTAKEN.get(model, 0)):
        return "{} states are not visited, {} edges are not taken".format(*figures)
    return found.problem


def check_contents(model: str) -> tuple[str, str]:
    """Walk one model, with worlds told apart by contents. Return its name and what is wrong."""
    found = compare(Graph.frozen(model), key=by_contents)
    problem = mismatch(model, found)
    if not problem and found.worlds != WORLDS[model]:
        problem = f"{found.worlds:,} worlds, expected {WORLDS[model]:,}"
    return model, problem


broken: Counter[tuple[str, str]] = Counter()  # a world is copied, so it cannot count itself


class PredicateWorld(World):
    """A world that evaluates all predicates after each step, and counts those that do not hold."""

    def step(self, move: Move, args: tuple[Any, ...]) -> Any:
        memory = before(self.machine, move.action, args)
        result = self.take(move.action, args)
        for name, predicate in (*EVERY_STEP, *STEP_PREDICATES[move.action]):
            if not predicate(self.machine, memory, result):
                broken[name, predicate.__name__] += 1
        for name, of_state in STATE_PREDICATES:
            if not of_state(self.machine):
                broken[name, of_state.__name__] += 1
        return result


def broken_on_edges(
    constants: Mapping[str, Any], machine: type[PoolMachine[Any]] = PoolMachine
) -> Counter[tuple[str, str]]:
    """Walk a machine to its end. Count for each predicate the edges on which it does not hold."""
    broken.clear()
    for _ in expand(constants, machine, PredicateWorld):
        pass
    return broken.copy()


def main(models: Sequence[str] = FROZEN) -> int:
    """Compare the models, print a table, and return the exit code."""
    row = "{:14}  {:>7}  {:>8}  {:>7}  {:>9}  {:>7}  {:>7}  {}".format
    print(row(*TITLES))
    total, wrong = [0, 0, 0], False
    for model in models:
        begin = time.monotonic()
        found = compare(Graph.frozen(model))
        said = mismatch(model, found)
        seconds = f"{time.monotonic() - begin:.1f}"
        total = [a + b for a, b in zip(total, found[:3], strict=True)]
        print(row(model, *(f"{n:,}" for n in found[:5]), seconds, said or "equal"), flush=True)
        wrong = wrong or said != ""
    print(row("", *(f"{n:,}" for n in total), "", "", "", "").rstrip())
    return 1 if wrong else 0


TITLES = ("model", "states", "edges", "worlds", "unvisited", "untaken", "seconds", "graphs")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or FROZEN))
