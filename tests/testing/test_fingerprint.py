"""Fingerprints differ if and only if the future can differ."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import queue
import random
import re
import socket
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from datetime import timedelta
from enum import Enum
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, explore
from nodetool.concurrency.testing._fingerprint import Fingerprints
from nodetool.concurrency.testing._reducers import FingerprintError
from tests.virtual_time import run


class Colour(Enum):
    RED = 1


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("__weakref__", "left", "right")


class Number(int):
    pass


class Text(str):
    __slots__ = ()


class Ordered(OrderedDict[str, int]):
    pass


Pair = namedtuple("Pair", "left right")


def slotted(**attributes: Any) -> Slotted:
    value = Slotted()
    for name, attribute in attributes.items():
        setattr(value, name, attribute)
    return value


def closure(value: object, default: object = None) -> Callable[[], object]:
    def function(argument: object = default) -> object:
        return value, argument

    return function


def unset_cell() -> Callable[[], object]:
    value: object = None

    def function() -> object:
        return value  # noqa: F821

    del value
    return function


def with_cause(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


def local_class(value: int, base: type = object) -> type:
    class Local(base):  # type: ignore[misc]
        attribute = value

        @property
        def name(self) -> int:
            return value

        @classmethod
        def of(cls) -> None: ...

        @staticmethod
        def static() -> None: ...

    return Local


def advanced(iterator: Iterator[Any]) -> Iterator[Any]:
    next(iterator)
    return iterator


def numbers(stop: int) -> Iterator[int]:
    yield from range(stop)


def resolved(value: object) -> asyncio.Future[object]:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def cancelled(message: str) -> asyncio.Future[object]:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    future.cancel(message)
    return future


def shared() -> list[object]:
    one: list[object] = []
    return [one, one]


def cyclic() -> list[object]:
    one: list[object] = []
    one.append(one)
    return one


def context(**values: object) -> contextvars.Context:
    made = contextvars.Context()
    for name, value in values.items():
        made.run(contextvars.ContextVar[object](name).set, value)
    return made


def locked(lock: threading.Lock) -> threading.Lock:
    lock.acquire()
    return lock


def view(value: dict[str, int]) -> types.MappingProxyType[str, int]:
    return types.MappingProxyType(value)


def referring(value: object) -> object:
    kept.append(value)
    return weakref.ref(value)


kept: list[object] = []

# Makers of values. Two values of one maker have equal fingerprints, those of two makers do not.
DIFFERENT: list[Callable[[], object]] = [
    *(lambda: None, lambda: True, lambda: 1, lambda: 1.0, lambda: -1, lambda: -2, lambda: "1"),
    *(lambda: b"1", lambda: 1j, lambda: ..., lambda: Colour.RED, lambda: Colour, lambda: asyncio),
    *(lambda: Number(1), lambda: Number(2), lambda: Text("1"), lambda: bytearray(b"1")),
    *(list, tuple, dict, set, frozenset, deque, object, Plain, Slotted),
    *(lambda: [1], lambda: [[1]], lambda: [1, 1], lambda: (1,), lambda: Pair(1, 2)),
    *(lambda: [[], []], shared, cyclic, lambda: deque([1]), lambda: deque([1], 3)),
    *(lambda: {1: 2, 3: 4}, lambda: {3: 4, 1: 2}, lambda: defaultdict(int, {1: 2})),
    *(lambda: Ordered(a=1, b=2), lambda: Ordered(b=2, a=1), lambda: view({"a": 1})),
    *(lambda: {1, "b", (1,), (2,)}, lambda: {1, "b", (1,), (3,)}, lambda: {"b", 1}),
    *(lambda: Plain(a=1), lambda: Plain(b=1), lambda: Plain(a=1, b=1), lambda: slotted(left=1)),
    *(lambda: slotted(right=1), lambda: slotted(left=1, right=None)),
    *(lambda: closure(1), lambda: closure(2), lambda: closure(1, 2), unset_cell),
    *(lambda: len, lambda: [].append, lambda: [1].append, lambda: Plain().__repr__),
    *(lambda: closure, lambda: "".join, lambda: (1).__str__, lambda: (2).__str__),
    *(lambda: functools.partial(len, [1]), lambda: functools.partial(len, [2])),
    *(lambda: OSError("a"), lambda: OSError("b"), lambda: KeyError("a"), lambda: OSError(1, "a")),
    *(lambda: with_cause(OSError("a"), KeyError()), lambda: with_cause(OSError("a"), None)),
    *(lambda: local_class(1), lambda: local_class(2), lambda: [local_class(1, Plain)()]),
    *(lambda: iter([1]), lambda: advanced(iter([1])), lambda: iter((1,)), lambda: iter(range(3))),
    *(lambda: enumerate([1]), lambda: zip([1], [2], strict=False), lambda: map(str, [1])),
    *(lambda: numbers(1), lambda: numbers(2), lambda: advanced(numbers(2))),
    *(lambda: itertools.count(1), lambda: itertools.count(2), lambda: range(2)),
    *(lambda: timedelta(1), lambda: timedelta(2), lambda: types.SimpleNamespace(a=1)),
    *(lambda: referring(Plain(a=1)), lambda: referring(Plain(a=2)), lambda: weakref.ref(Plain())),
    *(lambda: weakref.WeakSet({Colour}), context, lambda: context(a=1), lambda: context(a=2)),
    *(lambda: resolved(1), lambda: resolved(2), lambda: cancelled("a"), lambda: cancelled("b")),
    *(threading.Lock, lambda: locked(threading.Lock()), threading.RLock),
    *(lambda: re.match("a", "ab"), lambda: re.match("ab", "ab"), lambda: re.match("a", "a")),
    *(lambda: random.Random(1), lambda: random.Random(2)),
    *(asyncio.Lock, asyncio.Event, asyncio.Queue, lambda: asyncio.Queue(1)),
    *(lambda: asyncio.Semaphore(1), lambda: asyncio.Semaphore(2), asyncio.TaskGroup),
]


def test_different_values_have_different_fingerprints_and_equal_ones_the_same() -> None:
    async def compare() -> None:
        fingerprints = Fingerprints()
        own = [asyncio.get_running_loop()]
        takes = [fingerprints.take([make()], own) for make in DIFFERENT]
        again = [fingerprints.take([make()], own) for make in DIFFERENT]
        assert takes == again
        places: dict[bytes, list[int]] = {}
        for place, take in enumerate(takes):
            places.setdefault(take, []).append(place)
        assert [same for same in places.values() if len(same) > 1] == []

    run(compare())


def test_equal_sets_have_equal_fingerprints_in_any_order_of_insertion() -> None:
    fingerprints = Fingerprints()
    one, other = Plain(a=1), Plain(a=2)
    sets = [{one, other, 5}, {5, other, one}]
    assert fingerprints.take([one, other, sets[0]], []) == fingerprints.take(
        [one, other, sets[1]], []
    )
    nested = [{frozenset({Plain(a=n), Plain(a=3)}) for n in order} for order in ((1, 2), (2, 1))]
    assert len({fingerprints.take([one], []) for one in nested}) <= 2
    assert len({fingerprints.take([{Plain(a=n) for n in o}], []) for o in ((1, 2), (2, 1))}) == 1


class Suspended:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def one_variable(first: bool) -> None:
    if first:
        one = "value"  # noqa: F841
    else:
        other = "value"  # noqa: F841
    del first
    await Suspended()


async def stack_value(value: object) -> None:
    values = iter([value])
    del value
    print(next(values), await Suspended())  # type: ignore[func-returns-value]


async def handled_error(value: object) -> None:
    try:
        raise OSError(value)
    except OSError:
        del value
        await Suspended()


async def numbers_from(value: int) -> AsyncIterator[int]:
    for number in range(value, 5):
        yield number


async def loop_over_generator(value: int) -> None:
    async for _ in numbers_from(value):
        await Suspended()


@pytest.mark.parametrize(
    ("function", "one", "other"),
    [
        (one_variable, True, False),
        (stack_value, "one", "other"),
        (handled_error, "one", "other"),
        (loop_over_generator, 1, 2),
    ],
)
def test_a_coroutine_is_its_variables_its_stack_and_its_current_exception(
    function: Any, one: object, other: object
) -> None:
    fingerprints = Fingerprints()
    takes = []
    for value in (one, one, other, other):
        coroutine = function(value)
        takes.append(fingerprints.take([coroutine], []))
        coroutine.send(None)
        takes.append(fingerprints.take([coroutine], []))
        takes.append(fingerprints.take([coroutine], []))
        coroutine.close()
        takes.append(fingerprints.take([coroutine], []))
    same, different = takes[:4], takes[8:12]
    assert takes[4:8] == same
    assert takes[12:] == different
    assert same[1] == same[2]
    assert same[1] not in (same[0], same[3], different[1])
    assert same[3] == different[3]


def test_an_opaque_object_is_an_error_that_says_where_it_is() -> None:
    fingerprints = Fingerprints()
    with pytest.raises(FingerprintError, match=r"state of a _queue.SimpleQueue, near .*Plain"):
        fingerprints.take([Plain(queue=queue.SimpleQueue())], [])
    with socket.socket() as real, pytest.raises(FingerprintError, match="socket"):
        fingerprints.take([real], [])


def test_a_constant_cannot_be_watched() -> None:
    async def scenario(events: Events) -> None:
        constants = (Plain, Colour, Colour.RED, closure, len, asyncio, deque.append, 1, "a", None)
        for constant in constants:
            with pytest.raises(TypeError, match=r"watch the object that changes.*vars"):
                events.watch([], constant)
        events.watch(vars(Plain), vars(closure), vars(Colour.RED), closure(1), Number(1), ())

    for prune in (True, False):
        assert explore(scenario, prune=prune).exhausted


def test_a_scenario_cannot_set_attributes_of_its_events() -> None:
    async def scenario(events: Any) -> None:
        with pytest.raises(AttributeError):
            events.log = []

    assert explore(scenario).exhausted


LOG: list[str] = []


async def note(events: Events, name: str) -> None:
    await events.call("work")
    LOG.append(name)


def test_a_global_is_part_of_the_state_if_it_is_watched() -> None:
    async def unwatched(events: Events) -> None:
        LOG.clear()
        for name in "ab":
            events.task(note(events, name), name=name)
        await events.join()
        await events.call("choice", result=1, results=(2,))
        assert LOG == ["a", "b"]

    async def watched(events: Events) -> None:
        events.watch(LOG)
        await unwatched(events)

    assert explore(watched).failure is not None
    assert explore(unwatched, prune=False).failure is not None
    assert explore(unwatched).exhausted, "so the advice to watch it can go"
    assert explore(unwatched, repeat_every=1).failure is not None
