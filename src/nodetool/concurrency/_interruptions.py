"""The default of `discard_on`: the exceptions after which a context closes its resource."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from ._errors import ResourcePoolTimeoutError

Test: TypeAlias = "Callable[[BaseException], Any]"

INTERRUPTIONS = (
    asyncio.CancelledError,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
    TimeoutError,
    BaseExceptionGroup,
)
"""The exceptions that may interrupt a protocol in the middle. Since version 0.1.0."""


def is_interruption(error: BaseException) -> bool:
    """Tell whether an exception may have interrupted a protocol in the middle.

    This function is the default of `discard_on`. A time-out has cancelled the work of the body. A
    task group that failed has cancelled tasks that may share the resource. After either of them,
    the next user of the resource could read the answer to an earlier request.

    Args:
        error: The exception that ended the body of `acquire_context`.

    Returns:
        Whether it is one of `INTERRUPTIONS`. A `ResourcePoolTimeoutError` is not an interruption,
        and neither is its subclass `ResourcePoolExhaustedError`, because the call that raises
        it uses no resource.

    Since version 0.2.0.
    """
    return isinstance(error, INTERRUPTIONS) and not isinstance(error, ResourcePoolTimeoutError)


def made(kind: type[BaseException]) -> BaseException:
    """Make an exception for a caller of ``__aexit__`` that gave only the class.

    If the class cannot make one without arguments, the exception that it raises takes its place.
    """
    try:
        return kind()
    except Exception as error:
        return error


def test_for(classes: tuple[type[BaseException], ...]) -> Test:
    """Return a test for exceptions of these classes, and for groups that contain one of them.

    A `ResourcePoolTimeoutError` is a ``TimeoutError``, too. But ``TimeoutError`` and its base
    ``OSError`` do not match it, because it interrupts nothing: see `is_interruption`.
    """
    for_pools = tuple(one for one in classes if one not in (TimeoutError, OSError))

    def is_listed(error: BaseException) -> bool:
        listed = for_pools if isinstance(error, ResourcePoolTimeoutError) else classes
        if isinstance(error, listed):
            return True
        return isinstance(error, BaseExceptionGroup) and any(map(is_listed, error.exceptions))

    return is_listed
