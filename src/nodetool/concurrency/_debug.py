"""Debug mode: the contract-checked machine, with a memory of who holds what.

It sees each lease begin and end, since every one does so in a step of the machine; the shell does
not know of it, and production pays nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
import weakref
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar

from ._contracts import CheckedMachine
from ._errors import InvalidReleaseError
from ._records import NEVER, Place, Record, Waiter
from ._state import Acquired

T = TypeVar("T")

logger = logging.getLogger("nodetool.concurrency.pool")

HERE = str(Path(__file__).parent)


class Holder:
    """Who took a resource, and who had it before."""

    def __init__(self) -> None:
        self.spent: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()  # had it before
        self.task: weakref.ref[asyncio.Task[Any]] | None = None
        self.name = "no task"
        self.stack: list[traceback.FrameSummary] = []
        self.since = 0.0
        self.until: float | None = None  # None: still held
        self.timer: asyncio.TimerHandle | None = None
        self.warned = False

    def take(self) -> None:
        """The current task has it now."""
        task = asyncio.current_task()
        self.task = None if task is None else weakref.ref(task)
        self.name = "no task" if task is None else f"task {task.get_name()!r}"
        self.stack = [
            frame for frame in traceback.extract_stack() if not frame.filename.startswith(HERE)
        ]
        self.since = time.monotonic()
        self.until = None
        self.warned = False
        if task is not None:
            self.spent.discard(task)

    def give(self) -> None:
        """It is given back, by whomever."""
        self.until = time.monotonic()
        task = None if self.task is None else self.task()
        if task is not None:
            self.spent.add(task)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def is_stale(self) -> bool:
        """Whether the current task had it before, and another has it now.

        A holder that is done has passed it on: to this task, perhaps.
        """
        task = asyncio.current_task()
        holder = None if self.task is None else self.task()
        live = holder is not None and not holder.done()
        return live and task is not holder and task in self.spent

    def __str__(self) -> str:
        lasted = (time.monotonic() if self.until is None else self.until) - self.since
        verb = "held" if self.until is None else "was last held"
        where = "".join(traceback.format_list(self.stack[-6:]))
        return f"\n  {verb} by {self.name} for {lasted:.3f} s, acquired at:\n{where.rstrip()}"


class DebugMachine(CheckedMachine[T]):
    """The machine of debug mode."""

    def __init__(self, *args: Any, leak_threshold: float = NEVER, **options: Any) -> None:
        self.leak_threshold = leak_threshold
        super().__init__(*args, **options)

    def holder(self, record: Record[T]) -> str:
        return "" if record.debug is None else str(record.debug)

    def holders(self) -> str:
        return "".join(self.holder(record) for record in self.out()[:10])

    def _took(self, got: Acquired[T]) -> None:
        if isinstance(got, Record) and got.place is Place.HELD:
            holder = got.debug = got.debug or Holder()
            holder.take()
            if self.leak_threshold < NEVER:
                holder.timer = asyncio.get_running_loop().call_later(
                    self.leak_threshold, self._leaks, holder, context=Context()
                )

    def _leaks(self, holder: Holder) -> None:
        holder.warned = True
        logger.warning(
            "pool %r: a resource is held for more than leak_threshold=%g s%s",
            self.name,
            self.leak_threshold,
            holder,
        )

    def _gives(self, record: Record[T]) -> None:
        if record.place is Place.HELD and record.debug.is_stale():
            raise InvalidReleaseError(
                f"pool {self.name!r}: cannot release this resource: this task had it before, "
                f"and it is another's now{record.debug}"
            )

    def _gave(self, record: Record[T]) -> None:
        holder: Holder = record.debug
        holder.give()
        if holder.warned:
            logger.warning("pool %r: a resource came back after all%s", self.name, holder)

    def acquire(self, now: float) -> Record[T] | Waiter[T]:
        got = super().acquire(now)
        self._took(got)
        return got

    def resume(self, waiter: Waiter[T], now: float) -> Acquired[T]:
        got = super().resume(waiter, now)
        self._took(got)
        return got

    def check_passed(self, record: Record[T], now: float) -> Acquired[T]:
        got = super().check_passed(record, now)
        self._took(got)
        return got

    def check_failed(self, record: Record[T], now: float) -> Acquired[T]:
        got = super().check_failed(record, now)
        self._took(got)
        return got

    def release(self, record: Record[T], now: float) -> None:
        self._gives(record)
        super().release(record, now)
        self._gave(record)

    def discard(self, record: Record[T]) -> None:
        self._gives(record)
        super().discard(record)
        self._gave(record)

    def detach(self, record: Record[T]) -> None:
        self._gives(record)
        super().detach(record)
        self._gave(record)

    def terminate(self) -> None:
        held = [record for record in self.out() if record.place is Place.HELD]
        super().terminate()
        for record in held:
            self._gave(record)
