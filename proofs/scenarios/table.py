"""The scenarios that are explored on the real pool: a table of users that run at the same time.

The pool of a scenario has the options of a model of the specification. Every step of every run is
looked up in that model's graph. Two to four tasks start in the given order. The tasks in `cancel`
may be cancelled at any moment. When all tasks are done the pool is closed. Then no resource may
live outside, by the count of `Outside`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from nodetool.concurrency.testing import Events
from nodetool.concurrency.verify._graph import Graph
from proofs.scenarios.contexts import InContexts, crashes, lasting
from proofs.scenarios.outside import EXPECTED, Outside, Plain, Stubborn
from proofs.scenarios.users import (
    User,
    acquires,
    closes,
    closes_impatiently,
    detach,
    discard,
    doubts,
    fails,
    grows_old,
    held,
    holds_both,
    holds_two,
    opens,
    opens_and_waits,
    opens_twice,
    prunes,
    release_twice,
    resizes,
    retires,
    retires_and_waits,
    terminates,
    tries,
    uses,
    uses_briefly,
    uses_briefly_twice,
    uses_twice,
)

frozen = cache(Graph.frozen)


@dataclass(frozen=True, repr=False)
class Scenario:
    """Tasks that run at the same time, and the pool that they use."""

    name: str
    model: str
    users: tuple[User, ...]
    cancel: tuple[int, ...] = ()  # the users that may be cancelled
    faults: frozenset[str] = frozenset()  # calls that may fail: factory, closer, check, reset
    extras: dict[str, Any] = field(default_factory=dict)  # options in addition to the model's
    world: type[Outside] = Outside
    observed: bool = True  # False: no observer is attached, as in production
    large: int = 0  # after how many schedules `make verify` stops; 0: explored completely

    @property
    def constants(self) -> Any:
        """The constants of the model."""
        return frozen(self.model).constants

    @property
    def options(self) -> dict[str, Any]:
        """The pool's options: those of the model, the smallest limits first, and the extras."""
        c = self.constants
        options = {
            "max_size": min(c["MaxSizes"]),
            "min_size": min(c["MinSizes"]),
            "max_creating": c["MaxCreating"],
            "max_waiting": c["MaxWaiting"],
            "reuse": "fifo" if c["Fifo"] else "lifo",
            "check_after_idle": 0.1 if c["CheckSkips"] else 0,
        }
        return options | self.extras

    async def __call__(self, events: Events) -> None:
        """Run all users, close the pool, and assert that nothing is left outside."""
        outside = self.world(events, self)
        for number, user in enumerate(self.users):
            name = f"{'abcd'[number]} {user.__name__}"
            events.task(endures(user, outside), name=name, cancellable=number in self.cancel)
        await events.join()
        await outside.pool.close()
        await outside.settle()
        outside.assert_empty()

    def __repr__(self) -> str:
        return self.name


async def endures(user: User, outside: Outside) -> None:
    """Run a user, and accept the errors that it may get."""
    with suppress(*EXPECTED, asyncio.CancelledError):
        await user(outside)


ALL = (0, 1, 2, 3)
FACTORY, CLOSER = frozenset({"factory"}), frozenset({"closer"})
CHECK, RESET = frozenset({"check"}), frozenset({"reset"})
ANY = FACTORY | CLOSER | CHECK | RESET
AGED, IDLE = {"max_age": 10}, {"max_idle_time": 10}

