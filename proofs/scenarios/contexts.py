"""The world outside of a pool made by `from_context`.

One task enters and leaves each context. A context may also end without the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from nodetool.concurrency import AsyncResourcePool, ResourcePoolError
from proofs.scenarios.outside import MET, CloserError, Outside, Resource
from proofs.scenarios.users import User


class Session(Resource):
    """Resource that a context returned when it was entered."""

    __slots__ = ("has_ended", "task", "was_held")

    task: asyncio.Task[Any]  # the task that entered the context

    def __init__(self) -> None:
        super().__init__()
        self.has_ended = False  # the context has ended without the pool
        self.was_held = False  # a user has held the session


class InContexts(Outside):
    """World of contexts: entering one is the factory's call, and leaving one is the closer's."""

    kind = Session

    def make_pool(self, options: dict[str, Any]) -> AsyncResourcePool[Any]:
        for hook in {"check", "reset"} - self.faults:
            options.pop(hook, None)
        return AsyncResourcePool.from_context(lambda: Context(self), **options)

    async def close(self, session: Session) -> None:
        """Leave the context. It must be unused, unless it ended without the pool."""
        assert not session.closed, "left twice"
        assert not session.holders or session.has_ended or session.kept, (
            "left while a user holds it"
        )
        session.closed = True
        if not session.kept:
            try:
                await self.call("closer", CloserError)
            finally:
                self.living -= 1

    def take(self, resource: Session) -> None:
        """Record that a user holds the session now.

        Only a new context may have ended since the pool looked at it.
        """
        if resource.was_held or not resource.has_ended:
            resource.assert_unused()
        resource.was_held = True
        resource.holders += 1

    def keep(self, resource: Session) -> None:
        """Record that the session left the pool, and cancel its task, as the end of a loop does."""
        if not resource.closed:
            super().keep(resource)
            resource.task.cancel()

    def assert_created(self, number: int) -> None:
        """Assert that the pool has counted no more. A context may end as it was entered."""
        assert number <= len(self.resources), f"{len(self.resources)} were created"


class Context(AbstractAsyncContextManager[Session]):
    """One context. It keeps no traceback, because a fingerprint does not cover tracebacks."""

    def __init__(self, outside: InContexts) -> None:
        self.outside = outside

    async def __aenter__(self) -> Session:
        try:
            session: Session = await self.outside.create()
        except asyncio.CancelledError:
            MET.add("entering, cancelled")
            raise
        task = asyncio.current_task()
        assert task is not None
        session.task = task
        self.session = session
        return session

    def __aexit__(self, *_: object) -> Coroutine[Any, Any, None]:
        assert asyncio.current_task() is self.session.task, "left by another task"
        return self.outside.close(self.session)


async def crashes(o: Outside) -> None:
    """Let all entered contexts end without the pool."""
    await o.events.call("crash")
    for session in o.resources:
        assert isinstance(session, Session)
        if not session.closed:
            o.about_to("crash")
            session.has_ended = True
            session.task.cancel()


def lasting(user: User) -> User:
    """Return a user that accepts the end of its context while the context is entered."""

    async def uses(o: Outside) -> None:
        try:
            await user(o)
        except ResourcePoolError as error:
            if "has ended as it was entered" not in str(error):
                raise
            MET.add("ended as it was entered")

    uses.__name__ = user.__name__
    return uses
