"""A run through an outage, in virtual time: the picture and the table of the page about outages.

    python -m docs.outage    writes docs/outage.svg

Users send requests while the server dies, refuses connects, lets them hang, and comes back. Time
is virtual, so that every run is the same.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import NamedTuple

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.timeline import Timeline, draw
from nodetool.concurrency.verify._virtual_time import VirtualTimeLoop

FILE = Path(__file__).with_name("outage.svg")
USERS = 4
SECONDS = 5


class Part(NamedTuple):
    """One second of the run."""

    server: str
    answers: int
    failures: int
    connects_failed: int


class Server:
    """A server that works for a second, is away for two, and works again."""

    def __init__(self) -> None:
        self.start = asyncio.get_running_loop().time()

    def state(self) -> str:
        """Return what the server does now."""
        second = int(asyncio.get_running_loop().time() - self.start)
        return {1: "refuses", 2: "hangs"}.get(second, "works")

    async def connect(self) -> Connection:
        """Connect in 20 ms, unless the server refuses it or does not answer."""
        await asyncio.sleep(0.02)
        if self.state() == "hangs":
            await asyncio.sleep(60)
        if self.state() == "refuses":
            raise ConnectionError("connection refused")
        return Connection(self)


class Connection:
    """A connection, which is lost when the server dies."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def query(self, seconds: float = 0.15) -> None:
        """Wait for an answer."""
        await asyncio.sleep(seconds)
        if self.server.state() != "works":
            raise ConnectionError("connection lost")

    async def ping(self) -> None:
        """Send a query that takes 10 ms."""
        await self.query(0.01)


async def run(timeline: Timeline) -> list[Part]:
    """Go through the outage, and return what happened in each second."""
    server = Server()
    pool = AsyncResourcePool(
        server.connect,
        max_size=3,
        min_size=1,
        check=Connection.ping,
        check_after_idle=0.1,
        creation_timeout=0.4,
        acquisition_timeout=0.6,
        discard_on=ConnectionError,
        listener=timeline,
        name="outage",
    )
    answers = failures = 0

    async def user() -> None:
        nonlocal answers, failures
        while True:
            try:
                async with pool.acquire_context() as connection:
                    await connection.query()
                answers += 1
            except (ConnectionError, TimeoutError):
                failures += 1
            await asyncio.sleep(0.15)

    parts = []
    async with pool:
        users = [asyncio.create_task(user(), name=f"user {number}") for number in range(USERS)]
        for _ in range(SECONDS):
            state = server.state()
            before = answers, failures, pool.stats().creation_failures
            await asyncio.sleep(1)
            after = answers, failures, pool.stats().creation_failures
            parts.append(Part(state, *(new - old for new, old in zip(after, before, strict=True))))
        for task in users:
            task.cancel()
        await asyncio.wait(users)
    return parts


def outage() -> tuple[str, list[Part]]:
    """Return the picture of the run, and its parts."""
    timeline = Timeline("outage")
    logger = logging.getLogger("nodetool.concurrency.pool")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the failed connects are on purpose
    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            parts = runner.run(run(timeline))
    finally:
        logger.setLevel(level)
    return draw(timeline.recording(), width=1000), parts


def table() -> str:
    """Return what happened in each second as a table."""
    lines = [
        "| Second | The server | Requests answered | Requests failed | Connects failed |",
        "|---|---|---|---|---|",
    ]
    for number, part in enumerate(outage()[1], 1):
        lines.append(f"| {number} | {' | '.join(map(str, part))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    FILE.write_text(outage()[0], encoding="utf-8")
