"""The injected actions: calls of the pool from garbage, from a signal handler, or plain."""

from __future__ import annotations

import asyncio
import gc
import signal
import weakref
from collections.abc import Callable
from typing import Any, Literal

from nodetool.concurrency import AsyncResourcePool
from tests.virtual_time import turns

from .world import Thing, World

GIVE_BACK = ("release", "discard", "detach")
NOWAIT = ("release_nowait", "discard_nowait")


class Signal:
    """The handler of a signal. It calls what the present run wants."""

    number = signal.SIGUSR1

    def __init__(self) -> None:
        self.call: Callable[[], object] = lambda: None
        self._former: Any = None

    def install(self) -> None:
        """Install the handler. This is possible in the main thread only."""
        self._former = signal.signal(self.number, lambda *_: self.call())

    def remove(self) -> None:
        """Restore the former handler."""
        signal.signal(self.number, self._former)


SIGNAL = Signal()


class Garbage:
    """An object in a cycle. The collector runs its destructor."""

    def __init__(self, destructor: Callable[[], None]) -> None:
        self._destructor = destructor
        self.cycle = self

    def __del__(self) -> None:
        self._destructor()


class Box:
    """A box that keeps what is put into it, for a cycle."""

    content: object = None
    future: asyncio.Future[None]


async def lease_in(box: Box, pool: AsyncResourcePool[Thing]) -> None:
    """Hold a lease forever. The box is part of the coroutine's cycle."""
    async with pool.acquire_context():
        await box.future


async def wait_in(box: Box, pool: AsyncResourcePool[Thing]) -> None:
    """Wait for a resource, and give it back. The box is part of the coroutine's cycle."""
    thing = await pool.acquire()
    assert box.content is not None
    await pool.release(thing)


class Action:
    """An action that is called in the middle of a run, once."""

    name = "nothing"
    needs: Literal["nothing", "a spare", "a queue"] = "nothing"
    suspends = False  # whether the call may go on in a later turn of the loop

    def prepare(self, world: World) -> None:
        """Set the world up before the scenario makes its pool."""

    async def ready(self, world: World) -> None:
        """Prepare what needs the pool, just before the watched calls."""

    def fire(self, world: World) -> None:
        """Call the pool."""

    def __repr__(self) -> str:
        return self.name


class GiveBack(Action):
    """A call that ends the keeper's lease, for example `release` or `discard_nowait`."""

    needs = "a spare"

    def __init__(self, method: str, source: str) -> None:
        self.name = f"{source}: {method}"
        self.method = method
        self._source = source

    async def ready(self, world: World) -> None:
        if self._source == "destructor":
            Garbage(lambda: self._give_back(world))
        elif self._source == "weak reference":
            dying = Garbage(lambda: None)
            world.keeper = weakref.ref(dying, lambda _: self._give_back(world))

    def fire(self, world: World) -> None:
        if self._source == "signal":
            SIGNAL.call = lambda: self._give_back(world)
            signal.raise_signal(SIGNAL.number)
        elif self._source == "call":
            self._give_back(world)
        else:
            gc.collect()

    def _give_back(self, world: World) -> None:
        thing = world.spare
        if thing is not None:
            world.spare = None
            world.drive("injected", self._call(world.pool, world.end_use(thing)))

    async def _call(self, pool: AsyncResourcePool[Thing], thing: Thing) -> None:
        answer = getattr(pool, self.method)(thing)
        if self.method not in NOWAIT:
            await answer


class Terminate(Action):
    """A call of `terminate`."""

    def __init__(self, source: str) -> None:
        self.name = f"{source}: terminate"
        self._source = source

    def fire(self, world: World) -> None:
        if self._source == "signal":
            SIGNAL.call = world.pool.terminate
            signal.raise_signal(SIGNAL.number)
        else:
            world.pool.terminate()


class Acquire(Action):
    """An acquire that is driven by hand. It may take effect at any time before it returns."""

    suspends = True

    def __init__(self, source: str, timeout: float | None) -> None:
        self.name = f"{source}: acquire" + ("" if timeout is None else f"({timeout:g})")
        self._timeout = timeout
        self._source = source

    def fire(self, world: World) -> None:
        def acquire() -> None:
            world.drive("injected", world.pool.acquire(self._timeout))

        if self._source == "signal":
            SIGNAL.call = acquire
            signal.raise_signal(SIGNAL.number)
        else:
            acquire()


