"""Lease tracking: the task, the time and the stack of each lease, and warnings about long leases.

A tracked machine calls the tracker in each step that begins a lease. It reports the end of a lease
only in debug mode, or while the tracker has warned about a lease that goes on. The tracker is not
an observer of all steps, because such an observer would take several times as long as the lease.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import traceback
import weakref
from asyncio import Task, current_task
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import ref

from ._errors import InvalidReleaseError
from ._machine.observe import actions
from ._machine.slots import NEVER, Slot, SlotState
from ._runtime.callbacks import log, name_of
from ._stats import PoolLease

if TYPE_CHECKING:
    from types import FrameType

    from ._runtime.binding import Binding, Timer

HERE = str(Path(__file__).parent)
ASYNCIO = str(Path(asyncio.__file__).parent)
ENDS = ("_run", "run")  # asyncio's functions that call the user's code; a stack starts after them
DEPTH = 16  # frames of the user's code that a lease keeps

HELD = SlotState.HELD

Frame: TypeAlias = tuple[str, int, str]  # file, line and function


class Lease(NamedTuple):
    """The record of one lease. The slot keeps it until the slot's next lease begins."""

    since: float
    task: weakref.ref[asyncio.Task[Any]] | None  # the holder, if it is a task
    name: str  # the name of the task
    stack: tuple[Frame, ...]
    until: float | None  # when the lease ended, if the tracker watches the ends of leases
    former: weakref.WeakSet[asyncio.Task[Any]] | None  # in debug mode: the earlier holders

    @property
    def holder(self) -> str:
        """Name the holder."""
        return "no task" if self.task is None else f"task {self.name!r}"

    def describe(self, now: float, is_held: bool) -> str:
        """Describe the holder, for messages."""
        if is_held:
            text = f"held by {self.holder} for {now - self.since:.3f} s"
        elif self.until is not None:
            text = f"was last held by {self.holder} for {self.until - self.since:.3f} s"
        else:
            text = f"was last acquired by {self.holder}, {now - self.since:.3f} s ago"
        if not self.stack:
            return f"\n  {text}"
        frames = [traceback.FrameSummary(*frame) for frame in self.stack]
        return f"\n  {text}, acquired at:\n{''.join(traceback.format_list(frames)).rstrip()}"


_new = tuple.__new__  # the constructor of a named tuple would take twice as long


