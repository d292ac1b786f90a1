"""The canvas of a picture: it maps times to pixels, and is filled from the top to the bottom."""

from __future__ import annotations

from collections.abc import Iterable

from ._spans import Run, Span
from ._svg import Point, line, moment, path, text_element, ticks

MARGIN, GUTTER = 20.0, 92.0  # space around the picture, and space to the left of the rows
SMALL = 10.0  # font size


class Canvas:
    """A picture of one period of a run."""

    def __init__(self, run: Run, width: int, start: int, end: int) -> None:
        self.run = run
        self.width = width
        self.start = start
        self.end = end
        self.left = MARGIN + GUTTER
        self.right = width - MARGIN
        self.scale = (self.right - self.left) / (end - start)  # pixels per microsecond
        self.y = 0.0  # the next section starts here
        self.background: list[str] = []  # elements that are drawn first
        self.foreground: list[str] = []

    def x(self, time: int) -> float:
        """Return the position of a time, or of the nearest edge."""
        return self.left + (min(max(time, self.start), self.end) - self.start) * self.scale

    def time_text(self, time: int) -> str:
        """Return a time as text, counted from the run's start."""
        return moment(time - self.run.start)

    def visible_spans(self, row: Iterable[Span]) -> list[Span]:
        """Return the spans that overlap with the picture's period."""
        start, end = self.start, self.end
        return [
            span
            for span in row
            if (span.start < end and span.end > start) or start <= span.start == span.end <= end
        ]

    def add_heading(self, title: str, *notes: str) -> None:
        """Write a title, and notes below it, to the left of the next rows."""
        self.foreground.append(text_element(MARGIN, self.y + 10, title, "ink bold"))
        for i, note in enumerate(notes):
            y = self.y + 24 + 12 * i
            self.foreground.append(text_element(MARGIN, y, note, "faint small"))

    def draw_axis(self, top: float) -> None:
        """Write the times above `top`, and draw a line behind the rows for each of them."""
        origin = self.run.start
        for time, text in ticks(self.start - origin, self.end - origin, self.width // 110):
            x = self.x(origin + time)
            ends = [Point(x, top - 12), Point(x, self.y - 8)]
            self.background.insert(0, path(line(ends), "grid"))
            anchor = "end" if x > self.right - 20 else "middle"
            self.foreground.append(text_element(x, top - 16, text, "faint small", anchor))
