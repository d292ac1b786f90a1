"""A verification in seconds: the graphs of machines with next to no tasks and resources."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodetool.concurrency.verify import _graph, _pool_world
from nodetool.concurrency.verify._graph import FROZEN, Graph
from tests.verify.samples import untraced, walked_graph

SMALL = {
    "Tasks": ("a", "b"),
    "Resources": (1,),
    "MaxSizes": (1,),
    "MinSizes": (0,),
    "MaxCreating": 1,
}
RESIZED = SMALL | {"Resources": (1, 2), "MaxSizes": (1, 2)}
RESIZED |= dict.fromkeys(("Checks", "Resets", "Retires"), False)


@pytest.fixture(scope="session")
def small_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the graphs of all models, each with two tasks and one resource.

    In one model, the limit of the size changes between one and two.
    """
    directory = tmp_path_factory.mktemp("graphs")
    with untraced():
        for name in FROZEN:
            small = RESIZED if name == "Combined" else SMALL
            walked_graph(Graph.frozen(name).constants | small).save(directory / f"{name}.graph.gz")
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
