"""Comparison with asyncio's own loop: does one schedule lead to the same run there?

CPython calls ``select`` once in each iteration. In that call, this module ends the outside calls
and moves the clock as the schedule says. It compares everything that can be seen of the two runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import re
import selectors
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from ._arguments import require_whole_number
from ._events import EventLog, Events, Option
from ._fingerprint import Fingerprints
from ._loop import TaskFactory, fix_task_order
from ._registry import registry
from ._result import parse_schedule
from ._run import BrokenError, CutError, Run, Scenario, dismantle
from ._search import ReplayChooser
from ._story import handle_name, show
from ._virtual import VirtualClock, virtual_functions

__all__ = ["StockLoopError", "compare_with_stock_loop", "run_on_stock_loop"]

Observation = tuple[object, ...]

ADDRESS = re.compile("0x[0-9a-fA-F]+")


class StockLoopError(AssertionError):
    """A difference between the stock loop and the controlled one."""


class _Selector(selectors.SelectSelector):
    """A selector that calls `arrive` instead of waiting for real events."""

    arrive: Callable[[], object]

    def select(self, timeout: float | None = None) -> list[Any]:
        self.arrive()
        return []


class _StockLoop(VirtualClock, asyncio.SelectorEventLoop):
    """The stock loop with a virtual clock, and with the attributes of the controlled loop."""

    def __init__(self, selector: _Selector) -> None:
        super().__init__(selector)
        self.factory = TaskFactory()
        self.set_task_factory(self.factory)

    @property
    def ready(self) -> list[asyncio.Handle]:
        return list(self._ready)  # type: ignore[attr-defined]

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        return list(self._scheduled)  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now

    def create_task(self, coro: Any, *, name: object = None, **options: Any) -> asyncio.Task[Any]:
        # The loop must not choose the name: with a task factory, some versions choose "None".
        name = f"Task-{self.factory.count + 1}" if name is None else name
        return super().create_task(coro, name=name, **options)


def observe(loop: Any, log: EventLog) -> Observation:
    """Describe everything that can be seen of a run between two iterations."""
    tasks = [(task.get_name(), _outcome(task)) for task in log.tasks]
    calls = [(call.name, _outcome(call.future)) for call in log.calls]
    snapshots = [monitor.snapshot() for monitor in log.monitors]
    ready = [handle_name(handle) for handle in loop.ready if not handle.cancelled()]
    return loop.time(), ready, tasks, calls, snapshots


def _outcome(future: asyncio.Future[Any]) -> str:
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    # The method `exception()` would mark the exception as retrieved.
    error = future._exception
    return ADDRESS.sub("0x...", show(future.result() if error is None else error))


def compare_with_stock_loop(
    scenario: Scenario, schedule: str, *, max_depth: int = 10_000, creep: float = 0.0
) -> int:
    """Run a schedule on the controlled loop and on asyncio's own loop, and compare the runs.

    Args:
        scenario: The scenario.
        schedule: The `replay` of a `Failure`, of mode "events".
        max_depth: The maximum number of steps.
        creep: How many seconds each reading of the clock takes, as in `explore`.

    Returns:
        The number of iterations that were compared.

    Raises:
        StockLoopError: The runs differ between two iterations.
        ValueError: The text is no schedule of mode "events", or no schedule of this scenario.

    Since version 0.1.0.
    """
    mode, choices = parse_schedule(schedule)
    require_whole_number("max_depth", max_depth, 1)
    if mode != "events":
        raise ValueError("the stock loop has an order of its own: it can follow mode events only")
    chooser = ReplayChooser(choices)
    run = Run(scenario, mode, chooser, max_depth, creep, Fingerprints())
    explored: list[Observation] = []
    run.before_iteration = lambda: explored.append(observe(run.loop, run.log))
    is_whole = False
    with virtual_functions(scenario):
        with suppress(BrokenError, CutError):  # then the comparison ends where the run ended
            run.execute()
            is_whole = True
        if is_whole:
            chooser.assert_complete()
        stock = contextvars.Context().run(
            run_on_stock_loop, scenario, run.schedule, run.inside, creep
        )
    for place, (one, other) in enumerate(zip(explored, stock, strict=False)):
        if one != other:
            raise StockLoopError(f"iteration {place}:\n  explored {one}\n  stock    {other}")
    if len(stock) < len(explored) or (is_whole and len(stock) > len(explored)):
        raise StockLoopError(f"explored {len(explored)} iterations, stock {len(stock)}")
    return len(explored)


def run_on_stock_loop(
    scenario: Scenario, schedule: list[Option], inside: list[int], creep: float
) -> list[Observation]:
    """Follow a schedule on the stock loop. Return an observation for each iteration."""
    selector = _Selector()
    loop = _StockLoop(selector)
    loop.creep = creep
    random.seed(0)
    loop.set_exception_handler(lambda *_: None)
    choices = iter(inside)
    log = EventLog(loop, lambda _: next(choices, 0))
    seen: list[Observation] = []
    options = iter(schedule)

    def arrive() -> None:
        try:
            for option in options:
                if option[0] == "jump":
                    loop.now = min(t.when() for t in loop.timers if not t.cancelled())
                if option[0] in ("jump", "run"):
                    break
                loop.call_soon(log.record(option))
            else:
                loop.stop()
        except (IndexError, ValueError):  # this run has no such call, task or timer
            loop.stop()
        seen.append(observe(loop, log))
        loop.begin_callback()

    selector.arrive = arrive
    tasks: set[asyncio.Task[Any]] = set()
    try:
        with registry.run_context(loop), closing(loop):
            try:
                tasks.add(loop.create_task(scenario(Events(log)), name="scenario"))
                with suppress(SystemExit), fix_task_order(loop.factory.tasks):
                    loop.run_forever()
            finally:
                tasks.update(log.tasks, loop.factory.tasks, asyncio.all_tasks(loop))
                selector.arrive = lambda: None
    finally:
        dismantle(log, tasks)
    return seen
