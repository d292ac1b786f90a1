"""The only module of the tests that reads private state.

Tests ask it in plain terms: resources, states by name, numbers. When the pool's internals change,
this module changes with them, and no test does. It also passes on the private classes and functions
that tests use through their public methods.

Most functions take a pool or a machine. The states of a resource are "creating", "idle", "handed",
"checking", "held", "resetting", "closing" and "gone"; a waiter is "waiting", "handed" or "gone".
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from unittest import mock

from nodetool.concurrency import AsyncResourcePool, InvalidReleaseError, _contexts, _home
from nodetool.concurrency._contracts import CheckedMachine, GuaranteeViolationError
from nodetool.concurrency._counts import (
    Counts,
    Floor,
    Limits,
    Phase,
    closing_complete,
    coming,
    creations_to_start,
    may_wait,
    prunable,
    size,
    staying,
    tells_waiter,
)
from nodetool.concurrency._deadlines import weakly
from nodetool.concurrency._debug import DebugMachine
from nodetool.concurrency._listener import Listening, listening
from nodetool.concurrency._machine import PoolMachine
from nodetool.concurrency._records import NEVER, Place, Waiter
from nodetool.concurrency._records import Record as Slot
from nodetool.concurrency._shell import _resolve
from nodetool.concurrency._state import Acquired
from nodetool.concurrency.verify._following import STEPS
from nodetool.concurrency.verify._graph import MODELS, Graph
from nodetool.concurrency.verify._walk import World as MachineWorld
from nodetool.concurrency.verify._walk import first_difference

__all__ = [
    "DEBUG_MODULE",
    "LISTENER_MODULE",
    "MODELS",
    "NEVER",
    "STEPS",
    "Acquired",
    "CheckedMachine",
    "Counts",
    "DebugMachine",
    "Entries",
    "Floor",
    "Graph",
    "GuaranteeViolationError",
    "Limits",
    "Listening",
    "MachineWorld",
    "Phase",
    "PoolMachine",
    "Slot",
    "TimelessListening",
    "Waiter",
    "abandoned_closers",
    "after_each_start_of_closing",
    "as_in_a_forked_child",
    "assert_consistent",
    "assert_nothing_kept",
    "assert_nothing_left",
    "before_each_start_of_creations",
    "closing_complete",
    "coming",
    "context_tasks",
    "counts",
    "creations_to_start",
    "entries",
    "error_of",
    "expires_at",
    "first_difference",
    "fork_of_new_pools",
    "generation",
    "held_slots",
    "holder_of",
    "is_timer_of",
    "leave_running_loop",
    "limits_of",
    "listening",
    "listening_entries",
    "machine_kind",
    "machine_of",
    "machine_rules",
    "may_wait",
    "minimum_size_upkeep",
    "pending_timers",
    "phase",
    "pool_rules",
    "prunable",
    "refusal_of_unknown",
    "resource_of",
    "resources_at",
    "silence_pending",
    "size",
    "state_of",
    "states",
    "staying",
    "step_state",
    "take_decided",
    "take_work",
    "tells_waiter",
    "timers_of",
    "use_machine",
    "waiters",
    "waiting",
]

AnyPool: TypeAlias = AsyncResourcePool[Any] | PoolMachine[Any]

# Modules that are imported only by a pool that needs them.
DEBUG_MODULE = "nodetool.concurrency._debug"
LISTENER_MODULE = "nodetool.concurrency._listener"


# The machine of a pool.


def machine_of(pool: AnyPool) -> PoolMachine[Any]:
    """Return the state machine of a pool. A machine is its own."""
    return pool if isinstance(pool, PoolMachine) else pool._machine


def machine_kind(pool: AnyPool) -> str:
    """Say which machine a pool has: "plain", "debug", or the name of another class."""
    kind = type(machine_of(pool))
    return {PoolMachine: "plain", DebugMachine: "debug"}.get(kind, kind.__name__)


def use_machine(pool: AsyncResourcePool[Any], machine: PoolMachine[Any]) -> None:
    """Replace the machine of an unused pool."""
    pool._run_on(machine)


def limits_of(pool: AnyPool) -> Limits:
    """Return what bounds the numbers of a pool."""
    return machine_of(pool).limits


# State, in numbers and names.


def counts(pool: AnyPool) -> Counts:
    """Return the state of a pool in numbers, as the pool counts it."""
    return machine_of(pool).counts()


def phase(pool: AnyPool) -> str:
    """Return "open", "closing" or "closed"."""
    return machine_of(pool).phase.value


def minimum_size_upkeep(pool: AnyPool) -> str:
    """Say whether the pool keeps its minimum size: "off", "on" or "backoff"."""
    return machine_of(pool).floor.value


def generation(pool: AnyPool) -> int:
    """Return how often everything was retired; closing retires everything, too."""
    return machine_of(pool).generation


def states(pool: AsyncResourcePool[Any]) -> Counter[str]:
    """Count the slots in each state, by looking at each slot."""
    return Counter(slot.place.value for slot in _slots(pool))


def state_of(pool: AnyPool, resource: object) -> str:
    """Return the state of a resource; "gone" if the pool does not have it."""
    slot = machine_of(pool).leased.get(id(resource))
    return Place.GONE.value if slot is None else slot.place.value


def resources_at(pool: AnyPool, *where: str) -> list[Any]:
    """Return the resources that are in one of these states, in the order of creation."""
    slots = machine_of(pool).leased.values()
    return [slot.resource for slot in slots if slot.place.value in where]


def expires_at(pool: AnyPool, resource: object) -> float:
    """Return when `max_age` of a resource passes, by the clock of its loop."""
    return machine_of(pool).leased[id(resource)].expires_at


def held_slots(pool: AnyPool) -> list[Slot[Any]]:
    """Return the slots whose resource is held, for steps of the machine."""
    return [slot for slot in machine_of(pool).leased.values() if slot.place is Place.HELD]


def holder_of(pool: AnyPool, resource: object) -> str:
    """Return what debug mode says about the holder of a held resource."""
    machine = machine_of(pool)
    slot = machine.leased[id(resource)]
    assert slot.place is Place.HELD
    return machine.holder(slot)


def waiting(pool: AnyPool) -> int:
    """Count the acquirers that wait, by looking at each entry of the queue."""
    return len(waiters(pool))


def waiters(pool: AnyPool) -> list[Waiter[Any]]:
    """Return the acquirers that wait, in the order of service."""
    return [waiter for waiter in machine_of(pool)._queue if waiter.place is Place.WAITING]


# The subjects and effects of a machine's steps.


def step_state(subject: Slot[Any] | Waiter[Any]) -> str:
    """Return the state of a slot or a waiter."""
    return subject.place.value


def resource_of(subject: Slot[Any] | Waiter[Any]) -> Any:
    """Return the resource of a slot, or the one that a waiter was handed."""
    if isinstance(subject, Waiter):
        assert subject.record is not None
        return subject.record.resource
    return subject.resource


def error_of(waiter: Waiter[Any]) -> BaseException | None:
    """Return the error that ends the wait."""
    return waiter.error


def take_work(machine: PoolMachine[Any]) -> list[Slot[Any]]:
    """Take the slots whose factory or closer is to be called."""
    work, machine.work = machine.work, []
    return work


def take_decided(machine: PoolMachine[Any]) -> list[Waiter[Any]]:
    """Take the waiters that the last steps decided about, in order."""
    decided, machine.woken = machine.woken, []
    return decided


def refusal_of_unknown(machine: PoolMachine[Any]) -> InvalidReleaseError:
    """Return the error for giving back a resource that the machine does not have."""
    return machine.invalid_release(Place.GONE)


# Consistency.


def assert_consistent(pool: AsyncResourcePool[Any]) -> None:
    """Recount everything that the pool counts, by brute force; nothing may be half done."""
    machine = pool._machine
    assert not machine.woken, "decided waiters that were not woken"
    assert not machine.work, "work that was not started"

    slots = _slots(pool)
    assert len(set(slots)) == len(slots), "a slot is in two places"
    places = Counter(slot.place for slot in slots)
    total, idle = places.total(), places[Place.IDLE]
    in_use = sum(
        places[place] for place in (Place.HANDED, Place.CHECKING, Place.HELD, Place.RESETTING)
    )
    creating, closing = places[Place.CREATING], places[Place.CLOSING]
    waiting = waiters(pool)
    doomed = [slot for slot in pool._creations if slot.generation != machine.generation]
    shelf = [slot for slot in machine._shelf if slot.place is Place.IDLE]
    assert places[Place.GONE] == 0, "a slot is free and occupied"
    assert total == creating + idle + in_use + closing <= machine.limits.max_size
    assert machine.counts() == (
        *(creating, len(doomed), idle, in_use, closing, len(waiting)),
        *(machine.phase, machine.floor),
    ), "the counters differ from the recount"
    assert machine.held == places[Place.HELD], "what is in use and not held was miscounted"
    assert machine.released >= 0, "more leases have ended than began"
    assert creating <= machine.limits.max_creating
    assert len(shelf) == len(set(shelf)) == idle
    assert len(machine._shelf) - len(shelf) == machine._off_shelf
    assert all(id(slot.resource) == key for key, slot in machine.leased.items())
    assert machine.alive == Counter(slot.generation for slot in slots)

    stats = pool.stats()
    assert (stats.size, stats.idle, stats.in_use) == (total, idle, in_use)
    assert (stats.creating, stats.closing, stats.waiting) == (creating, closing, len(waiting))
    assert (pool.size, pool.available_count, pool.in_use_count) == (total, idle, in_use)
    assert stats.closed == pool.closed == (machine.phase is Phase.CLOSED)

    assert not (waiting and idle), "somebody sleeps beside an idle resource"
    assert creations_to_start(machine.limits, machine.counts()) == 0, "a creation is missing"
    assert all(slot.generation == machine.generation for slot in shelf), "an old one is idle"
    if machine.phase is Phase.OPEN:
        due = min((slot.expires_at for slot in shelf), default=NEVER)
        if prunable(machine.limits, machine.counts()):
            due = min(due, shelf[0].stale_at)
        assert due >= machine.deadline, "the sweep would come too late"
        assert not shelf or machine.deadline >= pool._sweep_at, "the timer would fire too late"
        assert machine.floor is not Floor.BACKOFF or pool._retry_timer is not None
    else:
        assert not waiting, "somebody waits for a pool that closes"
        assert not idle, "something is idle in a pool that closes"
        assert pool._sweep_timer is None
        assert pool._retry_timer is None
    assert (machine.phase is Phase.CLOSED) == (machine.phase is not Phase.OPEN and total == 0)


def assert_nothing_kept(pool: AsyncResourcePool[Any]) -> None:
    """Check that a closed pool remembers no resource, no task and no acquirer."""
    machine = pool._machine
    assert not pool._watchers, "somebody waits for a pool that is closed"
    assert not pool._creations
    assert not pool._abandoned
    assert not machine.leased
    assert not machine.alive
    assert not machine._shelf
    assert not machine._queue


def assert_nothing_left(pool: AsyncResourcePool[Any]) -> None:
    """Check that a closed pool keeps nothing, and that no timer of it is pending."""
    assert_nothing_kept(pool)
    left = timers_of(pool)
    assert not left, f"timers are left: {left}"


def _slots(pool: AsyncResourcePool[Any]) -> list[Slot[Any]]:
    return [*pool._creations, *pool._machine.leased.values()]


# Memory.


class Entries(NamedTuple):
    """How many entries the containers of a pool have, those of lazy deletion included."""

    queue: int  # for acquirers that wait
    idle: int  # for idle resources
    ages: int  # for the ends of `max_age`
    wait_deadlines: int  # for the deadlines of acquirers
    closer_deadlines: int  # for the deadlines of closers


def entries(pool: AnyPool) -> Entries:
    """Count the entries of a pool's containers. A machine alone has no deadlines."""
    machine = machine_of(pool)
    kept = [len(machine._queue), len(machine._shelf), len(machine._ages) + len(machine._early)]
    for name in ("_overdue_waiters", "_overdue_closers"):
        deadlines = getattr(pool, name, None)
        kept.append(0 if deadlines is None else len(deadlines.line) + len(deadlines._early))
    return Entries(*kept)


