"""What can go wrong, by name. Messages name the pool, the numbers and the next thing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._state import PoolState


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


def acquire_timeout(machine: PoolState[Any], waited: float) -> ResourcePoolTimeoutError:
    """An acquire ran out of time."""
    return ResourcePoolTimeoutError(
        f"pool {machine.name!r}: no resource within {waited:g} s; "
        f"max_size={machine.limits.max_size}: {machine.in_use} in use, "
        f"{machine.creating} creating, {machine.closing} closing, {machine.waiting} waiting. "
        f"Give back sooner, raise max_size, or allow more time{machine.holders()}"
    )


def close_timeout(machine: PoolState[Any], waited: float) -> ResourcePoolTimeoutError:
    """A close ran out of time."""
    counts = machine.counts()
    # object.__repr__: the user's own might do anything.
    names = ", ".join(object.__repr__(record.resource) for record in machine.out()[:10])
    return ResourcePoolTimeoutError(
        f"pool {machine.name!r}: not closed within {waited:g} s: {counts.in_use} in use, "
        f"{counts.creating} creating, {counts.closing} closing; still out: {names or 'nothing'}. "
        f"Give back what is out and call close() again, or terminate(){machine.holders()}"
    )
