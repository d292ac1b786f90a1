"""Pools of anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib import import_module
from typing import Any

from bench.contenders import LacksError, Pool, Wanted
from bench.pools import timed, without_check


class ConnPool:
    """`connpool.AsyncConnectionPool`."""

    name = "connpool"
    modules = ("connpool",)

    @property
    def timeouts(self) -> tuple[type[BaseException], ...]:
        return (import_module("connpool").PoolTimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        connpool: Any = import_module("connpool")
        pool = connpool.AsyncConnectionPool.from_callables(
            wanted.create,
            close=wanted.close,
            validate=None if wanted.check is None else partial(_passes, wanted.check),
            config=connpool.PoolConfig(
                max_size=wanted.max_size,
                acquire_timeout=wanted.timeout,
                max_lifetime=1e-9 if wanted.expired_by_use else 1800.0,
                max_idle_time=wanted.max_idle_time or 600.0,
                validate_after_idle=0.0 if wanted.checks_every_use else 30.0,
            ),
        )
        # By default it does not wait for resources in use.
        close = partial(pool.close, timeout=60)
        return Pool(
            pool.acquire,
            pool.release,
            pool.connection,
            close,
            pool.run_maintenance,
            pool.acquire,
        )


async def _passes(check: Callable[[Any], Awaitable[Any]], connection: Any) -> bool:
    await check(connection)
    return True


class Strategy:
    """The strategy that asyncio-connection-pool calls."""

    def __init__(self, wanted: Wanted) -> None:
        self.make_connection = wanted.create
        self.close_connection = wanted.close

    def connection_is_closed(self, _: object) -> bool:
        return False


class SingleUse(Strategy):
    """A strategy whose connections are closed at their second use."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self.used: set[int] = set()

    def connection_is_closed(self, connection: object) -> bool:
        if id(connection) in self.used:
            self.used.discard(id(connection))
            return True
        self.used.add(id(connection))
        return False


class AsyncioConnectionPool:
    """`asyncio_connection_pool.ConnectionPool`, which has contexts only."""

    name = "asyncio-connection-pool"
    modules = ("asyncio_connection_pool",)
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        without_check(wanted)
        if wanted.max_idle_time is not None:
            raise LacksError("no limit of idleness")
        strategy = SingleUse(wanted) if wanted.expired_by_use else Strategy(wanted)
        pool = import_module("asyncio_connection_pool").ConnectionPool(
            strategy=strategy, max_size=wanted.max_size
        )

        async def acquire() -> AbstractAsyncContextManager[Any]:
            lease: AbstractAsyncContextManager[Any] = pool.get_connection()
            await lease.__aenter__()
            return lease

        async def release(lease: AbstractAsyncContextManager[Any]) -> None:
            await lease.__aexit__(None, None, None)

        return Pool(timed(acquire, wanted.timeout), release, pool.get_connection)


class Manager:
    """The manager that generic-connection-pool calls."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    async def create(self, _: str) -> Any:
        return await self.wanted.create()

    async def dispose(self, _: str, connection: Any) -> None:
        await self.wanted.close(connection)

    async def check_aliveness(self, endpoint: str, connection: Any) -> bool:
        return True

    async def on_acquire(self, endpoint: str, connection: Any) -> None:
        return None

    async def on_release(self, endpoint: str, connection: Any) -> None:
        return None

    async def on_connection_dead(self, endpoint: str, connection: Any) -> None:
        return None


class GenericConnectionPool:
    """`generic_connection_pool.asyncio.ConnectionPool`, with one endpoint."""

    name = "generic-connection-pool"
    modules = ("generic_connection_pool.asyncio",)
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        without_check(wanted)
        lifetime = 0.0 if wanted.expired_by_use else 3600.0
        pool = import_module("generic_connection_pool.asyncio").ConnectionPool(
            Manager(wanted),
            acquire_timeout=wanted.timeout,
            min_idle=0 if wanted.max_idle_time else wanted.max_size,
            max_size=wanted.max_size,
            total_max_size=wanted.max_size,
            idle_timeout=min(lifetime, wanted.max_idle_time or 60.0),
            max_lifetime=lifetime,
            background_collector=wanted.max_idle_time is not None,
        )

        async def release(connection: Any) -> None:
            await pool.release(connection, "")

        async def prune() -> None:
            while True:
                if not await pool.get_endpoint_pool_size(""):
                    return
                await asyncio.sleep(0)

        return Pool(
            partial(pool.acquire, ""), release, partial(pool.connection, ""), pool.close, prune
        )
