"""Conditions that callers wait for: the pool is closed, a generation is gone, the size fits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from nodetool.concurrency._runtime.driver import resolve

if TYPE_CHECKING:
    from asyncio import Future


class Condition:
    """A question about the pool, and the futures of the callers that wait for the answer yes."""

    __slots__ = ("futures", "is_true")

    def __init__(self, is_true: Callable[[], bool]) -> None:
        self.is_true = is_true
        self.futures: dict[Future[bool], None] = {}

    def wake(self) -> None:
        """Wake all callers."""
        for future in self.futures:
            resolve(future, True)
        self.futures = {}


class Conditions:
    """The conditions that somebody waits for.

    The driver checks the conditions after every step, so few conditions may be checked. All callers
    of one condition share it. Conditions that become true in their order are in a line, and only
    the first of them is checked.
    """

    __slots__ = ("_line", "_others")

    def __init__(self) -> None:
        self._others: list[Condition] = []
        self._line: deque[Condition] = deque()

    def __bool__(self) -> bool:
        return bool(self._others or self._line)

    def __len__(self) -> int:
        """Count the callers that wait."""
        return sum(len(condition.futures) for condition in (*self._others, *self._line))

    def add(self, condition: Condition, future: Future[bool], *, in_line: bool) -> None:
        """Let a future wait for a condition.

        Args:
            condition: The condition.
            future: The caller's future.
            in_line: Whether the condition becomes true after all others that are in line.
        """
        if not condition.futures:
            (self._line if in_line else self._others).append(condition)
        condition.futures[future] = None

    def remove(self, condition: Condition, future: Future[bool]) -> None:
        """Forget a caller that no longer waits."""
        condition.futures.pop(future, None)
        if not condition.futures and condition in self._others:
            self._others.remove(condition)
        while self._line and not self._line[-1].futures:
            self._line.pop()

    def check(self) -> None:
        """Wake the callers whose condition is true."""
        for condition in [one for one in self._others if one.is_true()]:
            self._others.remove(condition)
            condition.wake()
        line = self._line
        while line and (not line[0].futures or line[0].is_true()):
            line.popleft().wake()
