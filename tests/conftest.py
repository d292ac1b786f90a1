"""The mark `guarantees`, which names what a test checks, and the report that counts the tests.

    @pytest.mark.guarantees("FifoService", "NothingLost")
    def test_...

With `--guarantees=FILE`, pytest writes how many tests of each guarantee passed and failed.
With `--broken=MACHINE`, all pools run on that machine of `proofs.broken_machines`. Only the tests
of the guarantee that the machine breaks run, and they must fail. No test is marked with a rule, so
all tests run on a machine that breaks a rule.
"""

from __future__ import annotations

import gc
import json
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from proofs import guarantees
from proofs.broken_machines import BROKEN
from proofs.inside import Machine, machine_in_new_pools

GUARANTEES = tuple(guarantee.name for guarantee in guarantees.GUARANTEES)
PROPERTY = "guarantee"  # in a report, because marks do not travel from worker to controller


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so, and the programs of the tests would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def _small_heap() -> Iterator[None]:
    """Hide what is alive by now from the collector: tests collect often, and imports made much."""
    gc.freeze()
    yield
    gc.unfreeze()


def named(item: pytest.Item) -> list[str]:
    """Return the guarantees that a test is marked with, each once, in the order of the table."""
    names: set[str] = set()
    for mark in item.iter_markers("guarantees"):
        unknown = [name for name in mark.args if name not in GUARANTEES]
        if unknown or mark.kwargs or not mark.args:
            what = ", ".join(map(repr, unknown)) or "no name"
            known = ", ".join(GUARANTEES)
            raise pytest.Collector.CollectError(
                f"{item.nodeid}: guarantees: {what}, known are: {known}"
            )
        names.update(mark.args)
    return [name for name in GUARANTEES if name in names]


class Tally:
    """Counter of the tests that passed and failed, in all processes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.names: dict[str, list[str]] = {}  # the guarantees of each test
        self.failed: dict[str, bool] = {}  # whether each test failed that ran and was not skipped

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        names = [str(value) for key, value in report.user_properties if key == PROPERTY]
        if names:
            self.names[report.nodeid] = names
        if report.failed or (report.when == "call" and report.passed):
            before = self.failed.get(report.nodeid, False)
            self.failed[report.nodeid] = before or report.failed

    def pytest_sessionfinish(self) -> None:
        counts = {name: {"passed": 0, "failed": 0} for name in GUARANTEES}
        for test, failed in self.failed.items():
            for name in self.names.get(test, ()):
                counts[name]["failed" if failed else "passed"] += 1
        self.file.write_text(json.dumps(counts, indent=2) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--guarantees",
        metavar="FILE",
        help="write to FILE, as JSON, how many tests of each guarantee passed and failed",
    )
    parser.addoption(
        "--broken",
        metavar="MACHINE",
        help="run the tests of a guarantee on a machine that breaks it",
    )


def broken_by(config: pytest.Config) -> tuple[str, Machine] | None:
    """Return the guarantee that is broken on purpose, and the machine that breaks it."""
    name = config.getoption("--broken")
    return next(((g, machine) for g, machine, _ in BROKEN if machine.__name__ == name), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    broken = broken_by(config)
    if broken and broken[0] in GUARANTEES:
        items[:] = [item for item in items if broken[0] in named(item)]


def pytest_configure(config: pytest.Config) -> None:
    if broken := broken_by(config):
        stack = ExitStack()
        stack.enter_context(machine_in_new_pools(broken[1]))
        config.add_cleanup(stack.close)
    file = config.getoption("guarantees")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tally(Path(file)), "guarantees-tally")


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, object, object]:
    """Refuse wrong marks while the module is collected, because then a worker can report them."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Item):
            named(item)
    return made


def pytest_itemcollected(item: pytest.Item) -> None:
    item.user_properties += [(PROPERTY, name) for name in named(item)]
