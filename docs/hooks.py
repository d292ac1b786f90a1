"""Insertions: parts of the project that the build puts into the pages of the site.

A line such as ``<!-- insert tla Acquire -->`` in a page calls the function `tla` with "Acquire",
and is replaced by the result. So a page never has a copy that can become outdated.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # because mkdocs may not have it

from docs import outage, states  # noqa: E402

INSERT = re.compile(r"^( *)<!-- insert (\w+) ?(.*) -->$", re.MULTILINE)
ROW = re.compile(r"^\|.*\|$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the lines to insert in a page. mkdocs calls this for each page."""
    return INSERT.sub(lambda found: indent(INSERTS[found[2]](found[3]), found[1]), markdown)


def picture(name: str) -> str:
    """Return a picture of `states` as part of the page, so that it has the page's colours."""
    return f"<div>\n{(ROOT / 'docs' / name).read_text(encoding='utf-8')}</div>"


def arrows(name: str) -> str:
    """Return the arrows of a picture as a table."""
    return states.table(
        {"resource": states.resource_arrows, "acquirer": states.acquirer_arrows}[name]()
    )


def outage_table(_: str) -> str:
    """Return what happened in each second of the run through an outage."""
    return outage.table()


def evidence(_: str) -> str:
    """Return the assurance table without the words."""
    rows = [row.split("|")[1:-1] for row in ROW.findall(_read("ASSURANCE.md"))]
    return "\n".join(f"|{'|'.join([*cells[:2], *cells[3:]])}|" for cells in rows)


def section(where: str) -> str:
    """Return a section of a file, ``FILE: TITLE``, without its heading."""
    path, title = where.split(": ", 1)
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,6}} |\Z)", _read(path), re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise LookupError(f"{path} has no section {title!r}")
    return found[2].strip()


def tla(name: str) -> str:
    """Return a definition of the specification with the comment above it."""
    name, _, module = name.partition(" of ")
    text = _read(f"spec/{module or 'AsyncResourcePool'}.tla")
    found = re.search(
        rf"^(?:\\\* .*\n)*{name}(?:\([^)]*\))? ==(?:.*\n)(?:[ \\].*\n)*", text, re.MULTILINE
    )
    if found is None:
        raise LookupError(f"{name} is not defined in {module}")
    return f"```text\n{found[0].rstrip()}\n```"


def usage(module: str) -> str:
    """Return the help text of a command."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "90"},
    )
    return f"```text\n{done.stdout.rstrip()}\n```"


def behaviour(_: str) -> str:
    """Return the behaviour of pools in the run that docs/performance.md shows."""
    run = json.loads(_read("docs/performance.json"))
    versions = {
        name.lower().replace("psycopg-pool", "psycopg"): v for name, v in run["versions"].items()
    }
    found: dict[str, dict[tuple[str, str], float]] = {}
    for figure in run["figures"]:
        key = figure["workload"], figure["figure"]
        found.setdefault(figure["contender"], {})[key] = figure["median"]
    rows = []
    for name, figures in found.items():
        if name != "ours" and name not in versions:
            continue
        cells = [say(figures[key]) if key in figures else "" for key, _, say in BEHAVIOUR]
        rows.append([name if name == "ours" else f"{name} {versions[name]}", *cells])
    heads = ["", *(head for _, head, _ in BEHAVIOUR)]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count(value: float) -> str:
    return f"{value:.0f}" if value else "none"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 1 else "at once"


BEHAVIOUR: tuple[tuple[tuple[str, str], str, Callable[[float], str]], ...] = (
    (("W6R", "lost to cancellation"), "lost to a cancellation", _count),
    (("W6R", "lost to a timeout"), "lost to a timeout", _count),
    (("W11", "overtaken"), "waiters overtaken, of 50", _count),
    (("W11", "least"), "least served, of 200", lambda value: f"{value:.0f}"),
    (("W10f", "served after, ms"), "the next after a failed creation", _milliseconds),
    (("W12", "queued caller told after, ms"), "a waiter gets the error of close()", _milliseconds),
    (("W12", "queued callers served"), "waiters served while closing, of 3", _count),
)


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


INSERTS: dict[str, Callable[[str], str]] = {
    function.__name__: function
    for function in (picture, arrows, outage_table, evidence, section, tla, usage, behaviour)
}
