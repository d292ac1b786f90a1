"""One run of a scenario: what can happen next is asked of a chooser, again and again."""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from inspect import isawaitable
from typing import Any, Literal, TypeAlias

from ._events import Events, Option
from ._loop import controlled_loop
from ._registry import registry
from ._story import shown, waits, words

__all__ = [
    "BrokenError",
    "CutError",
    "DeadlockError",
    "Mode",
    "Run",
    "Scenario",
    "dismantle",
    "quiet",
]

Scenario: TypeAlias = Callable[[Events], Coroutine[Any, Any, object]]
Mode: TypeAlias = Literal["events", "ready"]
Chooser: TypeAlias = "Callable[[Run, tuple[Option, ...]], int]"

RUN: Option = ("run", 0, 0)
JUMP: Option = ("jump", 0, 0)


class DeadlockError(AssertionError):
    """Nothing can happen any more, but somebody waits."""


class LeftOverError(AssertionError):
    """The scenario is over, but something of it is not."""


class BrokenError(Exception):
    """Ends a run: it has failed."""

    def __init__(self, kind: str, error: BaseException, about: str = "") -> None:
        super().__init__(kind, error, about)
        self.kind = kind
        self.error = error
        self.about = about


class CutError(Exception):
    """Ends a run: it is too long."""


@contextmanager
def dropped(notes: list[tuple[str, asyncio.Task[Any] | None]]) -> Iterator[None]:
    """Note the coroutines that nobody has awaited, and which task dropped them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", ".* was never awaited", RuntimeWarning)
        show = warnings.showwarning

        def note(message: Warning | str, *where: Any, **more: Any) -> None:
            if str(message).endswith(" was never awaited"):
                notes.append((str(message), asyncio.current_task()))
            else:
                show(message, *where, **more)

        warnings.showwarning = note
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Objects that are dropped in the middle of what they did have nothing to say about it."""
    hook = sys.unraisablehook
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda _: None
        try:
            yield
        finally:
            sys.unraisablehook = hook


def dismantle(
    events: Events, tasks: Iterable[asyncio.Task[Any]], futures: Iterable[asyncio.Future[Any]] = ()
) -> None:
    """Drop what is left of a run, in whatever state it is; its loop is closed."""
    with quiet():
        for task in tasks:
            asyncio._unregister_task(task)  # its registry is a set, too: it would get slow
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            for _ in range(0 if task.done() else 100):  # its code may go on awaiting
                try:
                    coroutine.close()
                    break
                except BaseException:
                    continue
        for call in events._calls:
            call.forget()
        for future in (*tasks, *futures):
            future._log_traceback = False


