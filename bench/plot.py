"""The main figures of all contenders as bars, in one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .contenders import Contender
from .report import Results
from .statistic import Spread, number

PANELS = (
    ("W1", "acquire/release ÷ (a)", "one task: acquire and release ÷ two empty coroutines"),
    ("W1", "async with ÷ (b)", "one task: async with ÷ async with on a deque"),
    ("W2T", "÷ (c)", "1,000 tasks, 10 resources, timeouts ÷ bare futures"),
    ("W3", "50,000 waiting ÷ (d)", "hand-over, 50,000 waiting ÷ a future and a timer each"),
    ("W6", "newest first ÷ (d)", "10,000 cancelled, newest first ÷ the same"),
    ("W8", "waiter", "bytes of a waiter, its task included"),
)


def write_plot(file: Path, results: Results, contenders: Sequence[Contender]) -> None:
    """Plot medians as bars with quartiles. Use a logarithmic scale if the values are far apart."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    # These settings make the file reproducible, and keep its text as text.
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9})
    pyplot: Any = import_module("matplotlib.pyplot")
    names = [c.name for c in contenders]
    panels = []
    for workload, figure, title in PANELS:
        values = [(name, results.figures.get((workload, name, figure))) for name in names]
        bars = [(name, Spread.of(found)) for name, found in values if found]
        if bars:
            panels.append((title, bars[::-1]))
    rows = max(1, (len(panels) + 1) // 2)
    picture, axes = pyplot.subplots(rows, 2, squeeze=False, figsize=(11, rows * 3.2))
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, bars) in zip(axes.flat, panels, strict=False):
        medians = [spread.median for _, spread in bars]
        ends = [
            [spread.median - spread.low for _, spread in bars],
            [spread.high - spread.median for _, spread in bars],
        ]
        colours = ["#c4501b" if name.startswith("ours") else "#8a97a6" for name, _ in bars]
        drawn = axis.barh([name for name, _ in bars], medians, xerr=ends, color=colours)
        axis.bar_label(drawn, [number(median) for median in medians], padding=3, fontsize=8)
        if max(medians) > 20 * min(medians) > 0:
            axis.set_xscale("log")
            axis.set_xlim(min(medians) / 2, max(medians) * 3)
        else:
            axis.set_xlim(0, max(medians) * 1.2 or 1)
        axis.set_title(title, fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    picture.tight_layout()
    picture.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(picture)
