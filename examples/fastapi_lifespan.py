"""A pool in a FastAPI application: opened and closed by its lifespan, and given to the endpoints by
a dependency. A service that is overloaded says so at once: it answers 503 instead of piling up
requests. Needs `fastapi`, `uvicorn` and `aiosqlite`; the requests of this example are `httpx`'s.

Output:
    GET /items/2: 200 {'name': 'milk'}
    GET /items/9: 404 {'detail': 'no such item'}
    8 slow requests, and soon: 503 503 503 503
        {'detail': 'overloaded'}, to come back after 1 s
    in the end: 200 200 200 200 503 503 503 503
    at the end the pool is closed: True
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import aiosqlite
import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from nodetool.concurrency import (
    AsyncResourcePool,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)

DATABASE = "file:items?mode=memory&cache=shared"
Pool = AsyncResourcePool[aiosqlite.Connection]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The pool is made here, in the event loop that it will be used in: one for each process."""
    async with AsyncResourcePool(
        lambda: aiosqlite.connect(DATABASE, uri=True),
        aiosqlite.Connection.close,
        max_size=2,
        min_size=2,  # after the first moment no request waits for one to be made
        max_waiting=2,  # no more than can be served within the timeout
        acquisition_timeout=2,  # less than clients wait
        reset=aiosqlite.Connection.rollback,  # whatever an endpoint did not commit
        name="items",
    ) as pool:
        app.state.pool = pool
        yield


async def connect(request: Request) -> AsyncIterator[aiosqlite.Connection]:
    """A connection for as long as the endpoint runs."""
    pool: Pool = request.app.state.pool
    async with pool.acquire_context() as connection:
        yield connection


# `scope="function"`: it is given back before the answer is sent, however slow the network is.
Connection = Annotated[aiosqlite.Connection, Depends(connect, scope="function")]

app = FastAPI(lifespan=lifespan)


@app.exception_handler(ResourcePoolExhaustedError)
@app.exception_handler(ResourcePoolTimeoutError)
async def overloaded(_: Request, error: Exception) -> JSONResponse:
    """Whoever asks again in a moment may have more luck."""
    return JSONResponse({"detail": "overloaded"}, 503, {"Retry-After": "1"})


@app.get("/items/{number}")
async def item(number: int, connection: Connection) -> dict[str, str]:
    """One item."""
    rows = await connection.execute_fetchall("select name from item where id = ?", (number,))
    for (name,) in rows:
        return {"name": name}
    raise HTTPException(404, "no such item")


thought = asyncio.Event()


@app.get("/slow")
async def slow(connection: Connection) -> int:
    """How many items there are, after some thought."""
    await thought.wait()
    [(count,)] = await connection.execute_fetchall("select count(*) from item")
    return int(count)


# ------------------------------------------------ only for this example: a server and its requests


async def main() -> None:
    """Serve on a free port, and ask."""
    async with aiosqlite.connect(DATABASE, uri=True) as keeper:  # of the data, which is in memory
        await keeper.execute("create table item (id integer primary key, name text)")
        await keeper.execute("insert into item (name) values ('tea'), ('milk')")
        await keeper.commit()
        async with serving() as url, httpx.AsyncClient(base_url=url) as client:
            for path in ("/items/2", "/items/9"):
                answer = await client.get(path)
                print(f"GET {path}: {answer.status_code} {answer.json()}")

            requests = [asyncio.create_task(client.get("/slow")) for _ in range(8)]
            try:
                soon = zip(range(4), asyncio.as_completed(requests), strict=False)
                refused = [await answer for _, answer in soon]
                print("8 slow requests, and soon:", *(answer.status_code for answer in refused))
                after = refused[0].headers["retry-after"]
                print(f"    {refused[0].json()}, to come back after {after} s")
            finally:
                thought.set()
            answers = await asyncio.gather(*requests)
            print("in the end:", *sorted(answer.status_code for answer in answers))
    print(f"at the end the pool is closed: {app.state.pool.closed}")


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """The application on a port of this machine, until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        running = asyncio.create_task(server.serve([listening]))
        try:
            while not server.started and not running.done():  # noqa: ASYNC110 (it has no event)
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


if __name__ == "__main__":
    asyncio.run(main())
