"""A context manager whose end awaits something. Its `__aexit__` gets a traceback."""

from __future__ import annotations

from nodetool.concurrency.testing import Events


class ClosesSlowly:
    def __init__(self, events: Events) -> None:
        self.events = events

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc: object) -> None:
        await self.events.call("close", results=(1,))
