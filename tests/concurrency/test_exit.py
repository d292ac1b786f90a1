"""The end of `async with pool`, and the warnings of calls that wait for long."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakMethod

import pytest

from nodetool.concurrency import AsyncResourcePool
from tests import inside
from tests.virtual_time import run

LOGGER = "nodetool.concurrency.pool"
HELD = "1 in use; still out: <object object at 0x"
TERMINATED = "The pool is terminated"

start = asyncio.create_task


def now() -> float:
    return asyncio.get_running_loop().time()


async def fail_with_a_lease(pool: AsyncResourcePool[Any], error: BaseException) -> None:
    async with pool:
        await pool.acquire()
        raise error


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


def pool_named_db(**options: Any) -> AsyncResourcePool[Any]:
    return AsyncResourcePool(options.pop("factory", object), name="db", **options)


async def holding(pool: AsyncResourcePool[Any], seconds: float) -> None:
    """Hold a resource for so long."""
    async with pool.acquire_context():
        await asyncio.sleep(seconds)


# The end of `async with`.


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("seconds", [0, 3, 10])
def test_an_exception_waits_for_exit_timeout_and_passes_unmasked(
    caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    async def main() -> None:
        pool = pool_named_db(exit_timeout=seconds)
        error = ValueError("the body failed")
        began = now()
        with pytest.raises(ValueError, match="the body failed") as raised:
            await fail_with_a_lease(pool, error)
        assert raised.value is error
        assert now() == began + seconds
        assert pool.stats().forgotten == 1
        assert pool.closed

    run(main())
    (text,) = [text for text in warnings_of(caplog) if TERMINATED in text]
    assert text.startswith(f"pool 'db': the end of `async with` has waited for {seconds:.1f} s: ")
    assert HELD in text


def test_the_exception_has_a_note() -> None:
    with pytest.raises(ValueError, match="bad") as raised:
        run(fail_with_a_lease(pool_named_db(exit_timeout=1), ValueError("bad")))
    (note,) = raised.value.__notes__
    assert HELD in note
    assert note.endswith(TERMINATED)


@pytest.mark.guarantees("CloseWaits")
def test_an_exception_waits_for_what_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool, error = pool_named_db(), ValueError()
        began = now()
        user = start(holding(pool, 2))
        await asyncio.sleep(1)
        with suppress(ValueError):
            async with pool:
                raise error
        assert now() == began + 2
        assert not hasattr(error, "__notes__")
        assert pool.stats().forgotten == 0
        await user

    run(main())
    assert not warnings_of(caplog)


def test_without_an_exception_the_end_waits_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        began = now()
        async with pool_named_db(exit_timeout=1) as pool:
            task = start(holding(pool, 1000))
            await asyncio.sleep(1)
        assert now() == began + 1000
        await task

    run(main())
    assert not [text for text in warnings_of(caplog) if TERMINATED in text]


def test_no_exit_timeout_is_for_ever() -> None:
    async def main() -> None:
        began = now()
        with suppress(ValueError):
            async with pool_named_db(exit_timeout=None) as pool:
                user = start(holding(pool, 1000))
                await asyncio.sleep(1)
                raise ValueError
        assert now() == began + 1000
        await user

    run(main())


@pytest.mark.parametrize("cancels", [1, 2])
def test_a_cancellation_of_the_end_waits_once_more(
    caplog: pytest.LogCaptureFixture, cancels: int
) -> None:
    """The first cancellation gives users `exit_timeout`, the second one nothing."""

    async def hold(pool: AsyncResourcePool[Any]) -> None:
        async with pool:
            await pool.acquire()

    async def main() -> None:
        pool = pool_named_db(exit_timeout=10)
        task = start(hold(pool))
        await asyncio.sleep(100)
        began = now()
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(3)
        await asyncio.wait([task])
        assert task.cancelled()
        assert now() == began + (10 if cancels == 1 else 6)
        assert pool.stats().forgotten == 1

    run(main())
    (text,) = [text for text in warnings_of(caplog) if TERMINATED in text]
    waited = 110 if cancels == 1 else 103  # both waits
    assert f"the end of `async with` has waited for {waited:.1f} s: " in text


def test_a_cancelled_wait_after_an_exception_terminates_at_once() -> None:
    async def main() -> None:
        pool = pool_named_db()
        task = start(fail_with_a_lease(pool, ValueError()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert isinstance(raised.value.__context__, ValueError)
        assert pool.stats().forgotten == 1

    run(main())


def test_the_end_under_a_timeout_keeps_the_timeout() -> None:
    async def main() -> None:
        began = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), pool_named_db(exit_timeout=2) as pool:
                await pool.acquire()
        assert now() == began + 3

    run(main())


# Warnings.


async def hang(*_: object) -> None:
    await asyncio.sleep(100)


@pytest.mark.parametrize(
    ("call", "name", "options", "found", "advice"),
    [
        (
            lambda pool: pool.close(),
            "close()",
            {},
            HELD,
            "release what is in use, or call terminate()",
        ),
        (
            lambda pool: pool.__aexit__(None, None, None),
            "the end of `async with`",
            {},
            HELD,
            "release what is in use, or call terminate()",
        ),
        (
            lambda pool: pool.retire_all(wait=True),
            "retire_all(wait=True)",
            {},
            HELD,
            "release what was retired",
        ),
        (
            lambda pool: pool.resize(1, wait=True),
            "resize(wait=True)",
            {"twice": True},
            "2 in use; still out: <object object at 0x",
            "release what is in use",
        ),
        (
            lambda pool: pool.prune(),
            "prune()",
            {"closer": hang, "closer_timeout": None, "max_idle_time": 1, "holds": 0},
            r"1 being closed \(the first for 5.0 s\)",
            "see why the closer takes so long, or lower closer_timeout",
        ),
        (
            lambda pool: pool.open(wait=True),
            "open(wait=True)",
            {"factory": hang, "creation_timeout": None, "min_size": 2, "holds": None},
            r"2 being created \(the first for 5.0 s\)",
            "see why the factory takes so long, or pass a timeout",
        ),
    ],
    ids=["close", "exit", "retire_all", "resize", "prune", "open"],
)
def test_a_long_wait_warns_at_doubling_intervals(
    caplog: pytest.LogCaptureFixture,
    call: Callable[[AsyncResourcePool[Any]], Any],
    name: str,
    options: dict[str, Any],
    found: str,
    advice: str,
) -> None:
    twice, holds = options.pop("twice", False), options.pop("holds", 60)

    async def main() -> None:
        pool = pool_named_db(**{"max_size": 4, **options})
        users = []
        if holds is not None:
            users = [start(holding(pool, holds)) for _ in range(1 + twice)]
            await asyncio.sleep(0.5)
        if name == "prune()":
            loop: Any = asyncio.get_running_loop()
            loop.now += 1  # the loop was blocked, so the pool has not pruned by itself
        began = now()
        waiting = start(call(pool))
        await asyncio.sleep(0)
        times = []
        seen = 0
        while not waiting.done() and now() < began + 59:
            await asyncio.sleep(0.5)
            if (number := len(warnings_of(caplog))) > seen:
                times.append(round(now() - began))
                seen = number
        assert times == [5, 10, 20, 40]
        waiting.cancel()
        pool.terminate()
        await asyncio.wait([waiting, *users])
        await asyncio.sleep(100)  # until the closers have ended

    run(main())
    for text, waited in zip(warnings_of(caplog), (5, 10, 20, 40), strict=True):
        assert text.startswith(f"pool 'db': {name} has waited for {waited}.0 s: ")
        assert text.endswith(f". To end this, {advice}")
    assert re.search(found, warnings_of(caplog)[0])


def test_all_callers_share_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = pool_named_db()
        user = start(holding(pool, 20))
        await asyncio.sleep(1)
        await asyncio.gather(*(pool.close() for _ in range(100)))
        await user

    run(main())
    assert len(warnings_of(caplog)) == 2


class Warnings:
    """The owner of waits. It counts the warnings."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.waits = inside.LongWaits(bound(), self.warn)

    def warn(self, wait: inside.LongWait) -> None:
        self.calls.append(f"{wait.call} {wait.go_on()}")