class Run:
    """A scenario on a loop of its own.

    Args:
        scenario: What to run.
        mode: See `explore`.
        choose: Says which of several options comes next; may raise to end the run.
        max_depth: After how many steps to end it.
    """

    def __init__(
        self, scenario: Scenario, mode: Mode, choose: Chooser, max_depth: int = sys.maxsize
    ) -> None:
        self.loop = controlled_loop()
        self.events = Events(self.loop)
        self.mode = mode
        self.steps = 0
        self.schedule: list[Option] = []  # what happened
        self.story: list[str] | None = None  # the same in words, if there is a list for them
        self.before_iteration: Callable[[], object] = int  # called as each of them begins
        self.dropped: list[tuple[str, asyncio.Task[Any] | None]] = []
        self._scenario = scenario
        self._choose = choose
        self._max_depth = max_depth

    def execute(self) -> None:
        """Run the scenario to its end.

        Raises:
            BrokenError: It failed.
            CutError: It took more than `max_depth` steps.
        """
        try:
            with registry.run_context(self.loop), closing(self.loop):
                contextvars.Context().run(self._drive)
        finally:
            dismantle(self.events, self.loop.tasks, self.loop.futures)

    def _drive(self) -> None:
        with self.loop.running(), dropped(self.dropped):
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
            while not self._is_over():
                self._step()
        self.before_iteration()
        self._check_end()

    def _is_over(self) -> bool:
        if self.main.done() and (self.main.cancelled() or self.main.exception() is not None):
            return True
        if self.mode == "ready":  # what was cancelled since it became ready will never be chosen
            self.loop.drop_cancelled()
        return not self.loop._ready and all(task.done() for task in self.loop.tasks)

    def _step(self) -> None:
        if self.steps == self._max_depth:
            raise CutError
        self.steps += 1
        options = self._options()
        option = options[0 if len(options) == 1 else self._choose(self, options)]
        self.schedule.append(option)
        if self.story is not None:
            self.story.append(self._words(option))
        if self.mode == "events":
            self._perform(option)
        else:
            self._perform_one(option)

    def _options(self) -> tuple[Option, ...]:
        loop, events = self.loop, self.events
        options: list[Option] = []
        timer = loop.next_timer()
        due = loop.is_due(timer)
        if self.mode == "events":
            if due or loop._ready:
                options.append(RUN)
        else:
            loop.collect_due()
            loop.drop_cancelled()
            options = [("step", place, 0) for place in range(len(loop._ready))]
        options += events._options()
        if timer is not None and not due:
            options.append(JUMP)
        if not options:  # that somebody might be cancelled helps nobody who is not
            left = [task for task in loop.tasks if not task.done()]
            raise BrokenError("deadlock", DeadlockError("nothing can happen\n" + waits(left)))
        return (*options, *events._cancellations())

    def _perform(self, option: Option) -> None:
        """Let something arrive, or run an iteration."""
        loop = self.loop
        if option is JUMP:
            loop.now = loop.next_timer() or loop.now
        elif option is not RUN:
            loop.call_soon(self.events._happen(option))
            return
        self.before_iteration()
        loop.collect_due()
        for _ in range(len(loop._ready)):
            self._run_handle()
            self._check()

    def _perform_one(self, option: Option) -> None:
        """Run one callback, or what happens outside."""
        loop = self.loop
        kind, place, _ = option
        if kind == "jump":
            loop.now = loop.next_timer() or loop.now
            return
        if kind != "step":
            loop.call_soon(self.events._happen(option))
            place = -1
        self._run_handle(place)
        self._check()

    def _run_handle(self, place: int = 0) -> None:
        try:
            self.loop.run_handle(place)
        except SystemExit as error:
            raise BrokenError("raised", error) from error
        except KeyboardInterrupt as error:  # of the scenario, or of who explores it?
            if all(call.raised is not error for call in self.events._calls):
                raise
            raise BrokenError("raised", error) from error

    def _check(self) -> None:
        """After each callback."""
        for monitor in self.events._monitors:
            if (failure := monitor.failure()) is not None:
                raise BrokenError("specification", failure)
        for invariant in self.events._checks:
            try:
                _hold(invariant)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise BrokenError("invariant", error) from error
        while self.dropped:
            told, task = self.dropped.pop()
            if task is None or not task.cancelled():  # before it got that far: no mistake
                raise BrokenError("left over", LeftOverError(told))
        for refused in self.loop.refused:
            raise BrokenError("real I/O", refused, "also if somebody has caught it")
        for context in self.loop.errors:
            said = context["message"]
            raise BrokenError("callback", context.get("exception") or AssertionError(said), said)

    def check_state(self) -> None:
        """Ask the monitors; between two callbacks only."""
        try:
            for monitor in self.events._monitors:
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
                    "unretrieved", failure, f"nobody has retrieved it from {shown(future)}"
                )
        open_calls = [call for call in self.events._open if not call.future.done()]
        tasks = dict.fromkeys((*self.loop.tasks, *asyncio.all_tasks(self.loop)))
        left = [task for task in tasks if not task.done()]
        if open_calls or left:
            names = [self.events._call_name(call) for call in open_calls]
            names += [task.get_name() for task in left]
            raise BrokenError("left over", LeftOverError(", ".join(names)))
        self._check_left()

    def _check_left(self) -> None:
        """What would go on without anybody, or be lost."""
        names = [
            f"a timer of {words(timer)}, at {timer.when():g}"
            for timer in sorted(self.loop._scheduled, key=lambda timer: timer.when())
            if not timer.cancelled() and timer.when() < math.inf
        ]
        for monitor in self.events._monitors:
            names += monitor.leftovers()
        if names:
            raise BrokenError("left over", LeftOverError("\n".join(names)))

    # For fingerprints, and in words.

    def roots(self) -> list[object]:
        """All that decides what can happen from now on."""
        loop, events = self.loop, self.events
        return [
            loop.now,
            list(loop._ready),
            list(loop._scheduled),
            [task for task in loop.tasks if not task.done() or task._log_traceback],
            [future for future in loop.futures if future._log_traceback],
            events._state(),
            loop._handler,
            loop._factory,
            loop._debug,
            loop._generators,
        ]

    def own(self) -> Sequence[object]:
        """What has no state of its own, besides the roots."""
        return [self.loop, self.events]

    def _words(self, option: Option) -> str:
        kind, place, _ = option
        loop = self.loop
        if kind == "step":
            return f"run {words(loop._ready[place])}"
        if kind not in ("run", "jump"):
            return self.events._words(option)
        handles = list(loop._ready)
        now = loop.now
        if kind == "jump":
            now = loop.next_timer() or now
        due = sorted(loop._scheduled, key=lambda timer: timer.when())
        handles += [timer for timer in due if timer.when() <= now]
        what = ", ".join(words(handle) for handle in handles if not handle.cancelled())
        return f"run {what}" if kind == "run" else f"at {now:g} run {what}"


def _hold(invariant: Callable[[], object]) -> None:
    """Raise unless an invariant holds."""
    answer = invariant()
    if asyncio.iscoroutine(answer):
        answer.close()
    if isawaitable(answer):
        raise TypeError(f"an invariant must be a plain function, not {invariant!r}")
    if answer is False:
        raise AssertionError(f"{invariant!r} has returned False")
