"""Pools that are checked while they are explored."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from nodetool.concurrency import AsyncResourcePool, _options
from nodetool.concurrency import _guarantees as g
from nodetool.concurrency._counts import Limits
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import NEVER
from nodetool.concurrency.verify._following import Following
from nodetool.concurrency.verify._graph import FROZEN, Graph

__all__ = ["GUARANTEES", "GuaranteeError", "Registered", "numbered_from_one"]

GUARANTEES: tuple[Callable[[g.Machine], bool], ...] = (
    g.size_within_limit,
    g.single_holder,
    g.nothing_lost,
    g.nothing_after_close,
    g.one_outcome,
    g.counts_agree,
    g.close_waits,
    g.no_lost_wakeup,
    g.floor_kept,
)
"""What holds in every state of a machine."""

frozen = cache(Graph.frozen)


class GuaranteeError(AssertionError):
    """A pool is in a state that one of its guarantees excludes."""


class NotFollowedError(AssertionError):
    """A run has left the bounds of the model: its steps can no longer be looked up."""


@cache
def following(kind: type[PoolMachine[Any]]) -> type[Following]:
    """The same machine, whose steps are looked up."""
    return type(f"Followed{kind.__name__}", (Following, kind), {})


class Registered:
    """A pool, and the graph that its steps are looked up in."""

    def __init__(
        self, pool: AsyncResourcePool[Any], model: str | None, clock: Callable[[], float]
    ) -> None:
        if not isinstance(pool, AsyncResourcePool):
            raise TypeError(f"only an AsyncResourcePool can be checked, not {pool!r}")
        self.pool = pool
        self.followed: Following | None = None
        if model is not None:
            self.followed = _follow(pool, model, clock)

    @property
    def steps(self) -> list[str]:
        """The actions of the specification that were taken."""
        return [] if self.followed is None else self.followed.trail

    def failure(self) -> Exception | None:
        """What a step went wrong with, even if the scenario has caught it."""
        followed = self.followed
        if followed is None:
            return None
        if followed.failure is None and followed.graph is None:
            return NotFollowedError("the model has fewer tasks than use the pool: use another")
        return followed.failure

    def check_state(self) -> None:
        """Do all guarantees hold now, between two callbacks?"""
        machine = self.pool._machine
        broken = [holds.__name__ for holds in GUARANTEES if not holds(machine)]
        if broken:
            raise GuaranteeError(f"{' and '.join(broken)} violated by {self.pool!r}")
        if machine.idle and machine.deadline < self.pool._sweep_at:
            raise GuaranteeError(f"what is idle is closed too late in {self.pool!r}")


def _follow(pool: AsyncResourcePool[Any], model: str, clock: Callable[[], float]) -> Following:
    if model not in FROZEN:
        raise ValueError(f"there is no model {model!r}: use one of {', '.join(FROZEN)}")
    graph, bare = frozen(model), pool._machine
    c: Any = graph.constants
    limits = Limits(c["MaxSize"], c["MinSize"], c["MaxCreating"], c["MaxWaiting"])
    is_allowed = (
        bare.limits == limits
        and (bare.check_after_idle is not None) == c["Checks"]
        and bare.resets == c["Resets"]
        and (c["Idles"] or bare.max_idle_time == NEVER)
        and (c["Ages"] or pool._max_age == NEVER)
    )
    if not is_allowed or bare.acquired or bare.size:
        raise ValueError(
            f"the model {model} is of an unused pool with {limits}, "
            f"check {c['Checks']}, reset {c['Resets']}, "
            f"max_idle_time {c['Idles']}, max_age {c['Ages']}"
        )
    kind: Any = type(bare)
    machine = following(kind)(
        bare.name,
        bare.limits,
        max_idle_time=bare.max_idle_time,
        check_after_idle=bare.check_after_idle,
        resets=bare.resets,
    )
    pool._run_on(machine)
    machine.follow(graph, clock)
    return machine


@contextmanager
def numbered_from_one() -> Iterator[None]:
    """Number the pools without a name anew, so that they have the same names in every run."""
    numbers, _options._numbers = _options._numbers, itertools.count(1)
    try:
        yield
    finally:
        _options._numbers = numbers
