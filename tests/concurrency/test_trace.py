"""Traces: the lines of a pool's steps, and the files that they are in."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
)
from nodetool.concurrency.trace import TraceFile
from nodetool.concurrency.verify._replay import Replay, heads
from proofs.inside import machine_in_new_pools
from tests import inside
from tests.concurrency.world import World, outcome, played
from tests.trace_files import files
from tests.virtual_time import run, turns

start = asyncio.create_task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a trace."""
    return tmp_path / "pool.trace"


def lines(path: Path) -> list[str]:
    """Return the lines of all files of a trace, as `steps_in` does."""
    return [line for file in files(path) for line in steps_in(file)]


def steps_in(file: Path) -> list[str]:
    """Return the lines of a file, without its first line and the states."""
    found = file.read_text("ascii").splitlines()
    return [line for line in found if line[0] != "{" and line.split(" ")[1] != "State"]


async def lease(pool: AsyncResourcePool[Any], number: int) -> None:
    """Use a pool so many times."""
    for _ in range(number):
        await pool.release(await pool.acquire())


async def lease_and_end(pool: AsyncResourcePool[Any], number: int) -> None:
    """Use a pool so many times, then close it."""
    await lease(pool, number)
    await pool.close()


def until(condition: Callable[[], object]) -> None:
    """Wait until the thread of a trace has done something."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the thread has done nothing"
        time.sleep(0.001)


def let_the_thread_run() -> None:
    time.sleep(0.001)


class Disk:
    """A disk that may be full."""

    full = False
    has_room_for_heads = False  # although it is full
    chunk = 10**9  # the most bytes that it takes at once
    fails_at_close = False

    def __init__(self) -> None:
        disk = self

        class File(FileIO):
            def write(self, data: Any) -> int:
                is_head = disk.has_room_for_heads and bytes(data[:1]) == b"{"
                if disk.full and not is_head:
                    raise OSError(28, "No space left on device")
                return super().write(data[: disk.chunk])

            def close(self) -> None:
                super().close()
                if disk.fails_at_close:
                    raise OSError(5, "Input/output error")

        self.file = File


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Let traces use a disk that may be full, and hurry."""
    disk = Disk()
    inside.tune_traces(monkeypatch, FileIO=disk.file, DELAY=0.001, PAUSE=0.001)
    return disk


# The lines.

STEPS = """\
1 Open 1000.0 > - s1:creating
1 CreateSucceeded 1000.0 s1 r0 1009.0 > - @1009.0
1 Acquire 1000.0 > w1 s1:checking
1 CheckPassed 1000.0 s1 > - w1=s1
1 Resume 1000.0 w1 > s1
1 Acquire 1000.0 > w2 s2:creating
1 Acquire 1000.0 > w3
1 Acquire 1000.0 > w4
1 CreateSucceeded 1000.0 s2 r0 1009.0 > - w2=s2
1 Resume 1000.0 w2 > s2
1 Cancel 1000.0 w3 > -
1 Timeout 1001.0 w4 e > - w4=!
1 Release 1002.0 s1 > yes s1:resetting
1 ResetPassed 1002.0 s1 > -
1 Discard 1002.0 s2 discarded - > - s2:closing:discarded
1 CloserEnded 1002.0 s2 - > - open
1 Acquire 1002.0 > w5 s1:checking
1 CheckPassed 1002.0 s1 > - w5=s1
1 Resume 1002.0 w5 > s1
1 Resize 1002.0 1 1 > []
1 RetireAll 1002.0 > 1
1 Detach 1002.0 s1 > - s3:creating
1 CreateFailed 1002.0 s3 e > no open
1 Terminate 1002.0 > - @inf closed
1 Acquire 1002.0 > !ResourcePoolClosedError
"""


