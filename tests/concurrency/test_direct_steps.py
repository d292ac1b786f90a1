"""What the shell does itself, without a call of the machine, is what the machine would do.

The machine's whole graph is walked with its `acquire`, `resume` and `release` taken by the shell
wherever the shell takes them directly: it must be the specification's, and what is left behind the
same to the last byte as after the machine's own step.
"""

from __future__ import annotations

import pickle
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Generator
from functools import cache
from math import inf
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place, Record, Waiter
from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._walk import first_difference, walk
from tests.concurrency.world import World, played
from tests.virtual_time import turns

frozen = cache(Graph.frozen)

PLAIN = [  # the models in which nothing is checked or reset; but not Deep, which is like Wide
    name
    for name in FROZEN
    if name != "Deep" and not (frozen(name).constants["Checks"] or frozen(name).constants["Resets"])
]

Acquired = Record[int] | Waiter[int]


class NotDirectError(Exception):
    """The shell asked the machine."""


class WaitsError(Exception):
    """The shell put a waiter into the queue, and awaits its future now."""


class Unresolved:
    """A waiter's future that has no result."""

    def __await__(self) -> Generator[Unresolved, None, None]:
        yield self


class Woken:
    """A waiter's future that has its result: to await it takes no time."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def set_result(self, _: None) -> None:
        """It was handed over directly, not amid the acquire's first step."""

    def __await__(self) -> Generator[None, None, Any]:
        return self.result
        yield


class Asleep:
    """A waiter's future. What it is resolved with is noted as the machine notes whom it woke."""

    def __init__(self, waiter: Waiter[int], machine: PoolMachine[int]) -> None:
        self.waiter, self.machine = waiter, machine

    def set_result(self, record: Record[int]) -> None:
        assert record is self.waiter.record
        self.machine.woken.append(self.waiter)


class ByTheShell(PoolMachine[int]):
    """A machine whose steps the shell takes, if it takes them directly."""

    asked = False  # by the shell: it does not take this step itself
    # Of the class:
    taken: Counter[str]  # how often the shell did, and how often it did not
    timed: bool  # whether anything has a limit
    turned_away: bool  # whether so many may come that some are

    def acquire(self, now: float) -> Acquired:
        if self.asked:
            raise NotDirectError
        got: Acquired = self.same_as_the_shell("acquire", now)
        return got

    def resume(self, waiter: Waiter[int], now: float) -> Any:
        if self.asked:
            raise NotDirectError
        return self.same_as_the_shell("resume", now, waiter)

    def release(self, record: Record[int], now: float) -> None:
        if self.asked:
            raise NotDirectError
        self.same_as_the_shell("release", now, record)

    def same_as_the_shell(self, step: str, now: float, *subject: Any) -> Any:
        machines_own: Callable[..., Any] = getattr(PoolMachine, step)
        twin, *of_twin = copied((self, *subject))
        pool = self.shell(now)
        self.asked = True
        outcome = "direct"
        try:
            if subject and subject[0].place in (Place.CREATING, Place.GONE):
                raise NotDirectError  # there is no resource to give back, or to get
            self.by_the_shell(pool, step, *subject)
        except NotDirectError:
            outcome = "asked"
        except WaitsError:
            outcome = "waits"
        finally:
            del self.asked
            pool._forked = True  # it is left as it is, without a warning
        if step == "release" and self.woken:
            outcome = "hands over"
        self.taken[f"{step}, {outcome}"] += 1
        if outcome == "asked":
            return machines_own(self, *subject, now)
        got = machines_own(twin, *of_twin, now)
        assert pickle.dumps(copied(self)) == pickle.dumps(copied(twin))
        if outcome == "waits":
            return self._queue[-1]
        return self.leased[id(got.resource)] if got is not None else None

    def shell(self, now: float) -> Any:
        pool: Any = AsyncResourcePool(int)
        pool._run_on(self)
        pool._shelf = self._shelf
        pool._look_for_old()
        pool._full = inf if self.turned_away else self.limits.max_size
        pool._timed, pool._clock = self.timed, lambda: now
        pool._age_clock = pool._clock if self.timed else None
        pool._sweep_at = self.deadline
        pool._home = SimpleNamespace(_thread_id=get_ident())
        pool._line, pool._create_future = deque(), Unresolved
        pool._acquisition_timeout = inf
        return pool

    def by_the_shell(self, pool: Any, step: str, *subject: Any) -> None:
        match step:
            case "acquire":
                self.acquires(pool)
            case "resume":
                self.resumes(pool, *subject)
            case "release":
                for waiter in self._queue:
                    waiter.future = Asleep(waiter, self)  # type: ignore[assignment]
                everybody = [*self._queue]
                try:
                    self.releases(pool, *subject)
                finally:
                    for waiter in everybody:
                        del waiter.future

    def acquires(self, pool: Any) -> None:
        begun(pool, pool.acquire())

    def resumes(self, pool: Any, waiter: Waiter[int]) -> None:
        """The rest of an acquire that has waited, and was handed a record directly."""
        waits = SimpleNamespace(acquire=lambda _: waiter, resume=refuse, work=[], size=0)
        waits.deadline, waits.pending, waits.acquired = -inf, self.pending, self.acquired
        pool._machine, pool._shelf, pool._acquisition_timeout = waits, deque(), inf
        pool._create_future = lambda: Woken(waiter.record)
        try:
            ended(pool.acquire())
        finally:
            self.pending, self.acquired = waits.pending, waits.acquired
            del waiter.future

    def releases(self, pool: Any, record: Record[int]) -> None:
        ended(pool.release(record.resource))


