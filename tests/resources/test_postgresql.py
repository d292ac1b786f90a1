"""Pools of PostgreSQL sessions, with two drivers, as the server sees them."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any
from uuid import UUID

import pytest

from bench.servers import Server
from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError, ResourcePoolClosedError
from tests.resources.common import LONG, load, remembering, until, using, watched
from tests.resources.postgresql import Admin, Driver


async def role(admin: Admin, limit: int = -1) -> str:
    """A new user, not a superuser, to whom the server grants so many sessions and not one more."""
    name = f"user_of_{admin.application}".replace("-", "_")
    await admin.fetch(f"create role {name} login connection limit {limit}")
    await admin.fetch(f"grant all on schema public to {name}")
    return name


class Deposits:
    """A table that says what was committed, and what a client knows about it."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.table = f"deposits_{driver.application}".replace("-", "_")
        self.tried: set[UUID] = set()
        self.committed: set[UUID] = set()

    async def deposit(self, connection: Any, chance: Random) -> None:
        token = UUID(int=chance.getrandbits(128))
        await self.driver.fetch(connection, "begin")
        insert = f"insert into {self.table} values ($1) returning token"
        assert await self.driver.fetch(connection, insert, token) == token
        self.tried.add(token)
        await self.driver.fetch(connection, "commit")
        self.committed.add(token)

    async def leave_open(self, connection: Any, chance: Random) -> None:
        """The transaction is not ended, and never to be committed by who comes next."""
        await self.driver.fetch(connection, "begin")
        insert = f"insert into {self.table} values ($1)"
        await self.driver.fetch(connection, insert, UUID(int=chance.getrandbits(128)))


async def test_many_users_share_few_sessions(driver: Driver, admin: Admin) -> None:
    driver.user = await role(admin, limit=4)  # one session more is refused, and fails the load
    deposits = Deposits(driver)
    await admin.fetch(f"create table {deposits.table} (token uuid primary key)")
    await admin.fetch(f"grant all on {deposits.table} to {driver.user}")
    pool = driver.pool(check=driver.alive, reset=driver.reset)

    async def ask(connection: Any, chance: Random) -> None:
        token = chance.getrandbits(31)
        nap = chance.uniform(0, 0.005)
        query = "select $1::integer from pg_sleep($2)"
        assert await driver.fetch(connection, query, token, nap) == token

    async def err(connection: Any, chance: Random) -> None:
        with pytest.raises(driver.errors):
            await driver.fetch(connection, "select 1 / 0")

    async def throw_away(connection: Any, chance: Random) -> None:
        await pool.discard(connection)

    works = [ask, ask, ask, err, deposits.deposit, deposits.leave_open, throw_away]
    async with watched(admin.count) as seen, using(pool):
        ends = await load(pool, works, seed=driver.application)
    assert await admin.count() == 0
    # The role's limit refuses a fifth session, and no creation failed. The server's list may also
    # show a session that ends, or one that only cancels a query.
    assert max(seen) >= 4
    stats = pool.stats()
    assert min(ends["done"], ends["cut short"], stats.interrupted, stats.discarded) > 0
    assert stats.creation_failures == stats.check_failed == stats.reset_failed == 0
    assert stats.acquired == stats.released + stats.interrupted + stats.discarded
    found = set(await admin.fetch(f"select token from {deposits.table}"))
    assert deposits.committed <= found <= deposits.tried


async def test_a_request_that_is_cancelled_costs_the_session_and_nobody_gets_its_answer(
    driver: Driver, admin: Admin
) -> None:
    async with using(driver.pool(max_size=1)) as pool:

        async def slow(token: int) -> None:
            async with pool.acquire_context() as connection:
                await driver.fetch(connection, "select $1::integer from pg_sleep(60)", token)

        async def asleep() -> bool:
            return bool(await admin.sleeping())

        for token in range(0, 10, 2):
            cancelled = asyncio.create_task(slow(token))
            await until(asleep)
            (pid,) = await admin.pids()
            cancelled.cancel()
            async with pool.acquire_context() as connection:
                answer = await driver.fetch(connection, "select $1::integer", token + 1)
                assert answer == token + 1
                assert await admin.pids() == {driver.pid(connection)} != {pid}
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        assert pool.stats().interrupted == 5


