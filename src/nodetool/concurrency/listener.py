"""Events of a pool: an observer that calls a listener at the end of each phase."""

from __future__ import annotations

import asyncio
import functools
import logging
from asyncio import _get_running_loop, current_task
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from ._machine import counts as rules
from ._machine.counts import Phase
from ._machine.observe import Observer, actions, observed
from ._machine.slots import SlotState
from ._messages import LIMITS, acquire_timeout
from ._runtime.binding import clock_of
from ._runtime.callbacks import log_error, name_of, stop, stops_program
from ._runtime.work import refuse_pending
from ._stats import PoolGauges, measure

__all__ = ["PoolEvent", "PoolGauges", "PoolListener"]

Kind: TypeAlias = Literal["creation", "check", "wait", "use", "reset", "close"]

CREATING, HELD = SlotState.CREATING, SlotState.HELD


class PoolEvent(NamedTuple):
    """A creation, check, wait, use, reset or close that has ended.

    ``start`` and ``end`` are seconds of the event loop's clock, which is `time.monotonic` in the
    standard library's loops.

    Since version 0.1.0.
    """

    kind: Literal["creation", "check", "wait", "use", "reset", "close"]
    """A call of the factory, the check, the reset or the closer; an acquire (even without a wait);
    or a lease."""
    resource: int | None
    """The resource's number, from 1, in the order of creations. None if an acquire got none."""
    start: float
    """The time when the phase began."""
    end: float
    """The time when the phase ended."""
    outcome: str
    """How the phase ended.

    Of a creation: ``created``, ``failed``, ``late`` (after `creation_timeout`), or ``retired`` if
    it was retired in flight. Of a check or a reset: ``passed`` or ``failed``. Of a wait:
    ``acquired``, ``timed out``, ``cancelled``, ``failed``, ``closed`` or ``rejected``. Of a use:
    ``released``, ``discarded``, ``interrupted`` (by an exception of `discard_on`, or by
    ``context.discard()``), ``detached``, or ``forgotten`` by ``terminate``. Of a close,
    its reason: ``late``, ``expired``, ``pruned``, ``surplus``, ``discarded``, ``interrupted``,
    ``check failed``, ``reset failed``, ``retired``, or ``closed down`` with the pool."""
    task: str
    """The name of the task that acquired. It is empty for the pool's own work."""
    error: BaseException | None
    """The error that ended the phase. It comes from the factory, the check, the reset, the closer,
    the acquire or the context's body. If ``acquire(timeout=0)`` times out, it is another object of
    the same class, without the holders in its text."""
    pool: str = ""
    """The name of the pool. Since version 0.2.0."""

    @property
    def seconds(self) -> float:
        """How long the phase took."""
        return self.end - self.start


PoolListener: TypeAlias = Callable[[PoolEvent], object]
"""A function that the pool calls with each event, in the pool's loop.

The pool calls the function after the step that ended the phase. The function should be quick and
must not wait. If the function raises an exception, the pool logs it. The function may read the
pool's numbers. The pool defers all other calls from the function until the step and its effects
are complete.

Since version 0.1.0.
"""


class Track:
    """The part of a slot's past that events need."""

    __slots__ = ("number", "since", "task")

    def __init__(self, number: int, since: float) -> None:
        self.number: int = number
        self.since: float = since  # when the slot's present phase began
        self.task: str = ""  # the name of the task that holds the slot


class Memory(NamedTuple):
    """The observer's record of the state before a step."""

    woken: int  # the number of waiters in the outbox
    work: int  # the number of slots in the outbox
    held: list[Any]  # the slots that the step Terminate makes the pool forget
    retired: bool  # whether the step ends a retired creation
    task: str  # the name of the task that takes the step


NO_TRACK = Track(0, 0.0)

WORK_OUTCOMES: dict[str, tuple[Kind, str]] = {
    "CheckPassed": ("check", "passed"),
    "CheckFailed": ("check", "failed"),
    "ResetPassed": ("reset", "passed"),
    "ResetFailed": ("reset", "failed"),
}

