"""The specification's state graphs as data: TLC enumerated them once, and no reader needs TLC.

A frozen graph is a gzipped text. Its lines, for the model Wide:

    resource pool graph 1              the format and its version
    source bd9f...                     digest of the modules, see `spec/tla.py`
    constant Ages = TRUE               the constants of the model, sorted by name
    ...
    states 7325
    edges 86121
    open on inUse,free,free holding,out,out,out 1,0,0,0 - - 1 - - -
    ...
    Close 17 Release 4,9
    ...

First comes one line for each state, with the fields of `State`. Blanks separate the fields, commas
the elements of a field, and "-" is an empty field. The states are numbered from 0 in this order.
If there are several initial states, "initial 4" before the number of states says how many of the
first states they are.

Then comes one line for each state with its edges. Each action is followed by the numbers of the
states that it leads to. "-" is a state without edges.

The order of the states is breadth first from the initial states. These are ordered by their lines,
successors by action and then by their lines. So equal graphs have equal texts.

A specification with other variables has a graph of its own: a subclass of `StateGraph`.
"""

import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar, get_type_hints

from ._values import Constants, constants_from, format_value

__all__ = [
    "FROZEN",
    "GRAPHS",
    "MODELS",
    "Graph",
    "GraphFormatError",
    "State",
    "StateGraph",
    "encode",
]

GRAPHS = Path(__file__).parent / "graphs"
MODELS = ("Wide", "Deep", "Checked")  # the large models; most runs stay within their bounds
FROZEN = (
    *MODELS,
    "Single",
    "SingleChecked",
    "Doubtful",
    "Pruning",
    "Ending",
    "Restoring",
    "Deadline",
)


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


def encode(state: tuple[Any, ...]) -> str:
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

S = TypeVar("S", bound=tuple[Any, ...])


@dataclass(frozen=True)
class StateGraph(Generic[S]):
    """All reachable states of a model, and the edges between them.

    Every state is a key of ``edges``, also a state without edges. ``source`` is the digest of the
    modules that TLC enumerated. A subclass names the type of its states, a named tuple.
    """

    HEADER: ClassVar[str]
    STATE: ClassVar[type[Any]]

    initial: S
    edges: dict[S, frozenset[tuple[str, S]]]
    constants: Constants
    source: str = field(default="", compare=False)
    others: frozenset[S] = frozenset()  # initial states besides `initial`

    @property
    def starts(self) -> list[S]:
        """The initial states, in the order of their lines."""
        return sorted({self.initial, *self.others}, key=encode)

    @property
    def steps(self) -> int:
        """Number of edges."""
        return sum(map(len, self.edges.values()))

    def _ordered(self) -> dict[S, list[tuple[str, str, S]]]:
        """Return each state's edges in order, the states breadth first."""
        lines = {state: encode(state) for state in self.edges}
        found: dict[S, list[tuple[str, str, S]]] = {state: [] for state in self.starts}
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
        lines = [self.HEADER, f"source {self.source}"]
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
        if (header := next(lines, "")) != cls.HEADER:
            raise GraphFormatError(f"expected {cls.HEADER!r}, found {header[:40]!r}")
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
        readers = [_READERS[kind] for kind in get_type_hints(cls.STATE).values()]
        states: list[S] = []
        for _ in range(count):
            words = next(lines).split(" ")
            states.append(cls.STATE._make(r(w) for r, w in zip(readers, words, strict=True)))
        edges: dict[S, frozenset[tuple[str, S]]] = {}
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


@dataclass(frozen=True)
class Graph(StateGraph[State]):
    """The graph of a model of ``AsyncResourcePool.tla``."""

    HEADER = "resource pool graph 1"
    STATE = State

    @classmethod
    def frozen(cls, model: str) -> Self:
        """Load the graph of a model that is in `FROZEN`."""
        return cls.load(GRAPHS / f"{model}.graph.gz")
