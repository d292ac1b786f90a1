"""A server with faults, which knows the connections that exist outside of the pool."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

LIMIT = 0.01  # seconds for a call of the factory or of the closer
BEYOND = 5 * LIMIT


class Connection:
    """A resource."""

    __slots__ = ("__weakref__",)


class Server:
    """The callbacks of a pool. Some calls fail, some take too long.

    Args:
        chance: Decides about the faults.
    """

    def __init__(self, chance: Random) -> None:
        self.living: set[Connection] = set()
        self.connects = 0
        self._chance = chance

    async def connect(self) -> Connection:
        """Connect. One call of 25 fails, one of 200 is late, and one of 400 ignores its end."""
        fate = self._chance.random()
        if fate < 0.04:
            await asyncio.sleep(0)
            raise ConnectionError("refused, on purpose")
        if fate < 0.045:
            await asyncio.sleep(BEYOND)
        elif fate < 0.0475:
            with suppress(asyncio.CancelledError):  # so that the connection comes late
                await asyncio.sleep(BEYOND)
        elif fate < 0.5:
            await asyncio.sleep(0)
        connection = Connection()
        self.living.add(connection)
        self.connects += 1
        return connection

    async def check(self, _: Connection) -> bool:
        """Check. One call of 50 says no, and one of 100 fails."""
        await asyncio.sleep(0)
        fate = self._chance.random()
        if fate < 0.01:
            raise ConnectionError("broken, on purpose")
        return fate > 0.03

    async def reset(self, _: Connection) -> None:
        """Reset. One call of 100 fails."""
        if self._chance.random() < 0.01:
            raise ConnectionError("broken, on purpose")

    async def close(self, connection: Connection) -> None:
        """Close. One call of 100 fails, and one of 200 takes too long."""
        try:
            fate = self._chance.random()
            if fate < 0.005:
                await asyncio.sleep(BEYOND)
            elif fate < 0.015:
                raise ConnectionError("it does not end well, on purpose")
        finally:
            self.living.remove(connection)
