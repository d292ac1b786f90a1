"""Read the state graph that TLC dumps, and compare two graphs."""

import re

from nodetool.concurrency.verify._graph import Graph, GraphFormatError, State
from nodetool.concurrency.verify._values import Constants, parse_value

__all__ = ["differences", "graph_from"]

_NODE = re.compile(r'(-?\d+) \[label="((?:[^"\\]|\\.)*)"(,style = filled)?\];?')
_EDGE = re.compile(r'(-?\d+) -> (-?\d+) \[label="(\w+)"[^\]]*\];')
_LAYOUT = re.compile(r"strict digraph .*|nodesep=.*|subgraph .*|color=.*|\{rank = same; .*|\}")
_ESCAPED = re.compile(r"\\(.)")


def state_from(label: str) -> State:
    """Read the label of a node of a dump."""
    plain = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], label)
    found: dict[str, object] = {}
    for conjunct in plain.removeprefix("/\\ ").split("\n/\\ "):
        name, _, text = conjunct.partition(" = ")
        value = parse_value(text)
        if name in ("task", "lease") and isinstance(value, tuple):
            value = tuple(item for _, item in value)
        found[name] = value
    if set(found) != set(State._fields):
        raise GraphFormatError(f"not a state of the pool: {plain}")
    return State(**found)  # type: ignore[arg-type]  # TypeOK is an invariant of the model


def graph_from(dot: str, constants: Constants, source: str = "") -> Graph:
    """Read a dump that TLC wrote with ``-dump dot,actionlabels``."""
    states: dict[str, State] = {}
    initial: list[State] = []
    steps: list[tuple[str, str, str]] = []
    for line in dot.splitlines():
        if edge := _EDGE.fullmatch(line):
            start, end, action = edge.groups()
            steps.append((start, action, end))
        elif node := _NODE.fullmatch(line):
            states[node[1]] = state_from(node[2])
            if node[3]:
                initial.append(states[node[1]])
        elif line and not _LAYOUT.fullmatch(line):
            raise GraphFormatError(f"not a line of a dump: {line[:100]}")
    if len(initial) != 1:
        raise GraphFormatError(f"{len(initial)} initial states instead of one")
    out: dict[State, set[tuple[str, State]]] = {state: set() for state in states.values()}
    for start, action, end in steps:
        out[states[start]].add((action, states[end]))
    edges = {state: frozenset(leaving) for state, leaving in out.items()}
    return Graph(initial[0], edges, constants, source)


def differences(frozen: Graph, fresh: Graph) -> list[str]:
    """List the differences of a fresh graph from the frozen one."""
    found = []
    if frozen.constants != fresh.constants:
        found.append("the constants differ")
    if frozen.initial != fresh.initial:
        found.append(f"the initial state was {frozen.initial}, is {fresh.initial}")
    for title, one, other in (("gone", frozen, fresh), ("new", fresh, frozen)):
        states = [state for state in one.edges if state not in other.edges]
        if states:
            found.append(f"{len(states)} states are {title}, the first: {states[0]}")
        steps = [
            (state, step)
            for state, leaving in one.edges.items()
            if state in other.edges
            for step in leaving - other.edges[state]
        ]
        if steps:
            state, (action, to) = steps[0]
            found.append(f"{len(steps)} edges are {title}, the first: {action} {state} -> {to}")
    return found
