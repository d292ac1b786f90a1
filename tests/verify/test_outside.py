"""The counts that verify keeps outside of the pool, and each problem that it notices there."""

from __future__ import annotations

import asyncio
import faulthandler
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import count
from random import Random
from typing import Any

import pytest

from nodetool.concurrency import ResourcePoolClosedError, ResourcePoolError
from nodetool.concurrency.verify import _outside, _resource, _users
from nodetool.concurrency.verify._outside import FAULTS, Functions, InjectedError, Outside
from nodetool.concurrency.verify._resource import Load, Phase
from nodetool.concurrency.verify._users import Users
from tests.inside import watch_numbers
from tests.verify import resources
from tests.verify.resources import Thing

PLAIN = Functions(Thing, Thing.close)
LOAD = Load(max_size=2, users=4, seconds=0.2, seed=1)


@pytest.fixture(autouse=True)
def _unguarded() -> Iterator[None]:
    """Cancel the watchdog that would end the process, because only a whole run cancels it."""
    yield
    faulthandler.cancel_dump_traceback_later()


async def test_each_problem_outside_is_noticed() -> None:
    outside = Outside(PLAIN, Random(1))
    thing = Thing()
    await outside.end(thing)
    assert outside.counts["closed once more"] == 1
    outside.expect(thing, "handed out")
    assert "handed out although it was closed" in outside.problems[0]


async def test_failures_of_the_functions_are_not_counted_as_injected_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    functions = Functions(Thing, Thing.close, resources.sometimes, resources.reset)
    outside = Outside(functions, Random(1))
    outside.random.random = lambda: 0.99  # type: ignore[method-assign]  # nothing is injected
    outcomes: list[object] = []
    for number in range(8):
        monkeypatch.setattr(resources, "NUMBERS", count(number))
        thing = await outside.create()
        try:
            outcomes.append(await outside.check(thing))
            await outside.reset(thing)
        except OSError as error:
            outcomes.append(error)
    assert [str(o) for o in outcomes] == [
        *("True", "True", "False", "True", "cannot be reached", "False"),
        *("True", "cannot be tidied", "True"),
    ]
    assert {name: len(errors) for name, errors in outside.own.items()} == {"check": 3, "reset": 1}
    assert outside.counts["check failures"] == 3
    assert outside.counts["reset failures"] == 1
    assert not outside.faults
    outside.random.random = lambda: 0.0  # type: ignore[method-assign]
    with pytest.raises(InjectedError):
        await outside.check(thing)
    monkeypatch.setattr(outside, "fault", lambda *_: None)
    monkeypatch.setattr(outside, "interruptible", lambda _: nullcontext())
    assert not await outside.check(thing)
    assert outside.faults["check returned False although healthy"] == 1


async def test_a_resource_is_closed_if_its_factory_is_cancelled_or_its_closer_fails_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside = Outside(PLAIN, Random(1))
    monkeypatch.setitem(FAULTS, "factory", 0.0)
    monkeypatch.setattr(_outside, "SLOW", 1.0)
    outside.random.uniform = lambda *_: next(times)  # type: ignore[method-assign]
    times = iter((0.0, 3600.0, 0.0))  # before the factory, after it, before the closer
    creation = asyncio.create_task(outside.create())
    await asyncio.sleep(0.01)
    assert len(outside.living) == 1
    creation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creation
    monkeypatch.setitem(FAULTS, "closer", 1.0)
    thing = outside.living[0] = Thing()
    outside.living = {id(thing): thing}
    with pytest.raises(InjectedError, match="closer failed after it had closed, on purpose"):
        await outside.close(thing)
    assert (outside.counts["closed"], outside.living, thing.closed) == (2, {}, True)


