"""Sessions with MCP servers in a pool, each with a process of its own that is spoken to over stdio.

There are task groups inside of these sessions, so the pool is made of contexts. A server is started
once and used by many, one at a time; what it remembers is forgotten in between; and one that has
died is replaced. Needs `mcp`.

Output:
    2 users, 2 servers, each has its own notes: ['tea', 'milk'] ['salt', 'bread']
    the next user finds: ['cake']
    a tool fails: Error executing tool erase: no such note
    a server dies: Connection closed
    the next user finds: ['jam'], 1 session was closed
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters

from nodetool.concurrency import AsyncResourcePool

Pool = AsyncResourcePool[Client]


def sessions(command: str, *args: str) -> Pool:
    """A pool of sessions, to be opened with ``async with``."""
    server = StdioServerParameters(command=command, args=[*args])
    return AsyncResourcePool.from_context(
        lambda: Client(server, read_timeout_seconds=30),
        max_size=2,  # each is a process
        max_age=3600,  # what servers leak is given back
        max_idle_time=300,
        acquisition_timeout=30,
        creation_timeout=20,  # servers may take their time to start
        check_timeout=5,
        reset_timeout=5,
        closer_timeout=10,  # longer than the 4 s that `mcp` gives a server to end
        check=lambda session: session.list_tools(cache_mode="bypass"),  # raises if it is dead
        check_after_idle=10,
        reset=lambda session: session.call_tool("forget"),
        discard_on=BaseException,  # tools that fail raise nothing; what does is about the session
        name="mcp",
    )


async def note(pool: Pool, *words: str, turn: asyncio.Barrier | None = None) -> Any:
    """All that is noted now."""
    async with pool.acquire_context() as session:
        if turn is not None:
            await turn.wait()  # until another one has a session, too
        for word in words:
            answer = await session.call_tool("note", {"word": word})
    assert answer.structured_content
    return answer.structured_content["result"]


async def main() -> None:
    """Use it, and let things go wrong."""
    async with sessions(sys.executable, __file__, "--serve") as pool:
        turn = asyncio.Barrier(2)
        notes = await asyncio.gather(
            note(pool, "tea", "milk", turn=turn), note(pool, "salt", "bread", turn=turn)
        )
        print("2 users, 2 servers, each has its own notes:", *notes)
        print("the next user finds:", await note(pool, "cake"))

        async with pool.acquire_context() as session:
            failed = await session.call_tool("erase", {"word": "bread"})
        print("a tool fails:", *(getattr(content, "text", "") for content in failed.content))

        try:
            async with pool.acquire_context() as session:
                await session.call_tool("die")
        except MCPError as error:
            print("a server dies:", error)
        found, closed = await note(pool, "jam"), pool.stats().interrupted
        print(f"the next user finds: {found}, {closed} session was closed")


# -------------------------------------------------------------- only for this example: the server


def serve() -> None:
    """A server with a memory."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer("notes", log_level="CRITICAL")
    words: list[str] = []

    @server.tool()
    def note(word: str) -> list[str]:
        words.append(word)
        return words

    @server.tool()
    def erase(word: str) -> None:
        if word not in words:
            raise ToolError("no such note")
        words.remove(word)

    @server.tool()
    def forget() -> None:
        words.clear()

    @server.tool()
    def die() -> None:
        os._exit(1)

    server.run("stdio")


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        asyncio.run(main())
