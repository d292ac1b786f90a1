"""The errors that the pool raises.

A message says what is wrong. Most messages also say what to do about it.
"""

from __future__ import annotations


class ResourcePoolError(Exception):
    """Base class of the errors that the pool itself raises.

    Since version 0.1.0.
    """


class ResourcePoolClosedError(ResourcePoolError):
    """Error of a call that needs an open pool: the pool is closing or closed.

    Since version 0.1.0.
    """


class ResourcePoolTimeoutError(ResourcePoolError, TimeoutError):
    """Error of an acquire, an open, a close or a callback that exceeded its time limit.

    The message says what the caller waited for. If the last creation failed during an acquire, its
    error is the ``__cause__``.

    Since version 0.1.0.
    """


class ResourcePoolExhaustedError(ResourcePoolTimeoutError):
    """Error of an acquire while `max_waiting` acquirers wait already without work for them.

    The pool raises it at once, without waiting. It is a `ResourcePoolTimeoutError`, so one
    ``except`` clause catches all errors of a busy pool.

    Since version 0.1.0.
    """


class InvalidReleaseError(ResourcePoolError, ValueError):
    """Error of a release of an object that is not leased from this pool. Nothing has changed.

    Since version 0.1.0.
    """


class DuplicateResourceError(ResourcePoolError):
    """Error of a factory that returned an object that is in the pool. The object stays there.

    Since version 0.1.0.
    """


class ResourcePoolLoopError(ResourcePoolError):
    """Error of a call from another event loop, from no event loop, or from a forked child.

    Since version 0.1.0.
    """
