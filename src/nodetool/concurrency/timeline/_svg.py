"""Pieces of SVG: elements, texts, colours for light and dark mode, and readable numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from itertools import product
from typing import NamedTuple

TASK_COLOURS = (  # light, dark
    ("#2563eb", "#60a5fa"),
    ("#c2410c", "#fb923c"),
    ("#15803d", "#4ade80"),
    ("#9333ea", "#c084fc"),
    ("#0e7490", "#22d3ee"),
    ("#be185d", "#f472b6"),
    ("#a16207", "#facc15"),
    ("#4338ca", "#a5b4fc"),
    ("#0f766e", "#2dd4bf"),
    ("#57534e", "#d6d3d1"),
)
FILLS = {  # light, dark
    "paper": ("#ffffff", "#0d1117"),
    "ink": ("#1f2937", "#e5e7eb"),
    "faint": ("#6b7280", "#9ca3af"),
    "on": ("#ffffff", "#0d1117"),
    "idle": ("#cbd5e1", "#334155"),
    "in-use": ("#64748b", "#64748b"),
    "creating": ("#0ea5e9", "#0ea5e9"),
    "checking": ("#10b981", "#34d399"),
    "resetting": ("#ec4899", "#f472b6"),
    "closing": ("#d97706", "#f59e0b"),
    "waiting": ("#a78bfa", "#8b5cf6"),
    "aged": ("#d97706", "#f59e0b"),
    "broken": ("#dc2626", "#f87171"),
    "ended": ("#6b7280", "#9ca3af"),
}
STROKES = {
    "edge": ("#d1d5db", "#30363d"),
    "grid": ("#eef0f3", "#1c2128"),
    "hatch": ("#94a3b8", "#64748b"),
    "hatch-broken": ("#dc2626", "#f87171"),
}
HATCH = (
    '<pattern id="pool-timeline-{0}" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path d="M0 0V5" class="{0}" stroke-width="3"/></pattern>'
)
UNITS = (  # name, microseconds, and the shortest time in microseconds that is written in it
    ("µs", 1, 0),
    ("ms", 1_000, 2_000),
    ("s", 1_000_000, 2_000_000),
    ("min", 60_000_000, 600_000_000),
    ("h", 3_600_000_000, 36_000_000_000),
)

SECOND = (1_000_000, "s")

# The width of a letter, as a share of the font size. Most letters are narrower.
LETTER = 0.6

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Point(NamedTuple):
    """A position in the picture."""

    x: float
    y: float


def style() -> str:
    """Return the style sheet with all colours, and the patterns that use them."""
    rules = []
    for shade in (0, 1):
        colours = {f".t{i}": f"fill:{pair[shade]}" for i, pair in enumerate(TASK_COLOURS)}
        colours |= {f".l{i}": f"stroke:{pair[shade]}" for i, pair in enumerate(TASK_COLOURS)}
        colours |= {f".{name}": f"fill:{pair[shade]}" for name, pair in FILLS.items()}
        colours |= {f".{name}": f"stroke:{pair[shade]}" for name, pair in STROKES.items()}
        rules.append("\n".join(f"{name}{{{colour}}}" for name, colour in colours.items()))
    return (
        "<style>\ntext{font:11px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}\n"
        ".small{font-size:10px}.head{font-size:15px;font-weight:600}.bold{font-weight:600}\n"
        ".wait{fill-opacity:.3}.tie{fill:none;stroke-opacity:.7}\n"
        f"{rules[0]}\n@media (prefers-color-scheme:dark){{\n{rules[1]}\n}}\n</style>\n"
        f"<defs>{HATCH.format('hatch')}{HATCH.format('hatch-broken')}</defs>"
    )


def escape_text(text: str) -> str:
    """Escape any text for XML, and replace the characters that XML does not allow."""
    return escape(NOT_XML.sub("\ufffd", text))


def number(value: float) -> str:
    """Write a coordinate, rounded to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def rect(
    x: float,
    y: float,
    width: float,
    height: float,
    look: str,
    title: str = "",
    rounded: float = 0,
    attributes: str = "",
) -> str:
    """Return a rectangle with a tooltip."""
    corners = f' rx="{number(rounded)}"' if rounded else ""
    return _element(
        f'rect class="{look}" x="{number(x)}" y="{number(y)}" width="{number(width)}"'
        f' height="{number(height)}"{corners}{attributes}',
        title,
    )


def hatched_rect(
    x: float, y: float, width: float, height: float, look: str, title: str = ""
) -> str:
    """Return a rectangle with an edge and diagonal lines."""
    fill = f' style="fill:url(#pool-timeline-{look})"'
    return rect(x, y + 0.5, width, height - 1, look, title, attributes=fill)


def text_element(x: float, y: float, text: str, look: str = "ink", anchor: str = "") -> str:
    """Return a line of text."""
    position = f' text-anchor="{anchor}"' if anchor else ""
    return (
        f'<text class="{look}" x="{number(x)}" y="{number(y)}"{position}>{escape_text(text)}</text>'
    )


def line(points: Iterable[Point]) -> str:
    """Return the steps of a path through these points."""
    return "M" + "L".join(f"{number(point.x)} {number(point.y)}" for point in points)


def path(steps: str, look: str, title: str = "") -> str:
    """Return a line or an area with a tooltip."""
    return _element(f'path class="{look}" d="{steps}"', title)


def _element(content: str, title: str) -> str:
    if not title:
        return f"<{content}/>"
    return f"<{content}><title>{escape_text(title)}</title></{content.partition(' ')[0]}>"


def shorten(text: str, width: float, size: float = 11) -> str:
    """Shorten a text to a width: keep all of it, its beginning and its end, or nothing."""
    room = int(width / (size * LETTER))
    if len(text) <= room:
        return text
    return f"{text[: (room - 1) // 2]}…{text[-(room // 2) :]}" if room >= 4 else ""


def width_of(text: str, size: float = 11) -> float:
    """Estimate the width of a text."""
    return len(text) * size * LETTER


def duration(micros: int) -> str:
    """Write a length of time with three digits."""
    unit, name = _unit(micros)
    value = micros / unit
    digits = max(0, 3 - len(str(int(value)))) if unit > 1 else 0
    return f"{value:,.{digits}f} {name}"


def count_text(count: int, noun: str) -> str:
    """Write a number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def moment(micros: int) -> str:
    """Write a point in time in seconds, to the microsecond."""
    return f"{micros / 1_000_000:,.6f}".rstrip("0").rstrip(".") + " s"


def ticks(start: int, end: int, most: int) -> Iterable[tuple[int, str]]:
    """Yield round times from `start` to `end`, at most about `most`, and the text for each."""
    # A tenth of a minute is no round time, so minutes and hours are for long times only.
    unit, name = min(_unit(end), max(_unit(end - start), SECOND))
    steps = (
        (round(unit * leading * 10.0**power), power)
        for power, leading in product(range(-6, 12), (1, 2, 5))
    )
    step, power = next((step, power) for step, power in steps if step * most >= end - start)
    for i in range(-(-start // step), end // step + 1):
        yield i * step, f"{i * step / unit:,.{max(0, -power)}f} {name}"


def _unit(micros: int) -> tuple[int, str]:
    return [(unit, name) for name, unit, least in UNITS if micros >= least][-1]
