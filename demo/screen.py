"""The output of the demo: a terminal that is redrawn, or lines of text."""

from __future__ import annotations

import sys
import textwrap
from types import TracebackType
from typing import NamedTuple, TypeAlias

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Numbers: TypeAlias = dict[str, dict[str, int]]  # by group and name

WIDTH = 100  # columns of text without a terminal


class View(NamedTuple):
    """The state of the demo while it runs."""

    phase: str
    done: float  # from 0 to 1
    summary: str
    numbers: Numbers


class Check(NamedTuple):
    """A rule, and whether it held."""

    name: str
    holds: bool
    detail: str


def line(values: dict[str, int]) -> str:
    """Write all numbers of a group in one line."""
    return ", ".join(f"{value:,} {name}" for name, value in values.items())


class Lines:
    """Plain text, without control characters."""

    interval = 1.0  # seconds between two views

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing, because nothing is left on the screen."""

    def say(self, text: str) -> None:
        """Print text. Lines that are too long are broken."""
        for line in text.splitlines() or [""]:
            print(textwrap.fill(line, WIDTH, subsequent_indent="    "), flush=True)

    def show(self, view: View) -> None:
        """Print the view's summary in one line."""
        self.say(f"{view.done:4.0%} {view.phase}: {view.summary}")

    def checks(self, checks: list[Check]) -> None:
        """Print every rule, and whether it held."""
        width = max(len(check.name) for check in checks)
        self.say(f"        {'What must hold':{width}}  What was seen")
        for name, holds, detail in checks:
            self.say(f"{'ok    ' if holds else 'FAILED'}  {name:{width}}  {detail}")

    def table(self, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """Print a table whose first column is text and whose others are numbers."""
        first, *rest = (max(map(len, column)) for column in zip(header, *rows, strict=True))
        for name, *cells in (header, *rows):
            aligned = (f"{cell:>{width}}" for cell, width in zip(cells, rest, strict=True))
            self.say("  ".join((f"{name:{first}}", *aligned)))


class Terminal(Lines):
    """A progress bar and numbers that are redrawn in place, then tables."""

    interval = 0.1

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Terminal:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar and the numbers. Printed lines stay."""
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def show(self, view: View) -> None:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(1.0, view.done, width=40), f"{view.done:4.0%}", view.phase)
        grid = Table.grid(padding=(0, 3))
        for group, values in view.numbers.items():
            numbers = (f"[bold]{value:,}[/] {name}" for name, value in values.items())
            grid.add_row(f"[dim]{group}", "  ".join(numbers))
        self._live.update(Group(bar, grid), refresh=True)

    def checks(self, checks: list[Check]) -> None:
        table = Table("", "What must hold", "What was seen")
        for name, holds, detail in checks:
            mark, style = ("ok", "green") if holds else ("FAILED", "bold red")
            table.add_row(Text(mark, style), name, Text(detail))
        self._console.print(table)

    def table(self, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        table = Table(header[0])
        for name in header[1:]:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)


def screen() -> Lines:
    """Return a terminal if standard output can be redrawn, otherwise lines."""
    if sys.stdout.isatty() and not Console().is_dumb_terminal:
        return Terminal()
    return Lines()
