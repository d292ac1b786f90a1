"""Runs of a real pool in virtual time: the recording is complete, and its counts are the pool's."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.timeline import Timeline, draw, load
from tests.timeline.traces import Counters, micro, save_trace, with_phase
from tests.virtual_time import run, turns

MILLI = 0.001


class Resource:
    """A resource without any content."""


class Load:
    """Users of a slow pool, and a record of their leases."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.timeline = Timeline("busy")
        self.held: dict[str, list[tuple[float, float]]] = defaultdict(list)  # by task
        self.counts: dict[float, dict[str, int]] = {}  # by time
        self.stats = Counter[str]()

    async def run(self) -> None:
        pool = AsyncResourcePool(
            self._make,
            self._close,
            check=self._check,
            check_after_idle=3 * MILLI,
            reset=self._reset,
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
        self.stats.update(leases=stats.acquired, created=stats.created, timeouts=stats.timeouts)
        self.stats.update(failed=stats.creation_failures, expired=stats.expired)
        self.stats.update(pruned=stats.pruned, discarded=stats.discarded)
        self.stats.update(released=stats.released, check_failed=stats.check_failed)
        self.stats.update(reset_failed=stats.reset_failed)

    async def _sleep(self, most: int) -> None:
        await asyncio.sleep(self.random.randint(0, most) * MILLI)

    async def _make(self) -> Resource:
        await self._sleep(4)
        if self.random.random() < 0.1:
            raise OSError("refused")
        return Resource()

    async def _close(self, _: Resource) -> None:
        await self._sleep(3)

    async def _check(self, _: Resource) -> bool:
        await self._sleep(3)
        return self.random.random() > 0.5

    async def _reset(self, _: Resource) -> None:
        await self._sleep(3)
        if self.random.random() < 0.1:
            raise OSError("broken")

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
                give_back = pool.discard if self.random.random() < 0.1 else pool.release
                await give_back(resource)

    async def _watch(self, pool: AsyncResourcePool[Resource]) -> None:
        """Record the pool's counts, at moments at which no other task runs."""
        await asyncio.sleep(0.4567 * MILLI)
        while True:
            await asyncio.sleep(MILLI)
            await turns()
            numbers = pool.gauges()._asdict()
            del numbers["timeouts"]
            self.counts[self.clock()] = {
                name.replace("_", " "): number for name, number in numbers.items()
            }


@pytest.fixture(scope="module", params=[1, 2, 3])
def load_run(request: pytest.FixtureRequest) -> Load:
    load = Load(request.param)
    run(load.run())
    return load


def test_the_trace_has_every_lease_with_its_times(load_run: Load) -> None:
    slices: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in with_phase(save_trace(load_run.timeline), "X"):
        if event["cat"] == "use":
            slices[event["name"]].append((event["ts"], event["ts"] + event["dur"]))
    held = {
        task: [(micro(start), micro(end)) for start, end in leases]
        for task, leases in load_run.held.items()
    }
    assert {task: sorted(leases) for task, leases in slices.items()} == held
    assert sum(map(len, held.values())) == load_run.stats["leases"] > 50


def test_the_counters_of_the_trace_are_the_pools_own_counts(load_run: Load) -> None:
    counters = Counters(save_trace(load_run.timeline))
    for time, counts in load_run.counts.items():
        assert counts == {state: counters.value(state, micro(time)) for state in counts}, time
    assert len(load_run.counts) > 100
    assert max(counts["waiting"] for counts in load_run.counts.values()) > 2
    for samples in counters.samples.values():
        assert set(samples[-1]["args"].values()) == {0}


def test_the_recording_has_an_event_for_everything_that_the_pool_counted(load_run: Load) -> None:
    events = Counter((event.kind, event.outcome) for event in load_run.timeline.recording().events)
    stats = load_run.stats
    assert events["creation", "created"] == stats["created"]
    assert events["creation", "failed"] == stats["failed"] > 0
    assert events["wait", "timed out"] == stats["timeouts"]
    assert events["wait", "acquired"] == stats["leases"]
    assert events["close", "expired"] == stats["expired"] > 0
    assert events["close", "discarded"] == stats["discarded"] > 0
    assert events["close", "pruned"] == stats["pruned"]


def test_the_recording_has_an_event_for_every_check_and_reset(load_run: Load) -> None:
    events = Counter((event.kind, event.outcome) for event in load_run.timeline.recording().events)
    stats = load_run.stats
    assert events["check", "passed"] > 0
    assert events["check", "failed"] == stats["check_failed"] > 0
    assert events["reset", "failed"] == stats["reset_failed"] > 0
    assert events["reset", "passed"] + events["reset", "failed"] == stats["released"]
    assert max(counts["checking"] for counts in load_run.counts.values()) > 0
    assert max(counts["resetting"] for counts in load_run.counts.values()) > 0


def test_a_real_run_can_be_saved_loaded_and_drawn(load_run: Load, tmp_path: Path) -> None:
    load_run.timeline.save(tmp_path / "run.json")
    picture = draw(load(tmp_path / "run.json"))
    assert picture == draw(load_run.timeline.recording())
    for reason in ("expired", "discarded"):
        assert f">{reason}</text>" in picture


def test_a_resource_that_is_never_released_is_shown_as_held(tmp_path: Path) -> None:
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