USE_OUTCOMES = {"Release": "released", "Detach": "detached"}


class Events(Observer):
    """The observer that calls a listener with an event at the end of each phase.

    It publishes the numbers after each step, so that another thread never sees half a step.
    """

    def __init__(self, listener: PoolListener) -> None:
        self._listener = listener
        self.loop: asyncio.AbstractEventLoop | None = None  # since the first step in a loop
        self._clock: Callable[[], float] | None = None
        self._now = 0.0
        self._queue: deque[PoolEvent] = deque()  # events of the step in progress
        self._created = 0  # the number of creations so far
        self._timeouts = 0  # so far; to ask the machine for its statistics would take longer
        self._tracks: dict[Any, Track] = {}  # one for each slot that is not free
        self._acquires: dict[Any, tuple[float, str]] = {}  # the start and the task of each waiter
        self._name = ""  # the name of the pool
        # How many resources were taken since these gauges were measured, and the gauges. Both are
        # in one tuple, so that another thread reads the numbers of one moment.
        self._published: tuple[int, PoolGauges] = 0, PoolGauges(0, 0, 0, 0, 0, 0, 0, 0)
        # Calls to run after the step. The driver's own queue replaces this queue.
        self.deferred: deque[Callable[[], object]] = deque()

    def gauges(self) -> PoolGauges:
        """Return the numbers after the last step."""
        taken, gauges = self._published
        return gauges._replace(idle=gauges.idle - taken, in_use=gauges.in_use + taken)

    # The common steps, see `listened`.

    def took(self, slot: Any, now: float) -> None:
        """Call the listener after an acquire that took an idle resource, and did nothing else."""
        track = self._tracks[slot]
        task = current_task(self.loop)
        track.since, track.task = now, "" if task is None else name_of(task)
        self._publish(1, ("wait", track.number, now, now, "acquired", track.task, None, self._name))

    def put_back(self, slot: Any, now: float) -> None:
        """Call the listener after a release that made a resource idle, and did nothing else."""
        track = self._tracks[slot]
        times = track.since, now
        self._publish(-1, ("use", track.number, *times, "released", track.task, None, self._name))

    def _publish(self, more: int, fields: tuple[Any, ...]) -> None:
        taken, gauges = self._published
        self._published = taken + more, gauges
        self._call(tuple.__new__(PoolEvent, fields))  # the constructor would cost twice as much

    # All steps.

    def _timeout_error(self, machine: Any) -> BaseException:
        """Make an error like the one that an acquire with `timeout=0` raises."""
        ages: dict[SlotState, float] = {}  # of the oldest work of each kind
        for slot, track in self._tracks.items():
            if slot.state in LIMITS:
                age = self._now - track.since
                ages[slot.state] = max(age, ages.get(slot.state, age))
        # The step Timeout gets no error only from an acquire with `timeout=0`.
        return acquire_timeout(machine.name, 0.0, machine.counts(), ages)

    def empty_memory(self, action: str) -> Memory:
        """Return the record of a state with an empty outbox, and note the time of the step."""
        assert self._clock is not None
        self._now = self._clock()
        return Memory(0, 0, [], False, current_task_name() if action == "Acquire" else "")

    def before(self, machine: Any, action: str, args: tuple[Any, ...]) -> Memory:
        """Record the state before the step, and the time of the step."""
        if self._clock is None:
            self._name = machine.name
            loop = _get_running_loop()
            if loop is not None:  # there is none in a terminate() before the first use
                self.loop, self._clock = loop, clock_of(loop)
        if self._clock is not None:
            self._now = self._clock()
        held = machine.lent() if action == "Terminate" else ()
        return Memory(
            len(machine.outbox.woken),
            len(machine.outbox.work),
            [slot for slot in held if slot.state is HELD],
            action == "CreateSucceeded" and machine.is_retired(args[0]),
            current_task_name() if action == "Acquire" else "",
        )

    def after(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Memory, result: Any
    ) -> None:
        """Record the phases that the step ended or began, and call the listener."""
        subject = args[0] if args else None
        self._end_acquires(machine, action, subject, args, memory, result)
        self._end_leases(action, subject, args, memory)
        self._end_work(action, subject, args, memory)
        self._begin_work(machine, memory)
        self._announce(machine)

    def refused(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Memory, error: BaseException
    ) -> None:
        """Call the listener with the event of a refused acquire."""
        if action == "Acquire":
            outcome = "rejected" if machine.counts().phase is Phase.OPEN else "closed"
            self._note("wait", None, self._now, outcome, memory.task, error)
        self._announce(machine)

    def _announce(self, machine: Any) -> None:
        self._published = 0, self._measure(machine.counts())
        while self._queue:
            self._call(self._queue.popleft())

    def _measure(self, counts: rules.Counts) -> PoolGauges:
        return measure(counts, rules.idle(counts), self._timeouts)

    def _call(self, event: PoolEvent) -> None:
        try:
            answer: object = self._listener(event)
            if answer is not None:
                refuse_pending("listener", answer)
        except BaseException as error:
            failed = partial(log_error, logging.ERROR, self._name, "its listener failed")
            self.deferred.append(partial(stop if stops_program(error) else failed, error))

    def _note(
        self,
        kind: Kind,
        resource: int | None,
        start: float,
        outcome: str,
        task: str = "",
        error: BaseException | None = None,
    ) -> None:
        self._queue.append(
            PoolEvent(kind, resource, start, self._now, outcome, task, error, self._name)
        )

    def _end_acquires(
        self,
        machine: Any,
        action: str,
        subject: Any,
        args: tuple[Any, ...],
        memory: Memory,
        result: Any,
    ) -> None:
        """Note the acquires that the step ended, and remember those that go on."""
        if action == "Acquire":
            self._go_on((self._now, memory.task), result, machine)
        elif action == "Resume":
            self._go_on(self._acquires.pop(subject), result, machine)
        elif action == "Timeout":
            self._timeouts += 1
            start, task = self._acquires.pop(subject)
            given = args[1] if len(args) > 1 else None
            error = given or self._timeout_error(machine)
            self._note("wait", None, start, "timed out", task, error)
        elif action == "Cancel" and subject in self._acquires:
            start, task = self._acquires.pop(subject)
            self._note("wait", None, start, "cancelled", task)
        failed = "closed" if action in ("Close", "Terminate") else "failed"
        for waiter in list(machine.outbox.woken)[memory.woken :]:
            if waiter.error is not None and waiter in self._acquires:
                start, task = self._acquires.pop(waiter)
                self._note("wait", None, start, failed, task, waiter.error)

    def _go_on(self, begun: tuple[float, str], got: Any, machine: Any) -> None:
        """Note the end of an acquire, or remember the acquire if it waits."""
        start, task = begun
        if got is None:
            self._note("wait", None, start, "closed", task, machine.closed_error())
        elif got.state is HELD:
            track = self._tracks[got]
            self._note("wait", track.number, start, "acquired", task)
            track.since, track.task = self._now, task
        else:
            self._acquires[got] = begun

    def _end_leases(self, action: str, subject: Any, args: tuple[Any, ...], memory: Memory) -> None:
        if action == "Discard":
            self._note_use(subject, subject.reason, error_in(args, 2))
        elif action in USE_OUTCOMES:
            self._note_use(subject, USE_OUTCOMES[action])
        for slot in memory.held:
            self._note_use(slot, "forgotten")

    def _note_use(self, slot: Any, outcome: str, error: BaseException | None = None) -> None:
        track = self._tracks.get(slot, NO_TRACK)
        self._note("use", track.number, track.since, outcome, track.task, error)

    def _end_work(self, action: str, subject: Any, args: tuple[Any, ...], memory: Memory) -> None:
        """Note the creation, the check, the reset or the closing that the step has ended."""
        if action == "CreateSucceeded":
            track = self._tracks.get(subject, NO_TRACK)
            outcome = "retired" if memory.retired else "created"
            self._note("creation", track.number, track.since, outcome)
        elif action == "CreateFailed":
            track = self._tracks.pop(subject, NO_TRACK)
            self._note("creation", track.number, track.since, "failed", error=args[1])
        elif action == "CreateLate":
            track = self._tracks.get(subject, NO_TRACK)
            self._note("creation", track.number, track.since, "late", error=args[2])
        elif action in WORK_OUTCOMES:
            kind, outcome = WORK_OUTCOMES[action]
            track = self._tracks.get(subject, NO_TRACK)
            self._note(kind, track.number, track.since, outcome, error=error_in(args, 1))
        elif action == "CloserEnded":
            track = self._tracks.pop(subject, NO_TRACK)
            reason, error = subject.reason, error_in(args, 1)
            self._note("close", track.number, track.since, reason, error=error)
        elif action == "Detach":
            self._tracks.pop(subject, None)
        for slot in memory.held:
            self._tracks.pop(slot, None)

    def _begin_work(self, machine: Any, memory: Memory) -> None:
        """Record the start of the work that the step left in the outbox."""
        for slot in list(machine.outbox.work)[memory.work :]:
            if slot.state is CREATING:
                self._created += 1
                self._tracks[slot] = Track(self._created, self._now)
            else:
                self._tracks.get(slot, Track(0, 0.0)).since = self._now


