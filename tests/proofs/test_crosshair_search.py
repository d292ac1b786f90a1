"""CrossHair searches the machine for a broken contract, and finds the seeded bugs.

These are a few of the searches; `python -m proofs --deep` runs all. Each runs in its own process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from icontract import _checkers

from proofs.broken_machines import BROKEN
from proofs.crosshair_script import MACHINES, METHODS, UNSEEDED, sweep_once
from proofs.crosshair_search import (
    ENFORCEMENT,
    SEEDED,
    Verdict,
    WrongState,
    WrongStep,
    check,
    enforce,
    with_contracts,
)
from proofs.result import Result
from tests import inside
from tests.inside import GuaranteeViolationError

pytestmark = pytest.mark.untraced


def test_every_step_with_a_contract_is_searched_and_every_broken_machine() -> None:
    assert set(METHODS) == inside.steps()
    assert set(METHODS) <= inside.contracted_steps()
    assert {*SEEDED, *UNSEEDED} == {machine.__name__ for _, machine, _ in BROKEN} == set(MACHINES)
    assert not {*SEEDED} & {*UNSEEDED}
    assert {method for method, _ in SEEDED.values()} <= set(METHODS)


def test_the_search_of_a_method_ends_well_and_a_seeded_bug_is_found_by_its_guarantee() -> None:
    result = check(["close", "TerminatesGently"], seconds=2)
    assert result.ok, result
    assert "(a search); 1 of 1 seeded bugs found" in result.figure
    assert result.guarantee == "TerminateForgets"
    assert "crosshair" not in sys.modules  # because it would switch contracts off in this process


def test_contracts_are_still_enforced_in_this_process() -> None:
    for broken in (WrongStep, WrongState):
        with pytest.raises(GuaranteeViolationError):
            sweep_once(with_contracts(broken))


@pytest.mark.parametrize("name", ["_assert_postconditions", "_assert_invariant"])
def test_no_search_starts_without_contracts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kept, function in ENFORCEMENT.items():
        monkeypatch.setattr(_checkers, kept, function)  # so that the end of the test restores it
    enforce()
    monkeypatch.setitem(ENFORCEMENT, name, lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="a search would be vacuous"):
        enforce()


METHOD = Verdict("close", "", "", "", "", 5, 9, 0.1)
BUG = Verdict("HandsToTwo", "SingleHolder", "SingleHolder", "SingleHolder", "release", 1, 9, 0.1)


def answered(
    verdicts: list[dict[str, Any]], exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> Result:
    """Return the result of searches for METHOD and BUG with these verdicts and exit code."""
    process = subprocess.CompletedProcess([], exit_code, json.dumps(verdicts) if verdicts else "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: process)
    return check([METHOD.search, BUG.search])


def test_the_expected_verdicts_are_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answered([vars(METHOD), vars(BUG)], 0, monkeypatch).ok


@pytest.mark.parametrize(
    ("method", "bug", "figure"),
    [
        pytest.param({"reached": 0}, {}, "close: never reached", id="vacuous"),
        pytest.param({"found": "FifoService"}, {}, "FifoService instead of nothing", id="found"),
        pytest.param({"found": "EXEC_ERR: IndexError"}, {}, "IndexError", id="exception"),
        pytest.param({"found": "PRE_UNSAT: "}, {}, "PRE_UNSAT", id="unsatisfiable"),
        pytest.param({}, {"found": ""}, "nothing instead of SingleHolder", id="bug not found"),
        pytest.param({}, {"found": "CountsAgree"}, "CountsAgree instead of", id="otherwise"),
        pytest.param({"search": "open"}, {}, "verdicts are missing", id="another"),
        pytest.param(None, {}, "verdicts are missing", id="no method"),
        pytest.param({}, None, "verdicts are missing", id="no bug"),
        pytest.param(None, None, "verdicts are missing", id="none"),
    ],
)
def test_any_other_verdicts_are_a_failure(
    method: dict[str, Any] | None,
    bug: dict[str, Any] | None,
    figure: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = ((METHOD, method), (BUG, bug))
    verdicts = [vars(verdict) | change for verdict, change in both if change is not None]
    result = answered(verdicts, 0, monkeypatch)
    assert not result.ok
    assert figure in result.figure


def test_exit_code_1_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not answered([vars(METHOD), vars(BUG)], 1, monkeypatch).ok


def test_a_verdict_twice_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not answered([vars(METHOD), vars(METHOD), vars(BUG)], 0, monkeypatch).ok
