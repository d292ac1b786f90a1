"""Scripts of steps for the machine of the second semantics, and the bugs that CrossHair must find.

They are played like those of ``crosshair_script``, which explains them. A script also chooses the
order of reuse, and the limits of a resize.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from nodetool.concurrency._machine.counts import Floor
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency._second.contracts import checked
from nodetool.concurrency._second.counts import Limits
from nodetool.concurrency._second.machine import PoolMachine
from nodetool.concurrency._second.slots import Slot, SlotState, Waiter, WaiterState
from proofs.crosshair_script import LONG, Play, Target, parameters_of, pick
from proofs.second_broken import BROKEN

__all__ = ["SEEDED", "TARGET", "UNSEEDED", "SecondPlay", "SecondSizes", "SecondTimes"]

METHODS = tuple(actions(PoolMachine))
PARAMETERS = parameters_of(PoolMachine)
WITHOUT_SUBJECT = tuple(m for m in METHODS if not {"slot", "waiter"} & {*PARAMETERS[m]})


class SecondTimes(NamedTuple):
    """Durations, and the pool's options about them."""

    idle: int
    age: int  # of the first resource, the third and so on
    other_age: int
    trust: int
    later: int  # after the first resources have become idle
    checks: bool
    resets: bool
    fifo: bool

    def short(self) -> bool:
        """Check that the durations are far below INFINITE."""
        return (
            1 <= self.idle <= LONG
            and 1 <= self.age <= LONG
            and 1 <= self.other_age <= LONG
            and 0 <= self.trust <= LONG
            and 0 <= self.later <= LONG
        )


class SecondSizes(NamedTuple):
    """The limits and the first numbers. Each integer stands for one of the choices."""

    max_size: int
    min_size: int
    max_creating: int
    max_waiting: int
    held: int
    idle: int
    waiting: int
    resized: int  # the limits of a resize


class SecondPlay(Play):
    """A machine of the second semantics, its slots and waiters, and the steps that it has made."""

    slot: ClassVar[type[Any]] = Slot
    waiter: ClassVar[type[Any]] = Waiter
    parameters: ClassVar[Mapping[str, tuple[str, ...]]] = PARAMETERS
    next_steps: ClassVar[Mapping[Any, tuple[str, ...]]] = {
        WaiterState.WAITING: ("timeout", "cancel"),
        WaiterState.HANDED: ("resume", "cancel"),
        SlotState.CREATING: ("create_succeeded", "create_failed", "create_late"),
        SlotState.CHECKING: ("check_passed", "check_failed"),
        SlotState.HELD: ("release", "discard", "detach"),
        SlotState.RESETTING: ("reset_passed", "reset_failed"),
        SlotState.CLOSING: ("closer_ended",),
    }
    without_subject: ClassVar[tuple[str, ...]] = WITHOUT_SUBJECT
    while_open: ClassVar[tuple[str, ...]] = tuple(
        m for m in WITHOUT_SUBJECT if m not in ("open", "retry_floor")
    )
    leads: ClassVar[Mapping[str, str]] = {
        "resume": "create_succeeded",
        "check_passed": "acquire",
        "check_failed": "acquire",
        "reset_passed": "release",
        "reset_failed": "release",
        "closer_ended": "discard",
        "retry_floor": "create_failed",
    }

    def made(self, bare: type[Any], sizes: SecondSizes, times: SecondTimes) -> Any:
        """Make a machine with these limits and options."""
        most = pick((1, 2, 3), sizes.max_size)
        self._later = times.later
        self._prepared = PREPARED.get(bare.__mro__[1].__name__, ())
        self._resized = pick(((1, 0), (2, 0), (2, 1), (3, 0)), sizes.resized)
        return bare(
            "searched",
            Limits(pick(range(most, 0, -1), sizes.max_creating), pick((2, 1), sizes.max_waiting)),
            max_size=most,
            min_size=pick(range(most + 1), sizes.min_size),
            max_idle_time=times.idle,
            check_after_idle=times.trust if times.checks else None,
            resets=times.resets,
            fifo=times.fifo,
        )

    def rest(self) -> None:
        """Let some time pass after the first resources have become idle."""
        self.now += self._later

    def approach(self, method: str) -> None:
        """Make the steps without which a bug cannot show, or the one that leads to the method."""
        for step in self._prepared:
            moves = dict(self.moves())
            if step in moves:
                self.make(step, moves[step])
        super().approach(method)

    def _argument(self, parameter: str, on: Any) -> Any:
        if parameter in ("max_size", "min_size"):
            return self._resized[parameter == "min_size"]
        if parameter == "reason":
            return "discarded"
        return super()._argument(parameter, on)


