"""The public pool: its arguments, its calls and its numbers.

A call that changes the pool takes a step of the machine. Then the driver performs the effects of
the step, and the call waits if it must.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self, TypeVar, overload

from . import _options
from ._acquire_context import AcquireContext
from ._errors import (
    DuplicateResourceError,
    InvalidReleaseError,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolExhaustedError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from ._habits import only_async, refuse_factory
from ._interruptions import INTERRUPTIONS, is_interruption, made
from ._machine import counts as rules
from ._machine.counts import Phase
from ._machine.slots import NEVER, Slot, SlotState, Waiter
from ._messages import foreign_release
from ._runtime.binding import Binding, here
from ._runtime.callbacks import log
from ._runtime.driver import Driver
from ._runtime.work import Work
from ._stats import PoolGauges, PoolLease, PoolSettings, PoolStats
from ._types import DiscardOn, PoolListener, Seconds, TraceFile

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from ._machine.machine import PoolMachine
    from ._types import PoolOptions

__all__ = [
    "INTERRUPTIONS",
    "AsyncResourcePool",
    "DuplicateResourceError",
    "InvalidReleaseError",
    "PoolStats",
    "ResourcePoolClosedError",
    "ResourcePoolError",
    "ResourcePoolExhaustedError",
    "ResourcePoolLoopError",
    "ResourcePoolTimeoutError",
]

T = TypeVar("T")
R = TypeVar("R")

EXIT = "the end of `async with`"


@only_async("async with pool")
class AsyncResourcePool(Generic[T]):
    """A pool of reusable asynchronous resources: connections, clients, sessions, workers.

    The pool creates resources lazily, at most `max_size` of them. It serves acquirers in the order
    of their calls. It never creates, checks, resets or closes a resource in a user's task. An
    acquirer waits in the queue, and for nothing else.

    The pool belongs to the event loop of its first use and is not thread-safe. In another event
    loop and in a forked child, its coroutines raise `ResourcePoolLoopError`. A forked child may use
    a pool that was never used before the fork. Constructing a pool creates no resource and needs no
    running loop. A pool cannot be copied or pickled, and a closed one cannot be opened again.

    A destructor, a signal handler, a logging handler or a listener may call the pool in the middle
    of another call. If such a nested call changes the pool, the pool defers it until the step in
    progress and its effects are complete.

    Subclasses may add and override methods. No method of the pool calls another public method:
    `acquire_context` does not call `acquire` or `release`, and ``async with`` does not call `open`
    or `close`. So an override, or a mock, changes only the calls of its own name. To change what
    happens to every resource, pass another `factory`, `check`, `reset` or `closer`. To see every
    lease, pass a `listener`.

    All durations are seconds or `timedelta`. ``None`` means no limit, unless the argument says
    otherwise.

    `factory`, `closer`, `check` and `reset` may be sync or async, or return any awaitable. The pool
    calls them in a later turn of the event loop, with empty context variables. If the result is
    awaitable, a task awaits it. If this task exceeds its limit, the pool cancels it once. Nothing
    can interrupt a plain function. If a plain function blocks the event loop for longer than its
    limit, the pool uses its result as usual. It also logs a warning that names the function.

    Args:
        factory: Makes a new resource. It must not return an object that is in the pool already.
        closer: Closes a resource. The pool calls it exactly once for each resource that it closes.
            ``None``: to close a resource, the pool only drops it.
        max_size: How many resources may exist at once. Resources that are being created or closed
            count, too.
        min_size: How many resources the pool keeps, even if nobody uses them. The pool starts to
            keep them at `open` or at the first acquire.
        max_age: How long a resource may be used, from the end of its creation. The pool checks the
            age when it hands out a resource and when one comes back. A timer closes idle resources
            that are too old.
        max_age_jitter: The pool shortens the `max_age` of each resource by a random part of this
            duration. So resources that were created together do not expire together.
        max_idle_time: How long a resource may be idle before the pool closes it. The pool still
            keeps `min_size` resources.
        acquisition_timeout: Default timeout of `acquire()`.
        creation_timeout: How long one call of `factory` may take. The pool cancels a call that
            takes longer. If that call still returns a resource, the pool closes the resource.
        check_timeout: How long one call of `check` may take.
        reset_timeout: How long one call of `reset` may take.
        closer_timeout: How long one call of `closer` may take before the pool cancels it and
            abandons the resource.
        exit_timeout: If an exception or a cancellation ends ``async with pool``, the pool waits at
            most this long until it is closed. Then it terminates. Without an exception, there is no
            limit.
        max_waiting: How many acquirers may wait without work in flight for them. The pool refuses
            further acquirers at once. ``None``: any number.
        max_creating: How many calls of `factory` may be in flight at once. ``None``: `max_size`.
        check: Called with an idle resource before the pool hands it out. ``False`` (that object,
            not any falsy value) or an exception closes the resource. The acquirer keeps its place
            in the queue. Any other result passes the check, also ``None``. The pool warns once
            about any other falsy result of a built-in type, for example 0 or an empty list.
        check_after_idle: Skip `check` if the resource became idle less than this time ago and no
            check has failed since. With 0, every use of an idle resource needs a check, so
            ``acquire(timeout=0)`` finds no usable one.
        reset: Called with a released resource, before its next use. An exception closes the
            resource.
        reuse: Which idle resource is used next: ``"lifo"``, the one that was used last, or
            ``"fifo"``, the one that was idle for longest.
        discard_on: The exceptions after which `acquire_context` closes its resource instead of
            releasing it. Pass a class, a tuple of classes, or a function that gets the exception
            and returns whether to close the resource. A class also matches an exception group that
            contains such an exception. The default is `is_interruption`. It matches exceptions that
            may interrupt a protocol in the middle, such as cancellations and time-outs. Add your
            client's errors for a lost connection: ``(*INTERRUPTIONS, ConnectionError)``.
        name: The pool's name in messages.
        debug: Check every step against the pool's contracts, remember the holder of each resource,
            and refuse a release by a former holder. Debug mode is slow and needs the extra
            ``debug``. ``None``: the environment variable ``NODETOOL_POOL_DEBUG`` decides. 1 means
            on, and 0 or empty means off.
        leak_threshold: Track leases, and warn once about a lease that lasts longer. The messages
            of the pool then name the tasks that hold resources. ``math.inf``: track without
            warnings. ``None``: do not track, unless `leak_stack` or debug mode needs it.
        leak_stack: Track leases, and record where each lease began. This costs some microseconds
            for each lease.
        listener: Called with a `PoolEvent` at the end of every creation, check, wait, use, reset
            and close. If the listener raises an exception, the pool logs it.
        trace: Records every step of the pool to a file. The command ``python -m
            nodetool.concurrency.verify --trace`` checks the file.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of the wrong kind.
        ImportError: Debug mode is on, and the extra ``debug`` is not installed.

    Since version 0.1.0.
    """

    # The resource of an async factory is the result of its coroutine, not the coroutine.
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
        creation_timeout: Seconds | None = 60.0,
        check_timeout: Seconds | None = 5.0,
        reset_timeout: Seconds | None = 10.0,
        closer_timeout: Seconds | None = 10.0,
        exit_timeout: Seconds | None = 10.0,
        max_waiting: int | None = None,
        max_creating: int | None = None,
        check: Callable[[T], Any] | None = None,
        check_after_idle: Seconds = 0.5,
        reset: Callable[[T], Any] | None = None,
        reuse: Literal["lifo", "fifo"] = "lifo",
        discard_on: DiscardOn = is_interruption,
        name: str | None = None,
        debug: bool | None = None,
        leak_threshold: Seconds | None = None,
        leak_stack: bool = False,
        listener: PoolListener | None = None,
        trace: TraceFile | None = None,
    ) -> None:
        _options.function("factory", factory)
        refuse_factory(factory)
        if closer is not None:
            _options.callback("closer", closer)
        trust = _options.trust(check, check_after_idle, reset)
        sizes = _options.sizes(max_size, min_size)
        limits = _options.limits(max_creating, max_waiting)
        age, jitter = _options.age(max_age, max_age_jitter)
        idle = _options.duration("max_idle_time", max_idle_time, positive=True)
        binding = Binding(_options.name(name))
        watched = _options.machine(binding, debug, leak_threshold, leak_stack, listener, trace)
        is_fatal = _options.exception_test("discard_on", discard_on)
        acquisition = _options.duration("acquisition_timeout", acquisition_timeout)
        creation = _options.duration("creation_timeout", creation_timeout, positive=True)
        checking = _options.duration("check_timeout", check_timeout, positive=True)
        resetting = _options.duration("reset_timeout", reset_timeout, positive=True)
        closing = _options.duration("closer_timeout", closer_timeout, positive=True)
        exit_limit = _options.duration("exit_timeout", exit_timeout)

        self._is_fatal = is_fatal
        self._acquisition_timeout = acquisition
        self._exit_timeout = exit_limit
        self._is_detachable = True
        self._has_listener = listener is not None
        self._binding = binding
        self._machine: PoolMachine[T] = watched.make(
            self._binding.name,
            limits,
            max_size=sizes[0],
            min_size=sizes[1],
            max_idle_time=idle,
            check_after_idle=None if check is None else trust,
            resets=reset is not None,
            fifo=_options.is_fifo(reuse),
        )
        self._outbox = self._machine.outbox
        self._work: Work[T] = Work(
            self._binding,
            {
                SlotState.CREATING: (factory, creation),
                SlotState.CHECKING: (check, checking),
                SlotState.RESETTING: (reset, resetting),
                SlotState.CLOSING: (closer, closing),
            },
        )
        self._driver: Driver[T] = Driver(
            self._machine,
            self._binding,
            self._work,
            age=None if age == NEVER else partial(_options.random_age, age, jitter),
            timed=(
                listener is not None  # its events have the time of the step
                or trace is not None  # its lines, too
                or age < NEVER
                or idle < NEVER
                or (check is not None and 0 < trust < NEVER)
            ),
            holders=watched.holders,
            finder=watched.finder,
        )
        watched.attach(self._driver)
        self._find = self._driver.find
        self._watched = watched
        self._settings = PoolSettings(
            max_age=age,
            max_age_jitter=jitter,
            max_idle_time=idle,
            acquisition_timeout=acquisition,
            creation_timeout=creation,
            check_timeout=checking,
            reset_timeout=resetting,
            closer_timeout=closing,
            exit_timeout=exit_limit,
            max_waiting=limits.max_waiting,
            max_creating=None if max_creating is None else limits.max_creating,
            check_after_idle=trust,
            reuse=reuse,
            leak_threshold=watched.leak_threshold,
        )

    @classmethod
    def from_context(
        cls,
        make_context_manager: Callable[[], AbstractAsyncContextManager[R]],
        **options: Unpack[PoolOptions[R]],
    ) -> AsyncResourcePool[R]:
        """Make a pool of the resources that asynchronous context managers return when entered.

        Each context has a task of its own. The task enters the context, keeps it while the resource
        is in the pool, and then leaves it. So the pool needs no closer. The context may use objects
        that the same task must enter and leave: cancel scopes, task groups and most anyio sessions.

        A context may end by itself, for example because its task group failed. The pool never hands
        out such a context again. If a user holds its resource, the user gives it back as usual, and
        then the pool closes it. The pool logs the context's exception when it closes the context.

        Args:
            make_context_manager: Called without arguments for each new resource, in its task.
            options: The other arguments of the pool, except `factory` and `closer`.

        Returns:
            The pool. It refuses `detach`, because only the context's own task can leave it.

        Raises:
            ValueError: An argument is out of range.
            TypeError: An argument is of the wrong kind.

        Cancellation:
            If a creation is cancelled or takes too long, the pool cancels entering the context, and
            waits for its end. If leaving exceeds `closer_timeout`, the pool cancels it. `terminate`
            forgets the contexts in use. Such a context is left when its task is cancelled, for
            example at the end of `asyncio.run`.

        Spec:
            CreateSucceeded, CreateFailed, GrowOld, Sweep, CloserEnded; ClosedExactlyOnce,
            OnlyFitHandedOut, FaultIsolation.
        """
        from ._contexts import Contexts

        _options.function("make_context_manager", make_context_manager)
        contexts = Contexts(make_context_manager)
        pool = cls(contexts.create, contexts.close, **options)
        pool._driver.timed = pool._driver.has_contexts = True
        contexts.attach(pool._binding.name, pool._driver.end_age)
        pool._is_detachable = False
        return pool

    def _replace_machine(self, machine: PoolMachine[T]) -> None:
        """Use another machine instead of the present one. Both must be unused."""
        self._machine = machine
        self._outbox = machine.outbox
        self._driver.replace_machine(machine)
        self._find = self._driver.find

    async def open(self, wait: bool = False, timeout: Seconds | None = None) -> None:
        """Start to keep `min_size` resources. A program may leave this to its first acquire.

        Without `wait` the call returns at once, so that a program can start while the server is
        down. The pool logs each creation failure that no acquirer gets. It tries again after a
        pause, which doubles with each failure up to 30 s.

        Args:
            wait: Return only when `min_size` resources exist.
            timeout: How long to wait. ``None``: without a limit.

        Raises:
            ResourcePoolClosedError: The pool is closing or closed, or began to close meanwhile. It
                cannot be opened again.
            Exception: The deadline passed, and the last creation failed with this error during the
                call. If another call has got this error, a ResourcePoolError describes it.
            ResourcePoolTimeoutError: The deadline passed without such a failure. The pool goes on
                creating resources.
            ValueError: The timeout is negative or NaN, or there is a timeout without `wait`.

        Cancellation:
            A cancellation stops only the waiting.

        Spec:
            Open, RetryFloor; FloorRestored.
        """
        limit = _options.duration("timeout", timeout)
        if timeout is not None and not wait:
            raise ValueError("open() waits only with wait=True: pass it, or leave out the timeout")
        driver, machine = self._driver, self._machine
        await self._open()
        if not wait:
            return
        since = self._binding.clock()
        is_filled = await driver.filled(limit)
        await driver.opened()
        if driver.answer(machine.counts).phase is not Phase.OPEN:
            raise machine.closed_error()
        if not is_filled:
            if (failure := driver.take_failure(since)) is not None:
                try:
                    raise failure
                finally:
                    del failure  # the error keeps this frame, and the frame must not keep the error
            raise driver.open_timeout(limit)

    async def _open(self) -> None:
        self._binding.check()
        await self._driver.opened()
        self._driver.open()

    async def acquire(self, timeout: Seconds | None = None) -> T:
        """Get a resource for exclusive use. End the lease with `release`, `discard` or `detach`.

        Args:
            timeout: How long to wait. ``None``: the pool's `acquisition_timeout`. ``math.inf``: no
                limit. ``0``: do not wait. Then the call fails if each idle resource needs a check,
                or if there is none. The pool still starts the work that a waiter would need.

        Returns:
            The resource.

        Raises:
            ResourcePoolTimeoutError: The deadline passed, or this acquirer gets the error of a
                creation that exceeded `creation_timeout`. The error is also a ``TimeoutError``.
            ResourcePoolClosedError: The pool is closing or closed, or began to close meanwhile.
            ResourcePoolExhaustedError: `max_waiting` acquirers wait already without work for them.
                The error is also a ``ResourcePoolTimeoutError``.
            ValueError: The timeout is negative or NaN.
            TypeError: `factory` returned something that is no resource, for example a generator or
                a context manager.
            DuplicateResourceError: `factory` returned an object that is in the pool already.
            ResourcePoolError: A call of `factory` was cancelled, and this acquirer gets its error.
            Exception: The unchanged error of `factory`. The acquirer that has waited longest gets
                the error, unless the other work in flight can serve all waiters. Work that an
                acquirer has left at its deadline does not count. No coroutine can raise a
                ``StopIteration``, so Python turns it into a ``RuntimeError``.

        Cancellation:
            The caller holds nothing, and nothing is lost. A resource that was handed over already
            goes to the next acquirer, or becomes idle. Creations and checks go on.

        Spec:
            Acquire, Resume, Timeout, Cancel; FifoService,
            OnlyFitHandedOut, OneOutcome, WaiterServed, DeadlineKept.
        """
        driver = self._driver
        if timeout is not None:
            timeout = _options.duration("timeout", timeout)
        if driver.busy or driver.binding.owner._thread_id != here():
            await driver.ready()
        got: Slot[T] | Waiter[T] | None
        try:
            driver.busy = True
            clock = driver.binding.clock
            got = self._machine.acquire(clock() if driver.timed else 0.0)
            if isinstance(got, Slot):
                if self._outbox.work:
                    driver.perform()
                return got.resource
            driver.start_waiting(got, self._acquisition_timeout if timeout is None else timeout)
        finally:
            driver.busy = False
            if driver.deferred:
                driver.catch_up()
        if got.limit:
            # Wait here and not in `_wait`, because a second coroutine costs memory for each waiter.
            try:
                await got.future
                if driver.busy:
                    await driver.opened()
            except BaseException as error:
                driver.leave(got, error)
                raise
            got, resource = driver.resume(got)
            if type(got) is Slot:
                return resource  # type: ignore[no-any-return]
        return (await self._wait(got))[1]

    async def _wait(
        self, got: Slot[T] | Waiter[T] | None, context: object = None
    ) -> tuple[Slot[T], T]:
        """Wait until an acquire, or its context, holds a slot. Return the slot and the resource.

        If a deferred call has ended the lease already, the slot has no resource any more.
        """
        driver, resource = self._driver, None
        while type(got) is Waiter:
            if got.limit == 0:
                driver.refuse_waiting(got)
            try:
                await got.future
                if driver.busy:
                    await driver.opened()
            except BaseException as error:
                driver.leave(got, error)
                raise
            got, resource = driver.resume(got, context)
        if type(got) is not Slot:
            raise self._machine.closed_error()
        return got, resource  # type: ignore[return-value]

    async def release(self, resource: T) -> None:
        """Give a resource back.

        The call never suspends, so nothing can interrupt it. The pool resets the resource later.

        Args:
            resource: The resource that `acquire` returned.

        Raises:
            InvalidReleaseError: The resource is not leased from this pool. Nothing has changed. The
                error is also a ``ValueError``.

        Cancellation:
            The call never suspends. The reset goes on.

        Spec:
            Release, ResetPassed, ResetFailed; NoDoubleRelease, SingleHolder.
        """
        driver, binding = self._driver, self._binding
        if binding.owner._thread_id != here():
            binding.refuse_strangers()
        find = self._find
        slot = find(id(resource))
        if slot is None:
            raise foreign_release(self._machine.name, resource)
        if driver.busy or driver.deferred:
            driver.release(slot)
            return
        try:
            driver.busy = True
            clock = binding.clock
            if self._machine.release(slot, clock() if driver.timed else 0.0):
                driver.perform()
                binding.wake()
        finally:
            driver.busy = False
            if driver.deferred:
                driver.catch_up()

    async def discard(self, resource: T) -> None:
        """Give a resource back to be closed, for example because it is broken.

        The call never suspends. The pool calls the closer later.

        Args:
            resource: The resource that `acquire` returned.

        Raises:
            InvalidReleaseError: The resource is not leased from this pool. Nothing has changed.

        Cancellation:
            The call never suspends.

        Spec:
            Discard; NoDoubleRelease, ClosedExactlyOnce, WaiterServed.
        """
        self._driver.discard(self._driver.slot_of(resource))

    def release_nowait(self, resource: T) -> None:
        """Give a resource back from a plain function, for example a callback of a protocol.

        This is `release` for callers that cannot await. The call must come from the thread of the
        pool's loop, while the loop runs.

        Args:
            resource: The resource that `acquire` returned.

        Raises:
            InvalidReleaseError: The resource is not leased from this pool. Nothing has changed. The
                error is also a ``ValueError``.
            ResourcePoolLoopError: The call does not come from the pool's loop.

        Cancellation:
            The call never suspends. The reset goes on.

        Spec:
            Release, ResetPassed, ResetFailed; NoDoubleRelease, SingleHolder.

        Since version 0.2.0.
        """
        self._driver.release(self._slot_at_any_moment(resource))

    def discard_nowait(self, resource: T) -> None:
        """Give a resource back to be closed, from a plain function such as ``connection_lost``.

        This is `discard` for callers that cannot await. The call must come from the thread of the
        pool's loop, while the loop runs.

        Args:
            resource: The resource that `acquire` returned.

        Raises:
            InvalidReleaseError: The resource is not leased from this pool, for example because it
                is idle. Nothing has changed.
            ResourcePoolLoopError: The call does not come from the pool's loop.

        Cancellation:
            The call never suspends.

        Spec:
            Discard; NoDoubleRelease, ClosedExactlyOnce, WaiterServed.

        Since version 0.2.0.
        """
        self._driver.discard(self._slot_at_any_moment(resource))

    def _slot_at_any_moment(self, resource: T) -> Slot[T]:
        """Find the slot of a resource for a handler or a destructor.

        Such a call runs inside any task by chance. So do not refuse a former holder.
        """
        return self._driver.slot_of(resource, self._driver.plain_finder())

    async def detach(self, resource: T) -> None:
        """Take a resource out of the pool for good, without closing it. The caller owns it now.

        Args:
            resource: The resource that `acquire` returned.

        Raises:
            InvalidReleaseError: The resource is not leased from this pool. Nothing has changed.
            ResourcePoolError: The pool was made by `from_context`. Nothing has changed.

        Cancellation:
            The call never suspends.

        Spec:
            Detach; NoDoubleRelease, NothingLost, WaiterServed.
        """
        slot = self._driver.slot_of(resource)
        if not self._is_detachable:
            raise ResourcePoolError(
                f"pool {self._machine.name!r}: cannot detach a context, which only the pool's own "
                "task can leave: release or discard it"
            )
        self._driver.detach(slot)

    def acquire_context(self, timeout: Seconds | None = None) -> AcquireContext[T]:
        """Acquire with ``async with pool.acquire_context() as resource``, and release at its end.

        The context has a lease of its own. If the body gave the resource back already, leaving the
        context does nothing. If the body ends with an exception of `discard_on`, the pool closes
        the resource. The context never masks the body's exception.

        Args:
            timeout: As for `acquire`.

        Returns:
            An asynchronous context manager.

        Raises:
            ValueError: The timeout is negative or NaN.

        The context raises the errors of `acquire` when it is entered. It raises ``RuntimeError`` if
        it is entered again before it is left, or left without being entered.

        Cancellation:
            Entering is as safe as `acquire`; leaving is as safe as `release`.

        Spec:
            Acquire, Release, Discard; NoDoubleRelease, OneOutcome.
        """
        if timeout is not None:
            timeout = _options.duration("timeout", timeout)
        context: AcquireContext[T] = AcquireContext()
        context._pool = self
        context._timeout = timeout
        context._slot = None
        context._discards = False
        return context

    async def prune(self) -> int:
        """Close all expired idle resources, and the stale ones that `min_size` does not need.

        The pool prunes by itself. This method also waits for the closers that it has started.

        Returns:
            How many resources were closed.

        Cancellation:
            The closers go on.

        Spec:
            Sweep; OnlyFitHandedOut, ClosedExactlyOnce.
        """
        self._binding.check()
        await self._driver.opened()
        slots: list[Slot[T]] = self._driver.answer(
            lambda: self._machine.sweep(self._binding.clock())
        )
        removed = len(slots)
        await self._driver.freed(slots)
        return removed

    async def resize(
        self, max_size: int | None = None, min_size: int | None = None, *, wait: bool = False
    ) -> None:
        """Change the limits of the size.

        If `max_size` grows, the pool starts work for the waiters at once. If `max_size` shrinks,
        the pool at once closes the idle resources that exceed it. Then it closes each resource that
        comes back, until the others fit.

        Args:
            max_size: As for the pool itself. ``None``: unchanged.
            min_size: As for the pool itself. ``None``: unchanged.
            wait: Return only when the size is at most `max_size`. If the caller holds more
                resources than that, the call does not return.

        Raises:
            ValueError: An argument is out of range. Nothing has changed.
            TypeError: An argument is of the wrong kind. Nothing has changed.
            ResourcePoolClosedError: The pool is closing or closed.

        Cancellation:
            Without `wait` the call never suspends. A cancellation stops only the waiting.

        Spec:
            Resize; SizeWithinLimit, ShrinkCompletes.

        Since version 0.2.0.
        """
        self._binding.check()
        await self._driver.opened()
        self._driver.answer(partial(self._resize, max_size, min_size))
        if wait:
            await self._driver.fits()

    def _resize(self, max_size: int | None, min_size: int | None) -> None:
        counts = self._machine.counts()
        sizes = _options.sizes(
            counts.max_size if max_size is None else max_size,
            counts.min_size if min_size is None else min_size,
        )
        self._machine.resize(*sizes)

    async def retire_all(self, wait: bool = False) -> None:
        """Retire all resources that exist or are being created, so that none is handed out again.

        The pool closes idle resources now, resources in use when they come back, and all others
        when their work ends. Use this method for rotated credentials, a changed topology or a
        restarted server.

        Args:
            wait: Return only when no retired resource is left. The caller must not hold one,
                because otherwise the call does not return.

        Raises:
            ResourcePoolClosedError: The pool is closing or closed.

        Cancellation:
            A cancellation stops only the waiting.

        Spec:
            RetireAll; OnlyFitHandedOut, RetireAllCompletes.
        """
        self._binding.check()
        await self._driver.opened()
        generation = self._driver.answer(self._machine.retire_all)
        if wait:
            await self._driver.retired(generation)

    async def close(self, timeout: Seconds | None = None) -> None:
        """Close the pool and wait until none of its resources is left.

        New acquires and all waiters fail at once, in order. The pool closes idle resources in
        parallel, resources in use when they come back, and all others when their work ends. Several
        tasks may call this method, and a task may call it again. All calls wait for the same end.

        Args:
            timeout: How long to wait. ``None``: without a limit.

        Raises:
            ResourcePoolTimeoutError: The pool is not closed within the timeout. The message says
                what is left, and names up to ten resources that users hold. Closing goes on, and
                users keep their resources. A later `close` waits again.
            ValueError: The timeout is negative or NaN.

        Cancellation:
            A cancellation stops only this caller's waiting.

        Spec:
            Close; CloseWaits, NothingAfterClose, WaitersFailAtClose, CloseCompletes.
        """
        limit = _options.duration("timeout", timeout)
        if not await self._close(limit):
            await self._driver.opened()
            raise self._driver.close_timeout(limit)

    def terminate(self) -> None:
        """Close the pool from code that cannot await.

        The pool fails the waiters, closes idle resources in the background, and cancels creations,
        checks and resets. It forgets the resources that users hold, so `release` refuses them. It
        does not end closers that run: only `closer_timeout` does, and `close` waits for them. If
        the event loop is closed, this method calls sync closers itself. Async closers cannot run
        then, and the pool logs that.

        A nested call runs after the step in progress. If the pool's loop is running in another
        thread, the call runs in that thread, or never if that loop stops first.

        Raises:
            ResourcePoolLoopError: The call comes from a forked child or another running event loop.

        Spec:
            Terminate; NothingAfterClose, OneOutcome.
        """
        self._terminate()

    def _terminate(self) -> None:
        binding = self._binding
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if binding.forked or (running is not None and binding.loop not in (None, running)):
            binding.bind()
        self._driver.at_any_moment(self._driver.terminate)

    async def __aenter__(self) -> Self:
        """Open the pool."""
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        """Close the pool, and wait until all resources are given back.

        If the body ended without an exception, the pool waits without a limit. If the body ended
        with an exception, or a cancellation ends the unlimited wait, the pool waits for at most
        `exit_timeout`. Then it terminates, logs which resources users still hold, and adds this
        text to the exception as a note. A cancellation of the limited wait terminates the pool at
        once.

        If the coroutine of the body is closed, or the pool's loop does not run here, the call
        cannot wait. So it terminates the pool at once, and the exception goes on. In a forked child
        the exception goes on, too, and the pool is left to the parent.
        """
        since = self._binding.clock()
        if error is None and kind is not None:
            error = made(kind)
        if error is None:
            try:
                await self._close(NEVER, EXIT)
            except asyncio.CancelledError as cancellation:
                await self._close_after(cancellation, since)
                raise
            except GeneratorExit as end:
                self._terminate_after(end, since)
                raise
        elif issubclass(type(error), GeneratorExit) or not self._binding.is_current():
            self._terminate_after(error, since)
        else:
            await self._close_after(error, since)

    async def _close_after(self, error: BaseException, since: float) -> None:
        """Close the pool within `exit_timeout` because of an error, or terminate it."""
        try:
            if await self._close(self._exit_timeout, EXIT):
                return
        except (asyncio.CancelledError, GeneratorExit) as interruption:
            self._terminate_after(interruption, since)
            raise
        self._terminate_after(error, since)

    def _terminate_after(self, error: BaseException, since: float) -> None:
        """Terminate the pool because of an error. If something is left, log and note that."""
        driver, machine = self._driver, self._machine
        if self._binding.forked:
            return
        waited = self._binding.clock() - since
        text = driver.describe_wait(EXIT, waited, outcome="The pool is terminated")
        is_idle = driver.read(lambda: machine.size() == rules.idle(machine.counts()))
        driver.at_any_moment(driver.terminate)
        if not is_idle:
            with suppress(Exception):  # an error may be an object that refuses changes
                error.add_note(text)
            driver.run(partial(log, logging.WARNING, "%s", text))

    async def _close(self, limit: float, call: str = "close()") -> bool:
        """Close the pool, and wait for at most `limit` seconds. Return whether it is closed."""
        self._binding.check()
        await self._driver.opened()
        self._driver.close()
        return await self._driver.closed(limit, call)

    # The numbers.

    def stats(self) -> PoolStats:
        """Return one consistent snapshot of the pool's gauges and counters.

        The snapshot may show a step that is half done, if the call is nested or comes from another
        thread. A signal handler, for example, makes nested calls.

        Spec:
            CountsAgree.
        """
        return self._driver.read(self._stats)

    def _stats(self) -> PoolStats:
        c, statistics = self._machine.counts(), self._machine.statistics()
        return PoolStats(
            size=self._machine.size(),
            idle=rules.idle(c),
            in_use=c.in_use,
            creating=c.creating,
            checking=c.checking,
            resetting=c.resetting,
            closing=c.closing,
            waiting=c.waiting,
            min_size=c.min_size,
            max_size=c.max_size,
            closed=c.phase is Phase.CLOSED,
            closer_failures=self._driver.closer_failures,
            waited_seconds=self._driver.waited,
            **statistics,
        )

    def leases(self) -> list[PoolLease]:
        """List the present leases, the oldest first.

        Raises:
            ResourcePoolError: The pool does not track leases.

        Spec:
            SingleHolder.

        Since version 0.2.0.
        """
        tracker = self._watched.tracker
        if tracker is None:
            raise ResourcePoolError(
                f"pool {self._machine.name!r} does not track leases: make it with leak_threshold=…"
            )
        return self._driver.read(partial(tracker.leases, self._machine))

    def gauges(self) -> PoolGauges:
        """Return the pool's changing numbers, for exporters of metrics.

        With a `listener`, any thread may call this method. It gets the consistent numbers after the
        last step. Without a listener, only a call from the loop's thread gets consistent numbers,
        as with `stats`.

        Spec:
            CountsAgree.
        """
        gauges: PoolGauges = self._driver.read(lambda: self._watched.gauges(self._machine))
        return gauges

    @property
    def name(self) -> str:
        """The pool's name.

        Since version 0.2.0.
        """
        return self._machine.name

    @property
    def phase(self) -> Literal["open", "closing", "closed"]:
        """The phase of the pool's life.

        Since version 0.2.0.
        """
        phase: Literal["open", "closing", "closed"] = self._counts().phase.value
        return phase

    @property
    def settings(self) -> PoolSettings:
        """The options that never change. `max_size` and `min_size` are not here: see `resize`.

        Since version 0.2.0.
        """
        return self._settings

    @property
    def size(self) -> int:
        """How many slots are not free: resources in any state, and creations in flight."""
        return self._driver.read(self._machine.size)

    @property
    def available_count(self) -> int:
        """How many resources are idle."""
        return rules.idle(self._counts())

    @property
    def in_use_count(self) -> int:
        """How many resources are in use: handed over or held."""
        return self._counts().in_use

    @property
    def max_size(self) -> int:
        """How many resources may exist at once."""
        return self._counts().max_size

    @property
    def min_size(self) -> int:
        """How many resources the pool keeps."""
        return self._counts().min_size

    @property
    def closed(self) -> bool:
        """Whether the pool is closed and none of its resources is left."""
        return self._counts().phase is Phase.CLOSED

    def _counts(self) -> rules.Counts:
        return self._driver.read(self._machine.counts)

    def __repr__(self) -> str:
        machine = self._machine
        c, size = self._driver.read(lambda: (machine.counts(), machine.size()))
        return (
            f"<AsyncResourcePool {machine.name!r} {c.phase.value}: size {size} of "
            f"{c.max_size}, {rules.idle(c)} idle, {c.in_use} in use, {c.waiting} waiting>"
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse `copy` and `pickle`, because a copy would share the resources with the original.

        Raises:
            TypeError: In any case.
        """
        raise TypeError(
            f"pool {self._machine.name!r} cannot be copied or pickled: "
            "make a pool in each process, and pass what makes it, for example its factory"
        )

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)  # there is no driver if an argument was refused
        if driver is None or driver.binding.forked or not driver.machine.size():
            return
        counts = driver.machine.counts()
        if counts.phase is Phase.OPEN or counts.in_use:
            warnings.warn(
                f"unclosed {self!r}: use `async with` or await close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
