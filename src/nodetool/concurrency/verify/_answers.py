"""The guarantee that a wrong answer, a wrong effect or a wrong state is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodetool.concurrency._machine.snapshot import SLOT_FIELDS

PHASES = ("closed", "closing", "open")

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
    "Acquire": "PruningKeepsFloor",
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

MISSING = {
    "expired": "OnlyFitHandedOut",
    "retired": "RetireAllCompletes",
    "surplus": "ShrinkCompletes",
}
"""The guarantee about a missing closing, by its reason."""

CREATED = {
    "CreateFailed": "FailureFreesSlot",
    "Open": "FloorRestored",
    "RetryFloor": "FloorRestored",
}
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

FIELDS = {
    "generation": "RetiredStaysRetired",
    "expires_at": "OnlyFitHandedOut",
    "stale_at": "OnlyFitHandedOut",
    "ready": "OnlyFitHandedOut",
    "trusted_until": "OnlyFitHandedOut",
    "reason": "OneReason",
}
"""The guarantee about a field of a slot. The other fields say where the slot is."""

STATES = {
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
    if action == "Acquire" and result[:1] != right[:1]:
        return "OnlyFitHandedOut" if result.startswith("s") else "WaiterServed"
    for kind, judge in JUDGES.items():
        seen = [word for word in effects if _kind(word) == kind]
        due = [word for word in owed if _kind(word) == kind]
        if seen != due:
            return judge(action, seen, due)
    if result == right:
        if told.endswith(PHASES) or expected.endswith(PHASES):
            return "CloseWaits" if told.endswith(PHASES[0]) else "CloseCompletes"
        return "OnlyFitHandedOut"  # the time of the next sweep
    if action == "Acquire":
        return "ReuseOrder" if result.startswith("s") else "FifoService"
    return RESULTS.get(action, "ClosedExactlyOnce")


def _kind(word: str) -> str:
    """Return the kind of an effect: a hand-over, an error for a waiter, or work."""
    if "=" in word:
        return "handed" if "=s" in word else "failed"
    return word.split(":")[1] if ":" in word else ""


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
    if len(seen) < len(due):
        reason = due[0].rpartition(":")[2]
        return MISSING.get(reason, "ClosedExactlyOnce")
    return CLOSED.get(action, "ClosedExactlyOnce")


def _reset(action: str, seen: list[str], due: list[str]) -> str:
    return "DirtyIsClosed"


def _checked(action: str, seen: list[str], due: list[str]) -> str:
    return "ReuseOrder" if len(seen) == len(due) else "CreationAfterFailedCheck"


def _created(action: str, seen: list[str], due: list[str]) -> str:
    if len(seen) < len(due):
        return CREATED.get(action, "WaiterServed")
    return "SizeWithinLimit" if len(seen) > len(due) else "CountsAgree"


JUDGES: dict[str, Callable[[str, list[str], list[str]], str]] = {
    "handed": _handed,
    "failed": _failed,
    "closing": _closed,
    "resetting": _reset,
    "checking": _checked,
    "creating": _created,
}
"""Functions that name the guarantee about a kind of effects. The first kind that differs decides.

Each gets the action, the effects in the trace, and those of the specification."""


def guarantee_of_state(state: dict[str, Any], own: dict[str, Any]) -> tuple[str, str]:
    """Name the guarantee that a wrong state is about, and say where the states differ.

    Args:
        state: The state in the trace.
        own: The state of the specification.
    """
    if state["slots"] != own["slots"]:
        return _guarantee_of_slots(state["slots"], own["slots"])
    part = next(name for name in own if state[name] != own[name])
    left, right = state[part], own[part]
    where = part
    if isinstance(left, dict) and isinstance(right, dict):
        name = next(name for name in {**left, **right} if left.get(name) != right.get(name))
        where, left, right = f"{part} {name}", left.get(name), right.get(name)
    return STATES.get(part, "CountsAgree"), _difference(where, left, right)


def _guarantee_of_slots(slots: list[Any], own: list[Any]) -> tuple[str, str]:
    for left, right in zip(slots, own, strict=False):
        for name, seen, due in zip(SLOT_FIELDS, left, right, strict=True):
            if seen != due:
                where = f"{name} of slot {right[0]}"
                return FIELDS.get(name, "NothingLost"), _difference(where, seen, due)
    return "NothingLost", _difference("slots", len(slots), len(own))


def _difference(where: str, seen: Any, due: Any) -> str:
    return f"{where}: {seen!r} in the trace, {due!r} in the specification"
