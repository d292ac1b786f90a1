"""Conditions that callers wait for, for example: the pool is closed, or the size fits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from nodetool.concurrency._machine import counts as rules
from nodetool.concurrency._machine.counts import Phase

from .callbacks import resolve

if TYPE_CHECKING:
    from asyncio import Future

    from nodetool.concurrency._machine.machine import PoolMachine

Question: TypeAlias = "Callable[[PoolMachine[Any]], bool]"


class Condition:
    """A question about the machine, and the futures of the callers that wait for the answer yes."""

    __slots__ = ("futures", "is_true")

    def __init__(self, is_true: Question) -> None:
        self.is_true = is_true
        self.futures: dict[Future[bool], None] = {}

    def wake(self) -> None:
        """Wake all callers."""
        for future in self.futures:
            resolve(future, True)
        # Clear last. If `resolve` raises a RecursionError, a later check wakes the other callers.
        self.futures.clear()


class Conditions:
    """The conditions that callers wait for.

    The driver checks the conditions each time it performs effects, so a check must be quick.
    Callers that wait for the same thing share one condition. Conditions that become true one after
    the other are in a line, and only the first one in the line is checked. A caller joins and
    leaves inside the gate, so that no nested call sees a change that is half done.
    """

    __slots__ = ("_line", "_others", "is_awaited")

    def __init__(self) -> None:
        self.is_awaited = False  # whether a caller waits
        self._others: dict[Condition, None] = {}
        # Use no plain dict: to find its first entry, Python passes all entries deleted before it.
        self._line: OrderedDict[Condition, None] = OrderedDict()

    def __len__(self) -> int:
        """Count the callers that wait."""
        return sum(len(condition.futures) for condition in (*self._others, *self._line))

    def add(self, condition: Condition, future: Future[bool], *, in_line: bool) -> None:
        """Let a future wait for a condition.

        Args:
            condition: The condition.
            future: The caller's future.
            in_line: Whether the condition becomes true only after all others that are in the line.
        """
        (self._line if in_line else self._others)[condition] = None
        condition.futures[future] = None
        self.is_awaited = True

    def remove(self, condition: Condition, future: Future[bool]) -> None:
        """Forget a caller that no longer waits."""
        condition.futures.pop(future, None)
        if not condition.futures:
            self._others.pop(condition, None)
            self._line.pop(condition, None)
            self.is_awaited = bool(self._others or self._line)

    def check(self, machine: PoolMachine[Any]) -> None:
        """Wake the callers whose condition is true. They no longer wait for it."""
        for condition in [one for one in self._others if one.is_true(machine)]:
            condition.wake()
            del self._others[condition]
        line = self._line
        while line and (first := next(iter(line))).is_true(machine):
            first.wake()
            del line[first]
        self.is_awaited = bool(self._others or line)


# The questions.


def is_closed(machine: PoolMachine[Any]) -> bool:
    """Tell whether the pool is closed."""
    return machine.counts().phase is Phase.CLOSED


def existing(counts: rules.Counts) -> int:
    """Count the usable resources that exist: the usable size without the creations."""
    return rules.usable_size(counts) - counts.creating + counts.retired_creations


def is_filled(machine: PoolMachine[Any]) -> bool:
    """Tell whether `min_size` usable resources exist, or the pool closes."""
    counts = machine.counts()
    return existing(counts) >= counts.min_size or counts.phase is not Phase.OPEN


def fits(machine: PoolMachine[Any]) -> bool:
    """Tell whether the size is within the limit."""
    counts = machine.counts()
    return rules.size(counts) <= counts.max_size