def test_each_step_is_a_line(path: Path) -> None:
    @played
    async def scenario(world: World) -> None:
        with TraceFile(path) as trace:
            pool = world.checked_pool(
                max_size=2, min_size=1, max_age=9, reset=world.clean, name="db", trace=trace
            )
            await pool.open()
            await turns()
            thing = await pool.acquire()
            waiters = [start(pool.acquire(timeout=1)) for _ in range(3)]
            await turns()
            waiters[1].cancel()
            await asyncio.sleep(2)
            await pool.release(thing)
            await turns()
            world.creation.fail(OSError())
            await pool.discard(await waiters[0])
            await turns()
            thing = await pool.acquire()
            await pool.resize(max_size=1)
            await pool.retire_all()
            await pool.detach(thing)
            thing.mine = True
            await turns()
            pool.terminate()
            with pytest.raises(ResourcePoolClosedError):
                await pool.acquire()
            assert isinstance(await outcome(waiters[2]), TimeoutError)

    scenario()
    assert lines(path) == STEPS.splitlines()


def test_common_steps_are_short_lines(path: Path) -> None:
    async def use() -> None:
        with TraceFile(path) as trace:
            pool = AsyncResourcePool(object, max_size=1, trace=trace)
            await lease(pool, 2)
            first, waiter = await pool.acquire(), start(pool.acquire())
            await asyncio.sleep(1)
            await pool.release(first)
            with pytest.raises(InvalidReleaseError):
                await pool.discard(first)
            await pool.release(await waiter)
            with pytest.raises(InvalidReleaseError):
                await pool.release(first)
            await pool.close()

    run(use())
    assert lines(path)[2:] == [
        "1 Resume 1000.0 w1 > s1",
        "1 Release 1000.0 s1 > no",
        "1 Acquire 1000.0 > s1",
        "1 Release 1000.0 s1 > no",
        "1 Acquire 1000.0 > s1",
        "1 Acquire 1000.0 > w2",
        "1 Release 1001.0 s1 > yes w2=s1",
        "1 Discard 1001.0 s1 discarded - > !InvalidReleaseError",
        "1 Resume 1001.0 w2 > s1",
        "1 Release 1001.0 s1 > no",
        "1 Release 1001.0 s1 > !InvalidReleaseError",
        "1 Close 1001.0 > - s1:closing:closed_down closing",
        "1 CloserEnded 1001.0 s1 - > - closed",
    ]


def test_an_object_that_comes_twice_has_the_number_of_its_slot(path: Path) -> None:
    thing = object()

    async def use() -> None:
        with TraceFile(path) as trace:
            pool = AsyncResourcePool(lambda: thing, max_size=2, trace=trace)
            async with pool, pool.acquire_context():
                with pytest.raises(DuplicateResourceError):
                    await pool.acquire()

    run(use())
    assert "1 CreateSucceeded 1000.0 s2 r1 inf > !DuplicateResourceError" in lines(path)


def test_a_context_that_ends_by_itself_is_a_line(path: Path) -> None:
    over: list[asyncio.Event] = []

    @asynccontextmanager
    async def connection() -> Any:
        over.append(asyncio.Event())
        async with asyncio.TaskGroup() as group:

            async def read() -> None:
                await over[0].wait()
                raise OSError("lost")

            task = group.create_task(read())
            yield object()
            task.cancel()

    async def use() -> None:
        with TraceFile(path) as trace:
            async with AsyncResourcePool.from_context(connection, trace=trace) as pool:
                async with pool.acquire_context():
                    pass
                over[0].set()
                await turns(20)

    run(use())
    assert "1 GrowOld 1000.0 s1 > - @1000.0" in lines(path)


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("tracks", [False, True])
@pytest.mark.parametrize("debug", [False, True])
def test_a_trace_goes_with_every_other_option(
    path: Path, listens: bool, tracks: bool, debug: bool
) -> None:
    events: list[Any] = []
    options: dict[str, Any] = {"listener": events.append} if listens else {}
    options |= {"leak_threshold": 1} if tracks else {}

    async def use() -> None:
        with TraceFile(path) as trace:
            async with AsyncResourcePool(object, debug=debug, trace=trace, **options) as pool:
                await lease(pool, 2)
                assert not tracks or pool.leases() == []

    run(use())
    assert len(lines(path)) == 9
    assert len(events) == (6 if listens else 0)


