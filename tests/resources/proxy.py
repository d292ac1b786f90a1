"""A TCP proxy with faults, to stand between a client and its server."""

from __future__ import annotations

import asyncio
import socket
import struct

HOST = "127.0.0.1"
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST, and drops what is unsent


class FaultProxy:
    """Forwards connections to a server until it is told otherwise; all faults act at once.

    Args:
        host: Of the server.
        port: Of the server.
    """

    port: int  # to connect to, at 127.0.0.1; the same through all faults

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._delay = 0.0
        self._gate = asyncio.Event()  # that bytes and ends must pass
        self._links: dict[asyncio.Task[None], tuple[socket.socket, socket.socket]] = {}

    async def __aenter__(self) -> FaultProxy:
        self._loop = asyncio.get_running_loop()
        self._listener = _bound(0)
        self.port = self._listener.getsockname()[1]
        self.heal()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self.reset()
        await asyncio.gather(*self._links, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many clients are connected, in a blackhole or not."""
        return len(self._links)

    def blackhole(self) -> None:
        """Accept, and forward nothing either way, neither bytes nor ends, until `heal`."""
        self._gate.clear()

    def forget(self) -> None:
        """Live connections are in a blackhole for good, as of a router that has restarted; new ones
        work."""
        self._gate.clear()
        self._gate = asyncio.Event()
        self._gate.set()

    def delay(self, seconds: float) -> None:
        """Forward everything this much later."""
        self._delay = seconds

    def reset(self) -> None:
        """Abort all live connections, on both sides, with RST; new ones work."""
        for link, pair in self._links.items():
            _reset_at_close(pair)
            link.cancel()

    def refuse(self) -> None:
        """Refuse new connections; live ones go on."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = _bound(self.port)  # keeps the port: who does not listen refuses

    def heal(self) -> None:
        """End all faults but `forget`; what a blackhole held back is forwarded now."""
        self._delay = 0.0
        self._gate.set()
        self._listener.listen()
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return  # it was gone before it was accepted
        pair = client, socket.socket()
        for end in pair:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = self._loop.create_task(self._link(*pair, self._gate))
        self._links[link] = pair
        link.add_done_callback(self._unlink)

    def _unlink(self, link: asyncio.Task[None]) -> None:
        for end in self._links.pop(link):
            end.close()

    async def _link(
        self, client: socket.socket, server: socket.socket, gate: asyncio.Event
    ) -> None:
        try:
            await self._may_pass(gate)
            await self._loop.sock_connect(server, self._server)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(client, server, gate))
                pumps.create_task(self._pump(server, client, gate))
        except* OSError:  # one end is gone: tell the other
            _reset_at_close((client, server))

    async def _pump(
        self, source: socket.socket, target: socket.socket, gate: asyncio.Event
    ) -> None:
        while data := await self._loop.sock_recv(source, 65536):
            await self._may_pass(gate)
            await self._loop.sock_sendall(target, data)
        await self._may_pass(gate)
        target.shutdown(socket.SHUT_WR)

    async def _may_pass(self, gate: asyncio.Event) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)
        await gate.wait()


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    return listener


def _reset_at_close(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
