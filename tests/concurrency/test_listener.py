"""The listener: which events it gets, when, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    PoolEvent,
    PoolGauges,
    ResourcePoolClosedError,
    ResourcePoolExhaustedError,
    ResourcePoolTimeoutError,
)
from tests import inside
from tests.concurrency.world import Thing, World, outcome, played
from tests.inside import Limits, PoolMachine, make
from tests.virtual_time import run, turns

start = asyncio.create_task
BEGIN = 1000.0  # of the virtual time


class Told(list[PoolEvent]):
    """A listener that remembers."""

    def __call__(self, event: PoolEvent) -> None:
        self.append(event)

    def of(self, kind: str) -> list[tuple[int | None, float, float, str]]:
        """Return number, start, end and outcome of the events of a kind. Times count from BEGIN."""
        return [
            (event.resource, event.start - BEGIN, event.end - BEGIN, event.outcome)
            for event in self
            if event.kind == kind
        ]

    def error(self) -> BaseException | None:
        """Return the error of the last event."""
        return self[-1].error


def user(pool: AsyncResourcePool[Thing], name: str, timeout: Any = None) -> asyncio.Task[Thing]:
    """Start a task that acquires."""
    return asyncio.create_task(pool.acquire(timeout), name=name)


# Every kind and outcome, once, with its times.


@played
async def test_the_events_of_a_whole_life_come_in_order_with_times_and_tasks(world: World) -> None:
    told = Told()
    pool = world.pool(listener=told, max_size=1, name="pool")
    world.creation.time, world.closing.time = 2, 3
    ann, bob = user(pool, "ann"), user(pool, "bob")
    thing = await ann
    await asyncio.sleep(5)
    await pool.release(thing)
    await bob
    await asyncio.sleep(1)
    await pool.discard(thing)
    assert told == [
        PoolEvent("creation", 1, BEGIN, BEGIN + 2, "created", "", None, "pool"),
        PoolEvent("wait", 1, BEGIN, BEGIN + 2, "acquired", "ann", None, "pool"),
        PoolEvent("use", 1, BEGIN + 2, BEGIN + 7, "released", "ann", None, "pool"),
        PoolEvent("wait", 1, BEGIN, BEGIN + 7, "acquired", "bob", None, "pool"),
        PoolEvent("use", 1, BEGIN + 7, BEGIN + 8, "discarded", "bob", None, "pool"),
    ], "the event of a closer comes at its end"
    await asyncio.sleep(3)
    await turns()
    assert told[5:] == [PoolEvent("close", 1, BEGIN + 8, BEGIN + 11, "discarded", "", None, "pool")]
    assert [event.seconds for event in told] == [2, 2, 5, 7, 1, 3]


async def reset(_: object) -> None:
    await asyncio.sleep(2)


def test_the_life_of_a_resource_has_its_checks_and_resets() -> None:
    told = Told()
    answers = [True, False]

    async def check(_: object) -> bool:
        await asyncio.sleep(1)
        return answers.pop(0)

    async def main() -> None:
        pool: AsyncResourcePool[object] = AsyncResourcePool(
            object, max_size=1, check=check, check_after_idle=0, reset=reset, listener=told
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
    rows = [(e.kind, e.resource, e.start - BEGIN, e.end - BEGIN, e.outcome) for e in told]
    assert rows == [
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


@played
async def test_a_creation_ends_created_or_failed_or_retired(world: World) -> None:
    told, failure = Told(), OSError("refused")
    pool = world.pool(listener=told, max_size=1)
    world.creation.time = 2
    world.creation.fail(failure)
    assert await outcome(pool.acquire()) is failure
    assert told.of("creation") == [(1, 0, 2, "failed")]
    assert told.error() is failure
    acquirer = start(pool.acquire())
    await asyncio.sleep(1)
    await pool.retire_all()
    await acquirer
    assert told.of("creation")[1:] == [(2, 2, 4, "retired"), (3, 4, 6, "created")]
    assert told.of("close") == [(2, 4, 4, "retired")]


def test_a_late_creation_ends_with_an_error_and_its_resource_is_closed() -> None:
    told: list[PoolEvent] = []
    error = ResourcePoolTimeoutError("too late")
    observers = (inside.without_clock(told.append),)
    limits = Limits(1, None)
    machine = make(PoolMachine, observers, "late", limits, max_size=1)
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


@played
async def test_a_duplicate_is_a_failed_creation(world: World) -> None:
    told, thing = Told(), Thing(0)
    pool = AsyncResourcePool(lambda: thing, listener=told)
    await pool.acquire()
    error = await outcome(pool.acquire())
    assert [event.outcome for event in told if event.kind == "creation"] == ["created", "failed"]
    assert told.error() is error
    await pool.release(thing)
    await pool.close()


@played
async def test_events_of_failed_waits_have_the_errors_of_the_acquirers(world: World) -> None:
    told = Told()
    pool = world.pool(listener=told, max_size=1, max_waiting=1)
    thing = await pool.acquire()
    told.clear()
    once: object = await outcome(user(pool, "once", 0))
    assert told.of("wait") == [(None, 0, 0, "timed out")]
    assert isinstance(once, ResourcePoolTimeoutError)
    assert str(told.error()) == str(once)
    late = user(pool, "late", 3)
    await turns()
    full: object = await outcome(user(pool, "full"))
    assert isinstance(full, ResourcePoolExhaustedError)
    assert told.of("wait")[1:] == [(None, 0, 0, "rejected")]
    assert told.error() is full
    error = await outcome(late)
    assert isinstance(error, ResourcePoolTimeoutError)
    assert told.of("wait")[2:] == [(None, 0, 3, "timed out")]
    assert told.error() is error
    away = user(pool, "away")
    await asyncio.sleep(2)
    away.cancel()
    await turns()
    assert told.of("wait")[3:] == [(None, 3, 5, "cancelled")]
    closed = user(pool, "closed")
    await asyncio.sleep(1)
    closing = start(pool.close())
    error = await outcome(closed)
    assert isinstance(error, ResourcePoolClosedError)
    assert told.of("wait")[4:] == [(None, 5, 6, "closed")]
    assert told.error() is error
    after = await outcome(user(pool, "after"))
    assert told.of("wait")[5:] == [(None, 6, 6, "closed")]
    assert told.error() is after
    assert [e.task for e in told] == ["once", "full", "late", "away", "closed", "after"]
    await pool.release(thing)
    await closing


@pytest.mark.parametrize("then", ["cancel", "close", "go on"])
@played
async def test_a_wait_is_over_when_the_acquirer_runs_and_not_when_it_is_handed_something(
    world: World, then: str
) -> None:
    told = Told()
    pool = world.pool(listener=told, max_size=1)
    thing = await pool.acquire()
    waiter = user(pool, "waiter")
    await asyncio.sleep(1)
    if then == "close":
        start(pool.close())  # runs before the waiter
    await pool.release(thing)
    assert told[-1].kind == "use", "it was handed over, but the waiter did not run yet"
    if then == "cancel":
        waiter.cancel()
    got = await outcome(waiter)
    ends = {"cancel": "cancelled", "close": "closed", "go on": "acquired"}
    assert told.of("wait")[1:] == [(1 if then == "go on" else None, 0, 1, ends[then])]
    assert told.of("creation") == [(1, 0, 0, "created")]
    if then == "close":
        assert isinstance(got, ResourcePoolClosedError)
        error = next(event.error for event in told if event.outcome == "closed")
        assert (type(error), str(error)) == (type(got), str(got))
    elif then == "go on":
        await pool.release(thing)


@pytest.mark.parametrize(
    ("then", "wait", "check", "reason"),
    [
        ("passes", (1, 0, 2, "acquired"), (1, 0, 2, "passed"), None),
        ("fails", (2, 0, 2, "acquired"), (1, 0, 2, "failed"), "check failed"),
        ("raises", (2, 0, 2, "acquired"), (1, 0, 2, "failed"), "check failed"),
        ("is too slow", (2, 0, 4, "acquired"), (1, 0, 4, "failed"), "check failed"),
        ("has no user", (None, 0, 2, "cancelled"), (1, 0, 2, "passed"), None),
        ("has a late user", (None, 0, 3, "timed out"), (1, 0, 3, "passed"), None),
        ("grew old", (2, 0, 2, "acquired"), (1, 0, 2, "passed"), "expired"),
        ("was retired", (2, 0, 2, "acquired"), (1, 0, 2, "passed"), "retired"),
        ("is closed", (None, 0, 2, "closed"), (1, 0, 2, "passed"), "closed down"),
    ],
)
@played
async def test_a_check_has_an_event_of_its_own(
    world: World,
    then: str,
    wait: tuple[int | None, float, float, str],
    check: tuple[int | None, float, float, str],
    reason: str | None,
) -> None:
    told = Told()
    age = 2 if then == "grew old" else None
    options: dict[str, Any] = {"check_after_idle": 0, "check_timeout": 4, "max_age": age}
    pool = world.checked_pool(listener=told, max_size=1, **options)
    thing = await pool.acquire()
    await pool.release(thing)
    told.clear()
    world.check.shut()
    acquirer = user(pool, "acquirer", 3 if then == "has a late user" else 9)
    await asyncio.sleep(2)
    thing.healthy = then != "fails"
    if then == "has no user":
        acquirer.cancel()
    elif then == "has a late user":
        await asyncio.sleep(1)
    elif then == "is too slow":
        await asyncio.sleep(2)
    elif then == "was retired":
        await pool.retire_all()
    elif then == "is closed":
        start(pool.close())
    await turns()
    if then != "is too slow":
        world.check.let_through(OSError("gone") if then == "raises" else None)
    got = await outcome(acquirer)
    await turns()
    assert told.of("check") == [check]
    assert told.of("wait") == [wait]
    assert told.of("close") == ([(1, check[2], check[2], reason)] if reason else [])
    assert all(event.task == "" for event in told if event.kind != "wait")
    errors = {"raises": "gone", "is too slow": "the check did not finish within check_timeout=4 s"}
    assert errors.get(then, "None") in str(next(e.error for e in told if e.kind == "check"))
    assert all(event.error is None for event in told if event.kind == "close")
    if then in ("has a late user", "is closed"):
        error = next(event.error for event in told if event.kind == "wait")
        assert (type(error), str(error)) == (type(got), str(got))
    if isinstance(got, Thing):
        await pool.discard(got)


@pytest.mark.parametrize("work", ["creating", "checking", "resetting", "closing", "nothing"])
@played
async def test_an_acquire_without_a_wait_has_the_error_that_it_raises(
    world: World, work: str
) -> None:
    told = Told()
    options: dict[str, Any] = {"check": world.is_healthy, "check_after_idle": 0}
    pool = world.pool(listener=told, max_size=2, reset=world.clean, **options)
    thing = await pool.acquire()
    gates = {"checking": world.check, "resetting": world.reset, "closing": world.closing}
    gates.get(work, world.creation).shut()
    late = None
    if work in ("closing", "resetting"):
        await (pool.discard if work == "closing" else pool.release)(thing)
    else:
        if work == "checking":
            await pool.release(thing)
            await turns()
        late = user(pool, "late", 2.5)
    await asyncio.sleep(3)
    if work == "nothing":
        world.creation.open()
        await turns()
    got = await outcome(user(pool, "now", 0))
    event = told[-1]
    assert (event.outcome, event.task) == ("timed out", "now")
    assert isinstance(got, ResourcePoolTimeoutError)
    assert isinstance(event.error, ResourcePoolTimeoutError)
    assert str(event.error) == str(got)
    assert ("(the first for 3.0 s)" in str(got)) == (work != "nothing")
    if late is not None:
        assert isinstance(await outcome(late), ResourcePoolTimeoutError)


@played
async def test_a_creation_that_fails_ends_the_longest_wait(world: World) -> None:
    told, failure = Told(), OSError("refused")
    pool = world.pool(listener=told, max_size=1, name="pool")
    world.creation.time = 1
    world.creation.fail(failure)
    first, second = user(pool, "first"), user(pool, "second")
    assert await outcome(first) is failure
    assert told[0] == PoolEvent("wait", None, BEGIN, BEGIN + 1, "failed", "first", failure, "pool")
    assert told[0].error is told[1].error is failure
    await second
    assert told.of("wait")[1:] == [(2, 0, 2, "acquired")]


@pytest.mark.parametrize("ending", ["released", "discarded", "detached", "forgotten"])
@pytest.mark.parametrize("in_a_context", [False, True])
@played
async def test_a_use_ends_as_the_lease_does(world: World, ending: str, in_a_context: bool) -> None:
    told = Told()
    pool = world.pool(listener=told, max_size=1, name="pool")

    async def use() -> None:
        context = pool.acquire_context()
        thing = await (context.__aenter__() if in_a_context else pool.acquire())
        await asyncio.sleep(4)
        if ending == "forgotten":
            pool.terminate()
        elif ending == "detached":
            await pool.detach(thing)
        elif ending == "discarded" and not in_a_context:
            await pool.discard(thing)
        elif not in_a_context:
            await pool.release(thing)
        thing.mine = ending in ("forgotten", "detached")
        if in_a_context:
            fails = asyncio.CancelledError if ending == "discarded" else None
            await context.__aexit__(fails, None, None)

    await asyncio.create_task(use(), name="somebody")
    await turns()
    interrupted = in_a_context and ending == "discarded"
    told_ending = "interrupted" if interrupted else ending
    assert told.of("use") == [(1, 0, 4, told_ending)]
    assert [event.task for event in told if event.kind == "use"] == ["somebody"]
    assert [event.outcome for event in told if event.kind == "close"] == (
        [told_ending] if ending == "discarded" else []
    )
    if ending == "released":
        await pool.close()
        assert told[-1] == PoolEvent(
            "close", 1, BEGIN + 4, BEGIN + 4, "closed down", "", None, "pool"
        )


@pytest.mark.parametrize(
    ("then", "end", "ending", "reason"),
    [
        ("passes", 3, "passed", None),
        ("fails", 3, "failed", "reset failed"),
        ("is too slow", 4, "failed", "reset failed"),
        ("was retired", 3, "passed", "retired"),
        ("grew old", 3, "passed", "expired"),
        ("is surplus", 3, "passed", "surplus"),
        ("is closed", 3, "passed", "closed down"),
    ],
)
@played
async def test_a_reset_has_an_event_of_its_own(
    world: World, then: str, end: float, ending: str, reason: str | None
) -> None:
    told = Told()
    options: dict[str, Any] = {"max_age": 3 if then == "grew old" else None, "reset_timeout": 4}
    pool = world.pool(listener=told, max_size=2, reset=world.clean, **options)
    thing = await pool.acquire()
    other = await pool.acquire()
    world.reset.shut()
    await pool.release(thing)
    assert told.of("use") == [(1, 0, 0, "released")]
    await asyncio.sleep(3)
    if then == "was retired":
        await pool.retire_all()
    elif then == "is surplus":
        await pool.resize(max_size=1)
    elif then == "is closed":
        start(pool.close())
        await turns()
    elif then == "is too slow":
        await asyncio.sleep(1)
        await turns()
    if then != "is too slow":
        world.reset.let_through(OSError("stuck") if then == "fails" else None)
    await turns()
    assert told.of("reset") == [(1, 0, end, ending)]
    assert told.of("close") == ([(1, end, end, reason)] if reason else [])
    assert all(e.task == "" for e in told if e.kind in ("reset", "close"))
    errors = {"fails": "stuck", "is too slow": "the reset did not finish within reset_timeout=4 s"}
    assert errors.get(then, "None") in str(next(e.error for e in told if e.kind == "reset"))
    assert all(event.error is None for event in told if event.kind == "close")
    world.reset.open()
    if then == "is surplus":
        await pool.resize(max_size=2)  # the world counts with the last limit
    await pool.release(other)


@played
async def test_a_lowered_limit_closes_idle_resources_as_surplus(world: World) -> None:
    told = Told()
    pool = world.pool(listener=told, max_size=3)
    for thing in [await pool.acquire() for _ in range(3)]:
        await pool.release(thing)
    await asyncio.sleep(1)
    await pool.resize(max_size=1, wait=True)
    assert told.of("close") == [(1, 1, 1, "surplus"), (2, 1, 1, "surplus")]
    await pool.resize(max_size=3)  # the world counts with the last limit


@pytest.mark.parametrize("when", ["by the timer", "when it comes back", "when it is handed out"])
@played
async def test_a_resource_is_closed_because_it_expired(world: World, when: str) -> None:
    told = Told()
    pool = world.pool(listener=told, max_size=1, max_age=10)
    thing = await pool.acquire()
    if when == "when it comes back":
        await asyncio.sleep(10)
    await pool.release(thing)
    if when == "by the timer":
        await asyncio.sleep(10)
    elif when == "when it is handed out":
        loop: Any = asyncio.get_running_loop()
        loop.now += 10  # a loop that was busy: the timer is late
        await pool.release(await pool.acquire())
    await turns()
    assert told.of("close") == [(1, 10, 10, "expired")]


@played
async def test_closes_by_pruning_and_by_close_have_their_reasons(world: World) -> None:
    told = Told()
    pool = world.pool(listener=told, max_size=3, min_size=1, max_idle_time=10)
    things = [await pool.acquire() for _ in range(3)]
    for thing in things:
        await pool.release(thing)
    await asyncio.sleep(10)
    await turns()
    assert sorted(told.of("close")) == [(1, 10, 10, "pruned"), (2, 10, 10, "pruned")]
    world.closing.time = 5
    await pool.close()
    assert told.of("close")[2:] == [(3, 10, 15, "closed down")]


@pytest.mark.guarantees("NoDoubleRelease")
@pytest.mark.parametrize("again", ["release", "discard", "detach"])
@played
async def test_a_refused_call_causes_no_event(world: World, again: str) -> None:
    told = Told()
    pool = world.pool(listener=told)
    thing = await pool.acquire()
    await pool.release(thing)
    told.clear()
    with pytest.raises(InvalidReleaseError):
        await getattr(pool, again)(thing)
    assert not told


# The numbers.


@pytest.mark.parametrize("listener", [None, lambda _: None])
def test_the_gauges_tell_users_and_work_apart(listener: Any) -> None:
    async def check(_: object) -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        async with AsyncResourcePool(
            object, max_size=2, check=check, check_after_idle=0, reset=reset, listener=listener
        ) as pool:
            first, second = await pool.acquire(), await pool.acquire()
            assert pool.gauges() == PoolGauges(0, 2, 0, 0, 0, 0, 0, 0)
            await pool.release(first)
            assert pool.gauges() == PoolGauges(0, 1, 0, 0, 1, 0, 0, 0)
            await asyncio.sleep(3)
            assert pool.gauges()._asdict() | {"idle": 1, "in_use": 1} == pool.gauges()._asdict()
            waiting = asyncio.create_task(pool.acquire())
            await turns()
            assert pool.gauges() == PoolGauges(0, 1, 0, 1, 0, 0, 1, 0)
            await pool.release(await waiting)
            with pytest.raises(ResourcePoolTimeoutError):
                await pool.acquire(timeout=0)
            assert pool.gauges() == PoolGauges(0, 1, 0, 0, 1, 0, 0, 1)
            await pool.release(second)

    run(main())
