"""What the tests' pools are about: resources whose every call can be held, failed and counted.

A test is a scenario played in virtual time::

    @played
    async def test_a_released_resource_is_reused(world: World) -> None:
        pool = world.pool(max_size=1)
        ...

When it is over every pool is recounted by brute force, terminated and recounted again, and the
world's own book-keeping must agree: never more resources than `max_size`, each closed once.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any, Concatenate, ParamSpec

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency._counts import Floor, Phase, creations_to_start, prunable
from nodetool.concurrency._deadlines import weakly
from nodetool.concurrency._records import NEVER, Place, Record
from nodetool.concurrency._shell import _resolve
from tests.virtual_time import run, turns

P = ParamSpec("P")


class Gate:
    """Where calls stop, if it is shut, until they are let through; where they fail, if told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.time = 0.0  # how long each call takes
        self._shut = False
        self._inside: deque[asyncio.Future[None]] = deque()
        self._failures: deque[BaseException] = deque()

    @property
    def stopped(self) -> int:
        """How many calls wait at the shut gate."""
        return len(self._inside)

    def shut(self) -> None:
        """From now on calls stop here."""
        self._shut = True

    def open(self) -> None:
        """Let everybody through, now and from now on."""
        self._shut = False
        while self._inside:
            self.let_through()

    def let_through(self, error: BaseException | None = None) -> None:
        """Let the longest-waiting call go on, or fail."""
        stopped = self._inside.popleft()
        if error is None:
            stopped.set_result(None)
        else:
            stopped.set_exception(error)

    def fail(self, *errors: BaseException) -> None:
        """Make the next calls fail, one with each error."""
        self._failures.extend(errors)

    async def passing(self) -> None:
        """One call."""
        self.calls += 1
        failure = self._failures.popleft() if self._failures else None
        try:
            if self.time:
                await asyncio.sleep(self.time)
            if self._shut:
                stopped = asyncio.get_running_loop().create_future()
                self._inside.append(stopped)
                try:
                    await stopped
                finally:
                    if stopped in self._inside:
                        self._inside.remove(stopped)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if failure is not None:
            raise failure


