"""Pools of PostgreSQL sessions that are lost, in all the ways in which sessions are."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import psycopg
import pytest

from bench.servers import HOST, Server
from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from tests.resources.common import LONG, load, remembering, together, until, using
from tests.resources.postgresql import Admin, AsyncpgDriver, Driver, PsycopgDriver
from tests.resources.proxy import FaultProxy

PATIENCE = 0.25  # of who cannot hear from the server any more

Pool = AsyncResourcePool[Any]


@pytest.fixture
async def proxy(postgresql: Server, driver: Driver) -> AsyncIterator[FaultProxy]:
    """Between the driver and the server."""
    async with FaultProxy(HOST, postgresql.port) as proxy:
        driver.port = proxy.port
        yield proxy


class Faults:
    """Each of them loses all sessions that there are, and lets new ones be made."""

    def __init__(self, admin: Admin, server: Server, proxy: FaultProxy) -> None:
        self.admin = admin
        self.server = server
        self.proxy = proxy

    async def ended(self) -> None:
        await self.admin.terminate(*await self.admin.pids())

    async def one_crashed(self) -> None:
        """The process of one session; the server trusts none of the others then, and ends them."""
        pids = await self.admin.pids()
        await self.admin.close()
        log, ready = self.server.folder / "log", "ready to accept connections"
        before = log.read_text().count(ready)
        os.kill(min(pids), signal.SIGKILL)
        await until(lambda: log.read_text().count(ready) > before)

    async def restarted(self) -> None:
        await self.admin.close()
        self.server.stop()
        self.server.start()

    async def crashed(self) -> None:
        await self.admin.close()
        self.server.kill()
        self.server.start()

    async def reset(self) -> None:
        self.proxy.reset()

    async def forgotten(self) -> None:
        """Nothing comes back any more, not even an end."""
        self.proxy.forget()


FAULTS = [
    Faults.ended,
    Faults.one_crashed,
    Faults.restarted,
    Faults.crashed,
    Faults.reset,
    Faults.forgotten,
]

of_all_faults = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)

Fault = Callable[[Faults], Awaitable[None]]


@pytest.fixture
def faults(admin: Admin, postgresql: Server, proxy: FaultProxy) -> Faults:
    return Faults(admin, postgresql, proxy)


async def all_at_once(pool: Pool, driver: Driver, count: int) -> list[int]:
    """As many users, each with a session of its own; returns the processes that answered."""

    async def use(connection: Any, number: int) -> int:
        assert await driver.fetch(connection, "select $1::integer", number) == number
        return driver.pid(connection)

    return await together(pool, count, use)


@of_all_faults
async def test_no_acquirer_hears_of_idle_sessions_that_are_lost(
    driver: Driver, admin: Admin, faults: Faults, fault: Fault
) -> None:
    driver.patience = PATIENCE if fault is Faults.forgotten else LONG
    async with using(driver.pool(check=driver.alive, closer_timeout=PATIENCE)) as pool:
        lost = await all_at_once(pool, driver, 4)
        await fault(faults)
        found = await all_at_once(pool, driver, 4)
        assert len({*lost, *found}) == 8
        assert set(found) <= await admin.pids()
        stats = pool.stats()
        assert (stats.created, stats.creation_failures, stats.check_failed) == (8, 0, 4)
        # A good-bye that nothing answers is given up, and the server still has those sessions.
        assert stats.closer_failures == (4 if fault is Faults.forgotten else 0)
        assert (set(lost) <= await admin.pids()) is (fault is Faults.forgotten)
    faults.proxy.reset()
    await until(lambda: nobody(admin))


async def nobody(admin: Admin) -> bool:
    return await admin.count() == 0


async def test_one_of_many_idle_sessions_that_is_ended_is_the_only_one_replaced(
    driver: Driver, admin: Admin
) -> None:
    async with using(driver.pool(check=driver.alive)) as pool:
        before = set(await all_at_once(pool, driver, 4))
        victim = Random(driver.application).choice(sorted(before))
        await admin.terminate(victim)
        after = set(await all_at_once(pool, driver, 4))
        assert before - after == {victim}
        assert await admin.pids() == after
        assert pool.stats().check_failed == 1


async def test_asyncpg_knows_without_asking_that_a_session_was_ended(
    postgresql: Server, application: str, admin: Admin
) -> None:
    driver = AsyncpgDriver(postgresql.port, application)

    def open_still(connection: Any) -> bool:
        return not connection.is_closed()

    async with using(driver.pool(check=open_still)) as pool:
        async with pool.acquire_context() as connection:
            assert await driver.fetch(connection, "select 1") == 1
        await admin.terminate(driver.pid(connection))
        await until(connection.is_closed)  # nobody asks: the loop hears the server hang up
        await all_at_once(pool, driver, 1)
        assert pool.stats().check_failed == 1


async def test_psycopg_has_to_ask(postgresql: Server, application: str, admin: Admin) -> None:
    driver = PsycopgDriver(postgresql.port, application)

    def open_still(connection: Any) -> bool:
        return not connection.closed

    async with using(driver.pool(check=open_still)) as pool:
        async with pool.acquire_context() as connection:
            assert await driver.fetch(connection, "select 1") == 1
        await admin.terminate(driver.pid(connection))
        async with pool.acquire_context() as again:
            assert again is connection
            with pytest.raises(psycopg.OperationalError):  # which is why `alive` is a query
                await driver.fetch(connection, "select 1")
            assert connection.closed  # only now
        await all_at_once(pool, driver, 1)
        assert pool.stats().check_failed == 1


async def test_who_uses_a_session_that_is_ended_is_told_and_nobody_else(
    driver: Driver, admin: Admin
) -> None:
    async with using(driver.pool(max_size=2, check=driver.alive)) as pool:

        async def sleep(seconds: float) -> int:
            async with pool.acquire_context() as connection:
                query = "select $1::integer from pg_sleep($2)"
                return int(await driver.fetch(connection, query, 42, seconds))

        async def one_sleeps() -> bool:
            return len(await admin.sleeping()) == 1

        victim = asyncio.create_task(sleep(60))
        await until(one_sleeps)
        (pid,) = await admin.pids()
        other = asyncio.create_task(sleep(0.1))
        await admin.terminate(pid)
        with pytest.raises(driver.errors):
            await victim
        assert await other == 42
        await all_at_once(pool, driver, 2)
        assert pool.stats().check_failed == 1


@of_all_faults
async def test_users_of_lost_sessions_are_told_and_all_sessions_replaced(
    driver: Driver, admin: Admin, faults: Faults, fault: Fault
) -> None:
    driver.patience = PATIENCE if fault is Faults.forgotten else LONG
    async with using(driver.pool(check=driver.alive, closer_timeout=PATIENCE)) as pool:

        async def use() -> None:
            async with pool.acquire_context() as connection:
                limit = 2 * PATIENCE if fault is Faults.forgotten else LONG
                await driver.impatiently(limit, connection, "select pg_sleep(60)")

        async def all_sleep() -> bool:
            return len(await admin.sleeping()) == 4

        users = [asyncio.create_task(use()) for _ in range(4)]
        await until(all_sleep)
        lost = await admin.pids()
        await fault(faults)
        told = await asyncio.gather(*users, return_exceptions=True)
        expected = TimeoutError if fault is Faults.forgotten else driver.errors
        assert [error for error in told if not isinstance(error, expected)] == []
        assert not lost & set(await all_at_once(pool, driver, 4))
        stats = pool.stats()
        # A time-out in the body closes its session, and leaves nothing to check.
        found = (0, 4) if fault is Faults.forgotten else (4, 0)
        assert (stats.check_failed, stats.interrupted) == found
        assert stats.creation_failures == 0


async def test_sessions_ended_under_load_fail_nobody_but_who_uses_them(
    driver: Driver, admin: Admin
) -> None:
    ended = failed = 0
    over = False

    async def ask(connection: Any, chance: Random) -> None:
        nonlocal failed
        token = chance.getrandbits(31)
        query = "select $1::integer from pg_sleep($2)"
        try:
            assert await driver.fetch(connection, query, token, chance.uniform(0, 0.01)) == token
        except driver.errors:
            failed += 1

    async def end() -> None:
        nonlocal ended
        chance = Random(driver.application)
        while not over:
            if pids := sorted(await admin.sleeping()):
                ended += 1
                await admin.terminate(chance.choice(pids))
            await asyncio.sleep(0.01)

    async with using(driver.pool(check=driver.alive)) as pool:
        ending = asyncio.create_task(end())
        await load(pool, [ask], seed=driver.application, impatience=[None])
        over = True
        await ending
        assert 0 < failed <= ended
        await all_at_once(pool, driver, 4)
    assert await admin.count() == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_users_who_come_when_the_server_is_back_are_served(
    driver: Driver, admin: Admin, postgresql: Server, how: str
) -> None:
    up, served, failed = True, 0, 0

    async def user(pool: Pool, number: int) -> None:
        nonlocal served, failed
        while True:
            came_when_up_again = up and failed > 0
            try:
                async with pool.acquire_context() as connection:
                    query = "select $1::integer from pg_sleep(0.002)"
                    assert await driver.fetch(connection, query, number) == number
                served += 1
            except driver.errors:
                assert not came_when_up_again
                failed += 1
                await asyncio.sleep(0.001)

    async with using(driver.pool(check=driver.alive)) as pool, asyncio.TaskGroup() as group:
        users = [group.create_task(user(pool, number)) for number in range(12)]
        await until(lambda: served > 50)
        up = False
        getattr(postgresql, how)()
        try:
            await until(lambda: failed > 50)
        finally:
            postgresql.start()
            up = True
        so_far = served
        await until(lambda: served > so_far + 50)
        assert await admin.count() <= 4
        for each in users:
            each.cancel()
    assert pool.stats().creation_failures > 0


async def test_the_floor_is_restored_when_the_server_is_back(
    driver: Driver, admin: Admin, postgresql: Server
) -> None:
    raised: list[Exception] = []
    factory = remembering(driver.connect, raised)
    async with using(
        AsyncResourcePool(
            factory, driver.close, max_size=4, min_size=3, check=driver.alive, check_after_idle=0
        )
    ) as pool:
        await until(lambda: pool.available_count == 3)
        await admin.close()
        postgresql.stop()
        try:
            acquires = (pool.acquire() for _ in range(3))
            for refused in await asyncio.gather(*acquires, return_exceptions=True):
                assert isinstance(refused, driver.errors)
                assert refused in raised
            assert pool.available_count == 0
        finally:
            postgresql.start()
        await until(lambda: pool.available_count == 3)  # nobody asks for them
        assert await admin.count() == 3


async def test_a_factory_in_a_blackhole_is_given_up(
    driver: Driver, admin: Admin, proxy: FaultProxy
) -> None:
    async with using(driver.pool(creation_timeout=PATIENCE)) as pool:
        proxy.blackhole()
        with pytest.raises(ResourcePoolTimeoutError, match="creation_timeout"):
            await pool.acquire()
        proxy.heal()
        gc.collect()  # psycopg ends what it has begun only with the last reference to it
        (pid,) = await all_at_once(pool, driver, 1)

        async def only_that_one() -> bool:
            return await admin.pids() == {pid}

        await until(only_that_one)


async def test_closers_in_a_blackhole_are_given_up(
    driver: Driver, admin: Admin, proxy: FaultProxy
) -> None:
    async with using(driver.pool(closer_timeout=PATIENCE)) as pool:
        await all_at_once(pool, driver, 3)
        async with pool.acquire_context():
            proxy.blackhole()
            with pytest.raises(ResourcePoolTimeoutError, match="in use"):
                await pool.close(timeout=0.01)
        await pool.close()
        assert pool.stats().closer_failures == 3
        assert await admin.count() == 3  # the server has heard nothing of it
    proxy.heal()
    await until(lambda: nobody(admin))


async def test_live_sessions_serve_while_new_ones_are_refused(
    driver: Driver, admin: Admin, proxy: FaultProxy
) -> None:
    raised: list[Exception] = []
    async with using(
        AsyncResourcePool(remembering(driver.connect, raised), driver.close, max_size=2)
    ) as pool:
        async with pool.acquire_context() as connection:
            proxy.refuse()
            with pytest.raises(driver.errors) as refused:
                await pool.acquire()
            assert [refused.value] == raised
            assert await driver.fetch(connection, "select 1") == 1
        await all_at_once(pool, driver, 1)
        proxy.heal()
        assert set(await all_at_once(pool, driver, 2)) == await admin.pids()


async def test_a_check_in_a_blackhole_ends_at_its_own_limit_and_the_acquire_at_its_deadline(
    postgresql: Server, application: str
) -> None:
    async with FaultProxy(HOST, postgresql.port) as proxy:
        driver = AsyncpgDriver(proxy.port, application)
        limits = {"check_timeout": 4 * PATIENCE, "closer_timeout": PATIENCE}
        async with using(driver.pool(check=driver.alive, **limits)) as pool:
            await all_at_once(pool, driver, 1)
            proxy.forget()
            with pytest.raises(ResourcePoolTimeoutError):
                await pool.acquire(timeout=PATIENCE)
            assert (pool.stats().checking, pool.stats().check_failed) == (1, 0)
            await all_at_once(pool, driver, 4)
            assert (pool.stats().timeouts, pool.stats().check_failed) == (1, 1)
