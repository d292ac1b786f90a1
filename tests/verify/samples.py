"""A small graph, of no machine, to save and to damage."""

from nodetool.concurrency.verify._graph import Graph, State
from nodetool.concurrency.verify._values import Constants
from nodetool.concurrency.verify._walk import walk

NOBODY: frozenset[int] = frozenset()
CLOSED = State(
    phase="closed",
    floor="off",
    place=("free", "free"),
    task=("out", "out"),
    lease=(0, 0),
    queue=(),
    idle=(),
    old=NOBODY,
    stale=NOBODY,
    trusted=NOBODY,
    retired=NOBODY,
)
OPEN = CLOSED._replace(phase="open")
USED = OPEN._replace(
    floor="on", place=("inUse", "idle"), task=("holding", "out"), lease=(1, 0), idle=(2,)
)
MARKED = USED._replace(old=frozenset({1, 2}), trusted=frozenset({2}), retired=frozenset({1}))
SAMPLE = Graph(
    OPEN,
    {
        OPEN: frozenset({("Close", CLOSED), ("Terminate", CLOSED), ("Acquire", USED)}),
        USED: frozenset({("GrowOld", MARKED), ("Release", OPEN)}),
        MARKED: frozenset(),
        CLOSED: frozenset(),
    },
    {"Tasks": ("a", "b"), "MaxSize": 1, "Ages": True},
    "5b1f",
)


def walked_graph(constants: Constants) -> Graph:
    """Return the graph of the machine itself, within these bounds."""
    edges: dict[State, frozenset[tuple[str, State]]] = {}
    for state, found in walk(constants):
        edges[state] = edges.get(state, frozenset()) | found
    return Graph(next(iter(edges)), edges, constants)
