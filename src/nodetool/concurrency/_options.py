"""Checks of the pool's arguments. Each error names the argument and what to pass instead."""

from __future__ import annotations

import math
import os
import sys
from functools import cache
from itertools import count as counter
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from ._habits import kind_of_function, refuse_callback
from ._interruptions import test_for
from ._machine.counts import Limits, idle
from ._machine.machine import PoolMachine
from ._machine.slots import NEVER
from ._stats import measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ._recorder import Recorder
    from ._runtime.binding import Binding
    from ._stats import PoolGauges
    from ._tracking import Tracker
    from .listener import Events


NO_CONTRACTS = "debug mode needs icontract: pip install 'nodetool-concurrency[debug]'"

LONG = 1e9  # seconds: a longer time-out is no common case

_numbers = counter(1)


def duration(name: str, value: Any, *, positive: bool = False) -> float:
    """Convert a duration to seconds. ``None`` and infinity mean that there is no limit."""
    kind = type(value)
    if (kind is float or kind is int) and 0 < value < LONG:  # the common case
        return float(value)
    if value is None:
        return NEVER
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be seconds, a timedelta or None, not {value!r}")
    try:
        seconds = float(seconds)
    except OverflowError:
        raise ValueError(f"{name} is too large: use math.inf or None for no limit") from None
    if math.isnan(seconds) or seconds < 0 or (positive and seconds == 0):
        least = "more than 0" if positive else "0 or more"
        raise ValueError(f"{name} must be {least} seconds, not {value!r}")
    return seconds


def count(name: str, value: Any, least: int) -> int:
    """Check that the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, not {value!r}")
    return value


def function(name: str, value: Any) -> None:
    """Check that the pool can call the value."""
    if not callable(value):
        hint = f"; pass the function itself, not its result ({name}=f, not {name}=f())"
        raise TypeError(f"{name} must be callable, not {value!r}{hint}")


def callback(name: str, value: Any) -> None:
    """Check that the pool can call the value, and that the call does something."""
    function(name, value)
    refuse_callback(name, value)


def plain_function(name: str, value: Any) -> Any:
    """Check that the pool can call the value, and need not await it. Return the value."""
    from inspect import iscoroutinefunction

    function(name, value)
    kind = "a coroutine function" if iscoroutinefunction(value) else kind_of_function(value)
    if kind:
        raise TypeError(
            f"{name} must be a plain function: it is called, and never awaited or iterated, and "
            f"this is {kind}"
        )
    return value


def trust(check: Any, check_after_idle: Any, reset: Any) -> float:
    """Check `check`, `check_after_idle` and `reset`. Return `check_after_idle` in seconds."""
    for name, value in (("check", check), ("reset", reset)):
        if value is not None:
            callback(name, value)
    seconds = duration("check_after_idle", check_after_idle)
    if check is not None and seconds == NEVER:
        raise ValueError(
            "check_after_idle without a limit would skip every check: "
            "pass seconds, or leave out check"
        )
    return seconds


def is_fifo(reuse: Any) -> bool:
    """Check `reuse`. Tell whether the resource that was idle for longest is used next."""
    if reuse not in ("lifo", "fifo"):
        raise ValueError(f'reuse must be "lifo" or "fifo", not {reuse!r}')
    return bool(reuse == "fifo")


def exception_test(name: str, value: Any) -> Callable[[BaseException], Any]:
    """Check a class, a tuple of classes, or a function. Return a function that tests exceptions."""
    if callable(value) and not isinstance(value, type):
        plain_function(name, value)
        return value  # type: ignore[no-any-return]
    classes = value if isinstance(value, tuple) else (value,)
    for item in classes:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            hint = "; pass a tuple" if isinstance(value, (list, set, frozenset)) else ""
            raise TypeError(
                f"{name} must be an exception class, a tuple of them, or a function that gets the "
                f"exception, not {value!r}{hint}"
            )
    return test_for(classes)


def sizes(max_size: Any, min_size: Any) -> tuple[int, int]:
    """Check the limits of the size."""
    most = count("max_size", max_size, 1)
    least = count("min_size", min_size, 0)
    if least > most:
        raise ValueError(f"min_size={least} must not be above max_size={most}")
    return most, least


def limits(max_creating: Any, max_waiting: Any) -> Limits:
    """Check the limits on the numbers of creations and waiters."""
    creating = sys.maxsize  # the size limits creations anyway
    if max_creating is not None:
        creating = count("max_creating", max_creating, 1)
    waiting = None if max_waiting is None else count("max_waiting", max_waiting, 1)
    return Limits(creating, waiting)


def age(max_age: Any, max_age_jitter: Any) -> tuple[float, float]:
    """Check the maximum age and its jitter. Return both in seconds."""
    limit = duration("max_age", max_age, positive=True)
    jitter = duration("max_age_jitter", max_age_jitter)
    if jitter and limit == NEVER:
        raise ValueError("max_age_jitter needs a max_age to shorten")
    if jitter and jitter >= limit:
        raise ValueError(f"max_age_jitter={jitter:g} must be below max_age, which is {limit:g}")
    return limit, jitter


def debugging(value: Any) -> bool:
    """Tell whether debug mode is on, for this pool or for the process."""
    if value is None:
        said = os.environ.get("NODETOOL_POOL_DEBUG", "")
        if said not in ("", "0", "1"):
            raise ValueError(f"NODETOOL_POOL_DEBUG must be 0, 1 or empty, not {said!r}")
        return said == "1"
    if not isinstance(value, bool):
        raise TypeError(f"debug must be True, False or None, not {value!r}")
    return value


def name(value: Any) -> str:
    """Check the pool's name. If there is none, return a numbered name."""
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"name must be a string, not {value!r}")
    return f"pool-{next(_numbers)}" if value is None else value


