"""Checks of the arguments that only the second semantics has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from nodetool.concurrency import _options as shared

from .counts import Limits
from .machine import PoolMachine

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, Literal, TypedDict, TypeVar

    from nodetool.concurrency._options import Seconds
    from nodetool.concurrency.listener import PoolListener

    T = TypeVar("T")

    class PoolOptions(TypedDict, Generic[T], total=False):
        """The keyword arguments of AsyncResourcePool, documented there."""

        max_size: int
        min_size: int
        max_age: Seconds | None
        max_age_jitter: Seconds
        max_idle_time: Seconds | None
        acquisition_timeout: Seconds | None
        creation_timeout: Seconds | None
        check_timeout: Seconds | None
        reset_timeout: Seconds | None
        closer_timeout: Seconds | None
        max_waiting: int | None
        max_creating: int | None
        check: Callable[[T], Any] | None
        check_after_idle: Seconds | None
        reset: Callable[[T], Any] | None
        reuse: Literal["lifo", "fifo"]
        discard_on: type[BaseException] | tuple[type[BaseException], ...]
        name: str | None
        debug: bool | None
        leak_threshold: Seconds | None
        listener: PoolListener | None


def sizes(max_size: Any, min_size: Any) -> tuple[int, int]:
    """Check the limits of the size."""
    most = shared.count("max_size", max_size, 1)
    least = shared.count("min_size", min_size, 0)
    if least > most:
        raise ValueError(f"min_size={least} must not be above max_size={most}")
    return most, least


def limits(max_creating: Any, max_waiting: Any) -> Limits:
    """Check the limits on the numbers of creations and waiters."""
    creating = sys.maxsize  # the size limits creations anyway
    if max_creating is not None:
        creating = shared.count("max_creating", max_creating, 1)
    waiting = None if max_waiting is None else shared.count("max_waiting", max_waiting, 1)
    return Limits(creating, waiting)


def trust(check: Any, check_after_idle: Any, reset: Any) -> float:
    """Check `check`, `check_after_idle` and `reset`. Return how long a resource needs no check."""
    for name, value in (("check", check), ("reset", reset)):
        if value is not None:
            shared.function(name, value)
    return shared.duration("check_after_idle", check_after_idle)


def is_fifo(reuse: Any) -> bool:
    """Check `reuse`. Tell whether the resource that was idle for longest is used next."""
    if reuse not in ("lifo", "fifo"):
        raise ValueError(f'reuse must be "lifo" or "fifo", not {reuse!r}')
    return bool(reuse == "fifo")


class Watched(shared.Watched):
    """The class of a pool's machine, and the observers that watch the machine's steps."""

    def gauges(self, machine: Any) -> Any:
        """Return the pool's gauges."""
        if self.events is not None:
            return self.events.gauges()
        from .listener import measure

        return measure(machine.counts(), machine.statistics()["timeouts"])


def machine(debug: Any, leak_threshold: Any, listener: Any) -> Any:
    """Choose the machine's class and its observers. Import icontract only in debug mode."""
    patience = shared.duration("leak_threshold", leak_threshold, positive=True)
    kind: Any = PoolMachine
    tracker = events = None
    if shared.debugging(debug):
        try:
            from .contracts import checked
        except ImportError as error:
            raise ImportError(shared.NO_CONTRACTS) from error
        from nodetool.concurrency._tracking import Tracker

        kind, tracker = checked(PoolMachine), Tracker(patience)
    if listener is not None:
        from .listener import Events

        events = Events(shared.plain_function("listener", listener))
    return Watched(kind, tracker, events)