SCENARIOS = (
    # Taking turns.
    Scenario("two take turns", "Single", (uses, uses), ALL),
    Scenario("three take turns", "Single", (uses, uses, uses), ALL),
    Scenario("one comes back for more", "Single", (uses_twice, uses_twice), ALL),
    Scenario("a body fails", "Single", (fails, uses), ALL),
    Scenario("released twice", "Single", (held(release_twice), uses), ALL),
    Scenario("discarded while another waits", "Single", (held(discard), uses), ALL),
    Scenario("detached while another waits", "Single", (held(detach), uses), ALL),
    # Deadlines.
    Scenario("a deadline passes", "Single", (uses, acquires(5)), ALL),
    Scenario("two deadlines pass", "Single", (uses, acquires(5), acquires(3))),
    Scenario("tried once", "Single", (acquires(0), acquires(0)), ALL),
    Scenario("tried twice", "Single", (tries, uses), ALL, FACTORY),
    Scenario("tried with a check", "SingleChecked", (uses_briefly, tries), ALL, CHECK),
    # Failures.
    Scenario("creations fail", "Single", (uses, uses), ALL, FACTORY),
    Scenario("creations fail for three", "Single", (uses, uses, uses), (), FACTORY),
    Scenario("closers fail", "Single", (held(discard), uses), ALL, CLOSER),
    Scenario("all fails", "Single", (held(discard), uses), (1,), FACTORY | CLOSER),
    # Disowned work.
    Scenario("a creation is disowned", "Doubtful", (acquires(5), uses, uses), (1,), FACTORY),
    Scenario("a check is disowned", "SingleChecked", (uses_twice, acquires(5), uses), (), CHECK),
    # The end.
    Scenario("closed in the middle", "Single", (uses, uses, closes), (1, 2)),
    Scenario("closed while a creation fails", "Single", (uses, closes), ALL, FACTORY),
    Scenario("closed by two", "Single", (uses, closes, closes), (1,)),
    Scenario("closed in a hurry", "Single", (uses, closes_impatiently), ALL),
    Scenario("terminated", "Single", (uses, uses, terminates), (0, 1)),
    Scenario("terminated while it closes", "Single", (uses, closes, terminates), (1,)),
    # Generations, age, the minimum size.
    Scenario("retired", "Single", (uses, uses, retires), (0, 1)),
    Scenario("retired until gone", "Single", (uses_twice, retires_and_waits), ALL),
    Scenario("retired and closed", "Single", (uses, retires_and_waits, closes), (1,)),
    Scenario("too old while another waits", "Single", (uses, uses, grows_old), (0,), extras=AGED),
    Scenario("pruned", "Single", (uses_twice, prunes, grows_old), (1,), extras=AGED),
    Scenario("pruned to the minimum size", "Deep", (opens, uses, uses, grows_old), extras=IDLE),
    Scenario("two idle for too long", "Pruning", (uses, uses, grows_old), extras=IDLE),
    Scenario("filled", "Restoring", (opens_and_waits, uses_briefly), ALL, FACTORY),
    Scenario("the minimum size is restored", "Deep", (opens_twice, held(discard)), (1,), FACTORY),
    # Checks and resets.
    Scenario("checked", "SingleChecked", (uses_twice, uses), ALL),
    Scenario("checks fail", "SingleChecked", (uses_twice, uses_briefly), ALL, CHECK),
    Scenario("resets fail", "SingleChecked", (uses, uses), ALL, RESET),
    Scenario("checked within a time", "SingleChecked", (uses_briefly, acquires(5)), ALL, CHECK),
    Scenario("closed while checked", "SingleChecked", (uses_twice, closes), ALL, CHECK),
    Scenario("terminated while checked", "SingleChecked", (uses_twice, terminates), (0,), CHECK),
    Scenario("retired while checked", "SingleChecked", (uses_twice, retires), (0,), CHECK | RESET),
    Scenario("trusted", "Doubtful", (uses_twice, uses_briefly), ALL, CHECK),
    Scenario("the longest idle first", "Rotating", (holds_both, uses_briefly_twice), ALL, CHECK),
    Scenario("in doubt", "Doubtful", (holds_two, doubts), (), CHECK),
    Scenario("plain and retired", "SingleChecked", (uses_twice, uses, retires), (0, 1),
             world=Plain),
    Scenario("plain and closed", "SingleChecked", (uses_twice, uses, closes), (0, 1), world=Plain),
    Scenario("plain and terminated", "SingleChecked", (uses_twice, uses, terminates), (0, 1),
             world=Plain),
    Scenario("plain and resized", "Combined", (uses_twice, uses, resizes((1, 0))), (0, 1),
             extras={"max_size": 2}, world=Plain),
    # Limits of work.
    Scenario("a creation exceeds its limit", "Single", (uses, uses), ALL, FACTORY,
             {"creation_timeout": 5}),
    Scenario("a check exceeds its limit", "SingleChecked", (uses_briefly, uses_briefly), ALL,
             CHECK, {"check_timeout": 5}),
    Scenario("a reset exceeds its limit", "SingleChecked", (uses, uses), ALL, RESET,
             {"reset_timeout": 5}),
    Scenario("a closer exceeds its limit", "Single", (held(discard), uses), ALL, CLOSER,
             {"closer_timeout": 5}),
    Scenario("a late creation succeeds", "Single", (uses_briefly, uses_briefly), (1,),
             extras={"creation_timeout": 5}, world=Stubborn),
    Scenario("late checks and resets succeed", "SingleChecked", (uses_briefly, uses_briefly), (1,),
             extras={"check_timeout": 5, "reset_timeout": 5}, world=Stubborn),
    Scenario("a late closer ends", "Single", (held(discard), uses_briefly), (1,),
             extras={"closer_timeout": 5}, world=Stubborn),
    Scenario("all work is cancelled and succeeds", "SingleChecked", (uses_twice, terminates), (0,),
             world=Stubborn),
    # Limits that change.
    Scenario("grown while another waits", "Combined", (uses, uses, resizes((2, 0))), (1, 2)),
    Scenario("shrunk in use", "Combined", (uses, uses, resizes((1, 0), wait=True)), (1, 2),
             extras={"max_size": 2}),
    Scenario("shrunk while all fails", "Combined",
             (uses_briefly, uses_briefly, resizes((1, 0), wait=True)), (), ANY, {"max_size": 2}),
    Scenario("the minimum size changes", "Resizing", (uses, resizes((3, 1), (1, 0))), (),
             FACTORY | CHECK),
    # Contexts, each with a task of its own.
    Scenario("contexts take turns", "Single", (uses_briefly, uses_briefly), ALL,
             world=InContexts),
    Scenario("closed while a context is entered", "Single", (uses, closes), ALL,
             FACTORY | CLOSER, world=InContexts),
    Scenario("terminated while a context is entered", "Single", (uses, terminates), ALL,
             FACTORY, world=InContexts),
    Scenario("entering takes too long", "Single", (uses_briefly, uses_briefly), (1,),
             FACTORY, {"creation_timeout": 5}, world=InContexts),
    Scenario("a context ends by itself", "Single",
             (lasting(uses), lasting(uses_briefly), crashes), (1,), world=InContexts),
    Scenario("a checked context ends by itself", "SingleChecked",
             (lasting(uses_briefly), lasting(uses_briefly), crashes), (), CHECK | RESET,
             world=InContexts),
    # All faults at once, or four users.
    Scenario("three on one, everything fails", "Single", (uses, uses, held(discard)), ALL,
             FACTORY | CLOSER),
    Scenario("three checked on one, everything fails", "SingleChecked",
             (uses_briefly, uses_briefly, uses_briefly), ALL, ANY, large=20_000),
    Scenario("three, everything fails", "Wide", (uses, uses, held(discard)), ALL,
             FACTORY | CLOSER, large=100_000),
    Scenario("three checked", "Checked", (uses, uses, uses), (), CHECK),
    Scenario("four take turns", "Wide", (uses, uses, uses, uses), (3,)),
    Scenario("four and the end", "Wide", (uses, uses, retires, closes), (1,), large=20_000),
    Scenario("four cancelled", "Wide", (uses, uses, uses, uses), ALL, large=20_000),
)  # fmt: skip