def error_in(args: tuple[Any, ...], position: int) -> BaseException | None:
    """Return the error among the arguments of a step, if there is one."""
    error = args[position] if len(args) > position else None
    return error if isinstance(error, BaseException) else None


def current_task_name() -> str:
    """Return the name of the current task. Return "" if there is none."""
    if _get_running_loop() is None:
        return ""
    task = asyncio.current_task()
    return "" if task is None else name_of(task)


# The steps of a machine with a listener.


def _acquire(bare: Callable[..., Any], watched: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(bare)
    def step(self: Any, now: float) -> Any:
        events, outbox = self.events, self.outbox
        if outbox.work or outbox.woken or events.loop is None:
            return watched(self, now)
        try:
            got = bare(self, now)
        except BaseException as error:
            events.refused(self, "Acquire", (now,), events.empty_memory("Acquire"), error)
            raise
        if got.state is HELD and not outbox.work and not outbox.woken:
            events.took(got, now)
        else:
            events.after(self, "Acquire", (now,), events.empty_memory("Acquire"), got)
        return got

    return step


def _release(bare: Callable[..., Any], watched: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(bare)
    def step(self: Any, slot: Any, now: float) -> Any:
        events, outbox = self.events, self.outbox
        if outbox.work or outbox.woken or slot.state is not HELD:
            return watched(self, slot, now)
        result = bare(self, slot, now)
        if outbox.work or outbox.woken:
            events.after(self, "Release", (slot, now), events.empty_memory("Release"), result)
        else:
            events.put_back(slot, now)
        return result

    return step


COMMON = {"Acquire": _acquire, "Release": _release}
"""The actions that mostly move one idle resource. An observer of all steps costs much more."""


def listened(kind: type[Any]) -> type[Any]:
    """Return a subclass of the machine for one `Events`, in which the common steps are quick."""
    if kind not in _listened:
        watched = observed(kind)
        body: dict[str, Any] = {"events": None, "__module__": kind.__module__}
        for method, action in actions(kind).items():
            if action in COMMON:
                body[method] = COMMON[action](getattr(kind, method), getattr(watched, method))
        _listened[kind] = type(f"Listened{kind.__name__}", (watched,), body)
    return _listened[kind]


_listened: dict[type[Any], type[Any]] = {}
