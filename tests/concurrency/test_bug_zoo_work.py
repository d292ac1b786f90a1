"""Bugs that other pools shipped, re-enacted: the pool's work, and the program around the pool.

The third part of ``test_bug_zoo``. Some entries are bugs of the first version of this pool.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolLoopError, ResourcePoolTimeoutError
from tests import inside
from tests.concurrency.collector import without_collector
from tests.concurrency.world import Thing, World, give_back, now, outcome, played, take
from tests.reentrancy.actions import Garbage
from tests.virtual_time import turns

start = asyncio.create_task


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log nothing, because pytest would keep the errors that are logged."""
    caplog.set_level(logging.CRITICAL, "nodetool.concurrency.pool")


def cancel_this_task() -> None:
    """Cancel the running task at its next suspension."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


# Users that are cancelled while they give back.


@pytest.mark.guarantees("WaiterServed", "CloseCompletes")
@pytest.mark.parametrize("resets", [False, True])
def test_z65_a_cancelled_releaser_wakes_the_next_waiter(resets: bool) -> None:
    """aiomysql 0.3.2: release() awaited the wake-up of a waiter. If the releaser was cancelled,
    the waiter slept for ever, and so did wait_closed().
    """

    @played
    async def scenario(world: World) -> None:
        pool = world.pool(max_size=1, reset=world.clean if resets else None)
        thing = await pool.acquire()

        async def release() -> None:
            cancel_this_task()
            await pool.release(thing)

        waiter = start(pool.acquire(timeout=200))
        await turns()
        await asyncio.wait([start(release())])
        await turns()
        assert waiter.done()
        assert await waiter is thing
        await asyncio.wait([start(release())])
        await pool.close(timeout=1)
        assert thing.closed

    scenario()


@pytest.mark.guarantees("NothingLost", "CountsAgree")
@pytest.mark.parametrize("resets", [False, True])
def test_z66_a_user_that_is_cancelled_as_its_context_ends_gives_back(resets: bool) -> None:
    """psycopg_pool 3.3.3: a cancellation came while the return took the waiter's condition. The
    connection was in no list, and its slot was counted for ever.
    """

    @played
    async def scenario(world: World) -> None:
        pool = world.pool(max_size=1, reset=world.clean if resets else None)

        async def use(timeout: float) -> None:
            async with pool.acquire_context(timeout):
                await turns()
                cancel_this_task()  # the body ends without another suspension

        users = [start(use(200)) for _ in range(3)]
        await asyncio.wait(users, timeout=100)
        await turns()
        stats = pool.stats()
        assert (stats.acquired, stats.released, stats.created) == (3, 3, 1)
        assert (stats.size, stats.idle, stats.in_use, stats.waiting) == (1, 1, 0, 0)
        assert await pool.acquire(timeout=0) is world.things[0]

    scenario()


# Work in flight that helps nobody.


@pytest.mark.guarantees("WaiterServed", "FaultIsolation")
@pytest.mark.parametrize("leaves", ["times out", "is cancelled"])
def test_z67_a_hung_creation_starves_no_pool_with_room(leaves: str) -> None:
    """rsky PR 224, tarn PR 48, HikariCP #754, and this pool's first version: one connect hung, and
    all newcomers relied on it, because the acquirer that had asked for it was gone.
    """

    @played
    async def scenario(world: World) -> None:
        pool = world.pool(max_size=2, creation_timeout=None)
        world.creation.time = 1e9  # the first call hangs
        first = start(pool.acquire(timeout=1))
        await turns()
        world.creation.time = 0
        if leaves == "is cancelled":
            first.cancel()
        assert isinstance(await outcome(first), (ResourcePoolTimeoutError, asyncio.CancelledError))
        for _ in range(5):
            await pool.release(await pool.acquire(timeout=1))
        assert pool.stats().timeouts == (leaves == "times out")
        assert (pool.size, world.creation.calls) == (2, 2)

    scenario()


@pytest.mark.guarantees("FaultIsolation", "FifoService")
@played
async def test_z68_a_deadline_in_the_middle_of_a_check_costs_no_resource(world: World) -> None:
    """r2dbc-pool #175, HikariCP #1502, db_connection #324, and this pool's first version: at
    overload the acquirer with the least time left got the check. Its deadline cut the check, and a
    healthy connection was closed.
    """
    pool = world.checked_pool(max_size=1)
    world.check.time = 0.2

    async def use() -> None:
        async with pool.acquire_context(timeout=1):
            await asyncio.sleep(0.3)

    users = []
    for _ in range(40):  # ten in a second, of which the pool can serve two
        users.append(start(outcome(use())))
        await asyncio.sleep(0.1)
    await asyncio.wait(users)
    stats = pool.stats()
    assert (stats.created, stats.check_failed, world.check.cancelled) == (1, 0, 0)
    assert stats.acquired + stats.timeouts == len(users)
    assert stats.acquired >= 8


@pytest.mark.guarantees("WaiterServed")
@played
async def test_z69_one_check_that_hangs_is_followed_by_a_creation(world: World) -> None:
    """SQLx PR 4146, rust-oracledb #29, ldaptive PR 115, and this pool's first version: after a
    network failure one dead connection was pinged after the other, although a new one had room.
    """
    pool = world.checked_pool(max_size=4, check_timeout=1)
    await give_back(pool, *await take(pool, 3))
    world.check.shut()  # no ping is answered
    began = now()
    thing = await pool.acquire(timeout=2.5)
    assert (thing.number, now() - began) == (3, 1)
    assert len(world.checked) == 1


@pytest.mark.guarantees("WaiterServed")
@played
async def test_z74_acquirers_whose_checks_all_fail_get_fresh_resources(world: World) -> None:
    """This pool's first version: a failed check also withdrew the trust in a fresh resource that
    was handed over. With three users, two resources replaced each other for ever, and nobody was
    served.
    """

    checks = 0

    async def check(_: Thing) -> bool:
        nonlocal checks
        checks += 1
        await turns(2)
        return checks > 100  # because otherwise the livelock never ends

    pool = world.pool(max_size=2, check=check, check_after_idle=0)
    await give_back(pool, *await take(pool, 2))

    async def use(pause: int) -> None:
        await turns(pause)
        async with pool.acquire_context(timeout=2):
            pass

    await asyncio.gather(*(use(pause) for pause in (0, 4, 4)))
    assert world.creation.calls <= 5


# What an error leaves behind.


@pytest.mark.guarantees("OnlyFitHandedOut", "ClosedExactlyOnce")
@pytest.mark.parametrize("end", ["a sibling fails", "time is up"])
def test_z70_the_answer_to_an_interrupted_query_reaches_no_other_user(end: str) -> None:
    """bonsai #102, GINO #313, asyncpg #1265, and this pool's first version: a task group in the
    body failed, and cancelled the query of a sibling. The next user of the connection read the
    sibling's answer. A time limit in the body had the same effect.
    """
    unread: list[int] = []  # the numbers of the things whose answer nobody has read

    async def query(thing: Thing) -> None:
        unread.append(thing.number)
        await asyncio.sleep(10)
        unread.remove(thing.number)

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError

    async def query_with_a_sibling(thing: Thing) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(query(thing))
            group.create_task(fail())

    async def query_with_a_limit(thing: Thing) -> None:
        async with asyncio.timeout(1):
            await query(thing)

    @played
    async def scenario(world: World) -> None:
        pool = world.pool(max_size=1)

        async def use() -> None:
            async with pool.acquire_context() as thing:
                if end == "time is up":
                    await query_with_a_limit(thing)
                else:
                    await query_with_a_sibling(thing)

        await asyncio.wait([user := start(use())])
        assert user.exception() is not None
        assert unread == [0]
        assert (await pool.acquire(timeout=1)).number not in unread
        assert world.closed == [0]

    scenario()


@pytest.mark.guarantees("NothingLost", "WaiterServed")
@pytest.mark.parametrize("failure", ["the creation fails", "time is up"])
def test_z71_an_error_keeps_no_lease_in_the_frames_of_its_caller(failure: str) -> None:
    """CPython #88863, #124858, aiohttp #10535, and this pool's first version: the pool kept the
    errors of acquires, and these kept the frames of their callers. A half-read generator in such a
    frame held a lease of another pool.
    """

    async def make() -> Thing:
        if failure == "time is up":
            await asyncio.sleep(10)
        raise OSError("down")

    @played
    async def scenario(world: World) -> None:
        pool, other = AsyncResourcePool(make), world.pool(max_size=1)

        async def rows() -> AsyncIterator[Thing]:
            async with other.acquire_context() as thing:
                yield thing

        async def read() -> None:
            half_read = rows()
            await anext(half_read)
            await pool.acquire(timeout=1)

        with without_collector():
            error = await outcome(read())
            assert isinstance(error, OSError)
            assert other.in_use_count == 1
            del error
            assert (await other.acquire(timeout=1)).number == 1
        pool.terminate()
        await pool.close()

    scenario()


# The program around the pool.


@pytest.mark.guarantees("WaiterServed")
@played
async def test_z72_a_forked_worker_may_use_a_pool_that_was_made_at_import(world: World) -> None:
    """Uvicorn #941, Gunicorn #1953, pr-agent #2735: a client that was made at import broke in the
    forked workers. This pool's first version refused the workers even a pool that was never used.
    """
    with inside.fork_of_new_pools() as fork:
        unused, used = world.pool(max_size=1), AsyncResourcePool(object)
        await used.acquire()
        fork()
    thing = await unused.acquire(timeout=1)
    await unused.release(thing)
    assert await unused.acquire(timeout=0) is thing
    with pytest.raises(ResourcePoolLoopError, match="belongs to the parent process"):
        await used.acquire(timeout=1)


@pytest.mark.guarantees("SingleHolder")
@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, pickle.dumps])
def test_z73_no_copy_of_a_pool_shares_its_resources(make_copy: Callable[[Any], object]) -> None:
    """agno #9614, kombu PR 608, llama_index #14570: settings with a client in them were copied.
    This pool's first version lost its check and its reset in a deep copy. A shallow copy handed out
    the resources of the original.
    """

    @played
    async def scenario(world: World) -> None:
        pool = world.checked_pool(max_size=1)
        thing = await pool.acquire()
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            make_copy(pool)
        await pool.release(thing)
        assert await pool.acquire() is thing
        assert world.checked == [0]

    scenario()


@pytest.mark.guarantees("NothingLost", "OneOutcome", "OnlyFitHandedOut")
@played
async def test_z75_garbage_gives_back_in_the_middle_of_a_step(world: World) -> None:
    """This pool's first version, and relatives of the bug in asyncio.Queue: the collector ran in
    the middle of a step, and a destructor gave a resource back. That step changed a state that the
    first one had changed only in part.
    """
    pool = world.pool(max_size=2)
    hooks: list[Callable[[], None]] = []

    def forget(thing: Thing) -> None:
        """Leave the release of a thing to the next step, in which the collector runs."""
        Garbage(lambda: pool.release_nowait(thing))
        hooks.append(collect)

    def collect() -> None:
        gc.collect()

    with (
        without_collector(),
        inside.before_each_start_of_creations(hooks),
        inside.after_each_start_of_closing(hooks),
    ):
        thing = await pool.acquire()
        forget(thing)
        assert await pool.acquire(timeout=1) is thing
        forget(thing)
        await pool.retire_all()
        await turns()
        assert sorted(world.closed) == [0, 1]
        forget(await pool.acquire())
        await pool.close(timeout=1)
        assert not hooks
    assert world.closed[2:] == [2]


@pytest.mark.guarantees("CloseCompletes")
@played
async def test_z76_an_interrupt_does_not_wait_for_tasks_that_are_cancelled_last(
    world: World,
) -> None:
    """databases #477, node-oracledb #688, inmanta-core PR 8922, and this pool's first version:
    after Ctrl-C close() waited for a background task. The runner cancels such tasks only after the
    main task has ended.
    """
    pool = world.pool(max_size=1, exit_timeout=3)
    tasks: list[asyncio.Task[None]] = []

    async def hold() -> None:
        async with pool.acquire_context() as thing:
            thing.mine = True  # the pool is going to forget it
            await asyncio.sleep(1e9)

    async def main() -> None:
        async with pool:
            tasks.append(start(hold()))
            await asyncio.sleep(1e9)

    program = start(main())
    await turns()
    began = now()
    program.cancel()  # as the runner does after Ctrl-C
    await asyncio.wait([program], timeout=100)
    assert program.cancelled()
    assert now() - began == 3
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (pool.closed, pool.stats().forgotten, world.closed) == (True, 1, [])
