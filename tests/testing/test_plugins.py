"""Monitors and plug-ins: checks and fingerprints for classes that the explorer does not know."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, Failure, _registry, explore
from nodetool.concurrency.testing.plugins import Plugin, Reducer, attributes_except, register


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a registry whose plug-ins are forgotten afterwards."""
    plugins = _registry.registry.plugins
    for name in ("plugins", "constants", "constant_bases"):
        value = getattr(_registry.registry, name)
        monkeypatch.setattr(_registry.registry, name, type(value)(value))
    assert _registry.registry.plugins is not plugins


class Counter:
    """An object with a monitor."""

    def __init__(self) -> None:
        self.value = 0
        self.loop = ""  # the name of the loop's class


class CounterMonitor:
    """A monitor whose answers are functions of the counter."""

    def __init__(self, subject: Counter, **answers: Callable[[Counter], Any]) -> None:
        self.subject = subject
        self.answers = answers

    def answer(self, name: str) -> Any:
        answer = self.answers.get(name)
        return None if answer is None else answer(self.subject)

    @property
    def steps(self) -> list[str]:
        return [f"Count{number}" for number in range(1, self.subject.value + 1)]

    def failure(self) -> Exception | None:
        error: Exception | None = self.answer("failure")
        return error

    def check_state(self) -> None:
        if self.answer("wrong"):
            raise AssertionError(f"{self.subject.value} is wrong")

    def leftovers(self) -> list[str]:
        return self.answer("leftovers") or []

    def snapshot(self) -> object:
        return self.answer("snapshot")


def failure_of(value: int, **answers: Callable[[Counter], Any]) -> Failure | None:
    """Count to a value under a monitor, and return the failure."""

    async def scenario(events: Events) -> None:
        counter = Counter()
        counter.loop = type(asyncio.get_running_loop()).__name__
        events.add_monitor(CounterMonitor(counter, **answers))
        for _ in range(value):
            await events.call("count", results=(None,))
            counter.value += 1

    return explore(scenario, stock_every=1).failure


def test_a_wrong_step_fails_the_run_and_the_steps_are_reported() -> None:
    found = failure_of(3, failure=lambda one: OSError("two") if one.value == 2 else None)
    assert found is not None
    assert (found.kind, str(found.error)) == ("specification", "two")
    assert found.actions == ["Count1", "Count2"]
    assert "monitored steps: Count1 Count2" in str(found)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_a_wrong_state_fails_the_run(value: int) -> None:
    found = failure_of(2, wrong=lambda counter: counter.value == value)
    assert found is not None
    assert (found.kind, str(found.error)) == ("guarantee", f"{value} is wrong")


def test_leftovers_fail_the_run() -> None:
    found = failure_of(1, leftovers=lambda one: [f"{one.value} of something", "another"])
    assert found is not None
    assert (found.kind, str(found.error)) == ("left over", "1 of something\nanother")


def test_a_snapshot_that_differs_on_the_stock_loop_fails_the_run() -> None:
    found = failure_of(1, snapshot=lambda counter: counter.loop)
    assert found is not None
    assert found.kind == "stock loop"


def test_a_monitor_without_complaints_lets_the_run_pass() -> None:
    assert failure_of(3, snapshot=lambda counter: counter.value) is None


COUNTERS: dict[str, Counter] = {}  # a global: only a monitor makes it part of the state


def test_the_subject_of_a_monitor_is_part_of_the_state() -> None:
    ends: set[int] = set()

    async def scenario(events: Events) -> None:
        COUNTERS["one"] = Counter()
        events.add_monitor(CounterMonitor(COUNTERS["one"]))
        for step in (0, 1):
            events.task(count(events, step))
        await events.join()
        await events.call("end", results=(None,))
        ends.add(COUNTERS["one"].value)

    async def count(events: Events, step: int) -> None:
        await events.call("count")
        COUNTERS["one"].value = 2 * COUNTERS["one"].value + step

    assert explore(scenario).exhausted
    assert ends == {1, 2}


class KeyedById:
    """A class whose equal objects differ from run to run."""

    def __init__(self) -> None:
        self.names = {f"at {id(self)}": "name"}


