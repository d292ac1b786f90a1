"""Resources that must be entered and left by the same task: sessions with a task group inside.

A pool calls factory and closer in different tasks, and cancel scopes and task groups refuse that.
`AsyncResourcePool.from_context` gives each context manager a task that enters it, waits, and leaves
it. A session that ends by itself is not handed out again. Needs `anyio`.

Output:
    2 users with a session each, 4 calls at once in it: [0, 1, 4, 9], [0, 1, 4, 9]
    the server ends a session in use: ConnectionError
    and an idle one; the next call: 81
    3 sessions, each left by the task that had entered it: True
"""

from __future__ import annotations

import asyncio
import json
from asyncio import Future, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import anyio

from nodetool.concurrency import AsyncResourcePool


class Session:
    """Calls over one connection, several at a time: the answers come in any order."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.numbers = count()
        self.waiting: dict[int, Future[int]] = {}
        self.ended = False

    async def square(self, number: int) -> int:
        """One call."""
        if self.ended:
            raise ConnectionError("the server has ended the session")
        key = next(self.numbers)
        answer = self.waiting[key] = asyncio.get_running_loop().create_future()
        try:
            self.writer.write(json.dumps([key, number]).encode() + b"\n")
            await self.writer.drain()
            result: int = await answer
            return result
        finally:
            del self.waiting[key]

    async def receive(self) -> None:
        """Give the answers to those who wait for them, for as long as any come."""
        while line := await self.reader.readline():
            key, result = json.loads(line)
            answer = self.waiting.get(key)
            if answer is not None and not answer.done():  # nor cancelled
                answer.set_result(result)
        self.ended = True
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the server has ended the session"))


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Session]:
    """A session; it ends by itself, by a cancellation of its own, when the server has ended it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    session = Session(reader, writer)
    entered_by = asyncio.current_task()
    try:
        async with anyio.create_task_group() as group:

            async def receive() -> None:
                await session.receive()
                group.cancel_scope.cancel()

            group.start_soon(receive)
            yield session
            group.cancel_scope.cancel()
    finally:
        left_by_who_entered.append(asyncio.current_task() is entered_by)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


left_by_who_entered: list[bool] = []


def sessions(port: int) -> AsyncResourcePool[Session]:
    """A pool of sessions, to be opened with ``async with``."""
    return AsyncResourcePool.from_context(
        lambda: connect(port),
        max_size=2,
        max_idle_time=60,
        acquisition_timeout=5,
        creation_timeout=5,
        closer_timeout=5,  # then leaving is cancelled
        discard_on=ConnectionError,  # not if cancelled: nobody takes the late answer for another's
        name="sessions",
    )


async def squares(pool: AsyncResourcePool[Session], turn: asyncio.Barrier) -> list[int]:
    """Four calls at once."""
    async with pool.acquire_context() as session:
        await turn.wait()  # until another one has a session, too
        return await asyncio.gather(*(session.square(number) for number in range(4)))


async def main() -> None:
    """Use it, and let things go wrong."""
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        async with sessions(server.sockets[0].getsockname()[1]) as pool:
            turn = asyncio.Barrier(2)
            first, second = await asyncio.gather(squares(pool, turn), squares(pool, turn))
            print(f"2 users with a session each, 4 calls at once in it: {first}, {second}")
            try:
                async with pool.acquire_context() as session:
                    await session.square(-1)
            except ConnectionError as error:
                print(f"the server ends a session in use: {type(error).__name__}")

            async with pool.acquire_context() as session:
                session.writer.write(b"[0, -1]\n")
            await asyncio.sleep(0.2)
            async with pool.acquire_context() as session:
                print(f"and an idle one; the next call: {await session.square(9)}")
        same = all(left_by_who_entered)
        number = len(left_by_who_entered)
        print(f"{number} sessions, each left by the task that had entered it: {same}")


# -------------------------------------------------------------- only for this example: the server


async def answer(reader: StreamReader, writer: StreamWriter) -> None:
    """Answers to calls, until one has a negative number."""
    while line := await reader.readline():
        key, number = json.loads(line)
        if number < 0:
            break
        writer.write(json.dumps([key, number**2]).encode() + b"\n")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
