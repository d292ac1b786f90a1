"""Tests of the mutants: the ledger is complete and applies, some mutants die, the run can fail."""

from __future__ import annotations

import ast
import copy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofs import generated_mutants, mutant_bench, mutants
from proofs.generated_mutants import Source, unknown
from proofs.mutant_bench import Bench, Results
from proofs.mutant_edits import Edit
from proofs.mutant_ledger import LAYERS, ROOT, Ledger, Mutant, complaints, sources, zoo

pytestmark = pytest.mark.untraced

LEDGER = Ledger()
SOURCES = sources()


@pytest.mark.slow
def test_every_mutant_applies_and_every_guarantee_and_known_bug_has_one_or_a_reason() -> None:
    assert complaints(LEDGER, SOURCES) == []
    assert {mutant.layer for mutant in LEDGER.mutants} == set(LAYERS)
    assert len(zoo()) > 40
    known = {file: ast.dump(ast.parse(text)) for file, text in SOURCES.items()}
    # Here, because the edits are made only once in a process. A run of the mutants makes them all.
    for mutant in LEDGER.mutants[::10]:
        changed_files = mutant.files(SOURCES)
        assert set(changed_files) == {edit.file for edit in mutant.edits}
        for file, text in changed_files.items():
            # Each edit has been compiled. Several edits together may still change nothing.
            assert ast.dump(ast.parse(text)) != known[file], mutant.name


@pytest.mark.slow
def test_the_ledger_applies_to_code_that_is_formatted_differently() -> None:
    formatted = {file: ast.unparse(ast.parse(text)) for file, text in SOURCES.items()}
    for mutant in LEDGER.mutants[::10]:
        assert set(mutant.files(formatted)) == {edit.file for edit in mutant.edits}


def test_sources_are_those_of_the_pool_and_the_walk(
    tmp_path: Path,
) -> None:
    for name in ("a.py", "inner/b.py", "inner/__init__.py", "verify/_walk.py", "verify/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert set(sources(tmp_path)) == {"a.py", "inner/b.py", "inner/__init__.py", "verify/_walk.py"}
    named = {file for layer, files in LAYERS.items() if layer != "specification" for file in files}
    assert named <= {*SOURCES}


def changed(change: Callable[[dict[str, Any]], object]) -> Ledger:
    ledger = Ledger()
    ledger.data = copy.deepcopy(LEDGER.data)
    change(ledger.data)
    return ledger


def without(data: dict[str, Any], key: str, value: str) -> None:
    data["mutant"] = [entry for entry in data["mutant"] if value not in entry.get(key, "").split()]


def edit(data: dict[str, Any], *what: str) -> None:
    data["mutant"][-1].update(edits=[[*what, "pass"]])


TRIM = ("_machine/containers.py", "LazyDeque.trim")
FIFO = {"FifoService": "It can."}
WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda data: data["mutant"].append(data["mutant"][0]), "the-first: two"),
    (lambda data: without(data, "guarantee", "FifoService"), "FifoService machine: must have"),
    (lambda data: without(data, "zoo", "Z41"), "Z41: must have"),
    (lambda data: data.update(zoo={"Z41": "No."}), "Z41: must have"),
    (lambda data: data["mutant"][0].update(zoo="Z99"), "Z99: must have"),
    (lambda data: data["impossible"]["counts"].pop("FifoService"), "FifoService counts: must"),
    (lambda data: data["impossible"].update(machine=FIFO), "FifoService machine: must have"),
    (lambda data: data["mutant"][0].update(guarantee="NeverLate"), "NeverLate specification"),
    (lambda data: data["mutant"][-1].update(killers={}), "no killers"),
    (lambda data: data["mutant"][-1].update(edits=[]), "edits, but not of the specification"),
    (lambda data: data["mutant"][-1].update(layer="runtime"), "not of the layer runtime"),
    (lambda data: edit(data, *TRIM, "a < b"), "trim: found 0 times: 'a"),
    (lambda data: edit(data, *TRIM, "self"), "times: 'self'"),
    (lambda data: edit(data, TRIM[0], "LazyDeque._trim", "self"), "no such function: 'self'"),
    (lambda data: edit(data, "no.py", "", "self"), "no.py: module level: no such file"),
]


