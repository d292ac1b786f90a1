"""Subclasses, mocks and copies of a pool."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, NoReturn
from unittest import mock

import pytest

from nodetool.concurrency import AsyncResourcePool
from tests.virtual_time import run


class Overridden(AsyncResourcePool[object]):
    """A pool whose public methods must not be called by the pool itself."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("the pool called a public method of its own")

    acquire = release = discard = detach = open = close = _refuse
    release_nowait = discard_nowait = _refuse
    prune = resize = retire_all = terminate = stats = leases = gauges = _refuse


def test_no_method_of_the_pool_calls_another_public_method() -> None:
    async def scenario() -> None:
        closed: list[object] = []
        pool = Overridden(object, closed.append, max_size=1, discard_on=ValueError)
        async with pool as entered:
            assert entered is pool
            async with pool.acquire_context():
                assert pool.in_use_count == 1
            assert pool.available_count == 1
            with pytest.raises(ValueError, match="broken"):
                async with pool.acquire_context():
                    raise ValueError("broken")
            assert "0 in use" in repr(pool)
        assert (len(closed), pool.closed) == (1, True)

    run(scenario())


def test_leaving_by_an_exception_calls_no_public_method() -> None:
    async def scenario() -> None:
        pool = Overridden(object, exit_timeout=1)
        context = pool.acquire_context()

        async def fail() -> None:
            async with pool:
                await context.__aenter__()
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await fail()
        await context.__aexit__(None, None, None)
        assert pool.phase == "closed"

    run(scenario())


def test_a_subclass_may_add_methods_and_attributes() -> None:
    class Tenants(AsyncResourcePool[object]):
        """A pool that counts acquires."""

        count = 0

        async def acquire(self, timeout: Any = None) -> object:
            self.count += 1
            return await super().acquire(timeout)

    async def scenario() -> None:
        async with Tenants(object) as pool:
            await pool.release(await pool.acquire())
            async with pool.acquire_context():
                pass
            assert (pool.count, pool.stats().acquired) == (1, 2)

    run(scenario())


def test_a_method_of_one_pool_can_be_mocked() -> None:
    async def scenario() -> None:
        async with AsyncResourcePool(object) as pool, AsyncResourcePool(object) as other:
            with mock.patch.object(pool, "acquire", return_value="a double"):
                assert await pool.acquire() == "a double"
                async with other.acquire_context(), pool.acquire_context() as resource:
                    assert resource != "a double"
            real = await pool.acquire()
            assert real != "a double"
            await pool.release(real)

    run(scenario())


def test_a_whole_pool_can_be_mocked() -> None:
    async def scenario() -> None:
        double = mock.create_autospec(AsyncResourcePool, instance=True)
        double.acquire.return_value = "a double"
        assert await double.acquire(timeout=1) == "a double"
        await double.release("a double")
        double.release.assert_awaited_once_with("a double")
        with pytest.raises(TypeError):
            double.release_nowait()

    run(scenario())


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_pool_cannot_be_copied_or_pickled(make: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as caught:
        make(AsyncResourcePool(object, name="db"))
    assert str(caught.value) == (
        "pool 'db' cannot be copied or pickled: "
        "make a pool in each process, and pass what makes it, for example its factory"
    )
