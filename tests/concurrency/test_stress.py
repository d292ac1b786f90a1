"""Random users, cancellations, failures, ageing and ends, from a seed.

After every callback of the event loop the pool is recounted and compared with what its users and
its resources know. The queue is compared with what it was before.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import Gate, Thing, World
from tests.inside import Waiter, step_state
from tests.virtual_time import VirtualTimeLoop, turns

if TYPE_CHECKING:
    Loop = asyncio.BaseEventLoop
else:
    Loop = object

SEEDS = range(5)


class StormError(Exception):
    """The error of every callback that fails here."""


class Watched(Loop):
    """A loop that calls `look` after every callback, until something is wrong."""

    look: Callable[[], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return super().call_soon(*self._seen(callback, args), context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when, *self._seen(callback, args), context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return super().call_later(delay, *self._seen(callback, args), context=context)

    def _seen(self, callback: Any, args: tuple[Any, ...]) -> Any:
        if callback == self._watched:  # one of the methods has called another
            return (callback, *args)
        return (self._watched, callback, *args)

    def _watched(self, callback: Any, *args: Any) -> None:
        callback(*args)
        if self.look is not None and not self.errors:
            self.look()


class WatchedLoop(Watched, VirtualTimeLoop):
    """A watched loop in virtual time."""


def loop_of_uvloop() -> type[asyncio.AbstractEventLoop]:
    """Return uvloop's loop class. It must be installed where CI tests everything."""
    try:
        import uvloop
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail("uvloop is not installed")
        pytest.skip("uvloop is not installed")
    return uvloop.Loop


LOOPS = ("stock", "uvloop", "eager stock", "eager uvloop")


