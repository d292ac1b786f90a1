"""The texts of errors, and the names of the functions and limits in these texts.

A text says what is wrong or what the caller waited for, and what to do about that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

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

DONE = {
    SlotState.CREATING: "created",
    SlotState.CHECKING: "checked",
    SlotState.RESETTING: "reset",
    SlotState.CLOSING: "closed",
}
"""The words for what happens to a resource in each kind of work."""


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
    for kind, text in work_in(work_numbers(counts), ages).items():
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


def work_numbers(counts: Counts) -> dict[SlotState, int]:
    """Return how much work of each kind is in flight."""
    return {
        SlotState.CREATING: counts.creating,
        SlotState.CHECKING: counts.checking,
        SlotState.RESETTING: counts.resetting,
        SlotState.CLOSING: counts.closing,
    }


def work_in(
    numbers: Mapping[SlotState, int], ages: Mapping[SlotState, float]
) -> dict[SlotState, str]:
    """Describe the work that goes on, by its kind."""
    texts: dict[SlotState, str] = {}
    for kind, number in numbers.items():
        if number:
            age = f" (the first for {ages[kind]:.1f} s)" if kind in ages else ""
            texts[kind] = f"{number} being {DONE[kind]}{age}"
    return texts


def names_of(resources: Iterable[Any]) -> str:
    """Name resources. A user's `__repr__` may call the pool or fail, so use that of object."""
    return ", ".join(map(object.__repr__, resources))


class Awaited(NamedTuple):
    """The resources in use and the work in flight that a call waits for."""

    in_use: int  # how many resources are in use
    numbers: Mapping[SlotState, int]  # how much work of each kind is in flight
    ages: Mapping[SlotState, float]  # the age of the oldest work of each kind, in seconds
    names: str  # the names of up to ten resources in use
    holders: str  # the text about their holders; empty if the pool does not track leases

    def describe(self, *facts: str) -> str:
        """Describe all of it, after some other facts."""
        found = [*facts, *([f"{self.in_use} in use"] if self.in_use else [])]
        found += work_in(self.numbers, self.ages).values()
        still_out = f"; still out: {self.names}" if self.names else ""
        return f"{', '.join(found) or 'nothing'}{still_out}"


RELEASES = {
    "close()": "release what is in use, or call terminate()",
    "the end of `async with`": "release what is in use, or call terminate()",
    "resize(wait=True)": "release what is in use",
    "retire_all(wait=True)": "release what was retired",
}
"""The advice that ends the waiting for resources in use, by the call that waits."""

OPENING = "open(wait=True)"

FACTS: dict[str, Callable[[int, Counts], str]] = {
    OPENING: lambda existing, c: f"{existing} of min_size={c.min_size} usable resources exist",
    "resize(wait=True)": lambda _, c: f"size {size(c)} is above max_size={c.max_size}",
}
"""The numbers that decide how long a call waits, by the call."""

ENDS_WITH_TERMINATE = ("close()", "the end of `async with`")


def advice(call: str, found: Awaited, failure: str = "") -> list[str]:
    """Say what ends the waiting of a call.

    Args:
        call: The name of the call.
        found: The resources and the work that the call waits for.
        failure: The text about the last creation, if it failed.
    """
    sentences = [f"To end this, {RELEASES[call]}"] if found.in_use else []
    for kind, number in found.numbers.items():
        if number:
            function, limit = LIMITS[kind]
            ends = "does not end it" if kind is SlotState.CLOSING else "cancels it"
            terminate = f", and terminate() {ends}" if call in ENDS_WITH_TERMINATE else ""
            sentences.append(
                f"See why the {function} takes so long: {limit} can limit it{terminate}"
            )
    if call == OPENING and failure:
        sentences.append(f"See why {failure}. The pool tries again")
    return sentences


def long_wait(
    name: str,
    call: str,
    waited: float,
    existing: int,
    counts: Counts,
    found: Awaited,
    failure: str = "",
    outcome: str = "",
) -> str:
    """Make the text of a message about a call that has waited for a long time.

    Args:
        name: The pool's name.
        call: The name of the call.
        waited: How long the call has waited, in seconds.
        existing: How many usable resources exist.
        counts: The pool's numbers.
        found: The resources and the work that the call waits for.
        failure: The text about the last creation, if it failed.
        outcome: The text that says what the pool does next. If it is empty, give advice.
    """
    facts = [FACTS[call](existing, counts)] if call in FACTS else []
    sentences = [outcome] if outcome else advice(call, found, failure)
    if call == OPENING:
        sentences.append("To limit this wait, pass a timeout")
    text = f"pool {name!r}: {call} has waited for {waited:.1f} s: {found.describe(*facts)}"
    return ". ".join([text, *sentences]) + found.holders


def close_timeout(name: str, waited: float, found: Awaited) -> ResourcePoolTimeoutError:
    """Make the error of a close that reached its time limit."""
    text = f"pool {name!r}: not closed within {waited:g} s: {found.describe()}. Closing goes on"
    return ResourcePoolTimeoutError(". ".join([text, *advice("close()", found)]) + found.holders)


def open_timeout(
    name: str, waited: float, existing: int, counts: Counts, found: Awaited, failure: str = ""
) -> ResourcePoolTimeoutError:
    """Make the error of an open that reached its time limit.

    Args:
        name: The pool's name.
        waited: How long the call has waited, in seconds.
        existing: How many usable resources exist.
        counts: The pool's numbers.
        found: The work that the call waits for.
        failure: The text about the last creation, if it failed.
    """
    facts = found.describe(FACTS[OPENING](existing, counts))
    text = f"pool {name!r}: not open within {waited:g} s: {facts}. Opening goes on"
    # A call that does not wait cannot say that the work takes long.
    sentences = advice(OPENING, found, failure) if waited else ["Allow more time"]
    return ResourcePoolTimeoutError(". ".join([text, *sentences]))


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