GROWS = resizes((2, 0))
SHRINKS = resizes((2, 0), (1, 0), wait=True)
GROWS.__name__, SHRINKS.__name__ = "grows", "shrinks"

# The users of the pairs: each public call runs against each other one.
DISCARDS, DETACHES = held(discard), held(detach)
LEAVING = (DISCARDS, DETACHES, terminates)  # only some models allow these
CALLS: tuple[User, ...] = (
    uses,
    acquires(5),
    DISCARDS,
    DETACHES,
    held(release_twice),
    tries,
    opens_twice,
    prunes,
    retires,
    retires_and_waits,
    GROWS,
    SHRINKS,
    closes,
    closes_impatiently,
    terminates,
)


def against(one: User, other: User) -> Scenario:
    """Return a scenario of two calls and a user, ordered so that both calls have work."""
    name = f"{one.__name__} against {other.__name__}"
    model = "Combined" if {one, other} & {GROWS, SHRINKS} else "Single"
    if opens_twice in (one, other):  # opens_twice starts first, because a pool opens only once
        other = one if other is opens_twice else other
        # Without max_age, because otherwise expiry and refilling alternate without an end.
        model = "Resizing" if model == "Combined" else "Restoring"
        if other in LEAVING:
            model = "Deep"
        return Scenario(name, model, (opens_twice, other), extras={"min_size": 1})
    extras = AGED if prunes in (one, other) and model == "Single" else {}
    return Scenario(name, model, (uses_briefly, one, other), (1, 2), extras=extras)


PAIRS = tuple(against(one, other) for place, one in enumerate(CALLS) for other in CALLS[place:])

