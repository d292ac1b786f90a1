"""Drawn pictures, parsed so that tests can look at their parts."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from nodetool.concurrency import PoolEvent
from nodetool.concurrency.timeline import Recording, draw

SVG = "{http://www.w3.org/2000/svg}"


class Bar:
    """A rectangle."""

    def __init__(self, element: ElementTree.Element) -> None:
        self.x, self.y, self.width, self.height = (
            float(element.attrib[name]) for name in ("x", "y", "width", "height")
        )
        self.right, self.bottom = self.x + self.width, self.y + self.height
        self.look = element.attrib["class"]
        self.title = element.findtext(f"{SVG}title") or ""


class Picture:
    """A drawn recording."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        self.size = tuple(float(self.root.attrib[name]) for name in ("width", "height"))
        self.titles = [title.text or "" for title in self.root.iter(f"{SVG}title")]
        self.texts = [element.text or "" for element in self.root.iter(f"{SVG}text")]
        self.bars = [Bar(element) for element in self.root.iter(f"{SVG}rect")]

    def titles_with(self, text: str) -> list[str]:
        """Return the tooltips that contain a text."""
        return [title for title in self.titles if text in title]

    def axis(self) -> list[str]:
        """Return the times above the rows, from left to right."""
        [top] = {
            path.attrib["d"].partition("L")[0].split()[1]
            for path in self.root.iter(f"{SVG}path")
            if path.attrib["class"] == "grid"
        }
        return [
            element.text or ""
            for element in self.root.iter(f"{SVG}text")
            if float(element.attrib["y"]) == float(top) - 4 and "text-anchor" in element.attrib
        ]

    def colours(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the fill colour of each class, in light mode and in dark mode."""
        style = self.root.findtext(f"{SVG}style") or ""
        light, dark = style.split("@media (prefers-color-scheme:dark)")
        rule = re.compile(r"\.([\w-]+)\{fill:(#\w{6})\}")
        return dict(rule.findall(light)), dict(rule.findall(dark))


def draw_events(
    events: list[PoolEvent], dropped: int = 0, name: str = "bank", **options: Any
) -> Picture:
    """Draw a recording of these events, and parse the picture."""
    return Picture(draw(Recording(name, events, dropped), **options))


def make_event(
    kind: Any,
    resource: int | None,
    start: float,
    end: float,
    outcome: str,
    task: str = "",
    error: BaseException | None = None,
) -> PoolEvent:
    """Make an event that needs neither a task nor an error."""
    return PoolEvent(kind, resource, start, end, outcome, task, error)


RUN = [
    make_event("creation", 1, 0.0, 0.2, "created"),
    make_event("wait", 1, 0.0, 0.2, "acquired", "Task-1"),
    make_event("creation", 2, 0.1, 0.2, "failed", error=OSError("refused")),
    make_event("wait", None, 0.1, 0.2, "failed", "Task-2", OSError("refused")),
    make_event("use", 1, 0.2, 0.5, "released", "Task-1"),
    make_event("wait", None, 0.3, 0.4, "timed out", "Task-3", TimeoutError("too late")),
    make_event("wait", 1, 0.3, 0.6, "acquired", "Task-4"),
    make_event("use", 1, 0.6, 0.9, "discarded", "Task-4"),
    make_event("close", 1, 0.9, 1.0, "discarded"),
]


WORK = [
    make_event("creation", 1, 0.0, 0.1, "created"),
    make_event("wait", 1, 0.0, 0.1, "acquired", "Task-1"),
    make_event("use", 1, 0.1, 0.3, "released", "Task-1"),
    make_event("reset", 1, 0.3, 0.4, "passed"),
    make_event("check", 1, 0.6, 0.7, "passed"),
    make_event("wait", 1, 0.6, 0.7, "acquired", "Task-2"),
    make_event("use", 1, 0.7, 0.8, "released", "Task-2"),
    make_event("reset", 1, 0.8, 0.9, "failed"),
    make_event("close", 1, 0.9, 1.0, "reset failed"),
]
"""The life of a resource that was checked and reset."""


def overlapping_waits(count: int) -> list[PoolEvent]:
    """Make waits that all overlap."""
    return [make_event("wait", None, i, 1000 + i, "cancelled", f"Task-{i}") for i in range(count)]
