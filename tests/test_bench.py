"""The benchmarks run, and they find a pool that is slow, lossy or unfair.

No test says how fast the pool is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest

from bench import __main__ as command
from bench import goals, report, running
from bench.contenders import Contender, LacksError, Pool, Wanted, missing
from bench.floors import Floor, Shelf
from bench.peers import PEERS
from bench.pools import OURS, Ours, QueuePool, SemaphorePool
from bench.running import CONTENDERS, Outcome, applies, measure
from bench.size import FULL, TINY, Size
from bench.statistic import Spread
from bench.workloads import WORKLOADS, Workload, faults, memory, queue, races, scale

pytestmark = pytest.mark.untraced

NAMED = {workload.name: workload for workload in WORKLOADS}
BY_HAND: tuple[Contender, ...] = (Floor(), *OURS, QueuePool(), SemaphorePool())


def missed(workload: str, contender: Contender, size: Size = TINY) -> set[str]:
    """The goals that our pool would miss if it were this one."""
    outcome = measure(NAMED[workload], contender, size)
    assert not outcome.reason
    figures = {(workload, goals.OURS, name): [value] for name, value in outcome.figures.items()}
    verdicts = goals.judge(figures, {workload})
    return {v.goal.text for v in verdicts if v.goal.contender == goals.OURS and not v.met}


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_every_workload_runs_with_our_pool(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory, queue, scale):  # a collection takes long in the process of the tests
        monkeypatch.setattr(module, "gc", SimpleNamespace(collect=int))
    outcome = measure(workload, Ours(), Size(0.0006) if workload.name == "S4" else TINY)
    assert not outcome.reason
    wanted = {goal.figure for goal in goals.GOALS if goal.workload == workload.name}
    assert wanted <= outcome.figures.keys()
    counts = {g.text for g in goals.GOALS if g.every_run}
    figures = {(workload.name, goals.OURS, k): [v] for k, v in outcome.figures.items()}
    verdicts = goals.judge(figures, {workload.name})
    assert all(verdict.met for verdict in verdicts if verdict.goal.text in counts)


@pytest.mark.slow
@pytest.mark.parametrize("contender", BY_HAND, ids=lambda contender: contender.name)
@pytest.mark.parametrize("workload", ["W1", "W2", "W2T", "W3", "W4", "W5", "W6", "W8", "W11", "S2"])
def test_floors_and_pools_by_hand_run(workload: str, contender: Contender) -> None:
    outcome = measure(NAMED[workload], contender, TINY)
    assert outcome.figures
    assert not outcome.reason


@pytest.mark.parametrize("contender", [Floor(), QueuePool()], ids=lambda contender: contender.name)
@pytest.mark.parametrize("workload", ["W7a", "W7b", "W10", "W12", "W15"])
def test_what_a_contender_lacks_is_told(workload: str, contender: Contender) -> None:
    assert measure(NAMED[workload], contender, TINY).reason


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_the_pools_of_others_run_if_they_are_there(peer: Contender) -> None:
    if module := missing(peer):
        assert measure(NAMED["W1"], peer, TINY) == Outcome({}, f"not installed ({module})")
    else:
        assert measure(NAMED["W1"], peer, TINY).figures
        assert measure(NAMED["W4"], peer, TINY).figures


class Changed:
    """A pool with a fault, made of one without."""

    name = "ours"
    modules: tuple[str, ...] = ()
    timeouts: tuple[type[BaseException], ...] = (TimeoutError,)

    def __init__(self, good: Contender, change: Callable[[Pool], Pool]) -> None:
        self.good = good
        self.change = change

    async def make(self, wanted: Wanted) -> Pool:
        return self.change(await self.good.make(wanted))


def test_a_slow_pool_misses_its_goals() -> None:
    def slow(pool: Pool) -> Pool:
        async def acquire() -> Any:
            sum(range(5_000))
            return await pool.acquire()

        class Lease(AbstractAsyncContextManager[Any]):
            async def __aenter__(self) -> Any:
                self.resource = await acquire()
                return self.resource

            async def __aexit__(
                self,
                kind: type[BaseException] | None,
                error: BaseException | None,
                traceback: TracebackType | None,
            ) -> None:
                await pool.release(self.resource)

        return replace(pool, acquire=acquire, context=Lease)

    texts = {"acquire and release", "async with", "acquire(timeout=5) and release"}
    assert missed("W1", Changed(Floor(), slow), Size(0.05)) == texts
    assert "the same with a timeout each" in missed("W2T", Changed(Floor(), slow))


def test_a_pool_that_loses_a_resource_to_a_cancellation_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(races, "PATIENCE", 0.05)

    def lossy(pool: Pool) -> Pool:
        async def acquire() -> Any:
            task = asyncio.ensure_future(pool.acquire())
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            return await asyncio.shield(task)

        return replace(pool, acquire=acquire)

    assert "lost to cancellation" in missed("W6R", Changed(Floor(), lossy))
    assert not missed("W6R", SemaphorePool())


def test_a_pool_that_starves_and_overtakes_is_found() -> None:
    assert missed("W11", QueuePool()) == {"most minus least served", "overtaken"}
    assert not missed("W11", SemaphorePool())


def test_a_pool_that_serves_the_last_one_first_is_found() -> None:
    class Stack(Floor):
        async def make(self, wanted: Wanted) -> Pool:
            idle: list[Any] = [object() for _ in range(wanted.max_size)]
            waiting: list[asyncio.Future[Any]] = []

            async def acquire() -> Any:
                if idle:
                    return idle.pop()
                waiting.append(asyncio.get_running_loop().create_future())
                return await waiting[-1]

            async def release(resource: Any) -> None:
                if waiting:
                    waiting.pop().set_result(resource)
                else:
                    idle.append(resource)

            return Pool(acquire, release, lambda: Shelf(asyncio.Queue()))  # type: ignore[arg-type]

    assert "inversions" in missed("W11", Stack())


def test_a_pool_that_a_hung_connect_starves_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "DEADLINE", 0.05)
    monkeypatch.setattr(faults, "CONNECT", 0.01)

    class OneConnect(SemaphorePool):
        """A pool in which all callers wait for the same connect."""

        async def make(self, wanted: Wanted) -> Pool:
            connect = asyncio.ensure_future(wanted.create())

            async def create() -> Any:
                return await asyncio.shield(connect)

            return await super().make(replace(wanted, create=create))

    texts = {"first request served", "requests not served"}
    assert texts < missed("W16", OneConnect())
    assert not texts & missed("W16", SemaphorePool())


def test_a_prune_that_leaves_something_is_found() -> None:
    class Keeps(Ours):
        async def make(self, wanted: Wanted) -> Pool:
            return await super().make(replace(wanted, max_idle_time=None))

    assert "left by prune of 10,000" in missed("W7b", Keeps())


def test_a_close_that_serves_its_queue_is_found() -> None:
    class Patient(Ours):
        async def make(self, wanted: Wanted) -> Pool:
            pool = await super().make(wanted)
            users = 0

            async def acquire() -> Any:
                nonlocal users
                users += 1
                try:
                    return await pool.acquire()
                finally:
                    users -= 1

            async def close() -> None:
                while True:
                    if not users:
                        break
                    await asyncio.sleep(0)
                assert pool.close is not None
                await pool.close()

            return replace(pool, acquire=acquire, close=close)

    assert "queued callers served" in missed("W12", Patient())


def test_a_size_is_a_share_of_the_full_one() -> None:
    assert FULL.count(10_000) == 10_000
    assert FULL.seconds(1.0) == 1.0
    assert TINY.count(10_000) == 30
    assert TINY.count(10) == 2
    assert TINY.count(1, least=5) == 1
    assert TINY.seconds(3.0, least=0.5) == 0.5


def test_a_contender_takes_part_where_it_is_meant_to() -> None:
    takes_part = {w.name: [c.name for c in CONTENDERS if applies(w, c)] for w in WORKLOADS}
    assert takes_part["W1"] == [contender.name for contender in CONTENDERS]
    assert [name for name in takes_part["W3"] if name.startswith("ours")] == ["ours"]
    assert takes_part["S4"] == ["ours"]


def test_every_goal_names_a_workload_and_a_contender() -> None:
    contenders = {contender.name: contender for contender in CONTENDERS}
    for goal in goals.GOALS:
        assert applies(NAMED[goal.workload], contenders[goal.contender])
    assert [*dict.fromkeys(goal.number for goal in goals.GOALS)][:17] == [
        str(number) for number in range(1, 18)
    ]


def test_a_goal_beside_a_peer_counts_if_the_peer_was_measured() -> None:
    ours, theirs = [("W9", name, "ms") for name in (goals.OURS, "psycopg")]
    beside = {goal.text for goal in goals.GOALS if goal.peer}
    assert len(beside) == 2
    alone = {verdict.goal.text for verdict in goals.judge({ours: [5.0]}, {"W9"})}
    assert not beside & alone
    for cost, met in ((24.0, True), (26.0, False)):
        verdicts = goals.judge({ours: [cost], theirs: [90.0, 100.0, 110.0]}, {"W9"})
        verdict = next(one for one in verdicts if one.goal.peer == "psycopg")
        assert verdict.met == met
        assert verdict.measured is not None
        assert verdict.measured.median == cost / 100


def test_the_median_counts_or_the_worst() -> None:
    median = goals.Goal("1", "a cost", "W1", "cost", 2.0)
    worst = replace(median, every_run=True)
    spread = Spread.of([1.0, 1.0, 1.0, 1.0, 9.0])
    assert (spread.median, spread.low, spread.high, spread.worst) == (1.0, 1.0, 1.0, 9.0)
    assert goals.Verdict(median, spread).met
    assert not goals.Verdict(worst, spread).met
    assert not goals.Verdict(median, None).met
    assert str(Spread.of([1.0, 2.0, 3.0])) == "2 (1.50 to 2.50)"
    kept = Spread.of([1.0, 2.0, 3.0]).as_json()
    assert kept == {"median": 2.0, "quartiles": [1.5, 2.5]}
    assert str(Spread.from_json(kept)) == "2 (1.50 to 2.50)"


Run = Callable[..., int]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command with the same figures from every process. Those of others are 1."""
    asked: list[tuple[str, str]] = []

    def run(*arguments: str, value: float = 0.0, reason: str = "") -> int:
        def outcome(workload: Workload, contender: Contender, size: Size, uvloop: bool) -> Outcome:
            asked.append((workload.name, contender.name))
            wanted = [goal.figure for goal in goals.GOALS if goal.workload == workload.name]
            one = value if contender.name.startswith("ours") else 1.0
            return Outcome({} if reason else dict.fromkeys(wanted, one), reason)

        monkeypatch.setattr(command, "in_own_process", outcome)
        return command.main(arguments)

    return run


