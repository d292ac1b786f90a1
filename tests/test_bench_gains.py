"""What is compared with the pool does its work, whole and right, and leaves nothing behind; how
much faster one is than the other, is no test's to say.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import sys
import tempfile
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import __main__ as command
from bench.gains import comparison, postgres, sqlite, workers
from bench.gains.work import (
    Lease,
    Measured,
    Source,
    Work,
    WrongError,
    new_each_time,
    not_installed,
    timed,
)
from bench.report import Results
from bench.servers import ServerError
from bench.size import Size

pytestmark = pytest.mark.untraced

SMALL = Size(0.01)
QUICK = [work for work in comparison.WORKS if work is not postgres.QUERIES]
EACH = [(work, way) for work in QUICK for way in work.ways]


class Opened:
    """What was really opened, under the libraries that open it."""

    def __init__(self) -> None:
        self.files = 0
        self.processes: list[Process] = []
        self.process = asyncio.Event()  # the first one is there


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    found = Opened()
    connect, execute = sqlite3.connect, asyncio.create_subprocess_exec

    def counted(*args: Any, **options: Any) -> sqlite3.Connection:
        found.files += 1
        connection: sqlite3.Connection = connect(*args, **options)
        return connection

    async def recorded(*args: Any, **options: Any) -> Process:
        process = await execute(*args, **options)
        found.processes.append(process)
        found.process.set()
        return process

    monkeypatch.setattr(sqlite3, "connect", counted)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", recorded)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, opened: Opened
) -> Iterator[None]:
    """No thread, no file, no process, and nothing that the collector has to complain about."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("BENCH_POSTGRES", raising=False)
    before = set(threading.enumerate())
    yield
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    assert not list(folder.iterdir())
    assert all(process.returncode is not None for process in opened.processes)


@pytest.mark.parametrize(("work", "way"), EACH, ids=lambda value: getattr(value, "name", value))
def test_all_is_done_with_as_many_resources_as_the_way_permits(
    work: Work, way: str, opened: Opened
) -> None:
    measured = asyncio.run(work.measure(work.ways[way], SMALL))
    assert measured.seconds > 0
    assert measured.uses == (8 if work is workers.WORKERS else 20 if work.throughput else 16)
    if work is workers.WORKERS:
        assert len(opened.processes) == measured.opened
        assert [process.returncode for process in opened.processes] == [0] * measured.opened
    else:
        assert opened.files == measured.opened + 1  # and the one that fills the file
    if way.startswith("pool of "):
        assert 1 <= measured.most <= measured.opened <= int(way.removeprefix("pool of "))
    elif way.startswith("one "):
        assert measured.opened == 1
    else:
        assert measured.opened == measured.uses
    if work is workers.WORKERS:
        assert measured.most <= workers.MAX_SIZE


