"""The texts of timeout errors, built from numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._errors import ResourcePoolTimeoutError

if TYPE_CHECKING:
    from ._machine.counts import Counts


def acquire_timeout(
    name: str, waited: float, max_size: int, counts: Counts, holders: str = ""
) -> ResourcePoolTimeoutError:
    """Make the error of an acquire that reached its deadline."""
    return ResourcePoolTimeoutError(
        f"pool {name!r}: no resource within {waited:g} s; "
        f"max_size={max_size}: {counts.in_use} in use, "
        f"{counts.creating} creating, {counts.closing} closing, {counts.waiting} waiting. "
        f"Give back sooner, raise max_size, or allow more time{holders}"
    )


def close_timeout(
    name: str, waited: float, counts: Counts, out: Iterable[Any], holders: str = ""
) -> ResourcePoolTimeoutError:
    """Make the error of a close that reached its time limit."""
    # A user's __repr__ may do anything, so use that of object.
    names = ", ".join(object.__repr__(resource) for resource in out)
    return ResourcePoolTimeoutError(
        f"pool {name!r}: not closed within {waited:g} s: {counts.in_use} in use, "
        f"{counts.creating} creating, {counts.closing} closing; still out: {names or 'nothing'}. "
        f"Give back what is out and call close() again, or terminate(){holders}"
    )
