"""The frozen graphs of the second specification, which the wheel does not contain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from nodetool.concurrency._second import graph
from nodetool.concurrency._second.graph import State, limits_of
from spec.tlc import SPEC

__all__ = ["FOLDER", "GRAPHS", "Graph", "State", "limits_of"]

FOLDER = SPEC / "second"
GRAPHS = FOLDER / "graphs"


@dataclass(frozen=True)
class Graph(graph.Graph):
    """The graph of a model that TLC enumerated."""

    @classmethod
    def frozen(cls, model: str) -> Self:
        """Load the graph of a model."""
        return cls.load(GRAPHS / f"{model}.graph.gz")
