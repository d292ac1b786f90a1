"""This example shows a FastAPI service: shutdown, overload, metrics, and a report of leaks.

Output:
    /metrics: items_pool_idle 0 items_pool_in_use 2
    /leases: [["task '...'", 0...], ["task '...'", 0...]]
    8 times /slow at once: 200 200 200 200 503 503 503 503
    after the shutdown, the pool is closed: True
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from aiosqlite import Connection, connect
from fastapi import Depends, FastAPI, Request, Response

from nodetool.concurrency import AsyncResourcePool, ResourcePoolTimeoutError
from servers.web_service import visit


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncResourcePool(
        lambda: connect(":memory:"),
        Connection.close,
        max_size=2,
        max_waiting=2,  # no more than it can serve within the time limit
        acquisition_timeout=2,  # less than clients wait
        creation_timeout=5,
        reset=Connection.rollback,
        leak_threshold=5,  # logs a connection that is in use for longer, and its task
    ) as app.state.pool:
        yield  # then comes the shutdown: the pool waits for requests, and closes the connections


async def lease(request: Request) -> AsyncIterator[Connection]:
    async with request.app.state.pool.acquire_context() as connection:
        yield connection


async def slow(db: Annotated[Connection, Depends(lease, scope="function")]) -> Any:
    return await asyncio.sleep(0.5, await db.execute_fetchall("select 1"))


async def metrics(request: Request) -> Response:
    gauges = request.app.state.pool.gauges()._asdict()
    return Response("".join(f"items_pool_{name} {number}\n" for name, number in gauges.items()))


async def leases(request: Request) -> Any:
    return [(one.holder, one.seconds) for one in request.app.state.pool.leases()]


overloaded = Response("overloaded", 503, {"Retry-After": "1"})
handlers: Any = {ResourcePoolTimeoutError: lambda *_: overloaded}
app = FastAPI(lifespan=lifespan, exception_handlers=handlers)
for endpoint in (slow, metrics, leases):
    app.get(f"/{endpoint.__name__}")(endpoint)
asyncio.run(visit(app))
