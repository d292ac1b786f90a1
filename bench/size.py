"""The size of a run: the whole workload, or a small part that shows that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A factor for all counts and times of a workload."""

    factor: float = 1.0

    def count(self, full: int, least: int = 2) -> int:
        """Scale a number of tasks, resources or rounds."""
        return max(min(least, full), round(full * self.factor))

    def seconds(self, full: float, least: float = 0.05) -> float:
        """Scale a time. It never exceeds the full time."""
        return max(min(least, full), min(full, full * self.factor))


FULL = Size()
TINY = Size(0.003)
