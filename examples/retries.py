"""Retries around the factory, with stamina: a server that is down for a moment costs its users some
time and no errors.

The pool itself never repeats a creation: what the factory raises goes, unchanged, to the user who
has waited longest. With retries that is what the last attempt has raised. Needs `stamina`.

Output:
    ConnectionRefusedError: attempt 2 follows
    ConnectionRefusedError: attempt 3 follows
    the server is up: ['A', 'B', 'C'], 1 connection
    the server is gone: the connection was lost
    ConnectionRefusedError: attempt 2 follows
    ConnectionRefusedError: attempt 3 follows
    ConnectionRefusedError: attempt 4 follows
    given up: ConnectionRefusedError
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import StreamReader, StreamWriter

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from nodetool.concurrency import AsyncResourcePool

Connection = tuple[StreamReader, StreamWriter]


def connections(port: int) -> AsyncResourcePool[Connection]:
    """A pool of connections, to be opened with ``async with``."""

    @stamina.retry(
        on=OSError,  # what may pass; not a wrong password
        attempts=4,
        timeout=10,
        wait_initial=0.05,
        wait_max=1,
        wait_jitter=0.05,  # so that the clients of a server that comes back do not come all at once
    )
    async def connect() -> Connection:
        return await asyncio.open_connection("127.0.0.1", port)

    return AsyncResourcePool(
        connect,
        disconnect,
        max_size=1,
        acquisition_timeout=15,  # who cannot wait for all attempts gives up earlier, and alone
        creation_timeout=20,  # of all attempts together; so long close() may take
        check=lambda connection: not connection[0].at_eof(),
        check_after_idle=0,  # the check costs nothing, so it runs before every use
        discard_on=BaseException,
        name="connections",
    )


async def disconnect(connection: Connection) -> None:
    """Whatever the other side does."""
    connection[1].close()
    await connection[1].wait_closed()


async def ask(pool: AsyncResourcePool[Connection], text: str) -> str:
    """One line there, one line back."""
    async with pool.acquire_context() as (reader, writer):
        writer.write(f"{text}\n".encode())
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection was lost")
        return line.decode().strip()


async def main() -> None:
    """Start with the server down, and end so."""
    with socket.socket() as bound:  # refuses connections until it listens
        bound.bind(("127.0.0.1", 0))
        server = await asyncio.start_server(shout, sock=bound, start_serving=False)
        up = asyncio.Event()

        def tell(details: RetryDetails) -> None:
            print(f"{type(details.caused_by).__name__}: attempt {details.retry_num + 1} follows")
            if details.retry_num == 2 and not up.is_set():
                bound.listen()
                up.set()

        set_on_retry_hooks([tell])  # in place of stamina's own, which logs a warning
        async with connections(bound.getsockname()[1]) as pool:
            users = asyncio.gather(*(ask(pool, letter) for letter in "abc"))
            await up.wait()
            await server.start_serving()
            print(f"the server is up: {await users}, {pool.stats().created} connection")

            server.close()
            try:
                await ask(pool, "bye")
            except ConnectionError as error:
                print(f"the server is gone: {error}")
            try:
                await ask(pool, "anybody?")
            except ConnectionRefusedError as error:
                print(f"given up: {type(error).__name__}")
        await server.wait_closed()


# -------------------------------------------------------------- only for this example: the server


async def shout(reader: StreamReader, writer: StreamWriter) -> None:
    """Every line in capitals, until one says good-bye."""
    while (line := await reader.readline()) not in (b"", b"bye\n"):
        writer.write(line.upper())
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
