"""Loop affinity: which event loop, thread and process a pool belongs to."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import weakref
from asyncio import _get_running_loop, current_task
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from sys import exc_info
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias

from nodetool.concurrency._errors import ResourcePoolLoopError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, TimerHandle

    Timer: TypeAlias = "TimerHandle | LateTimer"


ASKS_LOOP = sys.version_info >= (3, 12)  # older versions find the running loop slowly

here: Callable[[], Any] = _get_running_loop if ASKS_LOOP else get_ident
"""Tell where this code runs: in which loop, or up to Python 3.11 in which thread."""


def clock_of(loop: AbstractEventLoop) -> Callable[[], float]:
    """Return the loop's clock. A loop of asyncio only calls time.monotonic, so return that."""
    stock = type(loop).time is asyncio.BaseEventLoop.time
    return time.monotonic if stock else loop.time


def future_maker_of(loop: AbstractEventLoop) -> Callable[[], Future[Any]]:
    """Return a function that makes the loop's futures. Skip the method of a loop of asyncio."""
    stock = type(loop).create_future is asyncio.BaseEventLoop.create_future
    return partial(asyncio.Future, loop=loop) if stock else loop.create_future


def do_nothing() -> None:
    """Serve as a callback that wakes a loop."""


def weak_callback(method: Callable[[], None]) -> Callable[[], None]:
    """Make a timer's callback that does not keep the method's object alive."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (method := reference()) is not None:
            method()

    return call


class LateTimer:
    """A timer that the loop sets in its next turn.

    A signal handler or a destructor may run while the loop changes its heap of timers. So such code
    must not set a timer at once.
    """

    __slots__ = ("_at", "_binding", "_callback", "_handle")

    def __init__(self, binding: Binding, delay: float, callback: Callable[[], None]) -> None:
        self._binding = binding
        self._at = binding.clock() + delay
        self._callback: Callable[[], None] | None = callback
        self._handle: TimerHandle | None = None
        binding.hand_over(self._set)

    def _set(self) -> None:
        if self._callback is not None:
            delay = self._at - self._binding.clock()
            self._handle = self._binding.set_timer(delay, self._callback)

    def cancel(self) -> None:
        """Cancel the timer, set or not."""
        self._callback = None
        if self._handle is not None:
            self._handle.cancel()


class Owner:
    """The owner of a pool that knows the answer of `here` in advance."""

    __slots__ = ("_thread_id",)

    def __init__(self, answer: object) -> None:
        self._thread_id = answer


class ThreadQuestion:
    """The owner of a pool whose loop does not publish its thread, for example uvloop's loop."""

    __slots__ = ("_loop",)

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def _thread_id(self) -> int | None:
        return get_ident() if _get_running_loop() is self._loop else None


NOWHERE = Owner(object())  # the owner of a pool without a loop


def thread_of(loop: AbstractEventLoop) -> Any:
    """Return the owner up to Python 3.11. A loop of asyncio publishes its thread while it runs."""
    publishes = getattr(loop, "_thread_id", None) == get_ident()
    return loop if publishes else ThreadQuestion(loop)


owner_of: Callable[[AbstractEventLoop], Any] = Owner if ASKS_LOOP else thread_of
"""Make an owner: its `_thread_id` is the answer of `here` where the loop runs."""


