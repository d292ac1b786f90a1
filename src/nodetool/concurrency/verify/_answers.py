"""The guarantee that a wrong answer, a wrong effect or a wrong state is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

FAILED_WAITERS = {
    "Timeout": "DeadlineKept",
    "CreateFailed": "FaultIsolation",
    "CreateLate": "FaultIsolation",
    "CheckFailed": "FaultIsolation",
    "ResetFailed": "FaultIsolation",
    "Close": "WaitersFailAtClose",
    "Terminate": "WaitersFailAtClose",
}
"""The guarantee about acquirers that get an error, by the action."""

CLOSED = {
    "Resize": "ShrinkCompletes",
    "Sweep": "PruningKeepsFloor",
    "RetireAll": "RetireAllCompletes",
    "Terminate": "TerminateForgets",
    "Cancel": "FitIsReused",
    "Release": "FitIsReused",
    "CreateSucceeded": "FitIsReused",
    "CheckPassed": "FitIsReused",
    "ResetPassed": "FitIsReused",
}
"""The guarantee about a closing too many, by the action."""

CREATED = {"CreateFailed": "FailureFreesSlot", "Open": "FloorRestored", "RetryFloor": "FloorRestored"}
"""The guarantee about a missing creation, by the action."""

RESULTS = {
    "Resume": "OnlyFitHandedOut",
    "CreateFailed": "FaultIsolation",
    "CreateLate": "FaultIsolation",
    "Release": "WaiterServed",
    "RetireAll": "RetireAllCompletes",
}
"""The guarantee about the result of a step, by the action."""

REFUSED = {
    "Acquire": "NothingAfterClose",
    "Release": "NoDoubleRelease",
    "Discard": "NoDoubleRelease",
    "Detach": "NoDoubleRelease",
}
"""The guarantee about a step that must be refused, by the action."""

STATES = {
    "slots": "NothingLost",
    "table": "NothingLost",
    "queue": "FifoService",
    "ready": "ReadyAreLast",
    "unchecked": "ReadyAreLast",
    "sweep at": "OnlyFitHandedOut",
    "line": "OnlyFitHandedOut",
    "early": "OnlyFitHandedOut",
}
"""The guarantee about a part of a state. The other parts are numbers."""


def guarantee_of_answer(action: str, told: str, expected: str) -> str:
    """Name the guarantee that a wrong answer of a step is about.

    Args:
        action: The action of the step.
        told: The answer and the effects in the trace.
        expected: Those of the specification.
    """
    result, *effects = told.split(" ")
    right, *owed = expected.split(" ")
    if result.startswith("!") or right.startswith("!"):
        return REFUSED.get(action, "OneOutcome")
    for find, judge in (
        (lambda words: [w for w in words if w.startswith("w") and "=s" in w], _handed),
        (lambda words: [w for w in words if w.startswith("w") and "=s" not in w], _failed),
        (lambda words: [w for w in words if ":closing:" in w], _closed),
        (lambda words: [w for w in words if w.endswith(":resetting")], _reset),
        (lambda words: [w for w in words if w.endswith(":checking")], _checked),
        (lambda words: [w for w in words if w.endswith(":creating")], _created),
    ):
        seen, due = find(effects), find(owed)
        if seen != due:
            return judge(action, seen, due)
    if result == right:
        return "OnlyFitHandedOut"  # the time of the next sweep
    if action == "Acquire":
        if result[0] == right[0]:
            return "ReuseOrder" if result[0] == "s" else "FifoService"
        return "OnlyFitHandedOut" if result[0] == "s" else "WaiterServed"
    return RESULTS.get(action, "ClosedExactlyOnce")


def _names(words: Iterable[str]) -> list[str]:
    return [word.partition("=")[0].partition(":")[0] for word in words]


def _handed(action: str, seen: list[str], due: list[str]) -> str:
    if _names(seen) == _names(due):
        return "ReuseOrder"
    if len(seen) < len(due):
        return "WaiterServed"
    return "FifoService" if len(seen) == len(due) else "OnlyFitHandedOut"


def _failed(action: str, seen: list[str], due: list[str]) -> str:
    return FAILED_WAITERS.get(action, "OneOutcome")


def _closed(action: str, seen: list[str], due: list[str]) -> str:
    if _names(seen) == _names(due):
        return "OneReason"
    if len(seen) > len(due):
        return CLOSED.get(action, "ClosedExactlyOnce")
    return "ClosedExactlyOnce"


def _reset(action: str, seen: list[str], due: list[str]) -> str:
    return "DirtyIsClosed"


def _checked(action: str, seen: list[str], due: list[str]) -> str:
    return "ReuseOrder" if len(seen) == len(due) else "CreationAfterFailedCheck"


def _created(action: str, seen: list[str], due: list[str]) -> str:
    if len(seen) < len(due):
        return CREATED.get(action, "WaiterServed")
    return "SizeWithinLimit" if len(seen) > len(due) else "CountsAgree"


def guarantee_of_state(state: dict[str, Any], own: dict[str, Any]) -> tuple[str, str]:
    """Name the guarantee that a wrong state is about, and say where the states differ.

    Args:
        state: The state in the trace.
        own: The state of the specification.
    """
    part = next(name for name in own if state[name] != own[name])
    left, right = state[part], own[part]
    where = part
    if isinstance(left, dict) and isinstance(right, dict):
        name = next(name for name in {**left, **right} if left.get(name) != right.get(name))
        where, left, right = f"{part} {name}", left.get(name), right.get(name)
    difference = f"{where}: {left!r} in the trace, {right!r} in the specification"
    return STATES.get(part, "CountsAgree"), difference
