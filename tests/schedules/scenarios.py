"""The scenarios that are explored on the real pool: a table of who does what at the same time.

Each is a pool whose options are those of a model of the specification, so every step of every run
is looked up in that model's graph, and two to four tasks, started in this order, of which those in
`cancel` may be cancelled at any moment. When all are done the pool is closed, and then the world
outside must be empty: it keeps its own count of what lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency.testing import Events


class FactoryError(Exception):
    """A creation failed."""


class CloserError(Exception):
    """A closer failed."""


class CheckError(Exception):
    """A check failed."""


class ResetError(Exception):
    """A reset failed."""


class BodyError(Exception):
    """A user's own code failed."""


class Resource:
    """Something that lives outside, from its creation to the end of its closer."""

    __slots__ = ("closed", "holders", "kept")

    def __init__(self) -> None:
        self.closed = False
        self.kept = False  # it was detached or forgotten: not the pool's any more
        self.holders = 0

    def assert_unused(self) -> None:
        assert not self.closed, "it is closed"
        assert not self.holders, "somebody has it"


class Outside:
    """The world outside the pool. How its calls end is explored."""

    def __init__(self, events: Events, scenario: Scenario) -> None:
        self.events = events
        self.faults = scenario.faults
        self.limit: int = scenario.options["max_size"]
        self.living = 0
        self.resources: list[Resource] = []
        self.all_held = asyncio.Event()
        options = {"closer_timeout": None, "acquisition_timeout": None, **scenario.options}
        if scenario.model in CHECKED:
            options["check"] = self.check
        if scenario.model in CHECKED and scenario.model != "Doubtful":
            options["reset"] = self.reset
        self.pool = AsyncResourcePool(self.create, self.close, name="explored", **options)
        events.pool(self.pool, model=scenario.model)
        events.watch(self)

    async def call(self, name: str, fault: type[Exception], *answers: Any) -> Any:
        first, *others = answers or (None,)
        faults = (fault,) if name in self.faults else ()
        results = tuple(others) if name in self.faults else ()
        return await self.events.call(name, result=first, results=results, faults=faults)

    async def create(self) -> Resource:
        self.living += 1
        assert self.living <= self.limit, "more live than are allowed"
        try:
            await self.call("factory", FactoryError)
        except BaseException:
            self.living -= 1
            raise
        resource = Resource()
        self.resources.append(resource)
        return resource

    async def close(self, resource: Resource) -> None:
        assert not resource.closed, "closed twice"
        assert not resource.holders, "closed while somebody holds it"
        assert not resource.kept, "closed although it is not the pool's any more"
        resource.closed = True
        try:
            await self.call("closer", CloserError)
        finally:
            self.living -= 1

    async def check(self, resource: Resource) -> object:
        resource.assert_unused()
        return await self.call("check", CheckError, True, False)

    async def reset(self, resource: Resource) -> None:
        resource.assert_unused()
        await self.call("reset", ResetError)

    def take(self, resource: Resource) -> None:
        """A user has it."""
        resource.assert_unused()
        resource.holders += 1

    def give(self, resource: Resource) -> None:
        """A user lets go of it."""
        resource.holders -= 1

    def keep(self, resource: Resource) -> None:
        """It is not the pool's any more."""
        if not resource.kept:
            resource.kept = True
            self.living -= 1

    def assert_empty(self) -> None:
        """Everything came back and was closed, once."""
        assert self.pool.closed
        assert self.pool.size == 0
        assert self.living == 0, f"{self.living} live although the pool is closed"
        assert all(r.closed or r.kept for r in self.resources)


# What a task may do.

User = Callable[[Outside], Coroutine[Any, Any, None]]
EXPECTED = (
    *(FactoryError, BodyError, CheckError, ResourcePoolClosedError),
    *(ResourcePoolTimeoutError, ResourcePoolExhaustedError),
)


async def uses(o: Outside) -> None:
    """Take one and give it back."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        try:
            await o.events.call("work")
        finally:
            o.give(resource)


async def uses_briefly(o: Outside) -> None:
    """Take one and give it back at once."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        o.give(resource)


