"""This example shows sessions with MCP servers, each with a server process of its own.

These sessions contain task groups, so `from_context` makes the pool. The reset lets a server
forget what a user has noted. Needs `mcp`.

Output:
    2 users with a server each: ['tea', 'milk'] ['salt', 'bread']
    the next user finds: ['cake']
    a server dies: Connection closed
    the next user finds: ['jam'], 1 session was closed
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters

from nodetool.concurrency import AsyncResourcePool

PROGRAM = str(Path(__file__).with_name("servers") / "notes.py")
SERVER = StdioServerParameters(command=sys.executable, args=[PROGRAM])


async def main() -> None:
    async with AsyncResourcePool.from_context(
        lambda: Client(SERVER, read_timeout_seconds=30),
        max_size=2,  # each is a process
        max_age=3600,
        acquisition_timeout=30,
        creation_timeout=20,  # a server may take its time to start
        check=lambda session: session.list_tools(cache_mode="bypass"),  # raises if it is dead
        check_after_idle=10,
        reset=lambda session: session.call_tool("forget"),
        discard_on=BaseException,  # a tool that fails raises nothing, so errors are the session's
    ) as pool:

        async def note(*words: str) -> Any:
            async with pool.acquire_context() as session:
                for word in words:
                    answer = await session.call_tool("note", {"word": word})
            assert answer.structured_content
            return answer.structured_content["result"]

        notes = await asyncio.gather(note("tea", "milk"), note("salt", "bread"))
        print("2 users with a server each:", *notes)
        print("the next user finds:", await note("cake"))
        try:
            async with pool.acquire_context() as session:
                await session.call_tool("die")
        except MCPError as error:
            print("a server dies:", error)
        found = await note("jam")
        print(f"the next user finds: {found}, {pool.stats().interrupted} session was closed")


if __name__ == "__main__":
    asyncio.run(main())