@cache
def generator() -> Random:
    """Return the random generator of the jitter. The pool leaves the global one to the program."""
    from random import Random

    return Random()


def random_age(age: float, jitter: float) -> float:
    """Return how long a resource may be used: the age minus a random part of the jitter."""
    if jitter:
        return age - generator().uniform(0.0, jitter)
    return age


class Watched:
    """The class of a pool's machine, and the objects that watch the machine."""

    def __init__(
        self,
        kind: type[Any],
        tracker: Tracker | None,
        events: Events | None,
        leak_threshold: float,
        recorder: Recorder | None = None,
    ) -> None:
        self.kind = kind
        self.leak_threshold = leak_threshold
        self.tracker = tracker
        self.events = events
        self.recorder = recorder

    def make(self, *args: Any, **options: Any) -> PoolMachine[Any]:
        """Make the machine. If nothing watches it, it is an object of the bare class."""
        if self.events is None:
            made: Any = self.kind(*args, **options)
        else:
            from .listener import listened

            made = listened(self.kind)(*args, **options)
            made.observers, made.events = (self.events,), self.events
        if self.tracker is not None:
            self.tracker.track(made)
        if self.recorder is not None:
            self.recorder.attach(made)
        machine: PoolMachine[Any] = made
        return machine

    def attach(self, driver: Any) -> None:
        """Let the tracker and the observer put calls of user code into the driver's queue."""
        for watcher in (self.tracker, self.events):
            if watcher is not None:
                watcher.deferred = driver.deferred
        if self.tracker is not None:
            run = WeakMethod(driver.run)  # the tracker's timer must not keep the pool alive
            alone = self.tracker.run_alone

            def run_in_gate(step: Callable[[], object]) -> None:
                (run() or alone)(step)

            self.tracker.run = run_in_gate

    def holders(self, slots: list[Any]) -> str:
        """Describe the holders of slots, for messages. Only a tracker knows them."""
        return "" if self.tracker is None else self.tracker.holders(slots)

    def finder(self, driver: Any) -> Callable[[int], Any]:
        """Make the function that finds slots. In debug mode it refuses former holders."""
        find: Callable[[int], Any] = driver.machine.finder()
        return find if self.tracker is None else self.tracker.finder(driver)

    def gauges(self, machine: Any) -> PoolGauges:
        """Return the pool's gauges."""
        if self.events is not None:
            return self.events.gauges()
        counts = machine.counts()
        return measure(counts, idle(counts), machine.statistics()["timeouts"])


def machine(
    binding: Binding,
    debug: Any,
    leak_threshold: Any,
    leak_stack: Any,
    listener: Any,
    trace: Any,
) -> Watched:
    """Choose the machine's class, its tracker and its observers.

    Import icontract only in debug mode, because it is optional. Import the tracker and the recorder
    only for pools that need them, because the import takes time.
    """
    patience = duration("leak_threshold", leak_threshold, positive=True)
    if not isinstance(leak_stack, bool):
        raise TypeError(f"leak_stack must be True or False, not {leak_stack!r}")
    is_debugging = debugging(debug)
    kind: Any = PoolMachine
    tracker = events = recorder = None
    if is_debugging:
        try:
            from ._machine.contracts import checked
        except ImportError as error:
            raise ImportError(NO_CONTRACTS) from error
        kind = checked(PoolMachine)
    if trace is not None:
        from ._recorder import Recorder, recorded
        from .trace import TraceFile

        if not isinstance(trace, TraceFile):
            raise TypeError(
                f"trace must be a TraceFile, not {trace!r}: make one with "
                "nodetool.concurrency.trace.TraceFile(path)"
            )
        kind = recorded(kind)
        recorder = Recorder(trace._writer, binding)
    if is_debugging or leak_stack or leak_threshold is not None:
        from ._tracking import Tracker, tracked

        kind = tracked(kind)
        tracker = Tracker(
            binding, patience, stacks=leak_stack or is_debugging, refuses=is_debugging
        )
    if listener is not None:
        from .listener import Events

        events = Events(plain_function("listener", listener))
    return Watched(kind, tracker, events, patience, recorder)
