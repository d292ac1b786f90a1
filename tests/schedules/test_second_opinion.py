"""The same scenarios, explored by somebody else's explorer (detangle): does it agree?

It chooses which callback runs next, and how outside calls end, with at most so many deviations from
asyncio's order; it knows nothing of the specification. A cancellation is a task that cancels.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine
from typing import Any

import detangle
import pytest

from nodetool.concurrency import _options
from nodetool.concurrency._machine import PoolMachine
from tests.broken_machines import DoesNotCountClosing, ForgetsHandedOver, HandsToTwo
from tests.schedules.scenarios import SCENARIOS, Scenario

DEVIATIONS = 3
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
TWO_USERS = [s for s in SCENARIOS if len(s.users) == 2 and not s.large]


class Elsewhere:
    """What a scenario is given, on that explorer's loop."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.cancellers: list[asyncio.Task[None]] = []

    def task(
        self, coro: Coroutine[Any, Any, Any], *, name: str, cancellable: bool = False
    ) -> asyncio.Task[Any]:
        task = asyncio.create_task(coro, name=name)
        self.tasks.append(task)

        async def cancels() -> None:
            if detangle.flip():
                task.cancel()

        if cancellable:
            self.cancellers.append(asyncio.create_task(cancels(), name=f"cancels {name}"))
        return task

    async def join(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.gather(*self.cancellers)

    async def call(
        self,
        name: str,
        *,
        result: object = None,
        results: tuple[object, ...] = (),
        faults: tuple[type[Exception], ...] = (),
    ) -> object:
        await asyncio.sleep(0)
        ways = 1 + len(results) + len(faults)
        way = detangle.randint(0, ways - 1) if ways > 1 else 0
        if way > len(results):
            raise faults[way - len(results) - 1]
        return (result, *results)[way]

    def watch(self, *objects: object) -> None:
        """It does not prune."""


def explored(scenario: Scenario) -> detangle.ExploreStats:
    async def main() -> None:
        elsewhere: Any = Elsewhere()
        await scenario(elsewhere)

    logging.disable()
    try:
        return detangle.explore(
            main,
            strategy=detangle.DFS(max_delays=DEVIATIONS),
            runs=10**6,
            name=scenario.name,
            check_leaks=True,
        )
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("scenario", TWO_USERS, ids=repr)
def test_another_explorer_finds_nothing_either(scenario: Scenario) -> None:
    stats = explored(scenario)
    assert stats.exhausted, stats.summary()
    assert stats.runs > 50


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of pools in runs that have failed
@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (ForgetsHandedOver, "two take turns"),
        (HandsToTwo, "two take turns"),
        (DoesNotCountClosing, "discarded while another waits"),
    ],
)
def test_it_finds_bugs_that_ours_finds(
    machine: type[PoolMachine[Any]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_options, "PoolMachine", machine)
    with pytest.raises(detangle.BugFound):
        explored(BY_NAME[name])
    gc.collect()
