"""PostgreSQL from both sides: sessions with two drivers, and who looks at them on the server."""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, ClassVar

import asyncpg  # type: ignore[import-untyped]
import psycopg

from bench.servers import HOST
from nodetool.concurrency import AsyncResourcePool
from tests.resources.common import LONG, until, within

SESSIONS = """
    select pid from pg_stat_activity
    where application_name = $1 and backend_type = 'client backend'
"""


class Driver(ABC):
    """A client library of PostgreSQL, as factory, closer, check and reset.

    Args:
        port: Of the server, or of a proxy before it.
        application: What its sessions are called on the server's side.
    """

    errors: ClassVar[tuple[type[Exception], ...]]  # what a refused or lost session raises

    def __init__(self, port: int, application: str) -> None:
        self.port = port
        self.application = application
        self.user = "postgres"
        self.patience = LONG  # of a check

    @abstractmethod
    async def connect(self) -> Any: ...

    @abstractmethod
    async def close(self, connection: Any) -> None:
        """Returns when the server has ended the session: so it never sees more than the pool."""

    @abstractmethod
    async def fetch(self, connection: Any, query: str, *arguments: object) -> Any:
        """The only value of the query's only row; or None, if there is none."""

    @abstractmethod
    async def impatiently(self, seconds: float, connection: Any, query: str) -> Any:
        """The same, or a TimeoutError after so long, also if nothing comes back at all."""

    @abstractmethod
    async def reset(self, connection: Any) -> None:
        """Nothing that a user has left in the session is there any more."""

    @abstractmethod
    def pid(self, connection: Any) -> int:
        """Of the session's process."""

    def pool(self, **options: Any) -> AsyncResourcePool[Any]:
        """Of at most four, if the options do not say otherwise."""
        return AsyncResourcePool(
            self.connect, self.close, **{"max_size": 4, "check_after_idle": 0} | options
        )

    async def alive(self, connection: Any) -> bool:
        """A check that also finds out about sessions in a blackhole."""
        return bool(await self.impatiently(self.patience, connection, "select true"))


class AsyncpgDriver(Driver):
    errors = (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        ConnectionError,
        asyncpg.InternalClientError,  # if the news comes in the middle of its preparations
    )

    async def connect(self) -> Any:
        return await asyncpg.connect(
            host=HOST,
            port=self.port,
            user=self.user,
            database="postgres",
            ssl=False,
            timeout=LONG,
            server_settings={"application_name": self.application},
        )

    async def close(self, connection: Any) -> None:
        await connection.close()  # waits for the server

    async def fetch(self, connection: Any, query: str, *arguments: object) -> Any:
        return await connection.fetchval(query, *arguments)

    async def impatiently(self, seconds: float, connection: Any, query: str) -> Any:
        return await connection.fetchval(query, timeout=seconds)

    async def reset(self, connection: Any) -> None:
        await connection.reset()
        await connection.execute("discard temp")  # which it leaves

    def pid(self, connection: Any) -> int:
        return int(connection.get_server_pid())


class PsycopgDriver(Driver):
    errors = (psycopg.Error,)

    def __init__(self, port: int, application: str) -> None:
        super().__init__(port, application)
        self._lines: dict[Any, socket.socket] = {}

    async def connect(self) -> Any:
        connection = await psycopg.AsyncConnection.connect(
            host=HOST,
            port=self.port,
            user=self.user,
            dbname="postgres",
            sslmode="disable",
            gssencmode="disable",
            application_name=self.application,
            autocommit=True,
            prepare_threshold=None,  # "discard all" discards what was prepared, itself included
            cursor_factory=psycopg.AsyncRawCursor,  # $1, as for asyncpg
        )
        self._lines[connection] = line = socket.socket(fileno=os.dup(connection.fileno()))
        line.setblocking(False)
        return connection

    async def close(self, connection: Any) -> None:
        # psycopg says good-bye and hangs up; who listens on hears the server do so, too.
        await connection.close()
        with self._lines.pop(connection) as line, suppress(ConnectionError):
            while await asyncio.get_running_loop().sock_recv(line, 4096):
                pass

    async def fetch(self, connection: Any, query: str, *arguments: object) -> Any:
        cursor = await connection.execute(query, arguments or None)
        row = await cursor.fetchone() if cursor.description else None
        return row and row[0]

    async def impatiently(self, seconds: float, connection: Any, query: str) -> Any:
        # Cancelled once, psycopg asks the server to end the query, and waits, 10 s if need be.
        return await within(seconds, self.fetch(connection, query))

    async def reset(self, connection: Any) -> None:
        await connection.rollback()
        await connection.execute("discard all")

    def pid(self, connection: Any) -> int:
        return int(connection.info.backend_pid)


class Admin:
    """Who looks at the server from its own side, through a session that is in no pool.

    Args:
        port: Of the server.
        application: What the sessions are called that are looked at.
    """

    def __init__(self, port: int, application: str) -> None:
        self.application = application
        self._driver = AsyncpgDriver(port, "admin")
        self._one_by_one = asyncio.Lock()
        self._connection: Any = None

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """The first value of each row."""
        async with self._one_by_one:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._driver.connect()
            return [row[0] for row in await self._connection.fetch(query, *arguments)]

    async def pids(self) -> set[int]:
        """The processes of the sessions."""
        found = await self.fetch(SESSIONS, self.application)
        return set(found)

    async def sleeping(self) -> set[int]:
        """Of those in the middle of pg_sleep: what is active may not have begun with its query, and
        then a cancellation is lost on the server."""
        found = await self.fetch(f"{SESSIONS} and wait_event = 'PgSleep'", self.application)
        return set(found)

    async def count(self) -> int:
        return len(await self.pids())

    async def terminate(self, *pids: int) -> None:
        """End these sessions, and return when the server has none of them any more."""
        ends = "select pg_terminate_backend(pid) from unnest($1::integer[]) as pid"
        assert all(await self.fetch(ends, pids))

        async def ended() -> bool:
            return not await self.fetch(
                "select pid from pg_stat_activity where pid = any($1)", pids
            )

        await until(ended)

    async def close(self) -> None:
        """Hang up, until the next question."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