class Thing:
    """A resource. It can be neither hashed nor compared nor asked for its truth."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, number: int) -> None:
        self.number = number
        self.closings = 0  # how often its closer was called
        self.closed = False  # its closer has ended, somehow
        self.mine = False  # it was detached, or forgotten: not the pool's any more
        self.healthy: object = True  # what the check answers

    def __eq__(self, other: object) -> bool:
        raise AssertionError("the pool compared resources")

    def __bool__(self) -> bool:
        raise AssertionError("the pool asked for the truth of a resource")

    def __repr__(self) -> str:
        return f"<Thing {self.number}>"


class World:
    """Creates, closes, checks and resets things, and keeps its own books."""

    def __init__(self) -> None:
        self.creation, self.closing, self.check, self.reset = Gate(), Gate(), Gate(), Gate()
        self.things: list[Thing] = []  # in the order of their creation
        self.closed: list[int] = []  # numbers, in the order in which closers ended
        self.checked: list[int] = []
        self.was_reset: list[int] = []
        self.being_created = 0
        self.most = 0  # the most that ever existed at once
        self.abandoned = 0  # closers given up: may each exceed max_size by one
        self.pools: list[AsyncResourcePool[Thing]] = []

    def pool(self, **options: Any) -> AsyncResourcePool[Thing]:
        """A pool of things, recounted at the end of the scenario."""
        pool = AsyncResourcePool(self.create, self.close, **options)
        self.pools.append(pool)
        return pool

    def checked_pool(self, **options: Any) -> AsyncResourcePool[Thing]:
        """A pool that checks its things."""
        return self.pool(check=self.is_healthy, **options)

    @property
    def living(self) -> int:
        """How many exist, or may exist since they are being created."""
        return self.being_created + sum(not (t.closed or t.mine) for t in self.things)

    async def create(self) -> Thing:
        self.being_created += 1
        self.most = max(self.most, self.living)
        try:
            await self.creation.passing()
            thing = Thing(len(self.things))
            self.things.append(thing)
            return thing
        finally:
            self.being_created -= 1

    async def close(self, thing: Thing) -> None:
        thing.closings += 1
        try:
            await self.closing.passing()
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            thing.closed = True
            self.closed.append(thing.number)

    async def is_healthy(self, thing: Thing) -> object:
        self.checked.append(thing.number)
        await self.check.passing()
        return thing.healthy

    async def clean(self, thing: Thing) -> None:
        """A reset."""
        self.was_reset.append(thing.number)
        await self.reset.passing()

    def assert_consistent(self) -> None:
        """The pools agree with themselves, and with what exists."""
        for pool in self.pools:
            assert_consistent(pool)
        limit = sum(pool.max_size for pool in self.pools)
        assert self.most <= limit + self.abandoned, f"{self.most} existed at once"
        assert self.living <= sum(pool.size for pool in self.pools), "more exist than are counted"
        for thing in self.things:
            assert thing.closings <= 1, f"{thing} was closed {thing.closings} times"
            assert not (thing.closings and thing.mine), f"{thing} was closed under its new owner"


def recount(pool: AsyncResourcePool[Any]) -> Counter[Place]:
    """How many records are at each place, by looking at each of them."""
    records: list[Record[Any]] = [*pool._creations, *pool._machine.leased.values()]
    assert len(set(records)) == len(records), "a record is in two places"
    return Counter(record.place for record in records)


def assert_consistent(pool: AsyncResourcePool[Any]) -> None:
    """Recount everything that the pool counts, by brute force; nothing may be half done."""
    machine = pool._machine
    assert not machine.woken, "decided waiters that were not woken"
    assert not machine.work, "work that was not started"

    places = recount(pool)
    size, idle = places.total(), places[Place.IDLE]
    in_use = sum(
        places[place] for place in (Place.HANDED, Place.CHECKING, Place.HELD, Place.RESETTING)
    )
    creating, closing = places[Place.CREATING], places[Place.CLOSING]
    waiting = [waiter for waiter in machine._queue if waiter.place is Place.WAITING]
    doomed = [r for r in pool._creations if r.generation != machine.generation]
    shelf = [record for record in machine._shelf if record.place is Place.IDLE]
    assert places[Place.GONE] == 0, "a slot is free and occupied"
    assert size == creating + idle + in_use + closing <= machine.limits.max_size
    assert machine.counts() == (
        *(creating, len(doomed), idle, in_use, closing, len(waiting)),
        *(machine.phase, machine.floor),
    ), "the counters differ from the recount"
    assert machine.held == places[Place.HELD], "what is in use and not held was miscounted"
    assert machine.released >= 0, "more leases have ended than began"
    assert creating <= machine.limits.max_creating
    assert len(shelf) == len(set(shelf)) == idle
    assert len(machine._shelf) - len(shelf) == machine._off_shelf
    assert all(id(record.resource) == key for key, record in machine.leased.items())
    records = [*pool._creations, *machine.leased.values()]
    assert machine.alive == Counter(record.generation for record in records)

    stats = pool.stats()
    assert (stats.size, stats.idle, stats.in_use) == (size, idle, in_use)
    assert (stats.creating, stats.closing, stats.waiting) == (creating, closing, len(waiting))
    assert (pool.size, pool.available_count, pool.in_use_count) == (size, idle, in_use)
    assert stats.closed == pool.closed == (machine.phase is Phase.CLOSED)

    assert not (waiting and idle), "somebody sleeps beside an idle resource"
    assert creations_to_start(machine.limits, machine.counts()) == 0, "a creation is missing"
    assert all(record.generation == machine.generation for record in shelf), "an old one is idle"
    if machine.phase is Phase.OPEN:
        due = min((record.expires_at for record in shelf), default=NEVER)
        if prunable(machine.limits, machine.counts()):
            due = min(due, shelf[0].stale_at)
        assert due >= machine.deadline, "the sweep would come too late"
        assert not shelf or machine.deadline >= pool._sweep_at, "the timer would fire too late"
        assert machine.floor is not Floor.BACKOFF or pool._retry_timer is not None
    else:
        assert not waiting, "somebody waits for a pool that closes"
        assert not idle, "something is idle in a pool that closes"
        assert pool._sweep_timer is None
        assert pool._retry_timer is None
    assert (machine.phase is Phase.CLOSED) == (machine.phase is not Phase.OPEN and size == 0)


def assert_nothing_left(pool: AsyncResourcePool[Any]) -> None:
    """A closed pool waits for nothing, and nothing of it will still happen."""
    assert not pool._watchers, "somebody waits for a pool that is closed"
    assert not pool._creations
    assert not pool._abandoned
    scheduled: list[Any] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    left = [timer for timer in scheduled if not timer.cancelled() and is_timer_of(pool, timer)]
    assert not left, f"timers are left: {left}"


def is_timer_of(pool: AsyncResourcePool[Any], timer: Any) -> bool:
    """Whether a timer is one of the pool's, or limits somebody's waiting for a pool."""
    callback = timer._callback
    if callback is _resolve:
        return True
    if callback.__module__ != weakly.__module__:
        return False
    (cell,) = callback.__closure__
    method = cell.cell_contents()  # a weak reference
    owner = None if method is None else method.__self__
    return owner is pool or owner in (pool._overdue_waiters, pool._overdue_closers)


async def the_end(world: World) -> None:
    """Whatever the scenario left: let it run, terminate the pools, and see nothing left over."""
    await turns()
    world.assert_consistent()
    gates = (world.creation, world.closing, world.check, world.reset)
    longest = max(gate.time for gate in gates)
    for gate in gates:
        gate.open()
        gate.time = 0.0
    await asyncio.sleep(longest)
    await turns()
    world.assert_consistent()
    for pool in world.pools:
        for record in pool._machine.leased.values():
            record.resource.mine |= record.place is Place.HELD
        pool.terminate()
    await turns(50)
    world.assert_consistent()
    for pool in world.pools:
        assert pool.closed, f"{pool!r} never closes"
        assert_nothing_left(pool)
    assert world.living == 0


def played(
    scenario: Callable[Concatenate[World, P], Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Make a plain test of a scenario: played in virtual time, in a world of its own."""

    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        async def play() -> None:
            world = World()
            try:
                await scenario(world, *args, **kwargs)
                await the_end(world)
            except BaseException:
                for pool in world.pools:
                    pool.terminate()
                raise

        run(play())

    whole = signature(scenario)
    parameters = list(whole.parameters.values())[1:]
    test.__name__, test.__qualname__ = scenario.__name__, scenario.__qualname__
    test.__doc__, test.__module__ = scenario.__doc__, scenario.__module__
    test.__signature__ = whole.replace(parameters=parameters)  # type: ignore[attr-defined]
    return test


async def outcome(awaited: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> object:
    """What it returns, or the exception that it raises."""
    try:
        return await awaited
    except (Exception, asyncio.CancelledError) as error:
        return error
