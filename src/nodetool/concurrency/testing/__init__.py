"""Explore every way in which a small asyncio scenario can go: real tasks on a controlled loop.

    from nodetool.concurrency.testing import Events, explore

    async def scenario(events: Events) -> None:
        lock = asyncio.Lock()

        async def user() -> None:
            async with lock:
                await events.call("work", faults=(OSError("gone"),))

        events.task(user(), name="a", cancellable=True)
        ...
        await events.join()

    explore(scenario).raise_for_failure()

It needs nothing but the standard library, and the code explored need not use the pool. From the
command line: ``python -m nodetool.concurrency.testing module:scenario``.
"""

from ._events import Events
from ._explore import explore, replay
from ._loop import RealIOError
from ._reducers import FingerprintError
from ._result import Exploration, Failure
from ._stock import compare_with_stock_loop

__all__ = [
    "Events",
    "Exploration",
    "Failure",
    "FingerprintError",
    "RealIOError",
    "compare_with_stock_loop",
    "explore",
    "replay",
]
