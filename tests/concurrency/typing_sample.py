"""A sample of the public API for type checkers. Never run: test_typing.py has it checked.

In strict mode an ignored line that is not an error is one: so `wrong` must be wrong line by line.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import assert_type

from nodetool.concurrency import (
    AcquireContext,
    AsyncResourcePool,
    PoolStats,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
    Seconds,
)


class Connection:
    async def execute(self, query: str) -> int:
        return len(query)

    def close(self) -> None: ...

    async def ping(self) -> bool:
        return True

    async def aclose(self) -> None: ...


@asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    yield Connection()


async def connect() -> Connection:
    return Connection()


def future() -> Awaitable[Connection]:
    return asyncio.ensure_future(connect())


def needs_an_argument(url: str) -> Connection:
    return Connection()


def closes_a_string(resource: str) -> None: ...


# The resource's type is what the factory makes, sync or async.
from_function = AsyncResourcePool(Connection)
assert_type(from_function, AsyncResourcePool[Connection])
from_coroutine = AsyncResourcePool(connect, Connection.aclose)
assert_type(from_coroutine, AsyncResourcePool[Connection])
from_awaitable = AsyncResourcePool(future, Connection.close)
assert_type(from_awaitable, AsyncResourcePool[Connection])
explicit: AsyncResourcePool[Connection | None] = AsyncResourcePool(lambda: None)
from_context = AsyncResourcePool.from_context(connected, max_size=2, check=Connection.ping)
assert_type(from_context, AsyncResourcePool[Connection])
checked_context = AsyncResourcePool.from_context(connected, check=lambda c: c.execute("SELECT 1"))
assert_type(checked_context, AsyncResourcePool[Connection])

# An async factory and a lambda: the lambda's parameter is a connection.
from_lambdas = AsyncResourcePool(connect, lambda connection: connection.aclose())
assert_type(from_lambdas, AsyncResourcePool[Connection])
with_check = AsyncResourcePool(connect, check=lambda c: c.execute("SELECT 1"))
assert_type(with_check, AsyncResourcePool[Connection])
# Coroutines have a method `close`, too. So mypy needs one of these forms for a lambda that calls
# the `close` of a connection.
by_method = AsyncResourcePool(connect, Connection.close)
assert_type(by_method, AsyncResourcePool[Connection])
by_parameter = AsyncResourcePool[Connection](connect, lambda connection: connection.close())
assert_type(by_parameter, AsyncResourcePool[Connection])
by_annotation: AsyncResourcePool[Connection] = AsyncResourcePool(connect, lambda c: c.close())
assert_type(by_annotation, AsyncResourcePool[Connection])


class Tenants(AsyncResourcePool[Connection]):
    def tenants(self) -> list[str]:
        return []


def limit(seconds: Seconds) -> AcquireContext[Connection]:
    context = pool.acquire_context(seconds)
    context.discard()
    return context


pool = AsyncResourcePool(
    connect,
    Connection.aclose,
    max_size=5,
    min_size=1,
    max_age=timedelta(hours=1),
    max_age_jitter=60,
    max_idle_time=None,
    acquisition_timeout=5,
    creation_timeout=2.5,
    check_timeout=1,
    reset_timeout=None,
    closer_timeout=None,
    max_waiting=None,
    max_creating=2,
    check=Connection.ping,
    check_after_idle=timedelta(seconds=1),
    reset=lambda connection: connection.close(),
    reuse="fifo",
    discard_on=(OSError, asyncio.CancelledError),
    name="db",
)


async def good() -> None:
    assert_type(await pool.acquire(), Connection)
    assert_type(await pool.acquire(timeout=1), Connection)
    assert_type(await pool.acquire(timedelta(seconds=1)), Connection)
    async with pool.acquire_context(timeout=0.5) as connection:
        assert_type(connection, Connection)
    async with pool as entered:
        assert_type(entered, AsyncResourcePool[Connection])
    async with AsyncResourcePool(connect, Connection.aclose) as inner:
        assert_type(inner, AsyncResourcePool[Connection])
    async with Tenants(connect) as tenants:
        assert_type(tenants, Tenants)
    task = asyncio.create_task(pool.acquire())
    assert_type(task, "asyncio.Task[Connection]")
    assert_type(await pool.release(connection), None)
    assert_type(await pool.prune(), int)
    assert_type(pool.stats(), PoolStats)
    assert_type(pool.stats().idle, int)
    assert_type(pool.stats().waited_seconds, float)
    assert_type(pool.size, int)
    assert_type(pool.closed, bool)
    pool.stats()._replace(size=1)
    await pool.discard(connection)
    await pool.detach(connection)
    pool.release_nowait(connection)
    pool.discard_nowait(connection)
    await pool.open()
    await pool.open(wait=True, timeout=timedelta(seconds=1))
    await pool.resize(3, 2, wait=True)
    await pool.retire_all(wait=True)
    await pool.close(timeout=None)
    pool.terminate()


def is_both(error: ResourcePoolTimeoutError) -> tuple[TimeoutError, ResourcePoolError]:
    return error, error


def is_busy(error: ResourcePoolExhaustedError) -> ResourcePoolTimeoutError:
    return error


async def wrong() -> None:
    AsyncResourcePool(needs_an_argument)  # type: ignore[arg-type]
    AsyncResourcePool(Connection())  # type: ignore[call-overload]
    AsyncResourcePool(connect, closes_a_string)  # type: ignore[misc]
    AsyncResourcePool(connect, check=closes_a_string)  # type: ignore[misc]
    AsyncResourcePool(connect, max_size="5")  # type: ignore[call-overload]
    AsyncResourcePool(connect, max_age="1h")  # type: ignore[call-overload]
    AsyncResourcePool(connect, discard_on=[OSError])  # type: ignore[call-overload]
    AsyncResourcePool(connect, Connection.aclose, 5)  # type: ignore[call-overload]
    AsyncResourcePool(connect, maximum=5)  # type: ignore[call-overload]
    AsyncResourcePool(connect, reuse="filo")  # type: ignore[call-overload]
    AsyncResourcePool(connect, check_timeout="1")  # type: ignore[call-overload]
    AsyncResourcePool.from_context(connected, maximum=5)  # type: ignore[call-arg]
    AsyncResourcePool.from_context(connected, closer=print)  # type: ignore[call-arg]
    AsyncResourcePool.from_context(connected, max_size="5")  # type: ignore[arg-type]
    AsyncResourcePool.from_context(connect)  # type: ignore[arg-type]
    AsyncResourcePool.from_context(connected, check=closes_a_string)  # type: ignore[misc]
    await pool.open(timeout="1")  # type: ignore[arg-type]
    await pool.resize("3")  # type: ignore[arg-type]
    await pool.resize(3, 2, True)  # type: ignore[call-arg]
    await pool.acquire("5")  # type: ignore[arg-type]
    await pool.release("a string")  # type: ignore[arg-type]
    await pool.discard(None)  # type: ignore[arg-type]
    await pool.detach(1)  # type: ignore[arg-type]
    pool.release_nowait("a string")  # type: ignore[arg-type]
    pool.discard_nowait(None)  # type: ignore[arg-type]
    pool.acquire()  # type: ignore[unused-coroutine]
    pool.release(Connection())  # type: ignore[unused-coroutine]
    with pool.acquire_context():  # type: ignore[attr-defined]
        pass
    with pool:  # type: ignore[attr-defined]
        pass
    pool.max_size = 3  # type: ignore[misc]
    pool.stats().size = 3  # type: ignore[misc]
    text: str = await pool.acquire()  # type: ignore[assignment]
    print(text)