async def uses_twice(o: Outside) -> None:
    """Take one, give it back, and again."""
    await uses_briefly(o)
    await uses(o)


async def fails(o: Outside) -> None:
    """The body of the context fails."""
    async with o.pool.acquire_context() as resource:
        o.take(resource)
        try:
            await o.events.call("work", faults=(BodyError,))
        finally:
            o.give(resource)


def held(then: Callable[[Outside, Resource], Awaitable[None]], timeout: Any = None) -> User:
    """Take one by acquire(), work, and do something with it."""

    async def user(o: Outside) -> None:
        resource = await o.pool.acquire(timeout)
        o.take(resource)
        try:
            await o.events.call("work")
        finally:
            o.give(resource)
            with suppress(InvalidReleaseError):  # only terminate() ends a lease of somebody's
                await then(o, resource)

    user.__name__ = f"{then.__name__}"
    return user


async def release(o: Outside, resource: Resource) -> None:
    await o.pool.release(resource)


async def discard(o: Outside, resource: Resource) -> None:
    await o.pool.discard(resource)


async def detach(o: Outside, resource: Resource) -> None:
    await o.pool.detach(resource)
    o.keep(resource)


async def release_twice(o: Outside, resource: Resource) -> None:
    """The second release must change nothing, whoever has the resource by then."""
    await o.pool.release(resource)
    before = o.pool.stats().released
    if not resource.holders:
        with suppress(InvalidReleaseError):
            await o.pool.release(resource)
            raise AssertionError("released twice")
        assert o.pool.stats().released == before


def acquires(timeout: Any) -> User:
    """Acquire within a time."""
    return held(release, timeout)


async def closes(o: Outside) -> None:
    await o.pool.close()


async def closes_impatiently(o: Outside) -> None:
    await o.pool.close(timeout=1)


async def terminates(o: Outside) -> None:
    await o.events.call("signal")
    o.pool.terminate()
    for resource in o.resources:
        if resource.holders:
            o.keep(resource)


async def retires(o: Outside) -> None:
    await o.events.call("rotation")
    await o.pool.retire_all()


async def retires_and_waits(o: Outside) -> None:
    await o.pool.retire_all(wait=True)


async def prunes(o: Outside) -> None:
    await o.events.call("pruner")
    await o.pool.prune()


async def opens(o: Outside) -> None:
    await o.pool.open()


async def holds_two(o: Outside) -> None:
    """Hold all that there is, and give it back one after the other."""
    first, second = await o.pool.acquire(), await o.pool.acquire()
    o.all_held.set()
    await o.events.call("work")
    await o.pool.release(first)
    await asyncio.sleep(1)  # who was handed the first may come too late to trust it
    await o.events.call("work")
    await o.pool.release(second)


async def comes_later(o: Outside) -> None:
    """Take one when all are held."""
    await o.all_held.wait()
    await uses_briefly(o)


async def grows_old(o: Outside) -> None:
    """Time passes until everything is too old."""
    await asyncio.sleep(50)


@dataclass(frozen=True, repr=False)
class Scenario:
    """Who does what at the same time, on which pool."""

    name: str
    model: str
    users: tuple[User, ...]
    cancel: tuple[int, ...] = ()  # which of them may be cancelled
    faults: frozenset[str] = frozenset()  # what may also fail: factory, closer, check, reset
    more: dict[str, Any] = field(default_factory=dict)  # options besides the model's
    large: bool = False  # takes too long for the tests: `make verify`

    @property
    def options(self) -> dict[str, Any]:
        return {**OPTIONS[self.model], **self.more}

    async def __call__(self, events: Events) -> None:
        outside = Outside(events, self)
        for number, user in enumerate(self.users):
            name = f"{'abcd'[number]} {user.__name__}"
            events.task(meets(user, outside), name=name, cancellable=number in self.cancel)
        await events.join()
        await outside.pool.close()
        outside.assert_empty()

    def __repr__(self) -> str:
        return self.name


async def meets(user: User, outside: Outside) -> None:
    """A user to whom what is expected may happen."""
    with suppress(*EXPECTED, asyncio.CancelledError):
        await user(outside)


