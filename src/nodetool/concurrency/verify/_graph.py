"""The specification's state graphs as data: TLC enumerated them once, and no reader needs TLC.

A frozen graph is a gzipped text. Its lines, for the model Wide:

    resource pool graph 2              the format and its version
    source bd9f...                     digest of the modules, see `spec/tla.py`
    constant Ages = FALSE              the constants of the model, sorted by name
    ...
    states 4938
    edges 59012
    open on inUse,free,free holding,out,out,out 1,0,0,0 - - - - - - 0 2 0
    ...
    Close 17 Release 4,9
    ...

First comes one line for each state, with the fields of `State`. Blanks separate the fields, commas
the elements of a field, and "-" is an empty field. The states are numbered from 0 in this order.
There is an initial state for each pair of limits. If there are several, "initial 4" before the
number of states says how many of the first states they are.

Then comes one line for each state with its edges. Each action is followed by the numbers of the
states that it leads to. "-" is a state without edges.

The order of the states is breadth first from the initial states. These are ordered by their lines,
successors by action and then by their lines. So equal graphs have equal texts.
"""

import gzip
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self, get_type_hints

from ._values import Constants, constants_from, format_value

__all__ = [
    "FROZEN",
    "GRAPHS",
    "MODELS",
    "Graph",
    "GraphFormatError",
    "State",
    "encode",
    "limits_of",
]

GRAPHS = Path(__file__).parent / "graphs"
HEADER = "resource pool graph 2"
MODELS = ("Wide", "Deep", "Checked", "Combined")  # most runs stay within their bounds
FROZEN = (
    *MODELS,
    "Resizing",
    "Fifo",
    "Aging",
    "Lowering",
    "Pruning",
    "Single",
    "SingleChecked",
    "Doubtful",
    "Rotating",
    "Ending",
    "Restoring",
    "Shrinking",
)
"""The models whose graphs are in the folder."""


class GraphFormatError(ValueError):
    """Error of a frozen graph or a dump that is damaged, or of another version."""


class State(NamedTuple):
    """A state of ``AsyncResourcePool.tla``, with tasks in the order of their names."""

    phase: str
    floor: str
    place: tuple[str, ...]  # of resource 1, 2, ...
    task: tuple[str, ...]
    lease: tuple[int, ...]  # of each task; 0: it has no resource
    queue: tuple[str, ...]  # names of tasks
    idle: tuple[int, ...]
    old: frozenset[int]
    stale: frozenset[int]
    trusted: frozenset[int]
    retired: frozenset[int]
    disowned: int
    max_size: int
    min_size: int


def limits_of(constants: Mapping[str, Any]) -> list[tuple[int, int]]:
    """List the pairs of max_size and min_size of a model."""
    c = constants
    return [(a, b) for a in sorted(c["MaxSizes"]) for b in sorted(c["MinSizes"]) if b <= a]


def encode(state: State) -> str:
    """Write a state as a line of a frozen graph."""
    words = []
    for value in state:
        if isinstance(value, str | int):
            words.append(str(value))
        else:
            items = sorted(value) if isinstance(value, frozenset) else value
            words.append(",".join(map(str, items)) or "-")
    return " ".join(words)


def _texts(word: str) -> tuple[str, ...]:
    return tuple(word.split(",")) if word != "-" else ()


def _numbers(word: str) -> tuple[int, ...]:
    return tuple(map(int, _texts(word)))


_READERS: dict[Any, Any] = {
    str: str,
    int: int,
    tuple[str, ...]: _texts,
    tuple[int, ...]: _numbers,
    frozenset[int]: lambda word: frozenset(_numbers(word)),
}
"""How a word of a line is read, by the type of the field."""


@dataclass(frozen=True)
class Graph:
    """All reachable states of a model of ``AsyncResourcePool.tla``, and the edges between them.

    Every state is a key of ``edges``, also a state without edges. ``source`` is the digest of the
    modules that TLC enumerated.
    """

    initial: State
    edges: dict[State, frozenset[tuple[str, State]]]
    constants: Constants
    source: str = field(default="", compare=False)
    others: frozenset[State] = frozenset()  # initial states besides `initial`

    @classmethod
    def frozen(cls, model: str) -> Self:
        """Load the graph of a model that is in `FROZEN`."""
        return cls.load(GRAPHS / f"{model}.graph.gz")

    @property
    def starts(self) -> list[State]:
        """The initial states, in the order of their lines."""
        return sorted({self.initial, *self.others}, key=encode)

    @property
    def steps(self) -> int:
        """Number of edges."""
        return sum(map(len, self.edges.values()))

    def _ordered(self) -> dict[State, list[tuple[str, str, State]]]:
        """Return each state's edges in order, the states breadth first."""
        lines = {state: encode(state) for state in self.edges}
        found: dict[State, list[tuple[str, str, State]]] = {state: [] for state in self.starts}
        todo = deque(self.starts)
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
        """Write the graph as text."""
        ordered = self._ordered()
        number = {state: n for n, state in enumerate(ordered)}
        lines = [HEADER, f"source {self.source}"]
        for name, value in sorted(self.constants.items()):
            lines.append(f"constant {name} = {format_value(value)}")
        if self.others:
            lines.append(f"initial {len(self.starts)}")
        lines += [f"states {len(ordered)}", f"edges {self.steps}"]
        lines += [encode(state) for state in ordered]
        for leaving in ordered.values():
            targets: dict[str, list[str]] = {}
            for action, _, to in leaving:
                targets.setdefault(action, []).append(str(number[to]))
            words = [f"{action} {','.join(numbers)}" for action, numbers in targets.items()]
            lines.append(" ".join(words) or "-")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a text that `to_text` wrote, or raise `GraphFormatError`."""
        lines = iter(text.splitlines())
        if (header := next(lines, "")) != HEADER:
            raise GraphFormatError(f"expected {HEADER!r}, found {header[:40]!r}")
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
        starts = 1
        if line.startswith("initial "):
            starts, line = int(line.removeprefix("initial ")), next(lines)
        count = int(line.removeprefix("states "))
        steps = int(next(lines).removeprefix("edges "))
        readers = [_READERS[kind] for kind in get_type_hints(State).values()]
        states: list[State] = []
        for _ in range(count):
            words = next(lines).split(" ")
            states.append(State._make(r(w) for r, w in zip(readers, words, strict=True)))
        edges: dict[State, frozenset[tuple[str, State]]] = {}
        for state in states:
            words = next(lines).removeprefix("-").split()
            edges[state] = frozenset(
                (action, states[int(number)])
                for action, numbers in zip(words[::2], words[1::2], strict=True)
                for number in numbers.split(",")
            )
        others = frozenset(states[1:starts])
        graph = cls(states[0], edges, constants_from(constants), source, others)
        if next(lines, None) is not None or len(edges) != count or graph.steps != steps:
            raise ValueError("the numbers of states and edges are not those of the header")
        return graph

    def save(self, path: Path) -> None:
        """Write the graph to a file. With one version of zlib, equal graphs give equal files."""
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            file.write(self.to_text().encode("ascii"))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote, or raise `GraphFormatError` or `FileNotFoundError`."""
        try:
            return cls.from_text(gzip.decompress(path.read_bytes()).decode("ascii"))
        except (EOFError, OSError, UnicodeDecodeError, zlib.error, GraphFormatError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise GraphFormatError(f"{path.name} is no frozen graph: {error}") from error
