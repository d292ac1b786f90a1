"""Compare the counting model of the second semantics with the graph of its TLA+ module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nodetool.concurrency._machine.counts import Floor, Phase
from nodetool.concurrency._second.counts import Counts, Event, Limits, allowed, transition
from spec import dump, tlc
from spec.second_graph import FOLDER, limits_of
from spec.tla import ModelConfig

Edges = dict[Counts, set[Counts]]

# The fields of the module's record, in the order of `Counts`.
FIELDS = (
    *("creating", "retiredCreations", "checking", "retiredChecks", "ready", "unchecked"),
    *("inUse", "resetting", "closing", "waiting", "disowned", "maxSize", "minSize"),
    *("phase", "floor"),
)


def successors(
    limits: Limits, sizes: list[tuple[int, int]], c: Counts
) -> Iterator[tuple[Event, Counts]]:
    """Yield the numbers after each event that is allowed, with each of its choices."""
    for event in Event:
        if event is Event.RESIZE:
            choices = [(a, b, k) for a, b in sizes for k in range(c.ready + 1)]
        else:
            most = max(1, c.ready, c.in_use)
            choices = [(i, j, 0) for i in range(most + 1) for j in range(c.unchecked + 1)]
        for i, j, k in choices:
            if allowed(limits, c, event, i, j, k):
                yield event, transition(limits, c, event, i, j, k)


def explore(limits: Limits, sizes: list[tuple[int, int]]) -> Edges:
    """Return the edges of every state that the rules reach. A step may change nothing."""
    found: Edges = {}
    todo = [Counts._make([*[0] * 11, a, b, Phase.OPEN, Floor.OFF]) for a, b in sizes]
    while todo:
        c = todo.pop()
        if c not in found:
            found[c] = {after for _, after in successors(limits, sizes, c)}
            todo += found[c]
    return found


def counts_from(numbers: Any) -> Counts:
    """Make counts from the module's record."""
    record = dict(numbers)
    values = [record[field] for field in FIELDS[:-2]]
    return Counts._make([*values, Phase(record["phase"]), Floor(record["floor"])])


def specified() -> tuple[Limits, list[tuple[int, int]], Edges]:
    """Let TLC enumerate the model Counts."""
    constants: dict[str, object] = ModelConfig.read(FOLDER / "models" / "Counts.cfg").constants
    found = dump.read(tlc.run("Counts", "PoolCounts", dump=True, folder=FOLDER).dot)
    states = {name: counts_from(values["numbers"]) for name, values in found.states.items()}
    edges: Edges = {state: set() for state in states.values()}
    for start, _, end in found.edges:
        edges[states[start]].add(states[end])
    creating, waiting = constants["MaxCreating"], constants["MaxWaiting"]
    assert isinstance(creating, int)
    assert isinstance(waiting, int)
    return Limits(creating, waiting), limits_of(constants), edges


def compare() -> tuple[int, int, str]:
    """Return the number of states and of edges, and the first difference."""
    limits, sizes, graph = specified()
    found = explore(limits, sizes)
    problem = ""
    if set(found) != set(graph):
        problem = f"states differ: {set(found) ^ set(graph)}"
    else:
        for state, edges in found.items():
            others = (edges ^ graph[state]) - {state}
            if others:
                problem = f"edges from {state} differ: {min(others, key=str)}"
                break
    return len(graph), sum(map(len, graph.values())), problem