DIRT = {  # what a user leaves behind, and how it is seen: in the session, or by the admin
    "transaction": (["begin"], "", "select state = 'idle' from pg_stat_activity where pid = {pid}"),
    "failed transaction": (
        ["begin", "select 1 / 0"],
        "select true",
        "select state = 'idle' from pg_stat_activity where pid = {pid}",
    ),
    "setting": (
        ["set work_mem to '1MB'", "set application_name to 'mine'"],
        "select current_setting('work_mem') <> '1MB'",
        "select application_name = '{application}' from pg_stat_activity where pid = {pid}",
    ),
    "temporary table": (
        ["create temporary table left_by_{pid} ()"],
        "",
        "select count(*) = 0 from pg_class where relname = 'left_by_{pid}'",
    ),
    "advisory lock": (
        ["select pg_advisory_lock({pid})"],
        "",
        "select count(*) = 0 from pg_locks where locktype = 'advisory' and pid = {pid}",
    ),
    "row lock": (
        ["begin", "select true from pg_authid for update"],
        "",
        "select count(*) = 0 from pg_locks where mode = 'RowShareLock' and pid = {pid}",
    ),
    "notifications": (
        ["listen news"],
        "select count(*) = 0 from pg_listening_channels()",
        "select true",
    ),
}


@pytest.mark.parametrize("dirt", DIRT)
async def test_reset_cleans_what_a_user_leaves_in_a_session(
    driver: Driver, admin: Admin, dirt: str
) -> None:
    statements, seen_inside, seen_outside = DIRT[dirt]
    async with using(driver.pool(reset=driver.reset)) as pool:
        async with pool.acquire_context() as connection:
            pid = driver.pid(connection)
            names = {"pid": pid, "application": driver.application}
            for statement in statements:
                try:
                    await driver.fetch(connection, statement.format(**names))
                except driver.errors:
                    assert "1 / 0" in statement
        await until(lambda: pool.available_count == 1)
        assert await admin.fetch(seen_outside.format(**names)) == [True]
        async with pool.acquire_context() as connection:
            assert driver.pid(connection) == pid  # not replaced, but cleaned
            if seen_inside:
                assert await driver.fetch(connection, seen_inside) is True
        assert pool.stats().reset_failed == 0


async def test_one_session_is_reset_for_many_users(driver: Driver, admin: Admin) -> None:
    async with using(driver.pool(reset=driver.reset, max_size=1)) as pool:
        for number in range(20):
            async with pool.acquire_context() as connection:
                assert await driver.fetch(connection, "select $1::integer", number) == number
        stats = pool.stats()
        assert (stats.created, stats.released, stats.reset_failed) == (1, 20, 0)
        assert await admin.count() == 1


async def test_a_session_that_cannot_be_reset_is_replaced(driver: Driver, admin: Admin) -> None:
    async with using(driver.pool(reset=driver.reset)) as pool:
        async with pool.acquire_context() as connection:
            pid = driver.pid(connection)
            with pytest.raises(driver.errors):
                await driver.fetch(connection, "select pg_terminate_backend(pg_backend_pid())")
        await until(lambda: pool.stats().reset_failed == 1)
        async with pool.acquire_context() as connection:
            assert await driver.fetch(connection, "select 1") == 1
            assert await admin.pids() == {driver.pid(connection)} != {pid}


