"""Pools of SQLite connections to one file, as the operating system sees them: descriptors, threads.

aiosqlite gives each connection a thread of its own; sqlite3 blocks the loop for a moment, which
users of small databases often prefer.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import aiosqlite
import pytest

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError, ResourcePoolClosedError
from tests.resources.common import LONG, load, remembering, together, until, using, watched

DESCRIPTORS = Path("/proc/self/fd")

pytestmark = pytest.mark.skipif(not DESCRIPTORS.exists(), reason="cannot count descriptors here")

ENDLESS = """
    with recursive number (i) as (select 1 union all select i + 1 from number where begun())
    select max(i) from number
"""

Pool = AsyncResourcePool[Any]

ERRORS = (sqlite3.Error, ValueError)  # aiosqlite says ValueError of a connection that is closed


class Driver(ABC):
    """A way to use SQLite, as factory, closer, check and reset."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @abstractmethod
    async def connect(self) -> Any: ...

    @abstractmethod
    async def close(self, connection: Any) -> None: ...

    @abstractmethod
    async def fetch(self, connection: Any, statement: str, *arguments: object) -> Any:
        """The first value of the first row; or None, if there is none."""

    async def check(self, connection: Any) -> bool:
        return bool(await self.fetch(connection, "select true"))

    async def reset(self, connection: Any) -> None:
        """Undo what can be undone, and refuse the rest."""
        if connection.in_transaction:
            await self.fetch(connection, "rollback")
        for leftovers in (
            "select count(*) from sqlite_temp_schema",
            "select count(*) from pragma_database_list where name not in ('main', 'temp')",
        ):
            if await self.fetch(connection, leftovers):
                raise ValueError(f"left behind: {leftovers}")

    def pool(self, **options: Any) -> Pool:
        return AsyncResourcePool(
            self.connect, self.close, **{"max_size": 4, "check_after_idle": 0} | options
        )

    def open_files(self) -> int:
        """How many descriptors the process has of the database."""
        targets = []
        for descriptor in DESCRIPTORS.iterdir():
            try:
                targets.append(str(descriptor.readlink()))
            except OSError:  # that of the directory itself, and those of other threads
                continue
        return targets.count(str(self.file)) + targets.count(f"{self.file} (deleted)")


class Aiosqlite(Driver):
    async def connect(self) -> Any:
        return await aiosqlite.connect(self.file, isolation_level=None, timeout=LONG)

    async def close(self, connection: Any) -> None:
        with suppress(ValueError):  # closed already
            await connection.interrupt()  # what a user who is gone has started would run on
        await connection.close()

    async def fetch(self, connection: Any, statement: str, *arguments: object) -> Any:
        async with connection.execute(statement, arguments) as cursor:
            row = await cursor.fetchone()
        return row and row[0]


class Sqlite3(Driver):
    async def connect(self) -> Any:
        return sqlite3.connect(self.file, isolation_level=None, timeout=0)

    async def close(self, connection: Any) -> None:
        connection.close()

    async def fetch(self, connection: Any, statement: str, *arguments: object) -> Any:
        row = connection.execute(statement, arguments).fetchone()
        return row and row[0]


