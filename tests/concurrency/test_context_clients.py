"""from_context with clients that are bound to a task: of anyio, and of MCP, built on that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.streams.stapled import StapledObjectStream

from nodetool.concurrency import AsyncResourcePool
from tests.virtual_time import run, turns


@asynccontextmanager
async def in_group() -> AsyncIterator[anyio.CancelScope]:
    """Enter a context that only the entering task may leave."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 1e9)
        yield group.cancel_scope
        group.cancel_scope.cancel()


async def test_a_task_group_of_anyio_may_be_held_which_a_plain_pool_cannot_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def enter() -> Any:
        manager = in_group()
        await manager.__aenter__()
        return manager

    pool = AsyncResourcePool.from_context(in_group)
    async with pool, pool.acquire_context() as scope:
        assert not scope.cancel_called
    assert scope.cancel_called
    assert pool.stats().closer_failures == 0

    async def plain() -> None:
        other = AsyncResourcePool(enter, lambda manager: manager.__aexit__(None, None, None))
        async with other, other.acquire_context():
            pass
        assert other.stats().closer_failures == 1

    with suppress(asyncio.CancelledError):
        await asyncio.create_task(plain())
    assert "different task" in caplog.text


class Client:
    """A client of a stream, whose reader is a task of a group in the same context."""

    def __init__(self, stream: anyio.abc.ObjectStream[str]) -> None:
        self.stream = stream
        self.answers: asyncio.Queue[str] = asyncio.Queue()

    async def call(self, text: str) -> str:
        await self.stream.send(text)
        return await self.answers.get()

    async def read(self, scope: anyio.CancelScope) -> None:
        async for text in self.stream:
            self.answers.put_nowait(text)
        scope.cancel()  # the server has hung up: the context ends by itself


@pytest.mark.parametrize("hangs_up", ["idle", "in use"])
def test_a_client_of_anyio_whose_server_hangs_up_is_replaced(hangs_up: str) -> None:
    async def serve(stream: anyio.abc.ObjectStream[str]) -> None:
        async with stream:
            async for text in stream:
                if text == "bye":
                    break
                await stream.send(text.upper())

    @asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        (to_server, at_server), (to_client, at_client) = (
            anyio.create_memory_object_stream[str](9) for _ in range(2)
        )
        client = Client(StapledObjectStream(to_server, at_client))
        async with client.stream, anyio.create_task_group() as group:
            group.start_soon(serve, StapledObjectStream(to_client, at_server))
            group.start_soon(client.read, group.cancel_scope)
            yield client
            group.cancel_scope.cancel()

    async def scenario() -> None:
        pool = AsyncResourcePool.from_context(connected, max_size=2)

        async def use(word: str) -> None:
            async with pool.acquire_context() as client:
                assert await client.call(word) == word.upper()

        async with pool:
            await asyncio.gather(*map(use, "abcdefghij"))
            async with pool.acquire_context() as client:
                await client.stream.send("bye")
                await turns(20 if hangs_up == "in use" else 0)
            await turns(20)
            await asyncio.gather(*map(use, "abcdefghij"))
        stats = pool.stats()
        assert (stats.created, stats.closer_failures) == (3, 0)
        assert stats.expired == 1

    run(scenario())


async def test_clients_of_mcp() -> None:
    mcp, servers = pytest.importorskip("mcp"), pytest.importorskip("mcp.server.mcpserver")
    server = servers.MCPServer("adds", log_level="CRITICAL")
    server.add_tool(lambda a, b: a + b, name="add", structured_output=False)
    pool = AsyncResourcePool.from_context(
        lambda: mcp.Client(server, mode="legacy"),  # which talks through streams
        max_size=2,
        check=lambda client: client.list_tools(),
        check_after_idle=0,
        closer_timeout=20,
    )

    async def add(number: int) -> str:
        async with pool.acquire_context() as client:
            answer = await client.call_tool("add", {"a": number, "b": 1})
            text: str = answer.content[0].text
            return text

    async with pool:
        assert await asyncio.gather(*map(add, range(10))) == [str(n + 1) for n in range(10)]
    assert (pool.stats().created, pool.stats().closer_failures, pool.stats().check_failed) == (
        2,
        0,
        0,
    )
