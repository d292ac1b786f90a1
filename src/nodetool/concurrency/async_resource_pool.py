"""The pool as its users see it. Every public coroutine takes one step of the machine, performs
what that leaves to do, and awaits at most one thing of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _options
from ._counts import Phase
from ._errors import close_timeout
from ._leasing import Leasing
from ._records import NEVER, Place

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from ._listener import PoolListener
    from ._options import PoolOptions, Seconds

__all__ = ["INTERRUPTIONS", "AsyncResourcePool"]

T = TypeVar("T")

GONE = Place.GONE

INTERRUPTIONS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""The default of `discard_on`: what may have interrupted a protocol in the middle."""


class AsyncResourcePool(Leasing[T]):
    """A pool of reusable asynchronous resources: connections, clients, sessions, workers.

    Resources are created lazily, at most `max_size` of them, and handed out strictly first come,
    first served; the one used last is reused first. The pool is bound to the event loop of its
    first use and is not thread-safe. Constructing it creates nothing and needs no running loop.

    Every coroutine raises `ResourcePoolLoopError` in another event loop and in a forked child. (The
    end of a context does so only if more is to be done than to put its resource back.)

    All durations are seconds or `timedelta`; ``None`` means no limit. `factory`, `closer`, `check`
    and `reset` may be sync or async, or return any awaitable.

    Args:
        factory: Makes a new resource. Runs in a task of the pool's own, with empty context
            variables; it must not return an object that is in the pool already.
        closer: Ends a resource, exactly once for each. Runs in a task of the pool's own. ``None``:
            dropping the last reference is enough.
        max_size: How many resources may exist at once, those being created or closed included.
        min_size: How many the pool keeps, even unused, once it was opened or first acquired from.
        max_age: How long a resource may be used, from the end of its creation. Checked when it is
            handed out or comes back, and by a timer while it is idle.
        max_age_jitter: Each resource's `max_age` is shorter by a random part of this.
        max_idle_time: How long a resource may be idle before it is closed, down to `min_size`.
        acquisition_timeout: How long an acquire may take that says nothing else.
        creation_timeout: How long one call of `factory` may take.
        closer_timeout: How long one call of `closer` may take, before it is cancelled and its
            resource abandoned; and one call of `reset`.
        max_waiting: How many acquirers may wait without a creation of their own. One more is
            turned away at once. ``None``: any number.
        max_creating: How many calls of `factory` may be in flight at once. ``None``: `max_size`.
        check: Called with a resource that is not fresh from the factory, before it is handed out.
            ``False`` (that object, not what is merely falsy) or an exception closes it, and the
            acquire goes on.
        check_after_idle: Skip `check` if the resource was used less than so long ago and no check
            has failed since.
        reset: Called with a resource that comes back. An exception closes it.
        discard_on: What ends an `acquire_context` such that its resource is closed, not reused.
            By default `INTERRUPTIONS`, after which a protocol may be in the middle of something;
            add to them what your client raises when its connection is lost.
        name: Names the pool in messages.
        debug: Check every step against the pool's contracts, remember who holds what since when and
            where from, and catch a release by a former holder. Slow; needs the extra ``debug``.
            ``None``: what the environment's ``NODETOOL_POOL_DEBUG`` says, 0 or 1.
        leak_threshold: In debug mode, warn once of a lease that lasts longer.
        listener: Called with a `PoolEvent` at the end of every creation, wait, use and close. What
            it raises is logged. It may look at the pool (`stats`, `gauges`) but not use it: leave
            that to the loop, by ``call_soon``. Nothing is paid for it where there is none.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of the wrong kind.
    """

    __slots__ = ()

    # An async factory makes a pool of what it returns, not of coroutines.
    @overload
    def __init__(
        self,
        factory: Callable[[], Awaitable[T]],
        closer: Callable[[T], Any] | None = None,
        **options: Unpack[PoolOptions[T]],
    ) -> None: ...
    @overload
    def __init__(
        self,
        factory: Callable[[], T],
        closer: Callable[[T], Any] | None = None,
        **options: Unpack[PoolOptions[T]],
    ) -> None: ...
    def __init__(
        self,
        factory: Callable[[], T | Awaitable[T]],
        closer: Callable[[T], Any] | None = None,
        *,
        max_size: int = 10,
        min_size: int = 0,
        max_age: Seconds | None = None,
        max_age_jitter: Seconds = 0.0,
        max_idle_time: Seconds | None = None,
        acquisition_timeout: Seconds | None = 30.0,
        creation_timeout: Seconds | None = None,
        closer_timeout: Seconds | None = 30.0,
        max_waiting: int | None = None,
        max_creating: int | None = None,
        check: Callable[[T], Any] | None = None,
        check_after_idle: Seconds = 0.0,
        reset: Callable[[T], Any] | None = None,
        discard_on: type[BaseException] | tuple[type[BaseException], ...] = INTERRUPTIONS,
        name: str | None = None,
        debug: bool | None = None,
        leak_threshold: Seconds | None = None,
        listener: PoolListener | None = None,
    ) -> None:
        _options.function("factory", factory)
        if closer is not None:
            _options.function("closer", closer)
        doubt = _options.hooks(check, check_after_idle, reset)
        limits = _options.limits(max_size, min_size, max_creating, max_waiting)
        age, jitter = _options.age(max_age, max_age_jitter)
        idle = _options.duration("max_idle_time", max_idle_time, positive=True)
        machine = _options.machine(debug, leak_threshold, listener)
        super().__init__(
            machine(
                _options.name(name),
                limits,
                max_idle_time=idle,
                check_after_idle=None if check is None else doubt,
                resets=reset is not None,
            ),
            factory,
            closer,
            check=check,
            reset=reset,
            discard_on=_options.exceptions("discard_on", discard_on),
            acquisition_timeout=_options.duration("acquisition_timeout", acquisition_timeout),
            max_age=age,
            max_age_jitter=jitter,
            creation_timeout=_options.duration("creation_timeout", creation_timeout, positive=True),
            closer_timeout=_options.duration("closer_timeout", closer_timeout, positive=True),
            timed=age < NEVER or idle < NEVER or doubt > 0,
        )

    @classmethod
    def from_context(
        cls,
        make_context_manager: Callable[[], AbstractAsyncContextManager[T]],
        *,
        check: Callable[[T], Any] | None = None,
        check_after_idle: Seconds = 0.0,
        reset: Callable[[T], Any] | None = None,
        **options: Any,
    ) -> AsyncResourcePool[T]:
        """A pool of what asynchronous context managers return when they are entered.

        Each context has a task of its own, which enters it, keeps it while the resource is in the
        pool, and leaves it in place of a closer. So it may hold what has to be entered and left by
        the same task: cancel scopes, task groups, most sessions and clients built on anyio.

        A context that ends by itself (its own task group failed, say) is not handed out again; its
        user may have to `discard` it. What it raised is logged when it is closed.

        Args:
            make_context_manager: Called with no arguments for each new resource, in its task.
            check: As for the pool itself. That the context is still entered is always checked.
            check_after_idle: As for the pool itself, for `check` alone.
            reset: As for the pool itself.
            options: Everything else that the pool takes, but `factory` and `closer`.

        Returns:
            The pool. It refuses `detach`, since nobody else can leave the context.

        Raises:
            ValueError: An argument is out of range.
            TypeError: An argument is of the wrong kind.

        Cancellation:
            A creation that is cancelled or takes too long cancels entering, and waits for its end.
            Leaving that is given up is cancelled. What `terminate` forgets is left when its task is
            cancelled, as `asyncio.run` does in the end.

        Spec:
            CreateSucceeded, CreateFailed, CheckFailed, ResetFailed, CloserEnded; ClosedExactlyOnce,
            OnlyFitHandedOut, FaultIsolation.
        """
        from ._contexts import Contexts

        _options.function("make_context_manager", make_context_manager)
        doubt = _options.hooks(check, check_after_idle, reset)
        contexts = Contexts(make_context_manager, check, doubt, reset)
        pool = cls(
            contexts.create, contexts.close, check=contexts.check, reset=contexts.reset, **options
        )
        contexts.name = pool._machine.name
        pool._detachable = False
        return pool

    async def open(self) -> None:
        """Start to keep `min_size` resources. Optional: the first acquire does the same.

        Returns at once, so that a program starts even while what it connects to is down; the
        factory's failures are logged, and it is tried again with exponential back-off.

        Raises:
            ResourcePoolClosedError: The pool is closing or closed.

        Cancellation:
            Never suspends.

        Spec:
            Open, RetryFloor; FloorRestored.
        """
        self._check_loop()
        self._machine.open()
        self._perform()

    async def prune(self) -> int:
        """Close every idle resource whose `max_age` or `max_idle_time` has passed.

        The pool does this by itself; this is for those who want to wait for it.

        Returns:
            How many were closed, once they are.

        Cancellation:
            The closing goes on.

        Spec:
            Sweep; OnlyFitHandedOut, ClosedExactlyOnce.
        """
        self._check_loop()
        left = self._machine.sweep(self._clock())
        removed = len(left)
        self._perform()

        def done() -> bool:
            while left and left[-1].place is GONE:
                left.pop()
            return not left

        await self._until(done)
        return removed

    async def retire_all(self, wait: bool = False) -> None:
        """Replace everything: nothing that exists now, or is being created, is handed out again.

        What is idle is closed now, what is in use when it comes back. For rotated credentials, a
        changed topology, a restarted server.

        Args:
            wait: Return only when none of it is left; so do not hold any of it yourself.

        Raises:
            ResourcePoolClosedError: The pool is closing or closed.

        Cancellation:
            Stops only the waiting.

        Spec:
            RetireAll; OnlyFitHandedOut, RetireAllCompletes.
        """
        self._check_loop()
        machine = self._machine
        self._direct = False  # now: what comes back amid the step is old already
        machine.retire_all()
        generation = machine.generation
        self._perform()
        if wait:
            await self._until(lambda: next(iter(machine.alive), generation) >= generation)

    async def close(self, timeout: Seconds | None = None) -> None:
        """Close the pool and wait until nothing of it is left.

        At once, new acquires and all waiters fail, in order. Idle resources are closed in parallel,
        each one in use as it comes back, each one being created when it is there. May be called
        again, and by several tasks: all of them wait for the same end.

        Args:
            timeout: How long to wait. ``None``: as long as it takes.

        Raises:
            ResourcePoolTimeoutError: Something is still out, and named; closing goes on, nothing is
                taken from its users, and a later `close` waits again.
            ValueError: The timeout is negative or not a number.

        Cancellation:
            Stops only this caller's waiting.

        Spec:
            Close; CloseWaits, NothingAfterClose, WaitersFailAtClose, CloseCompletes.
        """
        limit = _options.duration("timeout", timeout)
        self._check_loop()
        machine = self._machine
        self._direct = False  # as in retire_all
        machine.close()
        self._perform()
        if not await self._until(lambda: machine.phase is Phase.CLOSED, limit):
            raise close_timeout(machine, limit)

    def terminate(self) -> None:
        """Close the pool when nothing can be awaited.

        Waiters fail, idle resources are closed in the background, creations are cancelled, and what
        users hold is forgotten: it is theirs, and a release of it raises. If the event loop is
        closed, sync closers are called here and async ones cannot be: that is logged.

        Raises:
            ResourcePoolLoopError: A forked child, or another running event loop.

        Spec:
            Terminate; NothingAfterClose, OneOutcome.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._forked or (running is not None and self._loop not in (None, running)):
            self._bind()
        self._direct = False  # as in retire_all
        self._machine.terminate()
        self._perform()
        self._cut_short()

    async def __aenter__(self) -> AsyncResourcePool[T]:
        """Open the pool."""
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close the pool: waits until everything is given back, also if the body has failed."""
        await self.close()
