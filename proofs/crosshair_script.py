"""Scripts of steps for the machine, which CrossHair chooses, and the bugs that it has to find.

A script says what the limits are, how it begins, which steps follow and on which subjects. Each
integer stands for one of the existing choices, so no integer needs an assumption. A few comparisons
tell which choice it is. CrossHair takes the first choices most often, so they are the likely ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from nodetool.concurrency._machine.contracts import checked
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
    "TARGET",
    "Machine",
    "Play",
    "Sizes",
    "Step",
    "Subject",
    "Target",
    "Times",
    "WrongState",
    "WrongStep",
    "parameters_of",
    "pick",
]

T = TypeVar("T")
Machine = PoolMachine[Any]
Subject: TypeAlias = Any  # a slot, a waiter or None

# INFINITE replaces the machine's infinity, because a float would make the solver reason about
# floats. No path lasts that long.
LONG, INFINITE = 10**6, 10**9

METHODS = tuple(actions(PoolMachine))


def parameters_of(machine: type[Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of the parameters of each step."""
    return {m: tuple(signature(getattr(machine, m)).parameters)[1:] for m in actions(machine)}


PARAMETERS = parameters_of(PoolMachine)
SUBJECTS = ("slot", "waiter", "subject")  # the names of the parameter that a step is about

# The steps that are possible next, for a slot or a waiter by its state.
NEXT: dict[SlotState | WaiterState, tuple[str, ...]] = {
    WaiterState.WAITING: ("timeout", "cancel"),
    WaiterState.HANDED: ("resume", "cancel"),
    SlotState.CREATING: ("create_succeeded", "create_failed"),
    SlotState.CHECKING: ("check_passed", "check_failed", "timeout", "cancel"),
    SlotState.HELD: ("release", "discard", "detach"),
    SlotState.RESETTING: ("reset_passed", "reset_failed", "cancel"),
    SlotState.CLOSING: ("closer_ended",),
}
WITHOUT_SUBJECT = tuple(m for m in METHODS if not set(SUBJECTS).intersection(PARAMETERS[m]))
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
    checks: bool
    resets: bool

    def short(self) -> bool:
        """Check that the durations are far below INFINITE."""
        return (
            1 <= self.idle <= LONG
            and 1 <= self.age <= LONG
            and 1 <= self.other_age <= LONG
            and 0 <= self.trust <= LONG
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

    slot: ClassVar[type[Any]] = Slot
    waiter: ClassVar[type[Any]] = Waiter
    parameters: ClassVar[Mapping[str, tuple[str, ...]]] = PARAMETERS
    next_steps: ClassVar[Mapping[Any, tuple[str, ...]]] = NEXT
    without_subject: ClassVar[tuple[str, ...]] = WITHOUT_SUBJECT
    while_open: ClassVar[tuple[str, ...]] = WHILE_OPEN
    leads: ClassVar[Mapping[str, str]] = LEADS

    def __init__(self, bare: type[Any], sizes: Any, times: Any) -> None:
        self.machine = self.made(bare, sizes, times)
        self.ages = (times.age, times.other_age)
        self.created = 0
        self.now = 0
        self.known: list[Any] = []
        self.steps: list[str] = []

    def made(self, bare: type[Any], sizes: Any, times: Any) -> Any:
        """Make a machine with these limits and options."""
        most = pick((1, 2, 3), sizes.max_size)
        limits = Limits(
            most,
            pick(range(most + 1), sizes.min_size),
            pick(range(most, 0, -1), sizes.max_creating),
            pick((2, 1), sizes.max_waiting),
        )
        return bare(
            "searched",
            limits,
            max_idle_time=times.idle,
            check_after_idle=times.trust if times.checks else None,
            resets=times.resets,
        )

    def make(self, method: str, on: Subject = None) -> Any:
        """Make a step, and take the effects out as the runtime does."""
        outbox = self.machine.outbox
        self.steps.append(method)
        arguments = [self._argument(name, on) for name in self.parameters[method]]
        got = getattr(self.machine, method)(*arguments)
        self._know(*outbox.work, *outbox.woken)
        if isinstance(got, (self.slot, self.waiter)):
            self._know(got)
        if isinstance(got, self.slot) and got.state is SlotState.HELD:
            got.context = "a context"
        outbox.work.clear()
        outbox.woken.clear()
        return got

    def _argument(self, parameter: str, on: Subject) -> Any:
        if parameter == "now":
            return self.now
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
        return [v for v in self.known if isinstance(v, self.slot) and v.state is state]

    def lease(self) -> None:
        """Acquire a resource, if there is room."""
        got = self.make("acquire")
        if isinstance(got, self.waiter) and (creating := self.slots_in(SlotState.CREATING)):
            self.make("create_succeeded", creating[0])
            self.make("resume", got)
        elif isinstance(got, self.slot) and got.state is SlotState.CHECKING:
            self.make("check_passed", got)

    def begin(self, sizes: Any) -> None:
        """Let some resources be held, some be idle, and some acquirers wait."""
        for _ in range(pick((1, 2, 0), sizes.held)):
            self.lease()
        for slot in self.slots_in(SlotState.HELD)[: pick((0, 1, 2), sizes.idle)]:
            self.make("release", slot)
            if slot.state is SlotState.RESETTING:
                self.make("reset_passed", slot)
        self.rest()
        for _ in range(pick((2, 0, 1), sizes.waiting)):
            self.make("acquire")

    def rest(self) -> None:
        """Let some time pass after the first resources have become idle, if the script says so."""

    def moves(self) -> list[tuple[str, Subject]]:
        """List the moves that are possible now."""
        counts = self.machine.counts()
        moves: list[tuple[str, Subject]] = []
        for subject in self.known:
            moves += [(method, subject) for method in self.next_steps.get(subject.state, ())]
        moves += [(method, None) for method in self.while_open if counts.phase is Phase.OPEN]
        if counts.floor is Floor.BACKOFF:
            moves.append(("retry_floor", None))
        return moves

    def approach(self, method: str) -> None:
        """Make the step that leads to the method, if the method has no subject yet."""
        moves = dict(self.moves())
        lead = self.leads.get(method, "")
        if method not in moves and lead in moves:
            self.make(lead, moves[lead])

    def subjects(self, method: str) -> list[Subject]:
        """List the subjects that the method is possible on, and one that it is not possible on."""
        if method in self.without_subject:
            return [None]
        fit = [on for move, on in self.moves() if move == method]
        kind = self.waiter if "waiter" in self.parameters[method] else self.slot
        return [*fit, *[v for v in self.known if isinstance(v, kind) and v not in fit][-1:]]


# The bugs: in which method each is searched, and the guarantee that it breaks. The contracts of
# that guarantee must find it.
SEEDED: dict[str, tuple[str, str]] = {
    "DoesNotCountClosing": ("discard", "SizeWithinLimit"),
    "HandsToTwo": ("release", "SingleHolder"),
    "ForgetsHandedOver": ("cancel", "NothingLost"),
    "StampsGenerationLate": ("create_succeeded", "OnlyFitHandedOut"),
    "HandsOutOld": ("release", "OnlyFitHandedOut"),
    "TrustsAfterFailedCheck": ("check_failed", "OnlyFitHandedOut"),
    "SkewsAge": ("create_succeeded", "OnlyFitHandedOut"),
    "SweepsLate": ("sweep", "OnlyFitHandedOut"),
    "LosesEarlyExpiry": ("create_succeeded", "OnlyFitHandedOut"),
    "ServesWhileClosing": ("close", "NothingAfterClose"),
    "ClosesTwice": ("closer_ended", "ClosedExactlyOnce"),
    "AsksForNoCloser": ("discard", "ClosedExactlyOnce"),
    "SweepsInSilence": ("sweep", "ClosedExactlyOnce"),
    "TimesOutAndStays": ("timeout", "OneOutcome"),
    "WakesNobodyAtHandOver": ("create_succeeded", "OneOutcome"),
    "WakesNobodyAtFailure": ("create_failed", "OneOutcome"),
    "ReleasesWhatIsIdle": ("release", "NoDoubleRelease"),
    "KeepsLeaseMark": ("release", "NoDoubleRelease"),
    "LosesLeaseMark": ("sweep", "NoDoubleRelease"),
    "ServesNewestFirst": ("create_succeeded", "FifoService"),
    "FailsEverybody": ("create_failed", "FaultIsolation"),
    "DeniesFailure": ("create_failed", "FaultIsolation"),
    "Miscounts": ("discard", "CountsAgree"),
    "AsksForNoCreation": ("acquire", "CountsAgree"),
    "ClosedTooEarly": ("close", "CloseWaits"),
    "LetsWaitersSleep": ("closer_ended", "WaiterServed"),
    "KeepsFailureToItself": ("create_failed", "FailureFreesSlot"),
    "NeverClosed": ("closer_ended", "CloseCompletes"),
    "PrunesBelowFloor": ("sweep", "FloorRestored"),
    "TellsNobodyAtClose": ("close", "WaitersFailAtClose"),
    "DeafToDeadlines": ("timeout", "DeadlineKept"),
    "RetiresIdleOnly": ("retire_all", "RetireAllCompletes"),
}

MACHINES = {machine.__name__: (guarantee, machine) for guarantee, machine, _ in BROKEN}


class WrongStep(PoolMachine[Any]):
    """Machine with a bug that only a postcondition sees: the state after the sweep is possible."""

    def sweep(self, now: float) -> list[Slot[Any]]:
        self._floor = Floor.ON
        return []


class WrongState(PoolMachine[Any]):
    """Machine with a bug that only an invariant sees."""

    def sweep(self, now: float) -> list[Slot[Any]]:
        self._alive[self._generation] = 1
        return []


def sweep_once(machine: type[Any]) -> None:
    """Make a machine, and let it sweep."""
    machine("enforced", Limits(1, 0, 1, 1)).sweep(0)


class Target(NamedTuple):
    """A machine that is searched, with all that the search needs to know about it."""

    machine: type[Any]
    checked: Callable[[type[Any]], type[Any]]  # adds the contracts
    play: type[Play]
    sizes: type[Any]
    times: type[Any]
    seeded: Mapping[str, tuple[str, str]]
    machines: Mapping[str, tuple[str, type[Any]]]  # those with a bug
    wrong: tuple[type[Any], type[Any]]  # machines whose one sweep breaks a contract
    sweep_once: Callable[[type[Any]], None]
    modules: tuple[str, ...]  # how the names of the modules begin that know infinity

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the machine's steps."""
        return tuple(actions(self.machine))


TARGET = Target(
    machine=PoolMachine,
    checked=checked,
    play=Play,
    sizes=Sizes,
    times=Times,
    seeded=SEEDED,
    machines=MACHINES,
    wrong=(WrongStep, WrongState),
    sweep_once=sweep_once,
    modules=("nodetool.concurrency._machine.", "proofs.broken_machines"),
)
