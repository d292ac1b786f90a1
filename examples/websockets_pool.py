"""WebSocket connections in a pool, each for one request and its answer at a time.

A connection whose user was cancelled before the answer came is closed: that answer would be taken
for the next one's. Connections that the server has ended, here for a restart, are replaced. Needs
`websockets`, with which the server of this example is made, too.

Output:
    20 requests over 4 connections, all answers right: True
    cancelled before the answer: 1 closed, the next answer is right: True
    the server restarts; 20 requests over 4 connections, all answers right: True
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from nodetool.concurrency import AsyncResourcePool

Pool = AsyncResourcePool[ClientConnection]


def connections(url: str) -> Pool:
    """A pool of connections, to be opened with ``async with``."""
    return AsyncResourcePool(
        # It pings every 20 s by itself: idle connections stay alive, or are known to be dead.
        lambda: connect(url),
        lambda connection: connection.close(),
        max_size=4,
        max_age=3600,  # servers that were added later get their share
        max_age_jitter=600,
        max_idle_time=60,
        acquisition_timeout=5,
        creation_timeout=10,
        closer_timeout=15,  # longer than its own close_timeout of 10 s
        check=lambda connection: connection.state is State.OPEN,  # costs nothing,
        check_after_idle=0,  # so it runs before every use
        discard_on=BaseException,  # whatever stops an exchange may leave an answer behind
        name="websockets",
    )


async def double(pool: Pool, number: int, delay: float = 0) -> int:
    """Ask, and get the answer."""
    async with pool.acquire_context() as connection:
        await connection.send(json.dumps({"number": number, "delay": delay}))
        answer = json.loads(await connection.recv())
    return int(answer["double"])


async def twenty(pool: Pool) -> str:
    """Many at once."""
    answers = await asyncio.gather(*(double(pool, number) for number in range(20)))
    right = answers == [2 * number for number in range(20)]
    return f"20 requests over {pool.stats().size} connections, all answers right: {right}"


async def main() -> None:
    """Use it, and let things go wrong."""
    async with serve(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connections(f"ws://127.0.0.1:{port}") as pool:
            print(await twenty(pool))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await double(pool, 1, delay=60)
            right = await double(pool, 2) == 4
            print(f"cancelled before the answer: {pool.stats().interrupted} closed,", end=" ")
            print(f"the next answer is right: {right}")

            server.close()
            await server.wait_closed()
            async with serve(answer, "127.0.0.1", port):
                print(f"the server restarts; {await twenty(pool)}")
                await pool.close()


# -------------------------------------------------------------- only for this example: the server


async def answer(connection: ServerConnection) -> None:
    """One answer for each request, which may take a while, but not longer than the connection."""
    async for message in connection:
        request = json.loads(message)
        with suppress(TimeoutError):
            await asyncio.wait_for(connection.wait_closed(), request["delay"])
        with suppress(ConnectionClosed):
            await connection.send(json.dumps({"double": 2 * request["number"]}))


if __name__ == "__main__":
    asyncio.run(main())
