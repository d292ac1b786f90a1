"""A fingerprint sees every place for state in a program: pruning hides no failure."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import gc
import types
import weakref
from abc import ABC
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, explore

Step = Callable[[], int]


class TooMuchError(Exception):
    """The end of a count that only a fingerprint can see."""


def plain() -> None: ...


def counted(function: Callable[[], None]) -> Step:
    count = 0

    @functools.wraps(function)
    def wrapper() -> int:
        nonlocal count
        count += 1
        return count

    return wrapper


def attribute_of(owner: Any) -> Step:
    """Count in an attribute."""
    owner.count = 0

    def step() -> int:
        owner.count += 1
        count: int = owner.count
        return count

    return step


def moved(error: Any, name: str) -> Step:
    """Count in an attribute that the class already has."""
    setattr(error, name, 0)

    def step() -> int:
        setattr(error, name, getattr(error, name) + 1)
        count: int = getattr(error, name)
        return count

    return step


def local_enum() -> Step:
    class Local(Enum):
        ONE = 1

    return attribute_of(Local.ONE)


def static_method() -> Step:
    class Local:
        @staticmethod
        def method() -> None: ...

    return attribute_of(vars(Local)["method"])


def wrapped_by_itself() -> Step:
    def function() -> None: ...

    function.__qualname__ = "looped"
    return attribute_of(function)


def looped() -> None: ...


looped.__wrapped__ = looped  # type: ignore[attr-defined]


def named(name: str) -> Step:
    return attribute_of(type(name, (), {})())


def subclass_of(kind: type) -> Step:
    return attribute_of(type("Derived", (kind,), {})())


def future() -> Step:
    return attribute_of(asyncio.get_running_loop().create_future())


def future_of_a_subclass() -> Step:
    return attribute_of(type("Own", (asyncio.Future,), {})())


def own_globals() -> Step:
    names: dict[str, Any] = {"count": 0}
    exec("def step():\n global count\n count += 1\n return count", names)
    step: Step = names["step"]
    return step


def default_of_a_variable() -> Step:
    variable: contextvars.ContextVar[list[int]] = contextvars.ContextVar(
        "variable",
        default=[],  # noqa: B039
    )

    def step() -> int:
        variable.get().append(1)
        return len(variable.get())

    return step


def view_of(view: Callable[[dict[Any, Any]], Any]) -> Step:
    owner: dict[Any, Any] = {}
    shown = view(owner)
    referents = gc.get_referents

    def step() -> int:
        referents(shown)[0][len(shown)] = None
        return len(shown)

    return step


def weak_keys() -> Step:
    key = Plain()
    owner: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary({key: []})

    def step() -> int:
        owner[key].append(1)
        return len(owner[key])

    return step


class Plain:
    pass


def weak_callback() -> Step:
    owner: list[int] = []
    target = Plain()
    reference = weakref.ref(target, lambda _, calls=owner: calls.append(1))  # type: ignore[misc]
    del owner

    def step() -> int:
        callback: Any = reference.__callback__
        callback(target)
        return len(callback.__defaults__[0])

    return step


def registered() -> Step:
    class Local(ABC):  # noqa: B024
        pass

    kinds = [type("Kind", (), {}) for _ in range(3)]

    def step() -> int:
        count = sum(issubclass(kind, Local) for kind in kinds)
        Local.register(kinds[count % 3])
        return count + 1

    return step


def moment() -> Step:
    now = datetime(2000, 1, 1)

    def step() -> int:
        nonlocal now
        now += timedelta(1)
        return now.day - 1

    return step


def taken_in_turn(*values: Any) -> Step:
    """Pop an element of a set and add it again: the next ``pop`` returns another one."""
    elements = set(values)

    def step() -> int:
        value = elements.pop()
        elements.add(value)
        return int(value)

    return step


def iterated_while_it_grows() -> Step:
    owner = {1: 1}
    rest = iter(owner)
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        owner[-count] = 1
        return count + len(gc.get_referents(rest)) - 1

    return step


def error_of_two_files() -> Step:
    error = OSError(1, "a", "b")
    moves = [("b", None), (None, "b"), ("b", "b")]

    def step() -> int:
        now = moves.index((error.filename, error.filename2))
        error.filename, error.filename2 = moves[(now + 1) % 3]
        return now + 1

    return step


HIDDEN: dict[str, Callable[[], Step]] = {
    "a closure that says it is a function of a module": lambda: counted(plain),
    "a class made at run time": lambda: attribute_of(type("Kind", (), {})),
    "a class of named tuples": lambda: attribute_of(namedtuple("Kind", "left right")),
    "a made data class": lambda: attribute_of(dataclasses.make_dataclass("Kind", ["left"])),
    "a member of an enumeration": local_enum,
    "a static method": static_method,
    "a function under the name of another one": wrapped_by_itself,
    "a module made at run time": lambda: attribute_of(types.ModuleType("made")),
    "a partial function": lambda: attribute_of(functools.partial(plain)),
    "where text is no unicode": lambda: moved(UnicodeDecodeError("a", b"a", 0, 1, "a"), "start"),
    "how much was written": lambda: moved(BlockingIOError(1, "a", 0), "characters_written"),
    "which of two files": error_of_two_files,
    "an exception": lambda: attribute_of(OSError()),
    "a class named like one of C": lambda: named("_abc_data"),
    "another one": lambda: named("coroutine_wrapper"),
    "an ordered dictionary": lambda: attribute_of(OrderedDict()),
    "a set with attributes": lambda: subclass_of(set),
    "a future": future,
    "a future of a subclass": future_of_a_subclass,
    "globals that are no module's": own_globals,
    "the default of a context variable": default_of_a_variable,
    "keys": lambda: view_of(lambda owner: owner.keys()),
    "values": lambda: view_of(lambda owner: owner.values()),
    "items": lambda: view_of(lambda owner: owner.items()),
    "a proxy": lambda: view_of(types.MappingProxyType),
    "weak keys": weak_keys,
    "the callback of a weak reference": weak_callback,
    "what an abstract class has registered": registered,
    "a date and time": moment,
    "where a set looks next": lambda: taken_in_turn(1, 2, 3),
    "a dictionary that has grown": iterated_while_it_grows,
}


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("make", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_count_is_seen(make: Callable[[], Step], prune: bool) -> None:
    async def scenario(events: Events) -> None:
        step = make()
        while await events.call("more", results=("stop",)) is None:
            if step() == 3:
                raise TooMuchError

    result = explore(scenario, prune=prune, max_schedules=100)
    assert result.failure is not None
    assert isinstance(result.failure.error, TooMuchError), result


def numbered(number: int) -> int:
    return number


@dataclasses.dataclass(frozen=True)
class Key:
    number: int

    def __hash__(self) -> int:
        return self.number


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("make", [numbered, Key, lambda number: (number,), str])
@pytest.mark.parametrize("kind", [set, weakref.WeakSet])
def test_the_order_of_a_set_is_seen(kind: Any, make: Callable[[int], Any], prune: bool) -> None:
    if kind is weakref.WeakSet and make is not Key:
        return
    one = make(0)
    for other in map(make, range(1, 10_000)):  # the numbers that collide differ with the process
        if list({one, other}) != list({other, one}):
            break

    async def scenario(events: Events) -> None:
        elements = kind()

        async def add(value: Any) -> None:
            await events.call("work")
            elements.add(value)

        events.task(add(one))
        events.task(add(other))
        await events.join()
        await events.call("later", results=(1,))
        assert next(iter(elements)) == one

    result = explore(scenario, prune=prune)
    assert result.failure is not None
    assert result.failure.kind == "raised"


@pytest.mark.parametrize("prune", [True, False])
def test_the_order_of_a_set_of_tasks_is_seen(prune: bool) -> None:
    async def scenario(events: Events) -> None:
        tasks = set()
        made = [asyncio.ensure_future(asyncio.sleep(0)) for _ in range(9)]

        async def add(task: asyncio.Task[None]) -> None:
            await events.call("work")
            tasks.add(task)

        events.task(add(made[0]))
        events.task(add(made[8]))
        await events.join()
        await events.call("later", results=(1,))
        assert next(iter(tasks)) is made[0]

    result = explore(scenario, prune=prune)
    assert result.failure is not None
    assert result.failure.kind == "raised"


@pytest.mark.parametrize("prune", [True, False])
def test_elements_with_stable_hashes_keep_their_order_among_others(prune: bool) -> None:
    async def scenario(events: Events) -> None:
        elements: set[Any] = {Plain()}

        async def add(value: int) -> None:
            await events.call("work")
            elements.add(value)

        events.task(add(0))
        events.task(add(8))
        await events.join()
        await events.call("later", results=(1,))
        assert [one for one in elements if isinstance(one, int)] == [0, 8]

    result = explore(scenario, prune=prune)
    assert result.failure is not None
    assert result.failure.kind == "raised"
