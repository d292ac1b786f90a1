"""Logging and futures, as the runtime uses them.

A logging handler is user code, so its errors are ignored. A future may belong to a closed loop.
"""

from __future__ import annotations

import logging
from asyncio import InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Future

logger = logging.getLogger("nodetool.concurrency.pool")


def log(level: int, message: str, *arguments: object, exc_info: Any = None) -> None:
    """Log, and ignore what a logging handler raises, because the handler is a user's callback."""
    with suppress(Exception):
        logger.log(level, message, *arguments, exc_info=exc_info)


def resolve(future: Future[Any], result: bool | None) -> None:
    """Wake the task that awaits the future, unless it was cancelled or its loop is closed."""
    if not future.done():
        try:
            future.set_result(result)
        except RecursionError:
            raise  # the caller has no room left on the stack
        except (InvalidStateError, RuntimeError):
            # A nested call was faster, or the loop is closed and refuses callbacks.
            assert future.done() or future.get_loop().is_closed()