OPTIONS: dict[str, dict[str, Any]] = {
    "Single": {"max_size": 1, "max_waiting": 3},
    "SingleChecked": {"max_size": 1, "max_waiting": 3},
    "Doubtful": {"max_size": 2, "max_waiting": 4, "check_after_idle": 0.1},
    "Wide": {"max_size": 2, "min_size": 1, "max_waiting": 2},
    "Deep": {"max_size": 4, "min_size": 2, "max_creating": 2, "max_waiting": 2},
    "Checked": {"max_size": 2, "min_size": 1, "max_waiting": 3, "check_after_idle": 0.1},
}

CHECKED = ("Checked", "SingleChecked", "Doubtful")
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
    # Failures.
    Scenario("creations fail", "Single", (uses, uses), ALL, FACTORY),
    Scenario("creations fail for three", "Single", (uses, uses, uses), (), FACTORY),
    Scenario("closers fail", "Single", (held(discard), uses), ALL, CLOSER),
    Scenario("all fails", "Single", (held(discard), uses), (1,), FACTORY | CLOSER),
    # The end.
    Scenario("closed in the middle", "Single", (uses, uses, closes), ALL),
    Scenario("closed while a creation fails", "Single", (uses, closes), ALL, FACTORY),
    Scenario("closed by two", "Single", (uses, closes, closes), ALL),
    Scenario("closed in a hurry", "Single", (uses, closes_impatiently), ALL),
    Scenario("terminated", "Single", (uses, uses, terminates), (0, 1)),
    Scenario("terminated while it closes", "Single", (uses, closes, terminates), (0, 1)),
    # Generations, age, the floor.
    Scenario("retired", "Single", (uses, uses, retires), (0, 1)),
    Scenario("retired until gone", "Single", (uses_twice, retires_and_waits), ALL),
    Scenario("retired and closed", "Single", (uses, retires_and_waits, closes), ALL),
    Scenario("too old while another waits", "Single", (uses, uses, grows_old), (0,), more=AGED),
    Scenario("pruned", "Single", (uses_twice, prunes, grows_old), more=AGED),
    Scenario("pruned to the floor", "Deep", (opens, uses, uses, grows_old), more=IDLE),
    Scenario("the floor is refilled", "Wide", (opens, held(discard)), ALL, FACTORY),
    # Checks and resets.
    Scenario("checked", "SingleChecked", (uses_twice, uses), ALL),
    Scenario("checks fail", "SingleChecked", (uses_twice, uses_briefly), ALL, CHECK),
    Scenario("resets fail", "SingleChecked", (uses, uses), ALL, RESET),
    Scenario("checked within a time", "SingleChecked", (uses_briefly, acquires(5)), ALL, CHECK),
    Scenario("closed while checked", "SingleChecked", (uses_twice, closes), ALL, CHECK),
    Scenario("terminated while checked", "SingleChecked", (uses_twice, terminates), (0,), CHECK),
    Scenario("retired while checked", "SingleChecked", (uses_twice, retires), (0,), CHECK | RESET),
    Scenario("in doubt", "Doubtful", (holds_two, comes_later, comes_later), (), CHECK, large=True),
    # With everything on.
    Scenario("three, everything fails", "Wide", (uses, uses, held(discard)), ALL,
             FACTORY | CLOSER, large=True),
    Scenario("three checked, everything fails", "Checked", (uses, uses, uses), ALL, ANY,
             large=True),
    Scenario("four take turns", "Wide", (uses, uses, uses, uses), ALL, large=True),
    Scenario("four and the end", "Wide", (uses, uses, retires, closes), ALL, large=True),
)  # fmt: skip

# Every public call against every other.
CALLS: tuple[User, ...] = (
    uses,
    acquires(5),
    held(discard),
    held(detach),
    opens,
    prunes,
    retires,
    retires_and_waits,
    closes,
    closes_impatiently,
    terminates,
)
PAIRS = tuple(
    Scenario(
        f"{one.__name__} against {other.__name__}", "Single", (uses_briefly, one, other), (1, 2)
    )
    for place, one in enumerate(CALLS)
    for other in CALLS[place:]
)
