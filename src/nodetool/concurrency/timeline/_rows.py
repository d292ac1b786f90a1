"""The rows of a picture: resources, waits, and the ties between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nodetool.concurrency import PoolEvent

from ._canvas import SMALL, Canvas
from ._spans import HELD, KEPT, MICRO, Span, lanes, said
from ._svg import (
    TASK_COLOURS,
    Point,
    duration,
    fitting,
    hatched,
    line,
    path,
    plural,
    rect,
    width_of,
    words,
)

TAG, BAR, GAP = 12.0, 18.0, 6.0  # a resource's row: its tags, its bars, and what is below
NAMED, BARE = (17.0, 14.0), (6.0, 5.0)  # a row of waits and the bar in it: with names, without
MOST_NAMED = 18  # rows of waits
NARROW = 1.5  # pixels: shorter ones that touch are drawn as one

LOOKS = {  # of outcomes; those of all others are "broken"
    "expired": "aged",
    "pruned": "aged",
    "timed out": "aged",
    "rejected": "aged",
    HELD: "aged",
    "retired": "ended",
    "closed": "ended",
    "cancelled": "ended",
    "detached": "ended",
    "forgotten": "ended",
}


class Rows:
    """Draws rows, at most `most` of each kind."""

    def __init__(self, canvas: Canvas, events: Iterable[PoolEvent], most: int) -> None:
        self._canvas = canvas
        self._most = most
        tasks = dict.fromkeys(event.task for event in events)
        self._colours = {task: i % len(TASK_COLOURS) for i, task in enumerate(tasks)}
        self._uses: list[tuple[Span, float]] = []  # with the bottom of its bar
        self._waits: dict[int, float] = {}  # the top of its bar, by its event's id

    def resources(self) -> None:
        """A row for each resource, or several one after the other."""
        canvas = self._canvas
        lives = [life for life in map(canvas.visible, canvas.run.lives.values()) if life]
        lives.sort(key=lambda life: life[0].start)
        placed = lanes(lives)
        shown = self._shown("resources", placed)
        taken: dict[int, float] = {}  # how far a row's tags go
        for life, lane in zip(lives, placed, strict=True):
            if lane in shown:
                y = canvas.y + shown[lane] * (TAG + BAR + GAP) + TAG
                taken[lane] = self._tags(life, y - 3, taken.get(lane, 0.0))
                self._life(life, y)
        canvas.y += len(shown) * (TAG + BAR + GAP) + 12

    def waits(self) -> None:
        """As many rows as acquirers waited at once."""
        canvas = self._canvas
        waits = canvas.visible(canvas.run.waits)
        placed = lanes([wait] for wait in waits)
        shown = self._shown("waiting", placed)
        pitch, bar = NAMED if len(shown) <= MOST_NAMED else BARE
        rows: dict[int, list[Span]] = {lane: [] for lane in shown}
        for wait, lane in zip(waits, placed, strict=True):
            if lane in shown:
                rows[lane].append(wait)
        for lane, row in rows.items():
            for group in _groups(row, canvas.scale):
                self._wait(group, canvas.y + 2 + shown[lane] * pitch, bar)
        canvas.y += max(2 + len(shown) * pitch, 40) + 12

    def ties(self) -> None:
        """Lines from the waits to what they ended in, where both are drawn."""
        canvas = self._canvas
        for use, bottom in self._uses:
            wait = use.wait
            if wait is not None and id(wait) in self._waits:
                start = Point(canvas.x(round(wait.end * MICRO)), self._waits[id(wait)])
                end = Point(canvas.x(use.start), bottom)
                shaft, head = tie(start, end, self._colours[wait.task])
                canvas.under.append(shaft)
                canvas.over.append(head)

    def _shown(self, title: str, placed: list[int]) -> dict[int, int]:
        """The rows to draw, evenly chosen if there are too many, and each one's place."""
        total = max(placed, default=-1) + 1
        count = min(total, self._most)
        notes = [f"{count} of {total:,}", "rows drawn"] if count < total else []
        self._canvas.section(title, *notes)
        return {place * total // count: place for place in range(count)}

    def _tags(self, life: list[Span], y: float, taken: float) -> float:
        """The resource's number above its beginning, and above its end what became of it."""
        canvas = self._canvas
        start, end = canvas.x(life[0].start), canvas.x(life[-1].end)
        name = f"#{life[0].resource}"
        if start >= taken:
            canvas.over.append(words(start, y, name, "faint small"))
            taken = start + width_of(name, SMALL) + 8
        last = life[-1].event
        if last is None or last.outcome in KEPT or life[-1].end > canvas.high:
            return taken
        if end - width_of(last.outcome, SMALL) >= taken:
            canvas.over.append(words(end, y, last.outcome, f"{_look(last)} small", "end"))
            taken = end + 8
        return taken

    def _life(self, life: list[Span], y: float) -> None:
        canvas = self._canvas
        for group in _groups(life, canvas.scale):
            span = group[0]
            x = canvas.x(span.start)
            wide = canvas.x(group[-1].end) - x
            title = self._title(group)
            event = span.event
            if len(group) > 1:
                bar = rect(x, y, max(wide, 1), BAR, "in-use", title)
            elif event is None:
                bar = rect(x, y + BAR / 2 - 1.5, wide, 3, "idle", title)
            elif event.kind == "creation":
                look = "hatch-broken" if event.outcome == "failed" else "hatch"
                bar = hatched(x, y, max(wide, 2), BAR, look, title)
            elif event.kind == "close":
                bar = rect(x, y - 2, max(wide, 3), BAR + 4, _look(event), title, 1.5)
            else:
                look = f"t{self._colours[event.task]}"
                bar = rect(x, y, max(wide, 1), BAR, look, title, 2 if wide > 6 else 0)
                if name := fitting(event.task, wide - 8):
                    bar += words(x + 4, y + 13, name, "on")
                self._uses.append((span, y + BAR))
            canvas.over.append(bar)

    def _wait(self, group: list[Span], y: float, bar: float) -> None:
        canvas = self._canvas
        x, end = canvas.x(group[0].start), canvas.x(group[-1].end)
        title = self._title(group)
        event = group[0].event
        if len(group) > 1 or event is None:
            canvas.over.append(rect(x, y, max(end - x, 1), bar, "waiting", title))
            return
        look = f"t{self._colours[event.task]} wait"
        canvas.over.append(rect(x, y, max(end - x, 1), bar, look, title))
        served = event.resource is not None
        text = event.task if served else f"{event.task} · {event.outcome}"
        room = end - x - 8
        if width_of(text, SMALL) > room:
            text = event.task
        if bar == NAMED[1] and (name := fitting(text, room, SMALL)):
            canvas.over.append(words(x + 4, y + 10.5, name, "ink small"))
        if not served and group[0].end <= canvas.high:
            canvas.over.append(rect(end - 1.5, y - 0.5, 3, bar + 1, _look(event), title))
        self._waits[id(event)] = y

    def _title(self, group: list[Span]) -> str:
        """The tooltip."""
        span = group[0]
        times = f"{duration(group[-1].end - span.start)}, from {self._canvas.when(span.start)}"
        if len(group) > 1:
            what = "wait" if span.state == "waiting" else "lease"
            return f"{plural(sum(s.event is not None for s in group), what)}: {times}"
        event = span.event
        if event is None:
            return f"#{span.resource} held by nobody for {times}"
        text = {
            "creation": f"#{event.resource} {event.outcome}: took {times}",
            "close": f"#{event.resource} closed, {event.outcome}: took {times}",
            "use": f"{event.task} held #{event.resource} for {times}: {event.outcome}",
            "wait": f"{event.task} waited for {times}: {event.outcome}",
        }[event.kind]
        return text if event.error is None else f"{text}\n{said(event.error)}"


def tie(start: Point, end: Point, colour: int) -> tuple[str, str]:
    """A line up from a wait to what it ended in, and its head."""
    left, right = Point(end.x - 3, end.y + 5), Point(end.x + 3, end.y + 5)
    shaft = line([start, Point(end.x, end.y + 3)])
    return path(shaft, f"l{colour} tie"), path(f"{line([end, left, right])}Z", f"t{colour}")


def _look(event: PoolEvent) -> str:
    return LOOKS.get(event.outcome, "broken")


def _groups(row: Sequence[Span], scale: float) -> Iterator[list[Span]]:
    """Each span by itself, but together those that are too narrow to be told apart."""
    group: list[Span] = []
    for span in row:
        narrow = (span.end - span.start) * scale < NARROW
        narrow = narrow and span.state not in ("creating", "closing")
        if group and not (narrow and (span.start - group[-1].end) * scale < NARROW):
            yield from _together(group)
            group = []
        if narrow:
            group.append(span)
        else:
            yield [span]
    yield from _together(group)


def _together(group: list[Span]) -> Iterable[list[Span]]:
    several = sum(span.event is not None for span in group) > 1
    return [group] if several else [[span] for span in group]
