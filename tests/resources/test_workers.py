"""A pool of worker processes: what the kernel, the users and the pool see of faults."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError, ResourcePoolClosedError
from tests.resources.common import fill, remembering, until
from tests.resources.peers import Counted, Worker, Workers, in_time, load

SHORT = 0.2  # seconds that are given up on purpose
FATAL = asyncio.CancelledError, ConnectionError  # what a worker is not used again after

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists() and os.environ.get("CI") != "true",
    reason="needs /proc to see the processes",
)

deadline = pytest.fixture(autouse=True)(in_time)


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers()
    yield workers
    await workers.end()


def pool_of(workers: Workers, **options: Any) -> AsyncResourcePool[Worker]:
    options.setdefault("closer", Worker.end)
    options.setdefault("check_after_idle", 0)
    return AsyncResourcePool(workers.start, **options)


async def ask(worker: Worker, token: str) -> str:
    return await Counted()(worker, token)


async def check(worker: Worker) -> None:
    await worker.ask("echo")


async def impatient(worker: Worker) -> None:
    async with asyncio.timeout(SHORT):
        await worker.ask("echo")


async def forget(worker: Worker) -> None:
    await worker.ask("forget")


async def stop(workers: Workers, worker: Worker) -> None:
    """A process that is stopped is a blackhole: it takes what is written, and answers nothing."""
    worker.process.send_signal(SIGSTOP)
    await until(lambda: workers.alive[worker.process.pid] == "T")


@pytest.mark.parametrize("debug", [False, True])
async def test_all_users_get_their_own_answers_from_few_workers(
    workers: Workers, debug: bool
) -> None:
    async with pool_of(workers, max_size=3, debug=debug) as pool:
        assert (await load(pool, ask, seed=1)).answered == 150
        assert len(workers.alive) == 3
    assert workers.alive == {}
    assert workers.peak == workers.started == 3


async def test_users_cancelled_at_any_moment_leave_no_answer_to_others(workers: Workers) -> None:
    async with pool_of(workers, max_size=3) as pool:
        tally = await load(pool, ask, seed=2, cancel=0.15)
        interrupted = pool.stats().interrupted
    assert tally.cancelled > 5
    assert tally.answered == 150 - tally.cancelled
    assert interrupted > 0
    assert workers.peak == 3
    assert workers.alive == {}


async def cancel_a_request(pool: AsyncResourcePool[Worker], workers: Workers) -> None:
    """One that the worker has got, and will answer."""
    asked = asyncio.Event()

    async def user() -> None:
        async with pool.acquire_context() as worker:
            await stop(workers, worker)
            asked.set()
            await ask(worker, "of the cancelled one")

    request = asyncio.create_task(user())
    await asked.wait()
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.wait([request])
    for pid in workers.alive:
        os.kill(pid, SIGCONT)


async def test_a_request_that_is_cancelled_in_the_middle_costs_its_worker(workers: Workers) -> None:
    async with pool_of(workers, max_size=1) as pool:
        await cancel_a_request(pool, workers)
        async with pool.acquire_context() as worker:
            assert await ask(worker, "mine") == "mine"
            assert list(workers.alive) == [worker.process.pid]
        assert pool.stats().interrupted == 1
    assert workers.started == 2
    assert workers.peak == 1


async def test_without_discard_the_next_user_would_read_the_answer_of_the_cancelled_one(
    workers: Workers,
) -> None:
    async with pool_of(workers, max_size=1, discard_on=()) as pool:
        await cancel_a_request(pool, workers)
        async with pool.acquire_context() as worker:
            assert await ask(worker, "mine") == "of the cancelled one"
    assert workers.started == 1


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("seen", [False, True])
async def test_workers_that_died_or_hang_while_idle_are_found_by_the_check(
    workers: Workers, fault: str, seen: bool
) -> None:
    pool = pool_of(workers, max_size=2, check=impatient, closer_timeout=SHORT)
    async with pool:
        for worker in await fill(pool, 2):
            worker.process.send_signal(Signals[fault])
        if seen:
            await until(lambda: set(workers.alive.values()) <= {"T"})
        async with pool.acquire_context() as worker:
            assert await ask(worker, "mine") == "mine"
            await until(lambda: list(workers.alive) == [worker.process.pid])
        assert pool.stats().check_failed == 2
        assert fault == "SIGKILL" or pool.stats().closer_failures == 2
    assert workers.alive == {}
    assert workers.started == 3


async def test_without_a_check_a_user_would_meet_the_dead_one(workers: Workers) -> None:
    async with pool_of(workers, max_size=2) as pool:
        for worker in await fill(pool, 2):
            worker.process.kill()
        with pytest.raises(ConnectionError):
            async with pool.acquire_context() as worker:
                await ask(worker, "lost")


@pytest.mark.parametrize(("closer", "left"), [(Worker.finish, "T"), (Worker.end, None)])
async def test_a_closer_that_hangs_is_given_up_and_its_worker_lives_on_unless_the_closer_kills_it(
    workers: Workers, closer: Any, left: str | None
) -> None:
    async with pool_of(workers, max_size=1, closer=closer, closer_timeout=SHORT) as pool:
        async with pool.acquire_context() as worker:
            await stop(workers, worker)
            await pool.discard(worker)
        async with pool.acquire_context() as another:
            assert await ask(another, "mine") == "mine"
        assert pool.stats().closer_failures == 1
    await until(lambda: workers.alive.get(worker.process.pid) == left)


async def lose(pool: AsyncResourcePool[Worker], workers: Workers) -> None:
    """Ask a worker that is killed instead of answering."""
    async with pool.acquire_context() as worker:
        await stop(workers, worker)
        asyncio.get_running_loop().call_soon(worker.process.kill)
        await ask(worker, "lost")


async def test_only_the_user_of_a_worker_is_told_that_it_died_in_use(workers: Workers) -> None:
    async with pool_of(workers, max_size=2, discard_on=FATAL) as pool:
        async with pool.acquire_context() as other:
            with pytest.raises(ConnectionError):
                await lose(pool, workers)
            assert await ask(other, "mine") == "mine"
            async with pool.acquire_context() as another:
                assert await ask(another, "mine, too") == "mine, too"
                assert set(workers.alive) == {other.process.pid, another.process.pid}
        assert pool.stats().interrupted == 1
    assert workers.started == 3


async def test_the_worker_of_a_user_who_gives_up_on_it_is_killed(workers: Workers) -> None:
    async with pool_of(workers, max_size=1, closer_timeout=SHORT) as pool:
        (hanging,) = await fill(pool, 1)
        await stop(workers, hanging)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT), pool.acquire_context() as worker:
                await ask(worker, "lost")
        async with pool.acquire_context() as worker:
            assert await ask(worker, "mine") == "mine"
            await until(lambda: list(workers.alive) == [worker.process.pid])
        assert pool.stats().interrupted == pool.stats().closer_failures == 1


async def test_users_outlive_workers_that_are_killed_at_any_moment(workers: Workers) -> None:
    dice, counted = random.Random(8), Counted()
    async with pool_of(workers, max_size=3, check=check) as pool:
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(
                load(pool, counted, seed=5, cancel=0.1, forgive=ConnectionError)
            )
            for _ in range(14):
                await counted.more(5)
                if running := [pid for pid, state in workers.alive.items() if state != "Z"]:
                    os.kill(dice.choice(running), SIGKILL)
        tally = loading.result()
        assert tally.failed > 0
        assert tally.answered > 75
        assert (await load(pool, ask, seed=6, users=6)).answered == 30
    assert workers.alive == {}
    assert workers.peak <= 3
    assert workers.started > 10


async def test_a_worker_that_comes_back_with_notes_is_reset(workers: Workers) -> None:
    async with pool_of(workers, max_size=1, reset=forget) as pool:
        await note(pool)
        async with pool.acquire_context() as worker:
            assert await worker.ask("notes") == {}
    assert workers.started == 1


async def test_without_reset_the_next_user_would_find_the_notes(workers: Workers) -> None:
    async with pool_of(workers, max_size=1) as pool:
        await note(pool)
        async with pool.acquire_context() as worker:
            assert await worker.ask("notes") == {"name": "alice"}


async def note(pool: AsyncResourcePool[Worker]) -> None:
    async with pool.acquire_context() as worker:
        await worker.ask("note", "name", "alice")
        assert await worker.ask("notes") == {"name": "alice"}


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
async def test_a_worker_whose_reset_fails_is_closed(workers: Workers, fault: str) -> None:
    options = {"max_size": 1, "reset": forget, "reset_timeout": 1, "closer_timeout": SHORT}
    async with pool_of(workers, **options) as pool:
        async with pool.acquire_context() as worker:
            await worker.ask("note", "name", "alice")
            worker.process.send_signal(Signals[fault])
        await until(lambda: pool.stats().reset_failed == 1)
        async with pool.acquire_context() as another:
            assert await another.ask("notes") == {}
            await until(lambda: list(workers.alive) == [another.process.pid])
    assert workers.started == 2


@contextmanager
def no_more_files() -> Iterator[None]:
    """No pipe can be opened, so no process be started; what is open works."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_systems_refusal_reaches_the_user_unchanged_and_the_pool_recovers(
    workers: Workers,
) -> None:
    refusals: list[Exception] = []
    factory = remembering(workers.start, refusals)
    async with AsyncResourcePool(factory, Worker.end, max_size=3) as pool:
        held = await pool.acquire()
        with no_more_files():
            told = await asyncio.gather(*(pool.acquire() for _ in range(2)), return_exceptions=True)
            assert await ask(held, "still") == "still"
        assert told == refusals
        assert [getattr(error, "errno", None) for error in refusals] == [errno.EMFILE] * 2
        assert list(workers.alive) == [held.process.pid]
        async with pool.acquire_context() as worker:
            assert await ask(worker, "mine") == "mine"
        await pool.release(held)
    assert workers.started == 2


