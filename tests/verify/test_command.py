"""The command: the installed machine holds, and one with a bug fails."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from nodetool.concurrency.verify import __main__, _checks, _machine_rules
from nodetool.concurrency.verify.__main__ import main
from nodetool.concurrency.verify._graph import FROZEN, MODELS, Graph
from nodetool.concurrency.verify._machine_rules import machine_rules_for
from nodetool.concurrency.verify._named import named
from proofs.broken_machines import ClosesTwice, TimesOutAndStays
from tests.inside import MACHINE, use_machine_in_verify
from tests.verify.resources import Unknown

HERE = "tests.verify.resources"
PAIR = ["--factory", f"{HERE}:make", "--closer", f"{HERE}:close"]


def test_a_small_graph_is_compared_without_a_finding(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _checks.compare("Single", small / "Single.graph.gz", MACHINE)
    assert found.problem == ""
    assert "no clock takes" not in found.figures
    assert __main__.section("graphs", [found]) == []
    assert "  ok    Single" in capsys.readouterr().out


@pytest.mark.parametrize("problem", ["", "lost"])
def test_after_a_failure_nothing_is_said_about_the_actions(
    problem: str, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(name: str, *_: object) -> _checks.CheckResult:
        return _checks.CheckResult(name, "", 0.0, problem)

    monkeypatch.setattr(_checks, "rounds", found)
    monkeypatch.setattr(_checks, "actions_followed", lambda *_: found("actions followed"))
    names = [result.name for result in _checks.stateful(MACHINE, 1.0, 1)]
    assert ("actions followed" in names) == (problem == "")
    assert names[-1] == "machine alone"


@pytest.mark.untraced
def test_the_installed_machine_holds_and_no_file_is_left(
    small: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_checks, "PROCESSES", 1)
    monkeypatch.setattr(_checks, "EXAMPLES", 2)
    assert main(["--seconds", "1", "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("seed 3;")
    assert "actions followed  21 of the 21 actions" in out
    for section in ("graphs", "contracts", "stateful"):
        assert f"\n{section}: " in out
    assert "FAIL" not in out
    assert out.count("  ok    ") == len(FROZEN) + len(MODELS) + len(MODELS) + 2
    assert "\nall of it holds, checked in " in out
    assert list(tmp_path.iterdir()) == []


def test_a_machine_with_a_bug_fails_in_the_graphs_and_the_contracts(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_machine_in_verify(monkeypatch, ClosesTwice)
    monkeypatch.setattr(_checks, "PROCESSES", 1)
    monkeypatch.setattr(_checks, "MODELS", ("Wide",))
    monkeypatch.setattr(_checks, "FROZEN", ("Wide",))
    monkeypatch.setattr(_checks, "stateful", lambda *_: iter(()))
    assert main(["--seconds", "60", "--seed", "3"]) == 1  # a bug ends each of them much earlier
    out = capsys.readouterr().out
    graphs, contracts, stateful = out.split("\n\n")[1:4]
    assert "FAIL  Wide" in graphs
    assert "CloserEnded 1: closed_exactly_once and idle_limits_are_set does not hold" in graphs
    assert "FAIL  Wide" in contracts
    assert "this is a bug in the pool" in contracts
    assert "  after Acquire" in contracts or ", Acquire" in contracts
    assert "FAIL" not in stateful
    assert out.splitlines()[-1] == "DOES NOT HOLD: graphs (Wide); contracts (Wide)"


@pytest.mark.slow
@pytest.mark.untraced
def test_a_machine_with_a_bug_fails_in_each_section(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crashes(MACHINE):  # type: ignore[misc, valid-type]
        def open(self) -> None:
            raise KeyError("no such thing")

    use_machine_in_verify(monkeypatch, Crashes)
    monkeypatch.setattr(_checks, "PROCESSES", 1)
    monkeypatch.setattr(_checks, "MODELS", ("Wide",))
    monkeypatch.setattr(_checks, "FROZEN", ("Wide",))
    monkeypatch.setattr(_machine_rules, "LARGE", 0)
    assert main(["--seconds", "60", "--seed", "3"]) == 1  # a bug ends each of them much earlier
    out = capsys.readouterr().out
    graphs, contracts, stateful = out.split("\n\n")[1:4]
    assert "FAIL  Wide" in graphs
    assert "FAIL  Wide" in contracts
    assert "FAIL  pool, Wide" in stateful
    assert "FAIL  machine alone" in stateful
    assert "state = WideRules()" in stateful
    assert "to repeat it: python -m nodetool.concurrency.verify --seed 3" in stateful
    assert out.splitlines()[-1] == (
        "DOES NOT HOLD: graphs (Wide); contracts (Wide); stateful (pool, Wide); "
        "stateful (machine alone)"
    )


def test_graphs_are_compared_in_processes_of_their_own(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checks, "FROZEN", ("Wide", "Deep"))
    found = list(_checks.graphs(TimesOutAndStays, 2))
    assert [f.name for f in found] == ["Wide", "Deep"]
    assert all(" states, " in f.figures and "Acquire -> " in f.problem for f in found), found


def test_a_damaged_graph_is_a_finding(small: Path, tmp_path: Path) -> None:
    (tmp_path / "g").write_bytes(b"nothing")
    found = _checks.compare("Wide", tmp_path / "g", MACHINE)
    assert found.figures == "not compared"
    assert found.problem.startswith("GraphFormatError: g is no frozen graph")


def test_edges_that_no_clock_takes_are_counted(small: Path, tmp_path: Path) -> None:
    graph = Graph.load(small / "Wide.graph.gz")
    state = graph.initial
    edges = graph.edges[state] | {("GrowOld", state._replace(phase="closing"))}
    more = graph.edges | {state: edges, state._replace(phase="closing"): frozenset()}
    replace(graph, edges=more).save(tmp_path / "g")
    found = _checks.compare("Wide", tmp_path / "g", MACHINE)
    assert found.figures.endswith(" worlds (1 states, 1 edges that no clock takes)")
    assert found.problem == ""


def test_rounds_go_on_with_the_next_seed_until_the_time_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_checks, "EXAMPLES", 2)
    monkeypatch.setattr(_checks, "process_time", count().__next__)  # a second for each round
    rules = machine_rules_for()
    found = _checks.rounds("some", rules, 5.0, 1)
    assert found.problem == ""
    assert rules.examples > 4
    assert f"{rules.examples:,} examples, {rules.taken.total():,} steps" in found.figures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--closer", "m:f"], "--closer needs a --factory"),
        (["--max-size", "3"], "--max-size needs a --factory"),
        (["--factory", "m:f"], "--closer is missing"),
        ([*PAIR, "--max-size", "0"], "argument --max-size: must be 1 or more, not 0"),
        ([*PAIR, "--users", "0"], "argument --users: must be 1 or more, not 0"),
        (["--seconds", "0"], "argument --seconds: must be 0.1 or more, not 0"),
        (["--seconds", "inf"], "argument --seconds: must be 0.1 or more, not inf"),
        (["--seconds", "soon"], "argument --seconds: invalid"),
        (["graphs"], "unrecognized arguments: graphs"),
    ],
)
def test_contradicting_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("make", "--factory must be module:function, not 'make'"),
        (":make", "--factory must be module:function, not ':make'"),
        (f"{HERE}:", "--factory must be module:function, not "),
        ("not_there:make", "cannot import 'not_there': ModuleNotFoundError: No module named"),
        ("raising_module:make", "cannot import 'raising_module': KeyError: 'DATABASE_URL'"),
        ("leaving_module:make", "cannot import 'leaving_module': SystemExit: 3"),
        (f"{HERE}:mak", f"{HERE!r} has no 'mak'; did you mean 'make'"),
        (f"{HERE}:Thing.open.it", f"{HERE!r} has no 'Thing.open.it'"),
        (f"{HERE}:xyzzy", f"{HERE!r} has no 'xyzzy'\n"),
        (f"{HERE}:NOT_A_FUNCTION", "cannot be called, it is of <class 'int'>"),
        (f"{HERE}:needs_more", "missing a required argument: 'url': it is needs_more(url: "),
    ],
)
def test_a_function_that_cannot_be_used_is_refused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    factory: str,
    message: str,
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raising_module.py").write_text("raise KeyError('DATABASE_URL')\n")
    (tmp_path / "leaving_module.py").write_text("raise SystemExit(3)\n")
    assert main(["--factory", factory, "--closer", f"{HERE}:close"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"{__main__.PROGRAM}: error: ")
    assert message in err
    assert out == ""


def test_a_closer_must_take_the_resource_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--factory", f"{HERE}:make", "--closer", f"{HERE}:nothing"]) == 2
    assert "too many positional arguments: it is nothing() -> " in capsys.readouterr().err


def test_a_callable_without_a_signature_is_accepted() -> None:
    assert named("--factory", f"{HERE}:Unknown") is Unknown


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(__main__, "find_spec", lambda n: None if n == "hypothesis" else found(n))
    assert main([]) == 2
    told = "hypothesis cannot be found: pip install 'nodetool-concurrency[verify]'"
    assert capsys.readouterr().err == f"{__main__.PROGRAM}: error: {told}\n"


def test_an_optimized_python_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        __main__, "sys", SimpleNamespace(flags=SimpleNamespace(optimize=1), stderr=sys.stderr)
    )
    assert main([]) == 2
    assert "nothing would be checked" in capsys.readouterr().err


def test_ctrl_c_ends_the_command_and_restores_the_logger(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> str:
        raise KeyboardInterrupt

    logger = logging.getLogger("nodetool.concurrency.pool")
    level = logger.level
    monkeypatch.setattr(__main__, "obstacle", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == f"{__main__.PROGRAM}: interrupted\n"
    assert logger.level == level


def test_the_command_runs_as_a_module(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["verify", "--help"])
    monkeypatch.delitem(sys.modules, "nodetool.concurrency.verify.__main__")
    with pytest.raises(SystemExit) as info:
        runpy.run_module("nodetool.concurrency.verify", run_name="__main__")
    assert info.value.code == 0
    assert "usage: python -m nodetool.concurrency.verify" in capsys.readouterr().out


def command(tmp_path: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a shell, with a resource that takes no time."""
    (tmp_path / "mine.py").write_text("def close(thing): pass\n")
    python = f"{sys.executable} -W error -m nodetool.concurrency.verify --seconds 0.1"
    functions = "--factory builtins:object --closer mine:close"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.format(f"{python} {functions}", python)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )


