"""The reading of a pool's private state that the scenarios rely on."""

from __future__ import annotations

import asyncio

import pytest

from nodetool.concurrency import AsyncResourcePool
from proofs.inside import leftovers, places
from tests.virtual_time import run, turns

pytestmark = pytest.mark.untraced


def test_the_places_of_resources_and_acquirers_are_seen() -> None:
    ended = asyncio.Event()

    async def wait(*_: object) -> None:
        await ended.wait()

    async def create() -> object:
        await wait()
        return object()

    async def main() -> None:
        pool = AsyncResourcePool(
            create, wait, check=wait, check_after_idle=0, reset=wait, max_size=2
        )
        assert places(pool) == set()
        first = asyncio.create_task(pool.acquire())
        await turns(5)
        assert places(pool) == {"creating", "waiting"}
        assert leftovers(pool) == {"runs": 1}
        ended.set()
        resource = await first
        assert places(pool) == {"held"}
        ended.clear()
        await pool.release(resource)
        assert places(pool) == {"resetting"}
        ended.set()
        await turns(5)
        assert places(pool) == {"idle"}
        ended.clear()
        second = asyncio.create_task(pool.acquire())
        await turns(5)
        assert places(pool) == {"checking", "waiting"}
        retire = asyncio.create_task(pool.retire_all(wait=True))
        await turns(5)
        assert leftovers(pool) == {"futures of callers that wait for the pool": 1, "runs": 2}
        ended.set()
        held = await second
        await retire
        ended.clear()
        await pool.discard(held)
        await turns(5)
        assert places(pool) == {"closing"}
        close = asyncio.create_task(pool.close())
        await turns(5)
        assert places(pool) == set()
        ended.set()
        await close
        assert leftovers(pool) == {}

    run(main())


def test_a_resource_that_is_handed_over_is_seen_until_its_acquirer_runs() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=1, acquisition_timeout=None)
        resource = await pool.acquire()
        waits = asyncio.create_task(pool.acquire())
        await turns(2)
        assert places(pool) == {"held", "waiting"}
        await pool.release(resource)
        assert places(pool) == {"handed"}
        await pool.release(await waits)
        await pool.close()

    run(main())
