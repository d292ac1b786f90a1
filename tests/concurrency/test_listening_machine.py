"""A pool with a listener: its machine's graph, its numbers, and its memory."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from itertools import pairwise
from operator import length_hint
from random import Random
from typing import Any

import pytest

import nodetool.concurrency
from nodetool.concurrency import (
    AsyncResourcePool,
    PoolEvent,
    PoolGauges,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from proofs.broken_machines import DoesNotCountClosing, ServesWhileClosing, difference
from tests import inside
from tests.concurrency.test_stress import WatchedLoop
from tests.inside import REASONS, Events, Graph, Machine, PoolMachine, observed


def test_without_a_listener_nothing_of_it_is_there() -> None:
    assert inside.machine_kind(AsyncResourcePool(object)) == "bare"
    assert inside.machine_kind(AsyncResourcePool(object, listener=ignore)) == "listened to"
    assert inside.machine_kind(AsyncResourcePool(object, debug=True)) == "debug"
    code = (
        f"import sys; from {AsyncResourcePool.__module__} import AsyncResourcePool as P; P(object);"
        f"listener = {inside.LISTENER_MODULE!r}; assert listener not in sys.modules;"
        "P(object, listener=print); assert listener in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_types_are_there_when_they_are_asked_for() -> None:
    assert nodetool.concurrency.PoolEvent is PoolEvent
    assert nodetool.concurrency.PoolGauges is PoolGauges
    assert callable(nodetool.concurrency.PoolListener)
    with pytest.raises(AttributeError, match="has no attribute 'PoolHearer'"):
        _ = nodetool.concurrency.PoolHearer


def ignore(event: PoolEvent) -> None:
    """Listen to an event, and do nothing."""


def test_debug_mode_and_a_listener_watch_the_same_machine() -> None:
    debugging = AsyncResourcePool(object, debug=True)
    both = AsyncResourcePool(object, debug=True, listener=ignore)
    assert inside.is_tracked(debugging)
    assert inside.is_tracked(both)
    assert inside.observers_of(debugging) == []
    assert inside.observers_of(both) == [Events]


def listened_to(name: str, machine: Machine) -> Machine:
    """Make a class of machines that a listener watches. Its instances can be pickled."""

    def construct(self: Any, *args: Any, **options: Any) -> None:
        machine.__init__(self, *args, **options)
        self.observers = (inside.without_clock(ignore),)

    return type(name, (observed(machine),), {"__init__": construct, "__module__": __name__})


ListenedTo = listened_to("ListenedTo", PoolMachine)
ListenedToServing = listened_to("ListenedToServing", ServesWhileClosing)
ListenedToNotCounting = listened_to("ListenedToNotCounting", DoesNotCountClosing)


@pytest.mark.untraced
@pytest.mark.parametrize("name", ["Lowering"])
def test_the_graph_of_a_machine_with_a_listener_is_the_specification_s(name: str) -> None:
    assert inside.compare(Graph.frozen(name), ListenedTo).problem == ""


@pytest.mark.parametrize("machine", [ListenedToServing, ListenedToNotCounting])
def test_a_listener_hides_no_bug(machine: Machine) -> None:
    assert difference(Graph.frozen("SingleChecked"), machine)


# Everything at random.


class FailedError(Exception):
    """The failure of a callback."""


class Resource:
    """Something to lease."""


class Acquire:
    """An acquire, as its task sees it."""

    def __init__(self, task: str, start: float) -> None:
        self.task = task
        self.start = start
        self.end = start
        self.got: object = None  # a resource, or an error
        self.over = start  # when it was given back


EVERYTHING = {
    *(("creation", outcome) for outcome in ("created", "failed", "retired", "late")),
    *(("check", outcome) for outcome in ("passed", "failed")),
    *(("reset", outcome) for outcome in ("passed", "failed")),
    *(("wait", outcome) for outcome in ("acquired", "timed out", "cancelled", "failed")),
    *(("wait", outcome) for outcome in ("closed", "rejected")),
    *(("use", outcome) for outcome in ("released", "discarded", "detached", "forgotten")),
    ("use", "interrupted"),
    *(("close", reason) for reason in REASONS),
}


class Walk:
    """A pool and its users, which take random steps and remember them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.told: list[PoolEvent] = []
        self.acquires: list[Acquire] = []
        self.pool = AsyncResourcePool(
            self.make,
            self.close,
            check=self.check,
            reset=self.reset,
            check_after_idle=2,
            max_size=3,
            min_size=1,
            max_creating=2,
            max_waiting=3,
            max_age=20,
            max_idle_time=4,
            acquisition_timeout=8,
            creation_timeout=4,
            debug=seed % 4 == 0,
            listener=self.told.append,
        )

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def dawdle(self, most: int) -> None:
        await asyncio.sleep(self.random.randint(0, most))
        if self.random.random() < 0.1:
            raise FailedError

    async def make(self) -> Resource:
        try:
            await self.dawdle(5)
        except asyncio.CancelledError:
            if self.random.random() < 0.5:
                raise  # otherwise the resource comes too late
        return Resource()

    async def close(self, _: Resource) -> None:
        await self.dawdle(3)

    async def check(self, _: Resource) -> bool:
        await self.dawdle(2)
        return self.random.random() > 0.1

    async def reset(self, _: Resource) -> None:
        await self.dawdle(2)

    async def use(self, name: str) -> None:
        acquire = Acquire(name, self.now)
        self.acquires.append(acquire)
        timeout = self.random.choice([None, 0, 3])
        if self.random.random() < 0.3:
            await self.use_in_context(acquire, timeout)
            return
        try:
            resource = await self.pool.acquire(timeout)
        except BaseException as error:
            acquire.got = error
            raise
        finally:
            acquire.end = self.now
        acquire.got = resource
        try:
            await asyncio.sleep(self.random.randint(0, 6))
        finally:
            acquire.over = self.now
            ways = (self.pool.release, self.pool.discard, self.pool.detach)
            await self.random.choices(ways, (8, 1, 1))[0](resource)

    async def use_in_context(self, acquire: Acquire, timeout: float | None) -> None:
        try:
            async with self.pool.acquire_context(timeout) as resource:
                acquire.end, acquire.got = self.now, resource
                try:
                    await asyncio.sleep(self.random.randint(0, 6))
                finally:
                    acquire.over = self.now
        except BaseException as error:
            if acquire.got is None:
                acquire.end, acquire.got = self.now, error
            raise

    async def user(self, name: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        while not self.pool.closed:
            try:
                await asyncio.sleep(self.random.randint(0, 9))
                await self.use(name)
            except (FailedError, ResourcePoolError):
                pass
            except asyncio.CancelledError:
                task.uncancel()

    async def run(self) -> None:
        names = [f"user {number}" for number in range(self.random.randint(2, 9))]
        users = [asyncio.create_task(self.user(name), name=name) for name in names]
        for _ in range(50):
            await asyncio.sleep(self.random.randint(0, 4))
            self.random.choice(users).cancel()
            if self.random.random() < 0.1:
                await self.pool.retire_all()
            if self.random.random() < 0.2:
                await self.pool.resize(self.random.randint(1, 4))
        if self.random.random() < 0.5:
            self.pool.terminate()
        await self.pool.close()
        await asyncio.wait(users)
        for task in users:
            task.result()

    def look(self) -> None:
        """Check, after every callback of the loop, that the published numbers are the true ones."""
        stats, gauges = self.pool.stats()._asdict(), self.pool.gauges()._asdict()
        assert gauges == {name: stats[name] for name in gauges}

    # The events agree with what the users know, with the statistics, and with each other.

    def assert_users_agree(self) -> None:
        told: dict[tuple[str, str], list[PoolEvent]] = defaultdict(list)
        for event in self.told:
            told[event.kind, event.task].append(event)
        for name in {acquire.task for acquire in self.acquires}:
            acquires = [acquire for acquire in self.acquires if acquire.task == name]
            for acquire, wait in zip(acquires, told["wait", name], strict=True):
                assert (acquire.start, acquire.end) == (wait.start, wait.end)
                got = acquire.got
                assert isinstance(got, Resource) == (wait.outcome == "acquired")
                if isinstance(got, asyncio.CancelledError):
                    assert wait.outcome == "cancelled" or wait.error is not None  # untold
                elif wait.outcome != "acquired":
                    assert isinstance(got, ERRORS[wait.outcome])
                    same = wait.error is got or wait.outcome in ("closed", "timed out")
                    assert same, "it was told another error"
                    assert said(wait.error) == said(got)
            leases = [acquire for acquire in acquires if isinstance(acquire.got, Resource)]
            for acquire, use in zip(leases, told["use", name], strict=True):
                assert acquire.end == use.start
                assert acquire.over == use.end or use.outcome == "forgotten"

    def assert_statistics_agree(self) -> None:
        stats = self.pool.stats()
        assert stats.in_use == 0
        forgotten = self.forgotten()
        told = Counter((event.kind, event.outcome) for event in self.told)
        assert told["wait", "acquired"] == stats.acquired
        assert told["wait", "timed out"] == stats.timeouts
        assert told["wait", "rejected"] == stats.rejected
        assert told["wait", "cancelled"] == stats.cancelled
        assert told["use", "released"] == stats.released
        assert told["use", "discarded"] == stats.discarded == told["close", "discarded"]
        assert told["use", "detached"] == stats.detached
        assert told["use", "forgotten"] == forgotten
        late = told["creation", "late"]
        assert told["creation", "created"] + told["creation", "retired"] + late == stats.created
        assert told["creation", "failed"] + late == stats.creation_failures
        for reason in REASONS:
            assert told["close", reason] == getattr(stats, reason.replace(" ", "_"))
        for kind in ("check", "reset"):
            assert told[kind, "failed"] == told["close", f"{kind} failed"]
        closes = sum(count for (kind, _), count in told.items() if kind == "close")
        assert closes == stats.created - stats.detached - forgotten
        assert inside.event_entries(self.pool) == (0, 0, 0)

    def forgotten(self) -> int:
        stats = self.pool.stats()
        ended = stats.released + stats.discarded + stats.detached
        return stats.acquired - ended - stats.interrupted

    def assert_in_order(self) -> None:
        ends = [event.end for event in self.told]
        assert ends == sorted(ends)
        lives = defaultdict(list)
        for event in self.told:
            if event.resource is not None:
                lives[event.resource].append(event)
        assert sorted(lives) == list(range(1, len(lives) + 1))
        created = [life[0].start for _, life in sorted(lives.items())]
        assert created == sorted(created)
        for life in lives.values():
            letters = "".join(LETTERS.get((event.kind, event.outcome), "?") for event in life)
            assert re.fullmatch(LIFE, letters), [event[:5] for event in life]
            for wait, use in pairwise(life):
                if wait.kind == "wait":
                    assert (wait.end, wait.task) == (use.start, use.task)
            alone = [event for event in life if event.kind != "wait"]
            for event, following in pairwise(alone):
                assert event.end <= following.start


LETTERS = {
    ("creation", "created"): "C",
    ("creation", "late"): "t",
    ("creation", "retired"): "t",
    ("creation", "failed"): "f",
    ("check", "passed"): "K",
    ("check", "failed"): "k",
    ("wait", "acquired"): "W",
    ("use", "released"): "U",
    ("use", "discarded"): "d",
    ("use", "interrupted"): "d",
    ("use", "detached"): "g",
    ("use", "forgotten"): "g",
    ("reset", "passed"): "R",
    ("reset", "failed"): "r",
    **{("close", reason): "X" for reason in REASONS},
}
LIFE = "f|tX|C(K*WUR)*K*(X|kX|WUrX|WdX|Wg)"


def said(error: object) -> tuple[type, str]:
    """Return the type and text of an error, without durations and holders."""
    return type(error), re.sub(r"within \S+ s;|\n(?s:.*)", "", str(error))


ERRORS: dict[str, type[Exception]] = {
    "timed out": ResourcePoolTimeoutError,
    "closed": ResourcePoolClosedError,
    "rejected": ResourcePoolExhaustedError,
    "failed": Exception,
}


@pytest.mark.untraced
@pytest.mark.guarantees("CountsAgree", "OneOutcome", "SingleHolder", "NothingLost")
def test_random_events_agree_with_users_and_statistics(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")
    met = set()
    for seed in range(20):
        with asyncio.Runner(loop_factory=WatchedLoop) as runner:
            loop: Any = runner.get_loop()
            walk = Walk(seed)
            loop.look = walk.look
            runner.run(walk.run())
            assert not loop.errors
        walk.assert_users_agree()
        walk.assert_statistics_agree()
        walk.assert_in_order()
        met |= {(event.kind, event.outcome) for event in walk.told}
    assert met == EVERYTHING


# Other threads, and memory.


async def test_another_thread_never_reads_the_middle_of_a_step() -> None:
    pool = AsyncResourcePool(object, max_size=3, listener=ignore)
    assert pool.gauges() == pool.gauges()
    read: set[PoolGauges] = set()
    seen: set[int] = set()  # how many were in use
    left, over = iter(range(100_000)), threading.Event()

    def reads() -> None:
        while not over.is_set():
            gauges = pool.gauges()
            read.add(gauges)
            seen.add(gauges.in_use)
            next(left, None)

    async def uses() -> None:  # all are in use, then all are idle
        while length_hint(left) or not seen >= {0, 3}:
            async with pool.acquire_context():
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=reads)
    try:
        sys.setswitchinterval(1e-6)
        thread.start()
        async with asyncio.timeout(60):
            await asyncio.gather(uses(), uses(), uses())
    finally:
        over.set()
        sys.setswitchinterval(interval)
        thread.join()
    await pool.close()
    for gauges in read:
        assert min(gauges) >= 0
        assert sum(gauges) - gauges.waiting - gauges.timeouts <= 3


@pytest.mark.untraced
async def test_leases_leave_nothing_behind() -> None:
    pool = AsyncResourcePool(object, max_size=2, listener=ignore)
    for _ in range(100_000):
        await pool.release(await pool.acquire())
    first, second = await pool.acquire(), await pool.acquire()
    for number in range(1_000):
        waiters = [asyncio.create_task(pool.acquire(timeout)) for timeout in (None, 0)]
        await asyncio.sleep(0)
        assert inside.event_entries(pool).acquires == 1
        waiters[0].cancel()
        await asyncio.wait(waiters)
        assert isinstance(waiters[1].exception(), ResourcePoolTimeoutError)
        if number % 10 == 0:
            await pool.discard(first)
            first = await pool.acquire()
    assert inside.event_entries(pool) == (2, 0, 0)
    await pool.release(first)
    await pool.release(second)
    await pool.close()
    assert inside.event_entries(pool).resources == 0


def nonzero(gauges: PoolGauges) -> dict[str, int]:
    return {name: number for name, number in gauges._asdict().items() if number}


async def test_without_a_listener_the_numbers_are_those_of_now() -> None:
    pool = AsyncResourcePool(object)
    thing = await pool.acquire()
    assert nonzero(pool.gauges()) == {"in_use": 1}
    await pool.release(thing)
    assert nonzero(pool.gauges()) == {"idle": 1}
    await pool.close()