@pytest.mark.parametrize("line", ["{} | true", "{} > /dev/full", "{} | head -1"])
def test_output_that_cannot_be_written_is_no_verdict(tmp_path: Path, line: str) -> None:
    done = command(tmp_path, line)
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"{__main__.PROGRAM}: error: the output cannot be written: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_error_that_cannot_be_written_keeps_the_exit_code(tmp_path: Path) -> None:
    done = command(tmp_path, "{1} --factory mine 2> /dev/full --closer mine")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_a_full_stream_without_a_file_is_no_verdict_and_is_not_silenced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError("no space left")

    monkeypatch.setattr(sys, "stdout", Full())
    assert main(PAIR) == 2
    told = "the output cannot be written: OSError: no space left"
    assert capsys.readouterr().err == f"{__main__.PROGRAM}: error: {told}\n"
    monkeypatch.setattr(sys, "stderr", Full())
    assert main(PAIR) == 2


def test_buffered_output_of_a_silenced_stream_is_dropped(tmp_path: Path) -> None:
    with (tmp_path / "full").open("w") as stream:
        stream.write("what could not be written")
        __main__.silence(stream)
    assert (tmp_path / "full").read_text() == ""


def test_python_with_optimization_is_refused_for_real(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "nodetool.concurrency.verify"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    told = "python -O switches assertions and contracts off"
    assert done.stderr.startswith(f"{__main__.PROGRAM}: error: {told}")


@pytest.mark.slow
@pytest.mark.untraced
def test_the_command_for_real_with_small_graphs(small_graphs: Path, tmp_path: Path) -> None:
    script = (
        "import pathlib, runpy, sys\n"
        "from nodetool.concurrency.verify import _checks, _graph\n"
        f"_graph.GRAPHS = pathlib.Path({str(small_graphs)!r})\n"
        "_checks.PROCESSES, _checks.EXAMPLES = 2, 2\n"
        "sys.argv = ['verify', '--seconds', '0.5']\n"
        "runpy.run_module('nodetool.concurrency.verify', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