class Cancel(Action):
    """A cancellation of a task that calls the pool, as asyncio's handler of SIGINT does it."""

    def __init__(self, position: int) -> None:
        self.name = f"signal: cancel the {'last' if position else 'first'} task"
        self._position = position

    def fire(self, world: World) -> None:
        tasks = [task for task in world.tasks if not task.done()]
        if tasks:
            SIGNAL.call = tasks[self._position].cancel
            signal.raise_signal(SIGNAL.number)


class Drive(Action):
    """A call of the pool as a whole that is driven by hand, from a signal handler."""

    suspends = True

    def __init__(self, method: str, **arguments: Any) -> None:
        self.name = f"signal: {method}"
        self._method = method
        self._arguments = arguments

    def fire(self, world: World) -> None:
        call = getattr(world.pool, self._method)
        SIGNAL.call = lambda: world.drive("injected", call(**self._arguments))
        signal.raise_signal(SIGNAL.number)


class ForgottenLease(Action):
    """The death of a coroutine or a task in the body of `acquire_context`."""

    needs = "a spare"

    def __init__(self, kind: str) -> None:
        self.name = f"collector: {kind} with a lease dies"
        self._kind = kind

    def prepare(self, world: World) -> None:
        async def take() -> None:
            pool = world.pool
            await pool.release(await pool.acquire())
            box = Box()
            box.future = world.loop.create_future()
            if self._kind == "task":
                box.content = world.loop.create_task(lease_in(box, pool))
                await turns(5)
            else:
                coroutine = lease_in(box, pool)
                box.content = coroutine
                coroutine.send(None)

        world.take_spare = take

    def fire(self, world: World) -> None:
        gc.collect()


class ForgottenWaiter(Action):
    """The death of a coroutine that waits in the queue."""

    needs = "a queue"

    def __init__(self, position: str) -> None:
        self.name = f"collector: {position} waiter dies"
        self._position = position

    def prepare(self, world: World) -> None:
        if self._position == "first":
            world.join_queue = lambda: self._wait(world)

    async def ready(self, world: World) -> None:
        if self._position == "last":
            self._wait(world)

    def _wait(self, world: World) -> None:
        box = Box()
        coroutine = wait_in(box, world.pool)
        box.content = coroutine
        coroutine.send(None)

    def fire(self, world: World) -> None:
        gc.collect()


class ForgottenCaller(Action):
    """The death of a coroutine that waits until all that was retired is gone."""

    name = "collector: a caller of retire_all dies"
    needs = "a spare"

    async def ready(self, world: World) -> None:
        async def retire_in(box: Box) -> None:
            await world.pool.retire_all(wait=True)
            box.content = None

        box = Box()
        coroutine = retire_in(box)
        box.content = coroutine
        coroutine.send(None)

    def fire(self, world: World) -> None:
        gc.collect()


class OtherPool(Action):
    """A release to another pool, from garbage."""

    name = "destructor: release to another pool"

    async def ready(self, world: World) -> None:
        pool: AsyncResourcePool[object] = AsyncResourcePool(object, max_size=1)
        resource = await pool.acquire()
        world.keeper = pool

        def end() -> None:
            world.drive("injected", pool.release(resource))
            pool.terminate()

        Garbage(end)

    def fire(self, world: World) -> None:
        gc.collect()


RELEASE = GiveBack("release", "signal")
TERMINATE = Terminate("signal")

ACTIONS: tuple[Action, ...] = (
    *(GiveBack(method, "destructor") for method in GIVE_BACK),
    GiveBack("release", "weak reference"),
    RELEASE,
    GiveBack("release_nowait", "destructor"),
    GiveBack("discard_nowait", "signal"),
    ForgottenLease("coroutine"),
    ForgottenLease("task"),
    ForgottenWaiter("first"),
    ForgottenWaiter("last"),
    TERMINATE,
    Cancel(0),
    Cancel(-1),
    Acquire("signal", None),
    Acquire("signal", 0),
    OtherPool(),
    Drive("close", timeout=3),
    Drive("retire_all", wait=True),
    Drive("resize", max_size=1, wait=True),
    ForgottenCaller(),
)

CALLS: tuple[Action, ...] = (
    *(GiveBack(method, "call") for method in (*GIVE_BACK, *NOWAIT)),
    Terminate("call"),
    Acquire("call", None),
    Acquire("call", 0),
)
"""Plain calls, for the listener and the logging handler."""