# In which method each bug is searched.
SEEDED_IN = {
    "DoesNotCountClosing": "discard",
    "HandsToTwo": "release",
    "ForgetsHandedOver": "cancel",
    "StampsGenerationLate": "create_succeeded",
    "HandsOutOld": "release",
    "TrustsAfterFailedCheck": "check_failed",
    "ServesWhileClosing": "close",
    "ClosesTwice": "closer_ended",
    "TimesOutAndStays": "timeout",
    "ReleasesWhatIsIdle": "release",
    "ServesNewestFirst": "create_succeeded",
    "FailsEverybody": "create_failed",
    "Miscounts": "discard",
    "ClosedTooEarly": "close",
    "LetsWaitersSleep": "closer_ended",
    "KeepsFailureToItself": "create_failed",
    "NeverClosed": "closer_ended",
    "PrunesBelowFloor": "sweep",
    "TellsNobodyAtClose": "close",
    "DeafToDeadlines": "timeout",
    "RetiresIdleOnly": "retire_all",
    "KeepsOnTheWrongSide": "release",
    "WakesNobodyAtHandOver": "create_succeeded",
    "WakesNobodyAtFailure": "create_failed",
    "AsksForNoCloser": "discard",
    "AsksForNoCreation": "acquire",
    "KeepsLeaseMark": "release",
    "LosesLeaseMark": "sweep",
    "SweepsInSilence": "sweep",
    "DeniesFailure": "create_failed",
    "SkewsAge": "create_succeeded",
    "SweepsLate": "sweep",
    "LosesEarlyExpiry": "sweep",
    "KeepsItsDisowned": "timeout",
    "DisownsForEver": "create_succeeded",
    "RetiresNoChecks": "retire_all",
    "AsksForNoCheck": "acquire",
    "CreatesBeforeItChecks": "acquire",
    "ChecksOnAfterFailure": "check_failed",
    "StartsNoCheck": "acquire",
    "TrustsForEver": "acquire",
    "SkewsTrust": "release",
    "ChecksAgainAtResume": "resume",
    "SkipsReset": "release",
    "ReusesAfterFailedReset": "reset_failed",
    "ResizesOnly": "resize",
    "ShrinksNewestFirst": "resize",
    "IgnoresResize": "resize",
    "KeepsSurplus": "release",
    "CreatesBeyondLimit": "acquire",
    "ResizesInSilence": "resize",
    "ForgetsDeadlineAtResize": "resize",
    "TakesTheWrongEnd": "acquire",
    "PrunesNewestFirst": "sweep",
    "ClosesTheFit": "release",
    "SwapsReasons": "sweep",
    "CountsTwoReasons": "retire_all",
    "FailsNewest": "create_failed",
    "GivesUpFloor": "retry_floor",
    "TerminatesGently": "terminate",
    "TerminateCloses": "terminate",
}
PREPARED: Mapping[str, tuple[str, ...]] = {
    "KeepsSurplus": ("resize",),
    "CreatesBeyondLimit": ("resize",),
    "TrustsAfterFailedCheck": ("timeout", "release"),
    "ChecksAgainAtResume": ("release", "check_failed"),
}
"""The steps that a script makes before the one in which a bug is searched."""

UNSEEDED: Mapping[str, str] = {}
"""The machines with a bug that are not searched, each with the reason."""

MACHINES = {machine.__name__: (guarantee, machine) for guarantee, machine, _ in BROKEN}
SEEDED = {name: (method, MACHINES[name][0]) for name, method in SEEDED_IN.items()}
"""In which method each bug is searched, and the guarantee whose contracts must find it."""


class WrongStep(PoolMachine[Any]):
    """A machine with a bug that only a postcondition sees, because the state is possible."""

    def sweep(self, now: float) -> list[Slot[Any]]:
        self._floor = Floor.BACKOFF
        return []


class WrongState(PoolMachine[Any]):
    """A machine with a bug that only an invariant sees."""

    def sweep(self, now: float) -> list[Slot[Any]]:
        for waiter in self.waiters():
            waiter.error = ValueError()
        return []


def sweep_once(machine: type[Any]) -> None:
    """Make a machine with a waiter, and let it sweep."""
    made = machine("enforced", Limits(1, 1), max_size=1)
    made.acquire(0)
    made.sweep(0)


TARGET = Target(
    machine=PoolMachine,
    checked=checked,
    play=SecondPlay,
    sizes=SecondSizes,
    times=SecondTimes,
    seeded=SEEDED,
    machines=MACHINES,
    wrong=(WrongStep, WrongState),
    sweep_once=sweep_once,
    modules=(
        "nodetool.concurrency._machine.",
        "nodetool.concurrency._second.",
        "proofs.second_broken",
    ),
)