def test_the_command_prints_tables_and_writes_json(
    bench: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    assert bench("--quick", "--json", str(file)) == 0
    out, err = capsys.readouterr()
    assert "W1: one task, nobody waits, no timeout" in out
    assert "ours, limits" in out
    assert not {"debug", "W1L"} & {*out.replace(":", " ").split()}
    assert "1. acquire and release" in out
    assert "repetition 1 of 1" in err
    written = json.loads(file.read_text())
    measured = {figure["contender"] for figure in written["figures"]}
    judged = [goal for goal in goals.GOALS if not goal.peer or goal.peer in measured]
    assert len(written["goals"]) == len(judged)
    assert all(goal["met"] for goal in written["goals"])
    figure = written["figures"][0]
    assert (figure["median"], figure["quartiles"]) == (1.0, [1.0, 1.0])
    assert file.read_text().count("\n") < 200
    assert (figure["workload"], figure["contender"]) == ("W1", "floor")


def test_what_is_not_quick_is_measured_five_times_with_debug_mode_and_the_ladder(
    bench: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--only", "W1", "W1L", "--pools", "ours") == 0
    out, err = capsys.readouterr()
    assert "ours, debug on" in out
    assert "W1L: what that is made of" in out
    assert "repetition 5 of 5" in err


def test_a_quick_run_measures_a_peer_only_beside_a_goal(
    bench: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "missing", lambda _: None)
    assert bench("--quick", "--only", "W8", "W9") == 0
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == [
        *("W8 ours", "W8 ours, limits", "W9 ours", "W9 psycopg", "W9 asyncpg"),
    ]


def test_only_what_was_asked_for_is_measured(
    bench: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--only", "W3", "W11", "--pools", "ours", "queue", "--repetitions", "1") == 0
    out, err = capsys.readouterr()
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "W3 ours",
        "W3 queue",
        "W11 ours",
        "W11 queue",
    ]
    assert "W1:" not in out
    assert "5. " not in out


def test_check_fails_if_a_goal_is_missed(bench: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--check", "--quick", "--only", "W1") == 0
    assert bench("--quick", "--only", "W1", value=1e6) == 0
    assert "MISSED" in capsys.readouterr().out
    assert bench("--check", "--quick", "--only", "W1", value=1e6) == 1
    assert "met" not in capsys.readouterr().out


def test_what_could_not_be_measured_is_told_and_is_no_success(
    bench: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--check", "--quick", "--only", "W1", reason="no end within 1 s") == 1
    out = capsys.readouterr().out
    assert "ours: no end within 1 s" in out
    assert "not measured" in out


def test_a_failure_in_a_later_repetition_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = iter([Outcome({"served after, ms": 1.0}), Outcome({}, "failed: why")])
    monkeypatch.setattr(command, "in_own_process", lambda *_: next(outcomes))
    assert command.main(["--check", "--only", "W10f", "--pools", "ours"]) == 1
    assert "ours: failed: why" in capsys.readouterr().out


def test_what_was_measured_before_an_interrupt_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = iter([Outcome({"÷ (c)": 1.25})])

    def once(*_: object) -> Outcome:
        if outcome := next(outcomes, None):
            return outcome
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "in_own_process", once)
    assert command.main(["--only", "W2", "--pools", "ours"]) == 130
    out = capsys.readouterr().out
    assert "interrupted" in out
    assert "1.25" in out


def test_a_process_of_its_own_measures(capsys: pytest.CaptureFixture[str]) -> None:
    done = running.in_own_process(NAMED["W10f"], Ours(), TINY)
    assert list(done.figures) == ["served after, ms"]
    refused = running.in_own_process(NAMED["W10f"], Floor(), TINY)
    assert refused == Outcome({}, "it creates nothing")
    assert running.main(["W10f", "ours", "--size", "0.003"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]


def test_a_process_that_fails_or_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Ours("nobody")
    assert running.in_own_process(NAMED["W1"], nobody, TINY).reason.startswith("failed: ")
    monkeypatch.setattr(running, "PATIENCE", 0.01)
    assert running.in_own_process(NAMED["W1"], Ours(), TINY).reason == "no end within 0.01 s"


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")
def test_uvloop_can_be_measured() -> None:
    assert measure(NAMED["W2T"], Ours(), TINY, uvloop=True).figures


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_plot_is_drawn(bench: Run, tmp_path: Path) -> None:
    file = tmp_path / "figures.svg"
    assert bench("--quick", "--only", "W1", "W8", "--plot", str(file), value=2.0) == 0
    drawn = file.read_text()
    assert "<svg" in drawn
    assert "ours, limits" in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "W99"], "invalid choice: 'W99'"),
        (["--pools", "nobodys"], "invalid choice: 'nobodys'"),
        (["--repetitions", "0"], "--repetitions must be 1 or more"),
        (["--json", "/no/such/folder/file"], "--json: cannot write to /no/such/folder/file"),
    ],
)
def test_wrong_arguments_are_told_plainly(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command.main(arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_not_installed_is_told_plainly(
    bench: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(QueuePool, "modules", ("no_such_module",))
    assert bench("--only", "W1", "--pools", "ours", "queue") == 0
    assert "queue: skipped, no_such_module is not installed" in capsys.readouterr().err

    def nothing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(command, "import_module", nothing)
    for option in (["--uvloop"], ["--plot", "figures.svg"]):
        with pytest.raises(SystemExit):
            command.main(option)
        assert "is not installed" in capsys.readouterr().err


def test_a_table_has_columns() -> None:
    assert report.table(["", "a"], [["long name", "1"], ["b", "100"]]) == [
        "             a",
        "long name    1",
        "b          100",
    ]


def test_a_lack_is_an_error_of_its_own() -> None:
    with pytest.raises(LacksError):
        asyncio.run(QueuePool().make(Wanted(max_idle_time=1.0)))
