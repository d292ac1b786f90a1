"""CrossHair confirms the claims, and refutes a claim about a bad transition.

These are some of the claims; `python -m proofs --deep` checks all. CrossHair runs in processes of
its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from proofs.crosshair_claims import BUGS, CLAIMS, FAST, FAST_BUGS
from proofs.crosshair_run import Verdict, check
from tests.inside import INVARIANTS, Event

pytestmark = pytest.mark.untraced


def test_there_is_a_claim_for_every_event_and_for_each_consequence() -> None:
    assert {event.value for event in Event} <= set(CLAIMS)
    assert len(CLAIMS) == len(Event) + 4
    steps = {"SizeWithinLimitSteps", "PhaseForwardSteps"}
    assert {violated for violated, _ in BUGS.values()} <= {*INVARIANTS, *steps}


def test_some_claims_are_confirmed_and_some_bugs_refuted() -> None:
    result = check((*FAST, *FAST_BUGS))
    assert result.ok, result
    assert f"{len(FAST)} of {len(FAST)} claims confirmed" in result.figure
    assert "crosshair" not in sys.modules  # because it would switch contracts off in this process


RIGHT = Verdict("Init", "CONFIRMED", "CONFIRMED", 7, 0.1)


@pytest.mark.parametrize(
    ("verdicts", "exit_code"),
    [
        pytest.param([{"found": "CANNOT_CONFIRM: Not confirmed."}], 1, id="not confirmed"),
        pytest.param([{"found": "CANNOT_CONFIRM: Not confirmed."}], 0, id="exit code 0"),
        pytest.param([{"found": "PRE_UNSAT: Unable to meet precondition"}], 0, id="vacuous"),
        pytest.param([{"found": "0 messages instead of one"}], 0, id="no claim in it"),
        pytest.param([], 0, id="none"),
        pytest.param([{"claim": "Close"}], 0, id="another"),
        pytest.param([{}, {}], 0, id="twice"),
        pytest.param([{}], 1, id="exit code 1"),
    ],
)
def test_anything_but_a_confirmation_of_each_claim_is_a_failure(
    verdicts: list[dict[str, Any]], exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(found: list[dict[str, Any]], code: int) -> None:
        text = json.dumps([vars(RIGHT) | verdict for verdict in found])
        process = subprocess.CompletedProcess([], code, text)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: process)

    answer([{}], 0)
    assert check(["Init"]).ok
    answer(verdicts, exit_code)
    assert not check(["Init"]).ok


def test_a_bug_must_be_refuted_by_the_invariant_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, ok in (("CloseWaits", True), ("CONFIRMED", False), ("TypeOK", False)):
        verdict = vars(RIGHT) | {"claim": "ends_early", "expected": "CloseWaits", "found": found}
        process = subprocess.CompletedProcess([], 0, json.dumps([verdict]))
        monkeypatch.setattr(subprocess, "run", lambda *_, answer=process, **__: answer)
        assert check(["ends_early"]).ok is ok
