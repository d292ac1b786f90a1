"""Pools of connections to Valkey, as the server sees them, and what happens when they are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from random import Random

import pytest
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError

from bench.servers import HOST, Server
from nodetool.concurrency import (
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from tests.resources.common import LONG, load, remembering, until, using, watched, within
from tests.resources.proxy import FaultProxy
from tests.resources.valkey import Admin, Connect, Pool, Session, all_at_once, pool_of

PATIENCE = 0.25  # of who cannot hear from the server any more


@pytest.fixture
async def admin(valkey: Server, application: str) -> AsyncIterator[Admin]:
    admin = Admin(valkey.port, application)
    yield admin
    await admin.client.aclose()


@pytest.fixture
async def proxy(valkey: Server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(HOST, valkey.port) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy: FaultProxy, application: str) -> Connect:
    """A factory, through the proxy."""
    return partial(Session.connect, proxy.port, application)


async def test_many_users_share_few_sessions(
    connect: Connect, admin: Admin, application: str
) -> None:
    pool = pool_of(connect, check=Session.check, reset=Session.reset)
    tried = counted = 0

    async def ask(session: Session, chance: Random) -> None:
        token = str(chance.random())
        assert await session.ask("ECHO", token) == token

    async def wait(session: Session, chance: Random) -> None:
        seconds = str(chance.uniform(0.001, 0.005))
        assert await session.ask("BLPOP", "nothing", seconds) is None

    async def count(session: Session, chance: Random) -> None:
        nonlocal tried, counted
        tried += 1
        await session.ask("INCR", application)
        counted += 1

    async def leave_open(session: Session, chance: Random) -> None:
        await session.ask("MULTI")
        assert await session.ask("INCR", application) == "QUEUED"

    async def throw_away(session: Session, chance: Random) -> None:
        await pool.discard(session)

    works = [ask, ask, ask, wait, count, leave_open, throw_away]
    async with watched(admin.count) as seen, using(pool):
        ends = await load(pool, works, seed=application)
    assert await admin.count() == 0
    assert max(seen) == 4
    stats = pool.stats()
    assert min(ends["done"], ends["cut short"], stats.interrupted, stats.discarded) > 0
    assert stats.creation_failures == stats.check_failed == stats.reset_failed == 0
    assert counted <= int(await admin.client.get(application)) <= tried


async def test_a_request_that_is_cancelled_costs_the_session(
    connect: Connect, admin: Admin
) -> None:
    async with using(pool_of(connect, max_size=1)) as pool:
        await cancelled_while_it_waits(pool, admin)
        (session,) = await all_at_once(pool, 1)
        assert set(await admin.sessions()) == {session}
        await admin.client.rpush("nothing", "something")
        assert await admin.client.lpop("nothing") == "something"  # nobody waits for it any more
        assert pool.stats().interrupted == 1


async def test_nobody_gets_the_answer_to_a_request_that_was_cancelled(
    connect: Connect, admin: Admin
) -> None:
    async with using(pool_of(connect, max_size=1)) as pool:
        for _ in range(5):
            await cancelled_while_it_waits(pool, admin)
            await admin.client.rpush("nothing", "something")  # the answer
            await all_at_once(pool, 1)
            await admin.client.delete("nothing")
        assert pool.stats().interrupted == 5


async def cancelled_while_it_waits(pool: Pool, admin: Admin) -> None:
    async def use() -> None:
        async with pool.acquire_context() as session:
            await session.ask("BLPOP", "nothing", "60")

    async def waits() -> bool:
        return await admin.blocked() == 1

    user = asyncio.create_task(use())
    await until(waits)
    user.cancel()
    with pytest.raises(asyncio.CancelledError):
        await user


DIRT: dict[str, list[tuple[str, ...]]] = {
    "transaction": [("MULTI",), ("SET", "dirt", "1")],
    "watched key": [("WATCH", "dirt")],
    "database": [("SELECT", "1")],
    "subscription": [("SUBSCRIBE", "news")],
    "name": [("CLIENT", "SETNAME", "mine")],
}


@pytest.mark.parametrize("dirt", DIRT)
async def test_reset_cleans_what_a_user_leaves_in_a_session(
    connect: Connect, admin: Admin, dirt: str
) -> None:
    async def seen(session: Session) -> dict[str, str]:
        (line,) = await admin.client.client_list(client_id=[session.id])
        return {key: line[key] for key in ("name", "db", "sub", "watch", "flags")}

    async with using(pool_of(connect, reset=Session.reset)) as pool:
        async with pool.acquire_context() as session:
            clean = await seen(session)
            for words in DIRT[dirt]:
                await session.ask(*words)
            assert await seen(session) != clean
        await until(lambda: pool.available_count == 1)
        assert await seen(session) == clean
        assert await all_at_once(pool, 1) == [session.id]  # not replaced, but cleaned


async def test_a_session_with_an_answer_that_nobody_has_read_is_not_handed_out_again(
    connect: Connect, admin: Admin
) -> None:
    async with using(pool_of(connect, reset=Session.reset)) as pool:
        async with pool.acquire_context() as session:
            await session.connection.send_command("ECHO", "not read")
        await until(lambda: pool.stats().reset_failed == 1)
        (another,) = await all_at_once(pool, 1)
        assert set(await admin.sessions()) == {another} != {session.id}


async def test_a_server_that_is_full_tells_the_acquirer_and_has_room_later(
    connect: Connect, admin: Admin
) -> None:
    raised: list[Exception] = []
    usual = (await admin.client.config_get("maxclients"))["maxclients"]
    others = len(await admin.client.client_list())
    await admin.client.config_set("maxclients", others + 3)
    try:
        async with using(pool_of(remembering(connect, raised), max_size=9)) as pool:
            got = [await pool.acquire() for _ in range(3)]
            for _ in range(2):
                with pytest.raises(RedisError, match="max number of clients") as refused:
                    await pool.acquire()
                assert refused.value is raised[-1]
            await pool.discard(got.pop())
            await until(lambda: pool.size == 2)
            got.append(await pool.acquire())  # there was room again
            assert set(await admin.sessions()) == {session.id for session in got}
            for session in got:
                await pool.release(session)
    finally:
        await admin.client.config_set("maxclients", usual)


async def test_closing_under_load_lets_users_finish_and_leaves_no_session(
    connect: Connect, admin: Admin
) -> None:
    pool = pool_of(connect)
    answered = turned_away = 0

    async def user(number: int) -> None:
        nonlocal answered, turned_away
        try:
            while True:
                async with pool.acquire_context() as session:
                    assert await session.ask("BLPOP", "nothing", "0.003") is None
                    assert await session.ask("ECHO", str(number)) == str(number)
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


async def test_what_users_hold_when_the_pool_is_terminated_is_theirs(
    connect: Connect, admin: Admin
) -> None:
    pool = pool_of(connect)
    held, *others = [await pool.acquire() for _ in range(3)]
    for other in others:
        await pool.release(other)
    pool.terminate()

    async def one_is_left() -> bool:
        return set(await admin.sessions()) == {held.id}

    await until(one_is_left)
    assert await held.ask("ECHO", "mine") == "mine"
    with pytest.raises(InvalidReleaseError):
        await pool.release(held)
    await held.close()
    assert await admin.count() == 0
    await pool.close()


class Faults:
    """Each of them loses all sessions that there are, and lets new ones be made."""

    def __init__(self, admin: Admin, server: Server, proxy: FaultProxy) -> None:
        self.admin = admin
        self.server = server
        self.proxy = proxy

    async def ended(self) -> None:
        for each in await self.admin.sessions():
            await self.admin.client.client_kill_filter(_id=each)

    async def restarted(self) -> None:
        self.server.stop()
        self.server.start()

    async def crashed(self) -> None:
        self.server.kill()
        self.server.start()

    async def reset(self) -> None:
        self.proxy.reset()

    async def forgotten(self) -> None:
        """Nothing comes back any more, not even an end."""
        self.proxy.forget()


FAULTS = [Faults.ended, Faults.restarted, Faults.crashed, Faults.reset, Faults.forgotten]

of_all_faults = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)

Fault = Callable[[Faults], Awaitable[None]]


@pytest.fixture
def faults(admin: Admin, valkey: Server, proxy: FaultProxy) -> Faults:
    return Faults(admin, valkey, proxy)


def mending(connect: Connect, fault: Fault) -> Pool:
    patience = PATIENCE if fault is Faults.forgotten else LONG
    check = partial(Session.check, patience=patience)
    return pool_of(connect, check=check, closer_timeout=PATIENCE)


@of_all_faults
async def test_no_acquirer_hears_of_idle_sessions_that_are_lost(
    connect: Connect, admin: Admin, faults: Faults, fault: Fault
) -> None:
    async with using(mending(connect, fault)) as pool:
        lost = set(await all_at_once(pool, 4))
        await fault(faults)
        found = set(await all_at_once(pool, 4))
        hidden = lost if fault is Faults.forgotten else set()  # the server has heard nothing of it
        assert set(await admin.sessions()) == found | hidden
        stats = pool.stats()
        assert (stats.created, stats.creation_failures, stats.check_failed) == (8, 0, 4)
        assert stats.closer_failures == len(hidden)
    faults.proxy.reset()
    await until(admin.none_left)


@of_all_faults
async def test_users_of_lost_sessions_are_told_and_all_sessions_replaced(
    connect: Connect, admin: Admin, faults: Faults, fault: Fault
) -> None:
    pool = mending(connect, fault)
    silent = fault is Faults.forgotten

    async def use() -> None:
        async with pool.acquire_context() as session:
            await within(PATIENCE * 2 if silent else LONG, session.ask("BLPOP", "nothing", "60"))

    async def all_wait() -> bool:
        return await admin.blocked() == 4

    async with using(pool):
        users = [asyncio.create_task(use()) for _ in range(4)]
        await until(all_wait)
        await fault(faults)
        told = await asyncio.gather(*users, return_exceptions=True)
        expected = TimeoutError if silent else LostError
        assert [error for error in told if not isinstance(error, expected)] == []
        await all_at_once(pool, 4)
        stats = pool.stats()
        # A time-out in the body closes its session, and leaves nothing to check.
        found = (0, 4) if silent else (4, 0)
        assert (stats.created, stats.check_failed, stats.interrupted) == (8, *found)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_users_who_come_when_the_server_is_back_are_served(
    connect: Connect, admin: Admin, valkey: Server, how: str
) -> None:
    up, served, failed = True, 0, 0

    async def user(pool: Pool, number: int) -> None:
        nonlocal served, failed
        while True:
            came_when_up_again = up and failed > 0
            try:
                async with pool.acquire_context() as session:
                    assert await session.ask("ECHO", str(number)) == str(number)
                served += 1
            except LostError:
                assert not came_when_up_again
                failed += 1
            await asyncio.sleep(0.001)

    async with (
        using(pool_of(connect, check=Session.check)) as pool,
        asyncio.TaskGroup() as group,
    ):
        users = [group.create_task(user(pool, number)) for number in range(12)]
        await until(lambda: served > 50)
        up = False
        getattr(valkey, how)()
        try:
            await until(lambda: failed > 50)
        finally:
            valkey.start()
            up = True
        so_far = served
        await until(lambda: served > so_far + 50)
        assert await admin.count() <= 4
        for each in users:
            each.cancel()
    assert pool.stats().creation_failures > 0


async def test_closers_and_factories_in_a_blackhole_are_given_up(
    connect: Connect, admin: Admin, proxy: FaultProxy
) -> None:
    options = {"creation_timeout": PATIENCE, "closer_timeout": PATIENCE}
    async with using(pool_of(connect, **options)) as pool:
        await all_at_once(pool, 3)
        async with pool.acquire_context():
            proxy.blackhole()
            others = [await pool.acquire(), await pool.acquire()]
            with pytest.raises(ResourcePoolTimeoutError, match="creation_timeout"):
                await pool.acquire()
            for other in others:
                await pool.release(other)
            with pytest.raises(ResourcePoolTimeoutError, match="in use"):
                await pool.close(timeout=0.01)
        await pool.close()
        assert pool.stats().closer_failures == 3
        assert await admin.count() == 3  # the server has heard nothing of it
    proxy.heal()
    await until(admin.none_left)
