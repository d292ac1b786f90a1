"""The observers of the pool of the second semantics: its events, its gauges, its debug mode.

The tests of the listener in tests/concurrency run on this pool with --second. Here is what the
normal run needs.
"""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nodetool.concurrency import PoolEvent, ResourcePoolTimeoutError
from proofs.second_broken import WakesNobodyAtHandOver
from proofs.second_walk import OutputError, walk
from tests import inside
from tests.inside import (
    SecondEvents,
    SecondGauges,
    SecondPool,
    Tracker,
    make,
    observed,
    second_counts,
    second_machine,
)
from tests.second.test_machine import SMALL
from tests.virtual_time import run, turns

BEGIN = 1000.0  # of the virtual time
Row = tuple[str, int | None, float, float, str]


def rows(told: list[PoolEvent]) -> list[Row]:
    """Return kind, number, start, end and outcome of the events. Times count from BEGIN."""
    return [(e.kind, e.resource, e.start - BEGIN, e.end - BEGIN, e.outcome) for e in told]


async def reset(_: object) -> None:
    await asyncio.sleep(2)


def test_the_life_of_a_resource_has_its_checks_and_resets() -> None:
    told: list[PoolEvent] = []
    answers = [True, False]

    async def check(_: object) -> bool:
        await asyncio.sleep(1)
        return answers.pop(0)

    async def main() -> None:
        pool: SecondPool[object] = SecondPool(
            object, max_size=1, check=check, check_after_idle=0, reset=reset, listener=told.append
        )
        for _ in range(2):
            await pool.release(await pool.acquire())
            await asyncio.sleep(5)
        async with pool.acquire_context() as resource:  # the check of the first one has failed
            await pool.discard(resource)
        with pytest.raises(asyncio.CancelledError):
            async with pool.acquire_context():
                raise asyncio.CancelledError
        await pool.detach(await pool.acquire())
        await pool.acquire()
        pool.terminate()
        await pool.close()
        assert set(pool.gauges()) == {0}

    run(main())
    assert rows(told) == [
        ("creation", 1, 0, 0, "created"),
        ("wait", 1, 0, 0, "acquired"),
        ("use", 1, 0, 0, "released"),
        ("reset", 1, 0, 2, "passed"),
        ("check", 1, 5, 6, "passed"),
        ("wait", 1, 5, 6, "acquired"),
        ("use", 1, 6, 6, "released"),
        ("reset", 1, 6, 8, "passed"),
        ("check", 1, 11, 12, "failed"),
        ("close", 1, 12, 12, "check failed"),
        ("creation", 2, 12, 12, "created"),
        ("wait", 2, 11, 12, "acquired"),
        ("use", 2, 12, 12, "discarded"),
        ("close", 2, 12, 12, "discarded"),
        ("creation", 3, 12, 12, "created"),
        ("wait", 3, 12, 12, "acquired"),
        ("use", 3, 12, 12, "interrupted"),
        ("close", 3, 12, 12, "interrupted"),
        ("creation", 4, 12, 12, "created"),
        ("wait", 4, 12, 12, "acquired"),
        ("use", 4, 12, 12, "detached"),
        ("creation", 5, 12, 12, "created"),
        ("wait", 5, 12, 12, "acquired"),
        ("use", 5, 12, 12, "forgotten"),
    ]


def test_a_failed_reset_and_the_end_of_the_pool_are_reasons() -> None:
    told: list[PoolEvent] = []

    async def fails(_: object) -> None:
        raise OSError

    async def main() -> None:
        async with SecondPool(object, reset=fails, min_size=1, listener=told.append) as pool:
            await turns()
            await pool.release(await pool.acquire())
            await turns()

    run(main())
    assert rows(told)[2:] == [
        ("use", 1, 0, 0, "released"),
        ("reset", 1, 0, 0, "failed"),
        ("close", 1, 0, 0, "reset failed"),
        ("creation", 2, 0, 0, "created"),
        ("close", 2, 0, 0, "closed down"),
    ]


def test_an_acquire_without_a_wait_gets_an_error_that_names_the_age_of_the_work() -> None:
    told: list[PoolEvent] = []
    creations = [0.0, 60.0]

    async def create() -> object:
        await asyncio.sleep(creations.pop(0))
        return object()

    async def main() -> None:
        pool: SecondPool[object] = SecondPool(create, max_size=2, listener=told.append)
        await pool.acquire()
        late = asyncio.create_task(pool.acquire(timeout=9))
        await asyncio.sleep(3)
        with pytest.raises(ResourcePoolTimeoutError) as caught:
            await pool.acquire(timeout=0)
        error = told[-1].error
        assert isinstance(error, ResourcePoolTimeoutError)
        assert str(error) == str(caught.value)
        assert "1 in use, 1 being created (the first for 3.0 s), 1 waiting" in str(error)
        with pytest.raises(ResourcePoolTimeoutError) as caught:
            await late
        assert told[-1].error is caught.value
        assert rows(told)[-2:] == [
            ("wait", None, 3, 3, "timed out"),
            ("wait", None, 0, 9, "timed out"),
        ]
        pool.terminate()
        await pool.close()

    run(main())