class Tracker:
    """The object that records the leases of a pool, and warns about the long ones.

    Args:
        binding: The loop of the pool.
        leak_threshold: After how many seconds a lease gets a warning.
        stacks: Whether to record where each lease began.
        refuses: Whether to refuse a release by a former holder, as in debug mode.
    """

    def __init__(
        self,
        binding: Binding,
        leak_threshold: float = NEVER,
        *,
        stacks: bool = False,
        refuses: bool = False,
    ) -> None:
        self._binding = binding
        self._leak_threshold = leak_threshold
        self._stacks = stacks
        self._refuses = refuses
        self._machine: weakref.ref[Any] | None = None
        self._warned: dict[Slot[Any], float] = {}  # when each held slot got its warning
        self._overdue: deque[tuple[Slot[Any], Lease]] = deque()  # leases to warn about
        self._timer: Timer | None = None
        self.watches_ends = refuses
        # Calls to run after the step. The driver's own queue replaces this queue.
        self.deferred: deque[Callable[[], object]] = deque()
        # Runs a step inside the gate. The driver's own method replaces this one.
        self.run: Callable[[Callable[[], object]], object] = self.run_alone

    def track(self, made: Any) -> None:
        """Watch the leases of a machine, whose class is `tracked`."""
        made.tracker = self
        self._machine = weakref.ref(made)

    # The methods that the steps of the machine call.

    def began(self, slot: Slot[Any]) -> None:
        """Record that the current task holds the slot."""
        binding = self._binding
        task = current_task(binding.loop)
        holder: ref[Task[Any]] | None
        if type(task) is Task:  # the common case: its method is no user code
            holder, name = ref(task), task.get_name()
        else:
            holder, name = (None, "") if task is None else (ref(task), name_of(task))
        stack = user_stack() if self._stacks else ()
        former = self._former_holders(slot, task) if self._refuses else None
        slot.lease = _new(Lease, (binding.clock(), holder, name, stack, None, former))
        if self._timer is None and self._leak_threshold < NEVER:
            self._timer = self._binding.call_later(self._leak_threshold, self._patrol)

    def _former_holders(self, slot: Slot[Any], task: Any) -> weakref.WeakSet[asyncio.Task[Any]]:
        """Return the tasks that have held the slot before this task."""
        last: Lease | None = slot.lease
        former = None if last is None else last.former
        if former is None:
            return weakref.WeakSet()
        if task is not None:
            former.discard(task)
        return former

    def ended(self, slot: Slot[Any]) -> None:
        """Record that the lease of the slot is over."""
        now = self._binding.clock()
        lease: Lease = slot.lease
        slot.lease = lease._replace(until=now)
        task = None if lease.task is None else lease.task()
        if lease.former is not None and task is not None:
            lease.former.add(task)
        warned_at = self._warned.pop(slot, None)
        if warned_at is not None:
            self.watches_ends = self._refuses or bool(self._warned)
            self.deferred.append(
                partial(
                    log,
                    logging.WARNING,
                    "pool %r: a lease ended %.1f s after the leak warning%s",
                    self._binding.name,
                    now - warned_at,
                    slot.lease.describe(now, False),
                )
            )

    # Messages.

    def holder(self, slot: Slot[Any]) -> str:
        """Describe the holder of a slot, or its last holder."""
        lease: Lease | None = slot.lease
        if lease is None:
            return ""
        return lease.describe(self._binding.clock(), slot.state is HELD)

    def holders(self, slots: list[Slot[Any]]) -> str:
        """Describe the holders of slots, for messages."""
        return "".join(map(self.holder, slots))

    def leases(self, machine: Any) -> list[PoolLease]:
        """List the leases, the oldest first."""
        now = self._binding.clock()
        # In a nested call, a lease may have begun without its record.
        recorded = [slot for slot in machine.lent() if slot.lease is not None]
        slots = sorted(recorded, key=lambda slot: slot.lease.since)
        return [
            PoolLease(
                slot.resource,
                slot.lease.holder,
                now - slot.lease.since,
                "".join(
                    traceback.format_list(
                        [traceback.FrameSummary(*frame) for frame in slot.lease.stack]
                    )
                ),
            )
            for slot in slots
        ]

    # Former holders.

    def finder(self, driver: Any) -> Callable[[int], Any]:
        """Make the function that finds the slot of a resource, and refuses its former holders.

        Only `release`, `discard` and `detach` call the function. The end of a context does not need
        it, because a context knows its lease. The function refuses no nested call, because a
        destructor or a handler makes a nested call, not the current task.
        """
        find: Callable[[int], Any] = driver.machine.finder()
        if not self._refuses:
            return find

        def find_slot(identity: int) -> Any:
            slot = find(identity)
            if slot is not None and slot.state is HELD and not driver.is_nested():
                self._refuse_former_holder(slot)
            return slot

        return find_slot

    def _refuse_former_holder(self, slot: Slot[Any]) -> None:
        """Refuse a task that had the resource before, while another live task holds it.

        If the holder's task is done, refuse nobody. It may have passed the resource on, for example
        to the current task.
        """
        lease: Lease = slot.lease
        task = asyncio.current_task(self._binding.loop)
        holder = None if lease.task is None else lease.task()
        is_live = holder is not None and not holder.done()
        if is_live and task is not holder and task in (lease.former or ()):
            raise InvalidReleaseError(
                f"pool {self._binding.name!r}: cannot release this resource: this task had it "
                f"before, and another task holds it now{self.holder(slot)}"
            )

    # Long leases.

    def run_alone(self, step: Callable[[], object]) -> None:
        """Run a step, and then the calls that it has deferred."""
        step()
        while self.deferred:
            self.deferred.popleft()()

    def _patrol(self) -> None:
        self._timer = None
        self.run(self._look_for_overdue)

    def _look_for_overdue(self) -> None:
        """Find the leases that have become too long, and set the timer for the next one."""
        machine = None if self._machine is None else self._machine()
        if machine is None:
            return
        now, next_at = self._binding.clock(), NEVER
        for slot in machine.lent():
            overdue_at = slot.lease.since + self._leak_threshold
            if overdue_at > now:
                next_at = min(next_at, overdue_at)
            elif slot not in self._warned:
                self._overdue.append((slot, slot.lease))
        if next_at < NEVER:
            self._timer = self._binding.call_later(next_at - now, self._patrol)
        if self._overdue:
            self.deferred.append(self._warn_of_next)

    def _warn_of_next(self) -> None:
        """Warn about the next overdue lease, unless a handler of the last warning has ended it."""
        slot, lease = self._overdue.popleft()
        if slot.lease is lease and slot.state is HELD:
            self._warned[slot] = self._binding.clock()
            self.watches_ends = True
            log(
                logging.WARNING,
                "pool %r: %s is held for more than leak_threshold=%g s%s",
                self._binding.name,
                object.__repr__(slot.resource),
                self._leak_threshold,
                self.holder(slot),
            )
        if self._overdue:  # after the calls that the handler has made
            self.deferred.append(self._warn_of_next)


