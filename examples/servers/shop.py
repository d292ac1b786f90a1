"""A web site with HTTPS: a shop that keeps a basket for each session."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from secrets import token_hex

import trustme
from aiohttp import web


class Shop:
    """A shop that allows three sessions at a time."""

    def __init__(self) -> None:
        self.baskets: dict[str, list[str]] = {}
        self.trusted = ssl.create_default_context()
        self.url = ""

    async def login(self, request: web.Request) -> web.Response:
        if (await request.post())["password"] != "secret" or len(self.baskets) == 3:
            raise web.HTTPForbidden
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

    async def serve(self, main: Callable[[Shop], Awaitable[None]]) -> None:
        """Serve while `main` runs."""
        authority = trustme.CA()
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(secure)
        authority.configure_trust(self.trusted)
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
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            await main(self)
        finally:
            await runner.cleanup()
