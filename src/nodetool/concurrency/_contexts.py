"""Resources that are entered and left by the same task: each in a task of its own.

To the pool these are a factory, a closer, a check and a reset like any other.
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


class Kept(Generic[T]):
    """One context and the task that entered it."""

    __slots__ = ("entered", "leave", "task", "used_at")

    entered: Future[Any]  # what entering returned; cancelled: nobody waits for that any more
    leave: Future[None]  # resolved when it is time to leave
    task: Task[None]
    used_at: float  # when it last came back, or was entered

    def over(self, _: object) -> None:
        """The task has ended, perhaps before it has entered."""
        if not self.entered.done():
            self.entered.set_result(None)

    def is_ending(self) -> bool:
        """Whether it is being left, or was, by whomever: a cancellation takes `leave` with it."""
        return self.leave.done() or self.task.done()


class Same:
    """A key for one very object, be it hashable or not; unlike its id, the same in every run."""

    __slots__ = ("what",)

    def __init__(self, what: object) -> None:
        self.what = what

    def __hash__(self) -> int:
        return id(self.what)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.what is self.what


class Contexts(Generic[T]):
    """What a pool of contexts needs: how to enter, keep, check and leave them."""

    def __init__(
        self,
        make: Callable[[], AbstractAsyncContextManager[T]],
        check: Callable[[T], Any] | None,
        check_after_idle: float,
        reset: Callable[[T], Any] | None,
    ) -> None:
        if isinstance(make, AbstractAsyncContextManager):  # many can be called, as decorators
            raise TypeError(
                f"make_context_manager must make context managers, not be one of them: {make!r}; "
                "pass the function itself, not its result"
            )
        self.name = ""
        self._make = make
        self._check = check
        self._check_after_idle = check_after_idle
        self._reset = reset
        self._failed_at = -NEVER  # when a check said no, last
        self._kept: dict[Same, Kept[T]] = {}
        for task in _tasks.copy():  # in one piece: other threads have loops, too
            if task.get_loop().is_closed():
                _tasks.pop(task, None)

    async def _keep(self, kept: Kept[T]) -> None:
        """What the context's own task does."""
        async with self._make() as resource:
            if not kept.entered.done():
                kept.entered.set_result(resource)
            await kept.leave

    async def create(self) -> T:
        """Enter a new context. If this is cancelled so is that, and it is left before this ends."""
        loop = asyncio.get_running_loop()
        kept: Kept[T] = Kept()
        kept.entered, kept.leave = loop.create_future(), loop.create_future()
        # Not create_task: an eager task factory would enter it in the midst of this one.
        kept.task = asyncio.Task(self._keep(kept), loop=loop, name=f"{self.name}: context")
        _tasks[kept.task] = None
        kept.task.add_done_callback(_tasks.pop)
        kept.task.add_done_callback(kept.over)
        try:
            resource: T = await kept.entered
        except asyncio.CancelledError:
            await self._leave(kept)
            raise
        if kept.is_ending():
            await self._leave(kept)
            raise ResourcePoolError(f"a context of pool {self.name!r} has ended as it was entered")
        if Same(resource) in self._kept:
            try:
                raise DuplicateResourceError(
                    f"pool {self.name!r}: entering a context returned an object that is in the "
                    "pool already; it must return a new one each time"
                )
            finally:
                await self._leave(kept)
        kept.used_at = loop.time()
        self._kept[Same(resource)] = kept
        return resource

    async def _leave(self, kept: Kept[T]) -> None:
        """Have the context left by its task, and raise what leaving it raises.

        A cancellation meanwhile is that task's, too.
        """
        if not kept.leave.done():
            kept.leave.set_result(None)  # also if it is not entered yet: it may be in spite of us
        if kept.entered.cancelled():
            kept.task.cancel()
        cancelled = None
        while not kept.task.done():
            try:
                await asyncio.wait([kept.task])
            except asyncio.CancelledError as error:
                cancelled = error
                kept.task.cancel()
        if not kept.task.cancelled():
            kept.task.result()
        if cancelled is not None:
            raise cancelled

    async def close(self, resource: T) -> None:
        """Leave the context, and raise what leaving it raises."""
        kept = self._kept[Same(resource)]
        try:
            await self._leave(kept)
        finally:
            del self._kept[Same(resource)]
        if kept.task.cancelled():
            raise ResourcePoolError(f"a context of pool {self.name!r} was cancelled")

    async def check(self, resource: T) -> Any:
        """Whether the context is still entered; and what the user's own check says, if in doubt."""
        kept, time = self._kept[Same(resource)], asyncio.get_running_loop().time
        if kept.is_ending():
            return False
        sure = max(time() - self._check_after_idle, self._failed_at)
        if self._check is None or kept.used_at > sure:
            return True
        try:
            passed = await call(NEVER, self._check, resource)
        except Exception:
            self._failed_at = time()
            raise
        if passed is False:
            self._failed_at = time()
        return False if kept.is_ending() else passed

    async def reset(self, resource: T) -> None:
        """Refuse a context that is over, so that the pool closes it; else the user's own reset."""
        kept = self._kept[Same(resource)]
        if kept.is_ending():
            raise ResourcePoolError(f"a context of pool {self.name!r} has ended by itself")
        if self._reset is not None:
            await call(NEVER, self._reset, resource)
        kept.used_at = asyncio.get_running_loop().time()
