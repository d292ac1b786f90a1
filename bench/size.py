"""How much of a workload is run: all of it, or a little to see that it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A factor for everything that is counted or waited for."""

    factor: float = 1.0

    def count(self, full: int, least: int = 2) -> int:
        """How many tasks, resources or rounds."""
        return max(min(least, full), round(full * self.factor))

    def seconds(self, full: float, least: float = 0.05) -> float:
        """How long to wait for something; never longer than in full."""
        return max(min(least, full), min(full, full * self.factor))


FULL = Size()
TINY = Size(0.003)
