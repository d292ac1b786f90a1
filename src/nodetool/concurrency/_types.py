"""Types of the pool's arguments.

Tools that evaluate annotations, as FastAPI does, import `datetime` and the listener's module for
them. The pool imports neither, because that would take longer than the rest of its import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, TypeAlias, TypeVar, Union

__all__ = ["DiscardOn", "PoolListener", "PoolOptions", "Seconds", "TraceFile"]

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Generic, TypedDict

    from .listener import PoolListener
    from .trace import TraceFile

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
        exit_timeout: Seconds | None
        max_waiting: int | None
        max_creating: int | None
        check: Callable[[T], Any] | None
        check_after_idle: Seconds
        reset: Callable[[T], Any] | None
        reuse: Literal["lifo", "fifo"]
        discard_on: DiscardOn
        name: str | None
        debug: bool | None
        leak_threshold: Seconds | None
        leak_stack: bool
        listener: PoolListener | None
        trace: TraceFile | None

    Seconds: TypeAlias = float | timedelta
    """A duration: seconds, or a `timedelta`. Since version 0.2.0."""
else:
    Seconds = Union[float, ForwardRef("__import__('datetime').timedelta")]  # noqa: UP007
    PoolListener = ForwardRef(
        "__import__('nodetool.concurrency.listener', fromlist=['']).PoolListener"
    )
    TraceFile = ForwardRef("__import__('nodetool.concurrency.trace', fromlist=['']).TraceFile")

DiscardOn: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], Any]
)
"""A class of exceptions, a tuple of classes, or a function that tests an exception."""
