"""Pools in scenarios of the explorer, ``nodetool.concurrency.testing``.

    from nodetool.concurrency import AsyncResourcePool
    from nodetool.concurrency.testing import Events, explore
    from nodetool.concurrency.verify.schedules import watch_pool

    async def scenario(events: Events) -> None:
        pool = watch_pool(events, AsyncResourcePool(connect, max_size=1))
        ...

Import this module in every scenario that uses a pool, even if the pool is not watched. The import
registers the plug-in with which the explorer compares states of pools. Without the plug-in, the
explorer runs more schedules and may call a correct scenario nondeterministic.
"""

from ._explored_pools import GuaranteeError, UnfollowedError, watch_pool

__all__ = ["GuaranteeError", "UnfollowedError", "watch_pool"]

for _public in (GuaranteeError, UnfollowedError, watch_pool):
    _public.__module__ = __name__  # users must see no private module