@pytest.mark.parametrize(("change", "complaint"), WRONG, ids=[text for _, text in WRONG])
def test_a_wrong_ledger_has_complaints(
    change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    complaint = complaint.replace("the-first", LEDGER.mutants[0].name)
    assert any(complaint in line for line in complaints(changed(change), SOURCES))


UNKNOWN = "_machine/containers.trim: a -> b"


def test_apply_only_lists_what_does_not_apply_with_hints_and_runs_no_checker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutants, "work", None)
    assert mutants.main(["--apply-only", "--layer", "contract"]) == 0
    assert capsys.readouterr().out == "0 edits or names do not apply.\n"
    wrong = changed(lambda data: edit(data, *TRIM, "self.sort()"))
    wrong.data["equivalent"].append({"names": [UNKNOWN], "why": "Because."})
    monkeypatch.setattr(mutants, "Ledger", lambda: wrong)
    assert mutants.main(["--apply-only", "--only", LEDGER.mutants[-1].name, "a -> b"]) == 1
    first, similar, name, argued, summary = capsys.readouterr().out.splitlines()
    assert first.endswith("_machine/containers.py: LazyDeque.trim: found 0 times: 'self.sort()'")
    assert similar == "    most similar: self.popleft()"
    assert name == f"WRONG {UNKNOWN}: no generated mutant has this name"
    assert argued.startswith("    most similar: _machine/containers.trim: ")
    assert summary == "2 edits or names do not apply."


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `main` on a ledger with these mutants, and on a copy of the project."""
    for part in mutant_bench.PARTS:
        copied = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copied(ROOT / part, tmp_path / part)
    monkeypatch.setattr(mutant_bench, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(mutants, "complaints", lambda ledger, texts: [])

    def main(*of: Mutant, arguments: tuple[str, ...] = ("--by-hand", "--workers", "1")) -> int:
        ledger = Ledger()
        ledger.__dict__["mutants"] = list(of)
        monkeypatch.setattr(mutants, "Ledger", lambda: ledger)
        return mutants.main(arguments)

    return main


QUICK = (
    "BrokenGoneStaysQueued",
    "fails-and-waits",
    "forgets-what-was-handed",
    "close-does-not-wait",
    "idle-is-not-compared",
)


@pytest.mark.slow
def test_the_quickest_mutants_of_each_layer_are_killed_as_expected_and_run_only_once(
    bench: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [mutant for mutant in LEDGER.mutants if mutant.name in QUICK]
    assert {mutant.layer for mutant in few} == set(LAYERS)
    assert bench(*few) == 0, capsys.readouterr().out
    assert "5 of 5 mutants by hand killed" in capsys.readouterr().out

    def run(*_: object, **__: object) -> dict[str, str]:
        raise AssertionError("it runs again")

    monkeypatch.setattr(Bench, "run", run)
    assert bench(*few) == 0
    with pytest.raises(AssertionError, match="it runs again"):
        bench(*few, arguments=("--by-hand", "--fresh"))


def counts(function: str, old: str, new: str, **killers: str) -> Mutant:
    edits = (Edit("_machine/counts.py", function, old, new),)
    named = {check.replace("_", " "): said for check, said in killers.items()}
    return Mutant("of-the-test", "counts", "Something.", edits, named, "CountsAgree")


SAME = ("Limits", "max_creating: int", "max_creating: 'int'")


@pytest.mark.slow
def test_a_mutant_that_changes_nothing_survives_and_is_shown(
    bench: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    same = counts(*SAME, counts_graph="anything")
    assert bench(same) == 1
    output = capsys.readouterr().out
    assert "SURVIVOR of-the-test" in output
    assert "WRONG of-the-test: counts graph: expected 'anything', found ''" in output
    assert "+    max_creating: 'int'" in output
    assert "0 of 1 mutants by hand killed" in output


def test_an_unexpected_verdict_is_a_failure(
    bench: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    last = ("allowed", "c.waiting > 0", "c.waiting > 1")
    wrong = counts(*last, counts_graph="only the code: X")
    assert bench(wrong) == 1
    told = "counts graph: expected 'only the code: X', found 'only the specification: Leave'"
    assert told in capsys.readouterr().out


@pytest.mark.slow
def test_a_mutant_that_never_ends_is_killed_by_time_and_one_that_cannot_be_imported_at_once(
    bench: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutant_bench, "PATIENCE", 3.0)
    idle = "return c.ready + c.unchecked"
    endless = f"while c.ready:\n    pass\n{idle}"
    assert bench(counts("idle", idle, endless, counts_graph="time")) == 0
    broken = counts("Phase", "Enum", "Nothing", counts_graph="anything")
    assert bench(broken) == 1


def test_a_checker_that_finds_something_in_unchanged_code_is_a_failure(
    bench: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    check = "tests tests/no_such_file.py"
    mutant = Mutant("m", "counts", "", (), {check: "."}, "CountsAgree")
    assert bench(mutant) == 1
    assert f"WRONG unchanged: {check}: expected 'nothing', found" in capsys.readouterr().out


def test_a_machine_with_a_bug_must_be_found_in_unchanged_code() -> None:
    walk, contracts = "graph Single KeepsLeaseMark", "contracts Wide HandsToTwo SingleHolder"
    mutant = Mutant("m", "contract", "", (), {walk: "", contracts: ""}, "SingleHolder")

    def unsound(*said: str) -> list[str]:
        baseline = {check: (word, 1.0) for check, word in zip((walk, contracts), said, strict=True)}
        return list(mutants.unsound([mutant], baseline))

    assert unsound("output: Release, lease_is_over", "SingleHolder") == []
    assert unsound("", "") == [
        f"unchanged: {walk}: expected 'a find', found ''",
        f"unchanged: {contracts}: expected 'SingleHolder', found ''",
    ]


def test_a_run_without_mutants_is_a_failure(bench: Callable[..., int]) -> None:
    assert bench() == 1


def test_a_pool_from_outside_the_folder_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proofs.mutant_checks", str(tmp_path), "0", "counts graph"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (line,) = done.stdout.splitlines()
    assert "the pool was imported from" in line


def test_a_process_that_imports_something_else_is_an_error(
    bench: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mutant_bench.verdicts_of
    monkeypatch.setattr(
        mutant_bench, "verdicts_of", lambda p, texts, *rest: real(p, SOURCES, *rest)
    )
    with pytest.raises(RuntimeError, match="did not import the files"):
        bench(counts(*SAME, counts_graph="anything"))


SAMPLE = '''
class Sample:
    @property
    def idle(self) -> int:
        """How many."""
        return len(self.entries) - self.off

    @action("Settle")
    def step(self) -> None:
        if self.idle:
            self.settle()
        raise ValueError("a text for people")
'''


def test_mutants_are_generated_of_decorated_functions_and_of_statements_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(generated_mutants.FILES, "sample.py", "machine")
    names = {mutant.name: mutant for mutant in Source("sample.py", SAMPLE).mutants()}
    lines = "return len(self.entries) - self.off -> return len(self.entries) + self.off"
    mutant = names[f"sample.idle: {lines}"]
    assert mutant.generated
    assert mutant.files({"sample.py": SAMPLE})["sample.py"] == SAMPLE.replace(" - ", " + ")
    assert "sample.step: self.settle() -> pass" in names
    assert "sample.step: if self.idle: -> if not self.idle:" in names
    texts = [name for name in names if "people" in name and "None" not in name]
    assert texts
    assert all(LEDGER.ruled_out(name) for name in texts)
    assert not LEDGER.ruled_out(mutant.name)


def test_the_names_of_generated_mutants_do_not_depend_on_format_and_comments() -> None:
    other = SAMPLE.replace("len(self.entries) - self.off", "(\n  len(self.entries) -\n  self.off)")
    other = other.replace("raise ValueError", "# a comment\n        raise ValueError")
    other = other.replace('"a text for people"', "(  # another\n  'a text for people')")
    names = [sorted(Source("sample.py", text).names()) for text in (SAMPLE, other)]
    assert len(names[0]) > 5
    assert names[0] == names[1]


@pytest.mark.slow
def test_every_argued_equivalent_is_a_mutant_of_today() -> None:
    argued = LEDGER.argued
    assert len(set(argued)) == len(argued)
    assert not any(LEDGER.ruled_out(name) for name in argued)
    assert unknown(argued, SOURCES) == {}
    assert unknown([UNKNOWN], SOURCES).keys() == {UNKNOWN}
    nothing = "_machine/machine.nothing: a -> b"
    assert unknown([nothing], SOURCES) == {nothing: "nothing"}


def outcome(found: dict[str, str], name: str = "m") -> list[str]:
    mutant = Mutant(name, "counts", "Something.")
    ledger = changed(lambda data: data.update(equivalent=[{"names": ["same"], "why": "Because."}]))
    return mutants.judged(mutant, found, {}, ledger).wrong


def test_a_generated_mutant_must_be_either_killed_or_argued_to_be_equivalent() -> None:
    assert outcome({"graph Wide": "only the machine: Close"}) == []
    assert outcome({"graph Wide": ""}) == ["nobody kills it"]
    assert outcome({"graph Wide": ""}, "same") == []
    (told,) = outcome({"graph Wide": "only the machine: Close"}, "same")
    assert "not equivalent" in told


FILES_AND_CHANGES = (("_runtime/driver.py", 1), ("_machine/machine.py", 2), ("verify/_walk.py", 2))


def test_checks_of_the_machine_alone_are_not_repeated_if_the_runtime_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_all = tmp_path / "project"
    for part in mutant_bench.PARTS:
        source, target = mutant_bench.ROOT / part, copy_of_all / part
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    monkeypatch.setattr(mutant_bench, "ROOT", copy_of_all)
    results = Results(tmp_path / "results.json")

    def keys(number: int) -> tuple[str, str]:
        (tmp_path / str(number)).mkdir()
        fresh = Bench(tmp_path / str(number), results)
        return fresh.key(None, ["graph Wide"], machine=True), fresh.key(None, ["graph Wide"])

    before = keys(1)
    for file, changes in FILES_AND_CHANGES:
        path = copy_of_all / mutant_bench.POOL / file
        path.write_text(path.read_text() + "\n# something else\n")
        after = keys(2 + changes + len(file))
        assert sum(a != b for a, b in zip(before, after, strict=True)) == changes
        before = after
