"""Where a pool is at home: one event loop, in one process."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from asyncio import _get_running_loop
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ._errors import ResourcePoolLoopError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future


def clock_of(loop: AbstractEventLoop) -> Callable[[], float]:
    """The loop's clock; a stock loop's is time.monotonic() behind one more call."""
    stock = type(loop).time is asyncio.BaseEventLoop.time
    return time.monotonic if stock else loop.time


def futures_of(loop: AbstractEventLoop) -> Callable[[], Future[Any]]:
    """How to make the loop's futures; a stock loop's are asyncio's behind one more call."""
    stock = type(loop).create_future is asyncio.BaseEventLoop.create_future
    return partial(asyncio.Future, loop=loop) if stock else loop.create_future


class Nowhere:
    """The home of a pool that no thread is the thread of."""

    _thread_id = None


NOWHERE = Nowhere()


class Asked:
    """The home of a pool whose loop does not tell its thread, uvloop's for one."""

    __slots__ = ("_loop",)

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def _thread_id(self) -> int | None:
        return get_ident() if _get_running_loop() is self._loop else None


class AtHome:
    """Something that belongs to the loop of its first use.

    ``_home._thread_id == get_ident()`` says that this loop is running here: a loop of the standard
    library knows the thread that it runs in, while it runs, which is the cheapest answer; any other
    is asked whether it is the running one.
    """

    __slots__ = ("__weakref__", "_clock", "_forked", "_home", "_loop")

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None
        self._home: Any = NOWHERE  # the loop again if it tells its thread, or `Asked`
        self._clock: Callable[[], float] = time.monotonic
        self._forked = False
        _everybody.add(self)

    def _leave_to_parent(self) -> None:
        """This process is a forked child: what it inherited is its parent's."""
        self._forked = True
        self._loop = None
        self._home = NOWHERE

    def _is_elsewhere(self) -> bool:
        """Whether this is not its loop; a loop that is over is no reason not to tidy up."""
        here = self._home._thread_id == get_ident()
        over = _get_running_loop() is None and self._home._thread_id is None
        return self._forked or not (here or over)

    def _settle_in(self, name: str) -> None:
        """Make the running loop the pool's own, on its first use, or refuse it."""
        if self._forked:
            raise ResourcePoolLoopError(
                f"pool {name!r} belongs to the parent process: create a new pool after the fork"
            )
        loop: Any = _get_running_loop()
        if loop is None:
            raise ResourcePoolLoopError(
                f"pool {name!r} was used without a running event loop: use it in a coroutine"
            )
        if self._loop is not None:
            raise ResourcePoolLoopError(
                f"pool {name!r} is bound to another event loop, where it was first used: "
                "create one pool for each loop"
            )
        self._loop = loop
        tells = getattr(loop, "_thread_id", None) == get_ident()
        self._home = loop if tells else Asked(loop)
        self._clock = clock_of(loop)


_everybody: weakref.WeakSet[AtHome] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for one in _everybody:
        one._leave_to_parent()


# Not everywhere: some systems know no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_after_fork_in_child)
