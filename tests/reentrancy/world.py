"""The small world of one run: a pool, its users, and everything that can be observed of them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    PoolEvent,
    PoolListener,
    PoolStats,
)
from tests.virtual_time import VirtualTimeLoop

from .injector import Injector

LONG = 100.0  # seconds until the loop is idle in every scenario


class Thing:
    """A resource with a number, an owner and a count of its closings."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closings = 0  # calls of the closer
        self.closed = False  # whether the closer has ended
        self.holder = ""  # the user that has it

    def __repr__(self) -> str:
        return f"thing {self.number}"


class Outcome(NamedTuple):
    """Everything that can be observed of a run after its loop went idle."""

    results: tuple[tuple[str, str], ...]  # what each call returned or raised
    stats: PoolStats
    things: tuple[str, ...]  # the state of each resource
    warnings: tuple[str, ...]
    faults: tuple[str, ...]  # what no run may have

    def differences(self, other: Outcome) -> list[str]:
        """Describe each field in which another outcome differs."""
        found = []
        for name in self._fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if name == "stats":
                pairs = zip(PoolStats._fields, mine, theirs, strict=True)
                found += [f"{field}: {a!r}, not {b!r}" for field, a, b in pairs if a != b]
            elif mine != theirs:
                found.append(f"{name}: {mine!r}, not {theirs!r}")
        return found


