"""The end of `async with pool`, and the warnings of calls that wait for long."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, ResourcePoolLoopError
from tests import inside
from tests.concurrency.fakes import FakeBinding
from tests.virtual_time import run, turns

LOGGER = "nodetool.concurrency.pool"
HELD = "1 in use; still out: <object object at 0x"
TERMINATED = "The pool is terminated"

IN_USE = "To end this, release what is in use, or call terminate()"
PASS_A_TIMEOUT = "To limit this wait, pass a timeout"

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


class Hooked(logging.Handler):
    """A handler that makes a call for each message."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self.emit = lambda _: call()  # type: ignore[method-assign, assignment]


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


# An end that cannot wait.


async def body(pool: AsyncResourcePool[Any], ends: bool = False) -> None:
    """Hold a resource, and wait for ever, in the body or at its end."""
    async with pool:
        await pool.acquire()
        if not ends:
            await asyncio.get_running_loop().create_future()


def forgets(pool: AsyncResourcePool[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Check that the pool is terminated, and that it says so."""
    assert pool.closed
    assert pool.stats().forgotten == 1
    (text,) = warnings_of(caplog)
    assert HELD in text
    assert text.endswith(TERMINATED)


@pytest.mark.guarantees("CloseCompletes")
@pytest.mark.parametrize("ends", [False, True])
def test_a_coroutine_that_is_closed_in_the_body_or_at_its_end_terminates(
    caplog: pytest.LogCaptureFixture, ends: bool
) -> None:
    async def main() -> None:
        pool = pool_named_db()
        await pool.release(await pool.acquire())
        coroutine = body(pool, ends)
        coroutine.send(None)
        coroutine.close()  # this raises RuntimeError if the coroutine waits once more
        forgets(pool, caplog)

    run(main())


def test_a_coroutine_that_is_closed_in_the_wait_after_an_exception_terminates(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = pool_named_db()
        await pool.release(await pool.acquire())
        coroutine = fail_with_a_lease(pool, ValueError())
        coroutine.send(None)
        coroutine.close()
        forgets(pool, caplog)

    run(main())


@pytest.mark.parametrize("error", [GeneratorExit(), ValueError("bad")])
@pytest.mark.parametrize("is_running", [False, True])
def test_a_body_that_ends_without_its_loop_terminates_and_passes_its_exception_on(
    caplog: pytest.LogCaptureFixture, error: BaseException, is_running: bool
) -> None:
    """The pool's loop is closed. Another loop may run."""
    closed: list[object] = []
    pool = pool_named_db(closer=closed.append)
    coroutine = body(pool)

    async def begin() -> None:
        first, second = await pool.acquire(), await pool.acquire()
        await pool.release(first)
        await pool.release(second)
        coroutine.send(None)

    async def end_in_a_loop() -> None:
        coroutine.throw(error)

    def end() -> None:
        if is_running:
            run(end_in_a_loop())
        coroutine.throw(error)

    run(begin())
    with pytest.raises(type(error)) as raised:
        end()
    assert raised.value is error
    forgets(pool, caplog)
    assert len(closed) == 1, "the idle resource"


@pytest.mark.parametrize("leaves_closer", [False, True])
def test_a_coroutine_that_is_closed_with_nothing_out_warns_only_of_work(
    caplog: pytest.LogCaptureFixture, leaves_closer: bool
) -> None:
    async def use(pool: AsyncResourcePool[Any]) -> None:
        async with pool:
            thing = await pool.acquire()
            await (pool.discard if leaves_closer else pool.release)(thing)
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        pool = pool_named_db(closer=lambda _: asyncio.sleep(1))
        await pool.release(await pool.acquire())
        coroutine = use(pool)
        coroutine.send(None)
        coroutine.close()
        await asyncio.sleep(2)
        assert pool.closed

    run(main())
    assert len(warnings_of(caplog)) == leaves_closer


def test_a_coroutine_that_ends_during_a_step_logs_after_the_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    phases: list[str] = []

    async def main() -> None:
        pool = pool_named_db(closer=lambda _: None)
        await pool.release(await pool.acquire())
        coroutine = body(pool)
        coroutine.send(None)
        handler = Hooked(lambda: phases.append(pool.phase))
        logging.getLogger(LOGGER).addHandler(handler)
        try:
            with inside.after_each_start_of_closing([coroutine.close]):
                await pool.discard(await pool.acquire())
        finally:
            logging.getLogger(LOGGER).removeHandler(handler)
        assert len(warnings_of(caplog)) == 1
        assert phases == ["closing"], "the pool is terminated already"
        assert pool.stats().discarded == 1
        await turns()

    run(main())


FORKING = """
import asyncio, os, sys
from nodetool.concurrency import AsyncResourcePool, ResourcePoolLoopError

async def main():
    closed = []
    async with AsyncResourcePool(object, closed.append) as pool:
        thing = await pool.acquire()
        if os.fork() == 0:
            sys.exit(3)
        _, status = os.wait()
        await pool.release(thing)
    print(os.waitstatus_to_exitcode(status), len(closed))

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_passes_its_exception_on_and_leaves_the_pool_to_its_parent() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("3 1\n", "")


def test_in_a_forked_child_an_exception_is_not_masked() -> None:
    async def main() -> None:
        pool = pool_named_db()
        thing = await pool.acquire()
        with inside.as_in_a_forked_child(pool):
            error = ValueError()
            await pool.__aexit__(ValueError, error, None)
            assert not hasattr(error, "__notes__")
            with pytest.raises(ResourcePoolLoopError, match="belongs to the parent process"):
                await pool.__aexit__(None, None, None)
        assert pool.phase == "open"
        await pool.release(thing)
        await pool.close()

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
            IN_USE,
        ),
        (
            lambda pool: pool.__aexit__(None, None, None),
            "the end of `async with`",
            {},
            HELD,
            IN_USE,
        ),
        (
            lambda pool: pool.retire_all(wait=True),
            "retire_all(wait=True)",
            {},
            HELD,
            "To end this, release what was retired",
        ),
        (
            lambda pool: pool.resize(1, wait=True),
            "resize(wait=True)",
            {"twice": True},
            "size 2 is above max_size=1, 2 in use; still out: <object object at 0x",
            "To end this, release what is in use",
        ),
        (
            lambda pool: pool.prune(),
            "prune()",
            {"closer": hang, "closer_timeout": None, "max_idle_time": 1, "holds": 0},
            r"1 being closed \(the first for 5.0 s\)",
            "See why the closer takes so long: closer_timeout can limit it",
        ),
        (
            lambda pool: pool.open(wait=True),
            "open(wait=True)",
            {"factory": hang, "creation_timeout": None, "min_size": 2, "holds": None},
            r"0 of min_size=2 usable resources exist, 2 being created \(the first for 5.0 s\)",
            "See why the factory takes so long: creation_timeout can limit it. " + PASS_A_TIMEOUT,
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
        assert text.endswith(f". {advice}")
    assert re.search(found, warnings_of(caplog)[0])


def test_calls_whose_warnings_are_due_together_share_one(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = pool_named_db()
        user = start(holding(pool, 20))
        await asyncio.sleep(1)
        await asyncio.gather(*(pool.close() for _ in range(100)))
        await user

    run(main())
    assert len(warnings_of(caplog)) == 2


def test_each_call_has_warnings_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Calls overlap for a long time, but each of them is short. Then one call hangs."""

    async def lease_and_retire(pool: AsyncResourcePool[Any]) -> None:
        async with pool.acquire_context():
            await asyncio.sleep(0.5)
        await pool.retire_all(wait=True)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            pool = pool_named_db(closer=lambda _: asyncio.sleep(1.5))
            for _ in range(43):
                group.create_task(lease_and_retire(pool))
                await asyncio.sleep(1)
            await asyncio.sleep(5)
            assert not warnings_of(caplog)
            user = group.create_task(holding(pool, 8))
            await asyncio.sleep(0.5)
            group.create_task(pool.retire_all(wait=True))
            await asyncio.sleep(5.5)
            assert len(warnings_of(caplog)) == 1
            await user

    run(main())
    (text,) = warnings_of(caplog)
    assert "retire_all(wait=True) has waited for 5.0 s: 1 in use" in text


def test_a_warning_names_the_longest_of_the_waits_that_are_due(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = pool_named_db()
        user = start(holding(pool, 31))
        await asyncio.sleep(1)
        closings = [start(pool.close())]
        await asyncio.sleep(5)
        closings.append(start(pool.close()))
        await asyncio.wait([user, *closings])

    run(main())
    waits = [float(re.findall(r"waited for (.*?) s", text)[0]) for text in warnings_of(caplog)]
    # The first call is due after 5, 10 and 20 s, the second one after 10, 15 and 25 s.
    assert waits == [5, 10, 10, 20, 20]


# What a call waits for.


def warned(caplog: pytest.LogCaptureFixture) -> str:
    """Return the only warning, without the addresses of objects."""
    (text,) = [text for text in warnings_of(caplog) if "has waited for" in text]
    return re.sub(r"0x\w+", "0x", text)


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


SLOW_CLOSER = (
    "See why the closer takes so long: closer_timeout can limit it, and terminate() does not end it"
)


@pytest.mark.parametrize("is_terminated", [False, True])
def test_a_close_that_waits_for_a_closer_does_not_advise_terminate(
    caplog: pytest.LogCaptureFixture, is_terminated: bool
) -> None:
    async def main() -> None:
        pool = pool_named_db(closer=hang, closer_timeout=None)
        await pool.discard(await pool.acquire())
        waiting = start(pool.close())
        await turns()
        if is_terminated:
            pool.terminate()
        await asyncio.sleep(6)
        assert not waiting.done(), "terminate() ends no closer"
        await waiting

    caplog.set_level(logging.WARNING, LOGGER)
    run(main())
    text = warnings_of(caplog)[0]
    found = "close() has waited for 5.0 s: 1 being closed (the first for 5.0 s). "
    assert text == f"pool 'db': {found}{SLOW_CLOSER}"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda pool: pool.retire_all(wait=True), "retire_all(wait=True)"),
        (lambda pool: pool.resize(1, wait=True), "resize(wait=True)"),
    ],
    ids=["retire_all", "resize"],
)
def test_a_call_that_waits_for_a_closer_does_not_advise_to_release(
    caplog: pytest.LogCaptureFixture, call: Callable[[AsyncResourcePool[Any]], Any], name: str
) -> None:
    async def main() -> None:
        pool = pool_named_db(max_size=2, closer=hang, closer_timeout=None)
        for thing in [await pool.acquire(), await pool.acquire()]:
            await pool.discard(thing)
        waiting = start(call(pool))
        await asyncio.sleep(6)
        await cancelled(waiting)
        await asyncio.sleep(100)
        pool.terminate()

    run(main())
    number = "size 2 is above max_size=1, " if name.startswith("resize") else ""
    assert warned(caplog) == (
        f"pool 'db': {name} has waited for 5.0 s: {number}2 being closed (the first for 5.0 s). "
        "See why the closer takes so long: closer_timeout can limit it"
    )


