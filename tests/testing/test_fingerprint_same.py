"""Equal runs have equal fingerprints: a correct scenario is never called nondeterministic."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import gc
import random
import types
import weakref
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum, IntEnum, auto
from typing import Any, Generic, ParamSpec, TypeVar
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.testing import Events, explore
from nodetool.concurrency.testing._constants import has_stable_hash, is_constant
from nodetool.concurrency.testing._fingerprint import Fingerprints
from nodetool.concurrency.verify.schedules import watch_pool


def plain() -> None: ...


def wrapping(function: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(function)
    def wrapper() -> None:
        function()

    return wrapper


@wrapping
@wrapping
def decorated() -> None: ...


class Plain:
    @staticmethod
    def static() -> None: ...

    @classmethod
    def of(cls) -> None: ...


@dataclasses.dataclass(frozen=True)
class Pair:
    number: int
    other: object
    unused: object = dataclasses.field(default=None, compare=False)


class Derived(Pair):
    pass


def local_enum() -> object:
    class Local(Enum):
        ONE = auto()

    return Local.ONE


def local_number() -> object:
    class Local(IntEnum):
        ONE = 1

    return Local.ONE


def local_data_class() -> object:
    @dataclasses.dataclass
    class Local:
        value: int = 1

    return Local()


def made_tuple() -> object:
    Kind = namedtuple("Kind", "left right")
    return Kind(1, 2)


def local_objects() -> list[object]:
    class Local:
        pass

    return [Local(), Local()]


def local_generic() -> object:
    kind = TypeVar("kind")
    parameters = ParamSpec("parameters")

    class Local(Generic[kind, parameters]):
        value: list[kind]

    return Local(), list[kind]  # type: ignore[valid-type]


def descriptors() -> list[object]:
    class Local:
        __slots__ = ("one",)

    return [Local.one, len, Plain.__dict__["__dict__"]]  # type: ignore[attr-defined]


def compiled() -> Any:
    return eval("lambda: 1")


def token() -> object:
    return contextvars.ContextVar[int]("variable").set(1)


SAME: dict[str, Callable[[], object]] = {
    "a mock": Mock,
    "a mock of everything": MagicMock,
    "a mock of a coroutine": AsyncMock,
    "a local enumeration": local_enum,
    "a local enumeration of numbers": local_number,
    "a local data class": local_data_class,
    "objects of a local class": local_objects,
    "a local generic class": local_generic,
    "a made data class": lambda: dataclasses.make_dataclass("Kind", ["left"])(1),
    "a named tuple": made_tuple,
    "a wrapper of a function of a module": lambda: wrapping(plain),
    "a module": lambda: types.ModuleType("made"),
    "descriptors": descriptors,
    "compiled code": compiled,
    "no number": lambda: float("nan"),
    "objects in sets": lambda: [{Plain() for _ in range(9)}, weakref.WeakSet[Any]()],
    "a token": token,
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_two_runs_have_equal_fingerprints(make: Callable[[], object]) -> None:
    async def scenario(events: Events) -> None:
        value = make()

        async def user() -> None:
            await events.call("work")
            await events.call("work")
            assert value is not None

        events.task(user())
        events.task(user())
        await events.join()

    result = explore(scenario, repeat_every=1)
    assert result.exhausted, result
    assert result.pruned


async def with_generators(events: Events) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await events.call("work")
        yield 2
        await events.call("work")

    async def user(source: AsyncIterator[int]) -> None:
        async for _ in source:
            pass

    sources = [numbers(), numbers()]
    for source in sources:
        events.task(user(source))
    await events.join()


async def with_a_pool_in_debug_mode(events: Events) -> None:
    pool = AsyncResourcePool(object, max_size=1, acquisition_timeout=None, debug=True)
    watch_pool(events, pool)

    async def user() -> None:
        async with pool.acquire_context():
            await events.call("work")

    events.task(user(), cancellable=True)
    events.task(user(), cancellable=True)
    await events.join()
    await pool.close()


async def with_a_watched_set(events: Events) -> None:
    live: set[Plain] = set()
    events.watch(live)

    async def user() -> None:
        one = Plain()
        live.add(one)
        await events.call("work")
        await events.call("work")
        live.discard(one)

    events.task(user())
    events.task(user())
    await events.join()


@pytest.mark.untraced
@pytest.mark.parametrize(
    "scenario",
    [
        with_generators,
        pytest.param(with_a_pool_in_debug_mode, marks=pytest.mark.slow),
        with_a_watched_set,
    ],
)
def test_a_correct_scenario_is_not_called_nondeterministic(scenario: Any) -> None:
    result = explore(scenario, repeat_every=1)
    assert result.exhausted, result
    assert result.pruned


def test_an_object_that_each_run_makes_again_is_not_kept() -> None:
    fingerprints = Fingerprints()
    makers: list[Any] = [local_enum, local_data_class, compiled, Mock, lambda: wrapping(plain)]
    for make in makers:
        fingerprints.take([make()], [])
    count = len(fingerprints.kept)
    for make in makers:
        value: Any = make()
        fingerprints.take([value, [value]], [])
        gone = weakref.ref(value if isinstance(value, types.FunctionType) else type(value))
        del value
        gc.collect()
        assert gone() is None
    assert len(fingerprints.kept) == count


def test_a_definition_is_a_constant_if_its_module_has_it_under_its_name() -> None:
    def wrapped() -> None: ...

    decorations: list[object] = [decorated]
    while (inner := getattr(decorations[-1], "__wrapped__", None)) is not None:
        decorations.append(inner)
    assert len(decorations) == 3
    constants = [*decorations, plain, Plain, Plain.static, vars(Plain)["of"].__func__, Enum]
    assert all(map(is_constant, [*constants, asyncio, asyncio.Future, types.CoroutineType, len]))
    wrapped.__qualname__ = "plain.none"
    others = [wrapping(plain), wrapped, local_enum, types.ModuleType("made"), [].append]
    assert [one for one in others if is_constant(one)] == [local_enum]


@pytest.mark.parametrize(
    ("value", "is_stable"),
    [
        (1, True),
        ("a", True),
        (None, True),
        (Plain, True),
        (Plain(), False),
        ((1, "a"), True),
        ((1, Plain()), False),
        (frozenset({1}), True),
        (frozenset({Plain()}), False),
        (Pair(1, 2), True),
        (Pair(1, 2, Plain()), True),
        (Pair(1, Plain()), False),
        (Derived(1, Plain()), False),
        (weakref.ref(Plain), True),
        (plain, True),
        (wrapping(plain), False),
        ([].append, False),
        (Plain().__repr__, False),
        (Plain.of, True),
    ],
)
def test_hashes_that_are_no_addresses_are_stable(value: object, is_stable: bool) -> None:
    assert has_stable_hash(value) is is_stable


def test_layouts_count_only_while_all_sets_have_stable_hashes() -> None:
    def used() -> set[int]:
        elements = {1}
        elements.pop()
        return elements

    fingerprints = Fingerprints()
    assert fingerprints.take([set()], []) != fingerprints.take([used()], [])
    fingerprints.take([{Plain()}], [])
    assert fingerprints.take([set()], []) == fingerprints.take([used()], [])


TURNS: list[None] = []
LUCK = random.Random(0)  # made outside of a run, so it goes on from run to run


def test_a_report_says_whether_only_the_states_differ() -> None:
    async def by_state(events: Events) -> None:
        number = LUCK.random()
        events.task(events.call("work", result=number))
        events.task(events.call("work"))
        await events.join()

    failures: Iterator[Any] = (explore(by_state, repeat_every=1).failure for _ in range(2))
    assert all("Only the states look different" in str(one.error) for one in failures)

    async def by_options(events: Events) -> None:
        TURNS.append(None)
        for _ in range(1 + (len(TURNS) > 2 and len(TURNS) % 2)):
            await events.call("work", results=(1,))

    failure = explore(by_options, repeat_every=2).failure
    assert failure is not None
    assert failure.kind == "nondeterministic"
    assert "Only the states" not in str(failure.error)