@pytest.mark.parametrize("listener", [None, lambda _: None])
def test_the_gauges_tell_users_and_work_apart(listener: Any) -> None:
    async def check(_: object) -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        async with SecondPool(
            object, max_size=2, check=check, check_after_idle=0, reset=reset, listener=listener
        ) as pool:
            first, second = await pool.acquire(), await pool.acquire()
            assert pool.gauges() == SecondGauges(0, 2, 0, 0, 0, 0, 0, 0)
            await pool.release(first)
            assert pool.gauges() == SecondGauges(0, 1, 0, 0, 1, 0, 0, 0)
            await asyncio.sleep(3)
            assert pool.gauges()._asdict() | {"idle": 1, "in_use": 1} == pool.gauges()._asdict()
            waiting = asyncio.create_task(pool.acquire())
            await turns()
            assert pool.gauges() == SecondGauges(0, 1, 0, 1, 0, 0, 1, 0)
            await pool.release(await waiting)
            with pytest.raises(ResourcePoolTimeoutError):
                await pool.acquire(timeout=0)
            assert pool.gauges() == SecondGauges(0, 1, 0, 0, 1, 0, 0, 1)
            await pool.release(second)

    run(main())


def test_a_late_creation_ends_with_an_error_and_its_resource_is_closed() -> None:
    told: list[PoolEvent] = []
    error = ResourcePoolTimeoutError("too late")
    observers = (inside.without_clock(told.append, SecondEvents),)
    limits = second_counts.Limits(1, None)
    machine = make(second_machine.PoolMachine, observers, "late", limits, max_size=1)
    waiter = machine.acquire(0.0)
    (slot,) = inside.take_work(machine)
    assert machine.create_late(slot, object(), error)
    assert inside.take_work(machine) == [slot]
    machine.closer_ended(slot)
    assert [(e.kind, e.resource, e.outcome, e.error) for e in told] == [
        ("wait", None, "failed", error),
        ("creation", 1, "late", error),
        ("close", 1, "late", None),
    ]
    assert inside.error_of(waiter) is error


# Debug mode. The contracts have tests of their own.


@pytest.fixture
def no_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let debug mode run on the machine without contracts."""
    module = SimpleNamespace(checked=lambda kind: kind)
    monkeypatch.setitem(sys.modules, inside.SECOND_DEBUG_MODULE, module)


@pytest.mark.usefixtures("no_contracts")
@pytest.mark.parametrize("listener", [None, print])
def test_debug_mode_has_a_tracker_beside_the_listener(listener: Any) -> None:
    pool: Any = SecondPool(object, debug=True, listener=listener)
    assert inside.observers_of(pool) == [Tracker] + [SecondEvents] * (listener is not None)


@pytest.mark.usefixtures("no_contracts")
def test_debug_mode_names_the_holders_and_warns_about_long_leases(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def holds(pool: SecondPool[object]) -> None:
        async with pool.acquire_context():
            await asyncio.sleep(20)

    async def main() -> None:
        async with SecondPool(object, max_size=1, debug=True, leak_threshold=10) as pool:
            holder = asyncio.create_task(holds(pool), name="the holder")
            await turns()
            with pytest.raises(ResourcePoolTimeoutError, match="held by task 'the holder' for"):
                await pool.acquire(timeout=1)
            await holder

    run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_debug_mode_without_icontract_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, inside.SECOND_DEBUG_MODULE, None)
    with pytest.raises(ImportError, match="debug mode needs icontract"):
        SecondPool(object, debug=True)


def test_a_listener_is_a_plain_function() -> None:
    async def listener(_: PoolEvent) -> None: ...

    with pytest.raises(TypeError, match="listener must be a plain function"):
        SecondPool(object, listener=listener)


# The machine's graph.


def ignore(event: PoolEvent) -> None:
    """Listen to an event, and do nothing."""


def listened_to(name: str, machine: type[second_machine.PoolMachine[Any]]) -> type[Any]:
    """Make a class of machines that a listener watches. Its instances can be pickled."""

    def construct(self: Any, *args: Any, **options: Any) -> None:
        machine.__init__(self, *args, **options)
        self.observers = (inside.without_clock(ignore, SecondEvents),)

    return type(name, (observed(machine),), {"__init__": construct, "__module__": __name__})


ListenedTo = listened_to("ListenedTo", second_machine.PoolMachine)
ListenedToSilent = listened_to("ListenedToSilent", WakesNobodyAtHandOver)


@pytest.mark.untraced
def test_the_graph_of_a_machine_with_a_listener_is_that_of_the_machine() -> None:
    tiny = SMALL | {"Resources": (1, 2), "Idles": False, "Retires": False}
    edges, _ = walk(tiny, ListenedTo)
    assert edges == walk(tiny)[0]
    assert len(edges) > 300


def test_a_listener_hides_no_bug() -> None:
    with pytest.raises(OutputError):
        walk(SMALL, ListenedToSilent)
