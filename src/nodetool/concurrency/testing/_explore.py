"""Exploration: run the scenario again and again, with other choices, until no schedule is left."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from ._arguments import (
    require_scenario,
    require_seconds,
    require_types,
    require_whole_number,
)
from ._fingerprint import Fingerprints
from ._result import Exploration, Failure, parse_schedule, schedule_text
from ._run import (
    BrokenError,
    Chooser,
    CutError,
    LivelockError,
    Mode,
    Run,
    Scenario,
    errors_behind,
    suppress_warnings,
)
from ._search import (
    NonDeterminismError,
    PrunedError,
    ReplayChooser,
    Search,
    name_deviations,
)
from ._stock_loop import StockLoopError, compare_with_stock_loop
from ._story import show
from ._virtual import virtual_functions

__all__ = ["explore", "replay"]

COLLECT_EVERY = 100  # runs between two collections of garbage
FOLDER = str(Path(__file__).parent)
MOST_TRIES = 200  # runs that try to make a failing schedule smaller
ADDRESS = re.compile("0x[0-9a-fA-F]+")


@contextmanager
def control_process(scenario: Scenario) -> Iterator[None]:
    """Suspend what would disturb a run: garbage collection, logging, real clocks and luck."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("an event loop is running: explore from plain code, not in a coroutine")
    is_enabled, level = gc.isenabled(), logging.root.manager.disable
    gc.disable()
    logging.disable()
    try:
        with virtual_functions(scenario):
            yield
    finally:
        with suppress_warnings():
            gc.collect(1)
        logging.disable(level)
        if is_enabled:
            gc.enable()


