"""A verification in seconds: the graphs of machines with next to no tasks and resources."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodetool.concurrency.verify import _graph, _pool_world
from nodetool.concurrency.verify._graph import FROZEN, Graph
from tests.verify.samples import walked_graph

SMALL = {"Tasks": ("a", "b"), "Resources": (1,), "MaxSize": 1, "MinSize": 0, "MaxCreating": 1}


@pytest.fixture(scope="session")
def small_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the graphs of all models, each with two tasks and one resource."""
    directory = tmp_path_factory.mktemp("graphs")
    for name in FROZEN:
        walked_graph(Graph.frozen(name).constants | SMALL).save(directory / f"{name}.graph.gz")
    return directory


@pytest.fixture
def small(small_graphs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the small graphs be the frozen ones."""
    monkeypatch.setattr(_graph, "GRAPHS", small_graphs)
    _pool_world.frozen.cache_clear()
    yield small_graphs
    _pool_world.frozen.cache_clear()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")