async def test_a_server_that_is_full_tells_the_acquirer_and_has_room_later(
    driver: Driver, admin: Admin, postgresql: Server
) -> None:
    driver.user = await role(admin)
    await admin.close()
    postgresql.stop()
    postgresql.start("-c", "max_connections=10", "-c", "superuser_reserved_connections=4")
    try:
        assert await admin.count() == 0  # and the admin has one of the six that are not reserved
        raised: list[Exception] = []
        factory = remembering(driver.connect, raised)
        async with using(AsyncResourcePool(factory, driver.close, max_size=9)) as pool:
            got = [await pool.acquire() for _ in range(5)]

            async def there_is_room() -> bool:
                """Not at once: a process that has refused a client needs a moment to end."""
                try:
                    got.append(await pool.acquire())
                except driver.errors:
                    return False
                return True

            assert await admin.pids() == set(map(driver.pid, got))
            for _ in range(2):
                with pytest.raises(driver.errors, match="connection slots") as refused:
                    await pool.acquire()
                assert refused.value is raised[-1]
            await pool.release(got.pop())  # so this one is idle, while the server is still full
            got.append(await pool.acquire())
            await pool.discard(got.pop())
            await until(lambda: pool.size == 4)
            await until(there_is_room)
            assert await admin.pids() == set(map(driver.pid, got))
            for connection in got:
                await pool.release(connection)
        assert (pool.stats().created, pool.stats().creation_failures) == (6, len(raised))
        assert await admin.count() == 0
    finally:
        postgresql.stop()
        postgresql.start()


async def test_closing_under_load_lets_users_finish_and_leaves_no_session(
    driver: Driver, admin: Admin
) -> None:
    pool = driver.pool()
    answered = turned_away = 0

    async def user(number: int) -> None:
        nonlocal answered, turned_away
        try:
            while True:
                async with pool.acquire_context() as connection:
                    query = "select $1::integer from pg_sleep(0.003)"
                    assert await driver.fetch(connection, query, number) == number
                answered += 1
        except ResourcePoolClosedError:
            turned_away += 1

    async with asyncio.timeout(LONG), asyncio.TaskGroup() as users:
        for number in range(12):
            users.create_task(user(number))
        await until(lambda: answered >= 50)
        assert await admin.count() == 4
        await pool.close()
        assert await admin.count() == 0
    assert turned_away == 12
    assert pool.closed


async def test_what_users_hold_when_the_pool_is_terminated_is_theirs(
    driver: Driver, admin: Admin
) -> None:
    pool = driver.pool()
    held, *others = [await pool.acquire() for _ in range(3)]
    for other in others:
        await pool.release(other)
    waiter = asyncio.create_task(driver.fetch(held, "select 42 from pg_sleep(0.05)"))
    await asyncio.sleep(0)
    pool.terminate()

    async def one_is_left() -> bool:
        return await admin.pids() == {driver.pid(held)}

    await until(one_is_left)
    assert await waiter == 42
    assert await driver.fetch(held, "select 43") == 43
    with pytest.raises(InvalidReleaseError):
        await pool.release(held)
    await driver.close(held)
    assert await admin.count() == 0
    await pool.close()


async def test_retiring_all_brings_the_servers_new_settings_to_everybody(
    driver: Driver, admin: Admin
) -> None:
    driver.user = await role(admin)
    async with using(driver.pool()) as pool:
        held, idle = await pool.acquire(), await pool.acquire()
        await pool.release(idle)
        old = await admin.pids()
        await admin.fetch(f"alter role {driver.user} set work_mem to '2MB'")
        retired = asyncio.create_task(pool.retire_all(wait=True))
        await asyncio.sleep(0)  # it has begun
        async with pool.acquire_context() as connection:
            assert await driver.fetch(connection, "show work_mem") == "2MB"
        assert await driver.fetch(held, "show work_mem") != "2MB"
        assert not retired.done()
        await pool.release(held)
        await retired
        assert not old & await admin.pids()


async def test_the_server_is_rid_of_sessions_that_nobody_needs(
    driver: Driver, admin: Admin
) -> None:
    async with using(driver.pool(min_size=1, max_idle_time=0.05)) as pool:
        got = [await pool.acquire() for _ in range(4)]
        for connection in got:
            await pool.release(connection)

        async def one_is_left() -> bool:
            return await admin.count() == 1

        await until(one_is_left)
        assert pool.stats().pruned == 3
