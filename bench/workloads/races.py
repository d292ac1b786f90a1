"""W6R: a caller is cancelled or times out just when it is served. Is the resource lost?"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from bench.contenders import Contender, Pool, Wanted, end, filled
from bench.size import Size

from .common import turns

PATIENCE = 0.3  # seconds after which a missing resource counts as lost
TIMEOUT = 0.01


async def hand_over(contender: Contender, size: Size) -> dict[str, float]:
    """Race a release with a cancellation, and a release with a timeout, in a pool of one."""
    lost = {"lost to cancellation": 0.0, "lost to a timeout": 0.0}
    for race in (_cancelled_before, _cancelled_during, _cancelled_after):
        for between in range(12 if race is _cancelled_during else 5):
            pool = await filled(contender, Wanted(max_size=1, timeout=PATIENCE))
            held = await pool.acquire()
            waiter = asyncio.create_task(_take(pool))
            await turns()
            await race(pool, held, waiter, between)
            await _settle(pool, waiter)
            lost["lost to cancellation"] += not await _is_there(pool)
            await _end(pool)
    rounds = size.count(100, least=5)
    for index in range(rounds):
        pool = await filled(contender, Wanted(max_size=1, timeout=TIMEOUT))
        lost["lost to a timeout"] += await _timed_out(pool, index / rounds)
        await _end(pool)
    return lost


async def _cancelled_before(pool: Pool, held: Any, waiter: asyncio.Task[Any], between: int) -> None:
    """Cancel the caller, and release the resource some turns of the loop later."""
    waiter.cancel()
    await turns(between)
    await pool.release(held)


async def _cancelled_during(pool: Pool, held: Any, waiter: asyncio.Task[Any], between: int) -> None:
    """Cancel the caller some turns after the release has started."""
    giving = asyncio.create_task(_give(pool, held))
    await turns(1 + between)
    waiter.cancel()
    await giving


async def _cancelled_after(pool: Pool, held: Any, waiter: asyncio.Task[Any], between: int) -> None:
    """Cancel the caller some turns after the release has ended."""
    await pool.release(held)
    await turns(between)
    waiter.cancel()


async def _timed_out(pool: Pool, share: float) -> bool:
    """Release the resource at about the caller's deadline. Return whether it was lost."""
    held = await pool.acquire()
    waiter = asyncio.create_task(_take(pool))
    await turns()
    due = monotonic() + TIMEOUT
    await asyncio.sleep(TIMEOUT - 0.004)
    while monotonic() < due + 0.002 * (share - 0.5):
        if share > 0.5:
            await asyncio.sleep(0)
    await pool.release(held)
    await _settle(pool, waiter)
    return not await _is_there(pool)


async def _take(pool: Pool) -> Any:
    return await pool.acquire()


async def _give(pool: Pool, resource: Any) -> None:
    await pool.release(resource)


async def _settle(pool: Pool, waiter: asyncio.Task[Any]) -> None:
    """Release the resource if the caller was served."""
    await asyncio.wait([waiter])
    if not waiter.cancelled() and waiter.exception() is None:
        await pool.release(waiter.result())


async def _is_there(pool: Pool) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            await pool.release(await pool.acquire())
    except Exception:
        return False
    return True


async def _end(pool: Pool) -> None:
    """Close the pool with a time limit, because a pool that lost a resource may never close."""
    try:
        async with asyncio.timeout(PATIENCE):
            await end(pool)
    except TimeoutError:
        pass
