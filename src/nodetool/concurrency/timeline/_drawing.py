"""A recording as a picture: who held what, who waited, and what was closed, and why."""

from __future__ import annotations

from ._canvas import MARGIN, SMALL, Canvas
from ._charts import charts
from ._recording import Recording
from ._rows import Rows, tie
from ._spans import MICRO, spans
from ._svg import (
    Point,
    duration,
    hatched,
    number,
    plain,
    plural,
    rect,
    style,
    width_of,
    words,
)

LEGEND = (
    ("creating", "hatch"),
    ("idle, checked or reset", "idle"),
    ("held, by task", "tasks"),
    ("many short leases", "in-use"),
    ("waiting", "t0 wait"),
    ("handed over", "tie"),
    ("expired, timed out", "aged"),
    ("broken, failed", "broken"),
    ("retired, closed, cancelled", "ended"),
)
WIDTHS = {"tasks": 30.0, "tie": 6.0, "aged": 4.0, "broken": 4.0, "ended": 4.0}  # others: 18


def draw(
    recording: Recording,
    *,
    width: int = 1200,
    rows: int = 40,
    start: float | None = None,
    end: float | None = None,
) -> str:
    """Draw a recording as SVG. The same recording makes the same picture, to the byte.

    A row shows one resource after the other: the next one comes where one is gone.

    Args:
        recording: What `load` or `Timeline.recording` returned.
        width: Of the picture, in pixels.
        rows: How many rows of resources, and how many of waits, to draw at most. Of more, evenly
            chosen ones are drawn, and the picture says so.
        start: Where the picture begins, in seconds from the recording's start. ``None``: there.
        end: Where it ends. ``None``: at the recording's end.

    Returns:
        An SVG document.

    Raises:
        ValueError: The picture would be too small, or there is nothing between these times.
    """
    if width < 400 or rows < 1:
        raise ValueError(f"a picture needs 400 pixels and 1 row at least, not {width} and {rows}")
    run = spans(recording.events)
    length = max(run.end - run.start, 1) / MICRO
    first = 0.0 if start is None else start
    last = length if end is None else min(end, length)
    if not 0 <= first < last:
        raise ValueError(f"nothing from {first:g} s to {last:g} s: the run took {length:g} s")
    low, high = (run.start + round(time * MICRO) for time in (first, last))
    canvas = Canvas(run, width, low, max(high, low + 1))
    _head(canvas, recording)
    _legend(canvas)
    canvas.y += 54
    top = canvas.y
    parts = Rows(canvas, recording.events, rows)
    parts.resources()
    parts.waits()
    parts.ties()
    charts(canvas)
    canvas.axis(top)
    return _document(canvas, recording)


def _head(canvas: Canvas, recording: Recording) -> None:
    run = canvas.run
    leases = sum(span.state == "in use" for life in run.lives.values() for span in life)
    facts = [
        plural(len(run.lives), "resource"),
        plural(leases, "lease"),
        f"{plural(len(run.waits), 'acquire')} that waited or failed",
        duration(run.end - run.start),
    ]
    if canvas.low > run.start or canvas.high < run.end:
        facts.append(f"drawn from {canvas.when(canvas.low)} to {canvas.when(canvas.high)}")
    if recording.dropped:
        facts.append(f"without the {plural(recording.dropped, 'oldest event')}")
    canvas.over.append(words(MARGIN, 30, _name(recording), "ink head"))
    canvas.over.append(words(MARGIN, 48, " · ".join(facts), "faint"))
    canvas.y = 58


def _legend(canvas: Canvas) -> None:
    x, over = MARGIN, canvas.over
    for text, look in LEGEND:
        wide = WIDTHS.get(look, 18.0)
        needed = wide + 6 + width_of(text, SMALL)
        if x + needed > canvas.right:
            x, canvas.y = MARGIN, canvas.y + 18
        y = canvas.y
        if look == "hatch":
            over.append(hatched(x, y, wide, 12, look))
        elif look == "tasks":
            over += [rect(x + 10 * i, y, 10, 12, f"t{i}") for i in range(3)]
        elif look == "tie":
            over += tie(Point(x + 3, y + 13), Point(x + 3, y - 1), 0)
        elif look == "idle":
            over.append(rect(x, y + 4.5, wide, 3, look))
        else:
            over.append(rect(x, y, wide, 12, look))
        over.append(words(x + wide + 6, y + 10, text, "faint small"))
        x += needed + 12


def _document(canvas: Canvas, recording: Recording) -> str:
    width, height = number(canvas.width), number(canvas.y + 12)
    paper = rect(0.5, 0.5, canvas.width - 1, canvas.y + 11, "paper edge", rounded=8)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    name = f'role="img" aria-label="{plain(_name(recording))}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {name}>'
    return "\n".join([start, style(), paper, *canvas.under, *canvas.over, "</svg>\n"])


def _name(recording: Recording) -> str:
    return f"What the pool {recording.pool!r} did"