def bound() -> inside.Binding:
    binding = inside.Binding("pool")
    binding.bind()
    return binding


def test_the_end_of_a_wait_counts_once_and_only_after_its_beginning() -> None:
    async def scenario() -> list[str]:
        found = Warnings()
        found.waits.end("close()", "nobody")
        found.waits.begin("close()", "first")
        found.waits.begin("close()", "second")
        found.waits.end("close()", "second")
        found.waits.end("close()", "second")
        await asyncio.sleep(6)
        found.waits.end("close()", "first")
        await asyncio.sleep(100)
        return found.calls

    assert run(scenario()) == ["close() 5.0"]


class LateWarnings(Warnings):
    """The owner of a wait that ends in a nested call while its warning is due."""

    def warn(self, wait: inside.LongWait) -> None:
        self.waits.end("close()", "first")
        super().warn(wait)


def test_a_warning_after_the_end_of_the_wait_sets_no_timer() -> None:
    async def scenario() -> list[str]:
        found = LateWarnings()
        found.waits.begin("close()", "first")
        await asyncio.sleep(100)
        return found.calls

    assert run(scenario()) == ["close() None"]


def test_a_warning_that_is_due_after_the_end_of_the_wait_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        owner, pool = Warnings(), AsyncResourcePool(object)
        inside.report_wait(pool, inside.LongWait(bound(), "close()", WeakMethod(owner.warn)))

    run(scenario())
    assert not caplog.records


