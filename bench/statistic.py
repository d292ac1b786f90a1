"""Summaries of repeated measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Spread:
    """The median of some values, their quartiles, and their maximum."""

    median: float
    low: float
    high: float
    worst: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(*values, *values, *values, *values)
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high, max(values))

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Spread:
        """Return the summary that a file keeps. The file does not keep the maximum."""
        low, high = kept["quartiles"]
        return cls(kept["median"], low, high, high)

    def as_json(self) -> dict[str, Any]:
        """Return the median and the quartiles with five digits, for a file."""
        return {
            "median": _rounded(self.median),
            "quartiles": [*map(_rounded, (self.low, self.high))],
        }

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)} to {number(self.high)})"


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def number(value: float) -> str:
    """Write a number with three digits. Large and whole numbers keep all digits."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
