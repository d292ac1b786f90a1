"""Clocks and random numbers are virtual inside a run, and real outside."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sys
import threading
import time
import types
import uuid
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from nodetool.concurrency.testing import Events, compare_with_stock_loop, explore, replay
from nodetool.concurrency.testing._virtual import EPOCH, START, StandingClockError

CLOCKS = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")}


async def by_clocks_and_luck(events: Events) -> None:
    """Use what differs from run to run on a real loop."""
    seen: dict[object, object] = {}

    async def user(name: str) -> None:
        seen[uuid.uuid4()] = (time.time(), random.random(), secrets.token_hex(), name)
        await events.call("work")
        seen[id(seen)] = (monotonic(), time.perf_counter(), os.urandom(4), random.Random())
        await events.call("work")

    events.task(user("a"), name="a")
    events.task(user("b"), name="b")
    await events.join()
    await events.call("end")


def test_a_scenario_that_uses_clocks_and_random_numbers_is_deterministic() -> None:
    result = explore(by_clocks_and_luck, repeat_every=1, stock_every=1)
    assert result.exhausted, str(result)
    assert result.pruned
    assert result.opaque == ""


kept: list[object] = []


def test_a_dict_keyed_by_identities_is_compared() -> None:
    async def scenario(events: Events) -> None:
        owners = [object() for _ in range(3)]
        kept.append(owners)  # so that every run has other identities
        names = {id(one): place for place, one in enumerate(owners)}
        live = set(names)
        events.watch(names, live, owners)

        async def drop(place: int) -> None:
            await events.call("drop")
            live.discard(id(owners[place]))

        events.task(drop(0))
        events.task(drop(1))
        await events.join()
        await events.call("end", results=(1,))
        assert len(live) == 1

    result = explore(scenario, repeat_every=1)
    assert result.exhausted, str(result)
    assert result.pruned


@pytest.mark.parametrize("prune", [True, False])
def test_identities_of_different_objects_are_different_states(prune: bool) -> None:
    async def scenario(events: Events) -> None:
        first, second = [object()], [object()]
        known = {"owner": 0}
        events.watch(known, first, second)

        async def own(one: object) -> None:
            await events.call("own")
            known["owner"] = id(one)

        events.task(own(first))
        events.task(own(second))
        await events.join()
        await events.call("end")
        assert known["owner"] == id(second)

    assert explore(scenario, prune=prune).failure is not None


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("draw", [random.random, uuid4, lambda: os.urandom(1)])
def test_the_source_of_random_numbers_is_part_of_the_state(draw: Any, prune: bool) -> None:
    ends: set[object] = set()

    async def scenario(events: Events) -> None:
        if await events.call("draw", results=(1,)):
            draw()
        await events.call("later")
        ends.add(draw())

    assert explore(scenario, prune=prune).exhausted
    assert len(ends) == 2


def test_a_clock_shows_the_time_of_the_run_under_any_name() -> None:
    seen: list[tuple[float, ...]] = []

    async def scenario(events: Events) -> None:
        await asyncio.sleep(5)
        seen.append((monotonic(), time.monotonic(), time.perf_counter(), events.time()))
        seen.append((time.time() - EPOCH, time.time_ns() / 1e9 - EPOCH, time.monotonic_ns() / 1e9))

    explore(scenario).raise_for_failure()
    assert {value for one in seen for value in one} == {START + 5}


def test_outside_of_a_run_everything_is_real() -> None:
    before = random.getstate()
    real: list[float] = []

    async def scenario(events: Events) -> None:
        random.random()
        random.Random()
        assert random.Random(1).random() == random.Random(1).random()
        thread = threading.Thread(target=lambda: real.append(monotonic() - CLOCKS["monotonic"]()))
        thread.start()
        thread.join()

    explore(scenario).raise_for_failure()
    compare_with_stock_loop(scenario, "e:")
    assert all(abs(difference) < 60 for difference in real)
    assert random.getstate() == before
    assert {name: getattr(time, name) for name in CLOCKS} == CLOCKS
    assert monotonic is CLOCKS["monotonic"]
    assert random.Random().random() != random.Random().random()
    assert os.urandom(8) != os.urandom(8)


def test_a_module_that_is_imported_later_has_virtual_clocks_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []

    async def scenario(_: Events) -> None:
        seen.append(sys.modules["made_late"].clock())

    made: Any = types.ModuleType("made_late")
    made.clock = time.monotonic
    monkeypatch.setitem(sys.modules, "made_late", made)
    monkeypatch.setitem(sys.modules, "no_module", object())
    explore(scenario).raise_for_failure()
    assert seen == [START]
    made.clock = lambda: -1.0
    explore(scenario).raise_for_failure()
    assert seen == [START, -1.0]


async def spins(events: Events) -> None:
    end = monotonic() + 0.01
    while monotonic() < end:
        pass
    await events.call("work", results=(1,))
    assert events.time() >= end


def test_code_that_spins_until_time_passes_needs_a_clock_that_creeps() -> None:
    failure = explore(spins).failure
    assert failure is not None
    assert isinstance(failure.error, StandingClockError)
    assert "pass creep=" in str(failure.error)
    assert explore(spins, creep=0.001, stock_every=1).exhausted
    assert replay(spins, "e:1", creep=0.001).failure is None
    assert compare_with_stock_loop(spins, "e:1", creep=0.001)
    with pytest.raises(ValueError, match="creep must be a number"):
        explore(spins, creep=-1)
