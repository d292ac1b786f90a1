"""Random users whose garbage holds leases and waits, under the ordinary collector."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from tests import inside
from tests.virtual_time import VirtualTimeLoop

from .actions import Box, Garbage, lease_in, wait_in
from .world import Thing

pytestmark = pytest.mark.untraced

SEEDS = 150
DEBUG = 3  # each third pool is in debug mode
USERS, TURNS = 6, 8
THRESHOLDS = (1, 2, 3, 5, 8, 13, 21)


@contextmanager
def eager_collector(threshold: int) -> Iterator[None]:
    """Collect after few allocations."""
    before, enabled = gc.get_threshold(), gc.isenabled()
    gc.collect()
    gc.set_threshold(threshold, 1, 1)
    gc.enable()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not enabled:
            gc.disable()


@pytest.fixture(autouse=True)
def _nothing_else(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let the collector see what the crowds make, and nothing else.

    Older objects would slow down every collection. Pytest keeps all log records, a record holds an
    error, and the error holds what its frames hold.
    """
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Crowd:
    """Users of one pool. Some of them forget what they hold."""

    def __init__(self, seed: int, calls: Counter[str]) -> None:
        self.random = random.Random(seed)
        self.calls = calls  # of destructors, by the state of the gate
        self.things: list[Thing] = []
        self.faults: list[str] = []
        choose = self.random.choice
        checks, resets = choose((False, True)), choose((False, True))
        self.pool: AsyncResourcePool[Thing] = AsyncResourcePool(
            self.create,
            self.close,
            max_size=3,
            min_size=choose((0, 0, 1)),
            max_age=choose((None, 30)),
            max_idle_time=choose((None, 5)),
            acquisition_timeout=None,
            check=self.check if checks else None,
            reset=(lambda _: None) if resets else None,
            debug=seed % DEBUG == 0,  # the contracts see a step inside of a step
        )

    async def create(self) -> Thing:
        await asyncio.sleep(self.random.choice((0, 1)))
        if self.random.random() < 0.1:
            raise OSError("no server")
        thing = Thing(len(self.things))
        self.things.append(thing)
        return thing

    async def close(self, thing: Thing) -> None:
        thing.closings += 1
        await asyncio.sleep(self.random.choice((0, 1)))

    def check(self, _: Thing) -> bool:
        return self.random.random() < 0.9

    def note_call(self) -> None:
        self.calls["closed" if inside.gate_is_closed(self.pool) else "open"] += 1

    def take(self, thing: Thing) -> None:
        """Record that a user got a thing that nobody else may have."""
        if thing.holder or thing.closings:
            self.faults.append(f"got {thing}: {thing.holder}, {thing.closings} closings")
        thing.holder = "somebody"

    def give(self, thing: Thing, call: Callable[[Thing], Coroutine[Any, Any, None]]) -> None:
        """Give a thing back, in a destructor."""
        self.note_call()
        thing.holder = ""
        with pytest.raises(StopIteration):
            call(thing).send(None)

    # What a user does in one turn.

    async def lease(self) -> None:
        """Use a resource as one should."""
        timeout = self.random.choice((None, None, 0, 3))
        async with self.pool.acquire_context(timeout) as thing:
            self.take(thing)
            try:
                await asyncio.sleep(self.random.choice((0, 1)))
                if self.random.random() < 0.1:
                    raise ValueError
            finally:
                thing.holder = ""

    async def forget_a_lease(self) -> None:
        """Acquire a resource, and leave its release to a destructor."""
        thing = await self.pool.acquire()
        self.take(thing)
        call = self.random.choice((self.pool.release, self.pool.discard))
        Garbage(lambda: self.give(thing, call))

    async def forget_a_coroutine(self) -> None:
        """Start a coroutine by hand, and forget it while it waits or has a resource."""
        box = Box()
        box.future = asyncio.get_running_loop().create_future()
        coroutine = self.random.choice((lease_in, wait_in))(box, self.pool)
        box.content = coroutine
        Garbage(self.note_call)
        with suppress(StopIteration):
            coroutine.send(None)

    async def forget_a_task(self) -> None:
        """Start a task, and forget it."""
        box = Box()
        box.future = asyncio.get_running_loop().create_future()
        box.content = asyncio.create_task(self.lease_or_fail(box))
        await asyncio.sleep(self.random.choice((0, 1)))

    async def lease_or_fail(self, box: Box) -> None:
        """Hold a lease forever, unless its creation fails."""
        with suppress(OSError):
            await lease_in(box, self.pool)

    async def cancel(self) -> None:
        """Cancel an acquire at some time."""
        acquiring = asyncio.create_task(self.pool.acquire())
        await asyncio.sleep(self.random.choice((0, 1)))
        acquiring.cancel()
        await asyncio.wait([acquiring])
        if not acquiring.cancelled() and acquiring.exception() is None:
            await self.pool.release(acquiring.result())

    async def replace(self) -> None:
        """Retire everything."""
        await self.pool.retire_all()

    async def behave(self) -> None:
        """Take some random turns."""
        turns = (
            self.lease,
            self.lease,
            self.forget_a_lease,
            self.forget_a_coroutine,
            self.forget_a_task,
            self.cancel,
            self.replace,
        )
        for _ in range(TURNS):
            with suppress(ResourcePoolTimeoutError, OSError, ValueError):
                await self.random.choice(turns)()

    async def watch(self) -> None:
        """Allocate once per second, so that the collector runs. See that nobody waits in vain."""
        while True:
            stats = self.pool.stats()
            if stats.waiting and stats.idle:
                self.faults.append(f"an acquirer waits beside an idle resource: {stats}")
            Garbage(lambda: None)
            await asyncio.sleep(1)

    async def play(self) -> None:
        """Let all users behave, and see that nothing is lost."""
        watcher = asyncio.create_task(self.watch())
        users = [asyncio.create_task(self.behave()) for _ in range(USERS)]
        await asyncio.wait_for(asyncio.gather(*users), 10_000)
        del users
        for _ in range(5):  # what is forgotten may have to wait for what was forgotten before
            gc.collect()
            await asyncio.sleep(20)
        stats = self.pool.stats()
        assert (stats.in_use, stats.waiting) == (0, 0)
        assert stats.creating + stats.closing == 0
        await asyncio.wait_for(self.pool.close(), 100)
        watcher.cancel()
        assert self.pool.stats().size == 0
        assert [thing.closings for thing in self.things] == [1] * len(self.things)
        assert not self.faults


