"""A small graph, of no machine, to save and to damage."""

from nodetool.concurrency.verify._graph import Graph, State

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
