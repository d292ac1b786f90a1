"""`release_nowait` and `discard_nowait`: the ends of leases for callers that cannot await."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    PoolEvent,
    PoolStats,
    ResourcePoolLoopError,
)
from tests.virtual_time import run, turns

WAYS = ("release_nowait", "discard_nowait")
either = pytest.mark.parametrize("way", WAYS)
DEBUG = pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])


class Thing:
    """A resource whose destructor may call the pool."""

    hook: Callable[[], object] | None = None

    def __del__(self) -> None:
        if self.hook is not None:
            self.hook()


def give_back(pool: AsyncResourcePool[Any], way: str, resource: object) -> None:
    """Give the resource back, and see that the call returns nothing to await."""
    assert getattr(pool, way)(resource) is None


def ended(stats: PoolStats, way: str) -> int:
    """Return how many leases have ended in this way."""
    return stats.released if way == "release_nowait" else stats.discarded


async def threads_error(call: Callable[[], object]) -> BaseException | None:
    """Return what a call raises in a thread without a loop."""

    def attempt() -> BaseException | None:
        try:
            call()
        except BaseException as error:
            return error
        return None

    return await asyncio.get_running_loop().run_in_executor(None, attempt)


@pytest.mark.guarantees("WaiterServed", "NothingLost")
@DEBUG
@either
def test_a_callback_of_the_loop_serves_the_next_acquirer(way: str, debug: bool) -> None:
    async def main() -> None:
        async with AsyncResourcePool(Thing, max_size=1, debug=debug) as pool:
            held = await pool.acquire()
            waiter = asyncio.create_task(pool.acquire())
            await turns()
            asyncio.get_running_loop().call_soon(give_back, pool, way, held)
            got = await waiter
            assert (got is held) == (way == "release_nowait")
            assert ended(pool.stats(), way) == 1
            pool.release_nowait(got)

    run(main())


@pytest.mark.guarantees("WaiterServed")
@DEBUG
def test_a_lost_connection_is_discarded_by_its_own_protocol(debug: bool) -> None:
    peers: list[socket.socket] = []

    class Connection(asyncio.Protocol):
        transport: asyncio.Transport

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def connection_lost(self, error: Exception | None) -> None:
            if self is not detached:
                pool.discard_nowait(self)

        def close(self) -> None:
            self.transport.abort()

    async def connect() -> Connection:
        mine, peer = socket.socketpair()
        peers.append(peer)
        _, made = await asyncio.get_running_loop().create_connection(Connection, sock=mine)
        return made

    pool = AsyncResourcePool(connect, Connection.close, max_size=1, debug=debug)

    detached: Connection | None = None

    async def main() -> None:
        nonlocal detached
        lost = await pool.acquire()
        peers[0].close()
        fresh = await pool.acquire()  # the pool replaces the connection
        assert fresh is not lost
        assert pool.stats().discarded == 1
        detached = fresh
        await pool.detach(fresh)
        fresh.close()
        await pool.close()
        peers[1].close()

    asyncio.run(main())


@pytest.mark.guarantees("NothingLost", "NoDoubleRelease")
@DEBUG
@either
def test_a_destructor_within_a_step_gives_back_when_the_step_is_complete(
    way: str, debug: bool
) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Thing, max_size=2, debug=debug)
        dying, held = await pool.acquire(), await pool.acquire()
        seen: list[object] = []

        def hook() -> None:
            give_back(pool, way, held)
            seen.append(pool.in_use_count)
            with pytest.raises(InvalidReleaseError) as caught:
                pool.release_nowait(held)
            seen.append("was released already" in str(caught.value))

        dying.hook = hook
        await pool.release(dying)
        del dying
        await pool.resize(max_size=1)  # the pool drops the idle resource in this step
        assert seen == [1, True], "the call of the destructor was deferred"
        assert (pool.in_use_count, ended(pool.stats(), way)) == (0, 1 + (way == WAYS[0]))
        await pool.close()

    run(main())


@pytest.mark.guarantees("NothingLost")
@either
def test_a_listener_gives_back_after_the_step_that_called_it(way: str) -> None:
    async def main() -> None:
        seen: list[int] = []

        def listener(event: PoolEvent) -> None:
            if event.kind == "use" and not seen:
                give_back(pool, way, other)
                seen.append(pool.in_use_count)

        pool = AsyncResourcePool(Thing, max_size=2, listener=listener)
        first, other = await pool.acquire(), await pool.acquire()
        pool.release_nowait(first)
        assert seen == [1], "the call of the listener was deferred"
        assert pool.in_use_count == 0
        await pool.close()

    run(main())


@pytest.mark.guarantees("NoDoubleRelease")
@DEBUG
@pytest.mark.parametrize("again", WAYS)
@either
def test_a_second_end_of_the_same_lease_is_refused(way: str, again: str, debug: bool) -> None:
    async def main() -> None:
        async with AsyncResourcePool(Thing, debug=debug) as pool:
            thing = await pool.acquire()
            give_back(pool, way, thing)
            with pytest.raises(InvalidReleaseError):
                give_back(pool, again, thing)
            stats = pool.stats()
            assert stats.released + stats.discarded == 1

    run(main())


@pytest.mark.guarantees("CloseWaits", "CloseCompletes")
@either
def test_the_last_resource_ends_a_close(way: str) -> None:
    async def main() -> None:
        closed: list[object] = []
        pool = AsyncResourcePool(Thing, closed.append)
        thing = await pool.acquire()
        closing = asyncio.create_task(pool.close())
        await turns()
        assert not closing.done()
        give_back(pool, way, thing)
        await closing
        assert closed == [thing]
        with pytest.raises(InvalidReleaseError, match="it is not of this pool"):
            give_back(pool, way, thing)

    run(main())


@either
def test_what_terminate_made_the_pool_forget_is_refused(way: str) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Thing)
        thing = await pool.acquire()
        pool.terminate()
        with pytest.raises(InvalidReleaseError, match=r"forgotten by terminate\(\)"):
            give_back(pool, way, thing)
        await pool.close()

    run(main())


@pytest.mark.guarantees("NoDoubleRelease")
@DEBUG
@either
def test_the_end_of_a_context_whose_lease_is_over_does_nothing(way: str, debug: bool) -> None:
    async def main() -> None:
        async with AsyncResourcePool(Thing, debug=debug) as pool:
            async with pool.acquire_context() as thing:
                asyncio.get_running_loop().call_soon(give_back, pool, way, thing)
                await turns()
                assert pool.in_use_count == 0
            assert ended(pool.stats(), way) == 1

    run(main())


@DEBUG
def test_the_reset_runs_after_release_nowait(debug: bool) -> None:
    async def main() -> None:
        clean: list[object] = []
        async with AsyncResourcePool(Thing, reset=clean.append, debug=debug) as pool:
            thing = await pool.acquire()
            pool.release_nowait(thing)
            assert pool.stats().resetting == 1
            await turns()
            assert clean == [thing]
            assert pool.available_count == 1

    run(main())


@either
def test_another_thread_is_refused_and_is_told_what_to_call(way: str) -> None:
    async def main() -> None:
        async with AsyncResourcePool(Thing, name="db") as pool:
            thing = await pool.acquire()
            error = await threads_error(partial(give_back, pool, way, thing))
            assert isinstance(error, ResourcePoolLoopError)
            assert str(error) == (
                "pool 'db' was used without a running event loop: "
                "use it through loop.call_soon_threadsafe"
            )
            error = await threads_error(lambda: pool.release(thing).send(None))
            assert isinstance(error, ResourcePoolLoopError)
            assert pool.in_use_count == 1
            loop = asyncio.get_running_loop()
            call = partial(loop.call_soon_threadsafe, give_back, pool, way, thing)
            assert await threads_error(call) is None
            await turns()
            assert ended(pool.stats(), way) == 1

    asyncio.run(main())


@either
def test_another_loop_and_a_stopped_loop_are_refused(way: str) -> None:
    pool = AsyncResourcePool(Thing, name="db")

    async def intrude() -> None:
        with pytest.raises(ResourcePoolLoopError, match="'db' is bound to another event loop"):
            give_back(pool, way, thing)

    with asyncio.Runner() as runner:
        thing = runner.run(pool.acquire())
        with asyncio.Runner() as other:
            other.run(intrude())
        with pytest.raises(ResourcePoolLoopError, match="use it in a coroutine"):
            give_back(pool, way, thing)
        runner.run(pool.discard(thing))
        runner.run(pool.close())


@either
def test_an_unused_pool_is_not_bound_by_a_foreign_object(way: str) -> None:
    pool = AsyncResourcePool(Thing)

    async def mistake() -> None:
        with pytest.raises(InvalidReleaseError):
            give_back(pool, way, Thing())

    async def use() -> None:
        async with pool, pool.acquire_context():
            pass

    asyncio.run(mistake())
    asyncio.run(use())


@pytest.mark.guarantees("NothingLost")
@pytest.mark.parametrize("moment", ["signal", "destructor"])
@DEBUG
@either
def test_a_handler_or_a_destructor_gives_back_inside_a_former_holder_s_task(
    way: str, moment: str, debug: bool
) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=1, debug=debug)
        async with pool.acquire_context():
            pass  # so this task is a former holder

        async def hold() -> None:
            held = Thing()
            resource = await pool.acquire()
            held.hook = partial(give_back, pool, way, resource)
            holder.append(held)
            del held  # only the list keeps it
            await asyncio.sleep(1)

        holder: list[Thing] = []
        other = asyncio.create_task(hold())
        await turns()
        if moment == "destructor":
            holder.clear()
            gc.collect()
        else:
            held = holder.pop()
            former = signal.signal(signal.SIGUSR1, lambda *_: held.hook and held.hook())
            try:
                signal.raise_signal(signal.SIGUSR1)
            finally:
                signal.signal(signal.SIGUSR1, former)
                held.hook = None
        await turns()
        assert (pool.in_use_count, ended(pool.stats(), way)) == (0, 1 + (way == "release_nowait"))
        await other
        await pool.close()

    run(main())
