"""Descriptions of events, tasks and coroutines in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._loop import owner

__all__ = ["handle_name", "show"]


def show(value: object, function: Callable[[object], str] = repr) -> str:
    """Return the ``repr`` of an object, or a replacement if the ``repr`` raises."""
    try:
        return function(value)
    except Exception as error:
        kind, name = type(value).__qualname__, function.__name__
        return f"<{kind}, whose {name} raises {type(error).__name__}>"


def handle_name(handle: asyncio.Handle) -> str:
    """Return the name of the task or callback that a handle runs."""
    callback: Any = handle._callback  # type: ignore[attr-defined]  # its repr shows it, too
    task = owner(callback)
    if isinstance(task, asyncio.Task):
        name = getattr(callback, "__name__", "step")
        return task.get_name() if name != "cancel" else f"cancellation of {task.get_name()}"
    callback = getattr(callback, "func", callback)
    return str(getattr(callback, "__qualname__", type(callback).__name__))
