"""Servers and workers for the pool's resources: they keep their own count of what they see."""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from nodetool.concurrency import AsyncResourcePool
from tests.resources.common import LONG, until
from tests.resources.proxy import HOST

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest, Response
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request as Handshake
    from websockets.http11 import Response as Refusal

T = TypeVar("T")

DAWDLE = 0.0, 0.0, 0.001, 0.003  # seconds that an answer may take


def needs(*modules: str) -> None:
    """Skip the test module that asks if one of these is not installed; with CI=true, fail."""
    if os.environ.get("CI") != "true":
        for module in modules:
            pytest.importorskip(module)


async def in_time() -> AsyncIterator[None]:
    """As a fixture: what hangs is cancelled in the end, again and again, so that a test fails."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def cancel() -> None:
        nonlocal timer
        timer = loop.call_later(1, cancel)
        for task in asyncio.all_tasks():
            task.cancel()

    timer = loop.call_later(2 * LONG, cancel)
    yield
    timer.cancel()


@dataclass
class Tally:
    """How the requests of a load ended."""

    answered: int = 0
    cancelled: int = 0
    failed: int = 0


async def load(
    pool: AsyncResourcePool[T],
    ask: Callable[[T, str], Awaitable[str]],
    *,
    seed: int,
    users: int = 30,
    requests: int = 5,
    cancel: float = 0.0,
    forgive: type[BaseException] | tuple[type[BaseException], ...] = (),
) -> Tally:
    """Let many users ask at once, each with tokens of its own, and compare every answer.

    Args:
        pool: Of what the users ask with.
        ask: Asks with a resource for a token, which is the answer.
        seed: Of who is cancelled when.
        users: How many tasks ask.
        requests: How often each of them does, one after the other.
        cancel: The share of the requests that are cancelled, at any moment, half of them in use.
        forgive: Errors that may end a request.

    Returns:
        How many requests ended how.
    """
    loop = asyncio.get_running_loop()
    tally = Tally()

    async def request(token: str, fate: float | None) -> None:
        async with pool.acquire_context() as resource:
            if fate is not None:
                task = asyncio.current_task()
                assert task is not None
                loop.call_later(fate, task.cancel)
            assert await ask(resource, token) == token

    async def user(name: int) -> None:
        dice = random.Random(seed * 1000 + name)
        for number in range(requests):
            doomed, early = dice.random() < cancel, dice.random() < 0.5
            fate = dice.choice(DAWDLE) if doomed and not early else None
            asking = asyncio.create_task(request(f"{name}.{number}", fate))
            if doomed and early:
                loop.call_later(dice.uniform(0, 0.02), asking.cancel)
            try:
                await asyncio.wait([asking])
            finally:
                asking.cancel()  # if this user is, because another has failed
            if asking.cancelled():
                tally.cancelled += 1
            elif isinstance(asking.exception(), forgive):
                tally.failed += 1
            else:
                asking.result()
                tally.answered += 1

    async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
        for name in range(users):
            group.create_task(user(name))
    return tally


class Answers:
    """Counts answers."""

    answered = 0

    async def more(self, number: int) -> None:
        """Wait for so many more of them."""
        enough = self.answered + number
        await until(lambda: self.answered >= enough)


class Peer(Answers):
    """What every server counts, and how it dawdles: it may hold an answer back until `release`."""

    port = 0  # any, and after a restart the same

    def __init__(self) -> None:
        self.limit = sys.maxsize  # of clients
        self.refused = 0  # clients beyond it
        self.peak = 0  # the most clients ever seen at once
        self.served = 0  # clients ever seen
        self.overlaps = 0  # requests that came before the client's last one was answered
        self.arrived = 0  # requests to hold back
        self.release = asyncio.Event()
        self._busy: Counter[object] = Counter()
        self._dice = random.Random(17)

    @asynccontextmanager
    async def _answering(self, client: object, do: str) -> AsyncIterator[None]:
        self._busy[client] += 1
        self.overlaps += self._busy[client] > 1
        try:
            if do == "hold":
                self.arrived += 1
                await self.release.wait()
            else:
                await asyncio.sleep(self._dice.choice(DAWDLE))
            yield
        finally:
            self._busy[client] -= 1
        self.answered += 1


class WebsocketServer(Peer):
    """Answers "echo TOKEN" with TOKEN, and sends news to who has subscribed."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: set[ServerConnection] = set()
        self.subscribed: set[ServerConnection] = set()

    async def __aenter__(self) -> WebsocketServer:
        from websockets.asyncio.server import serve

        self._server: Server = await serve(
            self._serve, HOST, self.port, process_request=self._admit, ping_interval=None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def restart(self) -> None:
        await self.__aexit__()
        await self.__aenter__()

    def abort(self) -> None:
        for client in self.clients:
            client.transport.abort()

    async def publish(self, news: str) -> None:
        for client in self.subscribed:
            await client.send(news)

    def _admit(self, client: ServerConnection, _: Handshake) -> Refusal | None:
        if len(self.clients) < self.limit:
            return None
        self.refused += 1
        return client.respond(503, "full")

    async def _serve(self, client: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        self.served += 1
        self.clients.add(client)
        self.peak = max(self.peak, len(self.clients))
        tasks = set()
        try:
            async for message in client:
                # In tasks, so that a second user of the connection would be seen.
                tasks.add(asyncio.create_task(self._reply(client, str(message))))
        except ConnectionClosed:
            pass
        finally:
            self.clients.discard(client)
            self.subscribed.discard(client)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reply(self, client: ServerConnection, message: str) -> None:
        do, _, token = message.partition(" ")
        if do == "subscribe":
            self.subscribed.add(client)
        elif do == "unsubscribe":
            self.subscribed.discard(client)
        async with self._answering(client, do):
            await client.send(token or do)


@cache
def _certificate() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the server, and for clients that trust it."""
    import trustme

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class HttpsServer(Peer):
    """Answers POST /echo/TOKEN with TOKEN, to who has logged in; knows its clients by a cookie."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[str, str] = {}  # as whom each session acts
        self.connection_peak = 0
        self._names = count(1)
        self._tls, self.trust = _certificate()

    async def __aenter__(self) -> HttpsServer:
        from aiohttp.web import Server

        self._web = Server(self._serve, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._web, HOST, self.port, ssl=self._tls, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._web.pre_shutdown()
        await self._web.shutdown(0.1)
        await self._server.wait_closed()

    async def restart(self) -> None:
        """The new server knows no session of the old one's."""
        await self.__aexit__()
        self.clients.clear()
        await self.__aenter__()

    @property
    def connections(self) -> int:
        return len(self._web.connections)

    def abort(self) -> None:
        for connection in self._web.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def _serve(self, request: BaseRequest) -> Response:
        from aiohttp.web import Response

        self.connection_peak = max(self.connection_peak, self.connections)
        do, _, token = request.path[1:].partition("/")
        if do == "login":
            return self._login()
        name = request.cookies.get("session", "")
        if name not in self.clients:
            return Response(status=401)
        if do == "logout":
            del self.clients[name]
        elif do == "as":
            self.clients[name] = token
        elif do == "whoami":
            token = self.clients[name]
        async with self._answering(name, do):
            return Response(text=token)

    def _login(self) -> Response:
        from aiohttp.web import Response

        if len(self.clients) >= self.limit:
            self.refused += 1
            return Response(status=503)
        name = f"s{next(self._names)}"
        self.served += 1
        self.clients[name] = "nobody"
        self.peak = max(self.peak, len(self.clients))
        response = Response()
        response.set_cookie("session", name)
        return response


WORKER = """
import json, sys, time

notes = {}
for line in sys.stdin:
    time.sleep(len(line) % 4 / 1000)
    do, *arguments = json.loads(line)
    if do == "note":
        notes.update([arguments])
    elif do == "forget":
        notes.clear()
    print(json.dumps(notes if do == "notes" else arguments), flush=True)
"""


class Worker:
    """A process that answers lines of JSON, in order."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def ask(self, do: str, *arguments: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([do, *arguments]).encode() + b"\n")
        await self.process.stdin.drain()
        if line := await self.process.stdout.readline():
            return json.loads(line)
        raise ConnectionResetError("the worker is dead")

    async def finish(self) -> None:
        """Ask it to end, and wait until it has."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()

    async def end(self) -> None:
        """Ask it to end, and kill it if this is given up."""
        try:
            await self.finish()
        finally:
            if self.process.returncode is None:
                self.process.kill()


class Counted(Answers):
    """Asks workers."""

    async def __call__(self, worker: Worker, token: str) -> str:
        (answer,) = await worker.ask("echo", token)
        self.answered += 1
        return str(answer)


class Workers:
    """Starts workers, and sees in /proc which processes there are, zombies included."""

    def __init__(self) -> None:
        self._others = set(_children())
        self.peak = 0
        self._started: list[Process] = []

    async def start(self) -> Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", WORKER, stdin=PIPE, stdout=PIPE
        )
        self._started.append(process)
        self.peak = max(self.peak, len(self.alive))
        return Worker(process)

    async def end(self) -> None:
        """Kill what is left."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @property
    def started(self) -> int:
        return len(self._started)

    @property
    def alive(self) -> dict[int, str]:
        """The state of each process by its number: R, S, T (stopped), Z (a zombie) ..."""
        return {pid: state for pid, state in _children().items() if pid not in self._others}


def _children() -> dict[int, str]:
    children = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat = (directory / "stat").read_text()
        except OSError:
            continue  # it has just ended
        state, parent = stat.rpartition(")")[2].split()[:2]  # the name before may contain anything
        if int(parent) == os.getpid():
            children[int(directory.name)] = state
    return children
