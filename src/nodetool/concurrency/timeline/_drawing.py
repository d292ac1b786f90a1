"""A recording as a picture: which task held which resource, which waited, and what was closed."""

from __future__ import annotations

from ._canvas import MARGIN, SMALL, Canvas
from ._charts import draw_charts
from ._recording import Recording
from ._rows import Rows, tie
from ._spans import MICRO, build_run
from ._svg import (
    Point,
    count_text,
    duration,
    escape_text,
    hatched_rect,
    number,
    rect,
    style,
    text_element,
    width_of,
)

LEGEND = (
    ("creating", "hatch"),
    ("idle", "idle"),
    ("checking", "checking"),
    ("resetting", "resetting"),
    ("held, by task", "tasks"),
    ("many short leases", "in-use"),
    ("waiting", "t0 wait"),
    ("handed over", "tie"),
    ("expired, timed out", "aged"),
    ("broken, failed", "broken"),
    ("retired, closed, cancelled", "ended"),
)
WIDTHS = {"tasks": 30.0, "tie": 6.0, "aged": 4.0, "broken": 4.0, "ended": 4.0}
DEFAULT_WIDTH = 18.0


def draw(
    recording: Recording,
    *,
    width: int = 1200,
    rows: int = 40,
    start: float | None = None,
    end: float | None = None,
) -> str:
    """Draw a recording as SVG. The same recording makes the same picture, to the byte.

    A row shows one resource after another: when a resource is closed, the next one takes its row.

    Args:
        recording: The result of `load` or `Timeline.recording`.
        width: Width of the picture in pixels.
        rows: Maximum number of rows of resources, and of rows of waits. If there are more, evenly
            chosen ones are drawn, and the picture says so.
        start: Start of the picture, in seconds from the recording's start. ``None``: the
            recording's start.
        end: End of the picture, in the same seconds. ``None``: the recording's end.

    Returns:
        An SVG document.

    Raises:
        ValueError: The picture would be too small, or there is nothing between these times.

    Since version 0.1.0.
    """
    if width < 400 or rows < 1:
        raise ValueError(f"a picture needs 400 pixels and 1 row at least, not {width} and {rows}")
    run = build_run(recording.events)
    length = max(run.end - run.start, 1) / MICRO
    first = 0.0 if start is None else start
    last = length if end is None else min(end, length)
    if not 0 <= first < last:
        raise ValueError(f"nothing from {first:g} s to {last:g} s: the run took {length:g} s")
    low, high = (run.start + round(time * MICRO) for time in (first, last))
    canvas = Canvas(run, width, low, max(high, low + 1))
    _draw_title(canvas, recording)
    _draw_legend(canvas)
    canvas.y += 54
    top = canvas.y
    parts = Rows(canvas, recording.events, rows)
    parts.draw_resources()
    parts.draw_waits()
    parts.draw_ties()
    draw_charts(canvas)
    canvas.draw_axis(top)
    return _document(canvas, recording)


def _draw_title(canvas: Canvas, recording: Recording) -> None:
    run = canvas.run
    leases = sum(span.state == "in use" for life in run.lives.values() for span in life)
    facts = [
        count_text(len(run.lives), "resource"),
        count_text(leases, "lease"),
        f"{count_text(len(run.waits), 'acquire')} that waited or failed",
        duration(run.end - run.start),
    ]
    if canvas.start > run.start or canvas.end < run.end:
        facts.append(
            f"drawn from {canvas.time_text(canvas.start)} to {canvas.time_text(canvas.end)}"
        )
    if recording.dropped:
        facts.append(f"without the {count_text(recording.dropped, 'oldest event')}")
    canvas.foreground.append(text_element(MARGIN, 30, _title(recording), "ink head"))
    canvas.foreground.append(text_element(MARGIN, 48, " · ".join(facts), "faint"))
    canvas.y = 58


def _draw_legend(canvas: Canvas) -> None:
    x, elements = MARGIN, canvas.foreground
    for text, look in LEGEND:
        symbol_width = WIDTHS.get(look, DEFAULT_WIDTH)
        entry_width = symbol_width + 6 + width_of(text, SMALL)
        if x + entry_width > canvas.right:
            x, canvas.y = MARGIN, canvas.y + 18
        y = canvas.y
        if look == "hatch":
            elements.append(hatched_rect(x, y, symbol_width, 12, look))
        elif look == "tasks":
            elements += [rect(x + 10 * i, y, 10, 12, f"t{i}") for i in range(3)]
        elif look == "tie":
            elements += tie(Point(x + 3, y + 13), Point(x + 3, y - 1), 0)
        elif look == "idle":
            elements.append(rect(x, y + 4.5, symbol_width, 3, look))
        elif look in ("checking", "resetting"):
            elements.append(rect(x, y + 2.5, symbol_width, 7, look))
        else:
            elements.append(rect(x, y, symbol_width, 12, look))
        elements.append(text_element(x + symbol_width + 6, y + 10, text, "faint small"))
        x += entry_width + 12


def _document(canvas: Canvas, recording: Recording) -> str:
    width, height = number(canvas.width), number(canvas.y + 12)
    paper = rect(0.5, 0.5, canvas.width - 1, canvas.y + 11, "paper edge", rounded=8)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    name = f'role="img" aria-label="{escape_text(_title(recording))}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {name}>'
    return "\n".join([start, style(), paper, *canvas.background, *canvas.foreground, "</svg>\n"])


def _title(recording: Recording) -> str:
    return f"What the pool {recording.pool!r} did"
