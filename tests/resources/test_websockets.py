"""A pool of websocket connections: what its server, its users and the pool see of faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolTimeoutError,
)
from tests.resources.common import LONG, fill, remembering, until
from tests.resources.peers import WebsocketServer, in_time, load, needs
from tests.resources.proxy import HOST, FaultProxy

needs("websockets")

from websockets.asyncio.client import ClientConnection, connect  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus  # noqa: E402

SHORT = 0.2  # seconds that are given up on purpose
FATAL = asyncio.CancelledError, ConnectionClosed  # what a connection is not used again after

DEATHS = ConnectionClosed, InvalidHandshake, OSError  # of a connection, at any moment

Connections = AsyncResourcePool[ClientConnection]

deadline = pytest.fixture(autouse=True)(in_time)


@pytest.fixture
async def server() -> AsyncIterator[WebsocketServer]:
    async with WebsocketServer() as server:
        yield server


@pytest.fixture
async def proxy(server: WebsocketServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(HOST, server.port) as proxy:
        yield proxy


def to(peer: WebsocketServer | FaultProxy) -> Callable[[], Awaitable[ClientConnection]]:
    async def factory() -> ClientConnection:
        return await connect(f"ws://{HOST}:{peer.port}", proxy=None, ping_interval=None)

    return factory


def pool_of(peer: WebsocketServer | FaultProxy, **options: Any) -> Connections:
    options.setdefault("closer", close)
    options.setdefault("check_after_idle", 0)
    return AsyncResourcePool(to(peer), **options)


async def close(connection: ClientConnection) -> None:
    try:
        await connection.close()
    finally:
        connection.transport.abort()  # if it was given up


async def check(connection: ClientConnection, limit: float = LONG) -> None:
    async with asyncio.timeout(limit):
        await (await connection.ping())


async def ask(connection: ClientConnection, token: str, do: str = "echo") -> str:
    await connection.send(f"{do} {token}")
    return str(await connection.recv())


async def unsubscribe(connection: ClientConnection) -> None:
    await connection.send("unsubscribe")
    while await connection.recv() != "unsubscribe":
        pass


@pytest.mark.parametrize("debug", [False, True])
async def test_all_users_get_their_own_answers_over_few_connections(
    server: WebsocketServer, debug: bool
) -> None:
    async with pool_of(server, max_size=3, debug=debug) as pool:
        tally = await load(pool, ask, seed=1)
        assert tally.answered == server.answered == 150
    assert server.overlaps == 0
    assert server.peak == server.served == 3
    await until(lambda: not server.clients)


async def test_users_cancelled_at_any_moment_leave_no_answer_to_others(
    server: WebsocketServer,
) -> None:
    async with pool_of(server, max_size=3) as pool:
        tally = await load(pool, ask, seed=2, cancel=0.3)
        interrupted = pool.stats().interrupted
    assert tally.cancelled > 10
    assert tally.answered == 150 - tally.cancelled
    assert interrupted > 0
    assert server.peak <= 3
    assert server.overlaps == 0
    await until(lambda: not server.clients)


async def cancel_a_request(pool: Connections, server: WebsocketServer) -> None:
    """One that the server has read; it answers it in the next moment."""

    async def user() -> None:
        async with pool.acquire_context() as connection:
            await ask(connection, "of the cancelled one", "hold")

    request = asyncio.create_task(user())
    await until(lambda: server.arrived == 1)
    request.cancel()
    await asyncio.wait([request])
    server.release.set()


async def test_a_request_that_is_cancelled_in_the_middle_costs_its_connection(
    server: WebsocketServer,
) -> None:
    async with pool_of(server, max_size=1) as pool:
        await cancel_a_request(pool, server)
        async with pool.acquire_context() as connection:
            assert await ask(connection, "mine") == "mine"
        assert pool.stats().interrupted == 1
    assert server.served == 2
    assert server.peak == 1


async def test_without_discard_the_next_user_would_read_the_answer_of_the_cancelled_one(
    server: WebsocketServer,
) -> None:
    async with pool_of(server, max_size=1, discard_on=()) as pool:
        await cancel_a_request(pool, server)
        await until(lambda: server.answered == 1)
        async with pool.acquire_context() as connection:
            assert await ask(connection, "mine") == "of the cancelled one"
    assert server.served == 1


@pytest.mark.parametrize("fault", ["abort", "restart", "reset"])
async def test_connections_that_died_while_idle_are_found_by_the_check(
    server: WebsocketServer, proxy: FaultProxy, fault: str
) -> None:
    async with pool_of(proxy, max_size=2, check=check) as pool:
        await fill(pool, 2)
        await strike(server, proxy, fault)
        await until(lambda: not server.clients)
        tally = await load(pool, ask, seed=3, users=6)
        assert tally.answered == server.answered == 30
        assert pool.stats().check_failed == 2
        assert pool.stats().created == server.served == 4
        assert len(server.clients) == 2
    await until(lambda: not server.clients)


async def strike(server: WebsocketServer, proxy: FaultProxy, fault: str) -> None:
    """Kill all connections, or let nothing come through any more."""
    if fault == "abort":
        server.abort()
    elif fault == "restart":
        await server.restart()
    elif fault == "reset":
        proxy.reset()
    else:
        proxy.forget()


@pytest.mark.parametrize("fault", ["abort", "restart", "reset"])
async def test_without_a_check_a_user_would_meet_the_dead_one(
    server: WebsocketServer, proxy: FaultProxy, fault: str
) -> None:
    async with pool_of(proxy, max_size=2) as pool:
        await fill(pool, 2)
        await strike(server, proxy, fault)
        await until(lambda: not server.clients)
        with pytest.raises(ConnectionClosed):
            async with pool.acquire_context() as connection:
                await ask(connection, "lost")


async def test_connections_in_a_blackhole_are_found_by_the_check_and_given_up_by_the_closer(
    server: WebsocketServer, proxy: FaultProxy
) -> None:
    async def impatient(connection: ClientConnection) -> None:
        await check(connection, SHORT)

    pool = pool_of(proxy, max_size=2, check=impatient, closer_timeout=SHORT)
    async with pool:
        dead = await fill(pool, 2)
        proxy.forget()
        async with pool.acquire_context() as connection:
            assert connection not in dead
            assert await ask(connection, "mine") == "mine"
        assert pool.stats().check_failed == 2
        await until(lambda: pool.stats().closer_failures == 2)
        assert pool.stats().size == 1
        await until(lambda: all(connection.transport.is_closing() for connection in dead))
        assert len(server.clients) == 3  # nobody can tell the server of two of them


async def test_a_closer_that_hangs_in_a_blackhole_is_given_up_and_its_connection_lives_on(
    server: WebsocketServer, proxy: FaultProxy
) -> None:
    pool = pool_of(proxy, closer=ClientConnection.close, closer_timeout=SHORT)
    (connection,) = await fill(pool, 1)
    proxy.blackhole()
    await pool.close()
    assert pool.stats().closed
    assert pool.stats().closer_failures == 1
    assert not connection.transport.is_closing()
    assert len(server.clients) == 1
    proxy.heal()
    await until(lambda: not server.clients)
    await connection.wait_closed()


@pytest.mark.parametrize("fault", ["abort", "reset"])
async def test_only_the_user_of_a_connection_is_told_that_it_died_in_use(
    server: WebsocketServer, proxy: FaultProxy, fault: str
) -> None:
    async def user(token: str) -> str:
        async with pool.acquire_context() as connection:
            return await ask(connection, token, "hold")

    async with pool_of(proxy, max_size=2, discard_on=FATAL) as pool:
        users = [asyncio.create_task(user(str(number))) for number in range(4)]
        await until(lambda: server.arrived == 2)
        await strike(server, proxy, fault)
        await until(lambda: server.arrived == 4)
        server.release.set()
        first, second, *others = await asyncio.gather(*users, return_exceptions=True)
        assert isinstance(first, ConnectionClosed)
        assert isinstance(second, ConnectionClosed)
        assert others == ["2", "3"]
        assert pool.stats().interrupted == 2
    assert server.served == 4
    assert server.peak == 2


async def test_a_user_gives_up_in_a_blackhole_and_the_next_one_gets_a_new_connection(
    server: WebsocketServer, proxy: FaultProxy
) -> None:
    async with pool_of(proxy, max_size=1, closer_timeout=SHORT) as pool:
        await fill(pool, 1)
        proxy.forget()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT), pool.acquire_context() as connection:
                await ask(connection, "lost")
        async with pool.acquire_context() as connection:
            assert await ask(connection, "mine") == "mine"
        assert pool.stats().interrupted == pool.stats().closer_failures == 1
    assert server.answered == 1


async def test_a_creation_that_hangs_in_a_blackhole_goes_on_for_the_next_user(
    server: WebsocketServer, proxy: FaultProxy
) -> None:
    async with pool_of(proxy, max_size=1) as pool:
        proxy.blackhole()
        for _ in range(2):
            with pytest.raises(ResourcePoolTimeoutError):
                await pool.acquire(timeout=SHORT / 2)
        await until(lambda: proxy.connections == 1)
        proxy.heal()
        assert (await load(pool, ask, seed=4, users=2)).answered == 10
    assert server.served == 1


async def test_users_outlive_connections_that_die_at_any_moment(
    server: WebsocketServer, proxy: FaultProxy
) -> None:
    async with pool_of(proxy, max_size=3, check=check) as pool:
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(load(pool, ask, seed=5, cancel=0.1, forgive=DEATHS))
            for _ in range(4):
                await server.more(10)
                server.abort()
                await server.more(10)
                proxy.reset()
        tally = loading.result()
        assert tally.failed > 0
        assert tally.answered > 90
        assert (await load(pool, ask, seed=6, users=6)).answered == 30
        await until(lambda: len(server.clients) == pool.stats().size)
    assert server.overlaps == 0
    await until(lambda: not server.clients)


async def test_a_connection_that_comes_back_subscribed_is_reset(server: WebsocketServer) -> None:
    async with pool_of(server, max_size=1, reset=unsubscribe) as pool:
        await subscribe(pool)
        await server.publish("news")
        async with pool.acquire_context() as connection:
            assert await ask(connection, "mine") == "mine"
    assert server.served == 1


async def test_without_reset_the_next_user_would_read_the_news(server: WebsocketServer) -> None:
    async with pool_of(server, max_size=1) as pool:
        await subscribe(pool)
        await server.publish("news")
        async with pool.acquire_context() as connection:
            assert await ask(connection, "mine") == "news"


async def subscribe(pool: Connections) -> None:
    async with pool.acquire_context() as connection:
        await connection.send("subscribe")
        assert await connection.recv() == "subscribe"


@pytest.mark.parametrize("fault", ["abort", "forget"])
async def test_a_connection_whose_reset_fails_is_closed(
    server: WebsocketServer, proxy: FaultProxy, fault: str
) -> None:
    options = {"max_size": 1, "reset": unsubscribe, "reset_timeout": 1, "closer_timeout": SHORT}
    async with pool_of(proxy, **options) as pool:
        async with pool.acquire_context() as connection:
            await connection.send("subscribe")
            await connection.recv()
            await strike(server, proxy, fault)
        await until(lambda: pool.stats().reset_failed == 1)
        async with pool.acquire_context() as another:
            assert another is not connection
            assert await ask(another, "mine") == "mine"
        assert connection.transport.is_closing()
    assert server.served == 2


async def test_the_servers_refusal_reaches_the_user_unchanged_and_the_pool_recovers(
    server: WebsocketServer,
) -> None:
    refusals: list[Exception] = []
    server.limit = 2
    outsider = await to(server)()
    async with AsyncResourcePool(remembering(to(server), refusals), close, max_size=3) as pool:
        held = await pool.acquire()
        told = await asyncio.gather(*(pool.acquire() for _ in range(2)), return_exceptions=True)
        assert told == refusals
        assert len(set(map(id, refusals))) == server.refused == 2
        assert isinstance(refusals[0], InvalidStatus)
        assert refusals[0].response.status_code == 503
        assert await ask(held, "still") == "still"
        await outsider.close()
        await until(lambda: len(server.clients) == 1)
        async with pool.acquire_context() as connection:
            assert await ask(connection, "mine") == "mine"
        await pool.release(held)
    assert server.peak == 2


async def test_close_under_load_lets_users_finish_and_leaves_no_connection(
    server: WebsocketServer,
) -> None:
    pool = pool_of(server, max_size=3)
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(load(pool, ask, seed=7, forgive=ResourcePoolClosedError))
        await server.more(30)
        await pool.close()
        assert pool.stats().size == 0
        await until(lambda: not server.clients)
    tally = loading.result()
    assert tally.answered == server.answered < 150
    assert tally.failed == 150 - tally.answered


async def test_close_waits_for_a_creation_in_flight_and_closes_what_it_made(
    server: WebsocketServer, proxy: FaultProxy
) -> None:
    pool = pool_of(proxy)
    proxy.blackhole()
    waiting = asyncio.create_task(pool.acquire())
    await until(lambda: proxy.connections == 1)
    closing = asyncio.create_task(pool.close())
    with pytest.raises(ResourcePoolClosedError):
        await waiting
    assert not closing.done()
    proxy.heal()
    await closing
    assert server.served == 1
    await until(lambda: not server.clients)


async def test_terminate_closes_what_is_idle_and_forgets_what_is_in_use(
    server: WebsocketServer,
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
    await held.close()
    await until(lambda: not server.clients)


async def test_terminate_ends_creations_in_flight_and_who_waits_for_them(
    server: WebsocketServer, proxy: FaultProxy
) -> None:
    pool = pool_of(proxy, max_size=1)
    proxy.blackhole()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await until(lambda: proxy.connections == 1)
    pool.terminate()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in told] == [ResourcePoolClosedError] * 2
    async with asyncio.timeout(LONG / 4):  # the client itself would give up later
        await pool.close()
    proxy.heal()
    await until(lambda: proxy.connections == 0)
    await until(lambda: not server.clients)
