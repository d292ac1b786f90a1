"""Systematic concurrency testing: run a small asyncio scenario in every possible order.

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

The tasks are real, the event loop is the explorer's own. The explorer needs only the standard
library. It explores any asyncio code, and a plug-in adds support for pools. The command line does
the same: ``python -m nodetool.concurrency.testing module:scenario``.
"""

from ._events import Events
from ._explore import explore, replay
from ._loop import RealIOError
from ._program import plain_program
from ._result import Exploration, Failure
from ._run import Mode as Mode  # because the annotations of Exploration name it
from ._stock_loop import compare_with_stock_loop

__all__ = [
    "Events",
    "Exploration",
    "Failure",
    "RealIOError",
    "compare_with_stock_loop",
    "explore",
    "plain_program",
    "replay",
]

for _public in (
    Events,
    Exploration,
    Failure,
    RealIOError,
    compare_with_stock_loop,
    explore,
    plain_program,
    replay,
):
    _public.__module__ = __name__  # users must see no private module
