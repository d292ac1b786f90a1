"""Draw the life of one resource, and of one acquire, from the specification's graphs.

    python -m docs.states

writes ``states.svg`` and ``acquirer.svg``. The arrows and their actions are read from every frozen
graph of the specification. This module has only the positions on the page. An arrow without a
position, and a position without an arrow, are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from nodetool.concurrency.verify._graph import FROZEN, Graph, State

Arrows = Mapping[tuple[str, str], frozenset[str]]  # from, to: the actions that lead there
Point = tuple[int, int]

FOLDER = Path(__file__).parent
START, FREE, DONE = "", "free", "done"  # before a life, and after it
WORDS = {"holding": "held", "out": DONE}  # words of the specification, and those of the picture
MANY = 8  # the most actions that fit beside an arrow


class Label(NamedTuple):
    """Position of an arrow's text, its alignment, and the number of letters in a line."""

    x: int
    y: int
    anchor: str = "start"
    letters: int = 16


class Layout(NamedTuple):
    """Positions on a page. A line is straight, or a curve with one or two control points."""

    title: str
    size: Point
    boxes: dict[str, Point]
    lines: dict[tuple[str, str], tuple[tuple[Point, ...], Label]]


RESOURCE = Layout(
    "The life of one resource",
    (760, 920),
    {
        START: (380, 22),
        "creating": (380, 96),
        "idle": (150, 300),
        "handed": (610, 300),
        "checking": (380, 420),
        "held": (380, 660),
        "resetting": (150, 660),
        "closing": (380, 880),
        FREE: (610, 880),
    },
    {
        (START, "creating"): (((380, 30), (380, 75)), Label(392, 52, letters=60)),
        ("creating", "idle"): (((335, 116), (180, 279)), Label(274, 200)),
        ("creating", "handed"): (((425, 116), (580, 279)), Label(530, 212)),
        ("creating", "closing"): (
            ((322, 98), (-90, 100), (-90, 884), (321, 888)),
            Label(158, 128, "end"),
        ),
        ("creating", FREE): (((438, 98), (790, 100), (790, 850), (669, 876)), Label(602, 128)),
        ("idle", "checking"): (((209, 310), (322, 405)), Label(292, 318, letters=12)),
        ("idle", "held"): (
            ((190, 320), (215, 470), (260, 600), (336, 639)),
            Label(212, 440, "end", 12),
        ),
        ("idle", "closing"): (
            ((97, 320), (30, 450), (-10, 890), (321, 876)),
            Label(100, 726, letters=21),
        ),
        ("handed", "idle"): (
            ((570, 280), (480, 222), (280, 222), (190, 280)),
            Label(380, 250, "middle"),
        ),
        ("handed", "handed"): (
            ((622, 280), (605, 228), (680, 228), (655, 280)),
            Label(614, 244, "end"),
        ),
        ("handed", "checking"): (((551, 310), (439, 405)), Label(484, 350, "end")),
        ("handed", "held"): (((628, 320), (640, 520), (560, 650), (439, 660)), Label(588, 560)),
        ("handed", "closing"): (
            ((640, 320), (670, 560), (640, 800), (440, 868)),
            Label(655, 600, letters=8),
        ),
        ("checking", "held"): (((380, 440), (380, 639)), Label(374, 468, "end")),
        ("checking", "closing"): (
            ((438, 432), (540, 520), (520, 800), (425, 859)),
            Label(491, 706, "end", 12),
        ),
        ("held", "idle"): (((358, 640), (300, 590), (235, 470), (206, 321)), Label(246, 446)),
        ("held", "handed"): (((425, 640), (520, 600), (570, 470), (592, 321)), Label(532, 552)),
        ("held", "resetting"): (((321, 660), (209, 660)), Label(265, 678, "middle")),
        ("held", "closing"): (((380, 680), (380, 859)), Label(386, 800, letters=8)),
        ("held", FREE): (
            ((439, 665), (560, 690), (610, 760), (610, 859)),
            Label(618, 790, letters=9),
        ),
        ("resetting", "idle"): (((112, 640), (112, 321)), Label(120, 560)),
        ("resetting", "handed"): (
            ((195, 640), (300, 520), (520, 540), (566, 321)),
            Label(218, 632),
        ),
        ("resetting", "closing"): (
            ((205, 680), (270, 720), (330, 800), (360, 859)),
            Label(286, 712, letters=12),
        ),
        ("closing", FREE): (((439, 880), (551, 880)), Label(495, 898, "middle")),
    },
)

