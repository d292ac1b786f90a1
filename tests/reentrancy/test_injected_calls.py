"""Calls of the pool in the middle of other calls, at every bytecode.

Each outcome must equal that of the same call made just before or just after the call in progress.
`python -m tests.reentrancy` injects every action at every bytecode of every scenario but debug
mode. Here each scenario gets one action, at every 29th bytecode.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import CO_NEWLOCALS
from itertools import product
from types import CodeType

import pytest

from tests import inside

from .actions import ACTIONS, CALLS, RELEASE, TERMINATE, Action
from .injector import NOWHERE, SOURCE, Kind, Point
from .scenarios import SCENARIOS, Scenario
from .sweep import Laboratory, Row, applies, quick_pairs, sweep, table

pytestmark = pytest.mark.untraced

GIVING_BACK = [action for action in ACTIONS if action.needs == "a spare"]


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    with Laboratory().opened() as laboratory:
        yield laboratory


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    """Collect the rows of all tests, and print them as one table."""
    rows: list[Row] = []
    yield rows
    print("\n" + table(rows))


def assert_right(row: Row) -> None:
    """Fail if an outcome is wrong, and show the first few."""
    shown = "\n".join(map(str, row.wrong[:3]))
    assert not row.wrong, (
        f"{row.scenario}, {row.action}: {len(row.wrong)} of {row.points} points\n{shown}"
    )


@pytest.mark.guarantees("NothingLost", "WaiterServed", "OneOutcome", "CloseCompletes")
@pytest.mark.parametrize(("scenario", "action"), quick_pairs(), ids=str)
def test_a_nested_call_is_as_good_as_one_before_or_after(
    laboratory: Laboratory, rows: list[Row], scenario: Scenario, action: Action
) -> None:
    row = sweep(laboratory, scenario, action, every=29)
    rows.append(row)
    assert_right(row)


@pytest.mark.guarantees("NothingLost", "NothingAfterClose")
@pytest.mark.parametrize(
    "action",
    [
        pytest.param(action, marks=pytest.mark.slow if "retire_all" in action.name else ())
        for action in GIVING_BACK
    ],
    ids=str,
)
def test_a_lease_that_ends_within_terminate_is_closed_or_refused(
    laboratory: Laboratory, rows: list[Row], action: Action
) -> None:
    row = sweep(laboratory, SCENARIOS["terminate with waiters"], action)
    rows.append(row)
    assert_right(row)


@pytest.mark.guarantees("ClosedExactlyOnce", "CloseCompletes")
def test_an_acquire_within_a_batch_of_closers_is_as_good_as_one_before_or_after(
    laboratory: Laboratory, rows: list[Row]
) -> None:
    (acquire,) = (action for action in ACTIONS if action.name == "signal: acquire")
    row = sweep(laboratory, SCENARIOS["close starts closers in batches"], acquire)
    rows.append(row)
    assert_right(row)


@pytest.mark.guarantees("NothingLost", "WaiterServed", "OneOutcome", "CloseCompletes")
@pytest.mark.parametrize(("action", "kind"), [*product(CALLS, ["event", "record"])][::5], ids=str)
def test_a_call_from_a_listener_or_a_logging_handler_is_as_good_as_one_before_or_after(
    laboratory: Laboratory, rows: list[Row], kind: Kind, action: Action
) -> None:
    found = [sweep(laboratory, s, action, kind) for s in SCENARIOS.values() if applies(s, action)]
    rows += (row for row in found if row.points)
    assert sum(row.points for row in found) > 1
    for row in found:
        assert_right(row)


# The injector can fail.


@pytest.mark.parametrize(
    ("scenario", "action", "least"),
    [
        ("release to a waiter", RELEASE, 3),
        ("acquire waits for a release", RELEASE, 30),
        pytest.param("close with waiters", RELEASE, 3, marks=pytest.mark.slow),
        pytest.param("retire all", RELEASE, 10, marks=pytest.mark.slow),
        ("acquire an idle resource", TERMINATE, 10),
        ("several waiters time out", TERMINATE, 100),
    ],
)
def test_without_the_gate_many_outcomes_are_wrong(
    laboratory: Laboratory, scenario: str, action: Action, least: int
) -> None:
    with inside.gate_always_open():
        row = sweep(laboratory, SCENARIOS[scenario], action)
    print(f"\nwithout the gate: {scenario}, {action}: {len(row.wrong)} of {row.points} wrong")
    assert len(row.wrong) >= least


# The injector itself.


@pytest.mark.parametrize(
    "name", ["release to the idle", "release to a waiter", "discard", "detach", "retire all"]
)
def test_a_direct_call_before_the_watched_calls_equals_the_first_reference(
    laboratory: Laboratory, name: str
) -> None:
    for action in (RELEASE, TERMINATE):
        first, _ = laboratory.run(SCENARIOS[name], action, Point("before", 0))
        direct, _ = laboratory.run(SCENARIOS[name], action, Point("start"))
        assert first == direct


def functions(code: CodeType) -> Iterator[str]:
    """Yield the qualified name of each function in a code object."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & CO_NEWLOCALS:
                yield constant.co_qualname
            yield from functions(constant)


FILES: tuple[str, ...] = (
    "_acquire_context.py",
    "_contexts.py",
    "_machine/containers.py",
    "_machine/machine.py",
    "_runtime/binding.py",
    "_runtime/callbacks.py",
    "_runtime/conditions.py",
    "_runtime/deadlines.py",
    "_runtime/driver.py",
    "_runtime/long_waits.py",
    "_runtime/work.py",
    "_tracking.py",
    "async_resource_pool.py",
    "listener.py",
)

