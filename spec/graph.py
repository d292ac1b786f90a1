"""State graphs as data: what TLC enumerated once can be read without TLC.

A frozen graph is a gzipped text.  Its lines, for the model Wide:

    resource pool graph 1              the format and its version
    source 5b1f...                     digest of the modules, see `source_digest`
    constant MaxSize = 2               the constants of the model, sorted by name
    ...
    states 5933
    edges 40000
    open on inUse,free,free holding,out,out,out 1,0,0,0 - - 1 - - -
    ...
    Close 17 Release 4,9
    ...

First come the states, numbered from 0 in the order of their lines: the fields
of `State` separated by blanks, the elements of a field by commas, "-" if there
are none.  Then comes one line for each state again, with its edges: an action,
the numbers of the states it leads to, the next action; "-" if there are none.

The order is breadth first from the initial state, successors by action and
then by their lines, so that equal graphs have equal texts.
"""

import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from spec.tla import Constants, constants_from, format_value, parse_value

__all__ = ["Graph", "GraphFormatError", "State", "differences"]

_HEADER = "resource pool graph 1"

_NODE = re.compile(r'(-?\d+) \[label="((?:[^"\\]|\\.)*)"(,style = filled)?\];?')
_EDGE = re.compile(r'(-?\d+) -> (-?\d+) \[label="(\w+)"[^\]]*\];')
_LAYOUT = re.compile(r"strict digraph .*|nodesep=.*|subgraph .*|color=.*|\{rank = same; .*|\}")
_ESCAPED = re.compile(r"\\(.)")


class GraphFormatError(ValueError):
    """A frozen graph or a dump is damaged, or of another version."""


class State(NamedTuple):
    """A state of AsyncResourcePool.tla; tasks are in the order of their names."""

    phase: str
    floor: str
    place: tuple[str, ...]  # of resource 1, 2, ...
    task: tuple[str, ...]
    lease: tuple[int, ...]  # of each task; 0 is none
    queue: tuple[str, ...]  # names of tasks
    idle: tuple[int, ...]
    old: frozenset[int]
    stale: frozenset[int]
    trusted: frozenset[int]
    retired: frozenset[int]

    def encode(self) -> str:
        lists = [self.place, self.task, self.lease, self.queue, self.idle]
        lists += [tuple(sorted(s)) for s in (self.old, self.stale, self.trusted, self.retired)]
        fields = [",".join(map(str, items)) or "-" for items in lists]
        return " ".join([self.phase, self.floor, *fields])

    @classmethod
    def decode(cls, line: str) -> Self:
        phase, floor, *fields = line.split(" ")
        place, task, lease, queue, idle, old, stale, trusted, retired = (
            tuple(field.split(",")) if field != "-" else () for field in fields
        )
        return cls(
            phase=phase,
            floor=floor,
            place=place,
            task=task,
            lease=tuple(map(int, lease)),
            queue=queue,
            idle=tuple(map(int, idle)),
            old=frozenset(map(int, old)),
            stale=frozenset(map(int, stale)),
            trusted=frozenset(map(int, trusted)),
            retired=frozenset(map(int, retired)),
        )

    @classmethod
    def from_label(cls, label: str) -> Self:
        """Read the label of a node, as TLC writes it into a dump."""
        plain = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], label)
        found: dict[str, object] = {}
        for conjunct in plain.removeprefix("/\\ ").split("\n/\\ "):
            name, _, text = conjunct.partition(" = ")
            value = parse_value(text)
            if name in ("task", "lease") and isinstance(value, tuple):
                value = tuple(item for _, item in value)
            found[name] = value
        if set(found) != set(cls._fields):
            raise GraphFormatError(f"not a state of the pool: {plain}")
        return cls(**found)  # type: ignore[arg-type]  # TypeOK is an invariant of the model


Edges = dict[State, frozenset[tuple[str, State]]]


