"""A small graph, of no machine, to save and to damage; and graphs of the machine itself."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nodetool.concurrency.verify._graph import Graph, State, limits_of
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
    disowned=0,
    max_size=1,
    min_size=0,
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
    {"Tasks": ("a", "b"), "MaxSizes": (1,), "MinSizes": (0,), "Ages": True},
    "5b1f",
)


def walked_graph(constants: Constants) -> Graph:
    """Return the graph of the machine itself, within these bounds."""
    found, _ = walk(constants)
    edges = {state: frozenset(leaving) for state, leaving in found.items()}
    first, *others = list(edges)[: len(limits_of(constants))]
    return Graph(first, edges, constants, others=frozenset(others))


@contextmanager
def untraced() -> Iterator[None]:
    """Run a block without coverage, which would make it three times as slow."""
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)
