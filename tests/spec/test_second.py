"""The models of the second semantics give what their manifest expects."""

from __future__ import annotations

import gzip
import shutil
from itertools import permutations
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import encode
from proofs.second_walk import UNTAKEN
from spec import dump, manifest, tlc
from spec.second_graph import FOLDER, GRAPHS, Graph, State, limits_of
from spec.tla import ModelConfig, source_digest

pytestmark = pytest.mark.untraced

ENTRIES = manifest.read(FOLDER / "manifest.toml", GRAPHS)
BROKEN = [name for name in ENTRIES if name.startswith("Broken")]
FROZEN = [name for name, entry in ENTRIES.items() if entry.frozen]
# `python -m spec --second` runs all models. Here a few run, because TLC starts slowly.
HERE = ["Counts", "Hanging", *BROKEN[::12]]


@pytest.mark.parametrize("name", HERE)
def test_a_model_gives_the_verdict_that_the_manifest_expects(name: str) -> None:
    result = tlc.run(name, ENTRIES[name].module, folder=FOLDER)
    assert manifest.differences(ENTRIES[name], result) == [], result.tail


def test_the_manifest_names_every_model_and_no_other() -> None:
    assert sorted(ENTRIES) == sorted(path.stem for path in (FOLDER / "models").iterdir())


@pytest.mark.parametrize("name", [*BROKEN, *(n for n in ENTRIES if n.startswith("Reachable"))])
def test_a_model_that_must_fail_has_the_one_property_that_is_refuted(name: str) -> None:
    config = ModelConfig.read(FOLDER / "models" / f"{name}.cfg")
    refuted = ENTRIES[name].verdict.split()[1].replace("PoolCounts", "CountsAgree")
    assert (refuted,) == config.invariants + config.properties


def test_every_guarantee_has_a_model_that_holds_and_one_that_fails() -> None:
    guarantees = {f"S{n}" for n in range(1, 13)} | {f"L{n}" for n in range(1, 9)}
    holds = {code for e in ENTRIES.values() if e.verdict == "ok" for code in e.guards}
    fails = {code for e in ENTRIES.values() if e.verdict != "ok" for code in e.guards}
    assert holds == fails == guarantees


@pytest.mark.parametrize("name", FROZEN)
def test_a_frozen_graph_is_of_the_modules_and_the_model_as_they_are(name: str) -> None:
    entry, frozen = ENTRIES[name], Graph.frozen(name)
    remedy = "the specification has changed: python -m spec --second --update"
    assert frozen.source == source_digest(FOLDER, entry.module), remedy
    constants = ModelConfig.read(FOLDER / "models" / f"{name}.cfg").constants
    assert frozen.constants == constants, remedy
    assert len(frozen.edges) == entry.distinct, remedy
    assert len(frozen.starts) == len(limits_of(constants))
    assert frozen.to_text() == gzip.decompress(entry.graph.read_bytes()).decode()


def test_the_frozen_graphs_are_those_of_the_manifest_and_they_are_compared() -> None:
    assert set(FROZEN) == set(UNTAKEN) == {p.name.split(".")[0] for p in GRAPHS.iterdir()}


def test_the_frozen_graphs_are_large() -> None:
    graphs = [Graph.frozen(name) for name in FROZEN]
    assert sum(len(graph.edges) for graph in graphs) >= 30_000
    assert sum(graph.steps for graph in graphs) >= 300_000
    assert max(entry.distinct for entry in ENTRIES.values()) >= 40_000


def test_the_dump_of_a_model_with_several_limits_has_an_initial_state_for_each() -> None:
    result = tlc.run("Shrinking", "AsyncResourcePool", dump=True, folder=FOLDER)
    frozen = Graph.frozen("Shrinking")
    fresh = dump.graph_of_kind(Graph, 2, result.dot, frozen.constants)
    assert dump.differences(frozen, fresh) == []
    assert [state.max_size for state in fresh.starts] == [1, 2]


def renamed(state: State, tasks: tuple[str, ...], order: tuple[int, ...]) -> State:
    """Give each task the name of another."""
    names = {tasks[i]: tasks[n] for n, i in enumerate(order)}
    return state._replace(
        task=tuple(state.task[i] for i in order),
        lease=tuple(state.lease[i] for i in order),
        queue=tuple(names[t] for t in state.queue),
    )


def test_symmetry_merges_the_states_that_differ_in_the_names_of_tasks(tmp_path: Path) -> None:
    """TLC must find as many states as there are classes in the graph without symmetry."""
    graph = Graph.frozen("Checked")
    tasks = ("a", "b", "c")
    assert graph.constants["Tasks"] == tasks
    orders = list(permutations(range(3)))
    classes = {min(encode(renamed(s, tasks, order)) for order in orders) for s in graph.edges}
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "models" / "Checked.cfg"
    text = path.read_text(encoding="utf-8").replace('"a", "b", "c"', "a, b, c")
    path.write_text(text.replace("CONSTANTS", "SYMMETRY TaskSymmetry\nCONSTANTS"), encoding="utf-8")
    result = tlc.run("Checked", "Symmetric", folder=tmp_path)
    assert (result.verdict, result.distinct) == ("ok", len(classes))