async def test_close_under_load_lets_users_finish_and_leaves_no_process(workers: Workers) -> None:
    counted = Counted()
    pool = pool_of(workers, max_size=3)
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(load(pool, counted, seed=7, forgive=ResourcePoolClosedError))
        await counted.more(30)
        await pool.close()
        assert workers.alive == {}
    tally = loading.result()
    assert tally.answered == counted.answered < 150
    assert tally.failed == 150 - tally.answered
    assert workers.peak == 3


async def test_terminate_ends_what_is_idle_and_forgets_what_is_in_use(workers: Workers) -> None:
    pool = pool_of(workers, max_size=3)
    await fill(pool, 3)
    async with pool.acquire_context() as held:
        pool.terminate()
        await until(lambda: list(workers.alive) == [held.process.pid])
        assert await ask(held, "still mine") == "still mine"
        with pytest.raises(InvalidReleaseError):
            await pool.release(held)
    await pool.close()
    assert await ask(held, "mine for good") == "mine for good"
    await held.end()
    assert workers.alive == {}


async def test_terminate_leaves_no_process_of_which_the_start_was_in_flight(
    workers: Workers,
) -> None:
    in_flight = 0
    for turns in range(12):  # of the event loop, from before the start to after it
        pool = pool_of(workers, max_size=1)
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        in_flight += pool.stats().creating and len(workers.alive)
        pool.terminate()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(result, Worker):  # it was faster
                await result.end()
            else:
                assert isinstance(result, ResourcePoolClosedError)
        await pool.close()
        await until(lambda: not workers.alive)
    assert in_flight > 0
