"""What the tests on real resources share: waiting, loads, and PostgreSQL seen from both sides."""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from random import Random
from typing import Any, ClassVar, TypeVar

import asyncpg  # type: ignore[import-untyped]
import psycopg

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from tests.resources.servers import HOST

R = TypeVar("R")
T = TypeVar("T")

LONG = 20.0  # seconds until a test gives up

Work = Callable[[T, Random], Awaitable[None]]


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something that must come true."""
    async with asyncio.timeout(LONG):
        while True:
            result = condition()
            if await result if isawaitable(result) else result:
                return
            await asyncio.sleep(0.005)


async def within(seconds: float, coroutine: Coroutine[Any, Any, R]) -> R:
    """Await it for so long and not longer, also if it resists: it is cancelled until it ends."""
    task = asyncio.create_task(coroutine)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
    if not done:
        raise TimeoutError
    return task.result()


def remembering(make: Callable[[], Awaitable[T]], raised: list[Exception]) -> Callable[[], Any]:
    """A factory that keeps what it raises."""

    async def factory() -> T:
        try:
            return await make()
        except Exception as error:
            raised.append(error)
            raise

    return factory


@asynccontextmanager
async def using(pool: AsyncResourcePool[T]) -> AsyncIterator[AsyncResourcePool[T]]:
    """Open the pool and close it; a body that fails while it holds something is not waited for."""
    try:
        async with asyncio.timeout(LONG):
            await pool.open()
            yield pool
            await pool.close()
    except BaseException:
        pool.terminate()
        raise


@asynccontextmanager
async def watched(count: Callable[[], Awaitable[int]]) -> AsyncIterator[list[int]]:
    """What was counted, again and again, as long as the context lasts."""
    seen: list[int] = []
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            seen.append(await count())
            await asyncio.sleep(0)

    watcher = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        over.set()
        await watcher


async def load(
    pool: AsyncResourcePool[T],
    works: Sequence[Work[T]],
    *,
    seed: str,
    users: int = 16,
    rounds: int = 20,
    impatience: Sequence[float | None] = (None, None, 0.02, 0.005, 0.0),
) -> Counter[str]:
    """Users who come again and again, each time with some work, some of them impatient.

    Nobody gets what another has.

    Returns:
        How many uses were "done" and how many "cut short" by impatience, in the middle of anything.
    """
    ends: Counter[str] = Counter()
    held: set[int] = set()

    async def user(number: int) -> None:
        chance = Random(f"{seed}, user {number}")
        for _ in range(rounds):
            work = chance.choice(works)
            try:
                async with asyncio.timeout(chance.choice(impatience)):
                    async with pool.acquire_context() as resource:
                        assert id(resource) not in held
                        held.add(id(resource))
                        try:
                            await work(resource, chance)
                        finally:
                            held.remove(id(resource))
                ends["done"] += 1
            except ResourcePoolTimeoutError:
                raise  # nobody has to wait that long
            except TimeoutError:
                ends["cut short"] += 1

    async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
        for number in range(users):
            group.create_task(user(number))
    return ends


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
        return AsyncResourcePool(self.connect, self.close, **{"max_size": 4} | options)

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

    async def pids(self, state: str = "%") -> set[int]:
        """The processes of the sessions in such a state."""
        found = await self.fetch(
            "select pid from pg_stat_activity where application_name = $1"
            " and coalesce(state, '') like $2 and backend_type = 'client backend'",
            self.application,
            state,
        )
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