class KeyedByIdPlugin(Plugin):
    def reducer(self, kind: type) -> Reducer | None:
        if not issubclass(kind, KeyedById):
            return None
        others = attributes_except(kind, "names")
        return lambda value: [list(value.names.values()), *others(value)]


kept: list[object] = []


async def keyed(events: Events) -> None:
    one = KeyedById()
    kept.append(one)  # so that every run has another identity
    events.watch(one)
    events.task(events.call("work"))
    events.task(events.call("work"))
    await events.join()


def test_a_reducer_hides_differences_between_runs() -> None:
    found = explore(keyed, repeat_every=1).failure
    assert found is not None
    assert found.kind == "nondeterministic"
    assert "import its plug-in" in str(found.error)
    register(KeyedByIdPlugin())
    assert explore(keyed, repeat_every=1).exhausted


def test_a_reducer_sees_the_other_attributes() -> None:
    async def scenario(events: Events) -> None:
        one: Any = KeyedById()
        one.more = []
        events.watch(one)

        async def add(name: str) -> None:
            await events.call("work")
            one.more.append(name)

        events.task(add("a"))
        events.task(add("b"))
        await events.join()
        await events.call("end", results=(None,))
        assert one.more == ["a", "b"]

    register(KeyedByIdPlugin())
    assert explore(scenario).failure is not None


class QueuePlugin(Plugin):
    constants = (SimpleQueue,)


def test_a_type_of_constants_needs_no_fingerprint() -> None:
    queue: SimpleQueue[int] = SimpleQueue()

    async def scenario(events: Events) -> None:
        events.task(two_works(events))
        events.task(two_works(events))
        await events.join()
        await events.call("end")
        assert queue.empty()

    async def two_works(events: Events) -> None:
        await events.call("work")
        await events.call("work")

    unseen = explore(scenario)
    assert (unseen.exhausted, unseen.pruned) == (True, 0)
    assert "register a plug-in" in str(unseen)
    register(QueuePlugin())
    seen = explore(scenario)
    assert seen.exhausted
    assert seen.pruned
    assert seen.opaque == ""


class Base:
    """A class whose subclasses a function makes."""


class BasePlugin(Plugin):
    constant_bases = (Base,)


def test_the_subclasses_of_a_constant_base_are_constants() -> None:
    made = type("Made", (Base,), {})

    async def scenario(events: Events) -> None:
        events.watch(made)

    assert explore(scenario).exhausted
    register(BasePlugin())
    found = explore(scenario).failure
    assert found is not None
    assert "counts as a constant" in str(found.error)


NUMBERS = [itertools.count(1)]  # a global counter, in a list so that it can be replaced


class NumberPlugin(Plugin):
    """A plug-in that restarts a global counter, and records the order of events."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    @contextmanager
    def run_context(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        before, NUMBERS[0] = NUMBERS[0], itertools.count(1)
        assert not loop.is_closed()
        try:
            yield
        finally:
            self.log.append(f"closed {loop.is_closed()}")
            NUMBERS[0] = before


def test_a_run_context_encloses_each_run_and_leaves_before_tasks_are_dropped() -> None:
    log: list[str] = []
    seen: list[int] = []

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            log.append("dropped")

    async def scenario(events: Events) -> None:
        seen.append(next(NUMBERS[0]))
        events.task(waits())
        await events.call("work")
        raise OSError

    register(NumberPlugin(log))
    assert explore(scenario).failure is not None
    assert len(seen) > 1
    assert set(seen) == {1}
    assert log[:2] == ["closed True", "dropped"]
    assert next(NUMBERS[0]) == 1  # no run used the counter that is there outside of runs


def test_a_run_context_also_encloses_a_run_on_the_stock_loop() -> None:
    log: list[str] = []

    async def scenario(events: Events) -> None:
        assert next(NUMBERS[0]) == 1
        await events.call("work")

    register(NumberPlugin(log))
    result = explore(scenario, stock_every=1)
    assert result.exhausted, result
    assert log == 3 * ["closed True"]  # the exploration, and both runs of the comparison


def test_a_plugin_that_overrides_nothing_changes_nothing() -> None:
    before = explore(keyed, repeat_every=0).states
    register(Plugin())
    assert explore(keyed, repeat_every=0).states == before