ACQUIRER = Layout(
    "The life of one acquire, and of its lease",
    (760, 624),
    {
        START: (430, 22),
        "waiting": (200, 170),
        "handed": (200, 350),
        "checking": (430, 350),
        "held": (660, 350),
        "resetting": (660, 550),
        DONE: (430, 550),
    },
    {
        (START, "waiting"): (((418, 25), (200, 50), (200, 149)), Label(250, 56, "end")),
        (START, "checking"): (((430, 30), (430, 329)), Label(438, 150)),
        (START, "held"): (((442, 25), (660, 50), (660, 329)), Label(610, 56)),
        ("waiting", "handed"): (((180, 190), (180, 329)), Label(172, 240, "end", 10)),
        ("waiting", DONE): (
            ((143, 180), (-110, 260), (40, 580), (371, 562)),
            Label(112, 416, letters=13),
        ),
        ("handed", "waiting"): (((220, 330), (220, 191)), Label(228, 290)),
        ("handed", "checking"): (((259, 346), (371, 346)), Label(315, 338, "middle")),
        ("handed", "held"): (((250, 370), (360, 430), (510, 430), (610, 371)), Label(490, 430)),
        ("handed", DONE): (((215, 370), (230, 500), (371, 544)), Label(258, 450, letters=8)),
        ("checking", "waiting"): (((400, 330), (255, 191)), Label(336, 236, letters=12)),
        ("checking", "held"): (((489, 346), (601, 346)), Label(545, 338, "middle")),
        ("checking", DONE): (((430, 370), (430, 529)), Label(422, 446, "end", 12)),
        ("held", "resetting"): (((680, 370), (680, 529)), Label(688, 460)),
        ("held", DONE): (((650, 370), (640, 480), (480, 530)), Label(550, 452, "end", 8)),
        ("resetting", DONE): (((601, 554), (489, 554)), Label(545, 574, "middle", 16)),
    },
)


def resources(state: State) -> dict[int, tuple[str, int]]:
    """Return the state of each resource, and its task if it is in use, else -1."""
    found = {number: (place, -1) for number, place in enumerate(state.place, 1)}
    for task, (doing, lease) in enumerate(zip(state.task, state.lease, strict=True)):
        if lease:
            found[lease] = doing, task
    return {number: (WORDS.get(place, place), task) for number, (place, task) in found.items()}


@cache
def resource_arrows() -> Arrows:
    """Collect the moves of a resource in all steps of all frozen graphs."""
    found: dict[tuple[str, str], set[str]] = {}
    for graph in map(Graph.frozen, FROZEN):
        places = {state: resources(state) for state in graph.edges}
        for state, steps in graph.edges.items():
            for action, after in steps:
                for number, (place, task) in places[state].items():
                    to, taker = places[after][number]
                    if (place, task) == (to, taker):
                        continue
                    if to != "creating":
                        found.setdefault((place, to), set()).add(action)
                        continue
                    # A new life under the same name, which may have become free in this step.
                    found.setdefault((START, to), set()).add(action)
                    if place != FREE:
                        found.setdefault((place, FREE), set()).add(action)
    return {arrow: frozenset(actions) for arrow, actions in found.items()}


@cache
def acquirer_arrows() -> Arrows:
    """Collect the moves of an acquire and its lease in all steps of all frozen graphs."""
    found: dict[tuple[str, str], set[str]] = {}
    for graph in map(Graph.frozen, FROZEN):
        for state, steps in graph.edges.items():
            for action, after in steps:
                for before, then in zip(state.task, after.task, strict=True):
                    if before != then:
                        start = START if before == "out" else WORDS.get(before, before)
                        found.setdefault((start, WORDS.get(then, then)), set()).add(action)
    return {arrow: frozenset(actions) for arrow, actions in found.items()}


