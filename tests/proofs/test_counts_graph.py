"""The counting model in Python has the graph that TLC enumerated; a difference is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofs import counts_graph
from proofs.counts_graph import CountsGraph, differences, explore
from spec import manifest, tlc
from spec.tla import ModelConfig
from tests.inside import Counts, Event, Limits, transition

pytestmark = pytest.mark.untraced

FROZEN = CountsGraph.load()


def test_the_model_in_python_has_the_graph_of_the_specification() -> None:
    result = counts_graph.check()
    assert result.ok, result
    assert len(FROZEN.edges) == manifest.read()["Counts"].distinct == 585
    assert FROZEN.steps > 5_000
    assert {action for leaving in FROZEN.edges.values() for action, _ in leaving} == set(
        counts_graph.ACTION.values()
    )


def test_the_frozen_graph_belongs_to_the_present_module_and_model() -> None:
    remedy = "the specification has changed: python -m proofs.counts_graph --update"
    assert FROZEN.source == counts_graph.source(), remedy
    assert FROZEN.constants == ModelConfig.read(tlc.MODELS / "Counts.cfg").constants, remedy


def test_tlc_enumerates_the_frozen_graph() -> None:
    assert counts_graph.enumerated().to_text() == FROZEN.to_text()


def test_a_graph_survives_save_and_load(tmp_path: Path) -> None:
    FROZEN.save(tmp_path / "graph")
    assert CountsGraph.load(tmp_path / "graph") == FROZEN
    assert (tmp_path / "graph").read_bytes() == counts_graph.FROZEN.read_bytes()


@pytest.mark.parametrize(
    ("good", "bad"),
    [("graph 1", "graph 2"), ("states 585", "states 584"), ("edges 5", "edges 6"), (" on\n", "\n")],
)
def test_a_damaged_graph_is_refused(good: str, bad: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        CountsGraph.from_text(FROZEN.to_text().replace(good, bad, 1))


def keeps_the_slot_of_a_failure(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but do not free the slot of a failed creation."""
    after = transition(limits, c, event, k)
    return after._replace(creating=c.creating - 1) if event is Event.CREATE_FAILED else after


def fails_all_waiters(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but let a failed creation fail all waiters."""
    after = transition(limits, c, event, k)
    return after._replace(waiting=0) if event is Event.CREATE_FAILED else after


def ignores_the_minimum(limits: Limits, c: Counts, event: Event, k: int) -> Counts:
    """Take the step, but create nothing for min_size when a closer has ended."""
    lower = limits._replace(min_size=0) if event is Event.CLOSER_ENDED else limits
    return transition(lower, c, event, k)


@pytest.mark.parametrize(
    ("step", "action"),
    [
        (keeps_the_slot_of_a_failure, "CreateFailed"),
        (fails_all_waiters, "CreateFailed"),
        (ignores_the_minimum, "CloserEnded"),
    ],
)
def test_a_changed_transition_is_reported_in_both_directions(
    step: counts_graph.Transition, action: str
) -> None:
    assert not counts_graph.check(step).ok
    found = differences(FROZEN, explore(FROZEN.constants, step))
    for who in ("specification", "code"):
        assert any(f"only the {who} allows" in line and action in line for line in found)


def test_a_missing_state_or_edge_is_reported() -> None:
    some = next(c for c, leaving in FROZEN.edges.items() if leaving)
    edge = min(FROZEN.edges[some], key=str)
    less = FROZEN._replace(edges=FROZEN.edges | {some: FROZEN.edges[some] - {edge}})
    fewer = FROZEN._replace(edges={c: e for c, e in FROZEN.edges.items() if c != some})
    assert len(differences(FROZEN, less)) == len(differences(FROZEN, fewer)) == 1