# Situations that `outside.MET` must contain after all runs of a scenario. A situation is where
# resources and acquirers were when the pool was closed, terminated, retired or resized.
PLACES = ("creating", "handed", "held", "closing", "idle", "waiting")
ALL_PLACES = (*PLACES, "checking", "resetting")
MEETS: dict[str, set[str]] = {
    "plain and retired": {f"retire {place}" for place in ALL_PLACES},
    "plain and closed": {f"close {place}" for place in ALL_PLACES},
    "plain and terminated": {f"terminate {place}" for place in ALL_PLACES},
    "plain and resized": {f"resize {place}" for place in ALL_PLACES if place != "creating"},
    "grown while another waits": {"resize creating"},
    "closed in the middle": {f"close {place}" for place in PLACES},
    "closed in a hurry": {f"close in a hurry {place}" for place in PLACES},
    "closed while checked": {f"close {place}" for place in ALL_PLACES},
    "terminated": {f"terminate {place}" for place in PLACES},
    "terminated while checked": {f"terminate {place}" for place in ALL_PLACES},
    "retired": {f"retire {place}" for place in PLACES},
    "retired while checked": {f"retire {place}" for place in ALL_PLACES},
    "retired until gone": {
        *(f"retire and wait {place}" for place in PLACES),
        "retire and wait, cancelled",
    },
    "closed while a context is entered": {f"close {place}" for place in PLACES},
    "terminated while a context is entered": {
        *(f"terminate {place}" for place in PLACES),
        "entering, cancelled",
    },
    "entering takes too long": {"entering, cancelled"},
    "a context ends by itself": {
        *(f"crash {place}" for place in PLACES if place != "closing"),
        "ended as it was entered",
    },
    "a checked context ends by itself": {
        f"crash {place}" for place in ALL_PLACES if place != "held"
    },
    "pruned": {"prune removed", "prune, cancelled"},
    "the minimum size is restored": {"open refilled", *(f"open again {place}" for place in PLACES)},
}
# The same for each pair with such a user.
MEETS_IN_PAIRS: dict[User, str] = {prunes: "prune removed", opens_twice: "open refilled"}

# The scenario that finds each machine with a bug, by the graph or by what happens outside.
FOUND_IN = {
    "DoesNotCountClosing": "discarded while another waits",
    "HandsToTwo": "two take turns",
    "ForgetsHandedOver": "two take turns",
    "StampsGenerationLate": "retired",
    "HandsOutOld": "too old while another waits",
    "TrustsAfterFailedCheck": "in doubt",
    "ServesWhileClosing": "closed in the middle",
    "ClosesTwice": "discarded while another waits",
    "TimesOutAndStays": "a deadline passes",
    "ReleasesWhatIsIdle": "released twice",
    "ServesNewestFirst": "three take turns",
    "FailsEverybody": "creations fail for three",
    "Miscounts": "discarded while another waits",
    "ClosedTooEarly": "closed while a creation fails",
    "LetsWaitersSleep": "discarded while another waits",
    "KeepsFailureToItself": "creations fail",
    "NeverClosed": "two take turns",
    "PrunesBelowFloor": "pruned to the minimum size",
    "TellsNobodyAtClose": "closed in the middle",
    "DeafToDeadlines": "checked within a time",
    "RetiresIdleOnly": "retired",
    "KeepsOnTheWrongSide": "pruned to the minimum size",
    "WakesNobodyAtHandOver": "two take turns",
    "WakesNobodyAtFailure": "creations fail",
    "AsksForNoCloser": "discarded while another waits",
    "AsksForNoCreation": "two take turns",
    "KeepsLeaseMark": "two take turns",
    "LosesLeaseMark": "pruned",
    "SweepsInSilence": "pruned",
    "DeniesFailure": "creations fail",
    "SkewsAge": "pruned",
    "SweepsLate": "two idle for too long",
    "DisownsForEver": "a deadline passes",
    "RetiresNoChecks": "retired while checked",
    "AsksForNoCheck": "checked",
    "CreatesBeforeItChecks": "in doubt",
    "StartsNoCheck": "checked",
    "TrustsForEver": "in doubt",
    "SkewsTrust": "trusted",
    "ChecksAgainAtResume": "in doubt",
    "SkipsReset": "checked",
    "ReusesAfterFailedReset": "resets fail",
    "ShrinksNewestFirst": "plain and resized",
    "IgnoresResize": "grown while another waits",
    "KeepsSurplus": "plain and resized",
    "CreatesBeyondLimit": "shrunk in use",
    "ResizesInSilence": "plain and resized",
    "GivesUpFloor": "the minimum size is restored",
}