def threads() -> int:
    """Of aiosqlite."""
    return sum("_connection_worker_thread" in each.name for each in threading.enumerate())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database, with a table."""
    file = tmp_path / "database"
    prepare(file)
    return file


def prepare(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table deposits (token text primary key)")


@pytest.fixture(params=[Aiosqlite, Sqlite3], ids=["aiosqlite", "sqlite3"])
async def driver(request: pytest.FixtureRequest, file: Path) -> AsyncIterator[Driver]:
    """In the end nothing of it is left."""
    kind: type[Aiosqlite | Sqlite3] = request.param
    driver = kind(file)
    yield driver
    assert driver.open_files() == 0
    await until(lambda: threads() == 0)


async def all_at_once(pool: Pool, driver: Driver, count: int) -> list[Any]:
    """As many users, each with a connection of its own; returns these connections."""

    async def use(connection: Any, number: int) -> Any:
        assert await driver.fetch(connection, "select ?", number) == number
        return connection

    return await together(pool, count, use)


async def test_many_users_share_few_connections(driver: Driver, file: Path) -> None:
    pool = driver.pool(check=driver.check, reset=driver.reset)
    tried: set[str] = set()
    committed: set[str] = set()

    async def ask(connection: Any, chance: Random) -> None:
        token = chance.random()
        assert await driver.fetch(connection, "select ?", token) == token
        await asyncio.sleep(chance.uniform(0, 0.005))
        assert await driver.fetch(connection, "select ?", -token) == -token

    async def err(connection: Any, chance: Random) -> None:
        with pytest.raises(sqlite3.OperationalError):
            await driver.fetch(connection, "select * from nothing")

    async def begin(connection: Any) -> None:
        """Begin to write as soon as the others have ended their transactions."""
        while True:
            try:
                await driver.fetch(connection, "begin immediate")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                await asyncio.sleep(0)
            else:
                return

    async def deposit(connection: Any, chance: Random) -> None:
        token = str(chance.random())
        await begin(connection)
        await driver.fetch(connection, "insert into deposits values (?)", token)
        tried.add(token)
        await driver.fetch(connection, "commit")
        committed.add(token)

    async def leave_open(connection: Any, chance: Random) -> None:
        """Nobody else can write until the reset of this connection."""
        await begin(connection)
        await driver.fetch(connection, "insert into deposits values (?)", str(chance.random()))

    async def throw_away(connection: Any, chance: Random) -> None:
        await pool.discard(connection)

    async def open_files() -> int:
        return driver.open_files()

    works = [ask, ask, ask, err, deposit, leave_open, throw_away]
    async with watched(open_files) as seen, using(pool):
        ends = await load(pool, works, seed=type(driver).__name__)
    assert driver.open_files() == 0
    assert max(seen) == 4
    stats = pool.stats()
    assert min(ends["done"], ends["cut short"], stats.interrupted, stats.discarded) > 0
    assert stats.creation_failures == stats.check_failed == stats.reset_failed == 0
    with closing(sqlite3.connect(file)) as connection:
        found = {token for (token,) in connection.execute("select token from deposits")}
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert committed <= found <= tried


@asynccontextmanager
async def endless(pool: Pool, driver: Driver) -> AsyncIterator[asyncio.Task[Any]]:
    """A user whose statement does not end before this context."""
    begun = threading.Event()
    raw: list[sqlite3.Connection] = []

    def begin() -> bool:
        begun.set()
        return True

    async def use() -> Any:
        async with pool.acquire_context() as connection:
            raw.append(connection._conn)
            await connection.create_function("begun", 0, begin)
            return await driver.fetch(connection, ENDLESS)

    user = asyncio.create_task(use())
    try:
        await until(begun.is_set)
        yield user
    finally:
        with suppress(sqlite3.ProgrammingError):  # closed
            raw[0].interrupt()


async def test_a_statement_whose_user_was_cancelled_ends_with_its_connection(file: Path) -> None:
    driver = Aiosqlite(file)
    async with using(driver.pool(max_size=1)) as pool, endless(pool, driver) as user:
        user.cancel()
        await all_at_once(pool, driver, 1)
        await until(lambda: threads() == 1)
        assert driver.open_files() == 1
        with pytest.raises(asyncio.CancelledError):
            await user
        assert (pool.stats().interrupted, pool.stats().closer_failures) == (1, 0)


async def test_a_closer_that_waits_for_an_endless_statement_is_given_up(file: Path) -> None:
    driver = Aiosqlite(file)
    # Without an interrupt, aiosqlite closes after all that was asked before.
    pool: Pool = AsyncResourcePool(
        driver.connect, aiosqlite.Connection.close, closer_timeout=0.05, max_size=1
    )
    async with using(pool), endless(pool, driver) as user:
        user.cancel()
        await all_at_once(pool, driver, 1)
        assert pool.stats().closer_failures == 1
        await pool.close()
        await until(lambda: threads() == 1)  # for which nobody waits
    await until(lambda: threads() == driver.open_files() == 0)


async def test_a_connection_that_a_user_has_closed_is_replaced(driver: Driver) -> None:
    async with using(driver.pool(check=driver.check)) as pool:
        before = await all_at_once(pool, driver, 3)
        async with pool.acquire_context() as closed:
            await driver.close(closed)
        after = await all_at_once(pool, driver, 3)
        assert set(before) - set(after) == {closed}
        assert pool.stats().check_failed == 1


async def test_reset_ends_a_transaction_that_was_left_open(driver: Driver, file: Path) -> None:
    async with using(driver.pool(reset=driver.reset)) as pool:
        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
            async with pool.acquire_context() as connection:
                await driver.fetch(connection, "begin immediate")
                await driver.fetch(connection, "insert into deposits values ('left open')")
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("insert into deposits values ('too early')")
            await until(lambda: pool.available_count == 1)
            other.execute("insert into deposits values ('now')")
            assert other.execute("select token from deposits").fetchall() == [("now",)]
        assert await all_at_once(pool, driver, 1) == [connection]  # not replaced, but cleaned


@pytest.mark.parametrize(
    "dirt", ["create temporary table dirt (token)", "attach database ':memory:' as dirt"]
)
async def test_a_connection_that_cannot_be_cleaned_is_replaced(driver: Driver, dirt: str) -> None:
    async with using(driver.pool(reset=driver.reset)) as pool:
        async with pool.acquire_context() as dirty:
            await driver.fetch(dirty, dirt)
        await until(lambda: pool.stats().reset_failed == 1)
        assert await all_at_once(pool, driver, 1) != [dirty]


async def test_a_database_that_is_locked_costs_an_error_and_no_connection(file: Path) -> None:
    driver = Sqlite3(file)
    async with using(driver.pool()) as pool:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("begin immediate")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                async with pool.acquire_context() as connection:
                    connection.execute("insert into deposits values ('refused')")
        async with pool.acquire_context() as again:
            assert again is connection
            again.execute("insert into deposits values ('accepted')")


@contextmanager
def hidden(file: Path) -> Iterator[None]:
    """There is a folder in its place."""
    away = file.with_name("away")
    file.rename(away)
    file.mkdir()
    yield
    file.rmdir()
    away.rename(file)


async def test_a_file_that_cannot_be_opened_is_told_to_the_acquirer(
    driver: Driver, file: Path
) -> None:
    raised: list[Exception] = []
    factory = remembering(driver.connect, raised)
    async with using(AsyncResourcePool(factory, driver.close)) as pool:
        with hidden(file):
            for _ in range(2):
                with pytest.raises(sqlite3.OperationalError, match="unable to open") as refused:
                    await pool.acquire()
                assert refused.value is raised[-1]
        await all_at_once(pool, driver, 2)


async def test_retiring_all_lets_go_of_a_file_that_was_replaced(driver: Driver, file: Path) -> None:
    restored = file.with_name("restored")
    prepare(restored)
    with closing(sqlite3.connect(restored)) as other:
        other.execute("pragma journal_mode = delete")
        other.execute("insert into deposits values ('restored')")
        other.commit()
    count = "select count(*) from deposits"
    async with using(driver.pool()) as pool:
        await all_at_once(pool, driver, 3)
        async with pool.acquire_context() as held:
            for companion in ("-wal", "-shm"):
                file.with_name(file.name + companion).unlink(missing_ok=True)
            restored.rename(file)
            retired = asyncio.create_task(pool.retire_all(wait=True))
            await asyncio.sleep(0)  # it has begun
            async with pool.acquire_context() as connection:
                assert await driver.fetch(connection, count) == 1
            assert await driver.fetch(held, count) == 0
            assert not retired.done()
        await retired
        assert driver.open_files() == 1


async def test_closing_under_load_lets_users_finish(driver: Driver) -> None:
    pool = driver.pool()
    answered = turned_away = 0

    async def user(number: int) -> None:
        nonlocal answered, turned_away
        try:
            while True:
                async with pool.acquire_context() as connection:
                    await asyncio.sleep(0.001)
                    assert await driver.fetch(connection, "select ?", number) == number
                answered += 1
        except ResourcePoolClosedError:
            turned_away += 1

    async with asyncio.timeout(LONG), asyncio.TaskGroup() as users:
        for number in range(12):
            users.create_task(user(number))
        await until(lambda: answered >= 50)
        assert driver.open_files() == 4
        await pool.close()
        assert driver.open_files() == 0
    assert turned_away == 12


async def test_what_users_hold_when_the_pool_is_terminated_is_theirs(driver: Driver) -> None:
    pool = driver.pool()
    held, *others = [await pool.acquire() for _ in range(3)]
    for other in others:
        await pool.release(other)
    pool.terminate()
    await pool.close()
    assert await driver.fetch(held, "select 42") == 42
    with pytest.raises(InvalidReleaseError):
        await pool.release(held)
    for other in others:
        with pytest.raises(ERRORS):
            await driver.fetch(other, "select 42")
    await driver.close(held)
