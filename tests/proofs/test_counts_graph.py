"""The counting rules in Python have the graph that TLC enumerated; a difference is reported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proofs import counts_graph
from proofs.counts_graph import CountsGraph, differences, explore
from spec import manifest, tlc
from spec.tla import ModelConfig
from tests.inside import INVARIANTS, Counts, Event, Limits, rules

pytestmark = pytest.mark.untraced

FROZEN = CountsGraph.load()
SMALLER = {
    "MaxSizes": frozenset({1, 2}),
    "MinSizes": frozenset({0, 1}),
    "MaxCreating": 1,
    "MaxWaiting": 1,
}


def test_the_rules_in_python_have_the_graph_of_the_specification() -> None:
    result = counts_graph.check()
    assert result.ok, result
    entries = manifest.read()
    assert len(FROZEN.edges) == entries["CountsByEvent"].distinct == entries["Counts"].distinct
    assert FROZEN.steps > 50_000
    assert {action for leaving in FROZEN.edges.values() for action, _ in leaving} == set(
        counts_graph.ACTION.values()
    )


def test_every_event_of_the_module_has_a_name() -> None:
    texts = [(tlc.SPEC / f"{m}.tla").read_text("utf-8") for m in ("PoolCounts", "CountsByEvent")]
    defined = set(re.findall(r"^After(\w+)\(c\) ==", texts[0], re.MULTILINE))
    united = set(re.findall(r"After(\w+)\(c\)", texts[0].partition("Successors(c) ==")[2]))
    named = dict(
        re.findall(r"^(\w+) == numbers' \\in After(\w+)\(numbers\)", texts[1], re.MULTILINE)
    )
    assert defined == united == set(named) == set(counts_graph.ACTION.values())
    assert all(name == event for name, event in named.items())


def test_the_frozen_graph_belongs_to_the_present_module_and_model() -> None:
    remedy = "the specification has changed: python -m proofs.counts_graph --update"
    assert FROZEN.source == counts_graph.source(), remedy
    for model in ("Counts", counts_graph.MODEL):
        assert FROZEN.constants == ModelConfig.read(tlc.MODELS / f"{model}.cfg").constants, remedy


def test_tlc_enumerates_the_frozen_graph() -> None:
    assert counts_graph.enumerated().to_text() == FROZEN.to_text()


def test_the_invariants_hold_in_every_state_of_the_graph() -> None:
    for c in FROZEN.edges:
        for name, holds in INVARIANTS.items():
            assert holds(FROZEN.limits, c), f"{name}: {c}"


def test_a_graph_survives_save_and_load(tmp_path: Path) -> None:
    FROZEN.save(tmp_path / "graph")
    assert CountsGraph.load(tmp_path / "graph") == FROZEN
    assert (tmp_path / "graph").read_bytes() == counts_graph.FROZEN.read_bytes()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("graph 2", "graph 1"),
        ("states 5540", "states 5539"),
        ("edges 7", "edges 6"),
        (" on\n", "\n"),
    ],
)
def test_a_damaged_graph_is_refused(good: str, bad: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        CountsGraph.from_text(FROZEN.to_text().replace(good, bad, 1))


def keeps_the_slot_of_a_failure(limits: Limits, c: Counts, event: Event, *choices: int) -> Counts:
    """Take the step, but do not free the slot of a failed creation."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(creating=c.creating - 1) if event is Event.CREATE_FAILED else after


def fails_all_waiters(limits: Limits, c: Counts, event: Event, *choices: int) -> Counts:
    """Take the step, but let a failed creation fail all waiters."""
    after = rules.transition(limits, c, event, *choices)
    return after._replace(waiting=0) if event is Event.CREATE_FAILED else after


def ignores_the_minimum(limits: Limits, c: Counts, event: Event, *choices: int) -> Counts:
    """Take the step, but create nothing for min_size when a closer has ended."""
    if event is not Event.CLOSER_ENDED:
        return rules.transition(limits, c, event, *choices)
    after = rules.transition(limits, c._replace(min_size=0), event, *choices)
    return after._replace(min_size=c.min_size)


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
    found = differences(explore(SMALLER), explore(SMALLER, step))
    for who in ("specification", "code"):
        assert any(f"only the {who} allows" in line and action in line for line in found)


def test_the_check_fails_if_the_transition_has_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    small = explore(SMALLER)._replace(source=FROZEN.source)
    monkeypatch.setattr(CountsGraph, "load", lambda: small)
    assert counts_graph.check().ok
    result = counts_graph.check(ignores_the_minimum)
    assert not result.ok
    assert "CloserEnded" in result.figure


def test_a_missing_state_or_edge_is_reported() -> None:
    some = next(c for c, leaving in FROZEN.edges.items() if leaving)
    edge = min(FROZEN.edges[some], key=str)
    less = FROZEN._replace(edges=FROZEN.edges | {some: FROZEN.edges[some] - {edge}})
    fewer = FROZEN._replace(edges={c: e for c, e in FROZEN.edges.items() if c != some})
    assert len(differences(FROZEN, less)) == len(differences(FROZEN, fewer)) == 1
