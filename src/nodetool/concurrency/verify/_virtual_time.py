"""An asyncio loop whose clock stands still while callbacks run and jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _InstantSelector(selectors.DefaultSelector):
    """A selector that never sleeps. It advances the loop's clock instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout != 0 and self.loop.stops_when_idle:
            self.loop.stop()
            return ready
        if not ready and timeout is None:
            raise RuntimeError(
                "deadlock: no callback is ready and no timer is set, but a task waits"
            )
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A deterministic loop that runs hours in milliseconds. A deadlock raises an error at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stops_when_idle = False
        selector = _InstantSelector()
        selector.loop = self
        super().__init__(selector)
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        return self.now

    def run_until_idle(self) -> None:
        """Run until no callback is ready, without letting time pass."""
        self.stops_when_idle = True
        try:
            self.run_forever()
        finally:
            self.stops_when_idle = False


async def turns(count: int = 10) -> None:
    """Run everything that is ready, without letting time pass."""
    for _ in range(count):
        await asyncio.sleep(0)
