"""What the shell does itself, without a call of the machine, is what the machine would do.

The machine's whole graph is walked with its `acquire` and `release` taken by the shell wherever
the shell takes them directly: it must be the specification's, and what is left behind the same to
the last byte as after the machine's own step.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import cache
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import Place, Record, Waiter
from nodetool.concurrency.verify._graph import FROZEN, Graph
from nodetool.concurrency.verify._walk import first_difference

frozen = cache(Graph.frozen)

PLAIN = [  # the models in which nothing is checked or reset; but not Deep, which is like Wide
    name
    for name in FROZEN
    if name != "Deep" and not (frozen(name).constants["Checks"] or frozen(name).constants["Resets"])
]

Acquired = Record[int] | Waiter[int]


class NotDirectError(Exception):
    """The shell asked the machine."""


class ByTheShell(PoolMachine[int]):
    """A machine whose steps the shell takes, if it takes them directly."""

    asked = False  # by the shell: it does not take this step itself
    taken: Counter[str]  # of the class: how often the shell did, and how often it did not

    def acquire(self, now: float) -> Acquired:
        if self.asked:
            raise NotDirectError
        got: Acquired = self.same_as_the_shell("acquire", now)
        return got

    def release(self, record: Record[int], now: float) -> None:
        if self.asked:
            raise NotDirectError
        self.same_as_the_shell("release", now, record)

    def same_as_the_shell(self, step: str, now: float, *record: Record[int]) -> Any:
        machines_own: Callable[..., Any] = getattr(PoolMachine, step)
        twin, *of_twin = copied((self, *record))
        pool = self.shell(now)
        self.asked = True
        direct = True
        try:
            if record and record[0].place in (Place.CREATING, Place.GONE):
                raise NotDirectError  # there is no resource to give back
            self.by_the_shell(pool, step, *record)
        except NotDirectError:
            direct = False
        finally:
            del self.asked
            pool._forked = True  # it is left as it is, without a warning
        self.taken[f"{step}, {'direct' if direct else 'asked'}"] += 1
        if not direct:
            return machines_own(self, *record, now)
        got = machines_own(twin, *of_twin, now)
        assert pickle.dumps(copied(self)) == pickle.dumps(copied(twin))
        return self.leased[id(got.resource)] if got is not None else None

    def shell(self, now: float) -> AsyncResourcePool[int]:
        pool: AsyncResourcePool[int] = AsyncResourcePool(int)
        pool._run_on(self)
        pool._direct, pool._shelf = True, self._shelf
        pool._timed, pool._clock = True, lambda: now
        pool._sweep_at = self.deadline
        pool._home = SimpleNamespace(_thread_id=get_ident())
        return pool

    def by_the_shell(self, pool: Any, step: str, *record: Record[int]) -> None:
        ended(pool.acquire() if step == "acquire" else pool.release(record[0].resource))


class InAContext(ByTheShell):
    """The same, by `acquire_context`."""

    def by_the_shell(self, pool: Any, step: str, *record: Record[int]) -> None:
        context = pool.acquire_context()
        if step == "release":
            held = record[0]
            if held.place is not Place.HELD:
                raise NotDirectError
            context._lease, context._record = held.lease, held
        ended(context.__aenter__() if step == "acquire" else context.__aexit__(None, None, None))


def copied(what: Any) -> Any:
    return pickle.loads(pickle.dumps(what))


def ended(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run it; it does not wait for anything."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.mark.guarantees("SingleHolder", "NoDoubleRelease", "OnlyFitHandedOut", "CountsAgree")
@pytest.mark.parametrize("way", [ByTheShell, InAContext])
@pytest.mark.parametrize("model", PLAIN)
def test_what_the_shell_does_itself_is_the_machine_s_step(
    model: str, way: type[ByTheShell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "taken", Counter(), raising=False)
    assert first_difference(frozen(model), way) is None
    assert all(way.taken[f"{step}, direct"] > 0 for step in ("acquire", "release")), way.taken
    assert all(way.taken[f"{step}, asked"] > 0 for step in ("acquire", "release")), way.taken
