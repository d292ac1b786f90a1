"""Sweeps: each scenario with each action, at each point, compared with the references."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from tests.inside import gate_is_closed
from tests.virtual_time import VirtualTimeLoop, turns

from .actions import ACTIONS, SIGNAL, Action
from .injector import COUNT, NOWHERE, Injector, Kind, Point
from .scenarios import SCENARIOS, Scenario
from .world import LONG, Outcome, Recorder, World

LOGGER = logging.getLogger("nodetool.concurrency.pool")

SOURCES = {"bytecode": "", "event": "listener, ", "record": "logging handler, "}

COLLECT_EVERY = 200  # runs between collections of what the runs leave


class Wrong(NamedTuple):
    """A point whose outcome equals neither reference."""

    point: Point
    place: str
    differences: str

    def __str__(self) -> str:
        return f"{self.point.kind} {self.point.number}, {self.place}:\n{self.differences}"


class Row(NamedTuple):
    """The result of one scenario with one action."""

    scenario: str
    action: str
    points: int
    both: int  # outcomes equal to both references
    before: int  # equal to the outcome of the action just before the call, only
    after: int  # equal to the outcome of the action just after the call, only
    between: int  # equal to the outcome of the action between two steps of the call
    later: int  # equal to the outcome of the action after a later call, if the action may suspend
    wrong: tuple[Wrong, ...]


class Laboratory:
    """One loop and one logging handler for many runs."""

    def __init__(self) -> None:
        self._loop = VirtualTimeLoop()
        self._recorder = Recorder()
        self._unraisable: list[str] = []
        self._runs = 0

    @contextmanager
    def opened(self) -> Iterator[Laboratory]:
        """Take over the collector, the trace function, the signal and the logger."""
        tracer, hook, level = sys.gettrace(), sys.unraisablehook, LOGGER.level
        collects, propagates = gc.isenabled(), LOGGER.propagate
        sys.settrace(None)
        sys.unraisablehook = self._note_unraisable
        SIGNAL.install()
        LOGGER.setLevel(logging.DEBUG)
        LOGGER.propagate = False
        gc.collect()
        gc.disable()
        gc.freeze()
        asyncio.set_event_loop(self._loop)
        try:
            yield self
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
            gc.unfreeze()
            if collects:
                gc.enable()
            LOGGER.setLevel(level)
            LOGGER.propagate = propagates
            SIGNAL.remove()
            sys.unraisablehook = hook
            sys.settrace(tracer)

    def _note_unraisable(self, unraisable: Any) -> None:
        self._unraisable.append(f"unraisable: {unraisable.exc_value!r} in {unraisable.object!r}")

    def run(
        self, scenario: Scenario, action: Action, point: Point, listens: bool = False
    ) -> tuple[Outcome, Injector]:
        """Play a scenario with the action injected at one point."""
        self._runs += 1
        if self._runs % COLLECT_EVERY == 0:
            gc.collect()
        self._unraisable.clear()
        self._loop.now = 0.0  # later, the loop's clock would be less exact
        injector = Injector(point, lambda: action.fire(world), lambda: gate_is_closed(world.pool))
        world = World(self._loop, injector, listens)
        self._recorder.world = world
        # Other handlers, such as pytest's, would keep the records, and the records keep the pool.
        handlers, LOGGER.handlers = LOGGER.handlers, [self._recorder]
        try:
            outcome, faults = self._loop.run_until_complete(self._play(scenario, action, world))
        finally:
            LOGGER.handlers = handlers
            self._recorder.world = None
        faults = (*outcome.faults, *faults, *self._unraisable)
        self._loop.errors.clear()
        if faults:
            self._replace_loop()  # it may have timers of a pool that never ended
        return outcome._replace(faults=faults), injector

    def _replace_loop(self) -> None:
        self._loop.close()
        self._loop = VirtualTimeLoop()
        asyncio.set_event_loop(self._loop)

    async def _play(
        self, scenario: Scenario, action: Action, world: World
    ) -> tuple[Outcome, tuple[str, ...]]:
        injector = world.injector
        action.prepare(world)
        play = scenario.play(world)
        await anext(play)
        await action.ready(world)
        await turns(3)
        injector.start()
        try:
            await anext(play, None)
            await asyncio.sleep(LONG)
        finally:
            injector.stop()
        if not injector.fired:
            action.fire(world)
            await asyncio.sleep(LONG)
        outcome = world.outcome()
        faults = await world.end()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        # terminate() forgets the contexts that users hold, and their tasks wait for the users.
        forgotten = "p: context" if world.pool.stats().forgotten else ""
        for task in left:
            if task.get_name() != forgotten:
                faults.append(f"a task is left: {task.get_name()}")
            task.cancel()
        if left:
            await asyncio.wait(left)
        return outcome, tuple(faults)


def applies(scenario: Scenario, action: Action) -> bool:
    """Tell whether an action can be injected into a scenario."""
    if not scenario.detaches and "detach" in action.name:
        return False
    if scenario.fresh:
        return action.needs == "nothing"
    return scenario.full or action.needs != "a queue"


class References:
    """The outcomes of an action outside of the calls of a scenario, and between their steps."""

    def __init__(
        self, laboratory: Laboratory, scenario: Scenario, action: Action, kind: Kind
    ) -> None:
        self._run = partial(laboratory.run, scenario, action, listens=kind == "event")
        self._run(COUNT)  # fills caches, so that all runs are equal
        _, self.recorded = self._run(NOWHERE if kind == "bytecode" else COUNT)
        self._bytecodes = self.recorded if kind == "bytecode" else None
        self._suspends = action.suspends
        self._outcomes: dict[Point, Outcome] = {}

    def at(self, kind: Kind, number: int) -> Outcome:
        """Return the outcome at one point. Each is played once."""
        point = Point(kind, number)
        if point not in self._outcomes:
            outcome, injector = self._run(point)
            assert injector.fired, f"there is no {point}"
            self._outcomes[point] = outcome
        return self._outcomes[point]

    def between(self, activation: int) -> list[Outcome]:
        """List the outcomes between the steps of an activation.

        In each of them every call ends as it does with the action before or after the activation.
        """
        before, after = self.at("before", activation), self.at("after", activation)
        if self._bytecodes is None:
            _, self._bytecodes = self._run(NOWHERE)
        places = self._bytecodes.places
        openings = [n for n in self._bytecodes.openings if places[n].activation == activation]
        outcomes = [self.at("bytecode", number) for number in openings]
        known = {*before.results, *after.results}
        return [outcome for outcome in outcomes if known.issuperset(outcome.results)]

    def later(self, activation: int) -> Iterator[Outcome]:
        """Yield the outcomes of the action after the later activations."""
        for number in range(activation + 1, self.recorded.activations):
            yield self.at("after", number)

    def classify(self, outcome: Outcome, activation: int) -> str:
        """Say which references an outcome equals."""
        if outcome.faults:
            return "wrong"
        before = outcome == self.at("before", activation)
        after = outcome == self.at("after", activation)
        if before or after:
            return "both" if before and after else "before" if before else "after"
        if outcome in self.between(activation):
            return "between"
        return "later" if self._suspends and outcome in self.later(activation) else "wrong"


def sweep(
    laboratory: Laboratory,
    scenario: Scenario,
    action: Action,
    kind: Kind = "bytecode",
    known: set[int] | None = None,
    every: int = 1,
) -> Row:
    """Inject the action at each point of one kind, and compare each outcome with its references.

    If there is a set of known stacks, skip the bytecodes whose stack is in it, and add the others.
    Take only one of `every` so many points.
    """
    listens = kind == "event"
    references = References(laboratory, scenario, action, kind)
    gc.collect()
    gc.freeze()  # what is alive by now would slow down every collection
    recorded = references.recorded
    activations = {
        "bytecode": [place.activation for place in recorded.places],
        "event": recorded.events,
        "record": recorded.records,
    }[kind]
    counts: Counter[str] = Counter()
    wrong: list[Wrong] = []
    points = 0
    for number, activation in enumerate(activations):
        if number % every:
            continue
        if known is not None:
            stack = recorded.places[number].stack
            if stack in known:
                continue
            known.add(stack)
        point = Point(kind, number)
        outcome, injector = laboratory.run(scenario, action, point, listens)
        if not injector.fired:
            assert scenario.varies, f"{scenario}: {point} was never reached"
            continue
        points += 1
        found = references.classify(outcome, activation)
        counts[found] += 1
        if found == "wrong":
            place = str(recorded.places[number]) if kind == "bytecode" else "in its call"
            before, after = references.at("before", activation), references.at("after", activation)
            wrong.append(Wrong(point, place, describe(outcome, before, after)))
    return Row(
        scenario.name,
        SOURCES[kind] + action.name,
        points,
        counts["both"],
        counts["before"],
        counts["after"],
        counts["between"],
        counts["later"],
        tuple(wrong),
    )


def describe(outcome: Outcome, before: Outcome, after: Outcome) -> str:
    """Describe how an outcome differs from its references."""
    lines = [f"    fault: {fault}" for fault in outcome.faults]
    for name, other in (("before", before), ("after", after)):
        lines += [f"    {name}: {text}" for text in outcome.differences(other)]
    return "\n".join(lines)


COLUMNS = ("points", "both", "before", "after", "between", "later", "wrong")


def table(rows: Iterable[Row]) -> str:
    """Format rows as a table."""
    lines: list[tuple[str, ...]] = [("scenario", "injected action", *COLUMNS)]
    total = [0] * len(COLUMNS)
    for row in rows:
        numbers = (*row[2:8], len(row.wrong))
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        lines.append((row.scenario, row.action, *map(str, numbers)))
    lines.append(("total", "", *map(str, total)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: tuple[str, ...]) -> str:
        words = [
            f"{c:{w}}" if i < 2 else f"{c:>{w}}"
            for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(words)

    return "\n".join(map(line, lines))


def pairs() -> list[tuple[Scenario, Action]]:
    """List each scenario with each action that applies."""
    return [(s, a) for s in SCENARIOS.values() for a in ACTIONS if applies(s, a)]


def quick_pairs() -> list[tuple[Scenario, Action]]:
    """List one action for every scenario, so that all actions have their turn.

    Debug mode is left out. Its predicates have many bytecodes, and none of them changes the pool.
    """
    chosen: list[tuple[Scenario, Action]] = []
    for turn, scenario in enumerate(SCENARIOS.values()):
        actions = [action for action in ACTIONS if applies(scenario, action)]
        if scenario.name != "debug mode":
            chosen.append((scenario, actions[turn % len(actions)]))
    return chosen