def user_stack() -> tuple[Frame, ...]:
    """Return the last `DEPTH` calls of the user's code, the latest call last.

    The list leaves out the frames of the pool and of asyncio.
    """
    found: list[Frame] = []
    frame: FrameType | None = sys._getframe(1)
    while frame and len(found) < DEPTH:
        code = frame.f_code
        if code.co_filename.startswith(ASYNCIO) and code.co_name in ENDS:
            break
        if not code.co_filename.startswith((HERE, ASYNCIO)):
            found.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return tuple(reversed(found))


# The steps of a tracked machine.


def _acquire(bare: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Any, now: float) -> Any:
        got = bare(self, now)
        if got.state is HELD:
            self.tracker.began(got)
        return got

    return step


def _resume(bare: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Any, waiter: Any, now: float) -> Any:
        got = bare(self, waiter, now)
        if type(got) is Slot:
            self.tracker.began(got)
        return got

    return step


def _release(bare: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Any, slot: Any, now: float) -> Any:
        if slot.state is HELD and not self.tracker.watches_ends:
            return bare(self, slot, now)
        return end(self, slot, now)

    end = _end(bare)
    return step


def _end(bare: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Any, slot: Any, *args: Any) -> Any:
        try:
            result = bare(self, slot, *args)
        except InvalidReleaseError as error:
            error.args = (f"{error}{self.tracker.holder(slot)}",)
            raise
        if self.tracker.watches_ends:
            self.tracker.ended(slot)
        return result

    return step


def _terminate(bare: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Any) -> Any:
        slots = self.lent()
        bare(self)
        if self.tracker.watches_ends:
            for slot in slots:
                self.tracker.ended(slot)

    return step


STEPS = {
    "Acquire": _acquire,
    "Resume": _resume,
    "Release": _release,
    "Discard": _end,
    "Detach": _end,
    "Terminate": _terminate,
}
"""The actions that can begin or end a lease, and how to wrap their steps."""


def tracked(kind: type[Any]) -> type[Any]:
    """Return a subclass of the machine that calls its `tracker` when a lease begins or ends."""
    if kind not in _tracked:
        body: dict[str, Any] = {"tracker": None, "__module__": kind.__module__}
        for method, action in actions(kind).items():
            if action in STEPS:
                bare = getattr(kind, method)
                body[method] = functools.wraps(bare)(STEPS[action](bare))
        _tracked[kind] = type(f"Tracked{kind.__name__}", (kind,), body)
    return _tracked[kind]


_tracked: dict[type[Any], type[Any]] = {}
