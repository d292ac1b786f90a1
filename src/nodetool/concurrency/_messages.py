"""The texts of errors, and the names of the functions and limits in these texts.

A text says what is wrong or what the caller waited for, and what to do about that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._errors import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from ._habits import advice_for_duplicate
from ._machine.counts import Counts, Phase, size, uncovered
from ._machine.slots import SlotState

LIMITS = {
    SlotState.CREATING: ("factory", "creation_timeout"),
    SlotState.CHECKING: ("check", "check_timeout"),
    SlotState.RESETTING: ("reset", "reset_timeout"),
    SlotState.CLOSING: ("closer", "closer_timeout"),
}
"""The function and the limit of each kind of work, by their argument names."""


def acquire_timeout(
    name: str, waited: float, counts: Counts, ages: Mapping[SlotState, float], holders: str = ""
) -> ResourcePoolTimeoutError:
    """Make the error of an acquire that reached its deadline.

    Args:
        name: The pool's name.
        waited: How long the acquirer has waited, in seconds.
        counts: The pool's numbers.
        ages: The age of the oldest work of each kind, in seconds.
        holders: The text about the holders. It is empty if the pool does not track leases.
    """
    found: list[str] = []
    advice: list[str] = []
    # If work in flight can serve the acquirer, it has not waited for room.
    needs_room = size(counts) >= counts.max_size and (uncovered(counts) > 0 or not waited)
    if counts.in_use:
        found.append(f"{counts.in_use} in use")
        if needs_room:
            advice.append("give back sooner or raise max_size")
    for kind, text in work_in(counts, ages).items():
        function, limit = LIMITS[kind]
        found.append(text)
        # An acquire that does not wait cannot say that the work takes long.
        if waited and (needs_room or kind in (SlotState.CREATING, SlotState.CHECKING)):
            advice.append(f"see why the {function} takes so long, or lower {limit}")
    return ResourcePoolTimeoutError(
        f"pool {name!r}: no resource within {waited:g} s; max_size={counts.max_size}: "
        f"{', '.join(found) or 'none exist'}, {counts.waiting} waiting. "
        f"To avoid this, {'; '.join(advice) or 'allow more time'}{holders}"
    )


def work_in(counts: Counts, ages: Mapping[SlotState, float]) -> dict[SlotState, str]:
    """Describe the work that goes on, by its kind."""
    numbers = {
        SlotState.CREATING: (counts.creating, "being created"),
        SlotState.CHECKING: (counts.checking, "being checked"),
        SlotState.RESETTING: (counts.resetting, "being reset"),
        SlotState.CLOSING: (counts.closing, "being closed"),
    }
    texts: dict[SlotState, str] = {}
    for kind, (number, words) in numbers.items():
        if number:
            age = f" (the first for {ages[kind]:.1f} s)" if kind in ages else ""
            texts[kind] = f"{number} {words}{age}"
    return texts


def names_of(resources: Iterable[Any]) -> str:
    """Name resources. A user's `__repr__` may call the pool or fail, so use that of object."""
    return ", ".join(map(object.__repr__, resources))


ADVICE = {
    "close()": "To end this, release what is in use, or call terminate()",
    "the end of `async with`": "To end this, release what is in use, or call terminate()",
    "open(wait=True)": "To end this, see why the factory takes so long, or pass a timeout",
    "prune()": "To end this, see why the closer takes so long, or lower closer_timeout",
    "resize(wait=True)": "To end this, release what is in use",
    "retire_all(wait=True)": "To end this, release what was retired",
}
"""Advice that says how to end each kind of wait."""


def long_wait(
    name: str,
    call: str,
    waited: float,
    counts: Counts,
    ages: Mapping[SlotState, float],
    out: Iterable[Any],
    holders: str = "",
    outcome: str = "",
) -> str:
    """Make the text of a message about a call that has waited for a long time.

    Args:
        name: The pool's name.
        call: The name of the call, one of `ADVICE`.
        waited: How long the call has waited, in seconds.
        counts: The pool's numbers.
        ages: The age of the oldest work of each kind, in seconds.
        out: The resources that users must give back first.
        holders: The text about the holders. It is empty if the pool does not track leases.
        outcome: The text that says what the pool does next. If it is empty, give advice.
    """
    found = [f"{counts.in_use} in use"] if counts.in_use else []
    found += work_in(counts, ages).values()
    names = names_of(out)
    still_out = f"; still out: {names}" if names else ""
    return (
        f"pool {name!r}: {call} has waited for {waited:.1f} s: {', '.join(found) or 'nothing'}"
        f"{still_out}. {outcome or ADVICE[call]}{holders}"
    )


def close_timeout(
    name: str, waited: float, counts: Counts, out: Iterable[Any], holders: str = ""
) -> ResourcePoolTimeoutError:
    """Make the error of a close that reached its time limit."""
    names = names_of(out)
    return ResourcePoolTimeoutError(
        f"pool {name!r}: not closed within {waited:g} s: {counts.in_use} in use, "
        f"{counts.creating} creating, {counts.checking} checking, {counts.resetting} resetting, "
        f"{counts.closing} closing; still out: {names or 'nothing'}. "
        f"Give back what is out and call close() again, or terminate(){holders}"
    )


def open_timeout(
    name: str, waited: float, existing: int, counts: Counts
) -> ResourcePoolTimeoutError:
    """Make the error of an open that reached its time limit. `existing` resources are usable."""
    return ResourcePoolTimeoutError(
        f"pool {name!r}: {existing} of min_size={counts.min_size} usable resources exist after "
        f"{waited:g} s, {counts.creating} being created. The pool goes on creating them"
    )


def foreign_release(name: str, resource: object) -> InvalidReleaseError:
    """Make the error of a release of an object that the pool does not know."""
    return InvalidReleaseError(
        f"pool {name!r}: cannot release {names_of([resource])}: it is not of this pool: "
        "never leased here, or closed, discarded, detached or forgotten by terminate() since; "
        "release each acquired resource exactly once"
    )


def duplicate(name: str, maker: str, resource: object) -> DuplicateResourceError:
    """Make the error of a factory, or of entering a context, that returned an object again."""
    return DuplicateResourceError(
        f"pool {name!r}: {maker} returned an object that is in the pool already, "
        f"{names_of([resource])}; {advice_for_duplicate(resource)}"
    )


def reopening(name: str, phase: Phase) -> ResourcePoolClosedError:
    """Make the error of a call that opens a pool again."""
    return ResourcePoolClosedError(
        f"pool {name!r} is {phase.value}: a pool cannot be opened again, so make a new one"
    )
