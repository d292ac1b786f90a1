"""Recorded runs are replayed: a trace of the pool holds, and everything else is refused."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.trace import TraceFile
from nodetool.concurrency.verify import __main__
from nodetool.concurrency.verify.__main__ import main
from nodetool.concurrency.verify._answers import guarantee_of_answer, guarantee_of_state
from nodetool.concurrency.verify._graph import Graph, limits_of
from nodetool.concurrency.verify._replay import Failure, Replay, heads
from proofs import broken_machines
from proofs.broken_machines import BROKEN
from proofs.inside import machine_in_new_pools
from proofs.random_moves import BareWorld, random_moves
from tests import inside
from tests.trace_files import files
from tests.virtual_time import run

HOLDS = re.compile(r"all of it holds: [0-9,]+ steps of 2 pools in 1 process are behaviours")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a trace."""
    return tmp_path / "pool.trace"


async def load(trace: TraceFile, name: str, seed: int = 1, **options: Any) -> None:
    """Use a pool in every way, with faults."""
    rng = random.Random(seed)

    async def create() -> object:
        await asyncio.sleep(rng.random())
        if rng.random() < 0.1:
            raise OSError("the server is down")
        return object()

    async def check(_: object) -> bool:
        await asyncio.sleep(rng.random() / 2)
        return rng.random() > 0.2

    async def reset(_: object) -> None:
        await asyncio.sleep(rng.random() / 2)
        if rng.random() < 0.1:
            raise OSError

    async def close(_: object) -> None:
        await asyncio.sleep(rng.random() / 4)

    chosen: dict[str, Any] = {
        "max_size": 4,
        "min_size": 2,
        "max_age": 4,
        "max_idle_time": 5,
        "check": check,
        "check_after_idle": 1,
        "reset": reset,
        "name": name,
        "trace": trace,
        **options,
    }
    pool = AsyncResourcePool(create, close, **chosen)

    async def use() -> None:
        for _ in range(6):
            await asyncio.sleep(3 * rng.random())
            try:
                async with pool.acquire_context(timeout=rng.choice([0, 0.5, 9])):
                    await asyncio.sleep(rng.random())
                    if rng.random() < 0.1:
                        raise TimeoutError
            except Exception:
                continue

    async def take() -> object:
        while True:
            with suppress(OSError):
                return await pool.acquire()

    await asyncio.gather(*(use() for _ in range(8)))
    await pool.resize(max_size=2)
    held = await take()
    await pool.retire_all()
    await pool.release(held)
    await asyncio.sleep(10)
    await pool.resize(max_size=5)
    await asyncio.gather(*(use() for _ in range(8)))
    await take()
    users = [asyncio.create_task(use()) for _ in range(8)]
    await asyncio.sleep(1)
    if seed == 1:
        pool.terminate()
    else:
        await asyncio.gather(*users)
        await pool.discard(await take())
    await asyncio.gather(*users)
    pool.terminate()
    await pool.close()


def record(path: Path, *, max_bytes: int = 10**6, **options: Any) -> list[Path]:
    """Record a load of two pools. Return the files."""

    async def loads(trace: TraceFile) -> None:
        await asyncio.gather(load(trace, "a", **options), load(trace, "b", 2, **options))

    with TraceFile(path, max_bytes=max_bytes, keep=1000) as trace:
        run(loads(trace))
    return files(path)


def replayed(*names: Path) -> Replay:
    """Replay files."""
    replay = Replay()
    for head in heads(map(str, names)):
        for _ in replay.read(head):
            pass
    return replay


def failures(*names: Path) -> list[Failure]:
    """Return what is wrong with files."""
    return replayed(*names).failures


# Traces that hold.


def test_a_trace_of_two_pools_holds(path: Path) -> None:
    record(path)
    replay = replayed(path)
    assert not replay.failures
    assert replay.steps > 500
    assert (replay.pools, replay.unchecked, replay.gaps, replay.cut) == (2, 0, 0, [])


