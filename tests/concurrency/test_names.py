"""The names that users see: their modules, and one vocabulary for the pool's numbers."""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import pickle
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import nodetool.concurrency
from nodetool.concurrency import (
    AsyncResourcePool,
    PoolEvent,
    PoolGauges,
    PoolLease,
    PoolSettings,
    PoolStats,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
    is_interruption,
)
from tests.concurrency.world import World, played
from tests.virtual_time import turns

MODULES: list[ModuleType] = [
    importlib.import_module(f"nodetool.concurrency{name}")
    for name in (
        "",
        ".async_resource_pool",
        ".listener",
        ".testing",
        ".testing.plugins",
        ".timeline",
        ".verify.schedules",
    )
]
PUBLIC = [(module, name) for module in MODULES for name in vars(module)["__all__"]]
ERRORS = [
    error
    for error in vars(nodetool.concurrency).values()
    if inspect.isclass(error) and issubclass(error, ResourcePoolError)
]


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=str)
def test_what_is_public_names_no_private_module(module: ModuleType, name: str) -> None:
    subject = getattr(module, name)
    if inspect.isclass(subject) or inspect.isfunction(subject):
        assert "._" not in f"{subject.__module__}.{subject.__qualname__}"
        found = getattr(importlib.import_module(subject.__module__), subject.__qualname__)
        assert found is subject


@pytest.mark.parametrize("name", nodetool.concurrency.__all__)
def test_the_methods_of_what_is_public_name_no_private_module(name: str) -> None:
    subject = getattr(nodetool.concurrency, name)
    methods = vars(subject) if inspect.isclass(subject) else {}
    for method, value in methods.items():
        if inspect.isfunction(value) and not method.startswith("_"):
            assert "._" not in value.__module__


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_errors_can_be_pickled_and_copied(error: type[ResourcePoolError]) -> None:
    for made in (pickle.loads(pickle.dumps(error("a text"))), copy.copy(error("a text"))):
        assert type(made) is error
        assert str(made) == "a text"
    assert len(ERRORS) == 7
    assert error.__module__ == "nodetool.concurrency"


@pytest.mark.parametrize("record", [PoolStats, PoolLease, PoolSettings, PoolGauges, PoolEvent])
def test_the_annotations_of_records_are_found(record: type[Any]) -> None:
    assert [*get_type_hints(record)] == [*record._fields]


def test_records_can_be_pickled() -> None:
    stats = AsyncResourcePool(object).stats()
    assert pickle.loads(pickle.dumps(stats)) == stats


def test_the_names_of_the_original_module_are_there() -> None:
    module = importlib.import_module("nodetool.concurrency.async_resource_pool")
    names = {"AsyncResourcePool", "PoolStats", *(error.__name__ for error in ERRORS)}
    assert names <= {*vars(module)["__all__"]}
    for name in names:
        assert getattr(module, name) is getattr(nodetool.concurrency, name)


@pytest.mark.parametrize("name", nodetool.concurrency.__all__)
def test_every_public_name_is_listed_and_can_be_imported(name: str) -> None:
    assert name in dir(nodetool.concurrency)
    assert getattr(nodetool.concurrency, name) is not None


def test_seconds_are_a_type_at_run_time_too() -> None:
    from datetime import timedelta

    from nodetool.concurrency import Seconds

    assert isinstance(timedelta(1), Seconds)
    assert not isinstance("1", Seconds)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'nodetool\.concurrency' has no attribute 'Pool'"):
        _ = nodetool.concurrency.Pool


# One vocabulary.


@played
async def test_properties_and_gauges_have_the_numbers_of_the_statistics(world: World) -> None:
    pool = world.pool(max_size=4, min_size=1)
    held = await pool.acquire()
    await pool.release(await pool.acquire())
    stats, gauges = pool.stats(), pool.gauges()
    for name in ("size", "max_size", "min_size", "closed"):
        assert getattr(pool, name) == getattr(stats, name)
    assert pool.available_count == stats.idle == 1
    assert pool.in_use_count == stats.in_use == 1
    for name in PoolGauges._fields:
        assert getattr(gauges, name) == getattr(stats, name)
    await pool.release(held)


def test_the_states_of_opentelemetry_are_gauges() -> None:
    otel = pytest.importorskip("nodetool.concurrency.otel")
    assert {*otel.STATES.values()} <= {*PoolGauges._fields}
    own = {state: name for state, name in otel.STATES.items() if state != name}
    assert own == {"used": "in_use"}, "this name is that of the conventions"
    assert {*otel.REASONS.values()} <= {*PoolStats._fields}


# One error for a busy pool.


@played
async def test_one_clause_catches_all_errors_of_a_busy_pool(world: World) -> None:
    pool = world.pool(max_size=1, max_waiting=1, name="db")
    held = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await turns()
    with pytest.raises(ResourcePoolTimeoutError) as refused:
        await pool.acquire()
    waiter.cancel()
    await turns()
    with pytest.raises(ResourcePoolTimeoutError) as late:
        await pool.acquire(timeout=0)
    assert type(refused.value) is ResourcePoolExhaustedError
    assert type(late.value) is ResourcePoolTimeoutError
    for error in (refused.value, late.value):
        assert isinstance(error, TimeoutError)
        assert not is_interruption(error)
    stats = pool.stats()
    assert (stats.rejected, stats.timeouts) == (1, 1)
    await pool.release(held)
