"""One run of a scenario: before each step a chooser chooses the next event."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import closing, contextmanager
from inspect import isawaitable
from typing import Any, Literal, NamedTuple, TypeAlias

from ._events import EventLog, Events, Option
from ._fingerprint import Fingerprints
from ._loop import THREAD, RealIOError, make_controlled_loop
from ._registry import registry
from ._story import handle_name, show
from ._waits import list_waits, tell, waits_for_thread

__all__ = [
    "JUMP",
    "BrokenError",
    "Chooser",
    "CutError",
    "DeadlockError",
    "LivelockError",
    "Mode",
    "Run",
    "Scenario",
    "dismantle",
    "errors_behind",
    "suppress_warnings",
]

Scenario: TypeAlias = Callable[[Events], Coroutine[Any, Any, object]]
Mode: TypeAlias = Literal["events", "ready"]
Chooser: TypeAlias = "Callable[[Run, tuple[Option, ...]], int]"
Drop: TypeAlias = tuple[str, asyncio.Task[Any] | None]
"""A warning about a coroutine that nobody awaited, and the task that dropped the coroutine."""

RUN: Option = ("run", 0, 0)
JUMP: Option = ("jump", 0, 0)
FEW_JUMPS = 10  # timers, until times count from now in states
FEW_STEPS = 30  # steps without an event from outside, until they may repeat for ever


class DeadlockError(AssertionError):
    """A state in which nothing can happen, but a task waits."""


class LivelockError(AssertionError):
    """A state from which no end of the run can be reached."""


class LeftOverError(AssertionError):
    """Something that a scenario left behind at its end."""


class Step(NamedTuple):
    """A step of a run, for its story."""

    option: Option
    words: str  # empty if only the explorer itself did something
    deviates: bool  # whether the step was not the first option


class BrokenError(Exception):
    """The end of a run that failed."""

    def __init__(self, kind: str, error: BaseException, about: str = "") -> None:
        super().__init__(kind, error, about)
        self.kind = kind
        self.error = error
        self.about = about


class CutError(Exception):
    """The end of a run that reached its maximum of steps."""


@contextmanager
def collect_drops(drops: list[Drop]) -> Iterator[None]:
    """Append a drop for each coroutine that nobody awaited."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", ".* was never awaited", RuntimeWarning)
        show_warning = warnings.showwarning

        def collect(message: Warning | str, *where: Any, **more: Any) -> None:
            if str(message).endswith(" was never awaited"):
                drops.append((str(message), asyncio.current_task()))
            else:
                show_warning(message, *where, **more)

        warnings.showwarning = collect
        yield


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress the warnings of unfinished objects that are dropped."""
    hook = sys.unraisablehook
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda _: None
        try:
            yield
        finally:
            sys.unraisablehook = hook


def errors_behind(error: BaseException) -> list[BaseException]:
    """List an error, its causes and contexts, and the members of groups among them."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and not any(one is other for other in found):
            found.append(one)
            waiting += [one.__cause__, one.__context__]
            waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return found


def drop_variables(error: BaseException) -> None:
    """Drop the variables of all frames of an error and of those behind it.

    A coroutine that nobody awaited may be among them. It would give a warning at any later time.
    """
    for one in errors_behind(error):
        traceback.clear_frames(one.__traceback__)


def dismantle(
    log: EventLog, tasks: Iterable[asyncio.Task[Any]], futures: Iterable[asyncio.Future[Any]] = ()
) -> None:
    """Drop the rest of a run in any state. Its loop must be closed."""
    with suppress_warnings():
        for task in tasks:
            asyncio._unregister_task(task)  # because a large registry would be slow
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            for _ in range(0 if task.done() else 100):  # its code may await again when it is closed
                try:
                    coroutine.close()
                    break
                except BaseException:
                    continue
        for call in log.calls:
            call.clear_faults()
        for future in (*tasks, *futures):
            future._log_traceback = False
            if future.done() and future._exception is not None:
                drop_variables(future._exception)


