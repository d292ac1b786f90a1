"""Descriptions of events, tasks and coroutines in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ._loop import owner
from ._waits import await_stack

__all__ = ["handle_name", "show", "tell"]


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


def tell(handle: asyncio.Handle) -> str:
    """Describe for a story what a handle runs. Return nothing if it is only the explorer's."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = owner(callback)
    if isinstance(task, asyncio.Task):
        is_step = getattr(callback, "__name__", "step") != "cancel"
        return tell_task(task) if is_step else ""
    if isinstance(task, asyncio.Timeout):
        sleeper: Any = task._task  # type: ignore[attr-defined]
        return f"the timeout of {tell_task(sleeper)}"
    module = str(getattr(getattr(callback, "func", callback), "__module__", ""))
    if module.startswith(__name__.rpartition(".")[0]):
        return ""
    if module.startswith("asyncio."):
        arguments: Any = handle._args
        wakers = [
            owner(waker)
            for argument in arguments
            for waker, _ in getattr(argument, "_callbacks", None) or ()
        ]
        sleepers = [one for one in wakers if isinstance(one, asyncio.Task)]
        return ", ".join(f"the timer of {tell_task(one)}" for one in sleepers)
    return handle_name(handle)


def tell_task(task: asyncio.Task[Any]) -> str:
    """Return the name of a task, or of its coroutine, and where its own code goes on."""
    name = task.get_name()
    coroutine: Any = task.get_coro()
    if name.startswith("Task-"):
        name = getattr(coroutine, "__name__", name)
    places = [place for place in await_stack(coroutine)[0] if not place.is_hidden]
    return f"{name} at {places[-1].where}" if places else name
