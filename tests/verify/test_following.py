"""The follower reports the first step that the specification's graph does not have."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError
from nodetool.concurrency.verify._following import Follower, NotAnEdgeError, watch
from nodetool.concurrency.verify._graph import Graph
from nodetool.concurrency.verify._walk import SOON, Move, OutputError, World
from proofs.broken_machines import IgnoresResize, TimesOutAndStays, WakesNobodyAtHandOver
from tests.inside import (
    MACHINE,
    ChangesWhenRefused,
    Machine,
    PoolMachine,
    checked,
    is_tracked,
    machine_kind,
    machine_of,
    observed,
    observers_of,
    start_closing_silently,
)
from tests.verify.samples import untraced, walked_graph

CONSTANTS = {
    "Tasks": ("a", "b"),
    "Resources": (1, 2),
    "MaxSizes": (1, 2),
    "MinSizes": (0,),
    "MaxCreating": 1,
    "MaxWaiting": 2,
    "Ages": True,
    "Idles": False,
    "Checks": False,
    "CheckSkips": False,
    "Resets": True,
    "Fifo": False,
    "Retires": False,
    "Leaves": True,
}
TASKS = ("a", "b", "c")  # one more than the graph has


@cache
def graph() -> Graph:
    with untraced():
        return walked_graph(CONSTANTS)


class IgnoresClose(PoolMachine[Any]):
    """A machine that does nothing when it is to close."""

    def close(self) -> None:
        pass


class Crashes(PoolMachine[Any]):
    """A machine with an error of its own."""

    def discard(self, slot: Any, reason: str = "", error: BaseException | None = None) -> None:
        raise KeyError("no such thing")


class Driven:
    """A machine with a follower, and the tasks and the resources that the test makes moves with."""

    def __init__(self, machine: Machine = MACHINE, sizes: tuple[int, int] = (2, 0)) -> None:
        self.world = World(CONSTANTS | {"Tasks": TASKS}, sizes, observed(machine))
        self.machine = self.world.machine
        self.follower = Follower(graph(), lambda: self.world.now)

    def follow(self) -> None:
        """Look up every step from now on."""
        machine: Any = self.machine
        machine.observers = (self.follower,)

    def make(self, action: str, on: Any = None) -> None:
        """Make one move, on a task, on a resource or on the pool."""
        self.world.make(Move(action, on, SOON))

    def lease(self) -> None:
        """Let task "a" acquire a resource, which is created for it."""
        self.make("Acquire", "a")
        self.make("CreateSucceeded", 1)
        self.make("Resume", "a")
        assert self.world.got["a"] is self.world.named[1]


def following(machine: Machine = MACHINE, **options: Any) -> Driven:
    driven = Driven(machine, **options)
    driven.follow()
    return driven


@pytest.mark.parametrize("sizes", [(1, 0), (2, 0)])
def test_steps_of_the_specification_and_the_passing_of_time_are_followed(
    sizes: tuple[int, int],
) -> None:
    driven = following(sizes=sizes)
    driven.lease()
    driven.make("Sweep")  # changes nothing
    driven.make("Resize", sizes)  # changes nothing
    driven.make("GrowOld", 1)
    driven.make("Release", "a")
    driven.make("ResetPassed", 1)
    driven.make("Resize", (3 - sizes[0], 0))
    assert driven.follower.trail == [
        *("Acquire", "CreateSucceeded", "Resume", "Release", "ResetPassed", "Resize"),
    ]
    assert driven.follower.failure is None


def test_a_run_with_more_tasks_than_the_graph_is_followed_no_further() -> None:
    driven = following()
    follower = driven.follower
    assert follower.tasks_left() == 2
    driven.lease()
    assert follower.tasks_left() == 1
    driven.make("Acquire", "b")
    assert follower.tasks_left() == 0
    driven.make("Acquire", "c")
    assert follower.graph is None
    driven.make("Close")
    with pytest.raises(InvalidReleaseError):
        driven.make("ResetPassed", 1)
    assert follower.unfollowed == 2
    assert follower.trail[-2:] == ["Resume", "Acquire"]


def test_a_run_must_begin_in_an_initial_state() -> None:
    driven = Driven()
    driven.make("Open")
    driven.follow()
    with pytest.raises(NotAnEdgeError, match="time made"):
        driven.make("Acquire", "a")
    with pytest.raises(NotAnEdgeError, match="time made"):
        following(sizes=(3, 0)).make("Acquire", "a")


def test_a_change_between_steps_that_time_cannot_make_is_reported() -> None:
    driven = following()
    driven.lease()
    machine: Any = driven.machine
    start_closing_silently(machine)
    with pytest.raises(NotAnEdgeError, match="time made"):
        driven.make("Acquire", "b")


@pytest.mark.parametrize(
    ("machine", "moves", "error", "said"),
    [
        (TimesOutAndStays, [("Acquire", "a"), ("Cancel", "a")], NotAnEdgeError, "Cancel is no"),
        (
            WakesNobodyAtHandOver,
            [("Acquire", "a"), ("CreateSucceeded", 1)],
            OutputError,
            "CreateSucceeded: decided_are_woken",
        ),
        (IgnoresClose, [("Acquire", "a"), ("Close", None)], OutputError, "waiters_fail"),
        (IgnoresClose, [("Open", None), ("Close", None)], NotAnEdgeError, "Close did nothing"),
        (IgnoresResize, [("Resize", (1, 0))], NotAnEdgeError, "Resize did nothing"),
        (
            ChangesWhenRefused,
            [("Acquire", "a"), ("CreateSucceeded", 1), ("Release", 1)],
            NotAnEdgeError,
            "Release was refused but changed",
        ),
        (
            Crashes,
            [("Acquire", "a"), ("CreateSucceeded", 1), ("Resume", "a"), ("Discard", "a")],
            KeyError,
            "no such thing",
        ),
    ],
)
def test_a_wrong_step_is_reported_and_kept(
    machine: Machine, moves: list[tuple[str, Any]], error: type[Exception], said: str
) -> None:
    driven = following(machine)
    for move in moves[:-1]:
        driven.make(*move)
    assert driven.follower.failure is None
    with pytest.raises(error, match=said) as info:
        driven.make(*moves[-1])
    assert driven.follower.failure is info.value


def test_a_refused_step_that_changes_nothing_is_right() -> None:
    driven = following()
    driven.lease()
    driven.make("Release", "a")
    with pytest.raises(InvalidReleaseError):
        driven.make("Release", 1)
    assert driven.follower.failure is None


def test_only_a_call_that_is_allowed_at_any_time_may_do_nothing() -> None:
    follower, state = Follower(graph(), float), graph().initial
    limits = state.max_size, state.min_size
    assert follower.may_do_nothing("Resize", limits, state)
    assert not follower.may_do_nothing("Resize", (9, 0), state)
    assert follower.may_do_nothing("Sweep", (), state)
    assert not follower.may_do_nothing("Acquire", (), state)


def test_an_unused_pool_can_be_watched_in_addition() -> None:
    pool = AsyncResourcePool(object, max_size=1, debug=True, listener=print)
    assert machine_kind(pool) == "debug, listened to"
    observers = observers_of(pool)
    machine = watch(pool, Follower(graph(), float))
    assert machine is machine_of(pool)
    assert observers_of(pool) == [*observers, Follower]
    assert is_tracked(pool)
    assert machine_kind(pool) == "debug, listened to"

    plain = AsyncResourcePool(object, max_size=1)
    watch(plain, Follower(graph(), float), kind=TimesOutAndStays, contracts=True)
    assert type(machine_of(plain)) is observed(checked(TimesOutAndStays))


async def test_a_pool_that_was_used_cannot_be_watched() -> None:
    async with AsyncResourcePool(object, max_size=1) as pool:
        await pool.release(await pool.acquire())
        with pytest.raises(ValueError, match="was used already: watch it before its first use"):
            watch(pool, Follower(graph(), float))
