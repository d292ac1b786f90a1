"""Contexts as resources of a pool. One task for each context enters it, keeps it and leaves it.

The pool gets a factory and a closer, and treats them like any others. If a context ends by itself,
the pool ends the age of its resource. So the pool never hands this resource out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._errors import ResourcePoolError
from ._habits import refuse_context_maker
from ._messages import duplicate

if TYPE_CHECKING:
    from asyncio import Future, Task

T = TypeVar("T")

_tasks: dict[Task[None], None] = {}  # keeps the tasks alive, because the loop does not


class Entry(Generic[T]):
    """One context and the task that enters it, keeps it and leaves it."""

    __slots__ = ("entered", "leave", "task")

    entered: Future[Any]  # gets the resource from the task; cancelled with the creation
    leave: Leave  # resolved when the task has to leave the context
    task: Task[None]

    def note_end(self, _: object) -> None:
        """Wake the creation if the task ended before the context was entered."""
        if not self.entered.done():
            self.entered.set_result(None)

    def is_ending(self) -> bool:
        """Tell whether the task is leaving or has left the context, for any reason."""
        # A cancellation of the task cancels `leave` as well.
        return self.leave.done() or self.task.done()


class Leave(asyncio.Future[None]):
    """The future that is resolved when the task has to leave its context.

    If the task is cancelled, this future is cancelled, too. Then the context ends by itself.
    """

    on_cancel: Callable[[], None] | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the future, and report the end of the context at once."""
        cancelled = super().cancel(msg)
        if cancelled and self.on_cancel is not None:
            self.on_cancel()
        return cancelled


class IdentityKey:
    """A dictionary key that is equal only for the same object. The object need not be hashable.

    An id would be a correct key, too. But an id differs from run to run, and the explorer compares
    runs.
    """

    __slots__ = ("subject",)

    def __init__(self, subject: object) -> None:
        self.subject = subject

    def __hash__(self) -> int:
        return id(self.subject)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdentityKey) and other.subject is self.subject


class Contexts(Generic[T]):
    """The factory and the closer of a pool of contexts."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        if isinstance(make, AbstractAsyncContextManager):  # many of them are callable
            raise TypeError(
                f"make_context_manager must make context managers, not be one of them: {make!r}; "
                "pass the function itself, not its result"
            )
        refuse_context_maker(make)
        self.name = ""
        self._make = make
        self._report: Callable[[T], None] | None = None
        self._entries: dict[IdentityKey, Entry[T]] = {}
        # Loops of other threads may add tasks meanwhile, so iterate over a copy. copy() is atomic.
        for task in _tasks.copy():
            if task.get_loop().is_closed():
                _tasks.pop(task, None)

    def attach(self, name: str, report: Callable[[T], None]) -> None:
        """Give the contexts their pool.

        Args:
            name: The pool's name, for messages.
            report: Called with the resource of a context that has ended by itself.
        """
        self.name = name
        self._report = report

    async def _run(self, entry: Entry[T]) -> None:
        """Enter the context, keep it until it must be left, and leave it."""
        async with self._make() as resource:
            if not entry.entered.done():
                entry.entered.set_result(resource)
            await entry.leave

    async def create(self) -> T:
        """Enter a new context.

        If this call is cancelled, it cancels entering, and ends after the context is left.
        """
        loop = asyncio.get_running_loop()
        entry: Entry[T] = Entry()
        entry.entered, entry.leave = loop.create_future(), Leave(loop=loop)
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
                raise duplicate(self.name, "entering a context", resource)
            finally:
                await self._leave(entry)
        self._entries[IdentityKey(resource)] = entry
        assert self._report is not None
        entry.leave.on_cancel = partial(self._report, resource)
        return resource

    async def _leave(self, entry: Entry[T]) -> None:
        """Let the task leave the context, and raise the error of leaving.

        If this call is cancelled, it cancels the task as well.
        """
        if not entry.leave.done():
            # Do this even if the context is not entered yet. Entering may ignore its cancellation,
            # and then the task must not wait.
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
        """Leave the context of a resource, and raise the error of leaving."""
        entry = self._entries[IdentityKey(resource)]
        try:
            await self._leave(entry)
        finally:
            del self._entries[IdentityKey(resource)]
        if entry.task.cancelled():
            raise ResourcePoolError(f"a context of pool {self.name!r} was cancelled")
