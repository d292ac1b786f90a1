"""Forked children: the pools that they inherit are their parent's."""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol


class Forkable(Protocol):
    """What has to know that it was forked."""

    _forked: bool
    _loop: Any


_pools: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(pool: Forkable) -> None:
    """Tell the pool when it finds itself in a forked child."""
    _pools.add(pool)


def _after_fork_in_child() -> None:
    for pool in _pools:
        pool._forked = True
        pool._loop = None


# Not everywhere: some systems know no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_after_fork_in_child)
