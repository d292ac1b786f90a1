"""The pools of two PostgreSQL clients."""

from __future__ import annotations

import asyncio
from functools import partial
from importlib import import_module
from typing import Any

from bench.contenders import LacksError, Pool, Wanted
from bench.pools import without_check


class IdleProtocol:
    """The part of a connection's protocol that psycopg_pool uses: is a transaction open?"""

    __slots__ = ("transaction_status",)

    def __init__(self, status: Any) -> None:
        self.transaction_status = status


class PsycopgPool:
    """`psycopg_pool.AsyncConnectionPool` with a connection class of ours."""

    name = "psycopg"
    modules = ("psycopg", "psycopg_pool")

    @property
    def timeouts(self) -> tuple[type[BaseException], ...]:
        return (import_module("psycopg_pool").PoolTimeout,)

    async def make(self, wanted: Wanted) -> Pool:
        idle = IdleProtocol(import_module("psycopg.pq").TransactionStatus.IDLE)

        class Connection:
            __slots__ = ("__weakref__", "_created_at", "_expire_at", "_pool")

            pgconn = idle

            @classmethod
            async def connect(cls, conninfo: str = "", **_: Any) -> Connection:
                await wanted.create()
                return cls()

            async def close(self) -> None:
                await wanted.close(self)

            async def __aenter__(self) -> Connection:
                return self

            async def __aexit__(self, *_: object) -> None:
                return None

        if wanted.max_idle_time is not None:
            raise LacksError("nothing that prunes on demand")
        pool = import_module("psycopg_pool").AsyncConnectionPool(
            connection_class=Connection,
            min_size=0,
            max_size=wanted.max_size,
            timeout=1e6 if wanted.timeout is None else wanted.timeout,
            max_lifetime=1e-9 if wanted.expired_by_use else 3600.0,
            check=wanted.check,
            open=False,
        )
        await pool.open()
        return Pool(
            pool.getconn,
            pool.putconn,
            pool.connection,
            pool.close,
            acquire_within=pool.getconn,
        )


class QuietProtocol:
    """The part of a connection's protocol that asyncpg uses."""

    queries_count = 1

    def _is_cancelling(self) -> bool:
        return False


class AsyncpgMethods:
    """The methods that asyncpg's pool calls, without a server. A mixin of its connection class."""

    __slots__ = ()

    def is_closed(self: Any) -> bool:
        return bool(self.ended)

    async def reset(self, *, timeout: float | None = None) -> None:
        return None

    async def close(self: Any, *, timeout: float | None = None) -> None:
        await self.closer(self)
        self.terminate()

    def terminate(self: Any) -> None:
        self.ended = True
        holder = self._pool_holder and self._pool_holder()
        self._pool_holder = None
        if holder is not None and holder._con is self:
            holder._release_on_close()

    def _on_release(self, stacklevel: int = 1) -> None:
        return None

    def __del__(self) -> None:
        return None


class AsyncpgPool:
    """`asyncpg.Pool` with its `connect` replaced."""

    name = "asyncpg"
    modules = ("asyncpg",)
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        without_check(wanted)
        asyncpg: Any = import_module("asyncpg")
        protocol = QuietProtocol()
        connection: Any = type("Stub", (AsyncpgMethods, asyncpg.Connection), {})

        async def connect(*_: Any, **__: Any) -> Any:
            await wanted.create()
            made = connection.__new__(connection)
            made.ended = False
            made.closer = wanted.close
            made._protocol = protocol
            made._proxy = made._pool_holder = None
            return made

        pool = asyncpg.create_pool(
            connect=connect,
            connection_class=connection,
            min_size=0,
            max_size=wanted.max_size,
            max_queries=1 if wanted.expired_by_use else 50_000,
            max_inactive_connection_lifetime=wanted.max_idle_time or 300.0,
        )
        await pool

        async def prune() -> None:
            for _ in iter(pool.get_size, 0):
                await asyncio.sleep(0)

        acquire = pool.acquire
        if wanted.timeout is not None:
            acquire = partial(pool.acquire, timeout=wanted.timeout)

        def acquire_within(timeout: float) -> Any:
            return pool.acquire(timeout=timeout)

        return Pool(acquire, pool.release, acquire, pool.close, prune, acquire_within)
