"""Verification of a user's own resources: good ones hold, and each defect is reported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from nodetool.concurrency.verify import _outside, _resource, _users
from nodetool.concurrency.verify.__main__ import main
from nodetool.concurrency.verify._outside import Functions
from nodetool.concurrency.verify._resource import PHASES, Load, Phase
from proofs.broken_machines import DoesNotCountClosing, ForgetsHandedOver, Miscounts
from tests.inside import (
    Machine,
    ServesTwoAtOnce,
    checked,
    has_check,
    use_machine_in_all_modes,
)
from tests.verify import resources

HERE = "tests.verify.resources"


@pytest.fixture(autouse=True)
def _fresh_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "later", resources.Later())
    monkeypatch.setattr(resources, "NUMBERS", count())
    monkeypatch.setattr(_users, "MOMENTS", (0.0, 0.001))
    monkeypatch.setattr(_outside, "SLOWNESS", 0.002)


def run(
    capsys: pytest.CaptureFixture[str], factory: str, closer: str, *more: str, seconds: float = 0.5
) -> tuple[int, str]:
    """Run the command on these functions; return its exit code and its output."""
    arguments = ["--seconds", str(seconds), "--seed", "7", *more]
    code = main(["--factory", f"{HERE}:{factory}", "--closer", f"{HERE}:{closer}", *arguments])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


DONE = (
    "of 4 lived at once",
    "none twice, 0 left",
    "factory failed before its call",
    "factory failed after its call",
    "closer failed after it had closed",
    "check raised although healthy",
    "check returned False although healthy",
    "reset failed after its call",
    "closer, before: slow",
    "cancelled while waiting",
    "cancelled during the hand-over",
    "cancelled in the body",
    "cancelled while giving back",
    "factory cancelled",
    "check cancelled",
    "reset cancelled",
    "interrupted",
    "forgotten",
    "resizes",
    "bodies that raised",
    "detached",
    "prunes",
    "retirements of all",
    "second releases refused",
    "pool closed",
    "timeouts",
)


def patiently(
    capsys: pytest.CaptureFixture[str], *arguments: str, until: Callable[[int, str], bool]
) -> tuple[int, str]:
    """Run the command with more and more time, because a busy computer needs more."""
    for seconds in (1.5, 6.0, 24.0):
        resources.later = resources.Later()
        resources.NUMBERS = count()
        code, text = run(capsys, *arguments, seconds=seconds)
        if until(code, text):
            break
    return code, text


def test_a_good_resource_holds_after_every_fault_and_cancellation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    functions = ("--check", f"{HERE}:check", "--reset", f"{HERE}:reset")

    def everything(_: int, text: str) -> bool:
        return all(what in " ".join(text.split()) for what in DONE)

    code, text = patiently(capsys, "make", "close", *functions, until=everything)
    assert code == 0, text
    assert "seed 7 " in text
    assert "FAIL" not in text
    assert "all of it holds" in text
    assert everything(code, text), text
    assert "until close()" in text
    assert "until terminate()" in text


def test_sync_functions_without_check_and_reset_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, text = run(capsys, "Thing", "Thing.close", "--max-size", "1", "--users", "3")
    assert code == 0, text
    assert "at most 1 of 1 lived at once" in text


@pytest.mark.untraced
def test_failures_of_the_resource_are_counted_apart_from_injected_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    functions = ("--check", f"{HERE}:sometimes", "--reset", f"{HERE}:reset")
    code, text = patiently(
        capsys, "later.make", "close", *functions, until=lambda code, _: code == 0
    )
    assert code == 0, text
    own = text.partition("  failed by itself  ")[2].partition("\n")[0]
    assert set(re.findall(r"(\w+) \d", own)) == {"factory", "check", "reset"}, text


def test_a_leaky_closer_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "make", "later.leaky")
    assert code == 1, text
    assert "FAIL  no closer failed by itself" in text
    assert "OSError('cannot be closed')" in text
    assert "DOES NOT HOLD: no closer failed by itself" in text


def test_a_factory_that_returns_a_shared_object_does_not_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, text = run(capsys, "shared", "keep")
    assert code == 1, text
    assert "twice: DuplicateResourceError" in text
    assert "nothing else went wrong" in text.splitlines()[-1]


def test_a_closer_that_hangs_is_noticed_and_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_resource, "PATIENCE", 0.5)
    code, text = run(capsys, "make", "later.hangs")
    assert code == 1, text
    assert "nothing moved for 0.5 s; the pool is terminated now. These tasks are stuck:" in text
    assert "in for_ever" in text
    assert "nothing else went wrong" in text.splitlines()[-1]


def test_a_task_that_is_left_behind_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_resource, "GRACE", 0.05)
    code, text = run(capsys, "make", "later.leaves_a_task")
    assert code == 1, text
    assert "left over: " in text
    assert "DOES NOT HOLD: no task left behind" in text


def test_a_report_of_the_event_loop_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "make", "later.complains")
    assert code == 1, text
    assert "the event loop reported: something was never awaited" in text


@pytest.mark.parametrize(
    ("factory", "closer", "more", "code", "message"),
    [
        ("fails", "close", (), 2, "the factory fails by itself: ConnectionError: nobody listens"),
        ("for_ever", "close", (), 2, "the factory did not return within 0.1 s"),
        ("nothing", "close", (), 2, "the factory returned None"),
        ("too_asynchronous", "close", (), 2, "the factory returned a coroutine that nobody awaits"),
        ("yields", "close", (), 2, "the factory returned a generator, of which nothing has run"),
        ("yields_at_once", "close", (), 2, "the factory returned a generator, of which nothing"),
        ("context", "close", (), 2, "the factory returned a context manager that nobody has"),
        ("async_context", "close", (), 2, "the factory returned a context manager that nobody has"),
        ("Thing", "yields", (), 2, "the closer returned a generator, of which nothing has run"),
        ("Thing", "too_asynchronous", (), 2, "the closer returned a coroutine that nobody awaits"),
        ("Thing", "close", ("--check", f"{HERE}:yields"), 2, "the check returned a generator"),
        ("leaves", "close", (), 1, "DOES NOT HOLD: the factory tried to exit: SystemExit(0)"),
        ("Thing", "leaves", (), 1, "DOES NOT HOLD: the closer tried to exit: SystemExit(0)"),
        ("Thing", "stops_the_loop", (), 1, "DOES NOT HOLD: the trial was ended from within"),
        ("Thing", "breaks", (), 1, "the closer fails by itself: OSError: cannot be closed"),
        ("Thing", "for_ever", (), 1, "the closer did not return within 0.1 s"),
        ("Thing", "close", ("--check", f"{HERE}:refuses"), 1, "returned False for a new resource"),
    ],
)
def test_a_function_that_always_fails_is_reported_before_the_load_starts(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    factory: str,
    closer: str,
    more: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(_resource, "PATIENCE", 0.1)
    got, text = run(capsys, factory, closer, *more)
    assert got == code, text
    assert message in text
    assert "leases" not in text


@pytest.mark.parametrize(
    ("factory", "closer", "message"),
    [
        ("later.make_or_leave", "close", "the factory tried to exit: SystemExit(0)"),
        ("make", "later.close_or_leave", "the closer tried to exit: SystemExit(0)"),
        ("make", "later.leaves_later", "a callback of yours tried to exit: SystemExit(0)"),
        ("make", "later.stops_the_loop", "RuntimeError: Event loop stopped before Future"),
        ("make", "later.cancels_all", "CancelledError: : does a function stop the event loop"),
    ],
)
def test_a_function_that_ends_the_run_from_within_still_gets_a_verdict(
    capsys: pytest.CaptureFixture[str], factory: str, closer: str, message: str
) -> None:
    code, text = run(capsys, factory, closer)
    assert code == 1, text
    assert message in text
    assert text.splitlines()[-1].startswith("DOES NOT HOLD: ")


@pytest.mark.parametrize(
    ("factory", "more", "row"),
    [
        ("later.hardly_ever", (), "factory 3 of "),
        ("make", ("--check", f"{HERE}:later.refuses"), "check 3 of "),
    ],
)
def test_a_resource_that_nearly_always_fails_does_not_hold(
    capsys: pytest.CaptureFixture[str], factory: str, more: tuple[str, ...], row: str
) -> None:
    code, text = patiently(capsys, factory, "close", *more, until=lambda code, _: code == 1)
    assert code == 1, text
    assert "DOES NOT HOLD: the resource itself worked" in text
    assert "FAIL  the resource itself worked" in text
    assert row in " ".join(text.split())


async def test_the_second_phase_runs_without_a_check() -> None:
    functions = Functions(resources.Thing, resources.Thing.close, resources.check)
    load = Load(max_size=2, users=2, seconds=0.1, seed=1)
    assert [has_check(Phase(functions, load, ending).pool) for ending in PHASES] == [True, False]


def test_a_blocked_event_loop_ends_the_command_with_a_traceback(tmp_path: Path) -> None:
    script = (
        "from nodetool.concurrency.verify import _resource, __main__\n"
        "_resource.BLOCKED = 1.5\n"
        f"functions = ['--factory', '{HERE}:Thing', '--closer', '{HERE}:later.blocks']\n"
        "__main__.main(functions)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1, done.stderr
    assert "Timeout" in done.stderr
    assert "in blocks" in done.stderr


def test_the_command_finds_a_module_in_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import sqlite3\n"
        "def make(): return sqlite3.connect(':memory:')\n"
        "def close(connection): connection.close()\n"
        "def check(connection): connection.execute('select 1')\n"
    )
    command = [sys.executable, "-m", "nodetool.concurrency.verify", "--seconds", "1"]
    names = [f"--{name}=mine:{name.replace('factory', 'make')}" for name in ("factory", "check")]
    done = subprocess.run(
        [*command, *names, "--closer=mine:close"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert done.stdout.endswith("\nall of it holds\n")


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (DoesNotCountClosing, "FAIL  never above max_size"),
        (ServesTwoAtOnce, "was given to two users at once"),
        (Miscounts, "FAIL  stats() agree"),
        (ForgetsHandedOver, "nothing moved for 0.5 s"),
    ],
)
def test_a_bug_of_the_pool_is_noticed_from_outside_without_contracts(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine,
    message: str,
) -> None:
    use_machine_in_all_modes(monkeypatch, machine)
    monkeypatch.setattr(_resource, "PATIENCE", 0.5)
    code, text = run(capsys, "make", "close", seconds=1.5)
    assert code == 1, text
    assert message in text


def test_a_violated_contract_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_machine_in_all_modes(monkeypatch, checked(Miscounts))
    code, text = run(capsys, "make", "close", seconds=1.0)
    assert code == 1, text
    assert "broke CountsAgree: this is a bug in the pool" in text