def test_a_pool_without_a_trace_imports_nothing_of_it() -> None:
    program = (
        "import sys\n"
        "from nodetool.concurrency import AsyncResourcePool\n"
        "AsyncResourcePool(object)\n"
        "assert not [name for name in sys.modules if 'recorder' in name or '.trace' in name]\n"
        "from nodetool.concurrency.trace import TraceFile\n"
        "assert not [name for name in sys.modules if 'recorder' in name]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("kind", [None, inside.MACHINE])
def test_an_observer_may_watch_a_pool_with_a_trace(path: Path, kind: inside.Machine | None) -> None:
    class Counter(inside.Observer):
        steps = 0

        def before(self, machine: Any, action: str, args: tuple[Any, ...]) -> None:
            self.steps += 1

    counter = Counter()

    async def use() -> None:
        with TraceFile(path) as trace:
            pool = AsyncResourcePool(object, trace=trace)
            inside.watch(pool, counter, kind=kind)
            await lease_and_end(pool, 2)

    run(use())
    assert len(lines(path)) == counter.steps == 8


def test_a_pool_without_a_trace_runs_the_bare_machine() -> None:
    assert inside.machine_kind(AsyncResourcePool(object, debug=False)) == "bare"


def test_a_broken_contract_is_a_refused_step(path: Path) -> None:
    async def use() -> None:
        with TraceFile(path) as trace, machine_in_new_pools(inside.ServesNewestFirst):
            pool = AsyncResourcePool(object, max_size=1, debug=True, trace=trace)
            thing = await pool.acquire()
            waiters = [start(pool.acquire()) for _ in range(2)]
            await turns()
            with pytest.raises(inside.GuaranteeViolationError):
                await pool.release(thing)
            for waiter in waiters:
                waiter.cancel()
            with suppress(inside.GuaranteeViolationError):
                pool.terminate()

    run(use())
    assert lines(path)[5] == "1 Release 1000.0 s1 > !GuaranteeViolationError"


# The files.


def test_each_pool_begins_with_its_whole_state(path: Path) -> None:
    async def use() -> None:
        with TraceFile(path) as trace:
            for size in (1, 2):
                pool = AsyncResourcePool(object, max_size=size, name=f"p{size}", trace=trace)
                await lease_and_end(pool, 1)

    run(use())
    head, *found = files(path)[0].read_text().splitlines()
    assert json.loads(head)["process"] == os.getpid()
    states = [line.split(" ", 3) for line in found if " State " in line]
    options = [json.loads(state)["options"] for _, _, _, state in states]
    assert [(one["name"], one["max_size"]) for one in options] == [
        ("p1", 1),
        ("p1", 1),  # when the pool is closed
        ("p2", 2),
        ("p2", 2),
    ]


def test_a_trace_goes_on_in_the_next_file_and_keeps_the_last_ones(path: Path) -> None:
    other = path.with_name(f"{path.name}-1-1")
    other.touch()
    path.with_name(f"{path.name}-{os.getpid()}-1").mkdir()  # it cannot be removed

    async def use() -> None:
        with TraceFile(path, max_bytes=500, keep=2) as trace:
            pool = AsyncResourcePool(object, name="db", trace=trace)
            for _ in range(10):
                await lease(pool, 10)
            pool.terminate()

    run(use())
    other.unlink()
    *_, last, present = files(path)
    assert len(files(path)) == 3
    assert 500 < len("".join(f"{line}\n" for line in steps_in(last))) < 600
    for file in (last, present):
        head, state, *steps = file.read_text().splitlines()
        assert json.loads(head)["follows"]
        assert state.split(" ")[:2] == ["1", "State"]
        assert steps


def test_a_long_file_has_the_state_again_and_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.tune_traces(monkeypatch, PART=500, CHUNK=7)

    async def use() -> None:
        with TraceFile(path) as trace:
            await lease_and_end(AsyncResourcePool(object, trace=trace), 50)

    run(use())
    assert len(files(path)) == 1
    assert files(path)[0].read_text().count(" State ") >= 5
    assert len(lines(path)) == 104


def test_two_traces_with_the_same_path_have_files_of_their_own(path: Path) -> None:
    with TraceFile(path), TraceFile(path):
        pass
    assert len(files(path)) == 2


def test_steps_after_the_end_of_a_trace_are_not_recorded(path: Path) -> None:
    async def use() -> None:
        trace = TraceFile(path)
        pool = AsyncResourcePool(object, trace=trace)
        await lease(pool, 1)
        trace.close()
        trace.close()
        await lease(pool, 1)
        pool.terminate()

    run(use())
    assert len(lines(path)) == 4


@pytest.mark.parametrize("name", ["max_bytes", "keep"])
def test_a_limit_below_one_is_refused(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        TraceFile(path, **{name: 0})
    assert not files(path)


def test_a_directory_that_does_not_exist_is_refused_at_once(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TraceFile(path / "missing" / "trace")


def test_a_path_is_no_trace(path: Path) -> None:
    with pytest.raises(TypeError, match="trace must be a TraceFile, not 'x': make one with"):
        AsyncResourcePool(object, trace="x")  # type: ignore[call-overload]


# Faults.


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about traces."""
    found = [record.getMessage() for record in caplog.records]
    return [text for text in found if text.startswith("trace ")]


@pytest.mark.guarantees("FaultIsolation")
def test_a_full_disk_is_one_warning_and_the_trace_goes_on_later(
    path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> None:
        with TraceFile(path, keep=10**6) as trace:
            pool = AsyncResourcePool(object, name="db", trace=trace)
            await lease(pool, 1)
            until(lambda: len(lines(path)) == 4)
            disk.full = True
            await lease(pool, 2)
            until(lambda: len(files(path)) > 3)  # it has tried again several times
            await lease(pool, 2)
            disk.full = False
            until(lambda: files(path)[-1].stat().st_size)
            await lease(pool, 3)
            pool.terminate()

    run(use())
    assert len(lines(path)) == 4 + 6 + 2
    (text,) = warnings_in(caplog)
    assert "it records no more steps: OSError(28, 'No space left on device')" in text
    head, state, *_ = files(path)[-1].read_text().splitlines()
    assert not json.loads(head)["follows"]
    assert json.loads(state.split(" ", 3)[3])["numbers"]["acquired"] == 5


def test_a_disk_that_is_full_again_and_again_is_one_warning(
    path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.has_room_for_heads = disk.full = True

    async def use() -> None:
        with TraceFile(path, keep=10**6) as trace:
            pool = AsyncResourcePool(object, trace=trace)
            while len(files(path)) < 5:
                await lease(pool, 1)
                let_the_thread_run()
            pool.terminate()

    run(use())
    assert len(warnings_in(caplog)) == 1


def test_a_disk_that_takes_few_bytes_at_once_gets_all_lines(path: Path, disk: Disk) -> None:
    disk.chunk = 3

    async def use() -> None:
        with TraceFile(path) as trace:
            await lease_and_end(AsyncResourcePool(object, trace=trace), 3)

    run(use())
    assert len(lines(path)) == 10


def test_a_disk_that_fails_at_the_end_fails_nobody(path: Path, disk: Disk) -> None:
    disk.fails_at_close = True
    with TraceFile(path):
        pass


def test_a_disk_that_is_too_slow_is_one_warning(
    path: Path,
    disk: Disk,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside.tune_traces(monkeypatch, PART=200, MOST=3)

    async def use() -> None:
        with TraceFile(path) as trace:
            pool = AsyncResourcePool(object, trace=trace)
            await lease(pool, 100)
            until(lambda: len(files(path)) == 2)
            await lease(pool, 1)
            pool.terminate()

    run(use())
    (text,) = warnings_in(caplog)
    assert "the disk is too slow" in text
    assert len(lines(path)) < 150


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_a_process_that_can_start_no_thread_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, in_a_loop: bool
) -> None:
    class NoThread:
        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    inside.tune_traces(monkeypatch, Thread=NoThread)

    async def use() -> None:
        await lease(pool, 2)
        await turns()

    with TraceFile(path) as trace:
        pool = AsyncResourcePool(object, trace=trace)
        if in_a_loop:
            run(use())
        pool.terminate()
    assert len(warnings_in(caplog)) == in_a_loop


def test_a_handler_of_the_warning_may_use_the_pool(path: Path, disk: Disk) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            pool.stats()
            seen.append(record)

    seen: list[logging.LogRecord] = []
    handler = Handler()
    logging.getLogger("nodetool.concurrency.pool").addHandler(handler)
    try:
        with TraceFile(path) as trace:
            pool = AsyncResourcePool(object, trace=trace)
            disk.full = True
            run(lease_and_end(pool, 2))
            until(lambda: seen)
    finally:
        logging.getLogger("nodetool.concurrency.pool").removeHandler(handler)
    assert pool.stats().acquired == 2


@pytest.mark.guarantees("FaultIsolation")
@pytest.mark.parametrize("error", [RecursionError("deep"), KeyboardInterrupt()])
@pytest.mark.parametrize("number", range(24))
def test_a_line_that_cannot_be_written_fails_no_step_and_is_a_gap(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException
) -> None:
    async def use() -> None:
        with TraceFile(path, max_bytes=400, keep=100) as trace:
            inside.fail_one_write(monkeypatch, number, error)
            pool = AsyncResourcePool(object, max_size=1, trace=trace)
            await lease(pool, 4)
            thing = await pool.acquire()
            waiter = start(pool.acquire())
            await turns()
            await pool.release(thing)
            await pool.discard(await waiter)
            await lease_and_end(pool, 2)
            assert pool.stats().acquired == 8

    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):  # later, in the event loop
            run(use())
    else:
        run(use())
        replay = Replay()
        for head in heads([str(path)]):
            assert list(replay.read(head))
        assert not replay.failures
        assert replay.gaps == 1
        assert replay.steps >= 20


# Processes.

PROGRAM = """
import asyncio, os, sys, time
from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.trace import TraceFile

trace = TraceFile(sys.argv[1])
unused = AsyncResourcePool(object, name="child", trace=trace)


async def use(pool):
    for _ in range(10):
        async with pool.acquire_context():
            pass


async def main():
    await use(AsyncResourcePool(object, name="parent", trace=trace))
    {}


asyncio.run(main())
"""
FORK = """if os.fork() == 0:
        asyncio._set_running_loop(None)
        asyncio.run(use(unused))
        trace.close()
        os._exit(0)
    assert os.wait()[1] == 0"""
KILL = """while open(f"{sys.argv[1]}-{os.getpid()}-1").read().count("Release") < 10:
        time.sleep(0.01)
    os.kill(os.getpid(), 9)"""


def run_program(path: Path, end: str) -> int:
    """Run a program in a process of its own. Return its exit code."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(end), str(path)],
        check=False,
        timeout=60,
    )
    return done.returncode


def test_the_end_of_a_process_writes_all_lines(path: Path) -> None:
    assert run_program(path, "") == 0
    assert len(lines(path)) == 22


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_killed_process_leaves_what_was_written(path: Path) -> None:
    assert run_program(path, KILL) == -signal.SIGKILL
    assert len(lines(path)) == 22


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_writes_files_of_its_own(path: Path) -> None:
    assert run_program(path, FORK) == 0
    assert [len(steps_in(file)) for file in files(path)] == [22, 22]
    names = {line.split(" ")[0] for line in lines(path)}
    assert names == {"1", "2"}


def test_a_trace_begins_again_in_a_forked_child(path: Path, disk: Disk) -> None:
    """The same in this process, so that coverage sees it."""
    disk.fails_at_close = True
    with TraceFile(path) as trace:
        run(lease_and_end(AsyncResourcePool(object, trace=trace), 1))
        inside.as_in_a_new_process(trace)
        run(lease_and_end(AsyncResourcePool(object, trace=trace), 1))
        disk.fails_at_close = False
    heads = [json.loads(file.read_text().splitlines()[0]) for file in files(path)]
    assert len({head["run"] for head in heads}) == 2
    assert {line.split(" ")[0] for line in lines(path)} >= {"2"}
