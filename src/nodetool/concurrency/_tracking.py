"""Lease tracking for debug mode: the holder of each resource, its task and its call stack."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
import weakref
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

from ._errors import InvalidReleaseError
from ._machine.observe import Observer
from ._machine.slots import NEVER, SlotState
from ._runtime.callbacks import log

HERE = str(Path(__file__).parent)

HELD = SlotState.HELD
ENDS = ("Release", "Discard", "Detach")  # the actions that end a lease
GRANTS = ("Acquire", "Resume")  # the actions that may begin one


class Holder:
    """The holder of a slot, and the slot's former holders."""

    def __init__(self) -> None:
        self.former: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.task: weakref.ref[asyncio.Task[Any]] | None = None
        self.name = "no task"
        self.stack: list[traceback.FrameSummary] = []
        self.since = 0.0
        self.until: float | None = None  # None: still held
        self.timer: asyncio.TimerHandle | None = None
        self.warned = False

    def begin(self) -> None:
        """Record that the current task holds the slot."""
        task = current_task()
        self.task = None if task is None else weakref.ref(task)
        self.name = "no task" if task is None else f"task {task.get_name()!r}"
        self.stack = [
            frame for frame in traceback.extract_stack() if not frame.filename.startswith(HERE)
        ]
        self.since = time.monotonic()
        self.until = None
        self.warned = False
        if task is not None:
            self.former.discard(task)

    def end(self) -> None:
        """Record that the lease is over."""
        self.until = time.monotonic()
        task = None if self.task is None else self.task()
        if task is not None:
            self.former.add(task)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def is_held_by_another(self) -> bool:
        """Tell whether the current task is a former holder, while another live task holds the slot.

        A holder that is done may have passed the resource on, for example to the current task.
        """
        task = current_task()
        holder = None if self.task is None else self.task()
        live = holder is not None and not holder.done()
        return live and task is not holder and task in self.former

    def __str__(self) -> str:
        lasted = (time.monotonic() if self.until is None else self.until) - self.since
        verb = "held" if self.until is None else "was last held"
        where = "".join(traceback.format_list(self.stack[-6:]))
        return f"\n  {verb} by {self.name} for {lasted:.3f} s, acquired at:\n{where.rstrip()}"


def current_task() -> asyncio.Task[Any] | None:
    """Return the current task, also where no loop is running."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class Tracker(Observer):
    """The observer that knows the holder of each slot."""

    def __init__(self, leak_threshold: float = NEVER) -> None:
        self._leak_threshold = leak_threshold
        self._holders: dict[Any, Holder] = {}  # of the slots that are not free

    def holder(self, slot: Any) -> str:
        """Describe the holder of a slot, or its last holder."""
        holder = self._holders.get(slot)
        return "" if holder is None else str(holder)

    def holders(self, machine: Any) -> str:
        """Describe the holders of up to ten resources, for messages."""
        return "".join(self.holder(slot) for slot in machine.lent()[:10])

    def finder(self, driver: Any) -> Callable[[int], Any]:
        """Make the function that finds the slot of a resource, and refuses its former holders.

        Only `release`, `discard` and `detach` call it. The end of a context proves its lease. A
        nested call comes from a destructor or a handler, so the current task did not make it.
        """
        find = driver.machine.finder()

        def find_slot(identity: int) -> Any:
            slot = find(identity)
            if slot is not None and slot.state is HELD and not driver.is_nested():
                self._refuse_former_holder(driver.machine.name, slot)
            return slot

        return find_slot

    def _refuse_former_holder(self, name: str, slot: Any) -> None:
        holder = self._holders.get(slot)
        if holder is not None and holder.is_held_by_another():
            raise InvalidReleaseError(
                f"pool {name!r}: cannot release this resource: this task had it before, and "
                f"another task holds it now{holder}"
            )

    def before(self, machine: Any, action: str, args: tuple[Any, ...]) -> Any:
        """Note what terminate() will make the pool forget."""
        if action == "Terminate":
            return [slot for slot in machine.lent() if slot.state is HELD]
        return None

    def after(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Any, result: Any
    ) -> None:
        """Record the beginning or the end of a lease."""
        if action in GRANTS:
            if getattr(result, "state", None) is HELD:  # it is neither a waiter nor nothing
                self._begin(machine, result)
        elif action in ENDS:
            self._end(machine, args[0])
        elif action == "Terminate":
            for slot in memory:
                self._end(machine, slot)
        if action in ("CloserEnded", "Detach"):
            self._holders.pop(args[0], None)
        elif action == "Terminate":
            for slot in memory:
                self._holders.pop(slot, None)

    def refused(
        self, machine: Any, action: str, args: tuple[Any, ...], memory: Any, error: BaseException
    ) -> None:
        """Add the last holder to the error of an invalid release."""
        if action in ENDS and isinstance(error, InvalidReleaseError):
            error.args = (f"{error}{self.holder(args[0])}",)

    def _begin(self, machine: Any, slot: Any) -> None:
        holder = self._holders.get(slot)
        if holder is None:
            holder = self._holders[slot] = Holder()
        holder.begin()
        if self._leak_threshold < NEVER:
            holder.timer = asyncio.get_running_loop().call_later(
                self._leak_threshold, self._warn, machine.name, holder, context=Context()
            )

    def _end(self, machine: Any, slot: Any) -> None:
        holder = self._holders[slot]
        holder.end()
        if holder.warned:
            log(logging.WARNING, "pool %r: a resource came back after all%s", machine.name, holder)

    def _warn(self, name: str, holder: Holder) -> None:
        holder.warned = True
        log(
            logging.WARNING,
            "pool %r: a resource is held for more than leak_threshold=%g s%s",
            name,
            self._leak_threshold,
            holder,
        )
