"""``python -m nodetool.concurrency.testing``."""

from __future__ import annotations

import asyncio
import runpy
import sys
import threading

import pytest

from nodetool.concurrency.testing import Events
from nodetool.concurrency.testing.__main__ import main

HERE = __name__


async def good(events: Events) -> None:
    await events.call("work", result=1, results=(2, 3))


async def bad(events: Events) -> None:
    assert await events.call("work", result=1, results=(2, 3)) != 2


async def opaque(events: Events) -> None:
    events.watch(threading.Lock())
    await good(events)


def no_scenario() -> None: ...


def test_a_good_scenario_is_explored(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{HERE}:good"]) == 0
    assert "exhausted after 3 schedules" in capsys.readouterr().out
    bounds = ["--max-schedules", "2", "--max-seconds", "9", "--mode", "ready", "--no-prune"]
    assert main([f"{HERE}:good", *bounds]) == 0
    assert "stopped by max_schedules after 2" in capsys.readouterr().out


def test_a_failure_is_told_and_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{HERE}:bad"]) == 1
    said = capsys.readouterr().out
    assert "work #1 returns 2" in said
    assert "replay: e:1" in said
    assert main([f"{HERE}:bad", "--replay", "e:1"]) == 1
    capsys.readouterr()
    assert main([f"{HERE}:bad", "--replay", "e:0"]) == 0
    assert "exhausted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no colon"], "not of the form module:scenario"),
        (["no_such_module:good"], "cannot import 'no_such_module'"),
        ([f"{HERE}:missing"], "has no 'missing'"),
        ([f"{HERE}:no_scenario"], "must be an async function"),
        ([f"{HERE}:good", "--replay", "nonsense"], "no schedule"),
        ([f"{HERE}:good", "--replay", "e:9"], "number 9 of 3"),
        ([f"{HERE}:opaque"], "cannot be seen"),
        ([], "required: scenario"),
    ],
)
def test_a_usage_error_says_what_is_wrong(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert said in capsys.readouterr().err


def test_the_module_can_be_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["testing", f"{HERE}:good"])
    monkeypatch.delitem(sys.modules, "nodetool.concurrency.testing.__main__")
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("nodetool.concurrency.testing", run_name="__main__")
    assert exit_.value.code == 0
    assert asyncio._get_running_loop() is None
    assert "exhausted" in capsys.readouterr().out
