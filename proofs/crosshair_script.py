"""Scripts of steps for the machine, which CrossHair chooses, and the bugs that it has to find.

A script says what the limits and options are, how it begins, which steps follow and on which
subjects. Each integer stands for one of the existing choices, so no integer needs an assumption. A
few comparisons tell which choice it is. CrossHair takes the first choices most often, so they are
the likely ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple, TypeAlias, TypeVar

from nodetool.concurrency._machine.counts import Floor, Limits, Phase
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.observe import actions
from nodetool.concurrency._machine.slots import Slot, SlotState, Waiter, WaiterState
from proofs.broken_machines import BROKEN

__all__ = [
    "INFINITE",
    "MACHINES",
    "METHODS",
    "SEEDED",
    "UNSEEDED",
    "Machine",
    "Play",
    "Sizes",
    "Step",
    "Subject",
    "Times",
    "WrongState",
    "WrongStep",
    "pick",
    "sweep_once",
]

T = TypeVar("T")
Machine = PoolMachine[Any]
Subject: TypeAlias = Any  # a slot, a waiter or None

# INFINITE replaces the machine's infinity, because a float would make the solver reason about
# floats. No path lasts that long.
LONG, INFINITE = 10**6, 10**9

METHODS = tuple(actions(PoolMachine))
PARAMETERS = {m: tuple(signature(getattr(PoolMachine, m)).parameters)[1:] for m in METHODS}

# The steps that are possible next, for a slot or a waiter by its state.
NEXT: dict[SlotState | WaiterState, tuple[str, ...]] = {
    WaiterState.WAITING: ("timeout", "cancel"),
    WaiterState.HANDED: ("resume", "cancel"),
    SlotState.CREATING: ("create_succeeded", "create_failed", "create_late"),
    SlotState.CHECKING: ("check_passed", "check_failed"),
    SlotState.HELD: ("release", "discard", "detach"),
    SlotState.RESETTING: ("reset_passed", "reset_failed"),
    SlotState.CLOSING: ("closer_ended",),
}
WITHOUT_SUBJECT = tuple(m for m in METHODS if not {"slot", "waiter"} & {*PARAMETERS[m]})
WHILE_OPEN = tuple(m for m in WITHOUT_SUBJECT if m not in ("open", "retry_floor"))

# The step that leads to a method that has no subject yet.
LEADS = {
    "resume": "create_succeeded",
    "check_passed": "acquire",
    "check_failed": "acquire",
    "reset_passed": "release",
    "reset_failed": "release",
    "closer_ended": "discard",
    "retry_floor": "create_failed",
}


class Times(NamedTuple):
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


class Sizes(NamedTuple):
    """The limits and the first numbers. Each integer stands for one of the choices."""

    max_size: int
    min_size: int
    max_creating: int
    max_waiting: int
    held: int
    idle: int
    waiting: int
    resized: int  # the limits of a resize


class Step(NamedTuple):
    """One of the possible moves, after some time."""

    which: int
    passes: int

    def short(self) -> bool:
        """Check that the time is far below INFINITE."""
        return 0 <= self.passes <= LONG


def pick(choices: Sequence[T], which: int) -> T:
    """Choose by few comparisons. A number that is too small or too large means an end."""
    low, high = 0, len(choices)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if which < middle else (middle, high)
    return choices[low]


class Play:
    """A machine, the slots and waiters that it has used, and the steps that it has made."""

    def __init__(self, bare: type[Machine], sizes: Sizes, times: Times) -> None:
        bug = bare.__mro__[1].__name__
        sizes = BEGINNINGS.get(bug, sizes)
        self.is_free = bug not in BEGINNINGS  # whether the script chooses steps
        most = pick((1, 2, 3), sizes.max_size)
        self.machine: Any = bare(
            "searched",
            Limits(pick(range(most, 0, -1), sizes.max_creating), pick((2, 1), sizes.max_waiting)),
            max_size=most,
            min_size=pick(range(most + 1), sizes.min_size),
            max_idle_time=times.idle,
            check_after_idle=times.trust if times.checks else None,
            resets=times.resets,
            fifo=times.fifo,
        )
        self.ages = (times.age, times.other_age)
        self.created = 0
        self.now = 0
        self.known: list[Any] = []
        self.steps: list[str] = []
        self._sizes = sizes
        self._later = times.later
        self._prepared = PREPARED.get(bug, ())
        self._resized = pick(((1, 0), (2, 0), (2, 1), (3, 0)), sizes.resized)

    def make(self, method: str, on: Subject = None) -> Any:
        """Make a step, and take the effects out as the runtime does."""
        outbox = self.machine.outbox
        self.steps.append(method)
        arguments = [self._argument(name, on) for name in PARAMETERS[method]]
        got = getattr(self.machine, method)(*arguments)
        self._know(*outbox.work, *outbox.woken)
        if isinstance(got, (Slot, Waiter)):
            self._know(got)
        if isinstance(got, Slot) and got.state is SlotState.HELD:
            got.context = "a context"
        outbox.work.clear()
        outbox.woken.clear()
        return got

    def _argument(self, parameter: str, on: Subject) -> Any:
        if parameter == "now":
            return self.now
        if parameter in ("max_size", "min_size"):
            return self._resized[parameter == "min_size"]
        if parameter == "reason":
            return "discarded"
        if parameter == "resource":
            return object()
        if parameter == "expires_at":
            self.created += 1
            return self.now + self.ages[(self.created - 1) % 2]
        return ValueError("searched") if parameter == "error" else on

    def _know(self, *subjects: Any) -> None:
        self.known += [new for new in subjects if all(new is not old for old in self.known)]

    def slots_in(self, state: SlotState) -> list[Any]:
        """List the slots in a state."""
        return [v for v in self.known if isinstance(v, Slot) and v.state is state]

    def lease(self) -> None:
        """Acquire a resource, if there is room."""
        got = self.make("acquire")
        if isinstance(got, Waiter) and (creating := self.slots_in(SlotState.CREATING)):
            self.make("create_succeeded", creating[0])
            self.make("resume", got)

    def begin(self) -> None:
        """Let some resources be held, some be idle, and some acquirers wait."""
        sizes = self._sizes
        for _ in range(pick((1, 2, 0), sizes.held)):
            self.lease()
        for slot in self.slots_in(SlotState.HELD)[: pick((0, 1, 2), sizes.idle)]:
            self.make("release", slot)
            if slot.state is SlotState.RESETTING:
                self.make("reset_passed", slot)
        self.now += self._later
        for _ in range(pick((2, 0, 1), sizes.waiting)):
            self.make("acquire")

    def moves(self) -> list[tuple[str, Subject]]:
        """List the moves that are possible now."""
        counts = self.machine.counts()
        moves: list[tuple[str, Subject]] = []
        for subject in self.known:
            moves += [(method, subject) for method in NEXT.get(subject.state, ())]
        moves += [(method, None) for method in WHILE_OPEN if counts.phase is Phase.OPEN]
        if counts.floor is Floor.BACKOFF:
            moves.append(("retry_floor", None))
        return moves

    def approach(self, method: str) -> None:
        """Make the steps without which a bug cannot show, or the one that leads to the method."""
        for step in self._prepared:
            moves = dict(self.moves())
            if step in moves:
                self.make(step, moves[step])
        moves = dict(self.moves())
        lead = LEADS.get(method, "")
        if method not in moves and lead in moves:
            self.make(lead, moves[lead])

    def subjects(self, method: str) -> list[Subject]:
        """List the subjects that the method is possible on, and one that it is not possible on."""
        if method in WITHOUT_SUBJECT:
            return [None]
        fit = [on for move, on in self.moves() if move == method]
        kind = Waiter if "waiter" in PARAMETERS[method] else Slot
        return [*fit, *[v for v in self.known if isinstance(v, kind) and v not in fit][-1:]]


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
    "DeniesEffects": "release",
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
    "IgnoresFifo": "acquire",
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
    "ForgetsDeadlineAtResize": ("sweep",),
    "PrunesNewestFirst": ("release",),
}
"""The steps that a script makes before the one in which a bug is searched."""

ONE_IDLE = Sizes(
    max_size=2, min_size=0, max_creating=0, max_waiting=0, held=0, idle=1, waiting=1, resized=1
)
TWO_IDLE = ONE_IDLE._replace(held=1, idle=2)
CHECKED = ONE_IDLE._replace(held=1, waiting=2)  # its check is in flight, and one more is held
LOWERED = ONE_IDLE._replace(held=1, idle=0, resized=0)  # a resize leaves one more than allowed
BEGINNINGS: Mapping[str, Sizes] = {
    "AsksForNoCheck": ONE_IDLE,
    "CreatesBeforeItChecks": TWO_IDLE,
    "KeepsOnTheWrongSide": ONE_IDLE._replace(held=1),
    "KeepsSurplus": LOWERED,
    "CreatesBeyondLimit": LOWERED,
    "PrunesBelowFloor": ONE_IDLE._replace(min_size=1),
    "SweepsLate": ONE_IDLE,
    "ForgetsDeadlineAtResize": ONE_IDLE._replace(min_size=1),
    "LosesEarlyExpiry": TWO_IDLE,
    "ChecksOnAfterFailure": TWO_IDLE,
    "SkewsTrust": ONE_IDLE._replace(idle=0),
    "IgnoresFifo": TWO_IDLE,
    "TakesTheWrongEnd": TWO_IDLE,
    "ShrinksNewestFirst": TWO_IDLE._replace(resized=0),
    "TrustsForEver": ONE_IDLE,
    "PrunesNewestFirst": TWO_IDLE._replace(min_size=1, idle=1),
    "TrustsAfterFailedCheck": CHECKED,
    "ChecksAgainAtResume": CHECKED,
}
"""The limits and first numbers of a script, for bugs that the search finds too late otherwise.

Only the prepared steps come between them and the step in which the bug is searched.
"""

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
