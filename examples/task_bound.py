"""This example shows resources that one task must enter and leave: sessions with a task group.

A pool calls factory and closer in different tasks. Cancel scopes and task groups refuse that. With
`from_context`, a task of its own enters and leaves each session. Needs `anyio`.

Output:
    two users have a session each: True
    one session ends by itself: 1 expired
    each session was left by the task that had entered it: {True}
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from nodetool.concurrency import INTERRUPTIONS, AsyncResourcePool

left_by_its_task: set[bool] = set()


class Session:
    def __init__(self) -> None:
        self.lost = anyio.Event()


@asynccontextmanager
async def connect() -> AsyncIterator[Session]:
    session, entered_by = Session(), asyncio.current_task()
    async with anyio.create_task_group() as group:

        async def heartbeat() -> None:  # a real one also sends a message now and then
            await session.lost.wait()
            group.cancel_scope.cancel()

        group.start_soon(heartbeat)
        yield session
        group.cancel_scope.cancel()
    left_by_its_task.add(asyncio.current_task() is entered_by)


async def main() -> None:
    async with AsyncResourcePool.from_context(
        connect,
        max_size=2,
        acquisition_timeout=5,
        creation_timeout=5,
        discard_on=(*INTERRUPTIONS, ConnectionError),
    ) as pool:
        async with pool.acquire_context() as one, pool.acquire_context() as other:
            print("two users have a session each:", one is not other)
        one.lost.set()
        await asyncio.sleep(0.1)
        print("one session ends by itself:", pool.stats().expired, "expired")
    print("each session was left by the task that had entered it:", left_by_its_task)


asyncio.run(main())
