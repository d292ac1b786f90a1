"""Compare the machine of the second semantics with the specification's graphs.

python -m proofs.second_walk    compare all models, without TLC: a few minutes
"""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple

from nodetool.concurrency._second.machine import PoolMachine
from nodetool.concurrency._second.walk import Move, World, expand, walk
from nodetool.concurrency.verify._graph import encode
from nodetool.concurrency.verify._walk import TIME, OutputError
from spec.second_graph import Graph, limits_of

__all__ = [
    "UNTAKEN",
    "Comparison",
    "Move",
    "OutputError",
    "World",
    "compare",
    "compare_with",
    "difference",
    "expand",
    "walk",
]


class Comparison(NamedTuple):
    """The result of a comparison."""

    states: int
    edges: int
    worlds: int
    unvisited: int  # states that no clock leads to
    untaken: int  # edges on which time passes that no clock takes
    problem: str


def compare(model: str, machine: type[PoolMachine[Any]] = PoolMachine) -> Comparison:
    """Compare the machine with the frozen graph of a model, in both directions."""
    return compare_with(Graph.frozen(model), machine)


def compare_with(graph: Graph, machine: type[PoolMachine[Any]] = PoolMachine) -> Comparison:
    """Compare the machine with a graph, in both directions."""
    c = graph.constants
    found, worlds = walk(c, machine)
    problem = ""
    starts = {World(c, sizes, machine).state(0) for sizes in limits_of(c)}
    if starts != set(graph.starts):
        odd = min(starts ^ set(graph.starts), key=encode)
        problem = f"only one of the two starts in {odd}"
    untaken = 0
    for state, edges in found.items():
        specified = graph.edges.get(state, frozenset())
        extra, left = edges - specified, specified - edges
        missing = {edge for edge in left if edge[0] not in TIME}
        untaken += len(left) - len(missing)
        if not problem and (extra or missing):
            side = "only the machine" if extra else "only the specification"
            action, to = min(extra or missing, key=lambda edge: (edge[0], encode(edge[1])))
            problem = f"{side}: {action}\n  from {state}\n  to   {to}"
    unvisited = len(graph.edges.keys() - found.keys())
    return Comparison(len(graph.edges), graph.steps, worlds, unvisited, untaken, problem)


UNTAKEN = {
    "Wide": 0,
    "Deep": 228,
    "Checked": 0,
    "Resizing": 0,
    "Fifo": 0,
    "Aging": 2,
    "Lowering": 0,
    "Pruning": 0,
    "Ending": 0,
    "Restoring": 0,
    "Shrinking": 0,
    "Single": 0,
    "SingleChecked": 0,
    "Doubtful": 0,
    "Rotating": 0,
    "Combined": 0,
}
"""The models with a frozen graph, and how many edges no clock takes: time passes on them."""


def difference(model: str, found: Comparison) -> str:
    """Describe what is not as expected, if anything is not."""
    if found.problem:
        return found.problem
    figures = found.unvisited, found.untaken
    if figures != (0, UNTAKEN[model]):
        return "{} states are not visited, {} edges are not taken".format(*figures)
    return ""


def main() -> int:
    """Compare all models, print a table, and return the exit code."""
    wrong = 0
    row = "{:10}  {:>7}  {:>8}  {:>7}  {:>9}  {:>7}  {:>7}  {}".format
    print(row(*TITLES))
    total = [0, 0, 0]
    for model in UNTAKEN:
        begin = time.monotonic()
        found = compare(model)
        said = difference(model, found)
        seconds = f"{time.monotonic() - begin:.1f}"
        total = [a + b for a, b in zip(total, found[:3], strict=True)]
        numbers = [f"{number:,}" for number in found[:5]]
        print(row(model, *numbers, seconds, said or "equal"), flush=True)
        wrong += said != ""
    print(row("", *[f"{number:,}" for number in total], "", "", "", "").rstrip())
    return 1 if wrong else 0


TITLES = ("model", "states", "edges", "worlds", "unvisited", "untaken", "seconds", "graphs")

if __name__ == "__main__":
    sys.exit(main())