@pytest.mark.parametrize("name", ["factory", "check", "reset"])
async def test_a_cancelled_call_is_an_injected_fault(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        await resources.for_ever()

    functions = {"factory": Thing, "check": None, "reset": None} | {name: hangs}
    outside = Outside(Functions(closer=Thing.close, **functions), Random(1))  # type: ignore[arg-type]
    monkeypatch.setattr(_outside, "CANCELLED", 1.0)
    monkeypatch.setattr(_outside, "SLOW", 0.0)
    monkeypatch.setattr(_outside, "SLOWNESS", 0.01)
    monkeypatch.setitem(FAULTS, "factory", 0.0)
    thing = outside.living[0] = Thing()
    outside.living = {id(thing): thing}
    calls = {"factory": outside.create, "check": outside.check, "reset": outside.reset}
    arguments = () if name == "factory" else (thing,)
    with pytest.raises(InjectedError, match=f"{name} cancelled, on purpose"):
        await calls[name](*arguments)  # type: ignore[operator]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert outside.faults[f"{name} cancelled"] == 1
    counted = "creation failures" if name == "factory" else f"{name} failures"
    assert outside.counts[counted] == 1


async def test_a_cancellation_by_the_pool_is_no_injected_fault() -> None:
    outside = Outside(Functions(Thing, Thing.close, resources.for_ever), Random(1))
    thing = await outside.create()
    check = asyncio.create_task(outside.check(thing))
    await asyncio.sleep(0)
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    assert not outside.counts["check failures"]


async def test_a_function_that_awaits_what_is_cancelled_fails() -> None:
    async def awaits() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(ResourcePoolError, match="ended in a cancellation of its own"):
        await _outside.called(awaits)


async def test_a_resource_that_terminate_forgets_is_closed_by_its_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phase = Phase(PLAIN, LOAD, "terminate")
    users, outside = phase.users, phase.outside
    monkeypatch.setattr(_users, "MOMENTS", (0.2,))
    outside.random.random = lambda: 0.9  # type: ignore[method-assign]  # nothing goes wrong
    visit = asyncio.create_task(users.visit())
    while not users.held:
        await asyncio.wait([visit], timeout=0.001)
    [thing] = users.held.values()
    await users.terminate()
    assert not thing.closed
    await visit
    await asyncio.wait(users.others)
    assert thing.closed
    assert outside.counts["closed"] == outside.counts["made"] == 1
    assert not outside.counts["released"]
    assert outside.counts["forgotten"] == phase.pool.stats().forgotten == 1
    assert not outside.problems


async def test_each_problem_of_a_user_is_noticed() -> None:
    phase = Phase(PLAIN, LOAD, "close")
    users, outside = phase.users, phase.outside
    me: Any = asyncio.current_task()
    thing = Thing()
    outside.living[id(thing)] = users.held[id(thing)] = thing
    users.ended = True
    users.acquiring[me] = None
    await users.use(thing, "release", me)
    assert "acquired after closing had begun" in outside.problems[0]
    assert "given to two users at once" in outside.problems[1]
    users.ended = False
    users.judge(ResourcePoolClosedError("too early"))
    users.judge(KeyError("x"))
    assert outside.problems[2:] == [
        "a user got ResourcePoolClosedError: too early",
        "a user got KeyError: 'x'",
    ]
    assert [text.split(": ")[1] for text in phase.disagreements()] == [
        "stats() says acquired=0, outside it was 1",
        "stats() says released=0, outside it was 1",
        "stats() says closed=False, size=0",
    ]


async def test_a_second_release_that_is_not_refused_is_noticed() -> None:
    phase = Phase(PLAIN, LOAD, "close")
    users = phase.users
    users.random.random = lambda: 0.0  # type: ignore[method-assign]
    gone = Thing()

    class Lenient:
        async def release(self, _: Thing) -> None: ...

    users.pool = Lenient()  # type: ignore[assignment]
    await users.give_back(gone, "release")
    assert phase.outside.problems == ["a second release was not refused"]


async def test_wrong_numbers_are_noticed_while_the_users_run() -> None:
    phase = Phase(PLAIN, LOAD, "close")
    phase.outside.making = 1
    work = asyncio.create_task(asyncio.sleep(0.01))
    assert await watch_numbers(phase, work)
    assert "1 lived while stats() said 0" in phase.outside.problems


def test_a_task_that_does_not_end_is_abandoned_after_many_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stubborn() -> None:
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    monkeypatch.setattr(_resource, "ATTEMPTS", 1)
    monkeypatch.setattr(_resource, "GRACE", 0.01)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(stubborn())
        loop.run_until_complete(asyncio.sleep(0))
        _resource.drain(loop)
        assert not task.done()
        _resource.drain(loop)
        assert task.done()


def test_a_callback_that_tries_to_exit_is_over_before_the_loop_is_closed() -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.call_soon(resources.leaves)
        _resource.drain(loop)
        assert not asyncio.all_tasks(loop)


async def test_an_end_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end(_: Users) -> None:
        raise AssertionError("a contract, say")

    monkeypatch.setattr(Users, "close", end)
    monkeypatch.setattr(_resource, "GRACE", 0.1)
    phase = Phase(PLAIN, LOAD, "close")
    assert not await phase.run()
    assert phase.outside.problems[0].startswith(
        "AssertionError: a contract, say. These tasks are stuck:"
    )


async def test_numbers_that_break_a_contract_at_the_end_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stats(_: object) -> None:
        raise AssertionError("a contract, say")

    phase = Phase(PLAIN, LOAD, "close")
    assert await phase.run()
    assert not list(phase.disagreements())
    monkeypatch.setattr(type(phase.pool), "stats", stats)
    assert list(phase.disagreements()) == ["close: AssertionError: a contract, say"]
