"""Clients of a web site in a pool: each is logged in, and used by one task at a time.

Plain requests need no pool of clients: one client has connections for all tasks. A pool makes sense
if a client is something by itself: a session that was logged in, of which an account may have only
so many; a way out, such as a proxy; a server that allows one request at a time. Needs `httpx`; the
site of this example, with HTTPS, is made with `aiohttp` and `trustme`.

Output:
    10 tasks fill their baskets: no two mixed up, 3 sessions
    the site ends all sessions, and the next basket is filled in a new one: tea
    the site ends a session in use: 401, 1 client closed
    4 logins in all, 0 sessions are left
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

import httpx
import trustme
from aiohttp import web

from nodetool.concurrency import AsyncResourcePool, is_interruption

Pool = AsyncResourcePool[httpx.AsyncClient]


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this client."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.UNAUTHORIZED  # the session is over
    # TransportError: a lost connection, a protocol error, or a time-out, which is no TimeoutError.
    return is_interruption(error) or isinstance(error, httpx.TransportError)


def sessions(url: str, trusted: ssl.SSLContext) -> Pool:
    """A pool of logged-in clients, to be opened with ``async with``."""
    return AsyncResourcePool(
        lambda: login(url, trusted),
        logout,
        max_size=3,  # as many as the site allows an account
        max_creating=1,  # sites take many logins at once for an attack
        max_age=3600,  # less than the site allows
        max_idle_time=300,
        acquisition_timeout=30,
        creation_timeout=10,
        check=welcome,
        check_after_idle=0.1,  # what was used just now is not asked; 30 s is a good value
        reset=empty,
        discard_on=is_fatal,
        name="sessions",
    )


async def login(url: str, trusted: ssl.SSLContext) -> httpx.AsyncClient:
    """A client that has a session; what fails or is cancelled on the way is closed."""
    client = httpx.AsyncClient(base_url=url, verify=trusted)  # one for all: slow to make
    try:
        (await client.post("/login", data={"user": "me", "password": "secret"})).raise_for_status()
    except BaseException:
        await client.aclose()
        raise
    return client


async def logout(client: httpx.AsyncClient) -> None:
    """Leave nothing behind; the client is closed whatever the site says."""
    try:
        await client.post("/logout")
    finally:
        await client.aclose()


async def welcome(client: httpx.AsyncClient) -> bool:
    """Whether the site still knows the session."""
    return (await client.get("/basket")).is_success


async def empty(client: httpx.AsyncClient) -> None:
    """What one user has put in is not for the next."""
    (await client.delete("/basket")).raise_for_status()


async def fill(pool: Pool, *items: str) -> list[str]:
    """Put something in, and see what is there."""
    async with pool.acquire_context() as client:
        for item in items:
            (await client.post("/basket", data={"item": item})).raise_for_status()
        return (await client.get("/basket")).text.split()


async def main() -> None:
    """Use it, and let things go wrong."""
    async with Site().running() as (url, trusted, site):
        async with sessions(url, trusted) as pool:
            wanted = [[f"tea{number}", f"milk{number}"] for number in range(10)]
            found = await asyncio.gather(*(fill(pool, *items) for items in wanted))
            mixed_up = "no two" if found == wanted else "some"
            print(f"10 tasks fill their baskets: {mixed_up} mixed up, {pool.stats().size} sessions")

            await asyncio.sleep(0.5)  # until all are empty, and longer than check_after_idle
            site.baskets.clear()
            basket = await fill(pool, "tea")
            print("the site ends all sessions,", end=" ")
            print(f"and the next basket is filled in a new one: {basket[0]}")

            await asyncio.sleep(0.05)  # until the basket is empty again
            try:
                async with pool.acquire_context() as client:
                    site.baskets.clear()
                    (await client.get("/basket")).raise_for_status()
            except httpx.HTTPStatusError as error:
                closed = f"{pool.stats().interrupted} client closed"
                print(f"the site ends a session in use: {error.response.status_code}, {closed}")
        print(f"{site.logins} logins in all, {len(site.baskets)} sessions are left")


# --------------------------------------------------------- only for this example: a site of its own


class Site:
    """A shop that keeps a basket for each session, and has few sessions for each user."""

    def __init__(self) -> None:
        self.baskets: dict[str, list[str]] = {}
        self.logins = 0

    async def login(self, request: web.Request) -> web.Response:
        if (await request.post())["password"] != "secret" or len(self.baskets) == 3:
            raise web.HTTPForbidden
        self.logins += 1
        self.baskets[session := token_hex()] = []
        response = web.Response()
        response.set_cookie("session", session, secure=True, httponly=True)
        return response

    def basket_of(self, request: web.Request) -> list[str]:
        try:
            return self.baskets[request.cookies["session"]]
        except KeyError:
            raise web.HTTPUnauthorized from None

    async def show(self, request: web.Request) -> web.Response:
        return web.Response(text=" ".join(self.basket_of(request)))

    async def add(self, request: web.Request) -> web.Response:
        self.basket_of(request).append(str((await request.post())["item"]))
        return web.Response()

    async def empty(self, request: web.Request) -> web.Response:
        self.basket_of(request).clear()
        return web.Response()

    async def logout(self, request: web.Request) -> web.Response:
        self.baskets.pop(request.cookies["session"], None)
        return web.Response()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[str, ssl.SSLContext, Site]]:
        """With a certificate of an authority that nobody else trusts."""
        authority = trustme.CA()
        secure, trusted = (
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
            ssl.create_default_context(),
        )
        authority.issue_cert("127.0.0.1").configure_cert(secure)
        authority.configure_trust(trusted)
        app = web.Application()
        app.router.add_post("/login", self.login)
        app.router.add_post("/logout", self.logout)
        app.router.add_get("/basket", self.show)
        app.router.add_post("/basket", self.add)
        app.router.add_delete("/basket", self.empty)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=secure).start()
            yield f"https://127.0.0.1:{runner.addresses[0][1]}", trusted, self
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
