"""Comparison of the counting rules in Python with the graph of ``PoolCounts.tla``.

    python -m proofs.counts_graph             compare, without TLC
    python -m proofs.counts_graph --update    let TLC enumerate the graph, and freeze it

The bound is that of ``spec/models/CountsByEvent.cfg``. A frozen graph is a gzipped text:

    resource pool counts graph 2        the format and its version
    source 5b1f...                      digest of the modules, see `source_digest`
    constant MaxCreating = 2            the limits
    ...
    states 5540
    edges 76332
    0 0 0 0 0 0 0 0 0 0 0 2 0 open off  a line for each state: the fields of `Counts`
    ...
    Acquire 2 Close 1 Open 3,4          a second line for each: actions, numbers of states
    ...

States and edges are sorted, so equal graphs have equal texts.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from nodetool.concurrency._machine.counts import (
    Counts,
    Event,
    Floor,
    Limits,
    Phase,
    allowed,
    transition,
)
from nodetool.concurrency.verify._graph import limits_of
from nodetool.concurrency.verify._values import Constants, constants_from, format_value
from proofs.result import Result
from spec import dump, tlc
from spec.tla import ModelConfig, source_digest

__all__ = [
    "FROZEN",
    "CountsGraph",
    "check",
    "differences",
    "enumerated",
    "explore",
    "successors",
]

MODEL = MODULE = "CountsByEvent"
FROZEN = Path(__file__).with_name("counts.graph.gz")

# Some events are parts of actions.
ACTION = {event: event.value.removeprefix("Retired") for event in Event}

Transition = Callable[..., Counts]
Edges = dict[Counts, frozenset[tuple[str, Counts]]]

_HEADER = "resource pool counts graph 2"
# The fields of the module's record, in the order of `Counts`.
_FIELDS = (
    *("creating", "retiredCreations", "checking", "retiredChecks", "ready", "unchecked"),
    *("inUse", "resetting", "closing", "waiting", "disowned", "maxSize", "minSize"),
    *("phase", "floor"),
)


def _counts(words: list[Any]) -> Counts:
    *numbers, phase, floor = words
    return Counts._make([*map(int, numbers), Phase(phase), Floor(floor)])


def _line(c: Counts) -> str:
    *numbers, phase, floor = c
    return " ".join([*map(str, numbers), phase.value, floor.value])


class CountsGraph(NamedTuple):
    """All counts that can be reached, and the labelled steps between them."""

    edges: Edges
    constants: Constants
    source: str = ""

    @property
    def limits(self) -> Limits:
        """The limits that never change."""
        return Limits(*(int(str(self.constants[name])) for name in ("MaxCreating", "MaxWaiting")))

    @property
    def steps(self) -> int:
        """Number of edges."""
        return sum(map(len, self.edges.values()))

    @classmethod
    def from_dot(cls, dot: str, constants: Constants, source: str) -> Self:
        """Read a dump that TLC wrote with ``-dump dot,actionlabels``."""
        found = dump.read(dot)
        states = dict[str, Counts]()
        for name, values in found.states.items():
            record: Any = values["numbers"]
            fields = dict(record)
            states[name] = _counts([fields[field] for field in _FIELDS])
        out: dict[Counts, set[tuple[str, Counts]]] = {c: set() for c in states.values()}
        for start, action, end in found.edges:
            out[states[start]].add((action, states[end]))
        return cls({c: frozenset(leaving) for c, leaving in out.items()}, constants, source)

    def to_text(self) -> str:
        """Write the graph as text. Equal graphs have equal texts."""
        ordered = sorted(self.edges, key=_line)
        number = {c: n for n, c in enumerate(ordered)}
        lines = [_HEADER, f"source {self.source}"]
        lines += [f"constant {k} = {format_value(v)}" for k, v in sorted(self.constants.items())]
        lines += [f"states {len(ordered)}", f"edges {self.steps}", *map(_line, ordered)]
        for c in ordered:
            targets: dict[str, list[int]] = {}
            for action, to in sorted((action, number[to]) for action, to in self.edges[c]):
                targets.setdefault(action, []).append(to)
            lines.append(" ".join(f"{a} {','.join(map(str, to))}" for a, to in targets.items()))
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote."""
        header, source, *lines = text.splitlines()
        start = next(n for n, line in enumerate(lines) if not line.startswith("constant "))
        constants = constants_from([line.removeprefix("constant ") for line in lines[:start]])
        count, steps = (int(line.split()[1]) for line in lines[start : start + 2])
        body = lines[start + 2 :]
        states = [_counts(line.split()) for line in body[:count]]
        edges: Edges = {}
        for c, line in zip(states, body[count:], strict=True):
            words = line.split()
            edges[c] = frozenset(
                (action, states[int(number)])
                for action, numbers in zip(words[::2], words[1::2], strict=True)
                for number in numbers.split(",")
            )
        graph = cls(edges, constants, source.removeprefix("source "))
        if header != _HEADER or len(edges) != count or graph.steps != steps:
            raise ValueError("the frozen graph of the counts is damaged")
        return graph

    def save(self, path: Path = FROZEN) -> None:
        """Write the graph to a file. Equal graphs give equal files."""
        path.write_bytes(gzip.compress(self.to_text().encode("ascii"), 9, mtime=0))

    @classmethod
    def load(cls, path: Path = FROZEN) -> Self:
        """Read a file that `save` wrote."""
        return cls.from_text(gzip.decompress(path.read_bytes()).decode("ascii"))


