"""What a destructor, garbage or a logging handler gives back in the middle of something else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolClosedError
from nodetool.concurrency._machine import PoolMachine
from tests.virtual_time import run


class Hooked:
    """A resource whose destructor does something."""

    hook: Callable[[], None] = staticmethod(lambda: None)

    def __del__(self) -> None:
        self.hook()


def gives_back(pool: AsyncResourcePool[Any], resource: object) -> Callable[[], None]:
    """A function that releases a resource without a loop turn, once."""

    def give_back() -> None:
        with pytest.raises(StopIteration):
            pool.release(resource).send(None)

    return give_back


@pytest.mark.guarantees("OnlyFitHandedOut", "NothingAfterClose", "CloseCompletes")
@pytest.mark.parametrize("how", ["retire_all", "close", "terminate"])
def test_what_comes_back_amid_the_step_that_makes_it_old_is_closed(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closes: Callable[..., None] = PoolMachine._close
    hooks: list[Callable[[], None]] = []

    def close_and_collect_garbage(machine: PoolMachine[Any], *records: Any) -> None:
        closes(machine, *records)
        while hooks:
            hooks.pop()()

    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=2)
        idle, held = await pool.acquire(), await pool.acquire()
        await pool.release(idle)
        hooks.append(gives_back(pool, held))
        if how == "retire_all":
            await pool.retire_all()
            assert pool.size == 0
            assert await pool.acquire() is not held
            pool.terminate()
        elif how == "close":
            await pool.close()
        else:
            pool.terminate()
        assert not hooks
        assert pool.closed

    monkeypatch.setattr(PoolMachine, "_close", close_and_collect_garbage)
    run(main())


@pytest.mark.guarantees("NothingAfterClose", "CloseCompletes")
def test_what_a_destructor_gives_back_while_terminate_forgets_is_closed() -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Hooked, max_size=2)
        dying, held = await pool.acquire(), await pool.acquire()
        dying.hook = gives_back(pool, held)
        del dying
        pool.terminate()
        with pytest.raises(ResourcePoolClosedError):
            await pool.acquire()
        await pool.close()
        assert pool.closed

    run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost", "OneOutcome")
@pytest.mark.parametrize("timeout", [0, 1])
def test_who_waits_since_just_now_gets_what_a_destructor_gives_back(timeout: int) -> None:
    async def main() -> None:
        pool = AsyncResourcePool(Hooked, max_size=2, max_idle_time=1)
        dying, held = await pool.acquire(), await pool.acquire()
        await pool.release(dying)
        dying.hook = gives_back(pool, held)
        del dying
        loop: Any = asyncio.get_running_loop()
        loop.now += 2  # it is overdue, and the timer has not run
        assert await pool.acquire(timeout) is held
        await pool.release(held)
        await pool.close()

    run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost", "OneOutcome")
@pytest.mark.parametrize("checks", [False, True], ids=["directly", "by the machine"])
def test_who_is_queued_in_a_step_gets_what_garbage_gives_back_amid_it(
    checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settles: Callable[..., None] = PoolMachine._settle
    hooks: list[Callable[[], None]] = []

    def collect_garbage_and_settle(machine: PoolMachine[Any]) -> None:
        while hooks:
            hooks.pop()()
        settles(machine)

    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=2, check=(lambda _: True) if checks else None)
        held = await pool.acquire()
        hooks.append(gives_back(pool, held))
        assert await pool.acquire(timeout=1) is held
        assert not hooks
        await pool.release(held)
        await pool.close()

    monkeypatch.setattr(PoolMachine, "_settle", collect_garbage_and_settle)
    run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost", "FaultIsolation")
def test_a_logging_handler_that_is_told_of_a_failed_check_does_not_meet_the_acquire(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("nodetool.concurrency.pool")
    caplog.set_level(logging.INFO, logger.name)
    broken: list[object] = []
    told: list[str] = []

    def check(resource: object) -> bool:
        if resource in broken:
            raise OSError("broken")
        return True

    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=2, check=check)
        bad, held = await pool.acquire(), await pool.acquire()
        await pool.release(bad)
        broken.append(bad)

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                told.append(record.getMessage())
                gives_back(pool, held)()

        handler = Handler()
        monkeypatch.setattr(logger, "handlers", [handler])
        got = await pool.acquire(timeout=1)
        assert got is not bad
        await asyncio.sleep(0)
        assert told == [f"pool {pool._machine.name!r}: a check failed: OSError('broken')"]
        await pool.release(got)
        await pool.close()

    run(main())
