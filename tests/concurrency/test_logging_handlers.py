"""Logging handlers are callbacks of the user: they may raise, and they may use the pool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolClosedError
from tests.virtual_time import run, turns


class UnprintableError(Exception):
    """An error whose text cannot be made."""

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__


class Raising(logging.Handler):
    """A handler that always raises."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError


def failures(pool: AsyncResourcePool[object]) -> int:
    """Count the failures of all callbacks."""
    stats = pool.stats()
    return (
        stats.creation_failures
        + stats.closer_failures
        + pool.stats().check_failed
        + pool.stats().reset_failed
    )


@pytest.fixture
def raising_handler() -> Iterator[None]:
    logger = logging.getLogger("nodetool.concurrency.pool")
    handler, level = Raising(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.guarantees("NothingLost")
@pytest.mark.usefixtures("raising_handler")
@pytest.mark.parametrize("callback", ["closer", "check", "reset", "factory"])
def test_a_logging_handler_that_raises_costs_no_slot(callback: str) -> None:
    def fails(*_: object) -> None:
        raise UnprintableError

    async def main() -> None:
        failing: list[BaseException] = [UnprintableError()] if callback == "factory" else []

        def factory() -> object:
            if failing:
                raise failing.pop()
            return object()

        pool: AsyncResourcePool[object] = AsyncResourcePool(
            factory,
            fails if callback == "closer" else None,
            max_size=1,
            min_size=int(callback == "factory"),
            acquisition_timeout=1,
            check=fails if callback == "check" else None,
            check_after_idle=0,
            reset=fails if callback == "reset" else None,
        )
        await pool.open()
        await turns()
        for _ in range(3):
            resource = await pool.acquire()
            await (pool.discard if callback == "closer" else pool.release)(resource)
            await turns()
        await pool.close(timeout=5)
        assert failures(pool) > 0

    run(main())


@pytest.mark.guarantees("WaiterServed", "NothingLost", "FaultIsolation")
def test_a_handler_that_logs_a_failed_check_may_use_the_pool(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("nodetool.concurrency.pool")
    caplog.set_level(logging.INFO, logger.name)
    broken: list[object] = []
    told: list[str] = []
    complete: list[int] = []

    def check(resource: object) -> bool:
        if resource in broken:
            raise OSError("broken")
        return True

    async def main() -> None:
        pool = AsyncResourcePool(object, max_size=2, check=check, check_after_idle=10, name="db")
        bad, held = await pool.acquire(), await pool.acquire()
        await pool.release(bad)
        broken.append(bad)
        await asyncio.sleep(11)

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                told.append(record.getMessage())
                complete.append(failures(pool))
                with pytest.raises(StopIteration):
                    pool.release(held).send(None)

        handler = Handler()
        monkeypatch.setattr(logger, "handlers", [handler])
        got = await pool.acquire(timeout=1)
        assert got is held
        assert complete == [1], "the step is complete"
        assert pool.stats().released == 2
        assert told == ["pool 'db': a check failed: OSError('broken')"]
        await pool.release(got)
        await pool.close()

    run(main())


@pytest.mark.guarantees("NothingAfterClose", "CloseCompletes", "FaultIsolation")
@pytest.mark.parametrize("callback", ["closer", "check", "reset", "factory"])
def test_a_logging_handler_may_terminate_the_pool(
    callback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("nodetool.concurrency.pool")
    messages: list[str] = []

    def fails(*_: object) -> None:
        raise OSError("broken")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            pool.terminate()

    async def main() -> None:
        if callback == "factory":
            await pool.open()
            return
        with suppress(ResourcePoolClosedError):
            for _ in range(2):
                resource = await pool.acquire()
                await (pool.discard if callback == "closer" else pool.release)(resource)
                await turns()

    monkeypatch.setattr(logger, "handlers", [Handler()])
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    pool: AsyncResourcePool[object] = AsyncResourcePool(
        fails if callback == "factory" else object,
        fails if callback == "closer" else None,
        min_size=int(callback == "factory"),
        check=fails if callback == "check" else None,
        check_after_idle=0,
        reset=fails if callback == "reset" else None,
    )

    async def play() -> None:
        await main()
        await turns()
        assert pool.closed

    run(play())
    assert len(messages) == 1
    assert "broken" in messages[0]
