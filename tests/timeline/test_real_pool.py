"""A real pool's run, in virtual time: all of it is in the recording, and the numbers agree."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.timeline import Timeline, draw, load
from nodetool.concurrency.timeline._spans import counts, spans
from nodetool.concurrency.timeline._trace import trace_events
from tests.virtual_time import run, turns

MILLI = 0.001


class Resource:
    """Something to lease."""


class Load:
    """Users of a pool that takes its time, and what they know of their leases."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.timeline = Timeline("busy")
        self.held: dict[str, list[tuple[float, float]]] = defaultdict(list)  # by task
        self.numbers: dict[float, dict[str, int]] = {}  # by time
        self.stats = Counter[str]()

    async def run(self) -> None:
        pool = AsyncResourcePool(
            self._make,
            self._close,
            max_size=3,
            max_age=30 * MILLI,
            max_idle_time=10 * MILLI,
            acquisition_timeout=20 * MILLI,
            listener=self.timeline,
        )
        self.clock = asyncio.get_running_loop().time
        async with pool, asyncio.TaskGroup() as group:
            users = [group.create_task(self._user(pool), name=f"user {i}") for i in range(8)]
            watch = group.create_task(self._watch(pool))
            await asyncio.wait(users)
            watch.cancel()
        stats = pool.stats()
        self.stats.update(leases=stats.acquired, created=stats.created, lost=stats.timeouts)
        self.stats.update(failed=stats.creation_failures, expired=stats.expired)
        self.stats.update(pruned=stats.pruned, discarded=stats.discarded)

    async def _sleep(self, most: int) -> None:
        await asyncio.sleep(self.random.randint(0, most) * MILLI)

    async def _make(self) -> Resource:
        await self._sleep(4)
        if self.random.random() < 0.1:
            raise OSError("refused")
        return Resource()

    async def _close(self, _: Resource) -> None:
        await self._sleep(3)

    async def _user(self, pool: AsyncResourcePool[Resource]) -> None:
        task = asyncio.current_task()
        assert task is not None
        for _ in range(12):
            await self._sleep(30)
            with suppress(TimeoutError, OSError):
                resource = await pool.acquire()
                start = self.clock()
                await self._sleep(9)
                self.held[task.get_name()].append((start, self.clock()))
                leave = pool.discard if self.random.random() < 0.1 else pool.release
                await leave(resource)

    async def _watch(self, pool: AsyncResourcePool[Resource]) -> None:
        """Look now and then, at moments at which nothing else happens."""
        await asyncio.sleep(0.4567 * MILLI)
        while True:
            await asyncio.sleep(MILLI)
            await turns()
            stats = pool.stats()
            self.numbers[self.clock()] = {
                "idle": stats.idle,
                "in use": stats.in_use,
                "creating": stats.creating,
                "closing": stats.closing,
                "waiting": stats.waiting,
            }


@pytest.fixture(scope="module", params=[1, 2, 3])
def load_run(request: pytest.FixtureRequest) -> Load:
    found = Load(request.param)
    run(found.run())
    return found


def micro(seconds: float) -> int:
    return round(seconds * 1_000_000)


def test_every_lease_is_in_the_trace_as_long_as_it_was_held(load_run: Load) -> None:
    events = load_run.timeline.recording().events
    slices: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in trace_events("busy", events, 0):
        if event["ph"] == "X" and event["cat"] == "use":
            slices[event["name"]].append((event["ts"], event["ts"] + event["dur"]))
    held = {
        task: [(micro(start), micro(end)) for start, end in leases]
        for task, leases in load_run.held.items()
    }
    assert {task: sorted(leases) for task, leases in slices.items()} == held
    assert sum(map(len, held.values())) == load_run.stats["leases"] > 50


def test_the_counters_are_the_pools_own_numbers(load_run: Load) -> None:
    moments = counts(spans(load_run.timeline.recording().events))
    times = [time for time, _ in moments]
    for time, numbers in load_run.numbers.items():
        _, found = moments[bisect_right(times, micro(time)) - 1]
        assert found == numbers, time
    assert len(load_run.numbers) > 100
    assert max(numbers["waiting"] for numbers in load_run.numbers.values()) > 2
    assert set(moments[-1][1].values()) == {0}


def test_everything_that_the_pool_counted_is_told(load_run: Load) -> None:
    told = Counter((event.kind, event.outcome) for event in load_run.timeline.recording().events)
    stats = load_run.stats
    assert told["creation", "created"] == stats["created"]
    assert told["creation", "failed"] == stats["failed"] > 0
    assert told["wait", "timed out"] == stats["lost"]
    assert told["wait", "acquired"] == stats["leases"]
    assert told["close", "expired"] == stats["expired"] > 0
    assert told["close", "discarded"] == stats["discarded"] > 0
    assert told["close", "pruned"] == stats["pruned"]


def test_a_real_run_is_saved_read_and_drawn(load_run: Load, tmp_path: Path) -> None:
    load_run.timeline.save(tmp_path / "run.json")
    picture = draw(load(tmp_path / "run.json"))
    assert picture == draw(load_run.timeline.recording())
    for reason in ("expired", "discarded"):
        assert f">{reason}</text>" in picture


def test_a_lease_that_is_not_given_back_is_seen(tmp_path: Path) -> None:
    timeline = Timeline()

    async def leak() -> None:
        pool = AsyncResourcePool(Resource, listener=timeline)
        await pool.acquire()
        await asyncio.sleep(1)
        async with pool.acquire_context():
            await asyncio.sleep(2)
        timeline.save(tmp_path / "leak.json")
        pool.terminate()

    run(leak())
    assert "held #1 for 3.00 s, from 0 s: still held" in draw(load(tmp_path / "leak.json"))
    assert "held #1 for 3.00 s, from 0 s: forgotten" in draw(timeline.recording())
