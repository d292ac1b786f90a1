"""A pool of HTTPS sessions that are logged in: what server, users and pool see of faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
)
from tests.resources.common import LONG, fill, remembering, until
from tests.resources.peers import HttpsServer, in_time, load, needs
from tests.resources.proxy import HOST, FaultProxy

needs("aiohttp", "trustme")

from aiohttp import (  # noqa: E402
    ClientConnectionError,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    CookieJar,
    TCPConnector,
)

SHORT = 0.2  # seconds that are given up on purpose

FATAL = asyncio.CancelledError, ClientConnectionError  # what a session is not used again after

Sessions = AsyncResourcePool[ClientSession]

deadline = pytest.fixture(autouse=True)(in_time)


@pytest.fixture
async def server() -> AsyncIterator[HttpsServer]:
    async with HttpsServer() as server:
        yield server


@pytest.fixture
async def proxy(server: HttpsServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(HOST, server.port) as proxy:
        yield proxy


def to(
    server: HttpsServer, proxy: FaultProxy | None = None
) -> Callable[[], Awaitable[ClientSession]]:
    """Makes sessions that are logged in; what was opened for a login that fails is closed."""

    async def factory() -> ClientSession:
        session = ClientSession(
            f"https://{HOST}:{(proxy or server).port}",
            connector=TCPConnector(ssl=server.trust),
            cookie_jar=CookieJar(unsafe=True),  # which keeps cookies of a host without a name
            raise_for_status=True,
        )
        try:
            await ask(session, "", "login")
        except BaseException:
            await session.close()
            raise
        return session

    return factory


def pool_of(server: HttpsServer, proxy: FaultProxy | None = None, **options: Any) -> Sessions:
    return AsyncResourcePool(to(server, proxy), close, **{"check_after_idle": 0} | options)


async def close(session: ClientSession) -> None:
    try:
        await ask(session, "", "logout")
    finally:
        await session.close()


async def ask(session: ClientSession, token: str, do: str = "echo", limit: float = LONG) -> str:
    async with session.post(f"/{do}/{token}", timeout=ClientTimeout(limit)) as response:
        return await response.text()


async def check(session: ClientSession) -> None:
    await ask(session, "", "whoami")


async def act_as_nobody(session: ClientSession) -> None:
    await ask(session, "nobody", "as")


@pytest.mark.parametrize("debug", [False, True])
async def test_all_users_get_their_own_answers_over_few_sessions(
    server: HttpsServer, debug: bool
) -> None:
    async with pool_of(server, max_size=3, debug=debug) as pool:
        tally = await load(pool, ask, seed=1)
        assert tally.answered == server.answered == 150
    assert server.overlaps == 0
    assert server.peak == server.served == server.connection_peak == 3
    assert not server.clients
    await until(lambda: server.connections == 0)


async def test_users_cancelled_at_any_moment_leave_no_answer_to_others(server: HttpsServer) -> None:
    async with pool_of(server, max_size=3) as pool:
        tally = await load(pool, ask, seed=2, cancel=0.3)
        interrupted = pool.stats().interrupted
    assert tally.cancelled > 10
    assert tally.answered == 150 - tally.cancelled
    assert interrupted > 0
    assert server.peak == server.connection_peak == 3
    assert server.overlaps == 0
    assert not server.clients
    await until(lambda: server.connections == 0)


async def cancel_alice(pool: Sessions, server: HttpsServer) -> None:
    """In the middle: her session still acts as her."""

    async def user() -> None:
        async with pool.acquire_context() as session:
            await ask(session, "alice", "as")
            await ask(session, "", "hold")
            await ask(session, "nobody", "as")

    request = asyncio.create_task(user())
    await until(lambda: server.arrived == 1)
    request.cancel()
    await asyncio.wait([request])


async def test_a_request_that_is_cancelled_in_the_middle_costs_its_session(
    server: HttpsServer,
) -> None:
    async with pool_of(server, max_size=1) as pool:
        await cancel_alice(pool, server)
        async with pool.acquire_context() as session:
            assert await ask(session, "", "whoami") == "nobody"
        assert pool.stats().interrupted == 1
    assert server.served == 2
    assert server.peak == 1
    assert not server.clients


async def test_without_discard_the_next_user_would_act_as_the_cancelled_one(
    server: HttpsServer,
) -> None:
    async with pool_of(server, max_size=1, discard_on=()) as pool:
        await cancel_alice(pool, server)
        async with pool.acquire_context() as session:
            assert await ask(session, "", "whoami") == "alice"
    assert server.served == 1


@pytest.mark.parametrize("fault", ["abort", "reset"])
async def test_a_session_survives_that_its_connections_die_while_it_is_idle(
    server: HttpsServer, proxy: FaultProxy, fault: str
) -> None:
    async with pool_of(server, proxy, max_size=2, check=check) as pool:
        await fill(pool, 2)
        strike(server, proxy, fault)
        await until(lambda: server.connections == proxy.connections == 0)
        await asyncio.sleep(SHORT)  # until the sessions have heard of it, too
        assert (await load(pool, ask, seed=3, users=6)).answered == 30
        assert pool.stats().check_failed == 0
    assert server.served == 2


def strike(server: HttpsServer, proxy: FaultProxy, fault: str) -> None:
    """Kill all connections."""
    if fault == "abort":
        server.abort()
    else:
        proxy.reset()


async def test_sessions_that_the_server_has_forgotten_are_found_by_the_check(
    server: HttpsServer, proxy: FaultProxy
) -> None:
    async with pool_of(server, proxy, max_size=2, check=check) as pool:
        await fill(pool, 2)
        await server.restart()
        assert (await load(pool, ask, seed=3, users=6)).answered == 30
        assert pool.stats().check_failed == 2
        assert pool.stats().created == server.served == 4
        assert len(server.clients) == 2
    assert not server.clients


async def test_without_a_check_a_user_would_meet_a_session_that_is_forgotten(
    server: HttpsServer,
) -> None:
    async with pool_of(server, max_size=2) as pool:
        await fill(pool, 2)
        await server.restart()
        with pytest.raises(ClientResponseError, match="401"):
            async with pool.acquire_context() as session:
                await ask(session, "lost")


async def test_sessions_in_a_blackhole_are_found_by_the_check_and_given_up_by_the_closer(
    server: HttpsServer, proxy: FaultProxy
) -> None:
    async def impatient(session: ClientSession) -> None:
        await ask(session, "", "whoami", SHORT)

    options = {"max_size": 2, "check": impatient, "closer_timeout": SHORT}
    async with pool_of(server, proxy, **options) as pool:
        dead = await fill(pool, 2)
        proxy.blackhole()
        acquiring = asyncio.create_task(pool.acquire())
        await until(lambda: pool.stats().closer_failures == 2)
        assert pool.stats().check_failed == 2
        assert pool.stats().creating == 1
        await until(lambda: all(session.closed for session in dead))
        proxy.heal()
        session = await acquiring
        assert await ask(session, "mine") == "mine"
        await pool.release(session)
    assert server.served == 3
    assert set(server.clients) <= {"s1", "s2"}  # nobody has told the server to forget these


@pytest.mark.parametrize("fault", ["abort", "reset"])
async def test_only_the_user_of_a_session_is_told_that_its_connection_died_in_use(
    server: HttpsServer, proxy: FaultProxy, fault: str
) -> None:
    async def user(token: str) -> str:
        async with pool.acquire_context() as session:
            return await ask(session, token, "hold")

    async with pool_of(server, proxy, max_size=2, discard_on=FATAL) as pool:
        users = [asyncio.create_task(user(str(number))) for number in range(4)]
        await until(lambda: server.arrived == 2)
        strike(server, proxy, fault)
        await until(lambda: server.arrived == 4)
        server.release.set()
        first, second, *others = await asyncio.gather(*users, return_exceptions=True)
        assert isinstance(first, ClientConnectionError)
        assert isinstance(second, ClientConnectionError)
        assert others == ["2", "3"]
        assert pool.stats().interrupted == 2
    assert server.served == 4
    assert server.peak == 2
    assert not server.clients


async def test_the_session_of_a_user_who_gives_up_in_a_blackhole_is_logged_out(
    server: HttpsServer, proxy: FaultProxy
) -> None:
    async with pool_of(server, proxy, max_size=1) as pool:
        await fill(pool, 1)
        proxy.forget()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT), pool.acquire_context() as session:
                await ask(session, "lost")
        async with pool.acquire_context() as session:
            assert await ask(session, "mine") == "mine"
        assert pool.stats().interrupted == 1
        assert set(server.clients) == {"s2"}
    assert server.peak == 1


async def test_users_outlive_connections_that_die_at_any_moment(
    server: HttpsServer, proxy: FaultProxy
) -> None:
    async with pool_of(server, proxy, max_size=3, check=check) as pool:
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(
                load(pool, ask, seed=5, cancel=0.1, forgive=ClientConnectionError)
            )
            for _ in range(4):
                await server.more(10)
                server.abort()
                await server.more(10)
                proxy.reset()
        tally = loading.result()
        assert tally.failed > 0
        assert tally.answered > 90
        assert (await load(pool, ask, seed=6, users=6)).answered == 30
    assert server.overlaps == 0
    await until(lambda: server.connections == 0)


async def test_a_session_that_comes_back_as_somebody_is_reset(server: HttpsServer) -> None:
    async with pool_of(server, max_size=1, reset=act_as_nobody) as pool:
        await act_as_alice(pool)
        async with pool.acquire_context() as session:
            assert await ask(session, "", "whoami") == "nobody"
    assert server.served == 1


async def test_without_reset_the_next_user_would_be_somebody(server: HttpsServer) -> None:
    async with pool_of(server, max_size=1) as pool:
        await act_as_alice(pool)
        async with pool.acquire_context() as session:
            assert await ask(session, "", "whoami") == "alice"


async def act_as_alice(pool: Sessions) -> None:
    async with pool.acquire_context() as session:
        await ask(session, "alice", "as")
        assert await ask(session, "", "whoami") == "alice"


async def test_a_session_whose_reset_fails_is_closed(server: HttpsServer) -> None:
    async with pool_of(server, max_size=1, reset=act_as_nobody) as pool:
        async with pool.acquire_context() as session:
            await ask(session, "alice", "as")
            await server.restart()
        await until(lambda: pool.stats().reset_failed == 1)
        async with pool.acquire_context() as another:
            assert await ask(another, "", "whoami") == "nobody"
            assert another is not session
        assert session.closed
    assert server.served == 2


async def test_the_servers_refusal_reaches_the_user_unchanged_and_the_pool_recovers(
    server: HttpsServer,
) -> None:
    refusals: list[Exception] = []
    server.limit = 2
    outsider = await to(server)()
    async with AsyncResourcePool(remembering(to(server), refusals), close, max_size=3) as pool:
        held = await pool.acquire()
        told = await asyncio.gather(*(pool.acquire() for _ in range(2)), return_exceptions=True)
        assert told == refusals
        assert len(set(map(id, refusals))) == server.refused == 2
        assert isinstance(refusals[0], ClientResponseError)
        assert refusals[0].status == 503
        assert await ask(held, "still") == "still"
        await close(outsider)
        async with pool.acquire_context() as session:
            assert await ask(session, "mine") == "mine"
        await pool.release(held)
    assert server.peak == 2
    await until(lambda: server.connections == 0)


async def test_close_under_load_lets_users_finish_and_leaves_no_session(
    server: HttpsServer,
) -> None:
    pool = pool_of(server, max_size=3)
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(load(pool, ask, seed=7, forgive=ResourcePoolClosedError))
        await server.more(30)
        await pool.close()
        assert not server.clients
    tally = loading.result()
    assert tally.answered == server.answered - 3 < 150  # the server has answered 3 "logout", too
    assert tally.failed == 150 - tally.answered
    await until(lambda: server.connections == 0)


async def test_terminate_closes_what_is_idle_and_forgets_what_is_in_use(
    server: HttpsServer,
) -> None:
    pool = pool_of(server, max_size=3)
    await fill(pool, 3)
    async with pool.acquire_context() as held:
        pool.terminate()
        await until(lambda: len(server.clients) == 1)
        assert await ask(held, "still mine") == "still mine"
        with pytest.raises(InvalidReleaseError):
            await pool.release(held)
    await pool.close()
    assert await ask(held, "mine for good") == "mine for good"
    await close(held)
    assert not server.clients
    await until(lambda: server.connections == 0)


async def test_terminate_ends_logins_in_flight_and_who_waits_for_them(
    server: HttpsServer, proxy: FaultProxy
) -> None:
    pool = pool_of(server, proxy, max_size=1)
    proxy.blackhole()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await until(lambda: proxy.connections == 1)
    pool.terminate()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in told] == [ResourcePoolClosedError] * 2
    async with asyncio.timeout(LONG / 4):  # the session itself would give up later
        await pool.close()
    proxy.heal()
    await until(lambda: proxy.connections == 0)
    assert server.served == 0
