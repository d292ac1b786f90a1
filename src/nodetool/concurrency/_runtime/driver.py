"""The gate, the steps and their effects.

A step and its effects run while the gate is closed. User code can run at any moment: in a
destructor, a signal handler, a logging handler or a listener. If that code calls the pool, the
driver defers the nested call. The nested call runs when the outer step and its effects are
complete. So no step sees a state that another step has half changed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from nodetool.concurrency._errors import (
    DuplicateResourceError,
    ResourcePoolClosedError,
    ResourcePoolError,
    ResourcePoolLoopError,
    ResourcePoolTimeoutError,
)
from nodetool.concurrency._habits import unfinished, wrong_result
from nodetool.concurrency._machine.counts import Floor, Phase, lasting
from nodetool.concurrency._machine.slots import NEVER, Slot, SlotState, Waiter, WaiterState
from nodetool.concurrency._messages import (
    LIMITS,
    OPENING,
    Awaited,
    acquire_timeout,
    close_timeout,
    duplicate,
    foreign_release,
    long_wait,
    names_of,
    open_timeout,
    reopening,
)

from .binding import here
from .callbacks import described, interrupt, log, log_error, resolve, stops_program
from .conditions import Condition, Conditions, existing, fits, is_closed, is_filled
from .deadlines import Deadlines
from .long_waits import Awaits, LongWait, LongWaits, WaitState
from .work import CLOSED_LOOP, Run, Work

if TYPE_CHECKING:
    from asyncio import Future

    from nodetool.concurrency._machine.machine import PoolMachine

    from .binding import Binding, Timer

T = TypeVar("T")
R = TypeVar("R")

Find: TypeAlias = Callable[[int], Slot[T] | None]

CREATING, CHECKING = SlotState.CREATING, SlotState.CHECKING
HELD, RESETTING, CLOSING = SlotState.HELD, SlotState.RESETTING, SlotState.CLOSING
WAITING, DONE = WaiterState.WAITING, WaiterState.DONE

ODD_CHECK = (
    "pool %r: a check returned %r, which counts as passed. Only False (that object) or an "
    "exception closes the resource. If the result means a broken resource, let the check return "
    "False. The pool logs this once"
)

FALSY = (int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range)
"""Built-in types with falsy values. Ask no other object for its truth: that could run user code."""

FIRST_BACKOFF, LAST_BACKOFF = 0.1, 30.0  # seconds between attempts to fill the minimum size


def is_any(_: Slot[Any]) -> bool:
    """Tell whether a call waits for a slot, if it waits for all of them."""
    return True


class Driver(Generic[T]):
    """The part of the runtime that takes steps and performs their effects."""

    __slots__ = (
        "__weakref__",
        "_age",
        "_backoff",
        "_cancelled_waiters",
        "_closed",
        "_conditions",
        "_failed_waiters",
        "_failure",
        "_filled",
        "_finder",
        "_fits",
        "_has_odd_check",
        "_holders",
        "_long_waits",
        "_outbox",
        "_retry_timer",
        "_returning",
        "_sweep_at",
        "_sweep_timer",
        "_terminating",
        "_waiter_deadlines",
        "binding",
        "busy",
        "closer_failures",
        "deferred",
        "find",
        "has_contexts",
        "is_closing",
        "machine",
        "timed",
        "waited",
        "work",
    )

    def __init__(
        self,
        machine: PoolMachine[T],
        binding: Binding,
        work: Work[T],
        *,
        age: Callable[[], float] | None = None,
        timed: bool = False,
        holders: Callable[[list[Slot[T]]], str] = lambda _: "",
        finder: Callable[[Driver[T]], Find[T]] | None = None,
    ) -> None:
        self.machine = machine
        self.binding = binding
        self.work = work
        self.timed = timed  # whether the machine or its listener needs the time
        self._holders = holders
        self.busy = False  # whether the gate is closed
        self.is_closing = False
        self.has_contexts = False  # whether the pool was made by `from_context`
        self._age = age  # how long the next resource may be used, in seconds
        self._outbox = machine.outbox
        self._finder = Driver.plain_finder if finder is None else finder
        self.find: Find[T] = self._finder(self)  # finds a slot by its resource's identity
        self.deferred: deque[Callable[[], object]] = deque()  # nested calls
        self._returning: dict[Slot[T], Callable[[], object]] = {}  # deferred ends of leases
        self._terminating = False  # whether the step Terminate has begun
        self._waiter_deadlines: Deadlines[Waiter[T]] = Deadlines(
            binding, DONE, self._expire_waiters
        )
        self._conditions = Conditions()
        self._closed = Condition(is_closed)
        self._fits = Condition(fits)
        self._filled = Condition(is_filled)
        self._long_waits = LongWaits(binding, self._report_waits)
        self.waited = 0.0  # seconds that acquirers have waited in all
        self.closer_failures = 0
        self._has_odd_check = False  # whether a check has returned a falsy value that passes
        # The waiters that got the error of a creation, and whose tasks have not resumed yet.
        self._failed_waiters: set[Waiter[T]] = set()
        # The time and the error of the last creation, if it failed. If a caller gets that error,
        # keep only its text, because a raised error keeps the frames of the caller.
        self._failure: tuple[float, BaseException | str] | None = None
        self._sweep_at = NEVER  # when the sweep timer fires
        self._sweep_timer: Timer | None = None
        self._retry_timer: Timer | None = None
        self._backoff = FIRST_BACKOFF
        self._cancelled_waiters = 0

    def replace_machine(self, machine: PoolMachine[T]) -> None:
        """Drive another machine. Both must be unused."""
        self.machine = machine
        self._outbox = machine.outbox
        self.find = self._finder(self)

    def plain_finder(self) -> Find[T]:
        """Return the machine's own function that finds slots."""
        return self.machine.finder()

    def sweep_time(self) -> float:
        """Return when the sweep timer fires."""
        return self._sweep_at

    def watchers(self) -> int:
        """Count the callers that wait for a condition."""
        return len(self._conditions)

    def has_ages(self) -> bool:
        """Tell whether resources expire."""
        return self._age is not None

    def now(self) -> float:
        """Return the time for the machine, or 0.0 if nobody needs the time."""
        return self.binding.clock() if self.timed else 0.0

    # The gate.

    def is_nested(self) -> bool:
        """Tell whether a call has to wait for a step in progress, or for deferred calls."""
        return self.busy or bool(self.deferred)

    def run(self, step: Callable[[], object]) -> None:
        """Run a step now, or after the steps in progress, or in the thread of the pool's loop."""
        binding = self.binding
        if binding.owner._thread_id == here() and not self.busy and not self.deferred:
            self.answer(step)  # the common case
        elif binding.forked or self._calls_in_loop_thread(self.run, step):
            return  # a forked child leaves everything to its parent
        elif self.is_nested():
            self.deferred.append(step)
            self.catch_up()
        else:
            self.answer(step)

    def _calls_in_loop_thread(self, call: Callable[..., object], *args: Any) -> bool:
        """Let the loop make this call, if it runs in another thread. Return whether it does."""
        loop = self.binding.loop
        if loop is None or not self.binding.runs_elsewhere():
            return False
        try:
            loop.call_soon_threadsafe(call, *args, context=Context())
        except RuntimeError:
            return False  # the loop was closed just now
        return True

    def answer(self, step: Callable[[], R]) -> R:
        """Run a step now, perform the effects, and return the answer. The gate must be open."""
        try:
            self.busy = True
            answer = step()
            self.perform()
        finally:
            self.busy = False
            if self.deferred or self._outbox.woken or self._outbox.work:
                self.catch_up()
        return answer

    def at_any_moment(self, call: Callable[[], R]) -> R:
        """Make a call that may interrupt the loop's own code: in a signal handler or a destructor.

        The call changes no timer of the loop directly, and wakes the loop if it sleeps.
        """
        binding = self.binding
        if not binding.is_current():  # the loop's code runs in another thread, or nowhere
            return call()
        before, binding.may_interrupt = binding.may_interrupt, True
        try:
            return call()
        finally:
            binding.may_interrupt = before
            binding.wake()

    def read(self, question: Callable[[], R]) -> R:
        """Answer a question about the machine. Defer nested calls until the answer is there.

        In a nested call or in another thread, the answer may show a step that is half done.
        """
        if self.busy or self.binding.owner._thread_id != here():
            return question()
        try:
            self.busy = True
            return question()
        finally:
            self.busy = False
            if self.deferred:
                self.catch_up()

    async def ready(self) -> None:
        """Check that this is the pool's loop, and wait until the gate is open."""
        self.binding.check()
        await self.opened()

    async def opened(self) -> None:
        """Wait until the gate is open."""
        while self.busy:
            future: Future[None] = self.binding.create_future()
            self.deferred.append(partial(resolve, future, None))
            await future

    def catch_up(self) -> None:
        """Perform the remaining effects and run the deferred calls, unless the gate is closed.

        If a call raises an exception such as KeyboardInterrupt, raise it again at the end.
        """
        outbox = self._outbox
        interruption: BaseException | None = None
        while (self.deferred or outbox.woken or outbox.work) and not self.busy:
            try:
                self.busy = True
                self.perform()
                # A nested call may have emptied the queue just before the gate was closed.
                if self.deferred:
                    self.deferred.popleft()()
                    self.perform()
            except Exception as error:
                # The caller of a nested call has gone on and cannot get this error, so log it.
                what = "a call that arrived during a step failed"
                log_error(logging.ERROR, self.binding.name, what, error)
            except BaseException as error:
                interruption = error
            finally:
                self.busy = False
        if interruption is not None:
            raise interruption

    # Steps of acquirers and holders.

    def resume(
        self, waiter: Waiter[T], context: object = None
    ) -> tuple[Slot[T] | Waiter[T] | None, Any]:
        """Take the step Resume for an acquirer or its context, or raise the waiter's error.

        Return the machine's answer, and the resource if it was granted. A deferred call may end the
        new lease before this method returns. Then the slot has no resource any more.
        """
        resource: Any = None
        try:
            self.busy = True
            now = self.binding.clock()
            self.waited += now - waiter.since
            waiter.since = now
            if waiter.error is not None:
                self._failed_waiters.discard(waiter)
                raise take_error(waiter)
            got = self.machine.resume(waiter, now if self.timed else 0.0)
            if type(got) is Slot:
                got.context = context
                resource = got.resource
            elif got is not None:  # the acquirer waits again
                self._wait_again(waiter)
        finally:
            self.busy = False
            if self.deferred or self._outbox.work:
                self.catch_up()
        return got, resource

    def refuse_waiting(self, waiter: Waiter[T]) -> None:
        """Fail a `timeout=0` acquire unless it was already served."""
        if self.answer(partial(self._end_waiting, waiter)):
            raise self.with_cause(self.timeout_error(0.0), waiter.since)

    def leave(self, waiter: Waiter[T], error: BaseException | None = None) -> None:
        """End the acquire of a waiter whose task was cancelled or whose coroutine was closed."""
        if type(error) is GeneratorExit:
            self.at_any_moment(partial(self.run, partial(self._leave, waiter)))
        elif self.busy or self.binding.owner._thread_id != here():
            self.run(partial(self._leave, waiter))
        else:
            try:
                self.busy = True
                self._leave(waiter)
                self.perform()
            finally:
                self.busy = False
                if self.deferred:
                    self.catch_up()

    def slot_of(self, resource: T, find: Find[T] | None = None) -> Slot[T]:
        """Find the slot of a resource, in the pool's loop, or raise."""
        if self.binding.owner._thread_id != here():
            self.binding.refuse_strangers()
        slot = (find or self.find)(id(resource))
        if slot is None:
            raise foreign_release(self.machine.name, resource)
        return slot

    def release(self, slot: Slot[T]) -> None:
        """Take the step Release."""
        self._give_back(slot, self._release)

    def discard(self, slot: Slot[T]) -> None:
        """Take the step Discard."""
        self._give_back(slot, self.machine.discard)

    def detach(self, slot: Slot[T]) -> None:
        """Take the step Detach."""
        self._give_back(slot, self.machine.detach)

    def end_context(
        self, slot: Slot[T], context: object, discard: bool, error: BaseException | None = None
    ) -> None:
        """End a context's lease, unless the lease has ended already. Defer a nested call.

        Args:
            slot: The slot of the lease.
            context: The context.
            discard: Whether to close the resource.
            error: The error that ended the body, if the pool closes the resource because of it.
        """
        if self._calls_in_loop_thread(self.end_context, slot, context, discard, error):
            return
        step = partial(self._interrupt, error=error) if discard else self._release
        end = partial(self._end_context, slot, context, step)
        if not self.is_nested():
            self.at_any_moment(partial(self.answer, end))
        elif slot.context is context and not self._is_ending(slot):
            self.at_any_moment(partial(self._defer, slot, end))

    def end_age(self, resource: T) -> None:
        """Let the age of a resource end, because the resource has ended by itself."""
        self.run(partial(self._end_age, resource))

    def _end_age(self, resource: T) -> None:
        slot = self.machine.finder()(id(resource))
        if slot is not None and not self.is_closing:
            self.machine.grow_old(slot, self.now())

    # Steps of the pool.

    def open(self) -> None:
        """Take the step Open."""
        try:
            self.answer(self.machine.open)
        except ResourcePoolClosedError:
            raise reopening(self.machine.name, self.machine.counts().phase) from None

    def close(self) -> None:
        """Take the step Close."""
        self.answer(self._close)

    def terminate(self) -> None:
        """Take the step Terminate, and cancel the creations, checks and resets in flight."""
        self.run(self._terminate)

    def work_succeeded(self, run: Run, result: Any) -> None:
        """Take the step that ends a run with a result."""
        self.run(partial(self._succeed, run, result))

    def work_failed(self, run: Run, error: BaseException) -> None:
        """Take the step that ends a run with an error."""
        self.run(partial(self._fail, run, error))

    def limits_exceeded(self) -> None:
        """Cancel the runs that exceeded their limit, and take the step CloserEnded for closers."""
        self.run(self._end_overdue)

    # Effects.

    def perform(self) -> None:
        """Perform the effects of the last steps."""
        outbox = self._outbox
        woken, work = outbox.woken, outbox.work
        while woken:
            resolve(woken.popleft().future, None)
        while work:
            self._perform_work(work.popleft())
        if woken:
            self.perform()  # work that ended at once has woken a waiter
        if outbox.sweep_at < self._sweep_at:
            self._arm_sweep()
        if self._conditions.is_awaited:
            self._conditions.check(self.machine)
        if self.is_closing and self.machine.counts().phase is Phase.CLOSED:
            self.work.stop()

    def _perform_work(self, slot: Slot[T]) -> None:
        if slot.state is CLOSING and not self.work.has_closer:
            self.machine.closer_ended(slot)
        elif not self.binding.is_over():
            self.work.request(slot, self)
        else:
            self._end_without_loop(slot)

    def _end_without_loop(self, slot: Slot[T]) -> None:
        """End the work of a slot here, because the closed loop cannot do it."""
        error = ResourcePoolLoopError("the event loop is closed")
        if slot.state is CREATING:
            self.machine.create_failed(slot, error)
        elif slot.state is CHECKING:
            self.machine.check_failed(slot, error)
        elif slot.state is RESETTING:
            self.machine.reset_failed(slot, error)
        else:
            problem = self.work.call_closer(slot)
            self._end_closer(slot, problem)
            if stops_program(problem):
                self.deferred.append(partial(interrupt, problem))

    def start_waiting(self, waiter: Waiter[T], limit: float) -> None:
        """Give a new waiter its future and its deadline, and perform the effects of its step."""
        waiter.since = now = self.binding.clock()
        waiter.limit = limit
        waiter.expires_at = now + limit
        create_future = self.binding.create_future
        waiter.future = create_future()
        if 0 < limit < NEVER:
            self._waiter_deadlines.add(waiter)
        if self._outbox.work:
            self.perform()

    def _wait_again(self, waiter: Waiter[T]) -> None:
        waiter.future = self.binding.create_future()
        if 0 < waiter.limit < NEVER:
            self._waiter_deadlines.add(waiter)

    def _end_waiting(self, waiter: Waiter[T]) -> bool:
        """Take the step Timeout if the waiter is still in the queue. Return whether it was."""
        waits = waiter.state is WAITING
        if waits:
            self.machine.timeout(waiter)
        return waits

    def _leave(self, waiter: Waiter[T]) -> None:
        self.waited += self.binding.clock() - waiter.since
        if waiter.state is not DONE:
            self.machine.cancel(waiter, self.now())
            self._cancelled_waiters += 1
            # Drop ended deadlines sometimes, because otherwise cancelled waiters would take memory.
            if not self._cancelled_waiters % 64:
                self._waiter_deadlines.compact_to(self.machine.counts().waiting)
            if self._failure is not None:
                self._let_go_of_failure()
        elif waiter in self._failed_waiters:
            self._failed_waiters.remove(waiter)
            assert waiter.error is not None
            self.deferred.append(partial(self._log_unreported, waiter.error))

    def _give_back(self, slot: Slot[T], step: Callable[[Slot[T]], object]) -> None:
        if self.is_nested():
            self.at_any_moment(partial(self._defer_return, slot, step))
        else:
            self.at_any_moment(partial(self.answer, partial(step, slot)))

    def _end_context(
        self, slot: Slot[T], context: object, step: Callable[[Slot[T]], object]
    ) -> None:
        if slot.context is context:
            step(slot)

    def _is_ending(self, slot: Slot[T]) -> bool:
        """Tell whether a deferred call or a step in progress ends this lease."""
        return slot in self._returning or self._terminating

    def _defer_return(self, slot: Slot[T], step: Callable[[Slot[T]], object]) -> None:
        """Give a resource back after the step in progress, or refuse the call now."""
        if slot.state is not HELD:
            raise self.machine.invalid_release(slot.state)
        if self._is_ending(slot):
            returns = slot in self._returning
            raise self.machine.invalid_release(SlotState.IDLE if returns else SlotState.FREE)
        self._defer(slot, partial(step, slot))

    def _defer(self, slot: Slot[T], step: Callable[[], object]) -> None:
        self._returning[slot] = step
        self.deferred.append(partial(self._return, slot))
        self.catch_up()

    def _return(self, slot: Slot[T]) -> None:
        step = self._returning.pop(slot, None)
        if step is not None:  # None: terminate() has taken the step already
            step()

    def _release(self, slot: Slot[T]) -> None:
        self.machine.release(slot, self.now())

    def _interrupt(self, slot: Slot[T], error: BaseException | None) -> None:
        self.machine.discard(slot, "interrupted", error)

    # The ends of work.

    def _succeed(self, run: Run, result: Any) -> None:
        if run.late and run.kind in (CHECKING, RESETTING):
            # The pool has cancelled this call at its limit, so its result does not count.
            self._fail(run, self.work.late_error(run.kind))
            return
        if not self.work.end(run):
            return  # the run has ended before: the pool abandoned it
        slot, machine = run.slot, self.machine
        if run.kind is CREATING:
            self._add_resource(run, result)
            return
        mistake = unfinished(machine.name, LIMITS[run.kind][0], result, slot)
        if mistake is not None:
            self._end_failed(run, mistake, logging.WARNING)
        elif run.kind is CLOSING:
            machine.closer_ended(slot)
        elif run.kind is RESETTING:
            machine.reset_passed(slot, self.now())
        elif result is False:
            machine.check_failed(slot)
        else:
            machine.check_passed(slot, self.now())
            if result is not None and not self._has_odd_check and is_falsy(result):
                self._has_odd_check = True
                name = self.binding.name
                self.deferred.append(partial(log, logging.WARNING, ODD_CHECK, name, result))

    def _fail(self, run: Run, error: BaseException) -> None:
        if self.work.end(run):
            self._end_failed(run, error, logging.INFO)

    def _end_failed(self, run: Run, error: BaseException, level: int) -> None:
        """Take the step that ends a run with an error. Log a failed check at this level."""
        slot, machine = run.slot, self.machine
        # While the pool closes, a cancelled run is no failure. The pool itself or the end of the
        # program has cancelled it.
        if run.kind is CLOSING:
            self._end_closer(slot, error)
        elif run.cancelled and self.is_closing:
            self._end_cancelled(slot, error)
        elif run.kind is CREATING:
            self._fail_creation(slot, error)
        elif run.kind is CHECKING:
            machine.check_failed(slot, error)
            self._log_later(level, "a check failed", error)
        else:
            machine.reset_failed(slot, error)
            self._log_later(logging.WARNING, "a reset failed", error)

    def _end_cancelled(self, slot: Slot[T], error: BaseException) -> None:
        """End work that was cancelled while the pool closes. The step closes a resource, too."""
        if slot.state is CREATING:
            self.machine.create_failed(slot, error)
        elif slot.state is CHECKING:
            self.machine.check_passed(slot, self.now())
        else:
            self.machine.reset_passed(slot, self.now())

    def _add_resource(self, run: Run, resource: T) -> None:
        machine, slot = self.machine, run.slot
        mistake = None if self.has_contexts else wrong_result(machine.name, resource)
        if mistake is not None:
            self._fail_creation(slot, mistake)
            return
        try:
            if run.late and not machine.is_retired(slot):
                error: BaseException = self.work.late_error(CREATING)
                self._note_lost_creation(machine.create_late(slot, resource, error), error)
                return
            now = self.now()
            age = NEVER if self._age is None else self._age()
            retired = machine.is_retired(slot)
            machine.create_succeeded(slot, resource, now, now + age)
        except DuplicateResourceError:
            self._fail_creation(slot, duplicate(machine.name, "the factory", resource))
            return
        if not retired:  # the success of a retired creation says nothing about the next one
            self._failure = None
            self._backoff = FIRST_BACKOFF
            self.binding.cancel(self._retry_timer)
            self._retry_timer = None

    def _fail_creation(self, slot: Slot[T], error: BaseException) -> None:
        retired = self.machine.is_retired(slot)
        self._note_lost_creation(self.machine.create_failed(slot, error), error, retired)

    def _note_lost_creation(
        self, reported: bool, error: BaseException, retired: bool = False
    ) -> None:
        """Note a lost creation. If `reported` is true, an acquirer gets the error.

        The error of a retired creation explains no later wait, so do not keep it.
        """
        if not self.is_closing and not retired:
            self._failure = self.binding.clock(), failure_text(error) if reported else error
            self._let_go_of_failure()
        if self.machine.counts().floor is Floor.BACKOFF and self._retry_timer is None:
            self._retry_timer = self.binding.call_later(self._backoff, self._retry)
            self._backoff = min(2 * self._backoff, LAST_BACKOFF)
        if reported:
            waiters = reversed(self._outbox.woken)
            self._failed_waiters.add(next(one for one in waiters if one.error is error))
        else:  # log after the effects, because a logging handler may call the pool
            self.deferred.append(partial(self._log_unreported, error))

    def _let_go_of_failure(self) -> None:
        """Keep only the text of the last failure if nobody waits who may get the error itself.

        The error keeps the frames of the factory and their local variables alive.
        """
        if self._failure is not None and not (
            self._filled.futures or self.machine.counts().waiting
        ):
            at, error = self._failure
            self._failure = at, failure_text(error)

    def _end_closer(self, slot: Slot[T], problem: BaseException | str | None) -> None:
        """Take the step CloserEnded, and note the problem if there was one."""
        # Do not use `isinstance`, because it reads `__class__` of a user's error.
        error: Any = ResourcePoolError(problem) if type(problem) is str else problem
        self.machine.closer_ended(slot, error)
        if error is not None:
            self.closer_failures += 1
            self._log_later(logging.WARNING, "a closer failed, its resource is abandoned", error)

    def _log_later(self, level: int, what: str, error: BaseException) -> None:
        """Log an error after the step and its effects, because a handler may call the pool."""
        has_traceback = level > logging.INFO
        self.deferred.append(
            partial(log_error, level, self.binding.name, what, error, with_traceback=has_traceback)
        )

    def _end_overdue(self) -> None:
        for run in self.work.cancel_overdue(self.binding.clock()):
            limit = self.work.limit_of(CLOSING)
            self._end_closer(run.slot, f"it did not end within closer_timeout={limit:g} s")

    def _close(self) -> None:
        self.machine.close()
        self._stop_timers()

    def _terminate(self) -> None:
        self._terminating = True
        # The pool has accepted these returns. Take them now, because otherwise the step Terminate
        # would forget the resources and never close them.
        for slot in list(self._returning):
            if slot.state is HELD:
                self._return(slot)
        self.machine.terminate()
        self._stop_timers()
        self.perform()
        for run in self.work.cancel_all():
            self.work.end(run)
            if run.kind is not CLOSING:
                self._end_cancelled(run.slot, ResourcePoolError("cancelled by terminate()"))
            elif not run.has_begun:
                self._end_without_loop(run.slot)
            else:
                self._end_closer(run.slot, CLOSED_LOOP)
        if self.binding.is_over():
            for slot in self.machine.slots():
                if slot.waiter is not None:  # its acquirer never resumes
                    self.machine.cancel(slot.waiter, self.now())

    # Time.

    def _arm_sweep(self) -> None:
        self.binding.cancel(self._sweep_timer)
        self._sweep_at = self._outbox.sweep_at
        delay = self._sweep_at - self.binding.clock()
        self._sweep_timer = self.binding.call_later(delay, self._sweep)

    def _sweep(self) -> None:
        self._sweep_timer = None
        self._sweep_at = NEVER
        self.run(lambda: self.machine.sweep(self.binding.clock()))

    def _retry(self) -> None:
        self._retry_timer = None
        self.run(self.machine.retry_floor)

    def _stop_timers(self) -> None:
        """Drop the timers that only an open pool needs."""
        self.is_closing = True
        self.binding.cancel(self._sweep_timer)
        self.binding.cancel(self._retry_timer)
        self._sweep_timer = self._retry_timer = None
        self._sweep_at = -NEVER  # no resource becomes idle any more, so never arm the timer
        self._failure = None
        self._waiter_deadlines.stop()

    def _expire_waiters(self) -> None:
        self.run(self._time_out_waiters)

    def _time_out_waiters(self) -> None:
        """Fail all waiters whose deadline has passed. Make one text for each length of timeout."""
        now = self.binding.clock()
        texts: dict[float, str] = {}
        try:
            while (waiter := self._waiter_deadlines.take_expired(now)) is not None:
                if waiter.state is WAITING:
                    if waiter.limit not in texts:
                        texts[waiter.limit] = str(self.timeout_error(waiter.limit))
                    error = ResourcePoolTimeoutError(texts[waiter.limit])
                    self.machine.timeout(waiter, self.with_cause(error, waiter.since))
        finally:
            self._waiter_deadlines.arm()

    # Conditions.

    async def closed(self, limit: float, call: str = "close()") -> bool:
        """Wait until the pool is closed, for at most `limit` seconds. Return whether it is."""
        return await self._until(self._closed, limit, call, is_any)

    async def fits(self) -> None:
        """Wait until the size is within the limit."""

        def awaits(slot: Slot[T]) -> bool:
            counts = self.machine.counts()
            return slot.state is CLOSING or lasting(counts) > counts.max_size

        await self._until(self._fits, NEVER, "resize(wait=True)", awaits)

    async def filled(self, limit: float) -> bool:
        """Wait until `min_size` resources exist, or the pool closes. Return False at the limit."""
        try:
            return await self._until(self._filled, limit, OPENING, self._awaits_opening)
        except BaseException:
            self._let_go_of_failure()
            raise

    def _awaits_opening(self, slot: Slot[T]) -> bool:
        """Tell whether `open(wait=True)` waits for a slot: a creation, or what takes its room."""
        if slot.state is CREATING:
            return True
        is_full = self.machine.size() >= self.machine.counts().max_size
        is_lost = slot.state is CLOSING or (
            slot.state is CHECKING and self.machine.is_retired(slot)
        )
        return is_full and is_lost

    async def retired(self, generation: int) -> None:
        """Wait until no slot of an older generation is left."""
        gone = Condition(lambda machine: not machine.has_retired(generation))

        def awaits(slot: Slot[T]) -> bool:
            return slot.generation < generation

        await self._until(gone, NEVER, "retire_all(wait=True)", awaits, in_line=True)

    async def freed(self, slots: list[Slot[T]]) -> None:
        """Wait until all these slots are free."""

        def are_free(_: object) -> bool:
            while slots and slots[-1].state is SlotState.FREE:
                slots.pop()
            return not slots

        await self._until(Condition(are_free), NEVER, "prune()", frozenset(slots).__contains__)

    async def _until(
        self,
        condition: Condition,
        limit: float,
        call: str,
        awaits: Awaits,
        *,
        in_line: bool = False,
    ) -> bool:
        """Wait until the condition is true, for at most `limit` seconds. Return whether it is.

        If the wait is long, log warnings. They name the waiting call, `call`, and describe the
        slots for which `awaits` is true.
        """
        loop = self.binding.loop
        assert loop is not None
        future: Future[bool] = loop.create_future()
        timer = None
        try:
            # With the effects of this step, the driver checks the condition for the first time.
            self.run(partial(self._join, condition, future, call, awaits, in_line))
            if limit < NEVER and not future.done():
                timer = loop.call_later(limit, resolve, future, False)
            # The condition may have become true after the time limit, before this task resumed.
            return await future or self.read(partial(condition.is_true, self.machine))
        finally:
            self.binding.cancel(timer)
            self.run(partial(self._part, condition, future))

    def _join(
        self,
        condition: Condition,
        future: Future[bool],
        call: str,
        awaits: Awaits,
        in_line: bool,
    ) -> None:
        self._conditions.add(condition, future, in_line=in_line)
        self._long_waits.begin(future, call, awaits)

    def _part(self, condition: Condition, future: Future[bool]) -> None:
        self._conditions.remove(condition, future)
        self._long_waits.end(future)

    def _report_waits(self) -> None:
        """Log that calls have waited for a long time. Their timer calls this method."""
        self.run(self._take_due_waits)

    def _take_due_waits(self) -> None:
        self._defer_warnings(self._long_waits.take_due())

    def _defer_warnings(self, due: list[list[LongWait]]) -> None:
        if due:
            self.deferred.append(partial(self._warn_of_waits, due))

    def _warn_of_waits(self, due: list[list[LongWait]]) -> None:
        """Log the longest wait of the first call that is due, unless all its waits have ended."""
        going = [wait for wait in due.pop(0) if wait.state is WaitState.GOING]
        if going:
            wait = min(going, key=lambda one: one.since)
            waited = self.binding.clock() - wait.since
            log(logging.WARNING, "%s", self.describe_wait(wait.call, waited, wait.awaits))
        self._defer_warnings(due)  # after the calls that the logging handlers have made

    # Messages.

    def timeout_error(self, limit: float) -> ResourcePoolTimeoutError:
        """Make the error of an acquire that reached its deadline."""
        return self.read(partial(self._timeout_error, limit))

    def _timeout_error(self, limit: float) -> ResourcePoolTimeoutError:
        ages = self._ages_of_work()
        holders = self._holders(self.machine.lent()[:10])
        return acquire_timeout(self.machine.name, limit, self.machine.counts(), ages, holders)

    def close_timeout(self, limit: float) -> ResourcePoolTimeoutError:
        """Make the error of a close that reached its time limit."""
        return self.read(
            lambda: close_timeout(self.machine.name, limit, self._find_awaited(is_any))
        )

    def open_timeout(self, limit: float) -> ResourcePoolTimeoutError:
        """Make the error of an open that reached its time limit."""
        return self.read(partial(self._open_timeout, limit))

    def _open_timeout(self, limit: float) -> ResourcePoolTimeoutError:
        found, counts = self._find_awaited(self._awaits_opening), self.machine.counts()
        failure = self._last_failure()
        return open_timeout(self.machine.name, limit, existing(counts), counts, found, failure)

    def describe_wait(
        self, call: str, waited: float, awaits: Awaits = is_any, outcome: str = ""
    ) -> str:
        """Describe what a call has waited for: the slots for which `awaits` is true."""
        return self.read(partial(self._describe_wait, call, waited, awaits, outcome))

    def _describe_wait(self, call: str, waited: float, awaits: Awaits, outcome: str) -> str:
        machine = self.machine
        found = self._find_awaited(awaits)
        failure = self._last_failure() if call == OPENING else ""
        counts = machine.counts()
        usable = existing(counts)
        return long_wait(machine.name, call, waited, usable, counts, found, failure, outcome)

    def _last_failure(self) -> str:
        """Return the text about the last creation, if it failed."""
        return "" if self._failure is None else failure_text(self._failure[1])

    def _find_awaited(self, awaits: Awaits) -> Awaited:
        """Find the resources in use and the work for which `awaits` is true."""
        now = self.binding.clock()
        slots = [slot for slot in self.machine.slots() if awaits(slot)]
        held = [slot for slot in slots if slot.state is HELD]
        handed = [slot for slot in slots if slot.state is SlotState.HANDED]
        runs = {kind: [run for run in self.work.runs(kind) if awaits(run.slot)] for kind in LIMITS}
        return Awaited(
            in_use=len(held) + len(handed),
            numbers={kind: len(found) for kind, found in runs.items()},
            ages={kind: now - found[0].since for kind, found in runs.items() if found},
            names=names_of(slot.resource for slot in held[:10]),
            holders=self._holders(held[:10]),
        )

    def _ages_of_work(self) -> dict[SlotState, float]:
        """Return the age of the oldest work of each kind, in seconds."""
        now = self.binding.clock()
        return {run.kind: now - run.since for run in self.work.oldest()}

    def take_failure(self, since: float) -> BaseException | None:
        """Return the error of the last creation, if it failed after `since`, for a caller.

        Keep only its text, because the caller may raise the error, and a raised error keeps the
        frames of the caller. The next caller gets an error with this text.
        """
        if self._failure is None or self._failure[0] < since:
            return None
        at, error = self._failure
        text = failure_text(error)
        self._failure = at, text
        # Do not use `isinstance`, because it reads `__class__` of a user's error.
        return ResourcePoolError(text) if type(error) is str else error  # type: ignore[return-value]

    def with_cause(self, error: ResourcePoolTimeoutError, since: float) -> ResourcePoolTimeoutError:
        """Set the error's cause to the last failure of a creation if it came after `since`."""
        if (failure := self.take_failure(since)) is not None:
            error.__cause__ = failure
        return error

    def _log_unreported(self, error: BaseException) -> None:
        what = "a creation failed, and no acquirer gets this error"
        log_error(logging.WARNING, self.binding.name, what, error)


def failure_text(error: Any) -> str:
    """Describe the error of a creation, unless it is such a description already."""
    # Do not use `isinstance`, because it reads `__class__` of a user's error.
    return error if type(error) is str else f"a creation failed: {described(error)}"


def is_falsy(result: Any) -> bool:
    """Tell whether a result is a falsy value of a built-in type."""
    kind = type(result)
    return any(kind is one for one in FALSY) and not result


def take_error(waiter: Waiter[Any]) -> BaseException:
    """Take the error from its waiter. A raised error keeps the waiter, so avoid a cycle."""
    error, waiter.error = waiter.error, None
    assert error is not None
    return error
