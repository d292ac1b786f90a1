"""Comparison of the counting model in Python with the graph of ``PoolCounts.tla``.

    python -m proofs.counts_graph             compare, without TLC
    python -m proofs.counts_graph --update    let TLC enumerate the graph, and freeze it

The bound is that of ``spec/models/Counts.cfg``. A frozen graph is a gzipped text:

    resource pool counts graph 1        the format and its version
    source 5b1f...                      digest of the module, see `source_digest`
    constant MaxSize = 4                the limits
    ...
    states 585
    edges 6000
    0 0 0 0 0 0 open off                a line for each state: the fields of `Counts`
    ...
    Acquire 2 Close 1 Open 3,4          a second line for each: actions, numbers of states
    ...

The first state is the initial one; the others and the edges are sorted, so equal graphs have equal
texts.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from nodetool.concurrency._machine.counts import (
    Counts,
    Event,
    Floor,
    Limits,
    Phase,
    allowed,
    transition,
)
from nodetool.concurrency.verify._graph import GRAPHS
from nodetool.concurrency.verify._values import Constants, constants_from, format_value
from proofs.result import Result
from spec import tlc
from spec.tla import ModelConfig, source_digest

__all__ = ["FROZEN", "INITIAL", "CountsGraph", "check", "differences", "enumerated", "explore"]

MODEL, MODULE = "Counts", "PoolCounts"
FROZEN = GRAPHS / f"{MODEL}.graph.gz"
INITIAL = Counts(0, 0, 0, 0, 0, 0, Phase.OPEN, Floor.OFF)

# Two events are parts of actions.
ACTION = {event: event.value.removeprefix("Retired") for event in Event}

Transition = Callable[[Limits, Counts, Event, int], Counts]
Edges = dict[Counts, frozenset[tuple[str, Counts]]]

_HEADER = "resource pool counts graph 1"
_NODE = re.compile(r'(-?\d+) \[label="(/\\.*?)"(?:,style = filled)?\];?')
_EDGE = re.compile(r'(-?\d+) -> (-?\d+) \[label="(\w+)"')
_FIELD = re.compile(r"(\w+) = (?:\\\")?(\w+)")
_NAMES = ("creating", "retiredCreations", "idle", "inUse", "closing", "waiting", "phase", "floor")


def _counts(words: list[str]) -> Counts:
    creating, retired_creations, idle, in_use, closing, waiting = map(int, words[:6])
    phase, floor = Phase(words[6]), Floor(words[7])
    return Counts(creating, retired_creations, idle, in_use, closing, waiting, phase, floor)


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
        names = ("MaxSize", "MinSize", "MaxCreating", "MaxWaiting")
        return Limits(*(int(str(self.constants[name])) for name in names))

    @property
    def steps(self) -> int:
        return sum(map(len, self.edges.values()))

    @classmethod
    def from_dot(cls, dot: str, constants: Constants, source: str) -> Self:
        """Read a dump that TLC wrote with ``-dump dot,actionlabels``."""
        states: dict[str, Counts] = {}
        steps: list[tuple[str, str, str]] = []
        for line in dot.splitlines():
            if edge := _EDGE.match(line):
                steps.append((edge[1], edge[3], edge[2]))
            elif node := _NODE.fullmatch(line):
                fields = dict(_FIELD.findall(node[2]))
                states[node[1]] = _counts([fields[name] for name in _NAMES])
        out: dict[Counts, set[tuple[str, Counts]]] = {c: set() for c in states.values()}
        for start, action, end in steps:
            out[states[start]].add((action, states[end]))
        return cls({c: frozenset(leaving) for c, leaving in out.items()}, constants, source)

    def to_text(self) -> str:
        """Write the graph as text. Equal graphs have equal texts."""
        ordered = sorted(self.edges, key=lambda c: (c != INITIAL, _line(c)))
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
        path.write_bytes(gzip.compress(self.to_text().encode("ascii"), 9, mtime=0))

    @classmethod
    def load(cls, path: Path = FROZEN) -> Self:
        return cls.from_text(gzip.decompress(path.read_bytes()).decode("ascii"))


def source() -> str:
    """Compute the digest of the present module."""
    return source_digest(tlc.SPEC, MODULE)


def enumerated() -> CountsGraph:
    """Let TLC enumerate the graph."""
    result = tlc.run(MODEL, MODULE, dump=True)
    if result.verdict != "ok":
        raise RuntimeError(f"TLC says {result.verdict}:\n{result.tail}")
    constants = ModelConfig.read(tlc.MODELS / f"{MODEL}.cfg").constants
    return CountsGraph.from_dot(result.dot, constants, source())


def _steps(c: Counts, limits: Limits, step: Transition) -> frozenset[tuple[str, Counts]]:
    return frozenset(
        (ACTION[event], step(limits, c, event, k))
        for event in Event
        for k in range(max(c.idle, c.in_use) + 1)
        if allowed(limits, c, event, k)
    )


def explore(constants: Constants, step: Transition = transition) -> CountsGraph:
    """Enumerate the graph of the Python model. Do not go on from counts that TLC cannot reach."""
    graph = CountsGraph({}, constants)
    todo = deque([INITIAL])
    while todo:
        c = todo.popleft()
        if c in graph.edges:
            continue
        beyond = c.waiting > 100 or min(c[:6]) < 0
        graph.edges[c] = frozenset() if beyond else _steps(c, graph.limits, step)
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
    """Check that the Python model has the frozen graph."""
    begin = time.perf_counter()
    frozen = CountsGraph.load()
    wrong = differences(frozen, explore(frozen.constants, step))
    if frozen.source != source():
        wrong.append("the specification has changed: python -m proofs.counts_graph --update")
    limits = ", ".join(f"{name} {value}" for name, value in frozen.constants.items())
    figure = f"{len(frozen.edges)} states, {frozen.steps:,} edges both ways, at {limits}"
    return Result(
        "graph equality",
        "CountsAgree",
        f"{len(wrong)} differences, the first: {wrong[0]}" if wrong else figure,
        not wrong,
        time.perf_counter() - begin,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs.counts_graph")
    parser.add_argument("--update", action="store_true", help="freeze what TLC enumerates now")
    if parser.parse_args().update:
        enumerated().save()
    result = check()
    print(result)
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