def abandoned_closers(pool: AsyncResourcePool[Any]) -> int:
    """Count the closers that were given up and still run."""
    return len(pool._abandoned)


class ListeningEntries(NamedTuple):
    """How much a pool with a listener remembers."""

    resources: int
    acquires: int
    events: int


def listening_entries(pool: AnyPool) -> ListeningEntries:
    """Count what a pool with a listener remembers about resources, acquires and events."""
    machine = machine_of(pool)
    assert isinstance(machine, Listening)
    return ListeningEntries(len(machine._tracks), len(machine._came), len(machine._events))


class TimelessListening:
    """A base before a listening machine: its clock stands still, and it can be pickled."""

    def __init__(self: Any, *args: Any, **options: Any) -> None:
        super().__init__(*args, listener=_ignore, **options)  # type: ignore[call-arg]
        self._clock = _standing_still


def _ignore(event: object) -> None:
    """Listen to an event, and do nothing."""


def _standing_still() -> float:
    return 0.0


def context_tasks() -> list[asyncio.Task[None]]:
    """Return the tasks that keep contexts of pools, of any loop."""
    return [*_contexts._tasks]


# Timers.


def pending_timers() -> list[asyncio.TimerHandle]:
    """Return the timers of the running loop that were not cancelled."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


def timers_of(pool: AsyncResourcePool[Any]) -> list[asyncio.TimerHandle]:
    """Return the pending timers of a pool, and those that limit a wait for any pool."""
    return [timer for timer in pending_timers() if is_timer_of(pool, timer)]


def is_timer_of(pool: AsyncResourcePool[Any], timer: Any) -> bool:
    """Tell whether a timer is one of the pool's, or limits a wait for any pool."""
    callback = timer._callback
    if callback is _resolve:
        return True
    if callback.__module__ != weakly.__module__:
        return False
    (cell,) = callback.__closure__
    method = cell.cell_contents()  # a weak reference
    owner = None if method is None else method.__self__
    return owner is pool or owner in (pool._overdue_waiters, pool._overdue_closers)


