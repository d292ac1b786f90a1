"""The rows of a picture: resources, waits, and the ties between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nodetool.concurrency import PoolEvent

from ._canvas import SMALL, Canvas
from ._spans import IDLE_AFTER, MICRO, STILL_HELD, Span, assign_lanes, error_text
from ._svg import (
    TASK_COLOURS,
    Point,
    count_text,
    duration,
    hatched_rect,
    line,
    path,
    rect,
    shorten,
    text_element,
    width_of,
)

TAG, BAR, GAP = 12.0, 18.0, 6.0  # a resource's row: its tags, its bars, and the space below
WITH_NAMES, WITHOUT_NAMES = (17.0, 14.0), (6.0, 5.0)  # a row of waits, and the bar in it
MOST_ROWS_WITH_NAMES = 18  # rows of waits
NOUNS = {"wait": "wait", "use": "lease", "check": "check", "reset": "reset"}  # of grouped events
NARROW = 1.5  # pixels: adjacent bars that are shorter are drawn as one

LOOKS = {  # of outcomes; all other outcomes look "broken"
    "expired": "aged",
    "pruned": "aged",
    "timed out": "aged",
    "rejected": "aged",
    STILL_HELD: "aged",
    "retired": "ended",
    "surplus": "ended",
    "closed": "ended",
    "closed down": "ended",
    "cancelled": "ended",
    "detached": "ended",
    "forgotten": "ended",
}


class Rows:
    """The rows of one picture, at most `most` rows of resources and `most` rows of waits."""

    def __init__(self, canvas: Canvas, events: Iterable[PoolEvent], most: int) -> None:
        self._canvas = canvas
        self._most = most
        tasks = dict.fromkeys(event.task for event in events)
        self._colours = {task: i % len(TASK_COLOURS) for i, task in enumerate(tasks)}
        self._uses: list[tuple[Span, float]] = []  # with the bottom of the bar
        self._wait_tops: dict[int, float] = {}  # the top of the bar, by the event's id

    def draw_resources(self) -> None:
        """Draw the resources. Resources that do not overlap in time may share a row."""
        canvas = self._canvas
        lives = [life for life in map(canvas.visible_spans, canvas.run.lives.values()) if life]
        lives.sort(key=lambda life: life[0].start)
        lanes = assign_lanes(lives)
        rows = self._choose_rows("resources", lanes)
        tag_ends: dict[int, float] = {}  # right end of the last tag in each row
        for life, lane in zip(lives, lanes, strict=True):
            if lane in rows:
                y = canvas.y + rows[lane] * (TAG + BAR + GAP) + TAG
                tag_ends[lane] = self._draw_tags(life, y - 3, tag_ends.get(lane, 0.0))
                self._draw_life(life, y)
        canvas.y += len(rows) * (TAG + BAR + GAP) + 12

    def draw_waits(self) -> None:
        """Draw the waits, in as many rows as acquirers waited at the same time."""
        canvas = self._canvas
        waits = canvas.visible_spans(canvas.run.waits)
        lanes = assign_lanes([wait] for wait in waits)
        rows = self._choose_rows("waiting", lanes)
        pitch, bar = WITH_NAMES if len(rows) <= MOST_ROWS_WITH_NAMES else WITHOUT_NAMES
        row_waits: dict[int, list[Span]] = {lane: [] for lane in rows}
        for wait, lane in zip(waits, lanes, strict=True):
            if lane in rows:
                row_waits[lane].append(wait)
        for lane, row in row_waits.items():
            for group in _groups(row, canvas.scale):
                self._draw_wait(group, canvas.y + 2 + rows[lane] * pitch, bar)
        canvas.y += max(2 + len(rows) * pitch, 40) + 12

    def draw_ties(self) -> None:
        """Draw a line from each wait to the lease that it led to, if both are in the picture."""
        canvas = self._canvas
        for use, bottom in self._uses:
            wait = use.wait
            if wait is not None and id(wait) in self._wait_tops:
                start = Point(canvas.x(round(wait.end * MICRO)), self._wait_tops[id(wait)])
                end = Point(canvas.x(use.start), bottom)
                shaft, head = tie(start, end, self._colours[wait.task])
                canvas.background.append(shaft)
                canvas.foreground.append(head)

    def _choose_rows(self, title: str, lanes: list[int]) -> dict[int, int]:
        """Return the row of each lane that is drawn. If there are too many, choose evenly."""
        total = max(lanes, default=-1) + 1
        count = min(total, self._most)
        notes = [f"{count} of {total:,}", "rows drawn"] if count < total else []
        self._canvas.add_heading(title, *notes)
        return {row * total // count: row for row in range(count)}

    def _draw_tags(self, life: list[Span], y: float, tag_end: float) -> float:
        """Write a resource's number above its start, and its outcome above its end.

        A tag that would overlap with the tag before it is left out.

        Returns:
            Right end of the last tag in the row.
        """
        canvas = self._canvas
        start, end = canvas.x(life[0].start), canvas.x(life[-1].end)
        name = f"#{life[0].resource}"
        if start >= tag_end:
            canvas.foreground.append(text_element(start, y, name, "faint small"))
            tag_end = start + width_of(name, SMALL) + 8
        last = life[-1].event
        if last is None or last.outcome in IDLE_AFTER or life[-1].end > canvas.end:
            return tag_end
        if end - width_of(last.outcome, SMALL) >= tag_end:
            look = f"{_look(last)} small"
            canvas.foreground.append(text_element(end, y, last.outcome, look, "end"))
            tag_end = end + 8
        return tag_end

    def _draw_life(self, life: list[Span], y: float) -> None:
        canvas = self._canvas
        for group in _groups(life, canvas.scale):
            span = group[0]
            x = canvas.x(span.start)
            width = canvas.x(group[-1].end) - x
            title = self._title(group)
            event = span.event
            if len(group) > 1:
                look = "in-use" if any(s.state == "in use" for s in group) else _work_look(group)
                bar = rect(x, y, max(width, 1), BAR, look, title)
            elif event is None:
                bar = rect(x, y + BAR / 2 - 1.5, width, 3, "idle", title)
            elif event.kind == "creation":
                look = "hatch-broken" if event.outcome in ("failed", "late") else "hatch"
                bar = hatched_rect(x, y, max(width, 2), BAR, look, title)
            elif event.kind in ("check", "reset"):
                bar = rect(x, y + 4, max(width, 1), BAR - 8, _work_look(group), title)
            elif event.kind == "close":
                bar = rect(x, y - 2, max(width, 3), BAR + 4, _look(event), title, 1.5)
            else:
                look = f"t{self._colours[event.task]}"
                bar = rect(x, y, max(width, 1), BAR, look, title, 2 if width > 6 else 0)
                if name := shorten(event.task, width - 8):
                    bar += text_element(x + 4, y + 13, name, "on")
                self._uses.append((span, y + BAR))
            canvas.foreground.append(bar)

    def _draw_wait(self, group: list[Span], y: float, height: float) -> None:
        canvas = self._canvas
        x, end = canvas.x(group[0].start), canvas.x(group[-1].end)
        title = self._title(group)
        event = group[0].event
        if len(group) > 1 or event is None:
            canvas.foreground.append(rect(x, y, max(end - x, 1), height, "waiting", title))
            return
        look = f"t{self._colours[event.task]} wait"
        canvas.foreground.append(rect(x, y, max(end - x, 1), height, look, title))
        served = event.resource is not None
        text = event.task if served else f"{event.task} · {event.outcome}"
        room = end - x - 8
        if width_of(text, SMALL) > room:
            text = event.task
        if height == WITH_NAMES[1] and (name := shorten(text, room, SMALL)):
            canvas.foreground.append(text_element(x + 4, y + 10.5, name, "ink small"))
        if not served and group[0].end <= canvas.end:
            mark = rect(end - 1.5, y - 0.5, 3, height + 1, _look(event), title)
            canvas.foreground.append(mark)
        self._wait_tops[id(event)] = y

    def _title(self, group: list[Span]) -> str:
        """Return the tooltip of a group of spans."""
        span = group[0]
        times = f"{duration(group[-1].end - span.start)}, from {self._canvas.time_text(span.start)}"
        if len(group) > 1:
            kinds = Counter(NOUNS[s.event.kind] for s in group if s.event is not None)
            return f"{', '.join(count_text(n, kind) for kind, n in kinds.items())}: {times}"
        event = span.event
        if event is None:
            return f"#{span.resource} held by nobody for {times}"
        text = {
            "creation": f"#{event.resource} {event.outcome}: took {times}",
            "check": f"#{event.resource} check {event.outcome}: took {times}",
            "reset": f"#{event.resource} reset {event.outcome}: took {times}",
            "close": f"#{event.resource} closed, {event.outcome}: took {times}",
            "use": f"{event.task} held #{event.resource} for {times}: {event.outcome}",
            "wait": f"{event.task} waited for {times}: {event.outcome}",
        }[event.kind]
        return text if event.error is None else f"{text}\n{error_text(event.error)}"


def tie(start: Point, end: Point, colour: int) -> tuple[str, str]:
    """Return the shaft and the head of an arrow from a wait up to its lease."""
    left, right = Point(end.x - 3, end.y + 5), Point(end.x + 3, end.y + 5)
    shaft = line([start, Point(end.x, end.y + 3)])
    return path(shaft, f"l{colour} tie"), path(f"{line([end, left, right])}Z", f"t{colour}")


def _look(event: PoolEvent) -> str:
    return LOOKS.get(event.outcome, "broken")


def _work_look(group: Sequence[Span]) -> str:
    """Return the look of checks and resets: that of the first one, or "broken" if one failed."""
    looks = [span.state for span in group if span.event is not None]
    failed = any(span.event is not None and span.event.outcome == "failed" for span in group)
    return "broken" if failed else looks[0]


def _groups(row: Sequence[Span], scale: float) -> Iterator[list[Span]]:
    """Group adjacent spans that are too narrow to be distinguished. Others stay alone."""
    group: list[Span] = []
    for span in row:
        narrow = (span.end - span.start) * scale < NARROW
        narrow = narrow and span.state not in ("creating", "closing")
        if group and not (narrow and (span.start - group[-1].end) * scale < NARROW):
            yield from _split_group(group)
            group = []
        if narrow:
            group.append(span)
        else:
            yield [span]
    yield from _split_group(group)


def _split_group(group: list[Span]) -> Iterable[list[Span]]:
    """Split a group with at most one event: its bar would hide that event's own title."""
    several = sum(span.event is not None for span in group) > 1
    return [group] if several else [[span] for span in group]
