"""A frozen graph is read as it was written, or it is refused."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nodetool.concurrency.verify._graph import FROZEN, GRAPHS, Graph, GraphFormatError, limits_of
from nodetool.concurrency.verify._values import constants_from, format_value, parse_value
from tests.verify.samples import MARKED, OPEN, SAMPLE, USED


def test_a_graph_survives_save_and_load(tmp_path: Path) -> None:
    SAMPLE.save(tmp_path / "g")
    loaded = Graph.load(tmp_path / "g")
    assert (loaded, loaded.source) == (SAMPLE, SAMPLE.source)


def test_a_graph_with_several_initial_states_survives_save_and_load(tmp_path: Path) -> None:
    several = replace(SAMPLE, others=frozenset({USED, MARKED}))
    several.save(tmp_path / "g")
    loaded = Graph.load(tmp_path / "g")
    assert loaded == replace(several, initial=loaded.initial, others=loaded.others)
    assert set(loaded.starts) == {OPEN, USED, MARKED}
    assert loaded.to_text() == several.to_text()
    assert "\ninitial 3\nstates 4\n" in loaded.to_text()
    assert loaded != SAMPLE


def test_equal_graphs_give_equal_files_whatever_their_order(tmp_path: Path) -> None:
    other = replace(SAMPLE, edges=dict(reversed(SAMPLE.edges.items())))
    SAMPLE.save(tmp_path / "one")
    other.save(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


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
        pytest.param(_text(lambda t: t.replace("graph 2", "graph 1")), id="another version"),
        pytest.param(_text(lambda t: t.replace("states 4", "states 3")), id="a state too many"),
        pytest.param(_text(lambda t: t.replace("edges 5", "edges 6")), id="an edge too few"),
        pytest.param(_text(lambda t: t.removesuffix("-\n")), id="a line too few"),
        pytest.param(_text(lambda t: t + "-\n"), id="a line too many"),
        pytest.param(_text(lambda t: t.replace("Close 2", "Close 9")), id="an unknown state"),
        pytest.param(_text(lambda t: t.replace("Ages = TRUE", "Ages")), id="no constant"),
        pytest.param(_text(lambda t: t.replace("= TRUE", "= {TRUE")), id="no value"),
        pytest.param(_text(lambda t: t.replace(" 1,0 ", " 1,x ")), id="no number"),
    ],
)
def test_a_damaged_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "Some.graph.gz"
    path.write_bytes(content)
    with pytest.raises(GraphFormatError, match=r"Some\.graph\.gz is no frozen graph: "):
        Graph.load(path)


def test_a_state_that_cannot_be_reached_is_not_saved(tmp_path: Path) -> None:
    lost = replace(SAMPLE, edges={**SAMPLE.edges, OPEN._replace(floor="on"): frozenset()})
    with pytest.raises(GraphFormatError, match="cannot be reached"):
        lost.save(tmp_path / "g")


def test_a_graph_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Graph.load(tmp_path / "g")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", -3),
        ("TRUE", True),
        ('"a b"', "a b"),
        ("<<1, <<>>>>", (1, ())),
        ("{2, 1}", frozenset({1, 2})),
        ("[b |-> 1, a |-> FALSE]", (("a", False), ("b", 1))),
    ],
)
def test_a_value_is_read_as_tlc_writes_it(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["", "§", "{1 2}", "[a 1]", "1 2", "<<1", "no"])
def test_a_value_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TLA"):
        parse_value(text)


def test_a_constant_is_written_as_it_is_read() -> None:
    constants = {"A": ("x", "y"), "B": (1, 2), "C": True, "D": 3}
    assert constants_from([f"{n} = {format_value(v)}" for n, v in constants.items()]) == constants
    with pytest.raises(ValueError, match="not a constant"):
        constants_from(["A 1"])


def test_a_model_has_an_initial_state_for_each_pair_of_limits() -> None:
    constants = {"MaxSizes": {1, 3}, "MinSizes": {0, 2}}
    assert limits_of(constants) == [(1, 0), (3, 0), (3, 2)]
    graph = Graph.frozen("Lowering")
    starts = [(state.max_size, state.min_size) for state in graph.starts]
    assert sorted(starts) == limits_of(graph.constants)
    assert {path.name for path in GRAPHS.glob("*")} == {f"{name}.graph.gz" for name in FROZEN}
