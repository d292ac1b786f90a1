"""What can go wrong, by name. Messages name the pool, the numbers and the next thing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._counts import Counts, Limits


class ResourcePoolError(Exception):
    """Base class of all errors that the pool itself raises."""


class ResourcePoolClosedError(ResourcePoolError):
    """The pool is closing or closed: nothing can be acquired from it any more."""


class ResourcePoolTimeoutError(ResourcePoolError, TimeoutError):
    """A time limit of the pool passed: of an acquire, a creation or a close.

    After failed creations, an acquire's error carries the last failure as ``__cause__``.
    """


class ResourcePoolExhaustedError(ResourcePoolError):
    """The queue is full: ``max_waiting`` acquirers wait without a creation of their own."""


class InvalidReleaseError(ResourcePoolError, ValueError):
    """What was given back is not leased from this pool. Nothing has changed."""


class DuplicateResourceError(ResourcePoolError):
    """The factory returned an object that is in the pool already. The object is not closed."""


class ResourcePoolLoopError(ResourcePoolError):
    """The pool was used from another event loop, from none, or in a forked child process."""


def acquire_timeout(
    name: str, limits: Limits, counts: Counts, waited: float
) -> ResourcePoolTimeoutError:
    """An acquire ran out of time."""
    return ResourcePoolTimeoutError(
        f"pool {name!r}: no resource within {waited:g} s; max_size={limits.max_size}: "
        f"{counts.in_use} in use, {counts.creating} creating, {counts.closing} closing, "
        f"{counts.waiting} waiting. Give back sooner, raise max_size, or allow more time"
    )


def close_timeout(
    name: str, counts: Counts, out: list[Any], waited: float
) -> ResourcePoolTimeoutError:
    """A close ran out of time; `out` is what users have."""
    # object.__repr__: the user's own might do anything.
    names = ", ".join(object.__repr__(resource) for resource in out[:10])
    return ResourcePoolTimeoutError(
        f"pool {name!r}: not closed within {waited:g} s: {counts.in_use} in use, "
        f"{counts.creating} creating, {counts.closing} closing; still out: {names or 'nothing'}. "
        "Give back what is out and call close() again, or terminate()"
    )
