"""A frozen graph is the graph that TLC enumerated."""

import gzip
import shutil
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import (
    GRAPHS,
    Graph,
    GraphFormatError,
    State,
    encode,
    limits_of,
)
from spec import dump, manifest, tlc
from spec.manifest import Entry
from spec.tla import ModelConfig, source_digest
from tests.verify.samples import CLOSED, MARKED, OPEN, SAMPLE, USED

pytestmark = pytest.mark.untraced

frozen = cache(Graph.frozen)
ENTRIES = manifest.read()
FROZEN = [entry for entry in ENTRIES.values() if entry.frozen]


@pytest.mark.parametrize("entry", FROZEN, ids=lambda entry: entry.name)
def test_a_frozen_graph_is_of_the_modules_and_the_model_as_they_are(entry: Entry) -> None:
    graph = frozen(entry.name)
    remedy = "the specification has changed: python -m spec --update"
    constants = ModelConfig.read(tlc.MODELS / f"{entry.name}.cfg").constants
    assert graph.source == source_digest(tlc.SPEC, entry.module), remedy
    assert graph.constants == constants, remedy
    assert len(graph.edges) == entry.distinct, remedy
    assert [(s.max_size, s.min_size) for s in graph.starts] == limits_of(constants)
    assert graph.to_text() == gzip.decompress(entry.graph.read_bytes()).decode()


def test_the_frozen_graphs_are_those_of_the_manifest() -> None:
    assert {entry.graph for entry in FROZEN} == set(GRAPHS.iterdir())


def test_the_models_are_large() -> None:
    graphs = [frozen(entry.name) for entry in FROZEN]
    assert sum(len(graph.edges) for graph in graphs) >= 40_000
    assert sum(graph.steps for graph in graphs) >= 450_000
    assert max(entry.distinct for entry in ENTRIES.values()) >= 40_000


def test_the_dump_of_a_model_has_the_states_and_edges_that_tlc_counts() -> None:
    entry = ENTRIES["Shrinking"]  # it has several limits, and so several initial states
    graph = frozen(entry.name)
    result = tlc.run(entry.name, entry.module, dump=True)
    dumped = dump.graph_from(result.dot, graph.constants)
    assert dump.differences(graph, dumped) == []
    assert len(dumped.edges) == result.distinct == entry.distinct
    # TLC counts the initial states, and an edge once for each task or resource.
    assert result.generated is not None
    assert result.distinct <= dumped.steps <= result.generated - len(dumped.starts)
    assert [state.max_size for state in dumped.starts] == [1, 2]
    assert {action for leaving in dumped.edges.values() for action, _ in leaving} >= {
        "Acquire",
        "CreateLate",
        "Resize",
    }


def renamed(state: State, tasks: tuple[str, ...], order: tuple[int, ...]) -> State:
    """Give each task the name of another."""
    names = {tasks[i]: tasks[n] for n, i in enumerate(order)}
    return state._replace(
        task=tuple(state.task[i] for i in order),
        lease=tuple(state.lease[i] for i in order),
        queue=tuple(names[t] for t in state.queue),
    )


def test_symmetry_merges_the_states_that_differ_in_the_names_of_tasks(tmp_path: Path) -> None:
    graph = frozen("SingleChecked")
    tasks = ("a", "b", "c")
    assert graph.constants["Tasks"] == tasks
    orders = list(permutations(range(3)))
    classes = {min(encode(renamed(s, tasks, order)) for order in orders) for s in graph.edges}
    shutil.copytree(tlc.SPEC, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "models" / "SingleChecked.cfg"
    text = path.read_text(encoding="utf-8").replace('"a", "b", "c"', "a, b, c")
    path.write_text(text.replace("CONSTANTS", "SYMMETRY TaskSymmetry\nCONSTANTS"), encoding="utf-8")
    result = tlc.run("SingleChecked", "Symmetric", folder=tmp_path)
    assert (result.verdict, result.distinct) == ("ok", len(classes))


def test_a_comment_does_not_change_the_source_of_a_graph(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        (tmp_path / "M.tla").write_text(f"---- MODULE M ----\nEXTENDS Integers, N\n{text}\n====\n")
        return source_digest(tmp_path, "M")

    (tmp_path / "N.tla").write_text("one")
    plain = digest("A == 1")
    assert digest("(* of\n many lines *)\n\\* of one\nA == 1 \\* at the end") == plain
    assert digest("A == 2") != plain
    (tmp_path / "N.tla").write_text("two")
    assert digest("A == 1") != plain


def test_equal_graphs_have_no_difference() -> None:
    assert dump.differences(SAMPLE, replace(SAMPLE, source="of another text")) == []


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (replace(SAMPLE, constants={}), "the constants differ"),
        (replace(SAMPLE, initial=USED), "the initial state was"),
        (
            replace(SAMPLE, edges={**SAMPLE.edges, CLOSED: frozenset({("Open", OPEN)})}),
            "1 edges are new, the first: Open",
        ),
        (
            replace(SAMPLE, edges={**SAMPLE.edges, USED: frozenset({("Release", OPEN)})}),
            "1 edges are gone, the first: GrowOld",
        ),
        (
            replace(SAMPLE, edges={**SAMPLE.edges, OPEN._replace(floor="on"): frozenset()}),
            "1 states are new, the first: State(phase='open', floor='on'",
        ),
    ],
)
def test_a_changed_graph_differs_from_the_frozen_one(changed: Graph, complaint: str) -> None:
    (found,) = dump.differences(SAMPLE, changed)
    assert found.startswith(complaint)


NODE = (
    r'[label="/\\ phase = \"open\"\n/\\ floor = \"on\"\n/\\ place = <<\"inUse\", \"idle\">>\n'
    r"/\\ task = [a |-> \"holding\", b |-> \"out\"]\n/\\ lease = [a |-> 1, b |-> 0]\n"
    r"/\\ queue = <<>>\n/\\ idle = <<2>>\n/\\ old = {1,\n    2}\n/\\ stale = {}\n"
    r"/\\ trusted = {2}\n/\\ retired = {1}\n/\\ disowned = 1\n/\\ maxSize = 3\n"
    r'/\\ minSize = 2"'
)
LIMITS: dict[str, object] = {"MaxSizes": (3,), "MinSizes": (2,)}


def test_a_dump_is_read_as_tlc_writes_it() -> None:
    dot = f"strict digraph DiskGraph {{\n-7 {NODE},style = filled]\n"
    dot += '-7 -> -7 [label="Again",color="black",fontcolor="black"];\n{rank = same; -7;}\n}\n'
    dumped = dump.graph_from(dot, LIMITS)
    state = MARKED._replace(disowned=1, max_size=3, min_size=2)
    assert dumped == Graph(state, {state: frozenset({("Again", state)})}, LIMITS)


@pytest.mark.parametrize(
    ("dot", "complaint"),
    [
        (f"1 {NODE}];", "0 initial states instead of 1"),
        (f"1 {NODE},style = filled]\n2 {NODE},style = filled]", "2 initial states instead of 1"),
        ('1 [label="/\\\\ phase = 1",style = filled]', "not a state of the pool"),
        ("1 => 2", "not a line of a dump: 1 => 2"),
    ],
)
def test_a_dump_that_is_not_understood_is_refused(dot: str, complaint: str) -> None:
    with pytest.raises(GraphFormatError, match=complaint):
        dump.graph_from(dot, LIMITS)
