"""The benchmark runs, and debug mode is what it says; how fast it is, is no test's to say."""

from __future__ import annotations

import gc

import pytest

from bench import __main__ as bench


def test_the_benchmark_tells_a_ratio_for_each_pool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "REPETITIONS", 3)
    monkeypatch.setattr(bench, "CYCLES", 200)
    try:
        assert bench.main() == 0
    finally:
        gc.enable()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" x the floor")[0].split()[0] for line in lines] == [
        "by",
        "debug=False",
        "debug=True",
    ]
