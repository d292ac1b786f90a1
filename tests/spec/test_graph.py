"""A frozen graph is the graph that TLC enumerated."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import Graph, GraphFormatError
from spec import dump, manifest, tlc
from spec.manifest import Entry
from spec.tla import ModelConfig, source_digest
from tests.verify.samples import CLOSED, MARKED, OPEN, SAMPLE, USED

pytestmark = pytest.mark.untraced

ENTRIES = manifest.read()
FROZEN = [entry for entry in ENTRIES.values() if entry.frozen]


@pytest.mark.parametrize("entry", FROZEN, ids=lambda entry: entry.name)
def test_a_frozen_graph_is_of_the_modules_and_the_model_as_they_are(entry: Entry) -> None:
    frozen = Graph.load(entry.graph)
    remedy = "the specification has changed: python -m spec --update"
    assert frozen.source == source_digest(tlc.SPEC, entry.module), remedy
    assert frozen.constants == ModelConfig.read(tlc.MODELS / f"{entry.name}.cfg").constants, remedy
    assert len(frozen.edges) == entry.distinct, remedy
    assert frozen.to_text() == gzip.decompress(entry.graph.read_bytes()).decode()


def test_the_dump_of_a_model_has_the_states_and_edges_that_tlc_counts() -> None:
    entry = ENTRIES["Restoring"]
    result = tlc.run(entry.name, entry.module, dump=True)
    dumped = dump.graph_from(result.dot, {})
    assert len(dumped.edges) == result.distinct == entry.distinct
    # TLC counts the initial state, and an edge once for each task or resource.
    assert result.generated is not None
    assert result.distinct <= dumped.steps <= result.generated - 1
    assert dumped.initial.phase == "open"
    assert {action for leaving in dumped.edges.values() for action, _ in leaving} >= {
        "Acquire",
        "CreateFailed",
        "RetryFloor",
    }


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
    r'/\\ trusted = {2}\n/\\ retired = {1}"'
)


def test_a_dump_is_read_as_tlc_writes_it() -> None:
    dot = f"strict digraph DiskGraph {{\n-7 {NODE},style = filled]\n"
    dot += '-7 -> -7 [label="Again",color="black",fontcolor="black"];\n{rank = same; -7;}\n}\n'
    dumped = dump.graph_from(dot, {"MaxSize": 1})
    assert dumped == Graph(MARKED, {MARKED: frozenset({("Again", MARKED)})}, {"MaxSize": 1})


@pytest.mark.parametrize(
    ("dot", "complaint"),
    [
        (f"1 {NODE}];", "0 initial states"),
        (f"1 {NODE},style = filled]\n2 {NODE},style = filled]", "2 initial states"),
        ('1 [label="/\\\\ phase = 1",style = filled]', "not a state of the pool"),
        ("1 => 2", "not a line of a dump: 1 => 2"),
    ],
)
def test_a_dump_that_is_not_understood_is_refused(dot: str, complaint: str) -> None:
    with pytest.raises(GraphFormatError, match=complaint):
        dump.graph_from(dot, {})
