"""The models of the second semantics give what their manifest expects."""

from __future__ import annotations

import pytest

from spec import manifest, tlc
from spec.tla import ModelConfig

pytestmark = pytest.mark.untraced

FOLDER = tlc.SPEC / "second"
ENTRIES = manifest.read(FOLDER / "manifest.toml")
BROKEN = [name for name in ENTRIES if name.startswith("Broken")]
# `python -m spec --second` runs all models. Here a few run, because TLC starts slowly.
HERE = ["Counts", "Hanging", *BROKEN[::12]]


@pytest.mark.parametrize("name", HERE)
def test_a_model_gives_the_verdict_that_the_manifest_expects(name: str) -> None:
    result = tlc.run(name, ENTRIES[name].module, folder=FOLDER)
    assert manifest.differences(ENTRIES[name], result) == [], result.tail


def test_the_manifest_names_every_model_and_no_other() -> None:
    assert sorted(ENTRIES) == sorted(path.stem for path in (FOLDER / "models").iterdir())


@pytest.mark.parametrize("name", [*BROKEN, *(n for n in ENTRIES if n.startswith("Reachable"))])
def test_a_model_that_must_fail_has_the_one_property_that_is_refuted(name: str) -> None:
    config = ModelConfig.read(FOLDER / "models" / f"{name}.cfg")
    refuted = ENTRIES[name].verdict.split()[1].replace("PoolCounts", "CountsAgree")
    assert (refuted,) == config.invariants + config.properties


def test_every_guarantee_has_a_model_that_holds_and_one_that_fails() -> None:
    guarantees = {f"S{n}" for n in range(1, 13)} | {f"L{n}" for n in range(1, 9)}
    holds = {code for e in ENTRIES.values() if e.verdict == "ok" for code in e.guards}
    fails = {code for e in ENTRIES.values() if e.verdict != "ok" for code in e.guards}
    assert holds == fails == guarantees
