"""Calls of user code that must not fail a step: logging, names of tasks, and futures.

A logging handler is user code, so these functions ignore its errors. A future may belong to a
closed loop.
"""

from __future__ import annotations

import logging
from asyncio import InvalidStateError, _get_running_loop
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from asyncio import Future

logger = logging.getLogger("nodetool.concurrency.pool")


def log(level: int, message: str, *arguments: object, exc_info: Any = None) -> None:
    """Log, and ignore the errors of handlers, filters and formatters, because they are user code.

    Do not call this function in the middle of a step. A handler may call the pool, and without a
    loop `stop` raises an error.
    """
    try:
        logger.log(level, message, *arguments, exc_info=exc_info)
    except BaseException as error:
        ignore(error)


def log_error(
    level: int, name: str, what: str, error: BaseException, *, with_traceback: bool = True
) -> None:
    """Log an error of user code.

    Args:
        level: The level of the message.
        name: The pool's name.
        what: The text that says what has failed.
        error: The error.
        with_traceback: Whether to log the traceback, too.
    """
    # Pass a tuple, because logging leaves out the traceback of an error that is falsy.
    exc_info = (type(error), error, error.__traceback__) if with_traceback else None
    log(level, "pool %r: %s: %s", name, what, described(error), exc_info=exc_info)


def described(error: BaseException) -> str:
    """Return the representation of a user's error. If its `__repr__` fails, use that of object."""
    try:
        return repr(error)
    except BaseException as problem:
        ignore(problem)
        return object.__repr__(error)


def name_of(task: Any) -> str:
    """Return the name of a task. The task may be an object of a user's class."""
    try:
        name = task.get_name()
    except BaseException as error:
        ignore(error)
        return ""
    return name if type(name) is str else ""


def ignore(error: BaseException) -> None:
    """Ignore an error of user code, unless it stops the program."""
    if stops_program(error):
        stop(error)


def stops_program(error: object) -> TypeGuard[BaseException]:
    """Tell whether an error stops the program: KeyboardInterrupt or SystemExit.

    Only its type decides, because `isinstance` also reads `__class__`, which may be user code.
    """
    return issubclass(type(error), (KeyboardInterrupt, SystemExit))


def stop(error: BaseException) -> None:
    """Raise the error in the event loop, after the step in progress. Without a loop, raise it now.

    If the error came earlier, the caller of the pool would lose the result, for example a resource.
    """
    loop = _get_running_loop()
    if loop is None:
        raise error
    loop.call_soon(partial(interrupt, error))


def interrupt(error: BaseException) -> None:
    """Raise the error."""
    raise error


def resolve(future: Future[Any], result: bool | None) -> None:
    """Wake the task that awaits the future, unless the future is done or its loop is closed."""
    if not future.done():
        try:
            future.set_result(result)
        except RecursionError:
            raise  # the caller has no room left on the stack
        except (InvalidStateError, RuntimeError):
            # A nested call was faster, or the loop is closed and refuses callbacks.
            assert future.done() or future.get_loop().is_closed()
