"""Events of a pool of the second semantics, and its changing numbers."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from nodetool.concurrency import listener as shared
from nodetool.concurrency._machine.slots import SlotState

from . import counts as rules
from .messages import acquire_timeout
from .work import LIMITS

__all__ = ["Events", "PoolGauges", "measure"]

WORK_OUTCOMES: dict[str, tuple[shared.Kind, str]] = {
    "CheckPassed": ("check", "passed"),
    "CheckFailed": ("check", "failed"),
    "ResetPassed": ("reset", "passed"),
    "ResetFailed": ("reset", "failed"),
}


class PoolGauges(NamedTuple):
    """The changing numbers of a pool: some numbers of ``PoolStats``.

    If the pool has a listener, any thread may read these numbers.
    """

    idle: int
    """Resources that nobody uses."""
    in_use: int
    """Resources handed over or held."""
    creating: int
    """Calls of the factory in flight or queued."""
    checking: int
    """Calls of the check in flight or queued."""
    resetting: int
    """Calls of the reset in flight or queued."""
    closing: int
    """Calls of the closer in flight or queued."""
    waiting: int
    """Acquirers in the queue."""
    timeouts: int
    """Acquires that reached their deadline, since the pool was made."""


def measure(counts: rules.Counts, timeouts: int) -> PoolGauges:
    """Make the gauges of a machine with these counts."""
    c = counts
    work = (c.creating, c.checking, c.resetting, c.closing)
    return PoolGauges(rules.idle(c), c.in_use, *work, c.waiting, timeouts)


class Events(shared.Events):
    """The observer that calls a listener with an event at the end of each phase."""

    continuing: ClassVar[tuple[str, ...]] = ("Resume",)
    unused: ClassVar[Any] = PoolGauges(0, 0, 0, 0, 0, 0, 0, 0)

    def measure(self, counts: Any, timeouts: int) -> PoolGauges:
        """Make the gauges of a machine with these counts."""
        return measure(counts, timeouts)

    def timeout_error(self, machine: Any, waited: float) -> BaseException:
        """Make an error equal to that of an acquire which raises its own."""
        ages: dict[SlotState, float] = {}  # of the oldest work of each kind
        for slot, track in self._tracks.items():
            if slot.state in LIMITS:
                age = self._now - track.since
                ages[slot.state] = max(age, ages.get(slot.state, age))
        # Only an acquire that may not wait raises its own error.
        return acquire_timeout(machine.name, 0.0, machine.counts(), ages)

    def _end_work(
        self, action: str, subject: Any, args: tuple[Any, ...], memory: shared.Memory
    ) -> None:
        """Note the creation, the check, the reset or the closing that the step has ended."""
        super()._end_work(action, subject, args, memory)
        if action == "CreateLate":
            track = self._tracks.get(subject, shared.NO_TRACK)
            self._note("creation", track.number, track.since, "late", error=args[2])
        elif action in WORK_OUTCOMES:
            kind, outcome = WORK_OUTCOMES[action]
            track = self._tracks.get(subject, shared.NO_TRACK)
            self._note(kind, track.number, track.since, outcome)
