"""The explorer refuses bad scenarios, schedules, bounds and outcomes, and says why."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency.testing import Events, compare_with_stock_loop, explore, replay
from nodetool.concurrency.testing.__main__ import main
from nodetool.concurrency.verify.schedules import watch_pool


async def good(events: Events) -> None:
    await events.call("work", result=1, results=(2, 3))


class Object:
    """A scenario that is an object."""

    async def __call__(self, events: Events) -> None:
        await good(events)


an_object = Object()


def plain(events: Events) -> Coroutine[Any, Any, None]:
    return good(events)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_schedules": 0}, "max_schedules must be a whole number, at least 1, not 0"),
        ({"max_schedules": -5}, "max_schedules"),
        ({"max_schedules": 1.5}, "not 1.5"),
        ({"max_depth": 0}, "max_depth must be a whole number, at least 1"),
        ({"max_depth": -1}, "max_depth"),
        ({"repeat_every": -1}, "repeat_every must be a whole number, at least 0"),
        ({"stock_every": -1}, "stock_every must be"),
        ({"max_seconds": -1}, "max_seconds must be a number, at least 0, not -1"),
        ({"max_seconds": float("nan")}, "not nan"),
        ({"max_seconds": "1"}, "not '1'"),
        ({"constants": int}, "constants must be a tuple of types"),
        ({"constants": (5,)}, "constants must be a tuple of types"),
    ],
)
def test_a_bad_bound_is_refused(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        explore(good, **options)


def test_a_text_that_is_no_schedule_is_refused_with_a_short_message() -> None:
    for schedule in (None, 7, "e:" + 5000 * "9"):
        with pytest.raises(ValueError, match="no schedule") as raised:
            replay(good, schedule)  # type: ignore[arg-type]
        assert len(str(raised.value)) < 200
    with pytest.raises(ValueError, match="max_depth"):
        replay(good, "e:", max_depth=0)
    with pytest.raises(ValueError, match="max_depth"):
        compare_with_stock_loop(good, "e:", max_depth=0)


def test_only_async_functions_are_scenarios() -> None:
    wrong: Any
    for wrong in (None, 3, lambda _: None, print, no_arguments, two_arguments, type):
        with pytest.raises(TypeError, match="must be an async function of the events"):
            explore(wrong)
        with pytest.raises(TypeError, match="must be an async function of the events"):
            replay(wrong, "e:")
    right: Any
    for right in (an_object, partial(good), plain):
        assert explore(right).exhausted


async def no_arguments() -> None: ...


async def two_arguments(events: Events, other: int) -> None: ...


class TwoError(Exception):
    def __init__(self, one: int, other: int) -> None: ...


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"results": "ab"}, "results must be a list"),
        ({"results": b"ab"}, "results must be a list"),
        ({"faults": OSError}, "faults must be a list"),
        ({"faults": OSError("gone")}, "faults must be a list"),
        ({"faults": ["boom"]}, "faults must be exceptions"),
        ({"faults": [partial(OSError)]}, "faults must be exceptions"),
        ({"faults": [int]}, "faults must be exceptions"),
        ({"faults": [StopIteration]}, "faults: no coroutine can raise"),
        ({"faults": [StopIteration("gone")]}, "faults: no coroutine can raise"),
        ({"faults": [TwoError]}, "needs arguments: pass an object of it"),
    ],
)
def test_an_impossible_outcome_is_refused_before_the_call_begins(how: Any, said: str) -> None:
    async def scenario(events: Events) -> None:
        with pytest.raises(TypeError, match=said):
            await events.call("work", **how)

    assert explore(scenario).schedules == 1


def test_the_limit_of_cancellations_is_a_number() -> None:
    async def scenario(events: Events) -> None:
        for often in (-1, "yes", 1.5):
            with pytest.raises(ValueError, match="cancellable must be"):
                events.task(good(events), cancellable=often)  # type: ignore[arg-type]

    explore(scenario).raise_for_failure()


def test_only_pools_can_be_watched_as_pools() -> None:
    async def scenario(events: Events) -> None:
        pool: Any = object()
        with pytest.raises(TypeError, match="only an AsyncResourcePool"):
            watch_pool(events, pool)
        watch_pool(events, AsyncResourcePool(object))

    explore(scenario).raise_for_failure()


TEXTS = ["1/0", "not python", "import no_such_module", "raise OSError", "import sys; sys.exit(0)"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_module_that_cannot_be_imported_is_a_usage_error(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "written_badly.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("written_badly", "."):
        with pytest.raises(SystemExit) as exit_:
            main([f"{module}:x"])
        assert exit_.value.code == 2
        assert "cannot import" in capsys.readouterr().err


def test_an_object_can_be_explored_from_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("an_object", "plain"):
        assert main([f"{__name__}:{name}"]) == 0
        assert "exhausted after 3 schedules" in capsys.readouterr().out


def test_a_bad_bound_on_the_command_line_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for bound in (["--max-schedules", "0"], ["--max-seconds", "nan"]):
        with pytest.raises(SystemExit) as exit_:
            main([f"{__name__}:good", *bound])
        assert exit_.value.code == 2
        assert "must be" in capsys.readouterr().err


def test_the_help_explains_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "3 if a bound stopped the exploration" in " ".join(capsys.readouterr().out.split())