@contextmanager
def unraisable_errors() -> Iterator[list[str]]:
    """Collect the errors that destructors raise."""
    errors: list[str] = []
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: errors.append(f"{args.exc_value!r} in {args.object!r}")
    try:
        yield errors
    finally:
        sys.unraisablehook = hook


def play(seed: int, calls: Counter[str]) -> None:
    """Play one crowd under an eager collector."""
    with (
        unraisable_errors() as errors,
        eager_collector(THRESHOLDS[seed % len(THRESHOLDS)]),
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
    ):
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        runner.run(Crowd(seed, calls).play())
    forgotten = "Task was destroyed but it is pending!"
    assert [error for error in loop.errors if error["message"] != forgotten] == []
    assert not errors


@pytest.mark.guarantees("NothingLost", "WaiterServed", "SingleHolder", "CloseCompletes")
@pytest.mark.parametrize(
    "seeds", [range(15), pytest.param(range(15, SEEDS), marks=pytest.mark.slow)], ids=str
)
def test_nothing_is_lost_when_garbage_gives_back_at_any_allocation(
    seeds: range, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "nodetool.concurrency.pool")
    calls: Counter[str] = Counter()
    for seed in seeds:
        try:
            play(seed, calls)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    print(f"\n{len(seeds)} runs, calls of destructors by the state of the gate: {dict(calls)}")
    assert not caplog.records, "a deferred call failed"
    assert calls["closed"] > len(seeds) / 2, "the collector hardly ever ran in the middle of a step"


def test_without_the_gate_most_crowds_in_debug_mode_fail() -> None:
    failed = 0
    seeds = range(0, 30 * DEBUG, DEBUG)
    with inside.gate_always_open(), unraisable_errors():
        for seed in seeds:
            try:
                play(seed, Counter())
            except Exception:
                failed += 1
        while gc.collect():  # destructors make new garbage, and no later test may find it
            pass
    print(f"\nwithout the gate: {failed} of {len(seeds)} crowds failed")
    assert failed > len(seeds) / 2
