"""The pools of SQLAlchemy, of redis-py, and one for SQLite."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bench.contenders import LacksError, Pool, Wanted
from bench.pools import context, without_check, without_limits


class SqlalchemyPool:
    """`sqlalchemy.pool.AsyncAdaptedQueuePool`, called as its engine calls it: in greenlets."""

    name = "sqlalchemy"
    modules = ("greenlet", "sqlalchemy.util", "sqlalchemy.pool")

    @property
    def timeouts(self) -> tuple[type[BaseException], ...]:
        return (import_module("sqlalchemy.exc").TimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        util: Any = import_module("sqlalchemy.util")
        spawn, wait = util.greenlet_spawn, util.await_only
        if wanted.max_idle_time is not None:
            raise LacksError("nothing that prunes on demand")

        class Connection:
            __slots__ = ("__weakref__",)

            def rollback(self) -> None:
                return None

            def close(self) -> None:
                wait(wanted.close(self))

        def connect() -> Connection:
            wait(wanted.create())
            return Connection()

        class Dialect(import_module("sqlalchemy.pool.base")._AsyncConnDialect):  # type: ignore[misc]
            def _do_ping_w_event(self, connection: Connection) -> bool:
                assert wanted.check is not None
                wait(wanted.check(connection))
                return True

        pool = import_module("sqlalchemy.pool").AsyncAdaptedQueuePool(
            connect,
            pool_size=wanted.max_size,
            max_overflow=0,
            timeout=1e6 if wanted.timeout is None else wanted.timeout,
            recycle=0 if wanted.expired_by_use else -1,
            pre_ping=wanted.check is not None,
            dialect=Dialect(),
        )

        async def acquire() -> Any:
            return await spawn(pool.connect)

        async def release(connection: Any) -> None:
            await spawn(connection.close)

        async def close() -> None:
            await spawn(pool.dispose)

        return Pool(acquire, release, context(acquire, release), close)


class RedisPool:
    """`redis.asyncio.BlockingConnectionPool` with a connection class of ours."""

    name = "redis"
    modules = ("redis.asyncio",)

    @property
    def timeouts(self) -> tuple[type[BaseException], ...]:
        return (import_module("redis.exceptions").ConnectionError,)

    async def make(self, wanted: Wanted) -> Pool:
        without_limits(wanted)
        without_check(wanted)

        class Connection:
            def __init__(self, **_: Any) -> None:
                self.connected = False

            async def connect(self) -> None:
                if not self.connected:
                    await wanted.create()
                    self.connected = True

            async def disconnect(self, *_: Any, **__: Any) -> None:
                if self.connected:
                    await wanted.close(self)
                    self.connected = False

            async def can_read(self, *_: Any) -> bool:
                return False

            def should_reconnect(self) -> bool:
                return False

            async def re_auth(self) -> None:
                return None

        pool = import_module("redis.asyncio").BlockingConnectionPool(
            max_connections=wanted.max_size, timeout=wanted.timeout, connection_class=Connection
        )
        acquire, release = pool.get_connection, pool.release
        return Pool(acquire, release, context(acquire, release), pool.aclose)


class AiosqlitePool:
    """`aiosqlitepool.pool.Pool`, the pool inside its client."""

    name = "aiosqlitepool"
    modules = ("aiosqlitepool",)

    @property
    def timeouts(self) -> tuple[type[BaseException], ...]:
        return (import_module("aiosqlitepool.exceptions").PoolConnectionAcquireTimeoutError,)

    async def make(self, wanted: Wanted) -> Pool:
        if wanted.max_idle_time is not None:
            raise LacksError("nothing that prunes on demand")

        class Connection:
            __slots__ = ("__weakref__",)

            async def execute(self, *_: Any) -> None:
                if wanted.check is not None:
                    await wanted.check(self)

            async def rollback(self) -> None:
                return None

            async def close(self) -> None:
                await wanted.close(self)

        async def connect() -> Connection:
            await wanted.create()
            return Connection()

        pool = import_module("aiosqlitepool.pool").Pool(
            connect,
            pool_size=wanted.max_size,
            acquisition_timeout=wanted.timeout,
            idle_timeout=-1 if wanted.expired_by_use else 86_400,
        )
        return Pool(pool.acquire, pool.release, context(pool.acquire, pool.release), pool.close)
