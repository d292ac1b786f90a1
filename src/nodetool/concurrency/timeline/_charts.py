"""The charts of a picture: how many resources were in each state, and how many acquires waited."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import ceil
from typing import NamedTuple

from ._canvas import MARGIN, Canvas
from ._spans import count_states
from ._svg import Point, line, path, rect, text_element

# From the bottom. Many pools have no check and no reset.
RESOURCE_STATES = ("in use", "checking", "resetting", "idle", "creating", "closing")
OPTIONAL_STATES = ("checking", "resetting")
RESOURCE_HEIGHT, WAIT_HEIGHT = 60.0, 36.0
LINE = 12.0  # the height of a line of the legend


class Stretch(NamedTuple):
    """A range of pixels in which the counts stay the same."""

    start: float
    end: float
    counts: dict[str, int]


def draw_charts(canvas: Canvas) -> None:
    """Draw stacked areas for the resources, and an area for the waits if there were any."""
    stretches = list(_stretches(canvas))
    canvas.add_heading("how many")
    states = tuple(
        state
        for state in RESOURCE_STATES
        if state not in OPTIONAL_STATES or any(stretch.counts[state] for stretch in stretches)
    )
    for i, state in enumerate(states):
        y = canvas.y + 17 + i * LINE
        canvas.foreground.append(rect(MARGIN, y, 8, 8, state.replace(" ", "-")))
        canvas.foreground.append(text_element(MARGIN + 12, y + 8, state, "faint small"))
    _draw_chart(canvas, stretches, states, max(RESOURCE_HEIGHT, 8 + len(states) * LINE))
    if any(stretch.counts["waiting"] for stretch in stretches):
        canvas.add_heading("waiting")
        _draw_chart(canvas, stretches, ("waiting",), WAIT_HEIGHT)


def _stretches(canvas: Canvas) -> Iterator[Stretch]:
    moments = [*count_states(canvas.run), (canvas.end, {})]
    for (start, counts), (end, _) in pairwise(moments):
        if start < canvas.end and end > canvas.start:
            yield Stretch(canvas.x(start), canvas.x(end), counts)


def _draw_chart(
    canvas: Canvas, stretches: list[Stretch], states: tuple[str, ...], height: float
) -> None:
    highest = max((sum(s.counts[state] for state in states) for s in stretches), default=0)
    label = text_element(canvas.left - 8, canvas.y + 10, f"{highest:,}", "faint small", "end")
    canvas.foreground.append(label)
    columns = [0.0] * ceil(canvas.right - canvas.left)
    bottom = canvas.y + height
    lower_edge = _edge(canvas, columns, bottom, 0)
    for state in states:
        _add(columns, stretches, state, canvas.left)
        edge = _edge(canvas, columns, bottom, height / max(highest, 1))
        if edge != lower_edge:
            steps = line([*edge, *reversed(lower_edge)])
            canvas.foreground.append(path(f"{steps}Z", state.replace(" ", "-"), state))
        lower_edge = edge
    canvas.y = bottom + 14


def _add(columns: list[float], stretches: list[Stretch], state: str, left: float) -> None:
    """Add the mean count of a state to each column, which is one pixel wide."""
    for stretch in stretches:
        if count := stretch.counts[state]:
            start, end = stretch.start - left, stretch.end - left
            for column in range(int(start), min(ceil(end), len(columns))):
                columns[column] += count * (min(end, column + 1) - max(start, column))


def _edge(canvas: Canvas, columns: list[float], bottom: float, scale: float) -> list[Point]:
    """Return the corners of a line that is as high as each column."""
    heights = [round(bottom - column * scale, 1) for column in columns]
    corners = [Point(canvas.left, heights[0])]
    for i, (before, after) in enumerate(pairwise(heights), 1):
        if before != after:
            corners += [Point(canvas.left + i, before), Point(canvas.left + i, after)]
    return [*corners, Point(canvas.right, heights[-1])]