def eagerly(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Create an eager task. asyncio's factory refuses, before 3.13.3, what uvloop passes."""
    return asyncio.Task(coroutine, loop=loop, **(options | {"eager_start": True}))


def maker(of: str, *first: type) -> Callable[[], Any]:
    """Return a maker of real-time loops of these classes, with eager tasks or not."""
    last = loop_of_uvloop() if "uvloop" in of else asyncio.SelectorEventLoop
    if "eager" in of and sys.version_info < (3, 12):
        pytest.skip("there are no eager tasks before 3.12")
    loop_type: Any = type("RealLoop", (*first, last), {})

    def make() -> Any:
        loop = loop_type()
        if "eager" in of:
            loop.set_task_factory(eagerly)
        return loop

    return make


class Weather(Gate):
    """A gate where random calls are slow, fail, or stay until they are given up."""

    def __init__(self, luck: random.Random, second: float, failing: float) -> None:
        super().__init__()
        self._luck = luck
        self._second = second
        self._failing = failing

    async def passing(self) -> None:
        self.calls += 1
        luck = self._luck.random()
        try:
            if luck < 0.5:
                await asyncio.sleep(0)
            elif luck < 0.8:
                await asyncio.sleep(self._luck.random() * self._second)
            elif luck > 0.98:
                await asyncio.sleep(5 * self._second)
        except asyncio.CancelledError:
            self.cancelled += 1
            if self._luck.random() < 0.7:
                raise
        if self._luck.random() < self._failing:
            raise StormError


class Storm:
    """One pool and its users. A plain pool never sends an acquirer back to wait."""

    def __init__(
        self, seed: int, *, plain: bool, second: float = 1.0, patient: bool = False
    ) -> None:
        luck = self.luck = random.Random(seed)
        inside.seed_jitter(seed)
        self.second = second
        self.plain = plain
        self.world = world = World()
        world.creation = Weather(luck, second, 0.1)
        world.closing = Weather(luck, second, 0.1)
        world.check = Weather(luck, second, 0.1)
        world.reset = Weather(luck, second, 0.1)
        max_size = luck.randint(1, 12)
        options: dict[str, Any] = {
            "max_size": max_size,
            "min_size": luck.choice((0, 1, max_size)),
            "max_creating": luck.choice((None, 1)),
            "max_waiting": luck.choice((None, 40)),
            "acquisition_timeout": 5 * second,
            "creation_timeout": luck.choice((None, 2 * second)),
            "closer_timeout": None if patient else 2 * second,
            "max_idle_time": luck.choice((None, 0.5 * second)),
        }
        if luck.random() < 0.5:
            options |= {"max_age": 1.5 * second, "max_age_jitter": luck.choice((0, second))}
        if luck.random() < 0.5:
            options["reset"] = world.clean
        if not plain:
            options |= {"check": world.is_healthy, "check_after_idle": luck.choice((0, second))}
        options |= {
            "check_timeout": luck.choice((None, second)),
            "reset_timeout": luck.choice((None, second)),
            "reuse": luck.choice(("lifo", "fifo")),
        }
        self.largest = max_size
        self.pool: AsyncResourcePool[Thing] = world.pool(**options)
        self.held: dict[int, Thing] = {}
        self.dirty: set[int] = set()  # numbers of things whose use was interrupted
        self.acquiring: list[asyncio.Task[Any]] = []  # each one waits, or is served and has not run
        self.queue: list[Waiter[Thing]] = []
        self.served = 0

    # What always holds.

    def look(self) -> None:
        self.look_around()
        self.look_at_the_queue()

    def look_around(self) -> None:
        """Check counts and limits, and that the pool and its users agree about what is held."""
        inside.assert_consistent(self.pool)
        given_up = inside.abandoned_closers(self.pool)  # until they notice
        assert self.world.living <= self.pool.size + given_up, "more exist than are counted"
        assert self.pool.size <= self.largest
        held = {id(thing) for thing in inside.resources_at(self.pool, "held")}
        assert held == {key for key, thing in self.held.items() if not thing.mine}

    def look_at_the_queue(self) -> None:
        """Check that service is first come, first served. To be called after every callback."""
        before = self.queue
        self.queue = inside.waiters(self.pool)
        stayed = [waiter for waiter in before if step_state(waiter) == "waiting"]
        served = [waiter for waiter in before if step_state(waiter) == "handed"]
        self.served += len(served)
        if served:
            passed = before[: before.index(served[-1])]
            assert not set(passed) & set(stayed), (
                "a waiter was served before one that has waited longer"
            )
        known = set(before)
        assert [waiter for waiter in self.queue if waiter in known] == stayed, "they changed places"
        if self.plain:
            assert self.queue[: len(stayed)] == stayed, "somebody jumped the queue"

    # Users.

    async def pause(self) -> None:
        if self.luck.random() < 0.5:
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0.5 * self.luck.random() * self.second)

    @asynccontextmanager
    async def acquiring_within(self, timeout: float | None) -> AsyncIterator[None]:
        """Check the promises about an acquire, at every kind of end."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self.acquiring.append(task)
        began = loop.time()
        try:
            yield
            assert not task.cancelling(), "a cancellation was hidden"
        finally:
            self.acquiring.remove(task)
            limit = 5 * self.second if timeout is None else timeout
            if isinstance(loop, VirtualTimeLoop):
                assert loop.time() - began < limit + 1e-6, "the deadline was missed"

    def cancel_first_acquirer(self) -> None:
        """Cancel the first in line, which mostly was handed what came back just now."""
        if self.acquiring and self.luck.random() < 0.2:
            self.acquiring[0].cancel()

    async def use(self, thing: Thing) -> None:
        """Use a thing exclusively for a while."""
        assert id(thing) not in self.held, "two share a resource"
        assert not thing.closings, "it was closed before it was handed out"
        assert thing.number not in self.dirty, "it was interrupted, and used again"
        self.held[id(thing)] = thing
        try:
            await self.pause()
            thing.healthy = self.luck.random() < 0.9
            if self.luck.random() < 0.1:
                raise StormError
        except asyncio.CancelledError:
            self.dirty.add(thing.number)
            raise
        finally:
            del self.held[id(thing)]

    async def visit_in_a_context(self, timeout: float | None) -> None:
        context = self.pool.acquire_context(timeout)
        async with self.acquiring_within(timeout):
            thing = await context.__aenter__()
        try:
            await self.use(thing)
            if self.luck.random() < 0.1 and not thing.mine:
                await self.pool.discard(thing)  # before the context would give it back
        except BaseException as error:
            await context.__aexit__(type(error), error, None)
            raise
        else:
            await context.__aexit__(None, None, None)
        finally:
            self.cancel_first_acquirer()

    async def visit(self, timeout: float | None) -> None:
        async with self.acquiring_within(timeout):
            thing = await self.pool.acquire(timeout)
        pool, way = self.pool, self.luck.random()
        give_back: Callable[[Thing], Awaitable[None]] = pool.release if way < 0.7 else pool.discard
        try:
            await self.use(thing)
        except asyncio.CancelledError:
            give_back = pool.discard
            raise
        finally:
            if thing.mine:  # the pool was terminated
                with pytest.raises(InvalidReleaseError):
                    await give_back(thing)
            elif way > 0.9:
                thing.mine = True
                await pool.detach(thing)
            else:
                await give_back(thing)
            self.cancel_first_acquirer()
        with pytest.raises(InvalidReleaseError):  # no other user can have run since
            await pool.release(thing)

    async def user(self) -> None:
        with suppress(ResourcePoolClosedError):
            wave = self.luck.choice((0, 0, 6, 6, 14))
            await asyncio.sleep(
                (wave + self.luck.choice((0, 3 * self.luck.random()))) * self.second
            )
            for _ in range(self.luck.randint(1, 4)):
                visit = self.luck.choice((self.visit, self.visit_in_a_context))
                limit = self.luck.choice((None, 0, 0.2 * self.second, 10 * self.second, math.inf))
                with suppress(ResourcePoolTimeoutError, ResourcePoolExhaustedError, StormError):
                    await visit(limit)

    # What is done to the pool.

    async def cancel_some(self, users: list[asyncio.Task[None]]) -> None:
        for _ in range(len(users) // 3):
            await self.pause()
            for user in self.luck.choices(users, k=self.luck.randint(1, 3)):
                user.cancel()

    async def meddle(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0.5 * self.luck.random() * self.second)
            what = self.luck.randrange(5)
            if what == 0:
                await self.pool.open()
            elif what == 1:
                await self.pool.prune()
            elif what == 2 and not self.plain:
                await self.pool.retire_all(wait=self.luck.random() < 0.2)
            elif what == 3:
                await self.resize()
            self.look_around()

    async def resize(self) -> None:
        """Change the limits, and sometimes wait until the size fits."""
        size = self.luck.randint(1, 12)
        self.largest = max(self.largest, size)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.second):
                least = self.luck.choice((0, 1, size))
                await self.pool.resize(size, least, wait=self.luck.random() < 0.2)
                await self.pool.open(wait=self.luck.random() < 0.2)

    async def end(self) -> None:
        """Close the pool, terminate it, or do both."""
        how = self.luck.randrange(3)
        if how == 0:
            await self.pool.close()
            return
        if how == 1:
            with suppress(ResourcePoolTimeoutError):
                await self.pool.close(timeout=0.1 * self.second)
        for thing in self.held.values():
            thing.mine = True
        self.pool.terminate()
        await self.pool.close()

    async def rage(self, number: int) -> None:
        users = [asyncio.create_task(self.user()) for _ in range(number)]
        others = [asyncio.create_task(self.cancel_some(users))]
        await self.meddle(80)
        await self.end()
        outcomes = await asyncio.gather(*users, *others, return_exceptions=True)
        strange = [o for o in outcomes if not (o is None or type(o) is asyncio.CancelledError)]
        assert not strange
        await asyncio.sleep(self.second)  # for closers that were given up
        self.nothing_is_left()

    def nothing_is_left(self) -> None:
        self.look_around()
        stats = self.pool.stats()
        assert self.pool.closed
        assert (stats.size, stats.waiting, self.world.living) == (0, 0, 0)
        for thing in self.world.things:
            assert thing.closings == (0 if thing.mine else 1)
        inside.assert_nothing_kept(self.pool)
        assert stats.created == len(self.world.things)


def rage(loop_factory: Callable[[], Any], storm: Storm, number: int) -> None:
    """Run a storm with so many users, and look after every callback."""

    async def main() -> None:
        loop.look = storm.look
        await storm.rage(number)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = cast(Watched, runner.get_loop())
        try:
            runner.run(main())
        finally:
            for problem in loop.errors[:1]:
                raise problem["exception"]
        assert not asyncio.all_tasks(loop)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="nodetool.concurrency.pool")


@pytest.mark.guarantees(
    "SizeWithinLimit",
    "SingleHolder",
    "NothingLost",
    "OnlyFitHandedOut",
    "ClosedExactlyOnce",
    "NoDoubleRelease",
    "FifoService",
    "CountsAgree",
    "CloseWaits",
    "WaiterServed",
    "CloseCompletes",
    "WaitersFailAtClose",
    "DeadlineKept",
)
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "checked"])
@pytest.mark.parametrize("seed", SEEDS)
def test_after_every_callback_everything_is_as_it_should_be(seed: int, plain: bool) -> None:
    storm = Storm(seed, plain=plain)
    rage(WatchedLoop, storm, 300)
    stats = storm.pool.stats()
    assert storm.served
    assert min(stats.acquired, stats.created, stats.timeouts, stats.cancelled) > 0


@pytest.mark.guarantees(
    "SizeWithinLimit",
    "SingleHolder",
    "NothingLost",
    "OnlyFitHandedOut",
    "ClosedExactlyOnce",
    "NoDoubleRelease",
    "CountsAgree",
    "CloseWaits",
)
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "checked"])
def test_on_the_stock_event_loop(plain: bool) -> None:
    async def main() -> None:
        storm = Storm(1, plain=plain, second=0.005)
        await storm.rage(100)

    asyncio.run(main())


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "checked"])
@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize("of", LOOPS)
def test_after_every_callback_of_a_real_loop_everything_is_as_it_should_be(
    of: str, seed: int, plain: bool
) -> None:
    # Patient: on a busy machine closers would be given up in numbers that nothing bounds.
    storm = Storm(seed, plain=plain, second=0.02, patient=True)
    rage(maker(of, Watched), storm, 200)
    assert storm.served


@pytest.mark.parametrize("cancelling", [False, True], ids=["all stay", "some are cancelled"])
@pytest.mark.parametrize("of", LOOPS)
def test_every_loop_serves_a_burst_of_waiters_in_the_order_of_the_pool(
    of: str, cancelling: bool
) -> None:
    """Cancel some while they wait, and some after the hand-over."""
    served: list[int] = []

    async def visit(number: int) -> None:
        async with pool.acquire_context():
            served.append(number)
            if cancelling and number % 8 == 2:
                tasks[number + 1].cancel()  # it waits, or was handed another resource
            await turns(number % 3)

    async def main() -> list[BaseException | None]:
        held = [await pool.acquire() for _ in range(pool.max_size)]
        tasks.extend(asyncio.create_task(visit(number)) for number in range(80))
        await turns(2)
        assert pool.stats().waiting == len(tasks)
        if cancelling:
            for task in tasks[5::8]:
                task.cancel()
        for thing in held:
            await pool.release(thing)
        if cancelling:
            tasks[0].cancel()  # it was handed the first one
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        world.assert_consistent()
        await pool.close()
        return outcomes

    world = World()
    pool, tasks = world.pool(max_size=3), list[asyncio.Task[None]]()
    with asyncio.Runner(loop_factory=maker(of)) as runner:
        outcomes = runner.run(main())
    gone = {0, *range(3, 80, 8), *range(5, 80, 8)} if cancelling else set()
    assert served == [number for number in range(80) if number not in gone]
    assert {n for n, o in enumerate(outcomes) if type(o) is asyncio.CancelledError} == gone
    assert all(outcome is None for n, outcome in enumerate(outcomes) if n not in gone)


def test_uvloop_may_be_missing_but_not_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="uvloop is not installed"):
        loop_of_uvloop()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="uvloop is not installed"):
        loop_of_uvloop()
