"""Running a test in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from nodetool.concurrency.verify._virtual_time import VirtualTimeLoop, turns

__all__ = ["VirtualTimeLoop", "run", "turns"]

R = TypeVar("R")


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine in a virtual-time loop of its own; errors in callbacks fail it."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        result = runner.run(main)
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        assert not left, f"tasks left behind: {left}"
        assert not loop.errors, f"errors in callbacks: {loop.errors}"
        return result
