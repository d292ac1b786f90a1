"""The proxy itself: each fault is what its name says, seen from both sides."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.resources.proxy import HOST, FaultProxy

SOON, LONG = 0.05, 20.0


class Echo:
    """Answers every line with itself, and keeps how each of its connections ended."""

    def __init__(self) -> None:
        self.open = 0
        self.ends: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.open += 1
        try:
            while line := await reader.readline():
                writer.write(line)
            self.ends.put_nowait("end")
        except ConnectionResetError:
            self.ends.put_nowait("reset")
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Echo, FaultProxy]]:
    echo = Echo()
    async with (
        asyncio.timeout(LONG),
        await asyncio.start_server(echo, HOST, 0) as server,
        FaultProxy(*server.sockets[0].getsockname()) as proxy,
    ):
        yield echo, proxy


class Client:
    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, line: bytes) -> None:
        self.writer.write(line)

    async def hear(self) -> bytes:
        return await self.reader.readline()

    async def silent(self) -> bool:
        """Whether nothing at all comes for a while, not even an end."""
        try:
            await asyncio.wait_for(self.reader.read(1), SOON)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection(HOST, proxy.port))
    try:
        yield client
    finally:
        client.writer.close()


async def test_without_a_fault_bytes_and_ends_are_forwarded() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as one, connected(proxy) as two:
        one.say(b"one\n")
        two.say(b"two\n")
        assert await two.hear() == b"two\n"
        assert await one.hear() == b"one\n"
        one.writer.write_eof()
        assert await one.hear() == b""
        assert await echo.ends.get() == "end"
        assert echo.open == 1


async def test_megabytes_arrive_whole() -> None:
    block = bytes(range(10, 256)) * 200 + b"\n"
    async with proxied() as (_, proxy), connected(proxy) as client:
        for _ in range(40):
            client.say(block)
        for _ in range(40):
            assert await client.reader.readexactly(len(block)) == block


async def test_a_blackhole_accepts_and_holds_everything_back_until_it_is_healed() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as live, connected(proxy) as ending:
        for client in (live, ending):
            client.say(b"before\n")
            assert await client.hear() == b"before\n"
        proxy.blackhole()
        async with connected(proxy) as late:
            live.say(b"held\n")
            ending.writer.write_eof()
            late.say(b"late\n")
            for client in (live, ending, late):
                assert await client.silent()
            assert echo.open == 2
            assert echo.ends.empty()
            proxy.heal()
            assert await live.hear() == b"held\n"
            assert await late.hear() == b"late\n"
            assert await ending.hear() == b""
            assert await echo.ends.get() == "end"


async def test_forgotten_connections_are_in_a_blackhole_for_good_and_new_ones_work() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as live:
        live.say(b"before\n")
        assert await live.hear() == b"before\n"
        proxy.forget()
        live.say(b"lost\n")
        async with connected(proxy) as another:
            another.say(b"after\n")
            assert await another.hear() == b"after\n"
        proxy.heal()
        assert await live.silent()
        assert echo.open == 1
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await live.hear()


async def test_a_reset_aborts_both_sides_and_new_connections_work() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as client:
        client.say(b"before\n")
        await client.hear()
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await client.hear()
        assert await echo.ends.get() == "reset"
        async with connected(proxy) as another:
            another.say(b"after\n")
            assert await another.hear() == b"after\n"


async def test_a_reset_goes_through_a_blackhole() -> None:
    async with proxied() as (echo, proxy), connected(proxy) as live:
        live.say(b"before\n")
        await live.hear()
        proxy.blackhole()
        async with connected(proxy) as late:
            late.say(b"late\n")
            assert await late.silent()
            proxy.reset()
            for client in (live, late):
                with pytest.raises(ConnectionResetError):
                    await client.hear()
        assert await echo.ends.get() == "reset"
        assert echo.open == 0


async def test_new_connections_are_refused_while_live_ones_go_on() -> None:
    async with proxied() as (_, proxy), connected(proxy) as live:
        live.say(b"before\n")
        await live.hear()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, proxy.port)
        live.say(b"still\n")
        assert await live.hear() == b"still\n"
        proxy.heal()
        async with connected(proxy) as another:
            another.say(b"after\n")
            assert await another.hear() == b"after\n"


async def test_a_delay_counts_each_way() -> None:
    loop = asyncio.get_running_loop()
    async with proxied() as (_, proxy), connected(proxy) as client:
        client.say(b"before\n")
        await client.hear()
        proxy.delay(SOON)
        start = loop.time()
        client.say(b"slow\n")
        assert await client.hear() == b"slow\n"
        assert loop.time() - start >= 2 * SOON * 0.9


async def test_a_server_that_is_away_resets_its_clients() -> None:
    gone = await asyncio.start_server(Echo(), HOST, 0)
    async with asyncio.timeout(LONG), FaultProxy(*gone.sockets[0].getsockname()) as proxy:
        gone.close()
        async with connected(proxy) as client:
            with pytest.raises(ConnectionResetError):
                await client.hear()


async def test_leaving_it_ends_its_connections_and_its_port() -> None:
    async with proxied() as (echo, proxy):
        async with FaultProxy(HOST, proxy.port) as second:
            client = Client(*await asyncio.open_connection(HOST, second.port))
            client.say(b"before\n")
            await client.hear()
        assert await echo.ends.get() == "reset"
        with pytest.raises(ConnectionResetError):
            await client.hear()
        client.writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, second.port)
