"""CrossHair confirms claims about the second counting rules, and searches the second machine.

These are a few of both. The commands `python -m proofs.crosshair_run --second` and
`python -m proofs.crosshair_search --second` examine all.
"""

from __future__ import annotations

import sys

import pytest

from proofs import crosshair_run, crosshair_search
from proofs.crosshair_search import with_contracts
from proofs.second_broken import BROKEN
from proofs.second_crosshair import BUGS, CLAIMS, FAST, FAST_BUGS
from proofs.second_script import SEEDED, TARGET, UNSEEDED
from tests.inside import GuaranteeViolationError, second_counts

pytestmark = pytest.mark.untraced


def test_there_is_a_claim_for_every_event_and_for_each_consequence() -> None:
    assert {event.value for event in second_counts.Event} <= set(CLAIMS)
    assert len(CLAIMS) == len(second_counts.Event) + 4
    assert {violated for violated, _ in BUGS.values()} <= set(second_counts.INVARIANTS)


def test_some_claims_are_confirmed_and_a_bug_is_refuted() -> None:
    result = crosshair_run.check((*FAST, *FAST_BUGS), crosshair_run.SECOND)
    assert result.ok, result
    assert f"{len(FAST)} of {len(FAST)} claims confirmed" in result.figure
    assert "crosshair" not in sys.modules  # because it would switch contracts off in this process


def test_every_machine_with_a_bug_is_searched_or_has_a_reason() -> None:
    assert {*SEEDED, *UNSEEDED} == {machine.__name__ for _, machine, _ in BROKEN}
    assert not {*SEEDED} & {*UNSEEDED}
    assert {method for method, _ in SEEDED.values()} <= set(TARGET.methods)


def test_the_search_of_a_step_ends_well_and_a_seeded_bug_is_found() -> None:
    names = ["close", "TerminatesGently"]
    result = crosshair_search.check(names, 2, crosshair_search.SECOND)
    assert result.ok, result
    assert "1 of 1 seeded bugs found" in result.figure
    assert result.guarantee == "TerminateForgets"


@pytest.mark.parametrize("broken", TARGET.wrong)
def test_contracts_are_still_enforced_in_this_process(broken: type) -> None:
    with pytest.raises(GuaranteeViolationError):
        TARGET.sweep_once(with_contracts(broken, TARGET))
