"""Recorded runs are replayed: a trace of the pool holds, and everything else is refused."""

from __future__ import annotations

import asyncio
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.trace import TraceFile
from nodetool.concurrency.verify._graph import Graph, limits_of
from nodetool.concurrency.verify._replay import Failure, Replay, heads
from proofs import broken_machines
from proofs.broken_machines import BROKEN
from proofs.inside import machine_in_new_pools
from proofs.random_moves import BareWorld, random_moves
from tests import inside
from tests.virtual_time import run

HOLDS = re.compile(r"all of it holds: [0-9,]+ steps of \d+ pools in \d+ processes are behaviours")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a trace."""
    return tmp_path / "pool.trace"


def files(path: Path) -> list[Path]:
    """List the files of a trace in the order in which they were made."""
    found = path.parent.glob(f"{path.name}-*")
    return sorted(found, key=lambda file: int(file.name.rpartition("-")[2]))


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

    await asyncio.gather(*(use() for _ in range(8)))
    await pool.resize(max_size=2)
    held = await pool.acquire()
    await pool.retire_all()
    await pool.release(held)
    await asyncio.sleep(10)
    await pool.resize(max_size=5)
    await asyncio.gather(*(use() for _ in range(8)))
    await pool.acquire()
    users = [asyncio.create_task(use()) for _ in range(8)]
    await asyncio.sleep(1)
    if seed == 1:
        pool.terminate()
    else:
        await asyncio.gather(*users)
        await pool.discard(await pool.acquire())
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
    assert (replay.pools, replay.unchecked, replay.cut) == (2, 0, [])


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
    lines = file.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut"
    for at in range(2, len(lines), 29):
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


def test_a_trace_with_a_gap_holds(path: Path) -> None:
    first, second, third, *_ = record(path, max_bytes=4000)
    second.unlink()
    assert not failures(first, third)
    head, *rest = third.read_text().splitlines(keepends=True)
    changed = json.loads(head) | {"follows": False, "file": 2}
    third.write_text(json.dumps(changed) + "\n" + "".join(rest))
    assert not failures(first, third)


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
    "ResizesOnly": "ShrinkCompletes",
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
    print(name, [(f.guarantee, f.where) for f in found])
    assert found
