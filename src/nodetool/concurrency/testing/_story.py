"""What happens, in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._loop import owner

__all__ = ["shown", "stack", "waits", "words"]


def shown(value: object, how: Callable[[object], str] = repr) -> str:
    """Its ``repr``, or what to say if it has none."""
    try:
        return how(value)
    except Exception as error:
        return f"<{type(value).__qualname__}, whose {how.__name__} raises {type(error).__name__}>"


def words(handle: asyncio.Handle) -> str:
    """Which task, or which callback, a handle runs."""
    callback: Any = handle._callback  # type: ignore[attr-defined]  # as its repr shows it
    task = owner(callback)
    if isinstance(task, asyncio.Task):
        name = getattr(callback, "__name__", "step")
        return task.get_name() if name != "cancel" else f"cancellation of {task.get_name()}"
    callback = getattr(callback, "func", callback)
    return str(getattr(callback, "__qualname__", type(callback).__name__))


def stack(coroutine: Any) -> list[str]:
    """Where a coroutine stands, outermost first, each as ``name (file:line)``."""
    lines = []
    while True:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                code = frame.f_code
                lines.append(f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})")
                coroutine = getattr(coroutine, f"{kind}_await", None)
                break
        else:
            return lines


def waits(tasks: list[asyncio.Task[Any]]) -> str:
    """Who waits where."""
    return "\n".join(
        f"  {task.get_name()!r} waits in {' > '.join(stack(task.get_coro()))}" for task in tasks
    )
