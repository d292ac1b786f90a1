"""Resources whose creation, check, reset and closing a test can hold, fail and count.

A test is a scenario played in virtual time::

    @played
    async def test_a_released_resource_is_reused(world: World) -> None:
        pool = world.pool(max_size=1)
        ...

At its end every pool is recounted by brute force, terminated and recounted again. The world's own
book-keeping must agree: never more resources than `max_size`, each closed once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any, Concatenate, ParamSpec

from nodetool.concurrency import AsyncResourcePool
from tests import inside
from tests.virtual_time import run, turns

P = ParamSpec("P")


class Gate:
    """A gate on the way of calls: it can hold them, let them through, and make them fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.time = 0.0  # how long each call takes
        self._shut = False
        self._inside: deque[asyncio.Future[None]] = deque()
        self._failures: deque[BaseException] = deque()

    @property
    def stopped(self) -> int:
        """Return how many calls wait at the shut gate."""
        return len(self._inside)

    def shut(self) -> None:
        """Hold all calls from now on."""
        self._shut = True

    def open(self) -> None:
        """Let every call through, now and from now on."""
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
        """Pass the gate once."""
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
    """A resource that refuses to be hashed, to be compared and to be asked for its truth."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, number: int) -> None:
        self.number = number
        self.closings = 0  # how often its closer was called
        self.closed = False  # its closer has ended, somehow
        self.mine = False  # it was detached or forgotten: the pool no longer owns it
        self.healthy: object = True  # what the check answers

    def __eq__(self, other: object) -> bool:
        raise AssertionError("the pool compared resources")

    def __bool__(self) -> bool:
        raise AssertionError("the pool asked for the truth of a resource")

    def __repr__(self) -> str:
        return f"<Thing {self.number}>"


class World:
    """A maker, closer, checker and cleaner of things, with its own book-keeping."""

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
        self._limit = 0  # the highest sum of the limits that was seen

    def pool(self, **options: Any) -> AsyncResourcePool[Thing]:
        """Make a pool of things, which is recounted at the end of the scenario."""
        pool = AsyncResourcePool(self.create, self.close, **options)
        self.pools.append(pool)
        self._note_limit()
        return pool

    def checked_pool(
        self, *, check_after_idle: float | None = 0, **options: Any
    ) -> AsyncResourcePool[Thing]:
        """Make a pool that checks its things, before each reuse if not told otherwise."""
        return self.pool(check=self.is_healthy, check_after_idle=check_after_idle, **options)

    @property
    def living(self) -> int:
        """Return how many things exist, those being created included."""
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
        """Reset a thing."""
        self.was_reset.append(thing.number)
        await self.reset.passing()

    def _note_limit(self) -> None:
        self._limit = max(self._limit, sum(pool.max_size for pool in self.pools))

    def assert_consistent(self) -> None:
        """Check that the pools agree with themselves, and with what exists."""
        for pool in self.pools:
            inside.assert_consistent(pool)
        self._note_limit()
        assert self.most <= self._limit + self.abandoned, f"{self.most} existed at once"
        assert self.living <= sum(pool.size for pool in self.pools), "more exist than are counted"
        for thing in self.things:
            assert thing.closings <= 1, f"{thing} was closed {thing.closings} times"
            assert not (thing.closings and thing.mine), f"{thing} was closed under its new owner"


# Steps of scenarios.


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()


async def take(pool: AsyncResourcePool[Thing], number: int) -> list[Thing]:
    """Acquire so many things."""
    return [await pool.acquire(timeout=1) for _ in range(number)]


async def give_back(pool: AsyncResourcePool[Thing], *things: Thing) -> None:
    """Release things in this order, and let run what follows."""
    for thing in things:
        await pool.release(thing)
    await turns()


async def the_end(world: World) -> None:
    """Let run what the scenario left, terminate the pools, and check that nothing is left."""
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
        for thing in inside.resources_at(pool, "held"):
            thing.mine = True
        pool.terminate()
    await turns(50)
    world.assert_consistent()
    for pool in world.pools:
        assert pool.closed, f"{pool!r} never closes"
        inside.assert_nothing_left(pool)
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
    """Return what the awaitable returns, or the exception that it raises."""
    try:
        return await awaited
    except (Exception, asyncio.CancelledError) as error:
        return error