def test_no_leak_warning_comes_if_the_pool_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        pool = AsyncResourcePool(object, leak_threshold=10)
        await pool.acquire()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del pool
            gc.collect()
        await asyncio.sleep(20)

    caplog.set_level(logging.WARNING, LOGGER)
    run(scenario())
    assert not [text for text in caplog.messages if "is held for more" in text]


def test_no_warning_comes_if_the_pool_is_gone() -> None:
    async def scenario() -> list[str]:
        found = Warnings()
        waits, calls = found.waits, found.calls
        waits.begin("close()", "first")
        del found
        gc.collect()
        await asyncio.sleep(6)
        waits.end("close()", "first")
        return calls

    assert run(scenario()) == []


def test_a_short_wait_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = pool_named_db()
        user = start(holding(pool, 5))
        await asyncio.sleep(1)
        await pool.close()
        await asyncio.sleep(100)
        await user

    run(main())
    assert not warnings_of(caplog)


# Ctrl-C in a real process.

PROGRAM = """
import asyncio, sys
from functools import partial
from nodetool.concurrency import AsyncResourcePool

async def hang(*_):
    await asyncio.sleep(1000)

async def hold(pool):
    async with pool.acquire_context():
        print("ready", flush=True)
        await asyncio.sleep(1000)

async def main(mode):
    factory = hang if mode == "creation" else object
    closer = hang if mode == "closer" else None
    pool = AsyncResourcePool(
        factory, closer, name="db", exit_timeout=0.3, closer_timeout=None, creation_timeout=None
    )
    async with pool:
        if mode == "creation":
            asyncio.get_running_loop().call_later(0.1, partial(print, "ready", flush=True))
            await pool.acquire(None)
        elif mode == "closer":
            await pool.discard(await pool.acquire())
            print("ready", flush=True)
            await asyncio.sleep(1000)
        elif mode == "body":
            async with pool.acquire_context():
                print("ready", flush=True)
                await asyncio.sleep(1000)
        else:
            user = asyncio.create_task(hold(pool))
            await asyncio.sleep(0.1)
            if mode == "task":
                await asyncio.sleep(1000)

if sys.argv[2] == "run":
    asyncio.run(main(sys.argv[1]))
else:
    with asyncio.Runner() as runner:
        runner.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("way", ["run", "Runner"])
@pytest.mark.parametrize("mode", ["body", "task", "end", "creation", "closer"])
def test_one_interrupt_ends_the_program(mode: str, way: str) -> None:
    """`end`: the body has ended, and the end of `async with` waits for a background task."""
    program = textwrap.dedent(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-c", program, mode, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors
    assert (TERMINATED in errors) == (mode != "body"), errors
