"""Exploring: the scenario is run again and again, with other choices, until there are no more."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from ._arguments import of_events, seconds, types, whole
from ._fingerprint import Fingerprints
from ._result import Exploration, Failure, parse_schedule, schedule_text
from ._run import BrokenError, CutError, Mode, Run, Scenario, quiet
from ._search import NonDeterminismError, PrunedError, Replaying, Search
from ._stock import StockLoopError, compare_with_stock_loop
from ._story import shown

__all__ = ["explore", "replay"]

COLLECT_EVERY = 100  # runs
ADDRESS = re.compile("0x[0-9a-fA-F]+")


class LivelockError(AssertionError):
    """Whatever happens from here on, it never ends."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection in the middle of a run, and no logging."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("an event loop is running: explore from plain code, not in a coroutine")
    collects, disabled = gc.isenabled(), logging.root.manager.disable
    gc.disable()
    logging.disable()
    try:
        yield
    finally:
        with quiet():
            gc.collect(1)
        logging.disable(disabled)
        if collects:
            gc.enable()


def explore(
    scenario: Scenario,
    *,
    mode: Mode = "events",
    prune: bool = True,
    max_schedules: int | None = None,
    max_depth: int = 10_000,
    max_seconds: float | None = None,
    repeat_every: int = 100,
    stock_every: int = 0,
    constants: tuple[type, ...] = (),
) -> Exploration:
    """Run a scenario in every way that it can go, until one fails.

    A scenario is an async function of `Events`. It is run from the start for each schedule, on a
    loop of its own with a clock that stands still; it must do the same again if the same happens.
    A run fails if the scenario or an invariant raises, if a task's exception is retrieved by
    nobody, if a callback of the loop raises, if nothing can happen any more but somebody waits, if
    no end can be reached any more, if anybody asks for real I/O, even who catches the refusal, and
    if anything is left over at the end: a task, an outside call, a timer that is not cancelled, a
    coroutine that nobody has awaited (but a task that was cancelled may drop one), or what was
    taken from one of `Events.pool` and not given back.

    What can happen, in mode "events": before each iteration of the loop any number of outside calls
    end and tasks are cancelled, in any order, each in one of its ways; then either the iteration
    runs, in CPython's order, or first the clock jumps to the next timer, never over one. In mode
    "ready" any callback that is ready may run next, and anything may happen between any two: this
    is more than CPython does, so it finds what depends on the loop's order.

    What is not explored:

    * A loop that is so late that timers with different times fire in one iteration. Time passes
      only when a timer fires: code takes none. A timer at infinity never fires.
    * Threads and signals.
    * Other orders of a set of tasks: only one is tried of those in which a ``TaskGroup`` cancels,
      and in which ``asyncio.wait``, ``asyncio.as_completed`` and ``asyncio.all_tasks`` go over
      tasks. The order of other objects in a set comes from their addresses, such as of coroutines
      in ``asyncio.as_completed``: it makes a scenario differ from run to run. The order of strings
      in a set comes from PYTHONHASHSEED: a schedule is to be replayed with the same one.
    * What comes after a run's bound: one that goes on without any choice or time, say by ``while
      True: await asyncio.sleep(0)``, or whose timers never end, is stopped by `max_depth`, which
      is a bound and no failure. So whoever waits for ever beside such timers is in no deadlock.
    * A coroutine that nobody has awaited, if it is in a reference cycle: no cycles are collected
      during a run.

    Args:
        scenario: What to run.
        mode: "events" or "ready", see above.
        prune: Do not explore twice what follows from one state, see ``_fingerprint``.
        max_schedules: After how many runs to stop.
        max_depth: After how many steps to cut a run short.
        max_seconds: After how long to stop.
        repeat_every: Run each so-manieth good schedule twice more, which must be the same; 0: none.
            One that was pruned is run to an end, which may show that it should not have been.
        stock_every: Run each so-manieth good schedule also on asyncio's own loop, which must do the
            same; 0: none. In mode "events" only.
        constants: Types whose objects never change, whatever they consist of.

    Returns:
        What was found, and how much was explored.

    Raises:
        FingerprintError: The state contains something that cannot be compared.
        RuntimeError: An event loop is running in this thread.
        TypeError: The scenario is no async function.
        ValueError: There is no such mode, the stock loop cannot follow it, or a number is out of
            range.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, not {mode!r}")
    if stock_every and mode != "events":
        raise ValueError("the stock loop has an order of its own: stock_every is for mode events")
    if max_schedules is not None:
        whole("max_schedules", max_schedules, 1)
    whole("repeat_every", repeat_every, 0)
    whole("stock_every", stock_every, 0)
    seconds("max_seconds", max_seconds)
    types("constants", constants)
    played = Played(scenario, mode, max_depth)
    fingerprints = Fingerprints(constants) if prune else None
    search = Search(fingerprints)
    result = Exploration(played.name, mode)
    start = time.monotonic()
    with undisturbed():
        more = True
        while more:
            run = Run(scenario, mode, search, max_depth)
            try:
                run.execute()
                search.ended()
            except PrunedError:
                result.pruned += 1
            except CutError:
                result.bound = "max_depth"
            except BrokenError as broken:
                result.failure = played.confirmed(search.path[: search.place], broken)
            result.schedules += 1
            result.depth = max(result.depth, run.steps)
            if repeat_every and result.schedules % repeat_every == 0 and result.failure is None:
                result.failure = played.repeated(search.path, fingerprints)
            if stock_every and result.schedules % stock_every == 0 and result.failure is None:
                result.failure = played.on_stock_loop(search.path)
            del run
            if result.schedules % COLLECT_EVERY == 0:
                with quiet():
                    gc.collect(0)
            more = search.advance() and result.failure is None
            if more and result.schedules == max_schedules:
                result.bound, more = "max_schedules", False
            if more and max_seconds is not None and time.monotonic() - start >= max_seconds:
                result.bound, more = "max_seconds", False
        if result.exhausted and (path := search.livelock()) is not None:
            error = LivelockError("from here on no end can be reached, whatever happens")
            result.failure = played.told(path, BrokenError("livelock", error), goes_on=False)
    result.choices = search.choices
    result.states = len(search.leads_to)
    result.seconds = time.monotonic() - start
    return result


def replay(scenario: Scenario, schedule: str, *, max_depth: int = 10_000) -> Exploration:
    """Run one schedule of a scenario again.

    Args:
        scenario: What to run.
        schedule: The `replay` of a `Failure`.
        max_depth: After how many steps to end the run.

    Returns:
        What came of it.

    Raises:
        TypeError: The scenario is no async function.
        ValueError: It is no schedule, or none of this scenario.
    """
    mode, choices = parse_schedule(schedule)
    played = Played(scenario, mode, max_depth)
    result = Exploration(played.name, mode, schedules=1, bound="replay")
    start = time.monotonic()
    with undisturbed():
        chooser = Replaying(choices)
        run, broken = played.run(chooser)
        if broken is not None:
            result.failure = played.failure(run, chooser.taken, broken)
    if run.steps == max_depth and broken is None:
        result.bound = "max_depth"
    if broken is None:
        chooser.assert_all_taken()
    result.choices = len(chooser.taken)
    result.depth = run.steps
    result.seconds = time.monotonic() - start
    return result


class Played:
    """A scenario, to be run as told."""

    def __init__(self, scenario: Scenario, mode: Mode, max_depth: int) -> None:
        of_events(scenario)
        whole("max_depth", max_depth, 1)
        self.scenario = scenario
        self.mode = mode
        self.max_depth = max_depth
        self.name: str = getattr(scenario, "__qualname__", repr(scenario))

    def run(self, chooser: Replaying) -> tuple[Run, BrokenError | None]:
        """Run it once, and how it failed."""
        run = Run(self.scenario, self.mode, chooser, self.max_depth)
        run.story = []
        try:
            run.execute()
        except BrokenError as broken:
            return run, broken
        except (CutError, PrunedError):
            pass
        return run, None

    def failure(self, run: Run, choices: list[int], broken: BrokenError) -> Failure:
        actions = [step for monitor in run.events._monitors for step in monitor.steps]
        text = schedule_text(self.mode, choices)
        story = run.story or []
        return Failure(broken.kind, broken.error, self.name, broken.about, story, actions, text)

    def told(self, choices: list[int], broken: BrokenError, *, goes_on: bool = True) -> Failure:
        """The failure, with the words of one more run."""
        run, _ = self.run(Replaying(choices, goes_on=goes_on))
        return self.failure(run, choices, broken)

    def confirmed(self, choices: list[int], broken: BrokenError) -> Failure:
        """The failure, if it is the same when it is repeated."""
        run, again = self.run(Replaying(choices))
        if broken.kind != "nondeterministic" and _gist(again) != _gist(broken):
            said = f"first {_gist(broken)}, then {_gist(again)}"
            broken = BrokenError("nondeterministic", NonDeterminismError(said))
        return self.failure(run, choices, broken)

    def repeated(self, choices: list[int], fingerprints: Fingerprints | None) -> Failure | None:
        """Run a schedule that did not fail twice: is there a difference?"""
        first, second = (Replaying(choices, fingerprints) for _ in range(2))
        (run, broken), (_, again) = self.run(first), self.run(second)
        if _gist(broken) == _gist(again) and first.trace == second.trace:
            return None if broken is None else self.failure(run, first.taken, broken)
        if fingerprints is not None and fingerprints.layouts:  # these may come from addresses
            fingerprints.layouts = False
            return self.repeated(choices, fingerprints)
        pairs = enumerate(zip(first.trace, second.trace, strict=False))
        place = next((place for place, (one, other) in pairs if one != other), -1)
        text = (
            f"two runs of one schedule differ at entry {place} of {len(first.trace)}: does the "
            "scenario use random numbers, the time, or identities (a dict keyed by id(), the order "
            "of a set of objects: asyncio.as_completed has one of coroutines)?"
        )
        if _gist(broken) == _gist(again) and _options(first.trace) == _options(second.trace):
            text += (
                " Only the states look different, not what could happen in them, nor the end: if "
                "the scenario has nothing of that kind, or it decides nothing, then the comparison "
                "of states is at fault. Pass prune=False to do without, or repeat_every=0 to go on"
            )
        error = NonDeterminismError(text)
        return self.failure(run, first.taken, BrokenError("nondeterministic", error))

    def on_stock_loop(self, choices: list[int]) -> Failure | None:
        """Compare a schedule that did not fail with asyncio's own loop."""
        text = schedule_text(self.mode, choices)
        try:
            compare_with_stock_loop(self.scenario, text, max_depth=self.max_depth)
        except StockLoopError as error:
            return self.told(choices, BrokenError("stock loop", error))
        return None


def _options(trace: list[object]) -> list[object]:
    """What there was to choose from, without the states."""
    return [entry for entry in trace if not isinstance(entry, bytes)]


def _gist(broken: BrokenError | None) -> str:
    """What has to be the same when a run is repeated."""
    if broken is None:
        return "good"
    said = shown(broken.error, str)
    return ADDRESS.sub("0x...", f"{broken.kind}: {type(broken.error).__name__}: {said}")
