"""What can go wrong, by name. Messages name the pool, the numbers and the next thing to do."""

from __future__ import annotations


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
