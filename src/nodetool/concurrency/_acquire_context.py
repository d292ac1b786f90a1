"""One lease as an asynchronous context manager."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ._habits import only_async
from ._machine.slots import Slot, Waiter
from ._runtime.binding import here
from ._runtime.callbacks import log_error, stops_program
from ._runtime.work import truth_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ._machine.machine import PoolMachine
    from ._machine.slots import Outbox
    from ._runtime.binding import Binding
    from ._runtime.driver import Driver

T = TypeVar("T")

ENTERING: Slot[Any] = Slot(0)  # stands for the slot while the context is being entered


class Lender(Protocol[T]):
    """The parts of a pool that a context needs."""

    _acquisition_timeout: float
    _is_fatal: Callable[[BaseException], Any]
    _binding: Binding
    _machine: PoolMachine[T]
    _outbox: Outbox[T]
    _driver: Driver[T]

    async def _wait(
        self, got: Slot[T] | Waiter[T] | None, context: object = None
    ) -> tuple[Slot[T], T]:
        """Wait until an acquire, or its context, holds a slot. Return the slot and the resource."""


@only_async("async with pool.acquire_context() as resource")
class AcquireContext(Generic[T]):
    """A context with a lease of its own, as `AsyncResourcePool.acquire_context` returns it.

    Since version 0.2.0.
    """

    __slots__ = ("_discards", "_pool", "_slot", "_timeout")

    if TYPE_CHECKING:  # because tools that evaluate annotations cannot see these names
        # The pool sets these. A constructor would take a third of the time of a lease.
        _pool: Lender[T]
        _timeout: float | None
        # The slot while the context is entered. Its `context` is this object during the lease.
        _slot: Slot[T] | None
        _discards: bool  # whether to close the resource at the end of the body in any case

    async def __aenter__(self) -> T:
        """Acquire a resource."""
        if self._slot is not None:
            raise RuntimeError("this context is entered already: call acquire_context() again")
        pool = self._pool
        driver = pool._driver
        binding = pool._binding
        self._slot = ENTERING  # from here on, a nested call cannot enter this context, too
        try:
            if driver.busy or binding.owner._thread_id != here():
                await driver.ready()
            try:
                driver.busy = True
                clock = binding.clock
                got = pool._machine.acquire(clock() if driver.timed else 0.0)
                if isinstance(got, Slot):
                    if pool._outbox.work:
                        driver.perform()
                    self._slot = got
                    got.context = self
                    resource: T = got.resource
                    return resource
                limit = pool._acquisition_timeout if self._timeout is None else self._timeout
                driver.start_waiting(got, limit)
            finally:
                driver.busy = False
                if driver.deferred:
                    driver.catch_up()
            self._slot, resource = await pool._wait(got, self)
        except BaseException:
            self._slot = None
            raise
        return resource

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the resource, or discard it after an exception of `discard_on`."""
        slot, pool = self._slot, self._pool
        if slot is None or slot is ENTERING:
            raise RuntimeError("this context is not entered")
        self._slot = None
        driver, binding = pool._driver, pool._binding
        if self._discards or (exc_type is not None and self._is_fatal(exc, exc_type, slot)):
            self._discards = False
            self._end(slot, exc)
        elif binding.owner._thread_id == here() and not (driver.busy or driver.deferred):
            try:
                driver.busy = True
                # If the lease is over already, another task may hold the resource.
                clock = binding.clock
                if slot.context is self and pool._machine.release(
                    slot, clock() if driver.timed else 0.0
                ):
                    driver.perform()
                    binding.wake()
            finally:
                driver.busy = False
                if driver.deferred:
                    driver.catch_up()
        elif exc_type is None and slot.context is self and binding.is_refused():
            self._slot = slot
            binding.bind()  # this raises the error that describes the refusal
        elif not binding.forked:
            driver.end_context(slot, self, discard=False)

    def discard(self) -> None:
        """Close the resource at the end of the body, instead of reusing it.

        Use this method if the body has swallowed an interruption, for example in
        ``anyio.move_on_after``, because the pool cannot see it. You may call this method at any
        time before the end of the body. It changes nothing before that end.

        Raises:
            RuntimeError: The context is not entered.

        Spec:
            Discard; NoDoubleRelease, ClosedExactlyOnce.
        """
        if self._slot is None or self._slot is ENTERING:
            raise RuntimeError("this context is not entered")
        self._discards = True

    def _end(self, slot: Slot[T], error: BaseException | None) -> None:
        """End the lease and close the resource, unless the lease is over already."""
        if not self._pool._binding.forked:  # a forked child leaves the lease to its parent
            self._pool._driver.end_context(slot, self, discard=True, error=error)

    def _is_fatal(
        self, error: BaseException | None, kind: type[BaseException], slot: Slot[T]
    ) -> bool:
        """Ask the pool's `discard_on` about an exception. If `discard_on` fails, return True.

        A caller of ``__aexit__`` may give only the class of the exception. Then make an exception
        of this class.
        """
        try:
            answer = self._pool._is_fatal(kind() if error is None else error)
            return answer if type(answer) is bool else truth_of("discard_on", answer)
        except BaseException as problem:
            self._end(slot, error)  # before the log, because a logging handler may call the pool
            if stops_program(problem):
                raise
            what = "discard_on failed, the resource is closed"
            log_error(logging.ERROR, self._pool._binding.name, what, problem)
            return True
