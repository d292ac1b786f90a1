"""The errors that the pool raises. Each message names the pool, the numbers and a remedy."""

from __future__ import annotations


class ResourcePoolError(Exception):
    """Base class of the errors that the pool itself raises."""


class ResourcePoolClosedError(ResourcePoolError):
    """Error of a call that needs an open pool: the pool is closing or closed."""


class ResourcePoolTimeoutError(ResourcePoolError, TimeoutError):
    """Error of an acquire, an open, a close or a callback that exceeded its time limit.

    The message says what the caller waited for. If the last creation failed during an acquire, the
    ``__cause__`` is its error.
    """


class ResourcePoolExhaustedError(ResourcePoolTimeoutError):
    """Error of an acquire while `max_waiting` acquirers wait already without work for them.

    The error comes at once, as that of ``acquire(timeout=0)`` does. It is a
    `ResourcePoolTimeoutError`, so one ``except`` clause catches all errors of a busy pool.
    """


class InvalidReleaseError(ResourcePoolError, ValueError):
    """Error of a release of an object that is not leased from this pool. Nothing has changed."""


class DuplicateResourceError(ResourcePoolError):
    """Error of a factory that returned an object of the pool. The pool does not close it."""


class ResourcePoolLoopError(ResourcePoolError):
    """Error of a call from another event loop, from no event loop, or from a forked child."""