def test_retire_all_blames_no_lease_that_began_later(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = pool_named_db(
            factory=lambda: asyncio.sleep(1, object()), max_size=20, leak_threshold=60
        )
        users = [start(holding(pool, 10), name="culprit")]
        await asyncio.sleep(2)
        retiring = [start(pool.retire_all(wait=True))]
        await turns()
        users += [start(holding(pool, 10), name=f"innocent{number}") for number in range(12)]
        await asyncio.sleep(4)
        retiring.append(start(pool.retire_all(wait=True)))
        await asyncio.sleep(0.5)
        users.append(start(holding(pool, 10), name="the creation hangs"))
        await asyncio.sleep(1)
        assert warned(caplog) == (
            "pool 'db': retire_all(wait=True) has waited for 5.0 s: 1 in use; still out: "
            "<object object at 0x>. To end this, release what was retired\n"
            "  held by task 'culprit' for 6.000 s"
        )
        await asyncio.wait([*users, *retiring])
        pool.terminate()

    run(main())


def test_retire_all_waits_for_old_work_only(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = pool_named_db(factory=hang, creation_timeout=None, max_size=3)
        users = [start(pool.acquire(1000))]
        await asyncio.sleep(1)
        users += [start(pool.retire_all(wait=True)), start(pool.acquire(1000))]
        await asyncio.sleep(6)
        await cancelled(*users)
        pool.terminate()
        await turns()

    run(main())
    assert warned(caplog) == (
        "pool 'db': retire_all(wait=True) has waited for 5.0 s: "
        "1 being created (the first for 6.0 s). "
        "See why the factory takes so long: creation_timeout can limit it"
    )


def test_a_resize_that_waits_for_closers_alone_does_not_advise_to_release(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = pool_named_db(closer=lambda _: asyncio.sleep(8), max_size=2)
        leases = [await pool.acquire(), await pool.acquire()]
        waiting = start(pool.resize(1, wait=True))
        await turns()
        await pool.discard(leases[0])
        await waiting
        await pool.release(leases[1])
        await pool.close()

    run(main())
    (text,) = [text for text in warnings_of(caplog) if "resize" in text]
    assert text == (
        "pool 'db': resize(wait=True) has waited for 5.0 s: size 2 is above max_size=1, "
        "1 being closed (the first for 5.0 s). "
        "See why the closer takes so long: closer_timeout can limit it"
    )


def test_an_open_that_waits_in_vain_says_how_the_factory_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse() -> object:
        raise OSError("refused")

    async def main() -> None:
        pool = pool_named_db(factory=refuse, min_size=2, max_size=2)
        waiting = start(pool.open(wait=True))
        await asyncio.sleep(6)
        await cancelled(waiting)
        pool.terminate()

    run(main())
    assert warned(caplog) == (
        "pool 'db': open(wait=True) has waited for 5.0 s: 0 of min_size=2 usable resources exist. "
        "See why a creation failed: OSError('refused'). The pool tries again. "
        f"{PASS_A_TIMEOUT}"
    )


def test_an_open_does_not_mention_a_failure_before_the_last_success(
    caplog: pytest.LogCaptureFixture,
) -> None:
    creations = 0

    async def factory() -> object:
        nonlocal creations
        creations += 1
        if creations == 1:
            raise OSError("refused")
        if creations == 3:
            await hang()
        return object()

    async def main() -> None:
        pool = pool_named_db(factory=factory, min_size=2, max_size=2, max_creating=1)
        waiting = start(pool.open(wait=True))
        await asyncio.sleep(6)
        await cancelled(waiting)
        pool.terminate()
        await turns()

    run(main())
    assert warned(caplog) == (
        "pool 'db': open(wait=True) has waited for 5.0 s: 1 of min_size=2 usable resources exist, "
        "1 being created (the first for 4.9 s). "
        f"See why the factory takes so long: creation_timeout can limit it. {PASS_A_TIMEOUT}"
    )


@pytest.mark.parametrize("max_size", [2, 3])
def test_an_open_waits_for_closers_only_if_there_is_no_room(
    caplog: pytest.LogCaptureFixture, max_size: int
) -> None:
    creations = 0

    async def factory() -> object:
        nonlocal creations
        creations += 1
        if creations > 2:
            await hang()
        return object()

    async def main() -> None:
        pool = pool_named_db(
            factory=factory, closer=hang, closer_timeout=None, min_size=2, max_size=max_size
        )
        await pool.open(wait=True)
        await pool.discard(await pool.acquire())
        await turns()
        waiting = start(pool.open(wait=True))
        await asyncio.sleep(6)
        await cancelled(waiting)
        pool.terminate()
        await asyncio.sleep(200)

    caplog.set_level(logging.WARNING, LOGGER)
    run(main())
    closes = "1 being closed (the first for 5.0 s). See why the closer takes so long"
    assert (closes in warned(caplog)) == (max_size == 2)
    assert ("1 being created (the first for 5.0 s)" in warned(caplog)) == (max_size == 3)


def test_prune_waits_only_for_what_it_has_pruned(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = pool_named_db(closer=hang, closer_timeout=None, max_idle_time=1)
        first, second = await pool.acquire(), await pool.acquire()
        await pool.discard(first)
        await pool.release(second)
        loop: Any = asyncio.get_running_loop()
        loop.now += 1  # the loop was blocked, so the pool has not pruned by itself
        waiting = start(pool.prune())
        await asyncio.sleep(6)
        await cancelled(waiting)
        await asyncio.sleep(100)

    run(main())
    assert "prune() has waited for 5.0 s: 1 being closed (the first for 5.0 s). " in warned(caplog)


# The waits alone.


class Warnings:
    """The owner of waits. It notes the waits that are due: the kinds, and the numbers of calls."""

    def __init__(self) -> None:
        self.binding = FakeBinding()
        binding: Any = self.binding
        self.waits = inside.LongWaits(binding, self.warn)
        self.due: list[list[tuple[str, int]]] = []

    def warn(self) -> None:
        self.due.append([(waits[0].call, len(waits)) for waits in self.waits.take_due()])

    def begin(self, caller: str, call: str = "close()") -> None:
        self.waits.begin(caller, call, lambda _: True)


def test_calls_of_each_kind_are_due_together() -> None:
    found = Warnings()
    found.begin("first")
    found.begin("second", "prune()")
    found.begin("third")
    found.binding.go_to(105)
    assert found.due == [[("close()", 2), ("prune()", 1)]]


def test_the_end_of_a_wait_counts_once_and_only_after_its_beginning() -> None:
    found = Warnings()
    found.waits.end("nobody")
    found.begin("first")
    found.begin("second")
    found.waits.end("second")
    found.waits.end("second")
    found.binding.go_to(106)
    found.waits.end("first")
    assert not found.binding.armed()
    found.binding.go_to(200)
    assert found.due == [[("close()", 1)]]


def test_ended_waits_take_little_memory_while_a_wait_goes_on() -> None:
    found = Warnings()
    found.begin("the long one")
    for number in range(1000):
        found.begin(f"caller {number}")
    assert inside.wait_entries(found.waits) == 1001
    for number in range(1000):
        found.waits.end(f"caller {number}")
    assert inside.wait_entries(found.waits) < 100
    found.binding.go_to(105)
    assert found.due == [[("close()", 1)]]


def test_a_late_loop_warns_once() -> None:
    found = Warnings()
    found.begin("first")
    found.binding.now = 150  # the loop was blocked
    found.binding.go_to(150)
    found.binding.go_to(199)
    assert len(found.due) == 1
    found.binding.go_to(200)
    assert len(found.due) == 2


def test_a_wait_that_a_logging_handler_ends_gets_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = pool_named_db()
        thing = await pool.acquire()
        waits: list[Any] = [pool.retire_all(wait=True), pool.close()]
        for wait in waits:
            wait.send(None)

        def end_both() -> None:
            while waits:
                waits.pop().close()

        handler = Hooked(end_both)
        logging.getLogger(LOGGER).addHandler(handler)
        try:
            await asyncio.sleep(6)
        finally:
            logging.getLogger(LOGGER).removeHandler(handler)
        assert not waits
        await pool.release(thing)

    run(main())
    assert len(warnings_of(caplog)) == 1


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
    found = Warnings()
    waits, due, binding = found.waits, found.due, found.binding
    found.begin("first")
    del found
    binding.go_to(106)
    waits.end("first")
    assert due == []


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
from nodetool.concurrency import AsyncResourcePool, ResourcePoolLoopError

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


class PickyError(Exception):
    """An exception that cannot be made without arguments."""

    def __init__(self, text: str) -> None:
        super().__init__(text)


@pytest.mark.parametrize("kind", [KeyError, PickyError, asyncio.CancelledError, KeyboardInterrupt])
def test_an_exit_that_is_given_only_the_class_of_an_exception_has_its_limit(
    kind: type[BaseException],
) -> None:
    async def main() -> None:
        pool = pool_named_db(factory=object, exit_timeout=3)
        await pool.__aenter__()
        await pool.acquire()
        begin = asyncio.get_running_loop().time()
        await asyncio.wait_for(pool.__aexit__(kind, None, None), 60)
        assert asyncio.get_running_loop().time() - begin == 3
        assert pool.closed

    run(main())


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
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors
    assert (TERMINATED in errors) == (mode != "body"), errors
