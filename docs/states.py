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
    (820, 920),
    {
        START: (380, 22),
        "creating": (380, 96),
        "idle": (130, 330),
        "checking": (380, 330),
        "handed": (630, 330),
        "resetting": (210, 640),
        "held": (630, 640),
        "closing": (380, 880),
        FREE: (630, 880),
    },
    {
        (START, "creating"): (((380, 30), (380, 75)), Label(392, 52, letters=60)),
        ("creating", "idle"): (((335, 116), (160, 309)), Label(243, 198, "end")),
        ("creating", "handed"): (((425, 116), (600, 309)), Label(518, 198)),
        ("creating", "closing"): (
            ((322, 98), (-100, 100), (-110, 884), (321, 890)),
            Label(158, 130, "end"),
        ),
        ("creating", FREE): (((438, 98), (890, 100), (890, 850), (689, 880)), Label(612, 128)),
        ("idle", "checking"): (((189, 324), (321, 324)), Label(262, 268, "middle", 12)),
        ("idle", "handed"): (
            ((168, 311), (260, 195), (500, 195), (592, 311)),
            Label(380, 218, "middle"),
        ),
        ("idle", "held"): (
            ((178, 350), (290, 455), (470, 560), (571, 628)),
            Label(250, 408, "end"),
        ),
        ("idle", "closing"): (
            ((97, 350), (20, 450), (-10, 890), (321, 876)),
            Label(84, 690, letters=16),
        ),
        ("checking", "idle"): (((321, 338), (189, 338)), Label(255, 354, "middle")),
        ("checking", "handed"): (((439, 324), (571, 324)), Label(505, 316, "middle")),
        ("checking", "closing"): (((380, 350), (380, 859)), Label(374, 700, "end", 12)),
        ("handed", "idle"): (
            ((585, 350), (500, 430), (260, 430), (166, 351)),
            Label(392, 426),
        ),
        ("handed", "checking"): (((571, 338), (439, 338)), Label(505, 354, "middle")),
        ("handed", "handed"): (
            ((642, 311), (625, 258), (700, 258), (675, 311)),
            Label(660, 262, "middle"),
        ),
        ("handed", "held"): (((640, 350), (640, 619)), Label(646, 480)),
        ("handed", "closing"): (
            ((675, 350), (790, 560), (720, 800), (440, 870)),
            Label(730, 520, letters=8),
        ),
        ("held", "idle"): (((571, 636), (420, 590), (160, 520), (136, 351)), Label(158, 470)),
        ("held", "checking"): (((590, 620), (404, 351)), Label(526, 524)),
        ("held", "handed"): (((616, 620), (616, 351)), Label(610, 480, "end")),
        ("held", "resetting"): (((571, 648), (269, 648)), Label(470, 664, "middle")),
        ("held", "closing"): (((600, 660), (415, 859)), Label(500, 760, "end", 8)),
        ("held", FREE): (((630, 660), (630, 859)), Label(636, 720, letters=10)),
        ("resetting", "idle"): (((190, 620), (118, 351)), Label(110, 540, letters=12)),
        ("resetting", "checking"): (((232, 620), (362, 351)), Label(262, 592)),
        ("resetting", "handed"): (
            ((268, 630), (420, 580), (560, 500), (596, 351)),
            Label(576, 412, "end"),
        ),
        ("resetting", "closing"): (((225, 660), (340, 859)), Label(270, 760, "end", 12)),
        ("closing", FREE): (((439, 880), (571, 880)), Label(505, 898, "middle")),
    },
)

ACQUIRER = Layout(
    "The life of one acquire, and of its lease",
    (760, 480),
    {
        START: (380, 22),
        "waiting": (150, 150),
        "handed": (150, 330),
        "held": (610, 330),
        DONE: (380, 440),
    },
    {
        (START, "waiting"): (((368, 25), (150, 40), (150, 129)), Label(210, 52, "end")),
        (START, "held"): (((392, 25), (610, 40), (610, 309)), Label(506, 52)),
        ("waiting", "handed"): (((130, 170), (130, 309)), Label(122, 200, "end", 16)),
        ("waiting", DONE): (
            ((208, 155), (340, 170), (380, 300), (380, 419)),
            Label(372, 210, letters=13),
        ),
        ("handed", "waiting"): (((170, 310), (170, 171)), Label(178, 262)),
        ("handed", "held"): (((209, 325), (551, 325)), Label(470, 316, "middle")),
        ("handed", DONE): (((170, 350), (200, 430), (321, 440)), Label(186, 430, "end", 8)),
        ("held", DONE): (((590, 350), (560, 430), (439, 440)), Label(578, 400, letters=18)),
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
IN_USE = {"handed", "held"}


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
