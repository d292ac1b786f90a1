"""Where things are: a picture's time and space, filled from the top to the bottom."""

from __future__ import annotations

from collections.abc import Iterable

from ._spans import Run, Span
from ._svg import Point, line, moment, path, ticks, words

MARGIN, GUTTER = 20.0, 92.0  # around everything; left of the rows
SMALL = 10.0  # font


class Canvas:
    """A picture of some time of a run."""

    def __init__(self, run: Run, width: int, low: int, high: int) -> None:
        self.run = run
        self.width = width
        self.low = low
        self.high = high
        self.left = MARGIN + GUTTER
        self.right = width - MARGIN
        self.scale = (self.right - self.left) / (high - low)  # pixels for a microsecond
        self.y = 0.0  # how far it is filled
        self.under: list[str] = []  # what is drawn first
        self.over: list[str] = []

    def x(self, time: int) -> float:
        """Where a time is, or the edge nearest to it."""
        return self.left + (min(max(time, self.low), self.high) - self.low) * self.scale

    def when(self, time: int) -> str:
        """The time, from the run's start."""
        return moment(time - self.run.start)

    def visible(self, row: Iterable[Span]) -> list[Span]:
        """What lies in the picture's time, at least in part."""
        low, high = self.low, self.high
        return [
            span
            for span in row
            if (span.start < high and span.end > low) or low <= span.start == span.end <= high
        ]

    def section(self, title: str, *notes: str) -> None:
        """What the rows from here on are."""
        self.over.append(words(MARGIN, self.y + 10, title, "ink bold"))
        for i, note in enumerate(notes):
            self.over.append(words(MARGIN, self.y + 24 + 12 * i, note, "faint small"))

    def axis(self, top: float) -> None:
        """The times above everything from `top` on, and their lines behind it."""
        origin = self.run.start
        for time, text in ticks(self.low - origin, self.high - origin, self.width // 110):
            x = self.x(origin + time)
            ends = [Point(x, top - 12), Point(x, self.y - 8)]
            self.under.insert(0, path(line(ends), "grid"))
            anchor = "end" if x > self.right - 20 else "middle"
            self.over.append(words(x, top - 16, text, "faint small", anchor))
