"""Contexts as resources of a pool. One task for each context enters it, keeps it and leaves it.

The pool gets a factory, a closer, a check and a reset, and treats them like any others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._errors import DuplicateResourceError, ResourcePoolError
from ._machine.slots import NEVER
from ._runtime.callbacks import call

if TYPE_CHECKING:
    from asyncio import Future, Task

T = TypeVar("T")


_tasks: dict[Task[None], None] = {}  # the loop itself keeps no task alive


class Entry(Generic[T]):
    """One context and the task that enters it, keeps it and leaves it."""

    __slots__ = ("entered", "leave", "task", "used_at")

    entered: Future[Any]  # the resource, when the context is entered; cancelled with the creation
    leave: Future[None]  # resolved when the task has to leave the context
    task: Task[None]
    used_at: float  # when the resource last came back, or the context was entered

    def note_end(self, _: object) -> None:
        """Wake the creation if the task ended before the context was entered."""
        if not self.entered.done():
            self.entered.set_result(None)

    def is_ending(self) -> bool:
        """Tell whether the task is leaving or has left the context, for whatever reason."""
        # A cancellation of the task cancels `leave` as well.
        return self.leave.done() or self.task.done()


class IdentityKey:
    """A dictionary key that is equal only for the same object, which need not be hashable.

    An id would do as well, but it differs from run to run, and the explorer compares runs.
    """

    __slots__ = ("subject",)

    def __init__(self, subject: object) -> None:
        self.subject = subject

    def __hash__(self) -> int:
        return id(self.subject)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdentityKey) and other.subject is self.subject


class Contexts(Generic[T]):
    """The factory, the closer, the check and the reset of a pool of contexts."""

    def __init__(
        self,
        make: Callable[[], AbstractAsyncContextManager[T]],
        check: Callable[[T], Any] | None,
        check_after_idle: float,
        reset: Callable[[T], Any] | None,
    ) -> None:
        if isinstance(make, AbstractAsyncContextManager):  # many are callable, as decorators
            raise TypeError(
                f"make_context_manager must make context managers, not be one of them: {make!r}; "
                "pass the function itself, not its result"
            )
        self.name = ""
        self._make = make
        self._check = check
        self._check_after_idle = check_after_idle
        self._reset = reset
        self._failed_at = -NEVER  # when a check last failed
        self._entries: dict[IdentityKey, Entry[T]] = {}
        for task in _tasks.copy():  # copy() is atomic: loops of other threads add tasks meanwhile
            if task.get_loop().is_closed():
                _tasks.pop(task, None)

    async def _run(self, entry: Entry[T]) -> None:
        """Enter the context, keep it until it must be left, and leave it."""
        async with self._make() as resource:
            if not entry.entered.done():
                entry.entered.set_result(resource)
            await entry.leave

    async def create(self) -> T:
        """Enter a new context.

        A cancellation cancels entering, too. The context is left before this call ends.
        """
        loop = asyncio.get_running_loop()
        entry: Entry[T] = Entry()
        entry.entered, entry.leave = loop.create_future(), loop.create_future()
        # An eager task factory would enter the context inside this call, so do not use create_task.
        entry.task = asyncio.Task(self._run(entry), loop=loop, name=f"{self.name}: context")
        _tasks[entry.task] = None
        entry.task.add_done_callback(_tasks.pop)
        entry.task.add_done_callback(entry.note_end)
        try:
            resource: T = await entry.entered
        except asyncio.CancelledError:
            await self._leave(entry)
            raise
        if entry.is_ending():
            await self._leave(entry)
            raise ResourcePoolError(f"a context of pool {self.name!r} has ended as it was entered")
        if IdentityKey(resource) in self._entries:
            try:
                raise DuplicateResourceError(
                    f"pool {self.name!r}: entering a context returned an object that is in the "
                    "pool already; it must return a new one each time"
                )
            finally:
                await self._leave(entry)
        entry.used_at = loop.time()
        self._entries[IdentityKey(resource)] = entry
        return resource

    async def _leave(self, entry: Entry[T]) -> None:
        """Let the task leave the context, and raise what leaving raises.

        A cancellation of this call cancels the task as well.
        """
        if not entry.leave.done():
            # Also before the context is entered, because a cancellation may not stop entering.
            entry.leave.set_result(None)
        if entry.entered.cancelled():
            entry.task.cancel()
        cancelled = None
        while not entry.task.done():
            try:
                await asyncio.wait([entry.task])
            except asyncio.CancelledError as error:
                cancelled = error
                entry.task.cancel()
        if not entry.task.cancelled():
            entry.task.result()
        if cancelled is not None:
            raise cancelled

    async def close(self, resource: T) -> None:
        """Leave the context of a resource, and raise what leaving raises."""
        entry = self._entries[IdentityKey(resource)]
        try:
            await self._leave(entry)
        finally:
            del self._entries[IdentityKey(resource)]
        if entry.task.cancelled():
            raise ResourcePoolError(f"a context of pool {self.name!r} was cancelled")

    async def check(self, resource: T) -> Any:
        """Check that the context is still entered, then call the user's check if it is due.

        The user's check is skipped if the resource was used recently and no check has failed since.
        """
        entry, time = self._entries[IdentityKey(resource)], asyncio.get_running_loop().time
        if entry.is_ending():
            return False
        trust_since = max(time() - self._check_after_idle, self._failed_at)
        if self._check is None or entry.used_at > trust_since:
            return True
        try:
            passed = await call(NEVER, self._check, resource)
        except Exception:
            self._failed_at = time()
            raise
        if passed is False:
            self._failed_at = time()
        return False if entry.is_ending() else passed

    async def reset(self, resource: T) -> None:
        """Call the user's reset. Refuse a context that has ended, so that the pool closes it."""
        entry = self._entries[IdentityKey(resource)]
        if entry.is_ending():
            raise ResourcePoolError(f"a context of pool {self.name!r} has ended by itself")
        if self._reset is not None:
            await call(NEVER, self._reset, resource)
        entry.used_at = asyncio.get_running_loop().time()
