"""Pictures read again, to see what is in them."""

from __future__ import annotations

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
    """A drawn recording, read again."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        self.size = tuple(float(self.root.attrib[name]) for name in ("width", "height"))
        self.titles = [title.text or "" for title in self.root.iter(f"{SVG}title")]
        self.texts = [element.text or "" for element in self.root.iter(f"{SVG}text")]
        self.bars = [Bar(element) for element in self.root.iter(f"{SVG}rect")]

    def titled(self, text: str) -> list[str]:
        return [title for title in self.titles if text in title]


def pictured(
    events: list[PoolEvent], dropped: int = 0, name: str = "bank", **options: Any
) -> Picture:
    return Picture(draw(Recording(name, events, dropped), **options))


def told(
    kind: Any,
    resource: int | None,
    start: float,
    end: float,
    outcome: str,
    task: str = "",
    error: BaseException | None = None,
) -> PoolEvent:
    return PoolEvent(kind, resource, start, end, outcome, task, error)


RUN = [
    told("creation", 1, 0.0, 0.2, "created"),
    told("wait", 1, 0.0, 0.2, "acquired", "Task-1"),
    told("creation", 2, 0.1, 0.2, "failed", error=OSError("refused")),
    told("wait", None, 0.1, 0.2, "failed", "Task-2", OSError("refused")),
    told("use", 1, 0.2, 0.5, "released", "Task-1"),
    told("wait", None, 0.3, 0.4, "timed out", "Task-3", TimeoutError("too late")),
    told("wait", 1, 0.3, 0.6, "acquired", "Task-4"),
    told("use", 1, 0.6, 0.9, "discarded", "Task-4"),
    told("close", 1, 0.9, 1.0, "discarded"),
]


def waiting(number: int) -> list[PoolEvent]:
    """So many waits at once."""
    return [told("wait", None, i, 1000 + i, "cancelled", f"Task-{i}") for i in range(number)]