class Run:
    """A run of a scenario on its own loop.

    Args:
        scenario: The scenario.
        mode: "events" or "ready", see `explore`.
        choose: A function that returns the index of the next option. It may raise to end the run.
        max_depth: The maximum number of steps.
        creep: How many seconds each reading of the clock takes.
        fingerprints: The fingerprints of states, to find states that repeat.
    """

    def __init__(
        self,
        scenario: Scenario,
        mode: Mode,
        choose: Chooser,
        max_depth: int,
        creep: float,
        fingerprints: Fingerprints,
    ) -> None:
        self.loop = make_controlled_loop()
        self.loop.creep = creep
        self.log = EventLog(self.loop, self._choose_inside)
        self.events = Events(self.log)
        self.mode = mode
        self.steps = 0
        self.schedule: list[Option] = []  # the options that were chosen
        self.story: list[Step] | None = None  # the same in words, if somebody sets a list
        self.before_iteration: Callable[[], object] = int  # called before each iteration
        self.is_inside = False  # whether a choice is made inside of a callback
        self.inside: list[int] = []  # what was chosen there
        self._inside_error: Exception | None = None
        self._jumps = 0
        self.is_lonely = False  # whether no call is open
        self._lonely_steps = 0  # since an event from outside
        self._lonely_states: set[bytes] = set()  # since then
        self._fingerprints = fingerprints
        self._drops: list[Drop] = []
        self._scenario = scenario
        self._choose = choose
        self._max_depth = max_depth

    def execute(self) -> None:
        """Run the scenario to its end.

        Raises:
            BrokenError: The run failed.
            CutError: The run took more than `max_depth` steps.
        """
        random.seed(0)
        try:
            with registry.run_context(self.loop), closing(self.loop):
                contextvars.Context().run(self._drive)
        except BaseException as error:
            with suppress_warnings():
                drop_variables(error)
            raise
        finally:
            dismantle(self.log, self.loop.tasks, self.loop.futures)

    def _drive(self) -> None:
        with self.loop.activate(), collect_drops(self._drops):
            try:
                coroutine = self._scenario(self.events)
            except Exception as error:
                raise BrokenError("raised", error) from error
            if not asyncio.iscoroutine(coroutine):
                raise TypeError(
                    "a scenario must be an async function of the events: "
                    f"{self._scenario!r} has returned {coroutine!r}"
                )
            self.main = self.loop.create_task(coroutine, name="scenario")
            del coroutine
            while not self._has_ended():
                self._step()
        self.before_iteration()
        self._check_end()

    def _has_ended(self) -> bool:
        if self.main.done() and (self.main.cancelled() or self.main.exception() is not None):
            return True
        if self.mode == "ready":  # here the chooser never chooses a cancelled handle
            self.loop.drop_cancelled()
        return not self.loop.ready and all(task.done() for task in self.loop.tasks)

    def _step(self) -> None:
        if self.steps == self._max_depth:
            raise CutError(self.waits())
        self.steps += 1
        options = self._options()
        index = 0 if len(options) == 1 else self._choose(self, options)
        option = options[index]
        self.schedule.append(option)
        self._jumps += option is JUMP
        self._lonely_steps += 1
        if option[0] in ("call", "cancel"):
            self._lonely_steps = 0
            self._lonely_states.clear()
        if self.story is not None:
            self.story.append(Step(option, self._describe(option), index > 0))
        if self.mode == "events":
            self._perform_event(option)
        else:
            self._perform_callback(option)

    def _options(self) -> tuple[Option, ...]:
        loop, log = self.loop, self.log
        options: list[Option] = []
        timer = loop.next_timer()
        is_due = loop.is_due(timer)
        if self.mode == "events":
            if is_due or loop.ready:
                options.append(RUN)
        else:
            loop.collect_due()
            loop.drop_cancelled()
            options = [("step", place, 0) for place in range(len(loop.ready))]
        options += log.call_options()
        if timer is not None and not is_due:
            options.append(JUMP)
        if not options and any(map(waits_for_thread, loop.futures)):
            raise BrokenError("real I/O", RealIOError(THREAD), self.waits())
        if not options:  # a possible cancellation does not count: it need not happen
            raise BrokenError("deadlock", DeadlockError(f"nothing can happen\n{self.waits()}"))
        self.is_lonely = all(kind != "call" for kind, _, _ in options)
        if self.is_lonely and self._lonely_steps >= FEW_STEPS:
            self._check_repetition()
        return (*options, *log.cancel_options())

    def _check_repetition(self) -> None:
        """Fail if a state repeats without an event from outside, because then it may for ever.

        The loop is punctual here. If it is late, timers may meet in another way.
        """
        roots, internals, _ = self.state()
        state = self._fingerprints.compare(roots, internals, self.loop.now)
        if state not in self._lonely_states:
            if state is not None:
                self._lonely_states.add(state)
            return
        text = f"the same state repeats for ever, and no call is open\n{self.waits()}"
        if all(task.done() for task in (self.main, *self.log.tasks)):
            raise BrokenError("left over", LeftOverError(text))
        if JUMP in self.schedule[-FEW_STEPS:]:
            raise BrokenError("deadlock", DeadlockError(text))
        raise BrokenError("livelock", LivelockError(text))

    def waits(self) -> str:
        """Describe where each task waits."""
        return list_waits([task for task in self.loop.tasks if not task.done()], self.loop.now)

    def _perform_event(self, option: Option) -> None:
        """Let an event arrive, or run an iteration."""
        loop = self.loop
        if option is JUMP:
            loop.now = loop.next_timer() or loop.now
        elif option is not RUN:
            loop.call_soon(self.log.record(option))
            self._check()
            return
        self.before_iteration()
        loop.collect_due()
        for _ in range(len(loop.ready)):
            self._run_handle()
            self._check()

    def _perform_callback(self, option: Option) -> None:
        """Run one callback, or let an event arrive and run its callback at once."""
        loop = self.loop
        kind, place, _ = option
        if kind == "jump":
            loop.now = loop.next_timer() or loop.now
            return
        if kind != "step":
            loop.call_soon(self.log.record(option))
            place = -1
        self._run_handle(place)
        self._check()

    def _choose_inside(self, options: tuple[Option, ...]) -> int:
        """Choose an option inside of a callback. An error must not go through the scenario."""
        self.is_inside = True
        try:
            index = self._choose(self, options)
        except Exception as error:
            self._inside_error, index = error, 0
        self.is_inside = False
        self.inside.append(index)
        if index and self.story is not None:
            self.story.append(Step(options[index], self._describe(options[index]), True))
        return index

    def _run_handle(self, place: int = 0) -> None:
        try:
            self.loop.run_handle(place)
            if self._inside_error is not None:
                raise self._inside_error
        except SystemExit as error:
            raise BrokenError("raised", error) from error
        except KeyboardInterrupt as error:  # from a fault of the scenario, or from the keyboard
            if all(call.error is not error for call in self.log.calls):
                raise
            raise BrokenError("raised", error) from error

    def _check(self) -> None:
        """Check everything that must hold after each callback."""
        for monitor in self.log.monitors:
            if (failure := monitor.failure()) is not None:
                raise BrokenError("specification", failure)
        for invariant in self.log.checks:
            try:
                _check_invariant(invariant)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise BrokenError("invariant", error) from error
        while self._drops:
            message, task = self._drops.pop()
            # A task that was cancelled early may drop a coroutine: this is no mistake.
            if task is None or not task.cancelled():
                raise BrokenError("left over", LeftOverError(message))
        for refusal in self.loop.refusals:
            raise BrokenError("real I/O", refusal, "a failure even if the scenario caught it")
        for context in self.loop.errors:
            message = context["message"]
            cause = context.get("exception") or AssertionError(message)
            raise BrokenError("callback", cause, message)

    def check_state(self) -> None:
        """Let the monitors check the state between two callbacks."""
        try:
            for monitor in self.log.monitors:
                monitor.check_state()
        except AssertionError as error:
            raise BrokenError("guarantee", error) from error

    def _check_end(self) -> None:
        main = self.main
        if main.cancelled():
            raise BrokenError("raised", asyncio.CancelledError("the scenario was cancelled"))
        if (error := main.exception()) is not None:
            raise BrokenError("raised", error)
        self.check_state()
        for future in (*self.loop.tasks, *self.loop.futures):
            if future._log_traceback:
                failure = future.exception()
                assert failure is not None
                raise BrokenError(
                    "unretrieved", failure, f"nobody has retrieved it from {show(future)}"
                )
        open_calls = [call for call in self.log.open_calls if not call.future.done()]
        tasks = dict.fromkeys((*self.loop.tasks, *asyncio.all_tasks(self.loop)))
        undone = [task for task in tasks if not task.done()]
        if open_calls or undone:
            names = [self.log.call_name(call) for call in open_calls]
            names += [task.get_name() for task in undone]
            raise BrokenError("left over", LeftOverError(", ".join(names)))
        self._check_leftovers()

    def _check_leftovers(self) -> None:
        """Check that no timer would fire later, and that every monitored object got all back."""
        names = [
            f"a timer of {handle_name(timer)}, at {timer.when():g}"
            for timer in sorted(self.loop.timers, key=lambda timer: timer.when())
            if not timer.cancelled() and timer.when() < math.inf
        ]
        for monitor in self.log.monitors:
            names += monitor.leftovers()
        if names:
            raise BrokenError("left over", LeftOverError("\n".join(names)))

    # For fingerprints and stories.

    def state(self) -> tuple[list[object], list[object], float | None]:
        """Return everything that decides what can happen next.

        Returns:
            The roots, the explorer's objects, and the time from which times count.
        """
        roots = [*self.loop.state(), self.log.state()]
        now = self.loop.now if self._jumps > FEW_JUMPS else None
        return roots, [self.loop, self.events, self.log], now

    def _describe(self, option: Option) -> str:
        kind, place, _ = option
        loop = self.loop
        if kind == "step":
            words = tell(loop.ready[place])
            return words and f"run {words}"
        if kind not in ("run", "jump"):
            return self.log.describe(option)
        handles = list(loop.ready)
        now = loop.now
        if kind == "jump":
            now = loop.next_timer() or now
        timers = sorted(loop.timers, key=lambda timer: timer.when())
        handles += [timer for timer in timers if timer.when() <= now]
        told = [tell(handle) for handle in handles if not handle.cancelled()]
        names = ", ".join(words for words in told if words)
        if kind == "run":
            return names and f"run {names}"
        return f"at {now:g} run {names}"


def _check_invariant(invariant: Callable[[], object]) -> None:
    """Raise an error unless an invariant holds."""
    answer = invariant()
    if asyncio.iscoroutine(answer):
        answer.close()
    if isawaitable(answer):
        raise TypeError(f"an invariant must be a plain function, not {invariant!r}")
    if answer is False:
        raise AssertionError(f"{invariant!r} has returned False")
