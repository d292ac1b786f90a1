"""Valkey from both sides: sessions with redis-py, and who looks at them on the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError

from bench.servers import HOST
from nodetool.concurrency import AsyncResourcePool
from tests.resources.common import LONG, together, within


class Session:
    """A connection of redis-py that does not mend itself, nor ends itself when it is interrupted.

    All that is for the pool to do; so nothing but the pool can save a user from the answer to a
    request of somebody else that was cancelled.
    """

    def __init__(self, port: int, name: str) -> None:
        self.id = 0  # on the server's side
        self.name = name
        self.connection: Any = Connection(
            host=HOST,
            port=port,
            client_name=name,
            protocol=2,
            decode_responses=True,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=LONG,
        )

    @classmethod
    async def connect(cls, port: int, name: str) -> Session:
        session = cls(port, name)
        try:
            await session.connection.connect()
            session.id = int(await session.ask("CLIENT", "ID"))
        except BaseException:
            await session.connection.disconnect(nowait=True)
            raise
        return session

    async def ask(self, *words: str) -> Any:
        if not self.connection.is_connected:
            raise LostError("lost before")  # redis-py would connect again
        await self.connection.send_command(*words)
        return await self.connection.read_response(disconnect_on_error=False)

    async def check(self, patience: float = LONG) -> bool:
        return bool(await within(patience, self.ask("PING")) == "PONG")

    async def reset(self) -> None:
        """As it was when it was new; an answer that nobody has read is found, too."""
        if await self.ask("RESET") != "RESET":
            raise ValueError("somebody has not read an answer")
        await self.ask("CLIENT", "SETNAME", self.name)

    async def close(self) -> None:
        """Returns when the server has closed it, so that it never sees more than the pool."""
        reader, writer = self.connection._reader, self.connection._writer
        try:
            with suppress(OSError):
                if reader and writer:
                    writer.write_eof()
                    await reader.read()
        finally:
            await self.connection.disconnect(nowait=True)


class Admin:
    """Who looks at the server, and at the clients of one name, from the server's own side."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.client: Any = Redis(host=HOST, port=port, decode_responses=True)

    async def sessions(self) -> dict[int, dict[str, str]]:
        listed: list[dict[str, str]] = await self.client.client_list()
        return {int(each["id"]): each for each in listed if each["name"] == self.name}

    async def count(self) -> int:
        return len(await self.sessions())

    async def blocked(self) -> int:
        return sum("b" in each["flags"] for each in (await self.sessions()).values())

    async def none_left(self) -> bool:
        return await self.count() == 0


Pool = AsyncResourcePool[Session]
Connect = Callable[[], Awaitable[Session]]


def pool_of(connect: Connect, **options: Any) -> Pool:
    return AsyncResourcePool(
        connect, Session.close, **{"max_size": 4, "check_after_idle": 0} | options
    )


async def all_at_once(pool: Pool, count: int) -> list[int]:
    """As many users, each with a session of its own; returns which sessions answered."""

    async def use(session: Session, number: int) -> int:
        assert await session.ask("ECHO", str(number)) == str(number)
        return session.id

    return await together(pool, count, use)
