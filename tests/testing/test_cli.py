"""Tests of the command ``python -m nodetool.concurrency.testing``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import runpy
import sys
from typing import Any

import pytest

from nodetool.concurrency.testing import Events
from nodetool.concurrency.testing.__main__ import main
from nodetool.concurrency.testing._events import Call

HERE = __name__


async def good(events: Events) -> None:
    await events.call("work", result=1, results=(2, 3))


async def bad(events: Events) -> None:
    assert await events.call("work", result=1, results=(2, 3)) != 2


def no_scenario() -> None: ...


def returns_nothing(_: Events) -> None: ...


async def no_arguments() -> None: ...


class Nameless:
    def __repr__(self) -> str:
        raise OSError


class NamelessError(Exception):
    def __str__(self) -> str:
        raise OSError

    __repr__ = __str__


async def nameless(events: Events) -> None:
    try:
        await events.call("work", results=[Nameless()], faults=[NamelessError()])
    except NamelessError:
        asyncio.get_running_loop().create_future().set_exception(NamelessError())


async def raises_nameless(_: Events) -> None:
    raise NamelessError


def raises_at_once(_: Events) -> Any:
    raise OSError("at once")


async def surrogate(_: Events) -> None:
    raise OSError("\ud800")


def test_a_good_scenario_is_explored(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{HERE}:good"]) == 0
    assert "exhausted after 3 schedules" in capsys.readouterr().out
    bounds = ["--max-schedules", "2", "--max-seconds", "9", "--mode", "ready", "--no-prune"]
    assert main([f"{HERE}:good", *bounds]) == 3
    assert "stopped by max_schedules after 2" in capsys.readouterr().out
    assert main([f"{HERE}:good", *bounds, "--allow-bound"]) == 0


def test_a_failure_is_printed_and_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{HERE}:bad"]) == 1
    said = capsys.readouterr().out
    assert "work #1 returns 2" in said
    assert "replay: e:1" in said
    assert main([f"{HERE}:bad", "--replay", "e:1"]) == 1
    capsys.readouterr()
    assert main([f"{HERE}:bad", "--replay", "e:0"]) == 0
    assert "exhausted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("nameless", "work #1 fails with <NamelessError"),
        ("raises_nameless", "raised"),
        ("raises_at_once", "OSError: at once"),
        ("surrogate", "\\ud800"),
    ],
)
def test_a_failure_is_printed_even_if_its_parts_have_no_text(
    scenario: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{HERE}:{scenario}"]) == 1
    assert said in capsys.readouterr().out


def test_a_result_needs_no_repr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{HERE}:nameless", "--replay", "e:1"]) == 0
    call = Call("work", 0, Any, (Nameless(),), ())  # type: ignore[arg-type]
    assert call.outcome(0) == "returns <Nameless, whose repr raises OSError>"


def test_the_output_stream_needs_no_encoding() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([f"{HERE}:good"]) == 0
    assert "exhausted" in out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no colon"], "not of the form module:scenario"),
        (["no_such_module:good"], "cannot import 'no_such_module'"),
        ([f"{HERE}:missing"], "has no 'missing'"),
        ([f"{HERE}:no_scenario"], "must be an async function"),
        ([f"{HERE}:no_arguments"], "must be an async function"),
        ([f"{HERE}:returns_nothing"], "must be an async function"),
        ([f"{HERE}:HERE"], "must be an async function"),
        ([f"{HERE}:good", "--replay", "nonsense"], "no schedule"),
        ([f"{HERE}:good", "--replay", "e:9"], "number 9 of 3"),
        ([], "required: MODULE:FUNCTION"),
    ],
)
def test_a_usage_error_names_the_mistake(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m nodetool.concurrency.testing: error: ")
    assert said in last


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