class World:
    """A pool and its users. Each user keeps its resource until the end of the run."""

    def __init__(self, loop: VirtualTimeLoop, injector: Injector, listens: bool) -> None:
        self.loop = loop
        self.injector = injector
        self.listens = listens
        self.pool: AsyncResourcePool[Thing]
        self.things: list[Thing] = []
        self.context_tasks: list[asyncio.Task[Any]] = []  # in a pool of contexts, of each thing
        self.ended = 0  # how many contexts have ended by themselves
        self.results: dict[str, str] = {}
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.failures: list[BaseException] = []  # of the next calls of the factory
        self.unhealthy: list[int] = []  # numbers of the things that fail check and reset
        self.has_closer = True
        self.closing_time = 0.0
        self.creation_time = 0.0
        self.hook_time = 0.0
        self.is_stubborn = False  # whether callbacks go on when they are cancelled
        self.keeper: object = None  # what must not be garbage
        self.spare: Thing | None = None
        self.take_spare: Callable[[], Coroutine[Any, Any, None]] = self.hold_spare
        self.join_queue: Callable[[], None] = lambda: None
        self.tasks: list[asyncio.Task[Any]] = []
        self.ending = False
        self._pending: set[str] = set()

    # The pool and what it calls.

    def make_pool(self, **options: Any) -> AsyncResourcePool[Thing]:
        """Make the pool. Its acquirers wait without limit unless they say otherwise."""
        options.setdefault("acquisition_timeout", None)
        options.setdefault("closer", self.close_now)
        self.has_closer = options["closer"] is not None
        if self.listens:
            inner = options.get("listener")
            options["listener"] = partial(self._listen, inner)
        factory = self.create if self.creation_time else self.create_now
        self.pool = AsyncResourcePool(factory, name="p", **options)
        return self.pool

    def make_pool_of_contexts(self, **options: Any) -> None:
        """Make a pool whose things are entered and left as contexts."""

        @asynccontextmanager
        async def make() -> AsyncIterator[Thing]:
            thing = self.create_now()
            task = asyncio.current_task()
            assert task is not None
            self.context_tasks.append(task)
            try:
                yield thing
            finally:
                self.close_now(thing)

        options.setdefault("acquisition_timeout", None)
        self.has_closer = True
        if self.listens:
            options["listener"] = partial(self._listen, None)
        self.pool = AsyncResourcePool.from_context(make, name="p", **options)

    def end_context(self, thing: Thing) -> None:
        """Let the context of a thing end by itself."""
        self.context_tasks[self.things.index(thing)].cancel()
        self.ended += 1

    def _listen(self, inner: PoolListener | None, event: PoolEvent) -> None:
        self.injector.note_event()
        if inner is not None:
            inner(event)

    def create_now(self) -> Thing:
        """Create a thing at once."""
        if self.failures:
            raise self.failures.pop()
        thing = Thing(len(self.things))
        self.things.append(thing)
        return thing

    async def _take(self, seconds: float) -> None:
        """Let some time pass. A stubborn callback is only hastened by a cancellation."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if not self.is_stubborn:
                raise

    async def create(self) -> Thing:
        """Create a thing, which takes a while."""
        await self._take(self.creation_time)
        return self.create_now()

    def close_now(self, thing: Thing) -> None:
        """Close a thing at once."""
        thing.closings += 1
        thing.closed = True

    async def close(self, thing: Thing) -> None:
        """Close a thing, which takes a while."""
        thing.closings += 1
        await self._take(self.closing_time)
        thing.closed = True

    def close_badly(self, thing: Thing) -> None:
        """Fail to close a thing."""
        thing.closings += 1
        raise OSError("broken")

    def check_now(self, thing: Thing) -> bool:
        """Check a thing at once."""
        return thing.number not in self.unhealthy

    async def check(self, thing: Thing) -> bool:
        """Check a thing, which takes a while."""
        await self._take(self.hook_time)
        return thing.number not in self.unhealthy

    def reset_now(self, thing: Thing) -> None:
        """Reset a thing at once."""
        if thing.number in self.unhealthy:
            raise OSError("unhealthy")

    async def reset(self, thing: Thing) -> None:
        """Reset a thing, which takes a while."""
        await self._take(self.hook_time)
        self.reset_now(thing)

    # Users.

    async def hold_spare(self) -> None:
        """Acquire the resource that the injected action gives back."""
        self.spare = await self.pool.acquire()
        self.begin_use("keeper", self.spare)

    async def call(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        """Make a call of the pool, and record how it ended."""
        self._pending.add(name)
        try:
            result = await work
        except (Exception, asyncio.CancelledError) as error:
            self.note_error(name, error)
            return None
        self.note_result(name, result)
        return result

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Make a call of the pool in a task of its own."""
        task = self.loop.create_task(self.call(name, work), name=name)
        self.tasks.append(task)
        return task

    def drive(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Make a call of the pool by hand, from any place: go on when what it awaits is done."""
        self._pending.add(name)
        try:
            awaited = work.send(None)
        except StopIteration as stop:
            self.note_result(name, stop.value)
        except Exception as error:
            self.note_error(name, error)
        else:
            if awaited is None:
                self.loop.call_soon(self.drive, name, work)
            else:
                awaited.add_done_callback(lambda _: self.drive(name, work))

    def note_result(self, name: str, result: object) -> None:
        """Record that a call returned."""
        self._pending.discard(name)
        self.results[name] = "done" if result is None else repr(result)
        if isinstance(result, Thing):
            self.begin_use(name, result)
            if self.ending:
                self.loop.create_task(self.give_back(result))

    def note_error(self, name: str, error: BaseException) -> None:
        """Record that a call raised."""
        self._pending.discard(name)
        cause = error.__cause__
        self.results[name] = type(error).__name__
        if cause is not None:
            self.results[name] += f" caused by {type(cause).__name__}"

    def begin_use(self, name: str, thing: Thing) -> None:
        """Record that a user has a thing."""
        if thing.holder:
            self.faults.append(f"{name} got {thing}, which {thing.holder} has")
        if thing.closings:
            self.faults.append(f"{name} got {thing}, which is closed")
        thing.holder = name

    def end_use(self, thing: Thing) -> Thing:
        """Record that a user gives its thing back, and return the thing."""
        thing.holder = ""
        return thing

    async def give_back(self, thing: Thing) -> None:
        """Release a thing at the end of the run. The pool may have forgotten it."""
        with suppress(InvalidReleaseError):
            await self.pool.release(self.end_use(thing))

    # Observation.

    def outcome(self) -> Outcome:
        """Describe the world now, when the loop is idle."""
        stats = self.pool.stats()
        faults = list(self.faults)
        if stats.waiting and stats.idle:
            faults.append("an acquirer waits beside an idle resource")
        if stats.waiting and stats.size < stats.max_size and not stats.closed:
            faults.append("an acquirer waits beside a free slot")
        parts = ("creating", "checking", "idle", "in_use", "resetting", "closing")
        if stats.size != sum(getattr(stats, part) for part in parts):
            faults.append("the gauges do not add up")
        faults += (
            f"error at the loop: {context['message']} {context.get('exception')!r}"
            for context in self.loop.errors
            if "Task was destroyed but it is pending" not in context["message"]
        )
        self.loop.errors.clear()
        results = {**self.results, **dict.fromkeys(self._pending, "pending")}
        things = tuple(
            f"{thing}: {'closed' if thing.closed else 'alive'}, {thing.closings} closings, "
            f"holder {thing.holder or 'none'}"
            for thing in self.things
        )
        return Outcome(
            tuple(sorted(results.items())),
            stats,
            things,
            tuple(sorted(self.warnings)),
            tuple(faults),
        )

    async def end(self) -> list[str]:
        """Give everything back, close the pool, and return what is wrong then."""
        self.ending = True
        pool, faults = self.pool, []
        for thing in self.things:
            if thing.holder:
                await self.give_back(thing)
        await asyncio.sleep(LONG)
        try:
            await asyncio.wait_for(pool.close(), LONG)
        except Exception as error:
            faults.append(f"close() at the end: {error!r}")
        await asyncio.sleep(LONG)
        stats = pool.stats()
        if stats.size or stats.waiting or not stats.closed:
            faults.append(f"left at the end: {stats}")
        if self._pending:
            faults.append(f"never ended: {sorted(self._pending)}")
        kept = stats.released + stats.discarded + stats.interrupted
        lost = stats.acquired - kept  # detached or forgotten
        unclosed = sum(not thing.closings for thing in self.things)
        # A context that ends by itself closes its thing, and terminate() may forget the thing.
        if self.has_closer and not lost - self.ended <= unclosed <= lost:
            faults.append(f"{unclosed} resources are not closed, but {lost} left the pool")
        faults += [f"{t} was closed {t.closings} times" for t in self.things if t.closings > 1]
        faults += [f"error at the loop: {context}" for context in self.loop.errors]
        return faults


DIFFERS = re.compile(r" at 0x[0-9a-f]+|held by (no task|task '[^']*')")
"""The parts of a message that differ from run to run: addresses, and the task that a call is in."""


class Recorder(logging.Handler):
    """A handler that counts the records, and keeps warnings and errors for the outcome."""

    world: World | None = None

    def emit(self, record: logging.LogRecord) -> None:
        world = self.world
        if world is None:
            return
        if record.levelno >= logging.ERROR:
            world.faults.append(f"logged: {record.getMessage()}")
        elif record.levelno >= logging.WARNING and "has waited for" not in record.getMessage():
            # How long a call waits depends on the rest of the scenario, so that is no outcome.
            world.warnings.append(DIFFERS.sub("", record.getMessage()))
        world.injector.note_record()
