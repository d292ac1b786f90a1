"""A WebSocket server that doubles numbers."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed


async def double(connection: ServerConnection) -> None:
    """Answer each request after its delay, unless the connection ends before."""
    async for message in connection:
        request = json.loads(message)
        with suppress(TimeoutError):
            await asyncio.wait_for(connection.wait_closed(), request["delay"])
        with suppress(ConnectionClosed):
            await connection.send(json.dumps({"double": 2 * request["number"]}))