PROTOCOLS = ("Lender.", "Reports.")

# Functions that no scenario calls after its beginning.
UNREACHED = {
    "<lambda>": "only for systems without fork",
    "AcquireContext.discard": "it only sets a mark",
    "AsyncResourcePool.__del__": "only for pools that nobody uses",
    "AsyncResourcePool.__reduce_ex__": "it refuses copies",
    "AsyncResourcePool._counts": "a question, it changes nothing",
    "AsyncResourcePool._replace_machine": "only before the first step",
    "AsyncResourcePool._slot_at_any_moment": "an injected call itself",
    "AsyncResourcePool._stats": "a question, it changes nothing",
    "AsyncResourcePool.available_count": "a question, it changes nothing",
    "AsyncResourcePool.closed": "a question, it changes nothing",
    "AsyncResourcePool.discard_nowait": "an injected call itself",
    "AsyncResourcePool.from_context": "only before the first step",
    "AsyncResourcePool.gauges": "a question, it changes nothing",
    "AsyncResourcePool.in_use_count": "a question, it changes nothing",
    "AsyncResourcePool.leases": "a question, it changes nothing",
    "AsyncResourcePool.max_size": "a question, it changes nothing",
    "AsyncResourcePool.min_size": "a question, it changes nothing",
    "AsyncResourcePool.name": "a question, it changes nothing",
    "AsyncResourcePool.phase": "a question, it changes nothing",
    "AsyncResourcePool.release_nowait": "an injected call itself",
    "AsyncResourcePool.settings": "a question, it changes nothing",
    "AsyncResourcePool.size": "a question, it changes nothing",
    "AsyncResourcePool.stats": "a question, it changes nothing",
    "Binding.hand_over": "only between tasks, see test_interrupted_loop.py",
    "Binding.is_refused": "only in another thread or loop",
    "Binding.leave_to_parent": "only in a forked child",
    "Binding.refuse_strangers": "only in another thread or loop",
    "Conditions.__len__": "for the tests",
    "Contexts.attach": "only before the first step",
    "Deadlines.__len__": "for the tests",
    "Driver._awaits_opening": "a question, it changes nothing",
    "Driver._end_without_loop": "only when the loop is closed",
    "Driver._last_failure": "a question, it changes nothing",
    "Driver._open_timeout": "only after an `open` that times out",
    "Driver.fits": "its question about slots comes only if `resize` waits for long",
    "Driver.has_ages": "for the tests",
    "Driver.open_timeout": "only after an `open` that times out",
    "Binding._is_between_tasks": "only between tasks, see test_interrupted_loop.py",
    "Driver.plain_finder": "only before the first step",
    "Driver.replace_machine": "only before the first step",
    "Driver.sweep_time": "for the tests",
    "Driver.watchers": "for the tests",
    "Events._timeout_error": "only after a `timeout=0` that fails",
    "Events.gauges": "a question, it changes nothing",
    "Events.refused": "only after a mistake of the caller",
    "Expires.expires_at": "a type",
    "Expires.state": "a type",
    "ExpiryQueue.__iter__": "for the tests",
    "ExpiryQueue.compact": "only with many entries",
    "ExpiryQueue.in_order": "for the tests",
    "ExpiryQueue.out_of_order": "for the tests",
    "LateTimer._set": "only between tasks, see test_interrupted_loop.py",
    "LateTimer.cancel": "only between tasks, see test_interrupted_loop.py",
    "LazyDeque._compact": "only with many entries",
    "PoolEvent.seconds": "for listeners",
    "PoolMachine._refusal": "only if the driver makes a mistake",
    "PoolMachine.invalid_release": "only after a mistake of the caller",
    "PoolMachine.is_unused": "for the tests",
    "ThreadQuestion._thread_id": "only for loops without this attribute",
    "Tracker.finder": "only before the first step",
    "Tracker.leases": "a question, it changes nothing",
    "Tracker.run_alone": "only in debug mode",
    "Tracker.track": "only before the first step",
    "Work._warn_of_block": "only after a plain function that blocks",
    "Work.abandoned": "for the tests",
    "Work.call_closer": "only when the loop is closed",
    "do_nothing": "only between tasks, see test_interrupted_loop.py",
    "ignore": "only after an error of a handler or of a name",
    "interrupt": "only when the loop is closed",
    "listened": "only before the first step",
    "name_of_function": "only after a plain function that blocks",
    "refuse_pending": "only if a listener or `discard_on` returns an odd answer",
    "stop": "only after an error of a handler or of a name",
    "tracked": "only before the first step",
    "truth_of": "only if `discard_on` returns an odd answer",
}
if sys.version_info >= (3, 12):
    UNREACHED["thread_of"] = "only up to Python 3.11"


def test_the_scenarios_reach_every_function_of_the_runtime(laboratory: Laboratory) -> None:
    reached: set[tuple[str, str]] = set()
    for scenario in SCENARIOS.values():
        _, recorded = laboratory.run(scenario, TERMINATE, NOWHERE)
        reached |= {(place.file, place.function) for place in recorded.places}
    unreached: set[str] = set()
    for file in FILES:
        code = compile((SOURCE / file).read_text(), file, "exec")
        names = {name for name in functions(code) if "__init__" not in name}
        names = {name for name in names if not name.startswith("_")}  # they make observed steps
        names = {name for name in names if not name.startswith((*PROTOCOLS, "Driver.<lambda>"))}
        unreached |= {name for name in names if (file, name) not in reached}
    assert {name.split(".<locals>")[0] for name in unreached} == set(UNREACHED)
