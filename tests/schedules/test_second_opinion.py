"""The same scenarios under an explorer by other authors (detangle), as a second opinion.

Detangle chooses which callback runs next, and how outside calls end. It deviates from asyncio's
order at most DEVIATIONS times. It does not know the specification. Extra tasks cancel the users.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine
from typing import Any

import detangle
import pytest

from proofs.broken_machines import DoesNotCountClosing, ForgetsHandedOver, HandsToTwo
from proofs.inside import Machine, machine_in_new_pools
from proofs.scenarios.table import SCENARIOS, Scenario

pytestmark = pytest.mark.untraced

DEVIATIONS = 3
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
TWO_USERS = [s for s in SCENARIOS if len(s.users) == 2 and not s.large]


class Elsewhere:
    """Events of a scenario on the loop of detangle."""

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
        """Ignore the objects, because detangle does not prune."""


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


@pytest.mark.slow
@pytest.mark.parametrize("scenario", TWO_USERS, ids=repr)
def test_a_second_explorer_finds_no_failure(scenario: Scenario) -> None:
    stats = explored(scenario)
    assert stats.exhausted, stats.summary()
    assert stats.runs > 50


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # failed runs leave pools unclosed
@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (ForgetsHandedOver, "two take turns"),
        (HandsToTwo, "two take turns"),
        (DoesNotCountClosing, "discarded while another waits"),
    ],
)
def test_a_second_explorer_finds_bugs_that_ours_finds(machine: Machine, name: str) -> None:
    with machine_in_new_pools(machine), pytest.raises(detangle.BugFound):
        explored(BY_NAME[name])
    gc.collect()
