"""What can be seen of a pool without changing it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TypeVar

from ._counts import Phase
from ._shell import PoolShell
from ._stats import PoolStats

if TYPE_CHECKING:
    from ._listener import PoolGauges

T = TypeVar("T")


class PoolView(PoolShell[T]):
    """The pool's numbers, for its users."""

    __slots__ = ()

    def stats(self) -> PoolStats:
        """One consistent snapshot of the pool's gauges and counters.

        Spec:
            CountsAgree.
        """
        return PoolStats(**self._machine.gauges(), closer_failures=self._closer_failures)

    def gauges(self) -> PoolGauges:
        """The numbers of now that change all the time, for exporters of metrics.

        With a `listener` they are those after the last step, always of one moment, and any thread
        may ask. Without one only the loop's thread may, as with `stats`.

        Spec:
            CountsAgree.
        """
        from ._listener import gauges

        return gauges(self._machine)

    @property
    def size(self) -> int:
        """Everything that may exist outside: creating, idle, in use and closing."""
        return self._machine.size

    @property
    def available_count(self) -> int:
        """How many resources are idle."""
        return self._machine.idle

    @property
    def in_use_count(self) -> int:
        """How many resources acquirers have: handed over, checked, held or reset."""
        return self._machine.in_use

    @property
    def max_size(self) -> int:
        """How many resources may exist at once."""
        return self._machine.limits.max_size

    @property
    def min_size(self) -> int:
        """How many resources the pool keeps."""
        return self._machine.limits.min_size

    @property
    def closed(self) -> bool:
        """Whether the pool is closed and nothing of it is left (not: whether it is closing)."""
        return self._machine.phase is Phase.CLOSED

    def __repr__(self) -> str:
        m = self._machine
        return (
            f"<AsyncResourcePool {m.name!r} {m.phase.value}: size {m.size} of {m.limits.max_size}, "
            f"{m.idle} idle, {m.in_use} in use, {m.waiting} waiting>"
        )

    def __del__(self) -> None:
        machine = getattr(self, "_machine", None)  # none if an argument was refused
        if machine is not None and machine.size and not self._forked:
            warnings.warn(
                f"unclosed {self!r}: use `async with` or await close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
