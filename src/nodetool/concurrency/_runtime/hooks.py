"""Checks and resets: callbacks that run in the task of an acquirer or of a releaser."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from nodetool.concurrency._machine.slots import Slot, SlotState

from .callbacks import LimitExceededError, call, log

if TYPE_CHECKING:
    from nodetool.concurrency._errors import ResourcePoolTimeoutError
    from nodetool.concurrency._machine.machine import PoolMachine

    from .binding import Binding

T = TypeVar("T")

CheckResult: TypeAlias = bool | Exception  # whether the resource passed, or what the check raised


class Steps(Protocol[T]):
    """The caller of the machine's steps: the driver."""

    machine: PoolMachine[T]
    binding: Binding

    def now(self) -> float:
        """Return the time for the machine."""

    def end_callback(self, slot: Slot[T], state: SlotState, step: Callable[[], object]) -> None:
        """Take the step that ends a check or a reset, unless another step has ended it."""

    def interrupt(self, slot: Slot[T], state: SlotState) -> None:
        """End a check or a reset that was cancelled."""

    def timeout_error(self, limit: float) -> ResourcePoolTimeoutError:
        """Make the error of an acquire that reached its deadline."""

    def with_cause(self, error: ResourcePoolTimeoutError, since: float) -> ResourcePoolTimeoutError:
        """Set the error's cause."""


class Hooks(Generic[T]):
    """The check and the reset of a pool."""

    __slots__ = ("_background", "_check", "_default_limit", "_reset", "_reset_limit")

    def __init__(
        self,
        check: Callable[[T], Any] | None,
        reset: Callable[[T], Any] | None,
        default_limit: float,
        reset_limit: float,
    ) -> None:
        self._check = check
        self._reset = reset
        self._default_limit = default_limit  # of a check for an acquire with timeout=0
        self._reset_limit = reset_limit
        self._background: set[asyncio.Task[None]] = set()  # resets that no caller waits for

    async def check(
        self, driver: Steps[T], slot: Slot[T], limit: float, deadline: float
    ) -> CheckResult:
        """Check a resource until the acquire's deadline. Return whether it passed, or its error.

        At the deadline, take the step Timeout and raise.
        """
        assert self._check is not None
        if limit == 0:  # timeout=0 forbids waiting in the queue, not a check
            limit = self._default_limit
            deadline += limit
        try:
            passed = await call(deadline - driver.binding.clock(), self._check, slot.resource)
        except LimitExceededError as exceeded:
            step = partial(driver.machine.timeout, slot)
            driver.end_callback(slot, SlotState.CHECKING, step)
            timeout = driver.with_cause(driver.timeout_error(limit), deadline - limit)
            raise timeout from timeout.__cause__ or exceeded.__cause__
        except Exception as error:
            return error
        return passed is not False

    async def reset(self, driver: Steps[T], slot: Slot[T]) -> None:
        """Reset a resource, and take the step that ends the reset."""
        machine = driver.machine
        assert self._reset is not None
        try:
            await call(self._reset_limit, self._reset, slot.resource)
        except Exception as error:
            driver.end_callback(slot, SlotState.RESETTING, partial(machine.reset_failed, slot))
            log(logging.WARNING, "pool %r: a reset failed: %r", machine.name, error)
        except BaseException:
            driver.interrupt(slot, SlotState.RESETTING)
            raise
        else:
            driver.end_callback(
                slot, SlotState.RESETTING, lambda: machine.reset_passed(slot, driver.now())
            )

    def start_reset(self, driver: Steps[T], slot: Slot[T]) -> None:
        """Reset a resource in a task of the pool, because its releaser cannot wait."""
        loop = driver.binding.loop
        if loop is None or loop.is_closed():
            driver.machine.cancel(slot, driver.now())
            return
        task = asyncio.Task(self.reset(driver, slot), loop=loop, context=Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard, context=Context())