# Interruptions of a step, by garbage collection for example.


@contextmanager
def after_each_start_of_closing(hooks: list[Callable[[], None]]) -> Iterator[None]:
    """Call and drop the hooks in the middle of a step, once it has sent resources to the closer."""
    closes: Callable[..., None] = PoolMachine._close

    def close(machine: PoolMachine[Any], *slots: Any) -> None:
        closes(machine, *slots)
        while hooks:
            hooks.pop()()

    with mock.patch.object(PoolMachine, "_close", close):
        yield


@contextmanager
def before_each_start_of_creations(hooks: list[Callable[[], None]]) -> Iterator[None]:
    """Call and drop the hooks in the middle of a step, before it decides about creations."""
    settles: Callable[..., None] = PoolMachine._settle

    def settle(machine: PoolMachine[Any]) -> None:
        while hooks:
            hooks.pop()()
        settles(machine)

    with mock.patch.object(PoolMachine, "_settle", settle):
        yield


# Loops and processes.


@contextmanager
def as_in_a_forked_child(pool: AsyncResourcePool[Any]) -> Iterator[None]:
    """Treat the pool as a forked child does, and undo that at the end."""
    parent = {name: getattr(pool, name) for name in ("_loop", "_home", "_direct", "_shelf")}
    pool._leave_to_parent()
    try:
        yield
    finally:
        pool._forked = False
        for name, value in parent.items():
            setattr(pool, name, value)


@contextmanager
def fork_of_new_pools() -> Iterator[Callable[[], None]]:
    """Yield what is called in a forked child. It sees only the pools that are made meanwhile."""
    with mock.patch.object(_home, "_everybody", weakref.WeakSet()):
        yield _home._after_fork_in_child


def leave_running_loop() -> None:
    """Forget the running loop of this thread: a forked child is a copy of its parent's."""
    asyncio._set_running_loop(None)


def silence_pending(*tasks: asyncio.Task[Any]) -> None:
    """Let tasks of a closed loop be destroyed without a message."""
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


# Hypothesis. It is imported only when it is used, because it takes long.


def pool_rules(model: str, machine: type[PoolMachine[Any]] = PoolMachine) -> Any:
    """Return the rules that drive a pool within the bounds of a model."""
    from nodetool.concurrency.verify._rules import rules_for

    return rules_for(model, machine)


def machine_rules(machine: type[PoolMachine[Any]] = PoolMachine) -> tuple[Any, set[str]]:
    """Return the rules that drive a machine of any size, and the actions that they can take."""
    from nodetool.concurrency.verify._machine_rules import ACTIONS, machine_rules_for

    return machine_rules_for(machine), set(ACTIONS)