@pytest.mark.parametrize("options", [{"reuse": "fifo"}, {"max_waiting": 1}, {"max_creating": 1}])
def test_a_trace_of_a_pool_with_other_options_holds(path: Path, options: Any) -> None:
    record(path, **options)
    assert not failures(path)


def test_a_rotated_trace_holds_in_whole_and_in_each_part(path: Path) -> None:
    parts = record(path, max_bytes=4000)
    assert len(parts) > 5
    whole = replayed(path)
    alone = [replayed(part) for part in parts]
    assert not whole.failures
    assert not any(one.failures for one in alone)
    assert whole.steps == sum(one.steps for one in alone)
    assert replayed(*reversed(parts)).steps == whole.steps  # in any order
    some = replayed(*parts[1:3], parts[-1])  # parts between them are missing
    assert not some.failures
    assert some.steps == sum(alone[at].steps for at in (1, 2, -1))


def test_a_trace_that_is_cut_off_at_any_line_holds(path: Path, tmp_path: Path) -> None:
    (file,) = record(path)
    lines = file.read_bytes().splitlines(keepends=True)[:120]
    cut = tmp_path / "cut"
    for at in range(2, len(lines), 5):
        for part in (b"", lines[at][:-1], lines[at][: len(lines[at]) // 2]):
            cut.write_bytes(b"".join(lines[:at]) + part)
            replay = replayed(cut)
            assert not replay.failures
            assert bool(replay.cut) == bool(part)


def test_a_trace_that_is_cut_off_in_its_first_line_has_nothing_to_check(path: Path) -> None:
    (file,) = record(path)
    head = file.read_bytes().splitlines()[0]
    for at in (0, 1, 5, len(head)):
        file.write_bytes(head[:at])
        assert heads([str(file)]) == []


def test_a_trace_with_a_gap_holds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third, *_ = record(path, max_bytes=4000)
    second.unlink()
    replay = replayed(first, third)
    assert (replay.gaps, replay.failures) == (1, [])
    head, *rest = third.read_text().splitlines(keepends=True)
    changed = json.loads(head) | {"follows": False, "file": 2}
    third.write_text(json.dumps(changed) + "\n" + "".join(rest))
    replay = replayed(first, third)
    assert (replay.gaps, replay.failures) == (1, [])
    assert main(["--trace", str(first), str(third)]) == 0
    assert "  1 gap: the steps in between are unchecked\n" in capsys.readouterr().out


def test_lines_before_the_first_state_of_their_pool_are_counted(path: Path) -> None:
    """A pool in another thread may write a line at the moment at which a file begins."""
    _, second, *_ = record(path, max_bytes=4000)
    head, *rest = second.read_text().splitlines(keepends=True)
    second.write_text(head + "1 Acquire 1000.0 > s1\n" + "".join(rest))
    replay = replayed(second)
    assert (replay.unchecked, replay.failures) == (1, [])


# Machines with a bug.


def walk(path: Path, machine: inside.Machine, model: str) -> None:
    """Record random walks of a machine in the bounds of a model."""
    graph = Graph.frozen(model)
    world: Any = None
    with TraceFile(path, max_bytes=4000, keep=10**6) as trace:
        made: Any = inside.recorded_machine(machine, trace, lambda: world.now if world else 0)
        for seed in range(40):
            for sizes in limits_of(graph.constants)[:2]:
                world = None
                world = BareWorld(graph.constants, sizes, made)
                try:
                    for _ in random_moves(world, seed):
                        pass
                except Exception:  # a machine with a bug may fail in any way
                    continue


UNSEEN = {
    "KeepsLeaseMark": "a trace does not have the contexts that have leases",
    "LosesLeaseMark": "as above",
    "ChecksAgainAtResume": "the walks are too short for it",
    "KeepsOnTheWrongSide": "as above",
    "RetiresNoChecks": "as above",
    "TakesTheWrongEnd": "as above",
}
"""Machines with a bug that short walks do not show."""


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize(
    ("machine", "model"),
    [(machine, model) for _, machine, model in BROKEN],
    ids=[machine.__name__ for _, machine, _ in BROKEN],
)
def test_a_trace_of_a_machine_with_a_bug_is_refused(
    path: Path, machine: inside.Machine, model: str
) -> None:
    walk(path, machine, model)
    assert bool(failures(path)) == (machine.__name__ not in UNSEEN)


@pytest.mark.parametrize("model", ["Wide", "Deep", "Checked"])
def test_a_trace_of_random_walks_holds(path: Path, model: str) -> None:
    walk(path, inside.MACHINE, model)
    assert not failures(path)


POOLS = {
    "ServesNewestFirst": "FifoService",
    "TrustsForEver": "OnlyFitHandedOut",
    "SkipsReset": "DirtyIsClosed",
    "SwapsReasons": "OneReason",
    "DoesNotCountClosing": "SizeWithinLimit",
    "DeniesFailure": "FaultIsolation",
    "SkewsAge": "OnlyFitHandedOut",
    "ResizesOnly": "WaiterServed",
    "Miscounts": "CountsAgree",
    "KeepsItsDisowned": "WaiterServed",
    "RetiresIdleOnly": "RetireAllCompletes",
    "TerminateCloses": "TerminateForgets",
}
"""Machines with a bug that a loaded pool shows, and a guarantee that the trace breaks."""


@pytest.mark.parametrize("name", POOLS)
def test_a_trace_of_a_pool_with_a_bug_is_refused(path: Path, name: str) -> None:
    machine = getattr(broken_machines, name)
    with machine_in_new_pools(machine):
        record(path)
    found = failures(path)
    assert POOLS[name] in {failure.guarantee for failure in found}
    assert {failure.pool for failure in found} <= {"pool 'a'", "pool 'b'"}


# Traces that were changed.

SMALL = """\
1 Acquire 1.0 > w1 s1:creating
1 Acquire 1.0 > w2 s2:creating
1 Acquire 1.0 > w3
1 Acquire 1.0 > w4
1 CreateSucceeded 2.0 s1 r0 inf > - w1=s1
1 Resume 2.0 w1 > s1
1 CreateFailed 3.0 s2 e > yes w2=! s3:creating
1 Release 4.0 s1 > yes w3=s1
1 Resume 4.0 w3 > s1
1 CreateSucceeded 5.0 s3 r0 inf > - w4=s3
1 Resume 5.0 w4 > s3
1 Release 6.0 s1 > yes @16.0
1 Release 6.0 s3 > no
1 Acquire 7.0 > s3
1 Discard 7.5 s3 discarded - > - s3:closing:discarded
1 CloserEnded 8.0 s3 - > - open
1 Sweep 16.0 > [s1] s1:closing:pruned @inf
1 CloserEnded 17.0 s1 - > - open
1 Close 18.0 > - closed
1 Acquire 19.0 > !ResourcePoolClosedError
"""


def written(path: Path, text: str, file: int = 1) -> Path:
    """Write a trace: a state of an unused pool, and these lines."""
    machine = inside.new_machine("db", 2, max_idle_time=10.0)
    state = {**inside.captured(machine, inside.Numbers()), "last": 0, "follows": True}
    head = {"trace": 1, "run": "r", "process": 1, "file": file, "follows": False}
    lines = [json.dumps(head), f"1 State 0.0 {json.dumps(state)}", *text.splitlines()]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_trace_that_was_written_by_hand_holds(path: Path) -> None:
    assert not failures(written(path, SMALL))


TAMPERED = [
    ("Release 4.0 s1 > yes w3=s1", "Release 4.0 s1 > yes w4=s1", "FifoService"),
    ("Release 4.0 s1 > yes w3=s1", "Release 4.0 s1 > no", "WaiterServed"),
    ("Release 4.0 s1 > yes w3=s1", "Release 4.0 s1 > yes w3=s1 s4:creating", "SizeWithinLimit"),
    ("Acquire 1.0 > w3\n", "Acquire 1.0 > w3 s3:creating\n", "SizeWithinLimit"),
    ("Acquire 7.0 > s3", "Acquire 7.0 > s1", "ReuseOrder"),
    ("Acquire 7.0 > s3", "Acquire 7.0 > w5", "WaiterServed"),
    ("Acquire 1.0 > w3\n", "Acquire 1.0 > s1\n", "OnlyFitHandedOut"),
    ("Acquire 1.0 > w3\n", "Acquire 1.0 > w9\n", "FifoService"),
    ("Release 6.0 s3 > no", "Release 6.0 s1 > no", "NoDoubleRelease"),
    ("Discard 7.5 s3 discarded - > -", "Discard 7.5 s9 discarded - > -", "NoDoubleRelease"),
    ("s3:closing:discarded", "s3:closing:pruned", "OneReason"),
    (" s3:closing:discarded\n", "\n", "ClosedExactlyOnce"),
    ("yes w2=! s3:creating", "yes w2=!", "FailureFreesSlot"),
    ("yes w2=! s3:creating", "yes w2=! w3=! s3:creating", "FaultIsolation"),
    ("yes w2=! s3:creating", "no w2=! s3:creating", "FaultIsolation"),
    ("yes w2=! s3:creating", "no s3:creating", "FaultIsolation"),
    ("Resume 5.0 w4 > s3", "Resume 5.0 w4 > s1", "OnlyFitHandedOut"),
    ("Resume 5.0 w4 > s3", "Resume 5.0 w9 > s3", "OneOutcome"),
    ("> yes @16.0", "> yes @17.0", "OnlyFitHandedOut"),
    ("Sweep 16.0 > [s1] s1", "Sweep 16.0 > [] s1", "ClosedExactlyOnce"),
    ("Sweep 16.0 > [s1] s1", "Sweep 15.9 > [s1] s1", "PruningKeepsFloor"),
    ("Close 18.0 > - closed", "Close 18.0 > - closing", "CloseCompletes"),
    ("!ResourcePoolClosedError", "s3", "NothingAfterClose"),
    ("Resume 5.0 w4", "Resume 4.9 w4", "time"),
    ("CreateSucceeded 5.0 s3 r0 inf", "CreateSucceeded 5.0 s3 r0 5.0", "CountsAgree"),
    ("CreateSucceeded 5.0 s3 r0 inf", "CreateSucceeded 5.0 s3 r1 inf", "OneOutcome"),
    ("Close 18.0 > - closed\n", "Resize 18.0 0 0 > [] open\n", "CountsAgree"),
    ("Close 18.0 > - closed\n", "Resize 18.0 2 9 > [] open\n", "CountsAgree"),
    ("Discard 7.5 s3 discarded -", "Discard 7.5 s3 expired -", "CountsAgree"),
]


@pytest.mark.parametrize(("line", "by", "guarantee"), TAMPERED)
def test_a_changed_line_breaks_a_guarantee(path: Path, line: str, by: str, guarantee: str) -> None:
    at = SMALL[: SMALL.index(line)].count("\n") + 3
    (failure,) = failures(written(path, SMALL.replace(line, by, 1)))
    assert (failure.guarantee, failure.pool) == (guarantee, "pool 'db'")
    assert failure.where == f"pool.trace, line {at}"
    assert by.strip() in failure.detail.splitlines()[0]


@pytest.mark.parametrize("line", range(len(SMALL.splitlines()) - 2))
def test_a_missing_line_is_noticed(path: Path, line: int) -> None:
    lines = SMALL.splitlines()
    del lines[line]
    assert failures(written(path, "\n".join(lines)))


def test_a_state_that_does_not_follow_is_refused(path: Path) -> None:
    def change(**changes: Any) -> list[Failure]:
        written(path, SMALL)
        text = path.read_text().splitlines()
        state = json.loads(text[1].split(" ", 3)[3])
        for name, value in changes.items():
            state[name] = value
        path.write_text("\n".join([*text[:2], f"1 State 0.5 {json.dumps(state)}", *text[2:], ""]))
        return failures(path)

    assert change() == []
    (found,) = change(last=7)
    assert found.guarantee == "CountsAgree"
    assert (
        "steps are missing or wrong: last: 7 in the trace, 0 in the specification" in found.detail
    )
    (found,) = change(queue=[[1, "waiting"]])
    assert found.guarantee == "FifoService"


def test_a_state_that_breaks_a_guarantee_is_refused(path: Path) -> None:
    text = written(path, SMALL).read_text()
    path.write_text(text.replace('"closing": 0', '"closing": 1'))
    (found,) = failures(path)
    assert found.pool == "pool 1"
    assert found.guarantee == "CountsAgree"
    path.write_text(text.replace('"max_size": 2', '"max_size": -2'))
    (found,) = failures(path)
    assert found.guarantee == "CountsAgree"


def test_a_step_that_is_impossible_is_refused(path: Path) -> None:
    text = written(path, SMALL).read_text()
    path.write_text(text.replace('"deadline": Infinity', '"deadline": "soon"'))
    (found,) = failures(path)
    assert found.guarantee == "no step"
    assert "the step is impossible: TypeError" in found.detail


def test_a_pool_that_has_failed_is_followed_no_longer_and_the_others_are(path: Path) -> None:
    (file,) = record(path)
    text = file.read_text()
    first = re.search(r"^1 Release .* > (yes|no)", text, re.MULTILINE)
    assert first is not None
    file.write_text(text.replace(first[0], first[0].replace("> ", "> !Odd"), 1))
    replay = replayed(file)
    assert [failure.pool for failure in replay.failures] == ["pool 'a'"]
    assert replay.pools == 2
    assert replay.steps > 300


# What is no trace.

GARBAGE = [
    ("1 Acquire", "not enough values to unpack"),
    ("x Acquire 1.0 > w1", "invalid literal for int"),
    ("1 Acquire now > w1", "could not convert string to float: 'now'"),
    ("1 Acquire nan > w1", "nan is no time"),
    ("1 Acquire 1.0 w1", "this is no step"),
    ("1 Fly 1.0 > w1", "this is no step"),
    ("2 Acquire 1.0 > w1", "the pool has no state before its first step"),
    ("1 Acquire 1.0 s1 > w1", "there are 1 arguments, not 0"),
    ("1 Release 1.0 > w1", "there are 0 arguments, not 1"),
    ("1 Release 1.0 w1 > w1", "'w1' does not begin with 's'"),
    ("1 Release 1.0 sx > w1", "invalid literal for int"),
    ("1 CreateFailed 1.0 s1 x > yes", "KeyError: 'x'"),
    ("1 Discard 1.0 s1 x - > yes", "KeyError: 'x'"),
    ("1 Resize 1.0 x 1 > []", "invalid literal for int"),
    ("1 CreateSucceeded 1.0 s1 r7 inf > -", "AttributeError"),
    ('1 State 1.0 {"follows": true}', "this is no state of a pool"),
    ("1 State 1.0 {", "JSONDecodeError"),
    ("1 State 1.0 " + "[" * 100_000, "RecursionError"),
    ("3 State 1.0 {}", "KeyError: 'follows'"),
    ('3 State 1.0 {"follows": true}', "KeyError: 'options'"),
    ("\0\xff", "not enough values"),
]


@pytest.mark.parametrize(("line", "message"), GARBAGE, ids=[line[:20] for line, _ in GARBAGE])
def test_a_line_that_no_pool_writes_is_an_error(
    path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    written(path, f"1 Open 0.5 > - open\n{line}")
    assert main(["--trace", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"error: {path}, line 4 is no line of a trace (" in error
    assert message in error
    assert len(error) < 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\xff\x17" * 1000, "is no trace of pools"),
        (b"import os\n", "is no trace of pools: JSONDecodeError"),
        (b"[]\n", "is no trace of pools: TypeError"),
        (b'{"a": 1}\n', "is no trace of pools: KeyError: 'trace'"),
        (b'{"trace": 2}\n', "its version is 2, and this is version 1"),
        (b'{"trace": 1}\n', "is no trace of pools: KeyError: 'process'"),
        (b'{"trace": 1, "process": 1, "file": Infinity}\n', "OverflowError"),
        (b"", "the files have no step that can be checked"),
        (b'{"trace": 1, ', "the files have no step that can be checked"),
    ],
)
def test_a_file_that_is_no_trace_is_an_error(
    path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path.write_bytes(content)
    assert main(["--trace", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_an_error(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("not yours")

    written(path, SMALL)
    monkeypatch.setattr(Path, "open", refuse)
    assert main(["--trace", str(path)]) == 2
    assert f"{path} cannot be read: PermissionError: not yours" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing", "missing/missing"])
def test_a_file_that_does_not_exist_is_an_error(
    path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    missing = path.with_name("x") / name
    assert main(["--trace", str(missing)]) == 2
    expected = f"error: --trace: there is neither {missing} nor {missing}-<process>-<number>\n"
    assert capsys.readouterr().err.endswith(expected)


# The command.


def test_the_command_says_what_it_has_checked(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "PATIENCE", -1.0)
    first, *_, last = record(path, max_bytes=4000)
    last.write_bytes(last.read_bytes()[:-5])
    assert main(["--trace", str(path), str(first)]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"{first.name}: \d+ steps\n", out)
    assert f"{first.name}, line 3\n" in out
    assert re.search(rf"{last.name}: \d+ steps, cut off in its last line\n", out)
    assert HOLDS.search(out.splitlines()[-1])


def test_the_command_names_the_line_and_the_guarantee(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(path, SMALL.replace("w3=s1", "w4=s1"))
    assert main(["--trace", str(path)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[1:5] == [
        "  FAIL  FifoService: pool 'db', pool.trace, line 10",
        "        1 Release 4.0 s1 > yes w4=s1",
        "        the pool answered         yes w4=s1",
        "        the specification answers yes w3=s1",
    ]
    assert out[-1] == "DOES NOT HOLD: FifoService (pool 'db', pool.trace, line 10)"


def test_the_command_counts_what_it_could_not_check(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(path, "2 Acquire 1.0 > w1\n" + SMALL, file=2)
    assert main(["--trace", str(path)]) == 0
    assert "1 steps before the first state of their pool: unchecked" in capsys.readouterr().out


def test_a_long_line_is_shortened(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(path, SMALL.replace("w3=s1", "w3=s1" * 100))
    assert main(["--trace", str(path)]) == 1
    assert "…" in capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("-O",)])
def test_a_trace_needs_no_other_package_and_no_assertions(
    path: Path, options: tuple[str, ...]
) -> None:
    written(path, SMALL.replace("w3=s1", "w4=s1"))
    program = (
        "import sys\n"
        "sys.modules['icontract'] = sys.modules['hypothesis'] = None\n"
        "from nodetool.concurrency.verify.__main__ import main\n"
        "sys.exit(main(['--trace', sys.argv[1]]))\n"
    )
    command = [sys.executable, *options, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert "DOES NOT HOLD: FifoService" in done.stdout


@pytest.mark.parametrize(
    "option", ["--factory a:b", "--closer a:b", "--max-size 3", "--seed 1", "--seconds 1"]
)
def test_a_trace_goes_with_no_other_option(
    path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit):
        main(["--trace", str(path), *option.split()])
    assert f"--trace cannot go with {option.split(maxsplit=1)[0]}" in capsys.readouterr().err


def test_a_trace_of_another_process_holds(path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from nodetool.concurrency import AsyncResourcePool\n"
        "from nodetool.concurrency.trace import TraceFile\n"
        "async def main():\n"
        "    async with AsyncResourcePool(object, trace=TraceFile(sys.argv[1])) as pool:\n"
        "        for _ in range(9):\n"
        "            async with pool.acquire_context(): pass\n"
        "asyncio.run(main())\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    command = [sys.executable, "-m", "nodetool.concurrency.verify", "--trace", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    last = done.stdout.splitlines()[-1]
    text = "all of it holds: 46 steps of 2 pools in 2 processes are behaviours of the specification"
    assert last == text


# The names of guarantees.


@pytest.mark.parametrize(
    ("action", "told", "expected", "guarantee"),
    [
        ("Sweep", "[s1] s1:closing:pruned", "[s2] s2:closing:pruned", "PruningKeepsFloor"),
        ("Release", "yes", "yes s1:closing:surplus", "ShrinkCompletes"),
        ("Release", "yes", "yes s1:closing:expired", "OnlyFitHandedOut"),
        ("Release", "yes s1:closing:expired", "yes", "FitIsReused"),
        ("Release", "yes s1:resetting", "yes", "DirtyIsClosed"),
        ("Acquire", "w1 s1:checking", "w1 s2:checking", "ReuseOrder"),
        ("Acquire", "w1 s1:checking", "w1 s1:creating", "CreationAfterFailedCheck"),
        ("Acquire", "w1 s1:creating", "w1 s2:creating", "CountsAgree"),
        ("Release", "yes w1=s2", "yes w1=s1", "ReuseOrder"),
        ("Release", "yes w1=s2 w2=s2", "yes w1=s2", "OnlyFitHandedOut"),
        ("Release", "yes w1=!", "yes", "OneOutcome"),
        ("Timeout", "-", "- w1=!", "DeadlineKept"),
        ("Close", "- closed", "- closing", "CloseWaits"),
        ("RetireAll", "1", "2", "RetireAllCompletes"),
    ],
)
def test_a_wrong_answer_is_about_a_guarantee(
    action: str, told: str, expected: str, guarantee: str
) -> None:
    assert guarantee_of_answer(action, told, expected) == guarantee
    assert guarantee in {one.name for one in (*inside.GUARANTEES, *inside.RULES)}


SLOT = dict.fromkeys(inside.SLOT_FIELDS, 1)


@pytest.mark.parametrize(
    ("change", "guarantee", "difference"),
    [
        (
            {"slots": [[*SLOT.values()], [2]]},
            "NothingLost",
            "slots: 2 in the trace, 1 in the specification",
        ),
        ({"slots": []}, "NothingLost", "slots: 0 in the trace, 1 in the specification"),
        (
            {"slots": [[*(SLOT | {"expires_at": 5}).values()]]},
            "OnlyFitHandedOut",
            "expires_at of slot 1: 5 in the trace, 1 in the specification",
        ),
        (
            {"slots": [[*(SLOT | {"state": 5}).values()]]},
            "NothingLost",
            "state of slot 1: 5 in the trace, 1 in the specification",
        ),
        (
            {"numbers": {"created": 2}},
            "CountsAgree",
            "numbers created: 2 in the trace, 1 in the specification",
        ),
        ({"ready": [2]}, "ReadyAreLast", "ready: [2] in the trace, [1] in the specification"),
    ],
)
def test_a_wrong_state_is_about_a_guarantee(
    change: dict[str, Any], guarantee: str, difference: str
) -> None:
    own = {"slots": [[*SLOT.values()]], "numbers": {"created": 1}, "ready": [1]}
    assert guarantee_of_state(own | change, own) == (guarantee, difference)
