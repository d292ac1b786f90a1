"""A failure becomes a plain asyncio program that fails in the same way on asyncio's own loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import types
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency.testing import Events, explore, plain_program
from nodetool.concurrency.testing.__main__ import main
from nodetool.concurrency.testing._run import Scenario

LIMIT = 1

try:
    import contextlib as tools
except ImportError:
    tools = None  # type: ignore[assignment]


class Permits:
    """A semaphore with a classic bug: a waiter that is cancelled late keeps the permit."""

    def __init__(self) -> None:
        self.free = LIMIT
        self.waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        if self.free:
            self.free -= 1
            return
        self.waiters.append(asyncio.get_running_loop().create_future())
        await self.waiters[-1]

    def release(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1


async def user(events: Events, permits: Permits) -> None:
    await permits.acquire()
    with tools.ExitStack() as stack:
        stack.callback(permits.release)
        await events.call("work")


async def deadlock(events: Events) -> None:
    permits = Permits()
    for name in "abc":
        events.task(user(events, permits), name=name, cancellable=name == "b")
    await events.join()


async def raised(events: Events) -> None:
    try:
        async with asyncio.timeout(5):
            await events.call("work", result="done")
    except TimeoutError:
        assert events.time() < 5, "too late"


async def invariant(events: Events) -> None:
    inside: list[str] = []
    events.watch(inside)
    events.check(lambda: len(inside) < 2)

    async def enters(name: str) -> None:
        inside.append(name)
        await asyncio.sleep(0)
        inside.remove(name)

    await asyncio.gather(enters("a"), enters("b"))


async def unretrieved(events: Events) -> None:
    async def fails() -> None:
        await events.call("work", faults=(OSError("nobody looks"),))

    events.task(fails(), name="a")
    await events.join()


async def in_a_thread(events: Events) -> None:
    await events.thread(int, "1")
    try:
        await events.thread(int, "x")
    except ValueError:
        await events.call("cache", result=1, may_end_at_once=True)
        raise


FAILING = {
    deadlock: "these tasks wait for ever: scenario, c",
    raised: "AssertionError: too late",
    invariant: "does not hold",
    unretrieved: "OSError: nobody looks",
    in_a_thread: "ValueError: invalid literal",
}


@pytest.mark.parametrize("scenario", FAILING, ids=lambda scenario: scenario.__name__)
def test_a_program_fails_like_the_scenario(scenario: Any, tmp_path: Path) -> None:
    failure = explore(scenario).failure
    assert failure is not None
    source = plain_program(scenario, failure.replay)
    assert "import nodetool" not in source
    assert "from nodetool" not in source
    (tmp_path / "program.py").write_text(source)
    command = [sys.executable, "-I", "-W", "error", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert FAILING[scenario] in done.stderr
    assert "never retrieved" not in done.stderr
    assert "was destroyed" not in done.stderr


def test_a_program_has_only_what_the_scenario_needs() -> None:
    source = plain_program(deadlock, "e:")
    assert "class Permits:" in source
    assert "LIMIT = 1" in source
    assert "import contextlib as tools" in source
    assert "# work #1 returns" in source
    assert "pytest" not in source
    assert "FAILING" not in source


def local(_: Events) -> Scenario:
    async def scenario(events: Events) -> None: ...

    return scenario


def test_only_a_schedule_of_a_function_of_a_module_becomes_a_program() -> None:
    made: Any = types.ModuleType("made")
    exec("async def scenario(events): ...", vars(made))
    for scenario in (local(None), made.scenario, partial(raised)):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="must be a function of a module"):
            plain_program(scenario, "e:")
    with pytest.raises(ValueError, match="mode events only"):
        plain_program(raised, "r:")
    with pytest.raises(ValueError, match="no schedule"):
        plain_program(raised, "x")


def test_the_command_prints_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{__name__}:raised", "--program"]) == 1
    out = capsys.readouterr().out
    assert "replay: e:" in out
    compile(out[out.index('"""Repeats') :], "program.py", "exec")
    with pytest.raises(SystemExit):
        main([f"{__name__}:raised", "--program", "--mode", "ready"])
    assert "mode events only" in capsys.readouterr().err