def source() -> str:
    """Compute the digest of the present modules."""
    return source_digest(tlc.SPEC, MODULE)


def enumerated() -> CountsGraph:
    """Let TLC enumerate the graph."""
    result = tlc.run(MODEL, MODULE, dump=True)
    if result.verdict != "ok":
        raise RuntimeError(f"TLC says {result.verdict}:\n{result.tail}")
    constants = ModelConfig.read(tlc.MODELS / f"{MODEL}.cfg").constants
    return CountsGraph.from_dot(result.dot, constants, source())


def choices(event: Event, c: Counts, sizes: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """List choices that include all that an event has."""
    match event:
        case Event.RESIZE:
            return [(a, b, k) for a, b in sizes for k in range(c.ready + 1)]
        case Event.ACQUIRE | Event.REQUEUE | Event.SWEEP:
            return [(i, j, 0) for i in range(c.ready + 1) for j in range(c.unchecked + 1)]
        case Event.TERMINATE:
            return [(i, 0, 0) for i in range(c.in_use + 1)]
        case _:
            return [(0, 0, 0), (1, 0, 0)]


def successors(
    limits: Limits, sizes: list[tuple[int, int]], c: Counts, step: Transition = transition
) -> Iterator[tuple[Event, Counts]]:
    """Yield the numbers after each event that is allowed, with each of its choices."""
    for event in Event:
        for i, j, k in choices(event, c, sizes):
            if allowed(limits, c, event, i, j, k):
                yield event, step(limits, c, event, i, j, k)


def explore(constants: Constants, step: Transition = transition) -> CountsGraph:
    """Enumerate the graph of the rules. Do not go on from counts that TLC cannot reach."""
    graph = CountsGraph({}, constants)
    sizes = limits_of(constants)
    todo = [Counts._make([*[0] * 11, a, b, Phase.OPEN, Floor.OFF]) for a, b in sizes]
    while todo:
        c = todo.pop()
        if c in graph.edges:
            continue
        beyond = c.waiting > 100 or min(c[:11]) < 0
        found = () if beyond else successors(graph.limits, sizes, c, step)
        graph.edges[c] = frozenset((ACTION[event], to) for event, to in found)
        todo.extend(to for _, to in graph.edges[c])
    return graph


def differences(spec: CountsGraph, code: CountsGraph) -> list[str]:
    """List all states and labelled edges that only one of the graphs has."""
    found = []
    for side, one, other in (("specification", spec, code), ("code", code, spec)):
        found += [f"only the {side} reaches {_line(c)}" for c in one.edges.keys() - other.edges]
        found += [
            f"only the {side} allows {_line(c)} -- {action} -> {_line(to)}"
            for c, leaving in one.edges.items()
            if c in other.edges
            for action, to in leaving - other.edges[c]
        ]
    return sorted(found)


def check(step: Transition = transition) -> Result:
    """Check that the rules in Python have the frozen graph."""
    begin = time.perf_counter()
    frozen = CountsGraph.load()
    wrong = differences(frozen, explore(frozen.constants, step))
    if frozen.source != source():
        wrong.append("the specification has changed: python -m proofs.counts_graph --update")
    limits = ", ".join(f"{name} {format_value(v)}" for name, v in frozen.constants.items())
    figure = f"{len(frozen.edges):,} states, {frozen.steps:,} edges both ways, at {limits}"
    return Result(
        "graph equality",
        "CountsAgree",
        f"{len(wrong)} differences, the first: {wrong[0]}" if wrong else figure,
        not wrong,
        time.perf_counter() - begin,
    )


def main() -> int:
    """Freeze the graph if asked, compare, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m proofs.counts_graph")
    parser.add_argument("--update", action="store_true", help="freeze what TLC enumerates now")
    if parser.parse_args().update:
        enumerated().save()
    result = check()
    print(result)
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
