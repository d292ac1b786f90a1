"""This example shows clients that are logged in to a web site.

Plain requests need no pool, because one client has connections for all tasks. A pool makes sense
for sessions, if an account may have only a few. Needs `httpx`, and `aiohttp` for its server.

Output:
    10 tasks have a basket of their own: True, 3 sessions
    the site ends all sessions: 1 client closed
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from nodetool.concurrency import AsyncResourcePool, is_interruption
from servers.shop import Shop


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this client."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.UNAUTHORIZED  # the session is over
    return is_interruption(error) or isinstance(error, httpx.TransportError)


@asynccontextmanager
async def login(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=shop.url, verify=shop.trusted) as client:
        (await client.post("/login", data={"user": "me", "password": "secret"})).raise_for_status()
        yield client
        await client.post("/logout")


async def main(shop: Shop) -> None:
    async with AsyncResourcePool.from_context(
        lambda: login(shop),
        max_size=3,  # as many as the site allows an account
        max_creating=1,  # because many logins at once look like an attack
        max_age=3600,  # less than the site allows
        acquisition_timeout=30,
        creation_timeout=10,
        reset=lambda client: client.delete("/basket"),
        discard_on=is_fatal,
    ) as pool:

        async def fill(item: str) -> bool:
            async with pool.acquire_context() as client:
                (await client.post("/basket", data={"item": item})).raise_for_status()
                return (await client.get("/basket")).text == item

        own = all(await asyncio.gather(*(fill(f"tea {number}") for number in range(10))))
        print(f"10 tasks have a basket of their own: {own}, {pool.stats().size} sessions")
        shop.baskets.clear()
        await asyncio.gather(fill("milk"), return_exceptions=True)
        print(f"the site ends all sessions: {pool.stats().interrupted} client closed")


asyncio.run(Shop().serve(main))
