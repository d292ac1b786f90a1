"""A server in a thread that answers each line of text in capitals. It is down at first."""

from __future__ import annotations

from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread


class Shout(StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class LateServer(ThreadingTCPServer):
    """A server that refuses connections until `start` is called."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Shout, bind_and_activate=False)
        self.server_bind()

    def start(self) -> None:
        """Answer from now on."""
        self.server_activate()
        Thread(target=self.serve_forever, daemon=True).start()

    def server_close(self) -> None:
        """Stop. The end of a ``with`` block calls this."""
        self.shutdown()
        super().server_close()
