"""The soak test goes on where it stopped, and finds lost resources, growth and standstills."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from bench.running import Outcome
from bench.soak import __main__ as command
from bench.soak import ledger as books
from bench.soak.ledger import FLAT, NOISE, WAYS, Ledger, imbalances
from bench.soak.server import Connection, Server
from bench.soak.traffic import Traffic
from nodetool.concurrency import AsyncResourcePool, PoolStats
from tests.virtual_time import run

pytestmark = pytest.mark.untraced

Soak = Callable[..., int]


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Soak:
    """The command with small rounds, and with a day that takes no time."""
    monkeypatch.setattr(command, "LAST_LEASES", 50)
    monkeypatch.setattr(
        command, "gc", SimpleNamespace(collect=int)
    )  # it takes long in this process
    monkeypatch.setattr(books, "NOISE", 1e6)  # so small a part still fills caches
    day = Outcome({"bytes grown": 399.0})
    monkeypatch.setattr(command, "in_own_process", lambda *_: day)

    def begin(*arguments: str, leases: int = 1_500, each: int = 200) -> int:
        state = str(tmp_path / "soak.json")
        numbers = ("--leases", str(leases), "--round", str(each))
        return command.main([*numbers, "--state", state, *arguments])

    return begin


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_a_soak_test_goes_on_where_it_stopped(
    soak: Soak, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert soak("--seconds", "0") == 0
    first = json.loads((tmp_path / "soak.json").read_text())
    assert 200 <= first["leases"] < 1_500
    assert first["day"] is None
    assert last_line(capsys).startswith("Memory is not measured yet")
    assert soak() == 0
    second = json.loads((tmp_path / "soak.json").read_text())
    assert second["leases"] >= 1_500
    assert (second["parts"], second["pools"], second["day"]) == (2, 2, 399.0)
    assert second["created"] > first["created"] > 0
    last = last_line(capsys)
    assert last.startswith("Memory is flat (")
    assert last.endswith("and nothing is lost.")
    assert soak("--seconds", "0") == 0  # a new one, because that one is complete
    assert json.loads((tmp_path / "soak.json").read_text())["parts"] == 1


def test_a_lost_resource_is_found(
    soak: Soak, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(self: Server, connection: Connection) -> None:
        """Do not close the connection."""

    monkeypatch.setattr(command, "PATIENCE", 0.1)
    monkeypatch.setattr(Server, "close", forget)
    assert soak(leases=100, each=100) == 1
    out = capsys.readouterr().out
    assert "wrong      the server knows" in out
    assert out.endswith("and SOMETHING IS LOST.\n")


def test_an_error_that_no_task_takes_is_found(
    soak: Soak, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Server.reset

    async def reset(self: Server, connection: Connection) -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await bare(self, connection)

    monkeypatch.setattr(Server, "reset", reset)
    assert soak(leases=100, each=100) == 1
    assert "wrong      Exception in callback" in capsys.readouterr().out


def test_a_standstill_is_found(
    soak: Soak, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(self: Traffic, leases: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(command, "STUCK", 0.01)
    monkeypatch.setattr(Traffic, "run", hang)
    assert soak() == 1
    assert "wrong      no progress for 0.01 s: <AsyncResourcePool" in capsys.readouterr().out


def test_memory_of_a_day_is_found(
    soak: Soak, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for outcome in (Outcome({"bytes grown": 1e6}), Outcome({}, "failed: why")):
        monkeypatch.setattr(command, "in_own_process", lambda *_, outcome=outcome: outcome)
        assert soak("--fresh", leases=100, each=100) == 1
        assert "wrong      the day in virtual time" in capsys.readouterr().out


def test_ctrl_c_keeps_the_rounds_so_far(
    soak: Soak, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(main: Any) -> None:
        main.close()
        raise KeyboardInterrupt

    assert soak("--seconds", "0") == 0
    monkeypatch.setattr(asyncio, "run", interrupt)
    assert soak() == 130
    assert " of 1,500 in " in capsys.readouterr().out


def test_memory_that_grows_is_not_flat() -> None:
    assert Ledger().is_flat()
    assert Ledger(grown=NOISE, grown_leases=100_000).is_flat()
    flat = Ledger(grown=int(100 * FLAT), grown_leases=10_000_000)
    assert flat.is_flat()
    assert flat.growth() == FLAT
    grown = Ledger(leases=10, grown=1_000_000, grown_leases=10_000_000)
    assert not grown.is_flat()
    assert command.report(grown, 10).endswith(
        "Memory is NOT FLAT (+10,000 bytes for 100,000 leases), and nothing is lost."
    )


def test_what_does_not_add_up_is_listed() -> None:
    nothing = AsyncResourcePool(Connection).stats()
    at_rest = nothing._replace(size=2, idle=2, created=5, late=3)
    assert not imbalances(at_rest, made=5, living=2)
    assert imbalances(at_rest, made=6, living=2) == ["the server made 6 resources, the pool got 5"]
    assert imbalances(at_rest._replace(late=2), made=5, living=2) == [
        "created 5, but 2 exist and 2 have left"
    ]
    assert imbalances(at_rest, made=5, living=3) == ["the server knows 3 resources, the pool 2"]
    assert imbalances(at_rest._replace(closing=1), made=5, living=2) == [
        "the pool does not come to rest: {'closing': 1}"
    ]
    ledger = Ledger()
    ledger.add_pool(at_rest)
    assert (ledger.created, ledger.left(), ledger.pools) == (5, 3, 1)
    assert set(WAYS) <= set(PoolStats._fields)


def test_the_server_has_every_fault() -> None:
    run(every_fault())


async def every_fault() -> None:
    server = Server(Random(1))
    outcomes: set[str] = set()

    async def note(call: Any) -> None:
        try:
            async with asyncio.timeout(0.0005):
                outcomes.add(f"{call.__name__} {await call}")
        except (ConnectionError, TimeoutError) as error:
            outcomes.add(f"{call.__name__} {type(error).__name__}")

    made = [await Server(Random(0)).connect()]
    await asyncio.gather(*(note(server.check(made[0])) for _ in range(300)))
    await asyncio.gather(*(note(server.reset(made[0])) for _ in range(300)))
    assert outcomes == {
        *("check True", "check False", "check ConnectionError"),
        *("reset None", "reset ConnectionError"),
    }
    outcomes.clear()
    await asyncio.gather(*(note(server.connect()) for _ in range(1_000)))
    assert {"connect ConnectionError", "connect TimeoutError"} < outcomes
    assert server.connects == len(server.living)
    outcomes.clear()
    await asyncio.gather(*(note(server.close(one)) for one in list(server.living)))
    assert outcomes == {"close None", "close ConnectionError", "close TimeoutError"}
    assert not server.living