@dataclass(frozen=True)
class Graph:
    """All reachable states, and the labelled steps between them.

    Every state is a key of ``edges``, also one that nothing leads out of.
    ``source`` tells which text of the modules TLC enumerated.
    """

    initial: State
    edges: Edges
    constants: Constants
    source: str = field(default="", compare=False)

    @property
    def steps(self) -> int:
        return sum(map(len, self.edges.values()))

    @classmethod
    def from_dot(cls, dot: str, constants: Constants, source: str = "") -> Self:
        """Read a dump that TLC wrote with ``-dump dot,actionlabels``."""
        states: dict[str, State] = {}
        initial: list[State] = []
        steps: list[tuple[str, str, str]] = []
        for line in dot.splitlines():
            if edge := _EDGE.fullmatch(line):
                start, end, action = edge.groups()
                steps.append((start, action, end))
            elif node := _NODE.fullmatch(line):
                states[node[1]] = State.from_label(node[2])
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
        return cls(initial[0], edges, constants, source)

    def _ordered(self) -> dict[State, list[tuple[str, str, State]]]:
        """Return each state's edges in order, the states breadth first."""
        lines = {state: state.encode() for state in self.edges}
        found: dict[State, list[tuple[str, str, State]]] = {self.initial: []}
        todo = deque([self.initial])
        while todo:
            state = todo.popleft()
            found[state] = sorted((action, lines[to], to) for action, to in self.edges[state])
            for _, _, to in found[state]:
                if to not in found:
                    found[to] = []
                    todo.append(to)
        if len(found) != len(self.edges):
            raise GraphFormatError("some states cannot be reached from the initial state")
        return found

    def to_text(self) -> str:
        ordered = self._ordered()
        number = {state: n for n, state in enumerate(ordered)}
        lines = [_HEADER, f"source {self.source}"]
        for name, value in sorted(self.constants.items()):
            lines.append(f"constant {name} = {format_value(value)}")
        lines += [f"states {len(ordered)}", f"edges {self.steps}"]
        lines += [state.encode() for state in ordered]
        for leaving in ordered.values():
            targets: dict[str, list[str]] = {}
            for action, _, to in leaving:
                targets.setdefault(action, []).append(str(number[to]))
            words = [f"{action} {','.join(numbers)}" for action, numbers in targets.items()]
            lines.append(" ".join(words) or "-")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        lines = iter(text.splitlines())
        if (header := next(lines, "")) != _HEADER:
            raise GraphFormatError(f"expected {_HEADER!r}, found {header[:40]!r}")
        try:
            return cls._from_lines(lines)
        except (StopIteration, ValueError, IndexError) as error:
            raise GraphFormatError(f"a line is missing or damaged: {error}") from error

    @classmethod
    def _from_lines(cls, lines: Iterator[str]) -> Self:
        source = next(lines).removeprefix("source ")
        constants: list[str] = []
        while (line := next(lines)).startswith("constant "):
            constants.append(line.removeprefix("constant "))
        count = int(line.removeprefix("states "))
        steps = int(next(lines).removeprefix("edges "))
        states = [State.decode(next(lines)) for _ in range(count)]
        edges: Edges = {}
        for state in states:
            words = next(lines).removeprefix("-").split()
            edges[state] = frozenset(
                (action, states[int(number)])
                for action, numbers in zip(words[::2], words[1::2], strict=True)
                for number in numbers.split(",")
            )
        graph = cls(states[0], edges, constants_from(constants), source)
        if next(lines, None) is not None or len(edges) != count or graph.steps != steps:
            raise ValueError("the numbers of states and edges are not those of the header")
        return graph

    def save(self, path: Path) -> None:
        """Write the graph; equal graphs give equal files, if zlib is the same."""
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            file.write(self.to_text().encode("ascii"))

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            return cls.from_text(gzip.decompress(path.read_bytes()).decode("ascii"))
        except (EOFError, OSError, UnicodeDecodeError, zlib.error, GraphFormatError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise GraphFormatError(f"{path.name} is no frozen graph: {error}") from error


def differences(frozen: Graph, fresh: Graph) -> list[str]:
    """Say in what the fresh graph differs from the frozen one; nothing if they are equal."""
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
