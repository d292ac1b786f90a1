"""The registry of actions, and observers: when they are called, in which order, and with what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError
from tests import inside
from tests.inside import (
    STEPS,
    Observer,
    PoolMachine,
    Slot,
    action,
    actions,
    make,
    observed,
)

SPEC = Path(__file__).parents[2] / "spec"
ENVIRONMENT = ["GrowOld", "GrowStale", "TrustExpires"]  # time passes outside of the machine


# The registry.


def actions_of_next(text: str) -> list[str]:
    """Return the actions of the definition of `Next`, in their order."""
    (body,) = re.findall(r"^Next ==\n((?:    \\/ .*\n)+)", text, re.MULTILINE)
    return re.findall(r"^    \\/ (?:\\E [^:]+ : )?(\w+)(?:\([\w, ]+\))?$", body, re.MULTILINE)


def test_the_machine_has_one_step_for_each_action_of_the_specification_in_its_order() -> None:
    text = (SPEC / "AsyncResourcePool.tla").read_text(encoding="utf-8")
    next_actions = actions_of_next(text)
    assert len(next_actions) == 25
    assert next_actions == [*actions(PoolMachine).values(), *ENVIRONMENT]


def test_each_step_is_named_after_its_action() -> None:
    for method, name in STEPS.items():
        assert method == re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_every_public_method_of_the_machine_is_a_step_or_a_question() -> None:
    machine = inside.new_machine("m", 2, check_after_idle=1.0)
    public = {name for name in vars(PoolMachine) if not name.startswith("_")}
    public.discard("grow_old")  # an action of the environment, which the pool reports
    with_arguments = {"has_retired": (0,), "is_retired": (Slot(0),)}
    errors = {"closed_error": (), "invalid_release": (inside.SlotState.FREE,)}
    machine.open()
    before = machine.counts(), machine.statistics(), len(machine.outbox.work)
    for name in public - set(STEPS):
        question: Any = getattr(machine, name)
        if callable(question):
            question(*(with_arguments | errors).get(name, ()))
    assert (machine.counts(), machine.statistics(), len(machine.outbox.work)) == before


class Counter:
    """A small machine."""

    def __init__(self, start: int = 0) -> None:
        self.number = start

    @action("Raise")
    def increase(self, by: int) -> int:
        """Add a number of at least 0."""
        if by < 0:
            raise ValueError(by)
        self.number += by
        return self.number

    @action("Reset")
    def reset(self) -> None:
        self.number = 0

    def question(self) -> int:
        return self.number


class Doubling(Counter):
    """A small machine that replaces a step and has another one."""

    def increase(self, by: int) -> int:
        return super().increase(2 * by)

    @action("Halve")
    def halve(self) -> None:
        self.number //= 2


def test_a_subclass_keeps_the_steps_that_it_replaces_and_adds_its_own() -> None:
    assert actions(Counter) == {"increase": "Raise", "reset": "Reset"}
    assert actions(Doubling) == {"increase": "Raise", "reset": "Reset", "halve": "Halve"}


# Observers.


class Noting(Observer):
    """An observer that notes every call in a list that it shares with others."""

    def __init__(self, name: str, notes: list[tuple[Any, ...]]) -> None:
        self.name = name
        self.notes = notes

    def before(self, machine: Any, action: str, args: tuple[Any, ...]) -> Any:
        self.notes.append((self.name, "before", action, args, machine.number))
        return f"memory of {self.name}"

    def after(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Any, result: Any
    ) -> None:
        self.notes.append((self.name, "after", action, args, machine.number, memory, result))

    def refused(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Any, error: BaseException
    ) -> None:
        self.notes.append((self.name, "refused", action, args, machine.number, memory, error))


def watched_by(*names: str) -> tuple[Any, list[tuple[Any, ...]]]:
    notes: list[tuple[Any, ...]] = []
    return make(Counter, tuple(Noting(name, notes) for name in names), 5), notes


def test_observers_wrap_a_step_like_contexts_the_first_one_outermost() -> None:
    machine, notes = watched_by("A", "B")
    assert machine.increase(2) == 7
    assert notes == [
        ("A", "before", "Raise", (2,), 5),
        ("B", "before", "Raise", (2,), 5),
        ("B", "after", "Raise", (2,), 7, "memory of B", 7),
        ("A", "after", "Raise", (2,), 7, "memory of A", 7),
    ]


def test_a_refused_step_is_shown_to_each_observer_that_saw_its_beginning() -> None:
    machine, notes = watched_by("A", "B")
    with pytest.raises(ValueError, match="-1") as info:
        machine.increase(-1)
    assert [note[:3] for note in notes] == [
        ("A", "before", "Raise"),
        ("B", "before", "Raise"),
        ("B", "refused", "Raise"),
        ("A", "refused", "Raise"),
    ]
    assert [note[5:] for note in notes[2:]] == [
        ("memory of B", info.value),
        ("memory of A", info.value),
    ]
    assert machine.number == 5


def test_an_observer_can_prevent_a_step_and_the_inner_ones_never_hear_of_it() -> None:
    machine, notes = watched_by("A", "B", "C")

    class Preventing(Noting):
        def before(self, machine: Any, action: str, args: tuple[Any, ...]) -> Any:
            raise InvalidReleaseError("prevented")

    machine.observers = (machine.observers[0], Preventing("P", notes), machine.observers[1])
    with pytest.raises(InvalidReleaseError, match="prevented"):
        machine.increase(1)
    assert [note[:2] for note in notes] == [("A", "before"), ("A", "refused")]
    assert machine.number == 5


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, GeneratorExit])
def test_a_step_that_is_interrupted_counts_as_refused(interruption: type[BaseException]) -> None:
    class Interrupted(Counter):
        @action("Reset")
        def reset(self) -> None:
            raise interruption

    notes: list[tuple[Any, ...]] = []
    machine = make(Interrupted, (Noting("A", notes),))
    with pytest.raises(interruption):
        machine.reset()
    assert [note[1] for note in notes] == ["before", "refused"]


def test_questions_are_not_observed() -> None:
    machine, notes = watched_by("A")
    assert machine.question() == 5
    assert notes == []


def test_a_replaced_step_is_observed_once_under_its_action() -> None:
    notes: list[tuple[Any, ...]] = []
    machine = make(Doubling, (Noting("A", notes),), start=1)
    assert machine.increase(2) == 5
    machine.halve()
    assert [note[1:4] for note in notes] == [
        *(("before", "Raise", (2,)), ("after", "Raise", (2,))),
        *(("before", "Halve", ()), ("after", "Halve", ())),
    ]


def test_an_observed_step_keeps_its_name_and_its_documentation() -> None:
    for method in STEPS:
        step, bare = getattr(observed(PoolMachine), method), getattr(PoolMachine, method)
        assert (step.__name__, step.__doc__) == (method, bare.__doc__)
        assert step is not bare


def test_the_observed_class_is_made_once_and_has_the_name_of_the_machine() -> None:
    assert observed(Counter) is observed(Counter)
    assert observed(Counter).__name__ == "ObservedCounter"
    assert observed(Counter).__mro__[1] is Counter
    assert type(watched_by("A")[0]) is type(watched_by("B", "C")[0]) is observed(Counter)


def test_an_observed_class_without_observers_is_the_machine_itself() -> None:
    machine = observed(Counter)(3)
    assert machine.increase(4) == 7
    assert machine.observers == ()


def test_an_observer_need_not_do_anything() -> None:
    machine = make(Counter, (Observer(),))
    assert machine.increase(1) == 1
    with pytest.raises(ValueError, match="-1"):
        machine.increase(-1)


# Pools.


def test_without_observers_the_bare_class_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODETOOL_POOL_DEBUG", raising=False)
    assert type(make(Counter, ())) is Counter
    assert type(inside.machine_of(AsyncResourcePool(object))) is PoolMachine


def test_a_listener_watches_a_pool_through_an_observer() -> None:
    pool = AsyncResourcePool(object, listener=print)
    assert len(inside.observers_of(pool)) == 1
    assert isinstance(inside.machine_of(pool), PoolMachine)


class Actions(Observer):
    """An observer that notes the actions that were taken."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def after(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Any, result: Any
    ) -> None:
        self.taken.append(action)


async def test_the_steps_of_a_pool_are_observed_from_its_first_use_to_its_end() -> None:
    pool = AsyncResourcePool(object, max_size=1)
    watcher = Actions()
    inside.watch(pool, watcher)
    await pool.release(await pool.acquire())
    async with pool.acquire_context():
        pass
    await pool.close()
    assert watcher.taken == [
        *("Acquire", "CreateSucceeded", "Resume", "Release", "Acquire", "Release"),
        *("Close", "CloserEnded"),
    ]
    with pytest.raises(ValueError, match="was used already"):
        inside.watch(pool, watcher)


def test_two_watchers_of_a_pool_see_the_same_steps() -> None:
    pool = AsyncResourcePool(object, max_size=1)
    first, second = Actions(), Actions()
    inside.watch(pool, first)
    machine = inside.watch(pool, second)
    machine.open()
    assert first.taken == second.taken == ["Open"]
