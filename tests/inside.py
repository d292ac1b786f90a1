"""The only module of the tests that reads private state.

Tests ask this module in plain terms: resources, states by name, numbers. When the pool's internals
change, this module changes with them, and no test does. It also passes on the private classes and
functions that tests use through their public methods.

Most functions take a pool or a machine. The states of a slot are "creating", "idle", "handed",
"checking", "held", "resetting", "closing" and "free". A waiter is "waiting", "handed" or "done".
Steps have the names of the specification's actions, as in "Release".
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, NamedTuple, TypeAlias
from unittest import mock

import pytest

from nodetool.concurrency import (
    AsyncResourcePool,
    InvalidReleaseError,
    ResourcePoolLoopError,
    _contexts,
)
from nodetool.concurrency import _options as options
from nodetool.concurrency import _trace_writer as trace_writing
from nodetool.concurrency._machine import counts as rules
from nodetool.concurrency._machine.containers import COMPACT_ABOVE, ExpiryQueue, LazyDeque
from nodetool.concurrency._machine.contracts import GuaranteeViolationError
from nodetool.concurrency._machine.contracts import checked as with_contracts
from nodetool.concurrency._machine.counts import (
    INVARIANTS,
    Counts,
    Event,
    Floor,
    Limits,
    Phase,
    closing_complete,
    creations_to_start,
    fails_waiter,
    may_wait,
    prunable,
    size,
    usable_size,
)
from nodetool.concurrency._machine.guarantees import (
    EVENTS,
    EVERY_STEP,
    GUARANTEES,
    RULES,
    STATE_PREDICATES,
    STEP_PREDICATES,
)
from nodetool.concurrency._machine.machine import REASONS, PoolMachine
from nodetool.concurrency._machine.observe import Observer, action, actions, make, observed
from nodetool.concurrency._machine.slots import (
    NEVER,
    Outbox,
    Slot,
    SlotState,
    Waiter,
    WaiterState,
)
from nodetool.concurrency._machine.snapshot import SLOT_FIELDS, capture, restore
from nodetool.concurrency._messages import LIMITS
from nodetool.concurrency._recorder import Numbers, Recorder, recorded
from nodetool.concurrency._runtime import binding as bindings
from nodetool.concurrency._runtime import work as works
from nodetool.concurrency._runtime.binding import Binding, owner_of, weak_callback
from nodetool.concurrency._runtime.callbacks import resolve
from nodetool.concurrency._runtime.conditions import (
    Condition,
    Conditions,
    fits,
    is_closed,
    is_filled,
)
from nodetool.concurrency._runtime.deadlines import Deadlines
from nodetool.concurrency._runtime.driver import FIRST_BACKOFF, LAST_BACKOFF, Driver
from nodetool.concurrency._runtime.long_waits import LongWaits
from nodetool.concurrency._runtime.work import (
    BATCH,
    Calls,
    Run,
    RunState,
    Work,
)
from nodetool.concurrency._tracking import Tracker, tracked
from nodetool.concurrency.listener import Events
from nodetool.concurrency.trace import TraceFile
from nodetool.concurrency.verify._following import Follower, watch
from nodetool.concurrency.verify._graph import MODELS, Graph
from nodetool.concurrency.verify._mapping import Mapping
from nodetool.concurrency.verify._walk import RefusalError, compare, expand
from nodetool.concurrency.verify._walk import World as MachineWorld

__all__ = [
    "BATCH",
    "COMPACT_ABOVE",
    "DEBUG_MODULE",
    "EVENTS",
    "EVERY_STEP",
    "FIRST_BACKOFF",
    "GUARANTEES",
    "INVARIANTS",
    "LAST_BACKOFF",
    "LIMITS",
    "LISTENER_MODULE",
    "MACHINE",
    "MISCOUNTING",
    "MODELS",
    "NEVER",
    "REASONS",
    "RULES",
    "SLOT_FIELDS",
    "STATE_PREDICATES",
    "STEPS",
    "STEP_PREDICATES",
    "UNTIDY",
    "Binding",
    "Calls",
    "ChangesWhenRefused",
    "ClosesAndClosesAgain",
    "ClosesNothingAtOpen",
    "ClosesWhatIsHeld",
    "Condition",
    "Conditions",
    "Counts",
    "Deadlines",
    "Driver",
    "Event",
    "Events",
    "ExpiryQueue",
    "Floor",
    "Follower",
    "Graph",
    "GuaranteeViolationError",
    "LazyDeque",
    "Limits",
    "LongWaits",
    "Machine",
    "MachineWorld",
    "Mapping",
    "Numbers",
    "Observer",
    "Outbox",
    "Phase",
    "PoolMachine",
    "RefusalError",
    "Run",
    "RunState",
    "ServesNewestFirst",
    "ServesTwoAtOnce",
    "Slot",
    "SlotState",
    "TakesAnyRelease",
    "Tracker",
    "Waiter",
    "WaiterState",
    "Work",
    "abandoned_closers",
    "action",
    "actions",
    "after_each_start_of_closing",
    "as_in_a_forked_child",
    "as_in_a_new_process",
    "assert_consistent",
    "assert_nothing_kept",
    "assert_nothing_left",
    "batches_of",
    "before_each_start_of_creations",
    "captured",
    "check_heap",
    "checked",
    "closed_gate",
    "closing_complete",
    "compare",
    "context_tasks",
    "contracted_steps",
    "contracts_of",
    "counts",
    "creations_to_start",
    "different_fields",
    "entries",
    "error_of",
    "event_entries",
    "expand",
    "expires_at",
    "fail_one_write",
    "fails_waiter",
    "fits",
    "fork_of_new_pools",
    "gate_always_open",
    "gate_is_closed",
    "generation",
    "has_check",
    "held_slots",
    "holder_of",
    "is_closed",
    "is_filled",
    "is_leased",
    "is_tracked",
    "leave_running_loop",
    "limits_of",
    "machine_kind",
    "machine_of",
    "machine_rules",
    "make",
    "may_wait",
    "minimum_size_upkeep",
    "new_machine",
    "next_sweep",
    "observed",
    "observed_pools",
    "observers_of",
    "owner_of",
    "pending_timers",
    "phase",
    "pool_rules",
    "prunable",
    "recorded_machine",
    "refusal_of_unknown",
    "replace_step",
    "resolve",
    "resource_of",
    "resources_at",
    "restore",
    "rules",
    "seed_jitter",
    "set_next_sweep",
    "silence_pending",
    "size",
    "start_closing_silently",
    "state_of",
    "states",
    "step_state",
    "steps",
    "take_decided",
    "take_work",
    "timers_of",
    "tracked_machine",
    "tune_traces",
    "usable_size",
    "use_machine_in_all_modes",
    "use_machine_in_verify",
    "use_machine_with_contracts",
    "wait_entries",
    "waiters",
    "waiting",
    "watch",
    "watch_numbers",
    "watchers",
    "without_clock",
]

AnyPool: TypeAlias = AsyncResourcePool[Any] | PoolMachine[Any]
Machine: TypeAlias = type[PoolMachine[Any]]

MACHINE: Machine = PoolMachine
"""The state machine of every pool."""

STEPS = actions(PoolMachine)
"""The steps of the machine: method name to action name."""

# Modules that are imported only by a pool that needs them.
PACKAGE = "nodetool.concurrency"
DEBUG_MODULE = f"{PACKAGE}._machine.contracts"
LISTENER_MODULE = f"{PACKAGE}.listener"


# Machines, chosen and combined.


def machine_of(pool: AnyPool) -> PoolMachine[Any]:
    """Return the state machine of a pool. A machine is its own."""
    return pool if isinstance(pool, PoolMachine) else pool._machine


def machine_kind(pool: AnyPool) -> str:
    """Name the machine of a pool: "bare", "debug", "tracked" and so on, or its class."""
    names = {
        "PoolMachine": "bare",
        "ListenedPoolMachine": "listened to",
        "ObservedPoolMachine": "listened to",
        "TrackedCheckedPoolMachine": "debug",
        "TrackedPoolMachine": "tracked",
        "ListenedTrackedCheckedPoolMachine": "debug, listened to",
        "ObservedTrackedCheckedPoolMachine": "debug, listened to",
    }
    name = type(machine_of(pool)).__name__
    return names.get(name, name)


def new_machine(
    name: str,
    max_size: int,
    *,
    kind: Machine = PoolMachine,
    observers: tuple[Observer, ...] = (),
    **options: Any,
) -> PoolMachine[Any]:
    """Make a machine that observers watch."""
    limits = Limits(max_size, None)
    made: PoolMachine[Any] = make(kind, observers, name, limits, max_size=max_size, **options)
    return made


def checked(machine: Machine = PoolMachine) -> type[Any]:
    """Return the subclass of a machine whose steps check their contracts."""
    made: type[Any] = with_contracts(machine)
    return made


def use_machine_with_contracts(pool: AsyncResourcePool[Any], machine: Machine) -> None:
    """Replace the machine of an unused pool by one of this class that checks its contracts."""
    watch(pool, kind=machine, contracts=True)


def tracked_machine(
    name: str,
    max_size: int,
    leak_threshold: float = NEVER,
    *,
    stacks: bool,
    refuses: bool,
    **options: Any,
) -> tuple[PoolMachine[Any], Tracker]:
    """Make a machine and the tracker of its leases, for the running loop if there is one."""
    binding = Binding(name)
    with suppress(ResourcePoolLoopError):
        binding.bind()
    tracker = Tracker(binding, leak_threshold, stacks=stacks, refuses=refuses)
    machine = new_machine(name, max_size, kind=tracked(PoolMachine), **options)
    tracker.track(machine)
    return machine, tracker


def is_tracked(pool: AnyPool) -> bool:
    """Tell whether a pool tracks its leases."""
    return getattr(machine_of(pool), "tracker", None) is not None


def recorded_machine(
    machine: Machine, trace: TraceFile, clock: Callable[[], float]
) -> Callable[..., PoolMachine[Any]]:
    """Return a function that makes machines of this class whose steps a trace records."""

    def made(name: str, *args: Any, **options: Any) -> PoolMachine[Any]:
        binding = Binding(name)
        binding.clock = clock
        new: PoolMachine[Any] = recorded(machine)(name, *args, **options)
        Recorder(trace._writer, binding).attach(new)
        return new

    return made


def captured(machine: PoolMachine[Any], numbers: Numbers) -> dict[str, Any]:
    """Return the snapshot of a machine. Number its new slots."""
    for slot in (*machine.outbox.work, *machine.slots()):
        numbers.of(slot)
    for slot in [slot for slot in numbers.known if slot.state is SlotState.FREE]:
        del numbers.known[slot]
    return capture(machine, numbers.known)


def different_fields(one: PoolMachine[Any], other: PoolMachine[Any]) -> list[str]:
    """Return the fields of unused machines that differ. Containers are objects of their own."""
    containers = {"_outbox", "_unchecked", "_ready", "_queue", "_ages"}
    fields = sorted({*PoolMachine.__slots__} - containers)
    return [name for name in fields if getattr(one, name) != getattr(other, name)]


def tune_traces(patch: pytest.MonkeyPatch, **constants: Any) -> None:
    """Set constants of the writer of traces, or replace names that it uses."""
    for name, value in constants.items():
        patch.setattr(trace_writing, name, value)


def fail_one_write(patch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the writer of traces fail at one call of a pool, counted from 0."""
    calls = count()

    def failing(bare: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
        def write(writer: Any, line: str) -> None:
            if next(calls) == number:
                raise error
            bare(writer, line)

        return write

    for name in ("write", "write_state"):
        bare = getattr(trace_writing.TraceWriter, name)
        patch.setattr(trace_writing.TraceWriter, name, failing(bare))


def as_in_a_new_process(trace: TraceFile) -> None:
    """Let a trace believe that its process was forked. A forked child has no other threads."""
    writer = trace._writer
    for event in (writer._closing, writer._has_lines, writer._hurry):
        event.set()
    assert writer._thread is not None
    writer._thread.join()
    trace_writing._restart_after_fork()


def observers_of(pool: AnyPool) -> list[type[Observer]]:
    """Return the kinds of the observers that watch the steps of a pool."""
    return [type(observer) for observer in getattr(machine_of(pool), "observers", ())]


def use_machine_in_all_modes(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let new pools run on this machine, in debug mode and with listeners, too."""
    patch.setattr(options, "machine", lambda *_: options.Watched(machine, None, None, NEVER))


def use_machine_in_verify(patch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let the command `python -m nodetool.concurrency.verify` check this machine."""
    patch.setattr("nodetool.concurrency.verify.__main__.PoolMachine", machine)


def replace_step(
    patch: pytest.MonkeyPatch, machine: PoolMachine[Any], step: str, by: Callable[..., Any]
) -> None:
    """Let a step of one machine do something else."""
    methods = {action: method for method, action in STEPS.items()}
    patch.setattr(machine, methods[step], by)


def steps() -> set[str]:
    """Return the names of all methods of the machine that take a step."""
    return set(STEPS)


def contracted_steps() -> set[str]:
    """Return the names of all methods of the machine that have contracts."""
    return {step for step in STEPS if contracts_of(step)}


def contracts_of(step: str) -> list[str]:
    """Return the guarantees that a step has contracts for. `__invariants__` is for every state."""
    checked_step = vars(checked())[step]
    contracts = (
        checked_step
        if step == "__invariants__"
        else getattr(checked_step, "__postconditions__", ())
    )
    return [contract.description for contract in contracts]


def seed_jitter(seed: int) -> None:
    """Let the random parts of `max_age` follow from a seed."""
    options.generator().seed(seed)


def limits_of(pool: AnyPool) -> Limits:
    """Return the limits on the numbers of a pool."""
    return machine_of(pool).limits


# State, in numbers and names.


def counts(pool: AnyPool) -> Counts:
    """Return the state of a pool in numbers, as the pool counts it."""
    return machine_of(pool).counts()


def phase(pool: AnyPool) -> str:
    """Return "open", "closing" or "closed"."""
    return counts(pool).phase.value


def minimum_size_upkeep(pool: AnyPool) -> str:
    """Return the state of the upkeep of the minimum size: "off", "on" or "backoff"."""
    return counts(pool).floor.value


def generation(pool: AnyPool) -> int:
    """Return how often everything was retired. Closing retires everything, too."""
    return machine_of(pool)._generation


def states(pool: AsyncResourcePool[Any]) -> Counter[str]:
    """Count the slots in each state, by looking at each slot."""
    return Counter(slot.state.value for slot in _slots(pool))


def state_of(pool: AnyPool, resource: object) -> str:
    """Return the state of a resource; "free" if the pool does not have it."""
    slot = machine_of(pool)._slots.get(id(resource))
    return SlotState.FREE.value if slot is None else slot.state.value


def resources_at(pool: AnyPool, *where: str) -> list[Any]:
    """Return the resources that are in one of these states, in the order of creation."""
    return [slot.resource for slot in machine_of(pool).slots() if slot.state.value in where]


def expires_at(pool: AnyPool, resource: object) -> float:
    """Return when `max_age` of a resource passes, by the clock of its loop."""
    return machine_of(pool)._slots[id(resource)].expires_at


def held_slots(pool: AnyPool) -> list[Slot[Any]]:
    """Return the slots whose resource is held, for steps of the machine."""
    return [slot for slot in machine_of(pool).slots() if slot.state is SlotState.HELD]


def holder_of(pool: AsyncResourcePool[Any], resource: object) -> str:
    """Return what debug mode says about the holder of a held resource."""
    slot = pool._machine._slots[id(resource)]
    assert slot.state is SlotState.HELD
    tracker = pool._watched.tracker
    assert tracker is not None
    return tracker.holder(slot)


def waiting(pool: AnyPool) -> int:
    """Count the acquirers that wait, by looking at each entry of the queue."""
    return len(waiters(pool))


def waiters(pool: AnyPool) -> list[Waiter[Any]]:
    """Return the acquirers that wait, in the order of service."""
    return [w for w in machine_of(pool)._queue if w.state is WaiterState.WAITING]


def is_leased(machine: PoolMachine[Any], resource: object) -> bool:
    """Tell whether the machine has a slot for this resource."""
    return id(resource) in machine._slots


def next_sweep(machine: PoolMachine[Any]) -> float:
    """Return the time at which a sweep can find something."""
    return machine._deadline


def set_next_sweep(machine: PoolMachine[Any], time: float) -> None:
    """Let the machine believe that no sweep finds anything before this time."""
    machine._deadline = time


def start_closing_silently(machine: PoolMachine[Any]) -> None:
    """Change the phase to "closing" without taking a step."""
    machine._phase = Phase.CLOSING


def has_check(pool: AsyncResourcePool[Any]) -> bool:
    """Tell whether the pool was given a check."""
    return bool(pool._machine.options()["check_after_idle"] is not None)


# The subjects and effects of a machine's steps.


def step_state(subject: Slot[Any] | Waiter[Any]) -> str:
    """Return the state of a slot or a waiter."""
    state: str = subject.state.value
    return state


def resource_of(subject: Slot[Any] | Waiter[Any]) -> Any:
    """Return the resource of a slot, or the one that a waiter was handed."""
    if isinstance(subject, Waiter):
        assert subject.slot is not None
        return subject.slot.resource
    return subject.resource


def error_of(waiter: Waiter[Any]) -> BaseException | None:
    """Return the error that ends the wait."""
    return waiter.error


def take_work(machine: PoolMachine[Any]) -> list[Slot[Any]]:
    """Take the slots whose factory or closer is to be called."""
    work = list(machine.outbox.work)
    machine.outbox.work.clear()
    return work


def take_decided(machine: PoolMachine[Any]) -> list[Waiter[Any]]:
    """Take the waiters that the last steps decided about, in order."""
    decided = list(machine.outbox.woken)
    machine.outbox.woken.clear()
    return decided


def refusal_of_unknown(machine: PoolMachine[Any]) -> InvalidReleaseError:
    """Return the error for giving back a resource that the machine does not have."""
    return machine.invalid_release(SlotState.FREE)


# Consistency.


def assert_consistent(pool: AsyncResourcePool[Any]) -> None:
    """Recount everything that the pool counts, by brute force. Nothing may be half done."""
    machine, driver = pool._machine, pool._driver
    assert not machine.outbox.woken, "decided waiters that were not woken"
    assert not machine.outbox.work, "work that was not started"
    assert not driver.busy, "the gate is closed between two steps"
    assert not driver.deferred, "a deferred call was forgotten"
    assert not driver._returning, "a deferred return was forgotten"

    slots = _slots(pool)
    assert len(set(slots)) == len(slots), "a slot is in two places"
    found = Counter(slot.state for slot in slots)
    total = found.total()
    waiting = waiters(pool)
    c = machine.counts()
    current = machine._generation
    retired = Counter(slot.state for slot in slots if slot.generation != current)
    ready = [slot for slot in machine._ready if slot.state is SlotState.IDLE]
    unchecked = [slot for slot in machine._unchecked if slot.state is SlotState.IDLE]
    assert found[SlotState.FREE] == 0, "a slot is free and occupied"
    assert machine.size() == total
    assert c == Counts(
        creating=found[SlotState.CREATING],
        retired_creations=retired[SlotState.CREATING],
        checking=found[SlotState.CHECKING],
        retired_checks=retired[SlotState.CHECKING],
        ready=len(ready),
        unchecked=len(unchecked),
        in_use=found[SlotState.HANDED] + found[SlotState.HELD],
        resetting=found[SlotState.RESETTING],
        closing=found[SlotState.CLOSING],
        waiting=len(waiting),
        disowned=c.disowned,
        max_size=pool.max_size,
        min_size=pool.min_size,
        phase=c.phase,
        floor=c.floor,
    ), "the counters differ from the recount"
    for name, holds in INVARIANTS.items():
        assert holds(machine.limits, c), name
    assert machine.held() == found[SlotState.HELD]
    kept = ready + unchecked
    assert len(set(kept)) == len(kept) == found[SlotState.IDLE]
    assert all(slot.ready for slot in ready)
    assert not any(slot.ready for slot in unchecked)
    assert not any(slot.generation != current for slot in kept), "an old one is idle"
    for queue, members in ((machine._ready, ready), (machine._unchecked, unchecked)):
        assert len(queue) - len(members) == queue.removed
    assert len(machine._queue) - len(waiting) == machine._queue.removed
    assert all(id(slot.resource) == key for key, slot in machine._slots.items())
    assert machine._alive == Counter(slot.generation for slot in slots)
    runs = {run.slot: run.kind for kind in LIMITS for run in pool._work.runs(kind)}
    assert runs == {
        slot: slot.state
        for slot in slots
        if slot.state in (SlotState.CREATING, SlotState.CHECKING)
        or slot.state in (SlotState.RESETTING, SlotState.CLOSING)
    }, "work is missing or is done for nothing"

    stats = pool.stats()
    assert (stats.size, stats.idle, stats.in_use) == (total, len(kept), c.in_use)
    assert (pool.size, pool.available_count, pool.in_use_count) == (total, len(kept), c.in_use)
    assert stats.size == sum(stats[stats._fields.index(name)] for name in GAUGES)
    assert stats.closed == pool.closed == (c.phase is Phase.CLOSED)
    leases = stats.released + stats.discarded + stats.interrupted
    assert stats.acquired == leases + stats.detached + stats.forgotten + machine.held()
    exist = stats.checking + stats.idle + stats.in_use + stats.resetting
    assert stats.created == exist + sum(getattr(stats, name) for name in WAYS_OF_LEAVING)
    if c.phase is Phase.OPEN:
        due = min((slot.expires_at for slot in kept), default=NEVER)
        if prunable(c):
            due = min(due, *(slot.stale_at for slot in kept))
        assert due >= machine._deadline, "the sweep would come too late"
        assert not kept or machine._deadline >= driver._sweep_at, "the timer would fire too late"
        assert c.floor is not Floor.BACKOFF or driver._retry_timer is not None
    else:
        assert driver._sweep_timer is None
        assert driver._retry_timer is None


GAUGES = ("creating", "checking", "idle", "in_use", "resetting", "closing")
WAYS_OF_LEAVING = (
    *("late", "expired", "pruned", "surplus", "discarded", "interrupted", "check_failed"),
    *("reset_failed", "retired", "closed_down", "detached", "forgotten"),
)


def assert_nothing_kept(pool: AsyncResourcePool[Any]) -> None:
    """Check that a closed pool remembers no resource, no task and no acquirer."""
    machine, driver, work = pool._machine, pool._driver, pool._work
    assert not driver._conditions.is_awaited, "a caller waits for a pool that is closed"
    assert not driver.deferred
    assert not driver._returning
    assert not any(map(work.runs, LIMITS))
    assert not work.abandoned()
    assert not work._queue
    assert not machine._slots
    assert not machine._alive
    assert not machine._ready
    assert not machine._unchecked
    assert not machine._queue


def assert_nothing_left(pool: AsyncResourcePool[Any]) -> None:
    """Check that a closed pool keeps nothing, and that no timer of it is pending."""
    assert_nothing_kept(pool)
    left = timers_of(pool)
    assert not left, f"timers are left: {left}"


def _slots(pool: AsyncResourcePool[Any]) -> list[Slot[Any]]:
    creating = [run.slot for run in pool._work.runs(SlotState.CREATING)]
    return [*creating, *pool._machine.slots()]


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
    waits = closers = 0
    if isinstance(pool, AsyncResourcePool):
        waits = len(pool._driver._waiter_deadlines)
        closers = 0 if pool._work._deadlines is None else len(pool._work._deadlines)
    idle = len(machine._ready) + len(machine._unchecked)
    return Entries(len(machine._queue), idle, len(machine._ages), waits, closers)


def abandoned_closers(pool: AsyncResourcePool[Any]) -> int:
    """Count the closers that exceeded their limit and still run."""
    return pool._work.abandoned()


def wait_entries(waits: LongWaits) -> int:
    """Count the entries for calls that wait, those of ended waits included."""
    return len(waits._deadlines)


def watchers(pool: AsyncResourcePool[Any]) -> int:
    """Count the callers that wait for a condition, for example in `close`."""
    return pool._driver.watchers()


class EventEntries(NamedTuple):
    """How much a pool with a listener remembers."""

    resources: int
    acquires: int
    events: int


def event_entries(pool: AsyncResourcePool[Any]) -> EventEntries:
    """Count what a pool with a listener remembers about resources, acquires and events."""
    events = pool._watched.events
    assert isinstance(events, Events)
    return EventEntries(len(events._tracks), len(events._acquires), len(events._queue))


def without_clock(listener: Callable[[Any], object], kind: type[Events] = Events) -> Events:
    """Make the observer that calls a listener. Its clock stands still, so it can be pickled."""
    events = kind(listener)
    events._clock = _standing_still
    return events


def _standing_still() -> float:
    return 0.0


def observed_pools(metrics: Any) -> int:
    """Return how many pools are kept for the gauges of these metrics."""
    from nodetool.concurrency.otel import PoolMetrics  # an optional part of the pool

    return sum(one is metrics for one, _ in PoolMetrics._observed)


async def watch_numbers(phase: Any, work: asyncio.Task[None]) -> bool:
    """Let a phase of verify compare its numbers with the pool's until the work is done.

    Returns whether something moved all the time.
    """
    moved: bool = await phase._watch(work)
    return moved


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


def check_heap(loop: Any) -> None:
    """Check that the loop's heap of timers is in order and has each timer once."""
    heap = loop._scheduled
    assert len({*map(id, heap)}) == len(heap)
    for place, timer in enumerate(heap[1:], 1):
        assert heap[(place - 1) // 2] <= timer


def is_timer_of(pool: AsyncResourcePool[Any], timer: Any) -> bool:
    """Tell whether a timer is one of the pool's, or limits a wait for any pool."""
    callback = timer._callback
    if callback is resolve:
        return True
    if callback.__module__ != weak_callback.__module__:
        return False
    (cell,) = callback.__closure__
    method = cell.cell_contents()  # a weak reference
    owner = None if method is None else method.__self__
    driver = pool._driver
    waits = driver._long_waits._deadlines
    parts = (driver, driver._waiter_deadlines, waits, pool._work._deadlines)
    return owner is not None and any(owner is part for part in parts)


# Interruptions of a step, by garbage collection for example.


@contextmanager
def after_each_start_of_closing(hooks: list[Callable[[], None]]) -> Iterator[None]:
    """Call and drop the hooks in the middle of a step, when it has sent resources to the closer."""
    closes: Callable[..., None] = PoolMachine._close

    def close(machine: PoolMachine[Any], *args: Any) -> None:
        closes(machine, *args)
        while hooks:
            hooks.pop()()

    with mock.patch.object(PoolMachine, "_close", close):
        yield


@contextmanager
def before_each_start_of_creations(hooks: list[Callable[[], None]]) -> Iterator[None]:
    """Call and drop the hooks in the middle of a step, before it decides about creations."""
    settles: Callable[..., None] = PoolMachine._settle

    def settle(machine: PoolMachine[Any], **options: Any) -> None:
        while hooks:
            hooks.pop()()
        settles(machine, **options)

    with mock.patch.object(PoolMachine, "_settle", settle):
        yield


@contextmanager
def before_statistics(hooks: list[Callable[[], None]]) -> Iterator[None]:
    """Call and drop the hooks in the middle of a snapshot."""
    statistics: Callable[..., dict[str, int]] = PoolMachine.statistics

    def hooked(machine: PoolMachine[Any]) -> dict[str, int]:
        while hooks:
            hooks.pop()()
        return statistics(machine)

    with mock.patch.object(PoolMachine, "statistics", hooked):
        yield


@contextmanager
def before_setting_of_binding(name: str, hooks: list[Callable[[], None]]) -> Iterator[None]:
    """Call and drop the hooks before an attribute of a binding is set."""
    slot: Any = Binding.__dict__[name]

    def set_later(binding: Binding, value: object) -> None:
        if binding.loop is None or name == "owner":
            while hooks and asyncio._get_running_loop() is not None:
                hooks.pop()()
        slot.__set__(binding, value)

    with mock.patch.object(Binding, name, property(slot.__get__, set_later)):
        yield


# Loops and processes.


def gate_is_closed(pool: AsyncResourcePool[Any]) -> bool:
    """Tell whether a step of the pool is in progress."""
    return pool._driver.busy


@contextmanager
def closed_gate(pool: AsyncResourcePool[Any]) -> Iterator[None]:
    """Close the gate, as in a step. Other tasks may run meanwhile, as for code in that step."""
    pool._driver.busy = True
    try:
        yield
    finally:
        pool._driver.busy = False
        pool._driver.catch_up()


@contextmanager
def gate_always_open() -> Iterator[None]:
    """Let calls in the middle of a step run at once, in all pools."""
    always_open = property(lambda _: False, lambda _, closed: None)
    with mock.patch.object(Driver, "busy", always_open):
        yield


@contextmanager
def batches_of(count: int) -> Iterator[None]:
    """Start at most so many pieces of queued work in one turn of the loop."""
    with mock.patch.object(works, "BATCH", count):
        yield


def defer(pool: AsyncResourcePool[Any], call: Callable[[], object]) -> None:
    """Let a call run after the steps in progress."""
    pool._driver.run(call)


@contextmanager
def as_in_a_forked_child(pool: AsyncResourcePool[Any]) -> Iterator[None]:
    """Treat the pool as a forked child does, and undo that at the end."""
    binding = pool._binding
    parent = binding.loop, binding.owner
    binding.leave_to_parent()
    try:
        yield
    finally:
        binding.forked = False
        binding.loop, binding.owner = parent


@contextmanager
def fork_of_new_pools() -> Iterator[Callable[[], None]]:
    """Yield what is called in a forked child. It sees only the pools that are made meanwhile."""
    with mock.patch.object(bindings, "_bindings", weakref.WeakSet()):
        yield bindings._give_up_after_fork


def leave_running_loop() -> None:
    """Forget the running loop of this thread: a forked child is a copy of its parent's."""
    asyncio._set_running_loop(None)


def silence_pending(*tasks: asyncio.Task[Any]) -> None:
    """Let tasks of a closed loop be destroyed without a message."""
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


# Hypothesis. It is imported only when it is used, because it takes long.


def pool_rules(model: str, machine: Machine = PoolMachine) -> Any:
    """Return the rules that drive a pool within the bounds of a model."""
    from nodetool.concurrency.verify._rules import rules_for

    return rules_for(model, machine)


def machine_rules(machine: Machine = PoolMachine) -> tuple[Any, set[str]]:
    """Return the rules that drive a machine of any size, and the actions that they can take."""
    from nodetool.concurrency.verify._machine_rules import ACTIONS, machine_rules_for

    return machine_rules_for(machine), set(ACTIONS)


# Machines with one bug each that no graph shows: in numbers and in errors.


class CreatesTwo(PoolMachine[Any]):
    """Machine that counts each creation twice."""

    def create_succeeded(self, *args: Any) -> None:
        super().create_succeeded(*args)
        self._created += 1


class TellsAnotherError(PoolMachine[Any]):
    """Machine that passes on an error other than the factory's."""

    def create_failed(self, slot: Slot[Any], error: BaseException) -> bool:
        return super().create_failed(slot, OSError(*error.args))


class TellsTheFirstErrorAgain(PoolMachine[Any]):
    """Machine that passes on the factory's first error each time."""

    first: BaseException | None = None

    def create_failed(self, slot: Slot[Any], error: BaseException) -> bool:
        self.first = self.first or error
        return super().create_failed(slot, self.first)


class ForgetsFailures(PoolMachine[Any]):
    """Machine that does not count failed creations."""

    def create_failed(self, slot: Slot[Any], error: BaseException) -> bool:
        reported = super().create_failed(slot, error)
        self._creation_failures -= 1
        return reported


class TakesDuplicates(PoolMachine[Any]):
    """Machine that accepts an object that is in the pool already."""

    def create_succeeded(self, slot: Slot[Any], resource: Any, *args: Any) -> None:
        self._slots.pop(id(resource), None)
        super().create_succeeded(slot, resource, *args)


class ForgetsTimeouts(PoolMachine[Any]):
    """Machine that does not count timeouts."""

    def timeout(self, *args: Any) -> None:
        super().timeout(*args)
        self._timeouts -= 1


class ForgetsRejections(PoolMachine[Any]):
    """Machine that does not count acquires that a full queue turned away."""

    def acquire(self, now: float) -> Any:
        try:
            return super().acquire(now)
        finally:
            self._rejected = 0


MISCOUNTING: list[Machine] = [
    CreatesTwo,
    TellsAnotherError,
    TellsTheFirstErrorAgain,
    ForgetsFailures,
    TakesDuplicates,
    ForgetsTimeouts,
    ForgetsRejections,
]


# Machines with one bug each where entries that are deleted lazily are finally removed.


class LosesWaiters(PoolMachine[Any]):
    """Machine that drops a live waiter when it removes dead entries from the queue."""

    def _leave(self, waiter: Waiter[Any]) -> None:
        first = waiter is self._queue[0]
        super()._leave(waiter)
        if not first and not self._queue.removed:
            self._queue.pop()


class LosesIdle(PoolMachine[Any]):
    """Machine that drops an idle resource when it removes dead entries of idle resources."""

    def _sweep(self, now: float) -> list[Slot[Any]]:
        ready, before = self._ready, len(self._ready)
        swept = super()._sweep(now)
        if before > 64 and ready and not ready.removed and len(ready) < before:
            ready.pop()
        return swept


class ForgetfulQueue(ExpiryQueue[Any]):
    """Expiry queue that keeps only the first entry of its line when it drops ended ones."""

    def compact(self) -> None:
        super().compact()
        self._line = deque([*self._line][:1])


class LosesAges(PoolMachine[Any]):
    """Machine that forgets all but the first age when it removes dead entries of ages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ages = ForgetfulQueue(SlotState.FREE)


UNTIDY: list[Machine] = [LosesWaiters, LosesIdle, LosesAges]


# Machines with one bug each that only one contract can find.


class TakesAnyRelease(PoolMachine[Any]):
    """Machine that ignores a second release instead of refusing it."""

    def release(self, slot: Slot[Any], now: float) -> bool:
        return slot.state is SlotState.HELD and super().release(slot, now)


class ClosesAndClosesAgain(PoolMachine[Any]):
    """Machine that asks for each closer twice."""

    def _close(self, slots: Iterable[Slot[Any]], reason: str) -> None:
        twice = list(slots)
        super()._close(twice, reason)
        self._outbox.work += twice


class ClosesWhatIsHeld(PoolMachine[Any]):
    """Machine that closes a held resource under its user when everything is retired."""

    def retire_all(self) -> int:
        generation = super().retire_all()
        self._close([slot for slot in self.slots() if slot.state is SlotState.HELD], "retired")
        return generation


class ServesNewestFirst(PoolMachine[Any]):
    """Machine that reverses the queue when a resource comes back."""

    def release(self, slot: Slot[Any], now: float) -> bool:
        self._queue.reverse()
        return super().release(slot, now)


class ClosesNothingAtOpen(PoolMachine[Any]):
    """Machine that counts a closer that does not exist."""

    def open(self) -> None:
        self._closing += 1


# Other machines with one bug each.


class ServesTwoAtOnce(PoolMachine[Any]):
    """Machine that hands one resource over to two waiters."""

    def _hand_to(self, waiter: Waiter[Any], slot: Slot[Any]) -> None:
        super()._hand_to(waiter, slot)
        if self._queue:
            super()._hand_to(self._queue.take_first(), slot)


class ChangesWhenRefused(PoolMachine[Any]):
    """Machine that starts to close when it refuses a release."""

    def release(self, slot: Slot[Any], now: float) -> bool:
        try:
            return super().release(slot, now)
        except InvalidReleaseError:
            self._phase = Phase.CLOSING
            raise