STYLE = """<style>
.states text{font:13px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
.states .ink,.states .box text{fill:var(--md-default-fg-color,#1f2937)}
.states .box text{font-weight:600;font-size:15px}
.states .box rect{fill:var(--md-code-bg-color,#f5f5f5);stroke:#64748b;stroke-width:1.5}
.states .in-use rect{fill:#3b82f633;stroke:#3b82f6}
.states .dot{fill:#64748b}
.states path{fill:none;stroke-width:1.6}
.states .label{paint-order:stroke;stroke:var(--md-default-bg-color,#fff);stroke-width:5px;
stroke-linejoin:round}
.states .on{stroke:#3b82f6}.states .back{stroke:#16a34a}.states .end{stroke:#ea580c}
.states marker path{stroke:none}
.states marker .on{fill:#3b82f6}.states marker .back{fill:#16a34a}.states marker .end{fill:#ea580c}
</style>"""
HEAD = """<svg class="states" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" \
aria-label="{}">"""
TIP = (
    '<marker id="states-{0}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" '
    'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path class="{0}" '
    'd="M0 0L10 5L0 10z"/></marker>'
)
KINDS = {"idle": "back", "handed": "back", "waiting": "back", "closing": "end", FREE: "end"}
KINDS |= {DONE: "end"}  # everything else leads on
IN_USE = {"handed", "checking", "held", "resetting"}


def draw(layout: Layout, arrows: Arrows) -> str:
    """Draw the arrows as SVG. The same arrows make the same picture, to the byte."""
    if lost := set(arrows) ^ set(layout.lines):
        raise ValueError(f"no arrow, or no line for it: {sorted(lost)}")
    width, height = layout.size
    lines = [
        HEAD.format(width, height, layout.title),
        STYLE,
        f"<defs>{''.join(map(TIP.format, ('on', 'back', 'end')))}</defs>",
    ]
    for arrow, (points, _) in layout.lines.items():
        kind = KINDS.get(arrow[1], "on") if arrow[0] else "on"
        command = {2: "L", 3: "Q", 4: "C"}[len(points)]
        (x, y), *rest = points
        through = " ".join(f"{x} {y}" for x, y in rest)
        title = f"{arrow[0] or 'start'} to {arrow[1]}: {', '.join(sorted(arrows[arrow]))}"
        lines.append(
            f'<path class="{kind}" d="M{x} {y}{command}{through}" '
            f'marker-end="url(#states-{kind})"><title>{title}</title></path>'
        )
    for name, (x, y) in layout.boxes.items():
        lines.append(_box(name, x, y))
    for arrow, (_, label) in layout.lines.items():
        lines += _text(label, arrows[arrow])
    return "\n".join([*lines, "</svg>"]) + "\n"


def _box(name: str, x: int, y: int) -> str:
    if name == START:
        return f'<circle class="dot" cx="{x}" cy="{y}" r="8"/>'
    look = "box in-use" if name in IN_USE else "box"
    return (
        f'<g class="{look}"><rect x="{x - 58}" y="{y - 19}" width="116" height="38" rx="8"/>'
        f'<text x="{x}" y="{y + 5}" text-anchor="middle">{name}</text></g>'
    )


def _text(label: Label, actions: Iterable[str]) -> list[str]:
    names = sorted(actions)
    said = ", ".join(names) if len(names) <= MANY else f"whenever needed, in {len(names)} actions"
    return [
        f'<text class="ink label" x="{label.x}" y="{label.y + 16 * line}" '
        f'text-anchor="{label.anchor}">{text}</text>'
        for line, text in enumerate(wrap(said, label.letters, break_long_words=False))
    ]


def table(arrows: Arrows) -> str:
    """Write the arrows as a table in Markdown."""
    rows = [
        f"| {start or '(start)'} | {to} | {', '.join(f'`{name}`' for name in sorted(actions))} |"
        for (start, to), actions in sorted(arrows.items())
    ]
    return "\n".join(["| from | to | by |", "|---|---|---|", *rows])


PICTURES: dict[str, Callable[[], str]] = {
    "states.svg": lambda: draw(RESOURCE, resource_arrows()),
    "acquirer.svg": lambda: draw(ACQUIRER, acquirer_arrows()),
}


def main() -> None:
    """Write the pictures."""
    for name, picture in PICTURES.items():
        (FOLDER / name).write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
