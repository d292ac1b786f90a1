"""Forks in the middle of a running loop.

A test runs this as ``python -m tests.concurrency.forking SCENARIO``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from nodetool.concurrency import AsyncResourcePool, PoolEvent, ResourcePoolLoopError
from tests.inside import leave_running_loop

closed: list[object] = []
unused = AsyncResourcePool(object, closed.append, name="new", min_size=1)


def in_a_loop_of_its_own(coroutine: Coroutine[Any, Any, Any]) -> None:
    async def drive() -> None:
        await coroutine

    leave_running_loop()  # because the child is a copy of what runs in the parent's loop
    asyncio.run(drive())


def refused(use: Callable[[], object]) -> None:
    try:
        use()
    except ResourcePoolLoopError as error:
        message = str(error)
    else:
        message = "it was allowed"
    assert "'db' belongs to the parent process: create a new pool" in message, message


async def given_back(call: Callable[[object], None], thing: object) -> None:
    call(thing)


def uses(pool: AsyncResourcePool[object], thing: object) -> None:
    """Check that the child is refused every use of the pool."""
    for use in (
        pool.acquire(),
        pool.acquire_context().__aenter__(),
        pool.release(thing),
        pool.discard(thing),
        pool.detach(thing),
        given_back(pool.release_nowait, thing),
        given_back(pool.discard_nowait, thing),
        pool.open(),
        pool.prune(),
        pool.retire_all(),
        pool.close(),
    ):
        refused(partial(in_a_loop_of_its_own, use))
    refused(pool.terminate)
    assert pool.size == 2


def leaves(pool: AsyncResourcePool[object], thing: object) -> None:
    """Let the child leave a context that the parent entered, by an exception that is not masked."""

    async def body() -> None:
        try:
            async with pool.acquire_context() as got:
                assert got is not thing
                if os.fork() == 0:
                    raise KeyError("mine")  # without the fork, the resource would be discarded
        except KeyError:
            finish()
        joined()

    with suppress(StopIteration):
        body().send(None)  # an idle resource: it never suspends, in either process


def drops(pool: AsyncResourcePool[object], thing: object) -> None:
    """Let the child forget everything, without a warning of its own."""


def new(pool: AsyncResourcePool[object], thing: object) -> None:
    """Let the child use a pool that the parent made and never used."""

    async def use() -> None:
        async with unused, unused.acquire_context():
            assert (unused.size, unused.in_use_count) == (1, 1)

    in_a_loop_of_its_own(use())
    assert unused.closed
    assert len(closed) == 1
    closed.clear()
    refused(partial(in_a_loop_of_its_own, pool.acquire()))


async def steps() -> None:
    """Fork in the middle of a step. In the child, the call in progress ends without an error."""
    for call in ("release", "discard", "discard_nowait", "terminate"):
        forks: list[str] = []
        in_child: list[str] = []

        def fork(_: PoolEvent, forks: list[str] = forks, in_child: list[str] = in_child) -> None:
            if forks:
                forks.clear()
                if os.fork() == 0:
                    in_child.append("child")
                else:
                    joined()

        pool = AsyncResourcePool(object, closed.append, max_size=1, listener=fork)
        thing = await pool.acquire()
        waiter = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        forks.append(call)
        result = getattr(pool, call)(*() if call == "terminate" else (thing,))
        if result is not None:
            await result
        if in_child:
            finish()
        assert not forks, "the listener was not called"
        pool.terminate()
        waiter.cancel()
        await asyncio.wait([waiter])
        await pool.close()
        closed.clear()


def finish() -> None:
    gc.collect()
    assert closed == [], "the child closed its parent's resources"
    os.write(1, b"child ends well; ")
    os._exit(0)


def joined() -> None:
    assert os.wait()[1] == 0, "the child failed"


async def main(scenario: str) -> None:
    pool = AsyncResourcePool(
        object, closed.append, name="db", max_size=2, discard_on=KeyError, max_age=100
    )
    idle, thing = await pool.acquire(), await pool.acquire()
    await pool.release(idle)
    del idle
    if scenario == "steps":
        await steps()
    elif scenario == "leaves":
        leaves(pool, thing)
    elif os.fork() == 0:
        {"uses": uses, "drops": drops, "new": new}[scenario](pool, thing)
        del pool, thing
        finish()
    else:
        joined()
    assert (pool.size, closed) == (2, [])
    await pool.release(thing)
    await pool.close()
    assert len(closed) == 2
    async with unused, unused.acquire_context():
        assert unused.in_use_count == 1, "the parent can use its pool, too"


if __name__ == "__main__":
    warnings.simplefilter("error")
    try:
        asyncio.run(main(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    print("parent ends well")
