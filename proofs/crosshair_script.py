"""Scripts for the machine, as CrossHair chooses them, and the bugs that it has to find.

A script says what the limits are, how it begins, what steps follow and what they are done to.
Any integer means one of the choices that there are, so that nothing has to be assumed of it, and a
few comparisons tell which. What is likely to matter comes first: that is chosen most often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from nodetool.concurrency._machine.counts import Floor, Limits, Phase
from nodetool.concurrency._machine.machine import PoolMachine
from nodetool.concurrency._machine.slots import Place, Record, Waiter
from proofs.broken_machines import BROKEN

__all__ = [
    "MACHINES",
    "METHODS",
    "NEVER",
    "SEEDED",
    "Machine",
    "Play",
    "Sizes",
    "Step",
    "Times",
    "pick",
]

T = TypeVar("T")
Machine = PoolMachine[Any]
Subject = Record[Any] | Waiter[Any] | None
Call = Callable[[Machine, Any, Any, Any], Any]  # on what, now, when it will be too old

# An integer instead of infinity, which would make the solver reason about floats. No path lasts
# as long.
LONG, NEVER = 10**6, 10**9

METHODS: dict[str, Call] = {
    "acquire": lambda m, _, now, old: m.acquire(now),
    "resume": lambda m, waiter, now, old: m.resume(waiter, now),
    "check_passed": lambda m, record, now, old: m.check_passed(record, now),
    "check_failed": lambda m, record, now, old: m.check_failed(record, now),
    "timeout": lambda m, subject, now, old: m.timeout(subject, TimeoutError()),
    "cancel": lambda m, subject, now, old: m.cancel(subject, now),
    "release": lambda m, record, now, old: m.release(record, now),
    "reset_passed": lambda m, record, now, old: m.reset_passed(record, now),
    "reset_failed": lambda m, record, now, old: m.reset_failed(record),
    "discard": lambda m, record, now, old: m.discard(record),
    "detach": lambda m, record, now, old: m.detach(record),
    "open": lambda m, _, now, old: m.open(),
    "create_succeeded": lambda m, record, now, old: m.create_succeeded(record, object(), now, old),
    "create_failed": lambda m, record, now, old: m.create_failed(record, ValueError()),
    "closer_ended": lambda m, record, now, old: m.closer_ended(record),
    "sweep": lambda m, _, now, old: m.sweep(now),
    "retry_floor": lambda m, _, now, old: m.retry_floor(),
    "retire_all": lambda m, _, now, old: m.retire_all(),
    "close": lambda m, _, now, old: m.close(),
    "terminate": lambda m, _, now, old: m.terminate(),
}

# What can be done next with a waiter, with a record, and with the pool.
WAITERS = {Place.WAITING: ("timeout", "cancel"), Place.HANDED: ("resume", "cancel")}
RECORDS = {
    Place.CREATING: ("create_succeeded", "create_failed"),
    Place.CHECKING: ("check_passed", "check_failed", "timeout", "cancel"),
    Place.HELD: ("release", "discard", "detach"),
    Place.RESETTING: ("reset_passed", "reset_failed", "cancel"),
    Place.CLOSING: ("closer_ended",),
}
POOL = ("acquire", "sweep", "retire_all", "close", "terminate")
ALONE = (*POOL, "open", "retry_floor")  # these are called on nothing

# What leads to a method that cannot be called on anything yet.
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
    """Durations, and what the pool does with them."""

    idle: int
    age: int
    trust: int
    checks: bool
    resets: bool

    def short(self) -> bool:
        return 1 <= self.idle <= LONG and 1 <= self.age <= LONG and 0 <= self.trust <= LONG


class Sizes(NamedTuple):
    """The limits, and how many there are to begin with; any integer means one of the choices."""

    max_size: int
    min_size: int
    max_creating: int
    max_waiting: int
    held: int
    idle: int
    waiting: int


class Step(NamedTuple):
    """One of the moves that are possible, after some time."""

    which: int
    passes: int

    def short(self) -> bool:
        return 0 <= self.passes <= LONG


def pick(choices: Sequence[T], which: int) -> T:
    """One of them, by few comparisons: too small means the first, too large the last."""
    low, high = 0, len(choices)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if which < middle else (middle, high)
    return choices[low]


class Play:
    """A machine, all that it ever gave out, and what was done with it."""

    def __init__(self, bare: type[Machine], sizes: Sizes, times: Times) -> None:
        most = pick((1, 2, 3), sizes.max_size)
        limits = Limits(
            most,
            pick(range(most + 1), sizes.min_size),
            pick(range(most, 0, -1), sizes.max_creating),
            pick((2, 1), sizes.max_waiting),
        )
        self.machine = bare(
            "searched",
            limits,
            max_idle_time=times.idle,
            check_after_idle=times.trust if times.checks else None,
            resets=times.resets,
        )
        self.age, self.now = times.age, 0
        self.known: list[Record[Any] | Waiter[Any]] = []
        self.steps: list[str] = []

    def make(self, method: str, on: Subject = None) -> Any:
        """Make a step, and empty the lists as a shell does."""
        machine = self.machine
        self.steps.append(method)
        got = METHODS[method](machine, on, self.now, self.now + self.age)
        self._know(*machine.work, *machine.woken)
        if isinstance(got, (Record, Waiter)):
            self._know(got)
        machine.work.clear()
        machine.woken.clear()
        return got

    def _know(self, *subjects: Record[Any] | Waiter[Any]) -> None:
        self.known += [new for new in subjects if all(new is not old for old in self.known)]

    def at(self, place: Place) -> list[Record[Any]]:
        return [v for v in self.known if isinstance(v, Record) and v.place is place]

    def lease(self) -> None:
        """Acquire, and go on until it is held, if there is room."""
        got = self.make("acquire")
        if isinstance(got, Waiter) and (creating := self.at(Place.CREATING)):
            self.make("create_succeeded", creating[0])
            self.make("resume", got)
        elif isinstance(got, Record) and got.place is Place.CHECKING:
            self.make("check_passed", got)

    def begin(self, sizes: Sizes) -> None:
        """Some are held, some are idle, some acquirers wait."""
        for _ in range(pick((1, 2, 0), sizes.held)):
            self.lease()
        for record in self.at(Place.HELD)[: pick((0, 1, 2), sizes.idle)]:
            self.make("release", record)
            if record.place is Place.RESETTING:
                self.make("reset_passed", record)
        for _ in range(pick((2, 0, 1), sizes.waiting)):
            self.make("acquire")

    def moves(self) -> list[tuple[str, Subject]]:
        """What can be done now."""
        machine = self.machine
        moves: list[tuple[str, Subject]] = []
        for subject in self.known:
            places = WAITERS if isinstance(subject, Waiter) else RECORDS
            moves += [(action, subject) for action in places.get(subject.place, ())]
        moves += [(action, None) for action in POOL if machine.phase is Phase.OPEN]
        if machine.floor is Floor.BACKOFF:
            moves.append(("retry_floor", None))
        return moves

    def approach(self, method: str) -> None:
        """Make the step that leads to the method, if there is nothing to call it on."""
        moves = dict(self.moves())
        lead = LEADS.get(method, "")
        if method not in moves and lead in moves:
            self.make(lead, moves[lead])

    def subjects(self, method: str) -> list[Subject]:
        """What the method could be called on: those that it is for, and one that it is not."""
        if method in ALONE:
            return [None]
        fit = [on for action, on in self.moves() if action == method]
        of = (Waiter,) if method == "resume" else (Record,)
        return [*fit, *[v for v in self.known if isinstance(v, of) and v not in fit][-1:]]


# The bugs: in which method each is searched, and the guarantee that it breaks, whose contracts
# name it.
SEEDED: dict[str, tuple[str, str]] = {
    "DoesNotCountClosing": ("discard", "SizeWithinLimit"),
    "HandsToTwo": ("release", "SingleHolder"),
    "ForgetsHandedOver": ("cancel", "NothingLost"),
    "StampsGenerationLate": ("create_succeeded", "OnlyFitHandedOut"),
    "HandsOutOld": ("release", "OnlyFitHandedOut"),
    "TrustsAfterFailedCheck": ("check_failed", "OnlyFitHandedOut"),
    "ServesWhileClosing": ("close", "NothingAfterClose"),
    "ClosesTwice": ("closer_ended", "ClosedExactlyOnce"),
    "TimesOutAndStays": ("timeout", "OneOutcome"),
    "ReleasesWhatIsIdle": ("release", "NoDoubleRelease"),
    "ServesNewestFirst": ("create_succeeded", "FifoService"),
    "FailsEverybody": ("create_failed", "FaultIsolation"),
    "Miscounts": ("discard", "CountsAgree"),
    "ClosedTooEarly": ("close", "CloseWaits"),
    "LetsWaitersSleep": ("closer_ended", "WaiterServed"),
    "KeepsFailureToItself": ("create_failed", "FailureFreesSlot"),
    "NeverClosed": ("closer_ended", "CloseCompletes"),
    "PrunesBelowFloor": ("sweep", "FloorRestored"),
    "TellsNobodyAtClose": ("close", "WaitersFailAtClose"),
    "DeafToDeadlines": ("timeout", "DeadlineKept"),
    "RetiresIdleOnly": ("retire_all", "RetireAllCompletes"),
}


class HandsOutOld(PoolMachine[Any]):
    """That of the tests, with an integer for the infinite past."""

    def _give_back(self, record: Record[Any], now: float) -> None:
        super()._give_back(record, -NEVER)


MACHINES = {machine.__name__: (guarantee, machine) for guarantee, machine, _ in BROKEN}
MACHINES["HandsOutOld"] = ("OnlyFitHandedOut", HandsOutOld)
