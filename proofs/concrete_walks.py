"""Walks that tell worlds apart by everything that the machine keeps.

A graph's state shows no removed entry, no heap and no deadline. These walks show that none of them
makes a difference, in models that are small enough.
"""

from __future__ import annotations

from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._walk import Comparison, by_contents, compare

__all__ = ["WORLDS", "check", "mismatch"]

WORLDS = {"Single": 1_750, "SingleChecked": 6_415, "Ending": 10_815}
"""How many worlds the machine has in each of these models."""


def mismatch(found: Comparison, untaken: int = 0) -> str:
    """Describe a difference from the graph, of which no clock takes `untaken` edges."""
    if not found.problem and (found.unvisited, found.untaken) != (0, untaken):
        expected = f", expected 0 and {untaken}" if untaken else ""
        return (
            f"{found.unvisited} states are not visited, "
            f"{found.untaken} edges are not taken{expected}"
        )
    return found.problem


def check(model: str) -> tuple[str, str]:
    """Walk one model. Return its name and what is wrong, if anything is."""
    found = compare(Graph.frozen(model), key=by_contents)
    problem = mismatch(found)
    if not problem and found.worlds != WORLDS[model]:
        problem = f"{found.worlds:,} worlds, expected {WORLDS[model]:,}"
    return model, problem