def explore(
    scenario: Scenario,
    *,
    mode: Mode = "events",
    prune: bool = True,
    max_schedules: int | None = None,
    max_depth: int = 10_000,
    max_seconds: float | None = None,
    creep: float = 0.0,
    repeat_every: int = 100,
    stock_every: int = 0,
    constants: tuple[type, ...] = (),
) -> Exploration:
    """Run a scenario in every possible order, until a run fails.

    A scenario is an async function of `Events`. The explorer runs it from the start for each
    schedule, on a new loop with a virtual clock. If the same events happen, the scenario must do
    the same.

    A run fails in these cases:

    * The scenario or an invariant raises an exception, or a callback of the loop does.
    * Nobody retrieves the exception of a task.
    * Nothing can happen, but a task waits. Timers that repeat the same state for ever count as
      nothing. Or no end of the run can be reached.
    * The scenario calls a method for real I/O, even if it catches the `RealIOError`. Or it waits
      for a thread.
    * A monitor finds a wrong state or step.
    * The scenario leaves something behind: a task, an outside call, a live timer, a coroutine that
      nobody awaited, or something that a monitor reports. A task that was cancelled may drop a
      coroutine.

    In mode "events", events happen before each iteration of the loop: any number of outside calls
    end and tasks are cancelled, in any order. Each call ends in one of its ways. Then the iteration
    runs in CPython's order, or first the clock jumps to the next timer. The clock never jumps over
    a timer. In mode "ready" any callback that is ready may run next, and events may happen between
    any two callbacks. CPython does not do all of this. So mode "ready" finds code that depends on
    the order of the loop.

    The first run always takes the first option. There the loop runs as long as it can. Then the
    oldest call ends with its first result. If no call is open, the clock jumps. A run *deviates*
    when it takes another option. The explorer begins with runs that deviate at most twice. Then it
    takes a sample of all others at random, and then the rest. A failure of these last two parts is
    shrunk: deviations are removed as long as the run fails in the same way.

    Inside a run, these are virtual: the clocks of ``time`` (but not ``datetime``), the functions
    of ``random``, ``secrets``, ``os.urandom`` and ``uuid.uuid4``. Every run gets the same values.

    These things are not explored:

    * A late loop, on which timers with different times fire in one iteration. Time passes only when
      a timer fires; code takes no time. A timer at infinity never fires.
    * Threads and signals.
    * All orders of a set of tasks. The explorer tries one order in which a ``TaskGroup`` cancels,
      and one in which ``asyncio.wait``, ``asyncio.as_completed`` and ``asyncio.all_tasks`` iterate.
      The order of other objects in a set depends on their addresses: a scenario that iterates over
      such a set differs from run to run. ``asyncio.as_completed`` does so with coroutines. The
      order of strings in a set depends on PYTHONHASHSEED: replay a schedule with the same value.
    * The rest of a run after `max_depth` steps. This bound stops a run that never ends and never
      repeats a state, for example a timer that counts. The bound is no failure of its own, but
      `Exploration.raise_for_failure` does not accept it.
    * The time since the start, once ten timers have fired in a run. From then on, states are equal
      if all their times differ by the same amount.
    * A coroutine in a reference cycle that nobody awaited, because cycles are not collected during
      a run.

    Args:
        scenario: The scenario.
        mode: "events" or "ready", see above.
        prune: Whether to explore only one of several equal states, see ``_fingerprint``. States
            that cannot be compared count as different, and the result says why.
        max_schedules: The maximum number of runs.
        max_depth: The maximum number of steps of a run.
        max_seconds: The maximum duration.
        creep: How many seconds each reading of a clock of ``time`` takes, for code that reads the
            clock until time has passed. 0 means that the clock stands still during a callback.
        repeat_every: After every n-th run without a failure, repeat that run twice, and compare the
            repetitions. They continue to the end even if the run was pruned, which may show that
            pruning was wrong. 0 repeats no run.
        stock_every: After every n-th run without a failure, repeat that run on asyncio's own loop,
            and compare. 0 repeats no run. This needs mode "events".
        constants: Types whose objects never change.

    Returns:
        The result, with the failure if there was one.

    Raises:
        RuntimeError: An event loop is running in this thread.
        TypeError: The scenario is no async function.
        ValueError: The mode does not exist, the stock loop cannot follow it, or a number is out of
            range.

    Since version 0.1.0.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, not {mode!r}")
    if stock_every and mode != "events":
        raise ValueError("the stock loop has an order of its own: stock_every is for mode events")
    if max_schedules is not None:
        require_whole_number("max_schedules", max_schedules, 1)
    require_whole_number("repeat_every", repeat_every, 0)
    require_whole_number("stock_every", stock_every, 0)
    require_seconds("max_seconds", max_seconds)
    require_types("constants", constants)
    player = Player(scenario, mode, max_depth, creep, constants)
    fingerprints = player.fingerprints if prune else None
    search = Search(fingerprints)
    result = Exploration(player.name, mode)
    start = time.monotonic()
    with control_process(scenario):
        has_more = True
        while has_more:
            run = player.make_run(search)
            broken = _execute(run, search, result)
            result.schedules += 1
            result.depth = max(result.depth, run.steps)
            if broken is not None:
                result.failure, result.found = player.explain(search, broken)
            if repeat_every and result.schedules % repeat_every == 0 and result.failure is None:
                result.failure = player.repeat(search.path, fingerprints)
            if stock_every and result.schedules % stock_every == 0 and result.failure is None:
                result.failure = player.compare(search.path)
            with suppress_warnings():
                del run, broken
                if result.schedules % COLLECT_EVERY == 0:
                    gc.collect(0)
            has_more = search.advance() and result.failure is None
            if has_more and result.schedules == max_schedules:
                result.bound, has_more = "max_schedules", False
            if has_more and max_seconds is not None and time.monotonic() - start >= max_seconds:
                result.bound, has_more = "max_seconds", False
        if result.exhausted and (path := search.find_livelock()) is not None:
            error = LivelockError("no end can be reached from here")
            result.failure = player.fail(path, BrokenError("livelock", error), is_open=False)
    if fingerprints is not None:
        result.opaque = fingerprints.opaque
    result.choices = search.choices
    result.states = len(search.successors)
    result.seconds = time.monotonic() - start
    return result


def _execute(run: Run, search: Search, result: Exploration) -> BrokenError | None:
    """Run a schedule of the search. Return the error if it failed."""
    try:
        run.execute()
        search.end_run()
    except PrunedError:
        result.pruned += 1
    except CutError as cut:
        result.bound = "max_depth"
        result.waits = result.waits or str(cut)
    except BrokenError as broken:
        return broken
    return None


def replay(
    scenario: Scenario, schedule: str, *, max_depth: int = 10_000, creep: float = 0.0
) -> Exploration:
    """Run one schedule of a scenario again.

    Args:
        scenario: The scenario.
        schedule: The `replay` of a `Failure`.
        max_depth: The maximum number of steps.
        creep: How many seconds each reading of the clock takes, as in `explore`.

    Returns:
        The result of this one run.

    Raises:
        TypeError: The scenario is no async function.
        ValueError: The text is no schedule, or no schedule of this scenario.

    Since version 0.1.0.
    """
    mode, choices = parse_schedule(schedule)
    player = Player(scenario, mode, max_depth, creep, ())
    result = Exploration(player.name, mode, schedules=1, bound="replay")
    start = time.monotonic()
    with control_process(scenario):
        chooser = ReplayChooser(choices)
        run, broken = player.run(chooser)
        if broken is not None:
            result.failure = player.failure(run, chooser.indices, broken)
        elif run.steps == max_depth:
            result.bound = "max_depth"
        result.depth = run.steps
        with suppress_warnings():
            del run, broken
    if result.failure is None:
        chooser.assert_complete()
    result.choices = len(chooser.indices)
    result.seconds = time.monotonic() - start
    return result


class Player:
    """A runner of single schedules of one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        mode: Mode,
        max_depth: int,
        creep: float,
        constants: tuple[type, ...],
    ) -> None:
        require_scenario(scenario)
        require_whole_number("max_depth", max_depth, 1)
        require_seconds("creep", creep)
        self.creep = creep
        self.fingerprints = Fingerprints(constants)
        self.scenario = scenario
        self.mode = mode
        self.max_depth = max_depth
        self.name: str = getattr(scenario, "__qualname__", repr(scenario))

    def make_run(self, choose: Chooser) -> Run:
        """Make a run that asks the chooser."""
        return Run(self.scenario, self.mode, choose, self.max_depth, self.creep, self.fingerprints)

    def run(self, chooser: ReplayChooser) -> tuple[Run, BrokenError | None]:
        """Run the scenario once. Return the run, and the error if it failed."""
        run = self.make_run(chooser)
        run.story = []
        try:
            run.execute()
        except BrokenError as broken:
            return run, broken
        except (CutError, PrunedError):
            pass
        return run, None

    def failure(self, run: Run, choices: list[int], broken: BrokenError) -> Failure:
        """Make the failure of a run that has a story."""
        actions = [step for monitor in run.log.monitors for step in monitor.steps]
        text = schedule_text(self.mode, choices)
        steps = [step for step in run.story or () if step.words]
        story = [step.words for step in steps]
        trace = _take_trace(broken.error)
        marks = [place for place, step in enumerate(steps, 1) if step.deviates]
        return Failure(
            broken.kind, broken.error, self.name, broken.about, story, actions, text, marks, trace
        )

    def fail(self, choices: list[int], broken: BrokenError, *, is_open: bool = True) -> Failure:
        """Run a schedule once more for its story, and return the failure."""
        run, _ = self.run(ReplayChooser(choices, is_open=is_open))
        return self.failure(run, choices, broken)

    def explain(self, search: Search, broken: BrokenError) -> tuple[Failure, str]:
        """Return the failure of the search's run, perhaps shrunk, and how it was found."""
        choices, found = search.path, search.found()
        with suppress_warnings():
            if search.stage != "deviations":
                choices, broken = self.shrink(choices, broken)
                found += f", now {name_deviations(len(deviating(choices)))}"
            return self.confirm(choices, broken), found

    def confirm(self, choices: list[int], broken: BrokenError) -> Failure:
        """Repeat a run that failed. Return the failure, or another one if the runs differ."""
        run, again = self.run(ReplayChooser(choices))
        if broken.kind != "nondeterministic" and _summary(again) != _summary(broken):
            text = f"first {_summary(broken)}, then {_summary(again)}"
            broken = BrokenError("nondeterministic", NonDeterminismError(text))
        return self.failure(run, choices, broken)

    def shrink(self, choices: list[int], broken: BrokenError) -> tuple[list[int], BrokenError]:
        """Take deviations out of a schedule, many at first, while the run fails in the same way.

        Returns:
            The choices of the smallest schedule that was found, and its error.
        """
        tries = 0
        size = len(deviating(choices))
        while size:
            places = deviating(choices)
            for start in range(0, len(places), size):
                without = set(places[start : start + size])
                tries += 1
                smaller = self._fail_again(choices, without, broken)
                if smaller is not None:
                    choices, broken = smaller
                    break
            else:
                size //= 2
            size = min(size, len(deviating(choices))) if tries < MOST_TRIES else 0
        return choices, broken

    def _fail_again(
        self, choices: list[int], without: set[int], broken: BrokenError
    ) -> tuple[list[int], BrokenError] | None:
        """Run a schedule without some deviations. Return it if it fails in the same way."""
        wanted = [0 if place in without else choice for place, choice in enumerate(choices)]
        chooser = ReplayChooser(wanted)
        try:
            _, broken_too = self.run(chooser)
        except ValueError:  # a later choice does not exist any more
            return None
        if broken_too is None or _kind(broken_too) != _kind(broken):
            return None
        return chooser.indices, broken_too

    def repeat(self, choices: list[int], fingerprints: Fingerprints | None) -> Failure | None:
        """Repeat twice a run that did not fail. Return a failure if the repetitions differ."""
        first, second = (ReplayChooser(choices, fingerprints) for _ in range(2))
        (run, broken), (_, again) = self.run(first), self.run(second)
        if _summary(broken) == _summary(again) and first.trace == second.trace:
            return None if broken is None else self.failure(run, first.indices, broken)
        if (
            fingerprints is not None and fingerprints.layouts
        ):  # because layouts may depend on addresses
            fingerprints.layouts = False
            return self.repeat(choices, fingerprints)
        pairs = enumerate(zip(first.trace, second.trace, strict=False))
        place = next((place for place, (one, other) in pairs if one != other), -1)
        text = (
            f"two runs of one schedule differ at entry {place} of {len(first.trace)}: does the "
            "scenario use something that goes on from run to run (a generator of random numbers, "
            "a counter), the date of `datetime`, or the order of a set of objects "
            "(asyncio.as_completed has one of coroutines)? If a class does this on purpose, import "
            "its plug-in."
        )
        if _summary(broken) == _summary(again) and _options(first.trace) == _options(second.trace):
            text += (
                " Only the states look different: the options and the end are equal. If nothing "
                "of that kind decides anything, the comparison of states is wrong. Then pass "
                "prune=False to compare no states, or repeat_every=0 to compare no runs"
            )
        error = NonDeterminismError(text)
        return self.failure(run, first.indices, BrokenError("nondeterministic", error))

    def compare(self, choices: list[int]) -> Failure | None:
        """Compare a run that did not fail with asyncio's own loop."""
        text = schedule_text(self.mode, choices)
        try:
            compare_with_stock_loop(self.scenario, text, max_depth=self.max_depth, creep=self.creep)
        except StockLoopError as error:
            return self.fail(choices, BrokenError("stock loop", error))
        return None


def _options(trace: list[object]) -> list[object]:
    """Return the options of a trace, without the states."""
    return [entry for entry in trace if not isinstance(entry, bytes)]


def _take_trace(error: BaseException) -> str:
    """Return the traceback of an error as text, without the explorer's frames at its beginning.

    Drop the traceback itself. It would keep the whole run alive, which would warn at its end.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(FOLDER):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(error.with_traceback(trace)))
    for one in errors_behind(error):
        one.__traceback__ = None
    return text


def deviating(choices: list[int]) -> list[int]:
    """List the choices that did not take the first option."""
    return [place for place, choice in enumerate(choices) if choice]


def _kind(broken: BrokenError) -> tuple[str, type]:
    """Return what two failing runs of one bug have in common."""
    return broken.kind, type(broken.error)


def _summary(broken: BrokenError | None) -> str:
    """Describe the end of a run: it must be the same when the run is repeated."""
    if broken is None:
        return "good"
    text, _, _ = show(broken.error, str).partition("\n")  # the rest may depend on names in frames
    return ADDRESS.sub("0x...", f"{broken.kind}: {type(broken.error).__name__}: {text}")
