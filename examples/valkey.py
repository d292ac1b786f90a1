"""This example shows clients of Valkey or Redis, with one connection each.

Transactions that watch keys need a pool, because they keep a connection busy. Needs `redis`.

Output:
    8 tasks add 5 each, and watch the key: 40
    the server becomes a replica: 1 client closed
"""

import asyncio
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nodetool.concurrency import AsyncResourcePool, is_interruption
from servers import valkey

LOST = exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse
REPLICA = exceptions.ReadOnlyError, exceptions.MasterDownError  # the server became one


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this client."""
    return is_interruption(error) or isinstance(error, LOST + REPLICA)


async def add(transaction: Any) -> None:
    found = int(await transaction.get("sum") or 0)
    transaction.multi()
    transaction.set("sum", found + 5)


async def main(url: str) -> None:
    async with AsyncResourcePool(
        lambda: Redis.from_url(url, max_connections=1, retry=Retry(NoBackoff(), 0)),
        Redis.aclose,
        max_size=4,
        max_waiting=100,
        acquisition_timeout=5,
        creation_timeout=5,
        discard_on=is_fatal,
    ) as pool:

        async def use() -> None:
            async with pool.acquire_context() as client:
                await client.transaction(add, "sum")

        await asyncio.gather(*(use() for _ in range(8)))
        async with pool.acquire_context() as client:
            print(f"8 tasks add 5 each, and watch the key: {int(await client.get('sum'))}")
            await client.replicaof("127.0.0.1", "1")
        await asyncio.gather(use(), return_exceptions=True)
        print(f"the server becomes a replica: {pool.stats().interrupted} client closed")


with valkey.server() as url:
    asyncio.run(main(url))
