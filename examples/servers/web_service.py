"""The visit of a web service: its server, and requests to it."""

from __future__ import annotations

import asyncio
import socket

import httpx
import uvicorn
from fastapi import FastAPI


async def visit(app: FastAPI) -> None:
    """Serve the application on a free port, send requests, and shut it down."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([listening]))
        try:
            while not server.started and not running.done():  # noqa: ASYNC110 (it has no event)
                await asyncio.sleep(0.01)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url) as client:
                await send(client)
        finally:
            server.should_exit = True
            await running
    print(f"after the shutdown, the pool is closed: {app.state.pool.closed}")


async def send(client: httpx.AsyncClient) -> None:
    """Send more requests than the service can serve, and ask it what it does."""
    requests = [asyncio.create_task(client.get("/slow")) for _ in range(8)]
    await asyncio.sleep(0.2)
    print("/metrics:", *(await client.get("/metrics")).text.split("\n")[:2])
    print("/leases:", (await client.get("/leases")).json())
    answers = await asyncio.gather(*requests)
    print("8 times /slow at once:", *sorted(answer.status_code for answer in answers))
