"""Calling what users hand in: sync or async, within a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar

from ._errors import ResourcePoolError
from ._records import NEVER

R = TypeVar("R")


class LimitPassedError(Exception):
    """The limit of `call` passed; not the callee's own TimeoutError."""


async def call(limit: float, function: Callable[..., R | Awaitable[R]], *args: Any) -> R:
    """Call a sync or async callback of the user within `limit` seconds."""
    bound = None
    try:
        result = function(*args)
        if not isawaitable(result):
            return result
        if limit == NEVER:
            return await result
        async with asyncio.timeout(limit) as bound:
            return await result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled this task: the callee awaited something that somebody cancelled.
        raise ResourcePoolError(f"{function!r} ended in a cancellation of its own") from error
    except Exception as error:
        if bound is not None and bound.expired():
            raise LimitPassedError from error
        raise