class InAContext(ByTheShell):
    """The same, by `acquire_context`."""

    def acquires(self, pool: Any) -> None:
        context = pool.acquire_context()
        begun(pool, context.__aenter__())
        assert context._record.lease is context
        context._record.lease = None  # the machine knows of no contexts

    def releases(self, pool: Any, record: Record[int]) -> None:
        if record.place is not Place.HELD:
            raise NotDirectError
        context = pool.acquire_context()
        context._record, record.lease = record, context
        try:
            ended(context.__aexit__(None, None, None))
        except NotDirectError:
            record.lease = None
            raise


def refuse(*_: Any) -> Any:
    raise NotDirectError


def copied(what: Any) -> Any:
    return pickle.loads(pickle.dumps(what))


def ended(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run it; it does not wait for anything."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def begun(pool: Any, acquire: Coroutine[Any, Any, Any]) -> None:
    """Run an acquire to its end, or until it waits; what it leaves behind is in the queue."""
    try:
        acquire.send(None)
    except StopIteration:
        return
    del pool._queue[-1].future
    machine = pool._machine
    waits = {"cancel": lambda *_: None, "cancelled": 1, "work": [], "woken": [], "deadline": inf}
    pool._machine = SimpleNamespace(**waits)  # it goes on waiting, for all that the machine knows
    acquire.close()
    pool._machine = machine
    raise WaitsError


@pytest.mark.guarantees("SingleHolder", "NoDoubleRelease", "OnlyFitHandedOut", "CountsAgree")
@pytest.mark.parametrize("limits", ["timed", "untimed"])
@pytest.mark.parametrize("way", [ByTheShell, InAContext])
@pytest.mark.parametrize("model", PLAIN)
def test_what_the_shell_does_itself_is_the_machine_s_step(
    model: str, way: type[ByTheShell], limits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants: dict[str, Any] = dict(frozen(model).constants)
    turned_away = constants["MaxWaiting"] < len(constants["Tasks"])
    monkeypatch.setattr(way, "taken", Counter(), raising=False)
    monkeypatch.setattr(way, "timed", limits == "timed", raising=False)
    monkeypatch.setattr(way, "turned_away", turned_away, raising=False)
    if limits == "timed":
        assert first_difference(frozen(model), way) is None
    else:  # no model of this size is without: the machine alone must do
        constants |= {"Ages": False, "Idles": False}
        assert dict(walk(constants, way)) == dict(walk(constants))
    expected = {"acquire, direct", "acquire, asked", "resume, direct", "resume, asked"}
    expected |= {"release, direct", "release, asked", "release, hands over"}
    if not turned_away:
        expected.add("acquire, waits")
    assert set(way.taken) == expected, way.taken


@played
async def test_while_something_old_is_left_nothing_comes_back_directly(world: World) -> None:
    pool = world.pool(max_size=2)
    old, young = await pool.acquire(), await pool.acquire()
    await pool.release(young)
    assert pool._direct
    await pool.retire_all()
    assert not pool._direct
    await turns()
    assert (pool.size, pool._direct) == (1, False)
    await pool.release(old)
    assert pool.stats().idle == 0, "it is closed"
    await turns()
    assert (pool.size, pool._direct) == (0, True)
