"""This example shows WebSocket connections, each for one request and its answer at a time.

If a user leaves before the answer, the next user would get it. So the pool closes the connection.
Needs `websockets`.

Output:
    20 requests over 4 connections: True
    a user left before the answer: 1 closed
    20 requests over 4 connections: True
"""

import asyncio
import json
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve
from websockets.protocol import State

from nodetool.concurrency import AsyncResourcePool
from servers.doubling import double

Pool = AsyncResourcePool[ClientConnection]


async def ask(pool: Pool, number: int, delay: float = 0) -> int:
    async with pool.acquire_context() as connection:
        await connection.send(json.dumps({"number": number, "delay": delay}))
        return int(json.loads(await connection.recv())["double"])


async def twenty(pool: Pool) -> str:
    answers = await asyncio.gather(*(ask(pool, number) for number in range(20)))
    return f"20 requests over {pool.stats().size} connections: {answers == [*range(0, 40, 2)]}"


async def main() -> None:
    async with serve(double, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncResourcePool(
            lambda: connect(f"ws://127.0.0.1:{port}"),  # it pings idle connections itself
            ClientConnection.close,
            max_size=4,
            acquisition_timeout=5,
            creation_timeout=10,
            closer_timeout=15,  # longer than the library's own limit, 10 s
            check=lambda connection: connection.state is State.OPEN,
            check_after_idle=0,  # the check costs nothing, so it runs before every use
            discard_on=BaseException,  # an answer may be on its way after any error
        ) as pool:
            print(await twenty(pool))
            with suppress(TimeoutError):
                await asyncio.wait_for(ask(pool, 1, delay=60), 0.1)
            print(f"a user left before the answer: {pool.stats().interrupted} closed")
            print(await twenty(pool))


asyncio.run(main())
