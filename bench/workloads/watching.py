"""W14: the cost of a lease in a pool that tracks its leases, has a listener, or has a trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.contenders import Contender, close, create
from bench.size import Size
from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.trace import TraceFile

from .common import in_turns
from .lease import pairs


async def watched_lease(contender: Contender, size: Size) -> dict[str, float]:
    """Compare leases of our pool with those of the same pool without an observer."""
    plain: AsyncResourcePool[Any] = AsyncResourcePool(create, close)
    slices, cycles = size.count(50), size.count(1_000)
    figures = {}
    with TemporaryDirectory() as directory, TraceFile(Path(directory) / "trace") as trace:
        pools: dict[str, AsyncResourcePool[Any]] = {
            "leak_threshold": AsyncResourcePool(create, close, leak_threshold=3_600.0),
            "a listener": AsyncResourcePool(create, close, listener=lambda _: None),
            "a trace": AsyncResourcePool(create, close, trace=trace),
        }
        for name, pool in pools.items():
            pair, _ = await in_turns(pairs(plain), pairs(pool), slices, cycles)
            context, _ = await in_turns(contexts(plain), contexts(pool), slices, cycles)
            figures[f"{name}: acquire/release ÷ plain"] = pair
            figures[f"{name}: async with ÷ plain"] = context
            await pool.close()
        await plain.close()
    return figures


def contexts(pool: AsyncResourcePool[Any]) -> Callable[[int], Awaitable[None]]:
    async def uses(cycles: int) -> None:
        for _ in range(cycles):
            async with pool.acquire_context():
                pass

    return uses
