"""Read the state graph that TLC dumps, and compare two graphs."""

import re
from typing import Any, NamedTuple

from nodetool.concurrency.verify._graph import Graph, GraphFormatError, State, encode, limits_of
from nodetool.concurrency.verify._values import Constants, parse_value

__all__ = ["Dump", "differences", "graph_from", "read"]

_NODE = re.compile(r'(-?\d+) \[label="((?:[^"\\]|\\.)*)"(,style = filled)?\];?')
_EDGE = re.compile(r'(-?\d+) -> (-?\d+) \[label="(\w+)"[^\]]*\];')
_LAYOUT = re.compile(r"strict digraph .*|nodesep=.*|subgraph .*|color=.*|\{rank = same; .*|\}")
_ESCAPED = re.compile(r"\\(.)")
_NAMES = {"maxSize": "max_size", "minSize": "min_size"}  # of variables, where the fields' differ


class Dump(NamedTuple):
    """The states of a dump by their names, the initial ones, and the edges with their actions."""

    states: dict[str, dict[str, object]]  # the values of the variables
    initial: list[str]
    edges: list[tuple[str, str, str]]  # from, action, to


def values_from(label: str) -> dict[str, object]:
    """Read the label of a node: the values of the variables."""
    plain = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], label)
    found: dict[str, object] = {}
    for conjunct in plain.removeprefix("/\\ ").split("\n/\\ "):
        name, _, text = conjunct.partition(" = ")
        value = parse_value(text)
        if name in ("task", "lease") and isinstance(value, tuple):
            value = tuple(item for _, item in value)
        found[name] = value
    return found


def read(dot: str) -> Dump:
    """Read a dump that TLC wrote with ``-dump dot,actionlabels``."""
    found = Dump({}, [], [])
    for line in dot.splitlines():
        if edge := _EDGE.fullmatch(line):
            start, end, action = edge.groups()
            found.edges.append((start, action, end))
        elif node := _NODE.fullmatch(line):
            found.states[node[1]] = values_from(node[2])
            if node[3]:
                found.initial.append(node[1])
        elif line and not _LAYOUT.fullmatch(line):
            raise GraphFormatError(f"not a line of a dump: {line[:100]}")
    return found


def state_from(values: dict[str, object]) -> State:
    """Make a state of the pool from the values of the variables."""
    fields: dict[str, Any] = {_NAMES.get(name, name): value for name, value in values.items()}
    if set(fields) != set(State._fields):
        raise GraphFormatError(f"not a state of the pool: {values}")
    return State(**fields)  # TypeOK is an invariant of the model


def graph_from(dot: str, constants: Constants, source: str = "") -> Graph:
    """Read the graph of the pool from a dump. It has an initial state for each pair of limits."""
    found = read(dot)
    if len(found.initial) != (starts := len(limits_of(constants))):
        raise GraphFormatError(f"{len(found.initial)} initial states instead of {starts}")
    states = {name: state_from(values) for name, values in found.states.items()}
    out: dict[State, set[tuple[str, State]]] = {state: set() for state in states.values()}
    for start, action, end in found.edges:
        out[states[start]].add((action, states[end]))
    edges = {state: frozenset(leaving) for state, leaving in out.items()}
    first, *others = sorted((states[name] for name in found.initial), key=encode)
    return Graph(first, edges, constants, source, frozenset(others))


def differences(frozen: Graph, fresh: Graph) -> list[str]:
    """List the differences of a fresh graph from the frozen one."""
    found = []
    if frozen.constants != fresh.constants:
        found.append("the constants differ")
    if frozen.starts != fresh.starts:
        was, now = (", ".join(map(str, graph.starts)) for graph in (frozen, fresh))
        found.append(f"the initial state was {was}, is {now}")
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