@pytest.mark.parametrize(("work", "way"), EACH, ids=lambda value: getattr(value, "name", value))
def test_work_that_is_not_whole_or_wrong_is_found(
    work: Work, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loses = "create trigger {0}_lost after insert on {0} when new.id = 3 begin\n"
    loses += "delete from {0} where id = 3; end;\n"
    monkeypatch.setattr(
        sqlite, "SCHEMA", sqlite.SCHEMA + loses.format("item") + loses.format("journal")
    )
    monkeypatch.setattr(workers, "PROGRAM", workers.PROGRAM.replace(".sqrt()", ""))
    with pytest.raises((WrongError, ExceptionGroup)) as error:
        asyncio.run(work.measure(work.ways[way], SMALL))
    assert isinstance(comparison.first_error(error.value), WrongError)


@pytest.mark.parametrize("way", workers.WORKERS.ways)
def test_a_worker_that_ends_by_itself_is_found(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PROGRAM", "import sys; sys.stdin.readline()")
    with pytest.raises(ExceptionGroup) as error:
        asyncio.run(workers.requests(workers.WORKERS.ways[way], SMALL))
    assert isinstance(comparison.first_error(error.value), WrongError | ConnectionError)


@pytest.mark.parametrize("way", workers.WORKERS.ways)
def test_nothing_is_left_of_work_that_is_cancelled(way: str, opened: Opened) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(workers.requests(workers.WORKERS.ways[way], SMALL))
        await opened.process.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


async def test_a_worker_that_does_not_end_is_killed_when_its_end_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "PROGRAM", "import time; print(flush=True); time.sleep(60)")
    worker = await workers.start()
    assert worker.stdout is not None
    await worker.stdout.readline()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(workers.stop(worker), 0.05)
    assert worker.returncode


async def test_a_worker_that_ends_badly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PROGRAM", "raise SystemExit(3)")
    with pytest.raises(WrongError, match="ended with 3"):
        await workers.stop(await workers.start())


async def test_what_stays_open_is_found() -> None:
    @asynccontextmanager
    async def forgetful(source: Source[object]) -> AsyncIterator[Lease[object]]:
        @asynccontextmanager
        async def lease() -> AsyncIterator[object]:
            yield await source.open()

        yield lease

    async def made() -> object:
        return object()

    async def nothing(*_: object) -> None:
        pass

    with pytest.raises(WrongError, match="6 opened, 0 closed"):
        await timed(Source(made, nothing), forgetful, 2, 3, nothing)


async def test_what_could_not_be_opened_is_not_open() -> None:
    async def refused() -> None:
        raise OSError("refused")

    async def nothing(*_: object) -> None:
        pass

    source = Source(refused, nothing)
    with pytest.raises(ExceptionGroup):
        await timed(source, new_each_time(), 2, 3, nothing)
    assert (source.opened, source.closed) == (2, 2)


class Server:
    """A PostgreSQL that can add."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.open = self.most = 0
        self.wrong = 0  # what it adds to every answer
        self.module = ModuleType("asyncpg")
        vars(self.module)["connect"] = self.connect

    async def connect(self, address: str | None, timeout: float) -> Session:
        await asyncio.sleep(0)
        self.asked.append(address)
        self.open += 1
        self.most = max(self.most, self.open)
        return Session(self)


class Session:
    """A connection to it."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def fetchval(self, _: str, number: int) -> int:
        await asyncio.sleep(0)
        return number + 1 + self.server.wrong

    async def close(self, timeout: float) -> None:
        self.server.open -= 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setitem(sys.modules, "asyncpg", made.module)
    return made


@pytest.mark.parametrize("way", postgres.QUERIES.ways)
def test_queries_run_and_are_checked(
    way: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_POSTGRES", "postgresql://somewhere")
    assert not postgres.QUERIES.lacks()
    measured = asyncio.run(postgres.queries(postgres.QUERIES.ways[way], SMALL))
    assert measured.uses == 16
    assert server.asked == ["postgresql://somewhere"] * measured.opened
    assert (server.open, server.most) == (0, measured.most)
    if way == postgres.POOL:
        assert measured.opened <= postgres.MAX_SIZE
    else:
        assert measured.opened == measured.uses
    server.wrong = 1
    with pytest.raises(ExceptionGroup):
        asyncio.run(postgres.queries(postgres.QUERIES.ways[way], SMALL))
    assert server.open == 0


def test_why_there_is_no_postgresql_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnamed, missing = postgres.NEITHER, "asyncpg is not installed"
    assert postgres.lacks() == unnamed
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    assert postgres.lacks() == f"{unnamed}, and {missing}"
    monkeypatch.setenv("PGHOST", "somewhere")
    assert postgres.lacks() == missing
    monkeypatch.setitem(sys.modules, "asyncpg", server.module)
    assert postgres.lacks() == ""


def no_server() -> None:
    raise ServerError("not here")


def test_a_server_is_started_if_nobody_named_one_and_is_gone_at_the_end() -> None:
    with postgres.a_server():
        assert postgres.lacks() == ""
        measured = asyncio.run(postgres.queries(postgres.QUERIES.ways[postgres.POOL], SMALL))
        assert 0 < measured.opened <= postgres.MAX_SIZE
    assert postgres.lacks() == postgres.NEITHER


def test_a_server_that_is_named_is_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "PostgreSQL", no_server)
    monkeypatch.setenv("BENCH_POSTGRES", "postgresql://somewhere")
    with postgres.a_server():
        assert postgres.named() == "postgresql://somewhere"
    assert postgres.named() == "postgresql://somewhere"


@pytest.mark.slow
def test_the_command_prints_tables_and_writes_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PostgreSQL", no_server)
    file = tmp_path / "figures.json"
    arguments = ("--gains", "--repetitions", "1", "--size", "0.01", "--json", str(file))
    assert command.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "repetition 1 of 1: worker processes, pool of 2" in err
    assert "Medians (quartiles) of 1 repetitions." in out
    assert "PostgreSQL: 200 small queries by 20 tasks\n  not measured: neither" in out
    for work, way in EACH:
        assert f"{work.name}: {work.title}\n" in out
        assert f"\n  {way}  " in out
    written = json.loads(file.read_text())
    assert written["repetitions"] == 1
    assert {"SQLite", "aiosqlite"} <= written["versions"].keys()
    assert "goals" not in written
    assert {why["workload"] for why in written["not measured"]} == {"PostgreSQL"}
    figures = {
        (figure["workload"], figure["contender"], figure["figure"]): figure["median"]
        for figure in written["figures"]
    }
    assert len(figures) == 4 * len(EACH)
    for work, way in EACH:
        time = figures[work.name, way, "ms"]
        other = figures[work.name, work.against, "ms"]
        expected = other / time if work.throughput else time / other
        assert figures[work.name, way, work.figure] == pytest.approx(expected, rel=1e-3)


Change = Callable[[Callable[[], Measured]], None]


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Change:
    """The command with one kind of work, which has these outcomes."""

    def change(outcome: Callable[[], Measured]) -> None:
        async def measure(*_: object) -> Measured:
            return outcome()

        ways = {"slow": new_each_time(), "fast": new_each_time()}
        work = Work("work", "some", measure, ways, "fast", lambda: "")
        monkeypatch.setattr(comparison, "WORKS", (work,))

    return change


def test_the_ways_take_turns_to_be_first(only: Change, capsys: pytest.CaptureFixture[str]) -> None:
    only(lambda: Measured(0.5, 1, 1, 1))
    assert command.main(["--gains", "--repetitions", "2"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(", ")[-1] for line in err.splitlines()] == ["slow", "fast", "fast", "slow"]
    assert "  slow  500       1        1                        1" in out


def test_a_failure_is_told_and_is_no_success(
    only: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Measured:
        raise ExceptionGroup("some", [ExceptionGroup("more", [OSError("refused")])])

    only(fail)
    assert command.main(["--gains", "--repetitions", "2"]) == 1
    out, err = capsys.readouterr()
    assert "  failed: OSError('refused')" in out
    assert len(err.splitlines()) == 1  # it is not tried again


@pytest.mark.parametrize("good", [0, 2])
def test_what_was_measured_before_an_interrupt_is_shown(
    good: int, only: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = iter([Measured(0.5, 1, 1, 1)] * good)

    def interrupted() -> Measured:
        if outcome := next(outcomes, None):
            return outcome
        raise KeyboardInterrupt

    only(interrupted)
    assert command.main(["--gains"]) == 130
    out = capsys.readouterr().out
    assert "of 5 repetitions, interrupted." in out
    assert ("not measured: interrupted before" in out) == (not good)
    assert ("  slow  500" in out) == bool(good)


@pytest.mark.parametrize(
    "other", [["--quick"], ["--check"], ["--only", "W1"], ["--plot", "figures.svg"]]
)
def test_gains_are_measured_alone(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command.main(["--gains", *other])
    assert exit_info.value.code == 2
    assert "--gains goes only with --repetitions and --json" in capsys.readouterr().err


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiosqlite", None)
    results = comparison.measure(1, SMALL, lambda _: None)
    for work in QUICK:
        missing = results.reasons.get((work.name, work.against), "")
        assert missing == ("" if work is workers.WORKERS else "aiosqlite is not installed")
    assert not_installed("sqlite3") == ""
    assert "not measured: aiosqlite" in comparison.work_table(sqlite.SHORT_READS, results)
    assert "not measured: interrupted" in comparison.work_table(
        sqlite.SHORT_READS, Results("asyncio", 1)
    )
