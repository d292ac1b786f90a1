"""This example shows how to change a password without an error and without a pause.

The server and the factory learn the new password. `retire_all` closes all old clients.

Output:
    a busy client has the password first, the next client has second
    the rotation waits for the busy client: True
    a client with the old password: AuthenticationError
"""

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nodetool.concurrency import INTERRUPTIONS, AsyncResourcePool
from servers import valkey

passwords = ["first"]  # the place where the service keeps its password


def connect(url: str, word: str) -> Redis:
    # The name shows the password of the client, for this example only.
    return Redis.from_url(url, username="app", password=word, client_name=word, max_connections=1)


async def rotate(pool: AsyncResourcePool[Redis], admin: Redis, password: str) -> None:
    await admin.acl_setuser("app", enabled=True, passwords=[f"+{password}"])
    passwords.append(password)
    await pool.retire_all(wait=True)  # so this task must not hold a client
    await admin.acl_setuser("app", enabled=True, passwords=[f"-{passwords[-2]}"])


async def main(url: str) -> None:
    admin = Redis.from_url(url)
    await admin.acl_setuser("app", enabled=True, passwords=["+first"], categories=["+@all"])
    async with admin, AsyncResourcePool(
        lambda: connect(url, passwords[-1]),
        Redis.aclose,
        max_size=4,
        max_age=3600,  # limits the use of a password that changed without `rotate`
        acquisition_timeout=5,
        creation_timeout=5,
        discard_on=(*INTERRUPTIONS, RedisError),
    ) as pool:  # fmt: skip
        async with pool.acquire_context() as busy:
            name = await busy.client_getname()
            rotation = asyncio.create_task(rotate(pool, admin, "second"))
            await asyncio.sleep(0.1)
            async with pool.acquire_context() as other:
                new = await other.client_getname()
            print(f"a busy client has the password {name}, the next client has {new}")
            print(f"the rotation waits for the busy client: {not rotation.done()}")
        await rotation
        [error] = await asyncio.gather(connect(url, "first").ping(), return_exceptions=True)
        print(f"a client with the old password: {type(error).__name__}")


with valkey.server() as url:
    asyncio.run(main(url))
