"""A frozen graph is the graph that TLC enumerated, or it is refused."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import Graph, GraphFormatError, State
from spec import dump, manifest, tlc
from spec.manifest import Entry
from spec.tla import ModelConfig, source_digest

ENTRIES = manifest.read()
FROZEN = [entry for entry in ENTRIES.values() if entry.frozen]

NOBODY: frozenset[int] = frozenset()
CLOSED = State(
    phase="closed",
    floor="off",
    place=("free", "free"),
    task=("out", "out"),
    lease=(0, 0),
    queue=(),
    idle=(),
    old=NOBODY,
    stale=NOBODY,
    trusted=NOBODY,
    retired=NOBODY,
)
OPEN = CLOSED._replace(phase="open")
USED = OPEN._replace(
    floor="on", place=("inUse", "idle"), task=("holding", "out"), lease=(1, 0), idle=(2,)
)
MARKED = USED._replace(old=frozenset({1, 2}), trusted=frozenset({2}), retired=frozenset({1}))
SAMPLE = Graph(
    OPEN,
    {
        OPEN: frozenset({("Close", CLOSED), ("Terminate", CLOSED), ("Acquire", USED)}),
        USED: frozenset({("GrowOld", MARKED), ("Release", OPEN)}),
        MARKED: frozenset(),
        CLOSED: frozenset(),
    },
    {"Tasks": ("a", "b"), "MaxSize": 1, "Ages": True},
    "5b1f",
)


def test_a_graph_survives_save_and_load(tmp_path: Path) -> None:
    SAMPLE.save(tmp_path / "g")
    loaded = Graph.load(tmp_path / "g")
    assert (loaded, loaded.source) == (SAMPLE, SAMPLE.source)


def test_equal_graphs_give_equal_files_whatever_their_order(tmp_path: Path) -> None:
    other = replace(SAMPLE, edges=dict(reversed(SAMPLE.edges.items())))
    SAMPLE.save(tmp_path / "one")
    other.save(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


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


WHOLE = gzip.compress(SAMPLE.to_text().encode())


def _text(change: Callable[[str], str]) -> bytes:
    text = change(SAMPLE.to_text())
    assert text != SAMPLE.to_text()
    return gzip.compress(text.encode())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"plain text", id="not gzip"),
        pytest.param(gzip.compress(b"\xff\xfe"), id="not text"),
        pytest.param(WHOLE[:-9], id="cut off"),
        pytest.param(WHOLE[:40] + b"xx" + WHOLE[42:], id="bytes changed"),
        pytest.param(_text(lambda t: t.replace("graph 1", "graph 2")), id="another version"),
        pytest.param(_text(lambda t: t.replace("states 4", "states 3")), id="a state too many"),
        pytest.param(_text(lambda t: t.replace("edges 5", "edges 6")), id="an edge too few"),
        pytest.param(_text(lambda t: t.removesuffix("-\n")), id="a line too few"),
        pytest.param(_text(lambda t: t + "-\n"), id="a line too many"),
        pytest.param(_text(lambda t: t.replace("Close 2", "Close 9")), id="an unknown state"),
        pytest.param(_text(lambda t: t.replace("MaxSize = 1", "MaxSize")), id="no constant"),
        pytest.param(_text(lambda t: t.replace("= 1", "= {1")), id="no value"),
        pytest.param(_text(lambda t: t.replace(" 1,0 ", " 1,x ")), id="no number"),
    ],
)
def test_a_damaged_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "Some.graph.gz"
    path.write_bytes(content)
    with pytest.raises(GraphFormatError, match=r"Some\.graph\.gz is no frozen graph: "):
        Graph.load(path)


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


def test_a_state_that_cannot_be_reached_is_not_saved(tmp_path: Path) -> None:
    lost = replace(SAMPLE, edges={**SAMPLE.edges, OPEN._replace(floor="on"): frozenset()})
    with pytest.raises(GraphFormatError, match="cannot be reached"):
        lost.save(tmp_path / "g")


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
