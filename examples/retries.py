"""This example shows retries around the factory, with the library `stamina`.

The pool repeats no creation. With retries, a short outage costs its users time and no errors.
Needs `stamina`.

Output:
    ConnectionRefusedError: attempt 2 follows
    ConnectionRefusedError: attempt 3 follows
    the server is up: ['A', 'B', 'C'], 1 connection
"""

import asyncio

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from nodetool.concurrency import AsyncResourcePool
from servers.lines import LateServer


@stamina.retry(
    on=OSError,  # it may pass, unlike a wrong password
    attempts=4,
    timeout=10,
    wait_initial=0.05,
    wait_jitter=0.05,  # so that not all clients come back at the same moment
)
async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def main(server: LateServer) -> None:
    def before_attempt(details: RetryDetails) -> None:
        print(f"{type(details.caused_by).__name__}: attempt {details.retry_num + 1} follows")
        if details.retry_num == 2:
            server.start()

    set_on_retry_hooks([before_attempt])
    async with AsyncResourcePool(
        lambda: connect(server.server_address[1]),
        lambda connection: connection[1].close(),
        max_size=1,
        acquisition_timeout=15,
        creation_timeout=20,  # for all attempts together
        check=lambda connection: not connection[0].at_eof(),
        check_after_idle=0,  # the check costs nothing, so it runs before every use
        discard_on=BaseException,  # an answer may be on its way after any error
    ) as pool:

        async def ask(text: str) -> str:
            async with pool.acquire_context() as (reader, writer):
                writer.write(f"{text}\n".encode())
                return (await reader.readline()).decode().strip()

        answers = await asyncio.gather(*(ask(letter) for letter in "abc"))
        print(f"the server is up: {answers}, {pool.stats().created} connection")


with LateServer() as late_server:
    asyncio.run(main(late_server))
