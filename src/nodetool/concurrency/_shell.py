"""Performs what the machine decided: tasks, timers, futures. Decides nothing itself.

Whatever it does on behalf of the pool ends in exactly one step of the machine: creations and
closers as ``_tasks`` says, a wait in `resume`, `timeout` or `cancel`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from ._counts import Floor, Phase
from ._deadlines import Deadlines, weakly
from ._errors import ResourcePoolLoopError, ResourcePoolTimeoutError, acquire_timeout
from ._home import futures_of
from ._machine import PoolMachine
from ._records import NEVER, Place, Waiter
from ._tasks import PoolTasks

if TYPE_CHECKING:
    from asyncio import Future, Task, TimerHandle

    from ._state import Acquired

T = TypeVar("T")


OPEN, BACKOFF = Phase.OPEN, Floor.BACKOFF
CREATING, CLOSING, HANDED, WAITING = Place.CREATING, Place.CLOSING, Place.HANDED, Place.WAITING

NOTHING: deque[Any] = deque()  # the shelf of a pool that takes no steps itself: always empty

FIRST_BACKOFF, LAST_BACKOFF = 0.1, 30.0  # seconds between attempts to refill the floor: doubled


class PoolShell(PoolTasks[T]):
    """The part of the pool that its users do not see."""

    __slots__ = (
        "_backoff",
        "_create_future",
        "_direct",
        "_full",
        "_leased",
        "_line",
        "_overdue_waiters",
        "_queue",
        "_retry_timer",
        "_shelf",
        "_sweep_at",
        "_sweep_timer",
        "_watchers",
    )

    def __init__(self, machine: PoolMachine[T], *callbacks: Any, **options: Any) -> None:
        super().__init__(machine.name, *callbacks, **options)
        self._run_on(machine)
        self._watchers: list[tuple[Callable[[], bool], Future[bool]]] = []
        self._sweep_at = NEVER  # when the sweep timer will fire
        self._sweep_timer: TimerHandle | None = None
        self._retry_timer: TimerHandle | None = None
        self._backoff = FIRST_BACKOFF

    def _run_on(self, machine: PoolMachine[T]) -> None:
        """Take the steps of this machine."""
        self._machine = machine
        self._leased = machine.leased
        self._queue = machine._queue
        # With nothing to check or reset, most steps only move a record from the shelf and back, or
        # from its holder to the head of the queue. The shell takes these itself, if the machine is
        # as it is in the files (tests/concurrency/test_direct_steps.py shows that they are the
        # machine's, and all else).
        plain = type(machine) is PoolMachine
        self._direct = plain and machine.check_after_idle is None and not machine.resets
        self._shelf = machine._shelf if self._direct else NOTHING
        # The size at which one more can only wait.
        queues = self._direct and machine.limits.max_waiting is None
        self._full = machine.limits.max_size if queues else NEVER

    def _leave_to_parent(self) -> None:
        super()._leave_to_parent()
        self._direct, self._shelf = False, NOTHING

    def _check_loop(self) -> None:
        """Refuse any loop but the pool's, which is the one of its first use."""
        if self._home._thread_id != get_ident():
            self._bind()

    def _bind(self) -> None:
        self._settle_in(self._machine.name)
        assert self._loop is not None
        self._create_future = futures_of(self._loop)
        self._age_clock = self._clock if self._timed else None
        self._overdue_waiters: Deadlines[Waiter[T]] = Deadlines(
            self._loop, self._clock, WAITING, self._waiters_overdue
        )
        self._line = self._overdue_waiters.line
        self._overdue_closers = Deadlines(self._loop, self._clock, CLOSING, self._closers_overdue)

    def _look_for_old(self) -> None:
        """Direct steps ask for no generation: nothing comes back by them while some are old."""
        machine = self._machine
        young = machine.alive.get(machine.generation, 0)
        self._direct = self._shelf is not NOTHING and young == machine.size

    # Effects.

    def _perform(self) -> None:
        """Do what the last steps left to do."""
        machine = self._machine
        while machine.woken or machine.work:
            woken, machine.woken = machine.woken, []
            for waiter in woken:
                # One that is cancelled already runs as well, and takes the step that gives back.
                if (future := getattr(waiter, "future", None)) is not None:  # or `_can_be_woken`
                    _resolve(future, None)
            if not machine.work:
                continue
            work, machine.work = machine.work, []
            for record in work:
                if record.place is CREATING:
                    self._start_creation(record)
                elif self._closer is None:
                    machine.closer_ended(record)
                else:
                    self._to_close.append(record)
            if self._to_close and self._next_batch is None:
                self._start_closers()
        if machine.generation:
            self._look_for_old()
        if self._watchers:
            for done, future in self._watchers:
                if done():
                    _resolve(future, True)
        if machine.deadline < self._sweep_at:
            self._arm_sweep()
        if machine.floor is BACKOFF and self._retry_timer is None:
            self._arm_retry()
        if machine.phase is not OPEN:
            self._stop_timers()

    def _cut_short(self) -> None:
        """Cancel the creations in flight; if the loop is closed, nothing else in flight ends."""
        for record in list(self._creations):
            task: Task[None] = record.busy
            if task.get_loop().is_closed():
                self._leave_creation(record)
                error = ResourcePoolLoopError("the event loop is closed")
                self._machine.create_failed(record, error)
            else:
                task.cancel()
        self._perform()
        if self._loop is not None and self._loop.is_closed():
            machine = self._machine
            if self._to_close:
                self._start_closers()
            for record in list(machine.leased.values()):
                if record.place is CLOSING:
                    machine.closer_ended(record)
                    self._closer_failed("the event loop was closed before it ended")
                elif record.place is HANDED:
                    machine.cancel(record.busy, self._now())
                else:
                    machine.cancel(record, self._now())
            self._perform()

    def _can_be_woken(self, got: Acquired[T]) -> None:
        """Who waits has a future before the effects, in which a destructor, say, gives back.

        Garbage may be collected, and something given back, even amid the step: it is decided then.
        """
        if isinstance(got, Waiter):
            got.future = self._create_future()
            if got.place is not WAITING:
                got.future.set_result(None)

    def _turn_away(self, waiter: Waiter[T], now: float) -> None:
        """It has no time to wait, unless it need not."""
        if waiter.place is not WAITING:
            return
        machine = self._machine
        machine.timeout(waiter)
        self._perform()
        raise self._with_cause(acquire_timeout(machine, 0.0), now)

    # Time.

    def _later(self, delay: float, method: Callable[[], None]) -> TimerHandle | None:
        """A timer that keeps neither the pool nor the caller's context variables alive."""
        if self._loop is None or self._loop.is_closed():
            return None
        return self._loop.call_later(delay, weakly(method), context=Context())

    def _arm_sweep(self) -> None:
        machine = self._machine
        if machine.idle:
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()
            self._sweep_at = machine.deadline
            self._sweep_timer = self._later(machine.deadline - self._clock(), self._sweep_due)

    def _sweep_due(self) -> None:
        self._sweep_timer = None
        self._sweep_at = NEVER
        self._machine.sweep(self._clock())
        self._perform()

    def _arm_retry(self) -> None:
        self._retry_timer = self._later(self._backoff, self._retry_due)
        self._backoff = min(2 * self._backoff, LAST_BACKOFF)

    def _recovered(self) -> None:
        self._failure = None
        self._backoff = FIRST_BACKOFF
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None

    def _retry_due(self) -> None:
        self._retry_timer = None
        self._machine.retry_floor()
        self._perform()

    def _stop_timers(self) -> None:
        for timer in (self._sweep_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self._sweep_timer = self._retry_timer = None
        self._sweep_at = -NEVER  # nothing is idle any more: never arm again
        self._failure = None
        if self._loop is not None:
            self._overdue_waiters.stop()
            if self._machine.phase is Phase.CLOSED:
                self._overdue_closers.stop()

    def _waiters_overdue(self, waiters: list[Waiter[T]]) -> None:
        """Their time is over: for all of them at once, so all are told the same."""
        machine = self._machine
        told = {limit: str(acquire_timeout(machine, limit)) for limit in {w.limit for w in waiters}}
        for waiter in waiters:
            error = ResourcePoolTimeoutError(told[waiter.limit])
            machine.timeout(waiter, self._with_cause(error, waiter.deadline - waiter.limit))
        self._perform()

    def _with_cause(self, error: ResourcePoolTimeoutError, since: float) -> BaseException:
        """The error, because of the last creation's if that has failed since."""
        if self._failure is not None and self._failure[0] >= since:
            error.__cause__ = self._failure[1]
        return error

    async def _until(self, done: Callable[[], bool], limit: float = NEVER) -> bool:
        """Wait until something has come true, or `limit` seconds; cancelling stops the waiting."""
        if done():
            return True
        loop = self._loop
        assert loop is not None  # who waits has used the pool just now
        future: Future[bool] = loop.create_future()
        watcher = (done, future)
        self._watchers.append(watcher)
        timer = None
        if limit < NEVER:
            timer = loop.call_later(limit, _resolve, future, False)
        try:
            return await future
        finally:
            self._watchers.remove(watcher)
            if timer is not None:
                timer.cancel()


def _resolve(future: Future[Any], result: bool | None) -> None:
    """Wake whoever awaits the future, unless it was cancelled or its loop is closed."""
    if not future.done():
        try:
            future.set_result(result)
        except RuntimeError:  # what a closed loop says of the callbacks
            assert future.get_loop().is_closed()
