"""Calls of the users' callbacks, sync or async, and of their logging handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
from typing import Any, TypeVar

from nodetool.concurrency._errors import ResourcePoolError
from nodetool.concurrency._machine.slots import NEVER

R = TypeVar("R")

logger = logging.getLogger("nodetool.concurrency.pool")


class LimitExceededError(Exception):
    """Error of a callback that exceeded the limit of `call`. It is not the callback's own error."""


async def call(limit: float, function: Callable[..., R | Awaitable[R]], *args: Any) -> R:
    """Call a sync or async callback, and await its result for at most `limit` seconds.

    Outside of a task there is no limit, because nothing can interrupt the callback there.
    """
    bound = None
    try:
        result = function(*args)
        if not isawaitable(result):
            return result
        if limit == NEVER or asyncio.current_task() is None:  # only a task can be cancelled
            return await result
        async with asyncio.timeout(limit) as bound:
            return await result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # This task was not cancelled, so the callback awaited something that was.
        raise ResourcePoolError(f"{function!r} ended in a cancellation of its own") from error
    except Exception as error:
        if bound is not None and bound.expired():
            raise LimitExceededError from error
        raise


def log(level: int, message: str, *arguments: object, exc_info: Any = None) -> None:
    """Log, and ignore what a logging handler raises, because the handler is a user's callback."""
    with suppress(Exception):
        logger.log(level, message, *arguments, exc_info=exc_info)
