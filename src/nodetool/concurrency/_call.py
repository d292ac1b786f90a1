"""Calling what users hand in: callbacks, sync or async, and logging handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
from typing import Any, TypeVar

from ._errors import ResourcePoolError
from ._records import NEVER

R = TypeVar("R")

logger = logging.getLogger("nodetool.concurrency.pool")


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


def log(level: int, message: str, *arguments: object, exc_info: Any = None) -> None:
    """Log. A logging handler is a callback of the user's, too: what it raises is its own affair."""
    with suppress(Exception):
        logger.log(level, message, *arguments, exc_info=exc_info)
