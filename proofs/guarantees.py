"""The guarantees, with one name each for the specification, the code, the tests and the table.

Add a new guarantee here first. Then `places.differences` lists where its name is missing.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GUARANTEES", "Guarantee"]


class Guarantee(NamedTuple):
    """A promise of the pool."""

    code: str
    name: str
    words: str


GUARANTEES = (
    Guarantee(
        "S1", "SizeWithinLimit", "the resources that may exist outside stay within `max_size`"
    ),
    Guarantee("S2", "SingleHolder", "a resource is in one place, with at most one holder"),
    Guarantee("S3", "NothingLost", "every slot belongs to a live operation or a tracked resource"),
    Guarantee("S4", "OnlyFitHandedOut", "nothing expired, dirty, failed or retired is handed out"),
    Guarantee("S5", "NothingAfterClose", "once closing starts no acquire succeeds"),
    Guarantee(
        "S6",
        "ClosedExactlyOnce",
        "the closer runs once for each resource, never while it is in use",
    ),
    Guarantee("S7", "OneOutcome", "an acquire ends in a resource, an error or a cancellation"),
    Guarantee("S8", "NoDoubleRelease", "a second or foreign release changes nothing and raises"),
    Guarantee("S9", "FifoService", "no acquirer is served before an earlier waiter"),
    Guarantee("S10", "FaultIsolation", "a failing callback changes only its own operation"),
    Guarantee("S11", "CountsAgree", "every step moves the numbers as the counting module says"),
    Guarantee("S12", "CloseWaits", "closed means that nothing is left"),
    Guarantee("L1", "WaiterServed", "no acquirer waits beside an idle resource or free room"),
    Guarantee("L2", "FailureFreesSlot", "a failed creation's slot goes to the next waiter"),
    Guarantee("L3", "CloseCompletes", "closing ends after all users have given back"),
    Guarantee(
        "L4", "FloorRestored", "below `min_size` leads to `min_size` once the factory recovers"
    ),
    Guarantee("L5", "WaitersFailAtClose", "every waiter gets an error at once when closing starts"),
    Guarantee("L6", "DeadlineKept", "a deadline is kept even if nothing else ever happens"),
    Guarantee("L7", "RetireAllCompletes", "all retired resources are closed in the end"),
)