class Binding:
    """The loop that a pool belongs to: the loop of the pool's first use.

    If ``owner._thread_id == here()``, the pool's loop is running in this thread. On Python 3.12 and
    later, `here` returns the running loop, and an `Owner` knows the pool's loop. Up to 3.11, `here`
    returns the thread. A loop of asyncio publishes its thread while it runs, so the loop itself is
    the owner. For any other loop, a `ThreadQuestion` compares the pool's loop with the running one.
    """

    __slots__ = (
        "__weakref__",
        "clock",
        "create_future",
        "forked",
        "loop",
        "may_interrupt",
        "name",
        "owner",
    )

    create_future: Callable[[], Future[Any]]  # set when the pool is bound

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop: AbstractEventLoop | None = None
        self.owner: Any = NOWHERE
        self.clock: Callable[[], float] = time.monotonic
        self.forked = False
        self.may_interrupt = False  # whether the call in progress may interrupt the loop's code
        _bindings.add(self)

    def bind(self) -> None:
        """Bind the pool to the running loop on its first use, or refuse the loop."""
        if self.forked:
            raise ResourcePoolLoopError(
                f"pool {self.name!r} belongs to the parent process: create a new pool after the "
                "fork"
            )
        loop: Any = _get_running_loop()
        if loop is None:
            how = "through loop.call_soon_threadsafe" if self.runs_elsewhere() else "in a coroutine"
            raise ResourcePoolLoopError(
                f"pool {self.name!r} was used without a running event loop: use it {how}"
            )
        if self.loop is not None and self.loop is not loop:
            raise ResourcePoolLoopError(
                f"pool {self.name!r} is bound to another event loop, where it was first used: "
                "create one pool for each loop"
            )
        # A nested call may come between two of these lines. It must not find a pool that is bound
        # in part, so set `owner` last. Until `owner` is set, each call binds the pool again.
        self.clock = clock_of(loop)
        self.create_future = future_maker_of(loop)
        owner = owner_of(loop)
        self.loop = loop
        self.owner = owner

    def check(self) -> None:
        """Bind the pool if it is unbound, and refuse any loop but the pool's."""
        if self.owner._thread_id != here():
            self.bind()

    def refuse_strangers(self) -> None:
        """Refuse a call from outside of the pool's loop. In a loop, do not bind an unused pool."""
        if self.loop is not None or self.forked or _get_running_loop() is None:
            self.check()

    def is_current(self) -> bool:
        """Tell whether the pool's loop is running in this thread."""
        return bool(self.owner._thread_id == here())

    def runs_elsewhere(self) -> bool:
        """Tell whether the pool's loop is running in another thread."""
        return self.loop is not None and self.loop.is_running() and not self.is_current()

    def is_refused(self) -> bool:
        """Tell whether to refuse the end of a context.

        Code outside of event loops may end a context after the pool's loop has stopped.
        """
        running = self.loop is not None and self.loop.is_running()
        stopped = _get_running_loop() is None and not running
        return self.forked or not (self.is_current() or stopped)

    def is_over(self) -> bool:
        """Tell whether the pool's loop is closed, so that nothing runs in it any more."""
        return self.loop is not None and self.loop.is_closed()

    def call_later(self, delay: float, method: Callable[[], None]) -> Timer | None:
        """Set a timer that keeps alive neither the method's object nor any context variables.

        Return None if there is no open loop.
        """
        if self.loop is None or self.loop.is_closed():
            return None
        callback = weak_callback(method)
        if self._interrupts():
            return LateTimer(self, delay, callback)
        return self.set_timer(delay, callback)

    def set_timer(self, delay: float, callback: Callable[[], None]) -> TimerHandle:
        """Set a timer of the loop."""
        assert self.loop is not None
        return self.loop.call_later(delay, callback, context=Context())

    def cancel(self, timer: Timer | None) -> None:
        """Cancel a timer if there is one.

        Without a current task, the loop may be about to call this very timer. Then cancel the timer
        in the loop's next turn, because otherwise the loop would call None.
        """
        if timer is not None:
            if self._interrupts() and self._is_between_tasks():
                self.hand_over(timer.cancel)
            else:
                timer.cancel()

    def wake(self) -> None:
        """Wake the loop, because a signal handler may have run while the loop sleeps."""
        if self.owner._thread_id == here() and current_task(self.loop) is None:
            self.hand_over(do_nothing)

    def hand_over(self, call: Callable[[], None]) -> None:
        """Let the loop make a call in its next turn."""
        assert self.loop is not None
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(call, context=Context())

    def _interrupts(self) -> bool:
        """Tell whether the call in progress may interrupt the loop's own code.

        A coroutine that somebody closes may call the pool, too.
        """
        return self.may_interrupt or exc_info()[0] is GeneratorExit

    def _is_between_tasks(self) -> bool:
        return self.is_current() and current_task(self.loop) is None

    def leave_to_parent(self) -> None:
        """Give up the pool in a forked child, because the pool belongs to the parent process."""
        self.forked = True
        self.loop = None
        self.owner = NOWHERE


_bindings: weakref.WeakSet[Binding] = weakref.WeakSet()


def _give_up_after_fork() -> None:
    for binding in _bindings:
        if binding.loop is not None:  # the child may use a pool that the parent never used
            binding.leave_to_parent()


# Some systems have no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_give_up_after_fork)
