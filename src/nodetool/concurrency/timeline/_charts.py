"""The charts of a picture: how many were idle, in use, and so on, and how many waited."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from ._canvas import MARGIN, Canvas
from ._spans import counts
from ._svg import Point, line, path, rect, words

STACKED = ("in use", "idle", "creating", "closing")  # from the bottom
STACK, LINE = 60.0, 36.0  # heights


class Stretch(NamedTuple):
    """From one pixel to another, in which the counts stay the same."""

    start: float
    end: float
    counts: dict[str, int]


def charts(canvas: Canvas) -> None:
    """Areas, one on the other for resources, and one for waits if there were any."""
    stretches = list(_stretches(canvas))
    canvas.section("how many")
    for i, state in enumerate(STACKED):
        y = canvas.y + 17 + i * 12
        canvas.over.append(rect(MARGIN, y, 8, 8, state.replace(" ", "-")))
        canvas.over.append(words(MARGIN + 12, y + 8, state, "faint small"))
    _chart(canvas, stretches, STACKED, STACK)
    if any(stretch.counts["waiting"] for stretch in stretches):
        canvas.section("waiting")
        _chart(canvas, stretches, ("waiting",), LINE)


def _stretches(canvas: Canvas) -> Iterator[Stretch]:
    moments = [*counts(canvas.run), (canvas.high, {})]
    for (start, now), (end, _) in pairwise(moments):
        if start < canvas.high and end > canvas.low:
            yield Stretch(canvas.x(start), canvas.x(end), now)


def _chart(
    canvas: Canvas, stretches: list[Stretch], states: tuple[str, ...], height: float
) -> None:
    most = max((sum(s.counts[state] for state in states) for s in stretches), default=0)
    label = words(canvas.left - 8, canvas.y + 10, f"{most:,}", "faint small", "end")
    canvas.over.append(label)
    columns = [0.0] * ceil(canvas.right - canvas.left)
    bottom = canvas.y + height
    below = _edge(canvas, columns, bottom, 0)
    for state in states:
        _add(columns, stretches, state, canvas.left)
        edge = _edge(canvas, columns, bottom, height / max(most, 1))
        if edge != below:
            steps = line([*edge, *reversed(below)])
            canvas.over.append(path(f"{steps}Z", state.replace(" ", "-"), state))
        below = edge
    canvas.y = bottom + 14


def _add(columns: list[float], stretches: list[Stretch], state: str, left: float) -> None:
    """Add to each column, a pixel wide, how many there were: on the average."""
    for stretch in stretches:
        if count := stretch.counts[state]:
            start, end = stretch.start - left, stretch.end - left
            for column in range(int(start), min(ceil(end), len(columns))):
                columns[column] += count * (min(end, column + 1) - max(start, column))


def _edge(canvas: Canvas, columns: list[float], bottom: float, scale: float) -> list[Point]:
    """The corners of a line that is as high as each column."""
    heights = [round(bottom - column * scale, 1) for column in columns]
    corners = [Point(canvas.left, heights[0])]
    for i, (before, after) in enumerate(pairwise(heights), 1):
        if before != after:
            corners += [Point(canvas.left + i, before), Point(canvas.left + i, after)]
    return [*corners, Point(canvas.right, heights[-1])]
