"""The same schedule on asyncio's own loop: does it do what the controlled one did?

CPython calls ``select`` once in each iteration. There the outside calls end and the clock jumps, as
the schedule says, and everything that can be seen of the run is compared.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
import selectors
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from ._arguments import whole
from ._events import Events, Option
from ._loop import START, TaskFactory, listed_in_order
from ._registry import registry
from ._result import parse_schedule
from ._run import BrokenError, CutError, Run, Scenario, dismantle
from ._search import Replaying
from ._story import shown, words

__all__ = ["StockLoopError", "compare_with_stock_loop"]

ADDRESS = re.compile("0x[0-9a-fA-F]+")


class StockLoopError(AssertionError):
    """The stock loop did something else than the controlled one."""


class _Selector(selectors.SelectSelector):
    """Nothing arrives from outside but what `arrive` lets happen."""

    arrive: Callable[[], object]

    def select(self, timeout: float | None = None) -> list[Any]:
        self.arrive()
        return []


class _StockLoop(asyncio.SelectorEventLoop):
    """The stock loop, with a clock that stands still."""

    def __init__(self, selector: _Selector) -> None:
        self.now = START
        super().__init__(selector)
        self.alike = TaskFactory()
        self.set_task_factory(self.alike)

    def time(self) -> float:
        return self.now

    def create_task(self, coro: Any, *, name: object = None, **options: Any) -> asyncio.Task[Any]:
        # Not left to the loop: with a task factory, some versions make "None" of None.
        name = f"Task-{self.alike.made + 1}" if name is None else name
        return super().create_task(coro, name=name, **options)


def observed(loop: Any, events: Events) -> tuple[object, ...]:
    """All that can be seen of a run between two iterations, in words."""
    tasks = [(task.get_name(), _outcome(task)) for task in events._tasks]
    calls = [(call.name, _outcome(call.future)) for call in events._calls]
    monitored = [monitor.snapshot() for monitor in events._monitors]
    ready = [words(handle) for handle in loop._ready if not handle.cancelled()]
    return loop.time(), ready, tasks, calls, monitored


def _outcome(future: asyncio.Future[Any]) -> str:
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    # The attribute: to ask the method would be to retrieve the exception.
    error = future._exception
    return ADDRESS.sub("0x...", shown(future.result() if error is None else error))


def compare_with_stock_loop(scenario: Scenario, schedule: str, *, max_depth: int = 10_000) -> int:
    """Run a schedule on the controlled loop and on the stock one.

    Args:
        scenario: What to run.
        schedule: The `replay` of a `Failure`, of mode "events".
        max_depth: After how many steps to stop.

    Returns:
        How many iterations were compared.

    Raises:
        StockLoopError: Between two iterations something was different.
        ValueError: It is no schedule of mode "events", or none of this scenario.
    """
    mode, choices = parse_schedule(schedule)
    whole("max_depth", max_depth, 1)
    if mode != "events":
        raise ValueError("the stock loop has an order of its own: it can follow mode events only")
    chooser = Replaying(choices)
    run = Run(scenario, mode, chooser, max_depth)
    explored: list[tuple[object, ...]] = []
    run.before_iteration = lambda: explored.append(observed(run.loop, run.events))
    is_whole = False
    with suppress(BrokenError, CutError):  # then it is compared as far as it went
        run.execute()
        is_whole = True
    if is_whole:
        chooser.assert_all_taken()
    stock = contextvars.Context().run(_stock_run, scenario, run.schedule)
    for place, (one, other) in enumerate(zip(explored, stock, strict=False)):
        if one != other:
            raise StockLoopError(f"iteration {place}:\n  explored {one}\n  stock    {other}")
    if len(stock) < len(explored) or (is_whole and len(stock) > len(explored)):
        raise StockLoopError(f"explored {len(explored)} iterations, stock {len(stock)}")
    return len(explored)


def _stock_run(scenario: Scenario, schedule: list[Option]) -> list[tuple[object, ...]]:
    """What is seen, between two iterations each, as the schedule is followed."""
    selector = _Selector()
    loop = _StockLoop(selector)
    loop.set_exception_handler(lambda *_: None)
    events = Events(loop)
    seen: list[tuple[object, ...]] = []
    todo = iter(schedule)

    def arrive() -> None:
        try:
            for option in todo:
                if option[0] == "jump":
                    loop.now = min(t.when() for t in loop._scheduled if not t.cancelled())  # type: ignore[attr-defined]
                if option[0] in ("jump", "run"):
                    break
                loop.call_soon(events._happen(option))
            else:
                loop.stop()
        except (IndexError, ValueError):  # here there is no such call, task or timer
            loop.stop()
        seen.append(observed(loop, events))

    selector.arrive = arrive
    tasks: set[asyncio.Task[Any]] = set()
    try:
        with registry.run_context(loop), closing(loop):
            try:
                tasks.add(loop.create_task(scenario(events), name="scenario"))
                with suppress(SystemExit), listed_in_order(loop.alike.tasks):
                    loop.run_forever()
            finally:
                tasks.update(events._tasks, loop.alike.tasks, asyncio.all_tasks(loop))
                selector.arrive = lambda: None
    finally:
        dismantle(events, tasks)
    return seen
